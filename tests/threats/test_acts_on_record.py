"""Every act on the admin listener and the console is on record, by the person's name, in the chain of decisions."""

import asyncio
import re
from contextlib import suppress
from itertools import count
from urllib.parse import urlencode

import orjson
import pytest

from proxy.admin.roles import ROLES
from proxy.audit import newest, read, verify
from proxy.simulator.faults import Fault
from tests.runs import Wire, open_run

# What changes nothing that anybody would have to answer for.
NO_ACTS = {
    "POST /risk/evaluate": "measures a portfolio that is in the request; nothing is kept",
    "POST /bot/v1/heartbeat": "one may come a second; what follows when they end is on record",
    "POST /api/v2/strategies/{name}/heartbeat": "the same",
    "POST /ui/logout": "takes rights away from whoever asks, and from nobody else",
}
WHO = {"actor": "a note", "reason": "a test"}
UPDATE = {"updated_by": "a note", "reason": "a test"}


class Desk:
    """People at a running proxy: anna, who acts, and bob, who confirms."""

    def __init__(self, run):
        self.run = run
        self.url = run.admin_url
        self.bots = {name: run.bot(name) for name in ("direct", "desk")}
        self.tokens = {}
        self.session = None
        self.sizes = count(1)  # no two orders are the same: a person says yes to one, not to what looks like it

    async def ask(self, method, path, body=None, *, person="anna", headers=None, form=None):
        """A request by a person; the answer."""
        wire = Wire(self.url)
        self.run.clients.append(wire)
        content = urlencode(form).encode() if form is not None else b"" if body is None else orjson.dumps(body)
        kind = "application/x-www-form-urlencoded" if form is not None else "application/json"
        head = f"{method} {path} HTTP/1.1\r\nHost: {wire.authority}\r\nOrigin: {self.url}\r\n"
        if form is None or person is None:
            token = self.tokens.get(person, self.run.admin._token)
            head += f"Authorization: Bearer {token}\r\n" if person is not None else ""
        head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head += f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n" if content else ""
        reply = await wire.raw(head.encode() + b"\r\n" + content)
        assert reply.status < 400, (method, path, reply)
        return reply

    async def submit(self, path, **form):
        """A form of the console, by anna's session."""
        cookie, csrf = self.session
        return await self.ask("POST", path, form=form | {"csrf": csrf}, headers={"Cookie": cookie})

    async def log_in(self):
        """A session of anna's."""
        reply = await self.ask("POST", "/ui/login", form={"token": self.tokens["anna"], "name": ""})
        cookie = reply.headers["set-cookie"].partition(";")[0]
        page = await self.ask("GET", "/ui", headers={"Cookie": cookie}, person=None)
        self.session = cookie, re.search(rb'name="csrf" value="([^"]+)"', page.body)[1].decode()
        return reply

    async def blocked(self):
        """The decision of an order that an override could let through."""
        reply = await self.bots["direct"].order(quantity="0.015", price=str(58000 + next(self.sizes)))
        assert reply.status == 403, reply
        return reply.json["risk"]["decision_id"]

    async def waiting(self):
        """The id of an approval that somebody has to give."""
        await self.bots["direct"].order(quantity="0.005", price=str(59000 + next(self.sizes)))
        found = (await self.ask("GET", "/admin/v1/approvals")).json["approvals"]
        return next(one["id"] for one in found if one["state"] == "asked")

    async def asked_for(self):
        """The id of an override that bob asked for."""
        body = WHO | {"decision_id": await self.blocked()}
        return (await self.ask("POST", "/admin/v1/overrides", body, person="bob")).json["id"]

    async def epoch(self, scope):
        """The stop that anna has seen."""
        stops = (await self.ask("GET", "/admin/v1/ess")).json["stops"]
        return next(one["epoch"] for one in stops if one["scope"] == scope)

    async def draft(self):
        """A draft's id."""
        changes = {"accounts": {"desk": {"scaling": "allowed"}}}
        return (await self.ask("POST", "/api/v2/policy/drafts", UPDATE | {"changes": changes})).json["id"]

    async def revision(self):
        """The policy's revision."""
        return (await self.ask("GET", "/api/v2/policy")).json["revision"]

    async def unknown(self):
        """A decision whose order's fate nobody knows."""
        self.run.sim.inject(Fault("drop_before_accept", match="POST /fapi/v1/order"))
        with suppress(ConnectionError):
            await self.bots["desk"].order(quantity="0.002")
        self.run.sim.clear_faults()
        outcome = newest(self.run.app.audit.directory, limit=1, wanted=lambda one: one["kind"] == "outcome")[0]
        assert outcome["outcome"] == "unknown"
        return outcome["decision_id"]


async def engage(desk, path="/admin/v1/ess/engage"):
    """Stop one account, by the API."""
    await desk.ask("POST", path, {"scope": "account:desk", "level": "reduce_only"} | WHO)


async def release(desk):
    """Release it."""
    await desk.ask("POST", "/admin/v1/ess/release", WHO | {
        "scope": "account:desk", "expected_epoch": await desk.epoch("account:desk"),
    })  # fmt: skip


async def release_by_form(desk):
    """The same in the console, after a stop by its form."""
    await desk.submit("/ui/halt", level="reduce_only", scope="account:desk", reason="a test", name="a note")
    await desk.submit(
        "/ui/release", scope="account:desk", epoch=str(await desk.epoch("account:desk")), reason="a test", name="a note"
    )


async def replace_policy(desk):
    """PUT the whole document, changed."""
    found = (await desk.ask("GET", "/api/v2/policy")).json
    document = found["policy"]
    document["accounts"]["desk"]["scaling"] = "allowed"
    await desk.ask(
        "PUT", "/api/v2/policy", UPDATE | {"policy": document}, headers={"If-Match": f'"{found["revision"]}"'}
    )


async def patch_policy(desk):
    """PATCH one value."""
    changes = {"accounts": {"desk": {"scaling": "off"}}}
    headers = {"If-Match": f'"{await desk.revision()}"'}
    await desk.ask("PATCH", "/api/v2/policy", UPDATE | {"changes": changes}, headers=headers)


async def revoke(desk):
    """Take a token away."""
    made = (await desk.ask("POST", "/admin/v1/tokens", {"person": "carl", "role": "viewer"})).json
    await desk.ask("DELETE", f"/admin/v1/tokens/{made['id']}?reason=left")


def posting(path, body=None):
    """An act that is one request."""

    async def act(desk):
        await desk.ask("POST", path, {} if body is None else body)

    return act


async def refused_reload(desk):
    """These settings came from no file: also what is refused is on record."""
    with pytest.raises(AssertionError, match="ReloadRefused"):
        await desk.ask("POST", "/admin/v1/reload", WHO)


async def settle(desk):
    """Say what became of an order of unknown fate."""
    body = WHO | {"decision_id": await desk.unknown(), "outcome": "accepted"}
    await desk.ask("POST", "/admin/v1/accounts/desk/settle", body)


async def stop_itself(desk):
    """A bot stops its own strategy; the record names the bot."""
    headers = {"X-MBX-APIKEY": desk.bots["direct"].key.key}
    await desk.ask("POST", "/bot/v1/ess/engage", {"reason": "a test"}, person=None, headers=headers)
    found = newest(desk.run.app.audit.directory, limit=1, wanted=lambda one: one["kind"] == "admin")[0]
    assert "b0" in found["actor"]
    stop = {"scope": "strategy:grid", "expected_epoch": await desk.epoch("strategy:grid")}
    await desk.ask("POST", "/admin/v1/ess/release", WHO | stop)


async def roll_back(desk):
    """An older revision again, by the form."""
    revision = await desk.revision()
    await desk.submit("/ui/policy/rollback", to="1", revision=str(revision), reason="a test", name="a note")


async def switch_mode(desk):
    """Another mode by the form."""
    await desk.submit(
        "/ui/policy/mode", mode="DEFENSIVE", revision=str(await desk.revision()), reason="a test", name="a note"
    )


ACTS = {
    "POST /admin/v1/tokens": posting("/admin/v1/tokens", {"person": "dora", "role": "viewer"}),
    "DELETE /admin/v1/tokens/{id}": revoke,
    "POST /admin/v1/login-links": posting("/admin/v1/login-links"),
    "POST /ui/login": Desk.log_in,
    "POST /admin/v1/reload": refused_reload,
    "POST /admin/v1/accounts/{name}/settle": settle,
    "POST /admin/v1/overrides": lambda desk: _overrides(desk, "ask"),
    "POST /admin/v1/overrides/{id}/confirm": lambda desk: _overrides(desk, "confirm"),
    "POST /admin/v1/overrides/{id}/refuse": lambda desk: _overrides(desk, "refuse"),
    "POST /admin/v1/approvals/{id}/approve": lambda desk: _approvals(desk, "approve"),
    "POST /admin/v1/approvals/{id}/refuse": lambda desk: _approvals(desk, "refuse"),
    "POST /ui/permits/ask": lambda desk: _permit_forms(desk, "ask"),
    "POST /ui/permits/grant": lambda desk: _permit_forms(desk, "grant"),
    "POST /ui/permits/refuse": lambda desk: _permit_forms(desk, "refuse"),
    "POST /admin/v1/ess/engage": engage,
    "POST /admin/v1/ess/release": release,
    "POST /bot/v1/ess/engage": stop_itself,
    "POST /ui/halt": lambda desk: desk.submit("/ui/halt", level="reduce_only", scope="account:desk", reason="a test"),
    "POST /ui/release": release_by_form,
    "POST /admin/v1/actions/cancel-all": posting("/admin/v1/actions/cancel-all", WHO | {"scope": "account:direct"}),
    "POST /admin/v1/actions/flatten": posting(
        "/admin/v1/actions/flatten", WHO | {"scope": "account:direct", "confirm": "flatten"}
    ),
    "POST /admin/v1/actions/drill": posting("/admin/v1/actions/drill", {"actor": "a note"}),
    "POST /ui/actions/cancel-all": lambda desk: _action_form(desk, "cancel-all"),
    "POST /ui/actions/flatten": lambda desk: _action_form(desk, "flatten"),
    "POST /ui/actions/drill": lambda desk: _action_form(desk, "drill"),
    "PUT /api/v2/policy": replace_policy,
    "PATCH /api/v2/policy": patch_policy,
    "POST /api/v2/policy/risk-mode": posting("/api/v2/policy/risk-mode", UPDATE | {"mode": "DEFENSIVE"}),
    "POST /api/v2/policy/presets": posting("/api/v2/policy/presets", UPDATE | {"preset": "bear_market"}),
    "POST /api/v2/policy/drafts": Desk.draft,
    "DELETE /api/v2/policy/drafts/{id}": lambda desk: _drafts(desk, "DELETE"),
    "POST /api/v2/policy/drafts/{id}/publish": lambda desk: _drafts(desk, "POST"),
    "POST /ui/policy/mode": switch_mode,
    "PATCH /api/policy": lambda desk: desk.ask("PATCH", "/api/policy", UPDATE | {"risk_mode": "DEFENSIVE"}),
    "POST /api/policy/risk_mode/{mode}": posting("/api/policy/risk_mode/NORMAL", UPDATE),
    "POST /api/v2/policy/rollback": lambda desk: _on_revision(desk, "/api/v2/policy/rollback", {"revision": 1}),
    "POST /ui/policy/rollback": roll_back,
    "POST /api/policy/reset": posting("/api/policy/reset", UPDATE),
    "POST /api/v2/policy/reset": lambda desk: _on_revision(desk, "/api/v2/policy/reset", {}),
}


async def _overrides(desk, act):
    if act == "ask":
        await desk.ask("POST", "/admin/v1/overrides", WHO | {"decision_id": await desk.blocked()})
    else:
        await desk.ask("POST", f"/admin/v1/overrides/{await desk.asked_for()}/{act}", WHO)


async def _approvals(desk, act):
    await desk.ask("POST", f"/admin/v1/approvals/{await desk.waiting()}/{act}", WHO)


async def _permit_forms(desk, act):
    if act == "ask":
        form = {"decision_id": await desk.blocked()}
    else:
        form = {"id": await desk.waiting(), "kind": "approval"}
    await desk.submit(f"/ui/permits/{act}", **form, reason="a test", name="a note")


async def _action_form(desk, act):
    form = {} if act == "drill" else {"scope": "account:direct", "reason": "a test", "confirm": "direct"}
    await desk.submit(f"/ui/actions/{act}", **form, name="a note")


async def _on_revision(desk, path, body):
    await desk.ask("POST", path, UPDATE | body, headers={"If-Match": f'"{await desk.revision()}"'})


async def _drafts(desk, method):
    path = f"/api/v2/policy/drafts/{await desk.draft()}"
    if method == "DELETE":
        await desk.ask("DELETE", path)
    else:
        await desk.ask("POST", f"{path}/publish", UPDATE)


async def other_modes(desk):
    """Modes to switch to."""
    found = (await desk.ask("GET", "/api/v2/policy")).json
    mode = {name: value for name, value in found["policy"]["risk_profiles"]["OPEN"].items() if name != "name"}
    changes = {"risk_profiles": {"DEFENSIVE": mode, "NORMAL": mode}}
    headers = {"If-Match": f'"{found["revision"]}"'}
    await desk.ask("PATCH", "/api/v2/policy", UPDATE | {"changes": changes}, headers=headers)


async def records_of(run, after):
    """What anna did since a record; an action's record may come a moment after its answer."""
    async with asyncio.timeout(20):
        while True:
            run.app.audit.flush()
            if found := [one for one in read(run.app.audit.directory, after=after) if "anna" in str(one.get("actor"))]:
                return found
            await asyncio.sleep(0.05)


def test_every_route_that_changes_something_is_here():
    """A new route has to say how it gets on record, or why not."""
    changing = {route for route in ROLES if not route.startswith("GET ")}

    assert changing - NO_ACTS.keys() - ACTS.keys() == set()
    assert (ACTS.keys() | NO_ACTS.keys()) - changing == set()


@pytest.mark.timeout(300)
async def test_every_act_is_on_record_by_name(tmp_path):
    """One after the other against a running proxy: each leaves a record of the person in the one chain."""
    accounts = {"override_notional_max": "5000", "dead_man": {}}
    size = {"order_notional_max": "600", "approval_notional_min": "200"}
    missing = []
    async with open_run(tmp_path / "run", size=size, accounts=accounts) as run:
        desk = Desk(run)
        for person in ("anna", "bob"):
            made = await desk.ask("POST", "/admin/v1/tokens", {"person": person, "role": "admin"}, person="bootstrap")
            desk.tokens[person] = made.json["token"]
        await desk.log_in()
        await other_modes(desk)
        directory = run.app.audit.directory
        for route, act in ACTS.items():
            before = run.app.audit.last_sequence
            await act(desk)
            try:
                await records_of(run, before)
            except TimeoutError:
                missing.append(route)
        head = run.app.audit.head
        whole = verify(directory, head=head)
        kinds = {one["kind"] for one in read(directory)}

    assert missing == []
    assert whole.ok
    assert {"decision", "admin"} <= kinds
