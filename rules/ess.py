"""The Emergency Stop System's states and transitions, as a table.

HALT is what the toggle sets: no order is placed or amended, no exceptions. REDUCE_ONLY
admits what provably only reduces. Cancels pass in every state. Trips latch: a state is
left downwards only by a named person with a reason, never by time or restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum


class EssLevel(IntEnum):
    """How much the stop stops; a higher level is stricter."""

    CLEAR = 0
    REDUCE_ONLY = 1
    HALT = 2


class EssAct(StrEnum):
    """What is done to the stop."""

    ENGAGE_REDUCE_ONLY = "engage_reduce_only"
    ENGAGE_HALT = "engage_halt"
    RELEASE = "release"


TRANSITIONS: dict[tuple[EssLevel, EssAct], EssLevel] = {
    (EssLevel.CLEAR, EssAct.ENGAGE_REDUCE_ONLY): EssLevel.REDUCE_ONLY,
    (EssLevel.CLEAR, EssAct.ENGAGE_HALT): EssLevel.HALT,
    (EssLevel.CLEAR, EssAct.RELEASE): EssLevel.CLEAR,
    (EssLevel.REDUCE_ONLY, EssAct.ENGAGE_REDUCE_ONLY): EssLevel.REDUCE_ONLY,
    (EssLevel.REDUCE_ONLY, EssAct.ENGAGE_HALT): EssLevel.HALT,
    (EssLevel.REDUCE_ONLY, EssAct.RELEASE): EssLevel.CLEAR,
    # A weaker trip never loosens a stronger one.
    (EssLevel.HALT, EssAct.ENGAGE_REDUCE_ONLY): EssLevel.HALT,
    (EssLevel.HALT, EssAct.ENGAGE_HALT): EssLevel.HALT,
    (EssLevel.HALT, EssAct.RELEASE): EssLevel.CLEAR,
}


def after(level: EssLevel, act: EssAct) -> EssLevel:
    """The level that `act` leads to from `level`."""
    return TRANSITIONS[level, act]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What one scope's stop says, and who set it; the same record is stored, shown and judged."""

    level: EssLevel
    scope: str = "global"  # "global" or "account:<name>"
    reason: str = ""
    actor: str = ""
    source: str = ""  # api, cli, rule, start
    since: datetime | None = None
    epoch: int = 0


CLEAR = Stop(level=EssLevel.CLEAR)


def strictest(*stops: Stop) -> Stop:
    """The stop that governs: the highest level; of equals, the first given."""
    return max(stops, key=lambda stop: stop.level)
