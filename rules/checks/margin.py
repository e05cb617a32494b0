"""Margin settings: how positions are backed is the desk's choice, not a bot's."""

from __future__ import annotations

from rules.case import Case
from rules.decision import Breach, Finding, Reason
from rules.order import MarginChange


def change(case: Case) -> Finding:
    """Margin settings may be changed where the policy allows it; adding margin and isolating are always fine."""
    request = case.instruction
    if not isinstance(request, MarginChange):
        return None
    if not case.limits.margin_changes_allowed:
        return Breach(Reason.MARGIN_CHANGE_NOT_ALLOWED, request.kind.value, "margin changes off")
    return request.kind, None
