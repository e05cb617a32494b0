"""Connections that break at every stage of an order: nothing is sent twice, nothing lost looks fine.

What arrived is counted at the exchange by the request's own bytes. For every order that left and
was not answered the bot reads that its fate is unknown, the audit says so, and its quantity stays
reserved; for one that did not leave all three say that as well.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy import audit
from proxy.feeds.lookup import NOT_FOUND_COUNTS_AFTER_S
from proxy.reservations import Fate
from proxy.simulator.faults import EXECUTED, Fault
from proxy.simulator.received import Received
from rules import Market
from tests.runs import ORDER_PATH, RawBot, Reply, Run, open_run, tell

ON_CONNECT = "drop_on_connect"
FAULTS = (
    ON_CONNECT, "drop_before_read", "drop_before_accept", "drop_after_accept", "drop_mid_answer",
    "reset", "never_answer", "garbage", "truncated",
)  # fmt: skip
HANG_UP = "hang_up"  # the exchange closes what is idle in the moment in which a request comes
REFUSED = "refused"  # nobody listens: certainly nothing is sent
METHODS = ("POST", "PUT", "DELETE")
CASES = tuple(itertools.product((*FAULTS, HANG_UP, REFUSED), METHODS))
TEST_PATH = f"{ORDER_PATH}/test"


class Sent(NamedTuple):
    """A request that met a fault."""

    method: str
    target: bytes
    body: bytes
    order: str
    decision_id: str
    status: int
    at_s: float
    executed: bool


@dataclass
class Drops:
    """What was injected and what came of it."""

    run: Run
    bot: RawBot
    dice: random.Random
    sent: list[Sent] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    async def one(self, kind: str, method: str) -> None:
        """Let one request meet one fault, and look at once at what everybody holds of it."""
        # The faults before met the feeds as well, which try again less and less often.
        await self.run.until(lambda: self.run.app.status.ready()[0], "facts are fresh", 30)
        order = self.bot.next_name() if method == "POST" else await self._resting()
        request = self._request(method, order)
        before = len(self.run.sim.received), len(self.run.sim.incompletes)
        if kind == ON_CONNECT:
            self.run.sim.inject(Fault(kind, times=None))
        if kind == REFUSED:
            await self.run.stop_listening()
        closed = kind in (ON_CONNECT, HANG_UP) or self.dice.random() < 0.3
        if closed:
            for connection in list(self.run.sim._connections):
                connection.close()
        if closed and kind != HANG_UP:
            await asyncio.sleep(0.02)  # what is closed is seen: the request has to connect
        if kind in FAULTS and kind != ON_CONNECT:
            self.run.sim.inject(Fault(kind, match=f"{method} {ORDER_PATH}"))
        reply = await self.bot.raw(request)
        arrived = self._arrived(request, *before)
        assert len(arrived) <= 1, (kind, method, arrived)
        executed = bool(arrived) and (arrived[0].status == 200)
        self.seen[f"{kind} {method} {reply.status}"] += 1
        if kind == REFUSED:
            await self.run.listen_again()
            assert reply.status == 503, (kind, method, reply)
        elif kind != HANG_UP:
            self.run.sim.clear_faults()
            assert reply.status in (503, 504), (kind, method, reply)
            met = bool(arrived) or not closed  # a connection that closes may swallow the request before the fault
            assert not met or executed == (kind in EXECUTED), (kind, method, arrived)
        self._check_answer(kind, method, reply, arrived, executed=executed)
        decision_id = reply.headers["x-risk-decision-id"] if method != "DELETE" else ""
        target, body = _parts(request)
        self.sent.append(Sent(method, target, body, order, decision_id, reply.status, time.monotonic(), executed))
        if method != "DELETE":
            self._check_reserved(order, decision_id, reply)

    def _request(self, method: str, order: str) -> bytes:
        if method == "POST":
            return self.bot.order_bytes(newClientOrderId=order)
        if method == "PUT":
            return self.bot.bytes_of(
                "PUT", ORDER_PATH, symbol="BTCUSDT", side="BUY", origClientOrderId=order, quantity="0.007",
                price="58500",
            )  # fmt: skip
        return self.bot.bytes_of("DELETE", ORDER_PATH, symbol="BTCUSDT", origClientOrderId=order)

    async def _resting(self) -> str:
        """An order in the book, for those that change or cancel one."""
        while True:
            order = self.bot.next_name()
            if (await self.bot.order(newClientOrderId=order)).status == 200:
                return order

    def _arrived(self, request: bytes, received: int, incomplete: int) -> list[Received]:
        """What the exchange got since then of this request, in whole or in part; nobody else uses its path."""
        since = (*self.run.sim.received[received:], *self.run.sim.incompletes[incomplete:])
        target, body = _parts(request)
        found = [one for one in since if one.path == ORDER_PATH and one.method != "GET"]
        for one in found:
            assert target == one.target and body.startswith(one.body), (request, one)  # noqa: PT018 - one thing
        return found

    def _check_answer(
        self, kind: str, method: str, reply: Reply, arrived: list[Received], *, executed: bool
    ) -> None:
        """200 only for what was carried out, 504 for what may have been, 503 only for what never left."""
        case = (kind, method, reply, arrived)
        if reply.status == 200:
            assert executed, case
        elif reply.status == 504:
            assert reply.code == -1007, case
        else:
            assert reply.status == 503, case
            assert b"nothing was sent" in reply.body, case
            assert not arrived, case

    def _check_reserved(self, order: str, decision_id: str, reply: Reply) -> None:
        reservation = self.run.app.reservations.get(decision_id)
        if reply.status == 503:
            assert reservation is None
        elif reply.status == 504:
            # Only an account reading that lists the order already may have taken its place.
            working = self.run.app.book.symbol("direct", Market.LINEAR, "BTCUSDT", self.run.app.clock.now())
            held = reservation is not None and reservation.fate is Fate.UNKNOWN and bool(reservation.holds)
            listed = {one.client_order_id for one in working.orders_by_id.values()}
            assert held or order in listed, (order, reservation)

    def check_end(self) -> None:
        """Nothing came later; every fate is on record; what is not found yet is still reserved."""
        records = list(audit.read(self.run.app.settings.audit_dir))
        outcomes: dict[str, list[str]] = {}
        for record in records:
            if record["kind"] == "outcome":
                outcomes.setdefault(record["decision_id"], []).append(record["outcome"])
        arrived = Counter((one.target, one.body) for one in self.run.sim.received if one.complete)
        orders = Counter(one.client_order_id for one in self.run.sim.received if one.method == "POST" and one.complete)
        for sent in self.sent:
            assert arrived[sent.target, sent.body] <= 1, sent
            assert orders[sent.order] <= 1, sent
            if sent.method == "DELETE":
                continue
            expected = {200: "accepted", 503: "not_sent", 504: "unknown"}[sent.status]
            assert outcomes[sent.decision_id] == [expected], sent
            young = time.monotonic() - sent.at_s < NOT_FOUND_COUNTS_AFTER_S - 1
            if sent.status == 504 and not sent.executed and young:
                reservation = self.run.app.reservations.get(sent.decision_id)
                assert reservation is not None, sent
                assert reservation.fate is Fate.UNKNOWN, sent
                self.seen["still reserved at the end"] += 1
        twice = [order for order, count in orders.items() if count > 1]
        assert not twice, twice


def _parts(request: bytes) -> tuple[bytes, bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    return head.split(b" ", 2)[1], body


async def chatter(bot: RawBot, seen: Counter[str], stop: asyncio.Event) -> None:
    """Another bot on the same few connections; order tests open nothing."""
    while not stop.is_set():
        reply = await bot.order(path=TEST_PATH)
        seen[f"beside {reply.status}"] += 1
        assert reply.status in (200, 503, 504), reply
        await asyncio.sleep(0.002)


async def drop(tmp_path: Path, rounds: int, seed: int, *, tls: bool) -> str:
    """Every kind with every method, so many times, in random order; the figures."""
    dice = random.Random(seed)
    lane = {"connections_max": "3", "connections_warm": "1", "total_timeout": "500ms", "connect_timeout": "400ms"}
    async with open_run(tmp_path, tls=tls, upstream=lane) as run:
        drops = Drops(run, run.bot(), dice)
        stop = asyncio.Event()
        beside = run.app.tasks.spawn(chatter(run.bot("desk"), drops.seen, stop), name="beside")
        for _ in range(rounds):
            cases = list(CASES)
            dice.shuffle(cases)
            for kind, method in cases:
                await drops.one(kind, method)
        stop.set()
        await beside
        await asyncio.sleep(0.6)  # whoever sends again does it by now
        drops.check_end()
        statuses = Counter(sent.status for sent in drops.sent)
        assert statuses[504] > rounds * 20
        return f"{len(drops.sent)} drops, answers {dict(statuses)}: {dict(sorted(drops.seen.items()))}"


@pytest.mark.both_loops
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_nothing_is_sent_twice_when_connections_break(tmp_path, tls):
    """33 drops each: every stage with POST, PUT and DELETE."""
    tell(await drop(tmp_path, 1, seed=1, tls=tls))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.both_loops
@pytest.mark.parametrize("seed", [2, 3])
async def test_nothing_is_sent_twice_in_a_thousand_broken_connections(tmp_path, seed):
    """The same 1,188 times, in four runs, half of them on each event loop and half with TLS."""
    tell(await drop(tmp_path, 9, seed=seed, tls=seed == 3))
