"""Leverage: as set at the venue, as it would be after the order, and as a request wants to set it.

What a bot says of its leverage is never used. Leverage breaches are not cured by a smaller order.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rules.case import Case
from rules.decision import Breach, Finding, Reason
from rules.order import LeverageChange, Market

LINEAR: Final = Market.LINEAR
NOTHING: Final = Decimal(0)
INFINITE: Final = Decimal("Infinity")


def share_of_equity(amount: Decimal, equity: Decimal) -> Decimal:
    """An amount as a fraction of equity; without equity any amount is infinitely much."""
    return amount / equity if equity > NOTHING else INFINITE


def at_venue(case: Case) -> Finding:
    """The leverage set at the venue for the symbol may not be above the limit (contracts only)."""
    limit = case.limits.leverage_max
    if limit is None or case.order.market is not LINEAR:
        return None
    if case.leverage > limit:
        return Breach(Reason.LEVERAGE_EXCEEDS_LIMIT, case.leverage, limit)
    return case.leverage, limit


def effective(case: Case) -> Finding:
    """Worst-case exposure after the order, divided by equity, may not be above the leverage limit."""
    limit = case.limits.leverage_max
    if limit is None:
        return None
    after, equity = case.exposure.account + case.exposure_delta, case.equity
    observed = share_of_equity(after, equity)
    # An order that leaves the worst case where it was does not make an account's leverage worse.
    if after > limit * equity and not case.non_increasing:
        return Breach(Reason.EFFECTIVE_LEVERAGE_EXCEEDS_LIMIT, observed, limit)
    return observed, limit


def change(case: Case) -> Finding:
    """A request may set leverage up to the limit; lowering it is always allowed."""
    limit, request = case.limits.leverage_max, case.instruction
    if limit is None or not isinstance(request, LeverageChange):
        return None
    if request.leverage > limit:
        return Breach(Reason.LEVERAGE_EXCEEDS_LIMIT, request.leverage, limit)
    return request.leverage, limit
