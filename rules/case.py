"""One instruction before the gate, with the facts that hold for it and the arithmetic that rules share.

Everything is computed when a rule first asks, and once. A fact that is missing or too old surfaces as
`FactMissing` or `FactStale` from the accessor, so a rule that does not need it never trips over it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

from rules import exposure as sums
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

FUTURE_MAX = timedelta(seconds=-1)  # clocks differ a little; a fact from further ahead is not believed
NOTHING = Decimal(0)
MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_PER_SECOND = 1_000_000


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


class Once(Generic[T]):
    """A property computed when first asked and then kept on the instance.

    Unlike functools.cached_property it takes no lock: a case lives in one call of one thread.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, case: None, owner: type) -> Once[T]: ...

    @overload
    def __get__(self, case: object, owner: type) -> T: ...

    def __get__(self, case: object | None, owner: type) -> Once[T] | T:
        """Compute, keep, answer; the kept value then hides this descriptor."""
        if case is None:
            return self
        value = case.__dict__[self.name] = self.compute(case)
        return value


class Case:
    """One instruction, the facts and the limits; `earlier` is what its request has already taken."""

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
        # Rules for orders are only run on orders (Rule.applies_to); they read this without asking again.
        self.order: Order = instruction  # type: ignore[assignment]
        self.facts = facts
        self.limits = limits
        self.earlier = earlier
        self.index = index
        self.symbol: SymbolFacts = facts.symbols.get(instruction.symbol or "", UNKNOWN_SYMBOL)
        self.warned = warned  # the order was already scaled for a WARNING of the global risk signal

    # --- facts, each fresh or refused ---

    def _fresh(self, name: str, fact: Fact[T] | None, age_max_s: Decimal) -> T:
        if fact is None:
            raise FactMissing(name)
        age = self.facts.now - fact.as_of
        if FUTURE_MAX <= age <= span(age_max_s):
            return fact.value
        raise FactStale(name, seconds(age), age_max_s)

    @Once
    def price(self) -> Price:
        """What the symbol costs."""
        price = self._fresh("price", self.symbol.price, self.limits.ages.price_s)
        if price.mark > NOTHING and price.conversion > NOTHING:
            return price
        raise FactMissing("price")

    @Once
    def position(self) -> Position:
        """What is held of the symbol."""
        return self._fresh("position", self.symbol.position, self.limits.ages.account_s)

    @Once
    def held(self) -> Decimal:
        """The signed position of the order's bucket."""
        return self.position.signed(self.order.bucket)

    def fresh_position(self) -> Position:
        """The same; for callers that only want to know whether it is fresh."""
        return self.position

    @Once
    def leverage(self) -> Decimal:
        """The leverage set at the venue for the symbol."""
        return self._fresh("leverage", self.symbol.leverage, self.limits.ages.leverage_s)

    @Once
    def filters(self) -> Filters:
        """What sizes the venue accepts for the symbol."""
        return self._fresh("filters", self.symbol.filters, self.limits.ages.filters_s)

    @Once
    def equity(self) -> Decimal:
        """The account's equity."""
        return self._fresh("equity", self.facts.equity, self.limits.ages.account_s)

    @Once
    def losses(self) -> Losses:
        """The anchors of day, week and high-water mark."""
        return self._fresh("losses", self.facts.losses, self.limits.ages.account_s)

    @Once
    def exposure(self) -> Exposure:
        """Worst-case notional of account, strategy, exchange and everything."""
        return self._fresh("exposure", self.facts.exposure, self.limits.ages.account_s)

    @Once
    def open_positions(self) -> frozenset[tuple[str, Bucket]]:
        """The positions held or about to be opened."""
        return self._fresh("open_positions", self.facts.open_positions, self.limits.ages.account_s)

    @Once
    def hedge_mode(self) -> bool:
        """Whether the account holds long and short positions of a symbol side by side."""
        return self._fresh("hedge_mode", self.facts.hedge_mode, self.limits.ages.account_s)

    @Once
    def risk(self) -> GlobalRisk:
        """The global risk signal."""
        return self._fresh("global_risk", self.facts.risk, self.limits.ages.risk_s)

    # --- what the instruction does ---

    @Once
    def reducing(self) -> bool:
        """The instruction provably only lowers risk (for an order: strictly reduces)."""
        instruction = self.instruction
        if type(instruction) is Order:
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

    @Once
    def closing(self) -> bool:
        """The order only closes what another order of the same request opens."""
        return type(self.instruction) is Order and sums.closes_another(self)

    @Once
    def non_increasing(self) -> bool:
        """The order leaves the worst case of its position where it was."""
        return self.worst_after <= self.worst_before

    @Once
    def kept_from_opening(self) -> bool:
        """The venue itself keeps the order from opening anything."""
        return sums.kept_from_opening(self)

    @Once
    def amended(self) -> WorkingOrder | None:
        """The working order that this one changes in place."""
        return sums.amended(self)

    # --- what it is worth ---

    @Once
    def valuation_price(self) -> Decimal:
        """The worst price the order may trade at, quote currency per base unit."""
        return sums.valuation_price(self)

    @Once
    def exposure_price(self) -> Decimal:
        """What one base unit of new exposure weighs, in quote currency."""
        return sums.exposure_price(self)

    @Once
    def quantity_base(self) -> Decimal:
        """The order's size in base units."""
        return sums.quantity_base(self)

    @Once
    def notional(self) -> Decimal:
        """The order's own value in the account's currency."""
        return sums.notional(self)

    @Once
    def prices(self) -> tuple[Decimal, ...]:
        """Every price that the order states; if none, the reference."""
        order = self.order
        stated = (order.price, order.trigger_price, order.activation_price)
        return tuple([price for price in stated if price is not None and price > NOTHING]) or (self.price.mark,)

    # --- what it could open ---

    @Once
    def waiting(self) -> Sides:
        """Working and reserved base quantity of the order's bucket, per side."""
        return self.symbol.waiting(self.order.bucket)

    @Once
    def covered(self) -> Decimal:
        """How much of what waits this order stands in for."""
        return sums.covered(self)

    @Once
    def added(self) -> Decimal:
        """What the order adds (base units) to what waits on its side."""
        return sums.added(self)

    @Once
    def worst_before(self) -> Decimal:
        """The worst case (base units) of the order's position without the order."""
        return sums.worst_before(self)

    @Once
    def worst_after(self) -> Decimal:
        """The worst case (base units) of the order's position with the order."""
        return sums.worst_after(self)

    @Once
    def exposure_delta(self) -> Decimal:
        """How much worst-case notional the order adds, in the account's currency."""
        return sums.exposure_delta(self)

    @Once
    def notional_with_request(self) -> Decimal:
        """The order's value together with what its request has already asked for; a group counts its largest."""
        earlier = self.earlier
        if not earlier.cases:
            return self.notional
        return earlier.notional_besides(self.order) + max(self.notional, earlier.group_notional(self.order))
