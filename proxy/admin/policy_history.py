"""The policy's history: who changed what, when and why; and going back to a revision."""

from __future__ import annotations

import asyncio

from aiohttp import web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import RollbackBody, read_body
from proxy.admin.parts import AdminParts
from proxy.admin.policy_changes import PolicyChanges, Wanted, described, differences, if_match, shown

LIMIT_DEFAULT = 20
LIMIT_MAX = 200
REVISION_DIGITS_MAX = 15


class HistoryRoutes:
    """Reads revisions, and brings one back as a new one."""

    def __init__(self, parts: AdminParts, changes: PolicyChanges) -> None:
        self._parts = parts
        self._changes = changes

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/api/v2/policy/history", self.history),
            web.get("/api/v2/policy/history/{revision}", self.one),
            web.post("/api/v2/policy/rollback", self.rollback),
        ]

    async def history(self, request: web.Request) -> web.Response:
        """The latest revisions, newest first; `before` a revision for the page after."""
        limit = _whole(request.query.getall("limit", [str(LIMIT_DEFAULT)]), "limit", LIMIT_MAX)
        before = None
        if "before" in request.query:
            before = _whole(request.query.getall("before"), "before")
        found = await self._parts.store.history(limit=limit, before=before)
        return answer({"revisions": [one._asdict() for one in found]})

    async def one(self, request: web.Request) -> web.Response:
        """A revision as it was, with what it changed."""
        revision = _whole([request.match_info["revision"]], "revision")
        store = self._parts.store
        found = await store.get_revision(revision)
        before = await store.get_revision(revision - 1) if revision > 1 else found
        return answer(
            await asyncio.to_thread(lambda: described(found) | {"changes": differences(before.policy, found.policy)})
        )

    async def rollback(self, request: web.Request) -> web.Response:
        """Bring an older revision's policy back, as a new revision; nothing of the history is rewritten."""
        revision = if_match(request)
        body = await read_body(request, RollbackBody)
        wanted = Wanted.by(request, "policy.rollback", updated_by=body.updated_by, reason=body.reason)
        older = await self._parts.store.get_revision(body.revision)
        return await shown(await self._changes.change(wanted, lambda _: older.policy, expected_revision=revision))


def _whole(given: list[str], name: str, highest: int = 10**REVISION_DIGITS_MAX - 1) -> int:
    text = given[0]
    if len(given) != 1 or not (text.isascii() and text.isdigit() and len(text) <= REVISION_DIGITS_MAX):
        raise Problem(422, f"{name} is one whole number, found {', '.join(given)[:40]!r}")
    if not 1 <= int(text) <= highest:
        raise Problem(422, f"{name} is from 1 to {highest}, found {text}")
    return int(text)
