"""What happens, as server-sent events: every decision and admin act, the stop, and how it all does.

Decisions and acts carry their number in the audit as the event's id, so that whoever comes back
misses nothing and hears nothing twice. They are read from the record while somebody listens;
orders themselves pay nothing for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import orjson
import structlog
from aiohttp import web

from proxy import audit
from proxy.admin.access import Access
from proxy.admin.answers import SAFE_HEADERS, Problem
from proxy.admin.flow import Flow, Point
from proxy.admin.parts import AdminParts
from proxy.admin.roles import PERSON
from proxy.admin.stopping import stop_document
from proxy.tasks import Tasks
from rules import Stop

log = structlog.get_logger("riskgate.admin")

LISTENERS_MAX = 32
WAITING_MAX = 1024  # events that wait for a slow reader; it is sent away after that, and comes back by its number
LOOK_EVERY_S = 0.25
STATUS_EVERY_S = 2.0
AT_ONCE_MAX = 200  # of records found in one look; of more, the newest are told and the others counted
RESUME_MAX = 1000
WRITE_TIMEOUT_S = 20.0
SEQUENCE_DIGITS_MAX = 15
NAMES = {"decision": "decision", "refusal": "decision", "admin": "admin"}

Event = tuple[int | None, str, Any]  # number in the audit, name, content
Queue = asyncio.Queue[Event | None]


class Events:
    """Tells every listener what happens, in the order in which it is on record."""

    def __init__(self, parts: AdminParts, access: Access) -> None:
        self.flow: Flow | None = None  # once the listener stands, and where there is something to draw
        self._parts = parts
        self._access = access
        self._queues: set[Queue] = set()
        self._seen = 0
        self._closed = False

    def routes(self) -> list[web.RouteDef]:
        """The path and what answers it."""
        return [web.get("/admin/v1/events", self.stream)]

    async def run(self, app: web.Application) -> AsyncIterator[None]:
        """Look while the listener stands; streams end before the listener waits for them."""
        tasks = Tasks()
        self._parts.ess.listeners.append(self._stopped)
        if self._parts.totals is not None:
            self.flow = Flow(self._parts.totals, self._parts.clock)
            self.flow.told.append(self._flowed)
            tasks.spawn(self.flow.watch(), name="console.flow")
        tasks.spawn(self._watch_record(), name="events.record")
        tasks.spawn(self._watch_status(), name="events.status")

        async def end(_: web.Application) -> None:
            self._closed = True
            for queue in tuple(self._queues):
                self._send_away(queue)

        app.on_shutdown.append(end)
        yield
        await end(app)
        self._parts.ess.listeners.remove(self._stopped)
        await tasks.close()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Events from now on; `Last-Event-ID` or `?since=` names the last record heard of."""
        since = _since(request)
        if self._closed or len(self._queues) >= LISTENERS_MAX:
            raise Problem(503, f"{LISTENERS_MAX} programs listen already" if not self._closed else "shutting down")
        queue: Queue = asyncio.Queue(WAITING_MAX)
        if not self._queues:
            self._seen = self._parts.audit.last_sequence
        upto = self._seen
        self._queues.add(queue)
        response = web.StreamResponse(headers=SAFE_HEADERS)
        response.content_type = "text/event-stream"
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            for event in (*await self._missed(since, upto), await self._status(upto)):
                await response.write(_framed(event))
            # Whose token has ended hears nothing more.
            while (one := await queue.get()) is not None and self._access.is_live(request[PERSON]):
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await response.write(_framed(one))
        except (ConnectionError, TimeoutError):
            pass  # whoever listened is gone, or reads too slowly; it comes back by the number it knows
        finally:
            self._queues.discard(queue)
        return response

    # -- what is told -----------------------------------------------------------------------------

    async def _missed(self, since: int | None, upto: int) -> list[Event]:
        """What was recorded between the last record a listener heard of and now."""
        if since is None or since >= upto:
            # A number from the future is of another record; what there is here begins anew.
            return [] if since is None or since == upto else [(upto, "skipped", {"records": 0})]
        return await self._recorded(since, upto, at_most=RESUME_MAX)

    async def _recorded(self, since: int, upto: int, *, at_most: int) -> list[Event]:
        """The events of the records after `since` up to `upto`; where there are too many, first how many are left."""
        count = min(upto - since, at_most)
        newest = await asyncio.to_thread(audit.newest, self._parts.audit.directory, limit=count)
        found = [record for record in reversed(newest) if since < record["seq"] <= upto]
        events: list[Event] = [
            (record["seq"], NAMES[record["kind"]], record) for record in found if record["kind"] in NAMES
        ]
        if upto - since > at_most:
            events.insert(0, (None, "skipped", {"records": upto - since - at_most}))
        return events

    async def _status(self, place: int | None = None) -> Event:
        status = self._parts.status()
        told = {name: status[name] for name in ("state", "stops", "ess_epoch", "ready", "in_flight") if name in status}
        policy = status.get("parts", {}).get("policy", {})
        return place, "status", {**told, "policy": policy, "at": self._parts.clock.now()}

    async def _watch_record(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            upto = self._parts.audit.last_sequence
            if not self._queues or upto <= self._seen:
                continue
            try:
                events = await self._recorded(self._seen, upto, at_most=AT_ONCE_MAX)
            except Exception as error:  # noqa: BLE001 - this look ends here; the next one tells the same records
                log.error("events.unreadable", error=str(error))
                await asyncio.sleep(STATUS_EVERY_S)
                continue
            self._seen = upto
            for event in events:
                self._tell(event)

    async def _watch_status(self) -> None:
        while True:
            await asyncio.sleep(STATUS_EVERY_S)
            if self._queues:
                self._tell(await self._status())

    def _stopped(self, stop: Stop) -> None:
        self._tell((None, "ess", stop_document(stop)))

    def _flowed(self, point: Point) -> None:
        self._tell((None, "flow", asdict(point)))

    def _tell(self, event: Event) -> None:
        for queue in tuple(self._queues):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._send_away(queue)

    def _send_away(self, queue: Queue) -> None:
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)
        self._queues.discard(queue)


def _since(request: web.Request) -> int | None:
    given = [*request.headers.getall("Last-Event-ID", []), *request.query.getall("since", [])]
    if not given:
        return None
    # A browser that comes back sends both: the header is the newer.
    text = given[0]
    if not (text.isascii() and text.isdigit() and len(text) <= SEQUENCE_DIGITS_MAX):
        raise Problem(422, f"found {text[:40]!r}, expected the number of the last record heard of")
    return int(text)


def _framed(event: Event) -> bytes:
    number, name, content = event
    place = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (place, name.encode(), orjson.dumps(content, default=str))
