"""The ledger's file: one JSON document, replaced as a whole and synced, read strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from proxy.errors import OrderNotUnderstood
from proxy.ledger.marks import Mark, Marks, Streak
from proxy.ledger.readings import Flow, Sample
from proxy.ledger.wallet import Placed, Wallet
from proxy.wire import loads
from rules import Market

VERSION = 2
FILE_BYTES_MAX = 16 * 1024 * 1024
DEPTH_MAX = 8


class Unreadable(Exception):
    """The file is not what this program wrote."""


@dataclass(slots=True)
class Kept:
    """What the file holds of one account. `done` is what was done about each window, and about which of them."""

    marks: Marks | None = None
    wallets: dict[Market, Wallet] = field(default_factory=dict)
    done: dict[str, tuple[str, int]] = field(default_factory=dict)


def read(path: Path, skew: timedelta) -> dict[str, Kept]:
    """Everything in the file; nothing where there is none. Raises OSError, or Unreadable saying what is wrong."""
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        found = loads(body, characters_max=FILE_BYTES_MAX, depth_max=DEPTH_MAX)
        version = found["version"]
        if version not in (1, VERSION):
            raise Unreadable(f"version: expected {VERSION}, found {version!r}")
        accounts = found["accounts"].items()
        if version == 1:
            return {name: _first_version(row) for name, row in accounts}
        return {name: _account(row, skew) for name, row in accounts}
    except OrderNotUnderstood as error:
        raise Unreadable(str(error)) from None
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def document(accounts: Mapping[str, Kept]) -> bytes:
    """What is written."""
    rows = {name: _row(kept) for name, kept in accounts.items() if kept.marks is not None or kept.done}
    return json.dumps({"version": VERSION, "accounts": rows}, indent=1, sort_keys=True).encode()


def write(path: Path, body: bytes) -> None:
    """Replace the file as a whole; it is on disk when this returns."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# --- writing ---------------------------------------------------------------------------------


def _row(kept: Kept) -> dict[str, Any]:
    marks = kept.marks
    return {
        "marks": None if marks is None else _marks_row(marks),
        "wallets": {market.value: _wallet_row(wallet) for market, wallet in kept.wallets.items()},
        "done": {window: list(done) for window, done in kept.done.items()},
    }


def _marks_row(marks: Marks) -> dict[str, Any]:
    streak = marks.streak
    return {
        "day_from": marks.day_from.isoformat(),
        "day": _mark_row(marks.day),
        "week_from": marks.week_from.isoformat(),
        "week": _mark_row(marks.week),
        "high": _mark_row(marks.high),
        "last": _mark_row(marks.last),
        "day_low": format(marks.day_low, "f"),
        "week_low": format(marks.week_low, "f"),
        "end_of_day_high": format(marks.end_of_day_high, "f"),
        "drawdown_ema": None if marks.ema is None else format(marks.ema, "f"),
        "streak": {
            "length": streak.length,
            "last_loss_at": _instant_text(streak.last_loss_at),
            "symbol": streak.symbol,
            "amount": format(streak.amount, "f"),
            "at": _instant_text(streak.at),
        },
    }


def _mark_row(mark: Mark | None) -> dict[str, str] | None:
    if mark is None:
        return None
    return {
        "at": mark.at.isoformat(),
        "equity": format(mark.equity, "f"),
        "balance": format(mark.balance, "f"),
        "transfers": format(mark.flows, "f"),
    }


def _wallet_row(wallet: Wallet) -> dict[str, Any]:
    return {
        "begins": _instant_text(wallet.begins),
        "complete_to": _instant_text(wallet.complete_to),
        "transfers": format(wallet.total, "f"),
        "transfers_folded": format(wallet.folded, "f"),
        "placed": None if wallet.placed is None else _sample_row(wallet.placed),
        "anchor": None if wallet.anchor is None else _sample_row(wallet.anchor),
        "recent": [
            [flow.key, format(flow.amount, "f"), flow.at.isoformat(), flow.until.isoformat()]
            for flow in wallet.flows.values()
        ],
    }


def _sample_row(sample: Sample) -> dict[str, Any]:
    return {
        "equity": format(sample.equity, "f"),
        "balance": format(sample.balance, "f"),
        "cash": {coin: format(amount, "f") for coin, amount in sample.cash.items()},
        "prices": {coin: format(price, "f") for coin, price in sample.prices.items()},
        "sent": sample.sent.isoformat(),
        "received": sample.received.isoformat(),
        "as_of": sample.as_of.isoformat(),
    }


def _instant_text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


# --- reading ---------------------------------------------------------------------------------


def _account(row: Mapping[str, Any], skew: timedelta) -> Kept:
    marks = row["marks"]
    return Kept(
        marks=None if marks is None else _marks(marks),
        wallets={Market(name): _wallet(found, skew) for name, found in row["wallets"].items()},
        done={_text(window): (_text(key), int(step)) for window, (key, step) in row["done"].items()},
    )


def _marks(row: Mapping[str, Any]) -> Marks:
    streak = row["streak"]
    ema = row["drawdown_ema"]
    return Marks(
        day_from=_instant(row["day_from"]),
        day=None if row["day"] is None else _mark(row["day"]),
        week_from=_instant(row["week_from"]),
        week=None if row["week"] is None else _mark(row["week"]),
        high=_mark(row["high"]),
        last=_mark(row["last"]),
        day_low=_number(row["day_low"]),
        week_low=_number(row["week_low"]),
        end_of_day_high=_number(row["end_of_day_high"]),
        ema=None if ema is None else _number(ema),
        streak=Streak(
            length=int(streak["length"]),
            last_loss_at=_optional_instant(streak["last_loss_at"]),
            symbol=str(streak["symbol"]),
            amount=_number(streak["amount"]),
            at=_optional_instant(streak["at"]),
        ),
    )


def _mark(row: Mapping[str, Any]) -> Mark:
    return Mark(
        _instant(row["at"]), _number(row["equity"]), _number(row["balance"]), _number(row["transfers"])
    )


def _wallet(row: Mapping[str, Any], skew: timedelta) -> Wallet:
    wallet = Wallet(skew)
    wallet.begins = _optional_instant(row["begins"])
    wallet.complete_to = _optional_instant(row["complete_to"])
    wallet.total = _number(row["transfers"])
    wallet.folded = _number(row["transfers_folded"])
    wallet.placed = None if row["placed"] is None else _sample(row["placed"])
    wallet.anchor = None if row["anchor"] is None else _sample(row["anchor"])
    wallet.current = None if wallet.placed is None else Placed(wallet.placed, wallet.total)
    wallet.flows = {
        _text(key): Flow(_text(key), _number(amount), _instant(at), _instant(until))
        for key, amount, at, until in row["recent"]
    }
    return wallet


def _sample(row: Mapping[str, Any]) -> Sample:
    return Sample(
        equity=_number(row["equity"]),
        balance=_number(row["balance"]),
        cash={_text(coin): _number(amount) for coin, amount in row["cash"].items()},
        prices={_text(coin): _number(price) for coin, price in row["prices"].items()},
        sent=_instant(row["sent"]),
        received=_instant(row["received"]),
        as_of=_instant(row["as_of"]),
    )


def _first_version(row: Mapping[str, Any]) -> Kept:
    """Marks of whole accounts, of UTC days, without transfers: those after the first reading count from now on."""
    day_from = datetime.strptime(_text(row["day"]), "%Y-%m-%d").replace(tzinfo=UTC)
    week_from = datetime.strptime(_text(row["week"]) + "-1", "%G-W%V-%u").replace(tzinfo=UTC)
    day, week, high = (_number(row[name]) for name in ("day_equity", "week_equity", "high"))
    nothing = Decimal(0)
    return Kept(
        marks=Marks(
            day_from=day_from,
            day=Mark(day_from, day, day, nothing),
            week_from=week_from,
            week=Mark(week_from, week, week, nothing),
            high=Mark(week_from, high, high, nothing),
            last=Mark(day_from, day, day, nothing),
            day_low=day,
            week_low=min(day, week),
            end_of_day_high=day,
        )
    )


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise ValueError(f"expected text, found {type(found).__name__}")  # noqa: TRY004 - told as unreadable
    return found


def _number(found: object) -> Decimal:
    number = Decimal(_text(found))
    if not number.is_finite():
        raise ValueError(f"expected a number, found {found!r}")
    return number


def _instant(found: object) -> datetime:
    instant = datetime.fromisoformat(_text(found))
    if instant.tzinfo is None:
        raise ValueError(f"expected an instant with its offset, found {found!r}")
    return instant


def _optional_instant(found: object) -> datetime | None:
    return None if found is None else _instant(found)
