"""Asking again and again: cadence, jitter, back-off, and what is told of it.

A feed never lowers a guard: when it fails, what it knew stays in the book with its old
`as_of` and grows too old by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from proxy.clock import Clock
from proxy.feeds.reading import Malformed
from proxy.feeds.venue import FeedFailed, Venue
from proxy.tasks import Tasks

log = structlog.get_logger("riskgate.feeds")

BACKOFF_MAX_S = 10.0
JITTER = 0.1
POKE_DELAY_S = 0.3  # longer than the lag that reservations allow for: the poked reading may release them


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a feed does: `ready` once it has delivered and for as long as that is not old."""

    name: str
    ready: bool
    last_success_at: datetime | None
    age_s: float | None
    last_error: str | None
    failures: int  # since the last success
    malformed: int  # answers that could not be read, ever
    is_needed: bool = True  # False where something else does the same when this does not: a stream, and readings


class Feed(Protocol):
    """Something that keeps a part of the book up to date."""

    name: str

    def start(self, tasks: Tasks) -> None:
        """Begin to poll in the background."""
        ...

    async def close(self) -> None:
        """Stop polling."""
        ...

    async def read_once(self) -> bool:
        """Read everything once, now. Whether all of it worked."""
        ...

    def health(self) -> tuple[Health, ...]:
        """How each of its cycles does."""
        ...


class Streaming(Protocol):
    """A connection that is kept."""

    def start(self, tasks: Tasks) -> None:
        """Connect and stay connected."""
        ...

    async def close(self) -> None:
        """End it."""
        ...

    def health(self) -> Health:
        """Whether it lives."""
        ...


class Cycle:
    """One reading, repeated every `every_s` seconds; `poke` asks for it earlier.

    `ready_within_s` is how old the last success may be before health says not ready. While `is_calm`
    (something else keeps the facts fresh) it repeats every `calm_s`.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        *,
        every_s: float,
        clock: Clock,
        venue: Venue | None = None,
        poke_min_s: float = 2.0,
        ready_within_s: float | None = None,
        start_s: float = 0.0,
        calm_s: float | None = None,
        is_calm: Callable[[], bool] | None = None,
        is_needed: bool = True,
    ) -> None:
        self.name = name
        self._work = work
        self._every_s = every_s
        self._clock = clock
        self._venue = venue
        self._poke_min_s = poke_min_s
        self._calm_s = every_s if calm_s is None else max(every_s, calm_s)
        self._is_calm = is_calm
        self._is_needed = is_needed
        slowest_s = max(self._calm_s, start_s)
        self._ready_within_s = 3 * slowest_s + BACKOFF_MAX_S if ready_within_s is None else ready_within_s
        self._start_s = start_s
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._began_s = float("-inf")
        self._succeeded_s: float | None = None
        self._succeeded_at: datetime | None = None
        self._error: str | None = None
        self._failures = 0
        self._malformed = 0

    def start(self, tasks: Tasks) -> None:
        """Repeat in the background until closed."""
        self._task = tasks.spawn(self._repeat(), name=f"feed {self.name}")

    async def close(self) -> None:
        """Stop, and wait until it has stopped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def poke(self) -> None:
        """Read again soon: something happened that the next reading will show."""
        self._poked.set()

    async def once(self) -> bool:
        """Read now; whether it worked. What fails is counted, told once, and tried again later."""
        self._began_s = self._clock.monotonic()
        try:
            await self._work()
        except Malformed as error:
            self._malformed += 1
            self._fail("malformed", str(error))
        except FeedFailed as error:
            self._fail("failed", str(error))
        except Exception as error:  # noqa: BLE001 - a background task ends here
            # A defect in a reader must not stop the feed for good: it is told, and the values age.
            self._fail("defect", repr(error))
        else:
            self._succeed()
            return True
        return False

    def health(self) -> Health:
        """How it does."""
        age_s = None if self._succeeded_s is None else self._clock.monotonic() - self._succeeded_s
        return Health(
            name=self.name,
            ready=age_s is not None and age_s <= self._ready_within_s,
            last_success_at=self._succeeded_at,
            age_s=age_s,
            last_error=self._error,
            failures=self._failures,
            malformed=self._malformed,
            is_needed=self._is_needed,
        )

    def wait_s(self) -> float:
        """How long to wait before the next reading."""
        wait_s = self._calm_s if self._is_calm is not None and self._is_calm() else self._every_s
        if self._failures:
            # Early retries come quickly whatever the cadence: a slow cycle must not stay wrong for long.
            wait_s = min(BACKOFF_MAX_S, max(0.25, min(self._every_s, 1.0)) * 2 ** min(self._failures - 1, 8))
        if self._venue is not None:
            wait_s = max(wait_s * self._venue.allowance.stretch, self._venue.allowance.pause_s)
        return wait_s * (1 + random.uniform(-JITTER, JITTER))  # noqa: S311 - spreads load, guards nothing

    async def _repeat(self) -> None:
        await asyncio.sleep(self._start_s)
        while True:
            self._poked.clear()
            await self.once()
            await self._rest(self.wait_s())

    async def _rest(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._poked.wait()
                # Poked: read early, but never more often than the venue's weight allows.
                pause_s = 0.0 if self._venue is None else self._venue.allowance.pause_s
                left_s = self._began_s + self._poke_min_s - self._clock.monotonic()
                await asyncio.sleep(max(POKE_DELAY_S, left_s, pause_s))
        except TimeoutError:
            return

    def _succeed(self) -> None:
        if self._failures:
            log.info("feed.recovered", feed=self.name, failures=self._failures)
        elif self._succeeded_s is None:
            log.info("feed.ready", feed=self.name)
        self._failures = 0
        self._error = None
        self._succeeded_s = self._clock.monotonic()
        self._succeeded_at = self._clock.now()

    def _fail(self, kind: str, message: str) -> None:
        # Told when it starts and when it changes its kind, not on every try.
        known = self._error
        self._failures += 1
        self._error = f"{kind}: {message}"
        if known is None or known.partition(":")[0] != kind:
            log.warning("feed.failed", feed=self.name, kind=kind, error=message)


class Cycles:
    """A feed made of cycles, and of streams that spare them work."""

    name: str

    def __init__(self, name: str, cycles: tuple[Cycle, ...] = (), streams: tuple[Streaming, ...] = ()) -> None:
        self.name = name
        self.cycles = cycles
        self.streams = streams

    def start(self, tasks: Tasks) -> None:
        """Begin to poll in the background."""
        for part in (*self.cycles, *self.streams):
            part.start(tasks)

    async def close(self) -> None:
        """Stop polling."""
        for part in (*self.streams, *self.cycles):
            await part.close()

    def health(self) -> tuple[Health, ...]:
        """How each cycle does."""
        return tuple(part.health() for part in (*self.cycles, *self.streams))

    async def read_once(self) -> bool:
        """Every cycle once, in order: for start-up and tests. Whether all worked."""
        worked = [await cycle.once() for cycle in self.cycles]
        return all(worked)
