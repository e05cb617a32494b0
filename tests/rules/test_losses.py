"""The arithmetic of losses: shares, floors and what is left until them."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest

from rules import FactMissing, LossBase, Rung, daily_loss, derisked, drawdown_loss, weekly_loss
from rules.losses import untouched
from tests import given

D = Decimal


def test_floor_and_distance_are_in_money():
    """10,000 at the start, 1,000 deposited, 10,700 now: 300 lost, and 5 % leave 200 more."""
    found = daily_loss(given.losses(day_transfers="1000"), D(10700))

    assert (found.lost, found.share, found.floor(D("0.05")), found.distance(D("0.05"))) == (
        300, D("0.03"), 10500, 200,
    )  # fmt: skip


def test_nothing_is_left_once_the_limit_was_reached():
    """Equity is back at its start, but 500 had been lost: 5 % are used up, 8 % leave 300."""
    found = daily_loss(given.losses(day_worst="500"), D(10000))

    assert (found.distance(D("0.05")), found.distance(D("0.08"))) == (0, 300)


def test_a_week_is_measured_by_its_own_transfers():
    """The day's transfers are not the week's."""
    known = given.losses(day_transfers="5000", week_transfers="-1000")

    assert weekly_loss(known, D(9000)).lost == 0
    assert daily_loss(known, D(9000)).lost == 6000


def test_transfers_move_the_high_water_mark():
    """A withdrawal of 4,000 after the high of 10,000 is no drawdown."""
    found = drawdown_loss(given.losses(high_transfers="-4000"), D(6000))

    assert (found.lost, found.anchor) == (0, 6000)


def test_a_contract_moves_with_what_is_paid_in():
    """The floor of 90,000 rises by what was deposited since."""
    known = given.losses(base=LossBase.INITIAL_CAPITAL, initial_capital="100000", capital_transfers="5000")

    assert drawdown_loss(known, D(100000)).floor(D("0.1")) == 95000


@pytest.mark.parametrize(
    ("drawdown", "factor"),
    [("0", "1"), ("0.099", "1"), ("0.1", "0.8"), ("0.19", "0.8"), ("0.2", "0.64"), ("1", "0.64")],
)
def test_the_ladder_takes_the_deepest_rung_reached(drawdown, factor):
    """20 % less size for each 10 % of drawdown."""
    assert derisked(D(drawdown), (Rung(D("0.1"), D("0.8")), Rung(D("0.2"), D("0.64")))) == D(factor)


@pytest.mark.parametrize(
    ("measure", "missing"),
    [
        (lambda known: daily_loss(known, D(1)), "day_start_balance"),
        (lambda known: weekly_loss(known, D(1)), "week_start_balance"),
        (lambda known: drawdown_loss(known, D(1)), "end_of_day_high"),
    ],
)
def test_what_a_trailing_contract_needs_is_named_when_it_is_missing(measure, missing):
    """A mark that is not known is never taken for a number."""
    known = given.losses(base=LossBase.TRAILING_EOD, initial_capital="50000")

    with pytest.raises(FactMissing, match=missing):
        measure(known)


@pytest.mark.parametrize("seed", range(300))
def test_untouched_says_what_the_measure_would(seed):
    """The short answer that spares most orders the arithmetic is never another answer."""
    random = Random(seed)
    anchor = random.choice([None, D(0), D(-5), D(random.randrange(1, 300))])
    transfers, worst = D(random.randrange(-50, 50)), D(random.choice([0, 0, 0, 3, 40]))
    equity = D(random.randrange(-10, 350))
    short = untouched(anchor, transfers, worst, equity)
    if anchor is None:
        assert not short
        return
    found = daily_loss(
        given.losses(day=str(anchor), day_transfers=str(transfers), day_worst=str(worst)), equity
    )

    assert short == (found.lost == 0 and anchor > 0)
    if short:
        assert found.share == 0
