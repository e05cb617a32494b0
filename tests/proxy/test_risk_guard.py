"""RiskGuard's checks, events and variables, each against the rule that does it here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.risk_guard import APPROVED, CHECKS, DENIED, PROFILE_LOADED, event_of, page
from proxy.stores import read_legacy
from rules import RULEBOOK, EssLevel, Reason, RiskLevel, Verdict, evaluate
from tests import given

ROOT = Path(__file__).parents[2]
SEED_EVENTS = {
    "risk_guard_risk_profile_loaded", "risk_guard_denied_leverage", "risk_guard_denied_risk_pct",
    "risk_guard_denied_position_cap", "risk_guard_denied_new_positions_disabled", "risk_guard_denied_max_positions",
    "risk_guard_trade_approved",
}  # fmt: skip
SEED_DENIALS = {
    "kill_switch", "symbol_not_allowed", "notional_limit", "price_invalid", "price_floor", "price_ceiling",
    "price_stale", "daily_loss_limit", "position_limit", "gross_exposure_limit",
}  # fmt: skip

# What each check denied: the limits and facts of an order of 1 BTC at 100, and nearly the same that passes.
CASES: dict[str, tuple[dict, dict, dict, dict]] = {
    "leverage > max_leverage": ({"leverage_max": "5"}, {"leverage": "6"}, {"leverage_max": "5"}, {"leverage": "5"}),
    "trade_risk_pct > max_risk_pct_per_trade": (
        {"trade_notional_fraction_max": "0.0099"}, {}, {"trade_notional_fraction_max": "0.01"}, {}),
    "position_size_usd > position_size_cap_usd": (
        {"position_notional_max": "99.9"}, {}, {"position_notional_max": "100"}, {}),
    "not allow_new_positions": ({"new_positions_allowed": False}, {}, {}, {}),
    "open positions >= max_open_positions": ({"open_positions_max": 0}, {}, {"open_positions_max": 1}, {}),
    "kill_switch": ({}, {"stop": EssLevel.HALT}, {}, {"stop": EssLevel.CLEAR}),
    "symbol_not_allowed": ({"symbols": frozenset({"ETHUSDT"})}, {}, {"symbols": frozenset({"BTCUSDT"})}, {}),
    "notional_limit": ({"order_notional_max": "99.9"}, {}, {"order_notional_max": "100"}, {}),
    "price_invalid": ({}, {"mark": "0"}, {}, {"mark": "100"}),
    "price_floor": ({"price_floor": "100.1"}, {}, {"price_floor": "100"}, {}),
    "price_ceiling": ({"price_ceiling": "99.9"}, {}, {"price_ceiling": "100"}, {}),
    "price_stale": ({}, {"price_age": "5.1"}, {}, {"price_age": "5"}),
    "daily_loss_limit": (
        {"loss_daily_money_max": "800"}, {"equity": "9200"}, {"loss_daily_money_max": "800"}, {"equity": "9201"}),
    "position_limit": ({"exposure_symbol_max": "99.9"}, {}, {"exposure_symbol_max": "100"}, {}),
    "gross_exposure_limit": ({"exposure_total_max": "99.9"}, {}, {"exposure_total_max": "100"}, {}),
}  # fmt: skip


def test_every_check_of_the_older_guard_is_here():
    """Its five profile checks, and every one of the older ones by its own name; each has a case below."""
    named = {check.denial for check in CHECKS}
    assert named >= SEED_DENIALS
    assert len(named - SEED_DENIALS) == 5
    assert named == CASES.keys()


def test_every_event_of_the_older_guard_is_here():
    """The seven names, no more and no less."""
    assert {PROFILE_LOADED, APPROVED, *DENIED.values()} == SEED_EVENTS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.denial)
def test_a_check_is_a_rule_that_bites_where_it_should(check):
    """What the check denied is blocked here by its rule and reason, and what it just let pass passes."""
    limits, facts, wide, calm = CASES[check.denial]
    denied = evaluate(given.order(), given.facts(risk=RiskLevel.INFO, **facts), given.limits(**limits))
    passed = evaluate(given.order(), given.facts(risk=RiskLevel.INFO, **calm), given.limits(**wide))

    assert (denied.verdict, passed.verdict) == (Verdict.BLOCK, Verdict.ALLOW)
    assert denied.reason in check.reasons
    assert {run.rule for run in denied.rules_run if run.outcome == "breach"} <= set(check.rules)
    assert event_of(denied) == check.event
    assert event_of(passed) == APPROVED


def test_rules_and_reasons_of_the_table_exist():
    """A rule that is renamed must be renamed here; every reason is one that a rule of its row can give."""
    rules = {rule.name: rule for rule in RULEBOOK}
    for check in CHECKS:
        possible = {reason for name in check.rules for reason in rules[name].reasons}
        assert set(check.reasons) <= possible


def test_a_scaled_order_counts_as_approved():
    """RiskGuard knew no scaling: what is sent, smaller or not, was approved."""
    scaled = evaluate(given.order(), given.facts(), given.limits(order_notional_max="50", scaling_allowed=True))
    assert scaled.verdict is Verdict.SCALE_DOWN
    assert event_of(scaled) == APPROVED
    assert event_of(scaled._replace(verdict=Verdict.BLOCK, reason=Reason.ORDER_DUPLICATE)) is None


def test_every_variable_of_the_table_is_read():
    """A variable that a row names changes something, and is told as deprecated."""
    values = {"QT_KILL_SWITCH": "true", "QT_ALLOWED_SYMBOLS": "BTCUSDT", "QT_MAX_RISK_PER_TRADE": "0.01"}
    for check in CHECKS:
        if check.variable is not None:
            legacy = read_legacy({check.variable: values.get(check.variable, "5")})
            assert len(legacy.notices) == 1
            assert legacy != read_legacy({})._replace(notices=legacy.notices)


def test_the_page_is_made_of_the_table():
    """Regenerate it with `python -m proxy.risk_guard > docs/risk-guard-parity.md`."""
    written = (ROOT / "docs" / "risk-guard-parity.md").read_text("utf-8")
    assert written == page()
    assert len(re.findall(r"^\| ", written, re.MULTILINE)) == len(CHECKS) + 1
