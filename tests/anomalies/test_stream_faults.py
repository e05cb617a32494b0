"""Faults F9-F12 and F31 with streams and under load, on the whole proxy over sockets.

Bots place, reduce and cancel all the time while account and price feeds are down, slow, stale or garbage.
New exposure is blocked within the age that the policy allows; cancels and proven reductions pass; it all
comes back without a hand. Lost lines alone block nothing, because what is not told is read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.clock import SystemClock
from proxy.simulator import Fault, SimExchange
from rules import Market
from tests.runs import RawBot, Run, open_run

ACCOUNT_S, PRICE_S = 3.5, 4.0  # a reading that is asked for comes within two seconds
SLACK_S = 1.0  # one order of every kind, and the loop's own time
AGES = f"ages: {{price_s: \"{PRICE_S:g}\", account_s: \"{ACCOUNT_S:g}\"}}\n"
FAULT_S = 6.0
BACK_S = 20.0


@dataclass
class Load:
    """What bots do, and what became of it: (when, status, reason) per kind."""

    run: Run
    opened: list[tuple[float, int, str]] = field(default_factory=list)
    reduced: list[tuple[float, int, str]] = field(default_factory=list)
    cancelled: list[tuple[float, int, str]] = field(default_factory=list)
    _stopped: bool = False

    async def work(self, bot: RawBot) -> None:
        """Open a little, cancel it, reduce a little, and again."""
        number = 0
        while not self._stopped:
            number += 1
            name = f"{bot.name}-{number}"
            reply = await bot.order(quantity="0.002", price="50000", newClientOrderId=name)
            self._note(self.opened, reply)
            reply = await bot.order(
                side="SELL", type="MARKET", price=None, timeInForce=None, quantity="0.001", reduceOnly="true",
                newClientOrderId=f"{name}-r",
            )  # fmt: skip
            self._note(self.reduced, reply)
            reply = await bot.cancel(name)
            self._note(self.cancelled, reply)
            await asyncio.sleep(0.02)

    def _note(self, kept: list[tuple[float, int, str]], reply) -> None:
        body = reply.json
        risk = body.get("risk", {}) if isinstance(body, dict) else {}
        kept.append((time.monotonic(), reply.status, risk.get("reason", str(body.get("code", "")))))

    def stop(self) -> None:
        """Enough."""
        self._stopped = True

    def blocked_since(self, since: float) -> list[tuple[float, int, str]]:
        """New exposure that was refused since then."""
        return [one for one in self.opened if one[0] >= since and one[1] == 403]

    def passed_since(self, kept: list[tuple[float, int, str]], since: float) -> list[tuple[float, int, str]]:
        """What passed since then."""
        return [one for one in kept if one[0] >= since and one[1] == 200]


@asynccontextmanager
async def loaded(folder: Path) -> AsyncIterator[Load]:
    """A proxy that hears both accounts, three bots at work, and a position to reduce."""
    feeds = {"snapshot_interval": "500ms", "reconcile_interval": "1s"}
    async with open_run(folder, streams=True, more_policy=AGES, markets=("futures",), **feeds) as run:
        run.sim.streams.price_every_s = 0.2
        await run.until(lambda: heard(run), "heard", 20)
        await run.bot(number=9).order(type="MARKET", price=None, timeInForce=None, quantity="50", side="BUY")
        await run.until(lambda: held(run) == 50, "the position is known")
        load = Load(run)
        tasks = [asyncio.ensure_future(load.work(bot)) for bot in run.bots(3)]
        try:
            await asyncio.sleep(1.0)
            assert load.opened, "the bots are at work"
            assert not load.blocked_since(0.0), load.blocked_since(0.0)[:3]
            yield load
        finally:
            load.stop()
            await asyncio.gather(*tasks)


def heard(run: Run) -> bool:
    """Whether the stream speaks for the account."""
    live = run.app.feeds.live("direct", Market.LINEAR)
    return live is not None and live.is_live


def held(run: Run) -> Decimal:
    """What the book says is held."""
    fact = run.app.book.positions("direct", Market.LINEAR)
    position = None if fact is None else fact.value.get("BTCUSDT")
    return Decimal(0) if position is None else position.both


def everything(kind: str, **more: object) -> Callable[[SimExchange], None]:
    """Every reading fails in some way, and no line can be opened."""

    def break_it(sim: SimExchange) -> None:
        sim.inject(Fault(kind, times=None, match="GET *", **more))
        sim.streams.refuses = True
        sim.streams.drop()

    return break_it


def garbage_everywhere(sim: SimExchange) -> None:
    """Readings and events alike cannot be read."""
    sim.inject(Fault("garbage", times=None, match="GET *"))
    sim.streams.disturb("garbage", 1_000_000)


def stale_everywhere(sim: SimExchange) -> None:
    """Events are a minute old, and nothing is read that could stand in for them."""
    sim.inject(Fault("status", times=None, match="GET *", status=503))
    sim.streams.disturb("stale", 1_000_000)
    sim.streams.price_every_s = 3600.0


def frozen(sim: SimExchange) -> None:
    """Lines live and say nothing, and nothing is read."""
    sim.inject(Fault("status", times=None, match="GET *", status=503))
    sim.streams.is_frozen = True


def mend(sim: SimExchange) -> None:
    """Behave again."""
    sim.clear_faults()
    sim.streams.faults.clear()
    sim.streams.refuses = sim.streams.is_frozen = False
    sim.streams.delay_s = 0.0
    sim.streams.answers_pings = True
    sim.streams.price_every_s = 0.2


BLINDING = [
    pytest.param(everything("status", status=503), id="down"),
    pytest.param(everything("never_answer"), id="silent", marks=pytest.mark.long),
    pytest.param(everything("latency", latency_s=30.0), id="slow"),
    pytest.param(garbage_everywhere, id="garbage"),
    pytest.param(stale_everywhere, id="stale"),
    pytest.param(frozen, id="frozen", marks=pytest.mark.long),
]


@pytest.mark.parametrize("fault", BLINDING)
async def test_a_proxy_that_knows_nothing_new_opens_nothing_and_lets_out(tmp_path, fault):
    """Blocked within the age, by reason of it; cancels and reductions pass all the time; then it is over by itself."""
    async with loaded(tmp_path) as load:
        sim, began = load.run.sim, time.monotonic()
        fault(sim)
        await asyncio.sleep(FAULT_S)
        until = time.monotonic()
        bound = began + min(ACCOUNT_S, PRICE_S) + SLACK_S
        late = [one for one in load.passed_since(load.opened, bound) if one[0] < until]
        assert not late, f"{len(late)} passed after the bound"
        reasons = {reason for _, _, reason in load.blocked_since(bound)}
        assert reasons
        assert reasons <= {"facts_stale", "facts_missing"}, reasons
        assert len(load.passed_since(load.reduced, bound)) == len([one for one in load.reduced if one[0] >= bound])
        # What was not placed cannot be cancelled: the exchange says so itself, the proxy never does.
        assert {status for at, status, _ in load.cancelled if at >= bound} <= {200, 400}
        mend(sim)
        await load.run.until(lambda: bool(load.passed_since(load.opened, until)), "orders open again", BACK_S)
        await load.run.until(lambda: heard(load.run), "heard again", BACK_S)


def dropped(sim: SimExchange) -> None:
    """Lines are cut and cannot be opened."""
    sim.streams.refuses = True
    sim.streams.drop()


def silent_lines(sim: SimExchange) -> None:
    """No ping is answered."""
    sim.streams.answers_pings = False


def expired(sim: SimExchange) -> None:
    """Listen keys end."""
    for account in ("direct", "desk"):
        sim.streams.expire(account)


def garbled(sim: SimExchange) -> None:
    """No event can be read."""
    sim.streams.disturb("garbage", 1_000_000)


def swallowed(sim: SimExchange) -> None:
    """Lines live, and lose everything."""
    sim.streams.is_frozen = True


def slow(sim: SimExchange) -> None:
    """Everything is told a second late."""
    sim.streams.delay_s = 1.0


ALONE = [
    pytest.param(dropped, id="dropped"),
    pytest.param(silent_lines, id="no pongs", marks=pytest.mark.long),
    pytest.param(expired, id="expired", marks=pytest.mark.long),
    pytest.param(garbled, id="garbage"),
    pytest.param(swallowed, id="swallowed"),
    pytest.param(slow, id="slow", marks=pytest.mark.long),
]


@pytest.mark.parametrize("fault", ALONE)
async def test_a_stream_that_fails_alone_blocks_nothing(tmp_path, fault):
    """What is not told is read: orders go on, and the account is heard again afterwards."""
    async with loaded(tmp_path) as load:
        sim, began = load.run.sim, time.monotonic()
        fault(sim)
        await asyncio.sleep(FAULT_S)
        assert not load.blocked_since(began), load.blocked_since(began)[:3]
        assert load.passed_since(load.opened, began + FAULT_S - 1), "bots are still at work"
        mend(sim)
        await load.run.until(lambda: heard(load.run), "heard again", 40)
        await asyncio.sleep(1.5)
        assert not load.blocked_since(began), load.blocked_since(began)[:3]
        truth = sim.accounts["direct"].position("BTCUSDT").amount
        load.stop()
        await load.run.until(
            lambda: held(load.run) == sim.accounts["direct"].position("BTCUSDT").amount, f"the book shows {truth}"
        )


async def test_the_account_of_a_bypass_may_only_reduce_where_that_is_set(tmp_path):
    """An order straight at the exchange, with the account's own key: found by the stream, answered by the stop."""
    async with open_run(
        tmp_path, streams=True, accounts={"bypass": "reduce_only"}, snapshot_interval="500ms"
    ) as run:
        await run.until(lambda: heard(run), "heard", 20)
        bot = run.bot()
        assert (await bot.order(quantity="0.002", price="50000")).status == 200
        past = run.bots(1, direct_to_venue=True)[0]
        assert (await past.order(quantity="0.003", price="50000", newClientOrderId="past-it")).status == 200
        await run.until(lambda: run.app.latch.governing("direct").level.name == "REDUCE_ONLY", "reduced")
        reply = await bot.order(quantity="0.002", price="50000", newClientOrderId="another")
        assert (reply.status, reply.json["risk"]["reason"]) == (403, "ess_reduce_only_active")
        assert run.app.latch.governing("desk").level.name == "CLEAR"
        assert [run.app.feeds.bypass_count(account) for account in ("direct", "desk")] == [1, 0]


class RiskService:
    """Another service's signal, as good or bad as a test wants it."""

    def __init__(self) -> None:
        self.answer: Callable[[], Awaitable[web.StreamResponse]] = self.good
        self.url = ""

    def signal(self, age_s: float = 0.0) -> dict[str, object]:
        """All is well, as of some seconds ago."""
        at = SystemClock().now() - timedelta(seconds=age_s)
        return {"timestamp": at.isoformat(), "risk_level": "INFO", "ess_action_required": False}

    async def good(self) -> web.StreamResponse:
        """A fresh signal."""
        return web.json_response(self.signal())

    async def down(self) -> web.StreamResponse:
        """No signal."""
        return web.Response(status=503)

    async def slow(self) -> web.StreamResponse:
        """A signal, far too late."""
        await asyncio.sleep(30)
        return web.json_response(self.signal())

    async def stale(self) -> web.StreamResponse:
        """The same old signal, again and again."""
        return web.json_response(self.signal(60.0))

    async def garbage(self) -> web.StreamResponse:
        """A level that does not exist, in a document that is none."""
        return web.Response(text='{"risk_level": "FINE", "overall_risk_score": NaN')

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen."""
        app = web.Application()

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self.answer()

        app.router.add_get("/{path:.*}", handle)
        server = TestServer(app)
        await server.start_server()
        self.url = str(server.make_url("")).rstrip("/")
        yield
        await server.close()


@pytest.mark.parametrize(
    "kind", ["down", "slow", pytest.param("stale", marks=pytest.mark.long), "garbage"]
)
async def test_a_risk_signal_that_fails_blocks_within_its_age(tmp_path, kind):
    """F9-F12 under load: two seconds after the last good signal nothing opens, exits go on, and it mends itself."""
    service = RiskService()
    risk = {"source": "remote", "interval": "200ms"}
    async with service.open(), open_run(
        tmp_path, streams=True, more_policy='ages: {risk_s: "2"}\n', risk="required",
        global_risk={**risk, "url": service.url}, snapshot_interval="500ms",
    ) as run:  # fmt: skip
        await run.until(lambda: heard(run), "heard", 20)
        await run.bot(number=9).order(type="MARKET", price=None, timeInForce=None, quantity="50", side="BUY")
        await run.until(lambda: held(run) == 50, "the position is known")
        load = Load(run)
        tasks = [asyncio.ensure_future(load.work(bot)) for bot in run.bots(3)]
        await asyncio.sleep(1.0)
        assert not load.blocked_since(0.0), load.blocked_since(0.0)[:3]
        began = time.monotonic()
        service.answer = getattr(service, kind)
        await asyncio.sleep(4.5)
        until, bound = time.monotonic(), began + 2 + SLACK_S
        assert not [one for one in load.passed_since(load.opened, bound) if one[0] < until]
        assert {reason for _, _, reason in load.blocked_since(bound)} == {"facts_stale"}
        assert len(load.passed_since(load.reduced, bound)) == len([one for one in load.reduced if one[0] >= bound])
        service.answer = service.good
        await run.until(lambda: bool(load.passed_since(load.opened, until)), "orders open again", BACK_S)
        load.stop()
        await asyncio.gather(*tasks)
