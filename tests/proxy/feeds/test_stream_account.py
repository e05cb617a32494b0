"""An account by readings and stream together: events move the book at once, gaps are read, drift is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from proxy.book import AccountPlace, Book, Working
from proxy.clock import ManualClock, SystemClock
from proxy.exchanges.base import Answer, AnswerKind, OrderState
from proxy.feeds import Cadence, Feeds, Live, ServerTime, StreamOrigins, assemble
from proxy.feeds.stream_picture import Step, Told
from proxy.reservations import Fate, Reservations
from proxy.simulator import Fault, SimExchange
from proxy.tasks import Tasks
from rules import CLEAR, Bucket, Caller, Facts, Market, Order, OrderType, Position, Side, Sides, WorkingOrder
from tests.proxy.feeds.conftest import World, session, world

__all__ = ["session", "world"]

D = Decimal
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "price": "50000", "timeInForce": "GTC"}
# Readings so seldom that what the book shows within a test came from the stream, or from a gap's reading.
SELDOM = Cadence(
    account_s=1.0, snapshot_s=0.5, config_s=60.0, market_s=0.5, calm_s=600.0, ping_s=0.05, pong_s=0.5, lag_ms=0,
    poke_min_s=0.05, away_max_s=0.2,
)  # fmt: skip


class Streamed(World):
    """The same world, with an exchange that pushes."""

    def __init__(self, world: World, cadence: Cadence = SELDOM) -> None:
        self.__dict__.update(world.__dict__)
        self.tasks = Tasks()
        self.cadence = cadence
        self.bypasses: list[str] = []
        self.feeds = self.assembled()

    def assembled(self) -> Feeds:
        """The feeds of the account."""
        origin = self.exchange.streams.url
        return assemble(
            self.sources,
            {"/api": self.exchange.url, "/fapi": self.exchange.url},
            book=self.book,
            reservations=self.reservations,
            day_start=self.day_start,
            session=self.session,
            clock=self.clock,
            cadence=self.cadence,
            streams=StreamOrigins(futures=origin, spot=origin, spot_account=origin),
            on_bypass=lambda account, bypass: self.bypasses.append(bypass.order_id),
        )

    async def start(self) -> None:
        """Feeds that run, and streams that speak for the account."""
        self.feeds.start(self.tasks)
        await self.until(lambda: all(self.live(market).is_live for market in Market))

    def live(self, market: Market):
        """The account on a market."""
        found = self.feeds.live("main", market)
        assert found is not None
        return found

    async def until(self, holds: Callable[[], bool], *, within_s: float = 30.0) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.005)

    def readings(self, path: bytes = b"/fapi/v3/positionRisk") -> int:
        """How often positions were read."""
        return sum(1 for received in self.exchange.received if received.target.startswith(path))

    def waiting(self, market: Market = Market.LINEAR) -> Sides:
        """What works on the one net position."""
        return self.symbol(market).working.get(Bucket.BOTH, Sides())


@pytest.fixture
async def streamed(world: World) -> AsyncIterator[Streamed]:
    """An account whose streams speak for it."""
    await world.exchange.start_streams()
    made = Streamed(world)
    await made.start()
    yield made
    await made.feeds.close()
    await made.tasks.close()


async def test_orders_and_fills_on_contracts_are_in_the_book_without_a_reading(streamed):
    """Placed, changed, filled in part, cancelled: each as it happens."""
    before = streamed.readings()
    made = await streamed.send("POST", "/fapi/v1/order", quantity="0.010", **LIMIT)
    order_id = made["orderId"]
    await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.010")))
    await streamed.send(
        "PUT", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", orderId=str(order_id), quantity="0.020", price="50000"
    )
    await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.020")))
    streamed.exchange.fill(order_id, D("0.005"))
    await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.015")))
    await streamed.until(lambda: streamed.symbol(Market.LINEAR).position.value == Position(both=D("0.005")))
    await streamed.send("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=str(order_id))
    await streamed.until(lambda: not streamed.waiting().buy)
    assert streamed.readings() == before


async def test_spot_orders_and_balances_are_in_the_book_without_a_reading(streamed):
    """An order waits, trades, and the coins are there."""
    before = streamed.readings(b"/api/v3/openOrders")
    made = await streamed.send("POST", "/api/v3/order", quantity="0.01000", **LIMIT)
    await streamed.until(lambda: streamed.waiting(Market.SPOT) == Sides(buy=D("0.01")))
    streamed.exchange.fill(made["orderId"], D("0.004"))
    await streamed.until(lambda: streamed.symbol(Market.SPOT).position.value.both == D("0.504"))
    assert streamed.waiting(Market.SPOT) == Sides(buy=D("0.006"))
    equity = streamed.book.equity("main", streamed.clock.now())
    assert equity is not None
    assert streamed.readings(b"/api/v3/openOrders") == before


async def test_a_conditional_order_counts_until_what_it_becomes_is_seen(streamed):
    """A stop that buys waits; triggered and filled it is a position."""
    await streamed.send(
        "POST", "/fapi/v1/algoOrder", algoType="CONDITIONAL", symbol="BTCUSDT", side="BUY", type="STOP_MARKET",
        quantity="0.010", triggerPrice="61000",
    )  # fmt: skip
    await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.010")))
    streamed.exchange.mark("BTCUSDT", D(61000))
    await streamed.until(lambda: not streamed.waiting().buy)
    assert streamed.symbol(Market.LINEAR).position.value == Position(both=D("0.010"))


async def test_leverage_is_known_as_soon_as_it_is_set(streamed):
    """Told by ACCOUNT_CONFIG_UPDATE."""
    await streamed.send("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage="7")
    await streamed.until(lambda: streamed.symbol(Market.LINEAR).leverage.value == 7)


@pytest.mark.parametrize("market", list(Market))
async def test_a_quiet_stream_keeps_facts_fresh_by_proof_only(streamed, market):
    """Pongs move the age of positions on; without them it stands still, and the line is cut and read instead."""
    first = streamed.symbol(market).position.as_of
    await streamed.until(lambda: streamed.symbol(market).position.as_of > first)
    streamed.exchange.streams.answers_pings = False
    streamed.exchange.streams.refuses = True
    streamed.exchange.inject(Fault("status", times=None, match="GET *", status=503))
    await streamed.until(lambda: not streamed.live(market).is_live)
    stood = streamed.symbol(market).position.as_of
    await asyncio.sleep(0.3)
    assert streamed.symbol(market).position.as_of == stood
    streamed.exchange.clear_faults()
    await streamed.until(lambda: streamed.symbol(market).position.as_of > stood)
    assert not streamed.live(market).is_live, "readings alone keep the account"
    streamed.exchange.streams.answers_pings = True
    streamed.exchange.streams.refuses = False
    await streamed.until(lambda: streamed.live(market).is_live, within_s=30)


async def test_without_another_reading_proof_runs_out(world):
    """Pongs prove the line, not what goes through it: after a while only a reading will do."""
    await world.exchange.start_streams()
    streamed = Streamed(world, replace(SELDOM, calm_s=0.5))
    streamed.live(Market.LINEAR)._unread_max_s = 0.2
    streamed.live(Market.SPOT)._unread_max_s = 0.2
    await streamed.start()
    world.exchange.inject(Fault("status", times=None, match="GET */openAlgoOrders", status=503))
    await asyncio.sleep(0.5)
    stood = streamed.symbol(Market.LINEAR).position.as_of
    await asyncio.sleep(0.3)
    assert streamed.symbol(Market.LINEAR).position.as_of == stood
    await streamed.feeds.close()
    await streamed.tasks.close()


async def test_a_dropped_stream_is_a_gap_that_is_read(streamed):
    """What happens while nobody listens is in the book as soon as the account was read again."""
    streamed.exchange.streams.refuses = True
    streamed.exchange.streams.drop()
    await streamed.until(lambda: not streamed.live(Market.LINEAR).is_live)
    await streamed.send("POST", "/fapi/v1/order", quantity="0.010", **LIMIT)
    streamed.exchange.streams.refuses = False
    await streamed.until(lambda: streamed.live(Market.LINEAR).is_live)
    assert streamed.waiting() == Sides(buy=D("0.010"))


async def test_what_was_swallowed_is_drift(streamed):
    """The next reading shows it, corrects it, counts it, and the stream that lost it is connected anew."""
    streamed.exchange.streams.disturb("swallow", 1)
    await streamed.send("POST", "/fapi/v1/order", quantity="0.010", **LIMIT)
    await asyncio.sleep(0.1)
    assert not streamed.waiting().buy
    opened = streamed.exchange.streams.opened
    with capture_logs() as lines:
        streamed.live(Market.LINEAR).wants_reading()
        await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.010")))
        await streamed.until(lambda: streamed.live(Market.LINEAR).drifts == 1)
    told = next(line for line in lines if line["event"] == "account.drift")
    assert (told["kind"], told["expected"], told["found"]) == ("order", "nothing", "BUY 0.010")
    await streamed.until(lambda: streamed.exchange.streams.opened > opened)


async def test_a_reading_that_is_ahead_of_the_stream_is_no_drift(streamed):
    """An event that comes a moment later explains what the reading showed."""
    streamed.exchange.streams.disturb("hold", 1)
    await streamed.send("POST", "/fapi/v1/order", quantity="0.010", **LIMIT)
    streamed.live(Market.LINEAR).wants_reading()
    await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.010")))
    streamed.exchange.streams.release()
    await asyncio.sleep(2.2)
    assert streamed.live(Market.LINEAR).drifts == 0
    assert streamed.waiting() == Sides(buy=D("0.010"))


@pytest.mark.parametrize("kind", ["garbage", "stale"])
async def test_a_message_that_cannot_be_trusted_is_a_gap(streamed, kind):
    """Garbled or long overdue: the account is read at once, and the book is right."""
    before = streamed.readings()
    streamed.exchange.streams.disturb(kind, 1)
    await streamed.send("POST", "/fapi/v1/order", quantity="0.010", **LIMIT)
    await streamed.until(lambda: streamed.readings() > before)
    await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.010")))
    await streamed.until(lambda: streamed.live(Market.LINEAR).is_live)


async def test_an_expired_listen_key_is_replaced(streamed):
    """A new key, a new connection, and a reading."""
    before = streamed.exchange.accounts["main"].listen_key
    streamed.exchange.streams.expire("main")
    await streamed.until(lambda: streamed.exchange.accounts["main"].listen_key not in (None, before))
    await streamed.until(lambda: streamed.live(Market.LINEAR).is_live)
    await streamed.send("POST", "/fapi/v1/order", quantity="0.010", **LIMIT)
    await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.010")))


async def test_keeping_a_key_alive_that_is_gone_connects_anew(streamed):
    """The socket of a key that is gone stays open and silent; only the PUT says so."""
    before = streamed.exchange.accounts["main"].listen_key
    streamed.exchange.accounts["main"].listen_key = None
    feed = next(feed for feed in streamed.feeds._feeds if feed.name == "account.main.futures")
    cycle = next(cycle for cycle in feed.cycles if cycle.name.endswith("listen_key"))
    assert await cycle.once()
    await streamed.until(lambda: streamed.exchange.accounts["main"].listen_key not in (None, before))
    await streamed.until(lambda: streamed.live(Market.LINEAR).is_live)


class SteppedClock(SystemClock):
    """The machine's clock, set to another time."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        """That time."""
        return super().now() + self.ahead


@pytest.mark.parametrize("whose", ["exchange", "ours"])
@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_is_measured_again(world, whose, hours):
    """The exchange's or this machine's, forth or back by an hour: soon the account is heard again, and right."""
    ours, theirs = SteppedClock(), SteppedClock()
    world.clock, world.exchange._clock = ours, theirs
    await world.exchange.start_streams()
    streamed = Streamed(world)
    try:
        await streamed.start()
        await streamed.send("POST", "/fapi/v1/order", quantity="0.010", **LIMIT)
        (theirs if whose == "exchange" else ours).ahead = timedelta(hours=hours)
        streamed.clock = theirs  # what this test sends itself is stamped with the exchange's time
        made = await streamed.send("POST", "/fapi/v1/order", quantity="0.020", **LIMIT)
        streamed.exchange.fill(made["orderId"], D("0.005"))
        streamed.live(Market.LINEAR).wants_reading()
        await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.025")))
        await streamed.until(lambda: all(streamed.live(market).is_live for market in Market))
        await streamed.until(lambda: streamed.symbol(Market.LINEAR).position.value == Position(both=D("0.005")))
        now = ours.now()
        await streamed.until(
            lambda: now - timedelta(seconds=1) < streamed.symbol(Market.LINEAR).position.as_of <= ours.now()
        )
        first = streamed.symbol(Market.LINEAR).position.as_of
        await streamed.until(lambda: first < streamed.symbol(Market.LINEAR).position.as_of <= ours.now())
    finally:
        await streamed.feeds.close()
        await streamed.tasks.close()


async def test_a_terminated_spot_subscription_is_made_again(streamed):
    """The venue ends it: subscribe anew."""
    streamed.exchange.streams.terminate("main")
    await streamed.until(lambda: streamed.exchange.streams.listeners("main") == 2)
    await streamed.until(lambda: streamed.live(Market.SPOT).is_live)


async def test_a_margin_call_is_told_and_read(streamed):
    """An error for people, and a reading at once."""
    before = streamed.readings()
    await streamed.send("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    with capture_logs() as lines:
        streamed.exchange.streams.margin_call("main")
        await streamed.until(lambda: any(line["event"] == "account.margin_call" for line in lines))
    await streamed.until(lambda: streamed.readings() > before)


def reserve(streamed: Streamed, decision_id: str, client_order_id: str | None = None) -> None:
    """Reserve what a limit order of 0.01 needs."""
    caller = Caller(account="main", exchange="binance", strategy="s", bot="b")
    order = Order(
        symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=D("0.01"),
        price=D(50000), client_order_id=client_order_id,
    )  # fmt: skip
    now = streamed.clock.now()
    facts = Facts(now=now, caller=caller, stop=CLEAR, symbols={"BTCUSDT": streamed.symbol(Market.LINEAR)})
    streamed.reservations.reserve(decision_id, caller, "k", [order], [order.quantity], facts)


@pytest.mark.parametrize("answered_first", [True, False])
async def test_a_reservation_ends_with_the_event_that_shows_the_order(streamed, answered_first):
    """Whichever comes first, answer or event: counted once, without a reading."""
    before = streamed.readings()
    reserve(streamed, "d", "mine")
    if answered_first:
        streamed.exchange.streams.disturb("hold", 1)
    made = await streamed.send("POST", "/fapi/v1/order", quantity="0.010", newClientOrderId="mine", **LIMIT)
    if not answered_first:
        await streamed.until(lambda: streamed.waiting() == Sides(buy=D("0.010")))
        assert streamed.reservations.counts()[Fate.IN_FLIGHT] == 1
    state = OrderState(kind=AnswerKind.ACCEPTED, order_id=str(made["orderId"]))
    streamed.reservations.settle("d", Answer(kind=AnswerKind.ACCEPTED, orders=(state,)), streamed.clock.now())
    streamed.feeds.poke("main", Market.LINEAR)
    if answered_first:
        streamed.exchange.streams.release()
    await streamed.until(lambda: streamed.reservations.get("d") is None)
    assert streamed.symbol(Market.LINEAR).waiting(Bucket.BOTH) == Sides(buy=D("0.010"))
    assert streamed.readings() == before
    await asyncio.sleep(2.5)
    assert not streamed.bypasses, "it was sent from here"


async def test_an_accepted_order_that_no_event_shows_is_read(streamed):
    """Swallowed: a second later the account is asked."""
    reserve(streamed, "d", "mine")
    streamed.exchange.streams.disturb("swallow", 1)
    made = await streamed.send("POST", "/fapi/v1/order", quantity="0.010", newClientOrderId="mine", **LIMIT)
    state = OrderState(kind=AnswerKind.ACCEPTED, order_id=str(made["orderId"]))
    streamed.reservations.settle("d", Answer(kind=AnswerKind.ACCEPTED, orders=(state,)), streamed.clock.now())
    streamed.feeds.poke("main", Market.LINEAR)
    await streamed.until(lambda: streamed.reservations.get("d") is None)
    assert streamed.symbol(Market.LINEAR).waiting(Bucket.BOTH) == Sides(buy=D("0.010"))


async def test_an_order_that_was_placed_past_the_proxy_is_raised(streamed):
    """Once, with what it is; what the venue does by itself is told apart."""
    with capture_logs() as lines:
        made = await streamed.send("POST", "/fapi/v1/order", quantity="0.010", newClientOrderId="past", **LIMIT)
        await streamed.send("POST", "/fapi/v1/order", quantity="0.002", newClientOrderId="autoclose-1", **LIMIT)
        await streamed.until(lambda: bool(streamed.bypasses))
        streamed.live(Market.LINEAR).wants_reading()
        await asyncio.sleep(1.5)
    assert streamed.bypasses == [str(made["orderId"])]
    told = [line for line in lines if line["event"] == "bypass_detected"]
    assert [(line["account"], line["symbol"], line["quantity"]) for line in told] == [("main", "BTCUSDT", "0.010")]
    assert any(line["event"] == "account.venue_order" for line in lines)
    assert streamed.feeds.bypass_count("main") == 1


async def test_an_order_that_works_before_anybody_listened_is_raised_as_well(world):
    """What the first reading lists and no record knows was not sent from here."""
    made = await world.send("POST", "/api/v3/order", quantity="0.01000", **LIMIT)
    await world.exchange.start_streams()
    streamed = Streamed(world)
    await streamed.start()
    await streamed.until(lambda: streamed.bypasses == [str(made["orderId"])])
    await streamed.feeds.close()
    await streamed.tasks.close()


async def test_no_listen_key_and_no_secret_is_told(streamed):
    """Neither stands in what is logged when connections fail."""
    key = streamed.exchange.accounts["main"].listen_key
    with capture_logs() as lines:
        streamed.exchange.streams.refuses = True
        streamed.exchange.streams.drop()
        await asyncio.sleep(0.5)
        streamed.exchange.streams.refuses = False
        await streamed.until(lambda: streamed.live(Market.LINEAR).is_live)
    assert key
    assert not [line for line in lines if key in str(line) or "secret" in str(line)]


async def test_an_account_that_wants_no_stream_is_read(session: aiohttp.ClientSession, world: World, tmp_path: Path):
    """`stream: off`: no listen key is made, no socket opened."""
    assert isinstance(world.exchange, SimExchange)
    await world.exchange.start_streams()
    world.sources = [replace(source, stream=False) for source in world.sources]
    streamed = Streamed(world)
    streamed.feeds.start(streamed.tasks)
    await streamed.until(lambda: streamed.symbol(Market.LINEAR).position is not None)
    assert world.exchange.accounts["main"].listen_key is None
    assert not world.exchange.streams.listeners("main")
    await streamed.feeds.close()
    await streamed.tasks.close()


class Alone:
    """An account by itself: its readings and events are handed in."""

    def __init__(self) -> None:
        self.clock = ManualClock(datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
        self.book = Book([AccountPlace(name="main", exchange="binance", markets=frozenset({Market.LINEAR}))])
        self.time = ServerTime(self.clock)
        self.time.note(self.now_ms(), 0.0, 0.0)
        self.live = Live(
            "main", Market.LINEAR, self.book, Reservations(self.book, self.clock), self.clock, self.time,
            unread_max_s=60.0,
        )  # fmt: skip
        self.asked = 0
        self.live.wants_reading = self._ask

    def _ask(self) -> None:
        self.asked += 1

    def now_ms(self) -> int:
        """The time, here and at the venue."""
        return int(self.clock.now().timestamp() * 1000)

    def pass_s(self, seconds: float) -> None:
        """Time goes by."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))

    def read(self, *, ago_s: float = 0.0) -> bool:
        """A complete reading of an empty account, asked for some seconds ago."""
        return self.live.reading(
            as_of=self.clock.now() - timedelta(seconds=ago_s), sent_s=self.clock.monotonic() - ago_s, orders=[], held={}
        )

    @property
    def as_of(self) -> datetime:
        """How old the account's positions are."""
        found = self.book.positions("main", Market.LINEAR)
        assert found is not None
        return found.as_of


def test_only_a_reading_that_was_asked_for_after_a_gap_ends_it():
    """One that was on its way when the stream opened may not show what was missed."""
    alone = Alone()
    alone.pass_s(10)
    alone.live.opened()
    assert alone.asked == 1
    alone.pass_s(1)
    assert alone.read(ago_s=2)
    assert not alone.live.is_live
    assert alone.read()
    assert alone.live.is_live
    alone.live.gap()
    assert not alone.live.is_live


def test_proof_counts_from_the_ping_less_what_events_take():
    """A quarter of a second, or as late as the last event was; nothing at all while a gap is open."""
    alone = Alone()
    alone.live.opened()
    alone.pass_s(1)
    alone.read()
    alone.pass_s(5)
    alone.live.proven(alone.clock.now())
    assert alone.clock.now() - alone.as_of == timedelta(milliseconds=250)
    alone.live.timed(alone.now_ms() - 1500)
    alone.pass_s(5)
    alone.live.proven(alone.clock.now())
    assert alone.clock.now() - alone.as_of == timedelta(milliseconds=1500)
    alone.live.gap()
    stood = alone.as_of
    alone.pass_s(5)
    alone.live.proven(alone.clock.now())
    assert alone.as_of == stood


def test_proof_runs_out_without_a_reading():
    """The line may live while nothing goes through it."""
    alone = Alone()
    alone.live.opened()
    alone.pass_s(1)
    alone.read()
    alone.pass_s(59)
    alone.live.proven(alone.clock.now())
    stood = alone.as_of
    alone.pass_s(2)
    alone.live.proven(alone.clock.now())
    assert alone.as_of == stood
    alone.read()
    alone.live.proven(alone.clock.now())
    assert alone.as_of > stood


@pytest.mark.parametrize(("late_ms", "is_gap"), [(1900, False), (2100, True), (-60_000, False)])
def test_an_event_that_is_long_overdue_is_a_gap(late_ms, is_gap):
    """What else is on its way? One from the future says that the clock was measured wrongly."""
    alone = Alone()
    measured = []
    alone.time.doubted = lambda: measured.append(True)
    alone.live.opened()
    alone.pass_s(1)
    alone.read()
    alone.live.timed(alone.now_ms() - late_ms)
    assert alone.live.is_live is not is_gap
    assert bool(measured) is (is_gap or late_ms < 0)


def test_a_reading_does_not_make_younger_what_was_proven_older_nor_the_other_way_round():
    """Asked for before a pong and answered after it, it is as fresh as the pong."""
    alone = Alone()
    alone.live.opened()
    alone.pass_s(1)
    alone.read()
    alone.pass_s(5)
    alone.live.proven(alone.clock.now())
    proven = alone.as_of
    assert alone.read(ago_s=3)
    assert alone.as_of == proven


async def test_what_only_a_reading_can_tell_is_read():
    """Two positions of one instant and no fill that says which was the last: asked for at the next look."""
    alone = Alone()
    alone.live.opened()
    alone.pass_s(1)
    alone.read()
    now_ms = alone.now_ms()
    for amount in (2, 1):
        alone.live.told([Told(("BTCUSDT", Bucket.BOTH), D(amount), now_ms, now_ms)])
    asked = alone.asked
    await alone.live.tick()
    assert alone.asked == asked + 1
    alone.pass_s(1)
    alone.read()
    await alone.live.tick()
    assert alone.asked == asked + 1, "and not again once it was read"


def test_fills_that_were_never_told_are_read_at_once():
    """The order says that more has traded than was told: whether the position shows it only a reading can say."""
    alone = Alone()
    alone.live.opened()
    alone.pass_s(1)
    alone.read()
    asked, now_ms = alone.asked, alone.now_ms()
    order = WorkingOrder(
        order_id="7", client_order_id=None, side=Side.BUY, bucket=Bucket.BOTH, remaining=D("0.5")
    )
    key = ("BTCUSDT", Bucket.BOTH)
    step = Step(
        working=Working("BTCUSDT", order), at_ms=now_ms, told_ms=now_ms, executed=D("0.5"), is_over=False,
        traded=D("0.2"), total={key: D("0.5")}, last={key: D("0.2")},
    )  # fmt: skip
    alone.live.step(step, now_ms)
    assert alone.asked == asked + 1
