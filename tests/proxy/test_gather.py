"""Gather: the facts of a request, from memory."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from proxy.book import AccountPlace, Book, Quote
from proxy.clock import ManualClock
from proxy.exchanges.base import Answer, AnswerKind
from proxy.gather import Gather, market_of
from proxy.reservations import Reservations
from rules import (
    CLEAR,
    Bucket,
    Caller,
    Fact,
    Filters,
    GlobalRisk,
    Governing,
    LeverageChange,
    Limits,
    Losses,
    MarginChange,
    MarginKind,
    Market,
    Order,
    OrderType,
    Position,
    QuantityCut,
    Replaced,
    ReplaceMode,
    RiskLevel,
    RiskSource,
    Side,
    Stop,
    Verdict,
    evaluate,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
D = Decimal
CALLER = Caller(account="main", exchange="binance", strategy="grid", bot="bot-1")
RISK = Fact(GlobalRisk(level=RiskLevel.INFO), NOW)
LOSSES = Fact(Losses(day_start_equity=D(1), week_start_equity=D(1), high_water_mark=D(1)), NOW)


class Feeds:
    """A latch, a risk signal and loss figures that answer what they are given."""

    def of_order(self, caller: Caller, symbols: Collection[str]) -> Stop:
        """No stop."""
        return CLEAR

    def latest(self) -> Fact[GlobalRisk]:
        """The signal."""
        return RISK

    def losses(self, account: str, equity: object, now: datetime) -> Fact[Losses]:
        """The figures."""
        return LOSSES


def order(symbol: str = "BTCUSDT", **more: object) -> Order:
    """A limit buy."""
    return Order(
        symbol=symbol, side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=D(1), **more  # type: ignore[arg-type]
    )


@pytest.fixture
def book() -> Book:
    """One futures account with a position."""
    book = Book([AccountPlace(name="main", exchange="binance", markets=frozenset({Market.LINEAR}))])
    found = Filters(base_asset="BTC", quote_asset="USDT", quantity_step=D(1), quantity_min=D(1))
    book.apply_filters("binance", Market.LINEAR, {"BTCUSDT": found}, as_of=NOW)
    book.apply_prices("binance", Market.LINEAR, {"BTCUSDT": Quote(D(50000))}, as_of=NOW, complete=True)
    book.apply_snapshot(
        "main", Market.LINEAR, as_of=NOW, positions={"BTCUSDT": Position(both=D(2))}, orders=[]
    )
    book.apply_equity("main", Market.LINEAR, equity=D(1000), available=D(900), as_of=NOW)
    book.apply_hedge_mode("main", hedge_mode=False, as_of=NOW)
    book.apply_leverage("main", {"BTCUSDT": D(5)}, as_of=NOW)
    book.apply_leverage_max("main", {"BTCUSDT": D(125)})
    return book


@pytest.fixture
def gather(book: Book) -> Gather:
    """A gather with everything there."""
    clock = ManualClock(NOW)
    return Gather(book, Reservations(book, clock), Feeds(), Feeds(), clock=clock, losses=Feeds())


def test_gathers_everything_that_is_known(gather):
    """Every fact of the request's symbol and account is there with its instant."""
    facts = gather.facts(CALLER, [order()], NOW)
    symbol = facts.of("BTCUSDT")
    assert symbol.price.value.mark == 50000
    assert symbol.position == Fact(Position(both=D(2)), NOW)
    assert (symbol.leverage.value, symbol.leverage_max) == (5, 125)
    assert symbol.filters.value.base_asset == "BTC"
    assert facts.equity == Fact(D(1000), NOW)
    assert (facts.risk, facts.losses, facts.stop) == (RISK, LOSSES, CLEAR)
    assert facts.hedge_mode.value is False
    assert facts.exposure.value.account == 100000
    assert facts.open_positions.value == {("BTCUSDT", Bucket.BOTH)}
    assert facts.now == NOW


def test_gathers_each_symbol_of_a_batch(gather):
    """A batch over two symbols has facts of both; the unknown one has no price."""
    facts = gather.facts(CALLER, [order(), order("ETHUSDT"), order()], NOW)
    assert set(facts.symbols) == {"BTCUSDT", "ETHUSDT"}
    assert facts.of("ETHUSDT").price is None
    assert facts.of("ETHUSDT").position.value == Position()


def limited(**limits: object) -> Limits:
    """No limits but these."""
    return Limits(policy_revision=1, profile="P", capital_profile="c", **limits)  # type: ignore[arg-type]


def test_sums_of_the_account_are_gathered_only_for_limits_that_need_them(gather):
    """Without such a limit they are left out, with one of any symbol they are there, from the same reading."""
    without, with_one = limited(exposure_account_max=D(9)), limited(exposure_asset_max=D(9))
    of_another_symbol = limited(by_symbol={"ETHUSDT": with_one})

    assert gather.facts(CALLER, [order()], NOW).sums is None
    assert gather.facts(CALLER, [order()], NOW, without).sums is None
    for limits in (with_one, of_another_symbol, with_one):
        assert gather.facts(CALLER, [order()], NOW, limits).sums.value.assets["BTC"] == 100000
    stranger = Caller(account="nobody", exchange="binance", strategy="", bot="b")
    assert gather.facts(stranger, [order()], NOW, with_one).sums is None


class Asked(Feeds):
    """A governor and VaR that keep what they were asked."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def governing(self, *_: object) -> Stop:
        """No stop, of an account."""
        return CLEAR

    def directive(self, *asked: object) -> str:
        """A word."""
        self.calls.append(asked)
        return "word"

    def room(self, *asked: object) -> str:
        """Room."""
        self.calls.append(asked)
        return "room"


GOVERNING = Governing(
    loss_daily_max=D(1), cautious_at=D(1), emergency_at=D(2), streak_cautious=5, streak_block=8,
    streak_cooldown_s=D(1), signal_counts=True,
)  # fmt: skip


def test_governor_and_var_are_asked_only_where_the_limits_want_them(book):
    """Each by its own limit, with the facts of this very request; nobody asks otherwise."""
    clock, asked = ManualClock(NOW), Asked()
    gather = Gather(
        book, Reservations(book, clock), asked, asked, clock=clock, losses=asked, governor=asked, var=asked.room
    )
    for limits in (None, limited()):
        facts = gather.facts(CALLER, [order()], NOW, limits)
        assert (facts.governor, facts.var, asked.calls) == (None, None, [])

    governed = limited(governor=GOVERNING)
    facts = gather.facts(CALLER, [order()], NOW, governed)
    assert (facts.governor, facts.var) == ("word", None)
    assert asked.calls == [("main", governed, facts.losses, facts.equity, facts.risk, NOW)]
    assert gather.account(CALLER, NOW, governed).governor == "word"
    assert gather.account(CALLER, NOW).governor is None

    asked.calls.clear()
    facts = gather.facts(CALLER, [order(), order("ETHUSDT")], NOW, limited(scaling_by_var=True))
    assert (facts.governor, facts.var) == (None, "room")
    assert asked.calls == [("main", "binance", [(Market.LINEAR, "BTCUSDT"), (Market.LINEAR, "ETHUSDT")], NOW)]


def test_orders_on_their_way_are_open_orders_until_they_are_listed(book):
    """Three resting orders in flight, one at the market: three; a refused one and a listed one count no more."""
    found = Filters(base_asset="X", quote_asset="USDT", quantity_step=D(1), quantity_min=D(1))
    book.apply_filters("binance", Market.LINEAR, {"BTCUSDT": found, "ETHUSDT": found}, as_of=NOW)
    book.apply_prices("binance", Market.LINEAR, {"ETHUSDT": Quote(D(3000))}, as_of=NOW)
    clock = ManualClock(NOW)
    reservations = Reservations(book, clock)
    gather = Gather(book, reservations, Feeds(), Feeds(), clock=clock, losses=Feeds())

    def count() -> tuple[int, int]:
        sums = gather.facts(CALLER, [order()], NOW, limited(open_orders_max=9)).sums.value
        return sums.orders, sums.orders_by_symbol["BTCUSDT"]

    facts = gather.facts(CALLER, [order()], NOW)
    at_market = replace(order(), type=OrderType.MARKET)
    for number, sent in enumerate((order(), order(reduce_only=True), at_market, order("ETHUSDT"))):
        reservations.reserve(f"d{number}", CALLER, "key", [sent], [D(1)], facts)
    assert count() == (3, 2)
    reservations.settle("d1", Answer(kind=AnswerKind.REJECTED), NOW)
    assert count() == (2, 1)
    reservations.settle("d0", Answer(kind=AnswerKind.ACCEPTED), NOW)
    assert count() == (2, 1)
    clock.advance(to=NOW + timedelta(seconds=1))
    reservations.snapshot_applied("main", Market.LINEAR, clock.monotonic())
    assert count() == (1, 0)


def test_an_account_that_is_not_in_the_book_has_no_facts(gather):
    """Everything is missing, nothing is zero."""
    stranger = Caller(account="nobody", exchange="binance", strategy="", bot="b")
    facts = gather.facts(stranger, [order()], NOW)
    assert (facts.equity, facts.exposure, facts.open_positions, facts.hedge_mode) == (None, None, None, None)
    assert facts.of("BTCUSDT").position is None


def test_a_reservation_is_in_the_next_facts(book):
    """What one decision reserved, the next one sees, in symbol, sums and activity."""
    clock = ManualClock(NOW)
    reservations = Reservations(book, clock)
    gather = Gather(book, reservations, None, Feeds(), clock=clock)
    first = gather.facts(CALLER, [order(client_order_id="c")], NOW)
    reservations.reserve("d", CALLER, "key", [order(client_order_id="c")], [D(1)], first)
    second = gather.facts(CALLER, [order(client_order_id="c")], NOW)
    assert second.of("BTCUSDT").reserved[Bucket.BOTH].buy == 1
    assert first.of("BTCUSDT").reserved == {}, "facts handed out do not change"
    assert second.exposure.value.account == 150000
    assert second.activity.orders_in_window == 1
    assert second.activity.identical_in_window == 1
    assert second.activity.client_order_id_in_use
    assert second.risk is None
    assert second.losses is None


def test_windows_come_from_the_limits(book):
    """Activity is counted over the windows of the limits that apply."""
    clock = ManualClock(NOW)
    reservations = Reservations(book, clock)
    gather = Gather(book, reservations, None, Feeds(), clock=clock)
    reservations.reserve("d", CALLER, "key", [order()], [D(1)], gather.facts(CALLER, [order()], NOW))
    clock.advance(to=NOW.replace(second=30))
    limits = Limits(
        policy_revision=1, profile="p", capital_profile="c", order_rate_window_s=D(60), duplicate_window_s=D(31)
    )
    activity = gather.facts(CALLER, [order()], clock.now(), limits).activity
    assert (activity.orders_in_window, activity.identical_in_window) == (1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_room_for_ten_admits_exactly_ten(book, seed):
    """Of 200 orders in random order of asking, answering and losing, ten fit; none fits into another's place."""
    chance = random.Random(seed)
    clock = ManualClock(NOW)
    reservations = Reservations(book, clock)
    gather = Gather(book, reservations, None, Feeds(), clock=clock)
    # The position of 2 is there; ten more of 0.1 at 50,000 make 150,000.
    limits = Limits(
        policy_revision=1,
        profile="p",
        capital_profile="c",
        exposure_account_max=D(150_000),
        risk_source=RiskSource.NONE,
    )
    let_through: list[str] = []
    for number in range(200):
        asked = replace(order(), quantity=D("0.1"), price=D(50_000))
        facts = gather.facts(CALLER, [asked], NOW, limits)
        if evaluate(asked, facts, limits).verdict is Verdict.ALLOW:
            reservations.reserve(f"d{number}", CALLER, "key", [asked], [asked.quantity], facts)
            let_through.append(f"d{number}")
        if let_through and chance.random() < 0.3:
            kind = chance.choice([AnswerKind.ACCEPTED, AnswerKind.UNKNOWN])
            reservations.settle(chance.choice(let_through), Answer(kind=kind), NOW)
    assert len(let_through) == 10


@pytest.mark.parametrize(
    ("instruction", "market"),
    [
        (order(), Market.LINEAR),
        (LeverageChange(symbol="BTCUSDT", leverage=D(3)), Market.LINEAR),
        (MarginChange(kind=MarginKind.POSITION_MODE, value="true"), Market.LINEAR),
        (
            QuantityCut(
                symbol="BTCUSDT", market=Market.SPOT, quantity=D(1), replaces=Replaced(mode=ReplaceMode.AMEND)
            ),
            Market.SPOT,
        ),
    ],
)
def test_every_instruction_has_a_market(instruction, market):
    """Leverage and margin settings are about contracts; the others say."""
    assert market_of([instruction]) is market


def test_a_margin_change_without_a_symbol_has_account_facts(gather):
    """The position mode concerns the whole account and names no symbol."""
    facts = gather.facts(CALLER, [MarginChange(kind=MarginKind.POSITION_MODE, value="true")], NOW)
    assert facts.symbols == {}
    assert facts.equity.value == 1000
