"""Reading the settings again on request."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import ReloadBody, read_body
from proxy.admin.parts import AdminParts


class ReloadRoutes:
    """Asks the running proxy to read its settings again."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        """The path and what answers it."""
        return [web.post("/admin/v1/reload", self.reload)]

    async def reload(self, request: web.Request) -> web.Response:
        """Check the settings file, take what can change at once, and say what waits for a restart."""
        body = await read_body(request, ReloadBody)
        if self._parts.reload is None:
            raise Problem(503, "there are no settings here that could be read again")
        done = await self._parts.reload(body.actor or "unknown", body.reason or "no reason given")
        return answer(asdict(done))
