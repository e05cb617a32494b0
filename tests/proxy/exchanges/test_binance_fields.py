"""The fields that order forms share: one reading each."""

from decimal import Decimal

import pytest

from proxy.errors import OrderNotUnderstood
from proxy.exchanges import binance_fields as fields
from rules import Side


@pytest.mark.parametrize("symbol", ["BTCUSDT", "1000SHIBUSDT", "BTCUSDT_260327", "A1", "A" * 30])
def test_a_symbol_is_upper_case_ascii(symbol):
    """As the venue lists it, delivery contracts included."""
    assert fields.read_symbol({"symbol": symbol}) == symbol


@pytest.mark.parametrize(
    "symbol", ["btcusdt", "BTC/USDT", "BTC-USDT", "BTCUSDT ", "BTCUSDT\n", "ＢＴＣ", "Б1", "A", "A" * 31]
)
def test_any_other_symbol_is_refused(symbol):
    """A trailing line break is not overlooked."""
    with pytest.raises(OrderNotUnderstood):
        fields.read_symbol({"symbol": symbol})


def test_what_is_missing_is_named():
    """Each reader says which parameter it wanted."""
    for reader, name in (
        (fields.read_symbol, "symbol"), (fields.read_side, "side"),
        (lambda values: fields.required_positive(values, "newQty"), "newQty"),
    ):
        with pytest.raises(OrderNotUnderstood, match=f"{name} is missing"):
            reader({})


def test_absent_is_not_zero():
    """A number that was not sent is None; a zero is refused."""
    assert fields.read_positive({}, "price") is None
    assert fields.read_positive({"price": "0.10"}, "price") == Decimal("0.1")
    with pytest.raises(OrderNotUnderstood):
        fields.read_positive({"price": "0.00"}, "price")


@pytest.mark.parametrize("found", ["", "a b", "a\n", "é", "a" * 65, "a;b", "a=b"])
def test_a_client_id_has_the_venues_characters(found):
    """What another reader would cut or decode is no client id."""
    with pytest.raises(OrderNotUnderstood):
        fields.read_client_id({"newClientOrderId": found}, "newClientOrderId")


@pytest.mark.parametrize("found", ["", "-1", "1.0", "1e3", "0x1", "１", "1" * 21, "1\n"])
def test_an_order_id_is_digits(found):
    """ASCII digits only."""
    with pytest.raises(OrderNotUnderstood):
        fields.read_order_id({"orderId": found}, "orderId")


def test_sides_and_times_in_force_are_exact():
    """One spelling each."""
    assert fields.read_side({"side": "SELL"}) is Side.SELL
    assert fields.read_time_in_force({}, "timeInForce") is None
    assert fields.read_time_in_force({"timeInForce": "GTX"}, "timeInForce") == "GTX"
    for found in ("gtc", "DAY", ""):
        with pytest.raises(OrderNotUnderstood):
            fields.read_time_in_force({"timeInForce": found}, "timeInForce")
