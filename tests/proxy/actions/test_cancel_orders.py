"""Working orders are cancelled, protective ones kept, and it is said when a later reading shows it."""

from __future__ import annotations

from dataclasses import replace

from proxy.actions.results import OrderState, RunState
from proxy.simulator import Fault
from rules import EssLevel
from tests.proxy.actions.conftest import QUICK, a_desk
from tests.runs import RawBot, key_of


async def test_cancels_what_could_open_and_keeps_what_protects(desk):
    """Opening orders and an opening trigger go; a reduce-only order and a closing stop stay."""
    await desk.hold("BTCUSDT", "0.4")
    opening = await desk.rest()
    trigger = await desk.stop_loss(side="BUY", triggerPrice="90000", closePosition=None, quantity="0.1")
    kept = await desk.rest(side="SELL", price="90000", reduceOnly="true")
    stop = await desk.stop_loss()

    job = await desk.cancel_all()

    run = job.runs["desk"]
    assert (job.state, run.no_working_orders, run.flat) == (RunState.DONE, True, False)
    assert sorted(desk.open_orders()) == sorted([kept, stop])
    assert {one.order_id: one.state for one in run.orders.values()} == {
        str(opening): OrderState.CANCELLED, f"algo:{trigger}": OrderState.CANCELLED,
        str(kept): OrderState.KEPT, f"algo:{stop}": OrderState.KEPT,
    }  # fmt: skip
    assert desk.run.app.latch.governing("desk").level is EssLevel.REDUCE_ONLY
    assert desk.held() != 0


async def test_failing_cancels_are_tried_again(desk):
    """Five cancels fail, then the venue takes them: cancelled only then."""
    orders = [await desk.rest(price=str(59000 - number)) for number in range(3)]
    desk.sim.inject(Fault("status", times=5, match="DELETE /fapi/v1/order", status=503))

    job = await desk.cancel_all()

    results = list(job.runs["desk"].orders.values())
    assert (job.state, desk.open_orders()) == (RunState.DONE, [])
    assert sorted(one.order_id for one in results) == sorted(map(str, orders))
    assert sum(one.attempts for one in results) == 8


async def test_never_says_cancelled_while_the_venue_lists_it(desk):
    """The venue answers each cancel with yes and keeps the order: a person is called."""
    desk.pace(replace(QUICK, deadline_s=1.0))
    opening = await desk.rest()
    yes = b'{"status":"CANCELED"}'
    desk.sim.inject(Fault("status", times=None, match="DELETE /fapi/v1/order", status=200, body=yes))

    job = await desk.cancel_all()

    run = job.runs["desk"]
    assert (job.state, run.no_working_orders, desk.open_orders()) == (RunState.NEEDS_PERSON, False, [opening])
    assert [one.state for one in run.orders.values()] == [OrderState.WORKING]
    assert "still work" in run.problem


async def test_lost_answers_to_cancels_are_settled_by_a_reading(desk):
    """The cancel was carried out and its answer lost: gone, not cancelled, because that is all that is known."""
    await desk.rest()
    desk.sim.inject(Fault("drop_after_accept", times=1, match="DELETE /fapi/v1/order"))

    job = await desk.cancel_all()

    assert job.state is RunState.DONE
    assert [one.state for one in job.runs["desk"].orders.values()] == [OrderState.GONE]


async def test_an_order_of_unknown_fate_keeps_it_open(desk):
    """A bot's order whose answer was lost may still arrive: no working orders is not said before it is looked up."""
    desk.pace(replace(QUICK, deadline_s=6.0))
    desk.sim.inject(Fault("never_answer", times=1, match="POST /fapi/v1/order", executes=True))
    task = desk.run.app.tasks.spawn(desk.bot().order(), name="a bot that waits")
    await desk.run.until(lambda: desk.open_orders(), "the order at the exchange")
    job = await desk.actions.cancel_all(scope="account:desk", accounts=["desk"], actor="kim", reason="a drill")
    await desk.run.until(lambda: not desk.open_orders(), "the order cancelled")

    assert job.state is RunState.RUNNING, "in flight: nobody knows yet what the bot's order became"
    task.cancel()
    await desk.ended(job)
    assert desk.open_orders() == []


async def test_an_order_that_arrives_while_a_reading_is_made_is_not_missed(desk, monkeypatch):
    """In flight when the reading began, at the exchange after it was made, answered when it ended: read once more."""
    late = []
    in_flight = ["a decision"]
    place = next(iter(desk.actions._desks.values())).__class__
    original = place.read

    async def read(self, market):
        picture = await original(self, market)
        if in_flight:
            past = RawBot(desk.sim.url, "late", key_of("venue-desk"))
            late.append((await past.order()).status)
            await past.close()
            in_flight.clear()
        return picture

    monkeypatch.setattr(place, "read", read)
    monkeypatch.setattr(place, "of_bots", lambda self: list(in_flight))

    job = await desk.cancel_all()

    assert (job.state, late, desk.open_orders()) == (RunState.DONE, [200], [])


async def test_spot_pairs_that_guard_are_kept(tmp_path):
    """A sell pair with a stop guards what is held: both halves stay; a bid goes."""
    async with a_desk(tmp_path, markets=("spot",)) as desk:
        bid = await desk.bot().order(path="/api/v3/order", price="50000")
        pair = await desk.bot().request(
            "POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="SELL", quantity="0.1",
            aboveType="LIMIT_MAKER", abovePrice="80000", belowType="STOP_LOSS", belowStopPrice="40000",
        )  # fmt: skip
        assert (bid.status, pair.status) == (200, 200), (bid, pair)

        job = await desk.cancel_all()

        states = [one.state for one in job.runs["desk"].orders.values()]
        assert sorted(states) == sorted([OrderState.CANCELLED, OrderState.KEPT, OrderState.KEPT])
        assert len(desk.open_orders()) == 2
