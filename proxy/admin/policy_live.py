"""The policy as it changes: server-sent events and a WebSocket, both with resume by revision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import orjson
from aiohttp import web

from proxy.admin.answers import SAFE_HEADERS, Problem
from proxy.admin.parts import AdminParts
from proxy.policy_events import CURRENT, SKIPPED, UPDATED, PolicyEvents
from proxy.tasks import Tasks

LISTENERS_MAX = 64
WRITE_TIMEOUT_S = 20.0
PLACED = frozenset({UPDATED, CURRENT, SKIPPED})  # the events after which everything of a revision was told
REVISION_DIGITS_MAX = 15


class LiveRoutes:
    """Streams what happens to the policy."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._events: PolicyEvents | None = None
        self._listening = 0

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/api/v2/policy/events", self.events),
            web.get("/api/v2/policy/ws", self.socket),
        ]

    async def run(self, app: web.Application) -> AsyncIterator[None]:
        """Listen to the store while the listener stands; streams end before the listener waits for them."""
        self._events = PolicyEvents(self._parts.store)
        await self._events.start()

        async def end(_: web.Application) -> None:
            if self._events is not None:
                self._events.close()

        app.on_shutdown.append(end)
        yield
        await end(app)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events; `Last-Event-ID` or `?since=` names the last revision heard of."""
        since = _since(request)
        source = self._source()
        response = web.StreamResponse(headers=SAFE_HEADERS)
        response.content_type = "text/event-stream"
        self._listening += 1
        try:
            await response.prepare(request)
            async with aclosing(source.stream(since)) as stream:
                async for event in stream:
                    async with asyncio.timeout(WRITE_TIMEOUT_S):
                        await response.write(b": alive\n\n" if event is None else _framed(event))
        except (ConnectionError, TimeoutError):
            pass  # whoever listened is gone, or reads too slowly; it comes back by the revision it knows
        finally:
            self._listening -= 1
        return response

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """The same as text messages of JSON over a WebSocket; what a client sends is passed over."""
        since = _since(request)
        source = self._source()
        socket = web.WebSocketResponse(heartbeat=WRITE_TIMEOUT_S, max_msg_size=4096)
        if not socket.can_prepare(request).ok:
            raise Problem(426, "this path speaks WebSocket", headers={"Upgrade": "websocket"})
        tasks = Tasks()
        self._listening += 1
        try:
            await socket.prepare(request)
            tasks.spawn(self._sent(socket, source, since), name="policy.ws")
            async for _ in socket:
                pass
        finally:
            self._listening -= 1
            await tasks.close()
        return socket

    async def _sent(self, socket: web.WebSocketResponse, source: PolicyEvents, since: int | None) -> None:
        async with aclosing(source.stream(since)) as stream:
            async for event in stream:
                if event is not None:
                    async with asyncio.timeout(WRITE_TIMEOUT_S):
                        await socket.send_str(orjson.dumps(event).decode())
        await socket.close()

    def _source(self) -> PolicyEvents:
        if self._listening >= LISTENERS_MAX:
            raise Problem(503, f"{LISTENERS_MAX} programs listen already")
        if self._events is None:
            raise Problem(503, "the listener is not up yet")
        return self._events


def _since(request: web.Request) -> int | None:
    given = [*request.headers.getall("Last-Event-ID", []), *request.query.getall("since", [])]
    if not given:
        return None
    text = given[0]
    if len(given) != 1 or not (text.isascii() and text.isdigit() and len(text) <= REVISION_DIGITS_MAX):
        raise Problem(422, f"found {', '.join(given)[:40]!r}, expected the last revision heard of, once")
    return int(text)


def _framed(event: dict[str, object]) -> bytes:
    """One event. Only the last of a revision carries its id, so that nobody resumes in the middle of one."""
    place = f"id: {event['revision']}\n".encode() if event["event"] in PLACED else b""
    return b"%sevent: %s\ndata: %s\n\n" % (place, str(event["event"]).encode(), orjson.dumps(event))
