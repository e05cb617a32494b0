"""Prices, books, exchangeInfo and the reads real clients make first."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.proxy.simulator.conftest import exchange_bytes, raw_request


async def _get(sim, target):
    return (await exchange_bytes(sim.url, raw_request("GET", target, key=None))).json


@pytest.mark.parametrize("root", ["/api/v3", "/fapi/v1"])
async def test_prices_follow_the_mark(sim, root):
    """Ticker, book and depth move with the mark and stay on the tick, the bid below the ask."""
    sim.mark("BTCUSDT", Decimal("50000.03"))
    price = await _get(sim, f"{root}/ticker/price?symbol=BTCUSDT")
    book = await _get(sim, f"{root}/ticker/bookTicker?symbol=BTCUSDT")
    depth = await _get(sim, f"{root}/depth?symbol=BTCUSDT&limit=5")

    assert Decimal(price["price"]) == Decimal("50000.03")
    assert Decimal(book["bidPrice"]) < Decimal("50000.03") < Decimal(book["askPrice"])
    assert (depth["bids"][0][0], depth["asks"][0][0]) == (book["bidPrice"], book["askPrice"])
    assert len(depth["bids"]) == 5


async def test_all_symbols_at_once(sim):
    """Without a symbol every listed one is told; ETHBTC trades on spot only."""
    spot = {line["symbol"] for line in await _get(sim, "/api/v3/ticker/price")}
    futures = {line["symbol"] for line in await _get(sim, "/fapi/v1/premiumIndex")}

    assert futures == {"BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT", "BNBUSDT"}
    assert spot == futures | {"ETHBTC"}
    assert (await _get(sim, "/fapi/v1/premiumIndex?symbol=ETHBTC"))["code"] == -1121


@pytest.mark.parametrize("root", ["/api/v3", "/fapi/v1"])
async def test_the_filters_announced_are_the_filters_enforced(sim, bot, root):
    """For every symbol: the announced minimum lot step is accepted and half of it is not."""
    info = await _get(sim, f"{root}/exchangeInfo")
    for symbol in info["symbols"]:
        filters = {one["filterType"]: one for one in symbol["filters"]}
        step = Decimal(filters["LOT_SIZE"]["stepSize"])
        price = sim.mark(symbol["symbol"])
        minimum = filters.get("NOTIONAL", {}).get("minNotional") or filters["MIN_NOTIONAL"]["notional"]
        enough = (Decimal(minimum) / price // step + 2) * step
        query = f"symbol={symbol['symbol']}&side=BUY&type=MARKET&quantity="
        good = await bot.place(query + f"{enough:f}", f"{root}/order/test")
        assert good.status == 200, (symbol["symbol"], enough, good.body)
        odd = await bot.place(query + f"{enough + step / 2:f}", f"{root}/order/test")
        assert odd.code in (-1013, -1111, -4023)
        small = await bot.place(query + f"{step:f}", f"{root}/order/test")
        if step * price < Decimal(minimum):
            assert small.code in (-1013, -4164)


async def test_klines(sim):
    """As many candles as asked for, the last one covering now."""
    candles = await _get(sim, "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=3")
    now_ms = (await _get(sim, "/api/v3/time"))["serverTime"]

    assert len(candles) == 3
    assert candles[-1][0] <= now_ms <= candles[-1][6]
    assert (await _get(sim, "/api/v3/klines?symbol=BTCUSDT&interval=7m"))["code"] == -1120


@pytest.mark.parametrize(
    "path",
    [
        "/sapi/v1/capital/config/getall", "/sapi/v1/margin/isolated/allPairs", "/sapi/v1/account/apiRestrictions",
        "/fapi/v1/leverageBracket", "/fapi/v1/accountConfig", "/fapi/v1/multiAssetsMargin", "/api/v3/openOrderList",
    ],
)
async def test_signed_reads_need_a_signature(sim, bot, path):
    """A read of an account is answered to its key only."""
    assert (await bot("GET", path)).status == 200
    assert (await _get(sim, path))["code"] == -2014


@pytest.mark.parametrize("path", ["/dapi/v1/exchangeInfo", "/eapi/v1/exchangeInfo"])
async def test_other_families_list_nothing(sim, path):
    """Clients that load every market find these empty."""
    assert (await _get(sim, path))["symbols"] == []
