"""Counting what became of orders."""

from proxy.outcomes import Outcomes
from rules import Caller

CALLER = Caller(account="main", exchange="binance", strategy="grid", bot="b1")


def test_a_streak_ends_with_an_accepted_order_and_not_with_a_lost_one():
    """Whether a lost order was accepted nobody knows."""
    outcomes = Outcomes()
    for outcome in ("rejected", "rejected", "unknown", "rejected", "not_sent"):
        outcomes.note(CALLER, outcome)
    tally = outcomes.by_place["main", "grid"]
    assert (tally.accepted, tally.rejected, tally.failed, tally.streak, tally.exchange) == (0, 3, 2, 3, "binance")

    outcomes.note(CALLER, "accepted")
    assert (tally.accepted, tally.streak) == (1, 0)
