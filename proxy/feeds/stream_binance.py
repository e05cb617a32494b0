"""Binance's user data streams: where they are, how they are asked for, and what each message is.

Contracts: a listen key, one per account and shared with whoever else uses the account, so it is
kept alive and never deleted. Spot: a signed subscription on the WebSocket API, since listen keys
were withdrawn there on 2026-02-20.
https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Important-WebSocket-Change-Notice
https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/user-data-stream-requests
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import aiohttp
import orjson
import structlog

from proxy.book import Book
from proxy.clock import Clock
from proxy.feeds.reading import Malformed, document, optional_stamp_ms, record, stamp_ms, text
from proxy.feeds.server_time import ServerTime
from proxy.feeds.stream import Gone, Stream
from proxy.feeds.stream_account import Live
from proxy.feeds.stream_events import (
    Triggered,
    account_reason,
    algo_step,
    futures_held,
    futures_step,
    leverage_set,
    spot_held,
    spot_step,
)
from proxy.feeds.venue import FeedFailed, Venue
from rules import Market

log = structlog.get_logger("riskgate.feeds")

LISTEN_KEY = re.compile(r"[A-Za-z0-9]{16,128}", re.ASCII)
NO_SUCH_KEY = -1125
SUBSCRIBE = "userDataStream.subscribe.signature"
GREETING_MESSAGES_MAX = 20


class UserStream(ABC):
    """What both markets have in common."""

    def __init__(
        self,
        name: str,
        live: Live,
        venue: Venue,
        server_time: ServerTime,
        origin: str,
        session: aiohttp.ClientSession,
        clock: Clock,
        *,
        book: Book,
        exchange: str,
        **times: float,
    ) -> None:
        self.live = live
        self._book = book
        self._exchange = exchange
        self._clock = clock
        self._venue = venue
        self._time = server_time
        self._origin = origin.rstrip("/")
        self.stream = Stream(name, self, session, clock, **times)
        self.wants_equity: Callable[[], None] = _nothing
        self.wants_config: Callable[[], None] = _nothing
        live.wants_connection = self.stream.renew

    async def address(self) -> str:
        """Where to connect; not before the venue's time is known, which events are compared with."""
        if not await self._time.known():
            raise FeedFailed("the venue's time has not been measured yet")
        return await self._address()

    @abstractmethod
    async def _address(self) -> str:
        """Where to connect, once the time is known."""

    async def greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:  # noqa: B027 - most streams need no greeting
        """Nothing to say."""

    def opened(self) -> None:
        """From here on everything is heard."""
        self.live.opened()

    def garbled(self) -> None:
        """A message could not be read."""
        self.live.gap()

    def proven(self, as_of: datetime) -> None:
        """The line lives."""
        self.live.proven(as_of)

    def closed(self) -> None:
        """The connection ended."""
        self.live.closed()

    @abstractmethod
    def take(self, found: Any) -> None:  # noqa: ANN401 - a document; the readers narrow it
        """A message."""


class FuturesStream(UserStream):
    """The user data stream of a USDⓈ-M account."""

    async def _address(self) -> str:
        reply = await self._venue.ask("POST", "/fapi/v1/listenKey", keyed=True)
        key = text(record(reply.found), "listenKey")
        if LISTEN_KEY.fullmatch(key) is None:
            raise Malformed("listenKey: expected letters and digits")
        return f"{self._origin}/private/ws/{key}"

    async def keep_alive(self) -> None:
        """Ask for another hour; a key that is gone is replaced by connecting anew."""
        try:
            await self._venue.ask("PUT", "/fapi/v1/listenKey", keyed=True)
        except FeedFailed as error:
            if error.code != NO_SUCH_KEY:
                raise
            log.warning("stream.key_gone", account=self.live.account)
            self.live.gap()
            self.stream.renew()

    def take(self, found: Any) -> None:  # noqa: ANN401 - as in the base class
        """An event; those that say nothing of orders, holdings or settings are passed over."""
        event = record(found)
        deed = self.DEEDS.get(text(event, "e"))
        if deed is not None:
            deed(self, event)

    def _order(self, event: Mapping[str, Any]) -> None:
        step = futures_step(event)
        self.live.step(step, stamp_ms(event, "T"))

    def _account(self, event: Mapping[str, Any]) -> None:
        reason = account_reason(event)
        self.live.told(futures_held(event))
        self.wants_equity()
        if reason == "MARGIN_TYPE_CHANGE":
            self.wants_config()

    def _algo(self, event: Mapping[str, Any]) -> None:
        found = algo_step(event)
        if isinstance(found, Triggered):
            self.live.triggered(found, stamp_ms(event, "E"))
        elif found is not None:
            self.live.step(found, found.at_ms)

    def _config(self, event: Mapping[str, Any]) -> None:
        changed = leverage_set(event)
        if changed is not None:
            self._book.set_leverage(self.live.account, changed.symbol, changed.leverage, self._clock.now())
        self.wants_equity()

    def _margin_call(self, event: Mapping[str, Any]) -> None:
        symbols = [text(row, "s") for row in event.get("p", []) if isinstance(row, dict)]
        log.error("account.margin_call", account=self.live.account, symbols=symbols)
        self.wants_equity()
        self.live.wants_reading()

    def _expired(self, event: Mapping[str, Any]) -> None:
        del event
        raise Gone("the listen key has expired")

    DEEDS: Mapping[str, Callable[[FuturesStream, Mapping[str, Any]], None]] = {
        "ORDER_TRADE_UPDATE": _order,
        "ACCOUNT_UPDATE": _account,
        "ALGO_UPDATE": _algo,
        "ACCOUNT_CONFIG_UPDATE": _config,
        "MARGIN_CALL": _margin_call,
        "listenKeyExpired": _expired,
    }


class SpotStream(UserStream):
    """The user data subscription of a spot account."""

    _asked = 0  # questions, by which their answers are told apart

    async def _address(self) -> str:
        return f"{self._origin}/ws-api/v3"

    async def greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Subscribe; what is refused is an error that says so."""
        self._asked += 1
        number = str(self._asked)
        params = self._venue.signed_parameters()
        await socket.send_str(orjson.dumps({"id": number, "method": SUBSCRIBE, "params": params}).decode())
        for _ in range(GREETING_MESSAGES_MAX):
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            answer = record(document(message.data.encode()))
            if answer.get("id") != number:
                continue
            if answer.get("status") == 200:
                return
            error = answer.get("error")
            code = error.get("code") if isinstance(error, dict) else None
            said = code if type(code) is int else None
            raise FeedFailed(f"{SUBSCRIBE}: refused, code {said}", code=said)
        raise FeedFailed(f"{SUBSCRIBE}: no answer")

    def take(self, found: Any) -> None:  # noqa: ANN401 - as in the base class
        """An event of the subscription, or an answer that nobody waits for."""
        message = record(found)
        if "event" not in message:
            if "id" not in message:
                raise Malformed("expected an event or an answer")
            return
        event = record(message["event"])
        kind = text(event, "e")
        if kind == "executionReport":
            step = spot_step(event, self._book.filters(self._exchange, Market.SPOT))
            self.live.step(step, optional_stamp_ms(event, "O"))
        elif kind == "outboundAccountPosition":
            self.live.told(spot_held(event))
        elif kind == "balanceUpdate":
            self.live.timed(stamp_ms(event, "E"))  # the balance itself is told beside it
        elif kind in ("eventStreamTerminated", "serverShutdown"):
            raise Gone(kind)


def _nothing() -> None:
    """Nobody is to be told."""
