"""The venue's clock, measured: what signed requests are stamped with and what events are compared with.

Kept against the monotonic clock, so that a step of this machine's wall clock changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from proxy.clock import Clock

log = structlog.get_logger("riskgate.feeds")

SKEW_TOLD_MS = 1000
MEASURED_S = 2.0


class ServerTime:
    """What time it is at a venue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms: float | None = None  # of the monotonic clock
        self._measured = asyncio.Event()
        self._is_told = False
        self.doubted: Callable[[], None] = _nothing  # called where something does not fit: measure again
        self.error_ms = 0.0  # at most so wrong, by how long the answer took

    def note(self, server_ms: int, sent_s: float, received_s: float) -> None:
        """Take what the venue said its time was, somewhere between a question and its answer."""
        self._ahead_ms = server_ms - 1000 * (sent_s + received_s) / 2
        self.error_ms = 500 * (received_s - sent_s)
        self._measured.set()
        skew_ms = self.skew_ms() or 0.0
        is_skewed = abs(skew_ms) > SKEW_TOLD_MS + self.error_ms
        if is_skewed is not self._is_told:
            self._is_told = is_skewed
            event = "clock.skewed" if is_skewed else "clock.right"
            log.warning(event, ahead_of_venue_ms=round(-skew_ms), expected_ms=SKEW_TOLD_MS)

    async def known(self) -> bool:
        """Whether it has been measured, or is within a moment: at the start everything begins at once."""
        try:
            async with asyncio.timeout(MEASURED_S):
                await self._measured.wait()
        except TimeoutError:
            return False
        return True

    def now_ms(self) -> int | None:
        """The venue's time, or None before it was measured."""
        return None if self._ahead_ms is None else int(self._ahead_ms + 1000 * self._clock.monotonic())

    def at_ms(self, sent_s: float) -> int | None:
        """The venue's time at a monotonic instant."""
        return None if self._ahead_ms is None else int(self._ahead_ms + 1000 * sent_s)

    def stamp_ms(self, now: datetime) -> int:
        """What to stamp a signed request with: the venue's time, or ours as long as that is all there is."""
        known = self.now_ms()
        return int(now.timestamp() * 1000) if known is None else known

    def skew_ms(self) -> float | None:
        """How far the venue is ahead of this machine's wall clock."""
        known = self.now_ms()
        return None if known is None else known - 1000 * self._clock.now().timestamp()


def _nothing() -> None:
    """Nobody measures."""
