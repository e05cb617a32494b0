"""Positions: whether new ones may be opened, how many, and how large one may become."""

from __future__ import annotations

from rules import exposure
from rules.case import Case
from rules.decision import Breach, Finding, Reason


def new_allowed(case: Case) -> Finding:
    """Where new positions are switched off, only what provably reduces may pass."""
    if not case.limits.new_positions_allowed:
        return Breach(Reason.NEW_POSITIONS_NOT_ALLOWED, "not provably reducing", "new positions off")
    return None


def count(case: Case) -> Finding:
    """Open positions, and those about to be opened, may not outnumber the limit; adding to one is not a new one."""
    limit = case.limits.open_positions_max
    if limit is None:
        return None
    held, order = case.open_positions, case.order
    after = len(held)
    # An account already over its limit may still work on the positions it has.
    if (exposure.coin_bought(case) or order.symbol, order.bucket) not in held:
        after += 1
        if after > limit:
            return Breach(Reason.OPEN_POSITIONS_EXCEED_LIMIT, after, limit)
    return after, limit


def size(case: Case) -> Finding:
    """A position, everything that waits on its side included, may not grow past its cap."""
    limit = case.limits.position_notional_max
    if limit is None:
        return None
    held, price = case.worst_before, case.price
    before = held * price.mark * price.conversion
    after = before + case.exposure_delta
    # A position already over its cap must still be able to come back towards zero.
    if after > limit and not exposure.spared(case, before, limit):
        fits = exposure.quantity_within(case, limit - before)
        return Breach(Reason.POSITION_EXCEEDS_LIMIT, after, limit, fits)
    return after, limit
