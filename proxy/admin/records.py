"""What was decided, and whether the record of it is whole."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from proxy import audit
from proxy.admin.answers import Problem, answer
from proxy.admin.parts import AdminParts

LIMIT_DEFAULT = 50
LIMIT_MAX = 1000
OUTCOMES = ("allow", "scale_down", "block")
_KINDS = frozenset({"decision", "refusal"})


class Records:
    """Reads the audit; in a thread, as files can be slow."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._verifying = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/admin/v1/decisions", self.latest),
            web.get("/admin/v1/decisions/{decision_id}", self.one),
            web.get("/admin/v1/audit/verify", self.verify),
        ]

    async def latest(self, request: web.Request) -> web.Response:
        """The newest decisions and refusals, newest first."""
        limit = _limit(request)
        outcome = request.query.get("outcome")
        if outcome is not None and outcome not in OUTCOMES:
            raise Problem(422, f"outcome is one of {', '.join(OUTCOMES)}, found {outcome[:40]!r}")

        def wanted(record: dict[str, Any]) -> bool:
            if record["kind"] not in _KINDS:
                return False
            # A refusal came before the rulebook could decide; for whoever counts blocks it is one.
            return outcome is None or record.get("decision", "block") == outcome

        found = await asyncio.to_thread(audit.newest, self._parts.audit.directory, limit=limit, wanted=wanted)
        return answer({"decisions": found})

    async def one(self, request: web.Request) -> web.Response:
        """A decision and what became of it."""
        decision_id = request.match_info["decision_id"]
        found = await asyncio.to_thread(audit.find, self._parts.audit.directory, decision_id)
        if not found:
            raise Problem(404, f"there is no decision {decision_id[:80]!r}")
        return answer({"decision_id": decision_id, "records": found})

    async def verify(self, _: web.Request) -> web.Response:
        """Walk the chain up to what this process remembers as its end; one walk at a time."""
        async with self._verifying:
            head = self._parts.audit.head
            found = await asyncio.to_thread(audit.verify, self._parts.audit.directory, head=head)
        return answer(found._asdict(), status=200 if found.ok else 500)


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(LIMIT_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX):
        raise Problem(422, f"limit is a whole number from 1 to {LIMIT_MAX}, found {text[:40]!r}")
    return int(text)
