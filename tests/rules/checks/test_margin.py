"""Margin settings."""

from __future__ import annotations

import pytest

from rules import MarginChange, MarginKind, Reason, Verdict, evaluate
from tests import given


@pytest.mark.parametrize(
    ("kind", "value", "always"),
    [(MarginKind.POSITION_MARGIN_ADD, "1", True), (MarginKind.MARGIN_TYPE, "ISOLATED", True),
     (MarginKind.MARGIN_TYPE, "CROSSED", False), (MarginKind.POSITION_MARGIN_REMOVE, "1", False),
     (MarginKind.POSITION_MODE, "true", False), (MarginKind.MULTI_ASSETS_MODE, "true", False)],
)
def test_margin_settings_follow_the_policy(facts, limits, kind, value, always):
    """Adding margin and isolating always pass; the rest only where margin changes are allowed."""
    change = MarginChange(kind=kind, value=value, symbol=given.SYMBOL)

    assert evaluate(change, facts(), limits()).verdict is Verdict.ALLOW
    decision = evaluate(change, facts(), limits(margin_changes_allowed=False))
    assert (decision.verdict is Verdict.ALLOW) is always
    assert (decision.reason is Reason.MARGIN_CHANGE_NOT_ALLOWED) is not always
