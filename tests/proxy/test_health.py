"""The watch sees a loop that stands still, while it does."""

import asyncio
import threading
import time

from proxy.clock import SystemClock
from proxy.health import LoopWatch


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
