"""The same drawn orders through whichever build is imported: what it answers and records, line by line.

    python -m tests.contracts.both_builds SEED ORDERS asyncio|uvloop

The sources and the compiled build must print the same bytes, on either event loop. Time stands where it is put
and names are drawn from the seed, so that nothing differs from run to run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import orjson
import structlog

from proxy import loops
from proxy.errors import UpstreamSilent, UpstreamUnreachable
from proxy.wire import WireRequest, WireResponse
from rules import decision, evaluate
from tests import drawn, strategies
from tests.house import BOT_KEY, BOT_SECRET, PLAIN_KEY, VENUE_SECRET, House, open_house

KEYS = ((BOT_KEY, BOT_SECRET), (PLAIN_KEY, VENUE_SECRET), ("nobody", b"wrong"))
POLICY = {
    "active_mode": "DRAWN",
    "risk_profiles": {
        "DRAWN": {
            "leverage_max": "5", "trade_risk_max": "1.5%", "drawdown_daily_max": "5%", "open_positions_max": 30,
            "position_notional_max": "6000", "confidence_min": "0.6",
        }
    },
    "risk_source": {"kind": "none"},
    "accounts": {
        name: {
            "capital_profile": "aggressive",
            "strategies": ["grid"],
            "symbols": ["BTCUSDT"],
            "scaling": scaling,
            "size": {
                "order_notional_max": "600", "order_quantity_max": "0.02", "exposure_account_max": "20000",
                "exposure_symbol_max": "10000",
            },
        }
        for name, scaling in (("desk", "allowed"), ("plain", "off"))
    },
}  # fmt: skip


def judged(pick: Random, orders: int) -> Iterator[str]:
    """Decisions on drawn instructions under drawn facts and limits, with every rule that ran."""
    for _ in range(orders):
        instructions = strategies.make_request(pick)
        reached = evaluate(instructions, strategies.make_facts(pick), strategies.make_limits(pick))
        told = reached._replace(rules_run=tuple(reached.rules_run))
        yield repr(tuple(told))


def request_of(house: House, pick: Random, names: drawn.Names) -> WireRequest:
    """A request as a bot might send it: any of the venue's orders, now and then a cancel, with a known key or none."""
    asked = drawn.draw_cancel(pick, names) if pick.random() < 0.1 else drawn.draw_order(pick, names)
    if pick.random() < 0.5:  # single orders most of all, some of them too large
        quantity = pick.choice(("0.001", "0.005", "0.009", "0.011", "0.030", "1e-3", "-1"))
        extra = {"newClientOrderId": names.new(futures=True)} if pick.random() < 0.7 else {}
        key, secret = pick.choice(KEYS[:2])
        return house.order(key=key, secret=secret, side=pick.choice(("BUY", "SELL")), quantity=quantity, **extra)
    key, secret = pick.choice(KEYS)
    return house.request(
        asked.method, asked.path, key=key, secret=secret, in_query=pick.random() < 0.3, **dict(asked.pairs)
    )


def answered(status: str, executed: str = "0") -> Callable[[WireRequest], WireResponse]:
    """A venue that says this of every order."""
    body = {"orderId": 7, "status": status, "executedQty": executed, "origQty": "0.001", "symbol": "BTCUSDT"}
    answer = WireResponse(200, ((b"Content-Type", b"application/json"),), orjson.dumps(body))
    return lambda _request: answer


EXPIRED, RESTING, FILLED = answered("EXPIRED"), answered("NEW"), answered("FILLED", "0.001")


def silent(_logger: object, _method: str, _event: dict) -> dict:
    """No log: its lines tell the time."""
    raise structlog.DropEvent


async def carried(pick: Random, orders: int, folder: Path) -> list[str]:
    """The answers to drawn requests, and after them every record."""
    lines = []
    names = drawn.Names(pick, "o")
    async with open_house(folder, policy=POLICY) as house:
        house.pipeline._process = "0a0b0c"
        for number in range(orders):
            house.forward(pick.choice((0.0, 0.01, 0.3)))
            if number % 10 == 0:
                house.refresh()
            if number % 40 == 20:
                house.hold("desk", pick.choice(("0.02", "-0.03", "0")))
            failures = (UpstreamUnreachable("no connection"), UpstreamSilent("lost"))
            house.venue.fails = pick.choice((*(None,) * 12, *failures))
            house.venue.answer = pick.choice((*(EXPIRED,) * 4, RESTING, FILLED))
            answer = await house.pipeline.handle(request_of(house, pick, names))
            lines.append(f"{answer.status} {answer.headers!r} {answer.body!r}")
        sent = [f"{one.method} {one.target!r} {one.headers!r} {one.body!r}" for one in house.venue.sent]
    records = [file.read_text("utf-8") for file in sorted(folder.rglob("audit-*.jsonl"))]
    return [*lines, *sent, *records]


def main() -> None:
    """Write everything; which build it was goes to the other channel."""
    seed, orders = int(sys.argv[1]), int(sys.argv[2])
    structlog.configure(processors=[silent])
    sys.stderr.write(f"{decision.__file__}\n")
    with tempfile.TemporaryDirectory() as folder:
        answers = loops.run(carried(Random(seed), orders, Path(folder)), sys.argv[3])
        lines = [*judged(Random(seed), orders), *answers]
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
