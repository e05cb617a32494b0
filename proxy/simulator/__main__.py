"""`python -m proxy.simulator`: the exchange in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from decimal import Decimal
from pathlib import Path

import orjson

from proxy import loops
from proxy.simulator import SimExchange


def main() -> None:
    """Start, print one JSON line with the address, and run until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m proxy.simulator", description=__doc__)
    parser.add_argument("--bind", default="127.0.0.1:0", help="HOST:PORT; port 0 picks a free one")
    parser.add_argument("--key", required=True, help="API key of the one account")
    parser.add_argument("--secret", required=True, help="its HMAC secret")
    parser.add_argument("--journal", type=Path, help="append every received order to this file as a JSON line")
    parser.add_argument("--usdt", type=Decimal, default=Decimal(1_000_000_000), help="USDT on spot and in futures")
    parser.add_argument("--btc", type=Decimal, default=Decimal(100_000), help="BTC on spot")
    parser.add_argument("--received-max", type=int, default=100_000, help="arrivals kept in memory")
    # Everything that arrives is kept, so the collector would walk ever more objects for nothing.
    gc.set_threshold(100_000, 50, 100)
    loops.run(_run(parser.parse_args()))


async def _run(options: argparse.Namespace) -> None:
    host, _, port = options.bind.rpartition(":")
    sim = SimExchange(journal=options.journal, received_max=options.received_max)
    sim.add_account("main", spot={"USDT": options.usdt, "BTC": options.btc}, futures_wallet=options.usdt)
    sim.add_key(options.key, options.secret, account="main")
    url = await sim.start(host, int(port))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sys.stdout.buffer.write(orjson.dumps({"url": url}) + b"\n")
    sys.stdout.flush()
    await stop.wait()
    await sim.stop()


if __name__ == "__main__":
    main()
