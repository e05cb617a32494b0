"""The safety governor: where it is on, nothing new opens while it says so, or while it has not spoken.

How it multiplies limits happens before any rule is asked; here only its word itself is judged.
"""

from __future__ import annotations

from typing import Final

from rules.case import Case
from rules.decision import Breach, Finding, Reason
from rules.directive import Cause, GovernorAct
from rules.facts import FactMissing

BLOCK: Final = GovernorAct.BLOCK
MISSING: Final = Cause.INPUT_MISSING
ADMITTED: Final = "ALLOW or MODIFY"


def directive(case: Case) -> Finding:
    """Where the safety governor is on, its directive must be known, and nothing new opens while it says BLOCK."""
    if case.limits.governor is None:
        return None
    found = case.governor
    if found.act is not BLOCK:
        return found.words, ADMITTED
    if found.cause is MISSING:
        raise FactMissing(str(found.observed))
    detail = f", {found.cause.replace('_', ' ')} of {found.observed} against {found.threshold}"
    return Breach(Reason.SAFETY_GOVERNOR_BLOCK, found.words, ADMITTED, None, detail)
