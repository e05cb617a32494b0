"""Whitelists and confidence."""

from __future__ import annotations

import pytest

from rules import LeverageChange, MarginChange, MarginKind, Reason, Side, Verdict, evaluate
from tests import given


@pytest.mark.parametrize(
    ("listed", "verdict"),
    [(None, Verdict.ALLOW), (frozenset({"grid"}), Verdict.ALLOW), (frozenset({"trend"}), Verdict.BLOCK),
     (frozenset(), Verdict.BLOCK)],
)
def test_strategies_are_those_listed(order, facts, limits, listed, verdict):
    """No list admits any strategy; a list admits its members; an empty list admits none."""
    decision = evaluate(order(), facts(strategy="grid"), limits(strategies=listed))

    assert decision.verdict is verdict
    assert (decision.reason is Reason.STRATEGY_NOT_ALLOWED) is (verdict is Verdict.BLOCK)


@pytest.mark.parametrize(
    ("listed", "verdict"),
    [(None, Verdict.ALLOW), (frozenset({given.SYMBOL}), Verdict.ALLOW), (frozenset({"ETHUSDT"}), Verdict.BLOCK),
     (frozenset(), Verdict.BLOCK)],
)
def test_symbols_are_those_listed(order, facts, limits, listed, verdict):
    """No list admits any symbol; a list admits its members; an empty list admits none."""
    decision = evaluate(order(), facts(), limits(symbols=listed))

    assert decision.verdict is verdict
    assert (decision.reason is Reason.SYMBOL_NOT_ALLOWED) is (verdict is Verdict.BLOCK)


def test_what_is_blocked_is_blocked_whatever_a_list_allows(order, facts, limits):
    """A blocked symbol or strategy opens nothing; others do, and what is held can be sold off."""
    blocked = limits(symbols=frozenset({given.SYMBOL}), symbols_blocked=frozenset({given.SYMBOL}))

    assert evaluate(order(), facts(), blocked).reason is Reason.SYMBOL_BLOCKED
    assert evaluate(order(side=Side.SELL), facts(held="1"), blocked).verdict is Verdict.ALLOW
    assert evaluate(order(), facts(), limits(symbols_blocked=frozenset({"ETHUSDT"}))).verdict is Verdict.ALLOW
    decision = evaluate(order(), facts(strategy="grid"), limits(strategies_blocked=frozenset({"grid"})))
    assert decision.reason is Reason.STRATEGY_BLOCKED
    decision = evaluate(order(), facts(strategy="grid"), limits(strategies_blocked=frozenset({"trend"})))
    assert decision.verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("rank", "verdict"),
    [("0.49", Verdict.BLOCK), ("0.5", Verdict.ALLOW), ("0.51", Verdict.ALLOW), (None, Verdict.BLOCK)],
)
def test_a_symbol_has_at_least_the_minimum_rank(order, facts, limits, rank, verdict):
    """Just under and without a rank blocks, at and over pass; a reduction needs none."""
    ranks = {} if rank is None else {given.SYMBOL: given.Decimal(rank)}
    ranked = limits(rank_min=given.Decimal("0.5"), ranks=ranks)
    decision = evaluate(order(), facts(), ranked)

    assert decision.verdict is verdict
    assert (decision.reason is Reason.RANK_BELOW_MINIMUM) is (verdict is Verdict.BLOCK)
    assert evaluate(order(side=Side.SELL), facts(held="1"), ranked).verdict is Verdict.ALLOW


def test_lists_do_not_keep_a_position_from_being_closed(order, facts, limits):
    """A symbol taken off the list can still be sold off."""
    decision = evaluate(order(side=Side.SELL), facts(held="1"), limits(symbols=frozenset(), strategies=frozenset()))

    assert decision.verdict is Verdict.ALLOW


def test_lists_bind_leverage_changes_too(facts, limits):
    """Raising the leverage of an unlisted symbol is blocked; a setting of the whole account names no symbol."""
    raised = LeverageChange(symbol=given.SYMBOL, leverage=given.Decimal(3))
    mode = MarginChange(kind=MarginKind.POSITION_MODE, value="true")

    assert evaluate(raised, facts(), limits(symbols=frozenset())).reason is Reason.SYMBOL_NOT_ALLOWED
    assert evaluate(mode, facts(), limits(symbols=frozenset())).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("stated", "required", "reason"),
    [("0.59", False, Reason.CONFIDENCE_BELOW_MINIMUM), ("0.60", False, None), ("0.61", False, None),
     (None, False, None), (None, True, Reason.CONFIDENCE_MISSING)],
)
def test_confidence_is_at_least_the_minimum(order, facts, limits, stated, required, reason):
    """Just under blocks, at and over pass; stating none blocks only where the account requires it."""
    decision = evaluate(
        order(), facts(confidence=stated), limits(confidence_min="0.60", confidence_required=required)
    )

    assert decision.reason is (reason or Reason.ALL_RISK_CHECKS_PASSED)


def test_a_stated_confidence_without_a_minimum_passes(order, facts, limits):
    """Without a minimum there is nothing to compare with."""
    assert evaluate(order(), facts(confidence="0.01"), limits()).verdict is Verdict.ALLOW
