"""Readiness says what the next order would meet; the watch sees a loop that stands still."""

import asyncio
import threading
import time

from proxy.clock import SystemClock
from proxy.health import Health, LoopWatch, Part


def test_ready_only_when_every_part_is(monkeypatch):
    """One part that would block makes the whole not ready, and says why."""
    state = {"audit": True}
    health = Health(
        {
            "policy": lambda: Part(ok=True, says="revision 3"),
            "audit": lambda: Part(ok=state["audit"], says="writing"),
        }
    )
    assert health.ready()[0] is False
    health.started = True
    assert health.ready() == (
        True,
        {"policy": {"ok": True, "says": "revision 3"}, "audit": {"ok": True, "says": "writing"}},
    )
    state["audit"] = False
    assert health.ready()[0] is False
    state["audit"] = True
    health.draining = True
    ready, said = health.ready()
    assert (ready, said["process"]["says"]) == (False, "stopping")


def test_a_part_that_cannot_answer_is_not_well():
    """An exception while asking is "not ready", not an error page."""
    health = Health({"store": lambda: Part(ok=1 / 0 > 0, says="never")})
    health.started = True
    ready, said = health.ready()
    assert ready is False
    assert "ZeroDivisionError" in said["store"]["says"]


async def test_a_stall_is_seen_during_and_after():
    """While the loop sleeps for 0.3 s the lag grows, seen from outside; afterwards it is counted and told."""
    told, seen = [], []
    watch = LoopWatch(asyncio.get_running_loop(), SystemClock(), on_stall=told.append, every_s=0.01, stall_s=0.1)
    watch.start()
    await asyncio.sleep(0.05)
    observer = threading.Timer(0.25, lambda: seen.append(watch.lag_s()))
    observer.start()
    time.sleep(0.4)
    await asyncio.sleep(0.05)
    observer.join()
    watch.close()

    assert seen[0] > 0.1
    assert watch.stalls >= 1
    assert told[0] > 0.2
    assert watch.lag_max_s > 0.2


async def test_an_idle_loop_has_no_lag():
    """Without a stall nothing is told."""
    watch = LoopWatch(asyncio.get_running_loop(), SystemClock(), every_s=0.01, stall_s=1.0)
    watch.start()
    await asyncio.sleep(0.1)
    watch.close()
    assert watch.stalls == 0
    assert watch.lag_s() < 1.0


def test_a_closed_loop_ends_the_watch():
    """After the loop is gone the thread ends by itself."""
    loop = asyncio.new_event_loop()
    watch = LoopWatch(loop, SystemClock(), every_s=0.01)
    loop.close()
    watch.start()
    watch._thread.join(2)
    assert not watch._thread.is_alive()
    watch.close()
