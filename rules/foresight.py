"""Everything that the rules will ask of an order that may open, worked out in one go.

`Case` computes what it is asked for, when it is asked, and tells what is missing to the rule that asked.
That is right and, two calls a value, slow. Where price and position are fresh, which is nearly always,
nothing is missing, the order of questions does not matter, and plain locals do. What is filled in here is
what `Case` would have answered: `tests/rules/test_foresight.py` compares the two on arbitrary orders.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from rules import exposure as sums
from rules.case import FUTURE_MAX, Case
from rules.facts import BUY, Fact
from rules.plan import Spans

NOTHING = Decimal(0)


def foresee(case: Case, spans: Spans) -> None:
    """Fill in what is fresh and what follows from it; what is not stays to be asked for, and refused, singly."""
    _facts(case, spans)
    known = case.__dict__
    if "price" in known and "position" in known:
        _size_and_reach(case)


def _facts(case: Case, spans: Spans) -> None:
    """Every fact that is fresh."""
    known, facts, symbol = case.__dict__, case.facts, case.symbol
    now = facts.now
    price_age_max, account_age_max, leverage_age_max, risk_age_max = spans
    stated: tuple[tuple[str, Fact[Any] | None, timedelta], ...] = (
        ("price", symbol.price, price_age_max),
        ("position", symbol.position, account_age_max),
        ("leverage", symbol.leverage, leverage_age_max),
        ("equity", facts.equity, account_age_max),
        ("losses", facts.losses, account_age_max),
        ("exposure", facts.exposure, account_age_max),
        ("open_positions", facts.open_positions, account_age_max),
        ("risk", facts.risk, risk_age_max),
    )
    for name, fact, age_max in stated:
        if fact is not None and FUTURE_MAX <= now - fact.as_of <= age_max:
            known[name] = fact.value
    price = known.get("price")
    if price is not None and not (price.mark > NOTHING and price.conversion > NOTHING):
        del known["price"]  # a price of nothing is none


def _size_and_reach(case: Case) -> None:
    """What the order is worth and how far it moves the worst case; price and position are there."""
    known, order, price = case.__dict__, case.order, case.price
    bucket = order.bucket
    known["held"] = held = case.position.signed(bucket)
    known["waiting"] = waiting = case.symbol.waiting(bucket)
    known["valuation_price"] = valuation = sums.valuation_price(case)
    is_quote = order.quote_quantity is not None
    known["exposure_price"] = weight = valuation if is_quote or valuation >= price.mark else price.mark
    known["quantity_base"] = quantity = order.quantity if order.quantity is not None else sums.quantity_base(case)
    conversion = price.conversion
    known["notional"] = value = sums.notional(case) if is_quote else quantity * valuation * conversion
    if not case.earlier.cases:
        known["notional_with_request"] = value
    if order.price is not None and order.price > NOTHING and order.trigger_price is order.activation_price is None:
        known["prices"] = (order.price,)
    if order.pending_on is None:
        known["closing"] = False  # what waits for nobody's fill closes nobody's
    known["kept_from_opening"] = sums.kept_from_opening(case)
    known["covered"] = sums.covered(case)
    known["added"] = added = sums.added(case)
    buys, sells = waiting.buy, waiting.sell
    closing = case.symbol.closing
    known["worst_before"] = before = sums.worst_case(held, buys, sells, bucket, closing)
    if order.market is sums.SPOT and sums.buys_quote(order, case.symbol):
        buys = sells = NOTHING
        held = before + added  # whatever is sold, as much is bought of the coin that it is paid with
    elif order.side is BUY:
        buys += added
    else:
        sells += added
    known["worst_after"] = after = sums.worst_case(held, buys, sells, bucket, closing)
    more = after - before
    known["exposure_delta"] = more * weight * conversion if more > NOTHING else NOTHING
