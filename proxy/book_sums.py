"""Sums of an account that few policies limit, kept in step with the book from the first time they are asked for.

Every line of the book has one part in them; a part is taken out and put back whole, so the sums are those of
the parts, whatever happened in between. Until somebody asks, nothing of this is kept and nothing costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Context, Decimal
from typing import NamedTuple, TypeVar

Name = TypeVar("Name")
ZERO = Decimal(0)
UNIT = Decimal("0.00000001")
CEILING = Context(prec=120, rounding=ROUND_CEILING)

Key = tuple[str, str]  # market and instrument


class Part(NamedTuple):
    """What one line is in the sums of its account: worst-case notional, and the net worth of either side.

    `leverage` is None for coins. `maintenance` is None for a contract whose brackets are not known.
    """

    asset: str
    notional: Decimal
    bought: Decimal
    sold: Decimal
    bought_certain: Decimal  # without what is only reserved
    sold_certain: Decimal
    leverage: Decimal | None
    maintenance: Decimal | None


class Sums:
    """The parts of one account and their sums.

    Margin is divided again only for leverages whose notional has moved since it was last asked for: an account
    may have as many of them as it has symbols, and every order asks.
    """

    __slots__ = (
        "_by_leverage", "_contracts", "_margin", "_margins", "_moved", "_parts",
        "assets", "bought", "bought_certain", "maintained", "sold", "sold_certain", "unbracketed",
    )  # fmt: skip

    def __init__(self, parts: Mapping[Key, Part | None]) -> None:
        self._parts: dict[Key, Part] = {}
        self._by_leverage: dict[Decimal, Decimal] = {}
        self._margins: dict[Decimal, Decimal] = {}
        self._moved: set[Decimal] = set()
        self._contracts = self._margin = ZERO
        self.assets: dict[str, Decimal] = {}
        self.bought = ZERO
        self.sold = ZERO
        self.bought_certain = ZERO
        self.sold_certain = ZERO
        self.maintained = ZERO
        self.unbracketed = 0
        for key, part in parts.items():
            self.follow(key, part)

    def follow(self, key: Key, part: Part | None) -> None:
        """Take a line's part in place of the one it had; None for a line that is no more."""
        before = self._parts.pop(key, None)
        if before is not None:
            self._add(before, Decimal(-1))
        if part is not None:
            self._parts[key] = part
            self._add(part, Decimal(1))

    def _add(self, part: Part, sign: Decimal) -> None:
        notional = part.notional * sign
        _shift(self.assets, part.asset, notional)
        self.bought += part.bought * sign
        self.sold += part.sold * sign
        self.bought_certain += part.bought_certain * sign
        self.sold_certain += part.sold_certain * sign
        if part.leverage is None:
            return
        _shift(self._by_leverage, part.leverage, notional)
        self._moved.add(part.leverage)
        if part.maintenance is None:
            self.unbracketed += int(sign)
        else:
            self.maintained += part.maintenance * sign

    @property
    def contracts(self) -> Decimal:
        """Worst-case notional of everything on margin."""
        if self._moved:
            self._settle()
        return self._contracts

    @property
    def margin(self) -> Decimal:
        """Initial margin of that, rounded up."""
        if self._moved:
            self._settle()
        return self._margin

    def _settle(self) -> None:
        notionals, margins = self._by_leverage, self._margins
        for leverage in self._moved:
            if leverage in notionals:
                margins[leverage] = CEILING.divide(notionals[leverage], leverage)
            else:
                margins.pop(leverage, None)
        self._moved.clear()
        self._contracts = sum(notionals.values(), ZERO)
        self._margin = _rounded(margins[leverage] for leverage in notionals)

    @property
    def maintenance(self) -> Decimal | None:
        """What keeps it from being liquidated; None where brackets of a part of it are not known."""
        return None if self.unbracketed else self.maintained


def _shift(sums: dict[Name, Decimal], name: Name, more: Decimal) -> None:
    """Add to one of the sums; one that comes to nothing goes."""
    left = sums.get(name, ZERO) + more
    if left:
        sums[name] = left
    else:
        sums.pop(name, None)


def _rounded(amounts: Iterable[Decimal]) -> Decimal:
    return CEILING.quantize(sum(amounts, ZERO), UNIT)
