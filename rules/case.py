"""One instruction before the gate, with the facts that hold for it and the arithmetic that rules share.

A case comes in two forms that answer the same questions with the same values. `Asking` computes what it is
asked for when it is asked: a fact that is missing or too old surfaces as `FactMissing` or `FactStale`, so a
rule that does not need it never trips over it. `Foreseen` is filled in before the first rule is run, by
`rules/foresight.py`, which is several times faster; what could not be foreseen is not there, and a rule that
wants it is asked again about the other form.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, TypeAlias, TypeVar

from rules import exposure as sums
from rules.directive import Directive
from rules.facts import (
    UNKNOWN_SYMBOL,
    Exposure,
    Fact,
    FactMissing,
    Facts,
    FactStale,
    Filters,
    GlobalRisk,
    Losses,
    Position,
    Price,
    RiskLevel,
    Sides,
    SymbolFacts,
    WorkingOrder,
)
from rules.limits import Limits
from rules.order import (
    Bucket,
    Instruction,
    LeverageChange,
    MarginChange,
    MarginKind,
    Order,
    QuantityCut,
)
from rules.running import NOTHING_EARLIER, Running

T = TypeVar("T")

FUTURE_MAX: Final = timedelta(seconds=-1)  # clocks differ a little; a fact from further ahead is not believed
NOTHING: Final = Decimal(0)
RISK_LEVELS: Final = frozenset(RiskLevel)
MICROSECOND: Final = timedelta(microseconds=1)
MICROSECONDS_PER_SECOND: Final = 1_000_000


@lru_cache(maxsize=256)
def span(age_s: Decimal) -> timedelta:
    """Seconds as a time span, exact to the microsecond."""
    return timedelta(microseconds=int(age_s * MICROSECONDS_PER_SECOND))


def believable(age: timedelta, age_max_s: Decimal) -> bool:
    """The age is not above its maximum, nor so far below zero that the clocks cannot be trusted."""
    return FUTURE_MAX <= age <= span(age_max_s)


def seconds(span: timedelta) -> Decimal:
    """A time span in seconds, without passing through float."""
    return Decimal(span // MICROSECOND) / MICROSECONDS_PER_SECOND


class Foreseen:
    """An order with everything worked out that rules may ask; what is not known to be fresh is not set."""

    __slots__ = (
        "added",
        "amended",
        "closing",
        "covered",
        "earlier",
        "equity",
        "exposure",
        "exposure_delta",
        "exposure_price",
        "facts",
        "filters",
        "governor",
        "held",
        "index",
        "instruction",
        "kept_from_opening",
        "leverage",
        "limits",
        "losses",
        "non_increasing",
        "notional",
        "notional_with_request",
        "open_positions",
        "order",
        "position",
        "price",
        "price_highest",
        "price_lowest",
        "quantity_base",
        "reducing",
        "risk",
        "symbol",
        "valuation_price",
        "waiting",
        "warned",
        "worst_after",
        "worst_before",
    )

    price: Price
    position: Position
    held: Decimal
    leverage: Decimal
    filters: Filters
    equity: Decimal
    losses: Losses
    exposure: Exposure
    open_positions: frozenset[tuple[str, Bucket]]
    risk: GlobalRisk
    governor: Directive
    reducing: bool
    closing: bool
    non_increasing: bool
    kept_from_opening: bool
    amended: WorkingOrder | None
    valuation_price: Decimal
    exposure_price: Decimal
    quantity_base: Decimal
    notional: Decimal
    notional_with_request: Decimal
    price_lowest: Decimal
    price_highest: Decimal
    waiting: Sides
    covered: Decimal
    added: Decimal
    worst_before: Decimal
    worst_after: Decimal
    exposure_delta: Decimal

    def __init__(
        self, order: Order, facts: Facts, limits: Limits, earlier: Running, index: int, symbol: SymbolFacts,
        warned: bool,  # noqa: FBT001 - made for every order
    ) -> None:
        self.instruction: Instruction = order
        self.order = order
        self.facts = facts
        self.limits = limits
        self.earlier = earlier
        self.index = index
        self.symbol = symbol
        self.warned = warned

    def asking(self) -> Asking:
        """The same order in the form that says what is missing."""
        return Asking(self.order, self.facts, self.limits, self.earlier, index=self.index, warned=self.warned)


class Asking:
    """One instruction, the facts and the limits; `earlier` is what its request has already taken."""

    __slots__ = (
        "_added",
        "_closing",
        "_covered",
        "_exposure_delta",
        "_quantity_base",
        "_reducing",
        "_valuation_price",
        "_waiting",
        "_worst_after",
        "_worst_before",
        "earlier",
        "facts",
        "index",
        "instruction",
        "limits",
        "order",
        "symbol",
        "warned",
    )

    order: Order  # only of orders; rules that ask for it are only run on orders (Rule.applies_to)

    def __init__(
        self,
        instruction: Instruction,
        facts: Facts,
        limits: Limits,
        earlier: Running = NOTHING_EARLIER,
        *,
        index: int = 0,
        warned: bool = False,
    ) -> None:
        self.instruction = instruction
        if isinstance(instruction, Order):
            self.order = instruction
        self.facts = facts
        self.limits = limits
        self.earlier = earlier
        self.index = index
        self.symbol: SymbolFacts = facts.symbols.get(instruction.symbol or "", UNKNOWN_SYMBOL)
        self.warned = warned  # the order was already scaled for a WARNING of the global risk signal
        # What rests on more than one fact is computed once.
        self._reducing: bool | None = None
        self._closing: bool | None = None
        self._valuation_price: Decimal | None = None
        self._quantity_base: Decimal | None = None
        self._waiting: Sides | None = None
        self._covered: Decimal | None = None
        self._added: Decimal | None = None
        self._worst_before: Decimal | None = None
        self._worst_after: Decimal | None = None
        self._exposure_delta: Decimal | None = None

    # --- facts, each fresh or refused ---

    def _fresh(self, name: str, fact: Fact[T] | None, age_max_s: Decimal) -> T:
        if fact is None:
            raise FactMissing(name)
        age = self.facts.now - fact.as_of
        if FUTURE_MAX <= age <= span(age_max_s):
            return fact.value
        raise FactStale(name, seconds(age), age_max_s)

    @property
    def price(self) -> Price:
        """What the symbol costs."""
        price = self._fresh("price", self.symbol.price, self.limits.ages.price_s)
        if price.mark > NOTHING and price.conversion > NOTHING:
            return price
        raise FactMissing("price")

    @property
    def position(self) -> Position:
        """What is held of the symbol."""
        return self._fresh("position", self.symbol.position, self.limits.ages.account_s)

    @property
    def held(self) -> Decimal:
        """The signed position of the order's bucket."""
        return self.position.signed(self.order.bucket)

    @property
    def leverage(self) -> Decimal:
        """The leverage set at the venue for the symbol."""
        return self._fresh("leverage", self.symbol.leverage, self.limits.ages.leverage_s)

    @property
    def filters(self) -> Filters:
        """What sizes the venue accepts for the symbol."""
        return self._fresh("filters", self.symbol.filters, self.limits.ages.filters_s)

    @property
    def equity(self) -> Decimal:
        """The account's equity."""
        return self._fresh("equity", self.facts.equity, self.limits.ages.account_s)

    @property
    def losses(self) -> Losses:
        """The anchors of day, week and high-water mark."""
        return self._fresh("losses", self.facts.losses, self.limits.ages.account_s)

    @property
    def exposure(self) -> Exposure:
        """Worst-case notional of account, strategy, exchange and everything."""
        return self._fresh("exposure", self.facts.exposure, self.limits.ages.account_s)

    @property
    def open_positions(self) -> frozenset[tuple[str, Bucket]]:
        """The positions held or about to be opened."""
        return self._fresh("open_positions", self.facts.open_positions, self.limits.ages.account_s)

    @property
    def hedge_mode(self) -> bool:
        """Whether the account holds long and short positions of a symbol side by side."""
        return self._fresh("hedge_mode", self.facts.hedge_mode, self.limits.ages.account_s)

    @property
    def risk(self) -> GlobalRisk:
        """The global risk signal; one of a level that nobody knows is none."""
        signal = self._fresh("global_risk", self.facts.risk, self.limits.ages.risk_s)
        if signal.level in RISK_LEVELS:
            return signal
        raise FactMissing("global_risk")

    @property
    def governor(self) -> Directive:
        """What the safety governor says of the account."""
        return self._fresh("safety_governor", self.facts.governor, self.limits.ages.account_s)

    # --- what the instruction does ---

    @property
    def reducing(self) -> bool:
        """The instruction provably only lowers risk (for an order: strictly reduces)."""
        if self._reducing is None:
            self._reducing = self._only_lowers_risk()
        return self._reducing

    def _only_lowers_risk(self) -> bool:
        instruction = self.instruction
        if isinstance(instruction, Order):
            return sums.strictly_reduces(self)
        if isinstance(instruction, LeverageChange):
            return self._lowers_leverage(instruction)
        if isinstance(instruction, MarginChange):
            return instruction.kind is MarginKind.POSITION_MARGIN_ADD or (
                instruction.kind is MarginKind.MARGIN_TYPE and instruction.value == "ISOLATED"
            )
        return isinstance(instruction, QuantityCut)

    def _lowers_leverage(self, change: LeverageChange) -> bool:
        """Proven only against a leverage that is known and fresh."""
        try:
            return change.leverage <= self.leverage
        except (FactMissing, FactStale):
            return False

    @property
    def closing(self) -> bool:
        """The order only closes what another order of the same request opens."""
        if self._closing is None:
            self._closing = isinstance(self.instruction, Order) and sums.closes_another(self)
        return self._closing

    @property
    def non_increasing(self) -> bool:
        """The order leaves the worst case of its position where it certainly was."""
        return sums.non_increasing(self)

    @property
    def kept_from_opening(self) -> bool:
        """The venue itself keeps the order from opening anything."""
        return sums.kept_from_opening(self)

    @property
    def amended(self) -> WorkingOrder | None:
        """The working order that this one changes in place."""
        return sums.amended(self)

    # --- what it is worth ---

    @property
    def valuation_price(self) -> Decimal:
        """The worst price the order may trade at, quote currency per base unit."""
        if self._valuation_price is None:
            self._valuation_price = sums.valuation_price(self)
        return self._valuation_price

    @property
    def exposure_price(self) -> Decimal:
        """What one base unit of new exposure weighs, in quote currency."""
        return sums.exposure_price(self)

    @property
    def quantity_base(self) -> Decimal:
        """The order's size in base units."""
        if self._quantity_base is None:
            self._quantity_base = sums.quantity_base(self)
        return self._quantity_base

    @property
    def notional(self) -> Decimal:
        """The order's own value in the account's currency."""
        return sums.notional(self)

    @property
    def notional_with_request(self) -> Decimal:
        """The order's value together with what its request has already asked for; a group counts its largest."""
        return self.earlier.notional_with(self.order, self.notional)

    @property
    def price_lowest(self) -> Decimal:
        """The lowest price that the order states; if none, the reference."""
        return min(sums.prices(self))

    @property
    def price_highest(self) -> Decimal:
        """The highest price that the order states; if none, the reference."""
        return max(sums.prices(self))

    # --- what it could open ---

    @property
    def waiting(self) -> Sides:
        """Working and reserved base quantity of the order's bucket, per side."""
        if self._waiting is None:
            self._waiting = self.symbol.waiting(self.order.bucket)
        return self._waiting

    @property
    def covered(self) -> Decimal:
        """How much of what waits this order stands in for."""
        if self._covered is None:
            self._covered = sums.covered(self)
        return self._covered

    @property
    def added(self) -> Decimal:
        """What the order adds (base units) to what waits on its side."""
        if self._added is None:
            self._added = sums.added(self)
        return self._added

    @property
    def worst_before(self) -> Decimal:
        """The worst case (base units) of the order's position without the order."""
        if self._worst_before is None:
            self._worst_before = sums.worst_before(self)
        return self._worst_before

    @property
    def worst_after(self) -> Decimal:
        """The worst case (base units) of the order's position with the order."""
        if self._worst_after is None:
            self._worst_after = sums.worst_after(self)
        return self._worst_after

    @property
    def exposure_delta(self) -> Decimal:
        """How much worst-case notional the order adds, in the account's currency."""
        if self._exposure_delta is None:
            self._exposure_delta = sums.exposure_delta(self)
        return self._exposure_delta


Case: TypeAlias = Foreseen | Asking
