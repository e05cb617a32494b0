"""What is the same order, and what is another one."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

import pytest

from proxy.exchanges import EXCHANGES
from proxy.permits import fingerprint_of
from proxy.wire import WireRequest
from rules import Caller

CALLER = Caller(account="main", exchange="binance", strategy="grid", bot="one")
ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
         "price": "59000", "newClientOrderId": "a", "timestamp": "1", "recvWindow": "5000",
         "signature": "ab"}  # fmt: skip
LEG = '{"symbol":"BTCUSDT","side":"BUY","type":"MARKET","quantity":"%s","newClientOrderId":"%s"}'
REPLACE = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "5",
           "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrigClientOrderId": "old", "cancelNewClientOrderId": "x",
           "newClientOrderId": "y", "timestamp": "1"}  # fmt: skip


def printed(values, path="/fapi/v1/order", caller=CALLER, method="POST"):
    """The fingerprint of a form."""
    head = ((b"X-MBX-APIKEY", b"k"), (b"Content-Type", b"application/x-www-form-urlencoded"))
    request = WireRequest(method, path.encode(), head, urlencode(values).encode())
    exchange = EXCHANGES[0]
    return fingerprint_of(caller, exchange.parse(request, exchange.recognise(request)))


@pytest.mark.parametrize(
    "changes", [{"newClientOrderId": "b"}, {"timestamp": "2"}, {"recvWindow": "100"}, {"signature": "cd"}]
)
def test_a_retry_is_the_same_order(changes):
    """Time, signature and the order's own name differ with every retry."""
    assert printed(ORDER | changes) == printed(ORDER)


def test_a_name_left_out_is_the_same_order():
    """Clients that name no order may name the next one."""
    assert printed({name: value for name, value in ORDER.items() if name != "newClientOrderId"}) == printed(ORDER)


@pytest.mark.parametrize("name", ["account", "exchange", "strategy", "bot"])
def test_who_asks_is_part_of_it(name):
    """The same order of another account, strategy or bot is another order."""
    assert printed(ORDER, caller=replace(CALLER, **{name: "other"})) != printed(ORDER)


@pytest.mark.parametrize(
    "changes",
    [{"symbol": "BTCUSDC"}, {"side": "SELL"}, {"quantity": "0.010"}, {"price": "59000.0"}, {"timeInForce": "IOC"},
     {"reduceOnly": "false"}, {"positionSide": "BOTH"}, {"selfTradePreventionMode": "NONE"}],
)  # fmt: skip
def test_every_other_field_is_part_of_it(changes):
    """One that is changed, written differently, or new: it is another order."""
    assert printed(ORDER | changes) != printed(ORDER)


def test_the_endpoint_is_part_of_it():
    """The same form sent as an order test is another request."""
    assert printed(ORDER, "/fapi/v1/order/test") != printed(ORDER)


def test_a_batch_counts_leg_by_leg_without_their_names():
    """Names of legs differ with every retry; sizes, order and number of legs count."""
    def batch(*legs):
        return printed({"batchOrders": f"[{','.join(LEG % leg for leg in legs)}]", "timestamp": "1"},
                       "/fapi/v1/batchOrders")  # fmt: skip

    first = batch(("1", "a"), ("2", "b"))
    assert first == batch(("1", "c"), ("2", "d"))
    assert len({first, batch(("2", "a"), ("1", "b")), batch(("1", "a")), batch(("1", "a"), ("3", "b"))}) == 4


def test_the_order_that_is_replaced_is_part_of_it():
    """To cancel another order on the way is another request; how the cancel and the new order are called is not."""
    path = "/api/v3/order/cancelReplace"
    first = printed(REPLACE, path)
    assert first == printed(REPLACE | {"newClientOrderId": "z", "cancelNewClientOrderId": "w"}, path)
    assert first != printed(REPLACE | {"cancelOrigClientOrderId": "other"}, path)
