"""Puts the admin listener together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from proxy.admin.accounts import AccountRoutes
from proxy.admin.actions import ActionRoutes
from proxy.admin.answers import answer
from proxy.admin.bodies import POLICY_BYTES_MAX
from proxy.admin.console import Console
from proxy.admin.events import Events
from proxy.admin.guard import Guard, Handler
from proxy.admin.heartbeats import Heartbeats
from proxy.admin.openapi import OpenApiRoutes, check_query
from proxy.admin.parts import AdminParts
from proxy.admin.permits import PermitRoutes
from proxy.admin.policy import PolicyRoutes
from proxy.admin.policy_changes import PolicyChanges
from proxy.admin.policy_drafts import DraftRoutes
from proxy.admin.policy_history import HistoryRoutes
from proxy.admin.policy_live import LiveRoutes
from proxy.admin.policy_v1 import PolicyV1Routes
from proxy.admin.records import Records
from proxy.admin.reload import ReloadRoutes
from proxy.admin.risk import RiskRoutes
from proxy.admin.sessions import Sessions
from proxy.admin.stopping import Stopping
from proxy.admin.tokens import TokenRoutes
from proxy.tasks import Tasks


def build_admin(parts: AdminParts, *, token: bytes) -> web.Application:
    """The admin API as an application; whoever runs it chooses where it listens."""
    sessions = Sessions(parts.clock)
    guard = Guard(parts, token, sessions)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await guard(request, handler)

    @web.middleware
    async def asked(request: web.Request, handler: Handler) -> web.StreamResponse:
        check_query(request)
        return await handler(request)

    app = web.Application(middlewares=[guarded, asked], client_max_size=POLICY_BYTES_MAX)
    stopping = Stopping(parts)
    app.add_routes([*_probes(parts), *stopping.routes(), *Heartbeats(parts, stopping).routes()])
    changes = PolicyChanges(parts)
    policy = PolicyRoutes(parts, changes)
    drafts = DraftRoutes(parts, changes)
    for routes in (policy, HistoryRoutes(parts, changes), drafts, PolicyV1Routes(parts, changes, policy)):
        app.add_routes(routes.routes())
    app.cleanup_ctx.append(_watching(drafts))
    live = LiveRoutes(parts)
    app.add_routes(live.routes())
    app.cleanup_ctx.append(live.run)
    app.add_routes(OpenApiRoutes(parts, app).routes())
    app.add_routes(ReloadRoutes(parts).routes())
    app.add_routes(Records(parts).routes())
    app.add_routes(AccountRoutes(parts).routes())
    app.add_routes(RiskRoutes(parts).routes())
    tokens = TokenRoutes(parts, guard.access)
    app.add_routes(tokens.routes())
    app.cleanup_ctx.append(tokens.run)
    permits = PermitRoutes(parts, guard.access)
    app.add_routes(permits.routes())
    actions = ActionRoutes(parts)
    app.add_routes(actions.routes())
    app.on_cleanup.append(actions.close)
    events = Events(parts, guard.access)
    app.add_routes(events.routes())
    app.cleanup_ctx.append(events.run)
    console = Console(
        parts, guard=guard, sessions=sessions, stopping=stopping, policy=policy, changes=changes, actions=actions,
        permits=permits, events=events,
    )  # fmt: skip
    app.add_routes(console.routes())
    return app


def _watching(drafts: DraftRoutes) -> Callable[[web.Application], AsyncIterator[None]]:
    """Scheduled drafts are put in force while the listener stands."""

    async def run(_: web.Application) -> AsyncIterator[None]:
        tasks = Tasks()
        tasks.spawn(drafts.watch(), name="policy.drafts")
        yield
        await tasks.close()

    return run


def _probes(parts: AdminParts) -> list[web.RouteDef]:
    serve_metrics = make_aiohttp_handler(parts.registry)
    is_started = False  # for good, once bots were let in and an order could have been judged

    async def healthz(_: web.Request) -> web.Response:
        return answer({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        ready, because = parts.ready()
        return answer({"ready": ready, "parts": because}, status=200 if ready else 503)

    async def startupz(_: web.Request) -> web.Response:
        nonlocal is_started
        ready, because = parts.ready()
        is_started = is_started or (ready and bool(parts.proxy_url()))
        return answer({"started": is_started, "parts": because}, status=200 if is_started else 503)

    async def version(_: web.Request) -> web.Response:
        return answer({"version": parts.version})

    async def status(_: web.Request) -> web.Response:
        return answer(parts.status())

    async def metrics(request: web.Request) -> web.StreamResponse:
        parts.refresh_metrics()
        return await serve_metrics(request)

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/startupz", startupz),
        web.get("/version", version),
        web.get("/metrics", metrics),
        web.get("/admin/v1/status", status),
    ]
