"""Instants as a venue writes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from proxy.feeds.reading import Malformed

MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime.fromtimestamp(0, UTC)


def instant_of(row: Mapping[str, Any], key: str) -> datetime:
    """Milliseconds since 1970 as an instant."""
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**14:
        raise Malformed(f"{key}: expected milliseconds since 1970, found {str(value)[:40]!r}")
    return EPOCH + timedelta(milliseconds=value)


def stamp(instant: datetime) -> str:
    """An instant as milliseconds since 1970, rounded down."""
    return str((instant - EPOCH) // MILLISECOND)
