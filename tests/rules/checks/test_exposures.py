"""Exposure of symbol, strategy, account, exchange, and of everything."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import Bucket, Reason, Side, Verdict, evaluate
from tests import given

SUMS = [
    ("exposure_account_max", "account", Reason.ACCOUNT_EXPOSURE_EXCEEDS_LIMIT),
    ("exposure_exchange_max", "exchange", Reason.EXCHANGE_EXPOSURE_EXCEEDS_LIMIT),
    ("exposure_total_max", "total", Reason.TOTAL_EXPOSURE_EXCEEDS_LIMIT),
    ("exposure_strategy_max", "strategy", Reason.STRATEGY_EXPOSURE_EXCEEDS_LIMIT),
]


@pytest.mark.parametrize(("limit", "scope", "reason"), SUMS)
@pytest.mark.parametrize(("quantity", "passes"), [("0.999", True), ("1", True), ("1.001", False)])
def test_exposure_is_at_most_its_limit(order, facts, limits, limit, scope, reason, quantity, passes):
    """With 900 in use, an order worth 100 fits into 1000 exactly; one step more does not."""
    decision = evaluate(order(quantity=quantity), facts(exposure={scope: "900"}), limits(**{limit: "1000"}))

    assert (decision.verdict is Verdict.ALLOW) is passes
    if not passes:
        assert decision.reason is reason
        assert (decision.breach.observed, decision.breach.limit) == (Decimal("1000.1"), 1000)


@pytest.mark.parametrize(("limit", "scope", "reason"), SUMS)
def test_exposure_scales_to_the_headroom(order, facts, limits, limit, scope, reason):
    """With 966.63 of 1000 in use, 1 BTC at 100 is scaled to 0.333 (vector 6)."""
    decision = evaluate(
        order(), facts(exposure={scope: "966.63"}), limits(scaling_allowed=True, **{limit: "1000"})
    )

    assert (decision.verdict, decision.reason) == (Verdict.SCALE_DOWN, reason)
    assert decision.quantities == (Decimal("0.333"),)


@pytest.mark.parametrize(("limit", "scope", "reason"), SUMS)
def test_an_order_that_opens_nothing_passes_over_a_limit(order, facts, limits, limit, scope, reason):
    """Two held, two selling: a further sell of 2 leaves the worst case and passes though the limit is exceeded."""
    known = facts(exposure={scope: "5000"}, held="2", waiting=given.sides(sell="2"))

    assert evaluate(order(side=Side.SELL, quantity="2"), known, limits(**{limit: "1000"})).verdict is Verdict.ALLOW
    assert evaluate(order(side=Side.SELL, quantity="2.001"), known, limits(**{limit: "1000"})).reason is reason


@pytest.mark.parametrize(("limit", "scope", "reason"), [one for one in SUMS if one[1] != "strategy"])
def test_sells_on_their_way_are_no_room_for_buys(order, facts, limits, limit, scope, reason):
    """Of 1,500 under a limit of 1,000, sells of 6 on their way are 600: if they come to nothing, buys of 1 fit."""
    known = facts(exposure={scope: "1500"}, reserved=given.sides(sell="6"))

    assert evaluate(order(quantity="1"), known, limits(**{limit: "1000"})).verdict is Verdict.ALLOW
    assert evaluate(order(quantity="1.001"), known, limits(**{limit: "1000"})).reason is reason
    scaled = evaluate(order(quantity="6"), known, limits(**{limit: "1000", "scaling_allowed": True}))
    assert scaled.quantities == (1,)


@pytest.mark.parametrize(("limit", "scope", "reason"), SUMS)
def test_exposure_must_be_known(order, facts, limits, limit, scope, reason):
    """A limit blocks while the sum is unknown or old."""
    assert evaluate(order(), facts(exposure_known=False), limits(**{limit: "1000"})).reason is Reason.FACTS_MISSING
    assert evaluate(order(), facts(exposure_age="10.1"), limits(**{limit: "1000"})).reason is Reason.FACTS_STALE


@pytest.mark.parametrize(("limit", "passes"), [("599.9", False), ("600", True), ("600.1", True)])
def test_a_symbol_in_hedge_mode_adds_its_buckets(order, facts, limits, limit, passes):
    """Long 2 + 1 buying, short 2: with one more long, six units of 100 are exposed."""
    known = facts(
        hedge_mode=True, long="2", short="2",
        waiting={Bucket.LONG: given.sides(buy="1", sell="9"), Bucket.SHORT: given.sides(buy="9")},
    )
    decision = evaluate(order(bucket=Bucket.LONG), known, limits(exposure_symbol_max=limit))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.SYMBOL_EXPOSURE_EXCEEDS_LIMIT) is not passes


def test_a_strategy_pays_for_what_closes_nothing(order, facts, limits):
    """Long 1: of a sell of 3, one unit closes and two open, worth 200; 1.5 remains when only 50 are left."""
    known = facts(held="1", exposure={"strategy": "100"})
    selling = order(side=Side.SELL, quantity="3")

    assert evaluate(selling, known, limits(exposure_strategy_max="300")).verdict is Verdict.ALLOW
    assert evaluate(selling, known, limits(exposure_strategy_max="299.9")).verdict is Verdict.BLOCK
    scaled = evaluate(selling, known, limits(exposure_strategy_max="225", scaling_allowed=True))
    assert scaled.quantities == (Decimal("2.25"),)


def test_conversion_turns_quote_into_the_accounts_currency(order, facts, limits):
    """At a conversion of 0.5, one BTC at 100 weighs 50."""
    decision = evaluate(order(), facts(conversion="0.5"), limits(exposure_account_max="49"))

    assert decision.breach.observed == 50
