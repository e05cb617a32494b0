"""The ledger as a whole: wallets together, days, restarts, and what it refuses to say."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.clock import ManualClock
from proxy.ledger import Ledger, Realised, VenueTime
from rules import Market, daily_loss
from rules.profile import LossPolicy
from tests.proxy.ledger.made import flow, sample
from tests.proxy.ledger.test_windows import utc

D = Decimal
SPOT, FUTURES = Market.SPOT, Market.LINEAR
NOON = utc("2026-03-04T12:00:00")


class Desk:
    """A ledger whose clock and venue are moved by hand; seconds count from noon."""

    def __init__(self, folder: Path, markets=(FUTURES,), *, policy: LossPolicy | None = None, start=NOON) -> None:
        self.path = folder / "day_start.json"
        self.clock = ManualClock(start)
        self.venue = VenueTime(self.clock)
        self.venue.note(start, 0.0, 0.0)
        self.ledger = Ledger(
            self.path, self.clock, policy_of=lambda account: policy or LossPolicy(), skew=timedelta(0)
        )
        self.ledger.add("main", markets, self.venue)

    def to(self, instant: datetime) -> None:
        """Let time pass, at the venue as well."""
        self.clock.advance(to=instant)
        monotonic = self.clock.monotonic()
        self.venue.note(instant, monotonic, monotonic)

    def read(self, equity, seconds: float, market: Market = FUTURES, *, balance=None) -> None:
        """A reading."""
        instant = NOON + timedelta(seconds=seconds)
        if instant > self.clock.now():
            self.to(instant)
        self.ledger.take("main", market, sample(equity, seconds, balance=balance))

    def explain(self, seconds: float, *flows, market: Market = FUTURES) -> None:
        """A history complete up to an instant."""
        self.ledger.learn("main", market, flows, complete_to=NOON + timedelta(seconds=seconds))

    @property
    def fact(self):
        """What rules would be told."""
        return self.ledger.losses("main", None, self.clock.now())

    @property
    def lost(self) -> Decimal:
        """Today's loss."""
        return daily_loss(self.fact.value, self.fact.value.equity).lost


async def test_losses_are_known_from_the_first_reading(tmp_path):
    """They are as old as the reading that they were computed with."""
    desk = Desk(tmp_path)
    assert desk.fact is None
    desk.read("1000", 1)

    assert (desk.lost, desk.fact.as_of) == (0, NOON + timedelta(seconds=1))


async def test_every_wallet_must_have_been_read(tmp_path):
    """One of two wallets says nothing of the account."""
    desk = Desk(tmp_path, (SPOT, FUTURES))
    desk.read("1000", 1)
    assert desk.fact is None
    desk.read("500", 1.5, SPOT)

    assert desk.fact.value.day_start_equity == 1500


@pytest.mark.parametrize("order", ["balances first", "history first"])
async def test_a_transfer_between_own_wallets_changes_nothing(tmp_path, order):
    """400 from futures to spot, whichever side is seen first: no moment shows a loss."""
    desk = Desk(tmp_path, (SPOT, FUTURES))
    desk.read("1000", 1)
    desk.read("500", 1, SPOT)
    steps = [
        lambda: desk.read("900", 5, SPOT),
        lambda: desk.read("600", 6),
        lambda: desk.explain(7, flow("-400", 3)),
        lambda: desk.explain(7, flow("400", 3), market=SPOT),
    ]
    worst = []
    for step in steps if order == "balances first" else [steps[2], steps[3], steps[0], steps[1]]:
        step()
        worst.append(desk.ledger.settled("main").day_worst)

    assert worst == [0, 0, 0, 0]
    assert desk.lost == 0


async def test_wallets_that_hedge_each_other_show_no_loss_of_one_alone(tmp_path):
    """One falls by 300 as the other rises; the fall is read first, and read more often."""
    desk = Desk(tmp_path, (SPOT, FUTURES))
    desk.read("1000", 1)
    desk.read("1000", 1.1, SPOT)
    for second in (3, 5, 7):
        desk.read("700", second, balance="1000")
    desk.read("1300", 5.1, SPOT, balance="1000")
    desk.read("700", 9, balance="1000")
    desk.read("1300", 9.1, SPOT, balance="1000")

    assert desk.ledger.marks("main").last.equity == 2000
    assert (desk.lost, desk.fact.value.day_worst) == (0, 0)


async def test_a_gain_of_unknown_origin_gives_no_room_until_it_is_explained(tmp_path):
    """100 were lost, then 500 came in: still 100 lost until the history says that they were won."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    desk.read("900", 2, balance="1000")
    desk.read("1400", 3, balance="1500")
    assert desk.lost == 100

    desk.explain(4)
    assert daily_loss(desk.fact.value, D(1400)).lost == 100  # lost at second 2, and that stays
    assert desk.fact.value.equity == 1400


async def test_an_unexplained_withdrawal_is_a_loss_for_orders_and_for_nothing_that_lasts(tmp_path):
    """Orders see 600 lost, the window's worst does not; once explained there was none."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    desk.read("400", 3)
    assert (desk.lost, desk.ledger.settled("main").day_worst) == (600, 0)

    desk.explain(5, flow("-600", 2))
    assert (desk.lost, desk.ledger.settled("main").day_worst) == (0, 0)


async def test_what_stays_unexplained_makes_losses_old(tmp_path):
    """After half a minute without a history losses are as old as the first reading that was never explained."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    for second in (3, 20, 33):
        desk.read("1100", second)
    assert desk.fact.as_of == NOON + timedelta(seconds=33)
    desk.read("1100", 34)

    assert desk.fact.as_of == NOON + timedelta(seconds=3)


async def test_a_day_is_unknown_between_midnight_and_its_first_reading(tmp_path):
    """Midnight is the venue's; the week goes on."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    desk.read("990", 12 * 3600 - 1, balance="1000")
    desk.to(utc("2026-03-05T00:00:00"))
    assert (desk.fact.value.day_start_equity, desk.fact.value.week_start_equity) == (None, 1000)
    desk.read("980", 12 * 3600 + 2, balance="1000")

    assert (desk.fact.value.day_start_equity, desk.lost, desk.fact.value.week_worst) == (980, 0, 20)


async def test_the_week_ends_with_its_sunday(tmp_path):
    """Between Sunday and the first reading of Monday neither is known."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    desk.to(utc("2026-03-09T00:00:00"))

    assert (desk.fact.value.day_start_equity, desk.fact.value.week_start_equity) == (None, None)


@pytest.mark.parametrize("hours", [-30, -1, 1, 13, 400])
async def test_a_step_of_our_own_clock_opens_and_ends_no_window(tmp_path, hours):
    """The venue's time has not moved: the loss of today stays, whatever our clock says."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    desk.read("900", 2, balance="1000")
    desk.clock._now += timedelta(hours=hours)
    desk.ledger.take("main", FUTURES, sample("950", 3, balance="1000"))

    assert (desk.fact.value.day_start_equity, desk.lost) == (1000, 100)


async def test_without_the_venues_time_nothing_is_said(tmp_path):
    """Nobody knows which day it is."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    desk.clock.advance(to=NOON + timedelta(seconds=700))

    assert desk.fact is None


async def test_a_restart_forgives_nothing(tmp_path):
    """Marks, lows, transfers and streaks are read back exactly, and the same transfer is not counted again."""
    desk = Desk(tmp_path)
    desk.read("1000.10", 1)
    desk.explain(2)
    desk.read("1300.10", 4)
    desk.explain(6, flow("500", 3, key="tran 1"))
    desk.ledger.realise("main", [Realised("1", "BTCUSDT", D(-3), NOON)])
    assert await desk.ledger.save(now=True)

    again = Desk(tmp_path)
    again.read("1300.10", 60)
    again.explain(61, flow("500", 3, key="tran 1"))

    assert again.fact.value == desk.fact.value
    assert (again.lost, again.fact.value.losing_streak) == (200, 1)


async def test_a_restart_looks_at_what_happened_meanwhile(tmp_path):
    """500 more than before the restart: a deposit until the history says otherwise."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    await desk.ledger.save(now=True)
    again = Desk(tmp_path)
    again.read("1450", 60)
    assert again.lost == 0
    assert again.fact.value.equity == 1000

    again.explain(61, flow("500", 30))
    assert again.lost == 50


async def test_a_missed_midnight_asks_for_the_history_of_every_wallet(tmp_path):
    """Until both wallets' starts are known the day is not; then it is their sum, transfers since taken out."""
    desk = Desk(tmp_path, (SPOT, FUTURES))
    desk.read("1000", 1)
    desk.read("500", 1, SPOT)
    await desk.ledger.save(now=True)
    again = Desk(tmp_path, (SPOT, FUTURES))
    nine = 21 * 3600
    again.read("1150", nine)
    again.read("500", nine, SPOT)
    again.explain(nine + 5, flow("200", 13 * 3600))
    again.explain(nine + 5, market=SPOT)
    again.read("1150", nine + 6)
    again.read("500", nine + 6, SPOT)
    midnight = utc("2026-03-05T00:00:00")
    assert again.fact.value.day_start_equity is None
    assert [again.ledger.missing_start("main", each) for each in (SPOT, FUTURES)] == [midnight, midnight]

    again.ledger.start("main", SPOT, midnight, equity=D(500), balance=D(500))
    assert again.fact.value.day_start_equity is None
    again.ledger.start("main", FUTURES, midnight, equity=D(980), balance=D(990))

    assert again.fact.value.day_start_equity == 1480
    assert (again.fact.value.day_transfers, again.lost) == (200, 30)  # 1480 + 200 - 1650


async def test_a_wallet_that_comes_to_an_account_is_no_gain_and_one_that_goes_no_loss(tmp_path):
    """Spot is added with 5,000, and futures taken out later with what it holds."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    desk.read("900", 2, balance="1000")
    await desk.ledger.save(now=True)
    both = Desk(tmp_path, (SPOT, FUTURES))
    both.read("900", 10, balance="1000")
    both.read("5000", 10, SPOT)
    both.read("900", 11, balance="1000")
    assert (both.lost, both.fact.value.day_transfers) == (100, 5000)
    await both.ledger.save(now=True)

    one = Desk(tmp_path, (SPOT,))
    one.read("4990", 20, SPOT, balance="5000")
    assert one.lost == 110


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", '{"version":3,"accounts":{}}', '{"version":2}', '{"version":2,"accounts":{"a":{}}}',
        '{"version":1,"accounts":{"a":{}}}', '{"accounts":{}}',
        '{"version":1,"accounts":{"a":{"day":"05.01.2026","day_equity":"1","week":"w","week_equity":"1","high":"1"}}}',
        '{"version":1,"accounts":{"a":{"day":"2026-01-05","day_equity":"NaN","week":"2026-W02","week_equity":"1",'
        '"high":"1"}}}',
        '{"version":2,"accounts":{"a":{"marks":null,"wallets":{"moon":{}},"done":{}}}}',
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_trusted_makes_losses_unknown_and_is_kept(tmp_path, content):
    """It is told, losses are missing, and the file is not written over by new readings."""
    (tmp_path / "day_start.json").write_text(content)
    desk = Desk(tmp_path)
    desk.read("1000", 1)

    assert desk.fact is None
    assert not await desk.ledger.save(now=True)
    assert "until it is repaired or removed by hand" in desk.ledger.problem
    assert desk.path.read_text() == content


async def test_a_folder_in_its_place_makes_losses_unknown(tmp_path):
    """What cannot be read at all is not a first start."""
    (tmp_path / "day_start.json").mkdir()

    assert Desk(tmp_path).ledger.problem is not None


async def test_a_disk_that_refuses_keeps_everything_and_is_tried_again(tmp_path):
    """What is unsaved stays in force, and is written as soon as that works."""
    folder = tmp_path / "gone"
    desk = Desk(folder)
    desk.read("1000", 1)
    assert not await desk.ledger.save()
    assert desk.fact.value.day_start_equity == 1000
    folder.mkdir()

    assert await desk.ledger.save()
    assert json.loads(desk.path.read_text())["accounts"]["main"]["marks"]["day"]["equity"] == "1000"
    assert [path.name for path in folder.iterdir()] == ["day_start.json"]


async def test_marks_of_an_older_version_go_on(tmp_path):
    """Day, week and high are taken over; transfers count from now on, and the file is written in today's form."""
    (tmp_path / "day_start.json").write_text(json.dumps({"version": 1, "accounts": {"main": {
        "day": "2026-03-04", "day_equity": "1000", "week": "2026-W10", "week_equity": "1100", "high": "1200",
    }}}))  # fmt: skip
    desk = Desk(tmp_path, (SPOT, FUTURES))
    desk.read("600", 1)
    desk.read("350", 1, SPOT)
    desk.explain(3, flow("70", -50))
    desk.read("600", 4)
    desk.read("350", 4, SPOT)

    found = desk.fact.value
    assert (found.day_start_equity, found.week_start_equity, found.high_water_mark) == (1000, 1100, 1200)
    assert (desk.lost, found.day_transfers) == (50, 0)
    assert await desk.ledger.save(now=True)
    assert json.loads(desk.path.read_text())["version"] == 2


async def test_what_was_acted_upon_is_kept(tmp_path):
    """A breach that was acted upon before a restart is not acted upon again."""
    desk = Desk(tmp_path)
    desk.read("1000", 1)
    desk.ledger.do("main", "day", "2026-03-04", 2)
    await desk.ledger.save()

    assert Desk(tmp_path).ledger.done("main", "day") == ("2026-03-04", 2)
