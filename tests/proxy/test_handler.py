"""The listener: what gets in, what is turned away, and what the bot sees."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy import handler
from proxy.errors import ConfigError
from proxy.handler import ProxyServer, ServerSettings, require_c_parser
from proxy.upstream import StreamedResponse
from proxy.wire import WireRequest, WireResponse
from tests.proxy.test_upstream import certificate, lane, serving, until
from tests.raw_venue import ACCEPTED, Exchange, RawVenue, Script

pytestmark = pytest.mark.both_loops

OK = WireResponse(200, ((b"Content-Type", b"application/json"),), b"{}")
HEAD = b"HTTP/1.1\r\nHost: h\r\n"

Answer = Callable[[WireRequest], Awaitable[WireResponse | StreamedResponse]]


class Pipeline:
    """Remembers requests; answers as told."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.requests: list[WireRequest] = []
        self.finished = 0
        self._answer = answer

    async def handle(self, request: WireRequest) -> WireResponse | StreamedResponse:
        """Answer one request."""
        self.requests.append(request)
        answer = await self._answer(request) if self._answer else OK
        self.finished += 1
        return answer


class Listening:
    """A started server, its pipeline, and raw connections to it."""

    def __init__(self, server: ProxyServer, pipeline: Pipeline, port: int) -> None:
        self.server = server
        self.pipeline = pipeline
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One raw connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        self._writers.append(writer)
        return reader, writer

    async def say(self, data: bytes, *, seconds: float = 3.0) -> bytes:
        """Send bytes on a new connection and read until it is closed."""
        reader, writer = await self.connect()
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(), seconds)
        except ConnectionError:
            return b""

    async def ask(self, data: bytes) -> bytes:
        """Send bytes on a new connection and read one answer with Content-Length."""
        reader, writer = await self.connect()
        writer.write(data)
        return await one_answer(reader)

    def close(self) -> None:
        """Break off what is open."""
        for writer in self._writers:
            writer.transport.abort()


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    """One answer framed by Content-Length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
    length = re.search(rb"Content-Length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


@asynccontextmanager
async def listening(
    answer: Answer | None = None, *, tls: ssl.SSLContext | None = None, **numbers: Any
) -> AsyncIterator[Listening]:
    """A server on a free port."""
    pipeline = Pipeline(answer)
    server = ProxyServer(pipeline, ServerSettings(**numbers))
    _, port = await server.start("127.0.0.1", 0, ssl=tls)
    one = Listening(server, pipeline, port)
    try:
        yield one
    finally:
        one.close()
        await server.stop(1)
        await asyncio.sleep(0.01)


def status(answer: bytes) -> int:
    """The status of an answer, 0 for none."""
    return int(answer.split(b" ")[1]) if answer else 0


# What the pipeline sees


@pytest.mark.parametrize(
    "target",
    [b"/fapi/v1/order?", b"/a?x=%2C%41", b"/a/%2e%2e/b", b"//a/../b", b"/a?%C3%A9=%ff&+", b"/a;b?c&&=", b"/?a=b?c"],
)
async def test_the_target_is_taken_as_bytes(target: bytes) -> None:
    """Nothing is decoded, resolved or re-quoted on the way in (A5)."""
    async with listening() as one:
        assert status(await one.ask(b"GET " + target + b" " + HEAD + b"\r\n")) == 200

        assert one.pipeline.requests[0].target == target


async def test_a_request_is_handed_over_as_it_came() -> None:
    """Method, headers in order and case, body, peer and host."""
    async with listening() as one:
        await one.ask(b"POST /o HTTP/1.1\r\nx-B: 1\r\nHOST: fapi.me\r\nX-a:  2 \r\nContent-Length: 3\r\n\r\na=1")

        assert one.pipeline.requests == [
            WireRequest(
                "POST",
                b"/o",
                ((b"x-B", b"1"), (b"HOST", b"fapi.me"), (b"X-a", b"2"), (b"Content-Length", b"3")),
                b"a=1",
                "127.0.0.1",
                b"fapi.me",
            )
        ]


async def test_a_chunked_body_is_joined() -> None:
    """The judged body is the decoded one, in one piece, even if it trickles."""
    async with listening() as one:
        reader, writer = await one.connect()
        head = b"POST /o " + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        for piece in (head, b"2\r\na=", b"\r\n1\r\n1\r\n", b"0\r\n\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert status(await one_answer(reader)) == 200

        assert one.pipeline.requests[0].body == b"a=1"


async def test_a_compressed_body_is_refused_and_never_inflated() -> None:
    """What is judged must be what was signed (A10)."""
    async with listening() as one:
        answer = await one.say(b"POST /o " + HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\na=1")

        assert (status(answer), one.pipeline.requests) == (415, [])


# What is turned away


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET / HTTP/1.0\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\nHost: h\r\n\r\n", 400),
        (b"GET / RTSP/1.0\r\nHost: h\r\n\r\n", 400),
        (b"DESCRIBE / RTSP/1.0\r\nHost: h\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 400),
        (b"GET /ws " + HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", 400),
        (b"GET / " + HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n", 400),
        (b"GET / " + HEAD + b"Upgrade: anything\r\n\r\n", 400),
        (b"GET http://evil/ " + HEAD + b"\r\n", 400),
        (b"OPTIONS * " + HEAD + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / " + HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / " + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / " + HEAD + b"Content-Length: +3\r\n\r\nabc", 400),
        (b"POST / " + HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / " + HEAD + b"Connection: X-MBX-APIKEY\r\nContent-Length: 0\r\n\r\n", 400),
        (b"POST / " + HEAD + b"Expect: other\r\nContent-Length: 0\r\n\r\n", 417),
        (b"GET / " + HEAD + b"X: a\0b\r\n\r\n", 400),
        (b"GET / " + HEAD + b"X : a\r\n\r\n", 400),
        (b"GET / " + HEAD + b"X: a\r\n folded\r\n\r\n", 400),
        (b"GET / " + HEAD + b"X: " + b"a" * 9000 + b"\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" " + HEAD + b"\r\n", 400),
        (b"GET / " + HEAD + b"X: a\r\n" * 200 + b"\r\n", 400),
        (b"GET /a?\xff " + HEAD + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
    ],
)
async def test_what_is_not_plain_http_1_1_is_refused_and_closed(request_: bytes, expected: int) -> None:
    """A small JSON answer, the end of the connection, and nothing reaches the pipeline (A8, T3, T4)."""
    async with listening() as one:
        answer = await one.say(request_)

        head, _, body = answer.partition(b"\r\n\r\n")
        assert status(answer) == expected
        assert b"Connection: close" in head
        assert orjson.loads(body)["code"] == -1100
        assert orjson.loads(body)["msg"].startswith("risk gate: ")
        assert one.pipeline.requests == []


@pytest.mark.parametrize("length", [65537, 10 * 1024**3, 10**30])
async def test_a_declared_size_is_checked_before_reading(length: int) -> None:
    """413 at once, without waiting for the bytes (A7, F26)."""
    async with listening() as one:
        reader, writer = await one.connect()
        writer.write(b"POST / " + HEAD + b"Content-Length: %d\r\n\r\n" % length)
        started = time.monotonic()

        assert status(await one_answer(reader)) in ((413,) if length < 10**20 else (400, 413))
        assert time.monotonic() - started < 2.5  # the body's own deadline is 5 s
        assert one.pipeline.requests == []


async def test_the_largest_body_passes_and_one_byte_more_does_not() -> None:
    """64 KiB is the limit, declared or chunked."""
    async with listening() as one:
        for size, expected in ((65536, 200), (65537, 413)):
            body = b"x" * size
            declared = await one.ask(b"POST / " + HEAD + b"Content-Length: %d\r\n\r\n" % size + body)
            chunked = await one.ask(
                b"POST / " + HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + body + b"\r\n0\r\n\r\n"
            )
            assert (status(declared), status(chunked)) == (expected, expected)
        assert [len(request.body) for request in one.pipeline.requests] == [65536, 65536]


async def test_a_bot_that_asks_first_is_told_to_continue() -> None:
    """Expect: 100-continue is answered, then the body is read."""
    async with listening() as one:
        reader, writer = await one.connect()
        writer.write(b"POST / " + HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"a=1")

        assert status(await one_answer(reader)) == 200
        assert one.pipeline.requests[0].body == b"a=1"


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=4),
    st.sampled_from([b"", b"POST /o ", b"POST /o " + HEAD]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_no_input_causes_a_server_error(pieces: list[bytes], prefix: bytes) -> None:
    """Noise is answered 4xx (or not at all), never with a failure of ours."""
    async with listening(head_timeout_s=0.01, body_timeout_s=0.01) as one:
        reader, writer = await one.connect()
        writer.write(prefix)
        for piece in pieces:
            writer.write(piece)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 3)
            assert status(answer) in (0, 200, 400, 408, 413, 415, 417)


# Deadlines and caps


async def test_a_slow_head_is_closed() -> None:
    """A head that trickles does not hold its connection past the deadline (A7, F27)."""
    async with listening(head_timeout_s=0.3) as one:
        reader, writer = await one.connect()
        started = time.monotonic()
        for byte in itertools.chain(b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ", itertools.repeat(ord("a"), 400)):
            if reader.at_eof() or writer.transport.is_closing():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.03)
        with contextlib.suppress(ConnectionResetError):  # so it ends where the last byte came too late to be read
            assert await asyncio.wait_for(reader.read(), 2) == b""

        assert 0.25 < time.monotonic() - started < 8  # the whole head takes 13 seconds
        assert one.pipeline.requests == []


async def test_a_slow_second_head_is_closed_too() -> None:
    """Also the head that began while the first request was being answered."""

    async def slow(request: WireRequest) -> WireResponse:
        await asyncio.sleep(0.1)
        return OK

    async with listening(slow, head_timeout_s=0.3) as one:
        reader, writer = await one.connect()
        writer.write(b"GET / " + HEAD + b"\r\n")
        await asyncio.sleep(0.03)
        writer.write(b"GET / HT")
        assert status(await one_answer(reader)) == 200
        started = time.monotonic()

        assert await asyncio.wait_for(reader.read(), 2) == b""
        assert time.monotonic() - started < 1.3


async def test_a_body_in_pieces_does_not_start_the_clock_of_the_next_head() -> None:
    """The bytes of a body are not the beginning of a head: the connection may idle afterwards."""

    async def slow(request: WireRequest) -> WireResponse:
        await asyncio.sleep(0.4)
        return OK

    async with listening(slow, head_timeout_s=0.1) as one:
        reader, writer = await one.connect()
        for _ in range(2):
            writer.write(b"POST / " + HEAD + b"Content-Length: 6\r\n\r\na")
            await asyncio.sleep(0.03)
            writer.write(b"=1")
            await asyncio.sleep(0.03)
            writer.write(b"234")
            assert status(await one_answer(reader)) == 200
            await asyncio.sleep(0.8)


async def test_a_slow_body_is_answered_408() -> None:
    """Half a body is not waited for, and never judged."""
    async with listening(body_timeout_s=0.2) as one:
        started = time.monotonic()
        answer = await one.say(b"POST / " + HEAD + b"Content-Length: 9\r\n\r\nabc")

        assert status(answer) == 408
        assert 0.15 < time.monotonic() - started < 2
        assert one.pipeline.requests == []


async def test_a_bot_that_does_not_read_is_let_go() -> None:
    """Past the write deadline its connection is broken off, and its answers with it (F27)."""
    large = WireResponse(200, (), b"x" * (8 << 20))

    async def answer(request: WireRequest) -> WireResponse:
        return large

    async with listening(answer, write_timeout_s=0.3) as one:
        _, writer = await asyncio.open_connection("127.0.0.1", one.port, limit=1024)
        writer.write((b"GET / " + HEAD + b"\r\n") * 20)
        await until(lambda: one.server.connections == 1)
        await until(lambda: one.server.connections == 0, seconds=3)

        assert len(one.pipeline.requests) < 20
        writer.transport.abort()


async def test_idle_connections_end() -> None:
    """A connection that never asks anything is closed soon, one that has asked after the keep-alive time."""
    async with listening(first_byte_timeout_s=0.2) as one:
        reader, _ = await one.connect()

        assert await asyncio.wait_for(reader.read(), 2) == b""

    async with listening(keep_alive_s=0.2) as one:
        reader, writer = await one.connect()
        writer.write(b"GET / " + HEAD + b"\r\n")

        assert await asyncio.wait_for(reader.read(), 2) != b""  # the answer, and then the end


async def test_connections_are_capped_per_peer_and_in_total() -> None:
    """Who is over the cap gets 503 and the end; those who are in keep working; places become free (F28)."""
    for numbers in ({"connections_max": 3}, {"connections_per_peer_max": 3}):
        async with listening(**numbers) as one:
            inside = [await one.connect() for _ in range(3)]
            await until(lambda: one.server.connections == 3)
            refused = await one.say(b"GET / " + HEAD + b"\r\n")
            assert status(refused) == 503
            assert orjson.loads(refused.partition(b"\r\n\r\n")[2])["code"] == -1001

            reader, writer = inside[0]
            writer.write(b"GET / " + HEAD + b"\r\n")
            assert status(await one_answer(reader)) == 200
            writer.close()
            await until(lambda: one.server.connections == 2)
            assert status(await one.ask(b"GET / " + HEAD + b"\r\n")) == 200


# Answers


async def test_an_answer_is_written_as_it_is() -> None:
    """Status, reason, fields in order, own length; nothing added."""

    async def answer(request: WireRequest) -> WireResponse:
        return WireResponse(418, ((b"x-b", b"1"), (b"X-A", b"2"), (b"x-b", b"3")), b"body", b"Teapot")

    async with listening(answer) as one:
        assert await one.ask(b"GET / " + HEAD + b"\r\n") == (
            b"HTTP/1.1 418 Teapot\r\nx-b: 1\r\nX-A: 2\r\nx-b: 3\r\nContent-Length: 4\r\n\r\nbody"
        )


@pytest.mark.parametrize(
    ("method", "code", "expected"),
    [
        (b"GET", 204, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", 304, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (b"HEAD", 200, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
    ],
)
async def test_answers_without_a_body(method: bytes, code: int, expected: bytes) -> None:
    """No body is written where none may follow, and the next answer begins at the right place."""

    async def answer(request: WireRequest) -> WireResponse:
        return WireResponse(code, (), b"body") if request.method == method.decode() else OK

    async with listening(answer) as one:
        reader, writer = await one.connect()
        writer.write(method + b" / " + HEAD + b"\r\n" + b"POST / " + HEAD + b"Content-Length: 0\r\n\r\n")

        assert await asyncio.wait_for(reader.readexactly(len(expected)), 2) == expected
        assert status(await one_answer(reader)) == 200


async def test_keep_alive_and_close() -> None:
    """A connection serves many requests until the bot says close."""
    async with listening() as one:
        reader, writer = await one.connect()
        for _ in range(5):
            writer.write(b"GET / " + HEAD + b"\r\n")
            assert b"Connection" not in await one_answer(reader)
        writer.write(b"GET / " + HEAD + b"Connection: close\r\n\r\n")

        assert b"Connection: close\r\n" in await one_answer(reader)
        assert await asyncio.wait_for(reader.read(), 1) == b""


async def test_pipelined_requests_are_judged_one_by_one_in_order() -> None:
    """Each gets its own evaluation and its own answer."""

    async def echo(request: WireRequest) -> WireResponse:
        await asyncio.sleep(0)
        return WireResponse(200, (), request.target)

    async with listening(echo) as one:
        reader, writer = await one.connect()
        writer.write(b"".join(b"POST /%d " % number + HEAD + b"Content-Length: 1\r\n\r\nx" for number in range(50)))

        answers = [await one_answer(reader) for _ in range(50)]
        assert [answer.rpartition(b"/")[2] for answer in answers] == [b"%d" % number for number in range(50)]


async def test_a_failure_of_ours_is_503_without_a_traceback() -> None:
    """The bot learns that it failed, not where; the connection goes on."""

    async def broken(request: WireRequest) -> WireResponse:
        raise RuntimeError("secret inside")

    async with listening(broken) as one:
        answer = await one.ask(b"POST / " + HEAD + b"Content-Length: 0\r\n\r\n")

        assert status(answer) == 503
        assert b"secret" not in answer
        assert b"Traceback" not in answer
        assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["code"] == -1001


async def test_a_bot_that_hangs_up_does_not_stop_its_order() -> None:
    """The send runs to its end and its outcome is known to the pipeline (A11, F30)."""

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await exchange.write(ACCEPTED)

    outcomes: list[int] = []
    async with RawVenue(slow) as venue, lane(venue.origin) as upstream:

        async def forward(request: WireRequest) -> WireResponse:
            response = await upstream.send("/fapi", request, tracked=True)
            outcomes.append(response.status)
            return response

        async with listening(forward) as one:
            for stage in range(8):
                _, writer = await one.connect()
                writer.write(b"POST /o " + HEAD + b"Content-Length: 3\r\n\r\na=1")
                await asyncio.sleep(0.01 * stage)
                if stage % 2:
                    writer.transport.abort()
                else:
                    writer.close()
            await until(lambda: len(outcomes) == len(venue.requests) >= 7)
            await until(lambda: one.server.in_flight == 0)
            assert set(outcomes) == {200}
            assert venue.connections <= len(venue.requests)


# Streams through both sides


@asynccontextmanager
async def streaming(answer: bytes | Script) -> AsyncIterator[tuple[RawVenue, Listening]]:
    """A server that passes reads on to a venue."""
    async with (
        RawVenue(answer) as venue,
        lane(venue.origin) as upstream,
        listening(lambda request: upstream.stream("/fapi", request)) as one,
    ):
        yield venue, one


@pytest.mark.parametrize(
    ("answer", "framing"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"x" * 600_000, b"Content-Length: 600000"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n927c0\r\n" + b"x" * 600_000 + b"\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked",
        ),
    ],
    ids=["length", "chunked"],
)
async def test_a_large_read_is_passed_on(answer: bytes, framing: bytes) -> None:
    """With the venue's length, or in chunks of our own; the connection stays usable."""
    async with streaming(answer) as (venue, one):
        reader, writer = await one.connect()
        for _ in range(2):
            writer.write(b"GET /depth " + HEAD + b"\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
            assert framing in head
            body = b""
            if b"chunked" in framing:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    body += await reader.readexactly(size)
                    assert await reader.readexactly(2) == b"\r\n"
                assert await reader.readexactly(2) == b"\r\n"
            else:
                body = await reader.readexactly(600_000)
            assert body == b"x" * 600_000
        assert venue.connections == 1


async def test_a_read_that_breaks_off_is_seen_to_be_broken() -> None:
    """The bot never takes half an answer for a whole one."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await asyncio.sleep(0.05)
        exchange.reset()

    async with streaming(script) as (_, one):
        answer = await one.say(b"GET /depth " + HEAD + b"\r\n")

        assert not answer.endswith(b"0\r\n\r\n")


# Stopping, TLS, start


async def test_stop_lets_requests_finish_and_takes_no_new_ones() -> None:
    """In flight: answered, with Connection: close. New: not accepted. Idle: closed (F22)."""

    async def slow(request: WireRequest) -> WireResponse:
        await asyncio.sleep(0.2)
        return OK

    async with listening(slow) as one:
        idle, _ = await one.connect()
        reader, writer = await one.connect()
        writer.write(b"POST / " + HEAD + b"Content-Length: 0\r\n\r\n")
        await until(lambda: one.server.in_flight == 1)
        stopping = asyncio.ensure_future(one.server.stop(2))
        answer = await one_answer(reader)

        assert status(answer) == 200
        assert b"Connection: close" in answer
        assert await stopping == 0
        assert await asyncio.wait_for(idle.read(), 1) == b""
        with pytest.raises(ConnectionError):
            await one.connect()


async def test_stop_counts_what_it_could_not_wait_for() -> None:
    """Past the drain timeout it ends all the same and says how many were cut off."""

    async def stuck(request: WireRequest) -> WireResponse:
        await asyncio.sleep(30)
        return OK

    async with listening(stuck) as one:
        _, writer = await one.connect()
        writer.write(b"POST / " + HEAD + b"Content-Length: 0\r\n\r\n")
        await until(lambda: one.server.in_flight == 1)
        started = time.monotonic()

        assert await one.server.stop(0.1) == 1
        assert time.monotonic() - started < 1


async def test_the_listener_speaks_tls(tmp_path: Path) -> None:
    """With a context it serves https."""
    file = certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(file))
    async with listening(tls=serving(file)) as one:
        reader, writer = await one.connect(ssl=context, server_hostname="localhost")
        writer.write(b"POST / " + HEAD + b"Content-Length: 3\r\n\r\na=1")

        assert status(await one_answer(reader)) == 200
        assert one.pipeline.requests[0].body == b"a=1"


def test_the_start_is_refused_on_the_other_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pure-Python parser reads some requests differently (A9)."""
    from aiohttp.http_parser import HttpRequestParserPy

    require_c_parser()
    monkeypatch.setattr(handler, "HttpRequestParser", HttpRequestParserPy)
    with pytest.raises(ConfigError, match="expected its C parser"):
        ProxyServer(Pipeline())


@pytest.mark.parametrize(("version", "fits"), [("3.14.4", False), ("3.9.5", False), ("3.14.5", True), ("4.0.0", True)])
def test_the_start_is_refused_on_an_old_version(version: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions have published holes (A18)."""
    monkeypatch.setattr(handler, "aiohttp_version", version)
    with contextlib.nullcontext() if fits else pytest.raises(ConfigError, match=r"3\.14\.5"):
        require_c_parser()


# -- many at a time: answers leave together


async def crowd_of(listening_at: Listening, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """So many connections of which one head each was parsed: what repeats it is read past the parser."""
    bots = [await listening_at.connect() for _ in range(count)]
    for reader, writer in bots:
        writer.write(b"GET /first " + HEAD + b"\r\n")
        await one_answer(reader)
    return bots


@asynccontextmanager
async def waiting_crowd(count: int) -> AsyncIterator[tuple[Listening, list[Any], asyncio.Event]]:
    """A crowd that is answered in one round of the loop, as soon as the event is set."""
    go = asyncio.Event()

    async def together(request: WireRequest) -> WireResponse:
        if request.target != b"/first":
            await go.wait()
        return OK

    async with listening(together) as one:
        bots = await crowd_of(one, count)
        for _, writer in bots:
            writer.write(b"GET /held " + HEAD + b"\r\n")
        await until(lambda: one.server.in_flight == count)
        yield one, bots, go


async def test_each_of_a_crowd_gets_its_own_answers_in_order():
    """Forty connections, each with three requests on the way at once; every other answer comes at once."""

    async def echo(request: WireRequest) -> WireResponse:
        if request.target.endswith(b"1"):
            await asyncio.sleep(0)
        return WireResponse(200, (), request.target)

    async with listening(echo) as one:
        bots = await crowd_of(one, 40)
        for round_of in range(5):
            for number, (_, writer) in enumerate(bots):
                asked = [b"GET /%d-%d-%d " % (number, round_of, part) + HEAD + b"\r\n" for part in range(3)]
                writer.write(b"".join(asked))
            for number, (reader, _) in enumerate(bots):
                for part in range(3):
                    assert (await one_answer(reader)).endswith(b"\r\n\r\n/%d-%d-%d" % (number, round_of, part))


async def test_a_stop_in_the_round_in_which_a_crowd_is_answered_loses_no_answer(monkeypatch):
    """What is decided is written before its connection is closed: a bot that is told nothing must think the worst."""
    stopping: list[asyncio.Task[int]] = []
    async with waiting_crowd(40) as (one, bots, go):
        together_written = handler._Server.write_soon
        written = []

        def and_stop(server, door, piece) -> None:
            together_written(server, door, piece)
            written.append(door)
            if len(written) == 20:  # in the same step, before anything of the crowd is written
                stopping.append(asyncio.ensure_future(one.server.stop(1)))
                door.force_close()

        monkeypatch.setattr(handler._Server, "write_soon", and_stop)
        go.set()
        answers = [await one_answer(reader) for reader, _ in bots]
        assert all(answer.startswith(b"HTTP/1.1 200 OK\r\n") for answer in answers)
        assert len(written) >= 20
        assert await stopping[0] == 0


async def test_a_bot_of_a_crowd_that_has_gone_keeps_no_answer_from_the_others():
    """Its own is nobody's any more."""
    async with waiting_crowd(40) as (one, bots, go):
        for _, writer in bots[::2]:
            writer.transport.abort()
        await until(lambda: one.server.connections == 20)
        go.set()
        for reader, _ in bots[1::2]:
            assert (await one_answer(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        await until(lambda: one.server.in_flight == 0)


async def test_an_answer_that_cannot_be_written_keeps_no_other_from_leaving(monkeypatch):
    """Its connection ends, and is told; whoever comes after it in the same round gets theirs."""
    async with waiting_crowd(20) as (one, bots, go):
        first = bots[0][1].get_extra_info("sockname")
        [broken] = [door for door in one.server._server.busy if door.transport.get_extra_info("peername") == first]

        class Broken:
            def __getattr__(self, name):
                return getattr(transport, name)

            def write(self, _piece):
                raise RuntimeError("unable to perform operation")

        transport, broken.transport = broken.transport, Broken()
        with structlog.testing.capture_logs() as lines:
            go.set()
            answers = await asyncio.gather(*(one_answer(reader) for reader, _ in bots), return_exceptions=True)
        whole = [found for found in answers if isinstance(found, bytes) and found.startswith(b"HTTP/1.1 200 OK")]
        assert len(whole) == 19
        assert [line["event"] for line in lines] == ["answer.failed"]
