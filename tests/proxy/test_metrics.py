"""Metrics: every decision counted once, labels from closed sets."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from prometheus_client import generate_latest

from proxy.metrics import Metrics
from rules import Caller, Decision, EssLevel, Reason, Stop, Verdict

CALLER = Caller(account="spot-1", exchange="binance", strategy="grid", bot="grid1")


def decision(verdict=Verdict.ALLOW, reason=Reason.ALL_RISK_CHECKS_PASSED):
    """A decision."""
    return Decision(
        verdict=verdict,
        reason=reason,
        sentence="a sentence with 3 BTC in it",
        breach=None,
        quantities=(),
        scale_factor=Decimal(1),
        risk_level="INFO",
        ess_active=False,
        timestamp=datetime(2026, 3, 1, tzinfo=UTC),
        policy_revision=1,
        rules_run=(),
        reducing=False,
    )


@pytest.fixture
def metrics():
    """Metrics of one process."""
    return Metrics("1.2.3")


def value(metrics, name, **labels):
    """A sample's value."""
    return metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("verdict", "name"),
    [
        (Verdict.ALLOW, "risk_gate_allows_total"),
        (Verdict.BLOCK, "risk_gate_blocks_total"),
        (Verdict.SCALE_DOWN, "risk_gate_scale_downs_total"),
    ],
)
def test_each_verdict_has_its_counter(metrics, verdict, name):
    """One decision, one count, and no other counter moves."""
    names = {"risk_gate_allows_total", "risk_gate_blocks_total", "risk_gate_scale_downs_total"}
    metrics.decided(decision(verdict), CALLER, took_s=0.001)
    assert value(metrics, name) == 1
    assert all(value(metrics, other) == 0 for other in names - {name})


def test_decisions_are_labelled_by_who_and_why(metrics):
    """Verdict, reason code, account, exchange, strategy: never a sentence or a symbol."""
    for _ in range(3):
        metrics.decided(decision(Verdict.BLOCK, Reason.LEVERAGE_EXCEEDS_LIMIT), CALLER, took_s=0.001)
    labels = {
        "decision": "block", "reason": "leverage_exceeds_limit",
        "account": "spot-1", "exchange": "binance", "strategy": "grid",
    }  # fmt: skip
    assert value(metrics, "risk_gate_decisions_total", **labels) == 3
    assert b"3 BTC" not in generate_latest(metrics.registry)


def test_own_time_and_the_exchanges_time_are_apart(metrics):
    """Of 60 ms, 50 were the exchange's: 10 ms are ours."""
    metrics.decided(decision(), CALLER, took_s=0.060, upstream_s=0.050)
    assert value(metrics, "risk_gate_decision_seconds_sum") == pytest.approx(0.010)
    assert value(metrics, "riskgate_added_latency_seconds_sum") == pytest.approx(0.010)
    assert value(metrics, "riskgate_upstream_seconds_sum") == pytest.approx(0.050)
    metrics.decided(decision(Verdict.BLOCK), CALLER, took_s=0.001)
    assert value(metrics, "riskgate_added_latency_seconds_count") == 1
    assert value(metrics, "risk_gate_decision_seconds_count") == 2


def test_refusals_before_the_rulebook_count_as_blocks(metrics):
    """Whose request it was may not be known; the reason is."""
    metrics.refused(Reason.KEY_UNKNOWN)
    metrics.unclassified("unknown")
    assert value(metrics, "risk_gate_blocks_total") == 1
    assert value(metrics, "riskgate_unclassified_requests_total", verb="unknown") == 1


def test_the_stop_is_shown_and_its_triggers_counted(metrics):
    """Level per scope; engaging counts by its source, releasing does not; odd sources share one label."""
    metrics.stop_found(Stop(level=EssLevel.CLEAR))
    assert value(metrics, "riskgate_ess_level", scope="global") == 0
    metrics.stop_changed(Stop(level=EssLevel.HALT, source="api"))
    metrics.heard("desk", "linear", is_live=True, drifts=2)
    metrics.bypassed("desk", 1)
    metrics.stop_changed(Stop(level=EssLevel.REDUCE_ONLY, scope="account:a", source="from a user's own text"))
    metrics.stop_changed(Stop(level=EssLevel.CLEAR, source="api"))
    assert value(metrics, "riskgate_ess_level", scope="global") == 0
    assert value(metrics, "riskgate_ess_level", scope="account:a") == 1
    assert value(metrics, "ess_triggers_total", source="api") == 1
    assert value(metrics, "ess_triggers_total", source="other") == 1


def test_the_audits_state_is_shown(metrics):
    """Health as it is, failures as a counter that only grows."""
    for healthy, failures in ((True, 0), (False, 3), (True, 3), (False, 4)):
        metrics.audit_state(healthy=healthy, failures=failures)
        assert value(metrics, "riskgate_audit_healthy") == healthy
        assert value(metrics, "riskgate_audit_write_failures_total") == failures


def test_the_names_that_dashboards_rely_on(metrics):
    """The names are an interface: each is exported from the start or on first use."""
    metrics.decided(decision(), CALLER, took_s=0.01, upstream_s=0.005)
    metrics.reserved({"in_flight": 2, "unknown": 1})
    metrics.unclassified("unknown")
    metrics.stop_changed(Stop(level=EssLevel.HALT, source="api"))
    metrics.heard("desk", "linear", is_live=True, drifts=2)
    metrics.bypassed("desk", 1)
    text = generate_latest(metrics.registry).decode()
    for name in (
        "risk_gate_allows_total", "risk_gate_blocks_total", "risk_gate_scale_downs_total",
        "risk_gate_decisions_total", "ess_triggers_total", "risk_gate_decision_seconds_bucket",
        "riskgate_added_latency_seconds_bucket", "riskgate_upstream_seconds_bucket", "riskgate_ess_level",
        "riskgate_audit_healthy", "riskgate_build_info", "riskgate_reservations",
        "riskgate_unclassified_requests_total", "riskgate_log_lines_dropped", "riskgate_loop_lag_seconds",
        "riskgate_account_live", "riskgate_account_drifts", "riskgate_account_bypasses",
    ):  # fmt: skip
        assert f"\n{name}" in text, name
    assert 'riskgate_build_info{python="' in text
