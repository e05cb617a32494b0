"""Orders so large that a person has to say yes to each."""

from __future__ import annotations

from rules.case import Case
from rules.decision import Breach, Finding, Reason


def required(case: Case) -> Finding:
    """A request worth the stated value or more passes only once, after a person has approved it."""
    limit = case.limits.approval_notional_min
    if limit is None:
        return None
    asked = case.notional_with_request
    # The whole request counts, so that no order passes by being cut into the legs of a batch.
    if asked >= limit:
        return Breach(Reason.APPROVAL_REQUIRED, asked, limit)
    return asked, limit
