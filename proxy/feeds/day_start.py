"""What losses are measured from: equity at the start of the UTC day and ISO week, and the high-water mark.

Kept in a file, because a restart at noon must not forgive the morning's loss. A file that
cannot be read is never replaced silently: losses are then unknown, which blocks new exposure,
until a person has looked.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from proxy.feeds.reading import Malformed, document, number, record, text
from rules import Fact, Losses

log = structlog.get_logger("riskgate.feeds.day_start")

VERSION = 1
FILE_BYTES_MAX = 4 * 1024 * 1024
NO_MARKS = Losses(day_start_equity=None, week_start_equity=None, high_water_mark=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One account's marks. `day` and `week` are ISO (2026-01-05, 2026-W02), so they sort."""

    day: str
    day_equity: Decimal
    week: str
    week_equity: Decimal
    high: Decimal


class DayStart:
    """The marks of all accounts. The first reading of a day or week is its start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts: dict[str, Start] = {}
        self._shown: dict[str, tuple[Start | None, int, Losses]] = {}
        self._writing = asyncio.Lock()
        self._unsaved = False
        self._problem: str | None = None
        self._read()

    @property
    def problem(self) -> str | None:
        """What is wrong with the file, in words; None when all is well."""
        return self._problem

    def losses(self, account: str, equity: Fact[Decimal] | None, now: datetime) -> Fact[Losses] | None:
        """The marks for `now`; a day or week that no reading has begun yet has no start."""
        start = self._starts.get(account)
        if start is None or equity is None or self._problem is not None:
            return None
        # Asked for on every order and changed a few times a day.
        shown, day, losses = self._shown.get(account, (None, 0, NO_MARKS))
        if shown is not start or day != now.toordinal():
            losses = Losses(
                day_start_equity=start.day_equity if start.day == day_of(now) else None,
                week_start_equity=start.week_equity if start.week == week_of(now) else None,
                high_water_mark=start.high,
            )
            self._shown[account] = (start, now.toordinal(), losses)
        return Fact(losses, equity.as_of)

    async def observe(self, account: str, equity: Fact[Decimal] | None) -> None:
        """Take a reading of the account's whole equity; what it changes is on disk when this returns."""
        if equity is None or self._problem is not None:
            return
        known = self._starts.get(account)
        after = advanced(known, equity)
        if after == known and not self._unsaved:
            return
        self._starts[account] = after
        if known is None or known.day != after.day:
            log.info("day.started", account=account, day=after.day, equity=str(after.day_equity))
        await self._save()

    async def _save(self) -> None:
        self._unsaved = True
        async with self._writing:
            written = dict(self._starts)
            try:
                await asyncio.to_thread(self._write, written)
            except OSError as error:
                # The marks stay in memory and right; the next reading tries again.
                log.error("day_start.unsaved", path=str(self._path), error=type(error).__name__)
                return
            self._unsaved = self._starts != written

    def _write(self, starts: dict[str, Start]) -> None:
        accounts = {
            name: {
                "day": start.day,
                "day_equity": str(start.day_equity),
                "week": start.week,
                "week_equity": str(start.week_equity),
                "high": str(start.high),
            }
            for name, start in starts.items()
        }
        beside = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, "accounts": accounts}, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _read(self) -> None:
        try:
            body = self._path.read_bytes()
        except FileNotFoundError:
            return  # the first start; every account begins with its first reading
        except OSError as error:
            self._refuse(f"cannot be read: {type(error).__name__}")
            return
        try:
            self._starts = _starts(body)
        except Malformed as error:
            self._refuse(f"cannot be trusted: {error}")

    def _refuse(self, why: str) -> None:
        self._problem = f"{self._path} {why}; losses are unknown until it is repaired or removed by hand"
        log.error("day_start.unreadable", path=str(self._path), error=why)


def day_of(instant: datetime) -> str:
    """The UTC day."""
    return instant.date().isoformat()


def week_of(instant: datetime) -> str:
    """The ISO week of the UTC day."""
    year, week, _ = instant.isocalendar()
    return f"{year}-W{week:02}"


def advanced(known: Start | None, equity: Fact[Decimal]) -> Start:
    """The marks after a reading. A day or week that has begun never ends by a clock that runs back."""
    day, week, value = day_of(equity.as_of), week_of(equity.as_of), equity.value
    if known is None:
        return Start(day=day, day_equity=value, week=week, week_equity=value, high=value)
    after = known
    if day > known.day:
        after = replace(after, day=day, day_equity=value)
    if week > known.week:
        after = replace(after, week=week, week_equity=value)
    if value > known.high:
        after = replace(after, high=value)
    return after


def _starts(body: bytes) -> dict[str, Start]:
    found = record(document(body, bytes_max=FILE_BYTES_MAX))
    if found.get("version") != VERSION:
        raise Malformed(f"version: expected {VERSION}, found {found.get('version')!r}")
    starts: dict[str, Start] = {}
    for name, row in record(found.get("accounts")).items():
        marks = record(row)
        starts[name] = Start(
            day=_day(marks),
            day_equity=number(marks, "day_equity"),
            week=text(marks, "week"),
            week_equity=number(marks, "week_equity"),
            high=number(marks, "high"),
        )
    return starts


def _day(marks: Mapping[str, Any]) -> str:
    day = text(marks, "day")
    try:
        datetime.strptime(day, "%Y-%m-%d")  # noqa: DTZ007 - only the form is checked
    except ValueError:
        raise Malformed(f"day: expected a date such as 2026-01-05, found {day!r}") from None
    return day
