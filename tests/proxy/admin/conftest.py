"""An admin listener on a loopback port, with a real latch, audit and policy store."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import aiohttp
import pytest
from aiohttp import web
from pydantic import ValidationError

from proxy.admin import AdminParts, build_admin
from proxy.admin.openapi import OpenApiRoutes
from proxy.admin.shapes import shape_of
from proxy.audit import Audit
from proxy.clock import ManualClock
from proxy.ess import EssLatch, initialise
from proxy.ess_scopes import Scopes
from proxy.identity import Account, Bot, Identities
from proxy.metrics import Metrics
from proxy.stores.memory import MemoryStore
from proxy.stores.policies import Policies
from proxy.tasks import Tasks
from rules.profile import GlobalPolicy
from tests.canary import marked, noted

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOKEN = marked("t0ken-" + "x" * 37)
BOT_KEY = marked("bot-key")
# Of a proxy without feeds and accounts; the real one is held against its shape in test_openapi.py.
STATUS = {
    "state": "clear", "stops": [], "ess_epoch": 0, "ready": True, "version": "1.2.3", "since": NOW.isoformat(),
    "event_loop": "asyncio", "uptime_s": 0, "reservations": {}, "in_flight": 0, "permits": None,
    "audit": {"sequence": 0, "head": ""}, "accounts": {},
    "parts": {
        "draining": False, "audit": {"ready": True, "anchors": {}}, "policy": {"error": "none"},
        "emergency_stop": {"state": "clear", "durable": True}, "feeds": {}, "facts": {},
    },
}  # fmt: skip
ACCOUNT = Account(name="spot-1", exchange="binance", mode="passthrough")


@pytest.fixture(autouse=True)
def answers_have_their_shape(monkeypatch):
    """Whatever a test asks of a listener: each JSON answer is what the published OpenAPI says, and nothing more."""
    wrong = []

    async def held(request, response):
        resource = request.match_info.route.resource
        name = f"{request.method} {'' if resource is None else resource.canonical}"
        shape = shape_of(name, response.status)
        if shape is not None and response.content_type == "application/json":
            try:
                shape.model_validate_json(response.body, strict=True)
            except ValidationError as error:
                wrong.append(f"{name} {response.status}: {error}")

    made = OpenApiRoutes.__init__

    def watched(self, parts, app):
        app.on_response_prepare.append(held)
        made(self, parts, app)

    monkeypatch.setattr(OpenApiRoutes, "__init__", watched)
    yield
    assert wrong == []


class Admin:
    """What a test needs of the listener."""

    def __init__(self, client, latch, audit, clock, base):
        self.client = client
        self.latch = latch
        self.audit = audit
        self.clock = clock
        self.base = base
        self.ready = True
        self.proxy_url = "http://127.0.0.1:8080"
        self.app = None
        self.parts = None
        self.store = None

    async def call(self, method, path, *, token=TOKEN, headers=None, **options):
        """A request; returns status, JSON and headers."""
        sent = {} if token is None else {"Authorization": f"Bearer {token}"}
        sent |= headers or {}
        async with self.client.request(method, self.base + path, headers=sent, **options) as response:
            noted(str(response.headers).encode() + await response.read())
            kind = response.headers.get("Content-Type", "")
            document = await response.json(content_type=None) if "json" in kind else await response.text()
            return response.status, document, response.headers

    async def get(self, path, **options):
        """A GET."""
        return await self.call("GET", path, **options)

    async def post(self, path, body=None, **options):
        """A POST of JSON."""
        return await self.call("POST", path, json=body if body is not None else {}, **options)


@pytest.fixture
async def admin(tmp_path):
    """The listener, serving."""
    clock, tasks = ManualClock(NOW), Tasks()
    initialise(tmp_path / "ess.state", clock=clock)
    latch = EssLatch.open(tmp_path / "ess.state", clock=clock, drain=None)
    audit = Audit(tmp_path / "audit", sync="process", clock=clock, tasks=tasks)
    audit.open()
    store = MemoryStore(GlobalPolicy(active_mode="NORMAL"), clock=clock)
    policies = Policies(store, clock=clock)
    await policies.start()
    metrics = Metrics("1.2.3")
    latch.listeners.append(metrics.stop_changed)
    holder = {}
    parts = AdminParts(
        ess=latch,
        audit=audit,
        store=store,
        values=policies,
        status=lambda: STATUS,
        ready=lambda: (holder["admin"].ready, {"policy": "ok"}),
        proxy_url=lambda: holder["admin"].proxy_url,
        clock=clock,
        version="1.2.3",
        accounts={"spot-1", "fut-1"},
        registry=metrics.registry,
        hosts={"gate.example"},
        scopes=Scopes(
            {"spot-1": ACCOUNT, "fut-1": ACCOUNT},
            {"spot-1": {"grid"}, "fut-1": {"trend"}},
            lambda: {"BTCUSDT", "ETHUSDT"},
        ),
        identities=Identities([Bot(name="grid-1", key=BOT_KEY, account=ACCOUNT, strategy="grid")], clock=clock),
    )
    app = build_admin(parts, token=TOKEN.encode())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as client:
        holder["admin"] = Admin(client, latch, audit, clock, f"http://127.0.0.1:{port}")
        holder["admin"].store = store
        holder["admin"].app, holder["admin"].parts = app, partial(replace, parts)
        yield holder["admin"]
    await runner.cleanup()
    await policies.close()
    await store.close()
    await tasks.close()
    audit.close()
    latch.close()
