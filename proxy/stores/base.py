"""What every policy store does: one versioned document, changed only by compare-and-set.

A backend supplies `get`, `_seed` and `_write`; patching, resetting, switching and telling
subscribers are here, so that all backends mean the same by them.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

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
    StoredDataInvalid,
    StoreError,
)
from proxy.tasks import Tasks
from rules.profile import GlobalPolicy, explain

log = structlog.get_logger("riskgate.stores")

DOCUMENT_CHARACTERS_MAX = 8_000_000
MERGE_DEPTH_MAX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPolicy:
    """The policy with its revision, and who changed it last, when and why."""

    policy: GlobalPolicy
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

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after every durable change made here; returns what ends the subscription."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


class VersionedStore(ABC):
    """The part of a store that is the same for all backends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        self._turn = asyncio.Lock()  # writers of this process queue, so subscribers hear revisions in order
        self._tasks = Tasks()

    @abstractmethod
    async def get(self) -> StoredPolicy:
        """The policy as it is stored now."""

    @abstractmethod
    async def _seed(self) -> GlobalPolicy:
        """The policy that the store was created with."""

    @abstractmethod
    async def _write(self, stored: StoredPolicy) -> None:
        """Keep `stored` durably if the revision before it is the current one, else RevisionConflict."""

    async def put(
        self, policy: GlobalPolicy, *, expected_revision: int, updated_by: str, reason: str
    ) -> StoredPolicy:
        """Replace the policy if nobody did since `expected_revision`."""
        _named(updated_by, reason)
        stored = StoredPolicy(
            policy=validated(policy.model_dump(mode="json", exclude_none=True)),
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
        async with self._turn:
            try:
                await self._write(stored)
            except StoreError as error:
                return error
            log.info(
                "policy.changed",
                revision=stored.revision,
                mode=stored.policy.active_mode,
                updated_by=stored.updated_by,
                change_reason=stored.reason,
            )
            self._tell(stored)
        return None

    async def patch(
        self, changes: Mapping[str, Any], *, expected_revision: int, updated_by: str, reason: str
    ) -> StoredPolicy:
        """Merge `changes` into the document; None removes a key."""
        current = await self._current(expected_revision)
        document = merged(current.policy.model_dump(mode="json", exclude_none=True), changes)
        return await self.put(
            validated(document), expected_revision=expected_revision, updated_by=updated_by, reason=reason
        )

    async def reset(self, *, expected_revision: int, updated_by: str, reason: str) -> StoredPolicy:
        """Go back to the seed, as a new revision."""
        seed = await self._seed()
        return await self.put(seed, expected_revision=expected_revision, updated_by=updated_by, reason=reason)

    async def switch_mode(
        self, mode: str, *, updated_by: str, reason: str, expected_revision: int | None = None
    ) -> StoredPolicy:
        """Make another risk profile the active one."""
        while True:
            current = await self.get() if expected_revision is None else await self._current(expected_revision)
            name = current.policy.mode_named(mode)
            if name is None:
                known = ", ".join(sorted(current.policy.risk_profiles))
                raise ProfileNotFound(f"no risk profile {mode[:64]!r}, expected one of {known}")
            document = current.policy.model_dump(mode="json", exclude_none=True) | {"active_mode": name}
            try:
                return await self.put(
                    validated(document), expected_revision=current.revision, updated_by=updated_by, reason=reason
                )
            except RevisionConflict:
                # Who names no revision means "whatever else changed": the switch goes on top of it.
                if expected_revision is not None:
                    raise

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after every durable change made here."""
        self._subscribers.append(subscriber)

        def end() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return end

    async def close(self) -> None:
        """Let a running change finish, then let go."""
        async with self._turn:
            self._subscribers.clear()

    async def _current(self, expected_revision: int) -> StoredPolicy:
        current = await self.get()
        if current.revision != expected_revision:
            raise conflict(expected=expected_revision, found=current.revision)
        return current

    def _tell(self, stored: StoredPolicy) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(stored)
            except Exception as error:  # noqa: BLE001 - the change is durable: the others hear of it, the log too
                log.error("policy.subscriber_failed", revision=stored.revision, error=repr(error))


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
