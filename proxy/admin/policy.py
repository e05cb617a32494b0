"""Policy endpoints: which risk mode is active, which there are, and switching between them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import AliasBody, ModeBody, read_body
from proxy.admin.parts import AdminParts
from proxy.audit import admin_record
from proxy.errors import AuditError, ProfileNotFound, ProxyError
from proxy.stores.base import StoredPolicy
from proxy.stores.policies import risk_config


class PolicyRoutes:
    """Reads and switches the policy through the store."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/api/v2/policy/risk-profile", self.profile),
            web.get("/api/v2/policy/risk-modes", self.modes),
            web.post("/api/v2/policy/risk-mode", self.switch),
            web.get("/api/v2/policy/value", self.value),
            web.get("/api/policy/risk_mode", self.alias_mode),
            web.post("/api/policy/risk_mode/{mode}", self.alias_switch),
        ]

    async def profile(self, _: web.Request) -> web.Response:
        """The active risk profile, as written and under the names that clients know."""
        stored = await self._parts.store.get()
        return answer(_active(stored))

    async def modes(self, _: web.Request) -> web.Response:
        """Every risk mode that can be switched to."""
        stored = await self._parts.store.get()
        return answer(
            {
                "active": stored.policy.active_mode,
                "revision": stored.revision,
                "modes": {name: profile.model_dump() for name, profile in stored.policy.risk_profiles.items()},
            }
        )

    async def value(self, request: web.Request) -> web.Response:
        """One value by its dotted path, `?path=risk.max_leverage`."""
        paths = request.query.getall("path", [])
        if len(paths) != 1 or not paths[0]:
            raise Problem(422, "state exactly one path, such as ?path=risk.max_leverage")
        try:
            return answer({"path": paths[0], "value": self._parts.values.get_value(paths[0])})
        except ProfileNotFound as error:
            raise Problem(404, str(error)) from None

    async def switch(self, request: web.Request) -> web.Response:
        """Make another risk mode the active one."""
        body = await read_body(request, ModeBody)
        stored = await self._switch(
            request, body.mode, body.updated_by, body.reason, expected_revision=body.expected_revision
        )
        return answer(_active(stored))

    async def alias_mode(self, _: web.Request) -> web.Response:
        """The active mode's name, as v1 told it."""
        stored = await self._parts.store.get()
        return answer({"risk_mode": stored.policy.active_mode})

    async def alias_switch(self, request: web.Request) -> web.Response:
        """Switch as v1 did: the mode in the path, who and why in the body."""
        body = await read_body(request, AliasBody)
        stored = await self._switch(request, request.match_info["mode"], body.updated_by, body.reason)
        return answer({"risk_mode": stored.policy.active_mode})

    async def _switch(
        self, request: web.Request, mode: str, by: str, reason: str, *, expected_revision: int | None = None
    ) -> StoredPolicy:
        """Record the intent, switch, record how it went."""
        store, audit = self._parts.store, self._parts.audit
        before = (await store.get()).policy.active_mode
        told: dict[str, Any] = {
            "actor": by,
            "act": "policy.switch_mode",
            "reason": reason,
            "before": before,
            "peer": request.remote or "",
        }
        await audit.durable(audit.append(admin_record(**told, after=mode[:64], result="requested")))
        try:
            stored = await store.switch_mode(
                mode, updated_by=by, reason=reason, expected_revision=expected_revision
            )
        except ProxyError as error:
            self._record(told | {"after": before, "result": f"refused: {error}"})
            if isinstance(error, ProfileNotFound):
                raise Problem(404, str(error)) from None
            raise
        self._record(told | {"after": stored.policy.active_mode, "result": f"revision {stored.revision}"})
        return stored

    def _record(self, told: dict[str, Any]) -> None:
        try:
            self._parts.audit.append(admin_record(**told))
        except AuditError:
            return  # the intent is on record; `audit_healthy` shows that nothing more can be


def _active(stored: StoredPolicy) -> dict[str, object]:
    return {
        "active": stored.policy.active_mode,
        "revision": stored.revision,
        "updated_at": stored.updated_at,
        "updated_by": stored.updated_by,
        "reason": stored.reason,
        "profile": stored.policy.risk_profile.model_dump(),
        "config": asdict(risk_config(stored.policy)),
    }
