"""Leverage, as set, as it would be, and as asked for."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import LeverageChange, Market, Reason, Side, Verdict, evaluate
from tests import given


def change(to):
    """A request to set the symbol's leverage."""
    return LeverageChange(symbol=given.SYMBOL, leverage=Decimal(to))


@pytest.mark.parametrize(("leverage", "passes"), [("9.9", True), ("10", True), ("10.1", False), ("11", False)])
def test_leverage_at_the_venue_is_at_most_the_limit(order, facts, limits, leverage, passes):
    """Just under and at the limit pass, over it blocks, and the breach names both numbers."""
    decision = evaluate(order(), facts(leverage=leverage), limits(leverage_max="10"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    if not passes:
        assert decision.reason is Reason.LEVERAGE_EXCEEDS_LIMIT
        assert (decision.breach.observed, decision.breach.limit) == (Decimal(leverage), 10)


def test_leverage_must_be_known_for_contracts_and_not_for_coins(order, facts, limits):
    """Unknown leverage blocks a contract order that opens, and concerns neither spot nor a reduction."""
    unknown = facts(leverage=None)

    assert evaluate(order(), unknown, limits(leverage_max="10")).reason is Reason.FACTS_MISSING
    assert evaluate(order(market=Market.SPOT), unknown, limits(leverage_max="10")).verdict is Verdict.ALLOW
    held = facts(leverage=None, held="1")
    assert evaluate(order(side=Side.SELL), held, limits(leverage_max="10")).verdict is Verdict.ALLOW


def test_old_leverage_blocks(order, facts, limits):
    """A leverage read too long ago is not believed."""
    decision = evaluate(order(), facts(leverage_age="300.1"), limits(leverage_max="10"))

    assert decision.reason is Reason.FACTS_STALE


@pytest.mark.parametrize(("exposure", "passes"), [("1899.99", True), ("1900", True), ("1900.01", False)])
def test_effective_leverage_is_at_most_the_limit(order, facts, limits, exposure, passes):
    """Exposure of the account plus the order's 100, over an equity of 1000, at most 2."""
    known = facts(equity="1000", exposure={"account": exposure})
    decision = evaluate(order(), known, limits(leverage_max="2"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    if not passes:
        assert decision.reason is Reason.EFFECTIVE_LEVERAGE_EXCEEDS_LIMIT
        assert decision.breach.observed == Decimal("2.00001")


def test_effective_leverage_is_not_scaled(order, facts, limits):
    """A smaller order does not cure a leverage breach."""
    known = facts(equity="1000", exposure={"account": "1950"})

    assert evaluate(order(), known, limits(leverage_max="2", scaling_allowed=True)).verdict is Verdict.BLOCK


def test_an_over_levered_account_may_quote_inside_its_worst_case(order, facts, limits):
    """An order that leaves the worst case where it was passes even over the limit."""
    known = facts(equity="1000", exposure={"account": "5000"}, held="2", waiting=given.sides(sell="2"))

    assert evaluate(order(side=Side.SELL), known, limits(leverage_max="2")).verdict is Verdict.ALLOW


def test_without_equity_leverage_is_infinite(order, facts, limits):
    """With equity at or below zero, any new exposure is too much."""
    for equity in ("0", "-5"):
        decision = evaluate(order(), facts(equity=equity), limits(leverage_max="2"))
        assert decision.reason is Reason.EFFECTIVE_LEVERAGE_EXCEEDS_LIMIT
        assert decision.breach.observed == Decimal("Infinity")


@pytest.mark.parametrize(("to", "passes"), [("9", True), ("10", True), ("11", False)])
def test_a_leverage_request_is_at_most_the_limit(facts, limits, to, passes):
    """Raising leverage is compared with the limit."""
    decision = evaluate(change(to), facts(leverage="3"), limits(leverage_max="10"))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert decision.holds == ((None,) if passes else ())


def test_lowering_leverage_is_always_allowed(facts, limits):
    """From 50 down to 20 passes under a limit of 10; where the present one is unknown, the limit decides."""
    assert evaluate(change("20"), facts(leverage="50"), limits(leverage_max="10")).verdict is Verdict.ALLOW
    assert evaluate(change("20"), facts(leverage=None), limits(leverage_max="10")).verdict is Verdict.BLOCK
    assert evaluate(change("9"), facts(leverage=None), limits(leverage_max="10")).verdict is Verdict.ALLOW


def test_a_leverage_request_without_a_limit_passes(facts, limits):
    """Where nothing limits leverage, a raise passes."""
    assert evaluate(change("125"), facts(), limits()).verdict is Verdict.ALLOW
