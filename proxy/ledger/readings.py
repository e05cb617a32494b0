"""What a ledger is told: readings of a wallet, money that came or went, and closed trades."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

ZERO = Decimal(0)
PLACES = Decimal("0.00000001")


class Sample(NamedTuple):
    """One reading of a wallet. `cash` is by coin what trades, fees, income and transfers change, and prices do not.

    The venue made it between `sent` and `received` (both in the venue's time); `as_of` is when it was asked for
    by our own clock, or when the prices were that it is valued by.
    """

    equity: Decimal
    balance: Decimal
    cash: Mapping[str, Decimal]
    prices: Mapping[str, Decimal]
    sent: datetime
    received: datetime
    as_of: datetime


class Flow(NamedTuple):
    """Money that came (positive) or went, in the account's currency; it took effect between `at` and `until`.

    One without an amount says that readings within its time cannot be relied on.
    """

    key: str  # of the same event always the same
    amount: Decimal
    at: datetime
    until: datetime


class Realised(NamedTuple):
    """Profit or loss that one fill realised."""

    key: str
    symbol: str
    amount: Decimal
    at: datetime


def value_of(cash: Mapping[str, Decimal], prices: Mapping[str, Decimal]) -> Decimal:
    """What coins are worth, to eight places."""
    return sum((amount * prices[coin] for coin, amount in cash.items()), ZERO).quantize(PLACES)
