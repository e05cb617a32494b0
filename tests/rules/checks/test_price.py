"""Reference price, floor, ceiling and collar."""

from __future__ import annotations

import pytest

from rules import OrderType, Reason, Side, Verdict, evaluate


@pytest.mark.parametrize(
    ("price", "reason"),
    [({"mark": None}, Reason.FACTS_MISSING), ({"mark": "0"}, Reason.FACTS_MISSING),
     ({"conversion": "0"}, Reason.FACTS_MISSING), ({"price_age": "5.1"}, Reason.FACTS_STALE),
     ({"price_age": "-1.1"}, Reason.FACTS_STALE)],
)
def test_new_exposure_needs_a_fresh_reference(order, facts, limits, price, reason):
    """With nothing else limited, a missing, unusable, old or future price blocks an opening order only."""
    assert evaluate(order(), facts(**price), limits()).reason is reason
    assert evaluate(order(side=Side.SELL), facts(held="1", **price), limits()).verdict is Verdict.ALLOW


@pytest.mark.parametrize("age", ["-1", "4.9", "5"])
def test_a_price_is_fresh_up_to_its_maximum_age(order, facts, limits, age):
    """Up to five seconds old, and up to one second ahead, a price is believed."""
    assert evaluate(order(), facts(price_age=age), limits()).verdict is Verdict.ALLOW


def test_vector_11_a_market_order_without_a_quote(order, facts, limits):
    """Vector 11: a market buy without a price blocks; the same with reduceOnly against a short passes."""
    unknown = facts(mark=None, held="-1")

    assert evaluate(order(type=OrderType.MARKET), facts(mark=None), limits()).verdict is Verdict.BLOCK
    reducing = order(type=OrderType.MARKET, reduce_only=True)
    assert evaluate(reducing, unknown, limits()).verdict is Verdict.ALLOW


@pytest.mark.parametrize(("price", "passes"), [("89.9", False), ("90", True), ("90.1", True)])
def test_no_order_is_priced_below_the_floor(order, facts, limits, price, passes):
    """Just under the floor blocks, at and over it pass."""
    decision = evaluate(order(price=price), facts(), limits(price_floor="90"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.PRICE_BELOW_FLOOR) is not passes


@pytest.mark.parametrize(("price", "passes"), [("109.9", True), ("110", True), ("110.1", False)])
def test_no_order_is_priced_above_the_ceiling(order, facts, limits, price, passes):
    """Just under and at the ceiling pass, over it blocks."""
    decision = evaluate(order(price=price), facts(), limits(price_ceiling="110"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.PRICE_ABOVE_CEILING) is not passes


def test_floor_and_ceiling_look_at_every_price(order, facts, limits):
    """A trigger outside blocks like a limit outside; a market order is priced at the reference."""
    high = order(type=OrderType.STOP_LIMIT, price="100", trigger_price="111")
    low = order(type=OrderType.STOP_LIMIT, price="100", trigger_price="89")
    market = order(type=OrderType.MARKET)

    assert evaluate(high, facts(), limits(price_ceiling="110")).reason is Reason.PRICE_ABOVE_CEILING
    assert evaluate(low, facts(), limits(price_floor="90")).reason is Reason.PRICE_BELOW_FLOOR
    assert evaluate(market, facts(mark="111"), limits(price_ceiling="110")).reason is Reason.PRICE_ABOVE_CEILING
    assert evaluate(market, facts(mark="89"), limits(price_floor="90")).reason is Reason.PRICE_BELOW_FLOOR


@pytest.mark.parametrize(
    ("side", "price", "passes"),
    [(Side.BUY, "104.9", True), (Side.BUY, "105", True), (Side.BUY, "105.1", False), (Side.BUY, "1", True),
     (Side.SELL, "97.1", True), (Side.SELL, "97", True), (Side.SELL, "96.9", False), (Side.SELL, "900", True)],
)
def test_the_collar_bounds_prices_through_the_market(order, facts, limits, side, price, passes):
    """A buy up to 5 % above the reference, a sell down to 3 % below it; the passive side is free."""
    decision = evaluate(
        order(side=side, price=price, quantity="0.1"), facts(), limits(collar_up="0.05", collar_down="0.03")
    )

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.PRICE_OUTSIDE_COLLAR) is not passes


def test_the_collar_leaves_market_and_pegged_orders_alone(order, facts, limits):
    """What states no price, or lets the venue pick it, has none to be outside."""
    applied = limits(collar_up="0.01")

    assert evaluate(order(type=OrderType.MARKET), facts(), applied).verdict is Verdict.ALLOW
    assert evaluate(order(price="500", price_follows_book=True), facts(), applied).verdict is Verdict.ALLOW
    assert evaluate(order(price="0"), facts(), applied).verdict is Verdict.ALLOW


STOP, PROFIT = OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT


@pytest.mark.parametrize(
    ("side", "kind", "trigger", "price", "passes"),
    [
        (Side.BUY, STOP, "150", "157", True),  # waits for a rise to 150
        (Side.BUY, STOP, "150", "158", False),
        (Side.BUY, STOP, "50", "105", True),  # already through: works today
        (Side.BUY, STOP, "50", "106", False),
        (Side.BUY, PROFIT, "150", "106", False),  # already through
        (Side.BUY, PROFIT, "50", "52", True),  # waits for a fall to 50
        (Side.BUY, PROFIT, "50", "53", False),
        (Side.SELL, STOP, "50", "48", True),
        (Side.SELL, STOP, "50", "47", False),
        (Side.SELL, STOP, "150", "94", False),
        (Side.SELL, PROFIT, "150", "143", True),
        (Side.SELL, PROFIT, "150", "142", False),
        (Side.SELL, PROFIT, "50", "94", False),
        (Side.BUY, STOP, "0", "106", False),  # a trigger of zero is none
    ],
)
def test_the_collar_follows_the_trigger_unless_the_market_is_through_it(
    order, facts, limits, side, kind, trigger, price, passes
):
    """A waiting order is compared with the market at its trigger; one that works at once, with today's."""
    asked = order(side=side, type=kind, trigger_price=trigger, price=price)
    decision = evaluate(asked, facts(), limits(collar_up="0.05", collar_down="0.05"))

    assert (decision.verdict is Verdict.ALLOW) is passes
