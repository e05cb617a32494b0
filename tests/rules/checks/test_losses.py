"""Loss limits of day, week and high-water mark."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import Reason, Side, Verdict, evaluate
from tests import given

KINDS = [
    ("loss_daily_max", "day", Reason.DAILY_LOSS_EXCEEDS_LIMIT, "day_start_equity"),
    ("loss_weekly_max", "week", Reason.WEEKLY_LOSS_EXCEEDS_LIMIT, "week_start_equity"),
    ("drawdown_max", "high", Reason.DRAWDOWN_EXCEEDS_LIMIT, "high_water_mark"),
]


@pytest.mark.parametrize(("limit", "anchor", "reason", "_name"), KINDS)
@pytest.mark.parametrize(
    ("equity", "passes"), [("9500.01", True), ("9500", False), ("9499.99", False), ("12000", True)]
)
def test_a_loss_stays_below_its_limit(order, facts, limits, limit, anchor, reason, _name, equity, passes):
    """5 % of 10,000: just under passes, exactly at and over block; a gain is no loss."""
    decision = evaluate(order(), facts(equity=equity), limits(**{limit: "0.05"}))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is reason) is not passes


@pytest.mark.parametrize(("limit", "anchor", "reason", "name"), KINDS)
def test_an_unknown_anchor_blocks_and_is_named(order, facts, limits, limit, anchor, reason, name):
    """Without the equity at the start, no loss can be computed: blocked, naming the anchor."""
    decision = evaluate(order(), facts(anchors=given.losses(**{anchor: None})), limits(**{limit: "0.05"}))

    assert (decision.reason, decision.breach.observed) == (Reason.FACTS_MISSING, name)


@pytest.mark.parametrize(("limit", "anchor", "reason", "_name"), KINDS)
def test_an_anchor_of_nothing_is_a_breach(order, facts, limits, limit, anchor, reason, _name):
    """A start of zero leaves nothing to measure a loss by: infinitely much, blocked."""
    decision = evaluate(order(), facts(anchors=given.losses(**{anchor: "0"})), limits(**{limit: "0.05"}))

    assert decision.reason is reason


def test_vector_10_a_deposit_is_not_a_gain(order, facts, limits):
    """Vector 10: 10,000 at the start, 1,000 deposited, 10,700 now is a loss of 3.0 %."""
    known = facts(equity="10700", anchors=given.losses(day="10000", day_transfers="1000"))

    decision = evaluate(order(), known, limits(loss_daily_max="0.03"))

    assert decision.breach.observed == Decimal("0.03")
    assert evaluate(order(), known, limits(loss_daily_max="0.030001")).verdict is Verdict.ALLOW


def test_a_withdrawal_is_not_a_loss(order, facts, limits):
    """1,000 taken out explains a fall of 1,000 within the week."""
    known = facts(equity="9000", anchors=given.losses(week="10000", week_transfers="-1000"))

    assert evaluate(order(), known, limits(loss_weekly_max="0.01")).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "unusable", [{"losses_known": False}, {"losses_age": "10.1"}, {"equity": None}, {"equity_age": "11"}]
)
def test_unusable_facts_block_new_exposure_only(order, facts, limits, unusable):
    """Missing or old anchors and equity block an opening order and let a reduction through."""
    applied = limits(loss_daily_max="0.05", loss_weekly_max="0.05", drawdown_max="0.05")

    assert evaluate(order(), facts(**unusable), applied).reason in (Reason.FACTS_MISSING, Reason.FACTS_STALE)
    assert evaluate(order(side=Side.SELL), facts(held="1", **unusable), applied).verdict is Verdict.ALLOW


def test_a_loss_never_scales_and_never_stops_an_exit(order, facts, limits):
    """After the limit is reached, no smaller order passes, and the way out stays open."""
    applied = limits(loss_daily_max="0.05", scaling_allowed=True)

    assert evaluate(order(), facts(equity="9000"), applied).verdict is Verdict.BLOCK
    assert evaluate(order(side=Side.SELL), facts(equity="9000", held="1"), applied).verdict is Verdict.ALLOW
