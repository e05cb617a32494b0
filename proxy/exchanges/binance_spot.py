"""Binance spot: orders, order lists and amendments read into instructions."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

from proxy.errors import OrderNotUnderstood
from proxy.exchanges.binance_fields import (
    Form,
    Shape,
    Sized,
    Values,
    names,
    read_client_id,
    read_order_id,
    read_positive,
    read_shape,
    read_side,
    read_symbol,
    read_time_in_force,
    refuse_if_sent,
    required,
    required_positive,
)
from proxy.wire import read_decimal, shown
from rules import Instruction, Market, Order, OrderType, QuantityCut, Replaced, ReplaceMode, Side

_SHAPES: Final = {
    "LIMIT": Shape(OrderType.LIMIT, takes_price=True, takes_trigger=False),
    "LIMIT_MAKER": Shape(OrderType.LIMIT, takes_price=True, takes_trigger=False),
    "MARKET": Shape(OrderType.MARKET, takes_price=False, takes_trigger=False),
    "STOP_LOSS": Shape(OrderType.STOP_MARKET, takes_price=False, takes_trigger=True),
    "STOP_LOSS_LIMIT": Shape(OrderType.STOP_LIMIT, takes_price=True, takes_trigger=True),
    "TAKE_PROFIT": Shape(OrderType.TAKE_PROFIT_MARKET, takes_price=False, takes_trigger=True),
    "TAKE_PROFIT_LIMIT": Shape(OrderType.TAKE_PROFIT_LIMIT, takes_price=True, takes_trigger=True),
}
_WORKING_TYPES: Final = frozenset({"LIMIT", "LIMIT_MAKER"})
_OCO_TYPES: Final = frozenset(_SHAPES) - {"LIMIT", "MARKET"}
_BASIS_POINTS: Final = Decimal(10000)


class _Leg(NamedTuple):
    """What one leg's parameters are called."""

    type: str
    price: str
    stop: str
    delta: str
    iceberg: str
    time_in_force: str
    client: str
    peg: str


def _leg_named(prefix: str) -> _Leg:
    return _Leg(
        *(prefix + name for name in (
            "Type", "Price", "StopPrice", "TrailingDelta", "IcebergQty", "TimeInForce", "ClientOrderId",
            "PegPriceType",
        ))
    )


_PLAIN: Final = _Leg(
    "type", "price", "stopPrice", "trailingDelta", "icebergQty", "timeInForce", "newClientOrderId", "pegPriceType"
)
_ABOVE: Final = _leg_named("above")
_BELOW: Final = _leg_named("below")
_WORKING: Final = _leg_named("working")
_PENDING: Final = _leg_named("pending")
_PENDING_ABOVE: Final = _leg_named("pendingAbove")
_PENDING_BELOW: Final = _leg_named("pendingBelow")
# The old OCO has no types: a maker order at `price` and a stop at `stopPrice`.
_OLD_LIMIT: Final = _Leg("", "price", "", "", "limitIcebergQty", "", "limitClientOrderId", "")
_OLD_STOP: Final = _Leg(
    "", "stopLimitPrice", "stopPrice", "trailingDelta", "stopIcebergQty", "stopLimitTimeInForce",
    "stopClientOrderId", "",
)


def _read_leg(
    values: Values,
    leg: _Leg,
    venue_type: str,
    *,
    symbol: str,
    side: Side,
    quantity: Decimal | None,
    quote_quantity: Decimal | None = None,
    replaces: Replaced | None = None,
    group: int | None = None,
    pending_on: int | None = None,
) -> Order:
    shape = read_shape(_SHAPES, venue_type, leg.type)
    pegged = leg.peg in values
    price = _read_price(values, leg, venue_type, shape, pegged=pegged)
    trigger, delta = _read_trigger(values, leg, venue_type, shape)
    order_type, activation = shape.type, None
    if delta is not None:
        # The trigger follows the market: a stop price, where there is one, only starts the trailing.
        order_type, activation, trigger = OrderType.TRAILING_STOP, trigger, None
    iceberg = values.get(leg.iceberg)
    if iceberg is not None and quantity is None:
        raise OrderNotUnderstood(f"{leg.iceberg} was sent, but the order has no base quantity")
    return Order(
        symbol=symbol, side=side, type=order_type, market=Market.SPOT, quantity=quantity,
        quote_quantity=quote_quantity, price=price, trigger_price=trigger, activation_price=activation,
        callback_rate=delta, price_follows_book=pegged,
        iceberg_quantity=None if iceberg is None else read_decimal(iceberg, leg.iceberg) or None,
        time_in_force=read_time_in_force(values, leg.time_in_force),
        client_order_id=read_client_id(values, leg.client),
        replaces=replaces, group=group, pending_on=pending_on,
    )


def _read_price(values: Values, leg: _Leg, venue_type: str, shape: Shape, *, pegged: bool) -> Decimal | None:
    if not shape.takes_price:
        refuse_if_sent(values, leg.price, f"{venue_type} takes no price")
        if pegged:
            refuse_if_sent(values, leg.peg, f"{venue_type} takes no price")
        return None
    return read_positive(values, leg.price) if pegged else required_positive(values, leg.price)


def _read_trigger(
    values: Values, leg: _Leg, venue_type: str, shape: Shape
) -> tuple[Decimal | None, Decimal | None]:
    stop, delta_text = read_positive(values, leg.stop), values.get(leg.delta)
    if not shape.takes_trigger:
        if stop is not None or delta_text is not None:
            raise OrderNotUnderstood(f"{leg.stop} or {leg.delta} was sent, but {venue_type} has no trigger")
        return None, None
    if delta_text is None:
        if stop is None:
            raise OrderNotUnderstood(f"{venue_type} needs {leg.stop} or {leg.delta}")
        return stop, None
    basis_points = read_decimal(delta_text, leg.delta)
    if not 0 < basis_points < _BASIS_POINTS or basis_points != int(basis_points):
        raise OrderNotUnderstood(f"{leg.delta} is {shown(delta_text)}, expected whole basis points below 10000")
    return stop, basis_points / _BASIS_POINTS


# --- single orders -----------------------------------------------------------------------------


def _read_single(values: Values, replaces: Replaced | None) -> Order:
    venue_type = required(values, "type")
    quantity = read_positive(values, "quantity")
    quote_quantity = read_positive(values, "quoteOrderQty")
    if (quantity is None) == (quote_quantity is None):
        raise OrderNotUnderstood("exactly one of quantity and quoteOrderQty says how much")
    if quote_quantity is not None and venue_type != "MARKET":
        raise OrderNotUnderstood(f"quoteOrderQty was sent, but {shown(venue_type)} takes a base quantity")
    return _read_leg(
        values, _PLAIN, venue_type, symbol=read_symbol(values), side=read_side(values), quantity=quantity,
        quote_quantity=quote_quantity, replaces=replaces,
    )


def _order(values: Values) -> tuple[Instruction, ...]:
    return (_read_single(values, None),)


_REPLACE_MODES: Final = {
    "STOP_ON_FAILURE": ReplaceMode.STOP_ON_FAILURE,
    "ALLOW_FAILURE": ReplaceMode.ALLOW_FAILURE,
}


def _cancel_replace(values: Values) -> tuple[Instruction, ...]:
    mode = _REPLACE_MODES.get(found := required(values, "cancelReplaceMode"))
    if mode is None:
        raise OrderNotUnderstood(
            f"cancelReplaceMode is {shown(found)}, expected STOP_ON_FAILURE or ALLOW_FAILURE"
        )
    replaced = _replaced(values, mode, "cancelOrderId", "cancelOrigClientOrderId")
    return (_read_single(values, replaced),)


def _amend(values: Values) -> tuple[Instruction, ...]:
    read_client_id(values, "newClientOrderId")
    return (
        QuantityCut(
            symbol=read_symbol(values), market=Market.SPOT, quantity=required_positive(values, "newQty"),
            replaces=_replaced(values, ReplaceMode.AMEND, "orderId", "origClientOrderId"),
        ),
    )


def _replaced(values: Values, mode: ReplaceMode, id_name: str, client_name: str) -> Replaced:
    order_id, client_id = read_order_id(values, id_name), read_client_id(values, client_name)
    if order_id is None and client_id is None:
        raise OrderNotUnderstood(f"one of {id_name} and {client_name} names the order to replace")
    return Replaced(mode=mode, order_id=order_id, client_order_id=client_id)


# --- order lists -------------------------------------------------------------------------------


def _old_oco(values: Values) -> tuple[Instruction, ...]:
    symbol, side = read_symbol(values), read_side(values)
    quantity = required_positive(values, "quantity")
    stop_type = "STOP_LOSS_LIMIT" if "stopLimitPrice" in values else "STOP_LOSS"
    return (
        _read_leg(values, _OLD_LIMIT, "LIMIT_MAKER", symbol=symbol, side=side, quantity=quantity, group=0),
        _read_leg(values, _OLD_STOP, stop_type, symbol=symbol, side=side, quantity=quantity, group=0),
    )


def _oco_legs(
    values: Values,
    legs: tuple[_Leg, _Leg],
    *,
    symbol: str,
    side: Side,
    quantity: Decimal,
    pending_on: int | None = None,
) -> tuple[Order, ...]:
    orders = []
    for leg in legs:
        venue_type = required(values, leg.type)
        if venue_type not in _OCO_TYPES:
            raise OrderNotUnderstood(f"{leg.type} is {shown(venue_type)}, which no leg of an OCO can be")
        orders.append(
            _read_leg(
                values, leg, venue_type, symbol=symbol, side=side, quantity=quantity, group=0,
                pending_on=pending_on,
            )
        )
    return tuple(orders)


def _oco(values: Values) -> tuple[Instruction, ...]:
    return _oco_legs(
        values, (_ABOVE, _BELOW), symbol=read_symbol(values), side=read_side(values),
        quantity=required_positive(values, "quantity"),
    )


def _working(values: Values) -> Order:
    venue_type = required(values, "workingType")
    if venue_type not in _WORKING_TYPES:
        raise OrderNotUnderstood(f"workingType is {shown(venue_type)}, expected LIMIT or LIMIT_MAKER")
    return _read_leg(
        values, _WORKING, venue_type, symbol=read_symbol(values), side=read_side(values, "workingSide"),
        quantity=required_positive(values, "workingQuantity"),
    )


def _pending(values: Values, working: Order, quantity: Decimal) -> Order:
    return _read_leg(
        values, _PENDING, required(values, "pendingType"), symbol=working.symbol,
        side=read_side(values, "pendingSide"), quantity=quantity, pending_on=0,
    )


def _pending_oco(values: Values, working: Order, quantity: Decimal) -> tuple[Order, ...]:
    side = read_side(values, "pendingSide")
    return _oco_legs(
        values, (_PENDING_ABOVE, _PENDING_BELOW), symbol=working.symbol, side=side, quantity=quantity,
        pending_on=0,
    )


def _oto(values: Values) -> tuple[Instruction, ...]:
    working = _working(values)
    return (working, _pending(values, working, required_positive(values, "pendingQuantity")))


def _otoco(values: Values) -> tuple[Instruction, ...]:
    working = _working(values)
    return (working, *_pending_oco(values, working, required_positive(values, "pendingQuantity")))


def _received(values: Values, working: Order) -> Decimal:
    """What a one-pays-the-other list sells is what its working buy received, at most its quantity."""
    if working.side is not Side.BUY or read_side(values, "pendingSide") is not Side.SELL:
        raise OrderNotUnderstood("the working order of this list must be a BUY and the pending one a SELL")
    return required_positive(values, "workingQuantity")


def _opo(values: Values) -> tuple[Instruction, ...]:
    working = _working(values)
    return (working, _pending(values, working, _received(values, working)))


def _opoco(values: Values) -> tuple[Instruction, ...]:
    working = _working(values)
    return (working, *_pending_oco(values, working, _received(values, working)))


# --- the forms ---------------------------------------------------------------------------------


def _leg_names(prefix: str) -> str:
    """The documented names of one leg of a list."""
    return " ".join(
        prefix + name
        for name in (
            "Type", "ClientOrderId", "IcebergQty", "Price", "StopPrice", "TrailingDelta", "TimeInForce",
            "StrategyId", "StrategyType", "PegPriceType", "PegOffsetType", "PegOffsetValue",
        )
    )


_SINGLE_NAMES: Final = (
    "symbol side type timeInForce quantity quoteOrderQty price newClientOrderId strategyId strategyType stopPrice"
    " trailingDelta icebergQty newOrderRespType selfTradePreventionMode pegPriceType pegOffsetValue pegOffsetType"
)
_SOR_NAMES: Final = (
    "symbol side type quantity timeInForce price newClientOrderId strategyId strategyType icebergQty"
    " newOrderRespType selfTradePreventionMode"
)
_LIST_NAMES: Final = "symbol listClientOrderId newOrderRespType selfTradePreventionMode"
_WORKING_NAMES: Final = (
    "workingSide workingQuantity workingType workingPrice workingClientOrderId workingIcebergQty"
    " workingTimeInForce workingStrategyId workingStrategyType workingPegPriceType workingPegOffsetType"
    " workingPegOffsetValue"
)

_SINGLE_SIZES = (Sized("quantity", (0,), ("icebergQty",)), Sized("quoteOrderQty", (0,)))
_WORKING_SIZE: Final = Sized("workingQuantity", (0,), ("workingIcebergQty",))
_PENDING_BOTH = ("pendingAboveIcebergQty", "pendingBelowIcebergQty")

FORMS: Final[dict[str, Form]] = {
    "POST /api/v3/order": Form(names(_SINGLE_NAMES), _order, _SINGLE_SIZES),
    "POST /api/v3/order/test": Form(names(_SINGLE_NAMES + " computeCommissionRates"), _order, _SINGLE_SIZES),
    "POST /api/v3/sor/order": Form(names(_SOR_NAMES), _order, _SINGLE_SIZES),
    "POST /api/v3/sor/order/test": Form(names(_SOR_NAMES + " computeCommissionRates"), _order, _SINGLE_SIZES),
    "POST /api/v3/order/cancelReplace": Form(
        names(
            _SINGLE_NAMES + " cancelReplaceMode cancelNewClientOrderId cancelOrigClientOrderId cancelOrderId"
            " cancelRestrictions orderRateLimitExceededMode"
        ),
        _cancel_replace,
        _SINGLE_SIZES,
    ),
    "PUT /api/v3/order/amend/keepPriority": Form(
        names("symbol newQty orderId origClientOrderId newClientOrderId"), _amend, (Sized("newQty", (0,)),)
    ),
    "POST /api/v3/order/oco": Form(
        names(
            "symbol side quantity price stopPrice listClientOrderId limitClientOrderId limitStrategyId"
            " limitStrategyType limitIcebergQty trailingDelta stopClientOrderId stopStrategyId stopStrategyType"
            " stopLimitPrice stopIcebergQty stopLimitTimeInForce newOrderRespType selfTradePreventionMode"
        ),
        _old_oco,
        (Sized("quantity", (0, 1), ("limitIcebergQty", "stopIcebergQty")),),
    ),
    "POST /api/v3/orderList/oco": Form(
        names(f"{_LIST_NAMES} side quantity {_leg_names('above')} {_leg_names('below')}"),
        _oco,
        (Sized("quantity", (0, 1), ("aboveIcebergQty", "belowIcebergQty")),),
    ),
    "POST /api/v3/orderList/oto": Form(
        names(f"{_LIST_NAMES} {_WORKING_NAMES} pendingSide pendingQuantity {_leg_names('pending')}"),
        _oto,
        (_WORKING_SIZE, Sized("pendingQuantity", (1,), ("pendingIcebergQty",))),
    ),
    "POST /api/v3/orderList/otoco": Form(
        names(
            f"{_LIST_NAMES} {_WORKING_NAMES} pendingSide pendingQuantity {_leg_names('pendingAbove')}"
            f" {_leg_names('pendingBelow')}"
        ),
        _otoco,
        (_WORKING_SIZE, Sized("pendingQuantity", (1, 2), _PENDING_BOTH)),
    ),
    "POST /api/v3/orderList/opo": Form(
        names(f"{_LIST_NAMES} {_WORKING_NAMES} pendingSide {_leg_names('pending')}"),
        _opo,
        (Sized("workingQuantity", (0, 1), ("workingIcebergQty", "pendingIcebergQty")),),
    ),
    "POST /api/v3/orderList/opoco": Form(
        names(
            f"{_LIST_NAMES} {_WORKING_NAMES} pendingSide {_leg_names('pendingAbove')} {_leg_names('pendingBelow')}"
        ),
        _opoco,
        (Sized("workingQuantity", (0, 1, 2), ("workingIcebergQty", *_PENDING_BOTH)),),
    ),
}
