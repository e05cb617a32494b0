"""What monitoring reads: the level with its age, the figures, and nothing where nothing is known."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from proxy.global_risk.engine import GlobalRiskEngine
from proxy.global_risk.metrics import RiskMetrics


def served(engine: GlobalRiskEngine, desk, *, own: bool = True) -> dict[str, float]:
    """Names with labels, and their values."""
    registry = CollectorRegistry()
    registry.register(RiskMetrics(engine, engine if own else None, desk.clock))
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


async def test_a_signal_is_served_with_its_age_and_figures(desk):
    """Level, age, action, score, notional, leverage, VaR and ES."""
    desk.know("BTCUSDT", [0.01, -0.01] * 40)
    desk.hold(BTCUSDT="0.9")
    engine = GlobalRiskEngine(desk.book, desk.marks, lambda: desk.limits, desk.history, desk.clock)
    await engine.evaluate()
    desk.forward(7)
    found = served(engine, desk)

    assert found["riskgate_global_risk_level"] == 2
    assert found["riskgate_global_risk_age_seconds"] == 7
    assert found["riskgate_global_risk_action_required"] == 1
    assert 0 < found["riskgate_global_risk_score"] <= 1
    assert found["riskgate_global_risk_notional"] == 45000
    assert found["riskgate_global_risk_leverage"] == 4.5
    assert found['riskgate_global_risk_tail{measure="var_95"}'] > 400


async def test_what_is_not_known_is_not_served(desk):
    """No signal: no level. No history: no VaR. A remote signal: no figures of our own."""
    engine = GlobalRiskEngine(desk.book, desk.marks, lambda: desk.limits, desk.history, desk.clock)
    assert served(engine, desk) == {}
    desk.hold(BTCUSDT="0.01")
    await engine.evaluate()
    found = served(engine, desk)

    assert found["riskgate_global_risk_level"] == 1
    assert not any("tail" in name or "drawdown" in name for name in found)
    assert "riskgate_global_risk_notional" not in served(engine, desk, own=False)
