"""Load: keep-alive connections that each send the next order when the last one is answered.

A process of its own, so that its cost is not the subject's:

    python -m bench.load PORT CONNECTIONS SECONDS [ORDERS]

It ends after so many seconds, or after so many orders if that comes first. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from itertools import count

from bench.order import order_bytes


class Bot(asyncio.Protocol):
    """One connection in a closed loop."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.buffer = b""
        self.needed = 0  # length of the answer under way, 0 while its head is incomplete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.run.goes_on():
            self.send()
        else:
            transport.close()

    def send(self) -> None:
        request = order_bytes(self.run.host, next(self.run.numbers))
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.needed:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            start = self.buffer.lower().find(b"content-length:") + 15
            self.needed = end + 4 + int(self.buffer[start : self.buffer.find(b"\r", start)])
        if len(self.buffer) >= self.needed:
            self.run.took.append(time.perf_counter() - self.sent_at)
            if not self.buffer.startswith(b"HTTP/1.1 200"):
                self.run.failed(self.buffer)
            self.buffer, self.needed = b"", 0
            if self.run.goes_on():
                self.send()
            else:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.closed()
        if exc is not None or self.buffer or self.needed:
            self.run.failed(b"connection lost")


class Run:
    """What all connections of a run share."""

    def __init__(self, port: int, connections: int, seconds: float, orders: float = math.inf) -> None:
        self.host = f"127.0.0.1:{port}"
        self.numbers = count(int(time.time() * 1000) % 10**9 * 1000)
        self.took: list[float] = []
        self.failures = 0
        self.first_failure = ""
        self.left = connections
        self.orders_left = orders
        self.until = time.perf_counter() + seconds
        self.done = asyncio.get_running_loop().create_future()

    def goes_on(self) -> bool:
        """Whether one more order is to be sent; counts it."""
        self.orders_left -= 1
        return self.orders_left >= 0 and time.perf_counter() < self.until

    def failed(self, answer: bytes) -> None:
        self.failures += 1
        self.first_failure = self.first_failure or answer[:600].decode("latin-1")

    def closed(self) -> None:
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


async def load(port: int, connections: int, seconds: float, orders: float = math.inf) -> dict[str, object]:
    run = Run(port, connections, seconds, orders)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    await asyncio.gather(
        *(loop.create_connection(lambda: Bot(run), "127.0.0.1", port) for _ in range(connections))
    )
    await asyncio.wait_for(run.done, seconds + 10)
    elapsed = time.perf_counter() - started
    took = sorted(run.took)
    return {
        "requests": len(took),
        "per_second": len(took) / elapsed,
        "p50_us": took[len(took) // 2] * 1e6 if took else 0.0,
        "p99_us": took[int(len(took) * 0.99)] * 1e6 if took else 0.0,
        "failures": run.failures,
        "first_failure": run.first_failure,
    }


def main() -> None:
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    orders = int(sys.argv[4]) if sys.argv[4:] else math.inf
    print(json.dumps(run(load(port, connections, seconds, orders))))


if __name__ == "__main__":
    main()
