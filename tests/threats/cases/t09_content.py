"""T9: content types, charsets, encodings and JSON that readers take differently."""

from urllib.parse import quote

from tests.threats.corpus import FUTURES_ORDER, JUDGED_BY_GATE, PASSED_ON, REFUSED, Case, form, http

_TYPES_REFUSED = [
    b"", b"text/plain", b"application/json", b"application/json;charset=utf-8", b"multipart/form-data",
    b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded; charset=utf-16",
    b"application/x-www-form-urlencoded; charset=utf-7", b"application/x-www-form-urlencoded; charset=latin1",
    b"application/x-www-form-urlencoded; charset=ibm037", b"application/x-www-form-urlencoded; charset=utf8",
    b"application/x-www-form-urlencoded; charset=",
    b"application/x-www-form-urlencoded; charset=utf-8; charset=utf-16",
    b"application/x-www-form-urlencoded; boundary=x", b"application/x-www-form-urlencoded, application/json",
    b"application/x-www-form-urlencoded;", b"application/x-www-form-urlencodedx", b"x-www-form-urlencoded",
    b"application /x-www-form-urlencoded", b"application/octet-stream", b"application/xml", b"text/html", b"*/*",
    b"application/sbe", b"application/x-www-form-urlencoded; _charset_=utf-16", b"application/msgpack",
]
_TYPES_JUDGED = [
    b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded; charset=utf-8",
    b"application/x-www-form-urlencoded;charset=UTF-8", b"Application/X-WWW-Form-Urlencoded",
]
_ENCODINGS = [
    b"gzip", b"deflate", b"br", b"zstd", b"compress", b"x-gzip", b"gzip, gzip", b"identity, gzip", b"GZIP", b"",
    b"utf-8", b"chunked", b"gzip;q=1", b"identity, identity", b"unknown",
]

TYPES = (
    *(Case(f"type {value!a}", http("POST", content_type=value), REFUSED, "a body is a form in UTF-8")
      for value in _TYPES_REFUSED),
    *(Case(f"type {value!a}", http("POST", content_type=value), JUDGED_BY_GATE, "a form in UTF-8")
      for value in _TYPES_JUDGED),
    Case("no type", http("POST", content_type=None), REFUSED, "an unlabelled body"),
    Case("two types", http("POST", headers=((b"Content-Type", b"application/json"),)), REFUSED, "two labels"),
    Case("same type twice", http("POST", headers=((b"content-type", b"application/x-www-form-urlencoded"),)), REFUSED,
         "two labels"),
    Case("underscore type", http("POST", headers=((b"Content_Type", b"application/json"),)), REFUSED, "look-alike"),
    Case("JSON order", http("POST", body=b'{"symbol":"BTCUSDT","quantity":1}', content_type=b"application/json"),
         REFUSED, "the venue documents forms"),
    Case("JSON order labelled as form", http("POST", body=b'{"symbol":"BTCUSDT"}'), REFUSED, "not a form"),
    Case("JSON type, empty body, query", http("POST", b"/api/v3/order?" + form(), b"",
         headers=((b"Content-Type", b"application/json;charset=utf-8"),)), JUDGED_BY_GATE,
         "official connectors label an empty body so"),
    Case("multipart order", http("POST",
         body=b'--x\r\nContent-Disposition: form-data; name="quantity"\r\n\r\n1\r\n--x--',
         content_type=b"multipart/form-data; boundary=x"), REFUSED, "the venue documents forms"),
)
ENCODINGS = (
    *(Case(f"encoding {value!a}", http("POST", headers=((b"Content-Encoding", value),)), REFUSED,
           "what is judged is what is signed") for value in _ENCODINGS),
    Case("encoding on a cancel", http("DELETE", "/api/v3/order?symbol=A&orderId=1",
         headers=((b"Content-Encoding", b"gzip"),)), REFUSED, "no body may be packed"),
    Case("encoding on a read", http("GET", "/api/v3/time", headers=((b"Content-Encoding", b"gzip"),)), REFUSED,
         "no body may be packed"),
    Case("encoding twice", http("POST", headers=((b"Content-Encoding", b"identity"),) * 2), REFUSED, "two labels"),
    Case("underscore encoding", http("POST", headers=((b"Content_Encoding", b"gzip"),)), REFUSED, "look-alike"),
    Case("identity", http("POST", headers=((b"Content-Encoding", b"identity"),)), JUDGED_BY_GATE, "plain"),
    Case("accept-encoding", http("GET", "/api/v3/time", headers=((b"Accept-Encoding", b"gzip, br"),)), PASSED_ON,
         "answers may be packed"),
)

_LEG = '{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC","quantity":"1","price":"60000"}'
JSON_REFUSED = [
    "", "null", "true", "0", '""', '"[]"', "{}", "[", "]", "[[", "[]", "[null]", "[1]", '["a"]', "[[]]", "[{}]",
    _LEG, f"[{_LEG}", f"{_LEG}]", f"[{_LEG},]", f"[,{_LEG}]", f"[{_LEG}]x", f"[{_LEG}] [{_LEG}]", f"[{_LEG}{_LEG}]",
    f"//c\n[{_LEG}]", f"[{_LEG}]//c", f"/**/[{_LEG}]", f"[{_LEG}]\0", f"\ufeff[{_LEG}]",
    f"[{_LEG.replace(chr(34), chr(39))}]",
    f"[{_LEG.replace(':', '=')}]", f"[{_LEG[:-1]},}}]", f'[{_LEG[:-1]},"quantity":"1000"}}]',
    f'[{_LEG[:-1]},"Quantity":"1000"}}]', f'[{_LEG[:-1]},"qu\\u0061ntity":"1000"}}]',
    f'[{_LEG[:-1]},"\\u0071uantity":"1000"}}]', f'[{_LEG[:-1]},"":"1"}}]', f'[{_LEG[:-1]},"__proto__":{{}}}}]',
    f'[{_LEG[:-1]},"newClientOrderId":null}}]', f'[{_LEG[:-1]},"newClientOrderId":[]}}]',
    f'[{_LEG[:-1]},"newClientOrderId":{{}}}}]', f'[{_LEG[:-1]},"newClientOrderId":"\\ud800"}}]',
    f'[{_LEG[:-1]},"newClientOrderId":"\\u0000"}}]', f'[{_LEG[:-1]},"newClientOrderId":""}}]',
    f"[{_LEG}".replace('"1"', "NaN") + "]", f"[{_LEG}]".replace('"1"', "Infinity"),
    f"[{_LEG}]".replace('"1"', "-Infinity"), f"[{_LEG}]".replace('"1"', "1e999"), f"[{_LEG}]".replace('"1"', "1e-5"),
    f"[{_LEG}]".replace('"1"', "-1"), f"[{_LEG}]".replace('"1"', "0"), f"[{_LEG}]".replace('"1"', "1" * 5000),
    f"[{_LEG}]".replace('"1"', "01"), f"[{_LEG}]".replace('"1"', "+1"), f"[{_LEG}]".replace('"1"', ".5"),
    f"[{_LEG}]".replace('"1"', "true"), f"[{_LEG}]".replace('"1"', "[1]"), f"[{_LEG}]".replace('"1"', '{"a":1}'),
    f"[{_LEG}]".replace('"1"', '" 1"'), f"[{_LEG}]".replace('"1"', '"1e3"'), f"[{_LEG}]".replace('"1"', '"\\u0031"'),
    "[" * 100_00 + "]" * 100_00, "[" * 8000, '{"a":' * 3000,
]
JSON = (
    *(Case(f"json {index:02} {text[:30]!a}", http("POST", "/fapi/v1/batchOrders",
           b"batchOrders=" + quote(text, safe="").encode("ascii")), REFUSED, "not a plain list of plain orders")
      for index, text in enumerate(JSON_REFUSED)),
    Case("json plain", http("POST", "/fapi/v1/batchOrders", b"batchOrders=" + quote(f"[{_LEG}]", safe="").encode()),
         JUDGED_BY_GATE, "a plain list"),
    Case("json on the order endpoint", http("POST", FUTURES_ORDER, b"order=" + quote(_LEG, safe="").encode()), REFUSED,
         "not a documented parameter"),
)

CASES = TYPES + ENCODINGS + JSON
