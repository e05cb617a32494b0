"""Price: a fresh reference, a floor, a ceiling, and a collar around the reference."""

from __future__ import annotations

from decimal import Decimal

from rules.case import Case
from rules.decision import Breach, Finding, Reason
from rules.order import Order, OrderType, Side

BUY = Side.BUY
STOPS = frozenset({OrderType.STOP_LIMIT, OrderType.STOP_MARKET})
ONE = Decimal(1)


def reference(case: Case) -> Finding:
    """New exposure needs a reference price that is known and fresh."""
    return case.price.mark, None


def floor(case: Case) -> Finding:
    """No order may be priced below the floor; a market order is priced at the reference."""
    limit = case.limits.price_floor
    if limit is None:
        return None
    lowest = min(case.prices)
    return Breach(Reason.PRICE_BELOW_FLOOR, lowest, limit) if lowest < limit else (lowest, limit)


def ceiling(case: Case) -> Finding:
    """No order may be priced above the ceiling; a market order is priced at the reference."""
    limit = case.limits.price_ceiling
    if limit is None:
        return None
    highest = max(case.prices)
    return Breach(Reason.PRICE_ABOVE_CEILING, highest, limit) if highest > limit else (highest, limit)


def collar(case: Case) -> Finding:
    """A buy may not be priced too far above the reference, nor a sell too far below it."""
    order = case.order
    share = case.limits.collar_up if order.side is BUY else case.limits.collar_down
    if share is None or order.price is None or order.price <= 0 or order.price_follows_book:
        return None
    start = _collar_reference(case, order)
    if order.side is BUY:
        limit = start * (ONE + share)
        is_outside = order.price > limit
    else:
        limit = start * (ONE - share)
        is_outside = order.price < limit
    if is_outside:
        return Breach(Reason.PRICE_OUTSIDE_COLLAR, order.price, limit)
    return order.price, limit


def _collar_reference(case: Case, order: Order) -> Decimal:
    """The market at the time the limit price comes to work.

    For an order that waits for a trigger, that is the trigger, unless the market is already through it:
    then the order works at once, against today's market. A buy stop and a sell take-profit wait for a rise,
    the other two for a fall.
    """
    mark = case.price.mark
    if order.trigger_price is None or order.trigger_price <= 0:
        return mark
    waits_for_rise = (order.type in STOPS) is (order.side is BUY)
    return max(mark, order.trigger_price) if waits_for_rise else min(mark, order.trigger_price)
