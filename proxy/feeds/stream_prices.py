"""Prices as the venue pushes them once a second: marks of every contract, last prices of every pair that traded.

https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Mark-Price-Stream-for-All-market
https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md#all-market-mini-tickers-stream
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import structlog

from proxy.clock import Clock
from proxy.feeds.polling import Health
from proxy.feeds.reading import Malformed, price, rows, stamp_ms, text
from proxy.feeds.server_time import ServerTime
from proxy.feeds.stream import Stream
from proxy.feeds.venue import FeedFailed
from proxy.tasks import Tasks
from rules import Market

log = structlog.get_logger("riskgate.feeds")

PATHS = {Market.LINEAR: "/market/ws/!markPrice@arr@1s", Market.SPOT: "/ws/!miniTicker@arr"}
PRICE_FIELD = {Market.LINEAR: "p", Market.SPOT: "c"}

Apply = Callable[[Mapping[str, Decimal], datetime], Awaitable[None]]


class PriceStream:
    """Hears prices and has them applied one after the other; of several that wait, only the latest of a symbol."""

    def __init__(
        self,
        name: str,
        market: Market,
        origin: str,
        server_time: ServerTime,
        session: aiohttp.ClientSession,
        clock: Clock,
        apply: Apply,
        lost: Callable[[], None],
        **times: float,
    ) -> None:
        self.name = name
        self._market = market
        self._address = origin.rstrip("/") + PATHS[market]
        self._time = server_time
        self._clock = clock
        self._apply = apply
        self._lost = lost
        self._stream = Stream(name, self, session, clock, **times)
        self._waiting: dict[str, Decimal] = {}
        self._waiting_at: datetime | None = None
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, tasks: Tasks) -> None:
        """Listen until closed."""
        self._task = tasks.spawn(self._work(), name=f"stream {self.name} prices")
        self._stream.start(tasks)

    async def close(self) -> None:
        """Stop listening."""
        await self._stream.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def health(self) -> Health:
        """Whether the line lives."""
        return self._stream.health()

    # What the stream calls

    async def address(self) -> str:
        """Where to connect; not before the venue's time is known, which says how old a price is."""
        if not await self._time.known():
            raise FeedFailed("the venue's time has not been measured yet")
        return self._address

    async def greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Nothing to say: the address says it all."""

    def opened(self) -> None:
        """Prices come by themselves."""

    def garbled(self) -> None:
        """What could not be read is no price; the others age until the next."""

    def proven(self, as_of: datetime) -> None:
        """A price is as old as it says itself: that the line lives makes none younger."""

    def closed(self) -> None:
        """Prices age until they are heard again or, sooner, read."""
        self._lost()

    def take(self, found: Any) -> None:  # noqa: ANN401 - a document; the readers narrow it
        """An array of prices, all of one moment."""
        field = PRICE_FIELD[self._market]
        prices: dict[str, Decimal] = {}
        told_ms: int | None = None
        for row in rows(found):
            at_ms = stamp_ms(row, "E")
            told_ms = at_ms if told_ms is None else min(told_ms, at_ms)
            value = price(row, field)
            if value is not None:
                prices[text(row, "s")] = value
        now_ms = self._time.now_ms()
        if told_ms is None or now_ms is None:
            return
        if told_ms > now_ms + 10_000:
            raise Malformed("E: a price from the future")
        as_of = self._clock.now() - timedelta(milliseconds=max(0, now_ms - told_ms))
        # What waits is older: as old as the older of the two, whichever of them a symbol is in.
        self._waiting_at = as_of if self._waiting_at is None else min(as_of, self._waiting_at)
        self._waiting.update(prices)
        self._arrived.set()

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            waiting, as_of = self._waiting, self._waiting_at
            self._waiting, self._waiting_at = {}, None
            if as_of is None:
                continue
            try:
                await self._apply(waiting, as_of)
            except FeedFailed:
                continue  # the venue's list has not been read yet: the next second's prices will do
            except Exception as error:  # noqa: BLE001 - a background task must not end here
                # A defect leaves prices to age, and to the readings; it is told each time.
                log.error("prices.defect", stream=self.name, error=repr(error))
