"""The emergency stop's rules."""

from __future__ import annotations

import pytest

from rules import (
    EssLevel,
    LeverageChange,
    MarginChange,
    MarginKind,
    Market,
    QuantityCut,
    Reason,
    Side,
    Verdict,
    evaluate,
)
from rules.order import Replaced, ReplaceMode
from tests import given

CUT = QuantityCut(
    symbol=given.SYMBOL, market=Market.SPOT, quantity=given.Decimal(1),
    replaces=Replaced(mode=ReplaceMode.AMEND, order_id="1"),
)
ADD = MarginChange(kind=MarginKind.POSITION_MARGIN_ADD, value="5", symbol=given.SYMBOL)
REMOVE = MarginChange(kind=MarginKind.POSITION_MARGIN_REMOVE, value="5", symbol=given.SYMBOL)
ISOLATE = MarginChange(kind=MarginKind.MARGIN_TYPE, value="ISOLATED", symbol=given.SYMBOL)
CROSS = MarginChange(kind=MarginKind.MARGIN_TYPE, value="CROSSED", symbol=given.SYMBOL)
HEDGE = MarginChange(kind=MarginKind.POSITION_MODE, value="true")


def leverage(to):
    """A request to set the symbol's leverage."""
    return LeverageChange(symbol=given.SYMBOL, leverage=given.Decimal(to))


@pytest.mark.parametrize("instruction", [given.order(), CUT, ADD, ISOLATE, leverage("1")])
def test_halt_blocks_every_instruction(instruction):
    """HALT has no exceptions, not even for what lowers risk."""
    decision = evaluate(instruction, given.facts(stop=EssLevel.HALT, leverage="5"), given.limits())

    assert decision.verdict is Verdict.BLOCK
    assert decision.reason is Reason.ESS_TRADING_HALT_ACTIVE
    assert decision.ess_active
    assert "HALT" in decision.sentence


def test_halt_blocks_a_reduce_only_order(order, facts, limits):
    """HALT blocks a proven reduction as well."""
    selling = order(side=Side.SELL, reduce_only=True)

    decision = evaluate(selling, facts(stop=EssLevel.HALT, held="2"), limits())

    assert (decision.verdict, decision.reducing) == (Verdict.BLOCK, True)


@pytest.mark.parametrize(
    ("instruction", "passes"),
    [(CUT, True), (ADD, True), (ISOLATE, True), (REMOVE, False), (CROSS, False), (HEDGE, False),
     (leverage("4"), True), (leverage("5"), True), (leverage("6"), False)],
)
def test_reduce_only_admits_what_lowers_risk(instruction, passes):
    """Under REDUCE_ONLY a cut, added margin, isolation and lower leverage pass; their opposites do not."""
    decision = evaluate(instruction, given.facts(stop=EssLevel.REDUCE_ONLY, leverage="5"), given.limits())

    assert (decision.verdict is Verdict.ALLOW) is passes
    if not passes:
        assert decision.reason is Reason.ESS_REDUCE_ONLY_ACTIVE


def test_reduce_only_blocks_a_leverage_change_that_cannot_be_compared(facts, limits):
    """Lowering leverage is proven only against a leverage that is known and fresh."""
    for known in ({"leverage": None}, {"leverage_age": "301"}):
        decision = evaluate(leverage("1"), facts(stop=EssLevel.REDUCE_ONLY, **known), limits())
        assert decision.reason is Reason.ESS_REDUCE_ONLY_ACTIVE


def test_reduce_only_and_flat_blocks_every_order(order, facts, limits):
    """Vector 12: with nothing held, nothing can reduce, whatever flags an order carries."""
    for asked in (
        order(), order(side=Side.SELL), order(side=Side.SELL, reduce_only=True), order(close_position=True),
    ):
        decision = evaluate(asked, facts(stop=EssLevel.REDUCE_ONLY), limits())
        assert decision.reason is Reason.ESS_REDUCE_ONLY_ACTIVE


def test_reduce_only_admits_a_proven_reduction(order, facts, limits):
    """A sell of part of a long passes under REDUCE_ONLY; one unit more than is held does not."""
    held = facts(stop=EssLevel.REDUCE_ONLY, held="2")

    assert evaluate(order(side=Side.SELL, quantity="2"), held, limits()).verdict is Verdict.ALLOW
    assert evaluate(order(side=Side.SELL, quantity="2.001"), held, limits()).verdict is Verdict.BLOCK


def test_a_clear_stop_is_recorded_as_held(order, facts, limits):
    """With the stop clear, both rules are in the record as held."""
    runs = {run.rule: run for run in evaluate(order(), facts(), limits()).rules_run}

    assert (runs["ess_halt"].outcome, runs["ess_halt"].observed) == ("within", "CLEAR")
    assert (runs["ess_reduce_only"].outcome, runs["ess_reduce_only"].limit) == ("within", "CLEAR")
