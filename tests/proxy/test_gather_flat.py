"""Gathering the facts of one order costs the same, however much the book holds."""

from __future__ import annotations

import sys
from collections import Counter
from decimal import Decimal

import pytest

from bench.gather import NONE, NOW, OF_THE_ACCOUNT, gathering, world
from rules import Caller, Market, Order, OrderType, Side
from tests.runs import tell

CALLER = Caller(account="a0", exchange="binance", strategy="s", bot="b")
ACCOUNTS, SYMBOLS = 50, 500
RATIO_MAX = 2.0  # caches of the processor may miss more often; what grows with the orders grows 500 times


@pytest.fixture(scope="module")
def worlds():
    """The same accounts and symbols, with ten working orders and with five thousand."""
    return {orders: world(ACCOUNTS, SYMBOLS, orders)[0] for orders in (10, 5000)}


def calls(gather, limits) -> Counter[str]:
    """Every function that one gathering enters, as often as it does."""
    order = Order(
        symbol="S0USDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=Decimal(1),
        price=Decimal(100),
    )
    gather.facts(CALLER, (order,), NOW, limits)
    seen: Counter[str] = Counter()

    def note(frame, event, argument) -> None:
        if event == "call":
            seen[frame.f_code.co_name] += 1
        elif event == "c_call":
            seen[argument.__name__] += 1

    sys.setprofile(note)
    try:
        gather.facts(CALLER, (order,), NOW, limits)
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.parametrize("limits", [NONE, OF_THE_ACCOUNT], ids=["usual", "account_sums"])
def test_gathering_takes_the_same_steps_with_ten_orders_as_with_five_thousand(worlds, limits):
    """Not one call more, whatever rests: nothing on the way goes through the orders."""
    few, many = (calls(worlds[orders], limits) for orders in (10, 5000))

    assert few == many
    assert 10 < sum(few.values()) < 150


def test_gathering_takes_the_same_steps_with_one_leverage_as_with_a_hundred_and_twenty():
    """Margin goes by leverage, and an account may have another for each of its symbols."""
    one, many = (calls(world(1, 240, 240, leverages)[0], OF_THE_ACCOUNT) for leverages in (1, 120))

    assert one == many


@pytest.mark.parametrize("limits", [NONE, OF_THE_ACCOUNT], ids=["usual", "account_sums"])
def test_gathering_takes_as_long_with_ten_orders_as_with_five_thousand(worlds, limits):
    """The shortest of many times, so that a busy machine does not matter, is about the same."""
    few, many = (min(gathering(worlds[orders], limits) for _ in range(3)) for orders in (10, 5000))

    tell(f"{few:.1f} us with 10 orders, {many:.1f} us with 5,000")
    assert many < few * RATIO_MAX
