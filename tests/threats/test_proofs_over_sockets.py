"""The same from bot to simulated exchange: what a bot reaches with orders that look as if they only closed."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from rules import Market
from tests.runs import open_run

SIZE = {"position_notional_max": "1000", "order_notional_max": "1000"}
AT_MARKET = {"type": "MARKET", "price": None, "timeInForce": None}


@pytest.fixture
async def run(tmp_path):
    """A whole deployment with a position cap of 1000."""
    async with open_run(tmp_path / "run", size=SIZE) as opened:
        yield opened


async def position(bot):
    """What the exchange says is held."""
    found = await bot.request("GET", "/fapi/v3/positionRisk")
    return [Decimal(row["positionAmt"]) for row in found.json]


async def known(run, held):
    """Wait until the proxy has read this position."""
    for _ in range(100):
        await asyncio.sleep(0.1)
        found = run.app.book.positions("desk", Market.LINEAR)
        if found is not None and found.value.get("BTCUSDT") is not None and found.value["BTCUSDT"].both == held:
            return
    raise AssertionError(f"the position of {held} was not read")


async def test_a_position_is_not_closed_twice(run):
    """Reduce-only, then plain: the second would open a short while only reductions may pass."""
    bot = run.bot("desk")
    await bot.order(side="BUY", quantity="0.01", **AT_MARKET)
    await known(run, Decimal("0.01"))
    await run.admin.engage(level="reduce_only")
    first = await bot.order(side="SELL", quantity="0.01", reduceOnly="true", **AT_MARKET)
    second = await bot.order(side="SELL", quantity="0.01", **AT_MARKET)

    assert (first.status, second.status) == (200, 403)
    assert all(amount == 0 for amount in await position(bot))


async def test_no_order_borrows_the_reduce_only_mark_of_another(run):
    """A reduce-only order whose client id is another order's id does not let that one grow to 50 BTC."""
    bot = run.bot("desk")
    await bot.order(side="SELL", quantity="0.002", **AT_MARKET)
    await known(run, Decimal("-0.002"))
    plain = await bot.order(side="BUY", quantity="0.002", price="59000")
    number = str(plain.json["orderId"])
    closer = await bot.order(
        side="BUY", quantity="0.002", price="58000", reduceOnly="true", newClientOrderId=number
    )
    assert (plain.status, closer.status) == (200, 200)
    for _ in range(100):
        await asyncio.sleep(0.1)
        facts = run.app.book.symbol("desk", Market.LINEAR, "BTCUSDT", run.app.clock.now())
        if {number, str(closer.json["orderId"])} <= facts.orders_by_id.keys():
            break
    assert number in facts.orders_by_id
    await run.admin.engage(level="reduce_only")
    values = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "50", "price": "59500"}
    for named in ({"orderId": number}, {"origClientOrderId": number}):
        grown = await bot.request("PUT", "/fapi/v1/order", **values, **named)
        assert grown.status == 403, grown.body
