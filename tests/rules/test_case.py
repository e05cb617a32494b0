"""One order before the gate: facts that are fresh or refused, and values computed once."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from rules import FactMissing, FactStale, LeverageChange, MarginChange, MarginKind, QuantityCut, Side
from rules.case import Asking, believable, seconds, span
from rules.order import Market, Replaced, ReplaceMode
from tests import given

# Each fact: how the tests name its age, and its maximum age in seconds.
AGES = [
    ("price", "price_age", "5"),
    ("position", "position_age", "10"),
    ("equity", "equity_age", "10"),
    ("losses", "losses_age", "10"),
    ("exposure", "exposure_age", "10"),
    ("open_positions", "positions_age", "10"),
    ("risk", "risk_age", "5"),
    ("leverage", "leverage_age", "300"),
    ("filters", "filters_age", "86400"),
]
MISSING = {
    "price": {"mark": None}, "position": {"position_known": False}, "equity": {"equity": None},
    "losses": {"losses_known": False}, "exposure": {"exposure_known": False},
    "open_positions": {"open_positions": None}, "risk": {"risk": None}, "leverage": {"leverage": None},
    "filters": {"filters_known": False},
}


def case(order=None, limits=None, **facts):
    """An order among facts."""
    return Asking(order or given.order(), given.facts(**facts), limits or given.limits())


@pytest.mark.parametrize(("name", "age", "age_max"), AGES)
def test_a_fact_may_be_exactly_as_old_as_allowed(name, age, age_max):
    """At the maximum age it is believed; a microsecond more and it is refused, by name and with both numbers."""
    assert getattr(case(**{age: age_max}), name) is not None

    too_old = str(Decimal(age_max) + Decimal("0.000001"))
    with pytest.raises(FactStale) as refused:
        getattr(case(**{age: too_old}), name)
    assert refused.value.name == {"risk": "global_risk"}.get(name, name)
    assert (refused.value.age_s, refused.value.age_max_s) == (Decimal(too_old), Decimal(age_max))


@pytest.mark.parametrize(("name", "age", "age_max"), AGES)
def test_a_fact_may_be_a_second_ahead(name, age, age_max):
    """Clocks differ by up to a second; a fact from further in the future is not believed."""
    assert getattr(case(**{age: "-1"}), name) is not None
    with pytest.raises(FactStale):
        getattr(case(**{age: "-1.000001"}), name)


@pytest.mark.parametrize("name", MISSING)
def test_a_fact_that_never_arrived_is_missing(name):
    """Never a default: whoever needs it hears its name."""
    with pytest.raises(FactMissing) as refused:
        getattr(case(**MISSING[name]), name)
    assert refused.value.name == {"risk": "global_risk"}.get(name, name)


@pytest.mark.parametrize("broken", [{"mark": "0"}, {"mark": "-1"}, {"conversion": "0"}])
def test_a_price_of_nothing_is_no_price(broken):
    """A mark or conversion that is not positive would make every order worthless, so it is missing."""
    with pytest.raises(FactMissing):
        case(**broken).price  # noqa: B018 - asking is the test


def test_asking_twice_computes_once():
    """The second answer is the first one, the very object."""
    asked = case(waiting=given.sides("1", "2"), reserved=given.sides("1", "2"))

    assert asked.waiting is asked.waiting
    assert asked.waiting == given.sides("2", "4")


def test_what_a_rule_does_not_need_never_trips_it():
    """Without any price the position can still be asked for."""
    assert case(mark=None, held="2").held == 2


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        (LeverageChange(symbol=given.SYMBOL, leverage=Decimal(3)), True),
        (LeverageChange(symbol=given.SYMBOL, leverage=Decimal("3.1")), False),
        (LeverageChange(symbol="DOGEUSDT", leverage=Decimal(1)), False),
        (MarginChange(kind=MarginKind.POSITION_MARGIN_ADD, value="1"), True),
        (MarginChange(kind=MarginKind.POSITION_MARGIN_REMOVE, value="1"), False),
        (MarginChange(kind=MarginKind.MARGIN_TYPE, value="ISOLATED", symbol=given.SYMBOL), True),
        (MarginChange(kind=MarginKind.MARGIN_TYPE, value="CROSSED", symbol=given.SYMBOL), False),
        (MarginChange(kind=MarginKind.POSITION_MODE, value="true"), False),
        (QuantityCut(symbol=given.SYMBOL, market=Market.SPOT, quantity=Decimal(1),
                     replaces=Replaced(mode=ReplaceMode.AMEND, order_id="1")), True),
        (given.order(side=Side.SELL), True),
        (given.order(side=Side.SELL, quantity="1.001"), False),
        (given.order(side=Side.BUY), False),
    ],
)
def test_what_provably_lowers_risk(instruction, expected):
    """With a leverage of 3 and a position of 1: what is known to lower risk, and what is not."""
    asked = Asking(instruction, given.facts(held="1", leverage="3"), given.limits())

    assert asked.reducing is expected


@pytest.mark.parametrize("unknown", [{"leverage": None}, {"leverage_age": "301"}])
def test_lowering_an_unknown_leverage_is_not_proven(unknown):
    """Against a leverage that is missing or old, nothing is lower."""
    change = LeverageChange(symbol=given.SYMBOL, leverage=Decimal("0.1"))

    assert Asking(change, given.facts(**unknown), given.limits()).reducing is False


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"price": "90"}, (90, 90)),
        ({"price": "90", "trigger_price": "95"}, (90, 95)),
        ({"price": "0", "trigger_price": "0"}, (100, 100)),
    ],
)
def test_every_stated_price_counts(stated, expected):
    """The lowest and the highest of all prices that an order states; where it states none, the reference."""
    asked = case(given.order(**stated))

    assert (asked.price_lowest, asked.price_highest) == expected


def test_spans_and_seconds_are_exact():
    """Between seconds and spans no digit is lost, to the microsecond."""
    assert span(Decimal("0.000001")) == timedelta(microseconds=1)
    assert seconds(timedelta(days=1, microseconds=3)) == Decimal("86400.000003")
    assert believable(timedelta(seconds=5), Decimal(5))
    assert not believable(timedelta(seconds=5, microseconds=1), Decimal(5))
    assert not believable(timedelta(seconds=-1, microseconds=-1), Decimal(5))
