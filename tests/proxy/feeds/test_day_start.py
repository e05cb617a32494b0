"""Where losses are measured from: kept over restarts, never forgiven, never guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.feeds.day_start import DayStart, advanced, week_of
from rules import Fact

D = Decimal


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def equity(value: str, when: str) -> Fact[Decimal]:
    """A reading."""
    return Fact(D(value), at(when))


async def marks(path, *readings, now):
    """The marks at `now` after some readings."""
    start = DayStart(path / "d.json")
    for reading in readings:
        await start.observe("a", reading)
    return start.losses("a", readings[-1], at(now))


async def test_the_first_reading_begins_the_day_and_later_ones_do_not(tmp_path):
    """A loss at noon is measured from the morning."""
    found = await marks(
        tmp_path, equity("1000", "2026-01-05T00:00:01"), equity("900", "2026-01-05T12:00"), now="2026-01-05T12:00"
    )
    assert (found.value.day_start_equity, found.value.high_water_mark) == (1000, 1000)
    assert found.as_of == at("2026-01-05T12:00")


async def test_midnight_takes_the_next_reading(tmp_path):
    """Between midnight and the next reading the day's start is unknown; the week goes on."""
    start = DayStart(tmp_path / "d.json")
    first, second = equity("1000", "2026-01-05T23:59"), equity("950", "2026-01-06T00:00")
    await start.observe("a", first)
    between = start.losses("a", first, at("2026-01-06T00:00")).value
    assert (between.day_start_equity, between.week_start_equity) == (None, 1000)
    await start.observe("a", second)
    after = start.losses("a", second, at("2026-01-06T00:00:01")).value
    assert (after.day_start_equity, after.week_start_equity) == (950, 1000)


@pytest.mark.parametrize(
    ("before", "after", "week_start"),
    [
        ("2026-01-04T23:59", "2026-01-05T00:00", "2"),  # Sunday to Monday
        ("2026-12-31T12:00", "2027-01-01T12:00", "1"),  # week 53 of 2026 goes on
        ("2028-02-28T12:00", "2028-02-29T12:00", "1"),  # a leap day in the middle of a week
        ("2024-12-29T12:00", "2024-12-30T12:00", "2"),  # week 1 of 2025 begins in 2024
    ],
)
async def test_weeks_are_iso_weeks(tmp_path, before, after, week_start):
    """A week begins on Monday, whatever the year says."""
    found = await marks(tmp_path, equity("1", before), equity("2", after), now=after)
    assert found.value.week_start_equity == D(week_start)
    assert found.value.day_start_equity == 2


async def test_a_clock_that_runs_back_begins_nothing(tmp_path):
    """A reading stamped yesterday changes no start."""
    start = DayStart(tmp_path / "d.json")
    await start.observe("a", equity("1000", "2026-01-06T00:01"))
    late = equity("500", "2026-01-05T23:59")
    await start.observe("a", late)
    assert start.losses("a", late, at("2026-01-06T00:02")).value.day_start_equity == 1000
    assert start.losses("a", late, at("2026-01-05T23:59")).value.day_start_equity is None


async def test_a_restart_forgives_nothing(tmp_path):
    """Marks are read back exactly, the high-water mark too."""
    await marks(
        tmp_path, equity("1000.10", "2026-01-05T01:00"), equity("1200", "2026-01-05T02:00"), now="2026-01-05T03:00"
    )
    again = DayStart(tmp_path / "d.json")
    await again.observe("a", equity("900", "2026-01-05T04:00"))
    found = again.losses("a", equity("900", "2026-01-05T04:00"), at("2026-01-05T04:00")).value
    assert (found.day_start_equity, found.high_water_mark) == (D("1000.10"), 1200)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", '{"version":2,"accounts":{}}', '{"version":1}', '{"version":1,"accounts":{"a":{}}}',
        '{"version":1,"accounts":{"a":{"day":"05.01.2026","day_equity":"1","week":"w","week_equity":"1","high":"1"}}}',
        '{"version":1,"accounts":{"a":{"day":"2026-01-05","day_equity":"NaN","week":"w","week_equity":"1","high":"1"}}}',
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_trusted_makes_losses_unknown_and_is_kept(tmp_path, content):
    """It is told, losses are missing, and the file is not written over by new readings."""
    path = tmp_path / "d.json"
    path.write_text(content)
    start = DayStart(path)
    await start.observe("a", equity("1000", "2026-01-05T01:00"))
    assert start.losses("a", equity("1000", "2026-01-05T01:00"), at("2026-01-05T01:00")) is None
    assert "until it is repaired or removed by hand" in start.problem
    assert path.read_text() == content


async def test_a_folder_in_its_place_makes_losses_unknown(tmp_path):
    """What cannot be read at all is not a first start."""
    (tmp_path / "d.json").mkdir()
    assert DayStart(tmp_path / "d.json").problem is not None


async def test_a_disk_that_refuses_keeps_the_marks_and_is_tried_again(tmp_path):
    """Unsaved marks stay in force, and are written as soon as that works."""
    folder = tmp_path / "gone"
    start = DayStart(folder / "d.json")
    reading = equity("1000", "2026-01-05T01:00")
    await start.observe("a", reading)
    assert start.losses("a", reading, reading.as_of).value.day_start_equity == 1000
    folder.mkdir()
    await start.observe("a", reading)
    assert json.loads((folder / "d.json").read_text())["accounts"]["a"]["day_equity"] == "1000"
    assert [path.name for path in folder.iterdir()] == ["d.json"]


async def test_nothing_known_is_nothing_said(tmp_path):
    """Without a reading there are no losses, and no file."""
    start = DayStart(tmp_path / "d.json")
    await start.observe("a", None)
    assert start.losses("a", None, at("2026-01-05T01:00")) is None
    assert not (tmp_path / "d.json").exists()


def test_marks_only_move_forward():
    """Whatever comes, day and week never go back and the high never falls."""
    known = advanced(None, equity("10", "2026-01-05T01:00"))
    for reading in (equity("5", "2020-01-01T00:00"), equity("5", "2026-01-05T02:00")):
        assert advanced(known, reading) == known
    assert week_of(at("2027-01-01T00:00")) == "2026-W53"
