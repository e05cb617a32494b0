"""Finds out what became of orders whose answer was lost. It asks; it never sends an order again."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import structlog

from proxy.clock import Clock
from proxy.feeds.polling import Cycle, Cycles
from proxy.feeds.reading import Malformed, record, size
from proxy.feeds.venue import FeedFailed, Venue
from proxy.reservations import Leg, Outcome, Reservation, Reservations
from rules import Market

log = structlog.get_logger("riskgate.lookup")

SCHEDULE_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
AGAIN_S = 30.0  # after the schedule, for as long as it takes
ALERT_S = 60.0
NOT_FOUND = -2013
# An order can still be on its way: recvWindow (at most 60 s), the 10 s a venue may take, and a margin.
NOT_FOUND_COUNTS_AFTER_S = 75.0
ENDED = frozenset({"CANCELED", "CANCELLED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
EVERY_S = 0.25


class UnknownLookup(Cycles):
    """Asks for every order of unknown fate by its client id, on a schedule that slows down.

    An order without a client id, or of an account without credentials, cannot be asked for:
    it stays reserved until the book lists it or a person settles it.
    """

    def __init__(
        self,
        reservations: Reservations,
        venues: Mapping[tuple[str, Market], Venue],
        clock: Clock,
        *,
        every_s: float = EVERY_S,
        not_found_counts_after_s: float = NOT_FOUND_COUNTS_AFTER_S,
    ) -> None:
        self._reservations = reservations
        self._venues = venues
        self._clock = clock
        self._not_found_counts_after_s = not_found_counts_after_s
        self._tries: dict[tuple[str, int], int] = {}
        self._alerted: set[tuple[str, int]] = set()
        super().__init__("lookup.unknown", (Cycle("lookup.unknown", self._look, every_s=every_s, clock=clock),))

    async def _look(self) -> None:
        unknown = self._reservations.unknown()
        present = {(reservation.decision_id, leg.index) for reservation, leg in unknown}
        for key in [key for key in self._tries if key not in present]:
            del self._tries[key]
        self._alerted &= present
        problem: FeedFailed | Malformed | None = None
        for reservation, leg in unknown:
            try:
                await self._look_up(reservation, leg)
            except (FeedFailed, Malformed) as error:
                problem = error  # the others are asked for all the same
        if problem is not None:
            raise problem

    async def _look_up(self, reservation: Reservation, leg: Leg) -> None:
        key = (reservation.decision_id, leg.index)
        age_s = self._clock.monotonic() - leg.unknown_since_s
        if age_s >= ALERT_S and key not in self._alerted:
            self._alerted.add(key)
            log.error(
                "reservation.unresolved",
                decision_id=reservation.decision_id,
                account=reservation.caller.account,
                symbol=leg.symbol,
                age_s=round(age_s),
            )
        venue = self._venues.get((reservation.caller.account, reservation.market))
        tries = self._tries.get(key, 0)
        if venue is None or leg.client_order_id is None or age_s < due_s(tries):
            return
        self._tries[key] = tries + 1
        outcome = await self._ask(venue, reservation, leg, age_s)
        if outcome is None:
            return
        at = self._clock.now()
        if self._reservations.resolve(reservation.decision_id, leg.index, outcome, at):
            log.warning(
                "reservation.resolved",
                decision_id=reservation.decision_id,
                account=reservation.caller.account,
                symbol=leg.symbol,
                outcome=outcome.value,
            )

    async def _ask(self, venue: Venue, reservation: Reservation, leg: Leg, age_s: float) -> Outcome | None:
        path, name = "/api/v3/order", "origClientOrderId"
        if reservation.market is Market.LINEAR:
            path = "/fapi/v1/algoOrder" if leg.conditional else "/fapi/v1/order"
            name = "clientAlgoId" if leg.conditional else name
        assert leg.client_order_id is not None
        params = {name: leg.client_order_id}
        if not leg.conditional or reservation.market is Market.SPOT:
            params = {"symbol": leg.symbol, **params}
        settled = age_s >= self._not_found_counts_after_s
        try:
            reply = await venue.get(path, params, signed=True)
        except FeedFailed as error:
            if error.code != NOT_FOUND:
                raise
            # An order that is amended existed before: not found says nothing of its change.
            return Outcome.FAILED if settled and not leg.amends else None
        return found_outcome(record(reply.found), reservation, leg, settled=settled)


def found_outcome(
    row: Mapping[str, Any], reservation: Reservation, leg: Leg, *, settled: bool
) -> Outcome | None:
    """What a found order means. `settled`: so late that nothing can be on its way any more.

    A client id may be used again, and then what is found can be an earlier order of that name
    while this one is still on its way: until settled, only what began after the decision counts.
    """
    status = row.get("status", row.get("algoStatus"))
    if not isinstance(status, str) or not status:
        raise Malformed("status: expected text")
    if leg.amends:
        # The order is found whether or not it was changed; only its quantity tells, or enough time.
        changed = size(row, "origQty" if "origQty" in row else "quantity") == leg.quantity
        changed = changed and _is_since(row.get("updateTime"), reservation)
        return Outcome.ACCEPTED if changed or settled else None
    if not settled and not _is_since(row.get("time", row.get("createTime")), reservation):
        return None
    executed = size(row, "executedQty") if "executedQty" in row else Decimal(0)
    never_traded = status in ENDED and not executed and "algoStatus" not in row
    if never_traded or (status in ENDED and "algoStatus" in row and not row.get("actualOrderId")):
        return Outcome.FAILED
    # Whatever else it is, it may work or have traded; the next reading of the account shows which.
    return Outcome.ACCEPTED


def _is_since(stamp_ms: object, reservation: Reservation) -> bool:
    """Whether a time of the venue's is not before the decision; one that is not stated proves nothing.

    No allowance for a venue's clock that is behind: it would let an order pass that was cancelled just before.
    """
    return type(stamp_ms) is int and stamp_ms >= int(reservation.reserved_at.timestamp() * 1000)


def due_s(tries: int) -> float:
    """When, after its fate became unknown, an order is asked for the next time."""
    if tries < len(SCHEDULE_S):
        return SCHEDULE_S[tries]
    return SCHEDULE_S[-1] + AGAIN_S * (tries - len(SCHEDULE_S) + 1)
