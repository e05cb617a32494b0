"""What a trigger did last, and on which scopes it does nothing more for now.

Whoever releases a stop is not overruled at once by what it was engaged for.
"""

from __future__ import annotations

from typing import Any


class Cooldown:
    """Of one trigger; begun anew with the process."""

    def __init__(self) -> None:
        self.found: dict[str, Any] | None = None  # what it acted upon last
        self._until_s: dict[str, float] = {}

    def begin(self, scope: str, now_s: float, for_s: float) -> None:
        """It has acted on this scope."""
        self._until_s[scope] = now_s + for_s

    def holds(self, scope: str, now_s: float) -> bool:
        """Whether it has acted there so recently that it does nothing more."""
        return now_s < self._until_s.get(scope, now_s)

    def scopes(self, now_s: float) -> list[str]:
        """Where it does nothing for now."""
        return sorted(scope for scope, until_s in self._until_s.items() if now_s < until_s)
