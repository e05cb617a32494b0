"""Orders and fills of an account as both markets list them: which of them, and how many at once."""

from __future__ import annotations

from proxy.simulator import parameters as read
from proxy.simulator.account import SimOrder, SimTrade
from proxy.simulator.call import Call
from proxy.simulator.market import Symbol
from proxy.simulator.rejection import Rejection

LISTED_DEFAULT, LISTED_MAX = 500, 1000


def open_orders(call: Call, book: str, symbol: Symbol | None) -> list[SimOrder]:
    """What rests, of one symbol or of all."""
    return [one for one in call.account.open_orders[book].values() if symbol is None or one.symbol is symbol]


def all_orders(call: Call, book: str, symbol: Symbol) -> list[SimOrder]:
    """The newest orders of a symbol from a number on."""
    since = read.optional_integer(call.values, "orderId") or 0
    found = [one for one in call.account.orders[book].values() if one.symbol is symbol and one.order_id >= since]
    return found[-_limit(call) :]


def trades(call: Call, book: str, symbol: Symbol, *, span_max_ms: int, too_long: Rejection) -> list[SimTrade]:
    """Fills of a symbol: from a time on the oldest; without one, the newest."""
    order_id = read.optional_integer(call.values, "orderId")
    since, until = (read.optional_integer(call.values, name) for name in ("startTime", "endTime"))
    if since is not None and until is not None and until - since > span_max_ms:
        raise too_long
    found = [
        one for one in call.account.trades[book]
        if one.symbol == symbol.name and order_id in (None, one.order_id)
        and (since or 0) <= one.at_ms and (until is None or one.at_ms <= until)
    ]
    return found[: _limit(call)] if since is not None else found[-_limit(call) :]


def _limit(call: Call) -> int:
    return min(read.optional_integer(call.values, "limit") or LISTED_DEFAULT, LISTED_MAX)
