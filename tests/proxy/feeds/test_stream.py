"""A connection that is kept: proven by pongs of ours, cut when silent, made again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from proxy.clock import SystemClock
from proxy.feeds.reading import Malformed
from proxy.feeds.stream import BACKOFF_MIN_S, GARBLED_MAX, Gone, Stream
from proxy.feeds.venue import FeedFailed, open_session
from proxy.tasks import Tasks

Serve = Callable[[web.WebSocketResponse], Awaitable[None]]


class Ear:
    """Somebody who listens, and remembers what was heard."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[Any] = []
        self.said: list[str] = []
        self.fails: Exception | None = None

    async def address(self) -> str:
        """Where to connect."""
        if self.fails is not None:
            raise self.fails
        return self.url

    async def greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Nothing to say."""

    def opened(self) -> None:
        """Remember."""
        self.said.append("opened")

    def closed(self) -> None:
        """Remember."""
        self.said.append("closed")

    def garbled(self) -> None:
        """Remember."""
        self.said.append("garbled")

    def proven(self, as_of) -> None:
        """Remember."""
        self.said.append("proven")

    def take(self, found: Any) -> None:
        """Numbers are messages; other things are not."""
        if found == "gone":
            raise Gone("it said so")
        if not isinstance(found, int):
            raise Malformed("expected a number")
        self.heard.append(found)


class Line:
    """A server that does with each connection what a test says, and a stream to it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.serve: Serve = idle
        self.opened = 0
        self.ear = Ear()
        self.tasks = Tasks()
        self.session = session
        self.stream = self.made()

    def made(self, **times: float) -> Stream:
        """A stream with times of its own."""
        self.stream = Stream(
            "a line", self.ear, self.session, SystemClock(),
            **{"ping_s": 0.02, "pong_s": 0.2, "backoff_max_s": 0.05, **times},
        )  # fmt: skip
        return self.stream

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One connection."""
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.opened += 1
        await self.serve(socket)
        return socket

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.005)


async def idle(socket: web.WebSocketResponse) -> None:
    """Answer pings, say nothing."""
    async for message in socket:
        if message.type is aiohttp.WSMsgType.PING:
            await socket.pong(message.data)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    """A server that listens; nothing has connected."""
    session = open_session()
    made = Line(session)
    app = web.Application()
    app.router.add_get("/ws/secret-key", made.handle)
    server = TestServer(app)
    await server.start_server()
    made.ear.url = str(server.make_url("/ws/secret-key"))
    yield made
    await made.stream.close()
    await made.tasks.close()
    await session.close()
    await server.close()


async def test_messages_are_taken_in_order_and_pongs_prove_the_line(line):
    """Opened, proven again and again; healthy as long as that is so; closed when told."""

    async def serve(socket: web.WebSocketResponse) -> None:
        for number in range(5):
            await socket.send_str(str(number))
        await idle(socket)

    line.serve = serve
    line.stream.start(line.tasks)
    await line.until(lambda: line.ear.said.count("proven") > 2)
    assert line.ear.heard == [0, 1, 2, 3, 4]
    health = line.stream.health()
    assert (health.ready, health.failures, health.last_error, health.is_needed) == (True, 0, None, False)
    await line.stream.close()
    assert line.ear.said[0] == "opened"
    assert line.ear.said[-1] == "closed"


async def test_a_ping_is_answered(line):
    """The venue cuts off who does not."""
    answers = []

    async def serve(socket: web.WebSocketResponse) -> None:
        await socket.ping(b"are you there")
        async for message in socket:
            if message.type is aiohttp.WSMsgType.PONG:
                answers.append(bytes(message.data))
                break
        await idle(socket)

    line.serve = serve
    line.stream.start(line.tasks)
    await line.until(lambda: answers == [b"are you there"])


async def test_a_pong_that_nobody_asked_for_proves_nothing(line):
    """Only an answer to a ping of ours says that everything before it has come."""

    async def serve(socket: web.WebSocketResponse) -> None:
        for _ in range(20):
            await socket.pong(b"unasked")
        await socket.receive()
        await asyncio.sleep(5)

    line.serve = serve
    line.stream.start(line.tasks)
    await line.until(lambda: line.stream.health().failures > 0)
    assert "proven" not in line.ear.said


async def test_a_silent_line_is_cut_and_made_again(line):
    """No pong within its time: closed, and opened anew; a proof that works again ends the failures."""

    async def deaf(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            pass

    line.serve = deaf
    line.stream.start(line.tasks)
    await line.until(lambda: line.opened >= 2)
    assert line.ear.said[:2] == ["opened", "closed"]
    assert not line.stream.health().ready
    line.serve = idle
    await line.until(lambda: line.stream.health().ready)
    assert line.stream.health().failures == 0


@pytest.mark.parametrize("text", ["not json", "{}", '"word"', "NaN", "[" * 100])
async def test_a_message_that_cannot_be_read_is_told_and_the_line_kept(line, text):
    """It may have mattered, so whoever listens hears of it; the next message is taken."""

    async def serve(socket: web.WebSocketResponse) -> None:
        await socket.send_str(text)
        await socket.send_str("1")
        await idle(socket)

    line.serve = serve
    line.stream.start(line.tasks)
    await line.until(lambda: line.ear.heard == [1])
    assert line.ear.said.count("garbled") == 1
    assert line.stream.health().malformed == 1
    assert line.opened == 1


async def test_a_binary_message_is_none_of_ours(line):
    """Garbled as well."""

    async def serve(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"1")
        await idle(socket)

    line.serve = serve
    line.stream.start(line.tasks)
    await line.until(lambda: "garbled" in line.ear.said)
    assert line.ear.heard == []


async def test_a_line_that_only_talks_nonsense_is_given_up(line):
    """So many in a row: this connection is of no use."""

    async def serve(socket: web.WebSocketResponse) -> None:
        for _ in range(GARBLED_MAX):
            await socket.send_str("nonsense")
        await idle(socket)

    line.serve = serve
    line.stream.start(line.tasks)
    await line.until(lambda: line.opened >= 2)


async def test_a_stream_that_says_it_ends_is_made_again(line):
    """Its key expired, its subscription ended."""

    async def serve(socket: web.WebSocketResponse) -> None:
        if line.opened == 1:
            await socket.send_str('"gone"')
        await idle(socket)

    line.serve = serve
    with capture_logs() as lines:
        line.stream.start(line.tasks)
        await line.until(lambda: line.opened >= 2)
    assert any(one["event"] == "stream.failed" and one["kind"] == "gone" for one in lines)


async def test_renewed_when_told_and_before_the_venue_does(line):
    """A connection that cannot be trusted, or that has lived its time, is replaced."""
    line.stream.start(line.tasks)
    await line.until(lambda: line.opened == 1 and "proven" in line.ear.said)
    line.stream.renew()
    await line.until(lambda: line.opened == 2)
    await line.stream.close()
    line.made(lifetime_s=0.1).start(line.tasks)
    await line.until(lambda: line.opened >= 4)


@pytest.mark.parametrize("error", [FeedFailed("no key"), ValueError("a defect"), Malformed("no key")])
async def test_whatever_fails_on_the_way_is_tried_again(line, error):
    """Nothing ends the stream but being closed."""
    line.ear.fails = error
    line.stream.start(line.tasks)
    await line.until(lambda: line.stream.health().failures >= 2)
    line.ear.fails = None
    await line.until(lambda: line.stream.health().ready)


async def test_the_address_is_never_told(line):
    """It holds the key: what is logged of a failed connection names its class."""
    line.ear.url = line.ear.url.replace("/ws/", "/nowhere/")
    with capture_logs() as lines:
        line.stream.start(line.tasks)
        await line.until(lambda: line.stream.health().failures >= 2)
    assert lines
    assert "secret-key" not in str(lines) + str(line.stream.health())


def test_waits_grow_and_are_never_the_same(line):
    """Longer each time up to the most there is; spread, so that many do not come back at once."""
    stream = line.made(backoff_max_s=30.0)
    most = []
    for retries in range(12):
        stream._retries = retries
        waits = {stream.backoff_s() for _ in range(50)}
        assert len(waits) > 40
        assert min(waits) >= max(waits) / 2 * 0.99
        most.append(max(waits))
    assert most[0] <= BACKOFF_MIN_S
    assert most[-1] <= 30.0
    assert most[4] > 2 * most[2]


async def test_a_line_that_dies_at_once_stays_slow(line):
    """A pong does not earn a quick retry; otherwise it would connect several times a second for ever."""

    async def serve(socket: web.WebSocketResponse) -> None:
        message = await socket.receive()
        await socket.pong(message.data)
        await asyncio.sleep(0.03)
        await socket.close()

    line.serve = serve
    line.stream.start(line.tasks)
    await line.until(lambda: line.opened >= 4)
    assert line.stream._retries >= 3
