"""The lane: what leaves, what comes back, what is never done."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import (
    ConfigError,
    LastLookRefused,
    OrderNotUnderstood,
    UpstreamSilent,
    UpstreamUnreachable,
)
from proxy.tasks import Tasks
from proxy.upstream import Origin, StreamedResponse, Upstream, UpstreamSettings
from proxy.upstream.connection import Connection, TimedResponse
from proxy.upstream.framing import request_bytes
from proxy.upstream.pool import Pool
from proxy.wire import WireRequest
from tests.raw_venue import ACCEPTED, Exchange, RawVenue

pytestmark = pytest.mark.both_loops

ORDER = WireRequest(
    "POST",
    b"/fapi/v1/order",
    ((b"Host", b"proxy"), (b"X-MBX-APIKEY", b"k"), (b"Content-Length", b"9")),
    b"quantity=",
)
READ = WireRequest("GET", b"/fapi/v1/time", ((b"Host", b"proxy"),))


@asynccontextmanager
async def lane(origin: str, *, start: bool = True, **numbers: Any) -> AsyncIterator[Upstream]:
    """An Upstream for family /fapi that is closed at the end."""
    numbers.setdefault("connections_warm", 0)
    tasks = Tasks()
    upstream = Upstream({"/fapi": origin}, UpstreamSettings(**numbers), tasks=tasks)
    if start:
        await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()
        await tasks.close()


async def until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait for a condition, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.002)


# What leaves


@pytest.mark.parametrize(
    "target",
    [
        b"/fapi/v1/order?",
        b"/fapi/v1/order?a=%2C&b=%41&c=%21",
        b"/fapi/x/%2e%2e/order",
        b"/fapi//v1/../order;v=1",
        b"/fapi/v1/order?symbol=\xc3\xa9%E2%82%AC&x=a+b%20c",
        b"/fapi/v1/order?a=1&a=2&&=&#frag",
    ],
)
async def test_the_target_leaves_byte_for_byte(target: bytes) -> None:
    """Nothing is decoded, re-quoted, resolved or dropped, not even a bare trailing question mark (A5)."""
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        await upstream.send("/fapi", WireRequest("DELETE", target, ()))

        assert venue.requests[0].split(b"\r\n")[0] == b"DELETE " + target + b" HTTP/1.1"


async def test_headers_keep_order_and_case_and_none_is_added() -> None:
    """Connection-bound and internal fields end here; all others arrive as they came (A6)."""
    headers = (
        (b"accept-ENCODING", b"gzip, br"),
        (b"Host", b"bots.internal"),
        (b"Connection", b"keep-alive"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Authorization", b"x"),
        (b"TE", b"trailers"),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"Forwarded", b"for=10.0.0.1"),
        (b"Via", b"1.1 x"),
        (b"x-risk-strategy", b"s1"),
        (b"Expect", b"100-continue"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-MBX-APIKEY", b"KEY"),
        (b"X-Twice", b"1"),
        (b"content-LENGTH", b"999"),
        (b"X-Twice", b"2"),
    )
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        await upstream.send("/fapi", WireRequest("POST", b"/o", headers, b"a=1"))

        assert venue.requests == [
            b"POST /o HTTP/1.1\r\n"
            + f"Host: 127.0.0.1:{venue.port}\r\n".encode()
            + b"accept-ENCODING: gzip, br\r\nX-MBX-APIKEY: KEY\r\nX-Twice: 1\r\n"
            b"content-LENGTH: 3\r\nX-Twice: 2\r\n\r\na=1"
        ]


@pytest.mark.parametrize(
    ("method", "headers", "body", "length"),
    [
        ("GET", (), b"", None),
        ("GET", ((b"Content-Length", b"0"),), b"", b"0"),
        ("GET", (), b"a=1", b"3"),
        ("DELETE", (), b"", None),
        ("DELETE", (), b"a=1", b"3"),
        ("POST", (), b"", b"0"),
        ("PUT", (), b"", b"0"),
        ("POST", ((b"Content-Length", b"5"), (b"Content-Length", b"6")), b"ab", b"2"),
    ],
)
def test_the_length_is_counted_not_copied(
    method: str, headers: tuple[tuple[bytes, bytes], ...], body: bytes, length: bytes | None
) -> None:
    """Exactly one Content-Length from the body itself; a GET without body gets none."""
    framed = request_bytes(WireRequest(method, b"/o", headers, body), b"h")

    head = framed.partition(b"\r\n\r\n")[0]
    found = [line.partition(b": ")[2] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
    assert found == ([] if length is None else [length])
    assert framed.endswith(b"\r\n\r\n" + body)


def test_a_head_written_before_is_written_for_this_host_and_this_body() -> None:
    """The same headers to another host, or with another body, are not what was written last."""
    headers = ((b"Accept", b"*/*"), (b"Content-Length", b"3"))
    asked = [(b"h", b"a=1"), (b"other", b"a=1"), (b"h", b"a=10"), (b"h", b"a=2")]

    framed = [request_bytes(WireRequest("POST", b"/o", headers, body), host) for host, body in asked]

    assert framed == [
        b"POST /o HTTP/1.1\r\nHost: %b\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%b" % (host, len(body), body)
        for host, body in asked
    ]


def test_headers_named_by_connection_end_here() -> None:
    """What Connection declares to be of this hop is not forwarded."""
    framed = request_bytes(
        WireRequest("GET", b"/o", ((b"X-Hop", b"1"), (b"Connection", b"close, x-hop"), (b"X-Stays", b"2"))),
        b"h",
    )

    assert framed == b"GET /o HTTP/1.1\r\nHost: h\r\nX-Stays: 2\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        WireRequest("GET", b"/o", ((b"X-A", b"1\r\nX-B: 2"),)),
        WireRequest("GET", b"/o", ((b"X-A", b"1\nX-B: 2"),)),
        WireRequest("GET", b"/o", ((b"X-A", b"1\rX"),)),
        WireRequest("GET", b"/o", ((b"X-A", b"1\0"),)),
        WireRequest("GET", b"/o", ((b"X-A: 1\r\nX-B", b"2"),)),
        WireRequest("GET", b"/o", ((b"", b"2"),)),
        WireRequest("GET", b"/o HTTP/1.1\r\nX-B: 2", ()),
        WireRequest("GET", b"/o\n", ()),
        WireRequest("GET", b"http://evil/o", ()),
        WireRequest("GET", b"", ()),
        WireRequest("get", b"/o", ()),
        WireRequest("GET /x HTTP/1.1\r\n", b"/o", ()),
    ],
)
async def test_what_could_become_two_requests_is_refused(request_: WireRequest) -> None:
    """CR, LF, NUL and blanks in the wrong place refuse the request before anything is sent."""
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        with pytest.raises(OrderNotUnderstood):
            await upstream.send("/fapi", request_)

        assert (venue.connections, upstream.in_flight) == (0, 0)


async def test_the_request_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body leave in one buffer."""
    writes: list[int] = []
    original = Connection.connection_made

    def spying(self: Connection, transport: asyncio.BaseTransport) -> None:
        class Spy:
            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            def write(self, data: bytes) -> None:
                writes.append(len(data))
                transport.write(data)  # type: ignore[attr-defined]

        original(self, Spy())  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "connection_made", spying)
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        await upstream.send("/fapi", ORDER)

        assert writes == [len(venue.requests[0])]


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and friends do not exist for the lane."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        assert (await upstream.send("/fapi", ORDER)).status == 200


@pytest.mark.parametrize(
    "text",
    ["ftp://x", "api.binance.com", "https://", "https://u:p@x", "https://x/path", "https://x?q", "https://x:99999"],
)
def test_an_origin_is_scheme_host_and_port(text: str) -> None:
    """Anything more, or less, is refused at the start."""
    with pytest.raises(ConfigError):
        Origin.parse(text)


def test_the_host_field_names_the_port_only_where_needed() -> None:
    """As browsers and the venue's own clients write it."""
    assert Origin.parse("https://api.binance.com").host_header == b"api.binance.com"
    assert Origin.parse("https://api.binance.com:8443").host_header == b"api.binance.com:8443"
    assert Origin.parse("http://[::1]:80/").host_header == b"[::1]"


async def test_an_unknown_family_sends_nothing() -> None:
    """A family without an origin is unreachable, not somebody else's."""
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await upstream.send("/sapi", ORDER)


# What comes back


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer(status: int) -> None:
    """It is handed back and never followed: neither key nor order goes elsewhere (A4)."""
    async with RawVenue() as elsewhere:
        answer = f"HTTP/1.1 {status} Go\r\nLocation: {elsewhere.origin}/x\r\nContent-Length: 0\r\n\r\n".encode()
        async with RawVenue(answer) as venue, lane(venue.origin) as upstream:
            response = await upstream.send("/fapi", ORDER)

            assert response.status == status
            assert (len(venue.requests), len(elsewhere.requests), elsewhere.connections) == (1, 0, 0)


async def test_a_compressed_body_stays_compressed() -> None:
    """Content codings are between venue and bot (A10)."""
    packed = gzip.compress(b'{"orderId":1}')
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    async with RawVenue(answer) as venue, lane(venue.origin) as upstream:
        response = await upstream.send("/fapi", ORDER)

        assert (response.body, response.headers) == (packed, ((b"Content-Encoding", b"gzip"),))


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
            200,
            b"abcde",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + ACCEPTED, 200, b'{"orderId":1}'),
        (b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 503\r\nContent-Length: 2\r\n\r\nno", 503, b"no"),
    ],
)
async def test_framings_of_an_answer(answer: bytes, status: int, body: bytes) -> None:
    """Chunked, trailers, interim answers, empty bodies and HTTP/1.0 are read."""
    async with RawVenue(answer) as venue, lane(venue.origin) as upstream:
        response = await upstream.send("/fapi", ORDER)

        assert (response.status, response.body) == (status, body)
        assert b"Link" not in dict(response.headers)
        assert b"T" not in dict(response.headers)


async def test_the_end_of_the_connection_ends_an_unframed_body() -> None:
    """HTTP/1.0 style, allowed; the connection is not kept."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await asyncio.sleep(0.01)
        await exchange.write(b"def")
        exchange.writer.close()

    async with RawVenue(script) as venue, lane(venue.origin) as upstream:
        assert (await upstream.send("/fapi", ORDER)).body == b"abcdef"


async def test_header_order_and_case_come_back_without_hop_by_hop_fields() -> None:
    """The bot sees the venue's fields; framing is the proxy's own."""
    answer = (
        b"HTTP/1.1 200 Fine\r\nx-mbx-USED-weight: 1\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=9\r\n"
        b"X-Hop: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\nVia: cdn\r\n\r\n{}"
    )
    async with RawVenue(answer) as venue, lane(venue.origin) as upstream:
        response = await upstream.send("/fapi", ORDER)

        assert response.reason == b"Fine"
        assert response.headers == (
            (b"x-mbx-USED-weight", b"1"),
            (b"Set-Cookie", b"a=1"),
            (b"Set-Cookie", b"b=2"),
            (b"Via", b"cdn"),
        )


async def test_the_moments_of_the_journey_are_told() -> None:
    """Sent, first byte and complete, in order."""

    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.02)
        await exchange.write(ACCEPTED[:20])
        await asyncio.sleep(0.02)
        await exchange.write(ACCEPTED[20:])

    async with RawVenue(script) as venue, lane(venue.origin) as upstream:
        response = await upstream.send("/fapi", ORDER)

        assert response.first_byte_at - response.sent_at > 0.015
        assert response.completed_at - response.first_byte_at > 0.015


# Keep-alive


async def test_a_connection_is_reused_until_the_venue_says_close() -> None:
    """Ten orders, one connection; after Connection: close a new one."""

    async def script(exchange: Exchange) -> None:
        close = b"Connection: close\r\n" if exchange.number == 10 else b""
        await exchange.write(b"HTTP/1.1 200 OK\r\n" + close + b"Content-Length: 0\r\n\r\n")

    async with RawVenue(script) as venue, lane(venue.origin) as upstream:
        for _ in range(10):
            await upstream.send("/fapi", ORDER)
        assert venue.connections == 1

        await upstream.send("/fapi", ORDER)
        assert venue.connections == 2


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"junk", b"\0"])
async def test_more_than_one_answer_costs_the_connection(extra: bytes) -> None:
    """The first answer stands, what follows is nobody's, and the next order gets a clean connection."""
    async with RawVenue(ACCEPTED + extra) as venue, lane(venue.origin) as upstream:
        for _ in range(3):
            assert (await upstream.send("/fapi", ORDER)).body == b'{"orderId":1}'

        assert (venue.connections, len(venue.requests)) == (3, 3)


async def test_bytes_on_an_idle_connection_cost_the_connection() -> None:
    """An answer nobody asked for must not become the next order's answer."""
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        await upstream.send("/fapi", ORDER)
        venue.writers[0].write(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: venue.open_connections == 0)

        assert (await upstream.send("/fapi", ORDER)).status == 200
        assert venue.connections == 2


async def test_an_idle_connection_closed_by_the_venue_is_not_used() -> None:
    """The loop has seen the end: the next order goes out once, on a new connection."""
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        await upstream.send("/fapi", ORDER)
        venue.writers[0].close()
        await until(lambda: venue.open_connections == 0)
        await asyncio.sleep(0.01)

        assert (await upstream.send("/fapi", ORDER)).status == 200
        assert (venue.connections, len(venue.requests)) == (2, 2)


async def test_a_hang_up_that_waits_in_the_kernel_is_seen() -> None:
    """The venue closed while our loop was busy: asking the kernel first avoids an unknown outcome."""
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        await upstream.send("/fapi", ORDER)
        with socket.socket(fileno=os.dup(venue.writers[0].get_extra_info("socket").fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)
        time.sleep(0.03)  # the loop sees nothing of it

        assert (await upstream.send("/fapi", ORDER)).status == 200
        assert (venue.connections, len(venue.requests)) == (2, 2)


async def test_an_answer_before_the_whole_request_left_costs_the_connection() -> None:
    """The rest of the request is dropped, not sent in front of the next one."""
    big = WireRequest("POST", b"/o", (), b"x" * (16 << 20))
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n"))
        writer.write(ACCEPTED)
        with contextlib.suppress(ConnectionError):
            await asyncio.sleep(0.2)
            while await reader.read(1 << 20):
                pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    async with lane(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as upstream:
        assert (await upstream.send("/fapi", big)).status == 200
        assert (await upstream.send("/fapi", ORDER)).status == 200
        assert seen == [b"POST /o HTTP/1.1\r\n", b"POST /fapi/v1/order HTTP/1.1\r\n"]
    server.close()
    await asyncio.sleep(0.25)


async def test_the_pool_is_warmed_and_kept_warm() -> None:
    """Two connections stand before the first order and one before the first cancel; one that dies is replaced."""
    async with RawVenue() as venue, lane(venue.origin, connections_warm=2) as upstream:
        await until(lambda: venue.connections == 3)
        await upstream.send("/fapi", ORDER, tracked=True)
        await upstream.send("/fapi", ORDER)
        assert venue.connections == 3

        venue.writers[0].close()
        await until(lambda: venue.connections == 4)


async def test_only_the_families_that_are_named_are_warmed() -> None:
    """A host nobody trades on, such as the real exchange's beside a testnet, is not connected to unasked."""
    tasks = Tasks()
    async with RawVenue() as used, RawVenue() as unused:
        upstream = Upstream(
            {"/fapi": used.origin, "/dapi": unused.origin},
            UpstreamSettings(connections_warm=2),
            tasks=tasks,
            warm={"/fapi"},
        )
        await upstream.start()
        await until(lambda: used.connections == 3)
        await asyncio.sleep(0.05)
        assert unused.connections == 0
        await upstream.send("/dapi", ORDER)
        assert unused.connections == 1
        await upstream.close()
    await tasks.close()


async def test_orders_that_wait_do_not_hold_up_a_cancel() -> None:
    """A slow venue has every order connection busy; what is no order has connections of its own."""

    async def slow_orders(exchange: Exchange) -> None:
        if b"DELETE" not in exchange.request:
            await asyncio.sleep(5)
        await exchange.write(ACCEPTED)

    cancel = WireRequest("DELETE", b"/fapi/v1/order?orderId=1", ((b"Host", b"proxy"),))
    async with RawVenue(slow_orders) as venue, lane(venue.origin, connections_max=2, queue_timeout_s=0.5) as upstream:
        orders = [asyncio.ensure_future(upstream.send("/fapi", ORDER, tracked=True)) for _ in range(2)]
        await until(lambda: len(venue.requests) == 2)
        assert (await upstream.send("/fapi", cancel)).status == 200
        for order in orders:
            order.cancel()
        await asyncio.gather(*orders, return_exceptions=True)


async def test_old_idle_connections_are_retired() -> None:
    """The proxy closes them before the venue does."""
    async with RawVenue() as venue, lane(venue.origin, idle_s=0.1) as upstream:
        await upstream.send("/fapi", ORDER)
        await until(lambda: venue.open_connections == 0)


# The last look


async def test_the_last_look_refuses_without_a_byte_and_keeps_the_connection() -> None:
    """Its exception comes out as it is, nothing is written, the connection serves the next order."""

    def refuse() -> None:
        raise LastLookRefused("halted")

    async with RawVenue() as venue, lane(venue.origin) as upstream:
        await upstream.send("/fapi", ORDER, tracked=True)
        with pytest.raises(LastLookRefused, match="halted"):
            await upstream.send("/fapi", ORDER, last_look=refuse, tracked=True)
        await upstream.send("/fapi", ORDER, tracked=True)

        assert (len(venue.requests), venue.connections, upstream.in_flight) == (2, 1, 0)


async def test_the_last_look_comes_after_every_wait() -> None:
    """It runs when a connection is there, not when the order enters the line."""
    looked: list[float] = []

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await exchange.write(ACCEPTED)

    async with RawVenue(slow) as venue, lane(venue.origin, connections_max=1) as upstream:
        first = asyncio.ensure_future(upstream.send("/fapi", ORDER))
        await asyncio.sleep(0.02)
        started = time.monotonic()
        await upstream.send("/fapi", ORDER, last_look=lambda: looked.append(time.monotonic()))
        await first

        assert looked[0] - started > 0.05


# Deadlines


async def quiet(exchange: Exchange) -> None:
    """Never answer."""
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("sent", "numbers"),
    [
        (b"", {"head_timeout_s": 0.1}),
        (b"HTTP/1.1 200 OK\r\nX:", {"head_timeout_s": 0.1}),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", {"body_timeout_s": 0.1}),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", {"total_timeout_s": 0.1}),
    ],
)
async def test_a_slow_answer_is_an_unknown_outcome(sent: bytes, numbers: dict[str, float]) -> None:
    """Head, body and the whole have own deadlines; past them the connection is gone (F2)."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(sent)
        await asyncio.sleep(30)

    async with RawVenue(script) as venue, lane(venue.origin, **numbers) as upstream:
        started = time.monotonic()
        with pytest.raises(UpstreamSilent):
            await upstream.send("/fapi", ORDER)

        assert 0.09 < time.monotonic() - started < 1.0
        assert len(venue.requests) == 1


async def test_a_trickle_does_not_move_the_deadline() -> None:
    """An answer at a byte a moment ends with the total deadline."""

    async def trickle(exchange: Exchange) -> None:
        for byte in ACCEPTED * 10:
            await exchange.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with RawVenue(trickle) as venue, lane(venue.origin, total_timeout_s=0.3) as upstream:
        with pytest.raises(UpstreamSilent):
            await upstream.send("/fapi", ORDER)


async def test_the_line_has_a_deadline() -> None:
    """No connection free in time: certainly not sent."""
    async with RawVenue(quiet) as venue, lane(
        venue.origin, connections_max=1, queue_timeout_s=0.1, total_timeout_s=1
    ) as upstream:
        first = asyncio.ensure_future(upstream.send("/fapi", ORDER))
        await until(lambda: len(venue.requests) == 1)
        with pytest.raises(UpstreamUnreachable, match="no connection free"):
            await upstream.send("/fapi", ORDER)
        with pytest.raises(UpstreamSilent):
            await first

        assert len(venue.requests) == 1


async def test_a_connect_has_a_deadline() -> None:
    """A peer that does not take the connection is unreachable, soon (F4)."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    filling = [socket.socket() for _ in range(4)]
    for one in filling:
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(full.getsockname())
    try:
        async with lane(f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout_s=0.2) as upstream:
            started = time.monotonic()
            with pytest.raises(UpstreamUnreachable, match="nothing was sent"):
                await upstream.send("/fapi", ORDER)
            assert time.monotonic() - started < 1.0
    finally:
        for one in (*filling, full):
            one.close()


# Bounds and garbage


@pytest.mark.parametrize(
    "answer",
    [
        b"\x16\x03\x01 not http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 8_000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000,
        b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_is_not_one_clean_answer_is_an_unknown_outcome(answer: bytes) -> None:
    """Malformed, oversized or ambiguous answers are never passed on, and the connection ends (F5)."""
    async with RawVenue(answer) as venue, lane(venue.origin, head_timeout_s=2) as upstream:
        with pytest.raises(UpstreamSilent):
            await upstream.send("/fapi", ORDER)

        await until(lambda: venue.open_connections == 0)
        assert len(venue.requests) == 1


class FakeTransport:
    """Takes what is written and closes when told to."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return socket.socket.__new__(socket.socket)


class NoKeeper:
    """Remembers what was given back."""

    def __init__(self) -> None:
        self.released_count = 0

    def released(self, connection: Connection) -> None:
        self.released_count += 1

    def lost(self, connection: Connection) -> None:
        """Nothing to do."""


def read_pieces(pieces: list[bytes], numbers: UpstreamSettings) -> tuple[TimedResponse | BaseException, int]:
    """Feed an answer to a connection in pieces, then hang up; what came out, and how often it was released."""
    loop = asyncio.new_event_loop()
    try:
        keeper = NoKeeper()
        connection = Connection(keeper, numbers, loop, "fuzz")
        connection.connection_made(FakeTransport())  # type: ignore[arg-type]
        answer = connection.ask(b"x")
        for piece in pieces:
            connection.data_received(piece)
        if not connection.is_lost:
            connection.eof_received()
        connection.connection_lost(None)
        assert answer.done()
        return answer.exception() or answer.result(), keeper.released_count  # type: ignore[return-value]
    finally:
        loop.close()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The pieces of `data` cut at the places."""
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(marks)]


VALID = [
    ACCEPTED,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.0 500 X\r\n\r\nbody until the end",
    b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n",
]


@given(st.lists(st.binary(max_size=80), max_size=6))
@settings(max_examples=400, deadline=None)
def test_noise_is_an_answer_or_an_unknown_outcome(pieces: list[bytes]) -> None:
    """Whatever comes: a response or UpstreamSilent, always one of them."""
    found, _ = read_pieces(pieces, UpstreamSettings())

    assert isinstance(found, TimedResponse | UpstreamSilent)


@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), st.binary(max_size=4)), max_size=5),
    st.lists(st.integers(0, 300), max_size=8),
)
@settings(max_examples=1000, deadline=None)
def test_bent_answers_are_an_answer_or_an_unknown_outcome(
    answer: bytes, bends: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    """Answers with bytes inserted, removed and replaced, in any pieces, never hang or raise anything else."""
    for place, removed, inserted in bends:
        place %= len(answer) + 1
        answer = answer[:place] + inserted + answer[place + removed :]
    found, _ = read_pieces(cut(answer, places), UpstreamSettings())

    assert isinstance(found, TimedResponse | UpstreamSilent)


@given(st.sampled_from(VALID), st.lists(st.integers(0, 300), max_size=12))
@settings(max_examples=300, deadline=None)
def test_pieces_do_not_matter(answer: bytes, places: list[int]) -> None:
    """An answer cut anywhere reads like the whole."""
    whole, released = read_pieces([answer], UpstreamSettings())
    pieces, released_in_pieces = read_pieces(cut(answer, places), UpstreamSettings())

    assert isinstance(whole, TimedResponse)
    assert (pieces, released_in_pieces) == (whole, released)


# Streams


async def read_to_the_end(stream: StreamedResponse) -> None:
    """Take all of it."""
    while await stream.read():
        pass


async def test_a_stream_passes_everything_and_holds_little() -> None:
    """A reader that stalls stalls the venue: the buffer stays small, and nothing is lost."""
    size = 24 << 20
    written = 0

    async def script(exchange: Exchange) -> None:
        nonlocal written
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for number in range(size >> 16):
            await exchange.write(bytes([number % 251]) * (1 << 16))
            written += 1 << 16

    async with RawVenue(script) as venue, lane(venue.origin) as upstream:
        stream = await upstream.stream("/fapi", READ)
        assert (stream.status, stream.content_length) == (200, size)
        await asyncio.sleep(0.3)
        assert stream.buffered < 1 << 20
        assert written < size

        total = 0
        position = 0
        async for piece in stream:
            assert piece[0] == position // (1 << 16) % 251
            total += len(piece)
            position += len(piece)
        stream.close()
        assert total == size

        # The connection serves the next read.
        assert venue.connections == 1


async def test_a_stream_that_breaks_off_says_so() -> None:
    """Half a body is an error, not an end."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        exchange.reset()

    async with RawVenue(script) as venue, lane(venue.origin) as upstream:
        stream = await upstream.stream("/fapi", READ)
        with pytest.raises(UpstreamSilent):
            await read_to_the_end(stream)
        stream.close()


async def test_a_stream_left_early_costs_the_connection() -> None:
    """The rest of a body must not meet the next request."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await asyncio.sleep(30)

    async with RawVenue(script) as venue, lane(venue.origin) as upstream:
        stream = await upstream.stream("/fapi", READ)
        assert await stream.read() == b"abc"
        stream.close()
        venue.answer = ACCEPTED
        second = await upstream.stream("/fapi", READ)

        assert await second.read() == b'{"orderId":1}'
        assert venue.connections == 2
        second.close()


async def test_reads_do_not_stand_before_orders() -> None:
    """With every read connection stalled, an order leaves at once."""

    async def script(exchange: Exchange) -> None:
        if exchange.request.startswith(b"GET"):
            await asyncio.sleep(30)
        await exchange.write(ACCEPTED)

    async with RawVenue(script) as venue, lane(venue.origin, connections_max=2) as upstream:
        reads = [asyncio.ensure_future(upstream.stream("/fapi", READ)) for _ in range(4)]
        await until(lambda: len(venue.requests) == 2)
        started = time.monotonic()

        assert (await upstream.send("/fapi", ORDER)).status == 200
        assert time.monotonic() - started < 0.5
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


# Cancellation


async def test_a_cancelled_send_never_leaves_a_half_read_connection() -> None:
    """Cancelled after the write: that connection closes, the next order reads its own answer."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            await exchange.write(b"first!" if exchange.number == 1 else b"second")

    async with RawVenue(script) as venue, lane(venue.origin) as upstream:
        first = asyncio.ensure_future(upstream.send("/fapi", ORDER))
        await until(lambda: len(venue.requests) == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

        assert (await upstream.send("/fapi", ORDER)).body == b"second"
        assert (venue.connections, upstream.in_flight) == (2, 0)


async def test_cancelling_late_does_not_hurt_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled after its answer came, when the connection already carries another order: that one lives."""
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        released = Pool.released
        next_answers: list[asyncio.Future[Any]] = []

        def taken_at_once(pool: Pool, connection: Connection) -> None:
            released(pool, connection)
            if len(venue.requests) == 1 and not next_answers:
                again = pool.take_idle()
                assert again is connection
                next_answers.append(again.ask(request_bytes(ORDER, b"h")))
                first.cancel()

        monkeypatch.setattr(Pool, "released", taken_at_once)
        first = asyncio.ensure_future(upstream.send("/fapi", ORDER))
        with pytest.raises(asyncio.CancelledError):
            await first

        assert (await next_answers[0]).status == 200
        assert venue.connections == 1


async def test_cancelling_in_the_step_of_the_handover_loses_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Next in line, given a connection and cancelled before it could take it: the place is not lost."""

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await exchange.write(ACCEPTED)

    async with RawVenue(slow) as venue, lane(venue.origin, connections_max=1, queue_timeout_s=0.3) as upstream:
        released = Pool.released

        def cancel_the_next(pool: Pool, connection: Connection) -> None:
            released(pool, connection)
            second.cancel()

        first = asyncio.ensure_future(upstream.send("/fapi", ORDER))
        second = asyncio.ensure_future(upstream.send("/fapi", ORDER))
        await until(lambda: len(venue.requests) == 1)
        monkeypatch.setattr(Pool, "released", cancel_the_next)
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        monkeypatch.undo()

        assert (await upstream.send("/fapi", ORDER)).status == 200
        assert (venue.connections, len(venue.requests)) == (1, 2)


async def test_cancelling_in_line_gives_the_place_back() -> None:
    """Those who leave the line take no connection with them."""

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.02)
        await exchange.write(ACCEPTED)

    async with RawVenue(slow) as venue, lane(venue.origin, connections_max=1) as upstream:
        for _ in range(5):
            sends = [asyncio.ensure_future(upstream.send("/fapi", ORDER)) for _ in range(6)]
            await asyncio.sleep(0.01)
            for send in sends[1::2]:
                send.cancel()
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert sum(isinstance(result, TimedResponse) for result in results) == 3

        assert len(venue.requests) == 15


# TLS


def certificate(
    folder: Path, *, names: tuple[str, ...] = ("localhost",), address: str | None = "127.0.0.1", days: int = 1
) -> Path:
    """A self-signed certificate with its key, in one file; negative days make an expired one."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    if address is not None:
        alternatives.append(x509.IPAddress(ipaddress.ip_address(address)))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{names[0]}-{days}-{address}.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + built.public_bytes(serialization.Encoding.PEM)
    )
    return file


def serving(file: Path) -> Any:
    """A server's TLS context."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_tls_with_a_trusted_certificate(tmp_path: Path) -> None:
    """Orders and reads pass, connections are reused, a big body arrives whole."""
    file = certificate(tmp_path)
    async with RawVenue(context=serving(file)) as venue, lane(
        venue.origin, ca_file=str(file), connections_warm=1
    ) as upstream:
        for _ in range(3):
            assert (await upstream.send("/fapi", ORDER)).status == 200
        await upstream.send("/fapi", WireRequest("POST", b"/o", (), b"y" * 200_000))
        stream = await upstream.stream("/fapi", READ)
        assert await stream.read() == b'{"orderId":1}'

        assert venue.requests[3].endswith(b"\r\n\r\n" + b"y" * 200_000)
        assert venue.connections <= 3
        stream.close()


@pytest.mark.parametrize("bad", ["wrong name", "self-signed", "expired", "plain text"])
async def test_a_bad_certificate_sends_nothing(bad: str, tmp_path: Path) -> None:
    """Name, chain and dates are verified; there is no fallback and no switch (F8)."""
    trusted = certificate(tmp_path)
    served = trusted
    if bad == "wrong name":
        served = trusted = certificate(tmp_path, names=("other.example",), address=None)
    elif bad == "self-signed":
        served = certificate(tmp_path, names=("localhost", "also"), days=2)
    elif bad == "expired":
        served = trusted = certificate(tmp_path, days=-1)
    context = None if bad == "plain text" else serving(served)
    async with RawVenue(context=context) as venue, lane(
        f"https://127.0.0.1:{venue.port}", ca_file=str(trusted), connect_timeout_s=1
    ) as upstream:
        looked: list[int] = []
        with pytest.raises(UpstreamUnreachable):
            await upstream.send("/fapi", ORDER, last_look=lambda: looked.append(1))

        assert (venue.requests, looked) == ([], [])


def test_a_missing_ca_file_stops_the_start() -> None:
    """A configured trust that cannot be read is not replaced by another."""
    with pytest.raises(ConfigError, match="ca_file"):
        Upstream(
            {"/api": "https://x"},
            UpstreamSettings(ca_file="/nonexistent.pem"),
            tasks=Tasks(),
        )


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_name_that_leads_home_gets_nothing(*, allowed: bool) -> None:
    """A venue's name that leads to a private address is refused before a byte, unless that was configured."""
    # No address by its form, so it is resolved as every name is; no event loop can be told what that finds.
    async with RawVenue() as venue, lane(
        f"http://127.1:{venue.port}", private_addresses_allowed=allowed
    ) as upstream:
        if allowed:
            assert (await upstream.send("/fapi", ORDER)).status == 200
            return
        with pytest.raises(UpstreamUnreachable, match="not a public address"):
            await upstream.send("/fapi", ORDER)
        assert not venue.requests


# What event loops do differently


async def test_a_deadline_that_is_due_can_still_be_moved() -> None:
    """uvloop hands out no timer for what is due at once; the connection knows by itself when it rings."""
    async with RawVenue(quiet) as venue, lane(venue.origin, total_timeout_s=0.2) as upstream:
        send = asyncio.ensure_future(upstream.send("/fapi", ORDER))
        await until(lambda: len(venue.requests) == 1)
        (connection,) = next(iter(upstream._cancels.values())).connections
        now = asyncio.get_running_loop().time()
        for deadline in (now + 0.0001, now + 0.1, now + 0.05, now, now + 0.2):
            connection._set_deadline(deadline)

        with pytest.raises(UpstreamSilent, match="no answer in time"):
            await send


class _Transport:
    """A transport whose socket is closed and forgotten, which under TLS on uvloop is so before anybody is told."""

    def __init__(self) -> None:
        self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing is known of it any more."""
        return default

    def get_write_buffer_size(self) -> int:
        """Nothing is left in it."""
        return 0

    def is_closing(self) -> bool:
        """Or it would be closed."""
        return True

    def abort(self) -> None:
        """Noted."""
        self.aborted = True

    def write(self, data: bytes) -> None:
        """Goes nowhere."""


async def test_a_socket_that_is_gone_already_holds_nothing_and_carries_nothing() -> None:
    """No error, nothing unsent, not usable, and what was out on it is unknown."""
    transport = _Transport()
    async with lane("http://127.0.0.1:1") as upstream:
        pool = next(iter(upstream._orders.values()))
        connection = Connection(pool, UpstreamSettings(), asyncio.get_running_loop(), "x")
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.idle_since = 0.0
        assert connection._kernel_has_news()
        assert not connection.is_usable()
        answer = connection.ask(b"order", tracked=True)

        assert connection.unsent_bytes() == 0
        connection.drop("enough")
        with pytest.raises(UpstreamSilent, match="enough"):
            await answer
        assert transport.aborted


async def test_a_connection_whose_peer_cannot_be_named_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset before anybody could look where it leads: certainly nothing is sent."""
    original = Connection.connection_made

    def nameless(self: Connection, transport: asyncio.BaseTransport) -> None:
        class Nameless:
            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            def get_extra_info(self, name: str, default: Any = None) -> Any:
                return default

        check = Pool._check_peer
        monkeypatch.setattr(Pool, "_check_peer", lambda pool, _: check(pool, Nameless()))  # type: ignore[arg-type]
        original(self, transport)

    monkeypatch.setattr(Connection, "connection_made", nameless)
    async with RawVenue() as venue, lane(f"http://127.1:{venue.port}") as upstream:
        with pytest.raises(UpstreamUnreachable, match="closed at once; nothing was sent"):
            await upstream.send("/fapi", ORDER)
        assert not venue.requests


async def test_a_connection_that_is_closed_at_once_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where TLS would have to be put on it."""
    original = Connection.connection_made

    def closing(self: Connection, transport: asyncio.BaseTransport) -> None:
        original(self, transport)
        transport.abort()  # type: ignore[attr-defined]

    monkeypatch.setattr(Connection, "connection_made", closing)
    async with RawVenue() as venue, lane(f"https://127.0.0.1:{venue.port}", queue_timeout_s=0.5) as upstream:
        with pytest.raises(UpstreamUnreachable, match="nothing was sent"):
            await upstream.send("/fapi", ORDER)
        assert not venue.requests


@pytest.mark.parametrize("said", [b"", b"220 hello\r\n"], ids=["hangs up", "greets"])
async def test_a_venue_that_ends_every_connection_is_not_stormed(said: bytes) -> None:
    """An order meets it once or twice, not as often as connects fit into the time in line; it is never sent twice."""
    connects = 0

    class Ending(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal connects
            connects += 1
            if said:
                transport.write(said)  # type: ignore[attr-defined]
            else:
                transport.abort()  # type: ignore[attr-defined]

    server = await asyncio.get_running_loop().create_server(Ending, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with lane(f"http://127.0.0.1:{port}") as upstream:
        began = time.monotonic()
        results = await asyncio.gather(
            *(upstream.send("/fapi", ORDER, tracked=True) for _ in range(5)), return_exceptions=True
        )
        took_s = time.monotonic() - began
    server.close()
    await server.wait_closed()

    assert all(isinstance(one, UpstreamUnreachable | UpstreamSilent) for one in results), results
    assert connects <= 20
    assert took_s < 2
