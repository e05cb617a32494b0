"""Prices and filters: what the venue says, or nothing."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from proxy.book import Book
from proxy.clock import SystemClock
from proxy.feeds.market import SYMBOLS_AT_ONCE, MarketFeed, futures_filters, read_symbols, spot_filters
from proxy.feeds.reading import Malformed
from proxy.feeds.venue import Venue
from rules import Market

D = Decimal


def symbol_row(symbol: str = "BTCUSDT", *filters: dict[str, object], **more: object) -> dict[str, object]:
    """A symbol of exchangeInfo with a lot size."""
    lot = {"filterType": "LOT_SIZE", "minQty": "0.00100000", "maxQty": "9000.0", "stepSize": "0.00100000"}
    base = symbol.removesuffix("USDT")
    return {
        "symbol": symbol, "status": "TRADING", "baseAsset": base, "quoteAsset": "USDT",
        "filters": [lot, *filters], **more,
    }  # fmt: skip


def test_futures_filters_are_read():
    """Lot, market lot, tick and least notional."""
    found = futures_filters(
        symbol_row(
            "BTCUSDT",
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.01", "maxQty": "120", "stepSize": "0.01"},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
            {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
        )
    )
    assert (found.base_asset, found.quote_asset) == ("BTC", "USDT")
    assert (found.quantity_step, found.quantity_min, found.quantity_max) == (D("0.001"), D("0.001"), 9000)
    assert (found.market_quantity_step, found.market_quantity_max) == (D("0.01"), 120)
    assert (found.notional_min, found.price_tick) == (100, D("0.1"))


def test_spot_filters_are_read():
    """Zero means that a rule does not apply; the stricter of two notional rules counts."""
    found = spot_filters(
        symbol_row(
            "BTCUSDT",
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "70", "stepSize": "0.00000000"},
            {"filterType": "NOTIONAL", "minNotional": "5", "applyMinToMarket": True},
            {"filterType": "MIN_NOTIONAL", "minNotional": "10", "applyToMarket": False},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "PRICE_FILTER", "tickSize": "0.00000000"},
            quoteAssetPrecision=6,
        )
    )
    assert (found.market_quantity_step, found.market_quantity_max, found.price_tick) == (None, 70, None)
    assert (found.notional_min, found.notional_min_applies_to_market) == (10, True)
    assert (found.iceberg_parts_max, found.quote_quantity_step) == (10, D("0.000001"))


def test_a_symbol_that_cannot_be_read_is_left_out_alone():
    """One odd listing does not take the others away; without filters it cannot be traded."""
    odd = [symbol_row("ODDUSDT", baseAsset=None), {"symbol": "NOLOTUSDT", "filters": []}, {}]
    no_step = {"filterType": "LOT_SIZE", "minQty": "0", "maxQty": "1", "stepSize": "0"}
    zero = {**symbol_row("ZEROUSDT"), "filters": [no_step]}
    found, trading = read_symbols([*odd, zero, symbol_row(), symbol_row("OLDUSDT", status="BREAK")], futures_filters)
    assert set(found) == {"BTCUSDT", "OLDUSDT"}
    assert trading == {"BTCUSDT"}


@pytest.fixture
def clock():
    """The machine's clock."""
    return SystemClock()


@pytest.fixture
def market_feed(venue_server, session, clock):
    """Makes a feed of the fake venue with many symbols listed."""

    def make(market: Market) -> tuple[MarketFeed, Book]:
        names = ["BTCUSDT", *(f"C{number}USDT" for number in range(2 * SYMBOLS_AT_ONCE))]
        cross = {**symbol_row("ETHBTC"), "baseAsset": "ETH", "quoteAsset": "BTC"}
        info = {"symbols": [cross, *(symbol_row(name) for name in names)]}
        venue_server.answers["/fapi/v1/exchangeInfo"] = venue_server.answers["/api/v3/exchangeInfo"] = info
        marks = [{"symbol": name, "markPrice": "100"} for name in ["ETHBTC", *names]]
        books = [{"symbol": name, "bidPrice": "99", "askPrice": "101"} for name in ["ETHBTC", *names]]
        venue_server.answers["/fapi/v1/premiumIndex"] = marks
        venue_server.answers["/fapi/v1/ticker/bookTicker"] = books
        venue_server.answers["/api/v3/ticker/bookTicker"] = books
        book = Book([])
        return MarketFeed(market, Venue(session, venue_server.origin, clock), book, clock), book

    return make


@pytest.mark.parametrize("market", list(Market))
async def test_every_symbol_has_its_price(market_feed, market):
    """All symbols of one answer are in the book, coins quoted in coins converted on the first reading."""
    feed, book = market_feed(market)
    assert await feed.read_once()
    for name in ("BTCUSDT", f"C{2 * SYMBOLS_AT_ONCE - 1}USDT"):
        price = book.price("binance", market, name).value
        assert (price.mark, price.bid, price.ask, price.conversion) == (100, 99, 101, 1)
    assert book.price("binance", market, "ETHBTC").value.conversion == 100
    assert book.filters_known("binance", market)


@pytest.mark.parametrize("market", list(Market))
async def test_prices_wait_for_the_filters(market_feed, market):
    """Without the venue's list the book can place no price: asked for at once, both are there in the end."""
    feed, book = market_feed(market)
    filters, prices, _ = feed.cycles
    assert await asyncio.gather(prices.once(), filters.once()) == [True, True]
    assert book.price("binance", market, "BTCUSDT") is not None


@pytest.mark.parametrize("market", list(Market))
async def test_prices_without_filters_are_no_success(market_feed, market, monkeypatch):
    """A feed that has delivered nothing is not ready, whatever the venue answered."""
    monkeypatch.setattr("proxy.feeds.market.FILTERS_WAIT_S", 0.01)
    feed, _ = market_feed(market)
    prices = feed.cycles[1]
    assert not await prices.once()
    assert not prices.health().ready
    assert "exchangeInfo" in prices.health().last_error


async def test_a_symbol_without_a_book_has_a_mark_only_in_futures(market_feed, venue_server):
    """A halted book shows zeros: the mark price stands, bid and ask are missing."""
    feed, book = market_feed(Market.LINEAR)
    venue_server.answers["/fapi/v1/ticker/bookTicker"] = [{"symbol": "BTCUSDT", "bidPrice": "0", "askPrice": "0"}]
    assert await feed.read_once()
    price = book.price("binance", Market.LINEAR, "BTCUSDT").value
    assert (price.mark, price.bid, price.ask) == (100, None, None)


@pytest.mark.parametrize(("bid", "ask"), [("0", "1"), ("1", "0"), ("2", "1"), ("", "")])
async def test_a_spot_symbol_without_two_sides_has_no_price(market_feed, venue_server, bid, ask):
    """Empty or crossed: the middle means nothing."""
    feed, book = market_feed(Market.SPOT)
    venue_server.answers["/api/v3/ticker/bookTicker"] = [{"symbol": "BTCUSDT", "bidPrice": bid, "askPrice": ask}]
    assert await feed.read_once()
    assert book.price("binance", Market.SPOT, "BTCUSDT") is None


@pytest.mark.parametrize(
    "answer", ["", "{}", '{"code":-1}', '[{"symbol":"BTCUSDT"}', '[{"symbol":"BTCUSDT","markPrice":"NaN"}]', "[1]"]
)
async def test_a_malformed_answer_changes_no_price(market_feed, venue_server, answer):
    """What was known stays with its age, and the feed says what it found."""
    feed, book = market_feed(Market.LINEAR)
    await feed.read_once()
    before = book.price("binance", Market.LINEAR, "BTCUSDT")
    venue_server.answers["/fapi/v1/premiumIndex"] = answer
    assert not await feed.read_once()
    assert book.price("binance", Market.LINEAR, "BTCUSDT") == before
    health = feed.health()[1]
    assert health.malformed == 1
    assert health.last_error.startswith("malformed")


async def test_an_exchange_info_without_a_readable_symbol_is_malformed(market_feed, venue_server):
    """Reading nothing out of a full list is a change of format, not an empty market."""
    feed, book = market_feed(Market.LINEAR)
    venue_server.answers["/fapi/v1/exchangeInfo"] = {"symbols": [{"name": "BTCUSDT"}]}
    with pytest.raises(Malformed, match="none of 1 symbols"):
        await feed._read_filters()
    assert not book.filters_known("binance", Market.LINEAR)
