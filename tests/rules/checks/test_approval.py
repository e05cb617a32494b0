"""Orders that need a person's word."""

import pytest

from rules import EssLevel, Reason, Side, Verdict, evaluate
from tests.given import facts, limits, order, symbol_facts


@pytest.mark.parametrize(("beside", "passes"), [(1, True), (0, False), (-1, False)])
def test_from_the_stated_value_on_an_order_waits(beside, passes):
    """Just under the value it passes; at it and over it it waits."""
    worth = evaluate(order(), facts(), limits()).notionals[0]
    decision = evaluate(order(), facts(), limits(approval_notional_min=str(worth + beside)))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert decision.reason is (Reason.ALL_RISK_CHECKS_PASSED if passes else Reason.APPROVAL_REQUIRED)


def test_the_legs_of_a_request_count_together():
    """Two halves wait as the whole does."""
    worth = evaluate(order(), facts(), limits()).notionals[0]
    asks = limits(approval_notional_min=str(worth))
    half = order(quantity="0.5")

    assert evaluate(half, facts(), asks).verdict is Verdict.ALLOW
    assert evaluate([half, half], facts(), asks).reason is Reason.APPROVAL_REQUIRED


def test_a_way_out_waits_for_nobody():
    """What provably only reduces passes at any size."""
    held = facts(symbols={"BTCUSDT": symbol_facts(held="5")})
    decision = evaluate(order(side=Side.SELL, quantity="5", reduce_only=True), held, limits(approval_notional_min="1"))

    assert decision.verdict is Verdict.ALLOW


def test_every_other_rule_is_asked_first():
    """A person is not asked about what would be blocked anyway."""
    asks = limits(approval_notional_min="1", order_quantity_max="0.1")

    assert evaluate(order(), facts(), asks).reason is Reason.ORDER_QUANTITY_EXCEEDS_LIMIT
    assert evaluate(order(), facts(stop=EssLevel.HALT), asks).reason is Reason.ESS_TRADING_HALT_ACTIVE


def test_an_order_that_is_cut_below_the_value_needs_nobody():
    """Only what would be sent counts: scaled under the value it passes, scaled above it waits."""
    worth = evaluate(order(), facts(), limits()).notionals[0]
    scaling = {"scaling_allowed": True, "order_quantity_max": "0.5"}
    below = evaluate(order(), facts(), limits(**scaling, approval_notional_min=str(worth * 3 / 4)))
    above = evaluate(order(), facts(), limits(**scaling, approval_notional_min=str(worth / 4)))

    assert (below.verdict, below.reason) == (Verdict.SCALE_DOWN, Reason.ORDER_QUANTITY_EXCEEDS_LIMIT)
    assert [run.outcome for run in below.rules_run if run.rule == "approval"] == ["within"]
    assert (above.verdict, above.reason) == (Verdict.BLOCK, Reason.APPROVAL_REQUIRED)
