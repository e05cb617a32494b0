"""Reads what a feed was answered: exact numbers, no guessing, malformed is no update."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from proxy.errors import OrderNotUnderstood
from proxy.wire import loads

DOCUMENT_BYTES_MAX = 8 * 1024 * 1024
DEPTH_MAX = 16
STAMP_MAX_MS = 1 << 53
NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?", re.ASCII)


class Malformed(Exception):
    """An answer that cannot be taken: what was known stays, and ages."""


def document(body: bytes, *, bytes_max: int = DOCUMENT_BYTES_MAX) -> Any:  # noqa: ANN401 - the readers below narrow it
    """The JSON of a body."""
    try:
        return loads(body, characters_max=bytes_max, depth_max=DEPTH_MAX)
    except OrderNotUnderstood as error:
        raise Malformed(str(error)) from None


def rows(found: object) -> list[Mapping[str, Any]]:
    """A list of objects."""
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise Malformed(f"expected a list of objects, found {type(found).__name__}")
    return found


def record(found: object) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(found, dict):
        raise Malformed(f"expected an object, found {type(found).__name__}")
    return found


def text(row: Mapping[str, Any], key: str) -> str:
    """A string that is not empty."""
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{key}: expected text, found {_shown(value)}")
    return value


def identifier(row: Mapping[str, Any], key: str) -> str:
    """An id, which venues write as a whole number or as text."""
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(row, key)


def flag(row: Mapping[str, Any], key: str) -> bool:
    """True or false; nothing that only looks like it."""
    value = row.get(key)
    if not isinstance(value, bool):
        raise Malformed(f"{key}: expected true or false, found {_shown(value)}")
    return value


def number(row: Mapping[str, Any], key: str) -> Decimal:
    """A number, as JSON number or as text."""
    value = row.get(key)
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and NUMBER.fullmatch(value) is not None:
        return Decimal(value)
    raise Malformed(f"{key}: expected a number, found {_shown(value)}")


def size(row: Mapping[str, Any], key: str) -> Decimal:
    """A number that is not negative."""
    value = number(row, key)
    if value < 0:
        raise Malformed(f"{key}: expected a number of at least 0, found {value}")
    return value


def stamp_ms(row: Mapping[str, Any], key: str) -> int:
    """A time in whole milliseconds."""
    value = row.get(key)
    if type(value) is not int or not 0 <= value < STAMP_MAX_MS:
        raise Malformed(f"{key}: expected a time in milliseconds, found {_shown(value)}")
    return value


def optional_stamp_ms(row: Mapping[str, Any], key: str) -> int:
    """A time in whole milliseconds, or 0 where the venue states none."""
    return 0 if row.get(key) is None else stamp_ms(row, key)


def price(row: Mapping[str, Any], key: str) -> Decimal | None:
    """A price, or None where the venue writes 0 or nothing for 'there is none'."""
    if row.get(key) in (None, ""):
        return None
    value = number(row, key)
    return value if value > 0 else None


def _shown(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
