"""Prices that are told: as old as they say, beside the books that were read, and read again when nobody tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest

from proxy.clock import SystemClock
from proxy.feeds.reading import Malformed
from proxy.feeds.server_time import ServerTime
from proxy.feeds.stream_prices import PriceStream
from proxy.simulator import Fault
from rules import Market
from tests.proxy.feeds.conftest import World, session, world
from tests.proxy.feeds.test_stream_account import Streamed

__all__ = ["session", "world"]

D = Decimal


@pytest.fixture
async def streamed(world: World) -> AsyncIterator[Streamed]:
    """Feeds with streams of prices, told twenty times a second."""
    await world.exchange.start_streams()
    world.exchange.streams.price_every_s = 0.05
    made = Streamed(world)
    await made.start()
    yield made
    await made.feeds.close()
    await made.tasks.close()


def price(streamed: Streamed, market: Market, symbol: str = "BTCUSDT"):
    """What the book says a symbol costs."""
    return streamed.book.price("binance", market, symbol)


async def test_marks_move_between_readings(streamed):
    """A mark is in the book when it is told, with the bid and ask that were read a moment before."""
    await streamed.until(lambda: price(streamed, Market.LINEAR) is not None)
    asked = streamed.readings(b"/fapi/v1/premiumIndex")
    streamed.exchange.mark("BTCUSDT", D(61000))
    await streamed.until(lambda: price(streamed, Market.LINEAR).value.mark == 61000)
    assert price(streamed, Market.LINEAR).value.ask is not None
    await streamed.until(lambda: streamed.readings(b"/fapi/v1/ticker/bookTicker") > 3)
    assert streamed.readings(b"/fapi/v1/premiumIndex") <= asked + 1, "marks that are told are not read"


async def test_the_last_price_of_a_pair_is_kept_inside_its_book(streamed):
    """A trade that was long ago says less than what one can buy and sell at now."""
    await streamed.until(lambda: price(streamed, Market.SPOT) is not None)
    streamed.exchange.mark("BTCUSDT", D(61000))
    await streamed.until(lambda: abs(price(streamed, Market.SPOT).value.mark - 61000) < 10)
    found = price(streamed, Market.SPOT).value
    assert found.bid <= found.mark <= found.ask


async def test_marks_alone_keep_contracts_priced(streamed):
    """Every reading fails: marks are fresh by themselves, without a bid and ask that nobody knows."""
    await streamed.until(lambda: price(streamed, Market.LINEAR) is not None)
    streamed.exchange.inject(Fault("status", times=None, match="GET *", status=503))
    await streamed.until(lambda: price(streamed, Market.LINEAR).value.ask is None)
    stood = price(streamed, Market.LINEAR).as_of
    await streamed.until(lambda: price(streamed, Market.LINEAR).as_of > stood)
    assert price(streamed, Market.LINEAR).as_of >= streamed.clock.now() - timedelta(seconds=1)
    wallet = streamed.book._wallet("main", Market.LINEAR)
    assert wallet.venue.prices_as_of >= stood


async def test_marks_are_read_again_when_the_stream_is_silent(streamed):
    """The line is gone for longer than a moment: readings bring marks, bids and asks."""
    await streamed.until(lambda: price(streamed, Market.LINEAR) is not None)
    streamed.exchange.streams.refuses = True
    streamed.exchange.streams.drop()
    streamed.exchange.mark("BTCUSDT", D(62000))
    await streamed.until(lambda: price(streamed, Market.LINEAR).value.mark == 62000)
    assert price(streamed, Market.LINEAR).value.ask is not None


class Heard:
    """A price stream by itself, and what it had applied."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self.clock = SystemClock()
        self.time = ServerTime(self.clock)
        now_s = self.clock.monotonic()
        self.now_ms = int(self.clock.now().timestamp() * 1000) + ahead_ms
        self.time.note(self.now_ms, now_s, now_s)
        self.stream = PriceStream(
            "market.test", Market.LINEAR, "ws://127.0.0.1:9", self.time, None, self.clock, self.apply, lambda: None
        )

    async def apply(self, marks, as_of) -> None:
        """Nothing is applied here."""

    def row(self, late_ms: int, mark: str = "1") -> dict[str, object]:
        """A mark that is told late."""
        return {"e": "markPriceUpdate", "E": self.now_ms - late_ms, "s": "BTCUSDT", "p": mark}


@pytest.mark.parametrize("ahead_ms", [0, 3_600_000, -3_600_000])
async def test_a_price_is_as_old_as_it_says_by_the_venues_clock(ahead_ms):
    """Told seven seconds late it is seven seconds old, however wrong this machine's clock is."""
    heard = Heard(ahead_ms)
    heard.stream.take([heard.row(7000)])
    age_s = (heard.clock.now() - heard.stream._waiting_at).total_seconds()
    assert 6.9 < age_s < 7.5


async def test_what_waits_is_as_old_as_its_oldest_part():
    """Two arrays before one was applied: nobody is told that the first is as young as the second."""
    heard = Heard()
    heard.stream.take([heard.row(3000, "1")])
    heard.stream.take([heard.row(0, "2")])
    assert heard.stream._waiting == {"BTCUSDT": D(2)}
    assert (heard.clock.now() - heard.stream._waiting_at).total_seconds() >= 2.9


@pytest.mark.parametrize(
    "found",
    [
        {}, [1], [{"E": "now", "s": "BTCUSDT", "p": "1"}], [{"E": 1, "s": "", "p": "1"}],
        [{"E": 1, "s": "X", "p": "NaN"}],
    ],
)  # fmt: skip
async def test_what_is_no_array_of_prices_is_malformed(found):
    """Nothing of it is taken."""
    heard = Heard()
    with pytest.raises(Malformed):
        heard.stream.take(found)
    assert not heard.stream._waiting


async def test_a_price_from_the_future_is_malformed():
    """It would look fresh for as long as it is ahead."""
    heard = Heard()
    with pytest.raises(Malformed, match="future"):
        heard.stream.take([heard.row(-60_000)])
