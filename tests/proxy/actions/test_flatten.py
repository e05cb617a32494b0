"""Positions are closed, and called flat only when the venue is."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from proxy.actions import ActionRefused
from proxy.actions.results import OrderState, PositionState, RunState
from proxy.errors import AuditError
from proxy.simulator import Fault
from rules import EssLevel, Market
from tests.proxy.actions.conftest import QUICK, a_desk


async def test_cancels_then_closes_in_slices_and_says_flat_when_it_is(desk):
    """A long, a short, resting orders and a stop: everything is gone at the exchange when the job says so."""
    await desk.hold("BTCUSDT", "0.4")
    await desk.hold("ETHUSDT", "-3")
    opening = await desk.rest()
    stop = await desk.stop_loss()

    job = await desk.flatten()

    run = job.runs["desk"]
    assert (job.state, run.problem, run.flat) == (RunState.DONE, "", True)
    assert (desk.held("BTCUSDT"), desk.held("ETHUSDT"), desk.open_orders()) == (0, 0, [])
    states = {one.order_id: one.state for one in run.orders.values()}
    assert states[str(opening)] is OrderState.CANCELLED
    assert states[f"algo:{stop}"] in (OrderState.CANCELLED, OrderState.GONE)
    assert {one.state for one in run.positions.values()} == {PositionState.FLAT}
    assert all(len(one.sent) >= 4 for one in run.positions.values())
    assert list(run.stopwatch_ms) == ["blocked", "no_working_orders", "flat"]
    assert desk.run.app.latch.governing("desk").level is EssLevel.HALT


async def test_partial_fills_are_closed_to_the_end(desk):
    """A book with 0.03 for each order: as many slices as it takes, and the sum of them is the position."""
    await desk.hold("BTCUSDT", "0.4")
    desk.sim.thin("BTCUSDT", Decimal("0.03"))

    job = await desk.flatten()

    run = job.runs["desk"]
    assert (run.flat, desk.held()) == (True, 0)
    (position,) = run.positions.values()
    assert len(position.sent) >= 14
    traded = sum(trade.quantity for trade in desk.account.trades["futures"] if trade.side == "SELL")
    assert traded == Decimal("0.4")


async def test_never_says_flat_while_the_venue_refuses_to_close(desk):
    """Every closing order is refused: at the deadline a person is called, and nothing was called flat."""
    desk.pace(replace(QUICK, deadline_s=1.5))
    await desk.hold("BTCUSDT", "0.4")
    refused = b'{"code":-1003,"msg":"Too many requests."}'
    desk.sim.inject(Fault("status", times=None, match="POST /fapi/v1/order", status=400, body=refused))

    job = await desk.flatten()

    run = job.runs["desk"]
    assert (job.state, run.flat, "flat" in run.stopwatch_ms) == (RunState.NEEDS_PERSON, False, False)
    assert "not flat" in run.problem
    assert desk.held() == Decimal("0.4")
    assert {one.state for one in run.positions.values()} == {PositionState.OPEN}


async def test_a_few_rejects_only_delay_it(desk):
    """The venue refuses three closing orders, then takes them."""
    await desk.hold("BTCUSDT", "-0.4")
    no = b'{"code":-4131,"msg":"no"}'
    desk.sim.inject(Fault("status", times=3, match="POST /fapi/v1/order", status=400, body=no))

    job = await desk.flatten()

    assert (job.runs["desk"].flat, desk.held()) == (True, 0)


async def test_never_says_flat_while_cancels_fail(desk):
    """An opening order that cannot be cancelled keeps the account from being called flat, though nothing is held."""
    desk.pace(replace(QUICK, deadline_s=2.0))
    await desk.hold("BTCUSDT", "0.4")
    opening = await desk.rest()
    desk.sim.inject(Fault("status", times=None, match="DELETE /fapi/v1/order", status=503))

    job = await desk.flatten()

    run = job.runs["desk"]
    assert (job.state, run.flat, run.no_working_orders) == (RunState.NEEDS_PERSON, False, False)
    assert desk.held() == 0, "closing does not wait for ever for cancels"
    assert desk.open_orders() == [opening]
    assert next(iter(run.orders.values())).state is OrderState.WORKING


async def test_a_resting_order_that_fills_meanwhile_is_closed_as_well(desk):
    """Cancels fail at first, the resting order fills after the position was closed: what it opened is closed too."""
    await desk.hold("BTCUSDT", "0.4")
    opening = await desk.rest(quantity="0.2")
    desk.sim.inject(Fault("status", times=4, match="DELETE /fapi/v1/order", status=503))
    job = await desk.actions.flatten(scope="account:desk", accounts=["desk"], actor="kim", reason="a drill")
    await desk.run.until(lambda: any(one.attempts for one in job.runs["desk"].orders.values()), "a first cancel")
    desk.sim.fill(opening)

    await desk.ended(job)

    assert (job.runs["desk"].flat, desk.held(), desk.open_orders()) == (True, 0, [])
    assert job.runs["desk"].orders[Market.LINEAR, "BTCUSDT", str(opening)].state in (
        OrderState.GONE, OrderState.CANCELLED
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["drop_after_accept", "drop_before_accept", "garbage", "truncated"])
async def test_lost_answers_never_sell_more_than_is_held(desk, kind):
    """Half of the answers to closing orders are lost: the fate of each is looked up, and nothing flips."""
    await desk.hold("BTCUSDT", "0.4")
    for _ in range(3):
        desk.sim.inject(Fault(kind, times=1, match="POST /fapi/v1/order"))

    job = await desk.flatten()

    assert (job.runs["desk"].flat, desk.held()) == (True, 0)
    held = Decimal("0.4")
    for trade in desk.account.trades["futures"]:
        held -= trade.quantity if trade.side == "SELL" else 0
        assert held >= 0 or trade.side == "BUY"


async def test_readings_that_fail_are_never_taken_for_flat(desk):
    """Positions cannot be read at all: nothing is sent on old knowledge, and nothing is called flat."""
    desk.pace(replace(QUICK, deadline_s=1.0))
    await desk.hold("BTCUSDT", "0.4")
    sent = len(desk.sim.orders_received)
    desk.sim.inject(Fault("status", times=None, match="GET /fapi/v3/positionRisk", status=503))

    job = await desk.flatten()

    assert (job.state, job.runs["desk"].flat) == (RunState.NEEDS_PERSON, False)
    assert len(desk.sim.orders_received) == sent
    assert "cannot be read" in job.runs["desk"].problem


async def test_a_release_ends_it_in_the_same_step(desk):
    """Somebody releases HALT in the middle: not one more order of the proxy's own leaves."""
    await desk.hold("BTCUSDT", "0.4")
    desk.sim.thin("BTCUSDT", Decimal("0.001"))
    latch = desk.run.app.latch
    job = await desk.actions.flatten(scope="account:desk", accounts=["desk"], actor="kim", reason="a drill")
    await desk.run.until(lambda: desk.held() < Decimal("0.399"), "a first slice")
    await latch.release(
        scope="account:desk", actor="kim", reason="enough", expected_epoch=latch.stop_of("account:desk").epoch
    )
    left = desk.held()

    await desk.ended(job)

    assert (job.state, job.runs["desk"].flat) == (RunState.NEEDS_PERSON, False)
    assert "released" in job.runs["desk"].problem
    assert desk.held() >= left - Decimal("0.001"), "at most the one that was on its way"


async def test_hedge_legs_are_closed_each_for_itself(tmp_path):
    """A long and a short leg of one symbol: both go to zero, and no leg is opened."""
    async with a_desk(tmp_path, prepare=_hedged) as desk:
        for side, leg in (("BUY", "LONG"), ("SELL", "SHORT")):
            reply = await desk.bot().order(
                side=side, positionSide=leg, type="MARKET", quantity="0.1", price=None, timeInForce=None
            )
            assert reply.status == 200, reply

        job = await desk.flatten()

        assert job.runs["desk"].flat
        assert (desk.held(side="LONG"), desk.held(side="SHORT"), desk.held()) == (0, 0, 0)


def _hedged(sim):
    sim.accounts["desk"].hedge_mode = True


async def test_with_streams_that_drop_it_rests_on_readings(tmp_path):
    """The account's stream is cut while positions are closed: flat is said by readings alone."""
    async with a_desk(tmp_path, streams=True) as desk:
        await desk.hold("BTCUSDT", "0.4")
        desk.sim.thin("BTCUSDT", Decimal("0.05"))
        job = await desk.actions.flatten(scope="account:desk", accounts=["desk"], actor="kim", reason="a drill")
        await desk.sim.streams.stop()

        await desk.ended(job)

        assert (job.runs["desk"].flat, desk.held()) == (True, 0)


async def test_spot_coins_are_sold_only_if_asked_for(tmp_path):
    """Holdings may be meant: without `spot` an account of coins is refused, with it they become dollars."""
    async with a_desk(tmp_path, markets=("spot",)) as desk:
        desk.account.balances["BTC"].free = Decimal("0.5")
        with pytest.raises(ActionRefused, match="spot"):
            await desk.flatten()
        assert desk.run.app.latch.governing("desk").level is EssLevel.CLEAR, "a refusal changes nothing"

        job = await desk.flatten(spot=True)

        assert (job.state, job.runs["desk"].flat) == (RunState.DONE, True)
        assert desk.account.balances["BTC"].free == 0


async def test_what_it_sends_is_on_record_and_no_alarm(desk):
    """Each closing order has a recorded allow with source `action`, and none of them is taken for a bypass."""
    await desk.hold("BTCUSDT", "0.4")

    job = await desk.flatten()

    decisions = [one for one in desk.records("decision") if one.get("source") == "action"]
    sent = [one["decision_id"] for position in job.runs["desk"].positions.values() for one in position.sent]
    assert [one["decision_id"] for one in decisions] == sent
    assert {(one["decision"], one["reducing"], one["job"]) for one in decisions} == {("allow", True, job.id)}
    assert [one["result"] for one in desk.records("action")] == ["begun", "done"]
    assert desk.run.app.feeds.bypass_count("desk") == 0


async def test_without_a_record_nothing_is_begun(desk, monkeypatch):
    """The audit cannot be written: the account is halted all the same, and nothing is sent."""
    await desk.hold("BTCUSDT", "0.4")
    sent = len(desk.sim.received)

    def full(_):
        raise AuditError("no room")

    monkeypatch.setattr(desk.run.app.audit, "append", full)
    with pytest.raises(AuditError):
        await desk.flatten()

    assert desk.run.app.latch.governing("desk").level is EssLevel.HALT
    assert [one for one in list(desk.sim.received)[sent:] if one.method != "GET"] == []


async def test_asked_for_twice_it_runs_once(desk):
    """The same action asked for again while it runs is the same job."""
    await desk.hold("BTCUSDT", "0.4")
    asked = {"scope": "account:desk", "accounts": ["desk"], "actor": "kim", "reason": "a drill"}
    first, second = await desk.actions.flatten(**asked), await desk.actions.flatten(**asked)
    await desk.ended(first)

    assert first is second


async def test_one_cut_off_by_a_restart_goes_to_a_person(desk):
    """The record has a beginning and no end: the next start says so once, and does not go on by itself."""
    app = desk.run.app
    begun = {
        "kind": "action", "job": "flatten-1", "act": "flatten", "scope": "account:desk", "actor": "kim",
        "reason": "r", "spot": False, "of_accounts": ["desk"], "result": "begun",
    }  # fmt: skip
    app.audit.append(begun)
    sent = len(desk.sim.orders_received)

    first = desk.actions.recall(app.settings.audit_dir)
    second = desk.actions.recall(app.settings.audit_dir)

    job = desk.actions.get("flatten-1")
    assert (first, second) == (["flatten-1"], [])
    assert (job.state, job.runs["desk"].flat) == (RunState.NEEDS_PERSON, False)
    assert len(desk.sim.orders_received) == sent


async def test_protection_that_stands_in_the_way_is_cancelled(desk):
    """The venue refuses a close because reduce-only orders hold the position: those go, and it is closed."""
    await desk.hold("BTCUSDT", "0.4")
    kept = await desk.rest(side="SELL", price="90000", reduceOnly="true", quantity="0.4")
    body = b'{"code":-2022,"msg":"ReduceOnly Order is rejected."}'
    desk.sim.inject(Fault("status", times=1, match="POST /fapi/v1/order", status=400, body=body))

    job = await desk.flatten()

    run = job.runs["desk"]
    assert (run.flat, desk.held(), desk.open_orders()) == (True, 0, [])
    assert run.orders[Market.LINEAR, "BTCUSDT", str(kept)].state is OrderState.CANCELLED
