"""What one trade may put at stake."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import OrderType, Reason, Side, Verdict, evaluate
from tests import given


@pytest.mark.parametrize(("quantity", "passes"), [("0.999", True), ("1", True), ("1.001", False)])
def test_notional_is_at_most_a_share_of_equity(order, facts, limits, quantity, passes):
    """1 % of 10,000 is 100: an order worth just less or exactly that passes, just more blocks."""
    decision = evaluate(order(quantity=quantity), facts(), limits(trade_notional_fraction_max="0.01"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    if not passes:
        assert decision.reason is Reason.SINGLE_TRADE_RISK_EXCEEDS_LIMIT
        assert decision.breach.observed == Decimal("0.01001")


def test_notional_scales(order, facts, limits):
    """An order of three times the share is scaled to a third, floored to the step."""
    decision = evaluate(
        order(quantity="3"), facts(), limits(trade_notional_fraction_max="0.01", scaling_allowed=True)
    )

    assert decision.quantities == (Decimal(1),)


def test_equity_must_be_known(order, facts, limits):
    """Without equity there is no share of it: missing and old both block."""
    applied = limits(trade_notional_fraction_max="0.01")

    assert evaluate(order(), facts(equity=None), applied).reason is Reason.FACTS_MISSING
    assert evaluate(order(), facts(equity_age="10.1"), applied).reason is Reason.FACTS_STALE
    assert evaluate(order(), facts(equity_age="10"), applied).verdict is Verdict.ALLOW


def test_orders_of_one_request_count_together(order, facts, limits):
    """Two orders of 60 are one trade of 120."""
    parts = [order(quantity="0.6"), order(quantity="0.6", client_order_id="b")]

    decision = evaluate(parts, facts(), limits(trade_notional_fraction_max="0.01"))

    assert decision.reason is Reason.SINGLE_TRADE_RISK_EXCEEDS_LIMIT
    assert decision.breach.observed == Decimal("0.012")


@pytest.mark.parametrize(("trigger", "passes"), [("95.01", True), ("95", True), ("94.99", False)])
def test_loss_at_an_attached_stop(order, facts, limits, trigger, passes):
    """1 BTC bought at 100 with a stop at 95 loses 5, which is 0.05 % of 10,000."""
    asked = [
        order(),
        order(side=Side.SELL, type=OrderType.STOP_MARKET, trigger_price=trigger, pending_on=0),
    ]
    decision = evaluate(asked, facts(), limits(trade_stop_loss_fraction_max="0.0005"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.STOP_LOSS_RISK_EXCEEDS_LIMIT) is not passes


def test_loss_at_a_resting_stop_scales(order, facts, limits):
    """A stop that rests at 80 loses 20 per unit: of 2 units, half fits 0.2 % of 10,000."""
    resting = given.working(side=Side.SELL, remaining="1", trigger_price="80", reduces_by_venue=True)
    applied = limits(trade_stop_loss_fraction_max="0.002", scaling_allowed=True)

    decision = evaluate(order(quantity="2"), facts(orders=[resting]), applied)

    assert (decision.reason, decision.quantities) == (Reason.STOP_LOSS_RISK_EXCEEDS_LIMIT, (Decimal(1),))


def test_a_short_loses_at_a_stop_above(order, facts, limits):
    """For a sell the losing side is above the entry; of several stops the furthest counts."""
    near = given.working("1", side=Side.BUY, trigger_price="105")
    far = given.working("2", side=Side.BUY, trigger_price="120")
    profit = given.working("3", side=Side.BUY, trigger_price="10")
    known = facts(orders=[near, far, profit])
    selling = order(side=Side.SELL)

    assert evaluate(selling, known, limits(trade_stop_loss_fraction_max="0.002")).verdict is Verdict.ALLOW
    blocked = evaluate(selling, known, limits(trade_stop_loss_fraction_max="0.00199"))
    assert blocked.breach.observed == Decimal("0.002")


def test_without_a_known_stop_the_loss_is_not_judged(order, facts, limits):
    """No stop, or only triggers on the winning side: the rule does not apply."""
    applied = limits(trade_stop_loss_fraction_max="0.0000001")
    profit = given.working(side=Side.SELL, trigger_price="150")

    for known in (facts(), facts(orders=[profit])):
        assert evaluate(order(), known, applied).verdict is Verdict.ALLOW
