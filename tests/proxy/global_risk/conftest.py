"""A book with prices and histories that a test can shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from proxy.book import AccountPlace, Book, Quote
from proxy.clock import ManualClock
from proxy.global_risk.history import History, Series, day_of
from proxy.global_risk.snapshot import Taken, build, collect
from rules import Fact, Filters, Losses, Market, Position
from rules.profile import RiskLimitsPolicy

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
D = Decimal
LINEAR, SPOT = Market.LINEAR, Market.SPOT
PRICES = {"BTCUSDT": D(50000), "ETHUSDT": D(2500), "SOLUSDT": D(100)}


def series(symbol: str, market: Market = LINEAR, exchange: str = "binance") -> Series:
    """A series by its symbol."""
    return Series(exchange, market, symbol)


def closes_of(returns: Sequence[float], last_day: int) -> dict[int, float]:
    """Closes whose daily returns are these, the newest on `last_day`."""
    price, closes = 100.0, {last_day - len(returns): 100.0}
    for at, made in enumerate(returns):
        price *= 1 + made
        closes[last_day - len(returns) + 1 + at] = price
    return closes


@dataclass
class Marks:
    """What day and week began with; None where nobody knows."""

    day: Decimal | None = None
    week: Decimal | None = None
    day_transfers: Decimal = Decimal(0)
    equity: Decimal | None = None

    def losses(self, account, equity, now):
        """The same for every account."""
        if self.day is None and self.week is None:
            return None
        marks = Losses(
            day_start_equity=self.day, week_start_equity=self.week, high_water_mark=None,
            day_transfers=self.day_transfers, equity=self.equity,
        )  # fmt: skip
        return Fact(marks, now)


@dataclass
class Desk:
    """Accounts and what they hold."""

    book: Book
    clock: ManualClock
    history: History = field(default_factory=History)
    marks: Marks = field(default_factory=Marks)
    limits: RiskLimitsPolicy = field(default_factory=RiskLimitsPolicy)

    @property
    def today(self) -> int:
        """The day, counted from 1970."""
        return day_of(self.clock.now())

    def prices(self, prices: Mapping[str, Decimal] = PRICES, *, spread: str = "0.0002", exchange: str = "binance"):
        """Read prices now; half a spread on either side."""
        half = D(spread) / 2
        quotes = {name: Quote(mark, mark * (1 - half), mark * (1 + half)) for name, mark in prices.items()}
        for market in (LINEAR, SPOT):
            self.book.apply_prices(exchange, market, quotes, as_of=self.clock.now(), complete=True)

    def hold(self, account: str = "main", *, equity: str = "10000", leverage: str = "5", **positions: str):
        """Read an account now: quantities by symbol."""
        now = self.clock.now()
        held = {symbol: Position(both=D(quantity)) for symbol, quantity in positions.items()}
        self.book.apply_equity(account, LINEAR, equity=D(equity), available=None, as_of=now)
        self.book.apply_leverage(account, {symbol: D(leverage) for symbol in PRICES}, as_of=now)
        self.book.apply_snapshot(account, LINEAR, as_of=now, positions=held, orders=[])

    def know(self, symbol: str, returns: Sequence[float], market: Market = LINEAR) -> None:
        """Write a history that ends yesterday."""
        self.history.put(series(symbol, market), closes_of(returns, self.today - 1))

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))

    def taken(self, age_max_s: float = 60) -> Taken:
        """A snapshot now."""
        now = self.clock.now()
        return build(collect(self.book, self.marks, now=now, age_max=timedelta(seconds=age_max_s)))


def open_desk(*places: AccountPlace) -> Desk:
    """A desk with these accounts."""
    book = Book(places)
    filters = {
        name: Filters(
            base_asset=name.removesuffix("USDT"), quote_asset="USDT", quantity_step=D("0.001"), quantity_min=D("0.001")
        )
        for name in PRICES
    }
    for exchange in {place.exchange for place in places}:
        for market in (LINEAR, SPOT):
            book.apply_filters(exchange, market, filters, as_of=NOW)
    desk = Desk(book, ManualClock(NOW))
    for exchange in {place.exchange for place in places}:
        desk.prices(exchange=exchange)
    return desk


def place(name: str, exchange: str = "binance", **more) -> AccountPlace:
    """A futures account."""
    return AccountPlace(name=name, exchange=exchange, markets=frozenset({LINEAR}), **more)


@pytest.fixture
def desk() -> Desk:
    """One futures account on one exchange, with nothing held."""
    desk = open_desk(place("main"))
    desk.hold()
    return desk
