"""Upstream: requests of a family go to its origin, once, with a last look before the first byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from proxy.errors import ConfigError, UpstreamUnreachable
from proxy.tasks import Tasks
from proxy.upstream.connection import StreamedResponse, TimedResponse
from proxy.upstream.framing import Origin, request_bytes
from proxy.upstream.pool import Pool
from proxy.upstream.settings import UpstreamSettings
from proxy.wire import WireRequest

_FLUSH_LOOK_EVERY_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of the orders that were under way: cut off unsent, and sent without an answer yet."""

    aborted: int
    unanswered: int


class Upstream:
    """The only way out.

    `origins` maps a family (`"/fapi"`) to its origin (`"https://fapi.binance.com"`). Redirects are
    answers like any other, proxies of the environment do not exist, nothing is sent twice. `warm` names
    the families whose connections are opened ahead; left out, all are.
    """

    def __init__(
        self,
        origins: Mapping[str, str],
        settings: UpstreamSettings,
        *,
        tasks: Tasks,
        warm: Collection[str] | None = None,
    ) -> None:
        self._origins = {family: Origin.parse(text) for family, text in origins.items()}
        self._hosts = {family: origin.host_header for family, origin in self._origins.items()}
        # Without a list every origin is kept warm; an exchange's host that nobody trades on need not be.
        self._warm = {origin for family, origin in self._origins.items() if warm is None or family in warm}
        self._settings = settings
        self._tasks = tasks
        self._in_flight = 0
        self._orders: dict[Origin, Pool] = {}
        self._cancels: dict[Origin, Pool] = {}
        self._reads: dict[Origin, Pool] = {}
        self._context: ssl.SSLContext | None = None
        if any(origin.scheme == "https" for origin in self._origins.values()):
            self._context = tls_context(settings.ca_file)

    async def start(self) -> None:
        """Open the pools and warm them in the background."""
        for origin in set(self._origins.values()):
            # Each has connections of its own: neither a slow download nor a crowd of orders that a slow
            # venue has not answered may stand before a cancel.
            warm = self._settings.connections_warm if origin in self._warm else 0
            self._orders[origin] = self._pool(origin, warm)
            self._cancels[origin] = self._pool(origin, min(1, warm))
            self._reads[origin] = self._pool(origin, 0)
        for pool in self._pools():
            pool.start()

    async def close(self) -> None:
        """Close every connection. What is still out becomes UpstreamSilent."""
        for pool in self._pools():
            await pool.close()

    def _pools(self) -> tuple[Pool, ...]:
        return (*self._orders.values(), *self._cancels.values(), *self._reads.values())

    @property
    def in_flight(self) -> int:
        """Requests whose send has begun and whose answer has not ended it."""
        return self._in_flight

    async def send(
        self,
        family: str,
        request: WireRequest,
        *,
        last_look: Callable[[], None] | None = None,
        tracked: bool = False,
    ) -> TimedResponse:
        """Send once and return the answer. `tracked` marks what a halt must stop: orders.

        `last_look` raises to refuse; it runs in the same step as the write, after every wait.
        Raises UpstreamUnreachable if certainly nothing was sent, UpstreamSilent if something may
        have been, OrderNotUnderstood if the request cannot be framed.
        """
        payload = request_bytes(request, self._host(family))
        pool = (self._orders if tracked else self._cancels)[self._origins[family]]
        self._in_flight += 1
        try:
            connection = pool.take_idle() or await pool.acquire()
            # No await from here to the write.
            if last_look is not None:
                try:
                    last_look()
                except BaseException:
                    pool.give_back(connection)
                    raise
            answered = connection.ask(payload, tracked=tracked, head_only=request.method == "HEAD")
            sequence = connection.sequence
            try:
                answer: TimedResponse = await answered
            except asyncio.CancelledError:
                # Nobody reads on: a half-read connection must not meet the next request.
                connection.drop("the sender was cancelled", sequence)
                raise
            return answer
        finally:
            self._in_flight -= 1

    async def stream(self, family: str, request: WireRequest) -> StreamedResponse:
        """Send a read once; the head now, the body as it is taken. Raises as `send` does."""
        payload = request_bytes(request, self._host(family))
        pool = self._reads[self._origins[family]]
        self._in_flight += 1
        try:
            connection = pool.take_idle() or await pool.acquire()
            answered = connection.ask(payload, streamed=True, head_only=request.method == "HEAD")
            sequence = connection.sequence
            try:
                answer: StreamedResponse = await answered
            except asyncio.CancelledError:
                connection.drop("the sender was cancelled", sequence)
                raise
            return answer
        finally:
            self._in_flight -= 1

    async def drained(self, *, flush_timeout_s: float, answer_timeout_s: float) -> Drained:
        """Return when no order that passed its last look before this call can still leave the machine.

        Connections that hold unsent bytes after `flush_timeout_s` are reset. Then wait, no longer
        than `answer_timeout_s`, for answers.
        """
        loop = asyncio.get_running_loop()
        under_way = [
            (connection, connection.sequence, connection.answer)
            for pool in self._orders.values()
            for connection in pool.connections
            if connection.tracked
        ]
        # One that was given up on is known to its sender; here it only has to be gone.
        open_answers = [
            (connection, answer)
            for connection, _, answer in under_way
            if answer is not None and not answer.done()
        ]
        deadline = loop.time() + flush_timeout_s
        holding = [(connection, number) for connection, number, _ in under_way]
        while holding := [
            (connection, number)
            for connection, number in holding
            if connection.sequence == number and connection.unsent_bytes()
        ]:
            if loop.time() >= deadline:
                break
            await asyncio.sleep(_FLUSH_LOOK_EVERY_S)
        cut_off = [connection for connection, _ in holding]
        for connection in cut_off:
            connection.drop("cut off by the emergency stop before all of the request had left")
        for connection in cut_off:
            await connection.gone()
        waited_for = [answer for connection, answer in open_answers if connection not in cut_off]
        if answer_timeout_s > 0 and any(not answer.done() for answer in waited_for):
            await asyncio.wait(waited_for, timeout=answer_timeout_s)
        return Drained(
            aborted=len(cut_off),
            unanswered=sum(1 for answer in waited_for if not _was_answered(answer)),
        )

    # Inside

    def _host(self, family: str) -> bytes:
        try:
            return self._hosts[family]
        except KeyError:
            raise UpstreamUnreachable(
                f"no upstream is configured for family {family!r}; nothing was sent"
            ) from None

    def _pool(self, origin: Origin, warm: int) -> Pool:
        return Pool(
            origin,
            self._settings,
            warm=warm,
            context=self._context if origin.scheme == "https" else None,
            tasks=self._tasks,
        )


def _was_answered(answer: asyncio.Future[TimedResponse | StreamedResponse]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """How the venue is believed: chain and host name verified, TLS 1.2 or newer. There is no way to switch that off."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError(f"upstream ca_file {ca_file!r} cannot be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
