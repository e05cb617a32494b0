"""What one policy admits and another does not: told to whoever is about to make it so."""

from __future__ import annotations

from datetime import datetime

from rules import Limits, effective, looser
from rules.profile import GlobalPolicy


def loosened(before: GlobalPolicy, after: GlobalPolicy, now: datetime) -> list[str]:
    """For every account what the new policy admits and the old one does not, all layers taken together."""
    lines = []
    for name in sorted({*before.accounts, *after.accounts}):
        if name not in before.accounts:
            lines.append(f"account {name} is new and may trade")
        elif name in after.accounts:
            old, new = (_limits(policy, name, now) for policy in (before, after))
            if found := looser(new, old):
                lines.append(f"account {name}: {', '.join(found)}")
    return lines


def _limits(policy: GlobalPolicy, account: str, now: datetime) -> Limits:
    return effective(policy, revision=0, account=account, strategy="", now=now)
