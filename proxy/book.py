"""What is known of every account and market: the feeds write here, `gather` reads.

The sums that limits ask for (worst-case exposure per symbol, strategy, account, exchange and
over all) are kept up to date on every write, so that reading them costs the same with ten
orders as with five thousand. Nothing in here waits, and nothing is guessed: what a feed has
not delivered is missing.

Positions are kept per *instrument*: the symbol of a contract, the base asset of a spot pair,
because BTCUSDT and BTCUSDC sell the same coins.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation, getcontext, setcontext
from functools import wraps
from types import MappingProxyType
from typing import Final, NamedTuple, ParamSpec, TypeVar

from proxy.book_sums import Part, Sums
from rules import (
    DOLLAR_COINS as DOLLAR_COINS,
)
from rules import (
    NO_SIDES,
    AccountSums,
    Bracket,
    Bucket,
    Exposure,
    Fact,
    Filters,
    Market,
    Position,
    Price,
    Side,
    Sides,
    SymbolFacts,
    WorkingOrder,
    closed,
    coin_of,
    maintenance_of,
)

ZERO: Final = Decimal(0)
_NEW: Final = tuple.__new__  # a NamedTuple's own constructor costs three times as much
ONE: Final = Decimal(1)
CENT_OF_CENTS: Final = Decimal("0.00000001")
CEILING: Final = Context(prec=28, rounding=ROUND_CEILING)
# Numbers of a venue or bot have at most 20 + 20 digits: in here sums and products of them lose none. What is
# added to a sum can then be taken away again, however large one and small another part of it is.
EXACT: Final = Context(prec=120)
UNKNOWN: Final = Decimal("Infinity")  # a sum of which a part is not known: above every limit
FLAT: Final = Position()
NOTHING_WAITING: Final[Mapping[Bucket, Sides]] = MappingProxyType({})
NO_ORDERS: Final[Mapping[str, WorkingOrder]] = MappingProxyType({})
NO_FACTS: Final = SymbolFacts()
# Looked up once: on an enumeration class that costs more than what follows from it.
BUCKETS: Final[tuple[Bucket, ...]] = (Bucket.BOTH, Bucket.LONG, Bucket.SHORT)
BOTH: Final = Bucket.BOTH
LONG: Final = Bucket.LONG
SHORT: Final = Bucket.SHORT
BUY: Final = Side.BUY
SELL: Final = Side.SELL
SPOT: Final = Market.SPOT
LATE_MAX: Final = timedelta(seconds=60)
LAG: Final = timedelta(milliseconds=250)  # a venue may answer a reading from a copy that is a moment behind


Asked = ParamSpec("Asked")
Given = TypeVar("Given")


def exact(method: Callable[Asked, Given]) -> Callable[Asked, Given]:
    """Calculate without loss for the length of one call; the context belongs to whoever calls."""

    @wraps(method)
    def called(*args: Asked.args, **options: Asked.kwargs) -> Given:
        callers_context = getcontext()
        setcontext(EXACT)
        try:
            return method(*args, **options)
        finally:
            setcontext(callers_context)

    return called


class Working(NamedTuple):
    """A working order as a feed read it; orders of one `group` exclude each other (OCO)."""

    symbol: str
    order: WorkingOrder
    group: str | None = None


class Quote(NamedTuple):
    """What a market feed read of one symbol, in quote currency."""

    mark: Decimal
    bid: Decimal | None = None
    ask: Decimal | None = None


class Holding(NamedTuple):
    """One instrument of one account: what is held, how far what waits may move it, and what a unit is worth.

    `symbol` is the one that prices it, None for a coin without a market. `up` and `down` are the base quantity
    that could be added to the net position by what is working or in flight, `long_up` and `short_up` the same
    of the legs of hedge mode. `value` is in the account's currency; `strategies` opened it.
    """

    market: Market
    instrument: str
    symbol: str | None
    position: Position
    up: Decimal
    down: Decimal
    long_up: Decimal
    short_up: Decimal
    value: Decimal | None
    strategies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPlace:
    """An account as configured: where it trades, and its equity where no feed can read it."""

    name: str
    exchange: str
    markets: frozenset[Market]
    equity_static: Decimal | None = None


def only_closes(side: Side, bucket: Bucket, *, reduce_only: bool, close_position: bool) -> bool:
    """Whether the venue itself keeps such an order from opening anything.

    A leg of hedge mode cannot pass through zero, so selling LONG and buying SHORT only close.
    """
    if reduce_only or close_position:
        return True
    return (bucket is LONG and side is not BUY) or (bucket is SHORT and side is BUY)


def worst_case(
    position: Position, working: Mapping[Bucket, Sides], reserved: Mapping[Bucket, Sides] = NOTHING_WAITING
) -> Decimal:
    """The largest size the position can reach if the worse side of what waits fills; sides never net."""
    bought, sold = _worst_net(position, working, reserved)
    return max(bought, sold) + _worst_legs(position, working, reserved)


def _worst_net(
    position: Position,
    working: Mapping[Bucket, Sides],
    reserved: Mapping[Bucket, Sides],
    closing: Sides = NO_SIDES,
) -> tuple[Decimal, Decimal]:
    """The net position if all buys fill, and with its sign turned if all sells do; what closes fills before.

    Their sum is all that waits or more, so the larger of them is never negative.
    """
    one, two = working.get(BOTH, NO_SIDES), reserved.get(BOTH, NO_SIDES)
    held = position.both
    return closed(held, closing, BUY) + one.buy + two.buy, one.sell + two.sell - closed(held, closing, SELL)


def _worst_legs(
    position: Position, working: Mapping[Bucket, Sides], reserved: Mapping[Bucket, Sides]
) -> Decimal:
    """The same of the legs of hedge mode: each has one side that opens, and they add up."""
    size = position.long + position.short
    for waiting in (working, reserved):
        size += waiting.get(LONG, NO_SIDES).buy + waiting.get(SHORT, NO_SIDES).sell
    return size


def _worth(quantity: Decimal, price: Decimal) -> Decimal | None:
    """In money, rounded up to eight places, so that sums stay exact however often they are adjusted."""
    try:
        return CEILING.quantize(quantity * price, CENT_OF_CENTS)
    except InvalidOperation:
        return None  # beyond every real amount: not known


def _came_late(as_of: datetime, known: datetime) -> bool:
    """A reading overtaken by a newer one. Much older means that the clock was set back: then the new one counts."""
    return known - LATE_MAX < as_of < known


class _Line:
    """One instrument of one account: what is held and waiting, and what it counts for."""

    __slots__ = (
        "attributed", "bought", "closers", "closing", "closing_read", "held_value", "instrument", "legs", "nobodys",
        "notional", "open", "position", "price", "reserved", "shares", "sold", "surplus", "unattributed", "unpriced",
        "wallet", "working", "worst",
    )

    def __init__(self, wallet: _Wallet, instrument: str, price: Decimal | None) -> None:
        self.wallet = wallet
        self.instrument = instrument
        self.price = price  # account currency per base unit
        self.position = FLAT
        self.working = NOTHING_WAITING
        self.reserved = NOTHING_WAITING  # replaced, never changed: facts handed out keep what they saw
        # What the venue keeps from opening takes the position away from what waits (one-way mode).
        self.closing_read = NO_SIDES
        self.closers: tuple[tuple[Side, Decimal], ...] = ()  # let through and not yet read
        self.closing = NO_SIDES  # both together
        # The net position if all that buys fills, and with its sign turned if all that sells does; the same
        # of the legs of hedge mode, which add up; and the worst of it all.
        self.bought = ZERO
        self.sold = ZERO
        self.legs = ZERO
        self.worst = ZERO
        self.notional = ZERO
        self.held_value = ZERO
        self.unpriced = False
        self.attributed: dict[str, Decimal] = {}  # strategy -> base quantity let through since flat
        self.shares: dict[str, Decimal] = {}  # the same strategies -> money counted for them
        # Base quantity that was read and that no strategy had been let through to open by then. What one is
        # let through to open later goes beyond it or is not filled: it never takes its place.
        self.nobodys = ZERO
        self.surplus: Decimal | None = None  # what the last reading showed beyond what strategies had opened
        self.unattributed = ZERO
        self.open: set[Bucket] = set()


class _Venue:
    """Prices and filters of one market of one exchange, shared by its accounts."""

    __slots__ = ("filters", "filters_as_of", "lines", "prices", "prices_as_of", "valued_by", "values", "values_for")

    def __init__(self) -> None:
        self.prices: dict[str, Fact[Price]] = {}
        self.prices_as_of: datetime | None = None
        self.filters: Mapping[str, Filters] = {}
        self.filters_as_of: datetime | None = None
        self.valued_by: dict[str, str] = {}  # spot: base asset -> the symbol that prices it
        self.values_for: dict[str, str] = {}  # and the other way round
        self.values: dict[str, Decimal] = {}  # instrument -> account currency per base unit
        self.lines: dict[str, dict[str, _Line]] = {}  # instrument -> account -> line


class _Wallet:
    """One account on one market."""

    __slots__ = (
        "account", "available", "brackets", "cash", "counted", "equity", "exposure", "hedge_mode", "held_value",
        "leverage", "leverage_as_of", "leverage_max", "leverage_set", "lines", "listed", "market", "orders",
        "positions", "shown", "snapshot_as_of", "unpriced", "venue",
    )

    def __init__(self, account: _Account, market: Market, venue: _Venue) -> None:
        self.account = account
        self.market = market
        self.venue = venue
        self.equity: Fact[Decimal] | None = None
        self.available: Fact[Decimal] | None = None
        self.cash = ZERO
        self.held_value = ZERO
        self.exposure = ZERO
        self.unpriced = 0
        self.hedge_mode: Fact[bool] | None = None
        self.leverage: Mapping[str, Decimal] = {}
        self.leverage_as_of: datetime | None = None
        self.leverage_set: Mapping[str, tuple[Decimal | None, datetime]] = {}  # by us, after the last reading
        self.leverage_max: Mapping[str, Decimal] = {}
        self.brackets: Mapping[str, Sequence[Bracket]] = {}
        self.counted: tuple[Mapping[str, Mapping[str, WorkingOrder]], int] = ({}, 0)  # orders, and how many they are
        self.lines: dict[str, _Line] = {}
        self.positions: Mapping[str, Position] = {}
        self.orders: Mapping[str, Mapping[str, WorkingOrder]] = {}
        self.listed: dict[str, dict[tuple[str, str], Working]] = {}  # the same by instrument, with their groups
        self.snapshot_as_of: datetime | None = None
        # The facts last made of each symbol, until a reading of the account or the venue's list is taken.
        # Prices and reservations may have changed since; `Book.symbol` looks.
        self.shown: dict[str, SymbolFacts] = {}


class _Account:
    """All that is known of one account."""

    __slots__ = ("open", "open_shown", "place", "shares", "sums", "unattributed", "wallets")

    def __init__(self, place: AccountPlace) -> None:
        self.place = place
        self.wallets: dict[Market, _Wallet] = {}
        self.shares: dict[str, Decimal] = {}
        self.unattributed = ZERO
        self.open: set[tuple[str, Bucket]] = set()
        self.open_shown: Fact[frozenset[tuple[str, Bucket]]] | None = None  # made when asked for
        self.sums: Sums | None = None  # kept from the first time that they are asked for


class Book:
    """The memory of the proxy: feeds and reservations write, `gather` reads.

    `peers_age_max_s` bounds how old another account's positions may be before sums over
    accounts (exchange, total) are unknown, which is above every limit. A coin worth less than
    `dust`, or named in `coins_ignored` (a fee token), is held but is no open position.
    """

    def __init__(
        self,
        accounts: Iterable[AccountPlace],
        *,
        peers_age_max_s: int = 60,
        dust: Decimal = Decimal(5),
        coins_ignored: frozenset[str] = frozenset(),
    ) -> None:
        self._venues: dict[tuple[str, Market], _Venue] = {}
        self._accounts: dict[str, _Account] = {}
        self._exchange: dict[str, Decimal] = {}
        self._total = ZERO
        self._peers_age_max = timedelta(seconds=peers_age_max_s)
        self._dust = dust
        self._coins_ignored = coins_ignored
        # Called with an account's name after what it holds changed: they only take note, and look later.
        self.watchers: list[Callable[[str], None]] = []
        # Per exchange, and over all under None: how long its oldest snapshot may be relied on, and how
        # many lines lack a price.
        self._known_until: dict[str | None, datetime | None] = {}
        self._unpriced: dict[str | None, int] = {None: 0}
        for place in accounts:
            self.add(place)

    def add(self, place: AccountPlace) -> None:
        """Know of an account; nothing of it is known yet."""
        if place.name in self._accounts:
            raise ValueError(f"account {place.name!r} is in the book already")
        account = _Account(place)
        for market in sorted(place.markets):
            account.wallets[market] = _Wallet(account, market, self._venue(place.exchange, market))
        self._accounts[place.name] = account
        self._exchange.setdefault(place.exchange, ZERO)
        self._unpriced.setdefault(place.exchange, 0)
        self._find_oldest(place.exchange)

    @property
    def accounts(self) -> tuple[AccountPlace, ...]:
        """Every account in the book."""
        return tuple(account.place for account in self._accounts.values())

    # Reading: constant time, however much the book holds.

    def equity(self, account: str, now: datetime) -> Fact[Decimal] | None:
        """The account's equity over all its wallets, as old as the oldest part of it.

        Summed over wallets, so that moving money between them is neither a loss nor a gain.
        """
        known = self._accounts.get(account)
        if known is None:
            return None
        if known.place.equity_static is not None:
            return Fact(known.place.equity_static, now)
        whole: Fact[Decimal] | None = None
        for wallet in known.wallets.values():
            part = self._wallet_equity(wallet)
            if part is None:
                return None
            if whole is not None:
                part = Fact(EXACT.add(whole.value, part.value), min(whole.as_of, part.as_of))
            whole = part
        return whole

    def available(self, account: str, market: Market) -> Fact[Decimal] | None:
        """What the venue says may still be used as margin; contracts only."""
        wallet = self._wallet(account, market)
        return None if wallet is None else wallet.available

    def hedge_mode(self, account: str, market: Market, now: datetime) -> Fact[bool] | None:
        """Whether positions are kept per leg; spot has no legs."""
        wallet = self._wallet(account, market)
        if wallet is None:
            return None
        return Fact(value=False, as_of=now) if market is SPOT else wallet.hedge_mode

    def symbol(self, account: str, market: Market, symbol: str, now: datetime) -> SymbolFacts:
        """What is known of one symbol on one account, reservations included."""
        wallet = self._wallet(account, market)
        if wallet is None:
            return NO_FACTS
        instrument = symbol if market is not SPOT else self._instrument(wallet.venue, market, symbol)
        line = None if instrument is None else wallet.lines.get(instrument)
        reserved = NOTHING_WAITING if line is None else line.reserved
        closing = NO_SIDES if line is None else line.closing
        price = wallet.venue.prices.get(symbol)
        known = wallet.shown.get(symbol)
        if known is None:
            known = self._describe(wallet, symbol, instrument, line)
        elif (
            market is not SPOT and known.price is price and known.reserved is reserved and known.closing is closing
        ):
            return known
        facts = SymbolFacts(
            price=price,
            position=known.position,
            working=known.working,
            orders_by_id=known.orders_by_id,
            reserved=reserved,
            closing=closing,
            # Without margin orders a coin cannot be levered: that is as true now as it ever was.
            leverage=Fact(ONE, now) if market is SPOT else known.leverage,
            leverage_max=known.leverage_max,
            filters=known.filters,
        )
        if price is not None:  # so that names a bot makes up do not pile up here
            wallet.shown[symbol] = facts
        return facts

    def exposure(self, account: str, strategy: str, now: datetime) -> Fact[Exposure] | None:
        """Worst-case sums. Missing while a position or price of this account is.

        Sums over other accounts are `UNKNOWN` (infinite) while a part of theirs is missing or old.
        What no strategy of this process opened counts for every strategy.
        """
        known = self._accounts.get(account)
        if known is None:
            return None
        value, as_of = ZERO, None
        for wallet in known.wallets.values():
            part = self._exposure_as_of(wallet)
            if part is None:
                return None
            value = EXACT.add(value, wallet.exposure) if value else wallet.exposure
            as_of = part if as_of is None or part < as_of else as_of
        if as_of is None:
            return None
        exchange, own = known.place.exchange, known.shares.get(strategy, ZERO)
        sums = Exposure(
            account=value,
            strategy=EXACT.add(own, known.unattributed) if known.unattributed else own,
            exchange=self._exchange[exchange] if self._is_known(exchange, now) else UNKNOWN,
            total=self._total if self._is_known(None, now) else UNKNOWN,
        )
        return _NEW(Fact, (sums, as_of))

    def account_sums(
        self, account: str, market: Market, symbols: Iterable[str], now: datetime, *, keep: bool = True
    ) -> Fact[AccountSums] | None:
        """Sums of the account that only some policies limit, with what of them concerns these symbols.

        Missing while the account's exposure is. Orders are those the venue has; what is in flight is not here.
        Whoever only looks does not `keep`: then they are made afresh, with every coin, where nobody keeps them.
        """
        exposure = self.exposure(account, "", now)
        if exposure is None:
            return None
        known = self._accounts[account]
        sums = known.sums
        if sums is None:
            sums = self._summed(known)
            known.sums = sums if keep else None
        wallet, contracts = known.wallets.get(market), known.wallets.get(Market.LINEAR)
        named = [] if wallet is None else [(symbol, wallet.venue.filters.get(symbol)) for symbol in symbols]
        assets = {
            coin: sums.assets.get(coin, ZERO)
            for _, filters in named
            if filters is not None
            for coin in map(coin_of, (filters.base_asset, filters.quote_asset))
        } if keep else dict(sums.assets)
        equity = None if contracts is None else contracts.equity
        static = known.place.equity_static
        return Fact(
            AccountSums(
                assets=assets,
                bought=sums.bought,
                sold=sums.sold,
                bought_certain=sums.bought_certain,
                sold_certain=sums.sold_certain,
                contracts=sums.contracts,
                margin=sums.margin,
                maintenance=sums.maintenance,
                wallet=static if equity is None else equity.value,
                available=None if contracts is None or contracts.available is None else contracts.available.value,
                notionals={symbol: self.symbol_notional(account, market, symbol) or ZERO for symbol, _ in named},
                brackets={} if wallet is None else {
                    symbol: wallet.brackets[symbol] for symbol, _ in named if symbol in wallet.brackets
                },
                orders=sum(map(_count_orders, known.wallets.values())),
                orders_by_symbol={} if wallet is None else {
                    symbol: len(wallet.orders.get(symbol, NO_ORDERS)) for symbol, _ in named
                },
            ),
            exposure.as_of,
        )  # fmt: skip

    def symbol_notional(self, account: str, market: Market, symbol: str) -> Decimal | None:
        """Worst-case notional of one symbol (spot: its base asset), or None without a price."""
        wallet = self._wallet(account, market)
        instrument = None if wallet is None else self._instrument(wallet.venue, market, symbol)
        if wallet is None or instrument is None or wallet.snapshot_as_of is None:
            return None
        line = wallet.lines.get(instrument)
        if line is None:
            return ZERO
        return None if line.unpriced else line.notional

    def open_positions(
        self, account: str, market: Market, symbols: Iterable[str]
    ) -> Fact[frozenset[tuple[str, Bucket]]] | None:
        """What is held or has an opening order waiting.

        Coins are held by asset; `symbols` says under which pair the asker knows them.
        """
        known = self._accounts.get(account)
        if known is None or not known.wallets:
            return None
        shown = known.open_shown
        if shown is None:
            instants = [wallet.snapshot_as_of for wallet in known.wallets.values()]
            read = [instant for instant in instants if instant is not None]
            if len(read) < len(instants):
                return None
            shown = known.open_shown = Fact(frozenset(known.open), min(read))
        if market is not SPOT or SPOT not in known.wallets:
            return shown
        held = shown.value
        venue = known.wallets[SPOT].venue
        for symbol in symbols:
            coin = (self._instrument(venue, market, symbol) or symbol, BOTH)
            if coin in held:
                held = (held - {coin}) | {(symbol, BOTH)}
        return Fact(held, shown.as_of)

    def positions(self, account: str, market: Market) -> Fact[Mapping[str, Position]] | None:
        """Everything held on one market, by instrument; None before the first snapshot."""
        wallet = self._wallet(account, market)
        if wallet is None or wallet.snapshot_as_of is None:
            return None
        return Fact(wallet.positions, wallet.snapshot_as_of)

    def read_at(self, account: str) -> datetime | None:
        """When the oldest of the account's wallets was read; None before each of them has been."""
        known = self._accounts.get(account)
        if known is None or not known.wallets:
            return None
        instants = [wallet.snapshot_as_of for wallet in known.wallets.values()]
        read = [instant for instant in instants if instant is not None]
        return min(read) if len(read) == len(instants) else None

    @exact
    def holdings(self, account: str) -> tuple[Holding, ...]:
        """Everything an account holds or has waiting: for whoever judges the book as a whole."""
        known = self._accounts.get(account)
        if known is None:
            return ()
        return tuple(
            _holding(wallet, line, self._price_of(line))
            for wallet in known.wallets.values()
            for line in wallet.lines.values()
        )

    def strategy_notional(self, account: str) -> Mapping[str, Decimal]:
        """Worst-case notional per strategy; under "" what no strategy of this process opened."""
        known = self._accounts.get(account)
        if known is None:
            return {}
        shares = dict(known.shares)
        if known.unattributed:
            shares[""] = known.unattributed
        return shares

    def price(self, exchange: str, market: Market, symbol: str) -> Fact[Price] | None:
        """The symbol's price, where its quote currency can be valued."""
        return self._venue(exchange, market).prices.get(symbol)

    def coin_price(self, exchange: str, coin: str) -> Fact[Decimal] | None:
        """What one coin is worth in the account's currency: nothing for one without a market, None while unknown."""
        spot, linear = self._venue(exchange, SPOT), self._venue(exchange, Market.LINEAR)
        symbol = spot.valued_by.get(coin)
        if symbol is None and spot.filters_as_of is not None:
            return Fact(ZERO, spot.filters_as_of)
        price = linear.prices.get(f"{coin}USDT") if symbol is None else spot.prices.get(symbol)
        return None if price is None else Fact(price.value.mark * price.value.conversion, price.as_of)

    def priced_by(self, exchange: str, market: Market, symbol: str) -> str | None:
        """The symbol whose price in dollars is what a position in `symbol` is worth; None where there is none.

        Of spot pairs it is the one that prices the base asset: BTCUSDC sells the same coins as BTCUSDT.
        """
        venue = self._venue(exchange, market)
        named = symbol
        if market is SPOT:
            listed = venue.filters.get(symbol)
            named = "" if listed is None else venue.valued_by.get(listed.base_asset, "")
        found = venue.filters.get(named)
        return named if found is not None and found.quote_asset in DOLLAR_COINS else None

    def filters_known(self, exchange: str, market: Market) -> bool:
        """Whether exchangeInfo has been read; spot positions cannot be placed before."""
        return self._venue(exchange, market).filters_as_of is not None

    def filters(self, exchange: str, market: Market) -> Mapping[str, Filters]:
        """What the venue lists, by symbol."""
        return self._venue(exchange, market).filters

    def instrument(self, account: str, market: Market, symbol: str) -> str:
        """What a symbol's position is kept under; the symbol itself where the venue's list is not known."""
        if market is not SPOT:
            return symbol
        wallet = self._wallet(account, market)
        return (None if wallet is None else self._instrument(wallet.venue, market, symbol)) or symbol

    # Writing: by the feeds.

    @exact
    def apply_snapshot(
        self,
        account: str,
        market: Market,
        *,
        as_of: datetime,
        positions: Mapping[str, Position],
        orders: Sequence[Working],
    ) -> bool:
        """Take a complete reading of positions (spot: balances by asset) and working orders.

        Orders must have been read before positions: a fill in between is then counted twice
        for a moment, never missed. False if a later reading is in the book already.
        """
        wallet = self._wallets_of(account, market)
        if wallet.snapshot_as_of is not None and _came_late(as_of, wallet.snapshot_as_of):
            return False
        sums, by_symbol = self._sum_orders(wallet, orders)
        closing = _sum_closers(orders)
        wallet.orders = by_symbol
        wallet.listed = self._list(wallet, orders)
        wallet.snapshot_as_of = as_of
        has_changed = positions != wallet.positions
        wallet.positions = positions
        wallet.shown = {}
        wallet.account.open_shown = None
        if market is SPOT:
            wallet.cash = sum((positions[coin].both for coin in DOLLAR_COINS if coin in positions), ZERO)
        for instrument in {*wallet.lines, *positions, *sums}:
            position = positions.get(instrument, FLAT)
            if market is SPOT and instrument in DOLLAR_COINS:
                position = FLAT  # money, not exposure
            line = self._line(wallet, instrument)
            line.position = position
            line.working = sums.get(instrument, NOTHING_WAITING)
            line.closing_read = closing.get(instrument, NO_SIDES)
            line.closing = _closing(line)
            _find_nobodys(line)
            self._revalue(line)
        self._find_oldest(wallet.account.place.exchange)
        if has_changed:
            self._tell(account)
        return True

    @exact
    def apply_changes(
        self,
        account: str,
        market: Market,
        *,
        orders: Mapping[tuple[str, str], Working | None],
        positions: Mapping[str, Position],
    ) -> bool:
        """Take what a stream says changed since the last complete reading; how old that is does not change.

        `orders` by symbol and id, None for one that works no more; `positions` (spot: balances by
        asset) by instrument. False before the first reading: there is nothing to change.
        """
        wallet = self._wallets_of(account, market)
        if wallet.snapshot_as_of is None:
            return False
        touched = set(positions)
        for (symbol, order_id), working in orders.items():
            touched.update(self._relist(wallet, symbol, order_id, working))
        if positions:
            wallet.positions = {**wallet.positions, **positions}
        if market is SPOT:
            wallet.shown = {}
            if not touched.isdisjoint(DOLLAR_COINS):
                wallet.cash = sum((wallet.positions.get(coin, FLAT).both for coin in DOLLAR_COINS), ZERO)
        for instrument in touched:
            if market is not SPOT:
                wallet.shown.pop(instrument, None)
            listed = list(wallet.listed.get(instrument, {}).values())
            position = FLAT if market is SPOT and instrument in DOLLAR_COINS else wallet.positions.get(instrument, FLAT)
            line = self._line(wallet, instrument)
            line.position = position
            line.working = self._sum_orders(wallet, listed)[0].get(instrument, NOTHING_WAITING)
            line.closing_read = _sum_closers(listed).get(instrument, NO_SIDES)
            line.closing = _closing(line)
            self._revalue(line)
        if positions:
            self._tell(account)
        return True

    def _tell(self, account: str) -> None:
        for watcher in self.watchers:
            watcher(account)

    def confirm(self, account: str, market: Market, as_of: datetime) -> None:
        """A stream has proven that nothing but what it told has changed: positions and orders are as of now."""
        wallet = self._wallets_of(account, market)
        known = wallet.snapshot_as_of
        if known is None or as_of == known or _came_late(as_of, known):
            return
        wallet.snapshot_as_of = as_of
        wallet.shown = {}
        wallet.account.open_shown = None
        self._find_oldest(wallet.account.place.exchange)

    def working(self, account: str, market: Market) -> Mapping[str, Mapping[str, WorkingOrder]]:
        """Every working order by symbol and id."""
        wallet = self._wallet(account, market)
        return {} if wallet is None else wallet.orders

    def apply_equity(
        self, account: str, market: Market, *, equity: Decimal, available: Decimal | None, as_of: datetime
    ) -> None:
        """Take the wallet's equity as the venue states it (contracts)."""
        wallet = self._wallets_of(account, market)
        if wallet.equity is None or not _came_late(as_of, wallet.equity.as_of):
            wallet.equity = Fact(equity, as_of)
            wallet.available = None if available is None else Fact(available, as_of)

    def apply_hedge_mode(self, account: str, *, hedge_mode: bool, as_of: datetime) -> None:
        """Take the position mode."""
        self._wallets_of(account, Market.LINEAR).hedge_mode = Fact(hedge_mode, as_of)

    @exact
    def apply_leverage(self, account: str, leverage: Mapping[str, Decimal], *, as_of: datetime) -> None:
        """Take the leverage set per symbol, all symbols at once."""
        wallet = self._wallets_of(account, Market.LINEAR)
        wallet.leverage = leverage
        wallet.leverage_as_of = as_of
        wallet.leverage_set = {
            symbol: (known, at) for symbol, (known, at) in wallet.leverage_set.items() if _came_late(as_of, at + LAG)
        }
        wallet.shown = {}
        self._sum_again(wallet.account)

    @exact
    def set_leverage(self, account: str, symbol: str, leverage: Decimal | None, as_of: datetime) -> None:
        """A change of leverage was answered: known at once; None where nobody knows whether it was made.

        Stands until a reading that was asked for later.
        """
        wallet = self._wallets_of(account, Market.LINEAR)
        wallet.leverage_set = {**wallet.leverage_set, symbol: (leverage, as_of)}
        wallet.shown.pop(symbol, None)
        line = wallet.lines.get(symbol)
        if line is not None:
            self._follow(line)

    @exact
    def apply_brackets(self, account: str, brackets: Mapping[str, Sequence[Bracket]]) -> None:
        """Take the venue's steps of maintenance margin per symbol, each from the smallest position on."""
        wallet = self._wallets_of(account, Market.LINEAR)
        wallet.brackets = brackets
        self._sum_again(wallet.account)

    def apply_leverage_max(self, account: str, leverage_max: Mapping[str, Decimal]) -> None:
        """Take the venue's own maximum per symbol."""
        wallet = self._wallets_of(account, Market.LINEAR)
        wallet.leverage_max = leverage_max
        wallet.shown = {}

    @exact
    def apply_filters(
        self,
        exchange: str,
        market: Market,
        filters: Mapping[str, Filters],
        *,
        as_of: datetime,
        trading: frozenset[str] | None = None,
    ) -> None:
        """Take exchangeInfo. `trading` names the symbols that trade now; only those value a coin."""
        venue = self._venue(exchange, market)
        venue.filters = filters
        venue.filters_as_of = as_of
        for account in self._accounts.values():
            if account.place.exchange == exchange and market in account.wallets:
                account.wallets[market].shown = {}
                self._sum_again(account)
        if market is not SPOT:
            return
        rank = {coin: place for place, coin in enumerate(DOLLAR_COINS)}
        best: dict[str, tuple[int, str]] = {}
        for symbol, found in filters.items():
            if trading is not None and symbol not in trading:
                continue
            choice = (rank.get(found.quote_asset, len(rank)), symbol)
            if found.base_asset not in best or choice < best[found.base_asset]:
                best[found.base_asset] = choice
        venue.valued_by = {asset: symbol for asset, (_, symbol) in best.items()}
        venue.values_for = {symbol: asset for asset, symbol in venue.valued_by.items()}
        for line in [line for lines in venue.lines.values() for line in lines.values()]:
            self._revalue(line)

    @exact
    def apply_prices(
        self, exchange: str, market: Market, quotes: Mapping[str, Quote], *, as_of: datetime, complete: bool = False
    ) -> None:
        """Take prices. A `complete` reading drops the price of every symbol it does not name."""
        venue = self._venue(exchange, market)
        later: list[tuple[str, Quote, str]] = []
        for symbol, quote in quotes.items():
            quoted_in = self._quote_asset(venue, symbol)
            if quoted_in in DOLLAR_COINS:
                self._set_price(venue, market, symbol, quote, ONE, as_of)
            elif quoted_in is not None:
                later.append((symbol, quote, quoted_in))
        # What is quoted in another coin is worth what that coin is worth, so those come second.
        for symbol, quote, coin in later:
            worth = venue.prices.get(coin + "USDT")
            if worth is None:
                self._drop_price(venue, market, symbol)
            else:
                self._set_price(venue, market, symbol, quote, worth.value.mark, min(as_of, worth.as_of))
        if complete:
            self.close_prices(exchange, market, quotes, as_of=as_of)

    @exact
    def close_prices(self, exchange: str, market: Market, named: Container[str], *, as_of: datetime) -> None:
        """End a complete reading that came in parts: what it did not name has no price any more."""
        venue = self._venue(exchange, market)
        for symbol in [symbol for symbol in venue.prices if symbol not in named]:
            self._drop_price(venue, market, symbol)
        venue.prices_as_of = as_of

    # Writing: by the reservations.

    def shift_reserved(
        self,
        account: str,
        market: Market,
        instrument: str,
        bucket: Bucket,
        side: Side,
        quantity: Decimal,
        strategy: str = "",
        opening: Decimal = ZERO,
    ) -> None:
        """Add to what is reserved, or take away with a negative quantity; sums follow at once.

        `opening` is what of it is attributed to `strategy` as opened (see `attribute`).
        """
        line = self._line(self._wallets_of(account, market), instrument)
        callers_context = getcontext()
        setcontext(EXACT)  # not by `exact`, which costs more: this is on the way of every order
        try:
            self._shift_reserved(line, bucket, side, quantity, strategy, opening)
        finally:
            setcontext(callers_context)

    def _shift_reserved(
        self, line: _Line, bucket: Bucket, side: Side, quantity: Decimal, strategy: str, opening: Decimal
    ) -> None:
        sides = line.reserved.get(bucket, NO_SIDES).plus(side, quantity)
        if sides.of(side) < ZERO:
            self._forget_if_empty(line)
            raise ValueError(f"more was released than reserved of {line.instrument}: {sides}")
        reserved = dict(line.reserved)
        if sides.buy or sides.sell:
            reserved[bucket] = sides
        else:
            reserved.pop(bucket, None)
        line.reserved = reserved or NOTHING_WAITING
        # Only the figure that the quantity is part of moves. Sums are exact, so taking the quantity
        # away again leads back to where it was.
        if bucket is not BOTH:
            line.legs = _worst_legs(line.position, line.working, reserved)
        elif side is BUY:
            line.bought += quantity
        else:
            line.sold += quantity
        worst = max(line.bought, line.sold) + line.legs
        # A line with nothing on it has forgotten who opened it, so there is nothing left to take away.
        if opening and worst:
            self._attribute(line, strategy, opening)
        if opening or worst != line.worst:
            line.worst = worst
            self._count(line, self._price_of(line))
        if line.wallet.account.sums is not None:
            self._follow(line)
        if not (bucket in line.open and bucket in reserved):  # else it was open and still is
            self._mark(line, bucket)
            self._forget_if_empty(line)

    @exact
    def shift_closing(
        self, account: str, market: Market, instrument: str, side: Side, quantity: Decimal, *, taken: bool
    ) -> None:
        """Count an order in flight that the venue keeps from opening (one-way mode), or count it no more.

        What it takes of a position is not there for what waits to close. Infinite: it closes whatever is there.
        """
        line = self._line(self._wallets_of(account, market), instrument)
        closers = [*line.closers, (side, quantity)]
        if not taken:
            closers.pop()
            closers.remove((side, quantity))
        line.closers = tuple(closers)
        line.closing = _closing(line)
        self._revalue(line)

    @exact
    def attribute(
        self, account: str, market: Market, instrument: str, strategy: str, quantity: Decimal
    ) -> None:
        """Remember that a strategy was let through to open so much (negative: it was not opened after all)."""
        line = self._line(self._wallets_of(account, market), instrument)
        self._attribute(line, strategy, quantity)
        self._count(line, self._price_of(line))
        self._forget_if_empty(line)

    # Inside.

    def _venue(self, exchange: str, market: Market) -> _Venue:
        venue = self._venues.get((exchange, market))
        if venue is None:
            venue = self._venues[exchange, market] = _Venue()
        return venue

    def _wallet(self, account: str, market: Market) -> _Wallet | None:
        known = self._accounts.get(account)
        return None if known is None else known.wallets.get(market)

    def _wallets_of(self, account: str, market: Market) -> _Wallet:
        try:
            return self._accounts[account].wallets[market]
        except KeyError:
            raise KeyError(f"account {account!r} with market {market.value} is not in the book") from None

    @staticmethod
    def _instrument(venue: _Venue, market: Market, symbol: str) -> str | None:
        if market is not SPOT:
            return symbol
        filters = venue.filters.get(symbol)
        return None if filters is None else filters.base_asset

    @staticmethod
    def _quote_asset(venue: _Venue, symbol: str) -> str | None:
        filters = venue.filters.get(symbol)
        return None if filters is None else filters.quote_asset

    @staticmethod
    def _describe(wallet: _Wallet, symbol: str, instrument: str | None, line: _Line | None) -> SymbolFacts:
        """What holds of a symbol until the account or the venue's list is read again."""
        venue = wallet.venue
        position: Fact[Position] | None = None
        if wallet.snapshot_as_of is not None and instrument is not None:
            # The venue lists what is held; what a complete answer leaves out is flat.
            position = Fact(wallet.positions.get(instrument, FLAT), wallet.snapshot_as_of)
        filters = venue.filters.get(symbol)
        set_to, set_at = wallet.leverage_set.get(symbol) or (wallet.leverage.get(symbol), wallet.leverage_as_of)
        return SymbolFacts(
            position=position,
            working=NOTHING_WAITING if line is None else line.working,
            orders_by_id=wallet.orders.get(symbol, NO_ORDERS),
            leverage=None if set_to is None or set_at is None else Fact(set_to, set_at),
            leverage_max=ONE if wallet.market is SPOT else wallet.leverage_max.get(symbol),
            filters=None if filters is None or venue.filters_as_of is None else Fact(filters, venue.filters_as_of),
        )

    def _wallet_equity(self, wallet: _Wallet) -> Fact[Decimal] | None:
        if wallet.market is not SPOT:
            return wallet.equity
        priced_at = wallet.venue.prices_as_of
        if wallet.snapshot_as_of is None or priced_at is None or wallet.unpriced:
            return None
        return Fact(EXACT.add(wallet.cash, wallet.held_value), min(wallet.snapshot_as_of, priced_at))

    @staticmethod
    def _exposure_as_of(wallet: _Wallet) -> datetime | None:
        if wallet.snapshot_as_of is None or wallet.unpriced:
            return None
        if not wallet.lines:
            return wallet.snapshot_as_of  # nothing is held, so no price is needed
        priced_at, read_at = wallet.venue.prices_as_of, wallet.snapshot_as_of
        return read_at if priced_at is not None and read_at < priced_at else priced_at

    def _is_known(self, exchange: str | None, now: datetime) -> bool:
        until = self._known_until.get(exchange)
        return until is not None and now <= until and not self._unpriced[exchange]

    def _find_oldest(self, exchange: str) -> None:
        for scope in (exchange, None):
            instants = [
                wallet.snapshot_as_of
                for account in self._accounts.values()
                if scope is None or account.place.exchange == scope
                for wallet in account.wallets.values()
            ]
            known = [instant for instant in instants if instant is not None]
            is_complete = bool(known) and len(known) == len(instants)
            self._known_until[scope] = min(known) + self._peers_age_max if is_complete else None

    def _line(self, wallet: _Wallet, instrument: str) -> _Line:
        line = wallet.lines.get(instrument)
        if line is None:
            line = _Line(wallet, instrument, wallet.venue.values.get(instrument))
            wallet.lines[instrument] = line
            wallet.venue.lines.setdefault(instrument, {})[wallet.account.place.name] = line
        return line

    def _sum_orders(
        self, wallet: _Wallet, orders: Sequence[Working]
    ) -> tuple[dict[str, dict[Bucket, Sides]], dict[str, dict[str, WorkingOrder]]]:
        sums: dict[str, dict[Bucket, Sides]] = {}
        by_symbol: dict[str, dict[str, WorkingOrder]] = {}
        groups: dict[tuple[str, str, Bucket, Side], Decimal] = {}
        for symbol, order, group in orders:
            by_symbol.setdefault(symbol, {})[order.order_id] = order
            if order.reduces_by_venue:
                continue
            instrument = self._instrument(wallet.venue, wallet.market, symbol) or symbol
            waiting = [(instrument, order.bucket, order.side, order.remaining)]
            bought = None if wallet.market is not SPOT else _bought_by(wallet.venue, symbol, order)
            if bought is not None:
                waiting.append((bought[0], BOTH, BUY, bought[1]))
            for place, bucket, side, quantity in waiting:
                more = quantity
                if group is not None:
                    # Of orders that exclude each other only the largest can add to the position.
                    key = (group, place, bucket, side)
                    largest = max(groups.get(key, ZERO), quantity)
                    more = largest - groups.get(key, ZERO)
                    groups[key] = largest
                buckets = sums.setdefault(place, {})
                buckets[bucket] = buckets.get(bucket, NO_SIDES).plus(side, more)
        return sums, by_symbol

    def _instruments(self, wallet: _Wallet, symbol: str) -> tuple[str, ...]:
        """Every instrument that an order of a symbol can count for: on spot a sale may buy other coins."""
        instrument = self._instrument(wallet.venue, wallet.market, symbol) or symbol
        quoted_in = None if wallet.market is not SPOT else self._quote_asset(wallet.venue, symbol)
        return (instrument,) if quoted_in is None or quoted_in in DOLLAR_COINS else (instrument, quoted_in)

    def _list(self, wallet: _Wallet, orders: Iterable[Working]) -> dict[str, dict[tuple[str, str], Working]]:
        listed: dict[str, dict[tuple[str, str], Working]] = {}
        for working in orders:
            for instrument in self._instruments(wallet, working.symbol):
                listed.setdefault(instrument, {})[working.symbol, working.order.order_id] = working
        return listed

    def _relist(self, wallet: _Wallet, symbol: str, order_id: str, working: Working | None) -> tuple[str, ...]:
        """Put an order among the working ones or take it away; the instruments that it counts for."""
        instruments = self._instruments(wallet, symbol)
        for instrument in instruments:
            listed = wallet.listed.setdefault(instrument, {})
            if working is None:
                listed.pop((symbol, order_id), None)
            else:
                listed[symbol, order_id] = working
        ordered = dict(wallet.orders.get(symbol, NO_ORDERS))  # a new one: facts handed out keep what they saw
        if working is None:
            ordered.pop(order_id, None)
        else:
            ordered[order_id] = working.order
        wallet.orders = {**wallet.orders, symbol: ordered}
        return instruments

    def _set_price(
        self, venue: _Venue, market: Market, symbol: str, quote: Quote, conversion: Decimal, as_of: datetime
    ) -> None:
        known = venue.prices.get(symbol)
        if known is not None and _came_late(as_of, known.as_of):
            return
        venue.prices[symbol] = Fact(
            Price(mark=quote.mark, bid=quote.bid, ask=quote.ask, conversion=conversion), as_of
        )
        instrument = venue.values_for.get(symbol) if market is SPOT else symbol
        if instrument is not None:
            self._value(venue, instrument, quote.mark * conversion)

    def _drop_price(self, venue: _Venue, market: Market, symbol: str) -> None:
        venue.prices.pop(symbol, None)
        instrument = venue.values_for.get(symbol) if market is SPOT else symbol
        if instrument is not None:
            self._value(venue, instrument, None)

    def _value(self, venue: _Venue, instrument: str, value: Decimal | None) -> None:
        if venue.values.get(instrument) == value:
            return
        if value is None:
            venue.values.pop(instrument, None)
        else:
            venue.values[instrument] = value
        for line in list(venue.lines.get(instrument, {}).values()):
            line.price = value
            self._reprice(line)

    def _revalue(self, line: _Line) -> None:
        """Bring one line's figures, and every sum they are part of, up to date after a reading."""
        line.bought, line.sold = _worst_net(line.position, line.working, line.reserved, line.closing)
        line.legs = _worst_legs(line.position, line.working, line.reserved)
        line.worst = max(line.bought, line.sold) + line.legs
        self._reprice(line)
        self._mark_open(line)
        self._forget_if_empty(line)

    def _reprice(self, line: _Line) -> None:
        """The same after its price changed: its quantities are what they were."""
        price = self._price_of(line)
        self._count(line, price)
        wallet = line.wallet
        if wallet.account.sums is not None:
            self._follow(line)
        if wallet.market is SPOT:
            held = ZERO if price is None else _worth(line.position.both, price) or ZERO
            wallet.held_value += held - line.held_value
            line.held_value = held
            self._mark_open(line)  # what is dust depends on the price

    @staticmethod
    def _price_of(line: _Line) -> Decimal | None:
        if line.price is None and line.wallet.market is SPOT:
            venue = line.wallet.venue
            if venue.filters_as_of is not None and line.instrument not in venue.valued_by:
                return ZERO  # a coin without a market cannot be bought here and is worth nothing for certain
        return line.price

    def _count(self, line: _Line, price: Decimal | None) -> None:
        """Bring the sums up to date with what the line may become, or who opened it."""
        notional = None if price is None else _worth(line.worst, price)
        is_unpriced = notional is None and bool(line.worst)
        if is_unpriced is not line.unpriced:
            self._note_unpriced(line, is_unpriced=is_unpriced)
        counted = notional or ZERO
        change = counted - line.notional
        if change:
            wallet = line.wallet
            wallet.exposure += change
            self._exchange[wallet.account.place.exchange] += change
            self._total += change
            line.notional = counted
        self._share(line, price or ZERO)

    def _sum_again(self, account: _Account) -> None:
        """Make the sums afresh, if anybody ever asked for them: something that every part rests on has changed."""
        if account.sums is not None:
            account.sums = self._summed(account)

    def _summed(self, account: _Account) -> Sums:
        callers_context = getcontext()
        setcontext(EXACT)
        try:
            lines = [line for wallet in account.wallets.values() for line in wallet.lines.values()]
            return Sums({_key(line): _part(line, self._price_of(line) or ZERO) for line in lines})
        finally:
            setcontext(callers_context)

    def _follow(self, line: _Line) -> None:
        """Keep the account's sums in step with one line, if anybody ever asked for them."""
        sums = line.wallet.account.sums
        if sums is not None:
            sums.follow(_key(line), _part(line, self._price_of(line) or ZERO))

    def _note_unpriced(self, line: _Line, *, is_unpriced: bool) -> None:
        step = 1 if is_unpriced else -1
        line.unpriced = is_unpriced
        line.wallet.unpriced += step
        self._unpriced[line.wallet.account.place.exchange] += step
        self._unpriced[None] += step
        self._mark_open(line)  # what has no price is no dust

    @staticmethod
    def _attribute(line: _Line, strategy: str, quantity: Decimal) -> None:
        left = line.attributed.get(strategy, ZERO) + quantity
        if left > ZERO:
            line.attributed[strategy] = left
        else:
            line.attributed.pop(strategy, None)

    @staticmethod
    def _share(line: _Line, price: Decimal) -> None:
        """Count the line for the strategies that opened it; what none did counts for all."""
        account, worst = line.wallet.account, line.worst
        if not worst:
            line.attributed.clear()  # flat with nothing waiting: whoever opened it has closed it
        if line.nobodys > worst:
            line.nobodys = worst
        unclaimed = worst
        openable = worst - line.nobodys if line.nobodys else worst
        for strategy, quantity in line.attributed.items():
            unclaimed -= quantity
            opened = quantity
            if opened > openable:
                opened = openable
                if not line.reserved:
                    line.attributed[strategy] = opened  # the rest was closed, or never filled
            # Whoever opened all that is left is counted what the line is counted: no need to multiply again.
            share = line.notional if opened >= worst else _worth(opened, price) or ZERO
            _set_share(line, strategy, share)
        if unclaimed < line.nobodys:
            unclaimed = line.nobodys
        if len(line.shares) > len(line.attributed):  # the loop above has named every one that is attributed
            for strategy in [name for name in line.shares if name not in line.attributed]:
                _set_share(line, strategy, ZERO)
                del line.shares[strategy]
        if unclaimed == worst:
            unattributed = line.notional
        else:
            unattributed = ZERO if unclaimed <= ZERO else _worth(unclaimed, price) or ZERO
        change = unattributed - line.unattributed
        if change:
            account.unattributed += change
            line.unattributed = unattributed

    def _mark_open(self, line: _Line) -> None:
        for bucket in BUCKETS:
            self._mark(line, bucket)

    def _mark(self, line: _Line, bucket: Bucket) -> None:
        """Keep the account's open positions in step with one bucket of one line."""
        is_open = self._is_open(line, bucket)
        if is_open is (bucket in line.open):
            return
        account = line.wallet.account
        if is_open:
            line.open.add(bucket)
            account.open.add((line.instrument, bucket))
        else:
            line.open.discard(bucket)
            account.open.discard((line.instrument, bucket))
        account.open_shown = None

    def _is_open(self, line: _Line, bucket: Bucket) -> bool:
        for waiting in (line.reserved, line.working):
            sides = waiting.get(bucket)
            if sides is not None and (sides.buy or sides.sell):
                return True
        if not line.position.signed(bucket):
            return False
        if line.wallet.market is not SPOT:
            return True
        is_dust = not line.unpriced and line.held_value < self._dust
        return not is_dust and line.instrument not in self._coins_ignored

    @staticmethod
    def _forget_if_empty(line: _Line) -> None:
        if line.worst or line.reserved or line.working or line.closers or line.position != FLAT:
            return
        wallet = line.wallet
        wallet.lines.pop(line.instrument, None)
        lines = wallet.venue.lines.get(line.instrument)
        if lines is not None:
            lines.pop(wallet.account.place.name, None)
            if not lines:
                del wallet.venue.lines[line.instrument]


def _holding(wallet: _Wallet, line: _Line, value: Decimal | None) -> Holding:
    held = line.position.both
    waiting = (line.working, line.reserved)
    is_spot = wallet.market is SPOT
    return Holding(
        market=wallet.market,
        instrument=line.instrument,
        symbol=wallet.venue.valued_by.get(line.instrument) if is_spot else line.instrument,
        position=line.position,
        up=max(ZERO, line.bought - held),
        down=max(ZERO, line.sold + held),
        long_up=sum((sides.get(LONG, NO_SIDES).buy for sides in waiting), ZERO),
        short_up=sum((sides.get(SHORT, NO_SIDES).sell for sides in waiting), ZERO),
        value=value,
        strategies=tuple(line.attributed),
    )


def _key(line: _Line) -> tuple[str, str]:
    return line.wallet.market.value, line.instrument


def _part(line: _Line, price: Decimal) -> Part | None:
    """What a line is in the sums of its account; None if it is nothing."""
    if not line.worst and not line.position.both:
        return None
    wallet, held = line.wallet, line.position
    net = certain = _with_legs(line, line.bought, line.sold, (line.working, line.reserved))
    if line.reserved or line.closing is not NO_SIDES:
        certain = _with_legs(line, *_worst_net(held, line.working, NOTHING_WAITING), (line.working,))
    sides = net[0] * price, net[1] * price, certain[0] * price, certain[1] * price
    if wallet.market is SPOT:
        return Part(coin_of(line.instrument), line.notional, *sides, None, None)
    filters = wallet.venue.filters.get(line.instrument)
    asset = line.instrument if filters is None else filters.base_asset
    leverage, _ = wallet.leverage_set.get(line.instrument) or (wallet.leverage.get(line.instrument), None)
    brackets = wallet.brackets.get(line.instrument)
    maintenance = None if not brackets else maintenance_of(brackets, line.notional)
    # Of a leverage that nobody knows, no less margin than everything.
    return Part(coin_of(asset), line.notional, *sides, leverage or ONE, maintenance)


def _with_legs(
    line: _Line, bought: Decimal, sold: Decimal, waiting: Iterable[Mapping[Bucket, Sides]]
) -> tuple[Decimal, Decimal]:
    """Both sides of a net position with those of the legs of hedge mode, and what waits on them."""
    if not line.legs:
        return bought, sold
    legs = line.position.long - line.position.short
    for one in waiting:
        bought += one.get(LONG, NO_SIDES).buy
        sold += one.get(SHORT, NO_SIDES).sell
    return bought + legs, sold - legs


def _count_orders(wallet: _Wallet) -> int:
    """How many orders work. The mapping is replaced, never changed, so a count stands as long as it does."""
    counted, count = wallet.counted
    if counted is not wallet.orders:
        count = sum(map(len, wallet.orders.values()))
        wallet.counted = wallet.orders, count
    return count


def _find_nobodys(line: _Line) -> None:
    """Keep what a reading shows that no strategy was let through to open.

    An order that filled between two requests of the reading stands in it twice. So what is held
    counts at once, but what waits only if two readings show it, or nothing was let through so far.
    """
    position, claimed = line.position, sum(line.attributed.values(), ZERO)
    surplus = worst_case(position, line.working) - claimed
    before = line.surplus
    if before is None:
        before = ZERO if line.attributed or line.reserved else surplus
    line.surplus = surplus
    held = abs(position.both) + position.long + position.short
    line.nobodys = max(line.nobodys, held - claimed, min(before, surplus))


def _bought_by(venue: _Venue, symbol: str, order: WorkingOrder) -> tuple[str, Decimal] | None:
    """What a sale for other coins than dollars buys, and how much of it; None for any other order."""
    filters = venue.filters.get(symbol)
    if order.side is BUY or filters is None or filters.quote_asset in DOLLAR_COINS:
        return None
    coin, price = filters.quote_asset, venue.prices.get(symbol)
    rate = max(order.price or ZERO, order.trigger_price or ZERO, ZERO if price is None else price.value.mark)
    if rate:
        return coin, order.remaining * rate
    sold, bought = venue.values.get(filters.base_asset), venue.values.get(coin)
    if sold is None or bought is None:
        return coin, order.remaining  # one of the two has no price, so the sums are not known anyway
    return coin, _worth(order.remaining, sold / bought) or order.remaining


def _sum_closers(orders: Iterable[Working]) -> dict[str, Sides]:
    """What orders that the venue keeps from opening may take off a net position, per symbol."""
    sums: dict[str, Sides] = {}
    for symbol, order, _ in orders:
        if order.reduces_by_venue and order.bucket is BOTH:
            # One that closes whatever is there states no quantity.
            sums[symbol] = sums.get(symbol, NO_SIDES).plus(order.side, order.remaining or UNKNOWN)
    return sums


def _closing(line: _Line) -> Sides:
    closing = line.closing_read
    for side, quantity in line.closers:
        closing = closing.plus(side, quantity)
    return closing


def _set_share(line: _Line, strategy: str, share: Decimal) -> None:
    """Count so much of a line for a strategy, and bring the account's sum of it up to date."""
    known = line.shares.get(strategy)
    if share == known:
        return
    line.shares[strategy] = share
    shares = line.wallet.account.shares
    total = shares.get(strategy, ZERO) + share - (known or ZERO)
    if total:
        shares[strategy] = total
    else:
        shares.pop(strategy, None)
