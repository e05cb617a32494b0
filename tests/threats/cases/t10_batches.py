"""T10: several orders in one request. Every leg is read, or the whole request is refused."""

import json
from urllib.parse import quote

from tests.threats.corpus import JUDGED_BY_GATE, REFUSED, Case, http

LEG = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "60000"}
MODIFICATION = {"symbol": "BTCUSDT", "side": "BUY", "orderId": 1, "quantity": "1", "price": "60000"}
_TAIL = b"&timestamp=1700000000000&signature=" + b"a" * 64
_WHY = "one bad leg among good ones refuses all"


def encoded(legs: object) -> bytes:
    """The parameter as a client that writes compact JSON sends it."""
    return b"batchOrders=" + quote(json.dumps(legs, separators=(",", ":")), safe="").encode("ascii") + _TAIL


def batch(legs: object, method: str = "POST") -> bytes:
    """A batch request."""
    return http(method, "/fapi/v1/batchOrders", encoded(legs))


def _bad(name: str, **changes: object) -> Case:
    leg = {key: value for key, value in {**LEG, **changes}.items() if value != "absent"}
    return Case(f"third leg: {name}", batch([LEG, LEG, leg, LEG, LEG]), REFUSED, _WHY)


_RAW = encoded([LEG])
CASES = (
    *(Case(f"{count} legs", batch([LEG] * count), JUDGED_BY_GATE, "one to five") for count in (1, 2, 5)),
    *(Case(f"{count} legs", batch([LEG] * count), REFUSED, "one to five") for count in (0, 6, 50)),
    _bad("no quantity", quantity="absent"),
    _bad("no symbol", symbol="absent"),
    _bad("no side", side="absent"),
    _bad("no type", type="absent"),
    _bad("no price", price="absent"),
    _bad("quantity NaN", quantity="NaN"),
    _bad("quantity 0", quantity="0"),
    _bad("quantity negative", quantity=-1),
    _bad("quantity as true", quantity=True),
    _bad("quantity null", quantity=None),
    _bad("quantity in a list", quantity=["1"]),
    _bad("quantity in exponent", quantity=1e-05),
    _bad("side lower case", side="buy"),
    _bad("unknown parameter", leverage=125),
    _bad("signature inside", signature="a" * 64),
    _bad("timestamp inside", timestamp="1700000000000"),
    _bad("nested batch", batchOrders="[]"),
    _bad("symbol lower case", symbol="btcusdt"),
    _bad("close and quantity", type="STOP_MARKET", stopPrice="1", price="absent", closePosition="true"),
    _bad("reduce only in capitals", reduceOnly="TRUE"),
    Case("numbers as numbers", batch([{**LEG, "quantity": 1, "price": 60000.5}]), JUDGED_BY_GATE, "as written"),
    Case("truth as truth", batch([{**LEG, "reduceOnly": True}]), JUDGED_BY_GATE, "as written"),
    Case("object for a list", batch(LEG), REFUSED, "not a list"),
    Case("list in a list", batch([[LEG]]), REFUSED, "not an order"),
    Case("text in a list", batch([json.dumps(LEG)]), REFUSED, "not an order"),
    Case("encoded twice", http("POST", "/fapi/v1/batchOrders", b"batchOrders=" + quote(
        quote(json.dumps([LEG]), safe=""), safe="").encode("ascii") + _TAIL), REFUSED, "readers differ in how often"),
    Case("JSON text of JSON text", batch(json.dumps([LEG])), REFUSED, "not a list"),
    Case("batch twice", http("POST", "/fapi/v1/batchOrders", _RAW + b"&" + encoded([LEG])[:-len(_TAIL)]), REFUSED,
         "two lists"),
    Case("batch in query and body", http("POST", b"/fapi/v1/batchOrders?" + encoded([LEG])[:-len(_TAIL)], _RAW),
         REFUSED, "two lists"),
    Case("BatchOrders beside it", http("POST", "/fapi/v1/batchOrders", _RAW + b"&BatchOrders=[]"), REFUSED,
         "look-alike"),
    Case("order parameters beside it", http("POST", "/fapi/v1/batchOrders", _RAW + b"&quantity=1000"), REFUSED,
         "not a parameter of this endpoint"),
    Case("batch on the order endpoint", http("POST", "/fapi/v1/order", _RAW), REFUSED, "not a parameter there"),
    Case("no batch", http("POST", "/fapi/v1/batchOrders", b"timestamp=1"), REFUSED, "nothing to judge"),
    Case("over 16 KiB", batch([{**LEG, "newClientOrderId": "a" * 17000}]), REFUSED, "more than five orders can need"),
    Case("spaces as plus", http("POST", "/fapi/v1/batchOrders", _RAW.replace(b"%3A", b"%3A+")), JUDGED_BY_GATE,
         "Python clients write a space after the colon"),
    Case("modifications", batch([MODIFICATION] * 5, "PUT"), JUDGED_BY_GATE, "each like a new order"),
    Case("modification without id", batch([MODIFICATION, {**LEG}], "PUT"), REFUSED, _WHY),
    Case("modification without quantity", batch([{**MODIFICATION, "quantity": ""}], "PUT"), REFUSED, _WHY),
    Case("six modifications", batch([MODIFICATION] * 6, "PUT"), REFUSED, "one to five"),
)
