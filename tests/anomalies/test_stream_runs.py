"""Random scripts of an account's life, told wrongly: in the end the book shows what the exchange holds.

Orders are placed, changed, filled, cancelled and triggered on both markets while the streams double,
hold back, shuffle, swallow and garble what they tell, and are cut off. What was only doubled or
shuffled must come out right by the venue's own times; what was lost, within one reading.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.book import AccountPlace, Book, Quote
from proxy.clock import SystemClock
from proxy.feeds import open_session
from proxy.simulator import SimExchange
from rules import Market, Position, Side
from tests.canary import KEY, SECRET
from tests.proxy.feeds.conftest import World
from tests.proxy.feeds.test_stream_account import SELDOM, Streamed

D = Decimal
STEPS = 25
WITHIN_S = 15.0
FUTURES = ("BTCUSDT", "ETHUSDT")
SPOT = ("BTCUSDT", "ETHUSDT", "ETHBTC")
QUANTITY = {"BTCUSDT": "0.010", "ETHUSDT": "0.100", "ETHBTC": "0.1000"}


class CountingClock(SystemClock):
    """The machine's clock, but no two things happen in the same millisecond."""

    def __init__(self) -> None:
        self._last = super().now()

    def now(self) -> datetime:
        """Now, or a millisecond after the last time it was asked."""
        self._last = max(super().now(), self._last + timedelta(milliseconds=1))
        return self._last


class Script:
    """What happens to an account, drawn from a seed."""

    def __init__(self, streamed: Streamed, seed: int) -> None:
        self.streamed = streamed
        self.exchange = streamed.exchange
        self.account = streamed.exchange.accounts["main"]
        self.random = random.Random(seed)
        self.before = streamed.exchange.streams.swallowed
        self.done: list[str] = []

    async def run(self) -> None:
        """All of it; what was held back comes at the end at the latest."""
        for _ in range(STEPS):
            deed = self.random.choice(DEEDS)
            self.done.append(deed.__name__)
            await deed(self)
        self.exchange.streams.release(self._shuffled)
        self.exchange.streams.faults.clear()

    @property
    def lost(self) -> bool:
        """Whether anything was never told."""
        return self.exchange.streams.swallowed > self.before

    async def send(self, method: str, path: str, **params: str) -> Any:
        """Ask the exchange; that it refuses is part of life."""
        try:
            return await self.streamed.send(method, path, **params)
        except AssertionError:
            return None

    def _shuffled(self, held: list[str]) -> list[str]:
        self.random.shuffle(held)
        return held

    def _price(self, symbol: str) -> tuple[str, str]:
        """A side, and a price that rests on that side."""
        mark = self.exchange.mark(symbol)
        side = self.random.choice(("BUY", "SELL"))
        away = D("0.97") if side == "BUY" else D("1.03")
        step = D("0.00001") if symbol == "ETHBTC" else D("0.1")
        return side, format((mark * away).quantize(step), "f")

    async def rest(self) -> None:
        """A futures order that waits."""
        symbol = self.random.choice(FUTURES)
        side, price = self._price(symbol)
        await self.send(
            "POST", "/fapi/v1/order", symbol=symbol, side=side, type="LIMIT", quantity=QUANTITY[symbol], price=price,
            timeInForce="GTC", reduceOnly=self.random.choice(("true", "false", "false")),
        )  # fmt: skip

    async def trade(self) -> None:
        """A futures order that trades at once."""
        symbol = self.random.choice(FUTURES)
        side = self.random.choice(("BUY", "SELL"))
        await self.send(
            "POST", "/fapi/v1/order", symbol=symbol, side=side, type="MARKET", quantity=QUANTITY[symbol]
        )

    async def stop(self) -> None:
        """A conditional order, of a size or for whatever there is."""
        symbol, side = self.random.choice(FUTURES), self.random.choice(("BUY", "SELL"))
        away = D("1.02") if side == "BUY" else D("0.98")
        price = format((self.exchange.mark(symbol) * away).quantize(D("0.1")), "f")
        size = self.random.choice(({"quantity": QUANTITY[symbol]}, {"closePosition": "true"}))
        await self.send(
            "POST", "/fapi/v1/algoOrder", algoType="CONDITIONAL", symbol=symbol, side=side, type="STOP_MARKET",
            triggerPrice=price, **size,
        )  # fmt: skip

    async def change(self) -> None:
        """Another quantity for a futures order."""
        order = self._any("futures")
        if order is not None:
            await self.send(
                "PUT", "/fapi/v1/order", symbol=order.symbol.name, side=order.side, orderId=str(order.order_id),
                quantity=format(order.quantity * self.random.choice((2, 3)), "f"), price=format(order.price, "f"),
            )  # fmt: skip

    async def fill(self) -> None:
        """A part of a waiting order trades, or all of it."""
        book = self.random.choice(("futures", "spot"))
        order = self._any(book)
        if order is not None and order.status != "PENDING_NEW" and not order.is_conditional:
            part = (order.remaining / 2 // order.symbol.step) * order.symbol.step
            self.exchange.fill(order.order_id, part if part and self.random.random() < 0.6 else None)

    async def cancel(self) -> None:
        """An order is taken back."""
        book, path, name = self.random.choice(
            (
                ("futures", "/fapi/v1/order", "orderId"), ("algo", "/fapi/v1/algoOrder", "algoId"),
                ("spot", "/api/v3/order", "orderId"),
            )
        )  # fmt: skip
        order = self._any(book)
        if order is not None:
            symbol = {} if book == "algo" else {"symbol": order.symbol.name}
            await self.send("DELETE", path, **symbol, **{name: str(order.order_id)})

    async def move(self) -> None:
        """A price moves: stops trigger, orders fill."""
        symbol = self.random.choice(SPOT)
        by = D(self.random.choice(("0.96", "0.985", "1.015", "1.04")))
        step = D("0.00001") if symbol == "ETHBTC" else D("0.1")
        price = (self.exchange.mark(symbol) * by).quantize(step)
        low, high = (D("0.03"), D("0.09")) if symbol == "ETHBTC" else (D(1500), D(120_000))
        self.exchange.mark(symbol, min(max(price, low), high))

    async def rest_on_spot(self) -> None:
        """A spot order that waits."""
        symbol = self.random.choice(SPOT)
        side, price = self._price(symbol)
        await self.send(
            "POST", "/api/v3/order", symbol=symbol, side=side, type="LIMIT", quantity=QUANTITY[symbol],
            price=price, timeInForce="GTC",
        )  # fmt: skip

    async def trade_on_spot(self) -> None:
        """A spot order that trades at once."""
        symbol, side = self.random.choice(SPOT), self.random.choice(("BUY", "SELL"))
        await self.send("POST", "/api/v3/order", symbol=symbol, side=side, type="MARKET", quantity=QUANTITY[symbol])

    async def oco(self) -> None:
        """Two spot orders that exclude each other."""
        mark = self.exchange.mark("BTCUSDT")
        above, below = (format((mark * by).quantize(D("0.01")), "f") for by in (D("1.03"), D("0.97")))
        await self.send(
            "POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="SELL", quantity=QUANTITY["BTCUSDT"],
            aboveType="LIMIT_MAKER", abovePrice=above, belowType="STOP_LOSS", belowStopPrice=below,
        )  # fmt: skip

    async def oto(self) -> None:
        """A spot order that waits for another one to fill."""
        mark = self.exchange.mark("ETHUSDT")
        below, above = (format((mark * by).quantize(D("0.01")), "f") for by in (D("0.97"), D("1.03")))
        await self.send(
            "POST", "/api/v3/orderList/oto", symbol="ETHUSDT", workingType="LIMIT", workingSide="BUY",
            workingPrice=below, workingQuantity="0.1000", workingTimeInForce="GTC", pendingType="LIMIT_MAKER",
            pendingSide="SELL", pendingPrice=above, pendingQuantity="0.1000",
        )  # fmt: skip

    async def deposit(self) -> None:
        """Money comes from outside."""
        self.account.balance("USDT").free += 100
        self.account.wallet += 100
        self.exchange.streams.publish()

    async def double(self) -> None:
        """The next events are told twice."""
        self.exchange.streams.disturb("duplicate", self.random.randint(1, 5))

    async def hold(self) -> None:
        """The next events come later, and in another order."""
        self.exchange.streams.disturb("hold", self.random.randint(1, 6))

    async def let_go(self) -> None:
        """What was held back comes."""
        self.exchange.streams.release(self._shuffled)

    async def swallow(self) -> None:
        """The next events are never told."""
        self.exchange.streams.disturb("swallow", self.random.randint(1, 3))

    async def garble(self) -> None:
        """The next event cannot be read."""
        self.exchange.streams.disturb("garbage", 1)

    async def drop(self) -> None:
        """The lines are cut."""
        if self.random.random() < 0.3:
            self.exchange.streams.drop(prices=False)

    async def wait(self) -> None:
        """Nothing happens for a moment."""
        await asyncio.sleep(self.random.choice((0.0, 0.001, 0.02)))

    def _any(self, book: str) -> Any:
        found = list(self.account.open_orders[book].values())
        return self.random.choice(found) if found else None


DEEDS = (
    Script.rest, Script.rest, Script.trade, Script.trade, Script.stop, Script.change, Script.fill, Script.fill,
    Script.cancel, Script.move, Script.rest_on_spot, Script.trade_on_spot, Script.oco, Script.oto, Script.deposit,
    Script.double, Script.hold, Script.let_go, Script.swallow, Script.garble, Script.drop, Script.wait,
)  # fmt: skip


def exchanges_view(streamed: Streamed) -> dict[str, Any]:
    """What the exchange holds."""
    account = streamed.exchange.accounts["main"]
    futures = {(o.symbol.name, str(o.order_id)): o.remaining for o in account.open_orders["futures"].values()}
    algos = {
        (o.symbol.name, f"algo:{o.order_id}"): D(0) if o.close_position else o.quantity
        for o in account.open_orders["algo"].values()
    }
    positions = {symbol: position.amount for (symbol, _), position in account.positions.items() if position.amount}
    balances = {coin: found.free + found.locked for coin, found in account.balances.items()}
    return {
        "futures": futures | algos,
        "spot": {(o.symbol.name, str(o.order_id)): o.remaining for o in account.open_orders["spot"].values()},
        "positions": positions,
        "balances": {coin: amount for coin, amount in balances.items() if amount},
    }


def books_view(streamed: Streamed) -> dict[str, Any]:
    """What the book shows."""
    book = streamed.book
    orders = {
        market: {
            (symbol, order_id): order.remaining
            for symbol, found in book.working("main", market).items()
            for order_id, order in found.items()
        }
        for market in Market
    }
    held = {market: book.positions("main", market) for market in Market}
    assert all(held.values())
    return {
        "futures": orders[Market.LINEAR],
        "spot": orders[Market.SPOT],
        "positions": {name: found.both for name, found in held[Market.LINEAR].value.items() if found.both},
        "balances": {name: found.both for name, found in held[Market.SPOT].value.items() if found.both},
    }


def sums(book: Book, now: datetime) -> list[Any]:
    """Everything that limits ask for: per symbol what waits and what closes, and the exposure of the account."""
    found: list[Any] = []
    for market, symbols in ((Market.LINEAR, FUTURES), (Market.SPOT, SPOT)):
        for symbol in symbols:
            facts = book.symbol("main", market, symbol, now)
            found.append((market, symbol, dict(facts.working), facts.closing, facts.position.value))
            found.append(book.symbol_notional("main", market, symbol))
    exposure = book.exposure("main", "", now)
    assert exposure is not None
    return [*found, exposure.value.account]


def look_again_at_sales_for_coins(book: Book) -> None:
    """What such a sale buys goes by the mark of the moment it was last looked at, which a new book cannot know."""
    sales = {
        (one.symbol, one.order.order_id): one
        for found in book._wallet("main", Market.SPOT).listed.values()
        for one in found.values()
        if one.symbol == "ETHBTC" and one.order.side is Side.SELL
    }
    assert book.apply_changes("main", Market.SPOT, orders=sales, positions={})


def afresh(streamed: Streamed) -> Book:
    """A book that has never heard of an event: made from one reading of the same state."""
    old, now = streamed.book, streamed.clock.now()
    book = Book([AccountPlace(name="main", exchange="binance", markets=frozenset(Market))])
    for market in Market:
        filters = old.filters("binance", market)
        book.apply_filters("binance", market, filters, as_of=now, trading=frozenset(filters))
        quotes = {}
        for symbol in sorted(filters, key=lambda name: not name.endswith("USDT")):
            price = old.price("binance", market, symbol)
            if price is not None:
                quotes[symbol] = Quote(price.value.mark, price.value.bid, price.value.ask)
        book.apply_prices("binance", market, quotes, as_of=now, complete=True)
        listed = [working for found in old._wallet("main", market).listed.values() for working in found.values()]
        orders = list({(one.symbol, one.order.order_id): one for one in listed}.values())
        positions = {name: found for name, found in old.positions("main", market).value.items() if found != Position()}
        book.apply_snapshot("main", market, as_of=now, positions=positions, orders=orders)
    return book


@asynccontextmanager
async def open_account(folder: Path) -> AsyncIterator[Streamed]:
    """An account whose streams speak for it, on an exchange where no two things happen at once."""
    exchange = SimExchange(CountingClock())
    await exchange.start()
    await exchange.start_streams()
    exchange.add_account(
        "main", spot={"USDT": D(500_000), "BTC": D(5), "ETH": D(50)}, futures_wallet=D(1_000_000)
    )
    exchange.add_key(KEY, SECRET.decode(), "main")
    session = open_session(connections_max=0)
    cadence = replace(SELDOM, market_s=600.0, snapshot_s=5.0, poke_min_s=0.02)
    streamed = Streamed(World(session, exchange, folder), cadence)
    try:
        await streamed.start()
        yield streamed
    finally:
        await streamed.feeds.close()
        await streamed.tasks.close()
        await session.close()
        await exchange.stop()


async def same(streamed: Streamed, within_s: float) -> bool:
    """Whether the book comes to show what the exchange holds, with streams that speak for it."""
    try:
        await streamed.until(
            lambda: all(streamed.live(market).is_live for market in Market)
            and books_view(streamed) == exchanges_view(streamed),
            within_s=within_s,
        )
    except TimeoutError:
        return False
    return True


async def play(streamed: Streamed, seed: int) -> str | None:
    """One script, and what is wrong after it, if anything."""
    script = Script(streamed, seed)
    await script.run()
    if not await same(streamed, 0.5 if script.lost else WITHIN_S):
        if not script.lost:
            return f"seed {seed}: nothing was lost, and the book differs after {script.done}"
        for market in Market:
            streamed.live(market).wants_reading()
        if not await same(streamed, WITHIN_S):
            return f"seed {seed}: still different after a reading and {script.done}"
    look_again_at_sales_for_coins(streamed.book)
    now = streamed.clock.now()
    kept, made = sums(streamed.book, now), sums(afresh(streamed), now)
    if kept != made:
        return f"seed {seed}: sums kept {kept}, made afresh {made}"
    return None


async def scripts(folder: Path, seeds: range) -> None:
    """Scripts one after the other on one account; what went wrong, with its seed."""
    async with open_account(folder) as streamed:
        for seed in seeds:
            wrong = await play(streamed, seed)
            if wrong is not None:
                shown = {"book": books_view(streamed), "exchange": exchanges_view(streamed)}
                differing = {part: (shown["book"][part], shown["exchange"][part]) for part in shown["book"]
                             if shown["book"][part] != shown["exchange"][part]}  # fmt: skip
                pytest.fail(f"{wrong}: {differing}")


@pytest.mark.parametrize("batch", range(4))
async def test_the_book_shows_what_the_exchange_holds_after_every_script(tmp_path, batch):
    """Forty scripts, four accounts."""
    await scripts(tmp_path, range(batch * 10, batch * 10 + 10))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", range(20))
async def test_the_book_shows_what_the_exchange_holds_after_a_thousand_scripts(tmp_path, batch):
    """A thousand scripts, twenty accounts."""
    await scripts(tmp_path, range(1000 + batch * 50, 1000 + batch * 50 + 50))
