"""How the sums of an account grow with an order that was let through."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import Bracket, Market, Side
from rules.case import Asking
from rules.growth import after, maintenance_of
from rules.running import hold_of
from tests import given

D = Decimal
BRACKETS = (Bracket(D(1000), D("0.01"), D(0)), Bracket(D(5000), D("0.05"), D(40)))


@pytest.mark.parametrize(
    ("notional", "margin"), [("0", "0"), ("1000", "10"), ("1000.01", "10.0005"), ("5000", "210"), ("6000", "260")]
)
def test_maintenance_follows_the_brackets(notional, margin):
    """Continuous where brackets meet, and beyond the last one as in it."""
    assert maintenance_of(BRACKETS, D(notional)) == D(margin)


def grown(asked, known, **sums):
    """The sums after the order."""
    case = Asking(asked, given.facts(**known), given.limits())
    return after(given.account_sums(**sums), case, hold_of(case))


def test_an_opening_order_grows_every_sum_it_is_part_of():
    """A buy of 2 at 100 with leverage 4."""
    sums = grown(given.order(quantity="2"), {"leverage": "4"}, brackets={given.SYMBOL: BRACKETS}, maintenance="1")

    assert (sums.assets, sums.bought, sums.sold) == ({"BTC": 200}, 200, 0)
    assert (sums.contracts, sums.margin, sums.maintenance) == (200, 50, 3)
    assert (sums.orders, sums.orders_by_symbol) == (1, {given.SYMBOL: 1})


def test_an_order_that_only_closes_rests_and_takes_away_what_the_other_side_nets_with():
    """Reduce-only, 3 of the 2 that are held: one more order, no more exposure, and 200 less to net sales with."""
    asked = given.order(side=Side.SELL, quantity="3", reduce_only=True)
    sums = grown(asked, {"held": "2"}, contracts="200", bought="200", sold="-200")

    assert (sums.orders, sums.contracts, sums.bought, sums.sold) == (1, 200, 200, 0)


def test_without_brackets_the_maintenance_is_not_known_any_more():
    """What cannot be told is not taken for nothing."""
    assert grown(given.order(), {}, maintenance="1").maintenance is None


def test_a_sale_for_coins_grows_the_coin_it_buys():
    """Selling 10 ETH for 0.6 BTC, worth 600."""
    pair = given.filters(base_asset="ETH", quote_asset="BTC")
    asked = given.order(side=Side.SELL, market=Market.SPOT, quantity="10", price="0.06")
    sums = grown(asked, {"mark": "0.06", "conversion": "1000", "rules_of_venue": pair, "held": "10"})

    assert (sums.assets, sums.bought, sums.sold, sums.contracts) == ({"BTC": 600}, 600, 600, 0)


def test_what_cannot_be_valued_counts_what_it_holds():
    """Without the venue's list nobody knows the coin: the value that was held counts on the order's side."""
    sums = grown(given.order(), {"filters_known": False})

    assert (sums.assets, sums.bought) == ({}, 100)
