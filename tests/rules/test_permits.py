"""What a person's word lifts, and what it never does."""

from decimal import Decimal

import pytest
from hypothesis import given as drawn
from hypothesis import settings

from rules import RULEBOOK, EssLevel, Reason, RiskLevel, Side, Verdict, approved, evaluate, liftable, overridden
from rules.permits import LIFTED_BY_OVERRIDE
from tests.given import SYMBOL, facts, limits, order, symbol_facts
from tests.strategies import requests, some_facts, some_limits

CEILING = Decimal(500)
# Every rule stands in one of the two: whoever adds one decides.
LIFTED = {
    "trade_notional", "trade_stop_loss", "open_positions", "position_size", "exposure_symbol", "exposure_strategy",
    "exposure_account", "exposure_exchange", "exposure_total", "exposure_asset", "exposure_net", "concentration",
    "open_orders", "open_orders_symbol", "order_quantity", "order_notional", "approval",
}  # fmt: skip
NEVER = {
    "ess_halt", "ess_reduce_only", "global_risk_critical", "global_risk_action", "global_risk_warning",
    "safety_governor", "strategy", "symbol", "strategy_blocked", "symbol_blocked", "rank", "confidence",
    "leverage_at_venue", "leverage_effective", "leverage_change", "margin_change", "loss_daily", "loss_daily_money",
    "loss_weekly", "drawdown", "loss_streak", "new_positions", "margin_free", "liquidation_distance",
    "incremental_var", "price_reference", "price_floor", "price_ceiling", "price_collar", "order_rate",
    "order_identical", "client_order_id",
}  # fmt: skip


def test_every_rule_is_either_lifted_or_never():
    """The two lists are the rulebook, and the lifted ones are those whose limit is."""
    assert {rule.name for rule in RULEBOOK} == LIFTED | NEVER
    assert not LIFTED & NEVER
    assert {rule.name for rule in RULEBOOK if rule.limit in LIFTED_BY_OVERRIDE} == LIFTED


def over(**changed):
    """Limits that are reached by any order, under an override."""
    return overridden(limits(**changed), [SYMBOL], "override ov-1 of ann and bob", CEILING)


def test_an_override_lifts_limits_of_size_up_to_its_ceiling():
    """Every size limit at its lowest: one order under the ceiling passes, one above it does not."""
    tight = {name: ("0" if "open" not in name else 0) for name in LIFTED_BY_OVERRIDE}
    unit = evaluate(order(), facts(), limits()).notionals[0]
    fits, larger = CEILING / unit, CEILING / unit + Decimal("0.001")

    assert evaluate(order(quantity=fits), facts(), limits(**tight)).verdict is Verdict.BLOCK
    passed = evaluate(order(quantity=fits), facts(), over(**tight))
    assert (passed.verdict, passed.limits_off) == (Verdict.ALLOW, ("override ov-1 of ann and bob",))
    assert evaluate(order(quantity=larger), facts(), over(**tight)).reason is Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT


@pytest.mark.parametrize(
    ("known", "stated", "reason"),
    [
        ({"stop": EssLevel.HALT}, {}, Reason.ESS_TRADING_HALT_ACTIVE),
        ({"stop": EssLevel.REDUCE_ONLY}, {}, Reason.ESS_REDUCE_ONLY_ACTIVE),
        ({"risk": RiskLevel.CRITICAL}, {}, Reason.GLOBAL_RISK_CRITICAL),
        ({"action": True}, {}, Reason.RISK_V3_ESS_ACTION_REQUIRED),
        ({"risk": None}, {}, Reason.FACTS_MISSING),
        ({"risk_age": "6"}, {}, Reason.FACTS_STALE),
        ({}, {"symbols": frozenset()}, Reason.SYMBOL_NOT_ALLOWED),
        ({}, {"strategies": frozenset()}, Reason.STRATEGY_NOT_ALLOWED),
        ({}, {"leverage_max": "0.01"}, Reason.LEVERAGE_EXCEEDS_LIMIT),
        ({}, {"loss_daily_max": "0"}, Reason.DAILY_LOSS_EXCEEDS_LIMIT),
        ({}, {"new_positions_allowed": False}, Reason.NEW_POSITIONS_NOT_ALLOWED),
        ({}, {"price_ceiling": "1"}, Reason.PRICE_ABOVE_CEILING),
        ({}, {"order_rate_max": 0}, Reason.ORDER_RATE_EXCEEDS_LIMIT),
        ({}, {"confidence_required": True}, Reason.CONFIDENCE_MISSING),
    ],
)
def test_what_an_override_never_lifts(known, stated, reason):
    """A small order under the ceiling meets every other rule as any order does."""
    tiny = order(quantity="0.001")
    found = evaluate(tiny, facts(**known), over(**stated))

    assert (found.verdict, found.reason) == (Verdict.BLOCK, reason)
    assert not liftable(found)


def test_a_proven_reduction_passes_a_critical_signal_and_no_halt():
    """Of any size; an order that opens stays closed out."""
    held = {"symbols": {SYMBOL: symbol_facts(held="5")}, "risk": RiskLevel.CRITICAL}
    close = order(side=Side.SELL, quantity="5", reduce_only=True)
    blocked = evaluate(close, facts(**held), limits())

    assert (blocked.reason, liftable(blocked)) == (Reason.GLOBAL_RISK_CRITICAL, True)
    assert evaluate(close, facts(**held), over()).verdict is Verdict.ALLOW
    assert evaluate(close, facts(**held, stop=EssLevel.HALT), over()).verdict is Verdict.BLOCK
    assert evaluate(order(quantity="0.001"), facts(**held), over()).verdict is Verdict.BLOCK


def test_an_override_is_whole_or_nothing():
    """Where scaling is allowed, an order above the ceiling is blocked, not cut."""
    found = evaluate(order(quantity="6"), facts(), over(scaling_allowed=True))
    assert found.verdict is Verdict.BLOCK


def test_limits_of_a_symbol_are_lifted_with_the_others():
    """Also what is stated for one symbol, and only for those of the order."""
    tight = limits(order_notional_max="1")
    stated = limits(by_symbol={SYMBOL: tight, "ETHUSDT": tight})
    found = overridden(stated, [SYMBOL], "note", CEILING)

    assert found.of(SYMBOL).order_notional_max == CEILING
    assert set(found.by_symbol) == {SYMBOL}


@settings(max_examples=200, deadline=None)
@drawn(requests(), some_facts(), some_limits())
def test_an_approval_lets_pass_only_what_waited_for_it(asked, known, stated):
    """Without the limit that asks, the decision is the one that there would be without people."""
    found = evaluate(asked, known, stated)
    freed = evaluate(asked, known, approved(stated, {one.symbol for one in asked}, "note"))
    if found.verdict is Verdict.BLOCK and found.reason is not Reason.APPROVAL_REQUIRED:
        assert (freed.verdict, freed.reason) == (found.verdict, found.reason)
