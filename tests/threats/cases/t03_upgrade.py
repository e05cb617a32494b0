"""T3: requests that would turn the connection into a tunnel, and expectations we do not meet."""

from tests.threats.corpus import REFUSED, Case, form, http

_WEBSOCKET = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"),
              (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="))
_WHY = "an upgraded connection carries orders nobody judges"


def _get(name: str, *headers: tuple[bytes, bytes], target: str = "/ws-api/v3") -> Case:
    return Case(name, http("GET", target, headers=headers), REFUSED, _WHY)


def _post(name: str, *headers: tuple[bytes, bytes]) -> Case:
    return Case(name, http("POST", headers=headers), REFUSED, _WHY)


CASES = (
    _get("websocket api", *_WEBSOCKET),
    _get("websocket on a read", *_WEBSOCKET, target="/api/v3/time"),
    _get("websocket futures", *_WEBSOCKET, target="/ws-fapi/v1"),
    _get("websocket, upper case", (b"CONNECTION", b"UPGRADE"), (b"UPGRADE", b"WEBSOCKET"), target="/api/v3/time"),
    _get("upgrade without connection", (b"Upgrade", b"websocket"), target="/api/v3/time"),
    _get("connection without upgrade", (b"Connection", b"upgrade"), target="/api/v3/time"),
    _get("connection list", (b"Connection", b"keep-alive, Upgrade"), target="/api/v3/time"),
    _get("h2c", (b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", b"h2c"),
         (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"), target="/api/v3/time"),
    _get("h2c settings alone", (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"), target="/api/v3/time"),
    _post("upgrade on an order", *_WEBSOCKET),
    _post("upgrade to TLS", (b"Connection", b"Upgrade"), (b"Upgrade", b"TLS/1.2")),
    _post("connection drops the key", (b"Connection", b"close, X-MBX-APIKEY")),
    _post("connection drops the length", (b"Connection", b"Content-Length")),
    _post("expect continue", (b"Expect", b"100-continue")),
    _post("expect in capitals", (b"EXPECT", b"100-Continue")),
    _post("expect something else", (b"Expect", b"200-ok")),
    _post("trailer announced", (b"Trailer", b"X-MBX-APIKEY")),
    Case("connect", http("CONNECT", "fapi.binance.com:443", form()), REFUSED, _WHY),
    Case("connect in origin form", http("CONNECT", "/api/v3/order", form()), REFUSED, _WHY),
    Case("http/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED, _WHY),
)
