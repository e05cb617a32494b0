"""Reads what Binance pushes: one event in, what it means for orders and holdings out.

Strict as every reader: a field that is not what it should be makes the event malformed, and an
event that cannot be read may have been the one that mattered.
https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams
https://github.com/binance/binance-spot-api-docs/blob/master/user-data-stream.md
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from proxy.book import Working, only_closes
from proxy.feeds.reading import Malformed, flag, identifier, number, price, record, rows, size, stamp_ms, text
from proxy.feeds.stream_picture import HeldKey, OrderKey, Step, Told
from proxy.reservations import ALGO
from rules import Bucket, Filters, Side, WorkingOrder

ZERO = Decimal(0)
OVER = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED", "TRADE_PREVENTION"})
WORKS = frozenset({"NEW", "PARTIALLY_FILLED", "PENDING_NEW", "PENDING_CANCEL"})
ALGO_OVER = frozenset({"CANCELED", "EXPIRED", "REJECTED"})
ALGO_TRIGGERED = frozenset({"TRIGGERED", "FINISHED"})


class Triggered(NamedTuple):
    """A conditional order became an ordinary one."""

    key: OrderKey
    child: OrderKey | None


class Leverage(NamedTuple):
    """The leverage of a symbol was set."""

    symbol: str
    leverage: Decimal


def futures_step(event: Mapping[str, Any]) -> Step:
    """ORDER_TRADE_UPDATE."""
    row = record(event.get("o"))
    symbol, side, bucket = text(row, "s"), _side(row, "S"), _bucket(row, "ps")
    executed, traded = size(row, "z"), size(row, "l") if row.get("x") in ("TRADE", "CALCULATED") else ZERO
    sign = 1 if side is Side.BUY else -1
    key = (symbol, bucket)
    order = WorkingOrder(
        order_id=identifier(row, "i"),
        client_order_id=_name(row, "c"),
        side=side,
        bucket=bucket,
        remaining=max(ZERO, size(row, "q") - executed),
        price=price(row, "p"),
        trigger_price=price(row, "sp"),
        reduces_by_venue=only_closes(
            side, bucket, reduce_only=flag(row, "R"), close_position=_optional_flag(row, "cp")
        ),
    )
    return Step(
        working=Working(symbol, order),
        at_ms=stamp_ms(event, "T"),
        told_ms=stamp_ms(event, "E"),
        executed=executed,
        is_over=_is_over(row),
        traded=traded,
        total={key: sign * executed} if executed else {},
        last={key: sign * traded} if traded else {},
    )


def futures_held(event: Mapping[str, Any]) -> list[Told]:
    """The positions of ACCOUNT_UPDATE; a reason that moves only money names none."""
    at_ms, told_ms = stamp_ms(event, "T"), stamp_ms(event, "E")
    return [
        Told((text(row, "s"), _bucket(row, "ps")), number(row, "pa"), at_ms, told_ms)
        for row in rows(record(event.get("a")).get("P", []))
    ]


def account_reason(event: Mapping[str, Any]) -> str:
    """Why an account changed: ORDER, FUNDING_FEE, DEPOSIT, ..."""
    return text(record(event.get("a")), "m")


def algo_step(event: Mapping[str, Any]) -> Step | Triggered | None:
    """ALGO_UPDATE: a conditional order works, ended, or became another one; None while it is triggering."""
    row = record(event.get("o"))
    symbol, status = text(row, "s"), text(row, "X")
    order_id = ALGO + identifier(row, "aid")
    if status in ALGO_TRIGGERED:
        child = str(row["ai"]) if row.get("ai") else None
        return Triggered((symbol, order_id), None if child is None else (symbol, child))
    if status == "TRIGGERING":
        return None  # it counts until what it becomes is seen
    if status not in ALGO_OVER and status != "NEW":
        raise Malformed(f"X: expected a state of a conditional order, found {status[:40]!r}")
    side, bucket, closes = _side(row, "S"), _bucket(row, "ps"), flag(row, "cp")
    order = WorkingOrder(
        order_id=order_id,
        client_order_id=_name(row, "caid"),
        side=side,
        bucket=bucket,
        remaining=ZERO if closes else size(row, "q"),
        price=price(row, "p"),
        trigger_price=price(row, "tp"),
        reduces_by_venue=only_closes(side, bucket, reduce_only=flag(row, "R"), close_position=closes),
    )
    return Step(
        working=Working(symbol, order),
        at_ms=stamp_ms(event, "T"),
        told_ms=stamp_ms(event, "E"),
        executed=ZERO,
        is_over=status in ALGO_OVER,
    )


def leverage_set(event: Mapping[str, Any]) -> Leverage | None:
    """The leverage in ACCOUNT_CONFIG_UPDATE; None where another setting changed."""
    if event.get("ac") is None:
        return None
    row = record(event["ac"])
    leverage = number(row, "l")
    if leverage < 1:
        raise Malformed(f"l: expected a leverage of at least 1, found {leverage}")
    return Leverage(text(row, "s"), leverage)


def spot_step(event: Mapping[str, Any], filters: Mapping[str, Filters]) -> Step:
    """executionReport; `filters` say which coins the symbol trades."""
    symbol, side = text(event, "s"), _side(event, "S")
    executed, quote_executed = size(event, "z"), size(event, "Z")
    traded = size(event, "l") if event.get("x") == "TRADE" else ZERO
    sign = 1 if side is Side.BUY else -1
    known = filters.get(symbol)
    total: dict[HeldKey, Decimal] = {}
    last: dict[HeldKey, Decimal] = {}
    if known is not None and executed:
        total = {
            (known.base_asset, Bucket.BOTH): sign * executed, (known.quote_asset, Bucket.BOTH): -sign * quote_executed,
        }
    if known is not None and traded:
        last = {
            (known.base_asset, Bucket.BOTH): sign * traded, (known.quote_asset, Bucket.BOTH): -sign * size(event, "Y"),
        }
        if event.get("N") is not None:
            paid = (text(event, "N"), Bucket.BOTH)
            last[paid] = last.get(paid, ZERO) - number(event, "n")
    order = WorkingOrder(
        order_id=identifier(event, "i"),
        # Of a cancelled order `c` is the name of the cancel.
        client_order_id=(_name(event, "C") if event.get("x") == "CANCELED" else None) or _name(event, "c"),
        side=side,
        bucket=Bucket.BOTH,
        remaining=max(ZERO, size(event, "q") - executed),
        price=price(event, "p"),
        trigger_price=price(event, "P"),
    )
    return Step(
        working=Working(symbol, order, _group(event)),
        at_ms=stamp_ms(event, "T"),
        told_ms=stamp_ms(event, "E"),
        executed=executed,
        is_over=_is_over(event),
        traded=traded,
        total=total,
        last=last,
    )


def spot_held(event: Mapping[str, Any]) -> list[Told]:
    """The balances of outboundAccountPosition, what open orders lock included."""
    at_ms, told_ms = stamp_ms(event, "u"), stamp_ms(event, "E")
    return [
        Told((text(row, "a"), Bucket.BOTH), size(row, "f") + size(row, "l"), at_ms, told_ms)
        for row in rows(event.get("B"))
    ]


def _group(event: Mapping[str, Any]) -> str | None:
    group = event.get("g", -1)
    if group in (-1, None):
        return None
    return f"{group}:pending" if event.get("X") == "PENDING_NEW" else str(group)


def _is_over(row: Mapping[str, Any]) -> bool:
    status = text(row, "X")
    if status not in OVER and status not in WORKS:
        raise Malformed(f"X: expected a state of an order, found {status[:40]!r}")
    return status in OVER


def _name(row: Mapping[str, Any], key: str) -> str | None:
    return text(row, key) if row.get(key) else None


def _optional_flag(row: Mapping[str, Any], key: str) -> bool:
    return flag(row, key) if key in row else False


def _side(row: Mapping[str, Any], key: str) -> Side:
    try:
        return Side(text(row, key))
    except ValueError:
        raise Malformed(f"{key}: expected BUY or SELL, found {row[key]!r}") from None


def _bucket(row: Mapping[str, Any], key: str) -> Bucket:
    try:
        return Bucket(text(row, key))
    except ValueError:
        raise Malformed(f"{key}: expected BOTH, LONG or SHORT, found {row[key]!r}") from None
