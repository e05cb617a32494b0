"""The permits on disk: what was granted and what became of it, replaced as a whole and synced, read strictly."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson

from proxy.permits.permit import Kind, Permit, State

VERSION: Final = 1
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
_TEXTS: Final = (
    "id", "fingerprint", "account", "exchange", "bot", "strategy", "decision_id", "reason", "sentence", "asked_by",
    "why",
)  # fmt: skip
_INSTANTS: Final = ("asked_at", "until", "granted_at", "ended_at")


class Unreadable(Exception):
    """The file is not what this program wrote."""


def read(path: Path) -> list[Permit]:
    """Every permit in the file; none where there is no file. Raises OSError, or Unreadable."""
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return []
    if len(body) > FILE_BYTES_MAX:
        raise Unreadable(f"found {len(body)} bytes, expected at most {FILE_BYTES_MAX}")
    try:
        found = orjson.loads(body)
        if found["version"] != VERSION:
            raise Unreadable(f"version: expected {VERSION}, found {found['version']!r}")
        return [_permit(row) for row in found["permits"]]
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def content(permits: Iterable[Permit]) -> bytes:
    """What is written."""
    rows = [_row(one) for one in permits]
    return orjson.dumps({"version": VERSION, "permits": rows}, option=orjson.OPT_INDENT_2) + b"\n"


def write(path: Path, body: bytes) -> None:
    """Replace the file as a whole; it is on disk when this returns."""
    beside = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _row(permit: Permit) -> dict[str, Any]:
    return {
        **{name: getattr(permit, name) for name in _TEXTS},
        **{name: _text(getattr(permit, name)) for name in _INSTANTS},
        "kind": permit.kind.value,
        "state": permit.state.value,
        "orders": [dict(one) for one in permit.orders],
        "symbols": list(permit.symbols),
        "notional": None if permit.notional is None else format(permit.notional, "f"),
        "prices": {symbol: format(price, "f") for symbol, price in permit.prices.items()},
        "reducing": permit.reducing,
        "granted_by": list(permit.granted_by),
        "used_by": permit.used_by,
    }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _permit(row: dict[str, Any]) -> Permit:
    instants = {name: None if row[name] is None else datetime.fromisoformat(row[name]) for name in _INSTANTS}
    if any(one is not None and one.tzinfo is None for one in instants.values()):
        raise ValueError("found an instant without its zone")
    if not all(isinstance(row[name], str) for name in _TEXTS) or type(row["reducing"]) is not bool:
        raise ValueError("found a value that is no text")
    asked_at, until = instants["asked_at"], instants["until"]
    if asked_at is None or until is None:
        raise ValueError("found a permit without an end")
    return Permit(
        **{name: row[name] for name in _TEXTS},
        asked_at=asked_at,
        until=until,
        granted_at=instants["granted_at"],
        ended_at=instants["ended_at"],
        kind=Kind(row["kind"]),
        state=State(row["state"]),
        orders=tuple(row["orders"]),
        symbols=tuple(row["symbols"]),
        notional=None if row["notional"] is None else Decimal(row["notional"]),
        prices={symbol: Decimal(price) for symbol, price in row["prices"].items()},
        reducing=row["reducing"],
        granted_by=tuple(row["granted_by"]),
        used_by=row["used_by"],
    )
