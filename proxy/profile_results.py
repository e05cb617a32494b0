"""How each risk profile has done since this process began: trades, share won, drawdown, return.

From the profit and loss that fills realised, as accounts' histories tell it (USDⓈ-M futures; spot tells none).
Fills of one symbol within a minute close one trade, as for rows of losses. A trade counts for the profile that
was active when its last fill happened. Commissions and funding are not in these figures; losses and limits are
measured elsewhere, from equity.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.ledger.marks import SAME_TRADE
from proxy.ledger.readings import Realised
from proxy.stores.base import StoredPolicy

if TYPE_CHECKING:
    from prometheus_client import Metric

NOTHING = Decimal(0)
CHANGES_MAX = 1000  # switches that are remembered, to place trades that are told late


@dataclass(slots=True)
class Result:
    """What one profile has come to."""

    won: int = 0
    lost: int = 0
    even: int = 0
    realised: Decimal = NOTHING
    high: Decimal = NOTHING
    drawdown: Decimal = NOTHING  # the largest fall of the sum from its highest
    equity: Decimal | None = None  # when its first trade closed

    @property
    def trades(self) -> int:
        """How many closed."""
        return self.won + self.lost + self.even

    def add(self, amount: Decimal, equity: Decimal | None) -> None:
        """One more closed trade."""
        if amount > NOTHING:
            self.won += 1
        elif amount < NOTHING:
            self.lost += 1
        else:
            self.even += 1
        if self.equity is None:
            self.equity = equity
        self.realised += amount
        self.high = max(self.high, self.realised)
        self.drawdown = max(self.drawdown, self.high - self.realised)


class ProfileResults(Collector):
    """Told of policies and of what fills realised; shows both to monitoring."""

    def __init__(self, known: Callable[[], StoredPolicy | None], equity: Callable[[], Decimal | None]) -> None:
        self._known = known
        self._equity = equity
        self._since: list[datetime] = []
        self._modes: list[str] = []
        self._open: dict[tuple[str, str], tuple[Decimal, datetime]] = {}  # account, symbol: a trade being closed
        self._results: dict[str, Result] = {}

    def policy_changed(self, stored: StoredPolicy) -> None:
        """Another revision is in force; fits `PolicyStore.subscribe`."""
        mode = stored.policy.active_mode
        if self._modes and (self._modes[-1] == mode or stored.updated_at < self._since[-1]):
            return
        self._since.append(stored.updated_at)
        self._modes.append(mode)
        del self._since[:-CHANGES_MAX], self._modes[:-CHANGES_MAX]

    def realised(self, account: str, fills: Iterable[Realised]) -> None:
        """Fills realised something; each is told once, in the order they happened."""
        for fill in fills:
            place = account, fill.symbol
            amount, at = self._open.get(place, (NOTHING, fill.at))
            if fill.at - at > SAME_TRADE:
                self._closed(amount, at)
                amount = NOTHING
            self._open[place] = amount + fill.amount, max(at, fill.at)

    def settle(self, now: datetime) -> None:
        """Count trades whose last fill is longer ago than fills of one trade are apart."""
        for place, (amount, at) in list(self._open.items()):
            if now - at > SAME_TRADE:
                self._closed(amount, at)
                del self._open[place]

    def _closed(self, amount: Decimal, at: datetime) -> None:
        profile = self._mode_at(at)
        if profile is not None:
            self._results.setdefault(profile, Result()).add(amount, self._equity())

    def _mode_at(self, at: datetime) -> str | None:
        if not self._modes:
            return None
        # Before the first change that is known, the policy was what it was then.
        return self._modes[max(0, bisect_right(self._since, at) - 1)]

    def of(self, profile: str) -> Result:
        """What one profile has come to."""
        return self._results.get(profile, Result())

    def collect(self) -> Iterable[Metric]:
        """Everything as Prometheus reads it; profiles are those of the policy and those that traded."""
        stored = self._known()
        if stored is not None:
            active = _gauge("risk_profile_active", "1 for the risk profile in force")
            for name in sorted(stored.policy.risk_profiles):
                active.add_metric([name], 1 if name == stored.policy.active_mode else 0)
            yield active
        trades = CounterMetricFamily("trades_per_profile", "Trades that closed", labels=["profile", "result"])
        realised = _gauge("risk_profile_realised", "Profit less loss of trades, account's currency")
        rate = _gauge("risk_profile_win_rate", "Share of trades that won")
        drawdown = _gauge("risk_profile_drawdown", "Largest fall of what trades realised, account's currency")
        returned = _gauge("risk_profile_roi", "What trades realised, of the equity when the first one closed")
        for name, one in sorted(self._results.items()):
            for result, count in (("won", one.won), ("lost", one.lost), ("even", one.even)):
                trades.add_metric([name, result], count)
            realised.add_metric([name], float(one.realised))
            rate.add_metric([name], one.won / one.trades)
            drawdown.add_metric([name], float(one.drawdown))
            if one.equity is not None and one.equity > NOTHING:
                returned.add_metric([name], float(one.realised / one.equity))
        yield from (trades, realised, rate, drawdown, returned)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["profile"])
