"""How many refusals of callers that nobody knows are put on record: whoever has no key must not fill the disk.

Of refusals of a configured bot each is on record. Of strangers' so many at once and so many a second are; the
others are counted, and the next one on record says how many there were.
"""

from __future__ import annotations

from typing import Final

AT_ONCE: Final = 1000
PER_SECOND: Final = 20.0


class Strangers:
    """A bucket of records that fills with time."""

    def __init__(self, *, at_once: int = AT_ONCE, per_second: float = PER_SECOND) -> None:
        self._at_once = float(at_once)
        self._per_second = per_second
        self._left = float(at_once)
        self._at_s: float | None = None
        self.unrecorded = 0  # since the last one on record
        self.unrecorded_total = 0

    def may_record(self, now_s: float) -> bool:
        """Whether there is room for one more record; if not it is counted."""
        if self._at_s is not None:
            self._left = min(self._at_once, self._left + max(0.0, now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        if self._left < 1.0:
            self.unrecorded += 1
            self.unrecorded_total += 1
            return False
        self._left -= 1.0
        return True

    def take_unrecorded(self) -> int:
        """How many were not recorded since the last that was."""
        count, self.unrecorded = self.unrecorded, 0
        return count
