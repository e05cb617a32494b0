"""Everything a client talks to, in one process: `python -m tests.clients.house [--tls]`.

    client -> tap -> proxy -> simulated exchange

The first line on stdout is JSON: addresses, keys, the admin token. A control listener lets the
tests make the exchange misbehave and read what arrived where. It ends when stdin does, so that
it never outlives the tests.

ccxt reads /dapi when it loads its markets; the simulated exchange has none, so a fixed answer stands in.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp import web

from proxy import ess
from proxy.app import App
from proxy.cli.demo import DemoBot, Key
from proxy.clock import SystemClock
from proxy.config import FAMILIES, Settings, from_mapping
from proxy.simulator import SimExchange
from proxy.simulator.faults import Fault
from proxy.simulator.received import Received
from tests.canary import leaks_below, marked
from tests.clients import authority
from tests.clients.tap import Tap
from tests.runs import give_token

TOTAL_TIMEOUT = "1500ms"  # short, because the tests wait for it; long for an exchange on the same machine
READY_TIMEOUT_S = 90.0
DOMAIN = "gate.example"
# Recognisable, and of no worth outside these tests.
DIRECT = Key(marked("direct-venue-key-for-client-tests"), marked("direct-venue-secret-for-client-tests"))
DESK = Key(marked("desk-venue-key-for-client-tests"), marked("desk-venue-secret-for-client-tests"))
BOT = Key(marked("desk-bot-key-for-client-tests"), marked("desk-bot-secret-for-client-tests"))
POLICY = """\
# One limit that matters; everything else is out of the way.
active_mode: OPEN
risk_profiles:
  OPEN: {leverage_max: "125", trade_risk_max: "100%", drawdown_daily_max: "100%", open_positions_max: 100,
         position_notional_max: "1000000000", confidence_min: "0"}
capital_profiles:
  open: {loss_daily_max: "100%", loss_weekly_max: "100%", trade_risk_max: "100%", open_positions_max: 100,
         leverage_max: "125"}
risk_source: {kind: none}
accounts:
  direct:
    capital_profile: open
    strategies: any
    symbols: [BTCUSDT, ETHUSDT]
    scaling: allowed
    margin_changes_allowed: true
    size: {order_notional_max: "600"}
  desk:
    capital_profile: open
    strategies: any
    symbols: [BTCUSDT, ETHUSDT]
    scaling: allowed
    margin_changes_allowed: true
    size: {order_notional_max: "600"}
"""


def settings_of(folder: Path, exchange_url: str, other_url: str, bind: str, tls: dict[str, str] | None) -> Settings:
    """One account per key mode, both with spot and futures."""
    listen: dict[str, object] = {"bind": bind}
    if tls is not None:
        listen |= {"tls": tls, "host_families": {f"{name}.{DOMAIN}": f"/{name}" for name in FAMILIES}}
    return from_mapping(
        {
            "listen": listen,
            "admin": {"bind": "127.0.0.1:0"},
            "data_dir": str(folder / "data"),
            "policy_file": str(folder / "policy.yaml"),
            "upstream": {
                **dict.fromkeys(FAMILIES, other_url),
                **dict.fromkeys(("api", "fapi", "sapi"), exchange_url),
                "total_timeout": TOTAL_TIMEOUT, "connect_timeout": "1s",
            },
            "audit": {"sync": "process"},
            "feeds": {"account_interval": "500ms", "snapshot_interval": "500ms", "market_interval": "500ms"},
            "log": {"level": "error", "format": "json"},
            "accounts": {
                "direct": {
                    "mode": "passthrough",
                    "credentials": {"api_key": DIRECT.key, "secret": DIRECT.secret},
                    "bots": {"plain": {"key": DIRECT.key, "strategy": "grid"}},
                },
                "desk": {
                    "mode": "custody",
                    "credentials": {"api_key": DESK.key, "secret": DESK.secret},
                    "bots": {"bot": {"key": BOT.key, "secret": BOT.secret, "strategy": "grid"}},
                },
            },
        },
        base=folder,
        source="(client tests)",
    )  # fmt: skip


class House:
    """The parts and the control listener."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exchange = SimExchange()
        self._tap = Tap()
        self._runner: web.AppRunner | None = None

    async def open(self, *, tls: bool) -> tuple[App, dict[str, str]]:
        """Start everything; what the tests need to know."""
        exchange_url = await self._open_exchange()
        control_url = await self._open_control()
        await self._tap.start()
        (self._folder / "policy.yaml").write_text(POLICY)
        (self._folder / "data").mkdir(mode=0o700)
        give_token(self._folder / "data")
        ess.initialise(self._folder / "data" / "ess", clock=SystemClock())
        files = authority.make(self._folder, [f"{name}.{DOMAIN}" for name in FAMILIES]) if tls else None
        given = {"cert": str(files.cert), "key": str(files.key)} if files else None
        settings = settings_of(self._folder, exchange_url, control_url, "127.0.0.1:0", given)
        app = App.from_settings(settings)
        await app.start()
        await _until_ready(app)
        proxy = urlsplit(app.proxy_url)
        self._tap.relay_to(proxy.hostname or "", proxy.port or 0)
        return app, {
            "proxy_url": app.proxy_url,
            "tap_url": self._tap.url,
            "admin_url": app.admin_url,
            "admin_token": settings.admin_token_path.read_text("utf-8").strip(),
            "control_url": control_url,
            "ca_file": str(files.ca) if files else "",
            "cert_file": str(files.cert) if files else "",
            "key_file": str(files.key) if files else "",
            "domain": DOMAIN,
        }

    async def close(self) -> None:
        """Stop what `open` started beside the app."""
        self._tap.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._exchange.stop()

    async def _open_exchange(self) -> str:
        for name, key in (("direct", DIRECT), ("desk", DESK)):
            spot = {"USDT": Decimal(1_000_000), "BTC": Decimal(10)}
            self._exchange.add_account(name, spot=spot, futures_wallet=Decimal(1_000_000))
            self._exchange.add_key(key.key, key.secret, account=name)
        return await self._exchange.start()

    async def _open_control(self) -> str:
        control = web.Application()
        control.add_routes(
            [
                web.post("/control/fault", self._fault),
                web.post("/control/reset", self._reset),
                web.get("/control/arrived", self._arrived),
                web.get("/control/sent", self._sent),
                web.get("/control/leaks", self._leaks),
                web.get("/dapi/v1/exchangeInfo", _no_symbols),
            ]
        )
        self._runner = web.AppRunner(control, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _fault(self, request: web.Request) -> web.Response:
        self._exchange.inject(Fault(**orjson.loads(await request.read())))
        return web.json_response({})

    async def _reset(self, request: web.Request) -> web.Response:
        """No faults, and no order left working: one test's orders are not the next one's exposure."""
        del request
        self._exchange.clear_faults()
        async with aiohttp.ClientSession(trust_env=False, auto_decompress=False) as session:
            for key in (DIRECT, DESK):
                owner = DemoBot(session, self._exchange.url, key)
                for path in ("/api/v3/openOrders", "/fapi/v1/allOpenOrders", "/fapi/v1/algoOpenOrders"):
                    await owner.request("DELETE", path, symbol="BTCUSDT")
        return web.json_response({"arrived": len(self._exchange.received), "sent": len(self._tap.sent)})

    async def _arrived(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        return web.json_response([_told(one) for one in self._exchange.received[since:]])

    async def _leaks(self, request: web.Request) -> web.Response:
        """Where secrets stand in what was answered and written so far."""
        del request
        written = await asyncio.to_thread(lambda: list(leaks_below(self._folder)))
        return web.json_response([*self._tap.leaks, *written])

    async def _sent(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        return web.json_response([one.raw.decode("latin-1") for one in self._tap.sent[since:]])


def _told(one: Received) -> dict[str, object]:
    return {
        "method": one.method,
        "target": one.target.decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in one.headers],
        "body": one.body.decode("latin-1"),
        "client_order_id": one.client_order_id,
        "is_order": one.is_order,
        "status": one.status,
        "code": one.code,
    }


async def _no_symbols(request: web.Request) -> web.Response:
    del request
    return web.json_response({"timezone": "UTC", "serverTime": 0, "rateLimits": [], "symbols": []})


async def _until_ready(app: App) -> None:
    async with asyncio.timeout(READY_TIMEOUT_S), aiohttp.ClientSession(trust_env=False) as session:
        while True:
            async with session.get(f"{app.admin_url}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.clients.house", description=__doc__)
    parser.add_argument("--tls", action="store_true", help="the proxy speaks TLS with a certificate of its own CA")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="riskgate-clients-") as folder:
        house = House(Path(folder))
        app, known = await house.open(tls=options.tls)
        try:
            print(orjson.dumps(known).decode(), flush=True)  # noqa: T201 - how the tests learn where it is
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        finally:
            await app.stop()
            await house.close()


if __name__ == "__main__":
    asyncio.run(_main())
