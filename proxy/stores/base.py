"""What every policy store does: one versioned document, changed only by compare-and-set.

A backend keeps rows: `_current`, `_rows` and `_write`. Reading and checking them, patching,
resetting, rolling back, switching and telling subscribers are here, so that all backends mean
the same by them. A backend that can hear of changes made by other processes supplies `_watch`.
A hint is never believed: it is a reason to read.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

import orjson
import structlog
from pydantic import ValidationError

from proxy import wire
from proxy.clock import Clock
from proxy.errors import (
    OrderNotUnderstood,
    PolicyInvalid,
    ProfileNotFound,
    RevisionConflict,
    RevisionNotFound,
    StoredDataInvalid,
    StoreError,
    StoreUnavailable,
)
from proxy.tasks import Tasks
from rules.profile import GlobalPolicy, explain

log = structlog.get_logger("riskgate.stores")

DOCUMENT_CHARACTERS_MAX = 8_000_000
MERGE_DEPTH_MAX = 12
HISTORY_MAX = 200  # entries that one question is answered with
TIMEOUT_S = 5.0  # what a backend may take for one step
EVENT_TEXT_MAX = 200  # characters of a name or a reason that other programs are told
TURN_WAIT_S = 10.0  # what a writer waits for the writers before it
CANCEL_AGAIN_S = 0.2
_THREADED_CHARACTERS = 10_000  # some 5 ms of work; a longer document would hold up orders, so a thread has it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPolicy:
    """The policy with its revision, and who changed it last, when and why."""

    policy: GlobalPolicy
    revision: int
    updated_at: datetime
    updated_by: str
    reason: str

    @classmethod
    def first(cls, seed: GlobalPolicy, clock: Clock, *, updated_by: str, reason: str) -> Self:
        """What a new store begins with."""
        return cls(policy=seed, revision=1, updated_at=clock.now(), updated_by=updated_by, reason=reason)


T = TypeVar("T")


class Revision(NamedTuple):
    """One entry of the history: who made which revision, when and why."""

    revision: int
    updated_at: datetime
    updated_by: str
    reason: str


Subscriber = Callable[[StoredPolicy], None]


class PolicyStore(Protocol):
    """Where the policy is kept. A change is durable when the call returns."""

    async def get(self) -> StoredPolicy:
        """The policy as it is stored now."""
        ...

    async def put(
        self, policy: GlobalPolicy, *, expected_revision: int, updated_by: str, reason: str
    ) -> StoredPolicy:
        """Replace the policy if nobody did since `expected_revision`, else RevisionConflict."""
        ...

    async def patch(
        self, changes: Mapping[str, Any], *, expected_revision: int, updated_by: str, reason: str
    ) -> StoredPolicy:
        """Merge `changes` into the document; the whole is validated, or PolicyInvalid and nothing changes."""
        ...

    async def reset(self, *, expected_revision: int, updated_by: str, reason: str) -> StoredPolicy:
        """Go back to the policy that the store was created with, as a new revision."""
        ...

    async def switch_mode(
        self, mode: str, *, updated_by: str, reason: str, expected_revision: int | None = None
    ) -> StoredPolicy:
        """Make another risk profile the active one; an unknown name is ProfileNotFound and changes nothing."""
        ...

    async def history(self, *, limit: int = 20, before: int | None = None) -> tuple[Revision, ...]:
        """The latest revisions, newest first; `before` a revision for the page after."""
        ...

    async def get_revision(self, revision: int) -> StoredPolicy:
        """The policy as it was; a revision that never was is RevisionNotFound."""
        ...

    async def rollback(self, to: int, *, expected_revision: int, updated_by: str, reason: str) -> StoredPolicy:
        """Bring an older revision's policy back, as a new revision; nothing of the history is rewritten."""
        ...

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after every durable change made here, and with the newest of those made elsewhere
        as soon as the store hears of them. Returns what ends the subscription.
        """
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


class Row(NamedTuple):
    """One stored revision as a backend keeps it."""

    revision: int
    updated_at: str
    updated_by: str
    reason: str
    document: str
    digest: str

    @classmethod
    def of(cls, stored: StoredPolicy) -> Self:
        """The row that keeps `stored`."""
        told = (stored.revision, stored.updated_at.isoformat(), stored.updated_by, stored.reason)
        document = encoded(stored.policy)
        return cls(*told, document, digest(*told, document))

    def checked(self) -> Revision:
        """Who, when and why, if the row is whole."""
        told = (self.revision, self.updated_at, self.updated_by, self.reason)
        if digest(*told, self.document) != self.digest:
            raise StoredDataInvalid(f"revision {self.revision} of the policy does not match its checksum")
        return Revision(self.revision, datetime.fromisoformat(self.updated_at), self.updated_by, self.reason)

    def read(self) -> StoredPolicy:
        """The stored policy, if the row is whole."""
        told = self.checked()
        return StoredPolicy(
            policy=decoded(self.document),
            revision=told.revision,
            updated_at=told.updated_at,
            updated_by=told.updated_by,
            reason=told.reason,
        )


class VersionedStore(ABC):
    """The part of a store that is the same for all backends."""

    # Whether a write that fails may have been kept all the same: its answer was lost on the way.
    may_keep_unanswered: ClassVar[bool] = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        self._turn = asyncio.Lock()  # writers of this process queue, so subscribers hear revisions in order
        self._tasks = Tasks()
        self._watching: asyncio.Task[Any] | None = None
        self._hints_come = True  # until they were found lost
        self._told_revision = 0
        self._last: tuple[Row, StoredPolicy] | None = None  # what was read last, so that it is parsed once

    @abstractmethod
    async def _current(self) -> Row:
        """The current row; StoreUnavailable, or StoredDataInvalid where there is not exactly one."""

    @abstractmethod
    async def _rows(self, first: int, last: int) -> list[Row]:
        """The kept rows of these revisions, both included."""

    @abstractmethod
    async def _write(self, row: Row, events: tuple[str, ...]) -> None:
        """Keep `row` durably if the revision before it is the current one, else RevisionConflict.

        `events` are for whoever else listens, where the backend has a way to tell them.
        """

    async def _watch(self) -> None:
        """Call `_heard` whenever somebody else may have changed the policy; ends where nobody else can."""
        return

    async def get(self) -> StoredPolicy:
        """The policy as it is stored now."""
        row = await self._current()
        last = self._last
        if last is not None and last[0] == row:
            return last[1]
        stored = await _read(row)
        self._last = (row, stored)
        return stored

    async def _begin(self) -> Self:
        """Read what is there once, so that a store which cannot be used is found when it is opened."""
        current = await self.get()
        if await self.get_revision(current.revision) != current:
            raise StoredDataInvalid(f"revision {current.revision} differs between the policy and its history")
        await self.get_revision(1)
        self._told_revision = current.revision
        return self

    async def put(
        self, policy: GlobalPolicy, *, expected_revision: int, updated_by: str, reason: str
    ) -> StoredPolicy:
        """Replace the policy if nobody did since `expected_revision`."""
        # Whoever built it may have built it around its checks.
        checked = await self._aside(lambda: validated(policy.model_dump(mode="json", exclude_none=True)))
        return await self._put(checked, expected_revision=expected_revision, updated_by=updated_by, reason=reason)

    async def _put(
        self, policy: GlobalPolicy, *, expected_revision: int, updated_by: str, reason: str
    ) -> StoredPolicy:
        _named(updated_by, reason)
        stored = StoredPolicy(
            policy=policy,
            revision=expected_revision + 1,
            updated_at=self._clock.now(),
            updated_by=updated_by,
            reason=reason,
        )
        # The writer may be cancelled (a client hangs up); a change that becomes durable must be told all the same.
        outcome = await asyncio.shield(self._tasks.spawn(self._change(stored), name="store.change"))
        if isinstance(outcome, StoreError):
            raise outcome
        return stored

    async def _change(self, stored: StoredPolicy) -> StoreError | None:
        try:
            async with bounded(TURN_WAIT_S, "the changes of the policy before this one"):
                await self._turn.acquire()
        except StoreUnavailable as error:
            return error
        try:
            row = await self._aside(lambda: Row.of(stored))
            await self._write(row, self._events(stored))
            self._last = (row, stored)  # the next read compares it and need not parse it
            _log_change("policy.changed", stored)
            self._tell(stored)
        except StoreUnavailable as error:
            if not self.may_keep_unanswered:
                return error
            return StoreUnavailable(f"{error}; whether the change was kept is not known: read the policy again")
        except StoreError as error:
            return error
        finally:
            self._turn.release()
        return None

    async def _aside(self, work: Callable[[], T]) -> T:
        """Do what takes as long as the document is, in a thread where that is long."""
        is_long = self._last is not None and len(self._last[0].document) >= _THREADED_CHARACTERS
        return await asyncio.to_thread(work) if is_long else work()

    def _events(self, stored: StoredPolicy) -> tuple[str, ...]:
        """What happened, as JSON for other programs: the change, and a change of mode where it is known to be one."""
        told: dict[str, Any] = {
            "event": "policy.updated",
            "revision": stored.revision,
            "mode": stored.policy.active_mode,
            "updated_at": stored.updated_at,
            "updated_by": stored.updated_by[:EVENT_TEXT_MAX],
            "reason": stored.reason[:EVENT_TEXT_MAX],
            "trace_id": structlog.contextvars.get_contextvars().get("trace_id"),  # of the request that changed it
        }
        before = None if self._last is None else self._last[1]
        events = [told]
        if before is not None and before.revision == stored.revision - 1:
            told["previous_mode"] = before.policy.active_mode
            if before.policy.active_mode != stored.policy.active_mode:
                events.append(told | {"event": "policy.mode.changed"})
        return tuple(orjson.dumps(event).decode() for event in events)

    async def patch(
        self, changes: Mapping[str, Any], *, expected_revision: int, updated_by: str, reason: str
    ) -> StoredPolicy:
        """Merge `changes` into the document; None removes a key."""
        current = await self._seen(expected_revision)
        policy = await self._aside(
            lambda: validated(merged(current.policy.model_dump(mode="json", exclude_none=True), changes))
        )
        return await self._put(
            policy, expected_revision=expected_revision, updated_by=updated_by, reason=reason
        )

    async def reset(self, *, expected_revision: int, updated_by: str, reason: str) -> StoredPolicy:
        """Go back to the seed, as a new revision."""
        return await self.rollback(1, expected_revision=expected_revision, updated_by=updated_by, reason=reason)

    async def history(self, *, limit: int = 20, before: int | None = None) -> tuple[Revision, ...]:
        """The latest revisions, newest first, each checked; a hole is damage."""
        if not 1 <= limit <= HISTORY_MAX:
            raise PolicyInvalid(f"found a limit of {limit}, expected 1 to {HISTORY_MAX} revisions at a time")
        newest = (await self.get()).revision
        last = newest if before is None else min(newest, before - 1)
        if last < 1:
            return ()
        first = max(1, last - limit + 1)
        rows = {row.revision: row for row in await self._rows(first, last)}
        if missing := [number for number in range(first, last + 1) if number not in rows]:
            raise StoredDataInvalid(f"revision {missing[0]} is missing in the policy's history")
        # Whole documents are summed: that many are not for the event loop.
        return await asyncio.to_thread(lambda: tuple(rows[number].checked() for number in range(last, first - 1, -1)))

    async def get_revision(self, revision: int) -> StoredPolicy:
        """The policy as it was at a revision."""
        rows = await self._rows(revision, revision) if revision >= 1 else []
        if len(rows) == 1 and rows[0].revision == revision:
            return await _read(rows[0])
        newest = (await self.get()).revision
        if 1 <= revision <= newest:
            raise StoredDataInvalid(f"revision {revision} is missing in the policy's history")
        raise RevisionNotFound(f"found no revision {revision} of the policy, expected 1 to {newest}")

    async def rollback(self, to: int, *, expected_revision: int, updated_by: str, reason: str) -> StoredPolicy:
        """Bring an older revision's policy back, as a new revision."""
        older = await self.get_revision(to)
        return await self._put(
            older.policy, expected_revision=expected_revision, updated_by=updated_by, reason=reason
        )

    async def switch_mode(
        self, mode: str, *, updated_by: str, reason: str, expected_revision: int | None = None
    ) -> StoredPolicy:
        """Make another risk profile the active one."""
        while True:
            current = await self.get() if expected_revision is None else await self._seen(expected_revision)
            name = current.policy.mode_named(mode)
            if name is None:
                known = ", ".join(sorted(current.policy.risk_profiles))
                raise ProfileNotFound(f"no risk profile {mode[:64]!r}, expected one of {known}")
            policy = await self._aside(lambda: _in_mode(current.policy, name))  # noqa: B023 - awaited at once
            try:
                return await self._put(
                    policy, expected_revision=current.revision, updated_by=updated_by, reason=reason
                )
            except RevisionConflict:
                # Who names no revision means "whatever else changed": the switch goes on top of it.
                if expected_revision is not None:
                    raise

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after every durable change made here, and after those heard of from elsewhere."""
        self._subscribers.append(subscriber)
        if self._watching is None:
            self._watching = self._tasks.spawn(self._watch(), name="store.watch")

        def end() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return end

    async def close(self) -> None:
        """Let a running change finish, then let go."""
        # Some clients lose a cancellation that comes together with an answer; it is said until it is heard.
        while self._watching is not None and not self._watching.done():
            self._watching.cancel()
            await asyncio.wait([self._watching], timeout=CANCEL_AGAIN_S)
        async with self._turn:
            self._subscribers.clear()

    async def _seen(self, expected_revision: int) -> StoredPolicy:
        current = await self.get()
        if current.revision != expected_revision:
            raise conflict(expected=expected_revision, found=current.revision)
        return current

    async def _finished(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for `work`, and let it end even when the waiting is cancelled: half a connection cannot be closed."""

        async def ended() -> Exception | None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                return error
            return None

        task = self._tasks.spawn(ended(), name="store.connect")
        try:
            error = await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.gather(task, return_exceptions=True)
            raise
        if error is not None:
            raise error

    async def _heard(self) -> None:
        """Somebody may have changed the policy: read what is true, and tell it if it is news."""
        try:
            stored = await self.get()
        except StoreError as error:
            # The readers' own poll finds the same, and says it.
            log.warning("policy.hint_unread", error=str(error))
            return
        if stored.revision > self._told_revision:
            _log_change("policy.changed_elsewhere", stored)
            self._tell(stored)

    def _hints_lost(self, error: BaseException) -> None:
        if self._hints_come:
            log.warning("policy.hints_lost", error=f"{type(error).__name__}: {error}")
        self._hints_come = False

    def _hints_found(self) -> None:
        if not self._hints_come:
            log.info("policy.hints_found")
        self._hints_come = True

    def _tell(self, stored: StoredPolicy) -> None:
        if stored.revision <= self._told_revision:
            return  # it was heard of before its writer came to tell it
        self._told_revision = stored.revision
        for subscriber in list(self._subscribers):
            try:
                subscriber(stored)
            except Exception as error:  # noqa: BLE001 - the change is durable: the others hear of it, the log too
                log.error("policy.subscriber_failed", revision=stored.revision, error=repr(error))


def _log_change(event: str, stored: StoredPolicy) -> None:
    log.info(
        event, revision=stored.revision, mode=stored.policy.active_mode, updated_by=stored.updated_by,
        change_reason=stored.reason,
    )  # fmt: skip


@asynccontextmanager
async def bounded(seconds: float, what: str) -> AsyncIterator[None]:
    """An end to waiting for something outside."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise StoreUnavailable(f"{what} did not end within {seconds:g} s") from None


async def _read(row: Row) -> StoredPolicy:
    return row.read() if len(row.document) < _THREADED_CHARACTERS else await asyncio.to_thread(row.read)


def _in_mode(policy: GlobalPolicy, mode: str) -> GlobalPolicy:
    return validated(policy.model_dump(mode="json", exclude_none=True) | {"active_mode": mode})


def conflict(*, expected: int, found: int) -> RevisionConflict:
    """The error of a writer who was not the first."""
    return RevisionConflict(f"found revision {found}, expected {expected}: read the policy again")


def validated(document: object) -> GlobalPolicy:
    """The policy a document describes, or PolicyInvalid with one line per problem."""
    try:
        return GlobalPolicy.model_validate(document)
    except ValidationError as error:
        raise PolicyInvalid("; ".join(explain(error)), problems=tuple(explain(error))) from None


def merged(document: Mapping[str, Any], changes: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """`document` with `changes` merged into it: sections by key, values and lists replaced, None removes."""
    if depth > MERGE_DEPTH_MAX:
        raise PolicyInvalid(f"found changes nested deeper than {MERGE_DEPTH_MAX}, expected a policy's sections")
    result = dict(document)
    for key, value in changes.items():
        for name in _same_share(key):
            result.pop(name, None)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            before = document.get(key)
            result[key] = merged(before if isinstance(before, Mapping) else {}, value, depth + 1)
        else:
            result[key] = value
    return result


def _same_share(key: str) -> tuple[str, ...]:
    """The key a document uses for the share that `key` states with its unit (`x_percent` replaces `x`)."""
    return tuple(key.removesuffix(unit) for unit in ("_percent", "_fraction") if str(key).endswith(unit))


# --- the stored form --------------------------------------------------------------------------


def encoded(policy: GlobalPolicy) -> str:
    """The policy as JSON: numbers as exact decimal text, keys sorted."""
    return orjson.dumps(policy.model_dump(mode="json", exclude_none=True), option=orjson.OPT_SORT_KEYS).decode()


def decoded(document: str) -> GlobalPolicy:
    """The policy from its stored form; anything unreadable is StoredDataInvalid, never a default."""
    try:
        return validated(wire.loads(document, characters_max=DOCUMENT_CHARACTERS_MAX))
    except (OrderNotUnderstood, PolicyInvalid) as error:
        raise StoredDataInvalid(f"the stored policy cannot be read: {error}") from error


def digest(revision: int, updated_at: str, updated_by: str, reason: str, document: str) -> str:
    """A checksum over one stored revision, so that a damaged row is found rather than believed."""
    return hashlib.sha256(orjson.dumps([revision, updated_at, updated_by, reason, document])).hexdigest()


def _named(updated_by: str, reason: str) -> None:
    if not updated_by.strip() or not reason.strip():
        raise PolicyInvalid("found a change without a name or a reason, expected both")
    if "\x00" in updated_by + reason or not _encodes(updated_by + reason):
        raise PolicyInvalid("found a name or a reason that is no text, expected one without NUL and half characters")


def _encodes(told: str) -> bool:
    try:
        told.encode()
    except UnicodeEncodeError:
        return False
    return True
