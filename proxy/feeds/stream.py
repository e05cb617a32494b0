"""One WebSocket kept open: connect, listen, prove that it lives, and connect again.

An open socket proves nothing. What counts is a pong for a ping of ours: everything the venue had
sent before it has then arrived. A socket that does not answer is cut off; every connection is a
gap, because nobody knows what was missed between two of them.
"""

from __future__ import annotations

import asyncio
import random
from datetime import datetime
from typing import Any, Protocol

import aiohttp
import structlog

from proxy.clock import Clock
from proxy.feeds.polling import Health
from proxy.feeds.reading import Malformed, document
from proxy.feeds.venue import FeedFailed, bare
from proxy.tasks import Tasks

log = structlog.get_logger("riskgate.feeds")

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
CONNECT_S = 10.0
PING_S = 2.0
PONG_S = 5.0
BACKOFF_MIN_S = 0.25
BACKOFF_MAX_S = 30.0
STEADY_S = 60.0  # a connection that lived so long has earned a quick first retry
LIFETIME_S = 23.5 * 3600  # the venue ends every connection after 24 hours; ours ends before, when we choose
GARBLED_MAX = 20  # messages in a row that cannot be read: then this connection is of no use


class Gone(Exception):
    """The stream ended in a way that its own messages told: its key expired, its subscription was ended."""


class Listening(Protocol):
    """What a stream is for."""

    async def address(self) -> str:
        """Where to connect, asked for before every connection."""
        ...

    async def greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Say what is wanted, and make sure that it was understood. Raises FeedFailed."""
        ...

    def opened(self) -> None:
        """A connection lives: from here on everything is heard."""
        ...

    def take(self, found: Any) -> None:  # noqa: ANN401 - a document; what it is, its reader finds out
        """A message. Raises Malformed where it cannot be read, Gone where it ends the stream."""
        ...

    def garbled(self) -> None:
        """A message could not be read: it may have been the one that mattered."""
        ...

    def proven(self, as_of: datetime) -> None:
        """All that the venue had sent by then has been taken."""
        ...

    def closed(self) -> None:
        """The connection ended."""
        ...


class Stream:
    """Keeps a connection for somebody who listens."""

    def __init__(
        self,
        name: str,
        listening: Listening,
        session: aiohttp.ClientSession,
        clock: Clock,
        *,
        ping_s: float = PING_S,
        pong_s: float = PONG_S,
        backoff_max_s: float = BACKOFF_MAX_S,
        lifetime_s: float = LIFETIME_S,
        connect_s: float = CONNECT_S,
    ) -> None:
        self.name = name
        self._listening = listening
        self._session = session
        self._clock = clock
        self._ping_s = ping_s
        self._pong_s = pong_s
        self._backoff_max_s = backoff_max_s
        self._lifetime_s = lifetime_s
        self._connect_s = connect_s
        self._tasks: Tasks | None = None
        self._task: asyncio.Task[None] | None = None
        self._proven_s: float | None = None
        self._proven_at: datetime | None = None
        self._error: str | None = None
        self._failures = 0
        self._retries = 0  # unlike failures not ended by a sign of life: a line that dies at once stays slow
        self._malformed = 0
        self._garbled = 0
        self._sent: dict[bytes, tuple[datetime, float]] = {}
        self._pings = 0
        self._is_renewed = False
        self.connections = 0

    def start(self, tasks: Tasks) -> None:
        """Connect, and stay connected, until closed."""
        self._tasks = tasks
        self._task = tasks.spawn(self._stay(), name=f"stream {self.name}")

    async def close(self) -> None:
        """End the connection and stay away."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def renew(self) -> None:
        """Connect anew: this connection cannot be trusted."""
        self._is_renewed = True

    def health(self) -> Health:
        """Whether it lives, by its last proof."""
        age_s = None if self._proven_s is None else self._clock.monotonic() - self._proven_s
        return Health(
            name=self.name,
            ready=age_s is not None and age_s <= self._ping_s + self._pong_s,
            last_success_at=self._proven_at,
            age_s=age_s,
            last_error=self._error,
            failures=self._failures,
            malformed=self._malformed,
            is_needed=False,
        )

    async def _stay(self) -> None:
        while True:
            began_s = self._clock.monotonic()
            try:
                await self._live()
                self._failed("closed", "the venue closed the connection")
            except Gone as error:
                self._failed("gone", str(error))
            except FeedFailed as error:
                self._failed("failed", str(error))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._failed("failed", bare(error))
            except Exception as error:  # noqa: BLE001 - a background task ends here
                # A defect must not end the stream for good: it is told, and everything is read anew.
                self._failed("defect", repr(error))
            lived_s = self._clock.monotonic() - began_s
            self._retries = 0 if lived_s >= STEADY_S else self._retries + 1
            await asyncio.sleep(self.backoff_s())

    def backoff_s(self) -> float:
        """How long to stay away: longer each time, and never the same as others."""
        most_s = min(self._backoff_max_s, BACKOFF_MIN_S * 2.0 ** min(max(self._retries - 1, 0), 10))
        return most_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing

    async def _live(self) -> None:
        async with asyncio.timeout(self._connect_s):
            address = await self._listening.address()
            socket = await self._session.ws_connect(
                address,
                autoping=False,
                autoclose=True,
                max_msg_size=MESSAGE_BYTES_MAX,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        self._sent.clear()
        self._garbled = 0
        self._is_renewed = False
        assert self._tasks is not None
        beat: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._connect_s):
                await self._listening.greet(socket)
            self.connections += 1
            self._listening.opened()
            log.info("stream.opened", stream=self.name, connection=self.connections)
            beat = self._tasks.spawn(self._beat(socket), name=f"stream {self.name} heart-beat")
            async for message in socket:
                await self._heard(socket, message)
        finally:
            if beat is not None:
                self._listening.closed()
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)
            await socket.close()

    async def _heard(self, socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.TEXT:
            try:
                self._listening.take(document(message.data.encode(), bytes_max=MESSAGE_BYTES_MAX))
            except Malformed as error:
                self._misread(str(error))
            else:
                self._garbled = 0
        elif message.type is aiohttp.WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type is aiohttp.WSMsgType.PONG:
            self._answered(bytes(message.data))
        elif message.type is aiohttp.WSMsgType.BINARY:
            self._misread("a binary message, expected text")

    def _misread(self, what: str) -> None:
        self._malformed += 1
        self._garbled += 1
        log.warning("stream.garbled", stream=self.name, error=what[:200])
        self._listening.garbled()
        if self._garbled >= GARBLED_MAX:
            raise Gone(f"{self._garbled} messages in a row could not be read")

    def _answered(self, payload: bytes) -> None:
        sent = self._sent.pop(payload, None)
        if sent is None:
            return  # unasked for: proves nothing about anything we sent
        if self._failures:
            log.info("stream.recovered", stream=self.name, failures=self._failures)
        self._failures, self._error = 0, None
        self._proven_at, self._proven_s = sent
        self._listening.proven(sent[0])

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Ask for a sign of life again and again; cut the line where none comes, or when it is too old."""
        began_s = self._clock.monotonic()
        while not socket.closed:
            now_s = self._clock.monotonic()
            if any(now_s - sent_s > self._pong_s for _, sent_s in self._sent.values()):
                log.warning("stream.silent", stream=self.name)
                break
            if self._is_renewed or now_s - began_s > self._lifetime_s:
                break
            self._pings += 1
            payload = b"%d" % self._pings
            self._sent[payload] = (self._clock.now(), now_s)
            try:
                await socket.ping(payload)
            except (aiohttp.ClientError, OSError):
                break  # it is closing already; whoever listens hears of it
            await asyncio.sleep(self._ping_s)
        await socket.close()

    def _failed(self, kind: str, message: str) -> None:
        self._failures += 1
        known, self._error = self._error, f"{kind}: {message}"
        if known is None or known.partition(":")[0] != kind:
            log.warning("stream.failed", stream=self.name, kind=kind, error=message)
