"""Daily closes: whole days, once a day, nothing made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from proxy.clock import ManualClock
from proxy.feeds import Malformed, Venue
from proxy.global_risk.history import (
    AGAIN_AFTER_S,
    DAY_MS,
    REFUSED_AFTER_S,
    SYMBOLS_AT_ONCE,
    History,
    HistoryFeed,
    day_of,
    read_candles,
)
from proxy.simulator import SimExchange
from tests.proxy.feeds.conftest import FakeVenue, failing, session, venue_server  # noqa: F401 - fixtures
from tests.proxy.global_risk.conftest import LINEAR, SPOT, closes_of, series

NOW = datetime(2026, 3, 4, 0, 0, 30, tzinfo=UTC)
TODAY = day_of(NOW)
BTC, ETH = series("BTCUSDT"), series("ETHUSDT")


def row(day: int, close: str = "100.5", **more) -> list:
    """A candle as the venue writes it."""
    found = [day * DAY_MS, "1", "1", "1", close, "10", day * DAY_MS + DAY_MS - 1, "1", 2, "1", "1", "0"]
    for at, value in more.items():
        found[int(at[1:])] = value
    return found


def ms(instant: datetime) -> int:
    """Milliseconds since 1970."""
    return int(instant.timestamp() * 1000)


def test_the_day_that_is_not_over_does_not_count():
    """Of three candles with today's, two closes."""
    found = read_candles([row(TODAY - 2), row(TODAY - 1, "101"), row(TODAY, "7")], ms(NOW))

    assert found == {TODAY - 2: 100.5, TODAY - 1: 101.0}


def test_a_candle_closes_with_the_last_millisecond_of_its_day():
    """At that millisecond it is not over; with the next it is."""
    midnight = TODAY * DAY_MS
    assert read_candles([row(TODAY - 1)], midnight - 1) == {}
    assert read_candles([row(TODAY - 1)], midnight) == {TODAY - 1: 100.5}


@pytest.mark.parametrize(
    "found",
    [
        {}, "x", [[1, 2]], [[*row(3), "more"]], [row(3, "0")], [row(3, "-1")], [row(3, "NaN")], [row(3, "1e999")],
        [row(3, _4=100.5)], [row(3, _0=True)], [row(3, _0="3")], [row(3, _0=3 * DAY_MS + 1)], [row(3, _6=5)],
        [row(3), row(3)], [row(3), {}],
    ],
)  # fmt: skip
def test_anything_odd_refuses_the_whole_answer(found):
    """A close that is no positive number, a day that is none, a day twice: nothing of it is used."""
    with pytest.raises(Malformed):
        read_candles(found, ms(NOW))


def test_returns_need_the_day_before():
    """A gap takes two returns away: no day is bridged."""
    history = History()
    history.put(BTC, {10: 100.0, 11: 110.0, 13: 121.0, 14: 60.5})

    assert history.on_days(BTC, [11, 14]).tolist() == [pytest.approx(0.1), pytest.approx(-0.5)]
    assert history.on_days(BTC, [11, 13]) is None
    assert history.on_days(ETH, [11]) is None
    assert (history.known(BTC), history.newest(BTC), history.newest(ETH)) == (2, 14, None)


def aligned(history: History, *wanted, lookback: int = 60, history_min: int = 30):
    """Over the last days."""
    return history.aligned(wanted, today=TODAY, lookback=lookback, history_min=history_min)


def test_series_are_aligned_on_the_days_they_share():
    """A younger symbol shortens the window for all; rows are days, the newest last."""
    history = History()
    history.put(BTC, closes_of([0.01] * 80, TODAY - 1))
    history.put(ETH, closes_of([0.02] * 39 + [0.5], TODAY - 1))
    found = aligned(history, BTC, ETH)

    assert len(found.days) == 40
    assert found.days[-1] == TODAY - 1
    assert found.returns[-1].tolist() == [pytest.approx(0.01), pytest.approx(0.5)]
    assert len(aligned(history, BTC).days) == 60


@pytest.mark.parametrize(
    ("days", "last", "enough"), [(29, TODAY - 1, False), (30, TODAY - 1, True), (60, TODAY - 3, True),
                                 (60, TODAY - 4, False)],
)  # fmt: skip
def test_too_short_or_too_old_is_not_known(days, last, enough):
    """Fewer returns than the minimum, or the newest more than three days back: none, and the symbol is named."""
    history = History()
    history.put(BTC, closes_of([0.01] * 80, TODAY - 1))
    history.put(ETH, closes_of([0.02] * days, last))
    found = aligned(history, BTC, ETH, lookback=80)

    assert bool(found.days) is enough
    assert found.short == (() if enough else (ETH,))


def test_series_that_never_overlap_enough_are_all_short():
    """Each alone would do; together they share too few days."""
    history = History()
    history.put(BTC, dict.fromkeys(range(TODAY - 70, TODAY - 30), 100.0) | {TODAY - 1: 1.0, TODAY - 2: 1.0})
    history.put(ETH, closes_of([0.01] * 35, TODAY - 1))
    found = aligned(history, BTC, ETH, lookback=80)

    assert (found.days, found.short) == ((), (BTC, ETH))


def test_a_table_is_kept_until_something_changes():
    """The same question has the same answer, and a new candle another."""
    history = History()
    history.put(BTC, closes_of([0.01] * 40, TODAY - 1))
    first = aligned(history, BTC)
    assert aligned(history, BTC) is first
    history.put(BTC, closes_of([0.01] * 40, TODAY - 1))
    assert aligned(history, BTC) is first
    history.put(BTC, closes_of([0.01] * 39 + [0.3], TODAY - 1))

    assert aligned(history, BTC).returns[-1, 0] == pytest.approx(0.3)


# --- the feed ---------------------------------------------------------------------------------


class Reader:
    """A feed of a fake venue, and what it wants."""

    def __init__(self, fake: FakeVenue, session) -> None:  # noqa: F811 - the fixture's name
        self.fake = fake
        self.clock = ManualClock(NOW)
        self.wanted = [BTC]
        self.history = History()
        venue = Venue(session, fake.origin, self.clock)
        self.feed = HistoryFeed(
            self.history, {("binance", LINEAR): venue}, lambda: self.wanted, self.clock, lookback_days=180
        )
        self.rows = [row(TODAY - n) for n in range(40, -1, -1)]
        fake.answers["/fapi/v1/klines"] = lambda request: web.json_response(self.rows)

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))

    @property
    def asked(self) -> list[str]:
        """The symbols asked for so far."""
        return [request.query["symbol"] for request in self.fake.asked]


@pytest.fixture
def reader(venue_server, session) -> Reader:  # noqa: F811 - fixtures
    """One symbol, forty days."""
    return Reader(venue_server, session)


async def test_each_symbol_is_asked_for_once_a_day(reader):
    """The first cycle reads it, later ones do not, the next day does again."""
    assert await reader.feed.read_once()
    assert reader.history.known(BTC) == 39
    (asked,) = reader.fake.asked
    assert (asked.query["interval"], asked.query["limit"]) == ("1d", "182")

    reader.forward(3600)
    await reader.feed.read_once()
    assert len(reader.fake.asked) == 1
    reader.rows.append(row(TODAY + 1))
    reader.forward(86_400)
    await reader.feed.read_once()
    assert len(reader.fake.asked) == 2
    assert reader.history.newest(BTC) == TODAY


async def test_a_candle_that_is_not_closed_yet_is_asked_for_again(reader):
    """Just after midnight the venue may not show yesterday: then the day is not done with."""
    del reader.rows[-2:]
    await reader.feed.read_once()
    reader.forward(AGAIN_AFTER_S)
    await reader.feed.read_once()

    assert reader.asked == ["BTCUSDT"] * 2


@pytest.mark.parametrize(("status", "again_s"), [(500, AGAIN_AFTER_S), (400, REFUSED_AFTER_S)])
async def test_what_fails_is_tried_again_later(reader, status, again_s):
    """After a minute, or after an hour where the venue says there is no such thing; what was known stays."""
    await reader.feed.read_once()
    reader.forward(86_400)
    reader.fake.answers["/fapi/v1/klines"] = failing(status)
    assert not await reader.feed.read_once()
    assert "status" in reader.feed.problems[BTC]
    reader.forward(again_s - 1)
    await reader.feed.read_once()
    assert len(reader.asked) == 2
    reader.forward(1)
    await reader.feed.read_once()

    assert len(reader.asked) == 3
    assert reader.history.known(BTC) == 39


async def test_one_symbol_that_fails_does_not_keep_the_others_from_being_read(reader):
    """It is named, and the cycle is no failure; a symbol that is wanted no more is no problem any more."""
    reader.wanted = [BTC, ETH]
    reader.fake.answers["/fapi/v1/klines"] = lambda request: (
        web.json_response(reader.rows) if request.query["symbol"] == "ETHUSDT" else web.Response(status=500)
    )
    assert await reader.feed.read_once()
    assert (reader.history.known(ETH), list(reader.feed.problems)) == (39, [BTC])
    reader.wanted = [ETH]
    await reader.feed.read_once()

    assert reader.feed.problems == {}


async def test_many_symbols_are_read_in_several_cycles(reader):
    """The address's weight belongs to the orders first."""
    reader.wanted = [series(f"C{n}USDT") for n in range(SYMBOLS_AT_ONCE + 3)]
    await reader.feed.read_once()
    assert len(reader.asked) == SYMBOLS_AT_ONCE
    await reader.feed.read_once()

    assert len(reader.asked) == SYMBOLS_AT_ONCE + 3


async def test_a_market_nobody_trades_is_not_asked(reader):
    """Without a venue for it there is nothing to ask."""
    reader.wanted = [series("BTCUSDT", SPOT)]
    assert await reader.feed.read_once()
    assert reader.fake.asked == []


async def test_the_simulated_exchange_is_read(session):  # noqa: F811 - a fixture
    """Both markets of a real answer give the lookback's returns."""
    clock = ManualClock(NOW)
    sim = SimExchange(clock)
    await sim.start()
    history = History()
    venue = Venue(session, sim.url, clock)
    both = [series("BTCUSDT"), series("BTCUSDT", SPOT)]
    feed = HistoryFeed(
        history, {("binance", LINEAR): venue, ("binance", SPOT): venue}, lambda: both, clock, lookback_days=180
    )
    assert await feed.read_once()
    await sim.stop()

    assert [history.known(one) for one in both] == [180, 180]
    assert history.newest(BTC) == TODAY - 1
