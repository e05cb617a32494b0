"""What it costs to gather the facts of one order, with little and with much in the book.

    python -m bench.gather
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from proxy.book import AccountPlace, Book, Quote, Working
from proxy.clock import ManualClock
from proxy.gather import Gather
from proxy.ledger import Ledger, Sample, VenueTime
from proxy.reservations import Reservations
from rules import (
    CLEAR,
    Bucket,
    Caller,
    Fact,
    Filters,
    GlobalRisk,
    Limits,
    Market,
    Order,
    OrderType,
    Position,
    RiskLevel,
    Side,
    Stop,
    WorkingOrder,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
D = Decimal
ROUNDS = 20_000
STRETCH = 25


class Feeds:
    """Stop, signal and loss figures that are there."""

    risk = Fact(GlobalRisk(level=RiskLevel.INFO), NOW)

    def of_order(self, caller: Caller, symbols: Collection[str]) -> Stop:
        return CLEAR

    def governing(self, account: str, exchange: str = "", strategy: str = "") -> Stop:
        return CLEAR

    def latest(self) -> Fact[GlobalRisk]:
        return self.risk


def world(accounts: int, symbols: int, orders: int, leverages: int = 1) -> tuple[Gather, Book, float]:
    """A book with so much in it; the orders are spread over accounts and symbols, symbols over leverages."""
    names = [f"S{number}USDT" for number in range(symbols)]
    places = [
        AccountPlace(name=f"a{number}", exchange="binance", markets=frozenset({Market.LINEAR}))
        for number in range(accounts)
    ]
    book = Book(places)
    found = {
        name: Filters(base_asset=name[:-4], quote_asset="USDT", quantity_step=D("0.001"), quantity_min=D("0.001"))
        for name in names
    }
    book.apply_filters("binance", Market.LINEAR, found, as_of=NOW)
    quotes = {name: Quote(D("123.45"), D("123.4"), D("123.5")) for name in names}
    book.apply_prices("binance", Market.LINEAR, quotes, as_of=NOW, complete=True)
    leverage = {name: D(5 + number % leverages) for number, name in enumerate(names)}
    begun = time.perf_counter()
    for index, place in enumerate(places):
        own = [number for number in range(orders) if number % accounts == index]
        working = [
            Working(
                names[number % symbols],
                WorkingOrder(
                    order_id=str(number),
                    client_order_id=f"c{number}",
                    side=Side.BUY,
                    bucket=Bucket.BOTH,
                    remaining=D(1),
                ),
            )
            for number in own
        ]
        held = {name: Position(both=D(3)) for name in names}
        book.apply_snapshot(place.name, Market.LINEAR, as_of=NOW, positions=held, orders=working)
        book.apply_equity(place.name, Market.LINEAR, equity=D(1000), available=D(1), as_of=NOW)
        book.apply_hedge_mode(place.name, hedge_mode=False, as_of=NOW)
        book.apply_leverage(place.name, leverage, as_of=NOW)
    snapshot_ms = (time.perf_counter() - begun) * 1e3 / accounts
    clock = ManualClock(NOW)
    ledger, venue_time = Ledger(Path(tempfile.mkdtemp()) / "day_start.json", clock), VenueTime(clock)
    venue_time.note(NOW, 0.0, 0.0)
    ledger.add("a0", (Market.LINEAR,), venue_time)
    cash, prices = {"USDT": D(1000)}, {"USDT": D(1)}
    ledger.take("a0", Market.LINEAR, Sample(D(1000), D(1000), cash, prices, sent=NOW, received=NOW, as_of=NOW))
    gather = Gather(book, Reservations(book, clock), Feeds(), Feeds(), clock=clock, losses=ledger)
    return gather, book, snapshot_ms


NONE = Limits(policy_revision=1, profile="P", capital_profile="c")
OF_THE_ACCOUNT = replace(NONE, exposure_asset_max=D(1), margin_free_min=D("0.1"), open_orders_max=5)


def gathering(gather: Gather, limits: Limits) -> float:
    """The shortest time that gathering took, in microseconds."""
    caller = Caller(account="a0", exchange="binance", strategy="s", bot="b")
    order = Order(
        symbol="S0USDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=D(1), price=D(100)
    )
    best = float("inf")
    # Stretches of under a millisecond: on a busy machine some of them still have the processor to themselves.
    for _ in range(ROUNDS // STRETCH):
        begun = time.perf_counter()
        for _ in range(STRETCH):
            gather.facts(caller, (order,), NOW, limits)
        best = min(best, (time.perf_counter() - begun) / STRETCH)
    return best * 1e6


def measure(accounts: int, symbols: int, orders: int, leverages: int = 1) -> None:
    """Print what one order's facts cost, and what one snapshot and one price of the feeds do."""
    gather, book, snapshot_ms = world(accounts, symbols, orders, leverages)
    plain = gathering(gather, NONE)
    begun = time.perf_counter()
    for number in range(100):
        book.apply_prices("binance", Market.LINEAR, {"S0USDT": Quote(D(100 + number))}, as_of=NOW)
    price_us = (time.perf_counter() - begun) / 100 * 1e6
    print(
        f"{accounts:4} accounts {symbols:4} symbols {orders:5} orders {leverages:3} leverages: gather {plain:5.1f} us, "
        f"with the account's sums {gathering(gather, OF_THE_ACCOUNT):5.1f} us, "
        f"snapshot of one account {snapshot_ms:6.2f} ms, one price {price_us:7.1f} us"
    )


if __name__ == "__main__":
    for scale in ((1, 1, 0), (1, 10, 10), (50, 500, 10), (50, 500, 500), (50, 500, 5_000), (1, 500, 5_000, 120)):
        measure(*scale)
