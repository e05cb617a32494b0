"""Loss limits: of the day, of the week, and from the high-water mark.

A loss is what equity lost since the anchor, transfers taken out: equity at start - equity now + net
transfers in, never below zero, as a fraction of the anchor. Equity includes unrealised results, fees and
funding. A loss limit that is reached is reached: exactly at the limit is a breach. No smaller order cures
a loss, so none of these scale.
"""

from __future__ import annotations

from decimal import Decimal

from rules.case import Case
from rules.checks.leverage import INFINITE
from rules.decision import Breach, Finding, Reason
from rules.facts import FactMissing

NOTHING = Decimal(0)


def daily(case: Case) -> Finding:
    """The loss since the start of the UTC day must stay below its limit."""
    limit = case.limits.loss_daily_max
    if limit is None:
        return None
    losses = case.losses
    lost = _lost(case, "day_start_equity", losses.day_start_equity, losses.day_transfers)
    return Breach(Reason.DAILY_LOSS_EXCEEDS_LIMIT, lost, limit) if lost >= limit else (lost, limit)


def weekly(case: Case) -> Finding:
    """The loss since the start of the ISO week must stay below its limit."""
    limit = case.limits.loss_weekly_max
    if limit is None:
        return None
    losses = case.losses
    lost = _lost(case, "week_start_equity", losses.week_start_equity, losses.week_transfers)
    return Breach(Reason.WEEKLY_LOSS_EXCEEDS_LIMIT, lost, limit) if lost >= limit else (lost, limit)


def drawdown(case: Case) -> Finding:
    """The fall of equity from its high-water mark must stay below its limit."""
    limit = case.limits.drawdown_max
    if limit is None:
        return None
    lost = _lost(case, "high_water_mark", case.losses.high_water_mark, NOTHING)
    return Breach(Reason.DRAWDOWN_EXCEEDS_LIMIT, lost, limit) if lost >= limit else (lost, limit)


def _lost(case: Case, name: str, start: Decimal | None, transfers: Decimal) -> Decimal:
    """The loss as a fraction of the anchor; of an anchor that was nothing, infinitely much."""
    if start is None:
        raise FactMissing(name)
    if start <= NOTHING:
        return INFINITE
    lost = start - case.equity + transfers
    return lost / start if lost > NOTHING else NOTHING
