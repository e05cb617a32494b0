"""What counts as an order, the bounded record, and the exchange in its own process."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from pathlib import Path

import pytest

from proxy.simulator import SimExchange, is_order_request
from tests.proxy.simulator.conftest import KEY, SECRET, exchange_bytes, raw_request, sign

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("method", "target", "is_order"),
    [
        ("POST", b"/api/v3/order", True),
        ("POST", b"/api/v3/order?a=1", True),
        ("POST", b"/api/v3/order/cancelReplace", True),
        ("PUT", b"/api/v3/order/amend/keepPriority", True),
        ("POST", b"/api/v3/orderList/otoco", True),
        ("POST", b"/api/v3/sor/order", True),
        ("POST", b"/fapi/v1/batchOrders", True),
        ("PUT", b"/fapi/v1/order", True),
        ("POST", b"/fapi/v1/algoOrder", True),
        ("POST", b"/sapi/v1/margin/order", True),
        ("POST", b"/papi/v1/um/algo/order", True),
        ("POST", b"/sapi/v1/algo/futures/newOrderTwap", True),
        ("POST", b"/api/v3/%6Frder", True),
        ("POST", b"/api/v3/%256Frder", True),
        ("POST", b"//api//v3/ORDER/", True),
        ("post", b"/api/v3/x/../order", True),
        ("WEIRD", b"/api/v3/order", True),
        ("GET", b"/api/v3/order", False),
        ("DELETE", b"/api/v3/order", False),
        ("POST", b"/api/v3/order/test", False),
        ("POST", b"/api/v3/sor/order/test", False),
        ("POST", b"/fapi/v1/countdownCancelAll", False),
        ("POST", b"/sapi/v1/convert/limit/cancelOrder", False),
        ("POST", b"/fapi/v1/leverage", False),
        ("POST", b"/fapi/v1/listenKey", False),
        ("GET", b"/api/v3/openOrders", False),
    ],
)
def test_what_counts_as_an_order(method, target, is_order):
    """Placing and amending count however the path is written; reads, tests and cancels do not."""
    assert is_order_request(method, target) is is_order


async def test_the_record_is_bounded_only_if_asked():
    """received_max keeps the newest."""
    sim = SimExchange(received_max=2)
    await sim.start()
    for name in ("ping", "time", "depth"):
        await exchange_bytes(sim.url, raw_request("GET", f"/api/v3/{name}"))
    await sim.stop()

    assert [received.path for received in sim.received] == ["/api/v3/time", "/api/v3/depth"]


async def test_order_limit(bot, sim):
    """With the announced order rate switched on, the one above it is 429 and -1015."""
    sim._order_limit_10s = 2
    query = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.01"
    answers = [await bot.place(query, "/fapi/v1/order") for _ in range(3)]

    assert [(answer.status, answer.code) for answer in answers] == [(200, None), (200, None), (429, -1015)]
    assert len(sim.accounts["main"].orders["futures"]) == 2


async def test_a_process_of_its_own_with_a_journal(tmp_path):
    """The command prints its address; each order is in the journal before it is answered, even after kill -9."""
    journal = tmp_path / "orders.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy.simulator", "--bind", "127.0.0.1:0", "--key", KEY, "--secret", SECRET,
        "--journal", str(journal), cwd=ROOT, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": ""},
    )
    try:
        url = json.loads(await process.stdout.readline())["url"]
        for number in range(3):
            query = f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.01&newClientOrderId=c{number}"
            query += f"&timestamp={time.time_ns() // 1_000_000}"
            signed = f"/fapi/v1/order?{query}&signature={sign(query)}"
            before = time.monotonic_ns()
            answer = await exchange_bytes(url, raw_request("POST", signed, key=KEY))
            assert answer.status == 200, answer.body
            lines = [json.loads(line) for line in journal.read_text().splitlines()]
            assert [line["clientOrderId"] for line in lines] == [f"c{n}" for n in range(number + 1)]
            assert (lines[-1]["method"], lines[-1]["target"], lines[-1]["body"]) == ("POST", signed, "")
            assert before <= lines[-1]["at_ns"] <= time.monotonic_ns()
        await exchange_bytes(url, raw_request("GET", "/api/v3/ping"))
    finally:
        process.kill()
        await process.wait()
        process._transport.close()

    assert len(journal.read_text().splitlines()) == 3


async def test_https(tmp_path):
    """With a context the exchange speaks TLS."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    _write_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    sim = SimExchange()
    url = await sim.start(ssl_context=context)
    trusting = ssl.create_default_context(cafile=str(certificate))
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    writer.write(raw_request("GET", "/api/v3/ping"))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    await sim.stop()

    assert url.startswith("https://")
    assert head.startswith(b"HTTP/1.1 200 OK")


def _write_certificate(certificate, key):
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sim")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
