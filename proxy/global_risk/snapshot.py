"""What all accounts hold at this moment, read from the book in one step of the loop."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import NamedTuple, Protocol

from proxy.book import EXACT, AccountPlace, Book, Holding
from proxy.global_risk.history import Series
from proxy.global_risk.models import CENT_OF_CENTS, HeldPosition, RiskSnapshot
from rules import Bucket, Fact, Losses, Market, Price

ZERO = Decimal(0)
ONE = Decimal(1)
NOBODY = "(unattributed)"
BOTH, LONG, SHORT = Bucket.BOTH, Bucket.LONG, Bucket.SHORT


class LossReader(Protocol):
    """Where the equity at the start of day and week is read."""

    def losses(self, account: str, equity: Fact[Decimal] | None, now: datetime) -> Fact[Losses] | None:
        """What losses are measured from; None where that is not known."""
        ...


class NotReady(Exception):
    """The book does not hold what a snapshot needs; the message says what is missing."""


class Spread(NamedTuple):
    """How far bid and ask of a held symbol are apart, as a fraction; None without a book."""

    notional: float
    spread: float | None


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot, and what the arithmetic needs of it beside what is published."""

    snapshot: RiskSnapshot
    net: Mapping[Series, float]  # signed notional of all accounts, legs netted: what a move of the price makes
    spreads: Mapping[Series, Spread]
    exchanges: frozenset[str]
    failing: frozenset[str]  # exchanges of which everything is too old
    unlisted: frozenset[str]  # held symbols that no candle can be asked for


class Row(NamedTuple):
    """One instrument of one account as the book had it."""

    place: AccountPlace
    equity: Decimal
    holding: Holding
    price: Fact[Price] | None
    leverage: Decimal | None


@dataclass(frozen=True, slots=True)
class Collected:
    """Everything read from the book; `build` makes sense of it anywhere, also in a thread."""

    now: datetime
    age_max: timedelta
    read: tuple[AccountPlace, ...]
    unread: tuple[str, ...]
    old: tuple[AccountPlace, ...]
    oldest: datetime | None
    equity: Decimal
    results: Results
    rows: tuple[Row, ...]
    strategies: Mapping[str, Decimal]


class Results(NamedTuple):
    """What day and week made, and the loss of the day over the equity it began with."""

    daily: Decimal | None = None
    weekly: Decimal | None = None
    drawdown: float | None = None


def collect(book: Book, losses: LossReader | None, *, now: datetime, age_max: timedelta) -> Collected:
    """Read the book in one go; raises NotReady while an account has never been read, or no exchange is fresh.

    An account that is older than `age_max` counts with what was last known of it, and is named.
    """
    found = _frame(book, losses, now, age_max)
    return replace(found, rows=tuple(row for place in found.read for row in _rows(book, place, now)))


async def collect_in_parts(book: Book, losses: LossReader | None, *, now: datetime, age_max: timedelta) -> Collected:
    """The same, one account at a time: between them the loop serves orders."""
    found = _frame(book, losses, now, age_max)
    rows: list[Row] = []
    for place in found.read:
        rows += _rows(book, place, now)
        await asyncio.sleep(0)
    return replace(found, rows=tuple(rows))


def _frame(book: Book, losses: LossReader | None, now: datetime, age_max: timedelta) -> Collected:
    """Everything but the rows."""
    # A configured equity takes the place of reading such an account: it can open nothing here, and nobody
    # knows what it holds.
    read = tuple(place for place in book.accounts if place.equity_static is None)
    unread = tuple(sorted(place.name for place in book.accounts if place.equity_static is not None))
    equities: dict[str, Fact[Decimal]] = {}
    ages: dict[str, datetime] = {}
    for place in read:
        equity, read_at = book.equity(place.name, now), book.read_at(place.name)
        if equity is not None and read_at is not None:
            equities[place.name] = equity
            ages[place.name] = min(equity.as_of, read_at)
    if never := sorted(place.name for place in read if place.name not in ages):
        raise NotReady(f"not read yet: {', '.join(never)}")
    old = tuple(place for place in read if now - ages[place.name] > age_max)
    if read and not {place.exchange for place in read if place not in old}:
        raise NotReady(f"every account's reading is older than {age_max.total_seconds():.0f} s")
    with localcontext(EXACT):
        strategies: dict[str, Decimal] = defaultdict(Decimal)
        for place in read:
            for strategy, notional in book.strategy_notional(place.name).items():
                strategies[strategy or NOBODY] += notional
        return Collected(
            now=now,
            age_max=age_max,
            read=read,
            unread=unread,
            old=old,
            oldest=min(ages.values(), default=None),
            equity=sum((fact.value for fact in equities.values()), ZERO),
            results=_results(losses, read, equities, now),
            rows=(),
            strategies=strategies,
        )


def _rows(book: Book, place: AccountPlace, now: datetime) -> list[Row]:
    equity = book.equity(place.name, now)
    return [
        _row(book, place, holding, ZERO if equity is None else equity.value, now)
        for holding in book.holdings(place.name)
        if holding.position.both or holding.position.long or holding.position.short
    ]


def _row(book: Book, place: AccountPlace, holding: Holding, equity: Decimal, now: datetime) -> Row:
    price = book.price(place.exchange, holding.market, holding.symbol or holding.instrument)
    return Row(place, equity, holding, price, _leverage(book, place, holding, now))


def build(collected: Collected) -> Taken:
    """The snapshot, and what the arithmetic needs beside it."""
    with localcontext(EXACT):
        sums = _Sums()
        sums.oldest = collected.oldest
        for row in collected.rows:
            _count(row, collected, sums)
        exchanges = frozenset(place.exchange for place in collected.read)
        return Taken(
            snapshot=_snapshot(collected, sums),
            net={series: float(value) for series, value in sums.net.items()},
            spreads={series: Spread(float(value), sums.spreads[series]) for series, value in sums.gross.items()},
            exchanges=exchanges,
            failing=exchanges - {place.exchange for place in collected.read if place not in collected.old},
            unlisted=frozenset(sums.unlisted),
        )


class _Sums:
    """Adds up positions under every heading."""

    def __init__(self) -> None:
        self.positions: list[HeldPosition] = []
        self.net: dict[Series, Decimal] = defaultdict(Decimal)
        self.gross: dict[Series, Decimal] = defaultdict(Decimal)
        self.spreads: dict[Series, float | None] = {}
        self.symbols: dict[str, Decimal] = defaultdict(Decimal)
        self.exchanges: dict[str, Decimal] = defaultdict(Decimal)
        self.exchange_counts: dict[str, int] = defaultdict(int)
        self.strategy_counts: dict[str, int] = defaultdict(int)
        self.unpriced: set[str] = set()
        self.unlisted: set[str] = set()
        self.oldest: datetime | None = None


def _count(row: Row, collected: Collected, sums: _Sums) -> None:
    """Add one instrument of one account, each leg a position of its own."""
    holding, price = row.holding, row.price
    symbol = holding.symbol or holding.instrument
    if holding.value is None:
        sums.unpriced.add(symbol)
        return
    if not holding.value:
        return  # a coin without a market: worth nothing for certain
    if price is None or collected.now - price.as_of > collected.age_max:
        sums.unpriced.add(symbol)
    elif sums.oldest is None or price.as_of < sums.oldest:
        sums.oldest = price.as_of
    if holding.symbol is None:
        sums.unlisted.add(symbol)
    series = Series(row.place.exchange, holding.market, symbol)
    sums.spreads[series] = _spread(price)
    for quantity in (holding.position.signed(bucket) for bucket in (BOTH, LONG, SHORT)):
        if quantity:
            position = _position(row, symbol, quantity, holding.value)
            sums.positions.append(position)
            sums.net[series] += quantity * holding.value
            sums.gross[series] += position.notional_usd
            sums.symbols[symbol] += position.notional_usd
            sums.exchanges[row.place.exchange] += position.notional_usd
            sums.exchange_counts[row.place.exchange] += 1
            sums.strategy_counts[position.strategy or NOBODY] += 1


def _position(row: Row, symbol: str, quantity: Decimal, value: Decimal) -> HeldPosition:
    holding, notional = row.holding, abs(quantity * value).quantize(CENT_OF_CENTS)
    return HeldPosition(
        account=row.place.name,
        symbol=symbol,
        exchange=row.place.exchange,
        market="spot" if holding.market is Market.SPOT else "linear",
        strategy=holding.strategies[0] if len(holding.strategies) == 1 else None,
        quantity=quantity,
        notional_usd=notional,
        leverage=row.leverage,
        unrealized_pnl=None,
        entry_price=None,
        current_price=None if row.price is None else row.price.value.mark,
        risk_pct=float(notional / row.equity) if row.equity > 0 else None,
    )


def _leverage(book: Book, place: AccountPlace, holding: Holding, now: datetime) -> Decimal | None:
    if holding.market is Market.SPOT:
        return ONE
    known = book.symbol(place.name, holding.market, holding.instrument, now).leverage
    return None if known is None else known.value


def _spread(price: Fact[Price] | None) -> float | None:
    if price is None or price.value.bid is None or price.value.ask is None:
        return None
    return float((price.value.ask - price.value.bid) / price.value.mark)


def _snapshot(collected: Collected, sums: _Sums) -> RiskSnapshot:
    total, equity = sum(sums.symbols.values(), ZERO), collected.equity
    shares = {name: float(value / equity) for name, value in sums.symbols.items()} if equity > 0 else {}
    return RiskSnapshot(
        timestamp=collected.now,
        as_of=sums.oldest,
        positions=tuple(sums.positions),
        symbol_exposure=dict(sums.symbols),
        symbol_leverage=shares,
        exchange_exposure=dict(sums.exchanges),
        exchange_position_count=dict(sums.exchange_counts),
        strategy_exposure=dict(collected.strategies),
        strategy_position_count=dict(sums.strategy_counts),
        account_balance=None,
        total_equity=equity if collected.read else None,
        total_notional=total,
        total_unrealized_pnl=None,
        total_leverage=float(total / equity) if equity > 0 else None,
        drawdown_pct=collected.results.drawdown,
        daily_pnl=collected.results.daily,
        weekly_pnl=collected.results.weekly,
        volatility_cluster=None,
        regime=None,
        unread_accounts=collected.unread,
        old_accounts=tuple(sorted(place.name for place in collected.old)),
        unpriced_symbols=tuple(sorted(sums.unpriced)),
    )


def _results(
    losses: LossReader | None, read: Iterable[AccountPlace], equities: Mapping[str, Fact[Decimal]], now: datetime
) -> Results:
    """What day and week made, transfers left out; unknown as soon as it is of one account."""
    daily = weekly = started = ZERO
    knows_day = knows_week = bool(equities)
    for place in read:
        equity = equities[place.name]
        marks = None if losses is None else losses.losses(place.name, equity, now)
        if marks is None:
            return Results()
        day, week = marks.value.day_start_equity, marks.value.week_start_equity
        present = equity.value if marks.value.equity is None else marks.value.equity
        if day is None:
            knows_day = False
        else:
            daily += present - day - marks.value.day_transfers
            started += day
        if week is None:
            knows_week = False
        else:
            weekly += present - week - marks.value.week_transfers
    drawdown = float(max(ZERO, -daily) / started) if knows_day and started > 0 else None
    return Results(daily if knows_day else None, weekly if knows_week else None, drawdown)
