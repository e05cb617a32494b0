"""Spot orders, lists and amendments read into instructions."""

from decimal import Decimal

import pytest

from proxy.errors import OrderNotUnderstood
from rules import Market, Order, OrderType, QuantityCut, Replaced, ReplaceMode, Side
from tests.proxy.exchanges.orders import LIMIT, one, parse

ORDER = "POST /api/v3/order"
NO_PRICE = "price timeInForce"


def test_a_limit_order_is_read_whole():
    """Every field of the plain order arrives, none is made up."""
    assert one(ORDER, newClientOrderId="a-1", icebergQty="0.5") == Order(
        symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.SPOT, quantity=Decimal(2),
        price=Decimal(60000), time_in_force="GTC", client_order_id="a-1", iceberg_quantity=Decimal("0.5"),
    )


@pytest.mark.parametrize(
    ("drop", "changes", "order_type", "price", "trigger"),
    [
        ("timeInForce", {"type": "LIMIT_MAKER"}, OrderType.LIMIT, "60000", None),
        (NO_PRICE, {"type": "MARKET"}, OrderType.MARKET, None, None),
        (NO_PRICE, {"type": "STOP_LOSS", "stopPrice": "5"}, OrderType.STOP_MARKET, None, "5"),
        ("", {"type": "STOP_LOSS_LIMIT", "stopPrice": "5"}, OrderType.STOP_LIMIT, "60000", "5"),
        (NO_PRICE, {"type": "TAKE_PROFIT", "stopPrice": "5"}, OrderType.TAKE_PROFIT_MARKET, None, "5"),
        ("", {"type": "TAKE_PROFIT_LIMIT", "stopPrice": "5"}, OrderType.TAKE_PROFIT_LIMIT, "60000", "5"),
    ],
)
def test_each_type_has_its_prices(drop, changes, order_type, price, trigger):
    """The venue's seven types become ours, with the prices they take."""
    order = one(ORDER, drop=drop, **changes)
    assert (order.type, order.price, order.trigger_price) == (
        order_type, price and Decimal(price), trigger and Decimal(trigger)
    )


def test_a_trailing_delta_is_in_basis_points():
    """A delta of 150 follows the market at 1.5 %, and a stop price starts it."""
    order = one(ORDER, drop=NO_PRICE, type="STOP_LOSS", trailingDelta="150", stopPrice="70000")
    assert (order.type, order.callback_rate, order.activation_price, order.trigger_price) == (
        OrderType.TRAILING_STOP, Decimal("0.015"), Decimal(70000), None
    )


def test_a_quote_amount_is_kept_in_quote_currency():
    """A market order for 100 of the quote states no base quantity."""
    order = one(ORDER, drop=f"{NO_PRICE} quantity", type="MARKET", quoteOrderQty="100")
    assert (order.quantity, order.quote_quantity) == (None, Decimal(100))


def test_an_iceberg_of_0_is_none():
    """Some clients send a zero where they mean nothing."""
    assert one(ORDER, icebergQty="0.0").iceberg_quantity is None


def test_a_pegged_order_follows_the_book():
    """The venue picks the price; one that is sent is kept."""
    order = one(ORDER, drop="price", pegPriceType="PRIMARY_PEG")
    assert (order.price_follows_book, order.price) == (True, None)


@pytest.mark.parametrize("mode", ["STOP_ON_FAILURE", "ALLOW_FAILURE"])
def test_cancel_replace_names_what_it_replaces(mode):
    """The new order carries the old one's name and what happens if the cancel fails."""
    order = one("POST /api/v3/order/cancelReplace", cancelReplaceMode=mode, cancelOrderId="77")
    assert order.replaces == Replaced(mode=ReplaceMode(mode), order_id="77")


@pytest.mark.parametrize(
    "changes",
    [
        {"cancelReplaceMode": "STOP_ON_FAILURE"}, {"cancelOrderId": "1"},
        {"cancelReplaceMode": "AMEND", "cancelOrderId": "1"},
        {"cancelReplaceMode": "ALLOW_FAILURE", "cancelOrderId": "1x"},
    ],
)
def test_a_cancel_replace_that_says_too_little_is_refused(changes):
    """Mode and name of the old order are needed, exactly."""
    with pytest.raises(OrderNotUnderstood):
        one("POST /api/v3/order/cancelReplace", **changes)


def test_keep_priority_only_cuts():
    """The amendment is a cut, not an order."""
    base = {"symbol": "BTCUSDT", "newQty": "0.5", "origClientOrderId": "a", "newClientOrderId": "b"}
    assert one("PUT /api/v3/order/amend/keepPriority", base) == QuantityCut(
        symbol="BTCUSDT", market=Market.SPOT, quantity=Decimal("0.5"),
        replaces=Replaced(mode=ReplaceMode.AMEND, client_order_id="a"),
    )


# --- lists -------------------------------------------------------------------------------------

OCO = {
    "symbol": "BTCUSDT", "side": "SELL", "quantity": "3", "aboveType": "LIMIT_MAKER", "abovePrice": "70000",
    "belowType": "STOP_LOSS_LIMIT", "belowPrice": "49000", "belowStopPrice": "50000", "belowTimeInForce": "GTC",
}
WORKING = {
    "symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingPrice": "60000", "workingQuantity": "3",
    "workingTimeInForce": "GTC", "pendingSide": "SELL",
}
PENDING = {"pendingType": "STOP_LOSS", "pendingStopPrice": "50000"}
PENDING_BOTH = {
    "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "70000", "pendingBelowType": "STOP_LOSS",
    "pendingBelowStopPrice": "50000",
}


def shape(parsed):
    """What relates the orders of a list: type, side, quantity, group, and what each waits for."""
    return [
        (order.type.value, order.side.value, order.quantity, order.group, order.pending_on)
        for order in parsed.instructions
    ]


def test_an_old_oco_is_a_maker_and_a_stop():
    """Its two legs have no types of their own."""
    base = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "3", "price": "70000", "stopPrice": "50000"}
    assert shape(parse("POST /api/v3/order/oco", base)) == [
        ("LIMIT", "SELL", 3, 0, None), ("STOP_MARKET", "SELL", 3, 0, None),
    ]
    limited = parse("POST /api/v3/order/oco", base, stopLimitPrice="49000", stopLimitTimeInForce="GTC")
    assert limited.instructions[1].price == 49000
    assert limited.instructions[1].type is OrderType.STOP_LIMIT


def test_an_oco_excludes_itself():
    """Both legs have one size and one group."""
    parsed = parse("POST /api/v3/orderList/oco", OCO, aboveClientOrderId="up")
    assert shape(parsed) == [("LIMIT", "SELL", 3, 0, None), ("STOP_LIMIT", "SELL", 3, 0, None)]
    assert [order.client_order_id for order in parsed.instructions] == ["up", None]


def test_an_oto_waits_for_its_working_order():
    """The pending order has its own size and waits for the first."""
    parsed = parse("POST /api/v3/orderList/oto", {**WORKING, **PENDING}, pendingQuantity="2")
    assert shape(parsed) == [("LIMIT", "BUY", 3, None, None), ("STOP_MARKET", "SELL", 2, None, 0)]


def test_an_otoco_waits_and_excludes():
    """Both pending legs wait for the first and exclude each other."""
    parsed = parse("POST /api/v3/orderList/otoco", {**WORKING, **PENDING_BOTH}, pendingQuantity="2")
    assert shape(parsed) == [
        ("LIMIT", "BUY", 3, None, None), ("LIMIT", "SELL", 2, 0, 0), ("STOP_MARKET", "SELL", 2, 0, 0),
    ]


def test_what_an_opo_sells_is_what_it_bought():
    """The pending legs have the working order's quantity."""
    assert shape(parse("POST /api/v3/orderList/opo", {**WORKING, **PENDING}))[1][2] == 3
    assert [row[2] for row in shape(parse("POST /api/v3/orderList/opoco", {**WORKING, **PENDING_BOTH}))] == [3, 3, 3]


@pytest.mark.parametrize(
    ("endpoint", "base", "drop", "changes"),
    [
        ("oco", OCO, "belowType", {}), ("oco", OCO, "belowStopPrice", {}), ("oco", OCO, "quantity", {}),
        ("oco", OCO, "", {"aboveType": "MARKET"}), ("oco", OCO, "", {"aboveType": "LIMIT"}),
        ("oco", OCO, "", {"aboveStopPrice": "1"}), ("oco", OCO, "", {"price": "1"}),
        ("oto", {**WORKING, **PENDING}, "", {}), ("oto", {**WORKING, **PENDING}, "", {"pendingQuantity": "0"}),
        ("oto", {**WORKING, **PENDING}, "", {"pendingQuantity": "1", "workingType": "MARKET"}),
        ("oto", {**WORKING, **PENDING}, "pendingSide", {"pendingQuantity": "1"}),
        ("otoco", {**WORKING, **PENDING_BOTH}, "pendingAboveType", {"pendingQuantity": "1"}),
        ("otoco", {**WORKING, **PENDING_BOTH}, "pendingBelowType", {"pendingQuantity": "1"}),
        ("opo", {**WORKING, **PENDING}, "", {"workingSide": "SELL"}),
        ("opo", {**WORKING, **PENDING}, "", {"pendingSide": "BUY"}),
        ("opo", {**WORKING, **PENDING}, "", {"pendingQuantity": "5"}),
        ("opoco", {**WORKING, **PENDING_BOTH}, "", {"pendingSide": "BUY"}),
    ],
)
def test_a_list_that_misses_or_contradicts_is_refused(endpoint, base, drop, changes):
    """Every leg is complete, or none is read."""
    with pytest.raises(OrderNotUnderstood):
        parse(f"POST /api/v3/orderList/{endpoint}", base, drop, **changes)


@pytest.mark.parametrize(
    ("drop", "changes"),
    [
        ("quantity", {}), ("symbol", {}), ("side", {}), ("type", {}), ("", {"quantity": "0"}), ("", {"side": "LONG"}),
        ("", {"type": "limit"}), ("", {"type": "STOP_MARKET"}), ("", {"symbol": "btcusdt"}), ("", {"symbol": "B"}),
        ("", {"symbol": "A" * 31}), ("", {"timeInForce": "gtc"}), ("", {"newClientOrderId": "a b"}),
        ("", {"icebergQty": "-1"}), ("", {"leverage": "5"}), ("", {"positionSide": "LONG"}),
        ("", {"recvWindow": ""}), ("", {"newOrderRespType": ""}),
    ],
)
def test_an_order_that_misses_or_contradicts_is_refused(drop, changes):
    """What is not exactly an order of the venue is none."""
    assert set(drop.split()) <= set(LIMIT)
    with pytest.raises(OrderNotUnderstood):
        one(ORDER, drop=drop, **changes)
