"""The published OpenAPI is the API: its routes, its bodies, and what it answers to anything that is sent."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from proxy.admin import openapi, shapes
from tests.proxy.admin.conftest import TOKEN
from tests.runs import open_run

PATH = "/admin/v1/openapi.json"
BOTH = {name: {"strategies": "any", "symbols": ["BTCUSDT"]} for name in ("spot-1", "fut-1")}
CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    negative_data_rejection, unsupported_method, ignored_auth, missing_required_header,
)  # fmt: skip
REFUSALS = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "428", "429"]
STREAMS = ("/api/v2/policy/events", "/api/v2/policy/ws", "/admin/v1/events")  # they do not end
# What asks a whole proxy: accounts, the engine of global risk, sessions, acts at the exchange.
OF_A_PROXY = ("/admin/v1/accounts", "/admin/v1/headroom", "/risk", "/admin/v1/tokens", "/admin/v1/login-links",
              "/admin/v1/ess/triggers", "/admin/v1/reload", "/admin/v1/actions")  # fmt: skip
OF_BOTS = ("/bot",)  # known by their own keys, not by a token


async def test_every_route_is_described_and_no_other(admin):
    """Paths and methods are those of the listener; every body of the policy has its model."""
    _, found, _ = await admin.get(PATH)
    described = {f"{method.upper()} {path}" for path, one in found["paths"].items() for method in one}

    assert found["openapi"] == "3.1.0"
    assert {"GET /healthz", "PATCH /api/v2/policy", "GET /api/policy", f"GET {PATH}"} <= described
    tables = (openapi.BODIES, openapi.QUERY, openapi.IF_MATCH, openapi.BODY_OPTIONAL, openapi.ANSWERED, openapi.ALSO)
    assert [name for table in tables for name in table if name not in described] == []
    writes = {name for name in described if "policy" in name and not name.startswith(("GET", "DELETE"))}
    assert writes <= set(openapi.BODIES)
    assert all(one["summary"] for path in found["paths"].values() for one in path.values())
    assert (await admin.get(PATH, token=None))[0] == 401


async def test_every_answer_has_a_shape(admin):
    """A route that answers JSON says which fields; the few that answer any object are listed with the reason."""
    _, found, _ = await admin.get(PATH)
    named, plain = set(), set()
    for path, methods in found["paths"].items():
        for method, one in methods.items():
            for status, told in one["responses"].items():
                schema = told.get("content", {}).get("application/json", {}).get("schema")
                if schema is not None and status < "300":
                    (named if "$ref" in schema else plain).add(f"{method.upper()} {path}")

    assert plain == shapes.PLAIN
    assert named == set(shapes.ANSWERS) | {name for name, status in shapes.BY_STATUS if status < 300}


async def test_every_reference_leads_somewhere(admin):
    """Each schema that is referred to is there, and each operation has an id of its own."""
    _, found, _ = await admin.get(PATH)
    references, ids = [], []

    def walk(here):
        if isinstance(here, dict):
            references.extend([here["$ref"]] if "$ref" in here else [])
            ids.extend([here["operationId"]] if "operationId" in here else [])
            here = list(here.values())
        for one in here if isinstance(here, list) else []:
            walk(one)

    walk(found)
    assert {one.rpartition("/")[2] for one in references} <= set(found["components"]["schemas"])
    assert len(ids) == len(set(ids)) > 30


def probe(base, schema, examples, token, *, is_asked):
    """Send what the description allows, and what it does not, to paths; the checks raise what they find."""
    load_all_checks()
    asked = 0
    # Every request brings the token, so its absence is nothing that a malformed one could be refused for.
    keyless = {name: value for name, value in schema.items() if name != "security"}
    for described, mode in (
        (schema, schemathesis.GenerationMode.POSITIVE), (keyless, schemathesis.GenerationMode.NEGATIVE),
    ):  # fmt: skip
        loaded = schemathesis.openapi.from_dict(described)
        loaded.config.checks.negative_data_rejection.expected_statuses = REFUSALS
        for result in loaded.get_all_operations():
            operation = result.ok()
            if not is_asked(operation.path):
                continue
            cases = operation.as_strategy(generation_mode=mode)

            @given(case=cases)
            @settings(
                max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def ask(case):
                case.call_and_validate(base_url=base, headers={"Authorization": f"Bearer {token}"}, checks=list(CHECKS))

            try:
                ask()
            except Unsatisfiable:  # a path without parameters has nothing to get wrong
                continue
            asked += 1
    return asked


@pytest.mark.parametrize(
    "examples", [3, pytest.param(60, marks=pytest.mark.long)]
)
@pytest.mark.filterwarnings("ignore")
async def test_schemathesis_finds_nothing(admin, examples, monkeypatch):
    """No server error, no status, type or body that is not described, nothing malformed that is taken, no open door."""
    monkeypatch.setattr("proxy.admin.guard.FAILURES_MAX", 10**9)  # it tries many wrong tokens, and expects 401
    body = {"policy": {"active_mode": "NORMAL", "accounts": BOTH}, "updated_by": "ann", "reason": "first"}
    await admin.call("PUT", "/api/v2/policy", json=body, headers={"If-Match": '"1"'})
    _, schema, _ = await admin.get(PATH)

    def is_asked(path):
        return not path.startswith((*STREAMS, *OF_A_PROXY, *OF_BOTS))

    assert await asyncio.to_thread(probe, admin.base, schema, examples, TOKEN, is_asked=is_asked) > 30


@pytest.mark.parametrize("examples", [2, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore")
async def test_schemathesis_finds_nothing_in_a_running_proxy(tmp_path, examples, monkeypatch):
    """The same for what needs one: accounts, headroom, global risk, tokens, triggers, acts at the exchange."""
    monkeypatch.setattr("proxy.admin.guard.FAILURES_MAX", 10**9)
    async with open_run(tmp_path) as run:
        schema = (await run.admin.call("GET", PATH)).json

        def is_asked(path):
            return path.startswith(OF_A_PROXY)

        token = run.app.settings.admin_token_path.read_text().strip()
        assert await asyncio.to_thread(probe, run.admin_url, schema, examples, token, is_asked=is_asked) > 15


STATES = ("/readyz", "/startupz", "/version", "/admin/v1/status", "/admin/v1/accounts", "/admin/v1/accounts/direct",
          "/admin/v1/headroom?account=direct&symbol=BTCUSDT&side=buy", "/admin/v1/decisions", "/admin/v1/audit/verify",
          "/admin/v1/ess", "/admin/v1/ess/triggers", "/admin/v1/actions", "/admin/v1/approvals", "/admin/v1/overrides",
          "/api/v2/policy/effective?account=direct", "/risk/health", "/risk/status", "/risk/global", "/risk/snapshot",
          "/risk/exposure", "/risk/var", "/risk/systemic")  # fmt: skip
EVERYTHING = "defaults: {loss_daily_max: '5%', drawdown_max: '20%', governor: {enabled: 'true'}}\n"


async def test_a_running_proxy_answers_as_it_is_published(tmp_path):
    """With an order, a stop, losses, leases and a governor; conftest.py holds each answer to its shape."""
    accounts = {"override_notional_max": "1000", "dead_man": {"lease": "1h", "countdown": "30s"}}
    async with open_run(tmp_path, more_policy=EVERYTHING, accounts=accounts) as run:
        placed = await run.bot("direct").order()
        assert placed.status == 200
        await run.admin.engage(scope="symbol:ETHUSDT")
        await run.until(lambda: run.app.risk.engine.signal is not None, "evaluated")
        published = (await run.admin.call("GET", PATH)).json
        shown = [*STATES, f"/admin/v1/decisions/{placed.headers['x-risk-decision-id']}"]
        answered = {path: (await run.admin.call("GET", path)).status for path in shown}
        status = (await run.admin.call("GET", "/admin/v1/status")).json["accounts"]["direct"]

    assert {path: code for path, code in answered.items() if code != 200} == {}
    assert [name for name in ("losses", "governor", "dead_man") if status[name] is None] == []
    money = published["components"]["schemas"]["RiskSnapshot"]["properties"]["total_notional"]
    assert money["type"] == "string", "as it is written, not as it could be read"
