"""Price: a fresh reference, a floor, a ceiling, and a collar around the reference."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rules.case import Case
from rules.decision import Breach, Finding, Reason
from rules.order import Order, OrderType, Side

BUY: Final = Side.BUY
STOPS: Final = frozenset({OrderType.STOP_LIMIT, OrderType.STOP_MARKET})
NOTHING: Final = Decimal(0)


def reference(case: Case) -> Finding:
    """New exposure needs a reference price that is known and fresh."""
    return case.price.mark, None


def floor(case: Case) -> Finding:
    """No order may be priced below the floor; a market order is priced at the reference."""
    limit = case.limits.price_floor
    if limit is None:
        return None
    lowest = case.price_lowest
    return Breach(Reason.PRICE_BELOW_FLOOR, lowest, limit) if lowest < limit else (lowest, limit)


def ceiling(case: Case) -> Finding:
    """No order may be priced above the ceiling; a market order is priced at the reference."""
    limit = case.limits.price_ceiling
    if limit is None:
        return None
    highest = case.price_highest
    return Breach(Reason.PRICE_ABOVE_CEILING, highest, limit) if highest > limit else (highest, limit)


def collar(case: Case) -> Finding:
    """A buy may not be priced too far above the reference, nor a sell too far below it."""
    order = case.order
    price, is_buy = order.price, order.side is BUY
    share = case.limits.collar_up if is_buy else case.limits.collar_down
    if share is None or price is None or price <= NOTHING or order.price_follows_book:
        return None
    start = case.price.mark if order.trigger_price is None else _collar_reference(case, order)
    limit = start + start * share if is_buy else start - start * share
    if price > limit if is_buy else price < limit:
        return Breach(Reason.PRICE_OUTSIDE_COLLAR, price, limit)
    return price, limit


def _collar_reference(case: Case, order: Order) -> Decimal:
    """The market at the time the limit price comes to work.

    For an order that waits for a trigger, that is the trigger, unless the market is already through it:
    then the order works at once, against today's market. A buy stop and a sell take-profit wait for a rise,
    the other two for a fall.
    """
    mark = case.price.mark
    if order.trigger_price is None or order.trigger_price <= NOTHING:
        return mark
    waits_for_rise = (order.type in STOPS) is (order.side is BUY)
    return max(mark, order.trigger_price) if waits_for_rise else min(mark, order.trigger_price)
