"""How an account scales: to the limit, by value at risk, or by a fixed factor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given as property_given
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rules import (
    Market,
    Reason,
    RiskLevel,
    Side,
    Verdict,
    effective,
    evaluate,
    headroom,
)
from rules.profile import GlobalPolicy, explain
from tests import given
from tests import strategies as some

D = Decimal


@dataclass(frozen=True)
class Room:
    """As many base units as are left, whatever the symbol; None: nobody knows."""

    left: Decimal | None

    def largest_quantity(self, market: Market, symbol: str, side: Side, asked: Decimal) -> Decimal | None:
        """At most what is left."""
        assert (type(market), type(side), type(symbol)) == (Market, Side, str)
        return None if self.left is None else max(D(0), min(asked, self.left))

    def after(self, market: Market, symbol: str, side: Side, quantity: Decimal) -> Room:
        """Less of it."""
        return Room(None if self.left is None else self.left - quantity)


def facts(left="0.4", **changed):
    """Facts with as much room."""
    return replace(given.facts(**changed), var=Room(None if left is None else D(left)))


BY_VAR = given.limits(scaling_allowed=True, scaling_by_var=True)
HALF = given.limits(scaling_allowed=True, scaling_factor="0.5", order_notional_max="60")


def test_by_var_takes_the_largest_quantity_that_fits():
    """1 BTC where VaR leaves 0.4005: scaled to 0.400, floored to the step."""
    decision = evaluate(given.order(), facts("0.4005"), BY_VAR)

    assert (decision.verdict, decision.quantities) == (Verdict.SCALE_DOWN, (D("0.400"),))
    assert decision.reason is Reason.VALUE_AT_RISK_EXCEEDS_LIMIT
    assert "0.4005" in decision.sentence
    assert evaluate(given.order(quantity="0.4005"), facts("0.4005"), BY_VAR).verdict is Verdict.ALLOW


def test_by_var_still_keeps_to_every_other_limit():
    """A tighter cap in money binds as under to_limit; so does a WARNING, and then VaR."""
    capped = replace(BY_VAR, order_notional_max=D(30))
    assert evaluate(given.order(), facts(), capped).quantities == (D("0.3"),)
    warned = evaluate(given.order(), facts(risk=RiskLevel.WARNING), BY_VAR)
    assert warned.quantities == (D("0.4"),)
    assert evaluate(given.order(), facts("5", risk=RiskLevel.WARNING), BY_VAR).quantities == (D("0.5"),)


def test_headroom_is_by_var_too():
    """The largest order that is named is the one that VaR leaves."""
    found = headroom(given.order(), facts(), BY_VAR)
    assert (found.quantity, found.binding) == (D("0.4"), "incremental_var")


def test_a_fixed_factor_cures_a_breach_or_nothing_does():
    """1 BTC over a cap of 0.6 is sent as 0.5; over a cap of 0.4, where half is still too much, not at all."""
    decision = evaluate(given.order(), given.facts(), HALF)
    assert (decision.verdict, decision.quantities) == (Verdict.SCALE_DOWN, (D("0.5"),))
    assert decision.reason is Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT
    tight = replace(HALF, order_notional_max=D(40))
    assert evaluate(given.order(), given.facts(), tight).reason is Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT
    assert evaluate(given.order(quantity="0.6"), given.facts(), HALF).verdict is Verdict.ALLOW


def test_a_warning_keeps_its_own_factor():
    """WARNING scales to the policy's share, not to the fixed factor."""
    limits = replace(HALF, warning_factor=D("0.3"), order_notional_max=None)
    decision = evaluate(given.order(), given.facts(risk=RiskLevel.WARNING), limits)
    assert decision.quantities == (D("0.3"),)


MODES = (
    {"scaling_allowed": True},
    {"scaling_allowed": True, "scaling_by_var": True},
    {"scaling_allowed": True, "scaling_factor": D("0.5")},
    {"scaling_allowed": True, "scaling_factor": D("0.37"), "scaling_by_var": True},
)


def amount(order):
    """How much the order asks for, in its own unit."""
    return order.quantity if order.quantity is not None else order.quote_quantity


@settings(max_examples=1200, deadline=None, derandomize=True)
@property_given(
    order=some.orders(), known=some.some_facts(always=True), limits=some.some_limits(scaling=True),
    mode=st.sampled_from(MODES), left=st.sampled_from(["0", "0.01", "0.5", "3"]),
)
def test_in_every_mode_scaling_never_enlarges_and_satisfies_every_rule(order, known, limits, mode, left):
    """Smaller, on the step, and allowed when judged alone."""
    known, limits = replace(known, var=Room(D(left))), replace(limits, **mode)
    decision = evaluate(order, known, limits)
    if decision.verdict is not Verdict.SCALE_DOWN:
        return
    (quantity,) = decision.quantities
    filters = known.of(order.symbol).filters.value
    step = filters.quantity_step if order.quantity is not None else filters.quote_quantity_step
    assert 0 < quantity < amount(order)
    assert quantity % step == 0
    smaller = replace(order, **{"quantity" if order.quantity is not None else "quote_quantity": quantity})
    again = evaluate(smaller, known, limits)
    assert again.verdict is Verdict.ALLOW, again.sentence
    assert again.holds == decision.holds


@settings(max_examples=1200, deadline=None, derandomize=True)
@property_given(
    order=some.orders(), known=some.some_facts(always=True), limits=some.some_limits(scaling=True),
    mode=st.sampled_from(MODES), cap=st.sampled_from(some.MONEY), less=st.sampled_from(["0.1", "0.5", "0.9"]),
    left=st.sampled_from(["0.01", "0.5", "3"]),
)
def test_in_every_mode_a_tighter_limit_or_less_room_never_sends_more(order, known, limits, mode, cap, less, left):
    """Monotone in the cap and in what VaR leaves."""
    wide = replace(limits, **mode, order_notional_max=cap)
    tight = replace(wide, order_notional_max=cap * D(less))
    roomy, narrow = replace(known, var=Room(D(left))), replace(known, var=Room(D(left) * D(less)))
    looser = evaluate(order, roomy, wide)
    for stricter in (evaluate(order, roomy, tight), evaluate(order, narrow, wide)):
        if stricter.verdict is Verdict.BLOCK or amount(order) is None:
            continue
        assert looser.verdict is not Verdict.BLOCK
        assert stricter.quantities[0] <= looser.quantities[0]


def limits(**account: object):
    """The limits of an account with this policy."""
    main = {"strategies": "any", "symbols": "any", **account}
    written = GlobalPolicy.model_validate({"active_mode": "NORMAL", "accounts": {"main": main}})
    return effective(written, revision=1, account="main", strategy="grid", now=given.NOW)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [("off", (False, None, None)), ("allowed", (True, None, None)), ("to_limit", (True, None, None)),
     ("by_var", (True, True, None)), ("fixed_factor", (True, None, D("0.5")))],
)
def test_a_policy_names_the_way(scaling, expected):
    """What an account writes is what the gate does; `allowed` is to_limit."""
    found = limits(scaling=scaling)
    assert (found.scaling_allowed, found.scaling_by_var, found.scaling_factor) == expected


def test_the_factor_is_of_fixed_factor_only():
    """A factor that nobody reads is refused."""
    assert limits(scaling="fixed_factor", scaling_factor="0.25").scaling_factor == D("0.25")
    with pytest.raises(ValidationError) as refused:
        limits(scaling="by_var", scaling_factor="0.25")
    assert "expected it only with fixed_factor" in " ".join(explain(refused.value, GlobalPolicy))
