"""The arithmetic that rules share: what an order is worth, what it could open, what it provably only closes.

Two different questions are asked of an order and neither answers the other:

- does it *strictly reduce*: the other side of a position, and not through zero even when everything
  that waits or closes on its side fills first. Decides what may pass when trading is meant to stop.
- does it leave the *worst case* where it was: the largest position that could arise if one side filled
  completely. Decides size limits. Buys are never netted against sells: either side may fill alone. Where
  that was is counted without what is only reserved: an order on its way may never arrive, and one whose
  answer was lost is counted beside what the venue already lists of it.

With a position of +1 and a sell of 1 waiting, a second sell of 1 leaves the worst case at 1 but may open
a short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from rules.decision import Breach, Reason
from rules.facts import DOLLAR_COINS, NO_SIDES, FactMissing, Facts, FactStale, Sides, SymbolFacts, WorkingOrder
from rules.order import Bucket, Market, Order, OrderType, ReplaceMode, Side

if TYPE_CHECKING:
    from rules.case import Case

NOTHING: Final = Decimal(0)
ONE: Final = Decimal(1)

# Members looked up once: on an enumeration class a look-up costs more than the arithmetic around it.
BUY: Final = Side.BUY
SELL: Final = Side.SELL
BOTH: Final = Bucket.BOTH
LONG: Final = Bucket.LONG
SHORT: Final = Bucket.SHORT
LINEAR: Final = Market.LINEAR
SPOT: Final = Market.SPOT
MARKET: Final = OrderType.MARKET
TRAILING_STOP: Final = OrderType.TRAILING_STOP

OTHER_BUCKETS: Final = {one: tuple(other for other in Bucket if other is not one) for one in Bucket}

TRIGGERED_INTO_MARKET: Final = frozenset({OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET})


# --- what it is worth ---


def valuation_price(case: Case) -> Decimal:
    """The price at which the order's size is judged: the worst it may trade at.

    A buy is worth its limit. A sell that opens is worth at least the market, whatever it asks. What trades
    at the market is priced worse than the book by the slippage allowance. A stop or take-profit order is
    never priced below the market: it may have been through its trigger on arrival.
    """
    order, price = case.order, case.price
    if order.quote_quantity is not None:
        return conversion_price(case)
    stated = order.price if order.price is not None and order.price > NOTHING else None
    mark = price.mark
    if order.side is SELL:
        if stated is not None:
            return max(stated, mark)
        bid = price.bid if price.bid is not None and price.bid >= mark else mark
        named = order.trigger_price or order.activation_price
        return named if named is not None and named >= bid else bid
    if order.type is TRAILING_STOP:
        # It follows the price down and buys at the callback above the lowest, at worst from here.
        start = max(order.activation_price or order.trigger_price or NOTHING, stated or NOTHING, mark)
        return start * (ONE + (order.callback_rate or NOTHING))
    if stated is not None and not order.price_follows_book and order.type is not MARKET:
        return stated
    market = price.ask if price.ask is not None and price.ask >= mark else mark
    if order.trigger_price is not None and order.trigger_price >= market and order.type in TRIGGERED_INTO_MARKET:
        market = order.trigger_price
    return market * (ONE + case.limits.slippage)


def conversion_price(case: Case) -> Decimal:
    """The price that turns an order's quote quantity into base units: the one that makes the most of it."""
    price = case.price
    if case.order.side is BUY:
        return min(price.ask, price.mark) if price.ask is not None and price.ask > NOTHING else price.mark
    low = min(price.bid, price.mark) if price.bid is not None and price.bid > NOTHING else price.mark
    return low * (ONE - case.limits.slippage)


def exposure_price(case: Case) -> Decimal:
    """What one base unit of new exposure weighs, in quote currency.

    Never below the market: what is held after a fill is worth what the market says, not what was bid. A
    quote order weighs exactly what it spends.
    """
    if case.order.quote_quantity is not None:
        return case.valuation_price
    return max(case.valuation_price, case.price.mark)


def quantity_base(case: Case) -> Decimal:
    """The order's size in base units."""
    order = case.order
    if order.quantity is not None:
        return order.quantity
    if order.quote_quantity is not None:
        return order.quote_quantity / conversion_price(case)
    return abs(case.held)


def notional(case: Case) -> Decimal:
    """The order's own value in the account's currency."""
    if case.order.quote_quantity is not None:
        return case.order.quote_quantity * case.price.conversion
    return case.quantity_base * case.valuation_price * case.price.conversion


def prices(case: Case) -> Sequence[Decimal]:
    """Every price that the order states; if none, the reference."""
    order = case.order
    stated = (order.price, order.trigger_price, order.activation_price)
    return [price for price in stated if price is not None and price > NOTHING] or (case.price.mark,)


# --- what it provably only closes ---


def amended(case: Case) -> WorkingOrder | None:
    """The working order that this one changes in place, where it is known and stands on the same side.

    Only an amendment takes the place of the old order for certain. After cancel-and-replace the old one may
    be partly filled, or live on, so both count.
    """
    order = case.order
    found = amended_order(order, case.symbol)
    return found if found is not None and found.side is order.side and found.bucket is order.bucket else None


def amended_order(order: Order, symbol: SymbolFacts) -> WorkingOrder | None:
    """The working order that an amendment names by the venue's own id; by any other name it is not known.

    A client id proves nothing: it may be given to another order as soon as the first one is done, and where
    both ids are sent the venue goes by its own.
    """
    replaces = order.replaces
    if replaces is None or replaces.mode is not ReplaceMode.AMEND or replaces.order_id is None:
        return None
    return symbol.orders_by_id.get(replaces.order_id)


def side_unproven(order: Order, symbol: SymbolFacts) -> bool:
    """An amendment of an order that nobody here knows: that it is on the side stated is the bot's word alone."""
    replaces = order.replaces
    if replaces is None or replaces.mode is not ReplaceMode.AMEND:
        return False
    return amended_order(order, symbol) is None


def placed(order: Order, symbol: SymbolFacts) -> Order:
    """The order with the bucket of the one that it amends: a futures amendment does not state its own."""
    if order.replaces is None:
        return order
    found = amended_order(order, symbol)
    return order if found is None or found.bucket is order.bucket else replace(order, bucket=found.bucket)


def misfit(order: Order, facts: Facts) -> Breach | None:
    """Why an amendment cannot be judged: it contradicts the order it names, or nobody knows which leg that is on."""
    replaces = order.replaces
    if replaces is None or replaces.mode is not ReplaceMode.AMEND:
        return None
    found = amended_order(order, facts.of(order.symbol))
    if found is not None:
        if (found.side, found.bucket) == (order.side, order.bucket):
            return None
        stated, known = f"{order.side} {order.bucket}", f"{found.side} {found.bucket}"
        return Breach(Reason.ORDER_NOT_UNDERSTOOD, f"amendment to {stated}", f"what the order is: {known}")
    if order.market is not LINEAR or (facts.hedge_mode is not None and not facts.hedge_mode.value):
        return None  # there is but one position that it can be on
    return Breach(Reason.FACTS_MISSING, "the order to amend, by its orderId", "known")


def kept_from_opening(case: Case) -> bool:
    """The venue itself keeps the order from opening anything: reduce-only in one-way mode, close-position."""
    order = case.order
    if order.market is not LINEAR:
        return False
    if order.close_position or (order.reduce_only and order.bucket is BOTH):
        return True
    return order.replaces is not None and case.amended is not None and case.amended.reduces_by_venue


def strictly_reduces(case: Case) -> bool:
    """The order provably only brings the position towards zero, and not through it.

    Without a known position nothing is proven, whatever flags the order carries. With an old one only what
    the venue guarantees counts. With a fresh one the arithmetic counts as well: everything that waits on
    the order's side fills first, and everything that closes too.
    """
    order, position = case.order, case.symbol.position
    if position is None or _wrong_mode(case) or misfit(order, case.facts) is not None:
        return False
    if buys_quote(order, case.symbol) or _spends_money(order, case.symbol):
        return False
    if order.replaces is not None and side_unproven(order, case.symbol):
        return False
    held = position.value.signed(order.bucket)
    closing_side = SELL if held > NOTHING else BUY
    if held == NOTHING or order.side is not closing_side:
        return False
    if case.kept_from_opening or (order.market is LINEAR and order.bucket is not BOTH):
        return True
    try:
        left, asked = abs(case.held), case.quantity_base
    except (FactMissing, FactStale):
        return False
    # What closes may fill first: then a plain order finds less to close, and would open.
    closing = case.symbol.closing.of(order.side)
    return asked + case.waiting.of(order.side) - case.covered + closing <= left


def buys_quote(order: Order, symbol: SymbolFacts) -> bool:
    """A sale of coins for other coins than dollars: it opens a position in what it is paid with."""
    if order.market is not SPOT or order.side is not SELL:
        return False
    return symbol.filters is None or symbol.filters.value.quote_asset not in DOLLAR_COINS


def coin_bought(case: Case) -> str:
    """The coin that a sale for other coins than dollars buys; none for any other order, or while it is not known."""
    if case.order.market is not SPOT or not buys_quote(case.order, case.symbol) or case.symbol.filters is None:
        return ""
    return case.symbol.filters.value.quote_asset


def _spends_money(order: Order, symbol: SymbolFacts) -> bool:
    """A sale of dollars themselves closes nothing either."""
    return order.market is SPOT and symbol.filters is not None and symbol.filters.value.base_asset in DOLLAR_COINS


def _wrong_mode(case: Case) -> bool:
    """The order names a bucket that the account's position mode does not have; the venue will reject it."""
    hedge_mode = case.facts.hedge_mode
    if hedge_mode is None or case.order.market is not LINEAR:
        return False
    return hedge_mode.value is (case.order.bucket is BOTH)


def closes_another(case: Case) -> bool:
    """The order only comes alive with the fill of an opening order of the same request, and closes no more.

    A pending order behind a *reducing* one would open again what was closed, so it counts as live.
    """
    order, earlier = case.order, case.earlier
    if order.pending_on is None or not 0 <= order.pending_on < case.index:
        return False
    opener = earlier.cases[order.pending_on]
    if not isinstance(opener.instruction, Order) or opener.reducing or opener.closing:
        return False
    same_place = (opener.order.symbol, opener.order.bucket) == (order.symbol, order.bucket)
    if not same_place or opener.order.side is order.side:
        return False
    if order.close_position:
        return True
    if order.quantity is None or opener.order.quantity is None:
        return False
    taken = earlier.closing_taken(order.pending_on, besides=order.group)
    return order.quantity + taken <= opener.order.quantity


# --- what it could open ---


def worst_case(
    held: Decimal, buys: Decimal, sells: Decimal, bucket: Bucket, closing: Sides = NO_SIDES
) -> Decimal:
    """The largest position (base units) that could arise if one side of what waits filled completely.

    What closes may fill before it: the rest of the position is all that the side can still be netted with.
    """
    if bucket is LONG:
        worst = held + buys
    elif bucket is SHORT:
        worst = sells - held
    else:
        if closing is NO_SIDES:
            worst, short = held + buys, sells - held
        else:
            worst, short = closed(held, closing, BUY) + buys, sells - closed(held, closing, SELL)
        if short > worst:
            worst = short
    return max(worst, NOTHING)


def closed(held: Decimal, closing: Sides, side: Side) -> Decimal:
    """What is left of a position once everything that closes on one side has filled."""
    if side is BUY:
        return held + min(-held, closing.buy) if held < NOTHING else held
    return held - min(held, closing.sell) if held > NOTHING else held


def covered(case: Case) -> Decimal:
    """How much of what waits on the order's side this order stands in for, so that it is not counted twice.

    That is the amended order's remainder, and what another leg of the same group has already taken: legs of
    a group exclude each other.
    """
    order = case.order
    if order.group is None and order.replaces is None:
        return NOTHING
    taken = case.earlier.group_quantity(order)
    if case.amended is not None and not case.amended.reduces_by_venue:
        taken += case.amended.remaining
    return min(taken, case.waiting.of(order.side))


def added(case: Case) -> Decimal:
    """What the order adds (base units) to what waits on its side."""
    if case.kept_from_opening or case.closing:
        return NOTHING
    covered_quantity = case.covered
    if not covered_quantity:
        return case.quantity_base
    return max(case.quantity_base - covered_quantity, NOTHING)


def worst_before(case: Case) -> Decimal:
    """The worst case of the order's position without the order."""
    bucket, waiting = case.order.bucket, case.waiting
    return worst_case(case.held, waiting.buy, waiting.sell, bucket, case.symbol.closing)


def worst_after(case: Case) -> Decimal:
    """The worst case of the order's position with the order."""
    order, waiting = case.order, case.waiting
    if buys_quote(order, case.symbol):
        return case.worst_before + case.added
    buys, sells = waiting.buy, waiting.sell
    if order.replaces is not None and side_unproven(order, case.symbol):
        buys, sells = buys + case.added, sells + case.added
    elif order.side is BUY:
        buys += case.added
    else:
        sells += case.added
    return worst_case(case.held, buys, sells, order.bucket, case.symbol.closing)


def non_increasing(case: Case) -> bool:
    """The order's own side reaches no further than the worst case certainly is: what is held, and works at the venue.

    Over a limit that spares an order. Reservations of the other side are no excuse: as soon as they turn out to be
    nothing, this order's side is the worst case.
    """
    if case.worst_after > case.worst_before:
        return False
    if not case.added:
        return True
    return _own_side_after(case) <= _worst_certain(case)


def spared(case: Case, before: Decimal, limit: Decimal) -> bool:
    """Whether a sum of worst cases that is over its limit lets the order pass all the same.

    It does where the order leaves the worst case where it certainly was, and where the sum would be within the
    limit if the order's own side were all there is of its position: then the other side alone is over it.
    """
    return case.non_increasing or before + _own_side_instead(case) <= limit


def _own_side_instead(case: Case) -> Decimal:
    """What the order's own side is worth with it, less what its position's worst case was."""
    price = case.price
    own = max(_own_side_after(case), NOTHING) * case.exposure_price
    return (own - case.worst_before * price.mark) * price.conversion


def _own_side_after(case: Case) -> Decimal:
    """The largest position that the order's own side could reach with it, whatever the other side may."""
    order, waiting, held, bucket = case.order, case.waiting, case.held, case.order.bucket
    if buys_quote(order, case.symbol) or (order.replaces is not None and side_unproven(order, case.symbol)):
        return case.worst_after  # it may be on either side
    is_buy = order.side is BUY
    if bucket is not BOTH and is_buy is not (bucket is LONG):
        return NOTHING  # it can only close that leg
    if bucket is BOTH:
        held = closed(held, case.symbol.closing, order.side)
    return held + waiting.buy + case.added if is_buy else waiting.sell + case.added - held


def _worst_certain(case: Case) -> Decimal:
    working = case.symbol.working.get(case.order.bucket, NO_SIDES)
    return worst_case(case.held, working.buy, working.sell, case.order.bucket)


def worst_elsewhere(case: Case) -> Decimal:
    """The worst cases of the symbol's other buckets, added up (hedge mode holds both sides at once)."""
    symbol, position = case.symbol, case.position
    own = case.order.bucket
    if own is BOTH and not position.long and not position.short:
        working, reserved = symbol.working, symbol.reserved
        if not (working or reserved) or (len(working) == (BOTH in working) and len(reserved) == (BOTH in reserved)):
            return NOTHING
    total = NOTHING
    for bucket in OTHER_BUCKETS[own]:
        waiting = symbol.waiting(bucket)
        total += worst_case(position.signed(bucket), waiting.buy, waiting.sell, bucket, symbol.closing)
    return total


def exposure_delta(case: Case) -> Decimal:
    """How much worst-case notional the order adds, in the account's currency; zero if the worst case stays."""
    more = case.worst_after - case.worst_before
    if more <= NOTHING:
        return NOTHING
    return more * case.exposure_price * case.price.conversion


def opening_quantity(case: Case) -> Decimal:
    """The part of the order (base units) that does not go into closing the position, whoever's fill is first."""
    held = case.held
    closing_side = SELL if held > NOTHING else BUY
    if case.order.side is not closing_side or buys_quote(case.order, case.symbol):
        return case.added
    if case.order.replaces is not None and side_unproven(case.order, case.symbol):
        return case.added
    left = abs(closed(held, case.symbol.closing, closing_side) if case.order.bucket is BOTH else held)
    closable = max(left - case.waiting.of(case.order.side), NOTHING)
    return max(case.added - closable, NOTHING)


# --- the largest size that would fit ---


def quantity_within(case: Case, headroom: Decimal) -> Decimal:
    """The largest size, in the unit of the order, whose added worst-case notional fits into `headroom`.

    With less than no headroom, that is the size that `spared` lets pass.
    """
    if headroom < NOTHING:
        return max(quantity_unharmed(case), _quantity_instead(case, headroom))
    more = headroom / (case.exposure_price * case.price.conversion)
    if buys_quote(case.order, case.symbol):
        return in_order_units(case, more + case.covered)
    return _quantity_up_to(case, case.worst_before + more)


def quantity_unharmed(case: Case) -> Decimal:
    """The largest size, in the unit of the order, that a limit already passed spares."""
    if buys_quote(case.order, case.symbol):
        return in_order_units(case, case.covered)
    return _quantity_up_to(case, _worst_certain(case))


def _quantity_instead(case: Case, headroom: Decimal) -> Decimal:
    """The size with which the order's own side takes the place of what is over the limit."""
    price = case.price
    worth = case.worst_before * price.mark * price.conversion + headroom
    return _quantity_up_to(case, worth / (case.exposure_price * price.conversion))


def _quantity_up_to(case: Case, reach: Decimal) -> Decimal:
    """The size with which the order's own side reaches so far."""
    order = case.order
    held = closed(case.held, case.symbol.closing, order.side) if order.bucket is BOTH else case.held
    own_side = held + case.waiting.buy if order.side is BUY else case.waiting.sell - held
    return in_order_units(case, reach - own_side + case.covered)


def in_order_units(case: Case, base: Decimal) -> Decimal:
    """Base units in the unit in which the order states its size."""
    if case.order.quote_quantity is not None:
        return base * conversion_price(case)
    return base


def unit_notional(case: Case) -> Decimal:
    """What one unit of the order's stated size is worth in the account's currency."""
    if case.order.quote_quantity is not None:
        return case.price.conversion
    return case.valuation_price * case.price.conversion
