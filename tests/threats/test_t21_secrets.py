"""A canary in every key, secret, token, header and field: it reaches where it belongs, and stands in no output."""

import asyncio
import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit

import pytest
from aiohttp import web

from proxy.admin.roles import ROLES
from proxy.clock import SystemClock
from proxy.errors import StoreUnavailable
from proxy.simulator.faults import Fault
from proxy.stores import open_store
from tests.canary import WORD, answered, found_in, leaks_below, marked
from tests.contracts.conftest import postgres_url, redis_url, with_own_part
from tests.contracts.servers import PASSWORD, Relay
from tests.runs import RawBot, Wire, key_of, open_run

__all__ = ["postgres_url", "redis_url"]

TOKEN = marked("t0ken-of-the-administrator-of-these-tests")
OTTO = "4711"
FIELDS = (
    "signature", "apiKey", "api_key", "secret", "secretKey", "listenKey", "token", "password", "passphrase", "note",
    "symbol", "side", "type", "quantity", "price", "timeInForce", "timestamp", "recvWindow", "reduceOnly",
    "positionSide", "stopPrice", "batchOrders", "newOrderRespType", "selfTradePreventionMode",
)  # fmt: skip
HEADERS = (
    "Authorization: Bearer {}", "Cookie: session={}", "X-Api-Key: {}", "X-Token: {}", "Proxy-Authorization: Basic {}",
    "X-MBX-APIKEY-2: {}", "Referer: https://bot.example/?key={}", "User-Agent: bot/{}", "X-Forwarded-For: {}",
    "X-Risk-Confidence: {}", "traceparent: {}", "Accept-Language: {}", "Origin: https://{}.example",
    "X-Signature: {}", "X-MBX-SIGNATURE: {}", "Sec-WebSocket-Protocol: {}", "If-Match: {}", "Forwarded: for={}",
    "X-Risk-Strategy: {}", "tracestate: vendor={}", "baggage: key={}", "X-Request-Id: {}", "Via: 1.1 {}",
)  # fmt: skip


class Outside:
    """Webhook, anchor hook, Telegram, telemetry receiver and risk signal in one: it keeps every body it is sent."""

    def __init__(self):
        self.bodies = []
        self.url = ""
        self.fails = False

    async def take(self, request):
        """Keep it; answer as the Bot API and the signal do."""
        body = await request.read()
        self.bodies.append((request.path, dict(request.headers), body))
        if self.fails:  # and repeats what it was told, as some do
            return web.Response(status=500, text=f"{request.method} {request.url} {dict(request.headers)}")
        if request.path.startswith("/risk/"):
            return web.json_response({"timestamp": datetime.now(UTC).isoformat(), "risk_level": "INFO"})
        return web.json_response({"ok": True, "result": []})


@pytest.fixture
async def outside():
    """It, listening."""
    found, app = Outside(), web.Application()
    app.router.add_route("*", "/{path:.*}", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def settings_of(outside, folder):
    """Everything that can hold a secret and does not stop the start."""
    return {
        "log": {"level": "debug", "format": "json"},
        "admin": {"bind": "127.0.0.1:0", "token_file": str(folder / "admin_token")},
        "telemetry": {"endpoint": outside.url, "headers": {"Authorization": marked("telemetry")}},
        "notify": {
            "webhook": {"url": f"{outside.url}/{marked('hook-path')}", "secret": marked("hook-secret")},
            "telegram": {
                "token": f"12345:{marked('telegram')}", "api": outside.url,
                "users": {OTTO: {"name": "otto", "role": "operator"}},
            },
        },
        "audit": {
            "sync": "process", "second_dir": str(folder / "second"),
            "anchor": {
                "interval": "1s", "dir": str(folder / "anchors"), "secret": marked("anchor"),
                "webhook": {"url": f"{outside.url}/{marked('anchor-path')}", "secret": marked("anchor-hook")},
            },
        },
        "global_risk": {"source": "remote", "url": outside.url, "token": marked("risk-signal")},
    }  # fmt: skip


class Said:
    """What came back, with where it came from."""

    def __init__(self):
        self.answers = []

    def keep(self, what, reply):
        """An answer: status, headers and body."""
        self.answers.append((what, str(dict(reply.headers)).encode() + b"\n" + reply.body))
        return reply

    def leaks(self):
        """Where the word stands."""
        return [f"{what}: {around}" for what, content in self.answers if (around := found_in(content)) is not None]


async def bots_ask(run, said):
    """Good, blocked, malformed and strange requests of known and unknown bots."""
    for account in ("direct", "desk"):
        bot = run.bot(account)
        said.keep("order", await bot.order())
        said.keep("blocked", await bot.order(quantity="100000000"))
        said.keep("read", await bot.request("GET", "/fapi/v2/account"))
        said.keep("listen key", await bot.request("PUT", "/fapi/v1/listenKey", listenKey=WORD))
        for name in FIELDS:
            changes = {name: WORD} if name != "signature" else {"signature ": WORD}
            with suppress(ConnectionError):
                reply = await bot.raw(bot.order_bytes(**changes))
                said.keep(f"field {name}", reply)
        for header in HEADERS:
            good = bot.order_bytes().replace(b"\r\n", f"\r\n{header.format(WORD)}\r\n".encode(), 1)
            with suppress(ConnectionError):
                said.keep(header, await bot.raw(good))
        stranger = RawBot(run.proxy_url, "stranger", key_of("nobody"))
        run.clients.append(stranger)
        said.keep("unknown key", await stranger.order())
        said.keep("unknown path", await stranger.request("POST", "/fapi/v1/unheard", key=WORD))
        forged = bot.order_bytes(in_query=True)
        for signature in (WORD.encode(), b""):
            said.keep("forged", await bot.raw(re.sub(rb"signature=[0-9a-f]+", b"signature=" + signature, forged)))
        said.keep("body", await bot.raw(raw_body(bot, b'[{"apiKey":"' + WORD.encode() + b'"')))


def raw_body(bot, body):
    """Bytes that are no order."""
    head = f"POST /fapi/v1/order HTTP/1.1\r\nHost: {bot.authority}\r\nX-MBX-APIKEY: {bot.key.key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def the_exchange_fails(run, said):
    """Answers that make no sense, that never come, and that bring secrets of their own."""
    bot = run.bot("desk")
    for kind in ("garbage", "truncated", "drop_after_accept", "status", "drop_mid_answer"):
        run.sim.inject(
            Fault(kind, match="POST /fapi/v1/order", body=WORD, headers={"Set-Cookie": f"venue={WORD}"})
        )
        with suppress(ConnectionError):
            await bot.order()  # the exchange's own words go to the bot as they came; they stand nowhere else
        assert all(f"venue={WORD}" in found for found in answered())
        run.sim.clear_faults()
    for _ in range(20):
        await bot.order()


async def people_ask(run, said):
    """Every page and route, with the right token, a wrong one, and secrets where they do not belong."""
    for route in ROLES:
        method, path = route.split(" ")
        if path.endswith(("/events", "/live", "/ws")):
            continue
        path = path.replace("{name}", "desk").replace("{id}", "none").replace("{decision_id}", "none")
        path = path.replace("{revision}", "1").replace("{mode}", "OPEN")
        stranger = Wire(run.admin_url)
        run.clients.append(stranger)
        for head in (
            f"Authorization: Bearer {marked('wrong')}\r\n", f"Cookie: riskgate={WORD}\r\n", "",
            f"Authorization: Bearer {TOKEN}\r\nCookie: riskgate={WORD}\r\nX-Note: {WORD}\r\n",
        ):
            body = json.dumps({"token": WORD, "secret": WORD}).encode() if method != "GET" else b""
            text = f"{method} {path} HTTP/1.1\r\nHost: {stranger.authority}\r\n{head}Content-Length: {len(body)}\r\n"
            text += "Content-Type: application/json\r\n" if body else ""
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                said.keep(route, await stranger.raw(text.encode() + b"\r\n" + body))
    for path in ("/ui/login?once={}", "/ui?token={}", "/admin/v1/status?token={}&api_key={}", "/metrics?key={}", "/{}"):
        for method in ("GET", "POST"):
            said.keep(path, await run.admin.call(method, path.replace("{}", WORD)))
    given = await run.admin.call("POST", "/admin/v1/tokens", person="anna", role="operator")
    token = given.json["token"]
    opened = await by_a_link(run, said)
    said.keep("log in", await logged_in(run, marked("typed")))
    said.keep("log in", await logged_in(run, token))
    said.keep("tokens", await run.admin.call("GET", "/admin/v1/tokens"))
    said.keep("engage", await run.admin.call("POST", "/admin/v1/ess/engage", reason="a drill", actor="anna"))
    said.keep("wrong field", await run.admin.call("POST", "/admin/v1/ess/engage", reason="x", apikey=WORD))
    return [token.encode(), *opened]


async def by_a_link(run, said):
    """A link, a session by it, the link again, and pages by the cookie; what may be shown nowhere else."""
    link = (await run.admin.call("POST", "/admin/v1/login-links")).json["path"]
    browser = Wire(run.admin_url)
    run.clients.append(browser)
    head = f"Host: {browser.authority}\r\nX-Note: {link}\r\n"
    entered = await browser.raw(f"GET {link} HTTP/1.1\r\n{head}\r\n".encode())
    assert entered.status == 303
    cookie = entered.headers["set-cookie"].partition(";")[0]
    said.keep("the link again", await browser.raw(f"GET {link} HTTP/1.1\r\n{head}\r\n".encode()))
    for page in ("/ui", "/ui/live", "/ui/state", "/ui/decisions", "/ui/policy", "/ui/audit", "/ui/actions", "/ui/none"):
        if page != "/ui/live":  # it goes on as long as somebody looks
            reply = await browser.raw(f"GET {page} HTTP/1.1\r\n{head}Cookie: {cookie}\r\n\r\n".encode())
            assert reply.status == (404 if page == "/ui/none" else 200)
            said.keep(page, reply)
    return [link.partition("=")[2].encode(), cookie.partition("=")[2].encode()]


async def nobody_outside_listens(run, outside, said):
    """Alerts, anchors, spans and the risk signal go to receivers that answer with an error and repeat the request."""
    outside.fails = True
    said.keep("halt", await run.admin.call("POST", "/admin/v1/ess/engage", reason="nobody listens", actor="anna"))
    await run.bot("desk").order()
    await asyncio.sleep(2.5)  # an anchor, an alert, a batch of spans and a reading of the signal
    for path in ("/admin/v1/status", "/metrics", "/readyz", "/healthz", "/admin/v1/notify"):
        said.keep(path, await run.admin.call("GET", path))
    outside.fails = False


async def logged_in(run, token):
    """The form of the console."""
    wire = Wire(run.admin_url)
    run.clients.append(wire)
    body = f"token={quote(token)}&name=anna".encode()
    head = f"POST /ui/login HTTP/1.1\r\nHost: {wire.authority}\r\nOrigin: {run.admin_url}\r\n"
    head += f"Content-Length: {len(body)}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
    return await wire.raw(head.encode() + body)


@pytest.mark.timeout(300)
async def test_a_secret_stands_in_no_output(tmp_path, outside, capfd):
    """Logs, record, anchors, metrics, admin API, console, refusals, alerts, spans, stored state: none holds it."""
    said = Said()
    (tmp_path / "admin_token").write_text(TOKEN)
    (tmp_path / "admin_token").chmod(0o600)
    async with open_run(
        tmp_path / "run", streams=True, size={"order_notional_max": "100000"}, scaling="allowed",
        more=settings_of(outside, tmp_path),
    ) as run:  # fmt: skip
        await run.until(lambda: not any(run.app.status.missing(name) for name in ("direct", "desk")), "facts")
        await bots_ask(run, said)
        await the_exchange_fails(run, said)
        hidden = await people_ask(run, said)
        await nobody_outside_listens(run, outside, said)
        arrived = b"".join(bytes(str(one.headers), "utf-8") for one in run.sim.received)
        assert WORD.encode() in arrived  # the keys are real: the exchange was shown them
        await asyncio.sleep(1.5)  # an anchor, a digest of alerts, a batch of spans
    out, err = capfd.readouterr()

    assert "order.decided" in out + err
    assert said.leaks() == []
    assert found_in((out + err).encode()) is None
    assert list(leaks_below(tmp_path)) == []
    assert {path.strip("/").partition("/")[0] for path, _, _ in outside.bodies} >= {
        marked("hook-path"), marked("anchor-path"), "v1",
    }  # fmt: skip
    assert [f"{path}: {around}" for path, _, body in outside.bodies if (around := found_in(body)) is not None] == []
    everything = b"".join(content for _, content in said.answers) + (out + err).encode()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert [secret for secret in hidden if secret in everything + written] == []


@pytest.mark.parametrize("stated", ["in the URL", "beside it"])
@pytest.mark.parametrize("backend", ["postgres", "redis"])
@pytest.mark.timeout(180)
async def test_the_password_of_a_store_stands_in_no_output(tmp_path, capfd, request, backend, stated):
    """Not while it is used, not while the store is away, refuses the password, or is back."""
    direct = request.getfixturevalue(f"{backend}_url")
    if unquote(urlsplit(direct).password or "") != PASSWORD:
        pytest.skip("the environment names a server of its own")
    relay, said = Relay(direct), Said()
    await relay.start()
    url, wrong = with_own_part(relay.url, backend), marked("wrong")
    store, refused_store = {"url": url}, {"url": url.replace(quote(PASSWORD, safe=""), wrong)}
    if stated == "beside it":
        bare = url.replace(f":{quote(PASSWORD, safe='')}@", "@").replace("//@", "//")
        store, refused_store = {"url": bare, "password": PASSWORD}, {"url": bare, "password": wrong}
    store |= {"poll_interval": "100ms", "timeout": "300ms", "age_max": "2s"}
    async with open_run(tmp_path / "run", store=store, more={"log": {"level": "debug", "format": "json"}}) as run:
        pages = ("/admin/v1/status", "/readyz", "/metrics", "/api/v2/policy", "/api/v2/policy/history", "/ui")
        for way in ("there", "away", "back"):
            await {"there": asyncio.sleep, "away": lambda _: relay.cut(), "back": lambda _: relay.start()}[way](0)
            await asyncio.sleep(2.5 if way == "away" else 0.5)
            said.keep(way, await run.bot().order())
            for page in pages:
                said.keep(f"{page} {way}", await run.admin.call("GET", page))
            body = {"policy": {}, "updated_by": WORD, "reason": "x"}
            said.keep(f"PUT {way}", await run.admin.call("PUT", "/api/v2/policy", **body))
    with pytest.raises(StoreUnavailable, match=r"28P01|WRONGPASS|invalid username-password") as refused:
        await open_store(refused_store.pop("url"), clock=SystemClock(), **refused_store)
    await relay.close()
    out, err = capfd.readouterr()

    assert "store" in out + err
    assert WORD not in str(refused.value)
    assert said.leaks() == []
    assert found_in((out + err).encode()) is None
    assert list(leaks_below(tmp_path)) == []
