"""Amounts in plain digits."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import written


@given(st.decimals(allow_nan=True, allow_infinity=True) | st.decimals(places=8, allow_nan=False))
def test_an_amount_is_written_as_the_longer_way_writes_it(amount):
    """Whatever its exponent, the text is that of the fixed-point format."""
    assert written(amount) == format(amount, "f")


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1E-8", "0.00000001"), ("1E+3", "1000"), ("0.001", "0.001"), ("1.50", "1.50"), ("0E-9", "0.000000000")],
)
def test_no_exponent_is_written(amount, text):
    """Small, round and zero amounts have plain digits too."""
    assert written(Decimal(amount)) == text
