"""Close positions in slices, each proven by a reading, until a later reading shows that nothing is left.

First bounded by a price, then, so that it ends, at whatever the market gives. No order is for more than the last
reading shows less what is still on its way: an order of unknown fate is looked up before the next one is sent.
A close that the venue refuses because protective orders stand in its way costs those orders, and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import structlog

from proxy.actions.cancel_orders import Canceller
from proxy.actions.desk import Desk
from proxy.actions.lane import Closing, Sent
from proxy.actions.pace import Pace
from proxy.actions.proof import NotAdmitted
from proxy.actions.reading import Picture
from proxy.actions.results import PositionResult, PositionState, Run
from proxy.errors import AuditError, CallerError, SigningError
from proxy.feeds.reading import Malformed, record
from proxy.feeds.venue import FeedFailed
from rules import Bucket, Filters, Market, Price, Side, SymbolFacts

log = structlog.get_logger("riskgate.actions")

ZERO = Decimal(0)
NOT_FOUND = -2013
REDUCE_ONLY_REFUSED = -2022
ENDED = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
Place = tuple[Market, str, Bucket]


@dataclass(frozen=True, slots=True)
class _Unknown:
    """An own order whose answer was lost."""

    sent: Sent
    quantity: Decimal


class Flattener:
    """Works through one account."""

    def __init__(
        self, desk: Desk, run: Run, canceller: Canceller, pace: Pace, *, job: str, ends_s: float, spot: bool
    ) -> None:
        self._desk = desk
        self._run = run
        self._canceller = canceller
        self._pace = pace
        self._job = job
        self._ends_s = ends_s
        self._spot = spot
        self._market_at_s = desk.clock.monotonic() + pace.market_after_s
        self._unknown: dict[Place, list[_Unknown]] = {}
        self._in_the_way: set[tuple[Market, str]] = set()
        self.problem = ""

    async def until_flat(self, markets: Sequence[Market]) -> bool:
        """Close until a reading shows nothing; False if the deadline came first, or HALT was released."""
        pause_s = self._pace.between_s
        while True:
            before = self._left()
            done = [await self._round(market) for market in markets]
            if all(done):
                return True
            if not self._desk.lane.may_close:
                self.problem = "HALT was released while positions were being closed: nothing more is sent"
                return False
            if self._desk.clock.monotonic() + pause_s >= self._ends_s:
                return False
            await asyncio.sleep(pause_s)
            moved = self._left() != before
            pause_s = self._pace.between_s if moved else min(2 * pause_s, self._pace.between_max_s)

    async def _round(self, market: Market) -> bool:
        """What is on its way, what is held, and a slice of each; True if nothing was held."""
        try:
            await self._look_up(market)
            for _, symbol in [one for one in self._in_the_way if one[0] is market]:
                await self._canceller.cancel_symbol(market, symbol)
            picture = await self._desk.read_held(market)
            left = self.take(picture)
            if not left:
                self.problem = ""
                return True
            gate = asyncio.Semaphore(self._pace.at_once)
            await asyncio.gather(*(self._close(one, picture, gate) for one in left))
        except (FeedFailed, Malformed) as error:
            self.problem = f"{market.value} cannot be read: {error}"
        except AuditError as error:
            self.problem = f"what cannot be recorded is not sent: {error}"
        return False

    def take(self, picture: Picture) -> list[PositionResult]:
        """Note what a reading shows; returns what is left to close."""
        market = picture.market
        for (symbol, bucket), held in picture.held.items():
            place = (market, symbol, bucket)
            found = self._run.positions.get(place)
            if found is None:
                found = self._run.positions[place] = PositionResult(
                    market=market, symbol=symbol, bucket=bucket, quantity_before=held, quantity_now=held
                )
            found.quantity_now = held
        for (its, symbol, bucket), found in self._run.positions.items():
            if its is market:
                found.quantity_now = picture.held.get((symbol, bucket), ZERO)
                found.state = self._state_of(found)
        return [one for place, one in self._run.positions.items() if place[0] is market and _is_open(one)]

    def _state_of(self, found: PositionResult) -> PositionState:
        if not found.quantity_now:
            return PositionState.FLAT
        if found.market is not Market.SPOT:
            return PositionState.OPEN  # reduce-only orders have no least value
        filters = self._desk.filters(found.market).get(found.symbol)
        price = self._known(found).price
        if filters is None or price is None:
            return PositionState.OPEN
        sold = _floored(found.quantity_now, filters.quantity_step)
        is_dust = sold < filters.quantity_min or sold * price.value.mark < filters.notional_min
        return PositionState.DUST if is_dust else PositionState.OPEN

    # -- one slice

    async def _close(self, found: PositionResult, picture: Picture, gate: asyncio.Semaphore) -> None:
        place = (found.market, found.symbol, found.bucket)
        on_its_way = sum((one.quantity for one in self._unknown.get(place, ())), ZERO)
        free = abs(found.quantity_now) - on_its_way
        known = self._known(found)
        filters = None if known.filters is None else known.filters.value
        side = Side.SELL if found.quantity_now > 0 else Side.BUY
        quantity = self._slice(found, free, filters, known)
        if quantity <= 0:
            self.problem = f"{found.symbol}: an order of {on_its_way:f} is of unknown fate"
            return
        closing = Closing(
            symbol=found.symbol, bucket=found.bucket, side=side, quantity=quantity,
            price=self._price(side, known, filters),
        )  # fmt: skip
        async with gate:
            try:
                sent = await self._desk.lane.close(closing, picture, job=self._job, spot_sales=self._spot)
            except (NotAdmitted, CallerError, SigningError) as error:
                log.error("action.not_sent", account=self._run.account, symbol=found.symbol, error=str(error))
                found.said = self.problem = f"{found.symbol}: not sent: {error}"
                return
        self._note(found, place, closing, sent)

    def _note(self, found: PositionResult, place: Place, closing: Closing, sent: Sent) -> None:
        price = None if closing.price is None else format(closing.price, "f")
        found.sent.append(
            {
                "decision_id": sent.decision_id, "side": closing.side.value, "price": price,
                "quantity": format(closing.quantity, "f"), "outcome": sent.outcome, "said": sent.said,
            }
        )  # fmt: skip
        found.said = f"{sent.outcome}: {sent.said}"
        self.problem = f"{found.symbol} {found.bucket.value} is not closed yet, last answer {found.said}"
        if sent.outcome == "unknown":
            self._unknown.setdefault(place, []).append(_Unknown(sent, closing.quantity))
        if sent.code == REDUCE_ONLY_REFUSED:
            self._in_the_way.add((found.market, found.symbol))

    def _slice(
        self, found: PositionResult, free: Decimal, filters: Filters | None, known: SymbolFacts
    ) -> Decimal:
        """How much to close now: never above what is free, never a rest that nobody could close."""
        if filters is None or free <= 0:
            return max(ZERO, free)
        step = filters.market_quantity_step or filters.quantity_step
        least = max(filters.quantity_min, filters.market_quantity_min or ZERO, step)
        if found.market is Market.SPOT and known.price is not None:
            least = max(least, 2 * filters.notional_min / known.price.value.mark)
        share = max(abs(found.quantity_before) / self._pace.slices, least)
        wanted = free if free - share < least else share
        for most in (filters.quantity_max, filters.market_quantity_max):
            if most is not None:
                wanted = min(wanted, most)
        return _floored(min(wanted, free), step)

    def _price(self, side: Side, known: SymbolFacts, filters: Filters | None) -> Decimal | None:
        """The worst price a slice may trade at; None, the market's, once there was time enough or nobody knows one."""
        now = self._desk.clock.now()
        if self._desk.clock.monotonic() >= self._market_at_s or known.price is None or filters is None:
            return None
        if filters.price_tick is None or abs((now - known.price.as_of).total_seconds()) > self._pace.price_age_max_s:
            return None
        return bounded(side, known.price.value, self._pace.price_tolerance, filters.price_tick)

    def _known(self, found: PositionResult) -> SymbolFacts:
        return self._desk.known(found.market, found.symbol, self._desk.clock.now())

    def _left(self) -> dict[Place, Decimal]:
        return {place: one.quantity_now for place, one in self._run.positions.items()}

    # -- orders of unknown fate

    async def _look_up(self, market: Market) -> None:
        """Find out what became of own orders whose answer was lost; the others stay counted as on their way."""
        for place, unknown in list(self._unknown.items()):
            if place[0] is market:
                left = [one for one in unknown if not await self._is_settled(place, one)]
                self._unknown[place] = left

    async def _is_settled(self, place: Place, unknown: _Unknown) -> bool:
        market, symbol, _ = place
        path = "/api/v3/order" if market is Market.SPOT else "/fapi/v1/order"
        params = {"symbol": symbol, "origClientOrderId": unknown.sent.client_order_id}
        try:
            reply = await self._desk.venues[market].get(path, params, signed=True)
        except FeedFailed as error:
            age_s = self._desk.clock.monotonic() - unknown.sent.sent_s
            if error.code != NOT_FOUND or age_s < self._pace.unknown_counts_after_s:
                return False
            self._desk.resolve(unknown.sent.decision_id, arrived=False)
            return True
        if record(reply.found).get("status") not in ENDED:
            return False
        self._desk.resolve(unknown.sent.decision_id, arrived=True)
        return True


def bounded(side: Side, price: Price, tolerance: Decimal, tick: Decimal) -> Decimal | None:
    """The book's price made worse by the tolerance, on the tick that keeps it within."""
    if side is Side.SELL:
        worst = (price.bid or price.mark) * (1 - tolerance)
        found = (worst / tick).to_integral_value(ROUND_CEILING) * tick
    else:
        worst = (price.ask or price.mark) * (1 + tolerance)
        found = (worst / tick).to_integral_value(ROUND_FLOOR) * tick
    return found if found > 0 else None


def _floored(quantity: Decimal, step: Decimal) -> Decimal:
    return quantity // step * step


def _is_open(found: PositionResult) -> bool:
    return found.state is PositionState.OPEN
