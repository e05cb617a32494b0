"""How large an order could be: the answer passes, one step more does not, and the rule that stops it is named."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from rules import (
    Bucket,
    EssLevel,
    FactMissing,
    FactStale,
    Market,
    Order,
    OrderType,
    Reason,
    RiskLevel,
    Side,
    Verdict,
    evaluate,
    headroom,
    plan,
)
from tests import given
from tests import strategies as some

D = Decimal
SEEDS = range(400)
ASKED = given.order(quantity="1")


def asked(known=None, order=ASKED, **limits):
    """The headroom of an order."""
    return headroom(order, known or given.facts(), given.limits(**limits))


def test_the_tightest_rule_binds_and_every_rule_is_told():
    """1,000 for the position, 700 for the account with 200 in use, 2 % of 10,000 for one trade: 2 BTC at 100."""
    known = given.facts(exposure={"account": "200"})
    found = asked(known, position_notional_max="1000", exposure_account_max="700", trade_notional_fraction_max="0.02")

    assert (found.quantity, found.binding) == (2, "trade_notional")
    assert found.breach.reason is Reason.SINGLE_TRADE_RISK_EXCEEDS_LIMIT
    assert (found.step, found.quantity_min, found.unbounded) == (D("0.001"), D("0.001"), False)
    by_rule = {one.rule: one.quantity for one in found.rules}
    assert (by_rule["trade_notional"], by_rule["exposure_account"], by_rule["position_size"]) == (2, 5, 10)
    assert by_rule["ess_halt"] is None  # asked, and bounds nothing
    assert "exposure_total" not in by_rule  # not set, so not asked


def test_the_answer_is_floored_to_the_step():
    """33.37 left at 100: 0.333 on a step of 0.001, 0.3 on one of 0.1; at the market the coarser step holds."""
    assert asked(position_notional_max="33.37").quantity == D("0.333")
    coarse = given.facts(rules_of_venue=given.filters(quantity_step="0.1"))
    assert asked(coarse, position_notional_max="33.37").quantity == D("0.3")
    at_market = given.facts(rules_of_venue=given.filters(market_quantity_step="0.01", market_quantity_min="0.05"))
    found = asked(at_market, given.order(type=OrderType.MARKET), position_notional_max="33.37")
    assert (found.quantity, found.step, found.quantity_min) == (D("0.33"), D("0.01"), D("0.05"))


def test_an_order_may_first_close_and_then_open():
    """Long 3 with room for 500: selling 3 closes and 5 more open a short."""
    found = asked(given.facts(held="3"), replace(ASKED, side=Side.SELL), position_notional_max="500")

    assert (found.quantity, found.binding) == (8, "position_size")


@pytest.mark.parametrize(
    ("known", "rule", "reason"),
    [
        ({"stop": EssLevel.REDUCE_ONLY}, "ess_reduce_only", Reason.ESS_REDUCE_ONLY_ACTIVE),
        ({"risk": RiskLevel.CRITICAL}, "global_risk_critical", Reason.GLOBAL_RISK_CRITICAL),
        ({"equity": "9000"}, "loss_daily", Reason.DAILY_LOSS_EXCEEDS_LIMIT),
        ({"price_age": "6"}, "price_reference", Reason.FACTS_STALE),
    ],
)
def test_while_nothing_may_open_only_what_closes_is_left(known, rule, reason):
    """Stopped, lost or blind: of a sell what is held of it remains, of a buy nothing; and why is told."""
    limits = {"loss_daily_max": "0.05", "critical_allows_reducing": True}
    facts = given.facts(held="2", **known)

    selling = asked(facts, replace(ASKED, side=Side.SELL), **limits)
    assert (selling.quantity, selling.binding, selling.breach.reason) == (2, rule, reason)
    buying = asked(facts, **limits)
    assert (buying.quantity, buying.binding, buying.breach.reason) == (0, rule, reason)


def test_halted_nothing_is_left():
    """HALT has no exceptions."""
    found = asked(given.facts(held="2", stop=EssLevel.HALT), replace(ASKED, side=Side.SELL))

    assert (found.quantity, found.binding) == (0, "ess_halt")


def test_scaling_does_not_enter():
    """Under a WARNING an order that may be scaled is halved; how large one could be is not."""
    found = asked(given.facts(risk=RiskLevel.WARNING), position_notional_max="500", scaling_allowed=True)

    assert (found.quantity, found.binding) == (5, "position_size")


def test_limits_of_the_symbol_hold():
    """What is stated for the symbol alone counts."""
    tight = given.limits(order_quantity_max="0.7")
    found = headroom(ASKED, given.facts(), given.limits(by_symbol={given.SYMBOL: tight}))

    assert (found.quantity, found.binding) == (D("0.7"), "order_quantity")


def test_without_a_rule_that_binds_the_venue_does_or_nobody():
    """The venue's largest order, the smaller of two at the market, and no bound where it names none."""
    venue = given.filters(quantity_max="90", market_quantity_max="20.0005")
    known = given.facts(rules_of_venue=venue)

    assert asked(known)[:3] == (90, None, None)
    assert asked(known, given.order(type=OrderType.MARKET)).quantity == 20
    assert not asked(known).unbounded
    free = asked()
    assert (free.unbounded, free.binding, free.breach) == (True, None, None)


def test_without_the_venues_steps_no_size_is_known():
    """Missing and old filters are named; an order sized otherwise is no question."""
    with pytest.raises(FactMissing, match="filters"):
        asked(given.facts(filters_known=False))
    with pytest.raises(FactStale, match="filters"):
        asked(given.facts(filters_age="86401"))
    with pytest.raises(FactMissing, match="quantity_step"):
        asked(given.facts(rules_of_venue=given.filters(quantity_step="0")))
    with pytest.raises(ValueError, match="base units"):
        asked(order=given.order(type=OrderType.MARKET, market=Market.SPOT, quote_quantity="5"))


def test_asking_often_takes_no_room_from_what_the_gate_has_prepared():
    """The limits it asks under are made once for the limits in force."""
    limits = given.limits(position_notional_max="500")
    headroom(ASKED, given.facts(), limits)
    before = len(plan._PREPARED)
    for _ in range(20):
        assert headroom(ASKED, given.facts(), limits).quantity == 5

    assert len(plan._PREPARED) == before


def sized(order: Order, quantity: Decimal) -> Order:
    """The order at another size."""
    return replace(order, quantity=quantity)


def verdict(order, facts, limits, quantity):
    """What the gate says of this size, sent whole."""
    whole = replace(limits, scaling_allowed=False)
    return evaluate(sized(order, quantity), facts, whole).verdict


def try_out(seed: int) -> bool:
    """One arbitrary order: compare the answer with the gate around it; whether it was bounded above nothing."""
    pick = Random(seed)
    order, facts = some.make_order(pick), some.make_facts(pick, always=pick.random() < 0.7)
    limits = some.make_limits(pick)
    order = replace(order, quantity=D(1), quote_quantity=None, close_position=False, replaces=None)
    if pick.random() < 0.5:
        order = replace(order, bucket=Bucket.BOTH, reduce_only=False)
    try:
        found = headroom(order, facts, limits)
    except (FactMissing, FactStale):
        return False
    if found.quantity:
        assert verdict(order, facts, limits, found.quantity) is Verdict.ALLOW, seed
        for share in (D("0.5"), D("0.01")):
            smaller = found.quantity * share // found.step * found.step
            if smaller:
                assert verdict(order, facts, limits, smaller) is Verdict.ALLOW, (seed, smaller)
    if found.breach is not None:
        assert verdict(order, facts, limits, found.quantity + found.step) is Verdict.BLOCK, seed
        bounded = [one for one in found.rules if one.quantity is not None]
        assert min(one.quantity for one in bounded) == found.quantity, seed
        assert next(one.rule for one in bounded if one.quantity == found.quantity) == found.binding, seed
    return found.breach is not None and found.quantity > 0


def test_the_answer_passes_and_one_step_more_does_not():
    """On arbitrary orders, facts and limits, the gate turns exactly where the answer says, and by that rule."""
    assert sum(map(try_out, SEEDS)) > len(SEEDS) // 10


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_answer_passes_and_one_step_more_does_not_at_length():
    """The same on many more."""
    assert sum(map(try_out, range(1000, 21_000))) > 2000
