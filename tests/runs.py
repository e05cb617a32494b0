"""A whole deployment in one process for randomised runs: bots on raw sockets, proxy, simulated exchange.

    async with open_run(tmp_path) as run:
        bot = run.bots(1)[0]
        status, headers, body = await bot.order(quantity="0.005")

Everything is real but the exchange: the listener, the admin API, the lane, the files. Account
`direct` is passthrough, its bots sign with venue keys; account `desk` is custody.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import secrets
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import orjson

from proxy import ess
from proxy.app import App
from proxy.clock import SystemClock
from proxy.config import FAMILIES, from_mapping
from proxy.simulator import SimExchange
from tests.canary import marked, noted
from tests.clients import authority

ORDER_PATH = "/fapi/v1/order"
BOTS = 16  # per account
READY_TIMEOUT_S = 20.0
HEAD_BYTES_MAX = 1 << 20
POLICY = """\
# Every limit is out of the way unless a run states its own.
active_mode: OPEN
risk_profiles:
  OPEN: {leverage_max: "125", trade_risk_max: "100%", drawdown_daily_max: "100%", open_positions_max: 100,
         position_notional_max: "100000000000", confidence_min: "0"}
capital_profiles:
  open: {loss_daily_max: "100%", loss_weekly_max: "100%", trade_risk_max: "100%", open_positions_max: 100,
         leverage_max: "125"}
risk_source: {kind: none}
accounts:
  direct: {capital_profile: open, strategies: any, symbols: any, scaling: SCALING, size: SIZE}
  desk: {capital_profile: open, strategies: any, symbols: any, scaling: SCALING, size: SIZE}
"""


class Reply(NamedTuple):
    """An answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def code(self) -> int | None:
        """The venue's error code in it, if one."""
        found = self.json
        return found.get("code") if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the secret that signs for it."""

    key: str
    secret: str = field(repr=False)


def key_of(name: str) -> Key:
    """A recognisable pair, of no worth outside these tests."""
    return Key(marked(f"{name}-key-for-randomised-runs"), marked(f"{name}-secret-for-randomised-runs"))


class Wire:
    """One keep-alive connection, opened when first needed and again when it was closed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def authority(self) -> str:
        """What a Host header says."""
        return f"{self._host}:{self._port}"

    async def raw(self, data: bytes, *, timeout_s: float = 30.0) -> Reply:
        """Send bytes as they are and read one answer. Raises ConnectionError if none comes."""
        try:
            async with asyncio.timeout(timeout_s):
                if self._writer is None or self._reader is None or self._reader.at_eof() or self._writer.is_closing():
                    await self.close()
                    self._reader, self._writer = await asyncio.open_connection(
                        self._host, self._port, limit=HEAD_BYTES_MAX
                    )
                self._writer.write(data)
                reply = await _read_answer(self._reader, head_only=data.startswith(b"HEAD "))
        except asyncio.IncompleteReadError as error:
            await self.close()
            raise ConnectionError(f"closed after {len(error.partial)} bytes of an answer") from error
        except BaseException:
            await self.close()
            raise
        noted(str(reply.headers).encode() + reply.body)
        if reply.headers.get("connection", "").lower() == "close":
            await self.close()
        return reply

    async def close(self) -> None:
        """Hang up."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()
            await asyncio.sleep(0)


async def _read_answer(reader: asyncio.StreamReader, *, head_only: bool) -> Reply:
    status = 100
    headers: dict[str, str] = {}
    while status < 200:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        status = int(first.split(" ", 2)[1])
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
    if head_only or status in (204, 304):
        return Reply(status, headers, b"")
    if "content-length" in headers:
        return Reply(status, headers, await reader.readexactly(int(headers["content-length"])))
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return Reply(status, headers, await reader.read())
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return Reply(status, headers, body)


class RawBot(Wire):
    """A bot: an address, a key, and a signature as Binance's documents say."""

    def __init__(self, url: str, name: str, key: Key) -> None:
        super().__init__(url)
        self.name = name
        self.key = key
        self._numbers = itertools.count(1)

    def next_name(self) -> str:
        """A client order id that nobody has used."""
        return f"{self.name}-{next(self._numbers)}"

    def bytes_of(
        self, method: str, path: str, *, in_query: bool | None = None, timestamp_ms: int | None = None,
        **parameters: object,
    ) -> bytes:  # fmt: skip
        """A signed request as it goes over the wire."""
        stamp = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
        given = {name: value for name, value in parameters.items() if value is not None}
        text = urlencode({**given, "timestamp": stamp})
        text += "&signature=" + hmac.new(self.key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        if method in ("GET", "DELETE") if in_query is None else in_query:
            path, text = f"{path}?{text}", ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.authority}\r\nX-MBX-APIKEY: {self.key.key}\r\n"
        if text:
            head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(text)}\r\n"
        return f"{head}\r\n{text}".encode()

    async def request(self, method: str, path: str, **parameters: object) -> Reply:
        """Sign, send, and read the answer."""
        return await self.raw(self.bytes_of(method, path, **parameters))

    async def order(self, **changes: object) -> Reply:
        """A limit order to buy a little, far below the market; a value of None leaves a parameter out."""
        return await self.raw(self.order_bytes(**changes))

    def order_bytes(self, *, method: str = "POST", path: str = ORDER_PATH, **changes: object) -> bytes:
        """The request that `order` sends."""
        parameters: dict[str, object] = {
            "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.005",
            "price": "59000", "newClientOrderId": self.next_name(),
        }  # fmt: skip
        return self.bytes_of(method, path, **(parameters | changes))

    async def cancel(self, client_order_id: str, symbol: str = "BTCUSDT") -> Reply:
        """Cancel by client order id."""
        return await self.request("DELETE", ORDER_PATH, symbol=symbol, origClientOrderId=client_order_id)


class Acknowledged(NamedTuple):
    """An admin answer, and the instants (monotonic nanoseconds) around the call."""

    document: dict[str, Any]
    asked_ns: int
    answered_ns: int


class RunAdmin(Wire):
    """The operator's hand on the admin API."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url)
        self._token = token

    async def call(self, method: str, path: str, **document: object) -> Reply:
        """Ask or act."""
        body = orjson.dumps(document) if document else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.authority}\r\nAuthorization: Bearer {self._token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return await self.raw(head.encode() + b"\r\n" + body)

    async def engage(
        self, *, scope: str = "global", level: str = "halt", reason: str = "a run", actor: str = "run"
    ) -> Acknowledged:
        """Engage the stop; anything but a full success is an error."""
        return await self._act("/admin/v1/ess/engage", scope=scope, level=level, reason=reason, actor=actor)

    async def release(
        self, epoch: int, *, scope: str = "global", reason: str = "a run goes on", actor: str = "run"
    ) -> Acknowledged:
        """Release the stop that was seen at this epoch, with a second person where it needs one."""
        asked_ns = time.monotonic_ns()
        for person in (actor, f"{actor}'s colleague"):
            reply = await self.call(
                "POST", "/admin/v1/ess/release", scope=scope, reason=reason, actor=person, expected_epoch=epoch
            )
            if reply.status != 202:
                break
        assert reply.status == 200, reply
        return Acknowledged(reply.json, asked_ns, time.monotonic_ns())

    async def stops(self) -> dict[str, str]:
        """Scope to level, as the API shows it."""
        reply = await self.call("GET", "/admin/v1/ess")
        assert reply.status == 200, reply
        return {stop["scope"]: stop["level"] for stop in reply.json["stops"]}

    async def _act(self, path: str, **document: object) -> Acknowledged:
        asked_ns = time.monotonic_ns()
        reply = await self.call("POST", path, **document)
        answered_ns = time.monotonic_ns()
        assert reply.status == 200, reply
        return Acknowledged(reply.json, asked_ns, answered_ns)


@dataclass
class Run:
    """The parts of a run."""

    app: App
    sim: SimExchange
    proxy_url: str
    admin_url: str
    admin: RunAdmin
    folder: Path
    tls_context: ssl.SSLContext | None = None  # the exchange's
    clients: list[Wire] = field(default_factory=list)

    def bots(self, count: int, account: str = "direct", *, direct_to_venue: bool = False) -> list[RawBot]:
        """Bots of an account, each with a key of its own."""
        url = self.sim.url if direct_to_venue else self.proxy_url
        made = [RawBot(url, f"{account}-{number}", key_of(f"{account}-{number}")) for number in range(count)]
        self.clients.extend(made)
        return made

    def bot(self, account: str = "direct", number: int = 0) -> RawBot:
        """One more connection for a bot of that account; its client order ids are its own."""
        bot = RawBot(self.proxy_url, f"{account}-{number}", key_of(f"{account}-{number}"))
        bot.name = f"{bot.name}-{len(self.clients)}"
        self.clients.append(bot)
        return bot

    async def stop_listening(self) -> None:
        """The exchange takes no connections any more and ends those it has."""
        assert self.sim._server is not None
        self.sim._server.close()
        for _ in range(10):  # a handshake under way becomes a connection a little later
            for connection in list(self.sim._connections):
                connection.close()
            await asyncio.sleep(0.01)

    async def listen_again(self) -> None:
        """The exchange is back under its old address."""
        await self.sim.start(port=urlsplit(self.sim.url).port or 0, ssl_context=self.tls_context)

    async def until(self, holds: Any, what: str, timeout_s: float = 10.0) -> None:
        """Wait until something holds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {timeout_s:g} s") from None


def tell(figures: str) -> None:
    """Leave a run's figures in its captured output: `pytest -rP` shows them."""
    sys.stdout.write(figures + "\n")


def policy_of(*, scaling: str = "off", size: Mapping[str, str] | None = None) -> str:
    """The policy's text."""
    stated = orjson.dumps(dict(size or {})).decode()
    return POLICY.replace("SCALING", scaling).replace("SIZE", stated)


def settings_tree(
    folder: Path, exchange_url: str, *, sync: str = "process", upstream: Mapping[str, object] | None = None,
    account_interval: str = "500ms", market_interval: str = "500ms", markets: tuple[str, ...] = ("futures",),
    connections_max: int = 2000, accounts: Mapping[str, object] | None = None,
    store: Mapping[str, object] | None = None, global_risk: Mapping[str, object] | None = None,
    telemetry: Mapping[str, object] | None = None, more: Mapping[str, object] | None = None, **feeds: str,
) -> dict[str, Any]:  # fmt: skip
    """The settings as a file would state them."""
    names = range(BOTS)
    direct = {f"b{number}": {"key": key_of(f"direct-{number}").key, "strategy": "grid"} for number in names}
    desk = {
        f"b{number}": {
            "key": key_of(f"desk-{number}").key, "secret": key_of(f"desk-{number}").secret, "strategy": "grid",
        }
        for number in names
    }  # fmt: skip
    venue = {account: key_of(f"venue-{account}") for account in ("direct", "desk")}
    return {
        "listen": {"bind": "127.0.0.1:0", "connections_max": connections_max},
        "admin": {"bind": "127.0.0.1:0"},
        "data_dir": str(folder / "data"),
        "policy_file": str(folder / "policy.yaml"),
        "upstream": {**dict.fromkeys(FAMILIES, exchange_url), **(upstream or {})},
        "audit": {"sync": sync},
        "store": dict(store or {}),
        "feeds": {"account_interval": account_interval, "market_interval": market_interval, **feeds},
        **({"global_risk": dict(global_risk)} if global_risk else {}),
        **({"telemetry": dict(telemetry)} if telemetry else {}),
        "log": {"level": "error", "format": "console"},
        "accounts": {
            account: {
                "mode": mode,
                "credentials": {"api_key": venue[account].key, "secret": venue[account].secret},
                "markets": list(markets),
                "bots": bots,
                **(accounts or {}),
            }
            for account, mode, bots in (("direct", "passthrough", direct), ("desk", "custody", desk))
        },
        **(more or {}),
    }


def add_accounts(sim: SimExchange, *, wallet: Decimal = Decimal(100_000_000)) -> None:
    """Both accounts, their venue keys, and a venue key for each passthrough bot."""
    for account in ("direct", "desk"):
        sim.add_account(account, spot={"USDT": wallet, "BTC": Decimal(100_000)}, futures_wallet=wallet)
        venue = key_of(f"venue-{account}")
        sim.add_key(venue.key, venue.secret, account=account)
    for number in range(BOTS):
        key = key_of(f"direct-{number}")
        sim.add_key(key.key, key.secret, account="direct")


def give_token(data: Path) -> None:
    """An admin token that is found wherever it is told."""
    file = data / "admin_token"
    file.touch(mode=0o600)
    file.write_text(marked(f"admin-{secrets.token_hex(8)}"))


def write_policy(folder: Path, text: str) -> None:
    """The files a first start needs."""
    (folder / "policy.yaml").write_text(text)
    (folder / "data").mkdir(mode=0o700)
    give_token(folder / "data")
    ess.initialise(folder / "data" / "ess", clock=SystemClock())


@asynccontextmanager
async def open_run(
    folder: Path, *, tls: bool = False, size: Mapping[str, str] | None = None, scaling: str = "off",
    upstream: Mapping[str, object] | None = None, wallet: Decimal = Decimal(100_000_000), sync: str = "process",
    received_max: int | None = None, exchange_url: str | None = None, streams: bool = False, more_policy: str = "",
    risk: str = "none",
    prepare: Callable[[SimExchange], None] | None = None, **settings: Any,
) -> AsyncIterator[Run]:  # fmt: skip
    """Start exchange, proxy and admin; everything is closed at the end.

    `upstream` overrides settings of the lane (`connections_max`, `total_timeout`, ...), `size`
    states limits, `tls` lets the exchange speak TLS, `exchange_url` puts something before it. With
    `streams` the exchange pushes and the proxy listens; `prepare` changes the exchange before anything starts.
    """
    folder.mkdir(exist_ok=True)
    sim = SimExchange(received_max=received_max)
    add_accounts(sim, wallet=wallet)
    if prepare is not None:
        prepare(sim)
    lane = dict(upstream or {})
    context = None
    if tls:
        files = authority.make(folder, ["localhost"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        lane["ca_file"] = str(files.ca)
    await sim.start(ssl_context=context)
    if streams:
        lane["streams"] = dict.fromkeys(("fapi", "api", "ws_api"), await sim.start_streams())
    url = sim.url.replace("127.0.0.1", "localhost") if tls else sim.url
    policy = policy_of(scaling=scaling, size=size).replace("kind: none", f"kind: {risk}")
    write_policy(folder, policy + more_policy)
    tree = settings_tree(folder, exchange_url or url, sync=sync, upstream=lane, **settings)
    app = App.from_settings(from_mapping(tree, base=folder, source="(a run)"))
    run: Run | None = None
    try:
        await app.start()
        token = app.settings.admin_token_path.read_text("utf-8").strip()
        run = Run(app, sim, app.proxy_url, app.admin_url, RunAdmin(app.admin_url, token), folder, context)
        run.clients.append(run.admin)
        await run.until(lambda: app.status.ready()[0], "ready", READY_TIMEOUT_S)
        yield run
    finally:
        for client in run.clients if run else ():
            await client.close()
        if run is not None:
            await app.stop()
        await sim.stop()
