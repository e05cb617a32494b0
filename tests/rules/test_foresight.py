"""Working everything out in one go changes no answer."""

from __future__ import annotations

from decimal import Decimal, localcontext
from random import Random

import pytest

from rules import Case, FactMissing, FactStale, Side
from rules.foresight import foresee
from rules.gate import EXACT
from rules.order import OrderType
from rules.plan import prepared
from tests import given
from tests import strategies as some

SEEDS = range(3000)


def foreseen(order, facts, limits):
    """A case after everything was worked out in one go."""
    case = Case(order, facts, limits)
    foresee(case, prepared(limits).spans)
    return case


def filled_in(case):
    """What was worked out ahead: everything that a new case does not have."""
    fresh = vars(Case(case.instruction, case.facts, case.limits))
    return {name: value for name, value in vars(case).items() if name not in fresh}


def test_it_answers_what_the_case_would_have_answered():
    """On arbitrary orders and facts, every value filled in equals the one computed when asked for."""
    compared = 0
    for seed in SEEDS:
        pick = Random(seed)
        order, facts, limits = some.make_order(pick), some.make_facts(pick), some.make_limits(pick)
        with localcontext(EXACT):
            for name, value in filled_in(foreseen(order, facts, limits)).items():
                assert getattr(Case(order, facts, limits), name) == value, (seed, name)
                compared += 1

    assert compared > 10 * len(SEEDS)


def test_a_plain_order_has_nothing_left_to_ask():
    """With everything fresh, size, price and reach of an order are there before the first rule asks."""
    found = filled_in(foreseen(given.order(), given.facts(), given.limits()))

    assert found["notional"] == found["notional_with_request"] == found["exposure_delta"] == 100
    assert (found["worst_before"], found["worst_after"], found["added"]) == (0, 1, 1)
    assert {"price", "position", "equity", "losses", "exposure", "open_positions", "risk", "leverage"} <= found.keys()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("price", {"mark": None}),
        ("price", {"mark": "0"}),
        ("price", {"conversion": "0"}),
        ("price", {"price_age": "5.000001"}),
        ("position", {"position_known": False}),
        ("position", {"position_age": "-1.000001"}),
        ("equity", {"equity_age": "10.000001"}),
        ("losses", {"losses_known": False}),
        ("exposure", {"exposure_age": "11"}),
        ("open_positions", {"positions_age": "11"}),
        ("leverage", {"leverage_age": "301"}),
        ("risk", {"risk_age": "5.1"}),
    ],
)
def test_what_is_missing_or_old_stays_to_be_asked_for(name, known):
    """A fact that may not be used is not filled in, and still refused by name when a rule asks."""
    case = foreseen(given.order(), given.facts(**known), given.limits())

    assert name not in filled_in(case)
    with pytest.raises((FactMissing, FactStale)):
        getattr(case, name)


@pytest.mark.parametrize("age", ["5", "-1"])
def test_a_fact_exactly_at_its_maximum_age_is_filled_in(age):
    """Five seconds are not too old for a price, and a second ahead not too far."""
    case = foreseen(given.order(), given.facts(price_age=age), given.limits())

    assert filled_in(case)["price"].mark == 100


def test_without_a_position_nothing_is_said_of_reach():
    """The worst case rests on the position: without it neither size nor reach is worked out ahead."""
    found = filled_in(foreseen(given.order(), given.facts(position_known=False), given.limits()))

    assert "price" in found
    assert not {"worst_before", "worst_after", "exposure_delta", "held"} & found.keys()


def test_a_quote_order_weighs_what_it_spends():
    """200 in quote currency at an ask below the mark: more base units, and still 200 of value."""
    order = given.order(type=OrderType.MARKET, side=Side.BUY, quote_quantity="200", quantity=None)
    found = filled_in(foreseen(order, given.facts(ask="80"), given.limits()))

    assert (found["notional"], found["quantity_base"]) == (200, Decimal("2.5"))
