"""How an amount is written: in plain digits, all of them."""

from __future__ import annotations

from decimal import Decimal


def written(amount: Decimal) -> str:
    """An amount without an exponent, as `format(amount, "f")` writes it at four times the cost."""
    text = str(amount)
    return format(amount, "f") if "E" in text else text
