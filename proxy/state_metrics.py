"""What monitoring reads of the state of things: feeds, the policy's age, and how much of every limit is used.

Made when it is read. What is not known has no sample: a gauge that is missing is not a calm one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.accounts import Accounts
from proxy.feeds import Health
from rules import Use


class StateMetrics(Collector):
    """Reads those who know; labels come from the configuration and the rulebook."""

    def __init__(
        self, feeds: Callable[[], Iterable[Health]], policy_age_s: Callable[[], float], accounts: Accounts
    ) -> None:
        self._feeds = feeds
        self._policy_age_s = policy_age_s
        self._accounts = accounts

    def collect(self) -> Iterable[Metric]:
        """Everything as Prometheus reads it."""
        ready = GaugeMetricFamily("riskgate_feed_ready", "1 while a feed delivers what is not old", labels=["feed"])
        age = GaugeMetricFamily("riskgate_feed_age_seconds", "Since a feed last delivered", labels=["feed"])
        for health in self._feeds():
            ready.add_metric([health.name], float(health.ready))
            if health.age_s is not None:
                age.add_metric([health.name], health.age_s)
        yield from (ready, age)
        yield GaugeMetricFamily(
            "riskgate_policy_age_seconds", "Since the store last confirmed the policy", value=self._policy_age_s()
        )
        yield self._limits()

    def _limits(self) -> Metric:
        """The most used of each account's limits by name; which symbol it is, the admin API says."""
        used = GaugeMetricFamily(
            "riskgate_limit_used_ratio", "Share of a limit that is used, 1 is reached", labels=["account", "limit"]
        )
        for account in self._accounts.names:
            worst: dict[str, float] = {}
            for use in self._accounts.uses(account):
                if (share := share_used(use)) is not None:
                    worst[use.limit] = max(worst.get(use.limit, share), share)
            for limit, share in worst.items():
                used.add_metric([account, limit], share)
        return used


def share_used(use: Use) -> float | None:
    """How far a limit is used up; of a minimum (`_min`) what is asked for over what is there. None if not known."""
    if use.used is None:
        return None
    above, below = (use.hard, use.used) if use.limit.endswith("_min") else (use.used, use.hard)
    if below <= 0:
        return float("inf") if above > 0 else 0.0
    return float(max(above, Decimal(0)) / below)
