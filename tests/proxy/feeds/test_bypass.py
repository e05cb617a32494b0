"""Whose order is it: sent from here, the venue's own, or placed past the proxy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from proxy.book import AccountPlace, Book, Working
from proxy.clock import ManualClock
from proxy.exchanges.base import Answer, AnswerKind, OrderState
from proxy.feeds.bypass import GRACE_MAX_S, GRACE_S, BypassWatch
from proxy.reservations import Reservations
from rules import CLEAR, Bucket, Caller, Facts, Market, Order, OrderType, Side, SymbolFacts, WorkingOrder

D = Decimal
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
HERE = ("main", Market.LINEAR)


class Met:
    """A watch, and what it raised."""

    def __init__(self, recorded=None) -> None:
        self.clock = ManualClock(NOW)
        self.book = Book([AccountPlace(name="main", exchange="binance", markets=frozenset(Market))])
        self.reservations = Reservations(self.book, self.clock)
        self.raised: list[tuple[str, str]] = []
        self.watch = BypassWatch(
            self.reservations, self.clock, recorded=recorded,
            on_bypass=lambda account, bypass: self.raised.append((account, bypass.order_id)),
        )  # fmt: skip

    def meet(
        self, order_id: str = "7", client_order_id: str | None = "name", created_ms: int = NOW_MS, *,
        side: Side = Side.BUY, remaining: str = "1",
    ) -> None:  # fmt: skip
        """See an order at the venue."""
        order = WorkingOrder(
            order_id=order_id, client_order_id=client_order_id, side=side, bucket=Bucket.BOTH, remaining=D(remaining)
        )
        self.watch.meet(*HERE, Working("BTCUSDT", order), created_ms)

    def send(self, client_order_id: str | None) -> None:
        """Let an order through."""
        order = Order(
            symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=D(1), price=D(1),
            client_order_id=client_order_id,
        )  # fmt: skip
        caller = Caller(account="main", exchange="binance", strategy="s", bot="b")
        facts = Facts(now=NOW, caller=caller, stop=CLEAR, symbols={"BTCUSDT": SymbolFacts()})
        self.reservations.reserve("d", caller, "k", [order], [D(1)], facts)

    def accepted(self, order_id: str) -> None:
        """The venue's answer comes."""
        state = OrderState(kind=AnswerKind.ACCEPTED, order_id=order_id)
        self.reservations.settle("d", Answer(kind=AnswerKind.ACCEPTED, orders=(state,)), NOW)

    async def after(self, seconds: float) -> list[tuple[str, str]]:
        """What was raised some seconds later."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))
        await self.watch.tick(*HERE)
        return self.raised


async def test_a_stranger_is_raised_after_a_moment_and_only_once():
    """An order may be told of before its answer has come."""
    met = Met()
    met.meet()
    assert await met.after(GRACE_S - 0.1) == []
    assert await met.after(0.2) == [("main", "7")]
    met.meet()
    assert len(await met.after(60)) == 1
    assert met.watch.counts == {"main": 1}


async def test_an_order_that_was_sent_under_a_name_is_ours():
    """Whether or not its answer came; another of the same name is not."""
    met = Met()
    met.send("name")
    met.meet("7")
    met.meet("8")
    assert await met.after(GRACE_S) == [("main", "8")]


async def test_an_order_without_a_name_is_ours_once_its_answer_says_which_it_is():
    """Until then it is waited for, as long as an answer may take."""
    met = Met()
    met.send(None)
    met.meet("7", "x-given-by-the-venue")
    met.meet("9", "x-another")
    assert await met.after(GRACE_S + 1) == []
    met.accepted("7")
    assert await met.after(1) == [("main", "9")], "the answer was for one of the two"


async def test_an_order_of_ours_whose_fate_nobody_knows_is_not_called_a_bypass():
    """It has no name, its answer was lost: what turns up on that symbol may be it."""
    met = Met()
    met.send(None)
    met.reservations.lost("d")
    met.meet("7", "x")
    assert await met.after(GRACE_MAX_S + 1) == []


async def test_one_order_of_unknown_fate_hides_one_order_and_no_more():
    """It was sent once: a second order that could be it is somebody else's."""
    met = Met()
    met.send(None)
    met.reservations.lost("d")
    met.meet("7", "x")
    met.meet("8", "y")
    assert await met.after(GRACE_MAX_S + 1) == [("main", "8")]
    met.meet("9", "z")
    assert await met.after(GRACE_MAX_S + 1) == [("main", "8"), ("main", "9")]


@pytest.mark.parametrize(
    ("stranger", "raised"),
    [
        pytest.param({"side": Side.SELL}, True, id="other side"),
        pytest.param({"remaining": "2"}, True, id="larger"),
        pytest.param({"remaining": "0.4"}, False, id="partly filled"),
    ],
)
async def test_an_order_of_unknown_fate_hides_none_that_it_cannot_be(stranger, raised):
    """Side and size say that it is another one; less may be what is left of it."""
    met = Met()
    met.send(None)
    met.reservations.lost("d")
    met.meet("7", "x", **stranger)
    assert await met.after(GRACE_MAX_S + 1) == ([("main", "7")] if raised else [])


@pytest.mark.parametrize("name", ["autoclose-1", "adl_autoclose", "settlement_autoclose-2"])
async def test_what_the_venue_does_by_itself_is_no_bypass(name):
    """Counted and told apart; on spot there is no such thing."""
    met = Met()
    met.meet("7", name)
    assert await met.after(60) == []
    assert met.watch.venues_own == 1
    order = WorkingOrder(
        order_id="8", client_order_id=name, side=Side.BUY, bucket=Bucket.BOTH, remaining=D(1)
    )
    met.watch.meet("main", Market.SPOT, Working("BTCUSDT", order), NOW_MS)
    met.clock.advance(to=NOW + timedelta(seconds=90))
    await met.watch.tick("main", Market.SPOT)
    assert met.raised == [("main", "8")]


async def test_what_a_conditional_order_became_is_not_met_again():
    """Whoever sent that one has been asked for already."""
    met = Met()
    met.meet("7")
    met.watch.child(*HERE, ("BTCUSDT", "algo:1"), ("BTCUSDT", "7"))
    met.watch.child(*HERE, ("BTCUSDT", "algo:2"), ("BTCUSDT", "8"))
    met.meet("8")
    assert await met.after(60) == []


@pytest.mark.parametrize(("created_ms", "raised"), [(NOW_MS - 1000, []), (NOW_MS, [("main", "7")])])
async def test_only_what_is_older_than_this_process_may_be_in_an_earlier_record(created_ms, raised):
    """What was placed since, this process itself would know."""
    asked = []

    async def recorded(bypasses):
        asked.extend(bypasses)
        return frozenset((bypass.symbol, bypass.order_id) for bypass in bypasses)

    met = Met(recorded)
    met.meet("7", created_ms=created_ms)
    assert await met.after(GRACE_S) == raised
    assert bool(asked) is not bool(raised)


async def test_a_triggered_order_of_ours_is_ours_by_its_name():
    """Where no stream says what a conditional order became, its name does, for one order."""
    met = Met()
    met.reservations.sent.accepted(*HERE, "BTCUSDT", "algo:5", None)
    met.meet("algo:5", "given-by-the-venue")
    met.meet("8", "given-by-the-venue")
    met.meet("9", "given-by-the-venue")
    assert await met.after(60) == [("main", "9")]


@pytest.mark.parametrize("triggers", [True, False])
async def test_the_name_of_a_conditional_order_is_used_up_with_it(triggers):
    """Cancelled, or told what it became: a second order under its name was placed by somebody else."""
    met = Met()
    met.reservations.sent.accepted(*HERE, "BTCUSDT", "algo:5", None)
    met.meet("algo:5", "mine")
    if triggers:
        met.watch.child(*HERE, ("BTCUSDT", "algo:5"), ("BTCUSDT", "8"))
        met.meet("8", "mine")
    else:
        met.watch.ended(*HERE, ("BTCUSDT", "algo:5"))
    met.meet("9", "mine")
    assert await met.after(60) == [("main", "9")]


async def test_orders_sent_later_do_not_hide_a_stranger():
    """What was let through after a stranger had been met cannot be that one, however many follow."""
    met = Met()
    met.meet("7", "x-by-somebody")
    await met.after(0.1)
    met.send(None)
    assert await met.after(GRACE_S) == [("main", "7")]


async def test_a_record_that_cannot_be_read_excuses_nobody():
    """The alert is raised all the same."""

    async def recorded(bypasses):
        raise OSError("no such file")

    met = Met(recorded)
    met.meet("7", created_ms=NOW_MS - 1000)
    assert await met.after(GRACE_S) == [("main", "7")]


async def test_accounts_are_told_apart():
    """The tick of one raises nothing of another."""
    met = Met()
    met.meet()
    met.clock.advance(to=NOW + timedelta(seconds=60))
    await met.watch.tick("other", Market.LINEAR)
    await met.watch.tick("main", Market.SPOT)
    assert met.raised == []
