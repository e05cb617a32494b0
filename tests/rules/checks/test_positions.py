"""New positions, how many, and how large."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import Bucket, Market, Reason, Side, Verdict, evaluate
from tests import given

ETH = ("ETHUSDT", Bucket.BOTH)
BTC = (given.SYMBOL, Bucket.BOTH)


def test_switched_off_positions_leave_only_reductions(order, facts, limits):
    """Where new positions are off, an opening order blocks and a sell of what is held passes."""
    applied = limits(new_positions_allowed=False)

    assert evaluate(order(), facts(), applied).reason is Reason.NEW_POSITIONS_NOT_ALLOWED
    assert evaluate(order(side=Side.SELL), facts(held="1"), applied).verdict is Verdict.ALLOW
    through_zero = evaluate(order(side=Side.SELL, quantity="1.001"), facts(held="1"), applied)
    assert through_zero.reason is Reason.NEW_POSITIONS_NOT_ALLOWED


@pytest.mark.parametrize(("limit", "passes"), [(1, False), (2, True), (3, True)])
def test_open_positions_are_at_most_the_limit(order, facts, limits, limit, passes):
    """With one position open, a second one needs a limit of two."""
    decision = evaluate(order(), facts(open_positions=frozenset({ETH})), limits(open_positions_max=limit))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.OPEN_POSITIONS_EXCEED_LIMIT) is not passes


def test_adding_to_a_position_is_not_a_new_one(order, facts, limits):
    """At the limit, and even over it, the positions there are may still be worked on."""
    known = facts(open_positions=frozenset({ETH, BTC}), held="1")

    assert evaluate(order(), known, limits(open_positions_max=2)).verdict is Verdict.ALLOW
    assert evaluate(order(), known, limits(open_positions_max=1)).verdict is Verdict.ALLOW


def test_a_sale_for_coins_opens_a_position_in_the_coin_it_buys(order, facts, limits):
    """ETH held and sold for BTC: BTC is the second position, for each leg of a list the same one, and not a third."""
    pair = given.filters(base_asset="ETH", quote_asset="BTC")
    legs = [order(side=Side.SELL, market=Market.SPOT, price=price, group=1) for price in ("0.07", "0.05")]
    holding = {"mark": "0.06", "rules_of_venue": pair, "held": "10"}
    known = facts(open_positions=frozenset({(given.SYMBOL, Bucket.BOTH)}), **holding)

    blocked = evaluate(legs, known, limits(open_positions_max=1))
    assert (blocked.reason, blocked.breach.observed) == (Reason.OPEN_POSITIONS_EXCEED_LIMIT, 2)
    assert evaluate(legs, known, limits(open_positions_max=2)).verdict is Verdict.ALLOW
    both = facts(open_positions=frozenset({(given.SYMBOL, Bucket.BOTH), ("BTC", Bucket.BOTH)}), **holding)
    assert evaluate(legs, both, limits(open_positions_max=1)).verdict is Verdict.ALLOW


def test_open_positions_must_be_known(order, facts, limits):
    """A limit on their number blocks while the number is unknown or old."""
    applied = limits(open_positions_max=5)

    assert evaluate(order(), facts(open_positions=None), applied).reason is Reason.FACTS_MISSING
    assert evaluate(order(), facts(positions_age="10.1"), applied).reason is Reason.FACTS_STALE


def test_a_request_opens_positions_one_after_another(order, facts, limits):
    """Two orders in two symbols are two new positions."""
    known = facts(symbols={given.SYMBOL: given.symbol_facts(), "ETHUSDT": given.symbol_facts()})
    both = [order(), order(symbol="ETHUSDT")]

    assert evaluate(both, known, limits(open_positions_max=2)).verdict is Verdict.ALLOW
    assert evaluate(both, known, limits(open_positions_max=1)).reason is Reason.OPEN_POSITIONS_EXCEED_LIMIT


@pytest.mark.parametrize(("quantity", "passes"), [("0.999", True), ("1", True), ("1.001", False)])
def test_a_position_is_at_most_its_cap(order, facts, limits, quantity, passes):
    """With 2 held and 1 waiting, one more makes 4, worth 400: exactly at the cap passes."""
    known = facts(held="2", waiting=given.sides(buy="1"))
    decision = evaluate(order(quantity=quantity), known, limits(position_notional_max="400"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    if not passes:
        assert decision.reason is Reason.POSITION_EXCEEDS_LIMIT
        assert (decision.breach.observed, decision.breach.quantity_max) == (Decimal("400.1"), 1)


def test_a_position_over_its_cap_can_come_back(order, facts, limits):
    """Over the cap, what leaves the worst case where it was passes, and a flip as large as the position does too."""
    known = facts(held="10")
    applied = limits(position_notional_max="400")

    assert evaluate(order(quantity="0.001"), known, applied).reason is Reason.POSITION_EXCEEDS_LIMIT
    assert evaluate(order(side=Side.SELL, quantity="20"), known, applied).verdict is Verdict.ALLOW
    assert evaluate(order(side=Side.SELL, quantity="20.001"), known, applied).verdict is Verdict.BLOCK


@pytest.mark.parametrize(("quantity", "passes"), [("4", True), ("4.001", False), ("6", False)])
def test_what_is_only_reserved_on_one_side_is_no_room_on_the_other(order, facts, limits, quantity, passes):
    """Sells of 6 on their way, over a cap worth 4: they may come to nothing, so buys reach 4 and not 6."""
    known = facts(reserved=given.sides(sell="6"))
    decision = evaluate(order(quantity=quantity), known, limits(position_notional_max="400"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    if not passes:
        assert decision.reason is Reason.POSITION_EXCEEDS_LIMIT
        scaled = evaluate(order(quantity=quantity), known, limits(position_notional_max="400", scaling_allowed=True))
        assert scaled.quantities == (4,)


def test_what_works_at_the_venue_on_one_side_is_room_on_the_other(order, facts, limits):
    """Sells of 6 that work there, over a cap worth 4: buys of 6 leave the worst case where it is, and of 7 do not."""
    known = facts(waiting=given.sides(sell="6"))

    assert evaluate(order(quantity="6"), known, limits(position_notional_max="400")).verdict is Verdict.ALLOW
    assert evaluate(order(quantity="6.001"), known, limits(position_notional_max="400")).verdict is Verdict.BLOCK


def test_a_flip_is_scaled_to_the_cap_on_the_other_side(order, facts, limits):
    """Long 1, a sell of 10 under a cap worth 4: 5 may be sold, so that the short is 4."""
    decision = evaluate(
        order(side=Side.SELL, quantity="10"), facts(held="1"),
        limits(position_notional_max="400", scaling_allowed=True),
    )

    assert decision.quantities == (Decimal(5),)


def test_a_cap_counts_at_the_market_what_was_bid_lower(order, facts, limits):
    """A bid at 50 in a market of 100 is worth 100 once it is held: the cap looks at the market."""
    decision = evaluate(order(price="50"), facts(), limits(position_notional_max="99"))

    assert decision.breach.observed == 100


def test_a_position_must_be_known(order, facts, limits):
    """A cap blocks while the position is unknown or old."""
    applied = limits(position_notional_max="1000")

    assert evaluate(order(), facts(position_known=False), applied).reason is Reason.FACTS_MISSING
    assert evaluate(order(), facts(position_age="10.1"), applied).reason is Reason.FACTS_STALE
