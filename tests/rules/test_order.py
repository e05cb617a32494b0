"""An order says once, and only once, how much."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import combinations

import mypy.api
import pytest

from rules import Market, Order, OrderType, Side
from tests import given

SIZES = {"quantity": given.number("1"), "quote_quantity": given.number("100"), "close_position": True}


def sized(**sizes):
    """A market order with exactly these statements of size."""
    return Order(symbol=given.SYMBOL, side=Side.BUY, type=OrderType.MARKET, market=Market.LINEAR, **sizes)


@pytest.mark.parametrize("name", SIZES)
def test_one_statement_of_size_is_an_order(name):
    """A quantity, a quote quantity, or the word to close: each alone will do."""
    assert getattr(sized(**{name: SIZES[name]}), name) == SIZES[name]


@pytest.mark.parametrize("names", [(), *combinations(SIZES, 2), tuple(SIZES)])
def test_no_size_or_several_are_refused(names):
    """Which of two sizes the venue would take is not ours to guess."""
    with pytest.raises(ValueError, match="exactly one of quantity, quote_quantity and close_position"):
        sized(**{name: SIZES[name] for name in names})


@pytest.mark.parametrize("name", ["quantity", "quote_quantity"])
@pytest.mark.parametrize("amount", ["0", "-0", "-0.001"])
def test_a_size_must_be_positive(name, amount):
    """Nothing, or less than nothing, is no order; the error says what was found."""
    with pytest.raises(ValueError, match=f"must be positive, found {amount}"):
        sized(**{name: given.number(amount)})


def test_an_order_cannot_be_changed_behind_the_gate():
    """What was judged is what is sent: another size is another order, and is checked again."""
    order = given.order()
    with pytest.raises(AttributeError):
        order.size = given.number("2")  # no field that was not judged
    with pytest.raises(ValueError, match="must be positive"):
        replace(order, quantity=given.number("0"))


def test_no_code_may_assign_to_an_order(tmp_path):
    """Every field of an order is final: the type checker, which all code must pass, refuses to change any."""
    code = tmp_path / "changing.py"
    assignments = "".join(f"    order.{one.name} = other.{one.name}\n" for one in fields(Order))
    code.write_text(f"from rules import Order\n\ndef change(order: Order, other: Order) -> None:\n{assignments}")
    found, _, status = mypy.api.run([str(code), "--follow-imports=silent", f"--cache-dir={tmp_path}"])
    assert status == 1
    for one in fields(Order):
        assert f'Cannot assign to final attribute "{one.name}"' in found


@pytest.mark.parametrize("side", Side)
def test_sides_are_opposites(side):
    """The other side's other side is the side."""
    assert side.opposite is not side
    assert side.opposite.opposite is side
