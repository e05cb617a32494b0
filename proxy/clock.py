"""The only place that reads a clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how much of it has passed."""

    def now(self) -> datetime:
        """Wall time, aware UTC: for people, signatures and ages of facts."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards: for deadlines and windows."""
        ...

    def now_ms(self) -> int:
        """Wall time in whole milliseconds since 1970, as venues count it: for signatures and names."""
        ...

    def stamp(self) -> str:
        """Wall time as records and log lines have it: ISO 8601 in UTC, to the microsecond, with a Z."""
        ...


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._second = -1  # since 1970, of the stamp written last
        self._second_text = ""

    def now(self) -> datetime:
        """Wall time, aware UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the place

    def monotonic(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def now_ms(self) -> int:
        """Wall time in milliseconds."""
        return time.time_ns() // 1_000_000

    def stamp(self) -> str:
        """Wall time as text. Only its fraction is written anew within a second: every order takes several."""
        micros = time.time_ns() // 1000
        second = micros // 1_000_000
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        # The leading one keeps the fraction's zeros; a format would cost more than all the rest.
        return self._second_text + str(1_000_000 + micros % 1_000_000)[1:] + "Z"


class ManualClock:
    """A clock that moves when told to: for tests and simulations."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> datetime:
        """The time it was set to."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._monotonic

    def now_ms(self) -> int:
        """The time it was set to, in milliseconds."""
        return int(self._now.timestamp() * 1000)

    def stamp(self) -> str:
        """The time it was set to, as text."""
        return self._now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    def advance(self, *, to: datetime) -> None:
        """Move to an instant; monotonic time moves by the same amount, never backwards."""
        self._monotonic += max(0.0, (to - self._now).total_seconds())
        self._now = to
