"""Six things that go wrong with everything at once. Each is found, not found, or not measurable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from proxy.global_risk.measures import Movement
from proxy.global_risk.models import ExposureMatrix, SystemicRiskType, SystemicSignal
from proxy.global_risk.snapshot import Taken
from rules import RiskLevel
from rules.profile import RiskLimitsPolicy

SEVERE = 0.75  # from here on a signal is critical
SPREAD_HALF = 0.002  # a spread of 0.2 % scores one half
IMBALANCE = 0.50  # exposure on the largest exchange over an even split
CASCADE_CORRELATION = 0.70
CASCADE_LEVERAGE = Decimal(3)
CASCADE_POSITIONS = 2
HHI_MAX = 0.40

Kind = SystemicRiskType


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the signals look at."""

    taken: Taken
    matrix: ExposureMatrix
    moved: Movement
    limits: RiskLimitsPolicy

    @property
    def leverage(self) -> float:
        """Notional over equity; infinite where something is held and equity is not positive."""
        snapshot = self.taken.snapshot
        if snapshot.total_leverage is not None:
            return snapshot.total_leverage
        return float("inf") if snapshot.total_notional else 0.0

    @property
    def is_structured(self) -> bool:
        """Whether the book is large enough for how it is spread to matter."""
        return self.leverage >= float(self.limits.structure_from_leverage)


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A signal that could not be looked for, and why."""

    type: SystemicRiskType
    why: str


def find(scene: Scene) -> tuple[tuple[SystemicSignal, ...], tuple[Unmeasured, ...]]:
    """Every signal there is, and every one that nobody can tell."""
    found: list[SystemicSignal] = []
    unmeasured: list[Unmeasured] = []
    for look in SIGNALS:
        for one in look(scene):
            if isinstance(one, Unmeasured):
                unmeasured.append(one)
            else:
                found.append(one)
    return tuple(found), tuple(unmeasured)


def _signal(
    kind: Kind, severity: float, value: float, threshold: float, description: str, *, level: RiskLevel | None = None
) -> SystemicSignal:
    severity = min(1.0, severity)
    by_severity = RiskLevel.CRITICAL if severity >= SEVERE else RiskLevel.WARNING
    return SystemicSignal(
        type=kind, level=level or by_severity, severity=severity, value=value, threshold=threshold,
        description=description,
    )  # fmt: skip


def liquidity_stress(scene: Scene) -> Iterator[SystemicSignal | Unmeasured]:
    """Held symbols trade at wide spreads: the score, weighted by notional, is under its minimum.

    A spread of nothing scores 1, one of 0.2 % one half, one of 0.6 % a quarter. Severity is what is missing to 1.
    """
    spreads = scene.taken.spreads
    if not spreads:
        return
    nobody = sorted(series.symbol for series, one in spreads.items() if one.spread is None)
    if nobody:
        yield Unmeasured(Kind.LIQUIDITY_STRESS, f"no bid and ask of {', '.join(nobody)}")
        return
    weight = sum(one.notional for one in spreads.values())
    if weight <= 0:
        return
    score = sum(one.notional * liquidity_score(one.spread or 0.0) for one in spreads.values()) / weight
    least = float(scene.limits.liquidity_score_min)
    if score < least:
        said = f"liquidity score {score:.2f}, at least {least:.2f} is wanted"
        yield _signal(Kind.LIQUIDITY_STRESS, 1.0 - score, score, least, said)


def liquidity_score(spread: float) -> float:
    """1 without a spread, falling to one half at 0.2 % of the price."""
    return 1.0 / (1.0 + max(0.0, spread) / SPREAD_HALF)


def correlation_spike(scene: Scene) -> Iterator[SystemicSignal | Unmeasured]:
    """Held symbols move together more than they did: the last days against those before.

    At the limit severity is one half, at twice the limit 1.
    """
    if len(scene.taken.net) < 2:
        return
    recent, before = scene.moved.correlation_recent, scene.moved.correlation_before
    if recent is None or before is None:
        yield Unmeasured(Kind.CORRELATION_SPIKE, "not enough daily returns")
        return
    rise, limit = recent - before, float(scene.limits.correlation_spike)
    if rise >= limit:
        said = f"average correlation {recent:.2f}, {rise:.2f} above its baseline of {before:.2f}"
        yield _signal(Kind.CORRELATION_SPIKE, rise / limit / 2, rise, limit, said)


def multi_exchange_failure(scene: Scene) -> Iterator[SystemicSignal | Unmeasured]:
    """Some exchanges cannot be read any more; severity is their share. Or one of several holds nearly everything."""
    taken = scene.taken
    count = len(taken.exchanges)
    if taken.failing:
        share = len(taken.failing) / count
        said = f"no fresh reading from {', '.join(sorted(taken.failing))}, {len(taken.failing)} of {count} exchanges"
        yield _signal(Kind.MULTI_EXCHANGE_FAILURE, share, share, 0.0, said)
    shares = scene.matrix.exchange_shares
    if count < 2 or not shares:
        return
    name, largest = max(shares.items(), key=lambda one: (one[1], one[0]))
    imbalance = (largest - 1 / count) / (1 - 1 / count)
    if imbalance > IMBALANCE:
        said = f"{name} holds {largest:.0%} of the exposure on {count} exchanges"
        yield _signal(Kind.MULTI_EXCHANGE_FAILURE, imbalance / 2, imbalance, IMBALANCE, said, level=RiskLevel.INFO)


def volatility_regime_shift(scene: Scene) -> Iterator[SystemicSignal | Unmeasured]:
    """What is held moves far more than it did: the last days against those before.

    At the limit severity is one half, at twice the limit 1.
    """
    if not scene.taken.net:
        return
    ratio, limit = scene.moved.volatility_ratio, float(scene.limits.volatility_spike)
    if ratio is None:
        yield Unmeasured(Kind.VOLATILITY_REGIME_SHIFT, "not enough daily returns")
    elif ratio >= limit:
        said = f"volatility is {ratio:.1f} times its baseline"
        yield _signal(Kind.VOLATILITY_REGIME_SHIFT, ratio / limit / 2, ratio, limit, said)


def cascading_risk(scene: Scene) -> Iterator[SystemicSignal | Unmeasured]:
    """One liquidation may cause the next: high correlation, leverage over 3, and two positions over 3x.

    A contract whose leverage is not known counts as levered, and a correlation that is not known as high.
    """
    if scene.leverage <= CASCADE_LEVERAGE:
        return
    positions = scene.taken.snapshot.positions
    levered = [one for one in positions if one.leverage is None or one.leverage > CASCADE_LEVERAGE]
    if len(levered) < CASCADE_POSITIONS:
        return
    correlation = scene.matrix.avg_position_correlation
    if correlation is None:
        yield Unmeasured(Kind.CASCADING_RISK, f"the correlation of {len(levered)} levered positions is not known")
    elif correlation > CASCADE_CORRELATION:
        said = f"{len(levered)} positions over {CASCADE_LEVERAGE}x with an average correlation of {correlation:.2f}"
        yield _signal(Kind.CASCADING_RISK, max(SEVERE, correlation), correlation, CASCADE_CORRELATION, said)


def concentration_risk(scene: Scene) -> Iterator[SystemicSignal | Unmeasured]:
    """A levered book stands in few symbols or, of several, on one exchange.

    Never more than a warning by itself: the limits of concentration are judged as limits, and one fact must not
    count as two critical issues.
    """
    if not scene.is_structured:
        return
    matrix, limits = scene.matrix, scene.limits
    symbol = max(matrix.symbol_shares.values(), default=0.0)
    exchange = max(matrix.exchange_shares.values(), default=0.0) if len(scene.taken.exchanges) > 1 else 0.0
    symbol_max, exchange_max = float(limits.symbol_concentration_max), float(limits.exchange_concentration_max)
    if matrix.symbol_hhi > HHI_MAX or symbol > symbol_max or exchange > exchange_max:
        severity = max(matrix.symbol_hhi / 0.50, symbol / 0.70, exchange / 0.90)
        said = f"HHI {matrix.symbol_hhi:.2f}, largest symbol {symbol:.0%}"
        said += f", largest exchange {exchange:.0%}" if exchange else ""
        yield _signal(Kind.CONCENTRATION_RISK, severity, matrix.symbol_hhi, HHI_MAX, said, level=RiskLevel.WARNING)


SIGNALS: tuple[Callable[[Scene], Iterator[SystemicSignal | Unmeasured]], ...] = (
    liquidity_stress,
    correlation_spike,
    multi_exchange_failure,
    volatility_regime_shift,
    cascading_risk,
    concentration_risk,
)
