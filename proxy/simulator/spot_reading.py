"""A spot order read from its parameters and held against the filters, before anything happens."""

from __future__ import annotations

import re
from decimal import Decimal

from proxy.simulator import parameters as read
from proxy.simulator.account import SimOrder
from proxy.simulator.market import SPOT, ZERO, Prices, Symbol
from proxy.simulator.parameters import Values
from proxy.simulator.rejection import Rejection, filter_failure, illegal, missing, not_required

CLIENT_ID_RANGE = "^[a-zA-Z0-9-_]{1,36}$"
STOPS = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
TYPES = STOPS | {"LIMIT", "MARKET", "LIMIT_MAKER"}
PRICED = frozenset({"LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"})
TIMED = frozenset({"LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"})
SIDES = frozenset({"BUY", "SELL"})
TIMES_IN_FORCE = frozenset({"GTC", "IOC", "FOK"})
RESPONSE_TYPES = frozenset({"ACK", "RESULT", "FULL"})
PREVENTION_MODES = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"})
ICEBERG_PARTS_MAX = 100

_CLIENT_ID = re.compile(r"[a-zA-Z0-9\-_]{1,36}", re.ASCII)


def symbol_of(values: Values) -> Symbol:
    """The listed symbol a request names."""
    found = SPOT.get(read.text(values, "symbol"))
    if found is None:
        raise Rejection(-1121, "Invalid symbol.")
    return found


def client_id(values: Values, name: str) -> str | None:
    """A client id within its legal range, or None."""
    value = values.get(name)
    if value is None:
        return None
    if _CLIENT_ID.fullmatch(value) is None:
        raise illegal(name, CLIENT_ID_RANGE)
    return value


def response_type(values: Values, kind: str) -> str:
    """ACK, RESULT or FULL."""
    value = values.get("newOrderRespType")
    if value is None:
        return "FULL" if kind in ("LIMIT", "MARKET") else "ACK"
    if value not in RESPONSE_TYPES:
        raise Rejection(-1154, "Invalid newOrderRespType.")
    return value


def spot_order(values: Values, order_id: int, account: str, now_ms: int, *, sized: bool = True) -> SimOrder:
    """Read an order. `sized` is False for a leg that takes what its working order received."""
    symbol = symbol_of(values)
    side = read.one_of(values, "side", SIDES, -1117, "Invalid side.")
    kind = read.one_of(values, "type", TYPES, -1116, "Invalid orderType.")
    order = SimOrder(
        order_id=order_id, account=account, symbol=symbol, side=side, type=kind, quantity=ZERO,
        client_order_id=client_id(values, "newClientOrderId") or f"sim{order_id}", created_ms=now_ms,
        updated_ms=now_ms, prevention_mode=values.get("selfTradePreventionMode", "EXPIRE_MAKER"),
    )
    if order.prevention_mode not in PREVENTION_MODES:
        raise Rejection(-1158, "Invalid selfTradePreventionMode.")
    for name in ("strategyId", "strategyType"):
        read.optional_integer(values, name)
    if sized:
        _size(values, order)
    _price(values, order)
    _trigger(values, order)
    _iceberg(values, order)
    return order


def _size(values: Values, order: SimOrder) -> None:
    quantity = read.optional_decimal(values, "quantity")
    in_quote = read.optional_decimal(values, "quoteOrderQty")
    if in_quote is not None:
        if order.type != "MARKET" or quantity is not None:
            raise not_required("quoteOrderQty")
        if not in_quote > 0:
            raise Rejection(-1013, "Invalid quote order quantity.")
        _precise(in_quote, "quoteOrderQty")
        order.quote_quantity = in_quote
        return
    if quantity is None:
        raise missing("quantity")
    if not quantity > 0:
        raise Rejection(-1013, "Invalid quantity.")
    _precise(quantity, "quantity")
    order.quantity = quantity


def _price(values: Values, order: SimOrder) -> None:
    if order.type in PRICED:
        price = read.decimal(values, "price")
        if not price > 0:
            raise Rejection(-1013, "Invalid price.")
        _precise(price, "price")
        order.price = price
    elif values.get("price") is not None:
        raise not_required("price")
    if order.type in TIMED:
        order.time_in_force = read.one_of(
            values, "timeInForce", TIMES_IN_FORCE, -1115, "Invalid timeInForce."
        )
    elif values.get("timeInForce") is not None:
        raise not_required("timeInForce")


def _trigger(values: Values, order: SimOrder) -> None:
    stop = read.optional_decimal(values, "stopPrice")
    delta = read.optional_integer(values, "trailingDelta")
    if order.type not in STOPS:
        # Binance takes trailingDelta and stopPrice on stop types only.
        for name, value in (("stopPrice", stop), ("trailingDelta", delta)):
            if value is not None:
                raise not_required(name)
        return
    if stop is None and delta is None:
        raise Rejection(-1102, "A mandatory parameter was not sent, was empty/null, or malformed: "
                               "'stopPrice' or 'trailingDelta' must be sent.")
    if stop is not None:
        if not stop > 0:
            raise Rejection(-1013, "Invalid stopPrice.")
        _precise(stop, "stopPrice")
        order.stop_price = stop
    if delta is not None and not 10 <= delta <= 2000:
        raise filter_failure("TRAILING_DELTA")
    order.trailing_delta = delta


def _iceberg(values: Values, order: SimOrder) -> None:
    iceberg = read.optional_decimal(values, "icebergQty")
    if iceberg is None:
        return
    if order.type not in PRICED or (order.type in TIMED and order.time_in_force != "GTC"):
        raise not_required("icebergQty")
    if iceberg > order.quantity > 0:
        raise Rejection(-1013, "Iceberg quantity is larger than the order's quantity.")
    if iceberg > 0 and order.quantity / iceberg > ICEBERG_PARTS_MAX:
        raise filter_failure("ICEBERG_PARTS")
    order.iceberg_quantity = iceberg


def _precise(value: Decimal, name: str) -> None:
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -8:
        raise Rejection(-1111, f"Parameter '{name}' has too much precision.")


def check_filters(order: SimOrder, prices: Prices) -> None:
    """Raise Rejection for the first filter the order violates."""
    symbol, quote = order.symbol, prices.quote(order.symbol)
    for price in (order.price, order.stop_price):
        if price and (price < symbol.price_min or price > symbol.price_max or price % symbol.tick):
            raise filter_failure("PRICE_FILTER")
    if order.price and not (
        quote.mark * symbol.multiplier_down <= order.price <= quote.mark * symbol.multiplier_up
    ):
        raise filter_failure("PERCENT_PRICE_BY_SIDE")
    quantity = order.quantity
    is_market = order.type in ("MARKET", "STOP_LOSS", "TAKE_PROFIT")
    if quantity:
        if quantity < symbol.quantity_min or quantity > symbol.quantity_max or quantity % symbol.step:
            raise filter_failure("LOT_SIZE")
        if is_market and quantity > symbol.market_quantity_max:
            raise filter_failure("MARKET_LOT_SIZE")
    notional = order.quote_quantity or quantity * (order.price or order.stop_price or quote.mark)
    if notional < symbol.notional_min and (quantity or order.quote_quantity):
        raise filter_failure("NOTIONAL")
    if notional > symbol.notional_max and not is_market:
        raise filter_failure("NOTIONAL")
