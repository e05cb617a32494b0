"""Faults between proxy and venue: nothing is sent twice, and after a drain nothing can still leave."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.clock import SystemClock
from proxy.errors import LastLookRefused, UpstreamError, UpstreamSilent, UpstreamUnreachable
from proxy.ess import EssLatch, initialise
from proxy.upstream import Drained, TimedResponse, Upstream
from proxy.upstream.connection import Connection
from proxy.wire import WireRequest
from rules import EssLevel
from tests.proxy.test_upstream import certificate, lane, quiet, serving, until
from tests.raw_venue import ACCEPTED, Exchange, RawVenue

pytestmark = pytest.mark.both_loops

REQUESTS = {
    "POST": WireRequest("POST", b"/fapi/v1/order", (), b"a=1"),
    "PUT": WireRequest("PUT", b"/fapi/v1/order", (), b"a=1"),
    "DELETE": WireRequest("DELETE", b"/fapi/v1/order", (), b"a=1"),
    "PUT by query": WireRequest("PUT", b"/fapi/v1/order?a=1", ()),
    "DELETE by query": WireRequest("DELETE", b"/fapi/v1/order?a=1", ()),
}
BIG = WireRequest("POST", b"/fapi/v1/order", (), b"x" * (16 << 20))


class Halt:
    """A latch as the emergency stop has one, and its last look."""

    def __init__(self) -> None:
        self.on = False
        self.passed = 0

    def last_look(self) -> None:
        """Refuse once the latch is on."""
        if self.on:
            raise LastLookRefused("halted")
        self.passed += 1


# Nothing is sent twice


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("answered", [0, 1, 15, 40, 80], ids=lambda count: f"after {count} bytes")
@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
@pytest.mark.parametrize("connection", ["fresh", "reused"])
async def test_a_dropped_connection_is_never_sent_again(name: str, answered: int, how: str, connection: str) -> None:
    """One copy at the venue and an unknown outcome, for every method, at every stage (A1, F3)."""
    copies = 0

    async def script(exchange: Exchange) -> None:
        nonlocal copies
        if exchange.request.startswith(b"GET"):
            await exchange.write(ACCEPTED)
            return
        copies += 1
        await exchange.write(ACCEPTED[:answered])
        if how == "reset":
            exchange.reset()
        elif how == "close":
            exchange.writer.close()
        else:
            exchange.writer.write_eof()
            await asyncio.sleep(0.05)

    async with RawVenue(script) as venue, lane(venue.origin) as upstream:
        if connection == "reused":
            await upstream.send("/fapi", WireRequest("GET", b"/", ()), tracked=True)
        with pytest.raises(UpstreamSilent):
            await upstream.send("/fapi", REQUESTS[name], tracked=True)
        await asyncio.sleep(0.01)

        assert copies == 1
        assert venue.connections == 1
        assert upstream.in_flight == 0


@pytest.mark.parametrize("stage", ["refused", "reset in accept", "name"])
async def test_not_connected_is_not_sent(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no connection came about the failure is definite, and fast (F1, F4, F8)."""
    if stage == "name":

        async def no_name(*args: Any, **options: Any) -> Any:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_name)
        origin = "https://api.venue.invalid"
    else:
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{closed.getsockname()[1]}"
        closed.close()
    async with lane(origin, connections_warm=1 if stage == "reset in accept" else 0) as upstream:
        started = time.monotonic()
        with pytest.raises(UpstreamUnreachable, match="nothing was sent"):
            await upstream.send("/fapi", REQUESTS["POST"])
        assert time.monotonic() - started < 0.5


async def test_an_origin_that_comes_back_is_used_again() -> None:
    """After an outage orders flow without a restart."""
    async with RawVenue() as venue:
        port = venue.port
    async with lane(f"http://127.0.0.1:{port}") as upstream:
        for _ in range(3):
            with pytest.raises(UpstreamUnreachable):
                await upstream.send("/fapi", REQUESTS["POST"])
        server = await asyncio.start_server(_accept_one, "127.0.0.1", port)
        assert (await upstream.send("/fapi", REQUESTS["POST"])).status == 200
        server.close()
        await server.wait_closed()


async def _accept_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"a=1")
    writer.write(ACCEPTED)
    await writer.drain()
    writer.close()


async def test_a_thousand_drops_under_load_send_nothing_twice() -> None:
    """Orders in parallel while the venue drops at random: every order arrives at most once, none hangs."""
    seed = random.Random(11)
    seen: dict[bytes, int] = {}

    async def moody(exchange: Exchange) -> None:
        identity = exchange.request.rpartition(b"=")[2]
        seen[identity] = seen.get(identity, 0) + 1
        if seed.random() < 0.5:
            await exchange.write(ACCEPTED[: seed.randrange(len(ACCEPTED))])
            exchange.reset()
        else:
            await exchange.write(ACCEPTED)

    async def order(upstream: Upstream, number: int) -> object:
        method = ("POST", "PUT", "DELETE")[number % 3]
        try:
            return await upstream.send("/fapi", WireRequest(method, b"/o", (), b"id=%d" % number), tracked=True)
        except UpstreamError as error:
            return error

    async with RawVenue(moody) as venue, lane(venue.origin, connections_max=8, connections_warm=2) as upstream:
        outcomes: list[object] = []
        for start in range(0, 2000, 40):
            outcomes += await asyncio.gather(*(order(upstream, start + number) for number in range(40)))

        assert max(seen.values()) == 1
        assert sum(isinstance(outcome, UpstreamSilent) for outcome in outcomes) > 800
        for number, outcome in enumerate(outcomes):
            arrived = b"%d" % number in seen
            assert arrived or not isinstance(outcome, TimedResponse)
            assert not (arrived and isinstance(outcome, UpstreamUnreachable))


# The last look


async def test_a_halt_lets_none_of_the_line_through() -> None:
    """A pool of two, forty orders in line, then the halt: nothing leaves after it (A2)."""
    halt = Halt()

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.02)
        await exchange.write(ACCEPTED)

    async with RawVenue(slow) as venue, lane(venue.origin, connections_max=2) as upstream:
        sends = [
            asyncio.ensure_future(
                upstream.send("/fapi", REQUESTS["POST"], last_look=halt.last_look, tracked=True)
            )
            for _ in range(40)
        ]
        await until(lambda: len(venue.requests) >= 6)
        halt.on = True
        drained = await upstream.drained(flush_timeout_s=1, answer_timeout_s=1)
        at_ack = len(venue.requests)
        results = await asyncio.gather(*sends, return_exceptions=True)

        refused = sum(isinstance(result, LastLookRefused) for result in results)
        assert drained == Drained(aborted=0, unanswered=0)
        assert len(venue.requests) == at_ack == halt.passed
        assert refused == 40 - halt.passed >= 30
        assert venue.connections <= 2


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_no_order_leaves_after_the_ack_in_many_cycles(secure: bool, tmp_path: Path) -> None:
    """Halt and release over and over, pool exhausted and connections being opened (I2)."""
    seed = random.Random(5)
    halt = Halt()
    file = certificate(tmp_path) if secure else None
    cycles = 30 if secure else 150

    async def sometimes_close(exchange: Exchange) -> None:
        close = b"Connection: close\r\n" if seed.random() < 0.3 else b""
        await asyncio.sleep(seed.random() * 0.002)
        await exchange.write(b"HTTP/1.1 200 OK\r\n" + close + b"Content-Length: 0\r\n\r\n")

    async with RawVenue(sometimes_close, context=serving(file) if file else None) as venue, lane(
        venue.origin, connections_max=3, ca_file=str(file) if file else None
    ) as upstream:
        for _ in range(cycles):
            halt.on = False
            sends = [
                asyncio.ensure_future(
                    upstream.send("/fapi", REQUESTS["POST"], last_look=halt.last_look, tracked=True)
                )
                for _ in range(12)
            ]
            await asyncio.sleep(seed.random() * 0.006)
            halt.on = True
            await upstream.drained(flush_timeout_s=1, answer_timeout_s=0)
            passed = halt.passed
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert halt.passed == passed
            assert all(isinstance(result, TimedResponse | LastLookRefused) for result in results)
        assert len(venue.requests) == halt.passed > cycles


# Draining


async def test_nothing_under_way_drains_at_once() -> None:
    """An idle lane answers in the same step."""
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        await upstream.send("/fapi", REQUESTS["POST"], tracked=True)
        started = time.monotonic()

        assert await upstream.drained(flush_timeout_s=5, answer_timeout_s=5) == Drained(aborted=0, unanswered=0)
        assert time.monotonic() - started < 0.05


async def test_sent_and_unanswered_is_counted() -> None:
    """Orders that have left and have no answer when the wait ends are the unknowns of the acknowledgement."""
    async with RawVenue(quiet) as venue, lane(venue.origin, total_timeout_s=0.6) as upstream:
        sends = [
            asyncio.ensure_future(upstream.send("/fapi", REQUESTS["POST"], tracked=tracked))
            for tracked in (True, True, False)
        ]
        await until(lambda: len(venue.requests) == 3)
        started = time.monotonic()

        assert await upstream.drained(flush_timeout_s=1, answer_timeout_s=0.1) == Drained(aborted=0, unanswered=2)
        assert 0.09 < time.monotonic() - started < 0.4
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert all(isinstance(result, UpstreamSilent) for result in results)


async def test_answers_that_come_in_time_are_waited_for() -> None:
    """The drain ends with the last answer, not with its timeout."""

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await exchange.write(ACCEPTED)

    async with RawVenue(slow) as venue, lane(venue.origin) as upstream:
        send = asyncio.ensure_future(upstream.send("/fapi", REQUESTS["POST"], tracked=True))
        await until(lambda: len(venue.requests) == 1)
        started = time.monotonic()

        assert await upstream.drained(flush_timeout_s=1, answer_timeout_s=5) == Drained(aborted=0, unanswered=0)
        assert time.monotonic() - started < 1
        assert (await send).status == 200


@asynccontextmanager
async def deaf_venue(
    context: ssl.SSLContext | None = None, *, says: bytes = b""
) -> AsyncIterator[tuple[int, list[asyncio.StreamReader]]]:
    """A venue that does not read until somebody reads the reader it hands out; it may answer the first byte."""
    readers: list[asyncio.StreamReader] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.append(reader)
        writers.append(writer)
        if says:
            await reader.readexactly(1)
            writer.write(says)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], readers
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


async def read_all(reader: asyncio.StreamReader) -> int:
    """Everything that still comes, until the end or the break."""
    total = 0
    try:
        while piece := await asyncio.wait_for(reader.read(1 << 20), 2):
            total += len(piece)
    except (ConnectionError, ssl.SSLError):
        pass
    return total


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_bytes_that_cannot_leave_are_dropped(secure: bool, tmp_path: Path) -> None:
    """The peer does not read: at the timeout the connection is reset, and the rest of the order never arrives."""
    file = certificate(tmp_path) if secure else None
    async with deaf_venue(serving(file) if file else None) as (port, readers):
        origin = f"{'https' if secure else 'http'}://127.0.0.1:{port}"
        async with lane(origin, ca_file=str(file) if file else None) as upstream:
            send = asyncio.ensure_future(upstream.send("/fapi", BIG, tracked=True))
            await until(lambda: bool(readers))
            await asyncio.sleep(0.1)
            assert not send.done()

            assert await upstream.drained(flush_timeout_s=0.1, answer_timeout_s=1) == Drained(
                aborted=1, unanswered=0
            )
            # From here on nothing may leave, however eagerly the venue reads.
            assert await read_all(readers[0]) < len(BIG.body)
            with pytest.raises(UpstreamSilent):
                await send
            assert upstream.in_flight == 0


async def test_bytes_in_the_kernel_count_as_not_left() -> None:
    """Also what only the kernel still holds, with our own buffer empty, is waited for and then dropped."""
    async with deaf_venue() as (port, readers), lane(f"http://127.0.0.1:{port}") as upstream:
        probe = asyncio.ensure_future(upstream.send("/fapi", BIG, tracked=True))
        await until(lambda: bool(readers))
        await asyncio.sleep(0.1)
        pool = next(iter(upstream._orders.values()))
        connection = next(iter(pool.connections))
        # How much the kernels take: what went into the socket, and of that what the peer has not confirmed.
        handed_over = len(BIG.body) - connection._raw.get_write_buffer_size()  # type: ignore[union-attr]
        unconfirmed = connection._kernel_unsent()
        assert unconfirmed > 0
        connection.drop("enough")
        with pytest.raises(UpstreamSilent):
            await probe

        body = b"x" * (handed_over - unconfirmed // 2)
        send = asyncio.ensure_future(upstream.send("/fapi", WireRequest("POST", b"/o", (), body), tracked=True))
        await until(lambda: len(readers) == 2)
        await asyncio.sleep(0.1)
        connection = next(iter(pool.connections))
        assert connection._raw.get_write_buffer_size() == 0  # type: ignore[union-attr]
        assert connection.unsent_bytes() > 0

        assert (await upstream.drained(flush_timeout_s=0.1, answer_timeout_s=0)).aborted == 1
        assert await read_all(readers[1]) < len(body)
        with pytest.raises(UpstreamSilent):
            await send


class Late:
    """A transport that takes bytes and hands them on some time later, as uvloop before 0.23 did by a round."""

    def __init__(self, transport: Any, later_s: float) -> None:
        self._transport = transport
        self._later_s = later_s
        self.held = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_write_buffer_size(self) -> int:
        """What is held counts, as every loop counts what it has not handed to the kernel."""
        return self.held + self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Hold it."""
        self.held += len(data)
        loop = asyncio.get_running_loop()
        if self._later_s:
            loop.call_later(self._later_s, self._hand_on, data)
        else:
            loop.call_soon(self._hand_on, data)

    def _hand_on(self, data: bytes) -> None:
        self.held -= len(data)
        if not self._transport.is_closing():
            self._transport.write(data)


@pytest.mark.parametrize("later_s", [0.0, 0.001, 0.1], ids=["a round", "a millisecond", "long"])
async def test_what_a_loop_holds_back_has_left_before_a_stop_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, later_s: float
) -> None:
    """An order written in the very step before the halt: engaging returns when none of its bytes is here any more."""
    transports: list[Late] = []
    original = Connection.connection_made

    def holding(self: Connection, transport: asyncio.BaseTransport) -> None:
        transports.append(Late(transport, later_s))
        original(self, transports[-1])  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "connection_made", holding)
    initialise(tmp_path / "ess", clock=SystemClock())
    async with RawVenue() as venue, lane(venue.origin) as upstream:
        latch = EssLatch.open(tmp_path / "ess", clock=SystemClock(), drain=upstream.drained)

        def look() -> None:
            latch.last_look("main", reducing=False)

        try:
            await upstream.send("/fapi", REQUESTS["POST"], last_look=look, tracked=True)
            send = asyncio.ensure_future(upstream.send("/fapi", REQUESTS["POST"], last_look=look, tracked=True))
            await asyncio.sleep(0)
            assert [bool(one.held) for one in transports] == [True]
            engaged = await latch.engage(level=EssLevel.HALT, scope="global", actor="a", reason="r", source="api")

            assert [one.held for one in transports] == [0]
            assert (engaged.aborted, engaged.durable) == (0, True)
            assert (await send).status == 200
            with pytest.raises(LastLookRefused):
                await upstream.send("/fapi", REQUESTS["POST"], last_look=look, tracked=True)
            assert len(venue.requests) == 2
        finally:
            latch.close()


async def test_the_rest_of_an_order_that_is_answered_early_is_gone_before_a_stop_is_acknowledged() -> None:
    """The venue answers before it has read: the connection is reset, and whoever halts waits for that as well."""
    early = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    async with deaf_venue(says=early) as (port, readers), lane(f"http://127.0.0.1:{port}") as upstream:
        pool = next(iter(upstream._orders.values()))

        assert (await upstream.send("/fapi", BIG, tracked=True)).status == 400
        assert pool.connections, "it is not closed yet"
        assert await upstream.drained(flush_timeout_s=1, answer_timeout_s=0) == Drained(aborted=0, unanswered=0)
        assert not pool.connections
        assert await read_all(readers[0]) < len(BIG.body)


async def test_a_slow_venue_is_given_the_time_to_take_the_rest() -> None:
    """Bytes that do leave within the timeout are not cut off."""
    async with deaf_venue() as (port, readers), lane(f"http://127.0.0.1:{port}") as upstream:
        send = asyncio.ensure_future(upstream.send("/fapi", BIG, tracked=True))
        await until(lambda: bool(readers))
        drain = asyncio.ensure_future(upstream.drained(flush_timeout_s=5, answer_timeout_s=0))
        await asyncio.sleep(0.1)
        assert not drain.done()
        total = 0
        while total < len(BIG.body):
            total += len(await readers[0].read(1 << 20))

        assert await asyncio.wait_for(drain, 2) == Drained(aborted=0, unanswered=1)
        send.cancel()
        await asyncio.gather(send, return_exceptions=True)


async def test_a_send_that_timed_out_leaves_nothing_behind() -> None:
    """The deadline of a stuck order resets its connection: its bytes cannot follow later."""
    async with deaf_venue() as (port, readers), lane(
        f"http://127.0.0.1:{port}", total_timeout_s=0.2
    ) as upstream:
        with pytest.raises(UpstreamSilent):
            await upstream.send("/fapi", BIG, tracked=True)
        assert await upstream.drained(flush_timeout_s=1, answer_timeout_s=0) == Drained(aborted=0, unanswered=0)

        assert await read_all(readers[0]) < len(BIG.body)


async def test_orders_that_begin_during_a_drain_are_not_waited_for() -> None:
    """Only what passed its last look before the call counts."""
    async with RawVenue(quiet) as venue, lane(venue.origin, total_timeout_s=0.5) as upstream:
        first = asyncio.ensure_future(upstream.send("/fapi", REQUESTS["POST"], tracked=True))
        await until(lambda: len(venue.requests) == 1)
        drain = asyncio.ensure_future(upstream.drained(flush_timeout_s=1, answer_timeout_s=0.1))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(upstream.send("/fapi", REQUESTS["POST"], tracked=True))

        assert (await drain).unanswered == 1
        await asyncio.gather(first, second, return_exceptions=True)


async def test_closing_the_lane_ends_everything() -> None:
    """In line or on the way: each send ends with the error that fits."""
    async with RawVenue(quiet) as venue:
        async with lane(venue.origin, connections_max=1) as upstream:
            out = asyncio.ensure_future(upstream.send("/fapi", REQUESTS["POST"]))
            await until(lambda: len(venue.requests) == 1)
            waiting = asyncio.ensure_future(upstream.send("/fapi", REQUESTS["POST"]))
            await asyncio.sleep(0.01)
        results = await asyncio.gather(out, waiting, return_exceptions=True)

        assert isinstance(results[0], UpstreamSilent)
        assert isinstance(results[1], UpstreamUnreachable)
        assert len(venue.requests) == 1
