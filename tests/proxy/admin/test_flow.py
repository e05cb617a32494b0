"""What goes through is counted by difference, and quantiles are those of the histogram."""

from datetime import UTC, datetime, timedelta

import pytest

from proxy.admin.flow import Flow, quantile
from proxy.clock import ManualClock
from proxy.metrics import Totals

BOUNDS = (0.001, 0.002, 0.004)


def later(clock, seconds):
    """Let time pass."""
    clock.advance(to=clock.now() + timedelta(seconds=seconds))


def totals(allowed=0, scaled=0, blocked=0, added=(0, 0, 0, 0)):
    """Counters as metrics give them."""
    return Totals(allowed=allowed, scaled=scaled, blocked=blocked, bounds_s=BOUNDS, added=added)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((10, 0, 0, 0), 0.5, 0.0005),
        ((0, 10, 0, 0), 1.0, 0.002),
        ((5, 5, 0, 0), 0.5, 0.001),
        ((0, 0, 0, 7), 0.99, 0.004),
    ],
)
def test_a_quantile_lies_within_its_bucket(counts, share, expected):
    """Even within a bucket, nothing for none, and the last bound for what lies above it."""
    found = quantile(BOUNDS, counts, share)

    assert found is None if expected is None else found == pytest.approx(expected)


def test_points_are_differences_and_windows_sum_them():
    """Each point counts since the one before; a window counts those within it and what came since."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    now = totals()
    flow = Flow(lambda: now, clock)

    later(clock, 10)
    now = totals(allowed=5, blocked=1, added=(5, 0, 0, 0))
    first = flow.sample()
    later(clock, 100)
    now = totals(allowed=7, blocked=1, scaled=2, added=(5, 4, 0, 0))
    second = flow.sample()
    later(clock, 1)
    now = totals(allowed=8, blocked=1, scaled=2, added=(5, 4, 0, 0))

    assert (first.allowed, first.blocked, second.allowed, second.scaled) == (5, 1, 2, 2)
    assert (first.added_p50_ms, second.added_p50_ms) == (0.5, 1.5)
    assert flow.over(60)["allowed"] == 3
    assert flow.over(3600)["allowed"] == 8
    assert len(flow.points) == 2
