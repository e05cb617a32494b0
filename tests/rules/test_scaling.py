"""Scaling: smaller, on the step, never below the venue's minimum, judged again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from rules import Breach, Case, Market, OrderType, Reason, Replaced, ReplaceMode, Rule, Side, Verdict, evaluate
from rules.rulebook import RULEBOOK
from rules.scaling import floor_to_step
from tests import given


def scaling(**limits):
    """Limits under which orders are scaled."""
    return given.limits(scaling_allowed=True, **limits)


@pytest.mark.parametrize(
    ("quantity", "step", "floored"),
    [("0.3337", "0.001", "0.333"), ("0.333", "0.001", "0.333"), ("0.0009", "0.001", "0"), ("17", "5", "15"),
     ("-1", "0.1", "0")],
)
def test_floor_to_step(quantity, step, floored):
    """Down to the step, never up, and never below nothing."""
    assert floor_to_step(Decimal(quantity), Decimal(step)) == Decimal(floored)


def test_vector_6_scaled_onto_the_step_and_blocked_under_the_minimum():
    """Vector 6: 1 with a headroom of 0.3337 becomes 0.333; with a minimum of 0.5 it is blocked."""
    applied = scaling(position_notional_max="33.37")
    decision = evaluate(given.order(), given.facts(), applied)

    assert decision.quantities == (Decimal("0.333"),)
    assert decision.scale_factor == Decimal("0.333")
    strict = given.filters(quantity_min="0.5")
    blocked = evaluate(given.order(), given.facts(rules_of_venue=strict), applied)
    assert (blocked.verdict, blocked.reason) == (Verdict.BLOCK, Reason.SCALED_BELOW_MINIMUM)
    assert (blocked.breach.observed, blocked.breach.limit) == (Decimal("0.333"), Decimal("0.5"))


@pytest.mark.parametrize(("notional_min", "verdict"), [("33.3", Verdict.SCALE_DOWN), ("33.4", Verdict.BLOCK)])
def test_a_scaled_order_keeps_the_venues_minimum_value(notional_min, verdict):
    """0.333 at 100 is worth 33.3: exactly the minimum passes."""
    known = given.facts(rules_of_venue=given.filters(notional_min=notional_min))

    assert evaluate(given.order(), known, scaling(position_notional_max="33.37")).verdict is verdict


def test_minimum_value_of_market_orders():
    """A market order is valued at the mark, and only where the venue's minimum applies to it."""
    asked = given.order(type=OrderType.MARKET)
    applied = scaling(order_quantity_max="0.333")
    strict = given.filters(notional_min="33.4")
    lax = replace(strict, notional_min_applies_to_market=False)

    assert evaluate(asked, given.facts(rules_of_venue=strict), applied).reason is Reason.SCALED_BELOW_MINIMUM
    assert evaluate(asked, given.facts(rules_of_venue=lax), applied).verdict is Verdict.SCALE_DOWN


def test_market_orders_use_the_market_step_and_minimum():
    """At the market the coarser step and the larger minimum count; a limit order keeps its own."""
    venue = given.filters(market_quantity_step="0.1", market_quantity_min="0.35")
    known = given.facts(rules_of_venue=venue)
    market = given.order(type=OrderType.MARKET)

    assert evaluate(market, known, scaling(order_quantity_max="0.45")).quantities == (Decimal("0.4"),)
    assert evaluate(market, known, scaling(order_quantity_max="0.39")).reason is Reason.SCALED_BELOW_MINIMUM
    assert evaluate(given.order(), known, scaling(order_quantity_max="0.333")).quantities == (Decimal("0.333"),)


def test_a_venue_without_a_step_keeps_the_bots_digits():
    """Where the venue names no step, the result has no more digits than the bot used."""
    known = given.facts(rules_of_venue=given.filters(quantity_step="0", quantity_min="0"))

    decision = evaluate(given.order(quantity="1.00"), known, scaling(order_quantity_max="0.3337"))

    assert decision.quantities == (Decimal("0.33"),)


def test_quote_orders_are_floored_to_the_quote_step():
    """A quote order keeps to the quote currency's precision and to the minimum value."""
    asked = given.order(type=OrderType.MARKET, market=Market.SPOT, quote_quantity="100")
    known = given.facts(rules_of_venue=given.filters(quote_quantity_step="0.01"))

    decision = evaluate(asked, known, scaling(order_notional_max="33.337"))
    assert decision.quantities == (Decimal("33.33"),)
    assert "from 100 to 33.33" in decision.sentence
    assert evaluate(asked, known, scaling(order_notional_max="4.99")).reason is Reason.SCALED_BELOW_MINIMUM


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [({"filters_known": False}, Reason.FACTS_MISSING), ({"filters_age": "86401"}, Reason.FACTS_STALE)],
)
def test_without_the_venues_filters_nothing_is_scaled(unusable, reason):
    """A step that is not known, or too old, cannot be kept to: blocked; an order that fits needs none."""
    known = given.facts(**unusable)

    assert evaluate(given.order(), known, scaling(order_quantity_max="0.5")).reason is reason
    assert evaluate(given.order(), known, scaling(order_quantity_max="1")).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "asked",
    [given.order(time_in_force="FOK"), given.order(time_in_force="fok"),
     given.order(replaces=Replaced(mode=ReplaceMode.AMEND, order_id="1"))],
)
def test_what_must_stay_whole_is_blocked(asked):
    """Fill-or-kill orders and amendments are not scaled."""
    decision = evaluate(asked, given.facts(hedge_mode=False), scaling(order_quantity_max="0.5"))

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.ORDER_QUANTITY_EXCEEDS_LIMIT)


def test_a_replacement_is_scaled():
    """The new order of a cancel-and-replace is an order like any other."""
    asked = given.order(replaces=Replaced(mode=ReplaceMode.STOP_ON_FAILURE, order_id="1"))

    assert evaluate(asked, given.facts(), scaling(order_quantity_max="0.5")).verdict is Verdict.SCALE_DOWN


def test_no_headroom_at_all_keeps_its_own_reason():
    """Where nothing is left, the limit is named, not a minimum."""
    known = given.facts(exposure={"account": "1000"})

    assert evaluate(given.order(), known, scaling(exposure_account_max="1000")).reason is (
        Reason.ACCOUNT_EXPOSURE_EXCEEDS_LIMIT
    )


def test_the_tightest_of_several_limits_binds():
    """Of room for 0.8, 0.3 and 0.5, the 0.3 decides and is named."""
    applied = scaling(order_quantity_max="0.8", position_notional_max="30", order_notional_max="50")
    decision = evaluate(given.order(), given.facts(), applied)

    assert (decision.reason, decision.quantities) == (Reason.POSITION_EXCEEDS_LIMIT, (Decimal("0.3"),))
    scaled = [run.rule for run in decision.rules_run if run.outcome == "scaled"]
    assert scaled == ["position_size", "order_quantity", "order_notional"]
    assert not [run for run in decision.rules_run if run.outcome == "breach"]
    assert decision.holds[0].quantity == Decimal("0.3")


def test_a_breach_that_size_does_not_cure_blocks_despite_scaling():
    """An order both too large and outside the collar is blocked for the collar."""
    decision = evaluate(
        given.order(price="200"), given.facts(), scaling(order_quantity_max="0.5", collar_up="0.1")
    )

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.PRICE_OUTSIDE_COLLAR)


def test_a_list_scales_every_leg_alike():
    """Entry 2 with exits of 2 and 1, room for 1: every leg is halved."""
    legs = [
        given.order(quantity="2"),
        given.order(side=Side.SELL, quantity="2", price="120", pending_on=0, group=1),
        given.order(
            side=Side.SELL, quantity="1", type=OrderType.STOP_MARKET, trigger_price="90", pending_on=0, group=1
        ),
    ]
    decision = evaluate(legs, given.facts(), scaling(position_notional_max="100"))

    assert decision.quantities == (Decimal(1), Decimal(1), Decimal("0.5"))
    assert decision.scale_factor == Decimal("0.5")


def test_a_list_whose_leg_falls_under_the_minimum_is_blocked():
    """A leg of 0.01 halved is worth less than the minimum of 5: nothing is sent."""
    legs = [given.order(quantity="2"), given.order(side=Side.SELL, quantity="0.06", price="120", pending_on=0)]

    assert evaluate(legs, given.facts(), scaling(position_notional_max="100")).reason is Reason.SCALED_BELOW_MINIMUM


def test_a_leg_that_must_stay_whole_keeps_the_list_whole():
    """A close-position leg has no size to scale, so the list is blocked."""
    legs = [
        given.order(quantity="2"),
        given.order(side=Side.SELL, type=OrderType.STOP_MARKET, trigger_price="90", close_position=True, pending_on=0),
    ]

    assert evaluate(legs, given.facts(), scaling(position_notional_max="100")).reason is Reason.POSITION_EXCEEDS_LIMIT


def test_a_third_is_exact():
    """0.3 of which a third fits becomes 0.1 and not 0.099: multiplied before divided."""
    legs = [given.order(quantity="0.6"), given.order(side=Side.SELL, quantity="0.3", price="120", pending_on=0)]

    decision = evaluate(legs, given.facts(), scaling(order_quantity_max="0.2"))

    assert decision.quantities == (Decimal("0.2"), Decimal("0.1"))


def test_an_order_that_never_fits_is_blocked_after_some_rounds():
    """A rule that always asks for a little less ends as a block with its first breach."""

    def never_content(case: Case):
        """A rule for this test: every size is a little too large."""
        asked = case.order.quantity
        return Breach(Reason.ORDER_QUANTITY_EXCEEDS_LIMIT, asked, None, asked - Decimal("0.001"))

    rules = (*RULEBOOK, Rule("never_content", never_content, (), scalable=True))
    decision = evaluate(given.order(), given.facts(), scaling(), rules=rules)

    assert (decision.verdict, decision.breach.observed) == (Verdict.BLOCK, 1)
    assert len([run for run in decision.rules_run if run.outcome == "scaled"]) == 4


def test_a_later_limit_binds_when_it_leaves_less():
    """Room for 0.8 by the first rule and 0.3 by a later one: the later one decides."""
    decision = evaluate(given.order(), given.facts(), scaling(position_notional_max="80", order_quantity_max="0.3"))

    assert (decision.reason, decision.quantities) == (Reason.ORDER_QUANTITY_EXCEEDS_LIMIT, (Decimal("0.3"),))
