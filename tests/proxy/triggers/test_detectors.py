"""What triggers find: at the number the policy names, not before, and not twice for the same."""

from decimal import Decimal

import pytest

from proxy.outcomes import Outcomes
from proxy.triggers.detectors import (
    BlockRate,
    DataFeedLoss,
    ErrorStorm,
    Lack,
    RejectStreak,
    rehearse_blocks,
    rehearse_errors,
    rehearse_loss_of_data,
    rehearse_rejections,
)
from rules import Caller
from rules.profile import BlockRatePolicy, DataFeedPolicy, ErrorStormPolicy, RejectStreakPolicy


def caller(account="main", strategy="grid"):
    """Whoever sends."""
    return Caller(account=account, exchange="binance", strategy=strategy, bot="b1")


def storm(errors=3, window_s="10"):
    """Outcomes and a detector that looks for so many errors."""
    outcomes = Outcomes()
    policy = ErrorStormPolicy(errors=errors, window_s=Decimal(window_s))
    return outcomes, ErrorStorm(outcomes, lambda: policy)


def fail(outcomes, count, **who):
    """Orders whose answers are lost."""
    for _ in range(count):
        outcomes.note(caller(**who), "unknown")


def test_errors_within_the_window_are_a_storm():
    """Two are none, the third is; it names the account, and the same three are not found again."""
    outcomes, detector = storm()
    fail(outcomes, 2)
    assert detector.look(0) == []
    fail(outcomes, 1, strategy="trend")  # of another strategy, on the same account
    (found,) = detector.look(5)
    assert (found.account, found.exchange, found.strategy) == ("main", "binance", "")
    assert "3 orders within 10 s" in found.reason
    assert detector.look(6) == []
    fail(outcomes, 3)
    assert len(detector.look(7)) == 1


def test_errors_spread_over_more_than_the_window_are_none():
    """One every six seconds for ten minutes."""
    outcomes, detector = storm()
    for now_s in range(0, 600, 6):
        fail(outcomes, 1)
        assert detector.look(now_s) == []


def test_errors_of_two_accounts_are_not_added():
    """Each account has its own storm."""
    outcomes, detector = storm()
    fail(outcomes, 2)
    fail(outcomes, 2, account="desk")
    assert detector.look(0) == []


def test_rejections_in_a_row_are_a_streak():
    """At the number, per strategy, again only after as many more; an accepted order begins anew."""
    outcomes = Outcomes()
    detector = RejectStreak(outcomes, lambda: RejectStreakPolicy(rejections=3))
    for expected in (0, 0, 1, 0, 0, 1, 0):
        outcomes.note(caller(), "rejected")
        assert len(detector.look(0)) == expected
    outcomes.note(caller(), "accepted")
    assert detector.look(0) == []
    for expected in (0, 0, 1):
        outcomes.note(caller(), "rejected")
        assert len(detector.look(0)) == expected


def test_a_streak_that_restarted_between_two_looks_is_counted_from_its_beginning():
    """Accepted once and rejected again before anybody looked: only the new row counts."""
    outcomes = Outcomes()
    detector = RejectStreak(outcomes, lambda: RejectStreakPolicy(rejections=3))
    for _ in range(5):
        outcomes.note(caller(), "rejected")
    assert len(detector.look(0)) == 1
    for outcome in ("accepted", "rejected", "rejected"):
        outcomes.note(caller(), outcome)
    assert detector.look(0) == []
    outcomes.note(caller(), "rejected")
    assert len(detector.look(0)) == 1


def rate(counts, share="50%", orders_min=10, window_s="10"):
    """A detector of blocked shares."""
    policy = BlockRatePolicy(share=share, orders_min=orders_min, window_s=Decimal(window_s))
    return BlockRate(lambda: counts, lambda: policy)


BLOCKED = ("block", "order_notional_exceeds_limit", "main", "binance", "grid")
PASSED = ("allow", "all_risk_checks_passed", "main", "binance", "grid")
STOPPED = ("block", "ess_trading_halt_active", "main", "binance", "grid")


@pytest.mark.parametrize(
    ("counts", "spike"),
    [
        ({BLOCKED: 5, PASSED: 5}, True),
        ({BLOCKED: 4, PASSED: 6}, False),
        ({BLOCKED: 9}, False),  # too few to say anything
        ({BLOCKED: 10}, True),
        ({BLOCKED: 4, PASSED: 6, STOPPED: 1000}, False),  # what the stop blocks must not keep it engaged
    ],
)
def test_a_share_of_enough_orders_is_a_spike(counts, spike):
    """At the share and at the number, both."""
    found = rate(counts).look(0)
    assert bool(found) is spike
    assert [one.strategy for one in found] == ["grid"] * spike


def test_only_what_happened_within_the_window_counts():
    """A spike of an hour ago is none now."""
    counts = {BLOCKED: 4, PASSED: 0}
    detector = rate(counts)
    assert detector.look(0) == []
    assert detector.look(11) == []
    counts[BLOCKED] += 6
    counts[PASSED] += 7
    assert detector.look(12) == []  # 6 of 13


def test_facts_missing_for_long_are_found_once():
    """At the age; not again before everything was there; a moment of health begins the time anew."""
    wrong: list[str] = ["equity is not known"]
    detector = DataFeedLoss(
        lambda: [Lack("main", "binance", tuple(wrong))], lambda: DataFeedPolicy(after_s=Decimal(300))
    )
    assert [len(detector.look(now_s)) for now_s in (0, 299.9, 300, 301, 9000)] == [0, 0, 1, 0, 0]
    wrong.clear()
    assert detector.look(9001) == []
    wrong.append("exposure is 60 s old")
    assert [len(detector.look(now_s)) for now_s in (9002, 9301.9, 9302)] == [0, 0, 1]


def test_without_orders_or_accounts_detectors_are_inert():
    """They say what they lack."""
    outcomes = Outcomes()
    assert "no order" in str(ErrorStorm(outcomes, ErrorStormPolicy).inert())
    assert "no order" in str(RejectStreak(outcomes, RejectStreakPolicy).inert())
    assert "no order" in str(BlockRate(dict, BlockRatePolicy).inert())
    assert "no account" in str(DataFeedLoss(list, DataFeedPolicy).inert())
    fail(outcomes, 1)
    assert ErrorStorm(outcomes, ErrorStormPolicy).inert() is None
    assert RejectStreak(outcomes, RejectStreakPolicy).inert() is None
    assert BlockRate(lambda: {BLOCKED: 1}, BlockRatePolicy).inert() is None
    assert DataFeedLoss(lambda: [Lack("main", "binance", ())], DataFeedPolicy).inert() is None


@pytest.mark.parametrize("number", [1, 2, 20, 10_000])
def test_rehearsals_hold_for_every_policy(number):
    """Whatever is set, what reaches it is found and what does not is not."""
    assert rehearse_errors(ErrorStormPolicy(errors=number))
    assert rehearse_rejections(RejectStreakPolicy(rejections=number))
    assert rehearse_blocks(BlockRatePolicy(orders_min=number, share="100%"))
    assert rehearse_loss_of_data(DataFeedPolicy(after_s=Decimal(number)))


def test_a_rehearsal_finds_a_detector_that_sees_nothing(monkeypatch):
    """Broken detectors are what rehearsals are for."""
    for detector in (ErrorStorm, RejectStreak, BlockRate, DataFeedLoss):
        monkeypatch.setattr(detector, "look", lambda self, now_s: [])
    assert not rehearse_errors(ErrorStormPolicy())
    assert not rehearse_rejections(RejectStreakPolicy())
    assert not rehearse_blocks(BlockRatePolicy())
    assert not rehearse_loss_of_data(DataFeedPolicy())
