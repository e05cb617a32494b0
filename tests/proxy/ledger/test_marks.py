"""Where losses are measured from: starts, lows, highs, streaks, and the same from a brute-force ledger."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from proxy.ledger.marks import Mark, Streak, advanced, begun, corrected, shown, started
from proxy.ledger.readings import Realised
from rules import daily_loss, drawdown_loss, weekly_loss
from rules.profile import LossPolicy
from tests.proxy.ledger.test_windows import utc

D = Decimal
PLAIN = LossPolicy()
FTMO = LossPolicy.model_validate({"preset": "ftmo_2_step", "initial_capital": "100000"})
TOPSTEP = LossPolicy.model_validate({"preset": "topstep_50k"})


def mark(equity, when: str | datetime, *, flows="0", balance=None) -> Mark:
    """A reading of the whole account."""
    instant = utc(when) if isinstance(when, str) else when
    return Mark(instant, D(equity), D(equity if balance is None else balance), D(flows))


def after(*marks: Mark, policy: LossPolicy = PLAIN):
    """The marks after some readings."""
    known = begun(marks[0], policy)
    for one in marks[1:]:
        known = advanced(known, one, policy)
    return known


def losses_after(*marks: Mark, policy: LossPolicy = PLAIN):
    """What rules are told after some readings."""
    return shown(after(*marks, policy=policy), marks[-1], policy)


def test_the_first_reading_ever_begins_everything_however_late_in_the_day():
    """Limits are measured from when this proxy first saw the account."""
    found = losses_after(mark("1000", "2026-01-07T14:00"))

    assert (found.day_start_equity, found.week_start_equity, found.high_water_mark) == (1000, 1000, 1000)


@pytest.mark.parametrize(("second", "start"), [(0, 950), (60, 950), (61, None)])
def test_the_first_reading_of_a_day_is_its_start_if_it_is_not_late(second, start):
    """After more than a minute nobody knows what there was at midnight."""
    midnight = utc("2026-01-06T00:00:00")
    found = losses_after(mark("1000", "2026-01-05T23:59"), mark("950", midnight + timedelta(seconds=second)))

    assert found.day_start_equity == start
    assert found.week_start_equity == 1000


@pytest.mark.parametrize(
    ("before", "first", "week_start"),
    [
        ("2026-01-04T23:59:59", "2026-01-05T00:00:01", 2),  # Sunday to Monday
        ("2026-12-31T23:59:59", "2027-01-01T00:00:01", 1),  # week 53 of 2026 goes on
        ("2028-02-28T23:59:59", "2028-02-29T00:00:01", 1),  # a leap day in the middle of a week
        ("2028-02-29T23:59:59", "2028-03-01T00:00:01", 1),
        ("2024-12-29T23:59:59", "2024-12-30T00:00:01", 2),  # week 1 of 2025 begins in 2024
    ],
)
def test_midnight_begins_a_day_and_monday_a_week(before, first, week_start):
    """Whatever the year says."""
    found = losses_after(mark("1", before), mark("2", first))

    assert (found.day_start_equity, found.week_start_equity) == (2, week_start)


def test_a_clock_that_runs_back_begins_nothing():
    """A reading stamped yesterday changes no start, and what was lost stays lost."""
    known = after(mark("1000", "2026-01-06T00:00:01"), mark("900", "2026-01-06T01:00"))
    back = advanced(known, mark("950", "2026-01-05T23:59"), PLAIN)

    assert (back.day, back.day_low) == (known.day, 900)
    again = advanced(back, mark("950", "2026-01-06T01:01"), PLAIN)
    assert (again.day, again.day_low) == (known.day, 900)


def test_a_loss_stays_within_its_window_and_goes_with_it():
    """100 lost on Monday: of the day until midnight, of the week until Sunday."""
    monday = [mark("1000", "2026-01-05T00:00"), mark("900", "2026-01-05T10:00"), mark("1000", "2026-01-05T11:00")]
    tuesday = mark("1000", "2026-01-06T00:00:05")

    assert losses_after(*monday).day_worst == 100
    assert losses_after(*monday, tuesday).day_worst == 0
    assert losses_after(*monday, tuesday).week_worst == 100
    assert losses_after(*monday, tuesday, mark("1000", "2026-01-12T00:00:01")).week_worst == 0


def test_transfers_change_no_loss():
    """3,000 in, 1,000 out: every figure is the one without them."""
    readings = [("1000", "0"), ("4000", "3000"), ("3950", "3000"), ("2950", "2000")]
    found = losses_after(
        *(mark(equity, f"2026-01-05T0{hour}:00", flows=flows) for hour, (equity, flows) in enumerate(readings))
    )

    assert daily_loss(found, found.equity).lost == 50
    assert weekly_loss(found, found.equity).lost == 50
    assert drawdown_loss(found, found.equity).lost == 50
    assert found.day_worst == 50


def test_a_start_that_was_worked_out_opens_the_window():
    """Nobody saw midnight; the history says that there were 1,000, and 40 are lost since."""
    known = after(mark("1000", "2026-01-05T12:00"), mark("970", "2026-01-06T09:00"), mark("960", "2026-01-06T09:01"))
    assert known.day is None

    found = shown(started(known, utc("2026-01-06T00:00:00"), mark("1000", "2026-01-06T00:00")), known.last, PLAIN)

    assert (found.day_start_equity, found.day_worst, daily_loss(found, found.equity).lost) == (1000, 40, 40)


def test_a_start_of_another_window_opens_nothing():
    """What was worked out for yesterday came too late."""
    known = after(mark("1000", "2026-01-05T12:00"), mark("970", "2026-01-06T09:00"))

    assert started(known, utc("2026-01-05T00:00:00"), mark("900", "2026-01-05T00:00")).day is None


def test_a_transfer_found_late_moves_the_marks_that_held_it():
    """600 had gone before the high was read; marks from before it stay."""
    known = after(mark("1000", "2026-01-05T00:00"), mark("1100", "2026-01-05T10:00"))
    found = corrected(known, D(-600), utc("2026-01-05T09:00:00"))

    assert (found.day.flows, found.high.flows, found.last.flows) == (0, -600, -600)


def test_ftmo_counts_from_the_balance_at_midnight_in_prague():
    """Balance 104,000 and 2,000 open at midnight; 5 % of 100,000 below the balance is the floor."""
    found = losses_after(
        mark("100000", "2026-07-05T10:00"), mark("106000", "2026-07-05T22:00:01", balance="104000"), policy=FTMO
    )

    assert daily_loss(found, found.equity).floor(D("0.05")) == 99_000
    assert drawdown_loss(found, found.equity, D("0.1")).floor(D("0.1")) == 90_000


def test_topstep_trails_the_balance_at_the_end_of_the_day_in_chicago():
    """An intraday high of 53,000 counts for nothing; the day ended with 50,500, so the floor is 48,500."""
    day = [mark("50000", "2026-07-06T15:00"), mark("53000", "2026-07-06T18:00"), mark("50500", "2026-07-06T21:59:59")]
    next_day = mark("50400", "2026-07-06T22:00:05")
    limit = TOPSTEP.limits["drawdown_max"]

    before, found = losses_after(*day, policy=TOPSTEP), losses_after(*day, next_day, policy=TOPSTEP)

    assert drawdown_loss(before, before.equity, limit).floor(limit) == 48_000
    assert drawdown_loss(found, found.equity, limit).floor(limit) == 48_500


def test_an_average_follows_the_drawdown_by_the_share_of_the_span_that_passed():
    """A wick of 20 % lasts a second: of a span of 99 s a hundredth of it counts."""
    policy = LossPolicy.model_validate({"drawdown_trigger": "min_ema", "drawdown_ema_span_s": "99"})
    found = losses_after(mark("1000", "2026-01-05T10:00:00"), mark("800", "2026-01-05T10:00:01"), policy=policy)

    assert found.drawdown_ema is None or found.drawdown_ema <= D("0.2")
    more = losses_after(
        mark("1000", "2026-01-05T10:00:00"), mark("1000", "2026-01-05T10:00:01"), mark("800", "2026-01-05T10:00:02"),
        policy=policy,
    )  # fmt: skip
    assert more.drawdown_ema == D("0.002")
    assert drawdown_loss(more, more.equity).share == D("0.002")


def fill(amount, second: float, symbol: str = "BTCUSDT") -> Realised:
    """A fill that realised something."""
    return Realised(f"{symbol}{second}", symbol, D(amount), utc("2026-01-05T10:00:00") + timedelta(seconds=second))


@pytest.mark.parametrize(
    ("fills", "length"),
    [
        ([], 0),
        ([("-1", 0)], 1),
        ([("-1", 0), ("-1", 30), ("-1", 60)], 1),  # one trade in three fills
        ([("-1", 0), ("-1", 61)], 2),
        ([("-1", 0), ("-1", 100), ("5", 200)], 0),
        ([("-1", 0), ("-1", 100), ("5", 130)], 0),  # the second trade won in the end
        ([("5", 0), ("-1", 100), ("-1", 200)], 2),
        ([("-1", 0), ("-1", 100), ("1", 110), ("-1", 200)], 2),  # one that came out even counts for nothing
    ],
)
def test_losing_trades_in_a_row_are_counted_by_trade(fills, length):
    """Fills of one symbol within a minute close one trade; a winner ends the row."""
    streak = Streak()
    for amount, second in fills:
        streak = streak.after(fill(amount, second))

    assert streak.shown[0] == length


def test_fills_of_another_symbol_close_another_trade():
    """Two symbols at the same time are two trades."""
    streak = Streak().after(fill("-1", 0)).after(fill("-1", 1, "ETHUSDT"))

    assert streak.shown == (2, fill("-1", 1).at)


@pytest.mark.parametrize("seed", range(40))
def test_every_figure_equals_a_brute_force_ledger(seed):
    """Random readings over weeks, gaps and transfers: figures recomputed from the whole list each time."""
    pick = Random(seed)
    now, flows, won = utc("2026-02-20T00:00:00"), D(0), D(10_000)
    readings: list[Mark] = []
    known = None
    for _ in range(400):
        now += timedelta(seconds=pick.choice([1, 20, 59, 61, 900, 7200, 40_000]))
        won += D(pick.randint(-20_000, 20_000)) / 100
        if pick.random() < 0.2:
            flows += D(pick.randint(-300_000, 300_000)) / 100
        reading = mark(won + flows, now, flows=flows, balance=won + flows - pick.randint(0, 50))
        readings.append(reading)
        known = begun(reading, PLAIN) if known is None else advanced(known, reading, PLAIN)
        found = shown(known, reading, PLAIN)
        for begins, start, transfers, worst in (
            (reading.at.replace(hour=0, minute=0, second=0), found.day_start_equity, found.day_transfers,
             found.day_worst),
            (reading.at.replace(hour=0, minute=0, second=0) - timedelta(days=reading.at.weekday()),
             found.week_start_equity, found.week_transfers, found.week_worst),
        ):  # fmt: skip
            within = [one for one in readings if one.at >= begins]
            first = within[0]
            if first is not readings[0] and first.at - begins > timedelta(seconds=60):
                assert start is None
                continue
            assert (start, transfers) == (first.equity, flows - first.flows)
            assert worst == max(first.equity - one.equity + one.flows - first.flows for one in within)
        peak = max(one.equity - one.flows for one in readings)
        assert drawdown_loss(found, reading.equity).lost == peak - won
