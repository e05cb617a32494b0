"""Actions over the admin API: 202 with an id, and what became of it under that id."""

from __future__ import annotations

import asyncio

from tests.proxy.actions.conftest import a_desk

ACTIONS = "/admin/v1/actions"


async def ended(desk, job_id: str) -> dict:
    """Ask until it has ended."""
    async with asyncio.timeout(30):
        while (reply := await desk.run.admin.call("GET", f"{ACTIONS}/{job_id}")).json["state"] == "running":
            await asyncio.sleep(0.05)
    return reply.json


async def test_flatten_answers_at_once_and_tells_by_id(tmp_path):
    """The answer is 202 with an id; under it every order and position, and the stopwatch."""
    async with a_desk(tmp_path) as desk:
        await desk.hold("BTCUSDT", "0.4")
        opening = await desk.rest()

        reply = await desk.run.admin.call(
            "POST", f"{ACTIONS}/flatten", scope="account:desk", actor="kim", reason="a try", confirm="flatten"
        )
        found = await ended(desk, reply.json["id"])
        listed = await desk.run.admin.call("GET", ACTIONS)

        (run,) = found["accounts"]
        assert (reply.status, found["state"], run["flat"], desk.held()) == (202, "done", True, 0)
        assert [one["order_id"] for one in run["orders"]] == [str(opening)]
        assert run["positions"][0]["quantity_before"] == "0.400"
        assert set(run["stopwatch_ms"]) == {"blocked", "no_working_orders", "flat"}
        assert [one["id"] for one in listed.json["actions"]] == [found["id"]]


async def test_what_is_not_said_clearly_is_refused(tmp_path):
    """No confirmation, no account of that name, a scope of a symbol, an id of nothing: nothing is sent."""
    async with a_desk(tmp_path) as desk:
        await desk.hold("BTCUSDT", "0.4")
        sent = len(desk.sim.orders_received)
        who = {"actor": "kim", "reason": "a try"}
        for status, changes in (
            (422, {"scope": "account:desk"}),
            (422, {"scope": "account:nobody", "confirm": "flatten"}),
            (422, {"scope": "symbol:BTCUSDT", "confirm": "flatten"}),
            (422, {"scope": "account:desk", "confirm": "yes"}),
        ):
            reply = await desk.run.admin.call("POST", f"{ACTIONS}/flatten", **who, **changes)
            assert reply.status == status, reply
        assert (await desk.run.admin.call("GET", f"{ACTIONS}/nothing")).status == 404
        assert len(desk.sim.orders_received) == sent
        assert desk.run.app.latch.governing("desk").level.name == "CLEAR"


async def test_cancel_all_and_a_drill(tmp_path):
    """Cancelling over all accounts, and a drill beside it that touches none of them."""
    async with a_desk(tmp_path) as desk:
        await desk.rest()
        who = {"actor": "kim", "reason": "a try"}
        cancels = await desk.run.admin.call("POST", f"{ACTIONS}/cancel-all", scope="global", **who)
        drill = await desk.run.admin.call("POST", f"{ACTIONS}/drill", actor="kim")
        found, drilled = await ended(desk, cancels.json["id"]), await ended(desk, drill.json["id"])

        assert (cancels.status, drill.status) == (202, 202)
        assert sorted(run["account"] for run in found["accounts"]) == ["desk", "direct"]
        assert (found["state"], desk.open_orders()) == ("done", [])
        assert (drilled["state"], drilled["drill"]["exchange_is_flat"]) == ("done", True)


async def test_metrics_count_what_needs_a_person(tmp_path):
    """A gauge by kind and state."""
    async with a_desk(tmp_path) as desk:
        await desk.cancel_all()
        page = await desk.run.admin.call("GET", "/metrics")

        assert b'risk_gate_actions{kind="cancel_all",state="done"} 1.0' in page.body
        assert b'risk_gate_actions{kind="flatten",state="needs_person"} 0.0' in page.body
