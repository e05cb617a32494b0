"""How requests come in and answers go out: aiohttp's server, with its doors narrowed.

aiohttp parses (its C parser, or the start is refused); this file adds what it leaves open: own
deadlines for head, body and answer, limits that are checked before a byte is read, caps on
connections, one HTTP version, and answers written as the bytes they are. A request that repeats
the head of one that was parsed on the same connection is taken past the parser (`proxy.front`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import orjson
import structlog
from aiohttp import HttpVersion11, web
from aiohttp import __version__ as aiohttp_version
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web_request import BaseRequest

from proxy.answer_bytes import BODYLESS, head_bytes, whole_bytes
from proxy.errors import ConfigError, UpstreamSilent
from proxy.front import Form, form_of
from proxy.tasks import Tasks
from proxy.upstream import StreamedResponse
from proxy.wire import WireRequest, WireResponse

log = structlog.get_logger("riskgate.handler")

AIOHTTP_MIN = (3, 14, 5)

_SWEEP_EVERY_S = 0.5
# From so many requests at a time on, answers leave together at the end of the loop's round. Each write to a peer that
# sleeps wakes it, which on a virtual machine costs more than the write; among so many the wait is not noticed.
_CROWD = 8
_LINGER_S = 1.0  # how long the rest of a refused body is read away, so that the answer is seen
_FORMS_KEPT = 4  # heads remembered per connection: a bot sends orders, cancels and a few reads
_HELD_BYTES_MAX = 64 * 1024  # what a bot may send ahead of its answer before it is not read any more
_PARSER_KEEP_ALIVE_S = 30 * 86_400.0  # idle connections are closed here, by the sweep
# Binance's code for a request that cannot be read; clients map it to "bad request".
_CODE_UNREADABLE = -1100
_CODE_UNAVAILABLE = -1001

Answer = WireResponse | StreamedResponse


class Handles(Protocol):
    """Whoever answers requests: the pipeline."""

    async def handle(self, request: WireRequest) -> Answer:
        """Answer one request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Bounds of the listener."""

    body_max_bytes: int = 64 * 1024
    head_timeout_s: float = 5.0
    body_timeout_s: float = 5.0
    write_timeout_s: float = 10.0
    first_byte_timeout_s: float = 20.0  # a connection that never asks anything is not kept for one that might
    keep_alive_s: float = 75.0
    connections_max: int = 12_000
    connections_per_peer_max: int = 11_000
    backlog: int = 1024


def require_c_parser() -> None:
    """Refuse to run on aiohttp's pure-Python parser or a version with known holes.

    The two parsers read some requests differently: what one replica refuses, another would forward.
    """
    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise ConfigError(
            f"aiohttp parses with {HttpRequestParser.__module__}, expected its C parser "
            "(aiohttp._http_parser): install a wheel, and unset AIOHTTP_NO_EXTENSIONS"
        )
    numbers = tuple(int(part) for part in aiohttp_version.split(".")[:3] if part.isdigit())
    if numbers < AIOHTTP_MIN:
        raise ConfigError(
            f"aiohttp is {aiohttp_version}, expected {'.'.join(map(str, AIOHTTP_MIN))} or newer"
        )


class ProxyServer:
    """The listener in front of the pipeline."""

    def __init__(self, pipeline: Handles, settings: ServerSettings | None = None) -> None:
        require_c_parser()
        self._pipeline = pipeline
        self._settings = settings or ServerSettings()
        self._server: _Server | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._draining = False
        self._tasks = Tasks()

    @property
    def in_flight(self) -> int:
        """Requests being answered, those included whose bot has gone."""
        return 0 if self._server is None else len(self._server.busy)

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return 0 if self._server is None else len(self._server.doors)

    async def start(self, host: str, port: int, ssl: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Listen; returns the address bound (port 0 asks for any)."""
        loop = asyncio.get_running_loop()
        self._server = server = _Server(self._answer, self._answer_read, self._settings)
        extra: dict[str, Any] = {}
        if ssl is not None:
            extra = {"ssl": ssl, "ssl_handshake_timeout": 5.0, "ssl_shutdown_timeout": 2.0}
        self._listener = await loop.create_server(
            server, host, port, backlog=self._settings.backlog, **extra
        )
        self._sweeper = loop.call_later(_SWEEP_EVERY_S, self._sweep, loop, server)
        bound = self._listener.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self, drain_timeout_s: float) -> int:
        """Stop accepting, let requests under way finish, close. Returns how many did not finish.

        Give it longer than the upstream's total deadline: then every request ends by itself, and
        none is cancelled with its order on the way.
        """
        if self._server is None or self._listener is None:
            return 0
        loop = asyncio.get_running_loop()
        self._draining = True
        self._listener.close()
        deadline = loop.time() + drain_timeout_s
        while True:
            for door in list(self._server.doors):
                door.close_if_idle()
            if not self.in_flight or loop.time() >= deadline:
                break
            await asyncio.sleep(0.005)
        unfinished = self.in_flight
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._tasks.close()
        await self._server.shutdown(0.1)
        await asyncio.sleep(0)
        return unfinished

    # One request

    async def _answer(self, request: BaseRequest) -> web.StreamResponse:
        door = request.protocol
        assert isinstance(door, _Door)
        door.request_began()
        try:
            refused = _refusal(request, self._settings)
            if refused is not None:
                return refused
            body = await self._body(request, door)
            if isinstance(body, RawAnswer):
                return body
            door.body_read()
            wire = WireRequest(
                request.method,
                request.raw_path.encode("utf-8", "surrogateescape"),
                request.raw_headers,
                body,
                door.peer,
                request.headers["Host"].encode("utf-8", "surrogateescape"),
            )
            door.remember(wire, keep_alive=request.keep_alive)
            answer = await self._ask(wire)
        except BaseException:
            door.request_ended()
            raise
        close = self._draining or not request.keep_alive
        if isinstance(answer, WireResponse):
            return RawAnswer(answer, close=close, head_only=request.method == "HEAD")
        return StreamedAnswer(answer, close=close, head_only=request.method == "HEAD")

    def _answer_read(self, wire: WireRequest, door: _Door) -> None:
        """Answer a request that was read past the parser."""
        if not door.hand_on(wire):
            self._tasks.spawn(self._answer_all_read(door), name="requests")

    async def _answer_all_read(self, door: _Door) -> None:
        """One task for a connection: starting and ending one for each request costs more than reading it."""
        while (wire := await door.next_read()) is not None:
            await self._pass_parser(wire, door)
            del wire  # not kept while nothing is asked

    async def _pass_parser(self, wire: WireRequest, door: _Door) -> None:
        close = True
        try:
            answer = await self._ask(wire)
            close = self._draining
            if isinstance(answer, WireResponse):
                piece = whole_bytes(answer, close=close, head_only=False)
                if close or not door.write_soon(piece):
                    await _write(door, piece)
            else:
                await StreamedAnswer(answer, close=close, head_only=False).write_to(door)
        except ConnectionError:
            close = True  # the bot has gone; what became of its order is on the pipeline's record
        finally:
            door.request_ended()
            door.go_on(close=close)

    async def _ask(self, wire: WireRequest) -> Answer:
        try:
            return await self._pipeline.handle(wire)
        except Exception as error:
            # A request ends here, answered 503. Whether an order left is on the pipeline's record.
            log.error("request.failed", error=type(error).__name__, exc_info=True)
            return _plain(503, _CODE_UNAVAILABLE, "internal error; the request was not completed")

    async def _body(self, request: BaseRequest, door: _Door) -> bytes | RawAnswer:
        """The whole body within its deadline and size; nothing partial is ever judged."""
        content = request.content
        if content.is_eof() and content.exception() is None:
            body = content.read_nowait(-1)
            if len(body) <= self._settings.body_max_bytes:
                return body
            return _refuse(413, _too_large(self._settings))
        if request.headers.get("Expect") is not None:
            door.write_continue()
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                while piece := await content.readany():
                    size += len(piece)
                    if size > self._settings.body_max_bytes:
                        return _refuse(413, _too_large(self._settings))
                    pieces.append(piece)
        except TimeoutError:
            return _refuse(
                408, f"the body did not arrive within {self._settings.body_timeout_s:g} s"
            )
        except (web.RequestPayloadError, ConnectionError):
            return _refuse(400, "the body ended early or its framing is broken")
        return b"".join(pieces)

    def _sweep(self, loop: asyncio.AbstractEventLoop, server: _Server) -> None:
        """Close connections that are over a deadline. One round for all costs less than a timer each."""
        now = loop.time()
        for door in list(server.doors):
            door.check(now)
        self._sweeper = loop.call_later(_SWEEP_EVERY_S, self._sweep, loop, server)


def _refusal(request: BaseRequest, settings: ServerSettings) -> RawAnswer | None:
    """What is refused by its head alone, before a byte of the body is read."""
    headers = request.headers
    if request.version != HttpVersion11:
        # Not 505, nor 501 below: to a bot a 5xx says that its order may have been placed.
        return _refuse(400, "HTTP/1.1 is spoken here")
    if request.method == "CONNECT" or "Upgrade" in headers:
        return _refuse(400, "no tunnels and no upgrades: orders come as single requests")
    if not request.raw_path.startswith("/"):
        return _refuse(400, "the request target is not a path")
    connection = headers.getall("Connection", ())
    if connection and not _PLAIN_CONNECTION.issuperset(
        option.strip().lower() for value in connection for option in value.split(",")
    ):
        return _refuse(400, "Connection names a header; expected close or keep-alive")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        return _refuse(415, "the body is compressed; send it plain")
    if headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        return _refuse(400, "Transfer-Encoding is not chunked")
    if headers.get("Expect", "100-continue").lower() != "100-continue":
        return _refuse(417, "Expect is not 100-continue")
    length = headers.get("Content-Length")
    if length is not None and (len(length) > 9 or int(length) > settings.body_max_bytes):
        return _refuse(413, _too_large(settings))
    return None


_PLAIN_CONNECTION = frozenset({"close", "keep-alive", ""})


def _too_large(settings: ServerSettings) -> str:
    return f"the body is over {settings.body_max_bytes} bytes"


def _plain(status: int, code: int, sentence: str) -> WireResponse:
    body = orjson.dumps({"code": code, "msg": f"risk gate: {sentence}"})
    return WireResponse(status, ((b"Content-Type", b"application/json"),), body)


def _refuse(status: int, sentence: str) -> RawAnswer:
    """A refusal of transport: in the venue's shape where bots can read it, and the connection ends."""
    return RawAnswer(_plain(status, _CODE_UNREADABLE, sentence), close=True, head_only=False)


# Answers


class RawAnswer(web.StreamResponse):
    """An answer that is bytes already: written in one piece, past aiohttp's header machinery.

    aiohttp would add Date, Server and Content-Type and rebuild the head from a dictionary; the
    venue's answer reaches the bot as it came, and in half the time. Only the three members that
    the server touches are used, so the base class is not initialised.
    """

    def __init__(self, answer: WireResponse, *, close: bool, head_only: bool) -> None:
        self._answer = answer
        self._close = close
        self._head_only = head_only

    @property
    def status(self) -> int:
        """The status code."""
        return self._answer.status

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open."""
        return not self._close

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write everything. Raises ConnectionResetError if the bot has gone."""
        door = request.protocol
        assert isinstance(door, _Door)
        try:
            await self.write_to(door)
        finally:
            door.request_ended()
        return None

    async def write_to(self, door: _Door) -> None:
        """Write everything. Raises ConnectionResetError if the bot has gone."""
        await _write(door, whole_bytes(self._answer, close=self._close, head_only=self._head_only))

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


class StreamedAnswer(RawAnswer):
    """An answer passed on as it comes; the venue is read no faster than the bot reads."""

    def __init__(self, answer: StreamedResponse, *, close: bool, head_only: bool) -> None:
        self._stream = answer
        self._close = close
        self._head_only = head_only

    @property
    def status(self) -> int:
        """The status code."""
        return self._stream.status

    async def write_to(self, door: _Door) -> None:
        """Write the head with what has arrived, then the rest piece by piece."""
        stream = self._stream
        try:
            await self._pass_on(door, stream)
        except UpstreamSilent:
            # The head is out: only a broken connection tells the bot that the rest is missing.
            if door.transport is not None:
                door.transport.abort()
            raise ConnectionResetError("the venue broke off") from None
        finally:
            stream.close()

    async def _pass_on(self, door: _Door, stream: StreamedResponse) -> None:
        length = stream.content_length
        first = stream.read_nowait()
        if length is None and stream.at_end:
            length = len(first)
        has_body = stream.status not in BODYLESS and not self._head_only
        chunked = length is None and has_body
        if chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif length is not None and stream.status not in BODYLESS:
            framing = b"Content-Length: %d\r\n" % length
        else:
            framing = b""
        head = head_bytes(stream.status, stream.reason, stream.headers, framing, close=self._close)
        if not has_body:
            await _write(door, head)
            return
        await _write(door, head + (_chunk(first) if chunked and first else first))
        while piece := await stream.read():
            await _write(door, _chunk(piece) if chunked else piece)
        if chunked:
            await _write(door, b"0\r\n\r\n")


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def _write(door: _Door, piece: bytes) -> None:
    transport = door.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the bot has gone")
    transport.write(piece)
    if door.writing_paused:
        await door.drained()


# Connections


class _Door(web.RequestHandler):
    """One connection of a bot, watched: when its head began, whether it takes its answers."""

    __slots__ = (
        "_awaiting",
        "_early_bytes",
        "_fed",
        "_forms",
        "_has_asked",
        "_head_since",
        "_held",
        "_idle_since",
        "_is_answered",
        "_paused_since",
        "_read",
        "_refused",
        "_server",
        "_settings",
        "is_busy",
        "peer",
    )

    def __init__(
        self, server: _Server, settings: ServerSettings, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=_PARSER_KEEP_ALIVE_S,
            lingering_time=_LINGER_S,
            access_log=None,  # type: ignore[arg-type] # None switches it off; the pipeline keeps the record
            auto_decompress=False,
        )
        self._server = server
        self._settings = settings
        self._head_since: float | None = None
        self._paused_since: float | None = None
        self._early_bytes = False
        self._refused = False
        # What the parser was given since it stood between two requests; None when that is not known any more.
        self._fed: bytes | None = b""
        self._forms: list[Form] = []
        # What came while a request read past the parser is answered; None while there is none.
        self._held: bytearray | None = None
        # The next request read past the parser, and the task that waits for it.
        self._read: WireRequest | None = None
        self._awaiting: asyncio.Future[None] | None = None
        self._is_answered = False  # there is a task that answers what is read past the parser
        self._idle_since = loop.time()
        self._has_asked = False
        self.is_busy = False
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the connection in, or turn it away while others keep working."""
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        if not self._server.admit(self):
            self._refused = True
            out = cast(asyncio.Transport, transport)
            out.write(_TURNED_AWAY)
            out.close()
            return
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection; a request under way goes on to its end."""
        if not self._refused:
            self._server.left(self)
        self._wake()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a request past the parser if it repeats one; else note when a head begins, and let aiohttp parse."""
        if self._refused:
            return
        if self._held is not None:
            self._hold(data)
            return
        if self._forms and self._fed == b"" and not self.is_busy and self._read_past_parser(data):
            return
        if self.is_busy:
            self._early_bytes = True
        elif self._head_since is None:
            self._head_since = self._loop.time()
        if self._fed is not None:
            self._fed = self._fed + data if len(self._fed) <= _HELD_BYTES_MAX else None
        super().data_received(data)

    def _read_past_parser(self, data: bytes) -> bool:
        """Whether `data` is one whole request in a form that this connection has sent before."""
        if self.transport is None or self.transport.is_closing():
            return False
        for form in self._forms:
            wire = form.read(data, self._settings.body_max_bytes)
            if wire is not None:
                self.request_began()
                self._held = bytearray()
                self._server.answer_read(wire, self)
                return True
        return False

    def hand_on(self, wire: WireRequest) -> bool:
        """Give a request to the task that answers what is read past the parser; False if it has yet to be begun."""
        self._read = wire
        was_answered, self._is_answered = self._is_answered, True
        self._wake()
        return was_answered

    async def next_read(self) -> WireRequest | None:
        """The next request that is read past the parser; None once the connection is gone."""
        if self._read is not None:
            await asyncio.sleep(0)  # it came early: whoever else waits for the loop has a turn in between
        elif self.transport is not None:
            self._awaiting = self._loop.create_future()
            try:
                await self._awaiting
            finally:
                self._awaiting = None
        wire, self._read = self._read, None
        return wire

    def _wake(self) -> None:
        if self._awaiting is not None and not self._awaiting.done():
            self._awaiting.set_result(None)

    def remember(self, wire: WireRequest, *, keep_alive: bool) -> None:
        """A whole request was parsed. If it is exactly what was fed, the parser stands between two requests."""
        fed, self._fed = self._fed, None
        if not fed:
            return
        head, _, body = fed.partition(b"\r\n\r\n")
        if body != wire.body or b"chunked" in head.lower():
            return
        self._fed = b""
        if keep_alive and len(self._forms) < _FORMS_KEPT:
            form = form_of(fed, wire)
            if form is not None:
                self._forms.append(form)

    def _hold(self, data: bytes) -> None:
        """Keep what a bot sends ahead of its answer: answers keep the order of their requests."""
        assert self._held is not None
        self._held += data
        if len(self._held) > _HELD_BYTES_MAX and self.transport is not None:
            self.transport.pause_reading()

    def go_on(self, *, close: bool) -> None:
        """The answer to a request read past the parser is out: take what came meanwhile, or end the connection."""
        held, self._held = self._held, None
        if self.transport is None:
            return
        if close:
            self.force_close()
            return
        if held:
            if len(held) > _HELD_BYTES_MAX:
                self.transport.resume_reading()
            self.data_received(bytes(held))

    def write_soon(self, piece: bytes) -> bool:
        """Have an answer written with those of others; False where it is to be written at once."""
        server = self._server
        if len(server.busy) < _CROWD or self.writing_paused:
            return False
        server.write_soon(self, piece)
        return True

    def force_close(self) -> None:
        """Close; answers that wait for the end of the round leave before that."""
        self._server.flush()
        super().force_close()

    async def drained(self) -> None:
        """Wait until the bot has taken enough of its answer."""
        await self._drain_helper()

    def pause_writing(self) -> None:
        """The bot does not take its answer: its time runs."""
        self._paused_since = self._loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The bot reads again."""
        self._paused_since = None
        super().resume_writing()

    def request_began(self) -> None:
        """A complete head was parsed."""
        self._has_asked = True
        self.is_busy = True
        self._server.busy.add(self)
        self._head_since = None
        self._early_bytes = False

    def request_ended(self) -> None:
        """The answer is out. Bytes that came early may be the beginning of the next head."""
        self.is_busy = False
        self._server.busy.discard(self)
        self._idle_since = self._loop.time()
        if self._early_bytes:
            self._head_since = self._idle_since

    def body_read(self) -> None:
        """Bytes up to here belonged to this request."""
        self._early_bytes = False

    def write_continue(self) -> None:
        """Tell a bot that asked first to go on with its body."""
        if self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""
        if not self.is_busy:
            self.force_close()

    def check(self, now: float) -> None:
        """Close the connection if it is over a deadline."""
        if self._head_since is not None and now - self._head_since > self._settings.head_timeout_s:
            self.force_close()
        elif self._paused_since is not None and now - self._paused_since > self._settings.write_timeout_s:
            transport = self.transport
            if transport is not None:
                transport.abort()
        elif not self.is_busy and self._head_since is None and now - self._idle_since > self._patience_s():
            self.force_close()

    def _patience_s(self) -> float:
        return self._settings.keep_alive_s if self._has_asked else self._settings.first_byte_timeout_s

    def handle_error(
        self,
        request: BaseRequest,  # noqa: ARG002 - aiohttp's interface
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's interface
    ) -> web.StreamResponse:
        """What the parser refuses gets a small JSON answer and loses its connection."""
        if status == 400:
            log.info("request.malformed", peer=self.peer, error=type(exc).__name__)
            return _refuse(400, "the request is not well-formed HTTP/1.1")
        log.error("request.failed", peer=self.peer, error=type(exc).__name__)
        return _refuse(503, "internal error; the request was not completed")


_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Content-Length: 53\r\nConnection: close\r\n\r\n"
    b'{"code":-1001,"msg":"risk gate: too many connections"}'
)


class _Server(web.Server):
    """aiohttp's low-level server, making watched connections and counting them."""

    def __init__(
        self,
        answer: Any,  # noqa: ANN401 - aiohttp's handler type
        answer_read: Callable[[WireRequest, _Door], None],
        settings: ServerSettings,
    ) -> None:
        super().__init__(answer, handler_cancellation=False)
        self.answer_read = answer_read
        self._door_settings = settings
        self._per_peer: dict[str, int] = {}
        self.doors: set[_Door] = set()
        self.busy: set[_Door] = set()
        self._answers: list[tuple[_Door, bytes]] = []

    def write_soon(self, door: _Door, piece: bytes) -> None:
        """Write an answer with the others of this round of the loop; the next answer of its connection comes later."""
        if not self._answers:
            self._loop.call_soon(self.flush)
        self._answers.append((door, piece))

    def flush(self) -> None:
        """Write the answers that wait."""
        answers, self._answers = self._answers, []
        for door, piece in answers:
            transport = door.transport
            if transport is None or transport.is_closing():
                continue  # the bot has gone
            try:
                transport.write(piece)
            except Exception as error:  # noqa: BLE001 - one answer ends here, and its connection; the others still leave
                log.error("answer.failed", peer=door.peer, error=type(error).__name__)
                transport.abort()

    def __call__(self) -> _Door:
        return _Door(self, self._door_settings, self._loop)

    def admit(self, door: _Door) -> bool:
        """Count a connection in, unless there are too many."""
        here = self._per_peer.get(door.peer, 0)
        if (
            len(self.doors) >= self._door_settings.connections_max
            or here >= self._door_settings.connections_per_peer_max
        ):
            return False
        self._per_peer[door.peer] = here + 1
        self.doors.add(door)
        return True

    def left(self, door: _Door) -> None:
        """Count a connection out."""
        if door not in self.doors:
            return
        self.doors.discard(door)
        here = self._per_peer.get(door.peer, 0) - 1
        if here > 0:
            self._per_peer[door.peer] = here
        else:
            self._per_peer.pop(door.peer, None)
