"""How an order makes the sums of its account grow (`rules/account_sums.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from rules.account_sums import AccountSums, Bracket, coin_of
from rules.exposure import buys_quote, closed, side_unproven
from rules.facts import FactMissing, FactStale
from rules.order import Bucket, Market, Order, OrderType, ReplaceMode, Side

if TYPE_CHECKING:
    from rules.case import Case
    from rules.decision import Hold

NOTHING: Final = Decimal(0)
EVERYTHING: Final = Decimal("Infinity")  # an order that closes whatever is there
NEVER_RESTS: Final = frozenset({"IOC", "FOK"})
UNTRIGGERED: Final = frozenset({OrderType.LIMIT, OrderType.MARKET})
REPLACED_IN_PLACE: Final = frozenset({ReplaceMode.AMEND, ReplaceMode.STOP_ON_FAILURE})


def rests(order: Order) -> bool:
    """Whether one more order comes to rest: not one that trades at once or never, nor one in another's place.

    What waits for a trigger or for another order's fill rests until then, whatever it does afterwards.
    """
    if order.replaces is not None and order.replaces.mode in REPLACED_IN_PLACE:
        return False
    if order.type not in UNTRIGGERED or order.pending_on is not None:
        return True
    return order.type is OrderType.LIMIT and (order.time_in_force or "").upper() not in NEVER_RESTS


def maintenance_of(brackets: Sequence[Bracket], notional: Decimal) -> Decimal:
    """The maintenance margin of a position of this value."""
    for bracket in brackets:
        if notional <= bracket.notional_max:
            return max(notional * bracket.rate - bracket.deduction, NOTHING)
    last = brackets[-1]  # beyond what the venue lets anyone hold: at least as much as in its last bracket
    return max(notional * last.rate - last.deduction, NOTHING)


def after(sums: AccountSums, case: Case, hold: Hold | None) -> AccountSums:
    """The sums once the case's order was let through, for the orders of its request that come after it."""
    order = case.order
    if rests(order):
        count = sums.orders_by_symbol.get(order.symbol, 0) + 1
        by_symbol = {**sums.orders_by_symbol, order.symbol: count}
        sums = sums._replace(orders=sums.orders + 1, orders_by_symbol=by_symbol)
    if hold is None:
        return _taken_away(sums, case)
    try:
        value = added_value(case)
        sums = sums._replace(assets=_plus(sums.assets, asset_of(case), hold.notional))
    except (FactMissing, FactStale):
        value = hold.notional  # passes only where no limit asked for what is missing
    may_be_either = side_unproven(order, case.symbol)
    if order.side is Side.BUY or may_be_either or buys_quote(order, case.symbol):
        sums = sums._replace(bought=sums.bought + value)
    if order.side is Side.SELL or may_be_either:
        sums = sums._replace(sold=sums.sold + value)
    return sums if order.market is not Market.LINEAR else _on_margin(sums, case, hold.notional)


def _taken_away(sums: AccountSums, case: Case) -> AccountSums:
    """What the venue keeps from opening closes what the other side nets with, as soon as it is sent (one-way mode)."""
    order, closing = case.order, case.symbol.closing
    if not case.kept_from_opening or order.bucket is not Bucket.BOTH:
        return sums
    try:
        held, price = case.held, case.price
    except (FactMissing, FactStale):
        return sums  # no order that could open passes after it
    closing_after = closing.plus(order.side, EVERYTHING if order.quantity is None else order.quantity)
    taken = abs(closed(held, closing, order.side) - closed(held, closing_after, order.side))
    value = taken * price.mark * price.conversion
    if order.side is Side.BUY:
        return sums._replace(bought=sums.bought + value)
    return sums._replace(sold=sums.sold + value)


def _on_margin(sums: AccountSums, case: Case, delta: Decimal) -> AccountSums:
    symbol, leverage = case.order.symbol, case.symbol.leverage
    maintenance = maintenance_after(sums, symbol, delta)
    return sums._replace(
        contracts=sums.contracts + delta,
        margin=sums.margin + (delta if leverage is None else delta / leverage.value),
        maintenance=maintenance,
        notionals=_plus(sums.notionals, symbol, delta),
    )


def maintenance_after(sums: AccountSums, symbol: str, more: Decimal) -> Decimal | None:
    """The maintenance margin with so much more worst-case notional in a symbol; None where it is not known."""
    brackets = sums.brackets.get(symbol)
    if sums.maintenance is None or not brackets:
        return None
    before = sums.notionals.get(symbol, NOTHING)
    return sums.maintenance + maintenance_of(brackets, before + more) - maintenance_of(brackets, before)


def added_value(case: Case) -> Decimal:
    """What the order adds to its own side, in the account's currency, whatever the other side holds."""
    return case.added * case.exposure_price * case.price.conversion


def asset_of(case: Case) -> str:
    """The coin that the order opens a position in: its base asset, or what a sale for other coins is paid with."""
    filters = case.filters
    return coin_of(filters.quote_asset if buys_quote(case.order, case.symbol) else filters.base_asset)


def _plus(sums: Mapping[str, Decimal], name: str, more: Decimal) -> Mapping[str, Decimal]:
    return {**sums, name: sums.get(name, NOTHING) + more}
