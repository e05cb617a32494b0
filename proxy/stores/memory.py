"""A policy store that forgets at exit: for tests, the demo and fixed policies from a file."""

from __future__ import annotations

from proxy.clock import Clock
from proxy.errors import StoreUnavailable
from proxy.stores.base import Row, StoredPolicy, VersionedStore, conflict
from rules.profile import GlobalPolicy


class MemoryStore(VersionedStore):
    """The document and its history in this process's memory."""

    def __init__(self, seed: GlobalPolicy, *, clock: Clock, updated_by: str = "start", reason: str = "seed") -> None:
        super().__init__(clock)
        first = StoredPolicy.first(seed, clock, updated_by=updated_by, reason=reason)
        # Kept in the stored form, so that what cannot be stored elsewhere fails here as well.
        row = Row.of(first)
        row.read()
        self._kept = [row]
        self._closed = False

    async def _current(self) -> Row:
        return self._open()[-1]

    async def _rows(self, first: int, last: int) -> list[Row]:
        return self._open()[max(0, first - 1) : last]

    async def _write(self, row: Row, _events: tuple[str, ...]) -> None:
        kept = self._open()
        if kept[-1].revision != row.revision - 1:
            raise conflict(expected=row.revision - 1, found=kept[-1].revision)
        kept.append(row)

    def _open(self) -> list[Row]:
        if self._closed:
            raise StoreUnavailable("the memory store is closed")
        return self._kept

    async def close(self) -> None:
        """Answer no more."""
        await super().close()
        self._closed = True
