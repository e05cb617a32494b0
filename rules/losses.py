"""What is lost: by which measure, of what, and how far it still is to the floor.

A loss is anchor - equity + transfers, never below zero. What it is a share of depends on the base. By default
that is the anchor itself; a contract with a prop firm measures from a balance and in shares of the initial
capital. One arithmetic for the rules, the timer that watches accounts, and whoever shows the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from rules.facts import FactMissing, LossBase, Losses

NOTHING: Final = Decimal(0)
ONE: Final = Decimal(1)
INFINITE: Final = Decimal("Infinity")
START_OF_DAY: Final = LossBase.START_OF_DAY_EQUITY
TRAILING: Final = LossBase.TRAILING_EOD


class Measure(NamedTuple):
    """One loss. `anchor` is what equity is compared with, in today's money: transfers since are in it.

    `lost` and `share` are what counts now; of a window they never fall before it ends (`worst`).
    """

    anchor: Decimal
    base: Decimal
    equity: Decimal
    lost: Decimal
    share: Decimal

    def floor(self, limit: Decimal) -> Decimal:
        """The equity at which the limit is reached."""
        return self.anchor - limit * self.base

    def distance(self, limit: Decimal) -> Decimal:
        """How much may still be lost before the limit is reached; nothing once it was."""
        if self.share >= limit:
            return NOTHING
        return max(NOTHING, min(self.equity - self.floor(limit), limit * self.base - self.lost))


class Rung(NamedTuple):
    """From this drawdown on, size is scaled by this factor."""

    drawdown: Decimal
    factor: Decimal


def daily_loss(losses: Losses, equity: Decimal) -> Measure:
    """The loss since the day began. Raises FactMissing where that is not known."""
    start = losses.day_start_equity
    if start is not None and losses.base is START_OF_DAY:
        return _measure(start, losses.day_transfers, start, equity, losses.day_worst)
    return _of_contract(losses, equity, losses.day_start_balance, losses.day_transfers, losses.day_worst, "day")


def weekly_loss(losses: Losses, equity: Decimal) -> Measure:
    """The loss since the week began. Raises FactMissing where that is not known."""
    start = losses.week_start_equity
    if start is not None and losses.base is START_OF_DAY:
        return _measure(start, losses.week_transfers, start, equity, losses.week_worst)
    return _of_contract(losses, equity, losses.week_start_balance, losses.week_transfers, losses.week_worst, "week")


def drawdown_loss(losses: Losses, equity: Decimal, limit: Decimal | None = None) -> Measure:
    """The fall from the high-water mark, or below what a contract counts from.

    A trailing floor stops rising at the initial capital, so where it stands depends on the limit.
    """
    if losses.base is START_OF_DAY:
        if losses.high_water_mark is None:
            raise FactMissing("high_water_mark")
        found = _measure(losses.high_water_mark, losses.high_transfers, losses.high_water_mark, equity, NOTHING)
        # A wick counts only if the average of the drawdown has come as far.
        ema = losses.drawdown_ema
        return found if ema is None or ema >= found.share else found._replace(share=ema, lost=ema * found.base)
    capital = losses.initial_capital
    if capital is None:
        raise FactMissing("initial_capital")
    anchor = capital
    if losses.base is TRAILING:
        if losses.end_of_day_high is None:
            raise FactMissing("end_of_day_high")
        anchor = max(capital, losses.end_of_day_high)
        if losses.trailing_locks and limit is not None:
            anchor = min(anchor, capital + limit * capital)
    return _measure(anchor, losses.capital_transfers, capital, equity, NOTHING)


def untouched(anchor: Decimal | None, transfers: Decimal, worst: Decimal, equity: Decimal) -> bool:
    """Nothing is lost since an equity that is its own base: on most days, for most orders, all there is to say."""
    return anchor is not None and worst <= NOTHING < anchor and anchor + transfers <= equity


def derisked(drawdown_share: Decimal, ladder: Sequence[Rung]) -> Decimal:
    """The factor for a drawdown: of all rungs that are reached, the smallest one."""
    return min((rung.factor for rung in ladder if drawdown_share >= rung.drawdown), default=ONE)


def _of_contract(
    losses: Losses, equity: Decimal, balance: Decimal | None, transfers: Decimal, worst: Decimal, window: str
) -> Measure:
    """A loss that is counted from a balance, in shares of the initial capital."""
    if losses.base is START_OF_DAY:
        raise FactMissing(f"{window}_start_equity")
    if balance is None:
        raise FactMissing(f"{window}_start_balance")
    if losses.initial_capital is None:
        raise FactMissing("initial_capital")
    return _measure(balance, transfers, losses.initial_capital, equity, worst)


def _measure(anchor: Decimal, transfers: Decimal, base: Decimal, equity: Decimal, worst: Decimal) -> Measure:
    now = anchor + transfers
    lost = now - equity
    if lost < worst:
        lost = worst
    if lost <= NOTHING:
        lost = NOTHING  # and no division
        return Measure(now, base, equity, lost, NOTHING if base > NOTHING else INFINITE)
    return Measure(now, base, equity, lost, lost / base if base > NOTHING else INFINITE)
