"""Orders at a steady pace from a process of its own, so that sending them costs the proxy's process nothing.

    python -m tests.orders_at_pace URL BOT CONNECTIONS PER_SECOND

`BOT` is a bot of `tests.runs`, `desk-0` say. It sends until it gets SIGTERM, then prints one JSON list: for each
order its client order id, when it was sent and answered (monotonic nanoseconds, the same for all processes of a
machine), and the answer's status and reason.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import Any

import orjson

from tests.runs import RawBot, key_of

CONFIDENCE = b"X-Risk-Confidence: 0.5\r\n"
BEHIND_MAX_S = 0.5  # who is later than that forgets what was missed, and sends no burst


async def send(bot: RawBot, every_s: float, stopped: asyncio.Event, told: list[tuple[Any, ...]]) -> None:
    """One order after the other, each no sooner than its time."""
    due = time.monotonic()
    while not stopped.is_set():
        name = bot.next_name()
        head, _, body = bot.order_bytes(newClientOrderId=name).partition(b"\r\n\r\n")
        sent_ns = time.monotonic_ns()
        reply = await bot.raw(head + b"\r\n" + CONFIDENCE + b"\r\n" + body)
        told.append((name, sent_ns, time.monotonic_ns(), reply.status, reply.headers.get("x-risk-reason", "")))
        now = time.monotonic()
        due = max(due + every_s, now - BEHIND_MAX_S)
        if due > now:
            await asyncio.sleep(due - now)
    await bot.close()


async def run(url: str, name: str, connections: int, per_second: float) -> list[tuple[Any, ...]]:
    """All connections until the signal; what they were told."""
    stopped, told = asyncio.Event(), []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    bots = [RawBot(url, f"{name}-{number}", key_of(name)) for number in range(connections)]
    sys.stdout.write("sending\n")
    sys.stdout.flush()
    await asyncio.gather(*(send(bot, connections / per_second, stopped, told) for bot in bots))
    return told


def main() -> None:
    """Run, and print what was answered."""
    url, name, connections, per_second = sys.argv[1:]
    told = asyncio.run(run(url, name, int(connections), float(per_second)))
    sys.stdout.write(orjson.dumps(told).decode() + "\n")


if __name__ == "__main__":
    main()
