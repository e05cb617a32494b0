"""What the proxy may send by itself: cancels, and orders that can only shrink what a reading shows.

While the stop says HALT no bot's order leaves. The proxy's own may, so the way out for them is narrow: a request
is written, read again from its bytes by the same reader that reads bots' requests, and becomes an `Admitted` only
if it is one of four endpoints and, where it trades, provably smaller than what is held. The lane sends nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from proxy.actions.reading import Picture
from proxy.errors import ProxyError
from proxy.exchanges.base import Exchange, Parsed, Recognised, Verb
from proxy.wire import WireRequest
from rules import Bucket, Market, Order, OrderType, Reason, Side

CANCELS: Final = frozenset(
    {"DELETE /fapi/v1/order", "DELETE /fapi/v1/algoOrder", "DELETE /api/v3/order", "POST /fapi/v1/countdownCancelAll"}
)
CLOSES: Final = {Market.LINEAR: "POST /fapi/v1/order", Market.SPOT: "POST /api/v3/order"}


class NotAdmitted(ProxyError):
    """A request of the proxy's own that is neither a cancel nor a proven reduction: never sent, always a defect."""

    status = 500
    reason = Reason.ORDER_NOT_UNDERSTOOD


class _Proof:
    """Held by this module alone: without it nothing becomes an `Admitted`."""


_PROOF: Final = _Proof()


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may leave while everything else is halted. Only `admit` makes one."""

    request: WireRequest
    recognised: Recognised
    parsed: Parsed | None  # of an order; None of a cancel
    proof: _Proof

    def __post_init__(self) -> None:
        """Nobody else may say that a request was proven."""
        if self.proof is not _PROOF:
            raise NotAdmitted("a request is admitted by its proof, expected one made by proxy.actions.proof")


def admit(exchange: Exchange, request: WireRequest, picture: Picture | None, *, spot_sales: bool = False) -> Admitted:
    """Read a request as it will be sent and prove it. Raises NotAdmitted, and what the reader raises.

    `picture` is the reading that a closing order is held against; a cancel needs none. Selling coins needs
    `spot_sales` as well: holdings may be meant.
    """
    recognised = exchange.recognise(request)
    if recognised.verb is Verb.CANCEL and recognised.endpoint in CANCELS:
        return Admitted(request, recognised, None, _PROOF)
    if recognised.verb is not Verb.PLACE or recognised.endpoint not in CLOSES.values():
        raise NotAdmitted(f"{recognised.endpoint} is not among the requests that the proxy may send by itself")
    parsed = exchange.parse(request, recognised)
    if picture is None:
        raise NotAdmitted("an order of the proxy's own needs a reading to be proven by")
    if len(parsed.instructions) != 1 or not isinstance(parsed.instructions[0], Order):
        raise NotAdmitted(f"expected one order, found {len(parsed.instructions)} instruction(s)")
    order = parsed.instructions[0]
    if order.market is not picture.market or recognised.endpoint != CLOSES[order.market]:
        raise NotAdmitted(f"the order is for {order.market.value}, the reading of {picture.market.value}")
    if found := _wrong_with(order, picture, spot_sales=spot_sales):
        raise NotAdmitted(f"not a proven reduction: {found}")
    return Admitted(request, recognised, parsed, _PROOF)


def _wrong_with(order: Order, picture: Picture, *, spot_sales: bool) -> str | None:
    """Why an order might not only shrink what is held; None if it cannot do anything else."""
    at_once = order.type is OrderType.MARKET or (order.type is OrderType.LIMIT and order.time_in_force == "IOC")
    if not at_once:
        return f"a {order.type.value} order may rest, expected MARKET or an immediate LIMIT"
    if order.quantity is None:
        return "it states no quantity of its own"
    waits = (order.trigger_price, order.activation_price, order.callback_rate, order.iceberg_quantity)
    if any(one is not None for one in waits) or order.replaces or order.group is not None or order.price_follows_book:
        return "it waits, replaces or hides"
    if order.market is Market.SPOT:
        if not spot_sales or order.side is not Side.SELL or order.bucket is not Bucket.BOTH:
            return "of spot only sales that were asked for"
    elif picture.hedge_mode:
        if order.bucket is Bucket.BOTH or order.reduce_only:
            return "the account keeps legs, expected one of them and no reduceOnly"
    elif order.bucket is not Bucket.BOTH or not order.reduce_only:
        return "the account keeps one position per symbol, expected reduceOnly"
    return _larger_than_held(order.quantity, order, picture)


def _larger_than_held(quantity: Decimal, order: Order, picture: Picture) -> str | None:
    held = picture.held.get((order.symbol, order.bucket), Decimal(0))
    closing = Side.SELL if held > 0 else Side.BUY
    if not held or order.side is not closing or quantity > abs(held):
        side = order.side.value
        return f"{side} {quantity:f} {order.symbol} {order.bucket.value}, and the reading shows {held:f}"
    return None
