"""What is calculated from a snapshot and the history: VaR, ES, correlations, shares, volatility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import numpy as np

from proxy.global_risk import arithmetic
from proxy.global_risk.arithmetic import ES_975, VAR_95, VAR_99, Floats
from proxy.global_risk.history import Aligned, Series
from proxy.global_risk.models import (
    ESResult,
    ExposureMatrix,
    Money,
    RiskSnapshot,
    VarFigures,
    VaRResult,
    money,
)
from proxy.global_risk.snapshot import NOBODY, Taken

HOTSPOT_SHARE = 0.30
RECENT_DAYS = 10  # what "now" means for correlation and volatility; the whole lookback is the baseline
BASELINE_DAYS_MIN = 20  # beside the recent days
SYMBOLS_SHOWN_MAX = 40  # of the pairwise matrix, the largest exposures: it grows with the square


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How VaR and ES are measured."""

    lookback_days: int = 180
    history_min: int = 30
    horizon_hours: float = 24.0
    decay: float = arithmetic.DECAY
    benchmark: str = "BTCUSDT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The limits in money that VaR and ES are held against; None where equity is not known."""

    var_95: Decimal | None
    var_99: Decimal | None
    es_975: Decimal | None


@dataclass(frozen=True, slots=True)
class Tail:
    """VaR and ES of one set of positions over the horizon, by both methods; floats, in money."""

    historical: Mapping[int, float]
    parametric: Mapping[int, float]
    deviation: float  # EWMA, over the horizon
    worst: float
    tail_events: int

    def worse(self, level: int) -> float:
        """The larger of both methods."""
        return max(self.historical[level], self.parametric[level])


def tail(returns: Floats, net: Floats, method: Method) -> Tail:
    """VaR 95 and 99 and ES 97.5 of signed notionals `net`, one per column of `returns`."""
    factor = arithmetic.horizon_factor(method.horizon_hours)
    losses = -(returns @ net) * factor
    deviation = arithmetic.ewma_deviation(losses, method.decay)
    historical = {level: arithmetic.var_historical(losses, level) for level in (VAR_95, VAR_99)}
    historical[ES_975] = arithmetic.es_historical(losses, ES_975)
    parametric = {level: arithmetic.var_normal(deviation, level) for level in (VAR_95, VAR_99)}
    parametric[ES_975] = arithmetic.es_normal(deviation, ES_975)
    return Tail(
        historical, parametric, deviation, max(0.0, float(losses.max())), len(arithmetic.tail_of(losses, ES_975)[1])
    )


def results(
    taken: Taken, aligned: Aligned, thresholds: Thresholds, method: Method, now: datetime
) -> tuple[VaRResult, ESResult] | None:
    """VaR and ES of what is held; None where history is missing for any of it. Nothing held has no risk."""
    observations = len(aligned.days)
    if not taken.net:
        found = Tail({VAR_95: 0.0, VAR_99: 0.0, ES_975: 0.0}, {VAR_95: 0.0, VAR_99: 0.0, ES_975: 0.0}, 0.0, 0.0, 0)
    elif observations:
        found = tail(aligned.returns, np.array([taken.net[series] for series in aligned.series]), method)
    else:
        return None
    equity = taken.snapshot.total_equity
    var_95, var_99, es_975 = (money(found.worse(level)) for level in (VAR_95, VAR_99, ES_975))
    var = VaRResult(
        timestamp=now,
        var_95=var_95,
        var_99=var_99,
        method="worst_of_historical_and_ewma",
        historical=_figures(found.historical),
        parametric_ewma=_figures(found.parametric),
        decay=method.decay,
        lookback_days=method.lookback_days,
        observations=observations,
        horizon_hours=method.horizon_hours,
        threshold_95=thresholds.var_95,
        threshold_99=thresholds.var_99,
        pass_95=_within(var_95, thresholds.var_95),
        pass_99=_within(var_99, thresholds.var_99),
        portfolio_volatility=found.deviation / float(equity) if equity is not None and equity > 0 else None,
    )
    es = ESResult(
        timestamp=now,
        es_975=es_975,
        historical=money(found.historical[ES_975]),
        parametric_ewma=money(found.parametric[ES_975]),
        threshold=thresholds.es_975,
        passes=_within(es_975, thresholds.es_975),
        worst_case_loss=money(found.worst),
        tail_events_count=found.tail_events,
    )
    return var, es


def _figures(found: Mapping[int, float]) -> VarFigures:
    return VarFigures(var_95=money(found[VAR_95]), var_99=money(found[VAR_99]))


def _within(value: Money, limit: Money | None) -> bool | None:
    return None if limit is None else value < limit


# --- how exposure is spread -------------------------------------------------------------------


def matrix(
    taken: Taken, aligned: Aligned, benchmark: Floats | None, method: Method, now: datetime
) -> ExposureMatrix:
    """Shares, concentration, correlations and betas. `benchmark` has the same days as `aligned`."""
    snapshot = taken.snapshot
    symbols = _shares(snapshot.symbol_exposure)
    exchanges, strategies = _shares(snapshot.exchange_exposure), _shares(snapshot.strategy_exposure)
    known = len(aligned.days) > 0
    net = np.array([taken.net[series] for series in aligned.series])
    between = arithmetic.correlations(aligned.returns) if known else np.empty((0, 0))
    market = arithmetic.pairs(between)
    turned = arithmetic.pairs(between * np.outer(np.sign(net), np.sign(net))) if known else market
    betas = {
        series: arithmetic.beta(aligned.returns[:, at], benchmark) if known and benchmark is not None else None
        for at, series in enumerate(aligned.series)
    }
    gross = float(np.abs(net).sum())
    weights = {
        series: None if beta is None or gross <= 0 else beta * taken.net[series] / gross
        for series, beta in betas.items()
    }
    complete = bool(weights) and all(weight is not None for weight in weights.values())
    shown = _shown(net) if known else ()
    return ExposureMatrix(
        timestamp=now,
        symbol_shares=symbols,
        exchange_shares=exchanges,
        strategy_shares=strategies,
        symbol_hhi=arithmetic.herfindahl(symbols.values()),
        exchange_hhi=arithmetic.herfindahl(exchanges.values()),
        strategy_hhi=arithmetic.herfindahl(strategies.values()),
        hotspots=tuple(_hotspots({"symbol": symbols, "exchange": exchanges, "strategy": strategies})),
        symbols=tuple(_label(aligned.series[at], aligned.series) for at in shown),
        correlations=tuple(tuple(_number(between[row, column]) for column in shown) for row in shown),
        avg_correlation=_mean(market),
        max_correlation=float(market.max()) if len(market) else None,
        avg_position_correlation=_mean(turned),
        benchmark=method.benchmark,
        betas={_label(series, aligned.series): beta for series, beta in betas.items()},
        beta_weights={_label(series, aligned.series): weight for series, weight in weights.items()},
        portfolio_beta=sum(weight for weight in weights.values() if weight is not None) if complete else None,
        observations=len(aligned.days),
    )


def _shares(exposure: Mapping[str, Decimal]) -> dict[str, float]:
    whole = sum(exposure.values(), Decimal(0))
    return {name: float(value / whole) for name, value in exposure.items()} if whole > 0 else {}


def _hotspots(dimensions: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Everything that holds three tenths of its dimension or more, the largest first."""
    found = [
        (share, f"{dimension} {name}")
        for dimension, shares in dimensions.items()
        for name, share in shares.items()
        if share >= HOTSPOT_SHARE and name != NOBODY
    ]
    return [name for _, name in sorted(found, key=lambda one: (-one[0], one[1]))]


def _shown(net: Floats) -> tuple[int, ...]:
    largest = np.argsort(-np.abs(net), kind="stable")[:SYMBOLS_SHOWN_MAX]
    return tuple(sorted(int(at) for at in largest))


def _label(series: Series, others: Sequence[Series]) -> str:
    """The symbol; with its market where both markets of it, or two exchanges, are in the book."""
    alike = [other for other in others if other.symbol == series.symbol]
    return series.symbol if len(alike) == 1 else f"{series.symbol}@{series.exchange}.{series.market.value}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


# --- now against before -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """How the last days differ from those before; None where there are not enough of them."""

    correlation_recent: float | None = None
    correlation_before: float | None = None
    volatility_ratio: float | None = None


def movement(taken: Taken, aligned: Aligned) -> Movement:
    """Average correlation and volatility of what is held, of the last days and of the baseline before them."""
    if len(aligned.days) < RECENT_DAYS + BASELINE_DAYS_MIN:
        return Movement()
    before, recent = aligned.returns[:-RECENT_DAYS], aligned.returns[-RECENT_DAYS:]
    size = np.abs(np.array([taken.net[series] for series in aligned.series]))
    baseline = np.sqrt((before * before).mean(axis=0))
    moved = (baseline > 0) & (size > 0)
    ratio = None
    if moved.any():
        now = np.sqrt((recent * recent).mean(axis=0))
        ratio = float((now[moved] / baseline[moved]) @ size[moved] / size[moved].sum())
    return Movement(
        correlation_recent=_mean(arithmetic.pairs(arithmetic.correlations(recent))),
        correlation_before=_mean(arithmetic.pairs(arithmetic.correlations(before))),
        volatility_ratio=ratio,
    )


def described(snapshot: RiskSnapshot, moved: Movement, spike: float) -> RiskSnapshot:
    """The snapshot with its volatility cluster and regime, where they are known."""
    ratio = moved.volatility_ratio
    if ratio is None:
        return snapshot
    cluster = "low" if ratio < 0.75 else "medium" if ratio < 1.25 else "high" if ratio < spike else "extreme"
    regime = "calm" if cluster == "low" else "stressed" if cluster == "extreme" else "normal"
    return snapshot.model_copy(update={"volatility_cluster": cluster, "regime": regime})
