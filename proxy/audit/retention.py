"""How long records are kept: whole segments go, oldest first, and the chain says where it begins since then.

Before anything is removed, the chain itself records which segments go and up to which head. `oldest.json` then
says where it begins, and `verify` believes that only if the record says the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import structlog

from proxy.audit.chain import (
    RETIRED,
    Head,
    Oldest,
    end_of,
    lines_backwards,
    segments_of,
    split_lines,
    write_oldest,
)
from proxy.audit.folder import remove_older
from proxy.audit.writer import Audit
from proxy.clock import Clock
from proxy.errors import ProxyError

log: Final = structlog.get_logger("riskgate.audit")

LOOK_EVERY_S: Final = 600.0
# A clock that was wrong for a while must not cost records: they are past their time for this long by another clock.
SETTLED_S: Final = 3600.0


class Retired(NamedTuple):
    """Segments that may go: up to which head, and what the record says of each."""

    upto: Head
    last: int
    segments: list[dict[str, Any]]


class Retention:
    """Removes segments whose newest record is older than `keep_s`."""

    def __init__(self, audit: Audit, *, keep_s: float, clock: Clock) -> None:
        self._audit = audit
        self._keep = timedelta(seconds=keep_s)
        self._clock = clock
        self._past_since: dict[int, float] = {}

    async def watch(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.look()
            except (OSError, ProxyError) as error:  # nothing is lost by keeping more; the next look tries again
                log.warning("audit.not_retired", error=str(error))
            await asyncio.sleep(every_s)

    async def look(self) -> int:
        """Remove what is past its time, and has been for an hour; how many segments went."""
        if not self._audit.may_retire():
            return 0
        directory = self._audit.directory
        last = await asyncio.to_thread(last_before, directory, self._clock.now() - self._keep)
        now_s = self._clock.monotonic()
        self._past_since = {
            number: self._past_since.get(number, now_s)
            for number, _ in segments_of(directory)
            if last is not None and number <= last
        }
        settled = [number for number, since_s in self._past_since.items() if now_s - since_s >= SETTLED_S]
        if not settled:
            return 0
        retired = await asyncio.to_thread(describe, directory, max(settled))
        await self._audit.retire(self._record(retired), partial(remove, retired=retired))
        log.info("audit.retired", segments=len(retired.segments), upto=retired.upto.sequence)
        return len(retired.segments)

    def _record(self, retired: Retired) -> dict[str, object]:
        return {
            "kind": RETIRED,
            "upto": retired.upto.sequence,
            "upto_hash": retired.upto.hash,
            "keep_days": self._keep.total_seconds() / 86400,
            "segments": retired.segments,
        }


def last_before(directory: Path, instant: datetime) -> int | None:
    """The last of the oldest segments that all end before an instant; never the newest segment."""
    found: int | None = None
    for number, path in segments_of(directory)[:-1]:
        if _at(next(lines_backwards(path))) >= instant:
            break
        found = number
    return found


def describe(directory: Path, last: int) -> Retired:
    """What is said of the segments up to number `last` before they go."""
    told: list[dict[str, Any]] = []
    upto = Head(0, "")
    for number, path in segments_of(directory):
        if number > last:
            break
        content = path.read_bytes()
        lines, _ = split_lines(content)
        upto = end_of(path)
        told.append(
            {
                "segment": number, "records": len(lines), "first_at": _at(lines[0]), "last_at": _at(lines[-1]),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )  # fmt: skip
    return Retired(upto, last, told)


def remove(directory: Path, retired: Retired) -> None:
    """Say where the chain begins from now on, then remove what is before that."""
    write_oldest(directory, Oldest(retired.upto, retired.last + 1))
    remove_older(directory)


def _at(line: bytes) -> datetime:
    return datetime.fromisoformat(orjson.loads(line)["at"])
