"""The statistics of risk: pure functions of arrays, each with the definition it follows.

A *loss* is positive when money is lost. Scenarios are days: row t of `returns` holds what every
instrument made on that day, newest last. Levels are in thousandths (975 is 97.5 %), because
0.95 * 20 is not always 19 in floating point and a rank must not depend on that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL_WHOLE = 1000
VAR_95, VAR_99, ES_975 = 950, 990, 975
DECAY = 0.94  # of RiskMetrics, for daily returns

_NORMAL = NormalDist()


def var_historical(losses: Floats, level: int) -> float:
    """The smallest loss that at most `1 - level` of the scenarios exceed (no interpolation), never below 0.

    With too few scenarios for a level, that is the worst of them: 30 days hold no better answer for 99 %.
    """
    count = len(losses)
    rank = -(-count * level // LEVEL_WHOLE)  # the ceiling of count * level
    return max(0.0, float(np.partition(losses, rank - 1)[rank - 1]))


def es_historical(losses: Floats, level: int) -> float:
    """The mean loss of the worst `1 - level` of all scenarios, never below 0.

    Where that share is no whole number of scenarios, the last of them counts in part, so that the figure
    is the average of the tail exactly (Rockafellar and Uryasev) and not of a rounded one.
    """
    weights, tail = tail_of(losses, level)
    return max(0.0, float(weights @ losses[tail]))


def tail_of(losses: Floats, level: int) -> tuple[Floats, NDArray[np.intp]]:
    """The weights of the worst scenarios, adding up to 1, and which they are; the least of them first."""
    weights = _tail_weights(len(losses), level)
    first = len(losses) - len(weights)
    return weights, np.argpartition(losses, first)[first:]


@lru_cache(maxsize=64)
def _tail_weights(count: int, level: int) -> Floats:
    whole, rest = divmod(count * (LEVEL_WHOLE - level), LEVEL_WHOLE)
    if not whole:
        return np.ones(1)  # the share is less than one scenario: the worst of them
    weights = np.full(whole + (1 if rest else 0), float(LEVEL_WHOLE))
    if rest:
        weights[0] = rest  # the least of the tail counts in part
    return np.asarray(weights / float(whole * LEVEL_WHOLE + rest))


def ewma_weights(count: int, decay: float = DECAY) -> Floats:
    """The weight of each day, the newest last; they add up to 1."""
    powers = decay ** np.arange(count - 1, -1, -1, dtype=np.float64)
    return np.asarray(powers / powers.sum())


def ewma_deviation(values: Floats, decay: float = DECAY) -> float:
    """The standard deviation with exponentially fading weights, around zero as RiskMetrics has it."""
    return math.sqrt(float(ewma_weights(len(values), decay) @ (values * values)))


def ewma_covariance(returns: Floats, decay: float = DECAY) -> Floats:
    """The same for every pair of instruments."""
    weighted = returns * ewma_weights(len(returns), decay)[:, None]
    return np.asarray(weighted.T @ returns)


def var_normal(deviation: float, level: int) -> float:
    """Value at risk of a normal distribution around zero."""
    return deviation * _NORMAL.inv_cdf(level / LEVEL_WHOLE)


def es_normal(deviation: float, level: int) -> float:
    """Expected shortfall of a normal distribution around zero."""
    return deviation * es_factor(level)


def es_factor(level: int) -> float:
    """Expected shortfall in standard deviations: the density at the quantile over the share beyond it."""
    return _NORMAL.pdf(_NORMAL.inv_cdf(level / LEVEL_WHOLE)) / ((LEVEL_WHOLE - level) / LEVEL_WHOLE)


def horizon_factor(horizon_hours: float) -> float:
    """From one day to another horizon by the square root of time: 24 hours are 1, and a week is 2.65."""
    return math.sqrt(horizon_hours / 24.0)


def returns_of(closes: Sequence[float]) -> Floats:
    """Day over day, as a fraction of the day before: what one unit of notional made."""
    prices = np.asarray(closes, dtype=np.float64)
    return np.asarray(prices[1:] / prices[:-1] - 1.0)


def correlations(returns: Floats) -> Floats:
    """Pearson's correlation of every pair; NaN where an instrument did not move at all, as nobody knows there."""
    centred = returns - returns.mean(axis=0)
    lengths = np.sqrt((centred * centred).sum(axis=0))
    lengths[lengths <= 1e-12 * math.sqrt(len(returns))] = np.nan
    scaled = centred / lengths
    return np.asarray(np.clip(scaled.T @ scaled, -1.0, 1.0), dtype=np.float64)


def pairs(matrix: Floats) -> Floats:
    """Every known value above the diagonal: one for each pair."""
    upper = matrix[np.triu_indices(len(matrix), 1)]
    return np.asarray(upper[~np.isnan(upper)])


def beta(returns: Floats, benchmark: Floats) -> float | None:
    """How much moves for one of the benchmark's moves: covariance over variance; None if that one stands still."""
    centred = benchmark - benchmark.mean()
    variance = float(centred @ centred)
    if variance <= 1e-24 * len(benchmark):
        return None
    return float(centred @ (returns - returns.mean())) / variance


def herfindahl(shares: Iterable[float]) -> float:
    """The Herfindahl-Hirschman index of shares: 1 is all in one, 1/n is even over n; 0 of nothing at all."""
    sizes = [abs(share) for share in shares]
    whole = math.fsum(sizes)
    return math.fsum((size / whole) ** 2 for size in sizes) if whole > 0 else 0.0
