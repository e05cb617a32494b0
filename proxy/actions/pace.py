"""How fast actions go, how often they try again, and when a person has to take over."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds and counts. The deadline bounds the whole action; what is not done by then goes to a person."""

    deadline_s: float = 120.0
    market_after_s: float = 30.0  # until then closing orders are bounded by a price, afterwards they are not
    slices: int = 4  # a position is closed in so many orders at least
    price_tolerance: Decimal = Decimal("0.005")  # how much worse than the book a bounded order may trade
    price_age_max_s: float = 5.0
    between_s: float = 0.5  # from one round to the next
    between_max_s: float = 5.0  # after rounds that achieved nothing
    unknown_counts_after_s: float = 20.0  # recvWindow (5 s), what a venue may take (10 s), and a margin
    at_once: int = 5  # requests under way at the same time
