"""How often: the rate of orders, repeated identical orders, and the same order sent twice."""

from __future__ import annotations

from rules.case import Case
from rules.decision import Breach, Finding, Reason


def rate(case: Case) -> Finding:
    """Orders within the rate window, this one included, may not outnumber the limit."""
    limit = case.limits.order_rate_max
    if limit is None:
        return None
    count = case.facts.activity.orders_in_window + 1
    return Breach(Reason.ORDER_RATE_EXCEEDS_LIMIT, count, limit) if count > limit else (count, limit)


def identical(case: Case) -> Finding:
    """Identical orders within the duplicate window, this one included, may not outnumber the limit."""
    limit = case.limits.duplicates_max
    if limit is None:
        return None
    count = case.facts.activity.identical_in_window + 1
    if case.earlier.cases:
        count += case.earlier.identical(case.order)
    return Breach(Reason.ORDER_DUPLICATE, count, limit) if count > limit else (count, limit)


def client_order_id(case: Case) -> Finding:
    """An order whose client id is in flight, or whose fate is unknown, is not sent a second time."""
    if case.facts.activity.client_order_id_in_use:
        return Breach(Reason.ORDER_DUPLICATE, case.order.client_order_id or "client id in use", "used once")
    if case.earlier.cases and case.earlier.has_client_order_id(case.order.client_order_id):
        return Breach(Reason.ORDER_DUPLICATE, case.order.client_order_id, "used once")
    return case.order.client_order_id, None
