"""Size of one order, value of one request."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import Market, OrderType, Reason, Verdict, evaluate


@pytest.mark.parametrize(("quantity", "passes"), [("1.999", True), ("2", True), ("2.001", False)])
def test_quantity_is_at_most_the_limit(order, facts, limits, quantity, passes):
    """Just under and at the limit pass, over it blocks with both numbers."""
    decision = evaluate(order(quantity=quantity), facts(), limits(order_quantity_max="2"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    if not passes:
        assert decision.reason is Reason.ORDER_QUANTITY_EXCEEDS_LIMIT
        assert (decision.breach.observed, decision.breach.limit) == (Decimal("2.001"), 2)


@pytest.mark.parametrize(("price", "passes"), [("99.9", True), ("100", True), ("100.1", False)])
def test_notional_is_at_most_the_limit(order, facts, limits, price, passes):
    """One BTC at just under and exactly 100 passes a limit of 100; just over blocks."""
    decision = evaluate(order(price=price), facts(), limits(order_notional_max="100"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT) is not passes


def test_both_scale(order, facts, limits):
    """Each size limit scales down to itself."""
    for limit in ({"order_quantity_max": "0.25"}, {"order_notional_max": "25"}):
        decision = evaluate(order(), facts(), limits(scaling_allowed=True, **limit))
        assert decision.quantities == (Decimal("0.25"),)


def test_a_quote_order_scales_in_quote(order, facts, limits):
    """A limit of 0.25 BTC leaves 25 of the 100 that a quote order wanted to spend."""
    asked = order(type=OrderType.MARKET, market=Market.SPOT, quote_quantity="100")
    decision = evaluate(asked, facts(ask="101"), limits(scaling_allowed=True, order_quantity_max="0.25"))

    assert decision.quantities == (Decimal(25),)


def test_the_orders_of_a_request_are_worth_their_sum(order, facts, limits):
    """Three orders of 40 are a request of 120; the group of an OCO counts only its largest."""
    parts = [order(quantity="0.4", client_order_id=str(index)) for index in range(3)]

    assert evaluate(parts, facts(), limits(order_notional_max="120")).verdict is Verdict.ALLOW
    blocked = evaluate(parts, facts(), limits(order_notional_max="119"))
    assert blocked.breach.observed == 120
    group = [order(quantity="0.4", group=1), order(quantity="1", group=1), order(quantity="0.2", group=1)]
    assert evaluate(group, facts(), limits(order_notional_max="100")).verdict is Verdict.ALLOW
    assert evaluate(group, facts(), limits(order_notional_max="99")).breach.observed == 100
