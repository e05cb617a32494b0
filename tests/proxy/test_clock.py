"""Clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from proxy.clock import ManualClock, SystemClock


def test_the_system_clock_tells_aware_utc():
    """Wall time carries its zone, monotonic time does not run back."""
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_a_manual_clock_moves_when_told_and_never_backwards_inside():
    """Wall time may be set back; what measures durations may not."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(to=clock.now() + timedelta(seconds=5))
    clock.advance(to=clock.now() - timedelta(seconds=3))
    assert clock.now() == datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert clock.monotonic() == 5.0


def test_milliseconds_are_those_of_the_wall_clock():
    """Both clocks count milliseconds since 1970 from the same instant that `now` tells."""
    manual = ManualClock(datetime(2026, 3, 4, 12, 0, 0, 250_000, tzinfo=UTC))
    system = SystemClock()

    assert manual.now_ms() == 1_772_625_600_250
    assert abs(system.now_ms() - system.now().timestamp() * 1000) < 1000
