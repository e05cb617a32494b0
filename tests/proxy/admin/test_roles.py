"""Who may use which route: the table holds every route, and each role meets its own boundary over a socket."""

import pytest

from proxy.admin import build_admin
from proxy.admin.access import Access, Role
from proxy.admin.roles import OPEN, ROLES
from proxy.audit import read
from tests.proxy.admin.conftest import TOKEN

RELEASE = "/admin/v1/ess/release"
SETTLE = {"decision_id": "d", "outcome": "failed", "actor": "a", "reason": "r"}


def routes_of(app):
    """Method and path of every route, as the table names them."""
    return {f"{one.method} {one.resource.canonical}" for one in app.router.routes() if one.method != "HEAD"}


async def tokens_of(admin, *people):
    """A token for each (person, role)."""
    made = []
    for person, role in people:
        status, shown, _ = await admin.post("/admin/v1/tokens", {"person": person, "role": role})
        assert status == 201
        made.append(shown["token"])
    return made


async def test_every_route_says_its_role(admin):
    """A new route without a role fails here, and is refused until it has one."""
    assert sorted(routes_of(admin.app) - ROLES.keys()) == []


def test_only_probes_and_what_has_its_own_proof_is_open():
    """Whoever opens a further route to strangers has to say so here as well."""
    assert {name for name, role in ROLES.items() if role is OPEN} == {
        "GET /healthz", "GET /readyz", "GET /startupz", "GET /version", "POST /bot/v1/ess/engage",
        "POST /bot/v1/heartbeat",
        "GET /ui/static/{name}",
        "GET /ui/login", "POST /ui/login",
    }  # fmt: skip


def test_nothing_that_changes_something_is_for_viewers():
    """Viewers read; what they may post concerns their own session alone."""
    acts = {name for name, role in ROLES.items() if not name.startswith("GET ") and role is Role.VIEWER}

    assert acts == {"POST /admin/v1/login-links", "POST /ui/logout"}


async def test_a_route_without_a_role_is_refused(admin, monkeypatch):
    """Also to the bootstrap token: nobody has thought about who may use it."""
    monkeypatch.delitem(ROLES, "GET /admin/v1/ess")

    status, problem, _ = await admin.get("/admin/v1/ess")
    assert (status, "states no role" in problem["detail"]) == (403, True)


@pytest.mark.parametrize(
    ("method", "path", "body", "by_role"),
    [
        ("GET", "/admin/v1/ess", None, (200, 200, 200)),
        ("GET", "/admin/v1/tokens", None, (403, 403, 200)),
        ("POST", "/admin/v1/tokens", {"person": "x", "role": "viewer"}, (403, 403, 201)),
        ("DELETE", "/admin/v1/tokens/none", None, (403, 403, 404)),
        ("POST", "/admin/v1/ess/engage", {"level": "reduce_only", "scope": "account:spot-1"}, (403, 200, 200)),
        ("POST", "/api/v2/policy/risk-mode", {"mode": "DEFENSIVE", "reason": "r"}, (403, 403, 200)),
        ("PUT", "/api/v2/policy", {}, (403, 403, 428)),
        ("POST", "/api/policy/risk_mode/DEFENSIVE", None, (403, 403, 200)),
        ("POST", "/admin/v1/accounts/spot-1/settle", SETTLE, (403, 403, 503)),
        ("GET", "/nowhere", None, (404, 404, 404)),
        ("DELETE", "/admin/v1/ess", None, (405, 405, 405)),
    ],
)
async def test_each_role_meets_its_boundary(admin, method, path, body, by_role):
    """Viewer, operator and admin at the same route; without a token nobody gets past 401."""
    people = [("vera", "viewer"), ("otto", "operator"), ("anna", "admin")]
    for token, expected in zip(await tokens_of(admin, *people), by_role, strict=True):
        status, _, _ = await admin.call(method, path, token=token, **({} if body is None else {"json": body}))
        assert status == expected

    assert (await admin.call(method, path, token=None))[0] == 401


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("account:spot-1", 200), ("strategy:grid", 200), ("symbol:BTCUSDT", 403), ("exchange:binance", 403),
        ("global", 403),
    ],
)  # fmt: skip
async def test_an_operator_releases_accounts_and_strategies_only(admin, scope, expected):
    """What holds more than one account's own takes an admin; the refusal is on record and nothing is released."""
    [operator] = await tokens_of(admin, ("otto", "operator"))
    _, stop, _ = await admin.post("/admin/v1/ess/engage", {"scope": scope, "level": "reduce_only"}, token=operator)
    body = {"scope": scope, "reason": "looked", "expected_epoch": stop["epoch"]}
    status, _, _ = await admin.post(RELEASE, body, token=operator)

    last = list(read(admin.audit.directory, kinds={"admin"}))[-1]
    held = admin.latch.stop_of(scope).level.name
    assert (status, held) == (expected, "CLEAR" if expected == 200 else "REDUCE_ONLY")
    assert (last["actor"], last["result"]) == ("otto", "done" if expected == 200 else "refused")


async def test_the_actor_is_the_person_of_the_token(admin):
    """A body may add to who it was; it cannot say that it was somebody else, and need not say anything."""
    [anna] = await tokens_of(admin, ("anna", "operator"))
    body = {"scope": "account:spot-1", "level": "reduce_only"}

    _, stated, _ = await admin.post("/admin/v1/ess/engage", body | {"actor": "bob"}, token=anna)
    _, silent, _ = await admin.post("/admin/v1/ess/engage", {"scope": "account:fut-1"}, token=anna)
    _, shared, _ = await admin.post("/admin/v1/ess/engage", {"scope": "strategy:grid", "actor": "anna"})
    assert (stated["actor"], silent["actor"], shared["actor"]) == ("anna (bob)", "anna", "bootstrap (anna)")


async def test_one_person_with_two_tokens_and_two_names_is_not_two(admin):
    """A stop of everything by a person takes a second person: neither another name nor another token makes one."""
    first, second, other = await tokens_of(admin, ("anna", "admin"), ("anna", "admin"), ("ben", "admin"))
    _, stop, _ = await admin.post("/admin/v1/ess/engage", {}, token=first)
    body = {"scope": "global", "reason": "fixed", "expected_epoch": stop["epoch"]}

    assert (await admin.post(RELEASE, body, token=first))[0] == 202
    assert (await admin.post(RELEASE, body | {"actor": "ben"}, token=first))[0] == 422
    assert (await admin.post(RELEASE, body | {"actor": "ben"}, token=second))[0] == 422
    assert admin.latch.stop_of("global").level.name == "HALT"
    status, released, _ = await admin.post(RELEASE, body, token=other)
    assert (status, released["actor"]) == (200, "anna and ben")


async def test_the_bootstrap_token_is_no_two_persons_once_there_are_persons(admin):
    """Two names under the shared token count as two only while nobody has a token of their own."""
    await tokens_of(admin, ("anna", "admin"))
    _, stop, _ = await admin.post("/admin/v1/ess/engage", {})
    body = {"scope": "global", "reason": "fixed", "expected_epoch": stop["epoch"]}

    assert (await admin.post(RELEASE, body | {"actor": "bob"}))[0] == 202
    assert (await admin.post(RELEASE, body | {"actor": "cat"}))[0] == 422


async def test_a_role_that_is_missing_is_on_record(admin):
    """Who tried, what, and what it would have taken."""
    [vera] = await tokens_of(admin, ("vera", "viewer"))
    status, problem, _ = await admin.post("/admin/v1/ess/engage", {}, token=vera)

    last = list(read(admin.audit.directory, kinds={"admin"}))[-1]
    assert (status, problem["role"], problem["needs"]) == (403, "viewer", "operator")
    assert (last["actor"], last["act"], last["result"]) == ("vera", "POST /admin/v1/ess/engage", "refused")
    assert admin.latch.governing("spot-1").level.name == "CLEAR"


async def test_access_is_made_from_the_parts(admin):
    """What the listener was given decides, not a default beside it."""
    parts = admin.parts(access=Access(None, clock=admin.clock, bootstrap=b"another"))

    assert build_admin(parts, token=TOKEN.encode())
