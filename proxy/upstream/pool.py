"""Connections to one origin: some kept warm, a bound on all, and a fair line for those who wait."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections import deque
from collections.abc import Collection
from typing import Final, cast

import structlog

from proxy.errors import UpstreamUnreachable
from proxy.tasks import Tasks
from proxy.upstream.connection import Connection
from proxy.upstream.framing import Origin
from proxy.upstream.settings import UpstreamSettings

log: Final = structlog.get_logger("riskgate.upstream")

_WARM_EVERY_S: Final = 1.0
_WARM_BACKOFF_MAX_S: Final = 30.0


class Pool:
    """Connections to one origin. Everything here happens before a byte of a request is written."""

    def __init__(
        self,
        origin: Origin,
        settings: UpstreamSettings,
        *,
        warm: int,
        context: ssl.SSLContext | None,
        tasks: Tasks,
    ) -> None:
        self.origin = origin
        self._settings = settings
        self._warm = min(warm, settings.connections_max)
        self._context = context
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []  # the last one used is the first one taken
        self._waiters: deque[asyncio.Future[Connection]] = deque()
        self._connecting = 0
        self._closed = False
        self._warmer: asyncio.Task[None] | None = None
        self._connectors: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> Collection[Connection]:
        """All that are open."""
        return self._open

    def start(self) -> None:
        """Keep a few connections open in the background."""
        self._warmer = self._tasks.spawn(self._keep_warm(), name=f"upstream.warm {self.origin}")

    async def close(self) -> None:
        """Close every connection; whoever waits is told."""
        self._closed = True
        background = [*self._connectors, *([self._warmer] if self._warmer is not None else [])]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(self._unreachable("the proxy is stopping"))
        self._waiters.clear()
        for connection in list(self._open):
            if connection.is_busy:
                connection.drop("the proxy is stopping")
            connection.abort()
            await connection.gone()

    # For those who send

    def take_idle(self) -> Connection | None:
        """A connection that is open and usable this very moment, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.abort()
        return None

    async def acquire(self) -> Connection:
        """A usable connection, waiting in line for it. Raises UpstreamUnreachable: nothing was sent."""
        deadline = self._loop.time() + self._settings.queue_timeout_s
        while True:
            if self._closed:
                raise self._unreachable("the proxy is stopping")
            connection = self.take_idle() or await self._stand_in_line(deadline)
            if connection.is_usable():
                return connection
            connection.abort()
            if connection.sequence == 0:
                # A venue that hangs up on whoever connects would be connected to thousands of times a second.
                raise self._unreachable("the connection was closed at once")

    def give_back(self, connection: Connection) -> None:
        """Return a connection on which nothing is under way."""
        if self._closed or not connection.is_usable():
            connection.abort()
            return
        self.released(connection)

    # For the connections

    def released(self, connection: Connection) -> None:
        """Hand the connection to the next in line, or keep it for the next who comes."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if self._closed:
            connection.abort()
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a closed connection; its place is free for those who wait."""
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        self._open_for_waiters()

    # Inside

    async def _stand_in_line(self, deadline: float) -> Connection:
        waiter: asyncio.Future[Connection] = self._loop.create_future()
        self._waiters.append(waiter)
        timer = self._loop.call_at(deadline, self._give_up, waiter)
        self._open_for_waiters()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give_back(waiter.result())
            raise
        finally:
            timer.cancel()

    def _give_up(self, waiter: asyncio.Future[Connection]) -> None:
        if waiter.done():
            return
        with contextlib.suppress(ValueError):
            self._waiters.remove(waiter)
        waiter.set_exception(
            self._unreachable(
                f"no connection free within {self._settings.queue_timeout_s:g} s "
                f"({len(self._open)} open, {self._connecting} connecting, "
                f"at most {self._settings.connections_max})"
            )
        )

    def _open_for_waiters(self) -> None:
        """Start as many connects as there are people in line and places free."""
        waiting = sum(1 for waiter in self._waiters if not waiter.done()) if self._waiters else 0
        while self._connecting < waiting and self._has_place():
            self._spawn_connect()

    def _has_place(self) -> bool:
        return not self._closed and len(self._open) + self._connecting < self._settings.connections_max

    def _spawn_connect(self) -> None:
        self._connecting += 1
        task = self._tasks.spawn(self._connect_for_line(), name=f"upstream.connect {self.origin}")
        self._connectors.add(task)
        task.add_done_callback(self._connectors.discard)

    async def _connect_for_line(self) -> None:
        """Open one connection and put it into circulation; on failure the first in line is told."""
        try:
            connection = await self._connect()
        except UpstreamUnreachable as error:
            self._connecting -= 1
            self._tell_first_in_line(error)
        except BaseException:
            self._connecting -= 1
            raise
        else:
            self._connecting -= 1
            if not connection.is_usable():
                self._tell_first_in_line(self._unreachable("the connection was closed at once"))
            self.give_back(connection)
        self._open_for_waiters()

    def _tell_first_in_line(self, error: UpstreamUnreachable) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                return

    async def _connect(self) -> Connection:
        """A new connection, TLS done and checked. Raises UpstreamUnreachable."""
        connection = Connection(self, self._settings, self._loop, str(self.origin))
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                raw, _ = await self._loop.create_connection(
                    lambda: connection, self.origin.host, self.origin.port
                )
                self._open.add(connection)
                self._check_peer(raw)
                if self._context is not None:
                    secured = await self._loop.start_tls(
                        raw, connection, self._context, server_hostname=self.origin.host
                    )
                    connection.secured(cast(asyncio.Transport, secured))
        except UpstreamUnreachable:
            self._discard(connection)
            raise
        except TimeoutError as error:
            self._discard(connection)
            raise self._unreachable(f"no connection within {self._settings.connect_timeout_s:g} s") from error
        except ssl.SSLError as error:
            self._discard(connection)
            log.error("upstream.certificate_refused", origin=str(self.origin), error=str(error))
            raise self._unreachable(f"TLS failed: {error}") from error
        except (OSError, UnicodeError) as error:
            self._discard(connection)
            raise self._unreachable(f"cannot connect: {error}") from error
        except BaseException:
            self._discard(connection)
            raise
        connection.idle_since = self._loop.time()
        return connection

    def _check_peer(self, transport: asyncio.BaseTransport) -> None:
        """A venue's name that leads to a private address has been rebound: a keyed request must not go there."""
        if transport.is_closing():
            raise self._unreachable("the connection was closed at once")
        if self._settings.private_addresses_allowed or self.origin.is_address:
            return
        peer = transport.get_extra_info("peername")
        if peer is None:  # reset before it could be asked
            raise self._unreachable("the connection was closed at once")
        found = ipaddress.ip_address(str(peer[0]).partition("%")[0])
        if not found.is_global:
            log.error("upstream.address_refused", origin=str(self.origin), address=str(found))
            raise self._unreachable(f"the name leads to {found}, which is not a public address")

    def _discard(self, connection: Connection) -> None:
        connection.abort()
        # During the handshake TLS, not we, is told of the loss.
        self._open.discard(connection)

    def _unreachable(self, why: str) -> UpstreamUnreachable:
        return UpstreamUnreachable(f"{self.origin}: {why}; nothing was sent")

    async def _keep_warm(self) -> None:
        """Replace what closed or grew old; an origin that does not answer is asked less often."""
        pause_s = _WARM_EVERY_S
        while True:
            self._retire_old()
            missing = self._warm - len(self._idle) - self._connecting
            failed = False
            for _ in range(missing):
                if not self._has_place():
                    break
                self._connecting += 1
                try:
                    connection = await self._connect()
                except UpstreamUnreachable as error:
                    self._connecting -= 1
                    log.warning("upstream.unreachable", origin=str(self.origin), error=str(error))
                    self._open_for_waiters()  # they may have counted on this one
                    failed = True
                    break
                except BaseException:
                    self._connecting -= 1
                    raise
                self._connecting -= 1
                self.give_back(connection)
            pause_s = min(pause_s * 2, _WARM_BACKOFF_MAX_S) if failed else _WARM_EVERY_S
            await asyncio.sleep(pause_s)

    def _retire_old(self) -> None:
        """Close connections that were idle for too long: the venue would, at a bad moment."""
        oldest = self._loop.time() - self._settings.idle_s
        for connection in [kept for kept in self._idle if kept.idle_since < oldest]:
            self._idle.remove(connection)
            connection.abort()
