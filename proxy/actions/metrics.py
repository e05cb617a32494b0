"""How actions stand, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class ActionMetrics(Collector):
    """Read when somebody asks."""

    def __init__(self, counts: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Actions by kind and state; `needs_person` above 0 wakes somebody."""
        found = GaugeMetricFamily(
            "risk_gate_actions",
            "Accounts with an action of the proxy's own, remembered by this process.",
            labels=("kind", "state"),
        )
        for (kind, state), count in self._counts().items():
            found.add_metric((kind, state), count)
        yield found
