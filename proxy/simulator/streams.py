"""The exchange's WebSockets: user data of both markets and prices, on a listener of their own.

As at Binance since 2026-04-23 futures user data is at `/private/ws/<listenKey>`, prices at
`/market/ws/<stream>` and `/public/ws/<stream>`; spot user data is a subscription on the WebSocket
API, `/ws-api/v3`; spot prices are at `/ws/<stream>`. An unknown or expired listen key connects and
stays silent, which is why a client must not take an open socket for a live account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import orjson
from aiohttp import web

from proxy.simulator import keys
from proxy.simulator import streams_shapes as shapes
from proxy.simulator.account import SimAccount, SimOrder
from proxy.simulator.keys import SimKey
from proxy.simulator.market import FUTURES, SPOT, Prices
from proxy.simulator.rejection import Rejection
from proxy.simulator.streams_changes import FuturesChanges, SpotChanges
from proxy.simulator.streams_shapes import Event

GARBAGE = ("not json at all", '{"e":"ORDER_TRADE_UPDATE","o":', "[]", '{"e":"ORDER_TRADE_UPDATE","E":1,"o":{"i":"x"}}')
FAULTS = frozenset({"swallow", "duplicate", "hold", "garbage", "stale"})
STALE_MS = 60_000


class Exchange(Protocol):
    """What the streams need of the exchange behind them."""

    accounts: dict[str, SimAccount]
    orders: dict[int, SimOrder]

    def next_id(self) -> int:
        """The next id of anything."""
        ...

    def now_ms(self) -> int:
        """The exchange's time."""
        ...

    def key_named(self, api_key: str) -> SimKey | None:
        """An API key, if there is one."""
        ...


@dataclass(eq=False, slots=True)
class _Socket:
    """One WebSocket: what waits to be sent, and what it listens to."""

    socket: web.WebSocketResponse
    waiting: asyncio.Queue[tuple[float, str] | None] = field(default_factory=asyncio.Queue)
    account: str | None = None
    listen_key: str | None = None
    subscription: int | None = None
    stream: str = ""
    held: list[str] = field(default_factory=list)

    def push(self, text: str) -> None:
        """Send when its turn comes."""
        self.waiting.put_nowait((asyncio.get_running_loop().time(), text))


class Streams:
    """Pushes what happens. `faults` counts, per kind, how many coming user events go wrong."""

    def __init__(self, exchange: Exchange, prices: Prices) -> None:
        self._exchange = exchange
        self._prices = prices
        self._futures: dict[str, FuturesChanges] = {}
        self._spot: dict[str, SpotChanges] = {}
        self._sockets: set[_Socket] = set()
        self._runner: web.AppRunner | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._spawn: Callable[..., asyncio.Task[Any]]
        self.url = ""
        self.faults: dict[str, int] = {}
        self.delay_s = 0.0  # every message comes this much later
        self.is_frozen = False  # sockets live and say nothing
        self.answers_pings = True
        self.refuses = False  # no new socket is accepted
        self.price_every_s = 1.0
        self.ping_every_s = 20.0
        self.lifetime_s = 24 * 3600.0
        self.opened = 0
        self.swallowed = 0

    @property
    def is_listening(self) -> bool:
        """Whether anybody is told anything."""
        return self._runner is not None

    async def start(self, host: str, spawn: Callable[..., asyncio.Task[Any]]) -> str:
        """Listen, and say under which origin."""
        self._spawn = spawn
        app = web.Application()
        app.router.add_get("/private/ws/{key}", self._serve_futures)
        app.router.add_get("/market/ws/{stream}", self._serve_market)
        app.router.add_get("/public/ws/{stream}", self._serve_market)
        app.router.add_get("/ws/{stream}", self._serve_market)
        app.router.add_get("/ws-api/v3", self._serve_api)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, 0).start()
        self.url = f"ws://{host}:{self._runner.addresses[0][1]}"
        self._ticker = spawn(self._tick(), name="simulator.prices")
        return self.url

    async def stop(self) -> None:
        """End every socket and stop listening."""
        if self._runner is None:
            return
        self.drop()
        if self._ticker is not None:
            self._ticker.cancel()
        await self._runner.cleanup()
        self._runner = None

    # Misbehaving

    def disturb(self, kind: str, times: int = 1) -> None:
        """Let coming user events be swallowed, doubled, held back, replaced by garbage or told as old."""
        if kind not in FAULTS:
            raise ValueError(f"stream fault must be one of {sorted(FAULTS)}, found {kind!r}")
        self.faults[kind] = self.faults.get(kind, 0) + times

    def release(self, order: Callable[[list[str]], list[str]] = lambda held: held[::-1]) -> None:
        """Send what was held back, in another order."""
        self.faults.pop("hold", None)
        for socket in self._sockets:
            held, socket.held = socket.held, []
            for text in order(held):
                socket.push(text)

    def drop(self, *, account: bool = True, prices: bool = True) -> None:
        """Cut sockets off without a closing handshake."""
        for socket in list(self._sockets):
            if prices if socket.stream else account:
                transport = socket.socket._req.transport if socket.socket._req is not None else None
                if transport is not None:
                    transport.abort()
                socket.waiting.put_nowait(None)

    def expire(self, account: str) -> None:
        """The listen key ends: the stream says so and never anything again."""
        found = self._exchange.accounts[account]
        key, found.listen_key = found.listen_key, None
        for socket in self._sockets:
            if key is not None and socket.listen_key == key:
                socket.push(_text(shapes.listen_key_expired(key, self._exchange.now_ms())))

    def terminate(self, account: str) -> None:
        """A spot subscription ends, as it does when its API key is deleted."""
        for socket in self._sockets:
            if socket.account == account and socket.subscription is not None:
                event = {"e": "eventStreamTerminated", "E": self._exchange.now_ms()}
                socket.push(_text({"subscriptionId": socket.subscription, "event": event}))
                socket.subscription = None

    def margin_call(self, account: str) -> None:
        """Warn of a liquidation."""
        marks = {name: self._prices.mark(name) for name in FUTURES}
        found = self._exchange.accounts[account]
        self._push_futures(found, [shapes.margin_call(found, marks, self._exchange.now_ms())])

    def listeners(self, account: str) -> int:
        """How many live sockets carry an account's events."""
        found = self._exchange.accounts[account]
        return sum(
            1 for socket in self._sockets
            if (socket.account == account and socket.subscription is not None)
            or (socket.listen_key is not None and socket.listen_key == found.listen_key)
        )  # fmt: skip

    # Telling

    def publish(self) -> None:
        """Tell every listening account what changed since it was last told."""
        now_ms = self._exchange.now_ms()
        for name, futures in self._futures.items():
            account = self._exchange.accounts[name]
            if account.listen_key is not None and now_ms >= account.listen_key_until_ms:
                self.expire(name)
            self._push_futures(account, futures.take(now_ms))
        for name, spot in self._spot.items():
            for event in spot.take(now_ms):
                for socket in self._sockets:
                    if socket.account == name and socket.subscription is not None:
                        self._deliver(socket, {"subscriptionId": socket.subscription, "event": event}, event)

    def _push_futures(self, account: SimAccount, events: list[Event]) -> None:
        for event in events:
            for socket in self._sockets:
                if socket.listen_key is not None and socket.listen_key == account.listen_key:
                    self._deliver(socket, event, event)

    def _deliver(self, socket: _Socket, message: Event, event: Event) -> None:
        if self.is_frozen or self._strikes("swallow"):
            self.swallowed += 1
            return
        if self._strikes("garbage"):
            socket.push(GARBAGE[self._exchange.next_id() % len(GARBAGE)])
            return
        if self._strikes("stale"):
            event["E"] -= STALE_MS
        text = _text(message)
        if self._strikes("hold"):
            socket.held.append(text)
            return
        socket.push(text)
        if self._strikes("duplicate"):
            socket.push(text)

    def _strikes(self, kind: str) -> bool:
        left = self.faults.get(kind, 0)
        if left > 0:
            self.faults[kind] = left - 1
        return left > 0

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.price_every_s)
            self.push_prices()

    def push_prices(self) -> None:
        """Tell every price, as once a second."""
        if self.is_frozen:
            return
        now_ms = self._exchange.now_ms()
        for socket in self._sockets:
            if socket.stream.startswith("!markPrice@arr"):
                rows = [shapes.mark_price(one, self._prices.mark(one.name), now_ms) for one in FUTURES.values()]
                socket.push(_text(rows))
            elif socket.stream == "!miniTicker@arr":
                rows = [shapes.mini_ticker(one, self._prices.mark(one.name), now_ms) for one in SPOT.values()]
                socket.push(_text(rows))
            elif socket.stream == "!bookTicker":
                for one in FUTURES.values():
                    quote = self._prices.quote(one)
                    socket.push(_text(shapes.book_ticker(one, quote, self._exchange.next_id(), now_ms)))

    # Serving

    async def _serve_futures(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        for account in self._exchange.accounts.values():
            if account.listen_key == key and account.name not in self._futures:
                self._futures[account.name] = FuturesChanges(account, self._prices, self._exchange.orders)
        return await self._serve(request, listen_key=key)

    async def _serve_market(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, stream=request.match_info["stream"])

    async def _serve_api(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request)

    async def _serve(
        self, request: web.Request, *, listen_key: str | None = None, stream: str = ""
    ) -> web.StreamResponse:
        if self.refuses:
            raise web.HTTPServiceUnavailable
        response = web.WebSocketResponse(heartbeat=self.ping_every_s, autoping=False)
        await response.prepare(request)
        self.opened += 1
        socket = _Socket(response, listen_key=listen_key, stream=stream)
        self._sockets.add(socket)
        end = asyncio.get_running_loop().call_later(self.lifetime_s, socket.waiting.put_nowait, None)
        sender = self._spawn(self._send(socket), name="simulator.socket")
        try:
            async for message in response:
                await self._take(socket, message)
        finally:
            end.cancel()
            self._sockets.discard(socket)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        return response

    async def _send(self, socket: _Socket) -> None:
        loop = asyncio.get_running_loop()
        while (told := await socket.waiting.get()) is not None:
            at_s, text = told
            if (left_s := at_s + self.delay_s - loop.time()) > 0:
                await asyncio.sleep(left_s)
            if socket.socket.closed:
                return
            await socket.socket.send_str(text)
        await socket.socket.close()

    async def _take(self, socket: _Socket, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.PING:
            if self.answers_pings:
                await socket.socket.pong(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT and socket.listen_key is None and not socket.stream:
            socket.push(_text(self._answer(socket, message.data)))

    # The WebSocket API

    def _answer(self, socket: _Socket, text: str) -> Event:
        asked: Any = None
        try:
            asked = orjson.loads(text)
            found = self._call(socket, asked["method"], asked.get("params") or {})
        except Rejection as refused:
            return {"id": asked.get("id"), "status": refused.status, "error": refused.body()}
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            error = {"code": -1000, "msg": "Unable to process request."}
            return {"id": asked.get("id") if isinstance(asked, dict) else None, "status": 400, "error": error}
        return {"id": asked.get("id"), "status": 200, "result": found, "rateLimits": []}

    def _call(self, socket: _Socket, method: str, params: dict[str, Any]) -> Event:
        if method == "ping":
            return {}
        if method == "time":
            return {"serverTime": self._exchange.now_ms()}
        if method == "userDataStream.subscribe.signature":
            return self._subscribe(socket, {name: str(value) for name, value in params.items()})
        raise Rejection(-1000, "Unknown method.")

    def _subscribe(self, socket: _Socket, params: dict[str, str]) -> Event:
        unknown = params.keys() - {"apiKey", "timestamp", "recvWindow", "signature"}
        if unknown:
            raise Rejection(-1104, f"Not all sent parameters were read; read '3' but was sent '{len(params)}'.")
        for name in ("apiKey", "timestamp", "signature"):
            if not params.get(name):
                raise Rejection(
                    -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
                )
        key = self._exchange.key_named(params["apiKey"])
        if key is None:
            raise Rejection(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        # Over the parameters in the order of their names, whatever order they were sent in.
        payload = "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
        if not key.verifies(payload.encode(), params["signature"].encode()):
            raise Rejection(-1022, "Signature for this request is not valid.")
        keys.check_time(params, self._exchange.now_ms())
        if socket.subscription is not None:
            raise Rejection(-2035, "User Data Stream subscription already active.")
        account = self._exchange.accounts[key.account]
        if account.name not in self._spot:
            self._spot[account.name] = SpotChanges(account, self._exchange.next_id)
        socket.account, socket.subscription = account.name, 0
        return {"subscriptionId": 0}


def _text(message: object) -> str:
    return orjson.dumps(message).decode()
