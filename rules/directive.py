"""What the safety governor says of an account: how much of every limit is left to it, and why.

The nouns only; how a directive is reached, and what it makes of limits, is in `rules/governor.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from rules.values import value_type

ONE: Final = Decimal(1)


class GovernorAct(StrEnum):
    """What is done with new exposure. Reductions and cancels are not the governor's."""

    ALLOW = "ALLOW"
    MODIFY = "MODIFY"  # limits are multiplied
    BLOCK = "BLOCK"


class GovernorLevel(StrEnum):
    """How careful an account has to be."""

    NORMAL = "NORMAL"
    CAUTIOUS = "CAUTIOUS"
    DEFENSIVE = "DEFENSIVE"
    EMERGENCY = "EMERGENCY"


class Cause(StrEnum):
    """What led to a level that is not NORMAL."""

    NONE = "none"
    DRAWDOWN = "drawdown"  # the day's loss, as a share of its limit
    LOSING_STREAK = "losing_streak"
    RISK_SIGNAL = "risk_signal"
    LADDER = "ladder"  # the account's own de-risking ladder
    INPUT_MISSING = "input_missing"


class Multipliers(NamedTuple):
    """What limits are multiplied by; never above 1."""

    leverage: Decimal
    size: Decimal
    exposure: Decimal


MULTIPLIERS: Final[Mapping[GovernorLevel, Multipliers]] = MappingProxyType(
    {
        GovernorLevel.NORMAL: Multipliers(ONE, ONE, ONE),
        GovernorLevel.CAUTIOUS: Multipliers(Decimal("0.75"), Decimal("0.75"), Decimal("0.85")),
        GovernorLevel.DEFENSIVE: Multipliers(Decimal("0.5"), Decimal("0.5"), Decimal("0.6")),
        GovernorLevel.EMERGENCY: Multipliers(Decimal(0), Decimal(0), Decimal(0)),
    }
)


class Governing(NamedTuple):
    """How an account is governed. Shares are of the daily loss limit in force."""

    loss_daily_max: Decimal
    cautious_at: Decimal
    emergency_at: Decimal
    streak_cautious: int
    streak_block: int
    streak_cooldown_s: Decimal
    signal_counts: bool  # the global risk signal is required, so the governor heeds it


@value_type()
class Directive:
    """The governor's word on an account. `until` is when it changes by itself, with nothing new known."""

    act: GovernorAct
    level: GovernorLevel
    multipliers: Multipliers
    cause: Cause
    observed: Decimal | int | str | None
    threshold: Decimal | int | str | None
    losing_streak: int | None
    until: datetime | None
    words: str  # "MODIFY CAUTIOUS": what the record of a decision shows
    trace_id: str = ""  # under which it was told when it was reached
