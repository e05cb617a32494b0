"""Many orders at once before room for ten: ten arrive, whoever is first, and whatever the exchange does."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from proxy import app as app_module
from proxy.simulator.faults import Fault
from tests.runs import ORDER_PATH, Reply, open_run, tell

ROOM = 10
# A thousand judgements at once may take a busy machine many seconds. Facts must not grow too old meanwhile, nor may
# an order give up waiting for a connection or its answer: all are answered safely, but not with ten successes.
PATIENT = "ages: {price_s: '120', account_s: '120'}\n"
PATIENCE_S = 60.0
NOTIONAL = 59000 * 5 // 1000  # of one order, in USDT
BOTS = 5
# Ten orders fit, an eleventh would not; the rest is less than one order.
LIMIT = str(NOTIONAL * ROOM + NOTIONAL // 2)
LEVELS = ("account", "symbol", "strategy", "exchange", "total", "asset", "net")
LIMITS = {f"exposure_{what}_max": (LIMIT, f"{what}_exposure_exceeds_limit") for what in LEVELS} | {
    "position_notional_max": (LIMIT, "position_exceeds_limit"),
    "open_orders_max": (str(ROOM), "open_orders_exceed_limit"),
    "open_orders_symbol_max": (str(ROOM), "open_orders_exceed_limit"),
}


@pytest.fixture(autouse=True)
def patient_lane(monkeypatch):
    """Wait for a connection and for an answer as long as it takes."""
    made = app_module._upstream_settings
    patient = dict.fromkeys(("queue_timeout_s", "head_timeout_s", "body_timeout_s"), PATIENCE_S)
    monkeypatch.setattr(app_module, "_upstream_settings", lambda settings: replace(made(settings), **patient))


async def crowd(folder: Path, orders: int, seed: int, *, account: str, limit: str) -> Counter[tuple[int, str]]:
    """Send all orders in one moment; what was answered."""
    dice = random.Random(seed)
    lane = {"connections_max": str(dice.choice((2, 8, 64))), "connect_timeout": "30s", "total_timeout": "60s"}
    async with open_run(folder, size={limit: LIMITS[limit][0]}, upstream=lane, more_policy=PATIENT) as run:
        run.sim.inject(Fault("latency", times=None, match=f"POST {ORDER_PATH}", latency_s=dice.choice((0.0, 0.02))))
        # Several connections for each bot, so that its orders are judged at the same time as well.
        wires = [run.bot(account, number % BOTS) for number in range(orders)]
        for wire in wires:
            assert (await wire.raw(wire.bytes_of("GET", "/fapi/v1/ping"))).status == 200
        requests = [(wire, wire.order_bytes(recvWindow=60000)) for wire in wires]
        dice.shuffle(requests)
        replies: list[Reply] = await asyncio.gather(*(wire.raw(request) for wire, request in requests))
        answers = Counter((reply.status, reply.headers.get("x-risk-reason", "")) for reply in replies)

        arrived = [one for one in run.sim.received if one.is_order]
        assert len(arrived) == ROOM, (answers, len(arrived))
        assert all(b"quantity=0.005&" in one.body for one in arrived)
        assert answers[200, ""] == ROOM, answers
        assert sum(answers.values()) == orders
        assert {reason for status, reason in answers if status == 403} == {LIMITS[limit][1]}
        # The account has been read again: what was reserved is now seen, and there is no more room than before.
        await run.until(lambda: not any(run.app.reservations.counts().values()), "the book shows the orders", 20)
        assert (await wires[0].order()).status == 403
        return answers


@pytest.mark.parametrize(
    ("seed", "account", "limit"),
    [(1, "direct", "exposure_account_max"), (2, "desk", "exposure_symbol_max"), (3, "desk", "exposure_asset_max"),
     (4, "direct", "open_orders_max")],
)  # fmt: skip
async def test_two_hundred_orders_at_once_fill_the_room_exactly(tmp_path, seed, account, limit):
    """Five bots of one account, 200 orders, room for 10: exactly 10 reach the exchange, at their own size."""
    tell(str(await crowd(tmp_path, 200, seed, account=account, limit=limit)))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(100))
async def test_a_thousand_orders_at_once_fill_the_room_exactly(tmp_path, seed):
    """The same with 1,000 orders, a hundred times: every sum that is limited in turn, in both key modes."""
    limits = list(LIMITS)
    limit, account = limits[seed % len(limits)], ("direct", "desk")[seed // len(limits) % 2]
    tell(f"{limit} {account}: {await crowd(tmp_path, 1000, seed, account=account, limit=limit)}")
