"""People's tokens: who has one, handing one out, and taking it back. For admins alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import structlog
from aiohttp import web

from proxy.admin.access import ROLES_BY_WORD, Access, Person, checked_name
from proxy.admin.acts import intend, note
from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import TokenBody, read_body
from proxy.admin.parts import AdminParts
from proxy.admin.roles import PERSON
from proxy.config import parse_duration
from proxy.errors import ProxyError
from proxy.tasks import Tasks

log = structlog.get_logger("riskgate.admin")

LASTS_MIN_S = 60.0
LASTS_MAX_S = 400 * 86400.0
REASON_MAX = 500


class TokenRoutes:
    """Shows, makes and revokes tokens; each act is recorded before it is done."""

    def __init__(self, parts: AdminParts, access: Access) -> None:
        self._parts = parts
        self._access = access

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/admin/v1/tokens", self.listed),
            web.post("/admin/v1/tokens", self.create),
            web.delete("/admin/v1/tokens/{id}", self.revoke),
        ]

    async def run(self, _: web.Application) -> AsyncIterator[None]:
        """Write down when tokens were used, while the listener stands and once more when it goes."""
        tasks = Tasks()
        tasks.spawn(self._access.watch(), name="admin.tokens")
        yield
        await tasks.close()
        await self._access.save_uses()

    async def listed(self, _: web.Request) -> web.Response:
        """Every token, the newest first; never the token itself nor what it is known by."""
        return answer({"tokens": self._access.listed()})

    async def create(self, request: web.Request) -> web.Response:
        """A new token, which is in this answer and nowhere else."""
        body = await read_body(request, TokenBody)
        lasts_s = _lasts_s(body.expires_in)
        role = ROLES_BY_WORD[body.role]
        person = checked_name(body.person)
        by: Person = request[PERSON]
        given = {"person": person, "role": role.word, "expires_in": body.expires_in}
        told: dict[str, Any] = {
            "actor": by.name, "act": "token.create", "peer": request.remote or "", "after": given,
        }  # fmt: skip
        await intend(self._parts.audit, **told)
        try:
            shown, token = await self._access.issue(person, role, by=by.name, lasts_s=lasts_s)
        except ProxyError as error:
            note(self._parts.audit, **told, result=f"refused: {error}")
            raise
        audited = note(self._parts.audit, **told | {"after": given | {"id": shown["id"]}, "result": "done"})
        log.warning("admin.access_given", person=shown["person"], role=role.word, id=shown["id"], actor=by.name)
        return answer({**shown, "token": token, "audited": audited}, status=201)

    async def revoke(self, request: web.Request) -> web.Response:
        """End a token. It is worth nothing from this answer on."""
        if await request.read():
            raise Problem(422, "found a body, expected none; ?reason= says why")
        by: Person = request[PERSON]
        token_id = request.match_info["id"]
        told: dict[str, Any] = {
            "actor": by.name, "act": "token.revoke", "reason": request.query.get("reason", "")[:REASON_MAX],
            "before": {"id": token_id[:40]}, "peer": request.remote or "",
        }  # fmt: skip
        try:
            shown = await self._access.revoke(token_id, by=by.name)
        except ProxyError as error:
            note(self._parts.audit, **told, result=f"refused: {error}")
            raise
        after = {"person": shown["person"], "state": "revoked"}
        audited = note(self._parts.audit, **told, after=after, result="done")
        log.warning("admin.access_ended", person=shown["person"], id=shown["id"], actor=by.name)
        return answer({**shown, "audited": audited})


def _lasts_s(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        lasts_s = parse_duration(text)
    except ValueError as error:
        raise Problem(422, f"expires_in: found {text!r}, expected {error}") from None
    if not LASTS_MIN_S <= lasts_s <= LASTS_MAX_S:
        raise Problem(422, f"expires_in: found {text}, expected from 1m to 400d; without it the token does not end")
    return lasts_s
