"""The state that runs through a request of several instructions.

They stand or fall together, and each is judged as if the ones before it had already been accepted: two
orders of one request must not fit into the same headroom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from rules import growth
from rules.decision import Hold
from rules.exposure import coin_bought, side_unproven
from rules.facts import NO_SIDES, Exposure, Fact, FactMissing, Facts, FactStale, SymbolFacts
from rules.order import Bucket, Instruction, Order, Side

if TYPE_CHECKING:
    from rules.case import Case

NOTHING: Final = Decimal(0)
EVERYTHING: Final = Decimal("Infinity")  # an order that closes whatever is there


@dataclass(slots=True)
class Running:
    """What the instructions of a request judged so far have taken."""

    instructions: Sequence[Instruction] = ()
    cases: list[Case] = field(default_factory=list)
    notional: Decimal = NOTHING
    group_quantities: dict[tuple[int, str, Bucket, Side], Decimal] = field(default_factory=dict)
    group_notionals: dict[int, Decimal] = field(default_factory=dict)

    def group_quantity(self, order: Order) -> Decimal:
        """Base quantity that other legs of the order's group have already taken on its side."""
        if order.group is None:
            return NOTHING
        return self.group_quantities.get((order.group, order.symbol, order.bucket, order.side), NOTHING)

    def group_notional(self, order: Order) -> Decimal:
        """The largest value among the legs of the order's group so far."""
        return NOTHING if order.group is None else self.group_notionals.get(order.group, NOTHING)

    def notional_besides(self, order: Order) -> Decimal:
        """The value of everything judged so far but the order's own group."""
        return self.notional - self.group_notional(order)

    def notional_with(self, order: Order, notional: Decimal) -> Decimal:
        """The value of the request with this order in it; a group counts its largest."""
        if not self.cases:
            return notional
        return self.notional_besides(order) + max(notional, self.group_notional(order))

    def closing_taken(self, opener: int, *, besides: int | None) -> Decimal:
        """How much of an opening order's fill earlier pending orders already close; a group counts its largest."""
        total = NOTHING
        groups: dict[int, Decimal] = {}
        for case in self.cases:
            if not case.closing:
                continue
            order = case.order
            if order.pending_on != opener or order.quantity is None:
                continue
            if order.group is None:
                total += order.quantity
            elif order.group != besides:
                groups[order.group] = max(groups.get(order.group, NOTHING), order.quantity)
        return total + sum(groups.values(), NOTHING)

    def identical(self, order: Order) -> int:
        """How many orders of the request so far ask for the very same thing."""
        asked = replace(order, client_order_id=None)
        return sum([replace(case.order, client_order_id=None) == asked for case in self._orders()])

    def has_client_order_id(self, client_order_id: str | None) -> bool:
        """An order of the request so far bears this client id."""
        return client_order_id is not None and any(
            case.order.client_order_id == client_order_id for case in self._orders()
        )

    def _orders(self) -> list[Case]:
        return [case for case in self.cases if isinstance(case.instruction, Order)]

    def take(self, case: Case, hold: Hold | None, facts: Facts) -> Facts:
        """Count a case that passed; the facts as the next instruction of the request finds them."""
        self.cases.append(case)
        if not isinstance(case.instruction, Order):
            return facts
        order = case.order
        if not case.reducing and not case.closing:
            counted, value = self.notional_besides(order), _own_value(case)
            if order.group is not None:
                value = max(self.group_notional(order), value)
                self.group_notionals[order.group] = value
            self.notional = counted + value
        if order.group is not None:
            place = (order.group, order.symbol, order.bucket, order.side)
            self.group_quantities[place] = self.group_quantity(order) + (hold.quantity if hold else NOTHING)
        facts = after(facts, hold)
        if hold is not None and order.replaces is not None and side_unproven(order, case.symbol):
            symbol = facts.of(hold.symbol)
            mirrored = hold._replace(side=hold.side.opposite)
            facts = replace(facts, symbols={**facts.symbols, hold.symbol: _reserving(symbol, mirrored)})
        if facts.var is not None and hold is not None:
            room = facts.var.after(order.market, hold.symbol, hold.side, hold.quantity)
            facts = replace(facts, var=room)
        if facts.sums is not None:
            facts = replace(facts, sums=Fact(growth.after(facts.sums.value, case, hold), facts.sums.as_of))
        return _closing(facts, order) if case.kept_from_opening else facts


NOTHING_EARLIER: Final = Running()


def hold_of(case: Case) -> Hold | None:
    """What an order takes if it is sent: what it adds to its side, and to the sums of exposure."""
    if not isinstance(case.instruction, Order):
        return None
    try:
        quantity = case.added
    except (FactMissing, FactStale):
        # Only what the venue itself keeps from opening passes without a price for its size.
        return None
    if not quantity:
        return None
    order = case.order
    try:
        notional = case.exposure_delta
    except (FactMissing, FactStale):
        # Where no limit needed the facts for it: the order's own value, else nothing.
        notional = NOTHING if case.reducing else _own_value(case)
    return Hold(order.symbol, order.bucket, order.side, quantity, notional, coin_bought(case))


def _own_value(case: Case) -> Decimal:
    """The order's value; nothing where it cannot be told, which passes only where no limit asked for it."""
    try:
        return case.notional
    except (FactMissing, FactStale):
        return NOTHING


def after(facts: Facts, hold: Hold | None) -> Facts:
    """The facts once an order with this hold has been let through."""
    activity = replace(facts.activity, orders_in_window=facts.activity.orders_in_window + 1)
    if hold is None:
        return replace(facts, activity=activity)
    symbol = facts.of(hold.symbol)
    return replace(
        facts,
        activity=activity,
        symbols={**facts.symbols, hold.symbol: _reserving(symbol, hold)},
        exposure=_raised(facts.exposure, hold.notional),
        open_positions=_opened(facts.open_positions, (hold.coin or hold.symbol, hold.bucket)),
    )


def _closing(facts: Facts, order: Order) -> Facts:
    """The facts once an order was let through that the venue keeps from opening: what it takes, no other can close."""
    symbol = facts.of(order.symbol)
    closing = symbol.closing.plus(order.side, EVERYTHING if order.quantity is None else order.quantity)
    return replace(facts, symbols={**facts.symbols, order.symbol: replace(symbol, closing=closing)})


def _reserving(symbol: SymbolFacts, hold: Hold) -> SymbolFacts:
    sides = symbol.reserved.get(hold.bucket, NO_SIDES).plus(hold.side, hold.quantity)
    return replace(symbol, reserved={**symbol.reserved, hold.bucket: sides})


def _raised(exposure: Fact[Exposure] | None, notional: Decimal) -> Fact[Exposure] | None:
    if exposure is None:
        return None
    value = exposure.value
    more = Exposure(
        account=value.account + notional,
        strategy=value.strategy + notional,
        exchange=value.exchange + notional,
        total=value.total + notional,
    )
    return Fact(more, exposure.as_of)


def _opened(
    positions: Fact[frozenset[tuple[str, Bucket]]] | None, place: tuple[str, Bucket]
) -> Fact[frozenset[tuple[str, Bucket]]] | None:
    if positions is None:
        return None
    return Fact(positions.value | {place}, positions.as_of)
