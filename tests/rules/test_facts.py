"""What is known: signs of positions, sums of what waits, and what an absent fact says."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import Bucket, FactMissing, FactStale, Position, Side, Sides, SymbolFacts
from tests import given


@pytest.mark.parametrize(
    ("bucket", "signed"), [(Bucket.BOTH, "-1.5"), (Bucket.LONG, "2"), (Bucket.SHORT, "-3")]
)
def test_a_position_is_signed_by_its_bucket(bucket, signed):
    """The net position carries its own sign; a long leg counts up, a short leg's size counts down."""
    position = Position(both=Decimal("-1.5"), long=Decimal(2), short=Decimal(3))

    assert position.signed(bucket) == Decimal(signed)


@pytest.mark.parametrize(
    ("side", "expected"), [(Side.BUY, ("1.5", "2")), (Side.SELL, ("1", "2.5"))]
)
def test_adding_to_a_side_leaves_the_other(side, expected):
    """Half a coin more on one side; the other side, and the sides added to, stay as they were."""
    before = given.sides(buy="1", sell="2")
    after = before.plus(side, Decimal("0.5"))

    assert (after.buy, after.sell) == tuple(map(Decimal, expected))
    assert after.of(side) - before.of(side) == Decimal("0.5")
    assert before == given.sides(buy="1", sell="2")


@pytest.mark.parametrize(
    ("working", "reserved", "expected"),
    [
        ({}, {}, ("0", "0")),
        ({Bucket.BOTH: given.sides("1", "2")}, {}, ("1", "2")),
        ({}, {Bucket.BOTH: given.sides("3", "4")}, ("3", "4")),
        ({Bucket.BOTH: given.sides("1", "2")}, {Bucket.BOTH: given.sides("3", "4")}, ("4", "6")),
        ({Bucket.LONG: given.sides("1", "2")}, {Bucket.SHORT: given.sides("3", "4")}, ("0", "0")),
    ],
)
def test_what_waits_is_working_and_reserved_of_the_same_bucket(working, reserved, expected):
    """Both count, per side; what waits in another bucket does not."""
    waiting = SymbolFacts(working=working, reserved=reserved).waiting(Bucket.BOTH)

    assert waiting == Sides(buy=Decimal(expected[0]), sell=Decimal(expected[1]))


def test_of_an_unknown_symbol_nothing_is_known():
    """A symbol without facts has none at all: no price of nothing, no position of nothing."""
    unknown = given.facts().of("DOGEUSDT")

    assert (unknown.price, unknown.position, unknown.leverage, unknown.filters) == (None, None, None, None)
    assert unknown.waiting(Bucket.BOTH) == Sides()


def test_what_is_missing_says_its_name():
    """The error names the fact, for the record and for the sentence."""
    error = FactMissing("equity")

    assert (error.name, str(error)) == ("equity", "equity is not known")


def test_what_is_stale_says_how_old_it_is_and_may_be():
    """Found and expected, in seconds."""
    error = FactStale("price", Decimal("5.1"), Decimal(5))

    assert (error.name, error.age_s, error.age_max_s) == ("price", Decimal("5.1"), Decimal(5))
    assert str(error) == "price is 5.1 s old, at most 5 s is allowed"
