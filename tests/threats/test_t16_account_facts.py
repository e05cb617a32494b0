"""Attacks on what is known of an account: orders that are not counted, and orders that hide behind others' names."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from rules import Market
from tests.runs import open_run

STOP = {
    "algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "BUY", "type": "STOP", "quantity": "0.005",
    "price": "62000", "triggerPrice": "61500",
}  # fmt: skip
ALGO_PATH = "/fapi/v1/algoOrder"


@pytest.mark.parametrize("streams", [False, True])
async def test_a_stop_that_trades_at_once_or_never_rests_until_it_triggers(tmp_path, streams):
    """With room for two orders the third conditional one is refused, whatever its time in force."""
    async with open_run(tmp_path / "run", size={"open_orders_max": "2"}, streams=streams) as run:
        live = run.app.feeds.live("desk", Market.LINEAR)
        await run.until(lambda: live.is_live or not streams, "the stream speaks for the account")
        bot = run.bot("desk")
        replies = [
            await bot.request("POST", ALGO_PATH, **STOP, timeInForce=force, clientAlgoId=bot.next_name())
            for force in ("IOC", "FOK", "IOC", "FOK")
        ]
        resting = [one for one in run.sim.accounts["desk"].open_orders["algo"].values() if one.is_open]

    assert [reply.status for reply in replies] == [200, 200, 403, 403]
    assert len(resting) == 2


async def test_a_cancelled_stop_lends_its_name_to_no_order_placed_elsewhere(tmp_path):
    """Past the proxy under the name of a stop that is gone: found like any other."""
    async with open_run(tmp_path / "run", streams=True) as run:
        bot, outside = run.bot("direct"), run.bots(1, "direct", direct_to_venue=True)[0]
        placed = await bot.request("POST", ALGO_PATH, **STOP, timeInForce="GTC", clientAlgoId="lent")
        await asyncio.sleep(0.3)
        cancelled = await bot.request("DELETE", ALGO_PATH, symbol="BTCUSDT", clientAlgoId="lent")
        await asyncio.sleep(0.3)
        elsewhere = await outside.order(newClientOrderId="lent")
        assert (placed.status, cancelled.status, elsewhere.status) == (200, 200, 200)

        await run.until(lambda: run.app.feeds.bypass_count("direct") == 1, "the order was found")


@pytest.mark.parametrize("streams", [False, True])
async def test_a_stop_that_triggers_is_nobody_elses_and_its_name_is_then_used_up(tmp_path, streams):
    """What it became is no bypass; the next order under its name, placed elsewhere, is one."""
    async with open_run(tmp_path / "run", streams=streams) as run:
        bot, outside = run.bot("direct"), run.bots(1, "direct", direct_to_venue=True)[0]
        placed = await bot.request("POST", ALGO_PATH, **STOP, timeInForce="GTC", clientAlgoId="lent")
        assert placed.status == 200
        await asyncio.sleep(1.0)
        run.sim.mark("BTCUSDT", Decimal(61600))
        await asyncio.sleep(3.5)  # longer than a stranger is given
        assert run.app.feeds.bypass_count("direct") == 0
        assert run.sim.accounts["direct"].position("BTCUSDT").amount == Decimal("0.005")
        if streams:  # without one nobody says what a stop became where that has filled at once
            elsewhere = await outside.order(newClientOrderId="lent")
            assert elsewhere.status == 200
            await run.until(lambda: run.app.feeds.bypass_count("direct") == 1, "the order was found")
