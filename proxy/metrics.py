"""What is counted and timed, for Prometheus.

Labels come from closed sets: reasons and verdicts are enums, accounts, strategies and
exchanges are those of the configuration. A symbol or an order id is never a label.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rules import Caller, Decision, EssLevel, Reason, Stop, Verdict

NOBODY = "unknown"
_DECISION_S = (
    0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
)  # fmt: skip
_UPSTREAM_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LEVELS = {level.name.lower(): float(level) for level in EssLevel}
ESS_SOURCES = frozenset({"api", "cli", "rule", "file", "signal", "start", "global_risk", "drawdown"})


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._outcomes()
        self._times()
        self._states(version)
        # Looking a labelled child up costs more than counting on it; the sets are closed, so keep them.
        self._audit_failures_seen = 0
        self._decided: dict[tuple[str, str, str, str, str], Counter] = {}

    def _outcomes(self) -> None:
        registry = self.registry
        self.allows = Counter("risk_gate_allows", "Requests let through unchanged", registry=registry)
        self.blocks = Counter("risk_gate_blocks", "Requests blocked", registry=registry)
        self.scale_downs = Counter("risk_gate_scale_downs", "Requests made smaller", registry=registry)
        self.decisions = Counter(
            "risk_gate_decisions",
            "Decisions",
            ["decision", "reason", "account", "exchange", "strategy"],
            registry=registry,
        )
        self._by_verdict = {
            Verdict.ALLOW: self.allows,
            Verdict.BLOCK: self.blocks,
            Verdict.SCALE_DOWN: self.scale_downs,
        }
        self.ess_triggers = Counter(
            "ess_triggers", "Times the emergency stop was engaged", ["source"], registry=registry
        )
        self.unclassified_requests = Counter(
            "riskgate_unclassified_requests", "Refused as neither order nor harmless", ["verb"], registry=registry
        )
        self.audit_failures = Counter(
            "riskgate_audit_write_failures", "Records that could not be written", registry=registry
        )

    def _times(self) -> None:
        registry = self.registry
        self.decision_seconds = Histogram(
            "risk_gate_decision_seconds",
            "From the request's arrival to its answer, without the exchange's time",
            registry=registry,
            buckets=_DECISION_S,
        )
        self.added_latency_seconds = Histogram(
            "riskgate_added_latency_seconds",
            "What the proxy added to a forwarded request",
            registry=registry,
            buckets=_DECISION_S,
        )
        self.upstream_seconds = Histogram(
            "riskgate_upstream_seconds", "What the exchange took", registry=registry, buckets=_UPSTREAM_S
        )

    def _states(self, version: str) -> None:
        registry = self.registry
        self.ess_level = Gauge(
            "riskgate_ess_level", "0 clear, 1 reduce-only, 2 halt", ["scope"], registry=registry
        )
        self.audit_healthy = Gauge("riskgate_audit_healthy", "1 if decisions can be recorded", registry=registry)
        self.reservations = Gauge(
            "riskgate_reservations", "Orders whose headroom is held", ["state"], registry=registry
        )
        self.loop_lag_seconds = Gauge(
            "riskgate_loop_lag_seconds", "How late the event loop ran last", registry=registry
        )
        self.log_lines_dropped = Gauge(
            "riskgate_log_lines_dropped", "Log lines lost to a reader that is too slow", registry=registry
        )
        Gauge("riskgate_build_info", "Version", ["version", "python"], registry=registry).labels(
            version, platform.python_version()
        ).set(1)

    # -- on the order's path

    def decided(
        self, decision: Decision, caller: Caller, *, took_s: float, upstream_s: float | None = None
    ) -> None:
        """Count a decision; `took_s` is the whole time from arrival to answer."""
        self._by_verdict[decision.verdict].inc()
        key = (decision.verdict, decision.reason, caller.account, caller.exchange, caller.strategy)
        child = self._decided.get(key)
        if child is None:
            child = self._decided[key] = self.decisions.labels(*(str(part) for part in key))
        child.inc()
        own_s = took_s if upstream_s is None else took_s - upstream_s
        self.decision_seconds.observe(own_s)
        if upstream_s is not None:
            self.added_latency_seconds.observe(own_s)
            self.upstream_seconds.observe(upstream_s)

    def refused(self, reason: Reason) -> None:
        """Count a refusal that never reached the rulebook; whose request it was may not be known."""
        self.blocks.inc()
        self.decisions.labels(Verdict.BLOCK.value, reason.value, NOBODY, NOBODY, NOBODY).inc()

    def unclassified(self, verb: str) -> None:
        """Count a request that is neither an order nor harmless."""
        self.unclassified_requests.labels(verb).inc()

    # -- states

    def stop_changed(self, stop: Stop) -> None:
        """Show a stop's level, and count it when it was engaged; fits `EssLatch.listeners`."""
        self.ess_level.labels(stop.scope).set(int(stop.level))
        if stop.level is not EssLevel.CLEAR:
            self.ess_triggers.labels(stop.source if stop.source in ESS_SOURCES else "other").inc()

    def stop_found(self, stop: Stop) -> None:
        """Show a stop's level as it was found at the start."""
        self.ess_level.labels(stop.scope).set(int(stop.level))

    def audit_state(self, *, healthy: bool, failures: int) -> None:
        """Show whether decisions can be recorded, and how often they could not."""
        self.audit_healthy.set(1 if healthy else 0)
        self.audit_failures.inc(max(0, failures - self._audit_failures_seen))
        self._audit_failures_seen = failures

    def reserved(self, counts: Mapping[str, int]) -> None:
        """Show how many reservations are in each state."""
        for state, count in counts.items():
            self.reservations.labels(state).set(count)
