"""T5: several requests in one write. Each is its own request with its own verdict. For a socket."""

from tests.threats.corpus import JUDGED_BY_GATE, PASSED_ON, REFUSED, Case, form, http

_SMALL = http("POST", body=form(quantity="0.001"))
_LARGE = http("POST", body=form(quantity="1000"))
_READ = http("GET", "/api/v3/time")
_CANCEL = http("DELETE", "/api/v3/order?symbol=BTCUSDT&orderId=1")
_BAD = http("POST", "/api/v3//order")
_EACH = "one verdict per request"

CASES = (
    Case("two orders", _SMALL + _SMALL, JUDGED_BY_GATE, _EACH),
    Case("small then large", _SMALL + _LARGE, JUDGED_BY_GATE, _EACH),
    Case("large then small", _LARGE + _SMALL, JUDGED_BY_GATE, _EACH),
    Case("ten orders", _SMALL * 10, JUDGED_BY_GATE, _EACH),
    Case("ten cancels", _CANCEL * 10, PASSED_ON, _EACH),
    Case("ten reads", _READ * 10, PASSED_ON, _EACH),
    Case("read then cancel", _READ + _CANCEL, PASSED_ON, _EACH),
    Case("two odd ones", _BAD + _BAD, REFUSED, _EACH),
    Case("odd then tunnelled", _BAD + http("CONNECT", "fapi.binance.com:443", form()), REFUSED, _EACH),
    Case("blank lines between", _SMALL + b"\r\n\r\n" + _SMALL, JUDGED_BY_GATE, "blank lines are skipped"),
    Case("order inside a read's body", http("GET", "/api/v3/time", _LARGE, content_type=None,
         headers=((b"Content-Length", b"%d" % len(_LARGE)),)).replace(b"\r\nContent-Length: 0", b""), REFUSED,
         "a GET with a body"),
    Case("half an order after another", _BAD + _LARGE[:40], REFUSED, "the second request never ends"),
)
