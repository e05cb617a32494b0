"""A USDⓈ-M order read from its parameters and held against the filters, before anything happens."""

from __future__ import annotations

import re
from decimal import Decimal

from proxy.simulator import parameters as read
from proxy.simulator.account import SimAccount, SimOrder
from proxy.simulator.market import FUTURES, ZERO, Prices, Symbol
from proxy.simulator.parameters import Values
from proxy.simulator.rejection import Rejection, illegal, missing, not_required

SIDES = frozenset({"BUY", "SELL"})
PLAIN = frozenset({"LIMIT", "MARKET"})
CONDITIONAL = frozenset({"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"})
CLOSING = frozenset({"STOP_MARKET", "TAKE_PROFIT_MARKET"})
PRICED = frozenset({"LIMIT", "STOP", "TAKE_PROFIT"})
TIMES_IN_FORCE = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD"})
POSITION_SIDES = frozenset({"BOTH", "LONG", "SHORT"})
WORKING_TYPES = frozenset({"MARK_PRICE", "CONTRACT_PRICE"})
PREVENTION_MODES = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"})
PRICE_MATCHES = {
    f"{whose}{depth}": (whose, levels)
    for whose in ("OPPONENT", "QUEUE")
    for depth, levels in (("", 0), ("_5", 5), ("_10", 10), ("_20", 20))
}
CLIENT_ID_RANGE = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"

_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_\-]{1,36}", re.ASCII)


def symbol_of(values: Values) -> Symbol:
    """The listed symbol a request names."""
    found = FUTURES.get(read.text(values, "symbol"))
    if found is None:
        raise Rejection(-1121, "Invalid symbol.")
    return found


def client_id(values: Values, name: str) -> str | None:
    """A client id within its legal range, or None."""
    value = values.get(name)
    if not value:
        return None
    if len(value) > 36:
        raise Rejection(-4015, "Client order id length should not be more than 36 chars.")
    if _CLIENT_ID.fullmatch(value) is None:
        raise illegal(name, CLIENT_ID_RANGE)
    return value


def plain_order(values: Values, order_id: int, account: SimAccount, prices: Prices, now_ms: int,
                *, allow_conditional: bool = False) -> SimOrder:
    """Read an order of POST /fapi/v1/order. Conditional types have moved to the algo endpoint (-4120)."""
    symbol = symbol_of(values)
    side = read.one_of(values, "side", SIDES, -1117, "Invalid side.")
    kind = read.one_of(values, "type", PLAIN | CONDITIONAL, -1116, "Invalid orderType.")
    if kind in CONDITIONAL and not allow_conditional:
        raise Rejection(
            -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
        )
    order = SimOrder(
        order_id=order_id, account=account.name, symbol=symbol, side=side, type=kind, quantity=ZERO,
        client_order_id=client_id(values, "newClientOrderId") or f"sim{order_id}", created_ms=now_ms,
        updated_ms=now_ms,
    )
    _common(values, order, account, prices)
    if kind in CONDITIONAL:
        _conditional(values, order, trigger="stopPrice", activate="activationPrice")
    elif read.boolean(values, "closePosition"):
        raise not_required("closePosition")
    if not order.close_position:
        _quantity(values, order)
    _check_notional(order, prices)
    return order


def algo_order(values: Values, order_id: int, account: SimAccount, prices: Prices, now_ms: int) -> SimOrder:
    """Read a conditional order of POST /fapi/v1/algoOrder."""
    if read.text(values, "algoType") != "CONDITIONAL":
        raise Rejection(-1130, "Data sent for parameter 'algoType' is not valid.")
    symbol = symbol_of(values)
    side = read.one_of(values, "side", SIDES, -1117, "Invalid side.")
    kind = read.one_of(values, "type", CONDITIONAL, -1116, "Invalid orderType.")
    order = SimOrder(
        order_id=order_id, account=account.name, symbol=symbol, side=side, type=kind, quantity=ZERO,
        client_order_id=client_id(values, "clientAlgoId") or f"sim{order_id}", created_ms=now_ms,
        updated_ms=now_ms, is_algo=True,
    )
    _common(values, order, account, prices)
    _conditional(values, order, trigger="triggerPrice", activate="activatePrice")
    if not order.close_position:
        _quantity(values, order)
    _check_notional(order, prices)
    return order


def _common(values: Values, order: SimOrder, account: SimAccount, prices: Prices) -> None:
    _position_side(values, order, account)
    if order.type in PRICED:
        _price(values, order, prices)
        default = "GTC" if order.type in CONDITIONAL else None
        _time_in_force(values, order, default)
    else:
        for name in ("price", "priceMatch"):
            if values.get(name) not in (None, "", "NONE", "0"):
                raise not_required(name)
        if values.get("timeInForce") and order.type == "MARKET":
            raise not_required("timeInForce")
    working = values.get("workingType")
    if working and working not in WORKING_TYPES:
        raise Rejection(-4115 if order.is_algo else -1130, "Invalid workingType.")
    order.working_type = working or "CONTRACT_PRICE"
    order.price_protect = read.boolean(values, "priceProtect")
    mode = values.get("selfTradePreventionMode") or "NONE"
    if mode not in PREVENTION_MODES:
        raise Rejection(-1130, "Data sent for parameter 'selfTradePreventionMode' is not valid.")
    order.prevention_mode = mode


def _position_side(values: Values, order: SimOrder, account: SimAccount) -> None:
    side = values.get("positionSide") or "BOTH"
    if side not in POSITION_SIDES:
        raise Rejection(-1118 if side == "" else -4060, "Invalid position side.")
    if (side == "BOTH") == account.hedge_mode:
        raise Rejection(-4061, "Order's position side does not match user's setting.")
    order.position_side = side
    if values.get("reduceOnly"):
        order.reduce_only = read.boolean(values, "reduceOnly")
        # In hedge mode the position side alone says whether an order opens or closes.
        if account.hedge_mode:
            raise not_required("reduceOnly")


def _time_in_force(values: Values, order: SimOrder, default: str | None) -> None:
    value = values.get("timeInForce") or default
    if value is None:
        raise missing("timeInForce")
    if value not in TIMES_IN_FORCE:
        raise Rejection(-1115, "Invalid timeInForce.")
    order.time_in_force = value
    if value == "GTD":
        order.good_till_ms = read.integer(values, "goodTillDate")
        if order.good_till_ms <= order.created_ms + 600_000:
            raise Rejection(-4196, "goodTillDate must be at least 600 seconds in the future.")


def _price(values: Values, order: SimOrder, prices: Prices) -> None:
    symbol, quote = order.symbol, prices.quote(order.symbol)
    match = values.get("priceMatch")
    if match and match != "NONE":
        found = PRICE_MATCHES.get(match)
        if found is None:
            raise Rejection(-1130, "Data sent for parameter 'priceMatch' is not valid.")
        if values.get("price"):
            raise not_required("price")
        whose, levels = found
        takes_ask = (order.side == "BUY") == (whose == "OPPONENT")
        order.price = quote.ask + levels * symbol.tick if takes_ask else quote.bid - levels * symbol.tick
        order.price_match = match
        return
    price = read.decimal(values, "price")
    if not price > 0:
        raise Rejection(-4001, "Price less than 0.")
    order.price = price
    check_price(order, prices)


def check_price(order: SimOrder, prices: Prices) -> None:
    """PRICE_FILTER and PERCENT_PRICE."""
    symbol, price, mark = order.symbol, order.price, prices.mark(order.symbol.name)
    _precise(price, symbol.price_precision)
    if price > symbol.price_max:
        raise Rejection(-4002, "Price greater than max price.")
    if price < symbol.price_min:
        raise Rejection(-4013, "Price less than min price.")
    if price % symbol.tick:
        raise Rejection(-4014, "Price not increased by tick size.")
    if order.side == "BUY" and price > mark * symbol.multiplier_up:
        raise Rejection(-4016, f"Limit price can't be higher than {mark * symbol.multiplier_up:f}.")
    if order.side == "SELL" and price < mark * symbol.multiplier_down:
        raise Rejection(-4024, f"Limit price can't be lower than {mark * symbol.multiplier_down:f}.")


def _quantity(values: Values, order: SimOrder) -> None:
    check_quantity(order, read.decimal(values, "quantity"))


def check_quantity(order: SimOrder, quantity: Decimal) -> None:
    """LOT_SIZE and MARKET_LOT_SIZE; sets the order's quantity."""
    symbol = order.symbol
    if not quantity > 0:
        raise Rejection(-4003, "Quantity less than or equal to zero.")
    _precise(quantity, symbol.quantity_precision)
    is_market = order.type not in PRICED
    if quantity > (symbol.market_quantity_max if is_market else symbol.quantity_max):
        raise Rejection(-4005, "Quantity greater than max quantity.")
    if quantity < symbol.quantity_min:
        raise Rejection(-4004, "Quantity less than min quantity.")
    if quantity % symbol.step:
        raise Rejection(-4023, "Quantity not increased by step size.")
    order.quantity = quantity


def _conditional(values: Values, order: SimOrder, *, trigger: str, activate: str) -> None:
    symbol = order.symbol
    if order.type == "TRAILING_STOP_MARKET":
        rate = read.decimal(values, "callbackRate")
        if not Decimal("0.1") <= rate <= 10:
            raise Rejection(-2007, "Invalid callBack rate")
        order.callback_rate = rate
        order.activate_price = read.optional_decimal(values, activate) or ZERO
    else:
        order.stop_price = read.decimal(values, trigger)
        if not order.stop_price > 0:
            raise Rejection(-4006, "Stop price less than zero.")
        _precise(order.stop_price, symbol.price_precision)
        if order.stop_price % symbol.tick:
            raise Rejection(-4014, "Price not increased by tick size.")
    if read.boolean(values, "closePosition"):
        if order.type not in CLOSING:
            raise Rejection(-4136, f"Target strategy invalid for orderType {order.type}, closePosition true")
        if values.get("quantity"):
            raise Rejection(-4137, "Quantity must be zero with closePosition equals true")
        if values.get("reduceOnly"):
            raise not_required("reduceOnly")
        order.close_position = True


def _check_notional(order: SimOrder, prices: Prices) -> None:
    if order.reduce_only or order.close_position:
        return
    price = order.price or order.stop_price or prices.mark(order.symbol.name)
    if order.quantity * price < order.symbol.notional_min:
        raise Rejection(
            -4164,
            f"Order's notional must be no smaller than {order.symbol.notional_min:f} (unless you choose reduce only).",
        )


def _precise(value: Decimal, digits: int) -> None:
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -digits:
        raise Rejection(-1111, "Precision is over the maximum defined for this asset.")
