"""The upstream of all subjects: answers every POST with the same accepted order, as cheaply as Python can.

Everything else (the readings riskgate needs to know the account and the market) goes to a SimExchange
beside it. `python -m bench.venue` prints its port and runs until its input ends.
"""

from __future__ import annotations

import asyncio
import queue
import re
import sys
import threading
from decimal import Decimal

from bench.order import ACCEPTED, KEY, SECRET
from proxy.simulator import SimExchange

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Static(asyncio.Protocol):
    """One connection; keep-alive, pipelining included."""

    sim_port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""
        self.relays: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self.buffer, 0, end + 2)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            request, self.buffer = self.buffer[:whole], self.buffer[whole:]
            if request.startswith(b"POST"):
                self.transport.write(ACCEPTED)
            else:
                task = asyncio.ensure_future(self.relay(request))
                self.relays.add(task)
                task.add_done_callback(self.relays.discard)

    async def relay(self, request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.sim_port)
        writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        answer = await reader.read(-1)
        writer.close()
        self.transport.write(answer)


async def exchange(ports: queue.Queue[int]) -> None:
    """A SimExchange on a loop and thread of its own; the process ends it."""
    sim = SimExchange()
    account = sim.add_account("main", futures_wallet=Decimal(10**12))
    account.leverages["BTCUSDT"] = 3
    sim.add_key(KEY, SECRET, account="main")
    url = await sim.start("127.0.0.1", 0)
    ports.put(int(url.rpartition(":")[2]))
    await asyncio.Event().wait()


async def serve() -> None:
    ports: queue.Queue[int] = queue.Queue()
    threading.Thread(target=lambda: asyncio.run(exchange(ports)), daemon=True).start()
    Static.sim_port = ports.get()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Static, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    run(serve())


if __name__ == "__main__":
    main()
