"""The size of one order, and the value of one request: the fat-finger limits."""

from __future__ import annotations

from rules import exposure
from rules.case import Case
from rules.decision import Breach, Finding, Reason


def quantity(case: Case) -> Finding:
    """An order's quantity in base units may not be above the limit."""
    limit = case.limits.order_quantity_max
    if limit is None:
        return None
    if case.quantity_base > limit:
        fits = exposure.in_order_units(case, limit)
        return Breach(Reason.ORDER_QUANTITY_EXCEEDS_LIMIT, case.quantity_base, limit, fits)
    return case.quantity_base, limit


def notional(case: Case) -> Finding:
    """The value of a request's orders together may not be above the limit."""
    limit = case.limits.order_notional_max
    if limit is None:
        return None
    asked = case.notional_with_request
    if asked > limit:
        room = limit - case.earlier.notional_besides(case.order)
        return Breach(
            Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT, asked, limit, room / exposure.unit_notional(case)
        )
    return asked, limit
