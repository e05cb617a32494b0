"""Every way to stop, against a running proxy under load; and what a stop has to survive.

Bots send on sockets, the exchange counts what arrives. The acknowledgement is each way's own: the answer of a call,
or, where nobody answers, the moment at which the health question says that the stop is in force.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from statistics import quantiles
from typing import Any

import orjson
import pytest

from proxy.audit import read
from proxy.cli.main import run as command
from proxy.ess import EssLatch
from proxy.simulator.faults import Fault
from rules import EssLevel
from tests.runs import Run, open_run, tell

ORDERS_BEFORE, ORDERS_AFTER = 10, 20
OPERATOR_WAYS = ("http", "cli", "signal", "file", "bot", "bot_account", "trigger")


class Load:
    """Bots that never stop sending, and what they were answered."""

    def __init__(self, run: Run, count: int = 6) -> None:
        self.answers: Counter[int] = Counter()
        self._bots = run.bots(count)
        self._ending = False
        self._tasks = [run.app.tasks.spawn(self._send(bot), name="load") for bot in self._bots]

    async def _send(self, bot: Any) -> None:
        while not self._ending:
            self.answers[(await bot.order(type="MARKET", timeInForce=None, price=None, quantity="0.002")).status] += 1
            await asyncio.sleep(0.003)

    async def end(self) -> None:
        """Let every bot read its last answer."""
        self._ending = True
        await asyncio.gather(*self._tasks)


def arrived(run: Run) -> int:
    """Orders that the exchange has read."""
    return sum(one.is_order for one in run.sim.received)


async def by_http(run: Run) -> None:
    """An operator's program."""
    assert (await run.admin.engage()).document["durable"]


async def by_cli(run: Run) -> None:
    """`riskgate halt`, as a person types it; in a thread, since it waits for the answer of this very loop."""
    token = str(run.app.settings.admin_token_path)
    arguments = ["halt", "--reason", "drill", "--actor", "ann", "--admin-url", run.admin_url, "--token-file", token]
    assert await asyncio.to_thread(command, arguments) == 0


async def by_signal(run: Run) -> None:
    """`kill -USR1`."""
    os.kill(os.getpid(), signal.SIGUSR1)
    await in_force(run)


async def by_file(run: Run) -> None:
    """`touch HALT`."""
    (run.folder / "data" / "HALT").touch()
    await in_force(run)


async def by_bot(run: Run, scope: str = "strategy") -> None:
    """A bot, with its own key."""
    bot = run.bot()
    body = orjson.dumps({"reason": "I am lost", "scope": scope})
    head = (
        f"POST /bot/v1/ess/engage HTTP/1.1\r\nHost: {run.admin.authority}\r\nX-MBX-APIKEY: {bot.key.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reply = await run.admin.raw(head.encode() + body)
    assert (reply.status, reply.json["durable"]) == (200, True)


async def by_trigger(run: Run) -> None:
    """A rule: the exchange rejects everything, and a streak is a streak."""
    run.sim.inject(
        Fault(
            "status", times=None, match="POST /fapi/v1/order", status=400,
            body=b'{"code":-2019,"msg":"Margin is insufficient."}',
            headers={"Content-Type": "application/json"},
        )
    )  # fmt: skip
    await in_force(run)


WAYS: dict[str, Any] = {
    "http": by_http, "cli": by_cli, "signal": by_signal, "file": by_file, "bot": by_bot,
    "bot_account": lambda run: by_bot(run, "account"), "trigger": by_trigger,
}  # fmt: skip


async def in_force(run: Run) -> None:
    """Ask as monitoring would until the stop is in force and stored."""
    latch = run.app.latch
    await run.until(
        lambda: latch.governing("direct", "binance", "grid").level is EssLevel.HALT and latch.durable, "halted", 5
    )


@pytest.mark.parametrize("way", OPERATOR_WAYS)
async def test_after_the_acknowledgement_of_any_way_no_order_arrives(tmp_path, way):
    """0 orders after it, in memory and on disk; bots go on asking and are refused."""
    policy = 'triggers: {reject_streak: {level: halt, rejections: 5}}\n'
    async with open_run(tmp_path, more_policy=policy) as run:
        load = Load(run)
        await run.until(lambda: load.answers[200] >= ORDERS_BEFORE, "orders pass")
        await WAYS[way](run)
        await asyncio.sleep(0.05)  # what had left before the acknowledgement is still being read over there
        before, refused = arrived(run), load.answers[403]
        await run.until(lambda: load.answers[403] >= refused + ORDERS_AFTER, "orders are refused")
        assert arrived(run) == before
        await load.end()

        again = EssLatch.open(run.app.settings.ess_path, clock=run.app.clock, drain=None)
        again.close()
        assert again.governing("direct", "binance", "grid").level is EssLevel.HALT
        assert {record["act"].split()[0] for record in read(run.app.settings.audit_dir, kinds={"admin"})} <= {
            "ess.engage", "trigger.alert",
        }  # fmt: skip


async def test_the_call_is_quick_under_load(tmp_path):
    """A hundred stops of every scope while bots send: the median under 50 ms; the 99th percentile is told."""
    took = []
    async with open_run(tmp_path) as run:
        run.app.latch.accounts_under = lambda _: ()  # the load has to go on at once after each release
        load = Load(run)
        for number in range(100):
            scope = ("global", "account:direct", "exchange:binance", "strategy:grid", "symbol:BTCUSDT")[number % 5]
            passed = load.answers[200]
            await run.until(lambda passed=passed: load.answers[200] > passed + 2, "orders pass")
            acknowledged = await run.admin.engage(scope=scope, reason=str(number))
            took.append((acknowledged.answered_ns - acknowledged.asked_ns) / 1e6)
            await run.admin.release(acknowledged.document["epoch"], scope=scope)
        await load.end()
    cuts = quantiles(took, n=100, method="inclusive")
    tell(f"engage under load: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, max {max(took):.1f} ms")
    assert cuts[49] < 50


async def test_a_stop_needs_no_policy_store(tmp_path, monkeypatch):
    """While the store is down, stopping and releasing work as ever."""
    async with open_run(tmp_path) as run:
        async def down(*_: object, **__: object) -> None:
            raise OSError("the store is gone")

        monkeypatch.setattr(run.app.store, "get", down)
        acknowledged = await run.admin.engage(scope="symbol:BTCUSDT")
        assert acknowledged.document["durable"]
        reply = await run.bot().order()
        assert (reply.status, reply.headers["x-risk-reason"]) == (403, "ess_trading_halt_active")
        await run.admin.release(acknowledged.document["epoch"], scope="symbol:BTCUSDT")


@pytest.mark.parametrize("step_s", [-86_400, 86_400])
async def test_a_stop_survives_a_stepped_clock(tmp_path, monkeypatch, step_s):
    """A day back or forth changes nothing about a stop, also not about one that would end by itself."""
    async with open_run(tmp_path) as run:
        await run.app.latch.engage(
            level=EssLevel.HALT, scope="account:direct", actor="riskgate", reason="r", source="block_rate",
            expires_s=600,
        )  # fmt: skip
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + step_s * 1_000_000_000)
        await run.app.latch._end_expired()
        assert run.app.latch.governing("direct").level is EssLevel.HALT
        monkeypatch.undo()


async def test_after_a_halt_the_account_opens_nothing_until_it_was_read_again(tmp_path):
    """Released while account readings hang: openings are refused, and pass by themselves after a reading."""
    async with open_run(tmp_path) as run:
        acknowledged = await run.admin.engage()
        run.sim.inject(Fault("latency", times=None, match="GET /fapi/v1/openAlgoOrders", latency_s=1.0))
        await run.admin.release(acknowledged.document["epoch"])
        reply = await run.bot().order()
        assert (reply.status, reply.headers["x-risk-reason"]) == (403, "ess_reduce_only_active")
        assert (await run.admin.stops())["recovery:direct"] == "reduce_only"
        run.sim.clear_faults()
        await run.until(lambda: run.app.latch.governing("direct").level is EssLevel.CLEAR, "recovered", 10)
        assert (await run.bot().order()).status == 200


async def test_triggers_of_a_running_proxy_are_proven_and_say_what_they_lack(tmp_path):
    """All of them within the first seconds; the signal that is not configured is told as inert."""
    async with open_run(tmp_path) as run:
        await run.until(lambda: all(one.proven_at for one in run.app.triggers.standing), "rehearsed", 5)
        reply = await run.admin.call("GET", "/admin/v1/ess/triggers")
        found = {one["trigger"]: one for one in reply.json["triggers"]}
        assert all(one["problem"] is None for one in found.values()), found
        assert found["error_storm"]["inert"] == "no order was sent since the start"
        assert (await run.bot().order()).status == 200
        await run.until(
            lambda: next(one for one in run.app.triggers.standing if one.name == "error_storm").blind is None, "seeing"
        )
        assert arrived(run) == 1  # the rehearsals sent nothing
        metrics = (await run.admin.call("GET", "/metrics")).body.decode()
        assert 'ess_trigger_unproven{trigger="loss"} 0.0' in metrics
