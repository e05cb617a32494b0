"""How much goes through and what that costs in time: one point every ten seconds, for the last hour."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from proxy.clock import Clock
from proxy.metrics import Totals

EVERY_S = 10.0
POINTS_MAX = 360


@dataclass(frozen=True, slots=True)
class Point:
    """What was decided since the point before, and what the proxy added to what it forwarded."""

    at_ms: int
    span_s: float
    allowed: int
    scaled: int
    blocked: int
    added_p50_ms: float | None
    added_p99_ms: float | None


class Flow:
    """Reads the counters that metrics keep anyway; orders pay nothing for it."""

    def __init__(self, read: Callable[[], Totals], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._points: deque[tuple[Point, Totals]] = deque(maxlen=POINTS_MAX)
        self._last = read()
        self._last_s = clock.monotonic()
        self.told: list[Callable[[Point], None]] = []  # called with each new point

    @property
    def points(self) -> list[dict[str, Any]]:
        """Every point of the last hour, oldest first."""
        return [asdict(point) for point, _ in self._points]

    async def watch(self) -> None:
        """Take a point every ten seconds."""
        while True:
            await asyncio.sleep(EVERY_S)
            point = self.sample()
            for tell in self.told:
                tell(point)

    def sample(self) -> Point:
        """Take a point now."""
        now, now_s = self._read(), self._clock.monotonic()
        point = _point(self._clock.now_ms(), now_s - self._last_s, self._last, now)
        self._points.append((point, _less(now, self._last)))
        self._last, self._last_s = now, now_s
        return point

    def over(self, seconds: float) -> dict[str, Any]:
        """What went through within the last so many seconds, up to this moment."""
        now = self._read()
        parts = [_less(now, self._last)]
        oldest_ms = self._clock.now_ms() - seconds * 1000
        parts += [part for point, part in self._points if point.at_ms > oldest_ms]
        counts = [sum(column) for column in zip(*(part.added for part in parts), strict=True)]
        return {
            "allowed": sum(part.allowed for part in parts),
            "scaled": sum(part.scaled for part in parts),
            "blocked": sum(part.blocked for part in parts),
            "added_p50_ms": _ms(quantile(now.bounds_s, counts, 0.5)),
            "added_p99_ms": _ms(quantile(now.bounds_s, counts, 0.99)),
        }


def quantile(bounds_s: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Where that share of a histogram lies, taken to be even within a bucket; None for an empty one.

    What lies above the last bound is told as that bound: no more is known of it.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, below, lower = total * share, 0, 0.0
    for bound, count in zip(bounds_s, counts, strict=False):
        if count and below + count >= wanted:
            return lower + (bound - lower) * (wanted - below) / count
        below, lower = below + count, bound
    return bounds_s[-1]


def _less(now: Totals, before: Totals) -> Totals:
    return Totals(
        allowed=now.allowed - before.allowed,
        scaled=now.scaled - before.scaled,
        blocked=now.blocked - before.blocked,
        bounds_s=now.bounds_s,
        added=tuple(one - other for one, other in zip(now.added, before.added, strict=True)),
    )


def _point(at_ms: int, span_s: float, before: Totals, now: Totals) -> Point:
    part = _less(now, before)
    return Point(
        at_ms=at_ms,
        span_s=round(span_s, 3),
        allowed=part.allowed,
        scaled=part.scaled,
        blocked=part.blocked,
        added_p50_ms=_ms(quantile(part.bounds_s, part.added, 0.5)),
        added_p99_ms=_ms(quantile(part.bounds_s, part.added, 0.99)),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 4)
