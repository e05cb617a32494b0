"""The emergency stop.

HALT is the switch that has no exceptions: whatever places or changes an order, or changes leverage or
margin, is blocked. REDUCE_ONLY lets through what provably lowers risk, so that positions can be left.
"""

from __future__ import annotations

from typing import Final

from rules.case import Case
from rules.decision import Breach, Finding, Reason
from rules.ess import EssLevel

CLEAR: Final = EssLevel.CLEAR
REDUCE_ONLY: Final = EssLevel.REDUCE_ONLY
HALT: Final = EssLevel.HALT


def halted(case: Case) -> Finding:
    """While the emergency stop is set to HALT, nothing is placed, amended or reconfigured."""
    stop = case.facts.stop
    if stop.level >= HALT:
        return Breach(Reason.ESS_TRADING_HALT_ACTIVE, stop.level, REDUCE_ONLY, None, stop.scope)
    return stop.level, REDUCE_ONLY


def reduce_only(case: Case) -> Finding:
    """While the emergency stop is set to REDUCE_ONLY, only what provably reduces may pass."""
    stop = case.facts.stop
    if stop.level == REDUCE_ONLY and not case.reducing:
        return Breach(Reason.ESS_REDUCE_ONLY_ACTIVE, stop.level, CLEAR, None, stop.scope)
    return stop.level, CLEAR
