"""The one way a policy is changed here: intent on record, compare and set, what came of it on record.

Whoever names no revision means "on top of whatever is there": the change is made again on the newer
policy when somebody else was faster, so that neither loses anything.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import hdrs, web

from proxy.admin.acts import intend, note
from proxy.admin.answers import Problem, answer
from proxy.admin.parts import AdminParts
from proxy.errors import PolicyInvalid, ProxyError, RevisionConflict
from proxy.stores.base import StoredPolicy
from proxy.stores.changes import changes, document
from rules.profile import GlobalPolicy, warnings

log = structlog.get_logger("riskgate.admin")

RECORDED_CHANGES_MAX = 200  # places of a document; the store keeps every revision whole
ATTEMPTS_MAX = 20
TRACE_HEADER = "X-Request-Id"
_ETAG = re.compile(r'"?([0-9]{1,15})"?')
_TRACE = re.compile(r"[A-Za-z0-9._:-]{1,64}")

Make = Callable[[StoredPolicy], GlobalPolicy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Who wants what changed, and why."""

    act: str
    updated_by: str
    reason: str
    peer: str
    trace_id: str

    @classmethod
    def by(cls, request: web.Request, act: str, *, updated_by: str, reason: str) -> Wanted:
        """What a request wants; it may bring the id that events and log lines will carry."""
        return cls(
            act=act, updated_by=updated_by, reason=reason, peer=request.remote or "", trace_id=trace_of(request)
        )


class PolicyChanges:
    """Changes the policy through the store, on record."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    async def change(self, wanted: Wanted, make: Make, *, expected_revision: int | None = None) -> StoredPolicy:
        """Put what `make` makes of the stored policy in its place; 412 if it is not the expected revision."""
        with structlog.contextvars.bound_contextvars(trace_id=wanted.trace_id):
            for _ in range(ATTEMPTS_MAX):
                before = await self._parts.store.get()
                if expected_revision is not None and before.revision != expected_revision:
                    raise self._refused(wanted, before, expected_revision)
                policy = await self._made(make, before)
                try:
                    return await self._put(wanted, before, policy)
                except RevisionConflict as error:
                    if expected_revision is not None:
                        raise _moved(str(error), (await self._parts.store.get()).revision) from None
        raise Problem(409, f"others changed the policy {ATTEMPTS_MAX} times meanwhile; nothing was changed, try again")

    def _refused(self, wanted: Wanted, before: StoredPolicy, expected: int) -> Problem:
        """A change that was made on another revision: on record, and told."""
        problem = _moved(f"found revision {before.revision}, expected {expected}", before.revision)
        told: dict[str, Any] = {
            "actor": wanted.updated_by, "act": wanted.act, "reason": wanted.reason, "peer": wanted.peer,
            "before": {"revision": before.revision}, "result": f"refused: {problem.detail}",
        }  # fmt: skip
        note(self._parts.audit, **told)
        return problem

    async def _made(self, make: Make, before: StoredPolicy) -> GlobalPolicy:
        """The new policy. Reading a large one takes long: orders are judged meanwhile."""
        try:
            policy = await asyncio.to_thread(make, before)
        except PolicyInvalid as error:
            raise Problem(422, str(error), more={"problems": list(error.problems)}) from None
        # A document without an account that is in use would block its every order, and the next start.
        if missing := sorted(set(self._parts.accounts) - set(policy.accounts)):
            lines = [f"accounts.{name}: found nothing, expected the limits of this account" for name in missing]
            raise Problem(422, "; ".join(lines), more={"problems": lines})
        return policy

    async def _put(self, wanted: Wanted, before: StoredPolicy, policy: GlobalPolicy) -> StoredPolicy:
        audit = self._parts.audit
        changed = (await asyncio.to_thread(changes, before.policy, policy))[:RECORDED_CHANGES_MAX]
        after: dict[str, Any] = {one.path: one.after for one in changed}
        told: dict[str, Any] = {
            "actor": wanted.updated_by,
            "act": wanted.act,
            "reason": wanted.reason,
            "before": {"revision": before.revision, **{one.path: one.before for one in changed}},
            "peer": wanted.peer,
        }
        await intend(audit, **told, after=after)
        try:
            stored = await self._parts.store.put(
                policy, expected_revision=before.revision, updated_by=wanted.updated_by, reason=wanted.reason
            )
        except ProxyError as error:
            note(audit, **told, result=f"refused: {error}")
            raise
        note(audit, **told, after={"revision": stored.revision, **after}, result=f"revision {stored.revision}")
        return stored


def _moved(found: str, revision: int) -> Problem:
    sentence = found if "read the policy again" in found else f"{found}: read the policy again"
    return Problem(412, sentence, more={"revision": revision})


def trace_of(request: web.Request) -> str:
    """The id that a request brings in X-Request-Id, or a new one."""
    given = request.headers.get(TRACE_HEADER, "")
    return given if _TRACE.fullmatch(given) else secrets.token_hex(8)


def if_match(request: web.Request) -> int:
    """The revision the writer has seen. Without one, two writers would overwrite each other unseen."""
    given = request.headers.getall(hdrs.IF_MATCH, [])
    found = _ETAG.fullmatch(given[0].strip()) if len(given) == 1 else None
    if found is None:
        raise Problem(428, 'this needs the header If-Match: "REVISION", the revision that the change was made on')
    return int(found[1])


async def shown(stored: StoredPolicy) -> web.Response:
    """A revision of the whole document, which is also its ETag. A long one is not for the event loop."""
    return await asyncio.to_thread(_shown, stored)


def _shown(stored: StoredPolicy) -> web.Response:
    return answer(described(stored), headers={hdrs.ETAG: f'"{stored.revision}"'})


def described(stored: StoredPolicy) -> dict[str, object]:
    """A revision of the whole document: who, when, why, and what is allowed and probably not meant."""
    return {
        "revision": stored.revision,
        "updated_at": stored.updated_at,
        "updated_by": stored.updated_by,
        "reason": stored.reason,
        "policy": document(stored.policy),
        "warnings": warnings(stored.policy),
    }


def differences(before: GlobalPolicy, after: GlobalPolicy) -> list[dict[str, str]]:
    """Every place that differs."""
    return [one._asdict() for one in changes(before, after)]
