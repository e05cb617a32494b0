"""A running exchange, and a bot that signs as Binance documents it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlsplit

import pytest

from proxy.clock import ManualClock
from proxy.simulator import SimExchange
from tests.canary import marked

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
KEY, SECRET = marked("the-key"), marked("the-secret")


def sign(payload: str, secret: str = SECRET) -> str:
    """HMAC-SHA256 in hex."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class Answer:
    """Status, headers and parsed body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self):
        """The error code, or None."""
        return self.json.get("code") if isinstance(self.json, dict) else None


async def exchange_bytes(url: str, raw: bytes) -> Answer:
    """Send raw bytes on a fresh connection and read one answer until the connection ends."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(raw)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        return Answer(int(lines[0].split()[1]), headers, body)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def raw_request(method: str, target: str, body: str = "", key: str | None = KEY) -> bytes:
    """A request as bytes."""
    head = f"{method} {target} HTTP/1.1\r\nHost: sim\r\n"
    if key is not None:
        head += f"X-MBX-APIKEY: {key}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Bot:
    """Signs and sends; parameters go in the query."""

    def __init__(self, sim: SimExchange) -> None:
        self.sim = sim

    async def __call__(self, method: str, path: str, query: str = "", *, body: str = "") -> Answer:
        query = f"{query}&timestamp={NOW_MS}" if query else f"timestamp={NOW_MS}"
        query += "&signature=" + sign(query + body)
        return await exchange_bytes(self.sim.url, raw_request(method, f"{path}?{query}", body))

    async def place(self, query: str, path: str = "/api/v3/order") -> Answer:
        """POST an order."""
        return await self("POST", path, query)


@pytest.fixture
def clock():
    """A clock that stands still."""
    return ManualClock(NOW)


@pytest.fixture
async def sim(clock):
    """An exchange with one account: 100,000 USDT and 1 BTC on spot, 10,000 USDT in futures."""
    exchange = SimExchange(clock)
    exchange.add_account(
        "main", spot={"USDT": Decimal(100_000), "BTC": Decimal(1)}, futures_wallet=Decimal(10_000)
    )
    exchange.add_key(KEY, SECRET, account="main")
    await exchange.start()
    yield exchange
    await exchange.stop()


@pytest.fixture
def bot(sim):
    """A bot of that account."""
    return Bot(sim)
