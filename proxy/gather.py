"""Builds the facts of one request from memory, without waiting for anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol, TypeAlias

from proxy.book import Book
from proxy.clock import Clock
from proxy.reservations import Reservations
from rules import (
    AccountSums,
    Caller,
    Directive,
    Fact,
    Facts,
    GlobalRisk,
    Instruction,
    LeverageChange,
    Limits,
    Losses,
    MarginChange,
    Market,
    Order,
    Stop,
    SymbolFacts,
    VarRoom,
    asks_for_sums,
)

LIMITS_KEPT_MAX: Final = 1024
LINEAR: Final = Market.LINEAR
SETTINGS = (LeverageChange, MarginChange)  # about contracts only; every other instruction names its market


class Latch(Protocol):
    """Where the emergency stop's state is read."""

    def governing(self, account: str, exchange: str = "", strategy: str = "") -> Stop:
        """The strictest stop that applies to an account."""
        ...

    def of_order(self, caller: Caller, symbols: Collection[str]) -> Stop:
        """The strictest stop that a request falls under; one that names no symbol is about all of them."""
        ...


class RiskReader(Protocol):
    """Where the global risk signal is read."""

    def latest(self) -> Fact[GlobalRisk] | None:
        """The newest valid signal, however old; None before the first."""
        ...


class LossReader(Protocol):
    """Where the equity at the start of day and week is read."""

    def losses(self, account: str, equity: Fact[Decimal] | None, now: datetime) -> Fact[Losses] | None:
        """What losses are measured from; None where that is not known."""
        ...


class GovernorReader(Protocol):
    """Where the safety governor's word on an account is read."""

    def directive(
        self,
        account: str,
        limits: Limits,
        losses: Fact[Losses] | None,
        equity: Fact[Decimal] | None,
        risk: Fact[GlobalRisk] | None,
        now: datetime,
    ) -> Fact[Directive] | None:
        """The directive under these limits; None where the account is not governed."""
        ...


# Account, exchange, what is asked for, and now: what VaR and ES leave of the account.
VarReader: TypeAlias = Callable[[str, str, Sequence[tuple[Market, str]], datetime], VarRoom | None]


class Gather:
    """Everything a judgement rests on, for one request."""

    def __init__(
        self,
        book: Book,
        reservations: Reservations,
        risk_feed: RiskReader | None,
        latch: Latch,
        *,
        clock: Clock,
        losses: LossReader | None = None,
        governor: GovernorReader | None = None,
        var: VarReader | None = None,
    ) -> None:
        self._book = book
        self._reservations = reservations
        self._risk_feed = risk_feed
        self._latch = latch
        self._clock = clock
        self._losses = losses
        self._governor = governor
        self._var = var
        self._asking: dict[int, tuple[Limits, bool]] = {}

    def facts(
        self, caller: Caller, instructions: Sequence[Instruction], now: datetime, limits: Limits | None = None
    ) -> Facts:
        """The facts for every symbol of a request. `limits` gives the windows that activity is counted in."""
        book = self._book
        market, account = market_of(instructions), caller.account
        symbols: dict[str, SymbolFacts] = {}
        orders: list[Order] = []
        for instruction in instructions:
            if isinstance(instruction, Order):
                orders.append(instruction)
            symbol = instruction.symbol
            if symbol is not None and symbol not in symbols:
                symbols[symbol] = book.symbol(account, market, symbol, now)
        equity = book.equity(account, now)
        risk = None if self._risk_feed is None else self._risk_feed.latest()
        losses = None if self._losses is None else self._losses.losses(account, equity, now)
        governor = room = None
        if limits is not None:
            if limits.governor is not None and self._governor is not None:
                governor = self._governor.directive(account, limits, losses, equity, risk, now)
            if limits.scaling_by_var is not None and self._var is not None:
                room = self._var(account, caller.exchange, [(market, symbol) for symbol in symbols], now)
        return Facts(
            now=now,
            caller=caller,
            stop=self._latch.of_order(caller, symbols),
            symbols=symbols,
            risk=risk,
            equity=equity,
            losses=losses,
            hedge_mode=book.hedge_mode(account, market, now),
            exposure=book.exposure(account, caller.strategy, now),
            open_positions=book.open_positions(account, market, symbols),
            sums=self._sums(account, market, symbols, now) if limits is not None and self._asks(limits) else None,
            activity=self._reservations.activity_of(caller, orders, self._clock.monotonic(), limits),
            governor=governor,
            var=room,
        )


    def account(self, caller: Caller, now: datetime, limits: Limits | None = None) -> Facts:
        """What is known of an account as a whole, without an order: for whoever looks."""
        book, account = self._book, caller.account
        equity = book.equity(account, now)
        found = book.account_sums(account, Market.LINEAR, (), now, keep=False)
        if found is not None:
            resting = sum(self._reservations.resting(account, one) for one in Market)
            found = Fact(found.value._replace(orders=found.value.orders + resting), found.as_of)
        risk = None if self._risk_feed is None else self._risk_feed.latest()
        losses = None if self._losses is None else self._losses.losses(account, equity, now)
        governor = None
        if limits is not None and self._governor is not None:
            governor = self._governor.directive(account, limits, losses, equity, risk, now)
        return Facts(
            now=now,
            caller=caller,
            stop=self._latch.governing(account, caller.exchange, caller.strategy),
            symbols={},
            risk=risk,
            equity=equity,
            losses=losses,
            governor=governor,
            hedge_mode=book.hedge_mode(account, Market.LINEAR, now),
            exposure=book.exposure(account, caller.strategy, now),
            open_positions=book.open_positions(account, Market.LINEAR, ()),
            sums=found,
        )

    def _sums(
        self, account: str, market: Market, symbols: Collection[str], now: datetime
    ) -> Fact[AccountSums] | None:
        """The account's sums, with the orders that the venue does not list yet."""
        found = self._book.account_sums(account, market, symbols, now)
        if found is None:
            return None
        listed, resting = found.value, self._reservations.resting
        return Fact(
            listed._replace(
                orders=listed.orders + sum(resting(account, one) for one in Market),
                orders_by_symbol={
                    symbol: count + resting(account, market, symbol)
                    for symbol, count in listed.orders_by_symbol.items()
                },
            ),
            found.as_of,
        )

    def _asks(self, limits: Limits) -> bool:
        """Whether one of the limits needs the account's sums; worked out once for each set of limits."""
        # By identity, because limits hold mappings and cannot be hashed; an entry keeps its limits alive.
        found = self._asking.get(id(limits))
        if found is not None:
            return found[1]
        if len(self._asking) >= LIMITS_KEPT_MAX:
            self._asking.clear()
        asks = asks_for_sums(limits)
        self._asking[id(limits)] = limits, asks
        return asks


def market_of(instructions: Sequence[Instruction]) -> Market:
    """The market a request is about; leverage and margin settings exist for contracts only."""
    for instruction in instructions:
        if not isinstance(instruction, SETTINGS):
            return instruction.market
    return LINEAR
