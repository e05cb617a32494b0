"""Global risk over HTTP: 503 without an engine, 404 before the first evaluation, then what was measured."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from proxy.admin import AdminParts, build_admin
from proxy.global_risk import GlobalRisk
from tests.proxy.admin.conftest import TOKEN, Admin
from tests.proxy.global_risk.conftest import Desk, open_desk, place

SHOWN = ("global", "snapshot", "exposure", "var", "systemic")


class RiskAdmin(Admin):
    """A listener with an engine, and the desk it measures."""

    desk: Desk
    risk: GlobalRisk


def parts_of(admin: Admin, risk: GlobalRisk | None) -> AdminParts:
    """What the shared listener is made of, with an engine."""
    return AdminParts(
        ess=admin.latch, audit=admin.audit, store=admin.store, values=None, status=dict, ready=lambda: (True, {}),
        clock=admin.clock, version="1.2.3", accounts=(), registry=CollectorRegistry(), risk=risk,
    )  # fmt: skip


@pytest.fixture
async def risky(admin):
    """A listener whose desk has one account, read and empty, and no history."""
    desk = open_desk(place("main"))
    desk.hold()
    risk = GlobalRisk(desk.book, desk.marks, lambda: desk.limits, {}, desk.clock)
    runner = web.AppRunner(build_admin(parts_of(admin, risk), token=TOKEN.encode()))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as client:
        found = RiskAdmin(client, admin.latch, admin.audit, admin.clock, f"http://127.0.0.1:{runner.addresses[0][1]}")
        found.desk, found.risk = desk, risk
        yield found
    await runner.cleanup()


@pytest.mark.parametrize("path", [*SHOWN, "status", "health", "schema"])
async def test_without_an_engine_every_path_answers_503(admin, path):
    """And says why, as a problem document."""
    status, problem, headers = await admin.get(f"/risk/{path}")

    assert (status, problem["status"], headers["Content-Type"]) == (503, 503, "application/problem+json")
    assert "global_risk.source" in problem["detail"]
    assert (await admin.post("/risk/evaluate"))[0] == 503


@pytest.mark.parametrize("path", SHOWN)
async def test_before_the_first_evaluation_there_is_nothing(risky, path):
    """404, not zeros."""
    status, problem, _ = await risky.get(f"/risk/{path}")

    assert (status, problem["status"]) == (404, 404)


@pytest.mark.parametrize("path", [*SHOWN, "status", "health", "schema"])
async def test_every_path_needs_the_token(risky, path):
    """What a desk holds is nobody else's business."""
    assert (await risky.get(f"/risk/{path}", token=None))[0] == 401
    assert (await risky.post("/risk/evaluate", token="wrong"))[0] == 401


async def test_evaluate_makes_a_signal_that_every_path_shows(risky):
    """The answer is the signal; its parts are under their own paths."""
    risky.desk.hold(BTCUSDT="0.1")
    status, signal, _ = await risky.post("/risk/evaluate")
    assert (status, signal["risk_level"]) == (200, "WARNING")
    shown = {path: (await risky.get(f"/risk/{path}"))[1] for path in SHOWN}

    assert shown["global"] == signal
    assert shown["snapshot"] == signal["snapshot"]
    assert shown["snapshot"]["total_notional"] == "5000.00000000"
    assert shown["exposure"] == signal["exposure_matrix"]
    assert shown["systemic"]["systemic_signals"] == []
    assert (shown["var"]["var_result"], shown["var"]["es_result"]) == (None, None)
    assert "BTCUSDT has 0 daily returns, 30 are needed" in shown["var"]["unknown"]


async def test_var_is_shown_once_it_is_known(risky):
    """Money as text, with its thresholds."""
    risky.desk.hold(BTCUSDT="0.1")
    risky.risk.engine.history.put(
        next(iter(risky.risk.engine.wanted())), {risky.desk.today - n: 100.0 + n % 2 for n in range(1, 62)}
    )
    await risky.post("/risk/evaluate")
    _, found, _ = await risky.get("/risk/var")

    assert Decimal(found["var_result"]["var_95"]) > 0
    assert Decimal(found["var_result"]["threshold_95"]) == Decimal(1000)
    assert found["es_result"]["passes"] is True


async def test_evaluate_takes_an_empty_object_and_nothing_else(risky):
    """Unknown keys are refused, and so is what is no JSON."""
    assert (await risky.post("/risk/evaluate", {"force": True}))[0] == 422
    assert (await risky.call("POST", "/risk/evaluate", data="x"))[0] == 415
    assert risky.risk.engine.signal is None


async def test_what_cannot_be_evaluated_is_said(risky):
    """503 with what is missing; the last signal stays."""
    await risky.post("/risk/evaluate")
    before = (await risky.get("/risk/global"))[1]
    risky.desk.clock.advance(to=risky.desk.clock.now() + timedelta(seconds=61))
    status, problem, _ = await risky.post("/risk/evaluate")

    assert status == 503
    assert "older than 60 s" in problem["detail"]
    assert (await risky.get("/risk/global"))[1] == before
    assert (await risky.get("/risk/status"))[1]["age_s"] == 61


async def test_health_is_503_until_the_engine_has_evaluated_and_when_that_is_long_ago(risky):
    """Also for whoever only looks at the status."""
    assert (await risky.get("/risk/health"))[0] == 503
    assert (await risky.get("/risk/status"))[1]["risk_level"] is None
    assert await risky.risk.engine.read_once()
    status, health, _ = await risky.get("/risk/health")
    assert (status, health["ready"], health["error"]) == (200, True, None)
    _, short, _ = await risky.get("/risk/status")
    assert (short["risk_level"], short["ready"], short["ess_action_required"]) == ("INFO", True, False)
    assert short["daily_returns"] == {"binance.linear.BTCUSDT": 0}
    risky.desk.clock.advance(to=risky.desk.clock.now() + timedelta(seconds=61))
    await risky.risk.engine.read_once()
    status, health, _ = await risky.get("/risk/health")

    assert (status, health["ready"], health["failures"]) == (503, False, 1)


async def test_the_schema_is_served(risky):
    """With the signal's fields."""
    status, schema, _ = await risky.get("/risk/schema")

    assert status == 200
    assert {"risk_level", "ess_action_required", "critical_issues"} <= set(schema["properties"])
