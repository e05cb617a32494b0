"""What the proxy does itself after a trip: begun here, answered at once with an id, asked for by that id."""

from __future__ import annotations

import os
from typing import Any, Literal

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict

from proxy.actions import Actions, Job, Kind
from proxy.actions.drill import Drilled, drill
from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import Scope, Stated, read_body
from proxy.admin.parts import AdminParts
from proxy.ess import check_scope
from proxy.tasks import Tasks

log = structlog.get_logger("riskgate.admin")

DRILLS_KEPT = 20


class CancelAllBody(BaseModel):
    """Cancelling every working order but protective ones: where, who, why."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    scope: Scope
    actor: Stated
    reason: Stated


class FlattenBody(CancelAllBody):
    """Closing every position: said twice, since it trades. `spot` sells coins for dollars as well."""

    confirm: Literal["flatten"]
    spot: bool = False


class DrillBody(BaseModel):
    """A drill before an exchange that exists for a moment."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    actor: Stated


class _Drill:
    """One drill and how it went."""

    def __init__(self, drill_id: str, actor: str) -> None:
        self.id = drill_id
        self.actor = actor
        self.state = "running"
        self.problem = ""
        self.found: Drilled | None = None

    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        found = None if self.found is None else self.found.document()
        return {
            "id": self.id, "kind": "drill", "state": self.state, "actor": self.actor, "problem": self.problem,
            "drill": found,
        }  # fmt: skip


class ActionRoutes:
    """Begins and shows actions."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._drills: dict[str, _Drill] = {}
        self._tasks = Tasks()

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/admin/v1/actions", self.listed),
            web.get("/admin/v1/actions/{id}", self.show),
            web.post("/admin/v1/actions/cancel-all", self.cancel_all),
            web.post("/admin/v1/actions/flatten", self.flatten),
            web.post("/admin/v1/actions/drill", self.drill),
        ]

    async def close(self, _: web.Application) -> None:
        """End drills that still run."""
        await self._tasks.close()

    @property
    def _actions(self) -> Actions:
        if self._parts.actions is None:
            raise Problem(409, "this proxy has no accounts to act for")
        return self._parts.actions

    # -- for whatever way asks: the API, and the console's forms

    async def begin(
        self, kind: Kind, *, scope: str, actor: str, reason: str, spot: bool = False
    ) -> Job:
        """Cancel everything that works, or flatten. Raises Problem and ActionRefused; nothing was sent then."""
        accounts = self._accounts(scope)
        if kind is Kind.CANCEL_ALL:
            return await self._actions.cancel_all(scope=scope, accounts=accounts, actor=actor, reason=reason)
        return await self._actions.flatten(scope=scope, accounts=accounts, actor=actor, reason=reason, spot=spot)

    def begin_drill(self, actor: str) -> dict[str, Any]:
        """Begin a drill, or find the one that runs."""
        running = next((one for one in self._drills.values() if one.state == "running"), None)
        if running is None:
            running = _Drill(f"drill-{self._parts.clock.now_ms():x}-{os.urandom(3).hex()}", actor)
            self._drills[running.id] = running
            for old in list(self._drills)[:-DRILLS_KEPT]:
                del self._drills[old]
            self._tasks.spawn(self._run_drill(running), name="action.drill")
        return running.document()

    def all(self) -> list[dict[str, Any]]:
        """Every action that is remembered, the newest first, drills last, without their orders."""
        jobs = () if self._parts.actions is None else self._parts.actions.jobs
        return [
            *(job.summary() for job in reversed(jobs)),
            *(drilled.document() for drilled in reversed(self._drills.values())),
        ]

    def one(self, action_id: str) -> dict[str, Any]:
        """One action: per order and per position what is known, and what the stopwatch said."""
        job = None if self._parts.actions is None else self._parts.actions.get(action_id)
        found: Job | _Drill | None = job or self._drills.get(action_id)
        if found is None:
            raise Problem(404, f"there is no action {action_id[:80]!r}; `GET /admin/v1/actions` lists those there are")
        return found.document()

    # -- the API

    async def listed(self, _: web.Request) -> web.Response:
        """Every action that is remembered, the newest first."""
        return answer({"actions": self.all()})

    async def show(self, request: web.Request) -> web.Response:
        """One action: per order and per position what is known, and what the stopwatch said."""
        return answer(self.one(request.match_info["id"]))

    async def cancel_all(self, request: web.Request) -> web.Response:
        """Engage REDUCE_ONLY unless something as strict holds, then cancel."""
        body = await read_body(request, CancelAllBody)
        job = await self.begin(Kind.CANCEL_ALL, scope=body.scope, actor=body.actor, reason=body.reason)
        return answer(job.document(), status=202)

    async def flatten(self, request: web.Request) -> web.Response:
        """Engage HALT unless it holds, then cancel and close."""
        body = await read_body(request, FlattenBody)
        job = await self.begin(
            Kind.FLATTEN, scope=body.scope, actor=body.actor, reason=body.reason, spot=body.spot
        )
        return answer(job.document(), status=202)

    async def drill(self, request: web.Request) -> web.Response:
        """Try it all before an exchange of its own; one at a time."""
        body = await read_body(request, DrillBody)
        return answer(self.begin_drill(body.actor), status=202)

    async def _run_drill(self, running: _Drill) -> None:
        try:
            running.found = await drill()
        except Exception as error:  # the drill ends here, and its state says so
            log.exception("drill.failed", error=type(error).__name__)
            running.state, running.problem = "failed", f"{type(error).__name__}: see the log"
            return
        running.state = "done" if running.found.done else "failed"
        running.problem = running.found.problem
        log.info("drill.ended", state=running.state, flat_ms=running.found.flat_ms)

    def _accounts(self, scope: str) -> tuple[str, ...]:
        check_scope(scope)
        scopes = self._parts.scopes
        if scopes is None:
            raise Problem(409, "this proxy has no accounts to act for")
        if (wrong := scopes.wrong_with(scope)) is not None:
            raise Problem(422, f"{wrong}. Nothing was sent")
        return tuple(scopes.accounts_under(scope))
