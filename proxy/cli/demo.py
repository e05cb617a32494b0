"""`riskgate demo`: a simulated exchange, the proxy before it, and six orders through the real path.

Nothing is staged: the bot signs as Binance asks, the proxy judges, records and forwards, and
what is printed was read from what the exchange received. The first order is sent by a
passthrough bot, whose bytes the exchange must see unchanged; the others by a custody bot,
which never has the exchange's key, so that its orders arrive with another signature.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlencode

import aiohttp
import orjson
from yarl import URL

from proxy import loops
from proxy.cli.output import CommandFailed, Exit, say, table
from proxy.cli.starter import write_new
from proxy.clock import SystemClock
from proxy.config import FAMILIES, Bind, NotifyEvents, Settings, from_mapping, parse_bind

if TYPE_CHECKING:
    from proxy.app import App
    from proxy.simulator import SimExchange

ORDER_PATH = "/fapi/v1/order"
SYMBOL = "BTCUSDT"
LEVERAGE = 3
READY_TIMEOUT_S = 20.0
RECOVERY_S = 10.0
POLICY_TEXT = """\
# The demo's policy: orders of at most 600 USDT, made smaller rather than blocked, in two symbols.
active_mode: NORMAL
risk_source: {kind: none}
accounts:
  direct: {capital_profile: aggressive, strategies: any, symbols: [BTCUSDT, ETHUSDT]}
  desk:
    capital_profile: aggressive
    strategies: [demo]
    symbols: [BTCUSDT, ETHUSDT]
    scaling: allowed
    size: {order_notional_max: "600"}
"""


class Binds(NamedTuple):
    """Where the three parts listen; port 0 is any free one."""

    proxy: Bind
    admin: Bind
    exchange: Bind

    @classmethod
    def parse(cls, *, proxy: str, admin: str, exchange: str) -> Binds:
        """Read the three options."""
        found = []
        for name, text in (("proxy", proxy), ("admin", admin), ("exchange", exchange)):
            try:
                found.append(parse_bind(text))
            except ValueError as error:
                raise CommandFailed(f"--{name}-bind: found {text!r}; expected {error}", Exit.USAGE) from None
        return cls(*found)


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the secret that signs for it."""

    key: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Key:
        """A fresh pair, as long as Binance's."""
        return cls(secrets.token_hex(32), secrets.token_hex(32))


@dataclass(frozen=True, slots=True)
class Keys:
    """Everybody's keys: the exchange issued the first two, the proxy the third."""

    venue_direct: Key
    venue_desk: Key
    bot: Key


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request was answered, and exactly what was sent."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    sent_target: bytes
    sent_body: bytes


class Step(NamedTuple):
    """One row of the table."""

    what: str
    expected: str
    seen: str
    right: bool


class DemoBot:
    """A bot that knows an address and a key, and signs as Binance's documents say."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, key: Key) -> None:
        self._session = session
        self._origin = origin
        self._key = key

    async def request(self, method: str, path: str, **parameters: str) -> Reply:
        """Sign and send; POST parameters travel in the body, the others in the query."""
        timestamp = int(SystemClock().now().timestamp() * 1000)
        text = urlencode({**parameters, "recvWindow": "5000", "timestamp": str(timestamp)})
        signature = hmac.new(self._key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        text += f"&signature={signature}"
        in_body = method == "POST"
        target = path if in_body else f"{path}?{text}"
        headers = {"X-MBX-APIKEY": self._key.key}
        if in_body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = text.encode() if in_body else b""
        async with self._session.request(
            method,
            URL(self._origin + target, encoded=True),
            data=body or None,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            found = orjson.loads(await answer.read())
            heads = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, heads, found, target.encode(), body)

    async def order(self, quantity: str, name: str, symbol: str = SYMBOL) -> Reply:
        """A limit order to buy, a little below the market so that it rests."""
        price = {"BTCUSDT": "59000", "DOGEUSDT": "0.14"}[symbol]
        return await self.request(
            "POST", ORDER_PATH, symbol=symbol, side="BUY", type="LIMIT", timeInForce="GTC",
            quantity=quantity, price=price, newClientOrderId=name,
        )  # fmt: skip


class Admin:
    """The operator's hand on the admin API."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON value
        """Ask."""
        async with self._session.get(self._url + path, headers=self._headers) as answer:
            return orjson.loads(await answer.read())

    async def post(self, path: str, **body: object) -> tuple[int, Any]:
        """Act."""
        async with self._session.post(self._url + path, headers=self._headers, json=body) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def until_ready(self) -> None:
        """Wait until the proxy has read accounts and market, as a bot's operator would."""
        last = "no answer"
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while True:
                    async with self._session.get(f"{self._url}/readyz") as answer:
                        if answer.status == 200:
                            return
                        last = await answer.text()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise CommandFailed(f"the proxy was not ready after {READY_TIMEOUT_S:g} s: {last}") from None


class Demo:
    """The three parts, and the six steps."""

    def __init__(self, exchange: SimExchange, direct: DemoBot, bot: DemoBot, admin: Admin) -> None:
        self._exchange = exchange
        self._direct = direct
        self._bot = bot
        self._admin = admin

    async def steps(self) -> list[Step]:
        """All six, in order; a step that raises is wrong and the others still run."""
        steps = (self._allowed, self._scaled, self._blocked, self._halted, self._cancelled, self._released)
        return [await self._tried(step) for step in steps]

    async def _tried(self, step: Callable[[], Awaitable[Step]]) -> Step:
        try:
            return await step()
        except Exception as error:  # noqa: BLE001 - a step ends here: it is shown as wrong, and the demo fails
            name = step.__name__.removeprefix("_")
            return Step(name, "an answer", f"{type(error).__name__}: {error}", right=False)

    def _received(self, name: str) -> Any:  # noqa: ANN401 - the simulator's record
        """What the exchange received under a client order id; None if nothing."""
        return next((one for one in self._exchange.received if one.client_order_id == name), None)

    async def _allowed(self) -> Step:
        reply = await self._direct.order("0.005", "demo-1")
        seen = self._received("demo-1")
        same = seen is not None and (seen.target, seen.body) == (reply.sent_target, reply.sent_body)
        shown = f"{reply.status}, bytes identical: {'yes' if same else 'NO'}"
        return Step("an order within its limits", "allowed, bytes identical", shown, reply.status == 200 and same)

    async def _scaled(self) -> Step:
        reply = await self._bot.order("0.05", "demo-2")
        seen = self._received("demo-2")
        arrived = _quantity(seen)
        # The simulator checks every signature as the exchange does; a wrong one is answered -1022.
        valid = seen is not None and seen.status == 200
        said = (reply.headers.get("x-risk-original-quantity"), reply.headers.get("x-risk-quantity"))
        smaller = arrived is not None and 0 < arrived < Decimal("0.05") and arrived * 60000 <= 600
        right = reply.status == 200 and valid and smaller and said == ("0.05", str(arrived))
        shown = f"0.05 -> {arrived}, signature valid at the exchange: {'yes' if valid else 'NO'}"
        if not right:
            shown += f" ({reply.status} {reply.body.get('msg', '')})"
        return Step("an order that is too large", "scaled down, signed again", shown, right)

    async def _blocked(self) -> Step:
        reply = await self._bot.order("1000", "demo-3", symbol="DOGEUSDT")
        right = reply.status == 403 and reply.body.get("code") == -2010 and self._received("demo-3") is None
        return Step("a symbol nobody allowed", "blocked", f"{reply.status}: {reply.body.get('msg')}", right)

    async def _halted(self) -> Step:
        status, _ = await self._admin.post(
            "/admin/v1/ess/engage", level="halt", scope="global", reason="the demo halts", actor="demo"
        )
        reply = await self._bot.order("0.002", "demo-4")
        right = status == 200 and reply.status == 403 and self._received("demo-4") is None
        right = right and reply.headers.get("x-risk-reason") == "ess_trading_halt_active"
        return Step("the same after `halt`", "blocked", f"{reply.status}: {reply.body.get('msg')}", right)

    async def _cancelled(self) -> Step:
        reply = await self._bot.request("DELETE", ORDER_PATH, symbol=SYMBOL, origClientOrderId="demo-2")
        right = reply.status == 200 and reply.body.get("status") == "CANCELED"
        shown = f"{reply.status}: {reply.body.get('status') or reply.body.get('msg')}"
        return Step("a cancel while halted", "passes", shown, right)

    async def _released(self) -> Step:
        stop = global_stop(await self._admin.get("/admin/v1/ess"))
        status, _ = await self._admin.post(
            "/admin/v1/ess/release", scope="global", reason="the demo goes on", actor="demo",
            expected_epoch=stop["epoch"],
        )  # fmt: skip
        await self._recovered()
        reply = await self._bot.order("0.002", "demo-6")
        seen = self._received("demo-6")
        right = status == 200 and reply.status == 200 and seen is not None and seen.status == 200
        shown = f"{reply.status}, {reply.body.get('status') or reply.body.get('msg')} at the exchange"
        return Step("an order after `resume`", "allowed", shown, right)


    async def _recovered(self) -> None:
        """After a HALT the account is read again before it may open anything; wait for that as a person would."""
        with contextlib.suppress(TimeoutError):  # the order that follows then says what is wrong
            async with asyncio.timeout(RECOVERY_S):
                while (await self._admin.get("/admin/v1/ess"))["recovering"]:  # noqa: ASYNC110 - asked over HTTP
                    await asyncio.sleep(0.05)  # over HTTP: there is no event to wait for


def _quantity(seen: Any) -> Decimal | None:  # noqa: ANN401 - the simulator's record
    found = parse_qs(seen.body.decode() or seen.target.partition(b"?")[2].decode()) if seen else {}
    return Decimal(found["quantity"][0]) if "quantity" in found else None


def global_stop(answer: dict[str, Any]) -> dict[str, Any]:
    """The global stop in the admin API's answer."""
    from proxy.cli.stopping import stops_of

    return stops_of(answer)[0]


# --- putting it together ----------------------------------------------------------------------------


def settings_of(binds: Binds, exchange_url: str, keys: Keys, folder: Path) -> Settings:
    """The demo's settings, under the same rules as a file's."""

    def credentials(key: Key) -> dict[str, str]:
        return {"api_key": key.key, "secret": key.secret}

    return from_mapping(
        {
            "listen": {"bind": str(binds.proxy)},
            # Whoever tries it is alone.
            "admin": {"bind": str(binds.admin), "allow_public": "true", "release_by": "one"},
            "data_dir": str(folder),
            "policy_file": str(folder / "policy.yaml"),
            "upstream": dict.fromkeys(FAMILIES, exchange_url),
            "audit": {"sync": "process"},
            "feeds": {"account_interval": "500ms", "snapshot_interval": "500ms", "market_interval": "500ms"},
            "log": {"level": "error", "format": "console"},
            # The table tells what happens; its halt and its blocks are meant.
            "notify": {"events": dict.fromkeys(NotifyEvents.model_fields, "off")},
            "accounts": {
                "direct": {
                    "mode": "passthrough",
                    "credentials": credentials(keys.venue_direct),
                    "markets": ["futures"],
                    "bots": {"plain": {"key": keys.venue_direct.key, "strategy": "demo"}},
                },
                "desk": {
                    "mode": "custody",
                    "credentials": credentials(keys.venue_desk),
                    "markets": ["futures"],
                    "bots": {"demo": {"key": keys.bot.key, "secret": keys.bot.secret, "strategy": "demo"}},
                },
            },
        },
        base=folder,
        source="(demo)",
    )


def prepare(folder: Path) -> None:
    """The files a first start needs; a folder used before keeps its record and its stop."""
    from proxy import ess

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / "policy.yaml").exists():
        write_new(folder / "policy.yaml", POLICY_TEXT, 0o644)
    if not (folder / "ess").exists():
        ess.initialise(folder / "ess", clock=SystemClock())


def run(binds: Binds, data_dir: Path | None, *, once: bool) -> Exit:
    """Run the demo; with `once`, exit 0 only if all six steps were right."""
    try:
        if data_dir is not None:
            return loops.run(_run(binds, data_dir.absolute(), once=once))
        if not once:
            return loops.run(_run(binds, Path(tempfile.mkdtemp(prefix="riskgate-demo-")), once=False))
        with tempfile.TemporaryDirectory(prefix="riskgate-demo-") as folder:
            return loops.run(_run(binds, Path(folder), once=True))
    except OSError as error:  # an address in use, a folder that cannot be written
        raise CommandFailed(f"the demo cannot run: {error}") from error


async def _run(binds: Binds, folder: Path, *, once: bool) -> Exit:
    from proxy.app import App
    from proxy.simulator import SimExchange

    prepare(folder)
    keys = Keys(Key.new(), Key.new(), Key.new())
    exchange = SimExchange()
    try:
        exchange_url = await _open(exchange, binds.exchange, keys)
        settings = settings_of(binds, exchange_url, keys, folder)
        app = App.from_settings(settings)
        try:
            await app.start()
            right = await _six_steps(exchange, app, keys)
            if not once:
                _leave_credentials(folder, keys.bot, app, exchange_url)
                _show_next(folder, app, exchange_url, await _log_in_link(app))
                await _until_told()
                say(f"stopped; the record, the stop and the keys of this demo are left in {folder}")
        finally:
            await app.stop()
    finally:
        await exchange.stop()
    return Exit.OK if right else Exit.FAILED


async def _six_steps(exchange: SimExchange, app: App, keys: Keys) -> bool:
    """Walk the steps and show them; whether all were right."""
    timeout = aiohttp.ClientTimeout(total=READY_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False) as session:
        token = app.settings.admin_token_path.read_text("utf-8").strip()
        admin = Admin(session, app.admin_url, token)
        await admin.until_ready()
        direct = DemoBot(session, app.proxy_url, keys.venue_direct)
        bot = DemoBot(session, app.proxy_url, keys.bot)
        rows = await Demo(exchange, direct, bot, admin).steps()
    _show(rows)
    return all(row.right for row in rows)


async def _open(exchange: SimExchange, bind: Bind, keys: Keys) -> str:
    """Start the exchange with two accounts, and set their leverage as their owner would have."""
    for name, key in (("direct", keys.venue_direct), ("desk", keys.venue_desk)):
        exchange.add_account(name, spot={}, futures_wallet=Decimal(100_000))
        exchange.add_key(key.key, key.secret, account=name)
    url: str = await exchange.start(bind.host, bind.port)
    async with aiohttp.ClientSession(trust_env=False, auto_decompress=False) as session:
        for key in (keys.venue_direct, keys.venue_desk):
            owner = DemoBot(session, url, key)
            await owner.request("POST", "/fapi/v1/leverage", symbol=SYMBOL, leverage=str(LEVERAGE))
    return url


def _show(rows: list[Step]) -> None:
    say("riskgate demo: six requests from a bot, through the proxy, to a simulated exchange")
    say()
    cells = [
        (str(number), "right" if row.right else "WRONG", row.what, row.expected, row.seen)
        for number, row in enumerate(rows, 1)
    ]
    for line in table(("", "", "request", "expected", "what happened"), cells):
        say(line)
    say()
    wrong = sum(not row.right for row in rows)
    say("All six were right." if not wrong else f"{wrong} of {len(rows)} were WRONG.")


def _leave_credentials(folder: Path, bot: Key, app: App, exchange_url: str) -> None:
    """Write down how to reach the demo; a new file each time, readable by its owner only."""
    file = folder / "demo_bot.json"
    file.unlink(missing_ok=True)
    content = {
        "key": bot.key,
        "secret": bot.secret,
        "proxy_url": app.proxy_url,
        "admin_url": app.admin_url,
        "exchange_url": exchange_url,
    }
    write_new(file, orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n", 0o600)


def command_name() -> str:
    """What to type to reach this very program: `riskgate` where the shell finds it, else the way it was started."""
    started = Path(sys.argv[0])
    if started.name == "riskgate":
        found = shutil.which("riskgate")
        same = found is not None and Path(found).resolve() == started.resolve()
        return "riskgate" if same else shlex.quote(str(started))
    return f"{shlex.quote(sys.executable)} -P -m proxy"


async def _log_in_link(app: App) -> str:
    """Where a browser is logged in without typing the token: once, within ten minutes."""
    token = app.settings.admin_token_path.read_text("utf-8").strip()
    async with aiohttp.ClientSession(trust_env=False) as session:
        _, found = await Admin(session, app.admin_url, token).post("/admin/v1/login-links")
    return f"{app.admin_url}{found['path']}"


def _show_next(folder: Path, app: App, exchange_url: str, console: str) -> None:
    command = command_name()
    token_file = app.settings.admin_token_path
    options = f"--admin-url {app.admin_url} --token-file {token_file}"
    say()
    for line in (
        f"console   {console}  (logs one browser in, once; later with the token)",
        f"proxy     {app.proxy_url}",
        f"admin     {app.admin_url}  (token in {token_file})",
        f"exchange  {exchange_url}  (simulated)",
        f"bot       key and secret in {folder / 'demo_bot.json'}",
        f"data      {folder}",
        "",
        f"try:      {command} halt --reason 'trying it' {options}",
        f"          {command} status {options}",
        f"          {command} resume --reason 'tried it' --yes {options}",
        f"          {command} decisions tail --data-dir {folder}",
        f"          {command} audit verify --data-dir {folder}",
        f"next:     {command} init my-gate, then {command} snippet ccxt --config my-gate/riskgate.yaml",
        "",
        "Running until Ctrl-C.",
    ):
        say(line)


async def _until_told() -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
