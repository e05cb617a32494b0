"""The exchange as a whole: accounts, keys, what is admitted, and the record of what arrived."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Coroutine, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from proxy.clock import Clock, SystemClock
from proxy.simulator import keys, parameters
from proxy.simulator.account import Balance, SimAccount, SimOrder
from proxy.simulator.call import Call, Endpoint
from proxy.simulator.candles import Candles
from proxy.simulator.faults import Fault, Faults
from proxy.simulator.futures import Futures
from proxy.simulator.futures_account import FuturesAccount
from proxy.simulator.futures_algo import Algos
from proxy.simulator.keys import SimKey
from proxy.simulator.market import FUTURES, SPOT, ZERO, Prices
from proxy.simulator.market_data import MarketData
from proxy.simulator.received import Journal, Received, is_order_request
from proxy.simulator.rejection import Rejection
from proxy.simulator.server import Connection, Reply
from proxy.simulator.spot import Spot
from proxy.simulator.spot_lists import OrderLists
from proxy.simulator.streams import Streams
from proxy.simulator.treasury import Treasury
from proxy.tasks import Tasks

MALFORMED_MAX = 1000
_NOT_FOUND = b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>404 Not Found</body>\r\n</html>\r\n"


class SimExchange:
    """A Binance-shaped spot and USDⓈ-M exchange over HTTP.

    `fee_rate` is charged on every fill. `open_orders_max` and `order_limit_10s` switch on the
    counts that exchangeInfo announces (200 per symbol; 100 spot and 300 futures in 10 s): load
    tests need them off. `received_max` bounds the record of arrivals, which is else complete.
    """

    def __init__(
        self, clock: Clock | None = None, *, spread: Decimal = Decimal("0.0002"), fee_rate: Decimal = ZERO,
        open_orders_max: int | None = None, order_limit_10s: int | None = None, received_max: int | None = None,
        journal: Path | None = None,
    ) -> None:
        self._clock: Clock = clock if clock is not None else SystemClock()
        # Arrivals are stamped with the machine's clock whatever clock the exchange lives by, so that an
        # observer in another place can put them in order with what it saw itself.
        self._arrivals = SystemClock()
        self._prices = Prices(spread)
        self._last_id = 1000
        self._order_limit_10s = order_limit_10s
        self._counts: dict[str, tuple[int, int]] = {}
        self._weight = (0, 0)
        self._keys: dict[str, SimKey] = {}
        self._journal = Journal(journal) if journal is not None else None
        self._connections: set[Connection] = set()
        self._connections_seen = 0
        self._sequence = 0
        self._server: asyncio.Server | None = None
        self._tasks = Tasks()
        self.accounts: dict[str, SimAccount] = {}
        self.orders: dict[int, SimOrder] = {}
        self.faults = Faults()
        self.received: Any = [] if received_max is None else deque(maxlen=received_max)
        self.incompletes: list[Received] = []
        self.malformed_data: list[bytes] = []
        self.url = ""
        self.spot = Spot(self._prices, self._next_id, self.orders, fee_rate, open_orders_max)
        self.futures = Futures(self._prices, self._next_id, self.orders, fee_rate, open_orders_max)
        self.algos = Algos(self.futures)
        self.candles = Candles(self._prices)
        self.streams = Streams(self, self._prices)
        self.treasury = Treasury(self._prices, self._next_id, self._now_ms)
        desks: list[Any] = [
            self.spot, OrderLists(self.spot), self.futures, self.algos, FuturesAccount(self.futures),
            MarketData(self._prices), self.candles, self.treasury,
        ]
        self._endpoints: dict[tuple[str, bytes], Endpoint] = {
            (endpoint.method, endpoint.path.encode()): endpoint for desk in desks for endpoint in desk.endpoints()
        }

    # Setting up

    def add_account(
        self, name: str, *, spot: Mapping[str, Decimal] | None = None, futures_wallet: Decimal = ZERO
    ) -> SimAccount:
        """Open an account."""
        account = self.accounts[name] = SimAccount(name)
        account.balances = {asset: Balance(amount) for asset, amount in (spot or {}).items()}
        account.wallet = futures_wallet
        return account

    def add_key(self, api_key: str, secret: str | bytes, account: str, kind: str = "hmac") -> None:
        """Give an account an API key; `secret` is the HMAC secret, or the PEM of a public key."""
        if account not in self.accounts:
            raise ValueError(f"an API key needs an account, found {account!r}, have {sorted(self.accounts)}")
        raw = secret.encode() if isinstance(secret, str) else secret
        self._keys[api_key] = SimKey(api_key, account, kind, raw)

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, ssl_context: ssl.SSLContext | None = None) -> str:
        """Listen, and say under which address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), host, port, ssl=ssl_context, backlog=1024
        )
        bound = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if ssl_context is not None else 'http'}://{host}:{bound}"
        return self.url

    async def start_streams(self, host: str = "127.0.0.1") -> str:
        """Push events and prices over WebSockets, on a port of their own; says under which origin."""
        return await self.streams.start(host, self._tasks.spawn)

    async def stop(self) -> None:
        """Stop listening and end every connection. State and record stay readable."""
        await self.streams.stop()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.reset()
        await self._tasks.close()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    # Watching and steering

    @property
    def orders_received(self) -> list[Received]:
        """The requests that place or amend an order."""
        return [received for received in self.received if received.is_order]

    def inject(self, fault: Fault) -> None:
        """Misbehave on coming requests."""
        self.faults.inject(fault)

    def clear_faults(self) -> None:
        """Behave again."""
        self.faults.clear()

    def mark(self, symbol: str, price: Decimal | None = None) -> Decimal:
        """The mark price; with `price`, move it, trigger stops and fill resting orders."""
        if price is not None:
            self._prices.set(symbol, price)
            self._sweep(symbol)
            self._tell()
        return self._prices.mark(symbol)

    def fill(self, order_id: int, quantity: Decimal | None = None, price: Decimal | None = None) -> SimOrder:
        """Let a resting order trade, in whole or in part, whatever the book says."""
        order = self.orders[order_id]
        if not order.is_open or order.status == "PENDING_NEW" or order.is_algo:
            raise ValueError(f"only a working order can fill, found {order.status} order {order_id}")
        traded = order.remaining if quantity is None else min(quantity, order.remaining)
        at = price if price is not None else order.price or self._prices.mark(order.symbol.name)
        account = self.accounts[order.account]
        if order.market == "spot":
            self.spot.fill(account, order, traded, at, self._now_ms(), maker=True)
        else:
            self.futures.fill(account, order, traded, at, self._now_ms(), maker=True, counted=True)
        self._tell()
        return order

    def thin(self, symbol: str, quantity: Decimal | None) -> None:
        """Let the futures book have so much for one order that takes at once; None: as much as is asked."""
        if quantity is None:
            self.futures.taken_max.pop(symbol, None)
        else:
            self.futures.taken_max[symbol] = quantity

    def _tell(self) -> None:
        if self.streams.is_listening:
            self.streams.publish()

    def _sweep(self, symbol: str) -> None:
        now_ms = self._now_ms()
        for account in self.accounts.values():
            for book, desk in (("spot", self.spot), ("futures", self.futures)):
                for order in [o for o in account.open_orders[book].values() if o.symbol.name == symbol]:
                    if order.is_open:
                        desk.match(account, order, now_ms, taking=False)
            for order in [o for o in account.open_orders["algo"].values() if o.symbol.name == symbol]:
                self.algos.match(account, order, now_ms)

    # What a connection calls

    def arrived(
        self, method: str, target: bytes, headers: tuple[tuple[bytes, bytes], ...], body: bytes, connection: int,
        *, complete: bool, fault: str | None,
    ) -> Received:
        """Record a request in arrival order."""
        received = Received(
            self._sequence, int(self._arrivals.monotonic() * 1e9), method, target, headers, body,
            is_order_request(method, target), connection=connection, complete=complete, fault=fault,
        )
        self._sequence += 1
        self.received.append(received)
        if self._journal is not None and received.is_order:
            self._journal.write(received)
        return received

    def answered(self, received: Received) -> None:
        """A request is about to be answered."""

    def malformed(self, data: bytes) -> None:
        """Keep bytes that are no HTTP request."""
        if len(self.malformed_data) < MALFORMED_MAX:
            self.malformed_data.append(data)

    def incomplete(self, received: Received) -> None:
        """Keep a request whose connection ended inside it."""
        received.is_order = is_order_request(received.method, received.target)
        received.at_ns = int(self._arrivals.monotonic() * 1e9)
        self.incompletes.append(received)

    def opened(self, connection: Connection) -> int:
        """Number a connection."""
        self._connections.add(connection)
        self._connections_seen += 1
        return self._connections_seen

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run something until the exchange stops."""
        return self._tasks.spawn(work, name=name)

    def execute(self, received: Received) -> Reply:
        """Admit a request, carry it out, and word the answer."""
        target = received.target
        path, _, query = target.partition(b"?")
        endpoint = self._endpoints.get((received.method, path))
        if endpoint is None:
            return self._no_such_path(received, path)
        now_ms = self._now_ms()
        headers = b""
        try:
            call = self._admit(endpoint, received, query, now_ms)
            headers = self._usage(endpoint, call, now_ms)
            received.order_ids = call.order_ids
            reply = Reply(200, orjson.dumps(endpoint.handle(call)), headers)
        except Rejection as refused:
            received.code = refused.code
            reply = Reply(refused.status, orjson.dumps(refused.body()), headers)
        received.status = reply.status
        if received.method != "GET":
            self._tell()
        return reply

    def _no_such_path(self, received: Received, path: bytes) -> Reply:
        received.status = 404
        if path.startswith((b"/fapi/", b"/dapi/")):
            received.code = -5000
            text = f"Path {path.decode('latin-1')}, Method {received.method} is invalid"
            return Reply(404, orjson.dumps({"code": -5000, "msg": text}))
        return Reply(404, _NOT_FOUND, content_type=b"text/html")

    def _admit(self, endpoint: Endpoint, received: Received, query: bytes, now_ms: int) -> Call:
        if endpoint.security == "none":
            return Call(parameters.read(query, received.body), now_ms)
        key = self._key(received)
        values = parameters.read(query, received.body)
        if endpoint.security == "signed":
            if not values.get("timestamp"):
                raise Rejection(
                    -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed."
                )
            keys.check_signature(key, query, received.body)
            keys.check_time(values, now_ms)
        if endpoint.known is not None and not values.keys() <= endpoint.known:
            known = sum(1 for name in values if name in endpoint.known)
            raise Rejection(
                -1104,
                f"Not all sent parameters were read; read '{known}' parameter(s) but was sent '{len(values)}'.",
            )
        account = self.accounts[key.account]
        if account.countdowns:
            self.futures.run_countdowns(account, now_ms)
        return Call(values, now_ms, account)

    def _key(self, received: Received) -> SimKey:
        found = [value for name, value in received.headers if name.lower() == b"x-mbx-apikey"]
        if len(found) != 1 or not found[0]:
            raise Rejection(-2014, "API-key format invalid.", 401)
        key = self._keys.get(found[0].decode("latin-1"))
        if key is None:
            raise Rejection(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        return key

    def _usage(self, endpoint: Endpoint, call: Call, now_ms: int) -> bytes:
        minute, used = now_ms // 60_000, self._weight
        self._weight = (minute, (used[1] if used[0] == minute else 0) + endpoint.weight)
        weight = b"X-MBX-USED-WEIGHT: %d\r\nX-MBX-USED-WEIGHT-1M: %d\r\n" % (self._weight[1], self._weight[1])
        if not endpoint.orders:
            return weight
        window, key = now_ms // 10_000, endpoint.path[:5] + call.account.name
        started, count = self._counts.get(key, (window, 0))
        count = count + endpoint.orders if started == window else endpoint.orders
        self._counts[key] = (window, count)
        if self._order_limit_10s is not None and count > self._order_limit_10s:
            raise Rejection(
                -1015,
                f"Too many new orders; current limit is {self._order_limit_10s} orders per 10 SECOND.",
                429,
            )
        return weight + b"X-MBX-ORDER-COUNT-10S: %d\r\n" % count

    def now_ms(self) -> int:
        """The exchange's time."""
        return self._now_ms()

    def next_id(self) -> int:
        """The next id of anything."""
        return self._next_id()

    def key_named(self, api_key: str) -> SimKey | None:
        """An API key, if there is one."""
        return self._keys.get(api_key)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


SYMBOLS = tuple(sorted({*SPOT, *FUTURES}))
