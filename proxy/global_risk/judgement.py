"""From figures to a level: what reaches its limit is CRITICAL, what reaches `warning_share` of it a WARNING."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from proxy.global_risk.measures import Thresholds
from proxy.global_risk.models import (
    ESResult,
    ExposureMatrix,
    RiskSnapshot,
    SystemicRiskType,
    SystemicSignal,
    Tier,
    VaRResult,
)
from proxy.global_risk.systemic import SEVERE, Scene, Unmeasured
from rules import RiskLevel
from rules.profile import RiskLimitsPolicy

CRITICAL, WARNING, INFO = RiskLevel.CRITICAL, RiskLevel.WARNING, RiskLevel.INFO
ROUNDING = 1e-12
CRITICAL_SCORE = 0.25  # for each critical issue


@dataclass(frozen=True, slots=True)
class Use:
    """One limit: how much of it is used. 1 is all of it."""

    name: str
    used: float
    said: str


@dataclass(slots=True)
class Judgement:
    """What was found, in words."""

    critical: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)

    @property
    def level(self) -> RiskLevel:
        """The gravest of what was found."""
        return CRITICAL if self.critical else WARNING if self.warnings else INFO


def thresholds(snapshot: RiskSnapshot, limits: RiskLimitsPolicy) -> Thresholds:
    """The limits of VaR and ES in money: the share of equity or the stated amount, whichever is lower."""
    equity = snapshot.total_equity
    return Thresholds(
        var_95=_lower(equity, limits.var_95_max, limits.var_95_money_max),
        var_99=_lower(equity, limits.var_99_max, limits.var_99_money_max),
        es_975=_lower(equity, limits.es_975_max, limits.es_975_money_max),
    )


def _lower(equity: Decimal | None, share: Decimal, amount: Decimal | None) -> Decimal | None:
    stated = [amount] if amount is not None else []
    if equity is not None:
        stated.append(max(Decimal(0), equity * share))
    return min(stated) if stated else None


def judge(
    scene: Scene,
    var: VaRResult | None,
    es: ESResult | None,
    signals: Sequence[SystemicSignal],
    unmeasured: Sequence[Unmeasured],
) -> Judgement:
    """Hold everything against its limit."""
    snapshot, limits = scene.taken.snapshot, scene.limits
    found = Judgement()
    for use in (*_size_uses(scene), *_tail_uses(var, es), *_structure_uses(scene)):
        found.uses.append(use)
        # A hair under a limit is at it: 0.64 / 0.8 is not quite 0.8 in floating point.
        used = use.used + ROUNDING
        if used >= 1:
            found.critical.append(use.said)
        elif used >= float(limits.warning_share):
            found.warnings.append(use.said)
    for signal in signals:
        said = f"{signal.type.value}: {signal.description}"
        if signal.level is CRITICAL:
            found.critical.append(said)
        elif signal.level is WARNING:
            found.warnings.append(said)
    found.warnings += _unknowns(snapshot, var, unmeasured)
    return found


def _unknowns(snapshot: RiskSnapshot, var: VaRResult | None, unmeasured: Sequence[Unmeasured]) -> Iterator[str]:
    """What is held and cannot be measured is a warning: it may be anything."""
    if snapshot.old_accounts:
        yield f"old readings of {', '.join(snapshot.old_accounts)}: what was last known of them is counted"
    if snapshot.unpriced_symbols:
        yield f"no fresh price of {', '.join(snapshot.unpriced_symbols)}"
    if var is None:
        yield "VaR and ES are not known"
    for one in unmeasured:
        yield f"{one.type.value} cannot be told: {one.why}"


def _size_uses(scene: Scene) -> Iterator[Use]:
    snapshot, limits = scene.taken.snapshot, scene.limits
    leverage, most = scene.leverage, float(limits.leverage_max)
    if leverage == float("inf"):
        yield Use("leverage", 1.0, f"positions of {snapshot.total_notional:.2f} are held with no equity")
    else:
        yield Use("leverage", leverage / most, f"leverage {leverage:.2f} of at most {most:.2f}")
    if snapshot.drawdown_pct is not None:
        drawdown, allowed = snapshot.drawdown_pct, float(limits.drawdown_daily_max)
        said = f"daily drawdown {drawdown:.2%} of at most {allowed:.2%}"
        yield Use("drawdown", drawdown / allowed, said)
    if limits.position_money_max is not None and snapshot.symbol_exposure:
        name, largest = max(snapshot.symbol_exposure.items(), key=lambda one: (one[1], one[0]))
        said = f"{name} {largest:.2f} of at most {limits.position_money_max:.2f}"
        yield Use("position", float(largest / limits.position_money_max), said)


def _tail_uses(var: VaRResult | None, es: ESResult | None) -> Iterator[Use]:
    figures = []
    if var is not None:
        figures += [("VaR 95", var.var_95, var.threshold_95), ("VaR 99", var.var_99, var.threshold_99)]
    if es is not None:
        figures.append(("ES 97.5", es.es_975, es.threshold))
    for name, value, limit in figures:
        if limit is None or not value:
            continue
        used = float(value / limit) if limit > 0 else 1.0
        yield Use(name, used, f"{name} {value:.2f} of at most {limit:.2f}")


def _structure_uses(scene: Scene) -> Iterator[Use]:
    """How the book is spread, once it is large enough for that to matter."""
    if not scene.is_structured:
        return
    matrix, limits = scene.matrix, scene.limits
    correlation = matrix.avg_position_correlation
    if correlation is not None:
        most = float(limits.correlation_max)
        yield Use("correlation", correlation / most, f"average correlation {correlation:.2f} of at most {most:.2f}")
    for what, shares, most in (
        ("symbol", matrix.symbol_shares, float(limits.symbol_concentration_max)),
        ("exchange", matrix.exchange_shares, float(limits.exchange_concentration_max)),
    ):
        if not shares or (what == "exchange" and len(scene.taken.exchanges) < 2):
            continue  # with one exchange everything is on it
        name, share = max(shares.items(), key=lambda one: (one[1], one[0]))
        yield Use(f"{what} concentration", share / most, f"{name} is {share:.0%} of the exposure, at most {most:.0%}")


# --- what to do about it ----------------------------------------------------------------------


def tier(found: Judgement, signals: Sequence[SystemicSignal]) -> Tier:
    """What the emergency stop is recommended to do."""
    kinds = {signal.type for signal in signals}
    if len(found.critical) >= 2 or SystemicRiskType.CASCADING_RISK in kinds:
        return Tier.EMERGENCY
    if found.critical or any(signal.severity >= SEVERE for signal in signals):
        return Tier.REDUCED
    return Tier.NORMAL


def score(found: Judgement, matrix: ExposureMatrix, signals: Sequence[SystemicSignal]) -> float:
    """One number from 0 to 1 for a gauge; nothing is decided by it.

    The plain mean of what is known: use of the leverage limit, HHI of symbols, average correlation, the use of
    the VaR limits and of the ES limit, the gravest signal, and a quarter for each critical issue.
    """
    used = {use.name: min(1.0, use.used) for use in found.uses}
    tails = [used[name] for name in ("VaR 95", "VaR 99") if name in used]
    parts = [
        used.get("leverage"),
        matrix.symbol_hhi,
        None if matrix.avg_position_correlation is None else max(0.0, matrix.avg_position_correlation),
        max(tails) if tails else None,
        used.get("ES 97.5"),
        max((signal.severity for signal in signals), default=0.0),
        min(1.0, CRITICAL_SCORE * len(found.critical)),
    ]
    known = [part for part in parts if part is not None]
    return min(1.0, sum(known) / len(known))


def summary(found: Judgement, recommended: Tier) -> str:
    """One line for people."""
    if not found.critical and not found.warnings:
        return "all measures are inside their limits"
    first = (found.critical or found.warnings)[0]
    return (
        f"{len(found.critical)} critical and {len(found.warnings)} warnings, tier {recommended.value}; first: {first}"
    )
