"""The fields that Binance's order forms share, each read in one way or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from proxy.errors import OrderNotUnderstood
from proxy.wire import read_decimal, shown
from rules import Instruction, OrderType, Side

Values: TypeAlias = Mapping[str, str]

# What every signed request may carry besides its own parameters.
COMMON: Final = frozenset({"recvWindow", "timestamp", "signature"})

_SYMBOL: Final = re.compile(r"[A-Z0-9_]{2,30}")
_CLIENT_ID: Final = re.compile(r"[.A-Za-z0-9:/_-]{1,64}")
_ORDER_ID: Final = re.compile(r"[0-9]{1,20}")
_SIDES: Final = {"BUY": Side.BUY, "SELL": Side.SELL}
_TIMES_IN_FORCE: Final = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD", "RPI"})


class Shape(NamedTuple):
    """What an order type of the venue is to risk, and which prices it takes."""

    type: OrderType
    takes_price: bool
    takes_trigger: bool


class Sized(NamedTuple):
    """A parameter that says how much, the instructions it speaks for, and the iceberg parts that move with it."""

    name: str
    instructions: tuple[int, ...]
    icebergs: tuple[str, ...] = ()


class Form(NamedTuple):
    """How one endpoint's parameters are read; nothing outside `allowed` is let through."""

    allowed: frozenset[str]
    read: Callable[[Values], tuple[Instruction, ...]]
    sized: tuple[Sized, ...] = ()


def names(text: str) -> frozenset[str]:
    """The names in a list written with spaces, and the common ones."""
    return frozenset(text.split()) | COMMON


def required(values: Values, name: str) -> str:
    """A parameter that must be there."""
    found = values.get(name)
    if found is None:
        raise OrderNotUnderstood(f"{name} is missing")
    return found


def read_symbol(values: Values) -> str:
    """The symbol: upper-case ASCII, as the venue lists it."""
    found = required(values, "symbol")
    if _SYMBOL.fullmatch(found) is None:
        raise OrderNotUnderstood(f"symbol is {shown(found)}, expected upper-case letters and digits")
    return found


def read_side(values: Values, name: str = "side") -> Side:
    """BUY or SELL, exactly."""
    side = _SIDES.get(found := required(values, name))
    if side is None:
        raise OrderNotUnderstood(f"{name} is {shown(found)}, expected BUY or SELL")
    return side


def read_positive(values: Values, name: str) -> Decimal | None:
    """A number above zero, or None if it was not sent."""
    found = values.get(name)
    if found is None:
        return None
    number = read_decimal(found, name)
    if not number:
        raise OrderNotUnderstood(f"{name} is 0, expected a number above 0")
    return number


def required_positive(values: Values, name: str) -> Decimal:
    """A number above zero that must be there."""
    number = read_positive(values, name)
    if number is None:
        raise OrderNotUnderstood(f"{name} is missing")
    return number


def read_client_id(values: Values, name: str) -> str | None:
    """A client order id in the venue's characters, or None."""
    found = values.get(name)
    if found is not None and _CLIENT_ID.fullmatch(found) is None:
        raise OrderNotUnderstood(f"{name} is {shown(found)}, expected letters, digits and . : / _ -")
    return found


def read_order_id(values: Values, name: str) -> str | None:
    """An order id: digits, or None."""
    found = values.get(name)
    if found is not None and _ORDER_ID.fullmatch(found) is None:
        raise OrderNotUnderstood(f"{name} is {shown(found)}, expected digits")
    return found


def read_time_in_force(values: Values, name: str) -> str | None:
    """A time in force the venue documents, or None."""
    found = values.get(name)
    if found is not None and found not in _TIMES_IN_FORCE:
        raise OrderNotUnderstood(f"{name} is {shown(found)}, expected one of GTC, IOC, FOK, GTX, GTD, RPI")
    return found


def read_shape(shapes: Mapping[str, Shape], found: str, name: str) -> Shape:
    """The shape of an order type, matched exactly."""
    shape = shapes.get(found)
    if shape is None:
        raise OrderNotUnderstood(f"{name} is {shown(found)}, expected one of {', '.join(shapes)}")
    return shape


def refuse_if_sent(values: Values, name: str, because: str) -> None:
    """A parameter that contradicts the rest; the venue would refuse it or ignore it."""
    if name in values:
        raise OrderNotUnderstood(f"{name} was sent, but {because}")
