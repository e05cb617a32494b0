"""What happened to the policy, for whoever listens: every revision once, in order, with nothing left out.

A listener has a place: the revision that it knows. It is told of every revision after it, from memory or, where
it was away for longer, from the store's history. So a listener that comes back names the last revision it heard
of and has missed nothing, and one that is slow holds up nobody and costs no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import structlog
from cachetools import LRUCache

from proxy.errors import StoreError
from proxy.stores.base import PolicyStore, StoredPolicy

log = structlog.get_logger("riskgate.policies")

UPDATED, MODE_CHANGED, CURRENT, SKIPPED = "policy.updated", "policy.mode.changed", "policy.current", "policy.skipped"
KEPT_MAX = 512  # revisions whose events stay in memory
BEHIND_MAX = 200  # revisions that are read from the history for one listener; beyond them it is told to read anew
LOOK_EVERY_S = 10.0  # a hint may be lost: the store is asked this often, and the listener hears a sign of life

Event = dict[str, Any]
Listener = Callable[[Event], None]


class PolicyEvents:
    """Tells listeners what the store tells."""

    def __init__(self, store: PolicyStore) -> None:
        self._store = store
        self._kept: LRUCache[int, tuple[Event, ...]] = LRUCache(KEPT_MAX)
        self._newest: StoredPolicy | None = None
        self._waiting: set[asyncio.Event] = set()
        self._listeners: list[Listener] = []
        self._closed = False
        self._unsubscribe = store.subscribe(self._told)

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every event of this process's bus as it happens."""
        self._listeners.append(listener)

    def close(self) -> None:
        """End every stream of events."""
        self._closed = True
        self._unsubscribe()
        self._wake()

    async def start(self) -> None:
        """Learn what is in force, so that the next change is told with what was before it."""
        try:
            await self._looked()
        except StoreError as error:
            # Whoever listens meets the same, and is told when it is over.
            log.warning("policy.events_wait", error=str(error))

    async def stream(
        self, since: int | None, *, look_every_s: float = LOOK_EVERY_S
    ) -> AsyncGenerator[Event | None, None]:
        """Every event after a revision, for ever; None as a sign of life. Without a place, what is in force first."""
        woken = asyncio.Event()
        self._waiting.add(woken)
        try:
            current = await self._looked()
            place = since
            if place is None or place > current.revision:
                place = current.revision
                yield event_of(CURRENT, current, current)
            while not self._closed:
                woken.clear()
                for event in await self._after(place):
                    yield event
                    place = max(place, int(event["revision"]))
                if not await self._waited(woken, look_every_s):
                    yield None
        finally:
            self._waiting.discard(woken)

    async def _waited(self, woken: asyncio.Event, look_every_s: float) -> bool:
        try:
            async with asyncio.timeout(look_every_s):
                await woken.wait()
        except TimeoutError:
            try:
                await self._looked()
            except StoreError as error:
                # The next look may find it again; until then there is nothing to tell.
                log.warning("policy.events_wait", error=str(error))
            return False
        return True

    async def _looked(self) -> StoredPolicy:
        found = await self._store.get()
        if self._newest is None or found.revision > self._newest.revision:
            self._newest = found
        return self._newest

    async def _after(self, place: int) -> list[Event]:
        newest = self._newest
        if newest is None or newest.revision <= place:
            return []
        if newest.revision - place > BEHIND_MAX:
            return [event_of(SKIPPED, newest, newest)]
        found: list[Event] = []
        for revision in range(place + 1, newest.revision + 1):
            found += await self._of(revision)
        return found

    async def _of(self, revision: int) -> tuple[Event, ...]:
        events: tuple[Event, ...] | None = self._kept.get(revision)
        if events is None:
            stored = await self._store.get_revision(revision)
            before = await self._store.get_revision(revision - 1) if revision > 1 else stored
            events = self._kept[revision] = events_of(before, stored, None)
        return events

    def _told(self, stored: StoredPolicy) -> None:
        """The store has a new revision; who wrote it here may have named a trace."""
        before, self._newest = self._newest, stored
        if before is not None and before.revision == stored.revision - 1:
            trace_id = structlog.contextvars.get_contextvars().get("trace_id")
            self._kept[stored.revision] = events = events_of(before, stored, trace_id)
            for event in events:
                self._tell(event)
        self._wake()

    def _tell(self, event: Event) -> None:
        if event["event"] == MODE_CHANGED:
            log.info(**event)
        for listener in self._listeners:
            listener(event)

    def _wake(self) -> None:
        for woken in self._waiting:
            woken.set()


def events_of(before: StoredPolicy, stored: StoredPolicy, trace_id: str | None) -> tuple[Event, ...]:
    """What a revision did. The update comes last: whoever heard of it has heard all of its revision."""
    updated = event_of(UPDATED, before, stored, trace_id)
    if before.policy.active_mode == stored.policy.active_mode:
        return (updated,)
    return event_of(MODE_CHANGED, before, stored, trace_id), updated


def event_of(name: str, before: StoredPolicy, stored: StoredPolicy, trace_id: str | None = None) -> Event:
    """One event, as JSON has it."""
    return {
        "event": name,
        "revision": stored.revision,
        "previous_mode": before.policy.active_mode,
        "new_mode": stored.policy.active_mode,
        "preset": stored.policy.active_preset,
        "updated_by": stored.updated_by,
        "reason": stored.reason,
        "timestamp": stored.updated_at.isoformat(),
        "trace_id": trace_id,
    }
