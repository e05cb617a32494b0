"""What one trade may put at stake: its size against equity, and its loss at the stop against equity.

The orders of one request count together, otherwise a large trade could be sent as a list of small ones.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rules import exposure
from rules.case import Case
from rules.checks.leverage import share_of_equity
from rules.decision import Breach, Finding, Reason
from rules.order import Order, OrderType, Side

STOPS: Final = frozenset({OrderType.STOP_LIMIT, OrderType.STOP_MARKET})


def notional(case: Case) -> Finding:
    """The value of a request's orders may not be above a fraction of equity."""
    limit = case.limits.trade_notional_fraction_max
    if limit is None:
        return None
    asked, equity = case.notional_with_request, case.equity
    observed = share_of_equity(asked, equity)
    if asked > limit * equity:
        room = limit * equity - case.earlier.notional_besides(case.order)
        return Breach(
            Reason.SINGLE_TRADE_RISK_EXCEEDS_LIMIT, observed, limit, room / exposure.unit_notional(case)
        )
    return observed, limit


def loss_at_stop(case: Case) -> Finding:
    """Where a stop is known, the loss if it is hit may not be above a fraction of equity."""
    limit = case.limits.trade_stop_loss_fraction_max
    if limit is None or not (case.symbol.orders_by_id or case.earlier.instructions):
        return None
    stop = _stop_price(case)
    if stop is None:
        return None
    distance = abs(case.valuation_price - stop) * case.price.conversion
    at_stake, equity = case.quantity_base * distance, case.equity
    observed = share_of_equity(at_stake, equity)
    if at_stake > limit * equity:
        fits = exposure.in_order_units(case, limit * equity / distance)
        return Breach(Reason.STOP_LOSS_RISK_EXCEEDS_LIMIT, observed, limit, fits)
    return observed, limit


def _stop_price(case: Case) -> Decimal | None:
    """The stop that protects this order: one of the same request, else one that rests at the venue.

    Of several, the furthest: which of them fills is not known. A trigger on the winning side is no stop.
    """
    order = case.order
    entry, is_buy = case.valuation_price, order.side is Side.BUY
    attached = [
        other.trigger_price
        for other in case.earlier.instructions
        if isinstance(other, Order)
        and other.trigger_price is not None
        and other.type in STOPS
        and (other.symbol, other.bucket, other.side) == (order.symbol, order.bucket, order.side.opposite)
    ]
    resting = [
        other.trigger_price
        for other in case.symbol.orders_by_id.values()
        if other.trigger_price is not None
        and (other.bucket, other.side) == (order.bucket, order.side.opposite)
    ]
    for prices in (attached, resting):
        losing = [price for price in prices if (price < entry if is_buy else price > entry)]
        if losing:
            return min(losing) if is_buy else max(losing)
    return None
