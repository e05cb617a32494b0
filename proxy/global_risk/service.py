"""The engine, its history and what is told of both: the one thing the rest of the house holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proxy.book import Book
from proxy.clock import Clock
from proxy.feeds import Venue
from proxy.global_risk import models
from proxy.global_risk.by_var import ByVar
from proxy.global_risk.engine import EVERY_S, GlobalRiskEngine
from proxy.global_risk.history import SYMBOLS_MAX, History, HistoryFeed, Series
from proxy.global_risk.measures import Method
from proxy.global_risk.snapshot import LossReader
from proxy.tasks import Tasks
from rules import Market
from rules.profile import RiskLimitsPolicy


class GlobalRisk:
    """Started and closed as one. `engine.latest` is what orders read.

    `listed` names symbols whose history is wanted before anything is held of them, so that the size of a
    first order can be judged.
    """

    def __init__(
        self,
        book: Book,
        losses: LossReader | None,
        limits: Callable[[], RiskLimitsPolicy],
        venues: Mapping[tuple[str, Market], Venue],
        clock: Clock,
        *,
        listed: Callable[[], Iterable[Series]] = tuple,
        method: Method | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        method = Method() if method is None else method
        history = History()
        self.engine = GlobalRiskEngine(book, losses, limits, history, clock, method=method, every_s=every_s)
        self.by_var = ByVar(book, history, method)
        self.history = HistoryFeed(history, venues, self._wanted, clock, lookback_days=method.lookback_days)
        self._listed = listed
        self._clock = clock
        book.watchers.append(self._position_changed)

    def start(self, tasks: Tasks) -> None:
        """Begin to read candles. The engine is a feed and is started with the others."""
        self.history.start(tasks)

    async def close(self) -> None:
        """Stop reading candles."""
        await self.history.close()

    def health(self) -> dict[str, Any]:
        """Whether the engine evaluates, and what ails it or its history."""
        (engine,), (history,) = self.engine.health(), self.history.health()
        return {
            "ready": engine.ready,
            "age_s": _rounded(engine.age_s),
            "error": engine.last_error,
            "failures": engine.failures,
            "history": {
                "ready": history.ready,
                "age_s": _rounded(history.age_s),
                "error": history.last_error,
                "problems": {_name(series): why for series, why in sorted(self.history.problems.items())},
            },
        }

    def status(self) -> dict[str, Any]:
        """The level in short; null before the first evaluation."""
        signal = self.engine.signal
        short: dict[str, Any] = {"timestamp": None, "age_s": None, "risk_level": None, "overall_risk_score": None}
        if signal is not None:
            short = {
                "timestamp": signal.timestamp.isoformat(),
                "age_s": _rounded((self._clock.now() - signal.timestamp).total_seconds()),
                "risk_level": signal.risk_level.value,
                "overall_risk_score": signal.overall_risk_score,
                "ess_tier_recommendation": signal.ess_tier_recommendation.value,
                "ess_action_required": signal.ess_action_required,
                "risk_summary": signal.risk_summary,
            }
        known = self.history.history
        return {
            "ready": self.engine.health()[0].ready,
            **short,
            "daily_returns": {_name(series): known.known(series) for series in sorted(set(self._wanted()))},
        }

    @staticmethod
    def schema() -> dict[str, Any]:
        """The JSON schema of the signal."""
        return models.schema()

    def _wanted(self) -> list[Series]:
        wanted = dict.fromkeys(self.engine.wanted())
        wanted.update(dict.fromkeys(self._listed()))
        return list(wanted)[:SYMBOLS_MAX]  # what is held comes first

    def _position_changed(self, _: str) -> None:
        self.engine.poke()
        self.history.poke()


def _name(series: Series) -> str:
    return f"{series.exchange}.{series.market.value}.{series.symbol}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
