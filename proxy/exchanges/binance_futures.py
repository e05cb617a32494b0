"""Binance USDⓈ-M futures: orders, batches, modifications and margin changes read into instructions."""

from __future__ import annotations

from collections.abc import Callable
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
from proxy.wire import NumberText, loads_as_written, read_bool, read_decimal, shown
from rules import (
    Bucket,
    Instruction,
    LeverageChange,
    MarginChange,
    MarginKind,
    Market,
    Order,
    OrderType,
    Replaced,
    ReplaceMode,
    Side,
)

BATCH_ORDERS_MAX: Final = 5

_SHAPES: Final = {
    "LIMIT": Shape(OrderType.LIMIT, takes_price=True, takes_trigger=False),
    "MARKET": Shape(OrderType.MARKET, takes_price=False, takes_trigger=False),
    "STOP": Shape(OrderType.STOP_LIMIT, takes_price=True, takes_trigger=True),
    "STOP_MARKET": Shape(OrderType.STOP_MARKET, takes_price=False, takes_trigger=True),
    "TAKE_PROFIT": Shape(OrderType.TAKE_PROFIT_LIMIT, takes_price=True, takes_trigger=True),
    "TAKE_PROFIT_MARKET": Shape(OrderType.TAKE_PROFIT_MARKET, takes_price=False, takes_trigger=True),
    "TRAILING_STOP_MARKET": Shape(OrderType.TRAILING_STOP, takes_price=False, takes_trigger=False),
}
_PLAIN: Final = frozenset({"LIMIT", "MARKET"})
_CONDITIONAL_SHAPES: Final = {name: shape for name, shape in _SHAPES.items() if name not in _PLAIN}
# Looked up once: on an enumeration class that costs more than what follows from it.
BOTH: Final = Bucket.BOTH
LINEAR: Final = Market.LINEAR
_BUCKETS: Final = {"BOTH": Bucket.BOTH, "LONG": Bucket.LONG, "SHORT": Bucket.SHORT}
_PRICE_MATCHES: Final = frozenset({
    "NONE", "OPPONENT", "OPPONENT_5", "OPPONENT_10", "OPPONENT_20", "QUEUE", "QUEUE_5", "QUEUE_10", "QUEUE_20",
})
_PERCENT: Final = Decimal(100)
_CALLBACK_PERCENT_MIN: Final = Decimal("0.1")
_CALLBACK_PERCENT_MAX: Final = Decimal(10)


class _Dialect(NamedTuple):
    """What the trigger fields are called: the order endpoints and the algo endpoint differ."""

    shapes: dict[str, Shape]
    trigger: str
    activation: str
    client: str
    conditions: frozenset[str]  # what a plain order states none of


_ORDERS: Final = _Dialect(
    _SHAPES, "stopPrice", "activationPrice", "newClientOrderId",
    frozenset({"stopPrice", "activationPrice", "callbackRate"}),
)
_ALGO_ORDERS: Final = _Dialect(
    _CONDITIONAL_SHAPES, "triggerPrice", "activatePrice", "clientAlgoId",
    frozenset({"triggerPrice", "activatePrice", "callbackRate"}),
)


def _read_order(values: Values, dialect: _Dialect) -> Order:
    venue_type = required(values, "type")
    shape = read_shape(dialect.shapes, venue_type, "type")
    side, bucket = read_side(values), _read_bucket(values)
    reduce_only = read_bool(values["reduceOnly"], "reduceOnly") if "reduceOnly" in values else False
    if reduce_only and bucket is not BOTH:
        raise OrderNotUnderstood("reduceOnly was sent with a positionSide; in hedge mode the venue takes only one")
    quantity = read_positive(values, "quantity")
    close_position = _read_close(values, venue_type, side, bucket)
    if not close_position and quantity is None:
        raise OrderNotUnderstood("quantity is missing")
    matched = _read_match(values)
    price = _read_price(values, venue_type, shape, matched=matched)
    trigger = activation = callback = None
    if venue_type not in _PLAIN or not dialect.conditions.isdisjoint(values):
        trigger = _read_trigger(values, venue_type, shape, dialect)
        activation, callback = _read_trailing(values, venue_type, dialect)
    return Order(
        symbol=read_symbol(values), side=side, type=shape.type, market=LINEAR, quantity=quantity,
        close_position=close_position, price=price, trigger_price=trigger, activation_price=activation,
        callback_rate=callback, price_follows_book=matched,
        time_in_force=read_time_in_force(values, "timeInForce"), bucket=bucket, reduce_only=reduce_only,
        client_order_id=read_client_id(values, dialect.client),
    )


def _read_bucket(values: Values) -> Bucket:
    found = values.get("positionSide")
    if found is None:
        return BOTH
    bucket = _BUCKETS.get(found)
    if bucket is None:
        raise OrderNotUnderstood(f"positionSide is {shown(found)}, expected BOTH, LONG or SHORT")
    return bucket


def _read_close(values: Values, venue_type: str, side: Side, bucket: Bucket) -> bool:
    if "closePosition" not in values or not read_bool(values["closePosition"], "closePosition"):
        return False
    if venue_type not in {"STOP_MARKET", "TAKE_PROFIT_MARKET"}:
        raise OrderNotUnderstood(f"closePosition was sent, but {venue_type} cannot close a position by itself")
    refuse_if_sent(values, "quantity", "closePosition closes all there is")
    refuse_if_sent(values, "reduceOnly", "closePosition reduces by itself")
    if (side, bucket) in {(Side.BUY, Bucket.LONG), (Side.SELL, Bucket.SHORT)}:
        raise OrderNotUnderstood(f"closePosition was sent, but {side} on {bucket} would open, not close")
    return True


def _read_match(values: Values) -> bool:
    found = values.get("priceMatch")
    if found is None:
        return False
    if found not in _PRICE_MATCHES:
        raise OrderNotUnderstood(f"priceMatch is {shown(found)}, which the venue does not document")
    return found != "NONE"


def _read_price(values: Values, venue_type: str, shape: Shape, *, matched: bool) -> Decimal | None:
    if not shape.takes_price:
        refuse_if_sent(values, "price", f"{venue_type} takes no price")
        if matched:
            refuse_if_sent(values, "priceMatch", f"{venue_type} takes no price")
        return None
    if matched:
        refuse_if_sent(values, "price", "priceMatch lets the venue pick it")
        return None
    return required_positive(values, "price")


def _read_trigger(values: Values, venue_type: str, shape: Shape, dialect: _Dialect) -> Decimal | None:
    if shape.takes_trigger:
        return required_positive(values, dialect.trigger)
    refuse_if_sent(values, dialect.trigger, f"{venue_type} has no trigger price")
    return None


def _read_trailing(
    values: Values, venue_type: str, dialect: _Dialect
) -> tuple[Decimal | None, Decimal | None]:
    if venue_type != "TRAILING_STOP_MARKET":
        refuse_if_sent(values, dialect.activation, f"{venue_type} does not trail")
        refuse_if_sent(values, "callbackRate", f"{venue_type} does not trail")
        return None, None
    percent = read_decimal(required(values, "callbackRate"), "callbackRate")
    if not _CALLBACK_PERCENT_MIN <= percent <= _CALLBACK_PERCENT_MAX:
        raise OrderNotUnderstood(f"callbackRate is {percent} percent, expected 0.1 to 10")
    return read_positive(values, dialect.activation), percent / _PERCENT


def _order(values: Values) -> tuple[Instruction, ...]:
    return (_read_order(values, _ORDERS),)


def _algo_order(values: Values) -> tuple[Instruction, ...]:
    if (found := required(values, "algoType")) != "CONDITIONAL":
        raise OrderNotUnderstood(f"algoType is {shown(found)}, expected CONDITIONAL")
    return (_read_order(values, _ALGO_ORDERS),)


def _read_modification(values: Values) -> Order:
    """A modification sets the order's total quantity and price; both may grow."""
    order_id = read_order_id(values, "orderId")
    client_id = read_client_id(values, "origClientOrderId")
    if order_id is None and client_id is None:
        raise OrderNotUnderstood("one of orderId and origClientOrderId names the order to modify")
    matched = _read_match(values)
    return Order(
        symbol=read_symbol(values), side=read_side(values), type=OrderType.LIMIT, market=Market.LINEAR,
        quantity=required_positive(values, "quantity"),
        price=_read_price(values, "LIMIT", _SHAPES["LIMIT"], matched=matched), price_follows_book=matched,
        client_order_id=client_id,
        replaces=Replaced(mode=ReplaceMode.AMEND, order_id=order_id, client_order_id=client_id),
    )


def _modification(values: Values) -> tuple[Instruction, ...]:
    return (_read_modification(values),)


# --- batches -----------------------------------------------------------------------------------


def _read_batch(values: Values, allowed: frozenset[str], read: Callable[[Values], Order]) -> tuple[Order, ...]:
    text = required(values, "batchOrders")
    # An escape can spell a name that another reader does not recognise; no order needs one.
    if "\\" in text:
        raise OrderNotUnderstood("batchOrders has a backslash escape")
    items = loads_as_written(text, depth_max=2)
    if not isinstance(items, list) or not 1 <= len(items) <= BATCH_ORDERS_MAX:
        raise OrderNotUnderstood(f"batchOrders is expected to be a list of 1 to {BATCH_ORDERS_MAX} orders")
    orders = []
    for position, item in enumerate(items, start=1):
        try:
            orders.append(read(_item_values(item, allowed)))
        except OrderNotUnderstood as error:
            raise OrderNotUnderstood(f"order {position} of the batch: {error}") from None
    return tuple(orders)


def _item_values(item: object, allowed: frozenset[str]) -> Values:
    if not isinstance(item, dict):
        raise OrderNotUnderstood("expected an object")
    values: dict[str, str] = {}
    for name, value in item.items():
        if name not in allowed:
            raise OrderNotUnderstood(f"unknown parameter {name[:40]!a}")
        if isinstance(value, NumberText):
            # As written: where a number stands, it must be one the venue's own pattern admits.
            read_decimal(value, name)
            values[name] = str(value)
        elif isinstance(value, bool):
            values[name] = "true" if value else "false"
        elif isinstance(value, str) and value:
            values[name] = value
        else:
            raise OrderNotUnderstood(f"{name} is expected to be a text, a number or a truth value")
    return values


_ORDER_NAMES: Final = (
    "symbol side type positionSide timeInForce reduceOnly quantity price newClientOrderId newOrderRespType"
    " priceMatch selfTradePreventionMode goodTillDate stopPrice closePosition activationPrice callbackRate"
    " workingType priceProtect"
)
_MODIFICATION_NAMES: Final = "symbol side quantity price orderId origClientOrderId priceMatch modifyId"
_ORDER_ITEM: Final = frozenset(_ORDER_NAMES.split())
_MODIFICATION_ITEM: Final = frozenset(_MODIFICATION_NAMES.split())


def _batch(values: Values) -> tuple[Instruction, ...]:
    return _read_batch(values, _ORDER_ITEM, lambda item: _read_order(item, _ORDERS))


def _modification_batch(values: Values) -> tuple[Instruction, ...]:
    return _read_batch(values, _MODIFICATION_ITEM, _read_modification)


# --- margin ------------------------------------------------------------------------------------


def _leverage(values: Values) -> tuple[Instruction, ...]:
    leverage = required_positive(values, "leverage")
    if leverage != int(leverage):
        raise OrderNotUnderstood(f"leverage is {leverage}, expected a whole number")
    return (LeverageChange(symbol=read_symbol(values), leverage=leverage),)


def _margin_type(values: Values) -> tuple[Instruction, ...]:
    if (found := required(values, "marginType")) not in {"ISOLATED", "CROSSED"}:
        raise OrderNotUnderstood(f"marginType is {shown(found)}, expected ISOLATED or CROSSED")
    return (MarginChange(kind=MarginKind.MARGIN_TYPE, value=found, symbol=read_symbol(values)),)


def _position_margin(values: Values) -> tuple[Instruction, ...]:
    kinds = {"1": MarginKind.POSITION_MARGIN_ADD, "2": MarginKind.POSITION_MARGIN_REMOVE}
    kind = kinds.get(found := required(values, "type"))
    if kind is None:
        raise OrderNotUnderstood(f"type is {shown(found)}, expected 1 (add) or 2 (remove)")
    _read_bucket(values)
    amount = format(required_positive(values, "amount"), "f")
    return (MarginChange(kind=kind, value=amount, symbol=read_symbol(values)),)


def _switch(kind: MarginKind, name: str) -> Callable[[Values], tuple[Instruction, ...]]:
    def read(values: Values) -> tuple[Instruction, ...]:
        on = read_bool(required(values, name), name)
        return (MarginChange(kind=kind, value="true" if on else "false"),)

    return read


# --- the forms ---------------------------------------------------------------------------------

_SIZE = (Sized("quantity", (0,)),)

FORMS: Final[dict[str, Form]] = {
    "POST /fapi/v1/order": Form(names(_ORDER_NAMES), _order, _SIZE),
    "POST /fapi/v1/order/test": Form(names(_ORDER_NAMES), _order, _SIZE),
    "POST /fapi/v1/algoOrder": Form(
        names(
            "algoType symbol side type positionSide timeInForce quantity price triggerPrice workingType priceMatch"
            " closePosition priceProtect reduceOnly activatePrice callbackRate clientAlgoId newOrderRespType"
            " selfTradePreventionMode goodTillDate"
        ),
        _algo_order,
        _SIZE,
    ),
    "PUT /fapi/v1/order": Form(names(_MODIFICATION_NAMES), _modification, _SIZE),
    "POST /fapi/v1/batchOrders": Form(names("batchOrders"), _batch),
    "PUT /fapi/v1/batchOrders": Form(names("batchOrders"), _modification_batch),
    "POST /fapi/v1/leverage": Form(names("symbol leverage"), _leverage),
    "POST /fapi/v1/marginType": Form(names("symbol marginType"), _margin_type),
    "POST /fapi/v1/positionMargin": Form(names("symbol amount type positionSide"), _position_margin),
    "POST /fapi/v1/positionSide/dual": Form(
        names("dualSidePosition"), _switch(MarginKind.POSITION_MODE, "dualSidePosition")
    ),
    "POST /fapi/v1/multiAssetsMargin": Form(
        names("multiAssetsMargin"), _switch(MarginKind.MULTI_ASSETS_MODE, "multiAssetsMargin")
    ),
}
