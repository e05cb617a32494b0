"""The nine ways to stop, against processes under load: after the acknowledgement nothing arrives, whoever is killed.

Exchange, proxy, bots and the operator are four processes. The exchange's journal says by the machine's monotonic clock
when each order had been read; the acknowledgement is each way's own: the answer of a call, the message of a chat, or,
where nobody answers, the moment at which monitoring is told that the stop is in force and stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from tests.anomalies.test_kill_runs import Process
from tests.operated import BOTS, InLine, Operated, operated
from tests.runs import key_of, tell

REFUSED = "403 ess_trading_halt_active"
ORDERS_AFTER = 40
TRIGGER = "triggers: {reject_streak: {level: halt, rejections: 5}}\n"
OTTO = 7
STILL_READING_S = 0.1  # bytes that had left are in the exchange's hands; it has to get round to reading them
CALL_MAX_MS = 50.0


class Telegram:
    """A Bot API server: one long poll is answered when something was written, and answers are kept with their time."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.url = ""
        self._updates: list[dict[str, Any]] = []
        self._written = asyncio.Event()

    def write(self, text: str) -> None:
        """What a listed person types."""
        number = len(self._updates) + 1
        chat = {"id": OTTO, "type": "private"}
        message = {"from": {"id": OTTO}, "chat": chat, "text": text, "date": int(time.time())}
        self._updates.append({"update_id": number, "message": message})
        self._written.set()

    async def answer(self, request: web.Request) -> web.Response:
        """The two methods that the proxy calls."""
        document = await request.json()
        if request.path.endswith("/sendMessage"):
            self.answers.append((time.monotonic_ns(), document["text"]))
            return web.json_response({"ok": True, "result": {}})
        found = [one for one in self._updates if one["update_id"] >= document["offset"]]
        if not found:
            self._written.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._written.wait(), document["timeout"])
            found = [one for one in self._updates if one["update_id"] >= document["offset"]]
        return web.json_response({"ok": True, "result": found})

    async def until(self, words: str) -> tuple[int, str]:
        """The first answer that holds these words, and when it came."""
        async with asyncio.timeout(10):
            while not (found := [one for one in self.answers if words in one[1]]):
                await asyncio.sleep(0.002)
        return found[0]


@asynccontextmanager
async def telegram() -> AsyncIterator[Telegram]:
    """The server, on a free port."""
    server, app = Telegram(), web.Application()
    app.router.add_post("/bot{token}/{method}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def settings_of(server: Telegram, event_loop: str) -> dict[str, Any]:
    """A proxy that listens to Otto."""
    bot = {"token": "12345:a-token", "api": server.url, "users": {str(OTTO): {"name": "otto", "role": "operator"}}}
    return {"notify": {"telegram": bot}, "event_loop": event_loop}


# -- the ways: each returns when it was acknowledged, and how many orders it said were unanswered at that moment


Way = Callable[[Operated, Telegram], Awaitable[tuple[int, int | None]]]


async def by_http(house: Operated, _: Telegram) -> tuple[int, int | None]:
    """An operator's program."""
    done = await house.admin.engage()
    return done.answered_ns, done.document["in_flight_unanswered"]


async def by_cli(house: Operated, _: Telegram) -> tuple[int, int | None]:
    """`riskgate halt`, as a person types it."""
    reach = ("--admin-url", house.admin_url, "--token-file", str(house.token_file))
    command = await Process.start("-m", "proxy", "halt", "--reason", "drill", *reach)
    said, _ = await command.child.communicate()
    assert command.child.returncode == 0, said
    return time.monotonic_ns(), None


async def by_dashboard(house: Operated, _: Telegram) -> tuple[int, int | None]:
    """The console's form as a browser without scripts sends it: log in, press, be shown the page that says so."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        form = {"token": house.token_file.read_text().strip(), "name": "ann"}
        async with browser.post(f"{house.admin_url}/ui/login", data=form) as answer:
            page = await answer.text()
        action = re.search(r'<form method="post" action="(/ui/halt)">.*?name="csrf" value="([^"]+)"', page, re.DOTALL)
        button = re.search(r'<button[^>]* name="(level)" value="(halt)">Halt</button>', page)
        assert action is not None
        assert button is not None
        pressed = {"csrf": action[2], button[1]: button[2]}
        async with browser.post(house.admin_url + action[1], data=pressed, allow_redirects=False) as answer:
            acknowledged_ns = time.monotonic_ns()
            assert (answer.status, answer.headers["Location"]) == (303, "/ui")
        async with browser.get(f"{house.admin_url}/ui") as answer:
            shown = await answer.text()
    said = re.search(r"HALT is in force for global, stored on disk, .* Unanswered at that moment: (\d+)", shown)
    assert said is not None, shown[:3000]
    return acknowledged_ns, int(said[1])


async def by_signal(house: Operated, _: Telegram) -> tuple[int, int | None]:
    """`kill -USR1`."""
    os.kill(house.pid, signal.SIGUSR1)
    return await in_force(house)


async def by_file(house: Operated, _: Telegram) -> tuple[int, int | None]:
    """`touch HALT`."""
    (house.folder / "data" / "HALT").touch()
    return await in_force(house)


def by_bot(scope: str) -> Way:
    """A bot with its own key, for its strategy or its account."""

    async def engage(house: Operated, _: Telegram) -> tuple[int, int | None]:
        body = orjson.dumps({"reason": "I am lost", "scope": scope})
        head = (
            f"POST /bot/v1/ess/engage HTTP/1.1\r\nHost: {house.admin.authority}\r\n"
            f"X-MBX-APIKEY: {key_of('desk-0').key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        reply = await house.admin.raw(head.encode() + body)
        acknowledged_ns = time.monotonic_ns()
        assert (reply.status, reply.json["durable"]) == (200, True)
        return acknowledged_ns, reply.json["in_flight_unanswered"]

    return engage


async def by_telegram(_: Operated, server: Telegram) -> tuple[int, int | None]:
    """`/halt`, as a listed person writes it."""
    server.write("/halt")
    at_ns, text = await server.until("HALT (global) is in force")
    said = re.search(r"unanswered at that moment: (\d+)", text)
    assert said is not None, text
    return at_ns, int(said[1])


async def by_trigger(house: Operated, _: Telegram) -> tuple[int, int | None]:
    """A rule: the exchange rejects everything, and a streak is a streak."""
    await house.load.ask("rejected")
    return await in_force(house, "strategy:grid")


async def in_force(house: Operated, scope: str = "global") -> tuple[int, int | None]:
    """Ask as monitoring would until the stop is in force and stored."""
    async with asyncio.timeout(10):
        while (await house.levels()).get(scope) != "halt":
            await asyncio.sleep(0.005)
    return time.monotonic_ns(), None


WAYS: dict[str, Way] = {
    "operator": by_http, "command": by_cli, "dashboard": by_dashboard, "signal": by_signal, "file": by_file,
    "bot": by_bot("strategy"), "bot_account": by_bot("account"), "telegram": by_telegram, "trigger": by_trigger,
}  # fmt: skip


async def stop_by(house: Operated, server: Telegram, way: str) -> str:
    """Stop one way under load, see that nothing arrives any more, kill the proxy and see it again; the figures."""
    await house.trade()
    acknowledged_ns, unanswered = await WAYS[way](house, server)
    await house.load.until_more(REFUSED, ORDERS_AFTER)
    arrived = house.journal.read_on()
    after = [one for one in arrived if one["at_ns"] > acknowledged_ns]
    # Of what is read after it every order had left before, and was counted where the way counts.
    assert [one for one in after if one["at_ns"] > acknowledged_ns + STILL_READING_S * 1e9] == [], way
    assert unanswered is None or len(after) <= unanswered, way
    assert len(arrived) >= 10, way

    await house.kill()
    await house.start()
    reply = await house.order()
    assert (reply.status, reply.headers["x-risk-reason"]) == (403, "ess_trading_halt_active"), way
    assert house.journal.read_on() == [], way
    return f"{way}: {len(arrived)} orders, {len(after)} of them read after the acknowledgement"


async def release(house: Operated) -> None:
    """What a person does next."""
    (house.folder / "data" / "HALT").unlink(missing_ok=True)
    reply = await house.admin.call("GET", "/admin/v1/ess")
    for stop in reply.json["stops"]:
        if stop["level"] != "clear" and not stop["scope"].startswith("recovery:"):
            await house.admin.release(stop["epoch"], scope=stop["scope"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
async def test_after_the_acknowledgement_of_each_of_nine_ways_nothing_arrives(tmp_path, event_loop):
    """0 orders at the exchange after it, while bots go on asking; nor after kill -9 and a new start."""
    assert len(WAYS) == 9
    async with telegram() as server, operated(
        tmp_path, more_policy=TRIGGER, more=settings_of(server, event_loop)
    ) as house:
        assert any(f"the event loop is {event_loop}" in line for line in house.process.said)
        for way in WAYS:
            tell(f"{event_loop}, {await stop_by(house, server, way)}")
            await release(house)


class Timed:
    """Stops of every scope while bots send, each call timed from its first byte to the last of its answer.

    Beside that, how long the proxy and this process could have run and others had the processor: on a machine that
    does nothing else it is next to nothing, and on one that does, the figures are of that.
    """

    def __init__(self, house: Operated) -> None:
        self.house = house
        self.took_ms: list[float] = []
        self.latch_ms: list[float] = []
        self.own_ms: list[float] = []  # without the time in which others had the processor
        self.rate = 0.0

    async def run(self, times: int) -> None:
        """Engage and release."""
        house = self.house
        await house.trade()
        begun_s, before = time.monotonic(), await asked(house)
        for number in range(times):
            scope = ("global", "account:desk", "exchange:binance", "strategy:grid", "symbol:BTCUSDT")[number % 5]
            await house.load.until_more("200", 4)
            in_line = InLine(house.pid, os.getpid())
            done = await house.admin.engage(scope=scope, reason=str(number))
            waited_ns = in_line.waited_ns
            self.took_ms.append((done.answered_ns - done.asked_ns) / 1e6)
            self.own_ms.append((done.answered_ns - done.asked_ns - waited_ns) / 1e6)
            self.latch_ms.append(done.document["took_ms"])
            assert done.document["durable"]
            await house.admin.release(done.document["epoch"], scope=scope)
        self.rate = (await asked(house) - before) / (time.monotonic() - begun_s)

    def told(self) -> str:
        """The figures."""
        return (
            f"{len(self.took_ms)} engages with {BOTS} bots at {self.rate:.0f} orders a second: "
            f"{shown(self.took_ms)}; of it the latch {shown(self.latch_ms)}; "
            f"without what others had the processor for {shown(self.own_ms)}"
        )


async def asked(house: Operated) -> int:
    """How many orders the bots have had answers to."""
    told = await house.load.ask()
    return sum(count for answer, count in told.items() if answer.isdigit())


def shown(took_ms: list[float]) -> str:
    """Median, 99th percentile and the worst."""
    return f"p50 {cut(took_ms, 50):.1f} ms, p99 {cut(took_ms, 99):.1f} ms, max {max(took_ms):.1f} ms"


def cut(took_ms: list[float], percent: int) -> float:
    """A percentile."""
    return quantiles(took_ms, n=100, method="inclusive")[percent - 1]


async def time_the_call(tmp_path: Path, times: int) -> Timed:
    """Stop so many times, and tell the figures."""
    async with operated(tmp_path) as house:
        timed = Timed(house)
        await timed.run(times)
    tell(timed.told())
    return timed


@pytest.mark.timeout(600)
async def test_the_operators_call_is_quick_under_load(tmp_path):
    """Forty stops of every scope: too few for a 99th percentile, so the median is held and the rest told."""
    timed = await time_the_call(tmp_path, 40)
    assert cut(timed.own_ms, 50) < CALL_MAX_MS, timed.told()


@pytest.mark.long
@pytest.mark.timeout(0)
async def test_the_99th_percentile_of_the_operators_call_under_load(tmp_path):
    """A thousand: under 50 ms."""
    timed = await time_the_call(tmp_path, 1000)
    assert cut(timed.own_ms, 99) < CALL_MAX_MS, timed.told()
