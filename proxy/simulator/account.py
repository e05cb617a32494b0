"""What an account holds, has ordered and has done."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from proxy.simulator.market import ZERO, Symbol

OPEN = frozenset({"NEW", "PARTIALLY_FILLED", "PENDING_NEW"})


@dataclass(slots=True, kw_only=True)
class SimOrder:
    """An order the exchange has accepted. `is_algo` marks a futures conditional order."""

    order_id: int
    account: str
    symbol: Symbol
    side: str
    type: str
    quantity: Decimal
    client_order_id: str
    created_ms: int
    updated_ms: int
    price: Decimal = ZERO
    quote_quantity: Decimal = ZERO
    stop_price: Decimal = ZERO
    time_in_force: str = "GTC"
    iceberg_quantity: Decimal = ZERO
    trailing_delta: int | None = None
    position_side: str = "BOTH"
    reduce_only: bool = False
    close_position: bool = False
    activate_price: Decimal = ZERO
    callback_rate: Decimal = ZERO
    working_type: str = "CONTRACT_PRICE"
    price_match: str = "NONE"
    price_protect: bool = False
    good_till_ms: int = 0
    prevention_mode: str = "NONE"
    status: str = "NEW"
    executed: Decimal = ZERO
    quote_executed: Decimal = ZERO
    locked: Decimal = ZERO
    list_id: int = -1
    triggered: bool = False
    extreme: Decimal | None = None
    is_algo: bool = False
    actual_order_id: int | None = None
    trades: list[SimTrade] = field(default_factory=list)

    @property
    def market(self) -> str:
        """"spot" or "futures"."""
        return self.symbol.market

    @property
    def remaining(self) -> Decimal:
        """What has not traded yet."""
        return self.quantity - self.executed

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in OPEN

    @property
    def is_conditional(self) -> bool:
        """Whether it waits for a trigger."""
        return not self.triggered and (self.stop_price > 0 or self.trailing_delta is not None or self.is_algo)

    @property
    def average_price(self) -> Decimal:
        """Quote per base so far."""
        return self.quote_executed / self.executed if self.executed else ZERO


@dataclass(slots=True, kw_only=True)
class SimTrade:
    """One fill."""

    trade_id: int
    order_id: int
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    at_ms: int
    is_maker: bool
    position_side: str = "BOTH"
    realised: Decimal = ZERO


@dataclass(slots=True, kw_only=True)
class SimPosition:
    """One futures position; `amount` is signed."""

    amount: Decimal = ZERO
    entry_price: Decimal = ZERO
    isolated_margin: Decimal = ZERO
    updated_ms: int = 0

    def unrealised(self, mark: Decimal) -> Decimal:
        """Profit at this mark."""
        return (mark - self.entry_price) * self.amount

    def trade(self, signed: Decimal, price: Decimal, at_ms: int) -> Decimal:
        """Book a fill of a signed quantity and say the profit it realised."""
        before, after = self.amount, self.amount + signed
        realised = ZERO
        if before == 0 or (before > 0) == (signed > 0):
            self.entry_price = (self.entry_price * abs(before) + price * abs(signed)) / abs(after)
        else:
            closed = min(abs(signed), abs(before))
            realised = (price - self.entry_price) * closed * (1 if before > 0 else -1)
            if after == 0:
                self.entry_price = ZERO
            elif (after > 0) != (before > 0):
                self.entry_price = price
        self.amount = after
        self.updated_ms = at_ms
        return realised


@dataclass(slots=True)
class Balance:
    """A spot balance."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True, kw_only=True)
class SimOrderList:
    """Spot orders that belong together."""

    list_id: int
    kind: str  # "OCO" or "OTO"
    symbol: str
    client_id: str
    at_ms: int
    working: list[int]  # order ids that are live from the start
    pending: list[int]  # order ids that come to life when the working order has filled
    pending_takes_received: bool = False
    is_done: bool = False

    @property
    def order_ids(self) -> list[int]:
        """All legs."""
        return [*self.working, *self.pending]


@dataclass(slots=True)
class SimAccount:
    """One account: spot balances, a futures wallet, positions, settings, orders and history."""

    name: str
    balances: dict[str, Balance] = field(default_factory=dict)
    wallet: Decimal = ZERO
    hedge_mode: bool = False
    multi_assets: bool = False
    positions: dict[tuple[str, str], SimPosition] = field(default_factory=dict)
    leverages: dict[str, int] = field(default_factory=dict)
    margin_types: dict[str, str] = field(default_factory=dict)
    orders: dict[str, dict[int, SimOrder]] = field(
        default_factory=lambda: {"spot": {}, "futures": {}, "algo": {}}
    )
    open_orders: dict[str, dict[int, SimOrder]] = field(
        default_factory=lambda: {"spot": {}, "futures": {}, "algo": {}}
    )
    client_ids: dict[tuple[str, str, str], int] = field(default_factory=dict)  # book, symbol, client id -> order
    lists: dict[int, SimOrderList] = field(default_factory=dict)
    trades: dict[str, list[SimTrade]] = field(default_factory=lambda: {"spot": [], "futures": []})
    income: list[dict[str, Any]] = field(default_factory=list)
    futures_coins: dict[str, Decimal] = field(default_factory=dict)  # of the USDⓈ-M wallet, besides USDT
    burns_bnb: bool = False  # pays the fees of fills in BNB, as far as there is some
    is_sub_account: bool = False
    deposits: list[dict[str, Any]] = field(default_factory=list)
    withdrawals: list[dict[str, Any]] = field(default_factory=list)
    transfers: list[dict[str, Any]] = field(default_factory=list)
    sub_transfers: list[dict[str, Any]] = field(default_factory=list)
    dust: list[dict[str, Any]] = field(default_factory=list)
    listen_key: str | None = None
    listen_key_until_ms: int = 0
    countdowns: dict[str, int] = field(default_factory=dict)  # symbol -> cancel all at (ms)
    # Quote value of resting futures orders that may open, (buys, sells) by symbol and position side.
    working: dict[tuple[str, str], tuple[Decimal, Decimal]] = field(default_factory=dict)

    def balance(self, asset: str) -> Balance:
        """The spot balance of an asset."""
        found = self.balances.get(asset)
        if found is None:
            found = self.balances[asset] = Balance()
        return found

    def position(self, symbol: str, side: str = "BOTH") -> SimPosition:
        """A futures position."""
        found = self.positions.get((symbol, side))
        if found is None:
            found = self.positions[symbol, side] = SimPosition()
        return found

    def leverage(self, symbol: str) -> int:
        """The leverage set for a symbol."""
        return self.leverages.get(symbol, 20)

    def margin_type(self, symbol: str) -> str:
        """"CROSSED" or "ISOLATED"."""
        return self.margin_types.get(symbol, "CROSSED")

    def add(self, book: str, order: SimOrder) -> None:
        """Keep an accepted order; `book` is spot, futures or algo."""
        self.orders[book][order.order_id] = order
        self.client_ids[book, order.symbol.name, order.client_order_id] = order.order_id
        if order.is_open:
            self.open_orders[book][order.order_id] = order

    def has_open_client_id(self, book: str, symbol: str, client_id: str) -> bool:
        """Whether an open order carries this client id."""
        order_id = self.client_ids.get((book, symbol, client_id))
        return order_id is not None and order_id in self.open_orders[book]

    def find(self, book: str, symbol: str, order_id: int | None, client_id: str | None) -> SimOrder | None:
        """An order by its id, else by its client id."""
        if order_id is None and client_id is not None:
            order_id = self.client_ids.get((book, symbol, client_id))
        if order_id is None:
            return None
        found = self.orders[book].get(order_id)
        return found if found is not None and (not symbol or found.symbol.name == symbol) else None
