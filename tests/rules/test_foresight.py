"""Working everything out in one go changes no answer."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from random import Random

import pytest

from rules import FactMissing, FactStale, Replaced, ReplaceMode, Side, evaluate
from rules import gate as gates
from rules.case import Asking, Foreseen
from rules.foresight import foresee
from rules.gate import EXACT
from rules.order import OrderType
from rules.plan import prepared
from rules.running import NOTHING_EARLIER
from tests import given
from tests import strategies as some

SEEDS = range(3000)
GIVEN = {"instruction", "order", "facts", "limits", "earlier", "index", "symbol", "warned", "asking"}
NAMES = {name for name in dir(Foreseen) if not name.startswith("_")} - GIVEN


def foreseen(order, facts, limits):
    """The order after everything was worked out in one go; None where it must be asked about singly."""
    return foresee(order, facts, limits, prepared(limits).spans, NOTHING_EARLIER, 0, False)


def filled_in(case):
    """What was worked out ahead, by name."""
    return {name: getattr(case, name) for name in NAMES if hasattr(case, name)}


def test_it_answers_what_asking_would_have_answered():
    """On arbitrary orders and facts, every value filled in equals the one computed when asked for."""
    compared = 0
    for seed in SEEDS:
        pick = Random(seed)
        order, facts, limits = some.make_order(pick), some.make_facts(pick), some.make_limits(pick)
        with localcontext(EXACT):
            case = foreseen(order, facts, limits)
            if case is None:
                continue
            for name, value in filled_in(case).items():
                assert getattr(Asking(order, facts, limits), name) == value, (seed, name)
                compared += 1

    assert compared > 10 * len(SEEDS)


def test_what_is_not_filled_in_would_have_been_refused():
    """On arbitrary orders and facts, a value that was not worked out ahead is one that asking refuses."""
    refused = 0
    for seed in SEEDS:
        pick = Random(seed)
        order, facts, limits = some.make_order(pick), some.make_facts(pick), some.make_limits(pick)
        case = foreseen(order, facts, limits)
        for name in set() if case is None else NAMES - filled_in(case).keys():
            with pytest.raises((FactMissing, FactStale)):
                getattr(case.asking(), name)
            refused += 1

    assert refused > len(SEEDS) / 10


def test_a_request_is_decided_alike_either_way(monkeypatch):
    """With nothing foreseen, every decision and every line of its record is the same."""
    asked = []
    for seed in SEEDS:
        pick = Random(seed)
        asked.append((some.make_request(pick), some.make_facts(pick, always=seed % 2 == 0), some.make_limits(pick)))
    decisions = [evaluate(*one) for one in asked]

    monkeypatch.setattr(gates, "foresee", lambda *_: None)
    for seed, (one, decision) in enumerate(zip(asked, decisions, strict=True)):
        assert evaluate(*one) == decision, seed
    assert len({decision.reason for decision in decisions}) > 20


def test_a_plain_order_has_nothing_left_to_ask():
    """With everything fresh, all that rules may ask of an order is there before the first one is run."""
    found = filled_in(foreseen(given.order(), given.facts(), given.limits()))

    assert found["notional"] == found["notional_with_request"] == found["exposure_delta"] == 100
    assert (found["worst_before"], found["worst_after"], found["added"]) == (0, 1, 1)
    assert found.keys() == NAMES - {"governor"}  # gathered only where an account is governed


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("equity", {"equity_age": "10.000001"}),
        ("losses", {"losses_known": False}),
        ("exposure", {"exposure_age": "11"}),
        ("open_positions", {"positions_age": "11"}),
        ("open_positions", {"positions_age": "-1.000001"}),
        ("leverage", {"leverage_age": "301"}),
        ("risk", {"risk_age": "5.1"}),
    ],
)
def test_what_is_missing_or_old_stays_to_be_asked_for(name, known):
    """A fact that may not be used is not filled in, and the other form of the case refuses it by name."""
    case = foreseen(given.order(), given.facts(**known), given.limits())

    assert name not in filled_in(case)
    with pytest.raises((FactMissing, FactStale)):
        getattr(case.asking(), name)


@pytest.mark.parametrize(
    "known",
    [
        {"mark": None}, {"mark": "0"}, {"conversion": "0"}, {"price_age": "5.000001"}, {"price_age": "-1.000001"},
        {"position_known": False}, {"position_age": "10.000001"}, {"position_age": "-1.000001"},
    ],
)
def test_without_price_and_position_nothing_is_foreseen(known):
    """Size and worst case rest on them: such an order is asked about singly."""
    assert foreseen(given.order(), given.facts(**known), given.limits()) is None


@pytest.mark.parametrize(
    "beside", [{"group": 1}, {"pending_on": 0}, {"replaces": Replaced(mode=ReplaceMode.AMEND, order_id="1")}]
)
def test_an_order_beside_another_is_asked_about_singly(beside):
    """What it excludes, waits for or replaces decides what it is."""
    assert foreseen(given.order(**beside), given.facts(), given.limits()) is None


@pytest.mark.parametrize("age", ["5", "-1"])
def test_a_fact_exactly_at_its_maximum_age_is_filled_in(age):
    """Five seconds are not too old for a price, and a second ahead not too far."""
    case = foreseen(given.order(), given.facts(price_age=age, risk_age=age, leverage_age=age), given.limits())

    assert filled_in(case)["price"].mark == 100
    assert {"risk", "leverage"} <= filled_in(case).keys()


def test_a_quote_order_weighs_what_it_spends():
    """200 in quote currency at an ask below the mark: more base units, and still 200 of value."""
    order = given.order(type=OrderType.MARKET, side=Side.BUY, quote_quantity="200", quantity=None)
    found = filled_in(foreseen(order, given.facts(ask="80"), given.limits()))

    assert (found["notional"], found["quantity_base"]) == (200, Decimal("2.5"))


def test_one_missing_fact_blocks_only_by_the_rule_that_needs_it():
    """Without sums of exposure an order passes, until a limit on them is set; the other limits hold as before."""
    facts = given.facts(exposure_known=False)
    limits = given.limits(position_notional_max="1000", loss_daily_max="0.1", order_rate_max=5)

    assert evaluate(given.order(), facts, limits).breach is None
    decision = evaluate(given.order(), facts, replace(limits, exposure_total_max=Decimal(1)))
    assert (decision.reason, decision.breach.observed) == ("facts_missing", "exposure")
    assert decision.rules_run[-1].rule == "exposure_total"
