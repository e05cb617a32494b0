"""What is counted and timed, for Prometheus.

Labels come from closed sets: reasons and verdicts are enums, accounts, strategies and
exchanges are those of the configuration. A symbol or an order id is never a label.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rules import Caller, Decision, EssLevel, Reason, Stop, Verdict
from rules.ess import RECOVERY

NOBODY: Final = "unknown"
_DECISION_S = (
    0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
)  # fmt: skip
_UPSTREAM_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LEVELS: Final = {level.name.lower(): float(level) for level in EssLevel}
_BY_VERDICT: Final = {
    Verdict.ALLOW: ("risk_gate_allows", "Requests let through unchanged"),
    Verdict.BLOCK: ("risk_gate_blocks", "Requests blocked"),
    Verdict.SCALE_DOWN: ("risk_gate_scale_downs", "Requests made smaller"),
}
ESS_SOURCES: Final = frozenset(
    {
        "api", "cli", "console", "rule", "file", "signal", "start", "global_risk", "drawdown", "loss", "bot", "bypass",
        "error_storm", "data_feed", "block_rate", "reject_streak",
    }
)  # fmt: skip


class Totals(NamedTuple):
    """What was decided since the start, and how long forwarded requests were held: `added` counts by bucket.

    Bucket i ends at `bounds_s[i]`; the last one has no end.
    """

    allowed: int
    scaled: int
    blocked: int
    bounds_s: tuple[float, ...]
    added: tuple[int, ...]


class _Times:
    """How long something took: a histogram that is only added up when somebody reads it."""

    __slots__ = ("_bounds", "_counts", "_help", "_name", "_sum_s")

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._help = text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum_s = 0.0

    def observe(self, took_s: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, took_s)] += 1
        self._sum_s += took_s

    @property
    def counts(self) -> tuple[int, ...]:
        """How many fell into each bucket."""
        return tuple(self._counts)

    def family(self) -> HistogramMetricFamily:
        """As Prometheus reads it: every bucket counts those below it as well."""
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(self._name, self._help, buckets=buckets, sum_value=self._sum_s)


class _Decided(Collector):
    """What is counted for every order: plain numbers while orders run, metrics when they are read.

    The event loop alone writes and reads them, so they need none of the library's locks.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, str, str, str], int] = {}
        self.own = _Times(
            "risk_gate_decision_seconds",
            "From the request's arrival to its answer, without the exchange's time",
            _DECISION_S,
        )
        self.added = _Times(
            "riskgate_added_latency_seconds", "What the proxy added to a forwarded request", _DECISION_S
        )
        self.upstream = _Times("riskgate_upstream_seconds", "What the exchange took", _UPSTREAM_S)

    def collect(self) -> Iterable[Metric]:
        """Everything as Prometheus reads it."""
        for verdict, (name, text) in _BY_VERDICT.items():
            count = sum(count for key, count in self.counts.items() if key[0] == verdict)
            yield CounterMetricFamily(name, text, value=count)
        labels = ["decision", "reason", "account", "exchange", "strategy"]
        decisions = CounterMetricFamily("risk_gate_decisions", "Decisions", labels=labels)
        for key, count in self.counts.items():
            decisions.add_metric([str(part) for part in key], count)
        yield decisions
        yield from (self.own.family(), self.added.family(), self.upstream.family())


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._decided = _Decided()
        self.registry.register(self._decided)
        self._outcomes()
        self._states(version)
        self._audit_failures_seen = 0

    def _outcomes(self) -> None:
        registry = self.registry
        self.ess_triggers = Counter(
            "ess_triggers", "Times the emergency stop was engaged", ["source"], registry=registry
        )
        self.tried = Counter(
            "risk_gate_tried", "Orders that limits in shadow mode would have treated otherwise", ["decision", "reason"],
            registry=registry,
        )  # fmt: skip
        self.unclassified_requests = Counter(
            "riskgate_unclassified_requests", "Refused as neither order nor harmless", ["verb"], registry=registry
        )
        self.audit_failures = Counter(
            "riskgate_audit_write_failures", "Records that could not be written", registry=registry
        )

    def _states(self, version: str) -> None:
        registry = self.registry
        self.ess_level = Gauge(
            "riskgate_ess_level", "0 clear, 1 reduce-only, 2 halt", ["scope"], registry=registry
        )
        self.audit_healthy = Gauge("riskgate_audit_healthy", "1 if decisions can be recorded", registry=registry)
        self.audit_folder_healthy = Gauge(
            "riskgate_audit_folder_healthy", "1 if a folder of the record takes records", ["folder"], registry=registry
        )
        self.audit_anchor_age = Gauge(
            "riskgate_audit_anchor_age_seconds", "Since the head of the record was left elsewhere", ["place"],
            registry=registry,
        )  # fmt: skip
        self.reservations = Gauge(
            "riskgate_reservations", "Orders whose headroom is held", ["state"], registry=registry
        )
        self.governor_level = Gauge(
            "riskgate_governor_level", "The safety governor's level: 0 NORMAL to 3 EMERGENCY", ["account"],
            registry=registry,
        )  # fmt: skip
        self.loss_limit_used = Gauge(
            "riskgate_loss_limit_used", "Share of a loss limit that is used, 1 is reached", ["account", "window"],
            registry=registry,
        )  # fmt: skip
        self.loop_lag_seconds = Gauge(
            "riskgate_loop_lag_seconds", "How late the event loop ran last", registry=registry
        )
        self.log_lines_dropped = Gauge(
            "riskgate_log_lines_dropped", "Log lines lost to a reader that is too slow", registry=registry
        )
        place = ["account", "market"]
        self.account_live = Gauge(
            "riskgate_account_live", "1 while a stream tells what the account does", place, registry=registry
        )
        self.account_drifts = Gauge(
            "riskgate_account_drifts", "Readings that showed what no stream had told", place, registry=registry
        )
        self.account_bypasses = Gauge(
            "riskgate_account_bypasses", "Orders found that did not come through here", ["account"], registry=registry
        )
        Gauge("riskgate_build_info", "Version", ["version", "python"], registry=registry).labels(
            version, platform.python_version()
        ).set(1)

    # -- on the order's path

    def decided(
        self, decision: Decision, caller: Caller, *, took_s: float, upstream_s: float | None = None
    ) -> None:
        """Count a decision; `took_s` is the whole time from arrival to answer."""
        decided = self._decided
        counts = decided.counts
        key = (decision.verdict, decision.reason, caller.account, caller.exchange, caller.strategy)
        counts[key] = counts.get(key, 0) + 1
        if decision.tried is not None:
            self.tried.labels(decision.tried.verdict.value, decision.tried.reason.value).inc()
        if upstream_s is None:
            decided.own.observe(took_s)
            return
        own_s = took_s - upstream_s
        decided.own.observe(own_s)
        decided.added.observe(own_s)
        decided.upstream.observe(upstream_s)

    def refused(self, reason: Reason) -> None:
        """Count a refusal that never reached the rulebook; whose request it was may not be known."""
        counts = self._decided.counts
        key = (Verdict.BLOCK, reason, NOBODY, NOBODY, NOBODY)
        counts[key] = counts.get(key, 0) + 1

    def unclassified(self, verb: str) -> None:
        """Count a request that is neither an order nor harmless."""
        self.unclassified_requests.labels(verb).inc()

    def decisions(self) -> Mapping[tuple[str, str, str, str, str], int]:
        """How often each was decided since the start: by verdict, reason, account, exchange, strategy."""
        return self._decided.counts

    def totals(self) -> Totals:
        """What was decided since the start, for whoever draws it."""
        decided = self._decided
        by_verdict = {
            verdict: sum(count for key, count in decided.counts.items() if key[0] == verdict) for verdict in _BY_VERDICT
        }
        return Totals(
            allowed=by_verdict[Verdict.ALLOW],
            scaled=by_verdict[Verdict.SCALE_DOWN],
            blocked=by_verdict[Verdict.BLOCK],
            bounds_s=_DECISION_S,
            added=decided.added.counts,
        )

    # -- states

    def stop_changed(self, stop: Stop) -> None:
        """Show a stop's level, and count it when it was engaged; fits `EssLatch.listeners`."""
        self.ess_level.labels(stop.scope).set(int(stop.level))
        if stop.level is not EssLevel.CLEAR and stop.source != RECOVERY:  # that is part of a release
            self.ess_triggers.labels(stop.source if stop.source in ESS_SOURCES else "other").inc()

    def stop_found(self, stop: Stop) -> None:
        """Show a stop's level as it was found at the start."""
        self.ess_level.labels(stop.scope).set(int(stop.level))

    def audit_state(self, *, healthy: bool, failures: int) -> None:
        """Show whether decisions can be recorded, and how often they could not."""
        self.audit_healthy.set(1 if healthy else 0)
        self.audit_failures.inc(max(0, failures - self._audit_failures_seen))
        self._audit_failures_seen = failures

    def audit_places(self, folders: Mapping[str, str], anchors: Mapping[str, Mapping[str, Any]]) -> None:
        """Show how each folder of the record does, and how old the newest anchor is in each place."""
        for folder, error in folders.items():
            self.audit_folder_healthy.labels(folder).set(0 if error else 1)
        for place, found in anchors.items():
            self.audit_anchor_age.labels(place).set(found["age_s"])

    def loss_used(self, account: str, window: str, share: Decimal) -> None:
        """Show how much of a loss limit is used."""
        self.loss_limit_used.labels(account, window).set(float(share))

    def heard(self, account: str, market: str, *, is_live: bool, drifts: int) -> None:
        """Show whether an account is heard on a market, and what its stream has lost so far."""
        self.account_live.labels(account, market).set(1 if is_live else 0)
        self.account_drifts.labels(account, market).set(drifts)

    def bypassed(self, account: str, count: int) -> None:
        """Show how many orders of an account were placed past the proxy."""
        self.account_bypasses.labels(account).set(count)

    def reserved(self, counts: Mapping[str, int]) -> None:
        """Show how many reservations are in each state."""
        for state, count in counts.items():
            self.reservations.labels(state).set(count)
