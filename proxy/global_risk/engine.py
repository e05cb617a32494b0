"""The embedded engine: evaluates on a timer and when positions change, and keeps the last signal for orders.

It never stands on an order's path: orders read `latest()`, a value in memory. When an evaluation fails the
last signal stays with its age and grows too old by itself, which blocks new exposure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal

import structlog

from proxy.book import Book
from proxy.clock import Clock
from proxy.errors import StoreError
from proxy.feeds import FeedFailed
from proxy.feeds.polling import Cycle, Cycles
from proxy.global_risk import judgement, measures, systemic
from proxy.global_risk.history import Aligned, History, Series, day_of
from proxy.global_risk.measures import Method
from proxy.global_risk.models import DIGITS, GlobalRiskSignal, Tier
from proxy.global_risk.snapshot import Collected, LossReader, NotReady, build, collect_in_parts
from rules import Fact, GlobalRisk, Market, RiskLevel
from rules.profile import RiskLimitsPolicy

log = structlog.get_logger("riskgate.risk")

EVERY_S = 1.0
AGE_MAX_S = 60  # as old as another account may be for the sums of the book
THREAD_FROM = 40  # positions: from there the arithmetic takes milliseconds, and orders should not wait for it


class GlobalRiskEngine(Cycles):
    """Evaluates the whole book."""

    def __init__(
        self,
        book: Book,
        losses: LossReader | None,
        limits: Callable[[], RiskLimitsPolicy],
        history: History,
        clock: Clock,
        *,
        method: Method | None = None,
        every_s: float = EVERY_S,
        age_max_s: float = AGE_MAX_S,
    ) -> None:
        self.history = history
        self.method = Method() if method is None else method
        self.listeners: list[Callable[[GlobalRiskSignal], None]] = []
        self._book = book
        self._losses = losses
        self._limits = limits
        self._clock = clock
        self._age_max = timedelta(seconds=age_max_s)
        self._signal: GlobalRiskSignal | None = None
        self._latest: Fact[GlobalRisk] | None = None
        self._evaluating = asyncio.Lock()
        self._cycle = Cycle("risk.global", self._read, every_s=every_s, clock=clock, poke_min_s=every_s / 4)
        super().__init__("risk.global", (self._cycle,))

    @property
    def signal(self) -> GlobalRiskSignal | None:
        """The last signal as it is published; None before the first evaluation."""
        return self._signal

    def latest(self) -> Fact[GlobalRisk] | None:
        """The last signal as orders are judged by it, however old; None before the first."""
        return self._latest

    def poke(self) -> None:
        """A position changed: evaluate early."""
        self._cycle.poke()

    async def evaluate(self) -> GlobalRiskSignal:
        """Evaluate now. Raises FeedFailed, which says what is missing, and leaves the last signal as it is."""
        async with self._evaluating:
            try:
                limits = self._limits()
                collected = await collect_in_parts(
                    self._book, self._losses, now=self._clock.now(), age_max=self._age_max
                )
            except (NotReady, StoreError) as error:
                raise FeedFailed(str(error)) from None
            if len(collected.rows) >= THREAD_FROM:
                signal = await asyncio.to_thread(self._calculate, collected, limits)
            else:
                signal = self._calculate(collected, limits)
            self._take(signal)
            return signal

    async def _read(self) -> None:
        await self.evaluate()

    def wanted(self) -> Iterable[Series]:
        """Whose candles the statistics need: everything held, and the benchmark."""
        for place in self._book.accounts:
            yield benchmark_of(place.exchange, place.markets, self.method.benchmark)
            for holding in self._book.holdings(place.name):
                if holding.symbol is None or not holding.value:
                    continue
                # Candles of a pair that is not quoted in dollars say nothing of what its coin made in dollars.
                if holding.symbol == self._book.priced_by(place.exchange, holding.market, holding.symbol):
                    yield Series(place.exchange, holding.market, holding.symbol)

    def _calculate(self, collected: Collected, limits: RiskLimitsPolicy) -> GlobalRiskSignal:
        """From what was read to a signal; touches nothing but the history's own memory of the last table."""
        now, taken = collected.now, build(collected)
        series = tuple(sorted(taken.net))
        aligned = self.history.aligned(
            series, today=day_of(now), lookback=self.method.lookback_days, history_min=self.method.history_min
        )
        moved = measures.movement(taken, aligned)
        benchmark = None
        if series:
            one = benchmark_of(series[0].exchange, {found.market for found in series}, self.method.benchmark)
            benchmark = self.history.on_days(one, aligned.days)
        matrix = measures.matrix(taken, aligned, benchmark, self.method, now)
        tails = measures.results(taken, aligned, judgement.thresholds(taken.snapshot, limits), self.method, now)
        var, es = (None, None) if tails is None else tails
        scene = systemic.Scene(taken=taken, matrix=matrix, moved=moved, limits=limits)
        signals, unmeasured = systemic.find(scene)
        found = judgement.judge(scene, var, es, signals, unmeasured)
        recommended = judgement.tier(found, signals)
        return GlobalRiskSignal(
            timestamp=now,
            risk_level=found.level,
            snapshot=measures.described(taken.snapshot, moved, float(limits.volatility_spike)),
            exposure_matrix=matrix,
            var_result=var,
            es_result=es,
            systemic_signals=signals,
            overall_risk_score=round(judgement.score(found, matrix, signals), DIGITS),
            ess_tier_recommendation=recommended,
            ess_action_required=recommended is not Tier.NORMAL,
            risk_summary=judgement.summary(found, recommended),
            critical_issues=tuple(found.critical),
            warnings=tuple(found.warnings),
            unknown=tuple(self._unknown(collected, aligned, unmeasured)),
        )

    def _unknown(
        self, collected: Collected, aligned: Aligned, unmeasured: Iterable[systemic.Unmeasured]
    ) -> Iterable[str]:
        """What could not be measured, with the figures."""
        for one in aligned.short:
            yield f"{one.symbol} has {self.history.known(one)} daily returns, {self.method.history_min} are needed"
        for found in unmeasured:
            yield f"{found.type.value}: {found.why}"
        if collected.unread:
            yield f"not read, as their equity is configured: {', '.join(collected.unread)}"
        if collected.results.daily is None:
            yield "the result of the day, and with it the drawdown"

    def _take(self, signal: GlobalRiskSignal) -> None:
        before, self._signal = self._signal, signal
        _tell_news(before, signal)
        issues = signal.critical_issues or signal.warnings
        risk = GlobalRisk(
            level=signal.risk_level,
            ess_action_required=signal.ess_action_required,
            ess_tier=signal.ess_tier_recommendation.value,
            score=Decimal(repr(signal.overall_risk_score)),
            issues=issues,
        )
        self._latest = Fact(risk, signal.timestamp)
        if before is None or before.risk_level is not signal.risk_level:
            told = log.info if signal.risk_level is RiskLevel.INFO else log.warning
            told(
                "risk.level_changed",
                level=signal.risk_level.value,
                before=None if before is None else before.risk_level.value,
                tier=signal.ess_tier_recommendation.value,
                issues=list(issues[:5]),
            )
        for listener in self.listeners:
            listener(signal)


def _tell_news(before: GlobalRiskSignal | None, signal: GlobalRiskSignal) -> None:
    """Log what was not there in the signal before: once when it begins, not at every evaluation."""
    known = {one.type for one in before.systemic_signals} if before is not None else set()
    for one in signal.systemic_signals:
        if one.type not in known:
            log.warning(
                "risk.systemic_alert", type=one.type.value, level=one.level.value, severity=round(one.severity, 3),
                description=one.description,
            )  # fmt: skip
    had = len(before.critical_issues) if before is not None else 0
    if len(signal.critical_issues) > had:
        log.warning("risk.threshold_breach", issues=list(signal.critical_issues[:5]), had=had)


def benchmark_of(exchange: str, markets: Iterable[Market], symbol: str) -> Series:
    """The benchmark where it is certainly listed for whoever trades there: contracts first."""
    return Series(exchange, Market.LINEAR if Market.LINEAR in set(markets) else Market.SPOT, symbol)
