"""Loss limits: of the day, of the week, from the high-water mark, and losses in a row.

A loss is what equity lost since the anchor, transfers taken out: equity at start - equity now + net
transfers in, never below zero, as a share of its base. Equity includes unrealised results, fees and
funding. A loss limit that is reached is reached: exactly at the limit is a breach, and one of day or week
stays reached until that window ends, also if equity recovers. No smaller order cures a loss, so none of
these scale. They are measured by the equity that their transfers belong to (`Losses.equity`), else by the
account's.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rules import losses as measures
from rules.case import Case, seconds, span
from rules.decision import Breach, Finding, Reason
from rules.facts import FactMissing
from rules.losses import START_OF_DAY, Measure, untouched

NOTHING: Final = Decimal(0)
PLACES: Final = 8  # of money that is shown


def daily(case: Case) -> Finding:
    """The loss since the day began must stay below its limit, and below it at every moment of the day."""
    limit = case.limits.loss_daily_max
    if limit is None:
        return None
    losses = case.losses
    equity = case.equity if losses.equity is None else losses.equity
    start, moved, worst = losses.day_start_equity, losses.day_transfers, losses.day_worst
    if losses.base is START_OF_DAY and limit > NOTHING and untouched(start, moved, worst, equity):
        return NOTHING, limit
    measure = measures.daily_loss(losses, equity)
    share = measure.share
    return (share, limit) if share < limit else _breach(measure, limit, Reason.DAILY_LOSS_EXCEEDS_LIMIT)


def daily_money(case: Case) -> Finding:
    """The money lost since the day began must stay below its limit, and below it at every moment of the day."""
    limit = case.limits.loss_daily_money_max
    if limit is None:
        return None
    losses = case.losses
    measure = measures.daily_loss(losses, case.equity if losses.equity is None else losses.equity)
    if measure.lost < limit:
        return measure.lost, limit
    floor = f" in money (equity {_shown(measure.equity)}, the floor is {_shown(measure.anchor - limit)})"
    return Breach(Reason.DAILY_LOSS_EXCEEDS_LIMIT, measure.lost, limit, None, floor)


def weekly(case: Case) -> Finding:
    """The loss since the ISO week began must stay below its limit, and below it at every moment of the week."""
    limit = case.limits.loss_weekly_max
    if limit is None:
        return None
    losses = case.losses
    equity = case.equity if losses.equity is None else losses.equity
    start, moved, worst = losses.week_start_equity, losses.week_transfers, losses.week_worst
    if losses.base is START_OF_DAY and limit > NOTHING and untouched(start, moved, worst, equity):
        return NOTHING, limit
    measure = measures.weekly_loss(losses, equity)
    share = measure.share
    return (share, limit) if share < limit else _breach(measure, limit, Reason.WEEKLY_LOSS_EXCEEDS_LIMIT)


def drawdown(case: Case) -> Finding:
    """The fall of equity from its high-water mark, or below what a contract counts from, must stay below its limit."""
    limit = case.limits.drawdown_max
    if limit is None:
        return None
    losses = case.losses
    equity = case.equity if losses.equity is None else losses.equity
    high, moved = losses.high_water_mark, losses.high_transfers
    if losses.base is START_OF_DAY and limit > NOTHING and untouched(high, moved, NOTHING, equity):
        return NOTHING, limit
    measure = measures.drawdown_loss(losses, equity, limit)
    share = measure.share
    return (share, limit) if share < limit else _breach(measure, limit, Reason.DRAWDOWN_EXCEEDS_LIMIT)


def streak(case: Case) -> Finding:
    """After so many losing trades in a row nothing opens until the cooldown since the last of them is over."""
    limit = case.limits.loss_streak_max
    if limit is None:
        return None
    losses = case.losses
    if losses.losing_streak < limit:
        return losses.losing_streak, limit
    if losses.last_loss_at is None:
        raise FactMissing("last_loss_at")
    left = losses.last_loss_at + span(case.limits.loss_cooldown_s) - case.facts.now
    if seconds(left) <= NOTHING:
        return losses.losing_streak, limit
    detail = f", the last one at {losses.last_loss_at.isoformat(timespec='seconds')}"
    return Breach(Reason.LOSS_STREAK_REACHES_LIMIT, losses.losing_streak, limit, None, detail)


def _breach(measure: Measure, limit: Decimal, reason: Reason) -> Breach:
    return Breach(reason, measure.share, limit, None, f" (equity {_shown(measure.equity)}, {_floor(measure, limit)})")


def _floor(measure: Measure, limit: Decimal) -> str:
    return f"the floor is {_shown(measure.floor(limit))}"


def _shown(money: Decimal) -> str:
    return format(round(money, PLACES).normalize() + NOTHING, "f")
