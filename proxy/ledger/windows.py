"""When a trading day and week began, and what time it is at the venue."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import structlog

from proxy.clock import Clock

log = structlog.get_logger("riskgate.ledger")

INSTANT = timedelta(microseconds=1)
HALF_DAY = timedelta(hours=12)
ANCHOR_AGE_MAX_S = 600.0  # a machine's monotonic clock drifts too: asked again long before
STEP = timedelta(seconds=1)


def day_began(instant: datetime, zone: ZoneInfo, starts_at: time) -> datetime:
    """The instant (UTC) at which the trading day began that `instant` falls into."""
    local = instant.astimezone(zone)
    began = datetime.combine(local.date(), starts_at, zone).astimezone(UTC)
    if began > instant:
        began = datetime.combine(local.date() - timedelta(days=1), starts_at, zone).astimezone(UTC)
    return began


def week_began(instant: datetime, zone: ZoneInfo, starts_at: time) -> datetime:
    """The instant at which the ISO week began: the trading day that is Monday.

    A day that begins at 17:00 is named by the date that most of it falls on: Sunday evening begins Monday.
    """
    began = day_began(instant, zone, starts_at)
    while (began + HALF_DAY).astimezone(zone).weekday():
        began = day_began(began - INSTANT, zone, starts_at)
    return began


def day_ends(instant: datetime, zone: ZoneInfo, starts_at: time) -> datetime:
    """The instant at which the next trading day begins."""
    local = instant.astimezone(zone).date()
    for days in range(3):
        began = datetime.combine(local + timedelta(days=days), starts_at, zone).astimezone(UTC)
        if began > instant:
            return began
    raise AssertionError("a day begins at least every 48 hours")


class VenueTime:
    """The venue's clock, carried on by the machine's monotonic one: steps of the wall clock do not reach it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._anchor: tuple[datetime, float] | None = None
        self._offset: timedelta | None = None

    def note(self, server_time: datetime, sent_s: float, received_s: float) -> None:
        """Take what the venue said its time was; it was so somewhere between asking and hearing."""
        self._anchor = (server_time, (sent_s + received_s) / 2)
        offset = server_time - self._clock.now()
        if self._offset is not None and abs(offset - self._offset) > STEP:
            log.warning("clock.stepped", was_s=self._offset.total_seconds(), is_s=offset.total_seconds())
        self._offset = offset

    def at(self, monotonic_s: float) -> datetime | None:
        """The venue's time at a monotonic instant; None where the venue has not told it lately."""
        if self._anchor is None:
            return None
        server_time, noted_s = self._anchor
        passed_s = monotonic_s - noted_s
        return server_time + timedelta(seconds=passed_s) if passed_s <= ANCHOR_AGE_MAX_S else None

    @property
    def known_until_s(self) -> float:
        """The monotonic instant up to which the venue's time is known without asking again."""
        return float("-inf") if self._anchor is None else self._anchor[1] + ANCHOR_AGE_MAX_S

    def now(self) -> datetime | None:
        """The venue's time now."""
        return self.at(self._clock.monotonic())
