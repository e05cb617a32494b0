"""The safety governor: from an account's losses and the risk signal to a directive, and from it to tighter limits.

A daily limit is a cliff: all is allowed up to it, nothing beyond. The governor makes a slope of it. It never
loosens anything, and what it does not know it takes for the worst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Context, Decimal, localcontext
from typing import Final, NamedTuple

from rules import losses as measures
from rules.case import span
from rules.directive import MULTIPLIERS, Cause, Directive, Governing, GovernorAct, GovernorLevel, Multipliers
from rules.facts import FactMissing, Facts, GlobalRisk, Losses, RiskLevel
from rules.limits import BySymbol, Limits, asks_for_sums

ONE: Final = Decimal(1)
EXACT: Final = Context(prec=120)  # as the gate's: limits are multiplied without rounding, whoever asks

NORMAL: Final = GovernorLevel.NORMAL
CAUTIOUS: Final = GovernorLevel.CAUTIOUS
DEFENSIVE: Final = GovernorLevel.DEFENSIVE
EMERGENCY: Final = GovernorLevel.EMERGENCY
LEVELS = (NORMAL, CAUTIOUS, DEFENSIVE, EMERGENCY)  # the strictest last
UNHARMED: Final = MULTIPLIERS[NORMAL]

OF_SIZE = (
    "trade_notional_fraction_max", "trade_stop_loss_fraction_max", "order_notional_max", "order_quantity_max",
    "position_notional_max",
)
OF_EXPOSURE = (
    "exposure_symbol_max", "exposure_strategy_max", "exposure_account_max", "exposure_exchange_max",
    "exposure_total_max", "exposure_asset_max", "exposure_net_max", "concentration_max",
)
GOVERNED = ("leverage_max", *OF_SIZE, *OF_EXPOSURE)


class _Finding(NamedTuple):
    """What one input asks for."""

    level: GovernorLevel
    blocks: bool
    cause: Cause
    observed: Decimal | int | str | None = None
    threshold: Decimal | int | str | None = None
    until: datetime | None = None


CALM: Final = _Finding(NORMAL, blocks=False, cause=Cause.NONE)


def govern(
    governing: Governing, losses: Losses | None, equity: Decimal | None, signal: GlobalRisk | None, now: datetime
) -> Directive:
    """The directive for an account: of all that its inputs ask for, the strictest. What is not known blocks."""
    streak = None if losses is None else losses.losing_streak
    try:
        found = list(_findings(governing, losses, equity, signal, now))
    except FactMissing as missing:
        found = [_Finding(EMERGENCY, blocks=True, cause=Cause.INPUT_MISSING, observed=missing.name, threshold="known")]
    strictest = max(found, key=lambda one: (LEVELS.index(one.level), one.blocks), default=CALM)
    level, multipliers = strictest.level, MULTIPLIERS[strictest.level]
    ladder = ONE if losses is None else losses.derisk_factor
    if ladder < multipliers.size:
        multipliers = multipliers._replace(size=ladder)
        if level is NORMAL:
            strictest = _Finding(NORMAL, blocks=False, cause=Cause.LADDER, observed=ladder, threshold=ONE)
    if strictest.blocks:
        act = GovernorAct.BLOCK
    else:
        act = GovernorAct.ALLOW if multipliers == UNHARMED else GovernorAct.MODIFY
    return Directive(
        act=act, level=level, multipliers=multipliers, cause=strictest.cause, observed=strictest.observed,
        threshold=strictest.threshold, losing_streak=streak,
        until=min([one.until for one in found if one.until is not None], default=None), words=f"{act} {level}",
    )


def _findings(
    governing: Governing, losses: Losses | None, equity: Decimal | None, signal: GlobalRisk | None, now: datetime
) -> Iterator[_Finding]:
    if losses is None:
        raise FactMissing("losses")
    known = losses.equity if losses.equity is not None else equity
    if known is None:
        raise FactMissing("equity")
    yield _of_drawdown(governing, measures.daily_loss(losses, known).share)
    yield _of_streak(governing, losses, now)
    if governing.signal_counts:
        if signal is None:
            raise FactMissing("global_risk")
        yield _of_signal(signal)


def _of_drawdown(governing: Governing, share: Decimal) -> _Finding:
    limit = governing.loss_daily_max
    steps = (
        (governing.emergency_at, EMERGENCY, True), (ONE, DEFENSIVE, True), (governing.cautious_at, CAUTIOUS, False),
    )
    for times, level, blocks in steps:
        if share >= times * limit:
            return _Finding(level, blocks, Cause.DRAWDOWN, share, times * limit)
    return CALM


def _of_streak(governing: Governing, losses: Losses, now: datetime) -> _Finding:
    """A row that blocks only keeps on blocking until its cooldown is over: nothing could be won to end it."""
    streak = losses.losing_streak
    if streak >= governing.streak_block:
        last = losses.last_loss_at
        ends = None if last is None else last + span(governing.streak_cooldown_s)
        if ends is None or now < ends:
            return _Finding(DEFENSIVE, True, Cause.LOSING_STREAK, streak, governing.streak_block, ends)  # noqa: FBT003 - it blocks
    if streak >= governing.streak_cautious:
        return _Finding(CAUTIOUS, False, Cause.LOSING_STREAK, streak, governing.streak_cautious)  # noqa: FBT003 - it does not block
    return CALM


def _of_signal(signal: GlobalRisk) -> _Finding:
    """How old the signal is, the rules about it judge; an old alarm is still an alarm."""
    tier = signal.ess_tier
    level, blocks = NORMAL, False
    if signal.ess_action_required or tier == "EMERGENCY":
        level, blocks = EMERGENCY, True
    elif signal.level == RiskLevel.CRITICAL:
        level, blocks = DEFENSIVE, True
    elif tier == "REDUCED":
        level = DEFENSIVE
    elif signal.level != RiskLevel.INFO:
        level = CAUTIOUS
    if level is NORMAL:
        return CALM
    observed = f"{signal.level} {tier}" if tier else str(signal.level)
    return _Finding(level, blocks, Cause.RISK_SIGNAL, observed, "INFO")


def governed(limits: Limits, multipliers: Multipliers) -> Limits:
    """The limits, multiplied: size, leverage and exposure of the account and of its single symbols."""
    if multipliers == UNHARMED:
        return limits
    with localcontext(EXACT):
        changed: dict[str, Decimal] = {}
        for names, factor in ((OF_SIZE, multipliers.size), (OF_EXPOSURE, multipliers.exposure)):
            for name in names:
                stated: Decimal | None = getattr(limits, name)
                if stated is not None:
                    changed[name] = stated * factor
        if limits.leverage_max is not None:
            # No venue knows a leverage below 1: under it, nothing could be sent at all.
            lowest = min(ONE, limits.leverage_max) if multipliers.leverage else Decimal(0)
            changed["leverage_max"] = max(limits.leverage_max * multipliers.leverage, lowest)
    return replace(limits, **changed, by_symbol=_of_symbols(limits, multipliers))  # type: ignore[arg-type]


def _of_symbols(limits: Limits, multipliers: Multipliers) -> Mapping[str, Limits]:
    """Of thousands of symbols few are traded: each is worked out when an order asks."""
    own = limits.by_symbol
    asks = own.asks_for_sums if isinstance(own, BySymbol) else asks_for_sums(limits)
    return BySymbol(own, lambda symbol: governed(own[symbol], multipliers), asks_for_sums=asks)


def in_force(limits: Limits, facts: Facts) -> Limits:
    """The limits as the governor leaves them; what it changes is worked out anew on every call."""
    if limits.governor is None or facts.governor is None:
        return limits
    return governed(limits, facts.governor.value.multipliers)


def sources_governed(limits: Limits, directive: Directive, symbol: str = "") -> dict[str, str]:
    """Which limits of an account and of one symbol the directive tightens, each with the words that name its source."""
    found: dict[str, str] = {}
    places = [("", limits)]
    if symbol in limits.by_symbol:
        places.append((f"by_symbol.{symbol}.", limits.of(symbol)))
    for prefix, own in places:
        tighter = governed(own, directive.multipliers)
        names = [name for name in GOVERNED if getattr(tighter, name) != getattr(own, name)]
        found |= {f"{prefix}{name}": f"safety governor {directive.words}" for name in names}
    return found
