"""A venue's list of what happened, asked for part by part: no question may be about more than so much time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from proxy.feeds.reading import rows
from proxy.feeds.stamps import MILLISECOND, instant_of, stamp
from proxy.feeds.venue import FeedFailed, Venue

PAGE = 1000

Row = Mapping[str, Any]


def spans(since: datetime, until: datetime, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """A time in parts of at most a length, both ends included."""
    while since <= until:
        end = min(until, since + length - MILLISECOND)
        yield since, end
        since = end + MILLISECOND


async def happened(
    venue: Venue,
    path: str,
    since: datetime,
    until: datetime,
    *,
    key: Callable[[Row], str],
    length: timedelta,
    of: Mapping[str, str] | None = None,
) -> list[Row]:
    """Every row of a time, each once by its key, from a list that answers the oldest first."""
    found: dict[str, Row] = {}
    for begins, ends in spans(since, until, length):
        start = begins
        while True:
            asked = {**(of or {}), "startTime": stamp(start), "endTime": stamp(ends), "limit": str(PAGE)}
            page = rows((await venue.get(path, asked, signed=True)).found)
            found |= {key(row): row for row in page}
            if len(page) < PAGE:
                break
            last = max(instant_of(row, "time") for row in page)
            if last <= start:
                raise FeedFailed(f"{path}: more rows of one millisecond than a page holds")
            start = last  # inclusive: what shares this millisecond comes again
    return list(found.values())
