"""TERM lets what is under way finish, and nobody who only looks on keeps the process from ending."""

import asyncio
import os
import signal
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from urllib.parse import urlsplit

import aiohttp
import pytest

from proxy.audit import read
from proxy.simulator import Fault, SimExchange
from tests.anomalies.test_kill_runs import VENUE
from tests.operated import WAIT_S, InLine, operated
from tests.runs import tell

HELD_BACK_S = 4.0  # long enough to see that nobody is let in any more meanwhile
ANSWER_AFTER_S = 0.6
EXIT_MAX_S = 2.0


@asynccontextmanager
async def house_of(folder, **more):
    """A proxy in its process before an exchange in this one; one order of it waits for its answer."""
    sim = SimExchange()
    sim.add_account("main", spot={"USDT": Decimal(1_000_000)}, futures_wallet=Decimal(1_000_000))
    sim.add_key(VENUE.key, VENUE.secret, account="main")
    try:
        async with operated(folder, exchange_url=await sim.start(), more=more) as house:
            await house.until_ready()
            yield house, sim
    finally:
        await sim.stop()


async def under_way(house, sim, held_back_s=ANSWER_AFTER_S):
    """An order that the exchange has and is slow to answer."""
    sim.inject(Fault("latency", match="POST /fapi/v1/order", latency_s=held_back_s))
    asked = asyncio.ensure_future(house.order(newClientOrderId="under-way"))
    async with asyncio.timeout(WAIT_S):
        while not sim.orders_received:
            await asyncio.sleep(0.005)
    return asked


async def ended(house):
    """Wait for the process; its exit code, when it was gone, and how long others had its processor meanwhile."""
    in_line = InLine(house.pid, os.getpid())
    async with asyncio.timeout(WAIT_S):
        while house.process.child.returncode is None:
            in_line.look()
            await asyncio.sleep(0.005)
    gone_s = time.monotonic()
    return house.process.child.returncode, gone_s, in_line.waited_ns / 1e9


@pytest.mark.timeout(400)
async def test_an_order_under_way_is_answered_and_on_record(tmp_path):
    """TERM while the exchange holds the answer back: the bot hears it, later orders find no listener, exit 0."""
    async with house_of(tmp_path) as (house, sim):
        asked = await under_way(house, sim, HELD_BACK_S)
        house.process.child.send_signal(signal.SIGTERM)
        bots = urlsplit(house.url)
        async with asyncio.timeout(WAIT_S):
            while True:
                try:  # no order: one that is let in would wait for its answer as long as the first
                    _, writer = await asyncio.open_connection(bots.hostname, bots.port)
                except OSError:
                    break
                writer.close()
                await asyncio.sleep(0.005)
        assert not asked.done(), "the listener closes while the order is still under way"
        with pytest.raises(OSError, match=r"refused|failed"):
            await house.order(newClientOrderId="too-late")
        reply = await asked
        code, *_ = await ended(house)

    assert (reply.status, reply.json["clientOrderId"], code) == (200, "under-way", 0)
    records = [one for one in read(tmp_path / "data" / "audit") if one["kind"] in ("decision", "outcome")]
    told = reply.headers["x-risk-decision-id"]
    assert [one.get("outcome") for one in records if one["decision_id"] == told and one["kind"] == "outcome"] == [
        "accepted"
    ]
    assert next(one for one in read(tmp_path / "data" / "audit", kinds={"stop"}))


@asynccontextmanager
async def onlookers(house):
    """Three dashboards with their streams open, one whose page does not read, and one request that never ends."""
    token = house.token_file.read_text().strip()
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(3):
            browser = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)))
            async with browser.post(f"{house.admin_url}/ui/login", data={"token": token, "name": "ann"}) as answer:
                assert answer.status == 200
            stream = await stack.enter_async_context(browser.get(f"{house.admin_url}/admin/v1/events"))
            assert (await stream.content.readline()).startswith(b"retry")
            readers.append(asyncio.ensure_future(stream.content.read()))
        at = urlsplit(house.admin_url)
        head = f"Host: {at.netloc}\r\nAuthorization: Bearer {token}\r\n"
        for words in (
            f"GET /admin/v1/events HTTP/1.1\r\n{head}\r\n",
            f"POST /admin/v1/reload HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{",
        ):
            end = socket.create_connection((at.hostname, at.port))
            stack.callback(end.close)
            end.sendall(words.encode())
        await asyncio.sleep(0.1)
        yield readers
        await asyncio.gather(*readers, return_exceptions=True)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("deaf", [False, True], ids=["", "notifier_hangs"])
async def test_open_dashboards_do_not_delay_the_exit(tmp_path, deaf):
    """Within two seconds of the last order's answer the process is gone, whoever looks on or cannot be told."""

    async with AsyncExitStack() as stack:
        more = {}
        if deaf:  # a receiver that takes connections and never answers
            receiver = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            more = {"notify": {"webhook": {"url": f"http://127.0.0.1:{receiver.getsockname()[1]}/hook"}}}
        house, sim = await stack.enter_async_context(house_of(tmp_path, **more))
        async with onlookers(house) as readers:
            asked = await under_way(house, sim)
            house.process.child.send_signal(signal.SIGTERM)
            reply = await asked
            drained_s = time.monotonic()
            code, gone_s, in_line_s = await ended(house)
        assert all(reader.done() for reader in readers)

    took_s = gone_s - drained_s - in_line_s
    tell(f"gone {took_s:.2f} s after the last answer, beside {in_line_s:.2f} s in which others had the processor")
    assert (reply.status, code) == (200, 0)
    assert took_s < EXIT_MAX_S
