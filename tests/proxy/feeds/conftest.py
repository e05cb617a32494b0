"""A venue that answers feeds what a test tells it to."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlencode

import aiohttp
import aioresponses.core
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.book import AccountPlace, Book
from proxy.clock import SystemClock
from proxy.exchanges.base import Credentials
from proxy.exchanges.signing import hmac_sha256_hex
from proxy.feeds import AccountSource, Cadence, Venue, assemble, open_session
from proxy.ledger import Ledger
from proxy.reservations import Reservations
from proxy.simulator import SimExchange
from rules import Market, SymbolFacts
from tests.canary import KEY, SECRET

# aioresponses 0.7.9 builds ClientResponse without `stream_writer`, which newer aiohttp requires.
if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:

    class _Response(aiohttp.ClientResponse):
        """A response that was never written by anybody."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.setdefault("stream_writer", Mock(output_size=0))
            super().__init__(*arguments, **options)

    aioresponses.core.ClientResponse = _Response


class FakeVenue:
    """Answers by path; records what was asked. An answer is a document, or a function that makes a response."""

    def __init__(self) -> None:
        # What time it is, for those who do not care.
        self.answers: dict[str, Any] = dict.fromkeys(
            ("/api/v3/time", "/fapi/v1/time"), lambda _: web.json_response({"serverTime": int(time.time() * 1000)})
        )
        self.asked: list[web.Request] = []
        self.origin = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Give the answer set for the path."""
        self.asked.append(request)
        found = self.answers.get(request.path)
        if callable(found):
            made = found(request)
            return await made if isinstance(made, Awaitable) else made
        if found is None:
            return web.json_response({"code": -5000, "msg": "no such path"}, status=404)
        text = found if isinstance(found, str) else json.dumps(found)
        return web.Response(text=text, content_type="application/json")

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [request.path for request in self.asked]


def failing(status: int, headers: dict[str, str] | None = None, text: str = "{}") -> Callable[..., web.Response]:
    """An answer with a status."""
    return lambda request: web.Response(status=status, headers=headers, text=text)


@pytest.fixture
async def venue_server() -> AsyncIterator[FakeVenue]:
    """A fake venue that listens on a port of its own."""
    fake = FakeVenue()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    server = TestServer(app)
    await server.start_server()
    fake.origin = str(server.make_url("")).rstrip("/")
    yield fake
    await server.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The session of feeds."""
    session = open_session()
    yield session
    await session.close()


class World:
    """SimExchange with one account, and everything the feeds of that account need."""

    def __init__(self, session: aiohttp.ClientSession, exchange: SimExchange, folder: Path) -> None:
        self.session = session
        self.exchange = exchange
        self.clock = SystemClock()
        self.credentials = Credentials(api_key=KEY, secret=SECRET)
        place = AccountPlace(name="main", exchange="binance", markets=frozenset(Market))
        self.book = Book([place])
        self.reservations = Reservations(self.book, self.clock)
        self.day_start = Ledger(folder / "day_start.json", self.clock, skew=timedelta(0))
        hosts = {"/api": exchange.url, "/fapi": exchange.url}
        self.sources = [AccountSource(place=place, credentials=self.credentials)]
        self.cadence = Cadence(
            account_s=0.05, snapshot_s=0.05, config_s=0.5, market_s=0.05, history_min_s=0.05, history_lag_s=0
        )
        self.feeds = assemble(
            self.sources,
            hosts,
            book=self.book,
            reservations=self.reservations,
            day_start=self.day_start,
            session=session,
            clock=self.clock,
            cadence=self.cadence,
        )

    def venue(self, **more: Any) -> Venue:
        """The exchange, asked with the account's key."""
        return Venue(self.session, self.exchange.url, self.clock, credentials=self.credentials, **more)

    async def read(self) -> None:
        """Every reading once; all of them must work."""
        for _ in range(2):  # accounts need the filters that the markets read
            await self.feeds.read_once()
        broken = [health for health in self.feeds.health() if health.last_error is not None]
        assert not broken, broken

    async def send(self, method: str, path: str, **params: str) -> Any:
        """Do as a bot would, straight at the exchange."""
        stamped = {**params, "timestamp": str(int(self.clock.now().timestamp() * 1000))}
        query = urlencode(stamped)
        signature = hmac_sha256_hex(SECRET, query.encode()).decode()
        url = f"{self.exchange.url}{path}?{query}&signature={signature}"
        async with self.session.request(method, url, headers={"X-MBX-APIKEY": KEY}) as response:
            found = await response.json(content_type=None)
            assert response.status == 200, found
            return found

    def symbol(self, market: Market, symbol: str = "BTCUSDT") -> SymbolFacts:
        """What the book knows of a symbol."""
        return self.book.symbol("main", market, symbol, self.clock.now())


@pytest.fixture
async def world(session: aiohttp.ClientSession, tmp_path: Path) -> AsyncIterator[World]:
    """An account with 10,000 USDT in futures, and 5,000 USDT and half a coin in spot."""
    exchange = SimExchange()
    await exchange.start()
    exchange.add_account("main", spot={"USDT": Decimal(5000), "BTC": Decimal("0.5")}, futures_wallet=Decimal(10000))
    exchange.add_key(KEY, SECRET.decode(), "main")
    yield World(session, exchange, tmp_path)
    await exchange.stop()
