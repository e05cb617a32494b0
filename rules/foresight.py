"""Everything that the rules will ask of an order that may open, worked out in one go.

`Asking` computes what it is asked for, when it is asked, and tells what is missing to the rule that asked.
That is right and, two calls a value, slow. Where price and position are fresh, which is nearly always,
nothing is missing, the order of questions does not matter, and plain locals do. What is filled in here is
what `Asking` would have answered: `tests/rules/test_foresight.py` compares the two on arbitrary orders.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from rules import exposure as sums
from rules.case import FUTURE_MAX, RISK_LEVELS, Foreseen, span
from rules.facts import BOTH, BUY, UNKNOWN_SYMBOL, Facts, Position, Price
from rules.limits import Ages, Limits
from rules.order import Order
from rules.running import Running

NOTHING: Final = Decimal(0)


class Spans(NamedTuple):
    """The oldest that facts may be, as time spans."""

    price: timedelta
    account: timedelta
    leverage: timedelta
    filters: timedelta
    risk: timedelta


def spans_of(ages: Ages) -> Spans:
    """The maximum ages of facts; raises if they are no sensible numbers."""
    of_venue = span(ages.leverage_s), span(ages.filters_s)
    return Spans(span(ages.price_s), span(ages.account_s), *of_venue, span(ages.risk_s))


def foresee(
    order: Order, facts: Facts, limits: Limits, spans: Spans, earlier: Running, index: int, warned: bool  # noqa: FBT001 - made for every order
) -> Foreseen | None:
    """The order with all that is fresh and all that follows; None where it must be asked about singly.

    That is where price or position are missing or old, and where another order stands beside this one: one
    that it replaces, excludes or waits for.
    """
    if order.replaces is not None or order.group is not None or order.pending_on is not None:
        return None
    symbol = facts.symbols.get(order.symbol, UNKNOWN_SYMBOL)
    if symbol.price is None or symbol.position is None:
        return None
    now = facts.now
    price_age_max, account_age_max, leverage_age_max, filters_age_max, risk_age_max = spans
    oldest, latest = now - account_age_max, now - FUTURE_MAX
    price, as_of = symbol.price
    if as_of > latest or as_of < now - price_age_max or price.mark <= NOTHING or price.conversion <= NOTHING:
        return None
    position, as_of = symbol.position
    if as_of > latest or as_of < oldest:
        return None
    case = Foreseen(order, facts, limits, earlier, index, symbol, warned)
    case.price, case.position = price, position
    if symbol.leverage is not None:
        leverage, as_of = symbol.leverage
        if as_of <= latest and as_of >= now - leverage_age_max:
            case.leverage = leverage
    if symbol.filters is not None:
        filters, as_of = symbol.filters
        if as_of <= latest and as_of >= now - filters_age_max:
            case.filters = filters
    if facts.risk is not None:
        risk, as_of = facts.risk
        if as_of <= latest and as_of >= now - risk_age_max and risk.level in RISK_LEVELS:
            case.risk = risk
    if facts.equity is not None:
        equity, as_of = facts.equity
        if as_of <= latest and as_of >= oldest:
            case.equity = equity
    if facts.losses is not None:
        losses, as_of = facts.losses
        if as_of <= latest and as_of >= oldest:
            case.losses = losses
    if facts.exposure is not None:
        exposure, as_of = facts.exposure
        if as_of <= latest and as_of >= oldest:
            case.exposure = exposure
    if facts.open_positions is not None:
        open_positions, as_of = facts.open_positions
        if as_of <= latest and as_of >= oldest:
            case.open_positions = open_positions
    if facts.governor is not None:
        directive, as_of = facts.governor
        if as_of <= latest and as_of >= oldest:
            case.governor = directive
    _add_worth(case, order, price, position)
    return case


def _add_worth(case: Foreseen, order: Order, price: Price, position: Position) -> None:
    """What the order is worth, and at which prices it may trade; then what it reaches."""
    bucket, mark = order.bucket, price.mark
    case.held = held = position.both if bucket is BOTH else position.signed(bucket)
    case.valuation_price = weight = valuation = sums.valuation_price(case)
    quantity = order.quantity
    if order.quote_quantity is None:
        if quantity is None:
            quantity = sums.quantity_base(case)
        value = quantity * valuation * price.conversion
        if valuation < mark:
            weight = mark
    else:
        quantity, value = sums.quantity_base(case), sums.notional(case)
    case.exposure_price, case.quantity_base, case.notional = weight, quantity, value
    case.notional_with_request = case.earlier.notional_with(order, value) if case.earlier.cases else value
    if order.trigger_price is None and order.activation_price is None:
        stated = order.price
        case.price_lowest = case.price_highest = stated if stated is not None and stated > NOTHING else mark
    else:
        prices = sums.prices(case)
        case.price_lowest, case.price_highest = min(prices), max(prices)
    _add_reach(case, order, held, quantity)


def _add_reach(case: Foreseen, order: Order, held: Decimal, added: Decimal) -> None:
    """How far the order moves the worst case."""
    bucket, symbol = order.bucket, case.symbol
    closing = symbol.closing
    case.amended, case.closing, case.covered = None, False, NOTHING  # no other order stands beside this one
    case.waiting = waiting = symbol.waiting(bucket)
    if (order.reduce_only or order.close_position) and sums.kept_from_opening(case):
        case.kept_from_opening, added = True, NOTHING
    else:
        case.kept_from_opening = False
    case.added = added
    buys, sells = waiting
    case.worst_before = before = sums.worst_case(held, buys, sells, bucket, closing)
    is_buy = order.side is BUY
    if is_buy:
        after = sums.worst_case(held, buys + added, sells, bucket, closing)
    elif sums.buys_quote(order, symbol):
        after = before + added  # whatever is sold, as much is bought of the coin that it is paid with
    else:
        after = sums.worst_case(held, buys, sells + added, bucket, closing)
    case.worst_after = after
    if after > before:
        case.non_increasing, case.exposure_delta = False, (after - before) * case.exposure_price * case.price.conversion
    else:
        case.non_increasing, case.exposure_delta = sums.non_increasing(case), NOTHING
    # Most orders do not even stand on the side that closes.
    case.reducing = bool(held) and is_buy is not (held > NOTHING) and sums.strictly_reduces(case)
