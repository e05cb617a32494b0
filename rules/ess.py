"""The Emergency Stop System's states and transitions, as a table.

HALT is what the toggle sets: no order is placed or amended, no exceptions. REDUCE_ONLY
admits what provably only reduces. Cancels pass in every state. Trips latch: a state is
left downwards only by a named person with a reason, never by restart, and by time only
where a rule that engaged alone asked for that.

A stop has a scope: everything, an exchange, an account, a strategy, or a symbol. Of all
stops that an order falls under, the strictest governs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final

GLOBAL: Final = "global"
KINDS = ("exchange", "account", "strategy", "symbol")
# Not engaged by anybody: what is left of a HALT until the account has been read again.
RECOVERY: Final = "recovery"
# Where a stop may come from that no person engaged; whatever else it is, a person did.
RULE_SOURCES: Final = frozenset(
    {
        "start", "init", "recovery", "rule", "loss", "drawdown", "global_risk", "bypass", "error_storm", "data_feed",
        "block_rate", "reject_streak",
    }
)  # fmt: skip


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


TRANSITIONS: Final[dict[tuple[EssLevel, EssAct], EssLevel]] = {
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
    scope: str = GLOBAL  # "global", or a kind and a name: "account:main", "symbol:BTCUSDT"
    reason: str = ""
    actor: str = ""
    source: str = ""  # api, cli, rule, start
    since: datetime | None = None
    epoch: int = 0
    by_person: bool = False  # a person engaged it, alone or beside a rule
    expires_s: int | None = None  # a rule's wish: it ends by itself after so long


CLEAR: Final = Stop(level=EssLevel.CLEAR)


def strictest(*stops: Stop) -> Stop:
    """The stop that governs: the highest level; of equals, the first given."""
    return max(stops, key=lambda stop: stop.level)


def scoped(kind: str, name: str) -> str:
    """The scope of one exchange, account, strategy or symbol."""
    return f"{kind}:{name}"


def parts_of(scope: str) -> tuple[str, str]:
    """A scope's kind and name; the global one has no name."""
    kind, _, name = scope.partition(":")
    return kind, name


def expiry_of(before: Stop, level: EssLevel, asked_s: int | None, *, by_person: bool) -> int | None:
    """When a stop may end by itself after being engaged again: only if everybody who engaged it agrees to that.

    A rule that makes a lasting stop stricter must not be the reason that it ends.
    """
    if by_person or before.by_person or asked_s is None:
        return None
    if before.level is EssLevel.CLEAR:
        return asked_s
    if before.expires_s is None or level < before.level:
        return before.expires_s
    return max(asked_s, before.expires_s)
