"""Cancel working orders, protective ones kept, and say so only when a later reading does not list them.

A cancel that the venue took is not yet believed: the next reading has to have been asked for after the answer.
What the venue refused, or never answered, is asked for again until the deadline. Orders that appear meanwhile
(a trigger fired, the second half of a pair came to life) are met in the same loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from proxy.actions.desk import Desk
from proxy.actions.pace import Pace
from proxy.actions.reading import Picture, Resting
from proxy.actions.results import OrderResult, OrderState, Run
from proxy.errors import AuditError
from proxy.feeds.reading import Malformed
from proxy.feeds.venue import FeedFailed
from rules import Market

log = structlog.get_logger("riskgate.actions")


class Canceller:
    """Works through one account."""

    def __init__(self, desk: Desk, run: Run, pace: Pace, *, job: str, ends_s: float) -> None:
        self._desk = desk
        self._run = run
        self._pace = pace
        self._job = job
        self._ends_s = ends_s
        self.problem = ""

    async def until_gone(
        self, markets: Iterable[Market], *, protective: bool = False, share: float = 1.0
    ) -> bool:
        """Cancel until readings list nothing to cancel; False if the deadline came first, or this share of its time.

        With `protective` those go as well.
        """
        left = list(markets)
        ends_s = min(self._ends_s, self._desk.clock.monotonic() + share * self._pace.deadline_s)
        pause_s = self._pace.between_s
        while left:
            before = self._fingerprint()
            left = [market for market in left if not await self._round(market, protective=protective)]
            if not left:
                return True
            if self._desk.clock.monotonic() + pause_s >= ends_s:
                return False
            await asyncio.sleep(pause_s)
            grew = self._fingerprint() != before
            pause_s = self._pace.between_s if grew else min(2 * pause_s, self._pace.between_max_s)
        return True

    async def _round(self, market: Market, *, protective: bool) -> bool:
        """One reading and the cancels it calls for; True if there was nothing left and nothing can be on its way."""
        # Asked before the reading too: what reaches the venue while it is made is on no list, and may be answered
        # by the time it ends.
        before = self._desk.of_bots()
        try:
            picture = await self._desk.read(market)
        except (FeedFailed, Malformed) as error:
            self.problem = f"{market.value} cannot be read: {error}"
            return False
        found = self.take(picture)
        wanted = [one for one in found if protective or not one.protective]
        if not wanted:
            on_their_way = before or self._desk.of_bots()
            if not on_their_way:
                self.problem = ""
                return True
            self.problem = f"{len(on_their_way)} order(s) of bots are of unknown fate and may still arrive"
            return False
        self.problem = f"{len(wanted)} order(s) still work on {market.value}"
        gate = asyncio.Semaphore(self._pace.at_once)
        await asyncio.gather(*(self._cancel(one, gate) for one in wanted))
        return False

    async def cancel_symbol(self, market: Market, symbol: str) -> None:
        """Cancel everything of one symbol once, protective or not: what stands in the way of closing it."""
        picture = await self._desk.read(market)
        gate = asyncio.Semaphore(self._pace.at_once)
        found = [one for one in self.take(picture) if one.symbol == symbol]
        await asyncio.gather(*(self._cancel(one, gate) for one in found))

    def take(self, picture: Picture) -> tuple[Resting, ...]:
        """Note what a reading lists, and what it does not list any more."""
        listed = {(picture.market, *one.key): one for one in picture.orders}
        for key, one in listed.items():
            result = self._run.orders.setdefault(key, _result(one))
            result.protective, result.quantity = one.protective, one.order.remaining
            result.state = OrderState.KEPT if one.protective else OrderState.WORKING
        for key, result in self._run.orders.items():
            if key[0] is picture.market and key not in listed:
                result.state = OrderState.CANCELLED if result.taken else OrderState.GONE
        return picture.orders

    async def _cancel(self, resting: Resting, gate: asyncio.Semaphore) -> None:
        async with gate:
            result = self._run.orders[(resting.market, *resting.key)]
            result.attempts += 1
            try:
                sent = await self._desk.lane.cancel(resting, job=self._job)
            except AuditError as error:
                self.problem = result.said = f"what cannot be recorded is not sent: {error}"
                return
            result.taken = result.taken or sent.outcome == "accepted"
            result.said = f"{sent.outcome}: {sent.said}"
            log.info(
                "action.cancel", account=self._run.account, symbol=resting.symbol, order_id=resting.order.order_id,
                outcome=sent.outcome, code=sent.code,
            )  # fmt: skip

    def _fingerprint(self) -> tuple[int, int]:
        """Whether anything moves: how many orders ended, how many were met."""
        ended = sum(one.state in (OrderState.CANCELLED, OrderState.GONE) for one in self._run.orders.values())
        return ended, len(self._run.orders)


def _result(resting: Resting) -> OrderResult:
    order = resting.order
    return OrderResult(
        market=resting.market, symbol=resting.symbol, order_id=order.order_id, client_order_id=order.client_order_id,
        side=order.side, quantity=order.remaining, protective=resting.protective,
    )  # fmt: skip
