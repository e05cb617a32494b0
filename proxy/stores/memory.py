"""A policy store that forgets at exit: for tests, the demo and fixed policies from a file."""

from __future__ import annotations

from proxy.clock import Clock
from proxy.errors import StoreUnavailable
from proxy.stores.base import StoredPolicy, VersionedStore, conflict, decoded, encoded
from rules.profile import GlobalPolicy


class MemoryStore(VersionedStore):
    """The document in this process's memory."""

    def __init__(self, seed: GlobalPolicy, *, clock: Clock, updated_by: str = "start", reason: str = "seed") -> None:
        super().__init__(clock)
        # Kept in the stored form, so that what cannot be stored elsewhere fails here as well.
        self._seed_document = encoded(seed)
        self._stored = StoredPolicy(
            policy=decoded(self._seed_document),
            revision=1,
            updated_at=clock.now(),
            updated_by=updated_by,
            reason=reason,
        )
        self._closed = False

    async def get(self) -> StoredPolicy:
        """The policy as it is now."""
        if self._closed:
            raise StoreUnavailable("the memory store is closed")
        return self._stored

    async def _seed(self) -> GlobalPolicy:
        return decoded(self._seed_document)

    async def _write(self, stored: StoredPolicy) -> None:
        current = await self.get()
        if current.revision != stored.revision - 1:
            raise conflict(expected=stored.revision - 1, found=current.revision)
        self._stored = stored

    async def close(self) -> None:
        """Answer no more."""
        await super().close()
        self._closed = True
