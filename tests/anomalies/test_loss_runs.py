"""Losses of a whole deployment: money that comes and goes stops nothing, money that is lost stops the account."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

from proxy.feeds.income import WalletFeed
from tests.runs import Run, open_run

D = Decimal
POLICY = "defaults: {loss_daily_max: '2%'}\n"


async def passes(run: Run) -> bool:
    """Whether an order for new exposure passes now; it is cancelled again."""
    bot = run.bot()
    reply = await bot.order(quantity="0.005")
    if reply.status == 200:
        assert (await bot.cancel(reply.json["clientOrderId"])).status == 200
    return reply.status == 200


async def settled(run: Run, day_transfers: str, lost: str) -> None:
    """Wait until the ledger has explained everything."""

    def holds() -> bool:
        found = run.app.losses.report("direct")
        return (found["day_transfers"], found["limits"]["day"]["lost"]) == (day_transfers, lost)

    await run.until(holds, f"transfers {day_transfers}, lost {lost}: {run.app.losses.report('direct')}", 30.0)


async def test_transfers_stop_nothing_and_a_loss_stops_the_account(tmp_path):
    """3,000 of 10,000 go and 5,000 come; then 2.1 % are lost: REDUCE_ONLY, for good, and for that account alone."""
    async with open_run(tmp_path, wallet=D(10_000), more_policy=POLICY) as run:
        account, treasury = run.sim.accounts["direct"], run.sim.treasury
        for feed in run.app.feeds._feeds:
            if isinstance(feed, WalletFeed):  # this exchange's histories are never late
                feed._lag, feed._history._poke_min_s = timedelta(0), 0.5
        assert await passes(run)
        treasury.income(account, "TRANSFER", D(-3000))
        await settled(run, "-3000.00", "0.00")
        assert await passes(run)
        treasury.income(account, "TRANSFER", D(5000))
        await settled(run, "2000.00", "0.00")
        assert await passes(run)
        treasury.income(account, "FUNDING_FEE", D(-190))
        await settled(run, "2000.00", "190.00")
        assert await passes(run)
        assert await run.admin.stops() == {"global": "clear"}

        working = await run.bot().order(quantity="0.005")
        treasury.income(account, "FUNDING_FEE", D(-20))
        await settled(run, "2000.00", "210.00")
        await run.until(lambda: len(run.app.latch.stops()) == 2, "the stop")
        assert await run.admin.stops() == {"global": "clear", "account:direct": "reduce_only"}
        treasury.income(account, "COMMISSION_REBATE", D(900))
        await asyncio.sleep(2.0)
        assert not await passes(run)
        assert (await run.bot().cancel(working.json["clientOrderId"])).status == 200
        assert (await run.bot("desk").order(quantity="0.005")).status == 200

        status = run.app.status.status()
        day = status["accounts"]["direct"]["losses"]["limits"]["day"]
        assert (day["step"], day["distance"], day["floor"]) == ("breach", "0.00", "11800.00")
        metrics = (await run.admin.call("GET", "/metrics")).body.decode()
        assert 'riskgate_loss_limit_used{account="direct",window="day"} 1.05' in metrics
        assert 'ess_triggers_total{source="loss"} 1.0' in metrics
