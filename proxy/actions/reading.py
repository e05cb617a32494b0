"""What an account has at the venue, asked for now: working orders and what is held.

An action trusts no picture that was there before: what it cancels, closes and calls done comes from readings of
its own, asked for after what they are to show. Orders are read before holdings, so that an order that fills in
between is seen twice and never missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from proxy.feeds.account import conditional_order, futures_order, futures_positions, spot_order
from proxy.feeds.reading import Malformed, record, rows, size, text
from proxy.feeds.venue import Venue
from rules import DOLLAR_COINS, Bucket, Filters, Market, Position, Side, WorkingOrder

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A working order. A protective one can only shrink what is held: it is kept until positions are closed."""

    market: Market
    symbol: str
    order: WorkingOrder
    protective: bool

    @property
    def key(self) -> tuple[str, str]:
        """What names it: ids are unique within a symbol only."""
        return self.symbol, self.order.order_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One reading. `held` is signed, by symbol and bucket; on spot it is what is free of a pair's coin."""

    market: Market
    as_of: datetime
    sent_s: float
    held: Mapping[tuple[str, Bucket], Decimal]
    orders: tuple[Resting, ...] = ()
    hedge_mode: bool = False
    coins: Mapping[str, Decimal] | None = None  # of spot: everything held, locked included


async def read_futures(venue: Venue) -> Picture:
    """Conditional orders, orders, positions, in this order."""
    algo = await venue.get("/fapi/v1/openAlgoOrders", signed=True)
    plain = await venue.get("/fapi/v1/openOrders", signed=True)
    found = [conditional_order(row) for row in rows(algo.found)] + [futures_order(row) for row in rows(plain.found)]
    orders = tuple(
        Resting(market=Market.LINEAR, symbol=one.symbol, order=one.order, protective=one.order.reduces_by_venue)
        for one in found
    )
    held = await read_positions(venue)
    # As old as its first request: the oldest part decides.
    return Picture(
        market=Market.LINEAR, as_of=algo.as_of, sent_s=algo.sent_s, held=held.held, orders=orders,
        hedge_mode=held.hedge_mode,
    )  # fmt: skip


async def read_positions(venue: Venue) -> Picture:
    """Positions alone: what a closing order needs to know, at a twentieth of the weight."""
    reply = await venue.get("/fapi/v3/positionRisk", signed=True)
    listed = rows(reply.found)
    held: dict[tuple[str, Bucket], Decimal] = {}
    for symbol, position in futures_positions(listed).items():
        for bucket in Bucket:
            if amount := position.signed(bucket):
                held[symbol, bucket] = amount
    legs = any(row.get("positionSide") in ("LONG", "SHORT") for row in listed)
    return Picture(market=Market.LINEAR, as_of=reply.as_of, sent_s=reply.sent_s, held=held, hedge_mode=legs)


async def read_spot(venue: Venue, filters: Mapping[str, Filters]) -> Picture:
    """Orders, then balances; a coin is held under the pair that sells it for dollars."""
    plain = await venue.get("/api/v3/openOrders", signed=True)
    account = await venue.get("/api/v3/account", {"omitZeroBalances": "true"}, signed=True)
    listed = rows(plain.found)
    working = [spot_order(row) for row in listed]
    guarded = {
        row["orderListId"] for row, one in zip(listed, working, strict=True)
        if row.get("orderListId", -1) not in (-1, None) and _guards(one.order, one.symbol, filters)
    }  # fmt: skip
    orders = tuple(
        Resting(
            market=Market.SPOT, symbol=one.symbol, order=one.order,
            # The other half of a guarding pair falls with it: cancelling either cancels both.
            protective=_guards(one.order, one.symbol, filters)
            or (row.get("orderListId", -1) in guarded and one.order.side is Side.SELL),
        )
        for row, one in zip(listed, working, strict=True)
    )  # fmt: skip
    coins, held = _coins(rows(record(account.found).get("balances")), filters)
    return Picture(
        market=Market.SPOT, as_of=plain.as_of, sent_s=plain.sent_s, held=held, orders=orders, coins=coins
    )


def _guards(order: WorkingOrder, symbol: str, filters: Mapping[str, Filters]) -> bool:
    """A stop that sells what is held for dollars: spot has no reduce-only, but selling coins opens nothing."""
    found = filters.get(symbol)
    return (
        order.side is Side.SELL
        and order.trigger_price is not None
        and found is not None
        and found.quote_asset in DOLLAR_COINS
    )


def _coins(
    balances: list[Mapping[str, Any]], filters: Mapping[str, Filters]
) -> tuple[dict[str, Decimal], dict[tuple[str, Bucket], Decimal]]:
    """What is held by coin, and what is free of it by the pair that sells it."""
    pairs = sold_by(filters)
    coins: dict[str, Decimal] = {}
    held: dict[tuple[str, Bucket], Decimal] = {}
    for row in balances:
        coin, free, locked = text(row, "asset"), size(row, "free"), size(row, "locked")
        if coin in coins:
            raise Malformed(f"{coin} is listed twice")
        if coin in DOLLAR_COINS or not free + locked:
            continue
        coins[coin] = free + locked
        if coin in pairs and free:
            held[pairs[coin], Bucket.BOTH] = free
    return coins, held


def sold_by(filters: Mapping[str, Filters]) -> dict[str, str]:
    """For each coin the pair that sells it for a dollar coin, the preferred one first."""
    found: dict[str, tuple[int, str]] = {}
    for symbol, one in filters.items():
        if one.quote_asset not in DOLLAR_COINS:
            continue
        rank = DOLLAR_COINS.index(one.quote_asset), symbol
        found[one.base_asset] = min(found.get(one.base_asset, rank), rank)
    return {coin: symbol for coin, (_, symbol) in found.items()}


def position_of(picture: Picture, symbol: str) -> Position:
    """What a reading shows of a symbol, as rules read it."""
    of = picture.held
    return Position(
        both=of.get((symbol, Bucket.BOTH), ZERO),
        long=of.get((symbol, Bucket.LONG), ZERO),
        short=-of.get((symbol, Bucket.SHORT), ZERO),
    )
