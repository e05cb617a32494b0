"""What an account's losses are measured from: the start of day and week, the high, the lows; pure arithmetic.

Money is kept *adjusted*: equity less all transfers in since the account was first seen. Between two adjusted
amounts lies what was won or lost, whatever came or went.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from proxy.ledger.readings import ZERO, Realised
from proxy.ledger.windows import day_began, week_began
from rules import Losses, Measure, derisked, drawdown_loss
from rules.profile import LossPolicy

START_WITHIN = timedelta(seconds=60)  # a first reading later than this is not the start of its day
SAME_TRADE = timedelta(seconds=60)  # fills of one symbol closer than this close one trade
SHARE_PLACES = Decimal("0.000000000001")


class Mark(NamedTuple):
    """An account at an instant (the venue's time): all wallets together, and transfers in up to then."""

    at: datetime
    equity: Decimal
    balance: Decimal
    flows: Decimal

    @property
    def adjusted(self) -> Decimal:
        """Equity without what was paid in."""
        return self.equity - self.flows

    @property
    def adjusted_balance(self) -> Decimal:
        """Balance without what was paid in."""
        return self.balance - self.flows


class Streak(NamedTuple):
    """Losing trades in a row. The trade that is being closed counts by the sum of its fills."""

    length: int = 0  # without the one that is being closed
    last_loss_at: datetime | None = None
    symbol: str = ""
    amount: Decimal = ZERO
    at: datetime | None = None

    @property
    def shown(self) -> tuple[int, datetime | None]:
        """Length and last loss, the trade that is being closed included."""
        if self.at is None or self.amount == ZERO:
            return self.length, self.last_loss_at
        return (self.length + 1, self.at) if self.amount < ZERO else (0, self.last_loss_at)

    def after(self, fill: Realised) -> Streak:
        """The streak after one more fill that realised something."""
        if self.at is not None and fill.symbol == self.symbol and fill.at - self.at <= SAME_TRADE:
            return self._replace(amount=self.amount + fill.amount, at=max(self.at, fill.at))
        length, last_loss_at = self.shown
        return Streak(length, last_loss_at, fill.symbol, fill.amount, fill.at)


NO_STREAK = Streak()


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """One account's marks. Of a window whose start nobody saw, the mark is None."""

    day_from: datetime
    day: Mark | None
    week_from: datetime
    week: Mark | None
    high: Mark
    last: Mark
    day_low: Decimal  # adjusted, the lowest since the window began
    week_low: Decimal
    end_of_day_high: Decimal  # adjusted balance
    ema: Decimal | None = None  # of the drawdown, a share
    streak: Streak = NO_STREAK


def begun(mark: Mark, policy: LossPolicy) -> Marks:
    """The marks of an account that was never seen before: everything begins with what is there."""
    zone = ZoneInfo(policy.time_zone)
    return Marks(
        day_from=day_began(mark.at, zone, policy.day_starts_at),
        day=mark,
        week_from=week_began(mark.at, zone, policy.day_starts_at),
        week=mark,
        high=mark,
        last=mark,
        day_low=mark.adjusted,
        week_low=mark.adjusted,
        end_of_day_high=mark.adjusted_balance,
    )


def advanced(known: Marks, mark: Mark, policy: LossPolicy) -> Marks:
    """The marks after a reading. A window that has begun never begins again, whatever a clock says."""
    zone = ZoneInfo(policy.time_zone)
    day_from = day_began(mark.at, zone, policy.day_starts_at)
    week_from = week_began(mark.at, zone, policy.day_starts_at)
    after = known
    low = mark.adjusted
    if day_from > known.day_from:
        ended = max(known.end_of_day_high, _day_end(known.last, mark, day_from))
        start = mark if mark.at - day_from <= START_WITHIN else None
        after = replace(after, day_from=day_from, day=start, day_low=low, end_of_day_high=ended)
    if week_from > known.week_from:
        start = mark if mark.at - week_from <= START_WITHIN else None
        after = replace(after, week_from=week_from, week=start, week_low=low)
    return replace(
        after,
        last=mark,
        high=mark if mark.adjusted > after.high.adjusted else after.high,
        day_low=min(after.day_low, low),
        week_low=min(after.week_low, low),
        ema=_averaged(after, mark, policy),
    )


def started(known: Marks, window_from: datetime, mark: Mark) -> Marks:
    """The marks with a start that was worked out of the venue's history."""
    after = known
    if known.day is None and known.day_from == window_from:
        after = replace(after, day=mark, day_low=min(known.day_low, mark.adjusted))
    if known.week is None and known.week_from == window_from:
        after = replace(after, week=mark, week_low=min(known.week_low, mark.adjusted))
    if mark.adjusted > after.high.adjusted:
        after = replace(after, high=mark)
    return replace(after, end_of_day_high=max(after.end_of_day_high, mark.adjusted_balance))


def corrected(known: Marks, amount: Decimal, since: datetime) -> Marks:
    """The marks after a transfer turned up that readings since an instant had held without our knowing."""

    def moved(mark: Mark) -> Mark:
        return mark._replace(flows=mark.flows + amount) if mark.at >= since else mark

    return replace(
        known,
        day=None if known.day is None else moved(known.day),
        week=None if known.week is None else moved(known.week),
        high=moved(known.high),
        last=moved(known.last),
    )


def shown(marks: Marks, mark: Mark, policy: LossPolicy) -> Losses:
    """What rules are told: every figure with the transfers since its own mark, `mark` being now."""
    contract = policy.base is not type(policy.base).START_OF_DAY_EQUITY
    streak, last_loss_at = marks.streak.shown
    losses = Losses(
        day_start_equity=None if marks.day is None else marks.day.equity,
        week_start_equity=None if marks.week is None else marks.week.equity,
        high_water_mark=marks.high.equity,
        day_transfers=ZERO if marks.day is None else mark.flows - marks.day.flows,
        week_transfers=ZERO if marks.week is None else mark.flows - marks.week.flows,
        high_transfers=mark.flows - marks.high.flows,
        day_worst=_worst(marks.day, marks.day_low, contract=contract),
        week_worst=_worst(marks.week, marks.week_low, contract=contract),
        equity=mark.equity,
        drawdown_ema=marks.ema,
        base=policy.base,
        initial_capital=policy.initial_capital,
        capital_transfers=mark.flows,
        day_start_balance=None if marks.day is None else marks.day.balance,
        week_start_balance=None if marks.week is None else marks.week.balance,
        end_of_day_high=marks.end_of_day_high,
        trailing_locks=policy.trailing_locks,
        losing_streak=streak,
        last_loss_at=last_loss_at,
    )
    if policy.rungs:
        deep: Measure = drawdown_loss(losses, mark.equity)
        losses = replace(losses, derisk_factor=derisked(deep.share, policy.rungs))
    return losses


def _day_end(last: Mark, first: Mark, boundary: datetime) -> Decimal:
    """The balance at a day's end: the last one read in it, or where that was long before, the better neighbour."""
    if boundary - last.at <= START_WITHIN:
        return last.adjusted_balance
    return max(last.adjusted_balance, first.adjusted_balance)


def _worst(start: Mark | None, low: Decimal, *, contract: bool) -> Decimal:
    if start is None:
        return ZERO
    return max(ZERO, (start.adjusted_balance if contract else start.adjusted) - low)


def _averaged(known: Marks, mark: Mark, policy: LossPolicy) -> Decimal | None:
    """The average drawdown, moved towards the present one by the share of the span that has passed."""
    span_s = policy.drawdown_ema_span_s
    if span_s is None:
        return None
    high = max(known.high.adjusted, mark.adjusted) + mark.flows
    raw = (high - mark.equity) / high if high > ZERO else Decimal(1)
    if known.ema is None:
        return raw.quantize(SHARE_PLACES)
    passed_s = Decimal(max(ZERO, Decimal((mark.at - known.last.at).total_seconds())))
    return (known.ema + (raw - known.ema) * passed_s / (span_s + passed_s)).quantize(SHARE_PLACES)
