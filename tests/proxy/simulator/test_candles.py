"""Candles of the simulated exchange: a history that is the same every time, or the one that was written."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from decimal import Decimal

import aiohttp
import pytest

from proxy.clock import ManualClock
from proxy.simulator import SimExchange

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
DAY_MS = 86_400_000
TODAY_MS = int(NOW.timestamp() * 1000) // DAY_MS * DAY_MS


@pytest.fixture
async def exchange():
    """An exchange at noon."""
    exchange = SimExchange(ManualClock(NOW))
    await exchange.start()
    yield exchange
    await exchange.stop()


async def get(exchange: SimExchange, target: str):
    """What is answered."""
    async with aiohttp.ClientSession() as session, session.get(exchange.url + target) as response:
        return await response.json()


@pytest.mark.parametrize("path", ["/api/v3/klines", "/fapi/v1/klines", "/fapi/v1/markPriceKlines"])
async def test_days_end_at_the_mark(exchange, path):
    """As many as asked for, a day apart, of twelve values, the last open now and at the mark."""
    found = await get(exchange, f"{path}?symbol=BTCUSDT&interval=1d&limit=40")

    assert [row[0] for row in found] == [TODAY_MS - n * DAY_MS for n in range(39, -1, -1)]
    assert {len(row) for row in found} == {12}
    assert Decimal(found[-1][4]) == exchange.mark("BTCUSDT")
    assert all(row[6] == row[0] + DAY_MS - 1 for row in found)
    assert all(Decimal(row[3]) <= Decimal(row[4]) <= Decimal(row[2]) for row in found)


async def test_the_walk_is_the_same_every_time_and_moves(exchange):
    """Two readings agree; returns are neither nothing nor absurd; another symbol has others."""
    first = await get(exchange, "/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=200")
    assert await get(exchange, "/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=200") == first
    closes = [float(row[4]) for row in first]
    returns = [after / before - 1 for before, after in itertools.pairwise(closes)]
    other = await get(exchange, "/fapi/v1/klines?symbol=ETHUSDT&interval=1d&limit=200")

    assert 0.005 < (sum(one * one for one in returns) / len(returns)) ** 0.5 < 0.05
    assert [float(row[4]) / 3000 for row in other] != [close / 60000 for close in closes]


async def test_a_written_history_is_told(exchange):
    """The newest return is yesterday's; before what was written nothing moved."""
    exchange.candles.returns("BTCUSDT", [Decimal("0.25"), Decimal("-0.5")])
    found = await get(exchange, "/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=5")

    # 96,000 rose by a quarter to 120,000, which fell by half to the mark of 60,000.
    assert [Decimal(row[4]) for row in found] == [96000, 96000, 120000, 60000, 60000]


async def test_a_young_symbol_has_few_candles(exchange):
    """Listed three days ago, it has three days and what is left of today."""
    exchange.candles.list_since("SOLUSDT", 3)

    assert len(await get(exchange, "/fapi/v1/klines?symbol=SOLUSDT&interval=1d")) == 3


async def test_what_cannot_be_answered_is_refused(exchange):
    """Unknown symbols, intervals, and a missing symbol, in the venue's words."""
    assert (await get(exchange, "/fapi/v1/klines?symbol=XYZUSDT&interval=1d"))["code"] == -1121
    assert (await get(exchange, "/fapi/v1/klines?symbol=BTCUSDT&interval=9d"))["code"] == -1120
    assert (await get(exchange, "/api/v3/klines?interval=1d"))["code"] == -1102
