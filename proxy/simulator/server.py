"""HTTP on a socket this module owns, so that it can also be broken on purpose.

An `asyncio.Protocol` around the httptools request parser: raw target, raw headers, raw body.
Requests of one connection are answered one after the other.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools

from proxy.simulator.faults import Fault, Faults
from proxy.simulator.received import Received

GARBAGE = b"\x00\x01\x02 this is not HTTP \xff\xfe\r\n\r\n"
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Reply:
    """An answer before it is bytes; `extra` are whole header lines."""

    status: int
    body: bytes
    extra: bytes = b""
    content_type: bytes = b"application/json;charset=UTF-8"

    def encode(self, *, keep_alive: bool = True) -> bytes:
        """The bytes for the wire."""
        return b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s%s\r\n%s" % (
            self.status,
            _REASONS.get(self.status, b"Unknown"),
            self.content_type,
            len(self.body),
            self.extra,
            b"" if keep_alive else b"Connection: close\r\n",
            self.body,
        )


class Service(Protocol):
    """What a connection needs from the exchange behind it."""

    faults: Faults

    def arrived(
        self, method: str, target: bytes, headers: tuple[tuple[bytes, bytes], ...], body: bytes, connection: int,
        *, complete: bool, fault: str | None,
    ) -> Received:
        """Record a request."""
        ...

    def execute(self, received: Received) -> Reply:
        """Carry it out."""
        ...

    def answered(self, received: Received) -> None:
        """Called before the answer of a request is written."""
        ...

    def malformed(self, data: bytes) -> None:
        """Record bytes that are no HTTP request."""
        ...

    def incomplete(self, received: Received) -> None:
        """Record a request whose connection ended inside it."""
        ...

    def opened(self, connection: Connection) -> int:
        """A connection was accepted; answers its number."""
        ...

    def closed(self, connection: Connection) -> None:
        """A connection has ended."""
        ...

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run something in the background."""
        ...


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[tuple[Received, bool]] = deque()
        self._busy = False
        self._number = 0
        self._start()

    def _start(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""
        self._in_request = False

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept, unless told not to."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is one without being a subclass
        self._transport = transport
        self._number = self._service.opened(self)
        if self._service.faults and (fault := self._service.faults.take_on_connect()) is not None:
            self.reset() if fault.executes else transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and record what it did not finish."""
        del exc
        if self._in_request:
            self._service.incomplete(self._received(complete=False, fault=None, recorded=False))
        self._transport = None
        self._parser = None
        self._service.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse; what is not HTTP/1.1 is refused and recorded."""
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close()
        except httptools.HttpParserError:
            self._service.malformed(data)
            self._in_request = False
            self._write(Reply(400, b"<html><h2>400 Bad Request</h2></html>", content_type=b"text/html"), last=True)

    # Called by the parser

    def on_message_begin(self) -> None:
        """A new request starts."""
        self._start()
        self._in_request = True

    def on_url(self, part: bytes) -> None:
        """A piece of the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, as it was written."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there: the first place where a fault may strike."""
        if self._service.faults:
            method = self._parser.get_method().decode("latin-1")
            path = self._target.partition(b"?")[0].decode("latin-1")
            if self._service.faults.take_at_head(method, path) is not None:
                self._received(complete=False, fault="drop_before_read", recorded=True)
                self._in_request = False
                self.close()

    def on_body(self, part: bytes) -> None:
        """A piece of the body."""
        self._body = part if not self._body else self._body + part

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._in_request:
            return
        self._in_request = False
        fault = None
        if self._service.faults:
            method = self._parser.get_method().decode("latin-1")
            fault = self._service.faults.take(method, self._target.partition(b"?")[0].decode("latin-1"))
        received = self._received(complete=True, fault=fault.kind if fault is not None else None, recorded=True)
        keep_alive = self._parser.should_keep_alive()
        if fault is None and not self._busy:
            self._answer(received, keep_alive=keep_alive)
        elif fault is None:
            self._queue.append((received, keep_alive))
        else:
            self._busy = True
            self._service.spawn(self._misbehave(received, fault), "simulator.fault")

    # Answering

    def _received(self, *, complete: bool, fault: str | None, recorded: bool) -> Received:
        method = self._parser.get_method().decode("latin-1")
        if not recorded:
            return Received(0, 0, method, self._target, tuple(self._headers), bytes(self._body), is_order=False,
                            connection=self._number, complete=False)
        return self._service.arrived(
            method, self._target, tuple(self._headers), bytes(self._body), self._number, complete=complete,
            fault=fault,
        )

    def _answer(self, received: Received, *, keep_alive: bool) -> None:
        reply = self._service.execute(received)
        self._service.answered(received)
        self._write(reply, last=not keep_alive)

    def _write(self, reply: Reply, *, last: bool = False) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(reply.encode(keep_alive=not last))
        if last:
            self._transport.close()

    def _write_raw(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """End the connection in the ordinary way."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        if self._transport is None:
            return
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    async def _misbehave(self, received: Received, fault: Fault) -> None:
        reply = self._service.execute(received) if fault.is_executed else None
        self._service.answered(received)
        if fault.latency_s and fault.kind != "slow_answer":
            await asyncio.sleep(fault.latency_s)
        go_on = await _DEEDS[fault.kind](self, fault, reply)
        if not go_on:
            return
        self._busy = False
        while self._queue and not self._busy:
            waiting, keep_alive = self._queue.popleft()
            self._answer(waiting, keep_alive=keep_alive)

    async def _latency(self, fault: Fault, reply: Reply | None) -> bool:
        del fault
        assert reply is not None
        self._write(reply)
        return True

    async def _drop(self, fault: Fault, reply: Reply | None) -> bool:
        del fault, reply
        self.close()
        return False

    async def _reset(self, fault: Fault, reply: Reply | None) -> bool:
        del fault, reply
        self.reset()
        return False

    async def _drop_mid_answer(self, fault: Fault, reply: Reply | None) -> bool:
        del fault
        answer = (reply or Reply(200, b"{}")).encode()
        self._write_raw(answer[: len(answer) // 2])
        self.close()
        return False

    async def _status(self, fault: Fault, reply: Reply | None) -> bool:
        del reply
        body = fault.body.encode() if isinstance(fault.body, str) else fault.body
        extra = b"".join(f"{name}: {value}\r\n".encode() for name, value in fault.headers.items())
        kind = b"application/json;charset=UTF-8" if body[:1] in (b"{", b"[") else b"text/html"
        self._write(Reply(fault.status, body, extra, kind))
        return True

    async def _redirect(self, fault: Fault, reply: Reply | None) -> bool:
        del reply
        headers = fault.headers or {"Location": "http://127.0.0.1:9/elsewhere"}
        extra = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        self._write(Reply(307, b"", extra))
        return True

    async def _garbage(self, fault: Fault, reply: Reply | None) -> bool:
        del reply
        body = fault.body.encode() if isinstance(fault.body, str) else fault.body
        self._write_raw(body or GARBAGE)
        self.close()
        return False

    async def _truncated(self, fault: Fault, reply: Reply | None) -> bool:
        del fault
        answer = (reply or Reply(200, b"{}")).encode()
        self._write_raw(answer[:-1])
        self.close()
        return False

    async def _oversized(self, fault: Fault, reply: Reply | None) -> bool:
        found = reply or Reply(200, b"{}")
        # Trailing spaces keep it valid JSON: only its size is wrong.
        self._write(Reply(found.status, found.body.ljust(fault.size), found.extra))
        return True

    async def _slow_answer(self, fault: Fault, reply: Reply | None) -> bool:
        answer = (reply or Reply(200, b"{}")).encode()
        for start in range(0, len(answer), fault.piece_bytes):
            self._write_raw(answer[start : start + fault.piece_bytes])
            await asyncio.sleep(fault.latency_s)
        return True

    async def _never_answer(self, fault: Fault, reply: Reply | None) -> bool:
        del fault, reply
        return False


_DEEDS: dict[str, Callable[[Connection, Fault, Reply | None], Any]] = {
    "latency": Connection._latency,
    "drop_before_accept": Connection._drop,
    "drop_after_accept": Connection._drop,
    "drop_mid_answer": Connection._drop_mid_answer,
    "reset": Connection._reset,
    "status": Connection._status,
    "redirect": Connection._redirect,
    "garbage": Connection._garbage,
    "truncated": Connection._truncated,
    "oversized": Connection._oversized,
    "slow_answer": Connection._slow_answer,
    "never_answer": Connection._never_answer,
}
