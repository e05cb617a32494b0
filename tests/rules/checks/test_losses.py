"""Loss limits of day, week and high-water mark."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from rules import LossBase, Reason, Side, Verdict, evaluate
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


def test_a_window_stays_broken_until_it_ends(order, facts, limits):
    """500 were lost at some moment of the day: the limit of 5 % is reached, though equity is back."""
    known = facts(equity="10000", anchors=given.losses(day_worst="500", week_worst="500"))

    assert evaluate(order(), known, limits(loss_daily_max="0.05")).reason is Reason.DAILY_LOSS_EXCEEDS_LIMIT
    assert evaluate(order(), known, limits(loss_weekly_max="0.05")).reason is Reason.WEEKLY_LOSS_EXCEEDS_LIMIT
    assert evaluate(order(), known, limits(loss_daily_max="0.0500001")).verdict is Verdict.ALLOW


def test_losses_are_measured_by_the_equity_that_their_transfers_belong_to(order, facts, limits):
    """The account shows 11,000 because a deposit has just arrived; the losses know 9,400 without it."""
    known = facts(equity="11000", anchors=given.losses(equity="9400"))

    assert evaluate(order(), known, limits(loss_daily_max="0.05")).breach.observed == Decimal("0.06")


def test_a_breach_tells_the_floor_in_money(order, facts, limits):
    """Of 10,000 and 500 deposited since, 5 % leave a floor of 10,000."""
    known = facts(equity="9900", anchors=given.losses(day_transfers="500"))

    decision = evaluate(order(), known, limits(loss_daily_max="0.05"))

    assert "(equity 9900, the floor is 10000)" in decision.sentence


CONTRACT = {"base": LossBase.INITIAL_CAPITAL, "initial_capital": "100000", "day_start_balance": "104000"}


@pytest.mark.parametrize(("equity", "passes"), [("99000.01", True), ("99000", False), ("98999", False)])
def test_a_contract_counts_from_midnight_balance_in_shares_of_the_capital(order, facts, limits, equity, passes):
    """Balance of 104,000 at midnight less 5 % of the initial 100,000: the floor is 99,000."""
    known = facts(equity=equity, anchors=given.losses(**CONTRACT))

    decision = evaluate(order(), known, limits(loss_daily_max="0.05"))

    assert (decision.verdict is Verdict.ALLOW) is passes


@pytest.mark.parametrize(("equity", "passes"), [("90000.01", True), ("90000", False)])
def test_a_contract_never_falls_below_its_share_of_the_capital(order, facts, limits, equity, passes):
    """10 % of 100,000: the floor is 90,000 whatever was won before."""
    known = facts(equity=equity, anchors=given.losses(**CONTRACT))

    decision = evaluate(order(), known, limits(drawdown_max="0.1"))

    assert (decision.verdict is Verdict.ALLOW) is passes


@pytest.mark.parametrize(
    ("high", "locks", "floor"),
    [
        ("49000", True, "48000"),  # never below what the capital leaves
        ("50000", True, "48000"),
        ("50500", True, "48500"),
        ("51999", True, "49999"),
        ("52000", True, "50000"),
        ("52500", True, "50000"),  # locked at the start balance
        ("60000", True, "50000"),
        ("60000", False, "58000"),
    ],
)
def test_a_trailing_floor_follows_the_best_day_end_and_locks(order, facts, limits, high, locks, floor):
    """2,000 of 50,000 below the highest balance at a day's end, and never above the start balance."""
    anchors = {
        "base": LossBase.TRAILING_EOD, "initial_capital": "50000", "end_of_day_high": high, "trailing_locks": locks,
    }
    applied = limits(drawdown_max="0.04")
    at = facts(equity=floor, anchors=given.losses(**anchors))
    above = facts(equity=str(Decimal(floor) + Decimal("0.01")), anchors=given.losses(**anchors))

    assert evaluate(order(), at, applied).reason is Reason.DRAWDOWN_EXCEEDS_LIMIT
    assert evaluate(order(), above, applied).verdict is Verdict.ALLOW


@pytest.mark.parametrize("missing", ["initial_capital", "day_start_balance"])
def test_a_contract_without_its_numbers_blocks(order, facts, limits, missing):
    """What the contract counts from is not known: blocked, naming it."""
    known = facts(anchors=given.losses(**{**CONTRACT, missing: None}))

    assert evaluate(order(), known, limits(loss_daily_max="0.05")).breach.observed == missing


@pytest.mark.parametrize(("ema", "passes"), [("0.049", True), ("0.05", False), ("0.2", False), (None, False)])
def test_a_wick_counts_only_as_far_as_the_average_drawdown(order, facts, limits, ema, passes):
    """5 % below the high; the average drawdown decides where it is less."""
    known = facts(equity="9500", anchors=given.losses(drawdown_ema=ema))

    assert (evaluate(order(), known, limits(drawdown_max="0.05")).verdict is Verdict.ALLOW) is passes


@pytest.mark.parametrize(
    ("streak", "ago_s", "passes"), [(2, 0, True), (3, 0, False), (3, 599, False), (3, 600, True), (9, 601, True)]
)
def test_losses_in_a_row_cool_down(order, facts, limits, streak, ago_s, passes):
    """Three losses in a row: nothing opens for ten minutes after the last of them; a reduction passes."""
    last = given.NOW - timedelta(seconds=ago_s)
    anchors = given.losses(losing_streak=streak, last_loss_at=last)
    applied = limits(loss_streak_max="3", loss_cooldown_s="600")

    decision = evaluate(order(), facts(anchors=anchors), applied)

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.LOSS_STREAK_REACHES_LIMIT) is not passes
    assert evaluate(order(side=Side.SELL), facts(anchors=anchors, held="1"), applied).verdict is Verdict.ALLOW


def test_a_streak_of_unknown_age_blocks(order, facts, limits):
    """Nobody knows when the last loss was: it is not taken for long ago."""
    known = facts(anchors=given.losses(losing_streak=3))

    assert evaluate(order(), known, limits(loss_streak_max="3")).breach.observed == "last_loss_at"


@pytest.mark.parametrize(
    ("equity", "verdict"), [("9200.01", Verdict.ALLOW), ("9200", Verdict.BLOCK), ("9100", Verdict.BLOCK)]
)
def test_a_daily_loss_in_money(order, facts, limits, equity, verdict):
    """800 lost of 10,000 reach a limit of 800, whatever share that is; the floor is told."""
    decision = evaluate(order(), facts(equity=equity), limits(loss_daily_money_max="800"))

    assert decision.verdict is verdict
    if verdict is Verdict.BLOCK:
        assert decision.reason is Reason.DAILY_LOSS_EXCEEDS_LIMIT
        assert "the floor is 9200" in decision.sentence


def test_a_daily_loss_in_money_counts_no_transfers_and_stays_reached(order, facts, limits):
    """Money paid in gives no room, and what was lost at the worst moment stays lost until the day ends."""
    limited = limits(loss_daily_money_max="800")
    paid_in = facts(equity="9700", anchors=given.losses(day_transfers="500"))
    assert evaluate(order(), paid_in, limited).breach.observed == 800
    recovered = facts(equity="9990", anchors=given.losses(day_worst="800"))
    assert evaluate(order(), recovered, limited).verdict is Verdict.BLOCK
