"""Scaling: the largest smaller order that fits, on the venue's step, never enlarged, never below its minimum.

A single order is scaled alone; the legs of an order list (OCO, OTO, OTOCO) all by the same factor. What is
not scaled: independent batches (which of them should shrink is the bot's choice), fill-or-kill orders and
amendments, close-position orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple

from rules.case import Asking
from rules.decision import Breach, Reason
from rules.facts import Facts, Filters
from rules.limits import Limits
from rules.order import Instruction, Order, OrderType, QuantityCut, ReplaceMode

NOTHING: Final = Decimal(0)

AT_MARKET: Final = frozenset(
    {OrderType.MARKET, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET, OrderType.TRAILING_STOP}
)


class Cap(NamedTuple):
    """A scalable breach: at which instruction, by which rule, and the size that would have passed."""

    at: int
    rule: str
    breach: Breach
    asked: Decimal
    fits: Decimal


def amount(instruction: Instruction) -> Decimal | None:
    """How much an instruction asks for, in the unit the bot used; None where it has no amount."""
    if isinstance(instruction, Order):
        return instruction.quantity if instruction.quantity is not None else instruction.quote_quantity
    return instruction.quantity if isinstance(instruction, QuantityCut) else None


def can_scale(instructions: Sequence[Instruction]) -> bool:
    """The request is one order, or a list whose legs belong together, and every leg may be made smaller."""
    if len(instructions) > 1 and not _belong_together(instructions):
        return False
    return all(isinstance(leg, Order) and _may_shrink(leg) for leg in instructions)


def _may_shrink(order: Order) -> bool:
    if order.close_position or (order.time_in_force or "").upper() == "FOK":
        return False
    return order.replaces is None or order.replaces.mode is not ReplaceMode.AMEND


def _belong_together(instructions: Sequence[Instruction]) -> bool:
    """Every leg excludes another one, waits for one, or is waited for."""
    openers = {leg.pending_on for leg in instructions if isinstance(leg, Order)}
    return all(
        isinstance(leg, Order) and (leg.group is not None or leg.pending_on is not None or index in openers)
        for index, leg in enumerate(instructions)
    )


def tightest(caps: Sequence[Cap]) -> Cap:
    """The cap that leaves the smallest share; of equals, the first rule's."""
    # Compared crosswise: a / b < c / d without dividing, so that nothing is rounded.
    binding = caps[0]
    for cap in caps[1:]:
        if cap.fits * binding.asked < binding.fits * cap.asked:
            binding = cap
    return binding


def scaled(
    instructions: Sequence[Instruction], cap: Cap, facts: Facts, limits: Limits
) -> tuple[Instruction, ...] | Breach:
    """Every leg made smaller by the cap's share; or the breach of the minimum that one of them would fall under."""
    smaller: list[Instruction] = []
    for index, leg in enumerate(instructions):
        assert isinstance(leg, Order)
        asked = amount(leg)
        assert asked is not None
        # Multiplied before divided: the binding leg comes out exactly at what fits.
        target = cap.fits if index == cap.at else asked * cap.fits / cap.asked
        case = Asking(leg, facts, limits.of(leg.symbol), index=index)
        result = _shrunk(case, asked, target)
        if isinstance(result, Breach):
            return result
        smaller.append(result)
    return tuple(smaller)


def _shrunk(case: Asking, asked: Decimal, target: Decimal) -> Order | Breach:
    """One leg at the target, floored to its step; raises if the venue's filters are not known."""
    order: Order = case.order
    filters = case.filters
    if order.quote_quantity is not None:
        sent = floor_to_step(target, _step(filters.quote_quantity_step, asked))
        smallest = NOTHING
        value = sent
    else:
        sent = floor_to_step(target, _step(quantity_step(order, filters), asked))
        smallest = quantity_min(order, filters)
        value = sent * _filter_price(case)
    if sent <= NOTHING or sent < smallest:
        return _below(case, sent, smallest)
    if value < filters.notional_min and (filters.notional_min_applies_to_market or order.type not in AT_MARKET):
        return _below(case, value, filters.notional_min)
    if order.quote_quantity is not None:
        return replace(order, quote_quantity=sent)
    return replace(order, quantity=sent)


def _below(case: Asking, observed: Decimal, limit: Decimal) -> Breach:
    return Breach(Reason.SCALED_BELOW_MINIMUM, observed, limit, None, case.order.symbol)


def floor_to_step(quantity: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of the step that is not above the quantity."""
    return max(quantity, NOTHING) // step * step


def _step(step: Decimal, asked: Decimal) -> Decimal:
    """The venue's step; where it has none, the last digit that the bot itself used."""
    if step > NOTHING:
        return step
    return Decimal(1).scaleb(min(int(asked.as_tuple().exponent), 0))


def quantity_step(order: Order, filters: Filters) -> Decimal:
    """What trades at the market must keep to the market step as well; steps are powers of ten, so the coarser."""
    if order.type in AT_MARKET and filters.market_quantity_step is not None:
        return max(filters.quantity_step, filters.market_quantity_step)
    return filters.quantity_step


def quantity_min(order: Order, filters: Filters) -> Decimal:
    """The smallest quantity that the venue takes of such an order."""
    if order.type in AT_MARKET and filters.market_quantity_min is not None:
        return max(filters.quantity_min, filters.market_quantity_min)
    return filters.quantity_min


def _filter_price(case: Asking) -> Decimal:
    """The price by which the venue's minimum value is judged: the order's own, else the market's."""
    price = case.order.price
    return price if price is not None and price > NOTHING else case.price.mark
