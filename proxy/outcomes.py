"""What became of the orders that were let through, counted: for whoever looks for storms and streaks.

Counting is all that happens on the way of an order; what the counts mean is worked out elsewhere, on a timer.
"""

from __future__ import annotations

from rules import Caller

ACCEPTED, REJECTED = "accepted", "rejected"


class Tally:
    """The orders of one strategy on one account, since the start."""

    __slots__ = ("accepted", "exchange", "failed", "rejected", "streak")

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.accepted = 0
        self.rejected = 0
        self.failed = 0  # not sent, or of unknown fate
        self.streak = 0  # rejections since the last order that was accepted


class Outcomes:
    """All tallies, by account and strategy."""

    def __init__(self) -> None:
        self.by_place: dict[tuple[str, str], Tally] = {}

    def note(self, caller: Caller, outcome: str) -> None:
        """Count an order; whatever was neither accepted nor rejected has failed."""
        place = caller.account, caller.strategy
        tally = self.by_place.get(place)
        if tally is None:
            tally = self.by_place[place] = Tally(caller.exchange)
        if outcome == ACCEPTED:
            tally.accepted += 1
            tally.streak = 0
        elif outcome == REJECTED:
            tally.rejected += 1
            tally.streak += 1
        else:
            tally.failed += 1
