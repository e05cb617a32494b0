"""Every way the exchange can be told to misbehave, seen from a raw socket."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

import pytest

from proxy.simulator import Fault
from proxy.simulator.faults import KINDS
from proxy.simulator.server import GARBAGE
from tests.proxy.simulator.conftest import NOW_MS, exchange_bytes, raw_request, sign

BUY = f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.01&timestamp={NOW_MS}"
ORDER = raw_request("POST", f"/fapi/v1/order?{BUY}&signature={sign(BUY)}")


async def _send(sim, raw=ORDER, timeout=2.0):
    """Send bytes and read to the end: what came, and how the connection ended."""
    parts = urlsplit(sim.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    came = b""
    try:
        async with asyncio.timeout(timeout):
            writer.write(raw)
            while piece := await reader.read(65536):
                came += piece
                if _is_whole(came):
                    return came, "answered"
            return came, "closed"
    except ConnectionResetError:
        return came, "reset"
    except TimeoutError:
        return came, "silent"
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _is_whole(came):
    head, found, body = came.partition(b"\r\n\r\n")
    if not found or b"Content-Length: " not in head:
        return False
    return len(body) >= int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])


@pytest.mark.parametrize(
    ("kind", "ending", "executed", "recorded"),
    [
        ("drop_on_connect", {"closed", "reset"}, False, 0),
        ("drop_before_read", {"closed", "reset"}, False, 1),
        ("drop_before_accept", {"closed"}, False, 1),
        ("drop_after_accept", {"closed"}, True, 1),
        ("drop_mid_answer", {"closed"}, True, 1),
        ("reset", {"reset"}, False, 1),
        ("garbage", {"closed"}, True, 1),
        ("truncated", {"closed"}, True, 1),
        ("never_answer", {"silent"}, True, 1),
    ],
)
async def test_answers_that_never_come(sim, kind, ending, executed, recorded):
    """The connection ends as told, the order is carried out or not as told, and it is on record."""
    sim.inject(Fault(kind=kind))
    came, how = await _send(sim, timeout=0.3)

    assert how in ending
    assert bool(sim.orders) is executed
    assert len(sim.orders_received) == recorded
    if recorded:
        assert sim.orders_received[0].fault == kind
        assert sim.orders_received[0].complete is (kind != "drop_before_read")
    if kind == "garbage":
        assert came == GARBAGE
    elif kind in ("truncated", "drop_mid_answer"):
        assert came.startswith(b"HTTP/1.1 200 OK\r\n")
    else:
        assert came == b""


async def test_truncated_lacks_one_byte_and_mid_answer_half(sim):
    """Truncated is the whole answer but its last byte; drop_mid_answer is the first half."""
    whole, _ = await _send(sim)
    sim.inject(Fault(kind="truncated"))
    truncated, _ = await _send(sim)
    sim.inject(Fault(kind="drop_mid_answer"))
    half, _ = await _send(sim)

    assert abs(len(truncated) - (len(whole) - 1)) <= 2
    assert abs(len(half) - len(whole) // 2) <= 2


@pytest.mark.parametrize("executes", [True, False])
async def test_a_reset_after_or_before_execution(sim, executes):
    """`executes` overrides what the kind does by itself."""
    sim.inject(Fault(kind="reset", executes=executes))
    _, how = await _send(sim)

    assert how == "reset"
    assert bool(sim.orders) is executes


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (503, "Unknown error, please check your request or try again later.", {}),
        (503, "Service Unavailable.", {}),
        (503, '{"code":-1008,"msg":"Server is currently overloaded with other requests."}', {}),
        (429, '{"code":-1003,"msg":"Too many requests."}', {"Retry-After": "7"}),
        (418, '{"code":-1003,"msg":"Way too many requests; IP banned."}', {"Retry-After": "120"}),
        (408, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}', {}),
    ],
)
async def test_any_status_and_text(sim, status, body, headers):
    """The answer carries the status, text and headers that were injected; the order is not executed."""
    sim.inject(Fault(kind="status", status=status, body=body, headers=headers))
    answer = await exchange_bytes(sim.url, ORDER)

    assert (answer.status, answer.body.decode()) == (status, body)
    assert answer.headers.get("retry-after") == headers.get("Retry-After")
    assert sim.orders == {}


async def test_redirect(sim):
    """A 307 names another place."""
    sim.inject(Fault(kind="redirect", headers={"Location": "http://127.0.0.1:1/order"}))
    answer = await exchange_bytes(sim.url, ORDER)

    assert (answer.status, answer.headers["location"]) == (307, "http://127.0.0.1:1/order")
    assert sim.orders == {}


async def test_oversized(sim):
    """The answer is valid JSON of more than a mebibyte."""
    sim.inject(Fault(kind="oversized"))
    answer = await exchange_bytes(sim.url, ORDER)

    assert len(answer.body) > 1 << 20
    assert answer.json["symbol"] == "BTCUSDT"


@pytest.mark.parametrize("kind", ["latency", "slow_answer"])
async def test_slowness(sim, kind):
    """The order is executed at once; its answer comes late, or drips, but whole."""
    loop = asyncio.get_running_loop()
    sim.inject(Fault(kind=kind, latency_s=0.05 if kind == "slow_answer" else 0.2, piece_bytes=200))
    started = loop.time()
    waiting = loop.create_task(exchange_bytes(sim.url, ORDER))
    while not sim.orders:
        await asyncio.sleep(0.005)
    assert loop.time() - started < 0.15
    answer = await waiting
    assert loop.time() - started >= 0.15
    assert answer.json["symbol"] == "BTCUSDT"


async def test_match_and_times(sim):
    """A fault strikes only what it matches and only as often as told."""
    sim.inject(Fault(kind="status", status=503, match="POST /fapi/v1/order", times=2))
    statuses = [(await exchange_bytes(sim.url, raw_request("GET", "/fapi/v1/ping"))).status]
    statuses += [(await exchange_bytes(sim.url, ORDER)).status for _ in range(3)]
    assert statuses == [200, 503, 503, 200]
    sim.inject(Fault(kind="status", status=503, match="* /fapi/*", times=None))
    statuses = [(await exchange_bytes(sim.url, ORDER)).status for _ in range(3)]
    sim.clear_faults()
    assert statuses == [503] * 3
    assert (await exchange_bytes(sim.url, ORDER)).status == 200


def test_every_kind_is_tested_here_or_refused():
    """A kind that does not exist is an error, not a fault that never fires."""
    with pytest.raises(ValueError, match="fault kind must be one of"):
        Fault(kind="explode")
    assert len(KINDS) == 14


async def test_a_request_that_ends_early_is_kept_apart(sim):
    """Half an order is no arrival, but it is on record."""
    parts = urlsplit(sim.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(ORDER.replace(b"Content-Length: 0", b"Content-Length: 10") + b"abc")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.05)

    assert sim.received == []
    assert [(half.is_order, half.complete, half.body) for half in sim.incompletes] == [(True, False, b"abc")]


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"POST /fapi/v1/order HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /fapi/v1/order HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
)
async def test_what_is_not_http_is_refused_and_kept(sim, raw):
    """Malformed and ambiguous requests get 400 and stand in a record of their own."""
    came, _ = await _send(sim, raw)

    assert came.startswith(b"HTTP/1.1 400 ")
    assert sim.malformed_data == [raw]
    assert sim.orders == {}


async def test_requests_on_one_connection_are_answered_in_order(sim):
    """Pipelined requests and requests cut into pieces are whole requests."""
    parts = urlsplit(sim.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    ping = raw_request("GET", "/api/v3/ping")
    writer.write(ping + raw_request("GET", "/api/v3/time") + ORDER[:40])
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.write(ORDER[40:])
    bodies = []
    for _ in range(3):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        bodies.append(await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()

    assert bodies[0] == b"{}"
    assert bodies[1].startswith(b'{"serverTime":')
    assert b'"orderId"' in bodies[2]
    assert {one.connection for one in sim.received} == {1}
