"""A whole deployment before the simulated exchange, and actions that hurry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from proxy import audit
from proxy.actions import Actions, Pace
from proxy.actions.jobs import Job
from proxy.actions.results import RunState
from tests.runs import Run, open_run

QUICK = Pace(
    deadline_s=12.0, market_after_s=4.0, between_s=0.02, between_max_s=0.2, unknown_counts_after_s=1.0,
    price_age_max_s=30.0,
)  # fmt: skip


class Desk:
    """A run, its account `desk`, and actions on it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.sim = run.sim
        self.account = run.sim.accounts["desk"]
        self.pace(QUICK)

    def pace(self, pace: Pace) -> None:
        """Let actions hurry."""
        before = self.run.app.actions
        self.actions: Actions = before
        before._pace = pace

    async def hold(self, symbol: str, quantity: str) -> None:
        """Trade into a position through the proxy, and wait until the proxy has read it."""
        side = "SELL" if quantity.startswith("-") else "BUY"
        reply = await self.bot().order(
            symbol=symbol, side=side, type="MARKET", quantity=quantity.lstrip("-"), price=None, timeInForce=None
        )
        assert reply.status == 200, reply

    async def rest(self, symbol: str = "BTCUSDT", **changes: object) -> int:
        """Leave an order resting; its id at the exchange."""
        reply = await self.bot().order(symbol=symbol, **changes)
        assert reply.status == 200, reply
        return int(reply.json["orderId"])

    async def stop_loss(self, symbol: str = "BTCUSDT", **changes: object) -> int:
        """Leave a protective stop."""
        asked = {
            "algoType": "CONDITIONAL", "symbol": symbol, "side": "SELL", "type": "STOP_MARKET",
            "triggerPrice": "30000", "closePosition": "true",
        }  # fmt: skip
        reply = await self.bot().request("POST", "/fapi/v1/algoOrder", **(asked | changes))
        assert reply.status == 200, reply
        return int(reply.json["algoId"])

    def bot(self):
        """A bot of the account."""
        return self.run.bot("desk")

    def held(self, symbol: str = "BTCUSDT", side: str = "BOTH") -> Decimal:
        """What the exchange itself says is held."""
        position = self.account.positions.get((symbol, side))
        return Decimal(0) if position is None else position.amount

    def open_orders(self) -> list[int]:
        """What the exchange itself says is working."""
        return [number for book in ("futures", "algo", "spot") for number in self.account.open_orders[book]]

    def records(self, kind: str) -> list[dict]:
        """What the audit holds of a kind."""
        self.run.app.audit.flush()
        return [one for one in audit.read(self.run.app.settings.audit_dir) if one["kind"] == kind]

    async def flatten(self, **changes: object) -> Job:
        """Flatten and wait for the end."""
        asked = {"scope": "account:desk", "accounts": ["desk"], "actor": "kim", "reason": "a drill"} | changes
        return await self.ended(await self.actions.flatten(**asked))

    async def cancel_all(self) -> Job:
        """Cancel everything and wait for the end."""
        return await self.ended(
            await self.actions.cancel_all(scope="account:desk", accounts=["desk"], actor="kim", reason="a drill")
        )

    async def ended(self, job: Job, timeout_s: float = 20.0) -> Job:
        """Wait for a job."""
        await self.run.until(lambda: job.state is not RunState.RUNNING, "the action's end", timeout_s)
        return job


@asynccontextmanager
async def a_desk(tmp_path, **options) -> AsyncIterator[Desk]:
    """A desk with a fresh exchange."""
    async with open_run(tmp_path / "run", **options) as run:
        yield Desk(run)


@pytest.fixture
async def desk(tmp_path) -> AsyncIterator[Desk]:
    """The usual desk."""
    async with a_desk(tmp_path) as made:
        yield made
