"""When days and weeks begin, in any time zone, and whose clock says so."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from proxy.clock import ManualClock
from proxy.ledger.windows import VenueTime, day_began, day_ends, week_began

MIDNIGHT, FIVE_PM = time(0, 0), time(17, 0)
WORLD = ZoneInfo("UTC")
PRAGUE, CHICAGO = ZoneInfo("Europe/Prague"), ZoneInfo("America/Chicago")


def utc(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "zone", "starts_at", "began", "ends"),
    [
        ("2026-01-05T00:00:00", WORLD, MIDNIGHT, "2026-01-05T00:00", "2026-01-06T00:00"),
        ("2026-01-05T23:59:59", WORLD, MIDNIGHT, "2026-01-05T00:00", "2026-01-06T00:00"),
        ("2028-02-29T12:00:00", WORLD, MIDNIGHT, "2028-02-29T00:00", "2028-03-01T00:00"),  # leap day
        ("2028-02-28T23:59:59", WORLD, MIDNIGHT, "2028-02-28T00:00", "2028-02-29T00:00"),
        ("2026-01-05T22:59:59", PRAGUE, MIDNIGHT, "2026-01-04T23:00", "2026-01-05T23:00"),
        ("2026-01-05T23:00:00", PRAGUE, MIDNIGHT, "2026-01-05T23:00", "2026-01-06T23:00"),
        ("2026-07-05T22:00:00", PRAGUE, MIDNIGHT, "2026-07-05T22:00", "2026-07-06T22:00"),  # summer time
        ("2026-03-29T12:00:00", PRAGUE, MIDNIGHT, "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours long
        ("2026-10-25T12:00:00", PRAGUE, MIDNIGHT, "2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours long
        ("2026-01-05T22:59:59", CHICAGO, FIVE_PM, "2026-01-04T23:00", "2026-01-05T23:00"),
        ("2026-01-05T23:00:00", CHICAGO, FIVE_PM, "2026-01-05T23:00", "2026-01-06T23:00"),
        ("2026-07-05T12:00:00", CHICAGO, FIVE_PM, "2026-07-04T22:00", "2026-07-05T22:00"),
    ],
)
def test_a_day_begins_and_ends_in_its_zone(now, zone, starts_at, began, ends):
    """Also where clocks are changed, on a leap day, and where a trading day begins in the afternoon."""
    assert day_began(utc(now), zone, starts_at) == utc(began)
    assert day_ends(utc(now), zone, starts_at) == utc(ends)


@pytest.mark.parametrize(
    ("now", "zone", "starts_at", "began"),
    [
        ("2026-01-04T23:59:59", WORLD, MIDNIGHT, "2025-12-29T00:00"),  # a Sunday in week 1 of 2026
        ("2026-01-05T00:00:00", WORLD, MIDNIGHT, "2026-01-05T00:00"),
        ("2027-01-01T12:00:00", WORLD, MIDNIGHT, "2026-12-28T00:00"),  # week 53 of 2026 goes on
        ("2024-12-30T12:00:00", WORLD, MIDNIGHT, "2024-12-30T00:00"),  # week 1 of 2025 begins in 2024
        ("2028-02-29T12:00:00", WORLD, MIDNIGHT, "2028-02-28T00:00"),
        ("2026-03-30T12:00:00", PRAGUE, MIDNIGHT, "2026-03-29T22:00"),
        ("2026-01-04T22:59:59", CHICAGO, FIVE_PM, "2025-12-28T23:00"),
        ("2026-01-04T23:00:00", CHICAGO, FIVE_PM, "2026-01-04T23:00"),  # Sunday 17:00 begins Monday
        ("2026-01-08T12:00:00", CHICAGO, FIVE_PM, "2026-01-04T23:00"),
    ],
)
def test_a_week_is_an_iso_week_of_trading_days(now, zone, starts_at, began):
    """It begins with Monday's trading day, whatever the year says."""
    assert week_began(utc(now), zone, starts_at) == utc(began)


def test_the_venues_time_is_carried_on_by_the_monotonic_clock():
    """A wall clock set back or forward by hours moves nothing."""
    clock = ManualClock(utc("2026-01-05T23:59:00"))
    venue = VenueTime(clock)
    assert venue.now() is None

    venue.note(utc("2026-01-05T23:58:30"), 0.0, 2.0)
    clock.advance(to=utc("2026-01-05T23:59:31"))
    assert venue.now() == utc("2026-01-05T23:59:00")
    clock._now = utc("2026-01-06T05:00:00")

    assert venue.now() == utc("2026-01-05T23:59:00")


def test_a_time_that_was_told_long_ago_is_not_relied_on():
    """After ten minutes without the venue's word nobody knows which day it is."""
    clock = ManualClock(utc("2026-01-05T12:00:00"))
    venue = VenueTime(clock)
    venue.note(clock.now(), 0.0, 0.0)
    clock.advance(to=clock.now() + timedelta(seconds=600))
    assert venue.now() is not None
    clock.advance(to=clock.now() + timedelta(seconds=1))

    assert venue.now() is None
