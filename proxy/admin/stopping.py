"""The emergency stop's endpoints. Engaging works when everything else fails; releasing needs everything."""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import EngageBody, ReleaseBody, read_body
from proxy.admin.parts import AdminParts
from proxy.audit import admin_record
from proxy.errors import AuditError, ProxyError
from rules import Stop

log = structlog.get_logger("riskgate.admin")


class Stopping:
    """Shows, engages and releases the stop."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._ess = parts.ess

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/admin/v1/ess", self.show),
            web.post("/admin/v1/ess/engage", self.engage),
            web.post("/admin/v1/ess/release", self.release),
        ]

    async def show(self, _: web.Request) -> web.Response:
        """Every stop in force, the global one first."""
        return answer(
            {
                "epoch": self._ess.epoch,
                "durable": self._ess.durable,
                "stops": [stop_document(stop) for stop in self._ess.stops()],
            }
        )

    async def engage(self, request: web.Request) -> web.Response:
        """Latch first; then store, wait for what is on its way, record, and say how it went."""
        body = await read_body(request, EngageBody)
        self._check_known(body.scope)
        before = stop_document(self._ess.stop_of(body.scope))
        engaged = await self._ess.engage(
            level=body.ess_level, scope=body.scope, actor=body.actor, reason=body.reason, source="api"
        )
        stop = stop_document(engaged.stop)
        audited = self._record(
            request,
            actor=body.actor or engaged.stop.actor,
            act="ess.engage",
            scope=body.scope,
            reason=body.reason,
            before=before,
            after=stop,
            result=engaged.problem or "done",
        )
        document = {
            **stop,
            "durable": engaged.durable,
            "in_flight_unanswered": engaged.in_flight_unanswered,
            "aborted": engaged.aborted,
            "changed": engaged.changed,
            "level_before": before["level"],
            "took_ms": round(engaged.took_ms, 3),
            "audited": audited,
        }
        if engaged.problem:
            raise Problem(500, engaged.problem, more=document)
        return answer(document)

    async def release(self, request: web.Request) -> web.Response:
        """Record the intent first: a release that cannot be recorded does not happen."""
        body = await read_body(request, ReleaseBody)
        self._check_known(body.scope)
        told: dict[str, Any] = {
            "actor": body.actor,
            "act": "ess.release",
            "scope": body.scope,
            "reason": body.reason,
            "before": stop_document(self._ess.stop_of(body.scope)),
            "peer": request.remote or "",
        }
        audit = self._parts.audit
        await audit.durable(audit.append(admin_record(**told, result="requested")))
        try:
            stop = await self._ess.release(
                scope=body.scope, actor=body.actor, reason=body.reason, expected_epoch=body.expected_epoch
            )
        except ProxyError as error:
            self._record(request, **(told | {"result": f"refused: {error}"}))
            raise
        document = stop_document(stop)
        audited = self._record(request, **(told | {"result": "done", "after": document}))
        return answer({**document, "durable": True, "audited": audited})

    def _check_known(self, scope: str) -> None:
        """A stop for an account that does not exist would stop nothing and look as if it did."""
        kind, _, name = scope.partition(":")
        if kind == "account" and name not in self._parts.accounts:
            known = ", ".join(sorted(self._parts.accounts)) or "none"
            raise Problem(422, f"there is no account {name[:64]!r}; known: {known}. Nothing was changed")

    def _record(self, request: web.Request, **told: Any) -> bool:  # noqa: ANN401 - the fields of a record
        try:
            self._parts.audit.append(admin_record(**({"peer": request.remote or ""} | told)))
        except AuditError as error:  # the act stands and its answer says that it is not on record
            log.error("audit.unavailable", error=str(error), act=told["act"])
            return False
        return True


def stop_document(stop: Stop) -> dict[str, object]:
    """A stop as the API shows it."""
    return {
        "level": stop.level.name.lower(),
        "scope": stop.scope,
        "reason": stop.reason,
        "actor": stop.actor,
        "source": stop.source,
        "since": stop.since,
        "epoch": stop.epoch,
    }
