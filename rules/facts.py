"""What is known when an order is judged, and as of when.

A fact that did not arrive is `None`, never a default: a rule that needs it asks through
`Case`, which answers with the value or raises `FactMissing` or `FactStale`. Facts are
gathered before the rules run; rules fetch nothing.

Quantities are in base units; amounts of money are in the account's currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from rules import ess
from rules.account_sums import AccountSums
from rules.directive import Directive
from rules.order import Bucket, Market, Side
from rules.values import value_type

T = TypeVar("T")

NOTHING: Final = Decimal(0)
_NEW: Final = tuple.__new__  # a NamedTuple's own constructor costs three times as much

# In order of preference for valuing.
DOLLAR_COINS: Final[tuple[str, ...]] = ("USDT", "USDC", "FDUSD", "USD", "USD1", "TUSD", "BUSD")
# Looked up once: on an enumeration class that costs more than what follows from it.
BUY: Final = Side.BUY
BOTH: Final = Bucket.BOTH
LONG: Final = Bucket.LONG


class Fact(NamedTuple, Generic[T]):
    """A value and the instant it was true (aware UTC)."""

    value: T
    as_of: datetime


class FactMissing(Exception):
    """A rule needed a fact that never arrived."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not known")
        self.name = name


class FactStale(Exception):
    """A rule needed a fact that is older than its maximum age (seconds), or from the future."""

    def __init__(self, name: str, age_s: Decimal, age_max_s: Decimal) -> None:
        super().__init__(f"{name} is {age_s} s old, at most {age_max_s} s is allowed")
        self.name = name
        self.age_s = age_s
        self.age_max_s = age_max_s


@value_type()
class Caller:
    """Who asks, as identity proved it; `confidence` (0 to 1) is the caller's own claim."""

    account: str
    exchange: str
    strategy: str
    bot: str
    confidence: Decimal | None = None


class RiskLevel(StrEnum):
    """The global risk signal's level."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"

    __hash__ = str.__hash__  # the same number as the enumeration's own, which is worked out in Python


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalRisk:
    """The global risk signal: level, whether it demands the ESS to act, and why."""

    level: RiskLevel
    ess_action_required: bool = False
    ess_tier: str | None = None
    score: Decimal | None = None
    issues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a symbol costs. `mark` is always there; `bid` and `ask` where a book was read.

    `conversion` turns quote currency into the account's currency (1 for dollar coins).
    """

    mark: Decimal
    bid: Decimal | None = None
    ask: Decimal | None = None
    conversion: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is held: `both` is signed (one-way mode and spot), `long` and `short` are sizes (hedge mode)."""

    both: Decimal = NOTHING
    long: Decimal = NOTHING
    short: Decimal = NOTHING

    def signed(self, bucket: Bucket) -> Decimal:
        """The bucket's position with its sign."""
        if bucket is BOTH:
            return self.both
        return self.long if bucket is LONG else -self.short


class Sides(NamedTuple):
    """Base quantity waiting to trade, per side, of one bucket."""

    buy: Decimal = NOTHING
    sell: Decimal = NOTHING

    def of(self, side: Side) -> Decimal:
        """The quantity on one side."""
        return self.buy if side is BUY else self.sell

    def plus(self, side: Side, quantity: Decimal) -> Sides:
        """The same with `quantity` more on `side`."""
        if side is BUY:
            return _NEW(Sides, (self.buy + quantity, self.sell))
        return _NEW(Sides, (self.buy, self.sell + quantity))


NO_SIDES: Final = Sides()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingOrder:
    """An order the venue has accepted and not yet finished; `remaining` is in base units."""

    order_id: str
    client_order_id: str | None
    side: Side
    bucket: Bucket
    remaining: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduces_by_venue: bool = False  # reduceOnly or closePosition: the venue itself keeps it from opening


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the venue accepts for a symbol (exchangeInfo). Steps and quantities in base units."""

    base_asset: str
    quote_asset: str
    quantity_step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal | None = None
    market_quantity_step: Decimal | None = None
    market_quantity_min: Decimal | None = None
    market_quantity_max: Decimal | None = None
    price_tick: Decimal | None = None
    notional_min: Decimal = NOTHING
    notional_min_applies_to_market: bool = True
    quote_quantity_step: Decimal = Decimal("0.00000001")
    iceberg_parts_max: int | None = None


NOTHING_LISTED: Final[Mapping[Any, Any]] = MappingProxyType({})


# The values from here on are made for every order: final for the type checker and built by hand, as `Order` is.


@dataclass(slots=True, init=False, unsafe_hash=True)
class SymbolFacts:
    """What is known of one symbol on one account.

    `working` and `reserved` leave out orders that the venue itself keeps from opening
    (reduce-only, close-position): those can only shrink a position. But what they take, a plain order cannot
    close any more, so they are in `closing` (one that closes whatever is there: infinite). `reserved` is what this
    proxy has let through and not yet seen settled; it is this process's own and always fresh.
    """

    price: Final[Fact[Price] | None]
    position: Final[Fact[Position] | None]
    working: Final[Mapping[Bucket, Sides]]
    # By the venue's own id only: a client id is chosen by a bot, may equal another order's id, and is used again.
    orders_by_id: Final[Mapping[str, WorkingOrder]]
    reserved: Final[Mapping[Bucket, Sides]]
    closing: Final[Sides]  # of one-way mode: what those orders may take off the position, resting and in flight
    leverage: Final[Fact[Decimal] | None]  # as set at the venue
    leverage_max: Final[Decimal | None]  # the venue's own maximum (leverage brackets)
    filters: Final[Fact[Filters] | None]

    def __init__(
        self,
        *,
        price: Fact[Price] | None = None,
        position: Fact[Position] | None = None,
        working: Mapping[Bucket, Sides] = NOTHING_LISTED,
        orders_by_id: Mapping[str, WorkingOrder] = NOTHING_LISTED,
        reserved: Mapping[Bucket, Sides] = NOTHING_LISTED,
        closing: Sides = NO_SIDES,
        leverage: Fact[Decimal] | None = None,
        leverage_max: Decimal | None = None,
        filters: Fact[Filters] | None = None,
    ) -> None:
        self.price = price
        self.position = position
        self.working = working
        self.orders_by_id = orders_by_id
        self.reserved = reserved
        self.closing = closing
        self.leverage = leverage
        self.leverage_max = leverage_max
        self.filters = filters

    def waiting(self, bucket: Bucket) -> Sides:
        """Working and reserved quantity together, per side."""
        working, reserved = self.working.get(bucket), self.reserved.get(bucket)
        if reserved is None:
            return working or NO_SIDES
        if working is None:
            return reserved
        return _NEW(Sides, (working.buy + reserved.buy, working.sell + reserved.sell))


class Exposure(NamedTuple):
    """Sums of worst-case notional (account's currency), working and reserved orders included."""

    account: Decimal = NOTHING
    strategy: Decimal = NOTHING
    exchange: Decimal = NOTHING
    total: Decimal = NOTHING


class LossBase(StrEnum):
    """What a loss is measured from, and of what it is a share."""

    START_OF_DAY_EQUITY = "start_of_day_equity"  # equity when the window began; a share of that
    INITIAL_CAPITAL = "initial_capital"  # the balance when the window began; a share of the initial capital
    TRAILING_EOD = "trailing_eod"  # the same, and the floor follows the highest balance at a day's end


@value_type()
class Losses:
    """What losses are measured from: marks of day, ISO week and high water, and net transfers in since each.

    `equity` is what they are compared with; None stands for the account's equity as known. Of a reading that
    transfers may have moved and no history has explained yet, it is the least that can be true. `day_worst`
    and `week_worst` are the most that was lost at any moment of the window, in money.
    """

    day_start_equity: Decimal | None
    week_start_equity: Decimal | None
    high_water_mark: Decimal | None
    day_transfers: Decimal = NOTHING
    week_transfers: Decimal = NOTHING
    high_transfers: Decimal = NOTHING
    day_worst: Decimal = NOTHING
    week_worst: Decimal = NOTHING
    equity: Decimal | None = None
    drawdown_ema: Decimal | None = None  # a share; where it is there, a drawdown counts only as far as it
    base: LossBase = LossBase.START_OF_DAY_EQUITY
    initial_capital: Decimal | None = None
    capital_transfers: Decimal = NOTHING  # since the account was first seen
    day_start_balance: Decimal | None = None  # without what open positions would bring
    week_start_balance: Decimal | None = None
    end_of_day_high: Decimal | None = None  # highest balance at a day's end, without transfers since first seen
    trailing_locks: bool = True
    losing_streak: int = 0  # closed trades in a row that lost
    last_loss_at: datetime | None = None
    derisk_factor: Decimal = Decimal(1)  # what the policy's ladder makes of the drawdown


@dataclass(slots=True, init=False, unsafe_hash=True)
class Activity:
    """What this caller has sent lately: orders in the rate window, identical ones in the duplicate window."""

    orders_in_window: Final[int]
    identical_in_window: Final[int]
    client_order_id_in_use: Final[bool]  # an order with this client id is in flight or its fate unknown

    def __init__(
        self,
        *,
        orders_in_window: int = 0,
        identical_in_window: int = 0,
        client_order_id_in_use: bool = False,
    ) -> None:
        self.orders_in_window = orders_in_window
        self.identical_in_window = identical_in_window
        self.client_order_id_in_use = client_order_id_in_use


NO_ACTIVITY: Final = Activity()


class VarRoom(Protocol):
    """What is left of an account's VaR and ES limits, prepared so that a rule can ask without waiting."""

    def largest_quantity(self, market: Market, symbol: str, side: Side, asked: Decimal) -> Decimal | None:
        """The largest quantity of base units, at most `asked`, that fits; None where nobody knows."""
        ...

    def after(self, market: Market, symbol: str, side: Side, quantity: Decimal) -> VarRoom:
        """What is left beside an order of the same request."""
        ...


UNKNOWN_SYMBOL: Final = SymbolFacts()


@dataclass(slots=True, init=False, unsafe_hash=True)
class Facts:
    """Everything a judgement rests on. `now` is aware UTC."""

    now: Final[datetime]
    caller: Final[Caller]
    stop: Final[ess.Stop]
    symbols: Final[Mapping[str, SymbolFacts]]
    risk: Final[Fact[GlobalRisk] | None]
    equity: Final[Fact[Decimal] | None]
    losses: Final[Fact[Losses] | None]
    hedge_mode: Final[Fact[bool] | None]
    exposure: Final[Fact[Exposure] | None]
    open_positions: Final[Fact[frozenset[tuple[str, Bucket]]] | None]  # held, or with an opening order waiting
    sums: Final[Fact[AccountSums] | None]  # gathered where a limit asks for one of them
    activity: Final[Activity]
    governor: Final[Fact[Directive] | None]  # gathered where the limits name a governor
    var: Final[VarRoom | None]  # gathered where the limits scale by VaR

    def __init__(
        self,
        *,
        now: datetime,
        caller: Caller,
        stop: ess.Stop,
        symbols: Mapping[str, SymbolFacts],
        risk: Fact[GlobalRisk] | None = None,
        equity: Fact[Decimal] | None = None,
        losses: Fact[Losses] | None = None,
        hedge_mode: Fact[bool] | None = None,
        exposure: Fact[Exposure] | None = None,
        open_positions: Fact[frozenset[tuple[str, Bucket]]] | None = None,
        sums: Fact[AccountSums] | None = None,
        activity: Activity = NO_ACTIVITY,
        governor: Fact[Directive] | None = None,
        var: VarRoom | None = None,
    ) -> None:
        self.now = now
        self.caller = caller
        self.stop = stop
        self.symbols = symbols
        self.risk = risk
        self.equity = equity
        self.losses = losses
        self.hedge_mode = hedge_mode
        self.exposure = exposure
        self.open_positions = open_positions
        self.sums = sums
        self.activity = activity
        self.governor = governor
        self.var = var

    def of(self, symbol: str) -> SymbolFacts:
        """What is known of a symbol; of an unknown one, nothing."""
        return self.symbols.get(symbol, UNKNOWN_SYMBOL)
