"""Faults F13, F14, F20: the policy store down or slow while orders flow, and changed by somebody else.

Orders go on from the last known policy until its age, then new exposure is blocked; cancels
pass; nothing waits for the store; it recovers by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from proxy.app import App
from proxy.clock import SystemClock
from proxy.errors import ConfigError
from proxy.stores import open_store
from tests.contracts.conftest import postgres_url, redis_url, with_own_part
from tests.contracts.servers import Relay
from tests.runs import RawBot, Run, open_run, tell

__all__ = ["postgres_url", "redis_url"]

AGE_MAX_S = 2.0
POLL_S = 0.1
TIMEOUT_S = 0.3
BY = {"updated_by": "elsewhere", "reason": "a run"}


class Way:
    """The way from the proxy to its store, which can be closed, slowed and opened; and past it, a direct URL."""

    def __init__(self, url: str, direct: str, relay: Relay | None = None, folder: object = None) -> None:
        self.url = url
        self.direct = direct
        self.relay = relay
        self.file = None if folder is None else folder / "policy.sqlite"

    async def close(self) -> None:
        """No store any more."""
        if self.relay is not None:
            await self.relay.cut()
        else:
            self.file.rename(self.file.with_name("away"))

    async def open(self) -> None:
        """The same store again."""
        if self.relay is not None:
            await self.relay.start()
        else:
            self.file.with_name("away").rename(self.file)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
async def way(request, tmp_path):
    """A store of each backend that lasts, and the way to it."""
    if request.param == "sqlite":
        yield Way("sqlite", f"sqlite://{tmp_path}/run/data/policy.sqlite", folder=tmp_path / "run" / "data")
        return
    relay = Relay(request.getfixturevalue(f"{request.param}_url"))
    await relay.start()
    url = with_own_part(relay.url, request.param)
    yield Way(url, url.replace(relay.url, request.getfixturevalue(f"{request.param}_url")), relay)
    await relay.close()


def bounds(way: Way) -> dict[str, object]:
    """Settings of the store with an age that a test can wait for."""
    return {
        "url": way.url, "poll_interval": f"{POLL_S}s", "timeout": f"{TIMEOUT_S}s", "age_max": f"{AGE_MAX_S}s",
    }  # fmt: skip


class Flow:
    """A bot that orders without a pause, and what it was answered when."""

    def __init__(self, bot: RawBot) -> None:
        self.bot = bot
        self.answers: list[tuple[float, int, float, str]] = []  # when sent, status, how long it took, why

    async def run(self) -> None:
        """Order until cancelled; what does not fill at once is gone, so that none piles up."""
        while True:
            began = time.monotonic()
            reply = await self.bot.order(quantity="0.002", timeInForce="IOC")
            why = "" if reply.status == 200 else reply.body.decode()
            self.answers.append((began, reply.status, time.monotonic() - began, why))
            await asyncio.sleep(0.01)

    def since(self, instant: float, until: float = float("inf")) -> list[tuple[float, int, float, str]]:
        """What was sent between two instants."""
        return [one for one in self.answers if instant <= one[0] < until]


@asynccontextmanager
async def flowing(run: Run):
    """A bot's orders in the background."""
    flow = Flow(run.bot())
    task = asyncio.ensure_future(flow.run())
    try:
        yield flow
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()


async def test_orders_go_on_from_the_last_known_policy_until_its_age_and_then_block(tmp_path, way):
    """Allowed while it is young enough, blocked for what it is once too old, allowed again without a hand."""
    async with open_run(tmp_path / "run", store=bounds(way)) as run, flowing(run) as flow:
        await run.until(lambda: len(flow.answers) > 10, "orders flow")
        resting = run.bot()
        name = resting.next_name()
        assert (await resting.order(newClientOrderId=name)).status == 200
        await way.close()
        gone = time.monotonic()
        await run.until(lambda: flow.answers[-1][1] != 200, "the first block", 4 * AGE_MAX_S)
        blocked_at = flow.answers[-1][0]
        await asyncio.sleep(0.5)
        cancelled = await resting.cancel(name)
        opened = time.monotonic()
        await way.open()
        await run.until(lambda: flow.answers[-1][1] == 200, "orders pass again", 15)
        back = time.monotonic()

    bridged = flow.since(gone, blocked_at)
    refused = flow.since(blocked_at, opened)
    longest = max(took for _, _, took, _ in flow.answers)
    tell(f"bridged {len(bridged)} orders for {blocked_at - gone:.2f} s, back after {back - opened:.2f} s,"
         f" slowest answer {longest * 1000:.0f} ms")
    assert {status for _, status, _, _ in bridged} == {200}
    assert len(bridged) > 10
    assert AGE_MAX_S - POLL_S - TIMEOUT_S <= blocked_at - gone <= AGE_MAX_S + 1
    assert {status for _, status, _, _ in refused} == {403}
    assert all("policy_unavailable" in why for *_, why in refused)
    assert cancelled.status == 200
    assert longest < 1.5


@pytest.mark.parametrize("way", ["postgres", "redis"], indirect=True)
async def test_a_slow_store_holds_no_order_up(tmp_path, way):
    """Answers that take longer than a read may are an outage; orders wait for none of them."""
    async with open_run(tmp_path / "run", store=bounds(way)) as run, flowing(run) as flow:
        await run.until(lambda: len(flow.answers) > 10, "orders flow")
        way.relay.slow(5.0)
        slow = time.monotonic()
        await run.until(lambda: flow.answers[-1][1] != 200, "the first block", 4 * AGE_MAX_S)
        blocked_at = flow.answers[-1][0]
        way.relay.slow(0.0)
        fast = time.monotonic()
        await run.until(lambda: flow.answers[-1][1] == 200, "orders pass again", 20)

    longest = max(took for _, _, took, _ in flow.answers)
    tell(f"blocked after {blocked_at - slow:.2f} s, back after {time.monotonic() - fast:.2f} s,"
         f" slowest answer {longest * 1000:.0f} ms")
    assert {status for _, status, _, _ in flow.since(slow, blocked_at)} == {200}
    assert blocked_at - slow <= AGE_MAX_S + 1
    assert longest < 1.5


async def test_a_tightening_by_another_process_binds_the_orders_after_it(tmp_path, way):
    """Another process takes all leverage away and gives it back, again and again; no order is judged by neither."""
    async with open_run(tmp_path / "run", store={**bounds(way), "poll_interval": "1s"}) as run, flowing(run) as flow:
        other = await open_store(way.direct, clock=SystemClock())
        spans = []
        for step in range(6):
            tight = step % 2 == 0
            changes = {"accounts": {"direct": {"new_positions_allowed": not tight, "symbols": [] if tight else "any"}}}
            revision = (await other.get()).revision
            await other.patch(changes, expected_revision=revision, **BY)
            began = time.monotonic()
            await run.until(lambda: run.app.policies.current.revision > revision, "the change arrives")  # noqa: B023
            arrived = time.monotonic()
            await asyncio.sleep(0.4)
            spans.append((tight, arrived, time.monotonic(), arrived - began))
        await other.close()

    seen = Counter()
    for tight, arrived, until, _ in spans:
        statuses = {status for sent, status, _, _ in flow.since(arrived, until)}
        assert statuses == ({403} if tight else {200})
        seen[tight] += 1
    tell(f"changes arrived within {max(took for *_, took in spans) * 1000:.0f} ms")
    assert seen == {True: 3, False: 3}


async def test_old_variables_fill_a_new_store_only_and_stop_every_start_that_cannot_read_them(tmp_path, monkeypatch):
    """Beside an existing store a readable one is told and changes nothing; an unreadable one stops the start."""
    async with open_run(tmp_path / "run") as run:
        await run.app.stop()
        monkeypatch.setenv("RM_MAX_LEVERAGE", "lots")
        with pytest.raises(ConfigError, match="RM_MAX_LEVERAGE"):
            await App.from_settings(run.app.settings).start()
        monkeypatch.setenv("RM_MAX_LEVERAGE", "2")
        with capture_logs() as logged:
            store = await App.from_settings(run.app.settings)._open_store()
        stored = await store.get()
        await store.close()

    (told,) = [one for one in logged if one["event"] == "settings.not_in_force"]
    assert (told["limit"], told["environment"]) == ("defaults.leverage_max", "2")
    assert (stored.revision, stored.policy.defaults.leverage_max) == (1, None)
