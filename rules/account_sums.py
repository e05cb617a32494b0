"""Sums of an account that only some policies limit: per base asset, net, margin, and how many orders rest.

They are gathered where a limit asks for one of them (`limits.asks_for_sums`) and otherwise left out, so that
they cost nothing where nobody limits them. All of it is worst case: what waits counts as if it had filled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

NOTHING: Final = Decimal(0)
NONE: Final[Mapping[str, Decimal]] = MappingProxyType({})
# Coins that cost next to nothing are traded by the thousand or the million, under a name that says so.
_MANY: Final = re.compile(r"(?:1000000|10000|1000|1M)([0-9]*[A-Z].*)")


@lru_cache(maxsize=4096)
def coin_of(asset: str) -> str:
    """The coin that an asset is: 1000PEPE is PEPE. Sums are of money, so how many of it make one does not matter."""
    many = _MANY.fullmatch(asset)
    return asset if many is None else many[1]


class Bracket(NamedTuple):
    """Up to `notional_max` a position needs `rate` of its value as maintenance margin, less `deduction`."""

    notional_max: Decimal
    rate: Decimal
    deduction: Decimal


class AccountSums(NamedTuple):
    """What an account could become, summed up; in its currency, but for the counts.

    `bought` is the net worth of everything held if all that buys fills and nothing that sells does; `sold` the
    same with its sign turned if all that sells does. Held long and short positions net, what waits does not.
    `bought_certain` and `sold_certain` leave out what is only reserved, and may come to nothing.
    `margin` is the initial margin of all contracts at the leverage that is set, `maintenance` what keeps them
    from being liquidated; None where a bracket of theirs is not known. Mappings name what the request trades.
    """

    assets: Mapping[str, Decimal] = NONE  # base asset -> worst-case notional, over all symbols and markets
    bought: Decimal = NOTHING
    sold: Decimal = NOTHING
    bought_certain: Decimal = NOTHING
    sold_certain: Decimal = NOTHING
    contracts: Decimal = NOTHING  # the part of the account's exposure that is on margin
    margin: Decimal = NOTHING
    maintenance: Decimal | None = NOTHING
    wallet: Decimal | None = None  # equity of the contracts' wallet
    available: Decimal | None = None  # what the venue says may still be used as margin
    notionals: Mapping[str, Decimal] = NONE  # symbol -> worst-case notional
    brackets: Mapping[str, Sequence[Bracket]] = MappingProxyType({})
    orders: int = 0  # that rest at the venue or are on their way there
    orders_by_symbol: Mapping[str, int] = MappingProxyType({})
