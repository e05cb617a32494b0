"""One connection to a venue: one request at a time, its bytes written once, its answer read strictly.

Answers are parsed by llhttp (httptools) in its strict mode. Whatever is not one well-formed answer
to the one request that is out ends the connection, and the request's outcome is unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import re
import select
import socket
import struct
import termios
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Protocol, cast

import httptools

from proxy.errors import UpstreamSilent
from proxy.upstream.framing import CONNECTION, LENGTH, PASSES, classify, connection_options
from proxy.upstream.settings import RESPONSE_HEAD_MAX_BYTES, UpstreamSettings
from proxy.wire import Headers, WireResponse

_LINGER_NONE: Final = struct.pack("ii", 1, 0)  # close by reset: what the kernel still holds is dropped
_INTERIM_MAX: Final = 8  # 1xx answers before the real one
_STREAM_BUFFER_BYTES: Final = 256 * 1024
_STREAM_STALL_S: Final = 30.0  # a reader that takes nothing for so long loses its connection
_IDLE_CHECK_S: Final = 0.02  # idle for longer: ask the kernel whether the peer has hung up meanwhile
_NEWS: Final = select.POLLIN | select.POLLERR | select.POLLHUP | getattr(select, "POLLRDHUP", 0)
# `in` on bytes raises and swallows a TypeError first, and costs more than this.
_BREAK: Final = re.compile(rb"[\r\n\0]")
_PLAIN_OPTIONS: Final = frozenset({b"close", b"keep-alive"})


@dataclass(slots=True, init=False, eq=False)
class TimedResponse(WireResponse):
    """A venue's answer with the moments of its journey, in the event loop's seconds; they do not make it another."""

    sent_at: Final[float]
    first_byte_at: Final[float]
    completed_at: Final[float]

    def __init__(
        self,
        status: int,
        headers: Headers,
        body: bytes,
        reason: bytes = b"",
        sent_at: float = 0.0,
        first_byte_at: float = 0.0,
        completed_at: float = 0.0,
    ) -> None:
        WireResponse.__init__(self, status, headers, body, reason)
        self.sent_at = sent_at
        self.first_byte_at = first_byte_at
        self.completed_at = completed_at


class StreamedResponse:
    """An answer whose head is known and whose body comes in pieces, as fast as they are taken.

    Iterate over it, or call `read` until it returns `b""`; then, in any case, `close`.
    `content_length` is what the venue declared, or None.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_ended",
        "_error",
        "_waiter",
        "buffered",
        "content_length",
        "headers",
        "reason",
        "status",
    )

    def __init__(
        self,
        status: int,
        headers: tuple[tuple[bytes, bytes], ...],
        reason: bytes = b"",
        content_length: int | None = None,
        connection: Connection | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.reason = reason
        self.content_length = content_length
        self.buffered = 0
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._error: UpstreamSilent | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> StreamedResponse:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    @property
    def at_end(self) -> bool:
        """Whether the whole body has arrived (it may still have to be read)."""
        return self._ended and self._error is None

    def read_nowait(self) -> bytes:
        """Everything that has arrived and was not read yet; `b""` if nothing has."""
        taken = b"".join(self._chunks)
        self._chunks.clear()
        self.buffered = 0
        if taken and self._connection is not None:
            self._connection.body_taken()
        return taken

    async def read(self) -> bytes:
        """The next piece; `b""` at the end. Raises UpstreamSilent if the venue broke off."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.read_nowait()

    def close(self) -> None:
        """Let go of it; an unfinished body costs the connection."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._ended:
            connection.abandon(self)
        self._chunks.clear()

    def feed(self, chunk: bytes) -> None:
        """Take a piece from the connection."""
        self._chunks.append(chunk)
        self.buffered += len(chunk)
        self._wake()

    def end(self, error: UpstreamSilent | None = None) -> None:
        """The connection has nothing more to give."""
        self._ended = True
        self._error = error
        self._connection = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Keeper(Protocol):
    """Who owns connections and is told what becomes of them."""

    def released(self, connection: Connection) -> None:
        """The answer is complete and the connection can take another request."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        ...


class _Unusable(Exception):
    """The answer breaks a bound or a rule of framing."""


class Connection(asyncio.Protocol):
    """One socket. `ask` writes a request and returns the future of its answer."""

    __slots__ = (
        "_body",
        "_body_size",
        "_body_timed",
        "_busy",
        "_closing",
        "_complete",
        "_content_length",
        "_deadline",
        "_first_byte_at",
        "_framed",
        "_gone",
        "_head_complete",
        "_head_only",
        "_headers",
        "_interim",
        "_keeper",
        "_loop",
        "_options",
        "_parser",
        "_paused",
        "_poll",
        "_raw",
        "_reason",
        "_received_head",
        "_reusable",
        "_rings_at",
        "_sent_at",
        "_settings",
        "_status",
        "_stream",
        "_streamed",
        "_timer",
        "_total_deadline",
        "_transport",
        "answer",
        "idle_since",
        "is_lost",
        "label",
        "sequence",
        "tracked",
    )

    _parser: httptools.HttpResponseParser
    _stream: StreamedResponse | None
    _streamed: bool
    _head_only: bool
    _status: int
    _reason: bytes
    _headers: list[tuple[bytes, bytes]]
    _options: frozenset[bytes]
    _content_length: int | None
    _framed: bool
    _body: list[bytes]
    _body_size: int
    _received_head: int
    _interim: int
    _body_timed: bool
    _head_complete: bool
    _complete: bool
    _reusable: bool
    _paused: bool
    _sent_at: float
    _first_byte_at: float
    _total_deadline: float

    def __init__(
        self,
        keeper: Keeper,
        settings: UpstreamSettings,
        loop: asyncio.AbstractEventLoop,
        label: str,
    ) -> None:
        self._keeper = keeper
        self._settings = settings
        self._loop = loop
        self.label = label
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None
        self._poll: select.poll | None = None  # of the socket, which is its own as long as it is open
        self._busy = False
        self._closing = False
        self._timer: asyncio.Handle | None = None
        self._rings_at = inf  # when the timer does; uvloop's handle of a timer that is due cannot tell
        self._deadline = inf
        self._gone: asyncio.Future[None] | None = None
        self.is_lost = False
        self.sequence = 0
        self.tracked = False  # an order is out, or was when the connection broke
        self.idle_since = loop.time()
        self.answer: asyncio.Future[TimedResponse | StreamedResponse] | None = None
        # One parser for all answers: only a connection whose last answer ended well is asked again.
        self._parser = httptools.HttpResponseParser(self)
        self._reset(streamed=False, head_only=False)

    # What the pool and the lane call

    @property
    def is_busy(self) -> bool:
        """Whether a request is out."""
        return self._busy

    def secured(self, transport: asyncio.Transport) -> None:
        """From now on speak through TLS; the plain transport below stays known for its buffer."""
        self._transport = transport

    def is_usable(self) -> bool:
        """Whether a request may be written now: open, idle, and nothing came unasked."""
        if self._closing or self._busy or self._transport is None or self._transport.is_closing():
            return False
        return self._loop.time() - self.idle_since < _IDLE_CHECK_S or not self._kernel_has_news()

    def ask(
        self, request: bytes, *, tracked: bool = False, streamed: bool = False, head_only: bool = False
    ) -> asyncio.Future[Any]:
        """Write a request, all of it, once. From here on its outcome is unknown until it answers.

        The answer is a `StreamedResponse` if that was asked for, else a `TimedResponse`.
        """
        if self._transport is None or self._busy:
            raise RuntimeError("a connection takes one request at a time")
        self.sequence += 1
        self._busy = True
        self.tracked = tracked
        self._reset(streamed=streamed, head_only=head_only)
        self.answer = answer = self._loop.create_future()
        now = self._loop.time()
        self._total_deadline = inf if streamed else now + self._settings.total_timeout_s
        self._set_deadline(min(now + self._settings.head_timeout_s, self._total_deadline))
        self._sent_at = now
        self._transport.write(request)
        return answer

    def unsent_bytes(self) -> int:
        """Bytes that have not reached the peer's machine: in TLS, in the transport, in the kernel."""
        if self.is_lost or self._raw is None or self._transport is None:
            return 0
        waiting = self._raw.get_write_buffer_size()
        if self._transport is not self._raw:
            waiting += self._transport.get_write_buffer_size()
        return waiting or self._kernel_unsent()

    def abort(self) -> None:
        """Close at once. With a request out, by reset: bytes that have not left must not leave later."""
        if self._closing:
            return
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._raw is None or self._transport is None:
            return
        if self._busy or self._raw.get_write_buffer_size():
            sock = self._raw.get_extra_info("socket")
            # Without a socket, or with a closed one, it is gone already, and with it the bytes. uvloop has none
            # between closing it and telling us, which under TLS is a step later.
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._transport.abort()

    def drop(self, why: str, sequence: int | None = None) -> None:
        """Give up on the request that is out (on that one only, if its number is given)."""
        if sequence is None or (self._busy and self.sequence == sequence):
            self._fail(UpstreamSilent(f"{self.label}: {why}"))

    async def gone(self) -> None:
        """Return once the socket is closed; call after `abort` or `drop`."""
        if not self.is_lost:
            self._gone = self._gone or self._loop.create_future()
            await asyncio.shield(self._gone)

    def abandon(self, stream: StreamedResponse) -> None:
        """The reader of this stream has gone."""
        if self._stream is stream:
            self._stream = None
            self.abort()

    def body_taken(self) -> None:
        """The reader has emptied the buffer: let more in."""
        if self._paused and self._transport is not None and not self._closing:
            self._paused = False
            self._set_deadline(self._loop.time() + self._settings.body_timeout_s)
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._raw = self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; anything unasked ends the connection."""
        if self._closing:
            return
        if not self._busy:
            self.abort()
            return
        now = self._loop.time()
        if not self._first_byte_at:
            self._first_byte_at = now
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                cause = error.__context__
                found = str(cause) if isinstance(cause, _Unusable) else f"malformed answer ({type(error).__name__})"
                self.drop(found)
                return
            self._reusable = False  # the answer stands; what follows it is not ours
        if self._complete:
            self._finish(now)
        elif not self._head_complete:
            self._received_head += len(data)
            if self._received_head > RESPONSE_HEAD_MAX_BYTES:
                self.drop(f"answer head over {RESPONSE_HEAD_MAX_BYTES} bytes")
        elif self._stream is not None:
            self._hold_back()
        elif not self._body_timed:
            self._body_timed = True
            self._set_deadline(min(now + self._settings.body_timeout_s, self._total_deadline))

    def eof_received(self) -> bool:
        """The peer has finished speaking: the end of an unframed body, otherwise of everything."""
        if self._busy and self._ends_with_connection():
            self._reusable = False
            self._finish(self._loop.time())
        elif self._busy:
            self.drop("closed the connection before its answer was complete")
        else:
            self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle what is open and tell the keeper."""
        self.is_lost = True
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._busy:
            if exc is None and self._ends_with_connection():
                self._reusable = False
                self._finish(self._loop.time())
            else:
                self.drop(f"connection lost ({type(exc).__name__ if exc else 'closed'})")
        self._keeper.lost(self)
        if self._gone is not None:
            self._gone.set_result(None)  # seen one step later, when the socket is closed

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A second answer where one was asked for."""
        if self._complete:
            self._reusable = False
            raise _Unusable("more than one answer")

    def on_status(self, reason: bytes) -> None:
        """The reason phrase, perhaps in pieces."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field; trailers (after the head) are dropped."""
        if self._head_complete:
            return
        self._received_head += len(name) + len(value) + 4
        if self._received_head > RESPONSE_HEAD_MAX_BYTES:
            raise _Unusable(f"answer head over {RESPONSE_HEAD_MAX_BYTES} bytes")
        self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is known: decide the framing, and hand it out if the body is streamed."""
        parser = self._parser
        status = parser.get_status_code()
        if parser.get_http_version() not in ("1.1", "1.0"):
            raise _Unusable("not HTTP/1.1")
        if _BREAK.search(b"".join([value for _, value in self._headers])) is not None:
            raise _Unusable("folded header")
        if status < 200:
            self._interim += 1
            if status == 101 or status < 100 or self._interim > _INTERIM_MAX:
                raise _Unusable("unexpected interim answer")
            return
        self._status = status
        self._head_complete = True
        self._reusable = parser.should_keep_alive()
        self._headers = self._crossing()
        if self._head_only:
            # llhttp cannot be told that no body follows; the connection is not used again.
            self._complete = True
            self._reusable = False
        if self._streamed:
            self._stream = StreamedResponse(
                status, tuple(self._headers), self._reason, self._content_length, self
            )
            self._settle(self._stream)

    def on_body(self, chunk: bytes) -> None:
        """A piece of the body, transfer coding undone, content coding untouched."""
        if self._head_only:
            return
        if self._streamed:
            if self._stream is not None:
                self._stream.feed(chunk)
            return
        self._body_size += len(chunk)
        if self._body_size > self._settings.response_max_bytes:
            raise _Unusable(f"answer over {self._settings.response_max_bytes} bytes")
        self._body.append(chunk)

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        if self._head_complete:
            self._complete = True
        else:
            self._headers = []
            self._reason = b""

    # Inside

    def _reset(self, *, streamed: bool, head_only: bool) -> None:
        self._streamed = streamed
        self._head_only = head_only
        self._stream = None
        self._status = 0
        self._reason = b""
        self._headers = []
        self._options = frozenset()
        self._content_length = None
        self._framed = False
        self._body = []
        self._body_size = 0
        self._received_head = 0
        self._interim = 0
        self._body_timed = False
        self._head_complete = False
        self._complete = False
        self._reusable = False
        self._paused = False
        self._sent_at = 0.0
        self._first_byte_at = 0.0
        self._total_deadline = inf

    def _crossing(self) -> list[tuple[bytes, bytes]]:
        """The fields that reach the bot; notes the framing on the way."""
        crossing = []
        for name, value in self._headers:
            kind = classify(name)
            if kind is PASSES:
                crossing.append((name, value))
            elif kind is LENGTH:
                self._content_length = int(value)
                self._framed = True
            elif kind is CONNECTION:
                self._options = connection_options(tuple(self._headers))
            elif (lower := name.lower()) == b"transfer-encoding":
                if value.lower() != b"chunked" or self._framed:
                    raise _Unusable("transfer coding other than chunked")
                self._framed = True
            elif lower == b"via":
                crossing.append((name, value))
        if self._options - _PLAIN_OPTIONS:
            crossing = [item for item in crossing if item[0].lower() not in self._options]
        return crossing

    def _ends_with_connection(self) -> bool:
        """Whether the end of the connection is the proper end of this answer."""
        return self._head_complete and not self._framed

    def _finish(self, now: float) -> None:
        """The answer is complete: hand it out and give the connection back, or close it."""
        self._busy = False
        self.idle_since = now
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.end()
        elif not self._streamed:
            body = self._body
            self._settle(
                TimedResponse(
                    self._status,
                    tuple(self._headers),
                    body[0] if len(body) == 1 else b"".join(body),
                    self._reason,
                    self._sent_at,
                    self._first_byte_at,
                    now,
                )
            )
        if self._paused and self._transport is not None and not self._closing:
            self._paused = False
            self._transport.resume_reading()
        if self._raw is not None and self._raw.get_write_buffer_size():
            # An answer that came before all of the request had left: the rest must never leave. Until the socket
            # is closed it still could (uvloop keeps it that long), so whoever halts goes on waiting for it.
            self.abort()
            return
        self.tracked = False
        if self._reusable and not self._closing:
            self._keeper.released(self)
        else:
            self.abort()

    def _settle(self, answer: TimedResponse | StreamedResponse) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(answer)

    def _fail(self, error: UpstreamSilent) -> None:
        """The outcome is unknown; the connection is of no further use."""
        if not self._busy:
            self.abort()
            return
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)
        elif self._stream is not None:
            self._stream.end(error)
        self._stream = None
        self.abort()  # while still busy: by reset
        self._busy = False

    def _hold_back(self) -> None:
        """Stop reading from the venue while the bot does not keep up."""
        if self._stream is None or self._transport is None or self._paused:
            return
        if self._stream.buffered > _STREAM_BUFFER_BYTES:
            self._paused = True
            self._transport.pause_reading()
            self._set_deadline(self._loop.time() + _STREAM_STALL_S)
        else:
            self._set_deadline(self._loop.time() + self._settings.body_timeout_s)

    def _set_deadline(self, deadline: float) -> None:
        """Move the deadline; the timer is only touched if it would ring too late."""
        self._deadline = deadline
        timer = self._timer
        if timer is not None:
            if self._rings_at <= deadline:
                return
            timer.cancel()
        self._rings_at = deadline
        self._timer = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if not self._busy or self._closing:
            return
        if self._loop.time() < self._deadline:
            self._rings_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._ring)
            return
        self.drop("no complete answer in time" if self._head_complete else "no answer in time")

    def _kernel_has_news(self) -> bool:
        """Whether data or the peer's goodbye wait in the kernel, not yet seen by the event loop."""
        if self._raw is None:
            return True
        try:
            poll = self._poll
            if poll is None:
                sock = self._raw.get_extra_info("socket")
                if sock is None:
                    return True
                poll = select.poll()
                poll.register(sock.fileno(), _NEWS)
                self._poll = poll
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    def _kernel_unsent(self) -> int:
        """Bytes in the kernel's send queue that the peer's machine has not confirmed (Linux)."""
        sock = None if self._raw is None else self._raw.get_extra_info("socket")
        if sock is None:
            return 0
        try:
            answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except (OSError, ValueError):
            return 0  # closed meanwhile, or a system that cannot tell
        return int(struct.unpack("i", answer)[0])
