"""What people let through, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.permits.permit import Kind, Permit, State


class PermitMetrics(Collector):
    """Counts each step once; fits `Permits.listeners`.

    Every series is there from the start, with 0: the first override of a process would otherwise be a series that
    begins at 1, in which Prometheus sees no increase.
    """

    def __init__(self, accounts: Iterable[str], report: Callable[[], Mapping[str, Any]]) -> None:
        self._report = report
        self._counts = {(kind, step, account): 0 for account in accounts for kind in Kind for step in State}

    def note(self, permit: Permit) -> None:
        """Count what became of a permit; the first of two words for an approval is no second question."""
        if permit.kind is Kind.APPROVAL and permit.state is State.ASKED and permit.first is not None:
            return
        step = permit.kind, permit.state, permit.account
        self._counts[step] = self._counts.get(step, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Steps since the start by account, and what is open now."""
        steps = CounterMetricFamily(
            "risk_gate_permits", "Approvals and overrides, by what became of them", labels=("kind", "step", "account")
        )
        for (kind, step, account), count in self._counts.items():
            steps.add_metric((kind.value, step.value, account), count)
        now = GaugeMetricFamily(
            "risk_gate_permits_open", "Approvals and overrides that wait for a person, or may pass once",
            labels=("kind", "state"),
        )  # fmt: skip
        report = self._report()
        for state in ("asked", "granted"):
            for kind, count in report[state].items():
                now.add_metric((kind, state), count)
        yield from (steps, now)
