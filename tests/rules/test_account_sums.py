"""What is summed over an account: coins under the names that venues give them."""

import pytest

from rules import coin_of


@pytest.mark.parametrize(
    ("asset", "coin"),
    [
        ("1000PEPE", "PEPE"), ("1000000MOG", "MOG"), ("1MBABYDOGE", "BABYDOGE"), ("10000SATS", "SATS"),
        ("1000X", "X"), ("1INCH", "1INCH"), ("BTC", "BTC"), ("1000", "1000"), ("10000001INCH", "1INCH"), ("C98", "C98"),
    ],
)  # fmt: skip
def test_the_coin_of_an_asset(asset, coin):
    """A number of thousands before a coin's name is no part of it; digits of a coin's own are."""
    assert coin_of(asset) == coin
