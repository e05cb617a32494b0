"""USDⓈ-M orders, batches, modifications and margin changes read into instructions."""

import json
from decimal import Decimal

import pytest

from proxy.errors import OrderNotUnderstood
from rules import (
    Bucket,
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
from tests.proxy.exchanges.orders import LIMIT, one, parse

ORDER, ALGO = "POST /fapi/v1/order", "POST /fapi/v1/algoOrder"
NO_PRICE = "price timeInForce"


def test_a_limit_order_is_read_whole():
    """Every field of the plain order arrives, none is made up."""
    assert one(ORDER, positionSide="SHORT", newClientOrderId="a", goodTillDate="1800000000000") == Order(
        symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=Decimal(2),
        price=Decimal(60000), time_in_force="GTC", bucket=Bucket.SHORT, client_order_id="a",
    )


@pytest.mark.parametrize(
    ("venue_type", "drop", "order_type"),
    [
        ("STOP", "", OrderType.STOP_LIMIT), ("STOP_MARKET", NO_PRICE, OrderType.STOP_MARKET),
        ("TAKE_PROFIT", "", OrderType.TAKE_PROFIT_LIMIT),
        ("TAKE_PROFIT_MARKET", NO_PRICE, OrderType.TAKE_PROFIT_MARKET),
    ],
)
def test_conditional_orders_are_read_from_both_endpoints(venue_type, drop, order_type):
    """The older endpoint calls the trigger stopPrice, the algo endpoint triggerPrice."""
    old = one(ORDER, drop=drop, type=venue_type, stopPrice="5", newClientOrderId="a", workingType="MARK_PRICE")
    new = one(ALGO, drop=drop, type=venue_type, triggerPrice="5", clientAlgoId="a", algoType="CONDITIONAL")
    assert old == new
    assert (new.type, new.trigger_price) == (order_type, 5)


def test_a_callback_rate_is_in_percent():
    """A rate of 1.5 follows the market at 1.5 %, on both endpoints."""
    old = one(ORDER, drop=NO_PRICE, type="TRAILING_STOP_MARKET", callbackRate="1.5", activationPrice="7")
    new = one(
        ALGO, drop=NO_PRICE, type="TRAILING_STOP_MARKET", callbackRate="1.5", activatePrice="7", algoType="CONDITIONAL"
    )
    assert old == new
    assert (old.type, old.callback_rate, old.activation_price) == (OrderType.TRAILING_STOP, Decimal("0.015"), 7)


def test_close_position_has_no_size():
    """It closes whatever there is, in the bucket it names."""
    order = one(
        ALGO, drop=f"{NO_PRICE} quantity", side="SELL", type="STOP_MARKET", triggerPrice="5", closePosition="true",
        positionSide="LONG", algoType="CONDITIONAL",
    )
    assert (order.close_position, order.quantity, order.bucket) == (True, None, Bucket.LONG)


@pytest.mark.parametrize(
    ("endpoint", "drop", "changes"),
    [
        (ALGO, "", {"algoType": "TWAP"}), (ALGO, "", {}), (ALGO, "", {"algoType": "CONDITIONAL"}),
        (ALGO, "", {"algoType": "CONDITIONAL", "type": "STOP", "stopPrice": "5"}),
        (ALGO, NO_PRICE, {"algoType": "CONDITIONAL", "type": "MARKET"}),
        (ORDER, "", {"type": "STOP", "triggerPrice": "5"}), (ORDER, "quantity", {}), (ORDER, "", {"stopPrice": "5"}),
        (ORDER, "", {"quoteOrderQty": "5"}), (ORDER, "", {"icebergQty": "5"}), (ORDER, "", {"type": "LIMIT_MAKER"}),
        (ORDER, "quantity", {"closePosition": "false"}), (ORDER, "", {"activationPrice": "1"}),
        (ORDER, NO_PRICE, {"type": "TRAILING_STOP_MARKET", "callbackRate": "0.05"}),
        (ORDER, NO_PRICE, {"type": "TRAILING_STOP_MARKET", "callbackRate": "10.1"}),
    ],
)
def test_an_order_that_misses_or_contradicts_is_refused(endpoint, drop, changes):
    """What is not exactly an order of the venue is none."""
    with pytest.raises(OrderNotUnderstood):
        one(endpoint, drop=drop, **changes)


MODIFICATION = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "4", "price": "61000", "orderId": "9"}


def test_a_modification_is_an_order_that_replaces_in_place():
    """It may grow, so it is read like a new order."""
    assert one("PUT /fapi/v1/order", MODIFICATION) == Order(
        symbol="BTCUSDT", side=Side.SELL, type=OrderType.LIMIT, market=Market.LINEAR, quantity=Decimal(4),
        price=Decimal(61000), replaces=Replaced(mode=ReplaceMode.AMEND, order_id="9"),
    )


@pytest.mark.parametrize("drop", ["quantity", "side", "price", "orderId", "symbol"])
def test_a_modification_that_says_too_little_is_refused(drop):
    """Quantity, side, price and the order's name are all needed."""
    with pytest.raises(OrderNotUnderstood):
        one("PUT /fapi/v1/order", MODIFICATION, drop=drop)


def test_a_batch_is_read_leg_by_leg():
    """Texts, numbers and truth values as they stand; the legs keep their order."""
    legs = [LIMIT, {**LIMIT, "quantity": 0.125, "reduceOnly": True}, {**LIMIT, "newClientOrderId": "c"}]
    parsed = parse("POST /fapi/v1/batchOrders", {"batchOrders": json.dumps(legs)})
    assert [(leg.quantity, leg.reduce_only) for leg in parsed.instructions] == [
        (2, False), (Decimal("0.125"), True), (2, False),
    ]
    assert [order.client_order_id for order in parsed.instructions] == [None, None, "c"]


def test_a_bad_leg_is_named_by_its_position():
    """A bot's author reads which of the orders was wrong."""
    legs = [LIMIT, {**LIMIT, "quantity": "NaN"}]
    with pytest.raises(OrderNotUnderstood, match="order 2 of the batch: quantity"):
        parse("POST /fapi/v1/batchOrders", {"batchOrders": json.dumps(legs)})


def test_a_batch_of_modifications_is_read_leg_by_leg():
    """Each like a single modification; ids may be numbers."""
    legs = [{**MODIFICATION, "orderId": 9}, MODIFICATION]
    first, second = parse("PUT /fapi/v1/batchOrders", {"batchOrders": json.dumps(legs)}).instructions
    assert first == second == one("PUT /fapi/v1/order", MODIFICATION)


@pytest.mark.parametrize(
    ("endpoint", "values", "instruction"),
    [
        ("leverage", {"symbol": "BTCUSDT", "leverage": "20"}, LeverageChange(symbol="BTCUSDT", leverage=Decimal(20))),
        ("marginType", {"symbol": "BTCUSDT", "marginType": "CROSSED"},
         MarginChange(kind=MarginKind.MARGIN_TYPE, value="CROSSED", symbol="BTCUSDT")),
        ("positionSide/dual", {"dualSidePosition": "True"}, MarginChange(kind=MarginKind.POSITION_MODE, value="true")),
        ("multiAssetsMargin", {"multiAssetsMargin": "false"},
         MarginChange(kind=MarginKind.MULTI_ASSETS_MODE, value="false")),
        ("positionMargin", {"symbol": "BTCUSDT", "amount": "5.0", "type": "1", "positionSide": "LONG"},
         MarginChange(kind=MarginKind.POSITION_MARGIN_ADD, value="5.0", symbol="BTCUSDT")),
        ("positionMargin", {"symbol": "BTCUSDT", "amount": "5", "type": "2"},
         MarginChange(kind=MarginKind.POSITION_MARGIN_REMOVE, value="5", symbol="BTCUSDT")),
    ],
)
def test_margin_changes_are_read(endpoint, values, instruction):
    """Each setting is its own instruction with the venue's word for the value."""
    assert one(f"POST /fapi/v1/{endpoint}", values) == instruction


@pytest.mark.parametrize(
    ("endpoint", "values"),
    [
        ("leverage", {"symbol": "BTCUSDT", "leverage": "0"}), ("leverage", {"symbol": "BTCUSDT", "leverage": "2.5"}),
        ("leverage", {"symbol": "BTCUSDT"}), ("leverage", {"leverage": "5"}),
        ("marginType", {"symbol": "BTCUSDT", "marginType": "cross"}), ("positionSide/dual", {"dualSidePosition": "1"}),
        ("positionMargin", {"symbol": "BTCUSDT", "amount": "5", "type": "3"}),
        ("positionMargin", {"symbol": "BTCUSDT", "amount": "-5", "type": "1"}), ("multiAssetsMargin", {}),
    ],
)
def test_margin_changes_that_are_not_exact_are_refused(endpoint, values):
    """A setting that could be read two ways is not set."""
    with pytest.raises(OrderNotUnderstood):
        one(f"POST /fapi/v1/{endpoint}", values)
