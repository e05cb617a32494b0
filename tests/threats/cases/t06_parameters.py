"""T6: parameters that two readers could pick differently, and spellings of names and values."""

from tests.threats.corpus import (
    JUDGED_BY_GATE,
    REFUSED,
    SIGNATURE,
    Case,
    form,
    http,
    with_raw,
)

_ORDER = form()
_TWICE = "a parameter that stands twice is read by one side first and by the other last"
_NAME = "a name is plain ASCII and known"


def _body(name: str, body: bytes, why: str, expect: str = REFUSED) -> Case:
    return Case(name, http("POST", body=body), expect, why)


def _both(name: str, query: bytes, body: bytes, expect: str = REFUSED, why: str = _TWICE) -> Case:
    return Case(name, http("POST", b"/api/v3/order?" + query, body), expect, why)


_CRITICAL = ("symbol", "side", "type", "quantity", "price", "timeInForce", "timestamp", "signature")
DUPLICATES = (
    *(_body(f"{name} twice, same", _ORDER + b"&" + name.encode() + b"=" + form().split(name.encode() + b"=")[1]
            .split(b"&")[0], _TWICE) for name in _CRITICAL),
    *(_body(f"{name} twice, other", _ORDER + b"&" + name.encode() + b"=0.1", _TWICE) for name in _CRITICAL),
    *(_both(f"{name} in query and body", name.encode() + b"=0.1", _ORDER) for name in _CRITICAL),
    _both("whole order twice", _ORDER, _ORDER),
    _body("Quantity", _ORDER + b"&Quantity=1000", _TWICE),
    _body("QUANTITY first", b"QUANTITY=1000&" + _ORDER, _TWICE),
    _body("Quantity alone", form(drop=("quantity",)) + b"&Quantity=1000", _NAME),
    _body("quantity[]", _ORDER + b"&quantity[]=1000", _NAME),
    _body("quantity[0]", _ORDER + b"&quantity[0]=1000", _NAME),
    _body("quantity.", _ORDER + b"&quantity.=1000", _NAME),
    _body("quantity_", _ORDER + b"&quantity_=1000", _NAME),
    _body(" quantity", _ORDER + b"&+quantity=1000", _NAME),
    _body("quantity ", _ORDER + b"&quantity+=1000", _NAME),
    _body("quantity%20", _ORDER + b"&quantity%20=1000", _NAME),
    _body("quantity%00", _ORDER + b"&quantity%00=1000", _NAME),
    _body("qty", _ORDER + b"&qty=1000", _NAME),
    _body("icebergQty twice", form(icebergQty="0.1") + b"&icebergQty=0.2", _TWICE),
    _body("quoteOrderQty beside quantity", form(quoteOrderQty="100"), "two sizes"),
    _body("a third copy", _ORDER + b"&quantity=1&quantity=1", _TWICE),
    _both("split between query and body", b"symbol=BTCUSDT&side=BUY", form(drop=("symbol", "side")), JUDGED_BY_GATE,
          "mixed is documented"),
    _both("signature in the query", b"signature=" + SIGNATURE.encode(), form(drop=("signature",)), JUDGED_BY_GATE,
          "the signature may stand in either place"),
    _body("_method", _ORDER + b"&_method=DELETE", "a method override"),
    _both("_method in the query", b"_method=DELETE", _ORDER, why="a method override"),
    _body("sixty-one parameters", b"&".join(b"a%d=1" % index for index in range(61)), "more than an order can need"),
)


def _spelled(name: str, raw: bytes, expect: str = REFUSED, why: str = "not the exact value") -> Case:
    return _body(name, raw, why, expect)


ENCODING = (
    _spelled("name encoded", _ORDER.replace(b"quantity=", b"%71uantity="), why=_NAME),
    _spelled("name encoded beside the plain one", _ORDER + b"&%71uantity=1000", why=_NAME),
    _spelled("name over-encoded", _ORDER + b"&%2571uantity=1000", why=_NAME),
    _spelled("name full width", _ORDER + b"&%EF%BD%91uantity=1000", why=_NAME),
    _spelled("name in raw UTF-8", _ORDER + "&quantitу=1000".encode(), why=_NAME),
    _spelled("name empty", _ORDER + b"&=1000", why=_NAME),
    _spelled("semicolon", _ORDER.replace(b"&price", b";price"), why="some readers separate with it"),
    _spelled("semicolon added", _ORDER + b";quantity=1000", why="some readers separate with it"),
    _spelled("encoded ampersand", with_raw("quantity", b"1%26quantity=1000")),
    _spelled("encoded ampersand and equals", with_raw("quantity", b"1%26quantity%3D1000")),
    _spelled("empty pair", _ORDER.replace(b"&price", b"&&price"), why="an empty pair"),
    _spelled("leading ampersand", b"&" + _ORDER, why="an empty pair"),
    _spelled("trailing ampersand", _ORDER + b"&", why="an empty pair"),
    _spelled("no equals", _ORDER + b"&quantity", why="a pair without a value"),
    _spelled("two equals", with_raw("quantity", b"1=1000"), why="two readings of one pair"),
    _spelled("empty value", with_raw("quantity", b""), why="an empty value"),
    _spelled("percent at the end", with_raw("quantity", b"1%"), why="an invalid escape"),
    _spelled("percent and one digit", with_raw("quantity", b"1%3"), why="an invalid escape"),
    _spelled("percent and letters", with_raw("quantity", b"1%zz"), why="an invalid escape"),
    _spelled("percent u", with_raw("quantity", b"%u0031"), why="an invalid escape"),
    _spelled("double encoding", with_raw("quantity", b"%2531")),
    _spelled("overlong UTF-8", with_raw("symbol", b"BTC%C1%95SDT"), why="overlong UTF-8"),
    _spelled("lone surrogate", with_raw("symbol", b"%ED%A0%80BTC"), why="not UTF-8"),
    _spelled("latin-1 byte", with_raw("symbol", b"BTC%FF"), why="not UTF-8"),
    _spelled("NUL", with_raw("symbol", b"BTCUSDT%00"), why="a control character"),
    _spelled("line break", with_raw("symbol", b"BTCUSDT%0A"), why="a control character"),
    _spelled("zero width space", with_raw("symbol", b"BTC%E2%80%8BUSDT"), why="an invisible character"),
    _spelled("full width symbol", with_raw("symbol", b"%EF%BC%A2TCUSDT")),
    _spelled("cyrillic letter", with_raw("symbol", b"BT%D0%A1USDT")),
    _spelled("lower-case symbol", with_raw("symbol", b"btcusdt")),
    _spelled("space in side", with_raw("side", b"BUY+")),
    _spelled("lower-case side", with_raw("side", b"buy")),
    _spelled("raw space", with_raw("side", b"BUY ")),
    _spelled("raw UTF-8", with_raw("symbol", "ВTC".encode())),
    _spelled("raw NUL", with_raw("symbol", b"BTC\0")),
    _spelled("raw line break", with_raw("symbol", b"BTCUSDT\r\n")),
    _spelled("encoded digits", with_raw("quantity", b"%31"), JUDGED_BY_GATE, "one reading only"),
    _spelled("lower-case hex", with_raw("quantity", b"0%2e5"), JUDGED_BY_GATE, "one reading only"),
    _spelled("encoded letters", with_raw("symbol", b"%42TCUSDT"), JUDGED_BY_GATE, "one reading only"),
)

CASES = DUPLICATES + ENCODING
