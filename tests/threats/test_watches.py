"""What watches beside the orders: a venue that never answers, or a disk that fails, ends none of it."""

from __future__ import annotations

import asyncio
import errno
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

from proxy.actions.lane import Sent
from proxy.clock import ManualClock
from proxy.deadman import DeadMan, DeadManSettings
from proxy.ess import EssLatch, initialise
from proxy.identity import Account, Bot
from proxy.tasks import Tasks
from rules import EssLevel, Fact, Market
from tests.house import NOW

BOT = Bot(name="b", key="k", account=Account(name="main", exchange="b", mode="passthrough"), strategy="grid")


async def test_a_venue_that_hangs_holds_up_no_lease(tmp_path):
    """One account's countdown is never answered: the leases of all accounts end on time."""
    clock = ManualClock(NOW)
    initialise(tmp_path / "ess", clock=clock)
    latch = EssLatch.open(tmp_path / "ess", clock=clock, drain=None)
    hangs = asyncio.Event()

    async def countdown(symbol, countdown_ms, **_):
        await hangs.wait()
        return Sent(outcome="unknown")

    desk = SimpleNamespace(lane=SimpleNamespace(countdown=countdown), venues={Market.LINEAR: None})
    working = {"BTCUSDT": {"1": SimpleNamespace(reduces_by_venue=False)}}
    book = SimpleNamespace(positions=lambda *_: Fact({}, NOW), working=lambda *_: working)
    settings = DeadManSettings(lease_s=60, countdown_s=120)
    dead_man = DeadMan(
        {"main": settings, "other": settings}, desks={"main": desk}, exchanges={"main": "b", "other": "b"},
        book=book, latch=latch, audit=SimpleNamespace(append=lambda _: 1), clock=clock,
    )  # fmt: skip
    other = Bot(
        name="c", key="x", account=Account(name="other", exchange="b", mode="passthrough"), strategy="trend"
    )
    dead_man.seen(BOT)
    dead_man.seen(other)
    tasks = Tasks()
    tasks.spawn(dead_man.watch(every_s=0.005), name="watch")
    await asyncio.sleep(0.03)
    clock.advance(to=clock.now() + timedelta(seconds=61))
    for _ in range(200):
        await asyncio.sleep(0.005)
        if all(latch.stop_of(f"strategy:{one}").level is EssLevel.REDUCE_ONLY for one in ("grid", "trend")):
            break
    found = [latch.stop_of(f"strategy:{one}").level for one in ("grid", "trend")]
    hangs.set()
    await tasks.close()
    latch.close()

    assert found == [EssLevel.REDUCE_ONLY, EssLevel.REDUCE_ONLY]


async def test_a_folder_that_cannot_be_looked_into_for_a_while_ends_no_watch(tmp_path, monkeypatch):
    """The HALT file halts as soon as it can be seen again: the watch for it goes on."""
    clock = ManualClock(NOW)
    initialise(tmp_path / "ess", clock=clock)
    latch = EssLatch.open(tmp_path / "ess", clock=clock, drain=None)
    exists, looks = Path.exists, []

    def forbidden(path, **given):
        if path.name == "HALT" and len(looks) < 3:
            looks.append(path)
            raise PermissionError(errno.EACCES, "Permission denied")
        return exists(path, **given)

    monkeypatch.setattr(Path, "exists", forbidden)
    tasks = Tasks()
    tasks.spawn(latch.watch(every_s=0.005), name="watch")
    (tmp_path / "HALT").write_text("")
    for _ in range(200):
        await asyncio.sleep(0.005)
        if latch.governing("main").level is EssLevel.HALT:
            break
    level = latch.governing("main").level
    await tasks.close()
    latch.close()

    assert (len(looks), level) == (3, EssLevel.HALT)
