"""Cycles: cadence, back-off, and what is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from proxy.clock import ManualClock, SystemClock
from proxy.feeds.polling import BACKOFF_MAX_S, Cycle
from proxy.feeds.reading import Malformed
from proxy.feeds.venue import FeedFailed
from proxy.tasks import Tasks

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Work:
    """A reading that does what it is told, and counts."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.count = 0

    async def __call__(self) -> None:
        """Read."""
        self.count += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def work():
    """A reading that works."""
    return Work()


def cycle(work, **more):
    """A cycle of two seconds."""
    values = {"every_s": 2.0, "clock": ManualClock(NOW), **more}
    return Cycle("test", work, **values)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(FeedFailed("down"), "failed"), (Malformed("odd"), "malformed"), (RuntimeError("bug"), "defect")],
)
async def test_a_failure_is_counted_and_told_once(work, error, kind):
    """Ten failures are one line; the eleventh try that works is another."""
    read = cycle(work)
    work.error = error
    with capture_logs() as lines:
        for _ in range(10):
            assert not await read.once()
        work.error = None
        assert await read.once()
    assert [line["event"] for line in lines] == ["feed.failed", "feed.recovered"]
    assert lines[0]["kind"] == kind


async def test_a_failure_of_another_kind_is_told(work):
    """Down and then garbage are two things to know."""
    read = cycle(work)
    with capture_logs() as lines:
        for error in (FeedFailed("down"), Malformed("odd"), Malformed("odder")):
            work.error = error
            await read.once()
    assert [line["kind"] for line in lines] == ["failed", "malformed"]


async def test_health_is_ready_for_as_long_as_the_last_success_is_young():
    """Never read: not ready. Read: ready. Long ago: not ready, with the error that stands."""
    clock = ManualClock(NOW)
    work = Work()
    read = cycle(work, clock=clock, ready_within_s=5.0)
    assert not read.health().ready
    await read.once()
    assert (read.health().ready, read.health().age_s, read.health().last_success_at) == (True, 0.0, NOW)
    work.error = FeedFailed("down")
    clock.advance(to=NOW + timedelta(seconds=6))
    await read.once()
    health = read.health()
    assert (health.ready, health.failures, health.last_error) == (False, 1, "failed: down")


async def test_retries_come_quickly_and_slow_down(work):
    """From a second to ten, and never more: recovery needs no hand."""
    read = cycle(work, every_s=60.0)
    assert 54 <= read.wait_s() <= 66
    work.error = FeedFailed("down")
    waits = []
    for _ in range(12):
        await read.once()
        waits.append(read.wait_s())
    assert waits[0] <= 1.1
    assert 7 < waits[-1] <= BACKOFF_MAX_S * 1.1


async def test_a_poke_reads_early_and_not_too_often(work):
    """Many pokes within the least distance are one reading."""
    read = cycle(work, clock=SystemClock(), every_s=30.0, poke_min_s=0.2)
    tasks = Tasks()
    read.start(tasks)
    await asyncio.sleep(0.05)
    assert work.count == 1
    for _ in range(5):
        read.poke()
        await asyncio.sleep(0.01)
    assert work.count == 1
    await asyncio.sleep(0.6)
    assert work.count == 2
    await read.close()
    await tasks.close()


async def test_closing_ends_the_task(work):
    """After close nothing is read any more."""
    tasks = Tasks()
    read = cycle(work, clock=SystemClock(), every_s=0.01)
    read.start(tasks)
    await asyncio.sleep(0.05)
    await read.close()
    count = work.count
    await asyncio.sleep(0.05)
    assert count == work.count > 1
    await read.close()
