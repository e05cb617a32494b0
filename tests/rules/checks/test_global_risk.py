"""The global risk signal's rules."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from rules import Fact, GlobalRisk, Order, Reason, RiskLevel, RiskSource, Side, Verdict, evaluate
from tests import given


def test_critical_blocks_new_exposure(order, facts, limits):
    """CRITICAL blocks an ordinary order and says so."""
    decision = evaluate(order(), facts(risk=RiskLevel.CRITICAL), limits())

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.GLOBAL_RISK_CRITICAL)
    assert decision.risk_level == "CRITICAL"


@pytest.mark.parametrize("signal", [{"risk": RiskLevel.CRITICAL}, {"action": True}])
def test_critical_passes_reductions_only_where_the_policy_allows(order, facts, limits, signal):
    """A proven reduction passes CRITICAL, or a demanded stop, if and only if critical_allows_reducing is set."""
    selling = order(side=Side.SELL)
    known = facts(held="1", **signal)

    assert evaluate(selling, known, limits()).verdict is Verdict.BLOCK
    assert evaluate(selling, known, limits(critical_allows_reducing=True)).verdict is Verdict.ALLOW
    assert evaluate(order(), known, limits(critical_allows_reducing=True)).verdict is Verdict.BLOCK


def test_a_demanded_stop_blocks_and_names_its_tier(order, facts, limits):
    """A signal that demands the stop to act binds even at level INFO; tier and issues are in the sentence."""
    known = facts()
    signal = GlobalRisk(level=RiskLevel.INFO, ess_action_required=True, ess_tier="tier 2", issues=("margin", "delta"))
    decision = evaluate(order(), replace(known, risk=Fact(signal, known.now)), limits())

    assert decision.reason is Reason.RISK_V3_ESS_ACTION_REQUIRED
    assert "tier 2" in decision.sentence
    assert "margin, delta" in decision.sentence


@pytest.mark.parametrize(
    ("signal", "reason"),
    [({"risk": None}, Reason.FACTS_MISSING), ({"risk_age": "5.000001"}, Reason.FACTS_STALE),
     ({"risk_age": "-1.5"}, Reason.FACTS_STALE), ({"risk": "PURPLE"}, Reason.FACTS_MISSING)],
)
def test_an_unusable_signal_blocks_new_exposure_and_nothing_else(order, facts, limits, signal, reason):
    """Missing, old, from the future or of an unknown level: an opening order is blocked, a reduction passes."""
    opening = evaluate(order(), facts(**signal), limits())
    closing = evaluate(order(side=Side.SELL), facts(held="1", **signal), limits())

    assert opening.reason is reason
    assert closing.verdict is Verdict.ALLOW


@pytest.mark.parametrize(("age", "verdict"), [("4.999", Verdict.ALLOW), ("5", Verdict.ALLOW), ("5.001", Verdict.BLOCK)])
def test_a_signal_is_fresh_up_to_its_maximum_age(order, facts, limits, age, verdict):
    """Five seconds are allowed: just under and exactly at pass, just over blocks."""
    assert evaluate(order(), facts(risk_age=age), limits()).verdict is verdict


@pytest.mark.parametrize(
    ("source", "level"), [(RiskSource.NONE, "NONE"), (RiskSource.PROFILE_CHECKS_ONLY, "UNKNOWN")]
)
def test_without_a_required_signal_orders_pass_and_the_record_says_so(order, facts, limits, source, level):
    """Where no signal is required, its absence blocks nothing; the decision names the reason and the level."""
    decision = evaluate(order(), facts(risk=None), limits(risk_source=source))

    assert (decision.verdict, decision.risk_level) == (Verdict.ALLOW, level)
    lines = [run for run in decision.rules_run if run.rule.startswith("global_risk")]
    assert len(lines) == 3
    assert all(run.observed.startswith("not consulted") for run in lines)


def test_warning_scales_new_exposure_once(order, facts, limits):
    """WARNING halves an order, once: the smaller order is not halved again when it is judged."""
    decision = evaluate(order(), facts(risk=RiskLevel.WARNING), limits(scaling_allowed=True))

    assert (decision.verdict, decision.reason) == (Verdict.SCALE_DOWN, Reason.GLOBAL_RISK_WARNING)
    assert decision.quantities == (Decimal("0.5"),)
    assert decision.scale_factor == Decimal("0.5")


def test_warning_scales_a_quote_order(order, facts, limits):
    """The share is taken of what the order states, here quote currency."""
    asked = Order(
        symbol=given.SYMBOL, side=Side.BUY, type=given.OrderType.MARKET, market=given.Market.SPOT,
        quote_quantity=Decimal(100),
    )
    decision = evaluate(asked, facts(risk=RiskLevel.WARNING), limits(scaling_allowed=True, warning_factor="0.3"))

    assert decision.quantities == (Decimal(30),)


def test_warning_passes_where_scaling_is_off(order, facts, limits):
    """Where the policy does not scale, WARNING is recorded and nothing else."""
    decision = evaluate(order(), facts(risk=RiskLevel.WARNING), limits())

    assert (decision.verdict, decision.risk_level) == (Verdict.ALLOW, "WARNING")
    line = next(run for run in decision.rules_run if run.rule == "global_risk_warning")
    assert (line.outcome, line.observed) == ("within", "WARNING")


def test_warning_leaves_reductions_alone(order, facts, limits):
    """A reduction is not scaled by WARNING."""
    decision = evaluate(order(side=Side.SELL), facts(risk=RiskLevel.WARNING, held="1"), limits(scaling_allowed=True))

    assert decision.quantities == (Decimal(1),)


def test_warning_blocks_what_cannot_be_scaled(order, facts, limits):
    """A fill-or-kill order and one that states no quantity are blocked rather than let through whole."""
    for asked in (order(time_in_force="FOK"), order(close_position=True)):
        decision = evaluate(asked, facts(risk=RiskLevel.WARNING), limits(scaling_allowed=True))
        assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.GLOBAL_RISK_WARNING)


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.ALLOW), ("0", Verdict.BLOCK)])
def test_warning_factor_at_its_ends(order, facts, limits, factor, verdict):
    """A factor of 1 leaves an order whole; a factor of 0 leaves nothing to send."""
    decision = evaluate(order(), facts(risk=RiskLevel.WARNING), limits(scaling_allowed=True, warning_factor=factor))

    assert decision.verdict is verdict
