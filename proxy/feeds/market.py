"""Prices and filters of a market: one request each for all symbols, and marks from a stream where there is one.

Bids and asks are always read. While a stream tells marks they are not; when it falls silent they are again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from proxy.book import DOLLAR_COINS, Book, Quote
from proxy.clock import Clock
from proxy.feeds.polling import Cycle, Cycles, Streaming
from proxy.feeds.reading import Malformed, flag, number, price, record, rows, size, stamp_ms, text
from proxy.feeds.venue import FeedFailed, Reply, Venue
from rules import Filters, Market

INFO_BYTES_MAX = 64 * 1024 * 1024
SYMBOLS_AT_ONCE = 50  # between these the loop serves orders
FILTERS_S = 3600.0
TIME_S = 60.0
FILTERS_WAIT_S = 1.0  # at the start both are asked for at once
TWO = Decimal(2)
NEAR_AGE = timedelta(seconds=3)  # how old a book may be beside a mark that is told
HEARD_AGE = timedelta(seconds=2)  # marks are told every second
POKE_MIN_S = 0.5
MARK_AGE_MAX = timedelta(seconds=10)
NO_BOOK: tuple[Decimal | None, Decimal | None] = (None, None)


class MarketFeed(Cycles):
    """What symbols cost and what the venue accepts for them; filters are read first."""

    def __init__(
        self,
        market: Market,
        venue: Venue,
        book: Book,
        clock: Clock,
        *,
        exchange: str = "binance",
        prices_s: float = 2.0,
        filters_s: float = FILTERS_S,
        time_s: float = TIME_S,
    ) -> None:
        self._marks: dict[str, tuple[Decimal, datetime]] = {}  # as a stream told them
        self._books: Mapping[str, tuple[Decimal | None, Decimal | None]] = {}
        self._books_at: datetime | None = None
        self._market = market
        self._venue = venue
        self._book = book
        self._exchange = exchange
        self._clock = clock
        self.server_time = venue.server_time
        self._listed = asyncio.Event()
        name = f"market.{exchange}.{market.value}"
        read_prices = self._read_spot_prices if market is Market.SPOT else self._read_futures_prices
        self._prices = Cycle(
            f"{name}.prices", read_prices, every_s=prices_s, clock=clock, venue=venue, poke_min_s=POKE_MIN_S
        )
        self._time = Cycle(f"{name}.time", self._read_time, every_s=time_s, clock=clock, venue=venue)
        self.server_time.doubted = self._time.poke
        super().__init__(
            name,
            (
                Cycle(f"{name}.filters", self._read_filters, every_s=filters_s, clock=clock, venue=venue),
                self._prices,
                self._time,
            ),
        )

    def listen(self, stream: Streaming) -> None:
        """Have prices told as well; before the feed is started."""
        self.streams = (*self.streams, stream)

    async def take_marks(self, marks: Mapping[str, Decimal], as_of: datetime) -> None:
        """Take what a stream told: all contracts, or those pairs that traded."""
        for symbol, mark in marks.items():
            self._marks[symbol] = (mark, as_of)
        await self._filters_first()
        is_near = self._books_at is not None and as_of - self._books_at <= NEAR_AGE
        quotes = {symbol: self._quote(symbol, mark, is_near=is_near) for symbol, mark in marks.items()}
        oldest = min(as_of, self._books_at) if is_near and self._books_at is not None else as_of
        await self._put(quotes, oldest)
        if self._market is Market.LINEAR:
            self._close(as_of, oldest)

    def _quote(self, symbol: str, mark: Decimal, *, is_near: bool) -> Quote:
        bid, ask = self._books.get(symbol, NO_BOOK) if is_near else NO_BOOK
        if self._market is Market.SPOT and bid is not None and ask is not None:
            mark = min(max(mark, bid), ask)  # the last trade may be long ago: its price lies where one can trade now
        return Quote(mark, bid, ask)

    def _close(self, now: datetime, as_of: datetime) -> None:
        """Every contract is told every second: one that is not told any more has no price."""
        self._marks = {symbol: told for symbol, told in self._marks.items() if now - told[1] <= MARK_AGE_MAX}
        oldest = min((told_at for _, told_at in self._marks.values()), default=as_of)
        self._book.close_prices(self._exchange, self._market, self._marks, as_of=min(oldest, as_of))

    def _hears_marks(self) -> bool:
        newest = max((told_at for _, told_at in self._marks.values()), default=None)
        return newest is not None and self._clock.now() - newest <= HEARD_AGE

    def marks_lost(self) -> None:
        """Nobody tells marks any more: read them now, and from now on."""
        self._marks = {}
        self._prices.poke()

    async def _read_time(self) -> None:
        path = "/api/v3/time" if self._market is Market.SPOT else "/fapi/v1/time"
        reply = await self._venue.get(path)
        received_s = self._clock.monotonic()
        self.server_time.note(stamp_ms(record(reply.found), "serverTime"), reply.sent_s, received_s)

    async def _read_filters(self) -> None:
        path = "/api/v3/exchangeInfo" if self._market is Market.SPOT else "/fapi/v1/exchangeInfo"
        reply = await self._venue.get(path, bytes_max=INFO_BYTES_MAX)
        reader = spot_filters if self._market is Market.SPOT else futures_filters
        listed = rows(record(reply.found).get("symbols"))
        found, trading = await asyncio.to_thread(read_symbols, listed, reader)
        if listed and not found:
            raise Malformed(f"none of {len(listed)} symbols could be read")
        self._book.apply_filters(
            self._exchange, self._market, found, as_of=reply.as_of, trading=trading
        )
        self._listed.set()

    async def _filters_first(self) -> None:
        """Before the venue's list nobody knows what a symbol is quoted in: the book would drop every price."""
        try:
            async with asyncio.timeout(FILTERS_WAIT_S):
                await self._listed.wait()
        except TimeoutError:
            raise FeedFailed("exchangeInfo has not been read yet") from None

    async def _read_futures_prices(self) -> None:
        await self._filters_first()
        if self._hears_marks():
            self._keep_books(await self._venue.get("/fapi/v1/ticker/bookTicker"))
            return  # the marks that are told next, a moment from now, are put beside them
        marks, books = await asyncio.gather(
            self._venue.get("/fapi/v1/premiumIndex"), self._venue.get("/fapi/v1/ticker/bookTicker")
        )
        self._keep_books(books)
        near = {text(row, "symbol"): row for row in rows(books.found)}
        quotes: dict[str, Quote] = {}
        for row in rows(marks.found):
            symbol, mark = text(row, "symbol"), price(row, "markPrice")
            if mark is not None:
                book = near.get(symbol, {})
                quotes[symbol] = Quote(mark, price(book, "bidPrice"), price(book, "askPrice"))
        await self._apply(quotes, min(marks.as_of, books.as_of))

    async def _read_spot_prices(self) -> None:
        await self._filters_first()
        reply = await self._venue.get("/api/v3/ticker/bookTicker")
        self._keep_books(reply)
        quotes: dict[str, Quote] = {}
        for row in rows(reply.found):
            bid, ask = price(row, "bidPrice"), price(row, "askPrice")
            if bid is not None and ask is not None and bid <= ask:
                quotes[text(row, "symbol")] = Quote((bid + ask) / TWO, bid, ask)
        await self._apply(quotes, reply.as_of)

    def _keep_books(self, reply: Reply) -> None:
        self._books = {
            text(row, "symbol"): (price(row, "bidPrice"), price(row, "askPrice")) for row in rows(reply.found)
        }
        self._books_at = reply.as_of

    async def _apply(self, quotes: Mapping[str, Quote], as_of: datetime) -> None:
        await self._put(quotes, as_of)
        self._book.close_prices(self._exchange, self._market, quotes, as_of=as_of)

    async def _put(self, quotes: Mapping[str, Quote], as_of: datetime) -> None:
        # What is quoted in dollars first: the others are valued by those.
        names = sorted(quotes, key=lambda symbol: not symbol.endswith(DOLLAR_COINS))
        for begin in range(0, len(names), SYMBOLS_AT_ONCE):
            part = {symbol: quotes[symbol] for symbol in names[begin : begin + SYMBOLS_AT_ONCE]}
            self._book.apply_prices(self._exchange, self._market, part, as_of=as_of)
            await asyncio.sleep(0)


def read_symbols(
    listed: list[Mapping[str, Any]], reader: Callable[[Mapping[str, Any]], Filters]
) -> tuple[dict[str, Filters], frozenset[str]]:
    """Filters per symbol, and which of them trade. A symbol that cannot be read is left out, and so not tradable."""
    found: dict[str, Filters] = {}
    trading: set[str] = set()
    for row in listed:
        try:
            symbol = text(row, "symbol")
            found[symbol] = reader(row)
        except Malformed:
            continue
        if row.get("status") == "TRADING":
            trading.add(symbol)
    return found, frozenset(trading)


def futures_filters(row: Mapping[str, Any]) -> Filters:
    """One symbol of the futures exchangeInfo."""
    filters = _by_type(row)
    notional = filters.get("MIN_NOTIONAL")
    return Filters(
        base_asset=text(row, "baseAsset"),
        quote_asset=text(row, "quoteAsset"),
        **_lots(filters),
        notional_min=Decimal(0) if notional is None else size(notional, "notional"),
    )


def spot_filters(row: Mapping[str, Any]) -> Filters:
    """One symbol of the spot exchangeInfo; of NOTIONAL and MIN_NOTIONAL the stricter applies."""
    filters = _by_type(row)
    least, market = Decimal(0), False
    for kind, applies in (("NOTIONAL", "applyMinToMarket"), ("MIN_NOTIONAL", "applyToMarket")):
        rule = filters.get(kind)
        if rule is not None:
            least = max(least, size(rule, "minNotional"))
            market = market or flag(rule, applies)
    parts = filters.get("ICEBERG_PARTS")
    precision = number(row, "quoteAssetPrecision") if "quoteAssetPrecision" in row else Decimal(8)
    if not 0 <= precision <= 18:
        raise Malformed(f"quoteAssetPrecision: expected 0 to 18, found {precision}")
    return Filters(
        base_asset=text(row, "baseAsset"),
        quote_asset=text(row, "quoteAsset"),
        **_lots(filters),
        notional_min=least,
        notional_min_applies_to_market=market,
        quote_quantity_step=Decimal(1).scaleb(-int(precision)),
        iceberg_parts_max=None if parts is None else int(size(parts, "limit")),
    )


def _by_type(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {text(found, "filterType"): found for found in rows(row.get("filters"))}


def _lots(filters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    lot = filters.get("LOT_SIZE")
    if lot is None:
        raise Malformed("LOT_SIZE is missing")
    step = size(lot, "stepSize")
    if not step:
        raise Malformed("LOT_SIZE: a step of 0 cannot be rounded to")
    market = filters.get("MARKET_LOT_SIZE", {})
    tick = filters.get("PRICE_FILTER", {})
    # The venue writes 0 where a rule does not apply.
    return {
        "quantity_step": step,
        "quantity_min": size(lot, "minQty"),
        "quantity_max": price(lot, "maxQty"),
        "market_quantity_step": price(market, "stepSize"),
        "market_quantity_min": price(market, "minQty"),
        "market_quantity_max": price(market, "maxQty"),
        "price_tick": price(tick, "tickSize"),
    }
