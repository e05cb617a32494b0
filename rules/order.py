"""What a bot asks: an order in its normal form, whichever venue and client wrote it.

A request carries one instruction or several that stand or fall together. The family is
closed: whatever a venue's API can ask that may change exposure is one of these four.
Who asks is not here: a bot's bytes do not prove it, so the caller is a fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

NOTHING: Final = Decimal(0)


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """How an order finds its price, reduced to what risk needs to know."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    STOP_LIMIT = "STOP_LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRAILING_STOP = "TRAILING_STOP"


class Market(StrEnum):
    """What is traded: coins themselves, or contracts that settle in the quote currency."""

    SPOT = "spot"
    LINEAR = "linear"


class Bucket(StrEnum):
    """The position an order works on: the one net position, or a leg of hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"

    __hash__ = str.__hash__  # the same number as the enumeration's own, which is worked out in Python


BOTH: Final = Bucket.BOTH


class ReplaceMode(StrEnum):
    """What happens to the working order that a new one replaces."""

    AMEND = "AMEND"  # the same order lives on with new values
    STOP_ON_FAILURE = "STOP_ON_FAILURE"  # no new order if the cancel fails
    ALLOW_FAILURE = "ALLOW_FAILURE"  # both may live


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """The working order that this one amends or replaces, as the bot named it."""

    mode: ReplaceMode
    order_id: str | None = None
    client_order_id: str | None = None


@dataclass(slots=True, init=False, unsafe_hash=True)
class Order:
    """An instruction to trade. What was judged is never changed; `dataclasses.replace` makes another, checked anew.

    Quantities are in base units, `quote_quantity` in quote currency; exactly one of
    `quantity`, `quote_quantity` and `close_position` says how much. Prices are in quote
    currency per base unit. `callback_rate` is a fraction.
    """

    # Final, and not a frozen dataclass: the type checker refuses an assignment anywhere, and making an order
    # does not take a call for each of its fields, which took as long as judging it (`rules/values.py`).
    symbol: Final[str]
    side: Final[Side]
    type: Final[OrderType]
    market: Final[Market]
    quantity: Final[Decimal | None]
    quote_quantity: Final[Decimal | None]
    close_position: Final[bool]
    price: Final[Decimal | None]
    trigger_price: Final[Decimal | None]
    activation_price: Final[Decimal | None]
    callback_rate: Final[Decimal | None]
    price_follows_book: Final[bool]  # priceMatch, pegged: the venue picks the price
    iceberg_quantity: Final[Decimal | None]
    time_in_force: Final[str | None]
    bucket: Final[Bucket]
    reduce_only: Final[bool]
    client_order_id: Final[str | None]
    replaces: Final[Replaced | None]
    group: Final[int | None]  # orders of one request with the same number exclude each other (OCO)
    pending_on: Final[int | None]  # index of the order of the same request whose fill brings this one to life

    def __init__(
        self,
        *,
        symbol: str,
        side: Side,
        type: OrderType,  # noqa: A002 - the desk's word, as everywhere
        market: Market,
        quantity: Decimal | None = None,
        quote_quantity: Decimal | None = None,
        close_position: bool = False,
        price: Decimal | None = None,
        trigger_price: Decimal | None = None,
        activation_price: Decimal | None = None,
        callback_rate: Decimal | None = None,
        price_follows_book: bool = False,
        iceberg_quantity: Decimal | None = None,
        time_in_force: str | None = None,
        bucket: Bucket = BOTH,
        reduce_only: bool = False,
        client_order_id: str | None = None,
        replaces: Replaced | None = None,
        group: int | None = None,
        pending_on: int | None = None,
    ) -> None:
        # Refuse an order that does not say, exactly once, how much.
        if (quantity is not None) + (quote_quantity is not None) + close_position != 1:
            raise ValueError("an order states exactly one of quantity, quote_quantity and close_position")
        amount = quote_quantity if quantity is None else quantity
        if amount is not None and not amount > NOTHING:
            raise ValueError(f"an order's quantity must be positive, found {amount}")
        self.symbol = symbol
        self.side = side
        self.type = type
        self.market = market
        self.quantity = quantity
        self.quote_quantity = quote_quantity
        self.close_position = close_position
        self.price = price
        self.trigger_price = trigger_price
        self.activation_price = activation_price
        self.callback_rate = callback_rate
        self.price_follows_book = price_follows_book
        self.iceberg_quantity = iceberg_quantity
        self.time_in_force = time_in_force
        self.bucket = bucket
        self.reduce_only = reduce_only
        self.client_order_id = client_order_id
        self.replaces = replaces
        self.group = group
        self.pending_on = pending_on


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityCut:
    """A working order's quantity lowered in place (Binance spot `amend/keepPriority`).

    The venue refuses a quantity that is not below the present one, so this can only reduce.
    """

    symbol: str
    market: Market
    quantity: Decimal
    replaces: Replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageChange:
    """A request to set the leverage of a symbol."""

    symbol: str
    leverage: Decimal


class MarginKind(StrEnum):
    """Which margin setting a request wants to change."""

    MARGIN_TYPE = "margin_type"
    POSITION_MODE = "position_mode"
    POSITION_MARGIN_ADD = "position_margin_add"
    POSITION_MARGIN_REMOVE = "position_margin_remove"
    MULTI_ASSETS_MODE = "multi_assets_mode"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginChange:
    """A request to change how positions are margined; `value` is the venue's own word for it."""

    kind: MarginKind
    value: str
    symbol: str | None = None


Instruction: TypeAlias = Order | QuantityCut | LeverageChange | MarginChange
