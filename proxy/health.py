"""How late the event loop runs.

A loop that stands still forwards nothing, but it also notices nothing: facts age, an engaged
stop waits. So it is watched from outside, and whoever wants to act on a stall is told.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import structlog

from proxy.clock import Clock

log = structlog.get_logger("riskgate.health")

PROBE_EVERY_S = 0.1
STALL_S = 0.25


class LoopWatch:
    """Measures from a thread of its own how late the event loop runs.

    The thread asks the loop to answer; as long as the answer is out, the lag grows. So a loop
    that stands still is seen while it stands still, and not only afterwards.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        *,
        on_stall: Callable[[float], None] | None = None,
        every_s: float = PROBE_EVERY_S,
        stall_s: float = STALL_S,
    ) -> None:
        self.lag_max_s = 0.0
        self.stalls = 0
        self._loop = loop
        self._clock = clock
        self._on_stall = on_stall
        self._every_s = every_s
        self._stall_s = stall_s
        self._asked_at: float | None = None
        self._last_s = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop-watch", daemon=True)

    def start(self) -> None:
        """Begin to measure."""
        self._thread.start()

    def lag_s(self) -> float:
        """How late the loop is: of the answer that is out, or else of the last one."""
        asked_at = self._asked_at
        waiting_s = 0.0 if asked_at is None else self._clock.monotonic() - asked_at
        return max(waiting_s, self._last_s)

    def close(self) -> None:
        """Stop measuring."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(self._every_s):
            if self._asked_at is not None:
                continue  # the loop has not answered yet; `lag_s` grows by itself
            self._asked_at = self._clock.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answered)
            except RuntimeError:  # the loop is closed: there is nothing left to watch
                return

    def _answered(self) -> None:
        """Runs in the loop."""
        if self._asked_at is None:
            return
        self._last_s = self._clock.monotonic() - self._asked_at
        self._asked_at = None
        self.lag_max_s = max(self.lag_max_s, self._last_s)
        if self._last_s < self._stall_s:
            return
        self.stalls += 1
        log.warning("loop.stalled", lag_ms=round(self._last_s * 1000, 1))
        if self._on_stall is not None:
            self._on_stall(self._last_s)
