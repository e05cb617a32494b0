"""What monitoring reads of global risk: the signal that orders are judged by, and the figures behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.clock import Clock
from rules import RiskLevel

if TYPE_CHECKING:
    from prometheus_client import Metric

    from proxy.global_risk.engine import GlobalRiskEngine
    from proxy.global_risk.models import GlobalRiskSignal
    from proxy.global_risk.trips import RiskReader

NUMBERS = {RiskLevel.INFO: 0, RiskLevel.WARNING: 1, RiskLevel.CRITICAL: 2}


class RiskMetrics(Collector):
    """Made when they are read. Without a signal there is no level: a gauge that is missing is not a calm one."""

    def __init__(self, reader: RiskReader, engine: GlobalRiskEngine | None, clock: Clock) -> None:
        self._reader = reader
        self._engine = engine
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Everything as Prometheus reads it."""
        known = self._reader.latest()
        if known is not None:
            risk = known.value
            age_s = (self._clock.now() - known.as_of).total_seconds()
            yield _gauge("level", "0 INFO, 1 WARNING, 2 CRITICAL", NUMBERS[risk.level])
            yield _gauge("age_seconds", "How old the signal is", age_s)
            yield _gauge("action_required", "1 if the signal wants the stop to act", int(risk.ess_action_required))
            if risk.score is not None:
                yield _gauge("score", "Overall risk score, 0 to 1", float(risk.score))
        signal = None if self._engine is None else self._engine.signal
        if signal is not None:
            yield from _figures(signal)


def _figures(signal: GlobalRiskSignal) -> Iterable[Metric]:
    snapshot, var, es = signal.snapshot, signal.var_result, signal.es_result
    yield _gauge("notional", "What all accounts hold", float(snapshot.total_notional))
    if snapshot.total_leverage is not None:
        yield _gauge("leverage", "Notional over equity of all accounts", snapshot.total_leverage)
    if snapshot.drawdown_pct is not None:
        yield _gauge("drawdown", "Loss since the day began, a fraction", snapshot.drawdown_pct)
    if var is not None and es is not None:
        tail = GaugeMetricFamily(
            "riskgate_global_risk_tail", "VaR and ES of what is held, in money", labels=["measure"]
        )
        for measure, amount in (("var_95", var.var_95), ("var_99", var.var_99), ("es_975", es.es_975)):
            tail.add_metric([measure], float(amount))
        yield tail


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"riskgate_global_risk_{name}", text, value=value)
