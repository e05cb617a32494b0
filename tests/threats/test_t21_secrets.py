"""A canary in every key, secret, token, header and field: it reaches where it belongs, and stands in no output."""

import asyncio
import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from aiohttp import web

from proxy.admin.roles import ROLES
from proxy.simulator.faults import Fault
from tests.canary import WORD, answered, found_in, leaks_below, marked
from tests.runs import RawBot, Wire, key_of, open_run

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
)  # fmt: skip


class Outside:
    """Webhook, anchor hook, Telegram, telemetry receiver and risk signal in one: it keeps every body it is sent."""

    def __init__(self):
        self.bodies = []
        self.url = ""

    async def take(self, request):
        """Keep it; answer as the Bot API and the signal do."""
        body = await request.read()
        self.bodies.append((request.path, dict(request.headers), body))
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
    given = await run.admin.call("POST", "/admin/v1/tokens", person="anna", role="operator")
    token = given.json["token"]
    said.keep("log in", await logged_in(run, marked("typed")))
    said.keep("log in", await logged_in(run, token))
    said.keep("tokens", await run.admin.call("GET", "/admin/v1/tokens"))
    said.keep("engage", await run.admin.call("POST", "/admin/v1/ess/engage", reason="a drill", actor="anna"))
    said.keep("wrong field", await run.admin.call("POST", "/admin/v1/ess/engage", reason="x", apikey=WORD))
    return token.encode()


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
        token = await people_ask(run, said)
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
    assert token not in everything
