"""The venue's clock, measured against the one of this machine that never steps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from proxy.clock import ManualClock
from proxy.feeds.server_time import ServerTime

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


async def test_before_it_was_measured_only_requests_have_a_time():
    """They are stamped with this machine's."""
    time = ServerTime(ManualClock(NOW))
    assert (time.now_ms(), time.at_ms(0.0), time.skew_ms()) == (None, None, None)
    assert not await time.known()
    assert time.stamp_ms(NOW) == NOW_MS


async def test_whoever_needs_it_waits_for_it():
    """A moment at the start, when it is asked for at the same time."""
    time = ServerTime(ManualClock(NOW))
    asyncio.get_running_loop().call_later(0.05, time.note, NOW_MS, 0.0, 0.0)
    assert await time.known()


def test_it_was_said_halfway_between_question_and_answer():
    """And may be wrong by half of how long that took."""
    clock = ManualClock(NOW)
    time = ServerTime(clock)
    time.note(NOW_MS + 500, 0.0, 0.2)
    assert time.now_ms() == NOW_MS + 400
    assert time.error_ms == 100
    clock.advance(to=NOW + timedelta(seconds=3))
    assert time.now_ms() == NOW_MS + 3400
    assert time.at_ms(1.0) == NOW_MS + 1400


def test_a_step_of_the_wall_clock_changes_nothing():
    """Back by an hour: signed requests go on carrying the venue's time, and the skew is told once."""
    clock = ManualClock(NOW)
    time = ServerTime(clock)
    time.note(NOW_MS, 0.0, 0.0)
    clock.advance(to=NOW - timedelta(hours=1))
    assert time.now_ms() == time.stamp_ms(clock.now()) == NOW_MS
    with capture_logs() as lines:
        for _ in range(2):
            time.note(NOW_MS, 0.0, 0.0)
    assert [(line["event"], line["ahead_of_venue_ms"]) for line in lines] == [("clock.skewed", -3_600_000)]
    clock.advance(to=NOW)
    with capture_logs() as lines:
        time.note(NOW_MS + 3_600_000, clock.monotonic(), clock.monotonic())
    assert not [line for line in lines if line["event"] == "clock.right"], "an hour ahead now"


def test_the_venues_own_step_is_followed():
    """The last measurement counts."""
    clock = ManualClock(NOW)
    time = ServerTime(clock)
    time.note(NOW_MS, 0.0, 0.0)
    time.note(NOW_MS - 60_000, 0.0, 0.0)
    assert time.now_ms() == NOW_MS - 60_000
