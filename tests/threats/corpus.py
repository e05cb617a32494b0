"""Hostile and honest requests as raw bytes, the same for the codec's tests and for a socket.

A case says what must become of it: `refused` (nothing reaches the venue), `passed` (forwarded
unjudged: reads, cancels, listen keys) or `judged` (read into instructions for the gate). Where
several requests stand in one case (pipelining), `expect` is the outcome of every one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from proxy.errors import CallerError
from proxy.exchanges.base import JUDGED, PASSED, Parsed
from proxy.exchanges.binance import Binance
from proxy.wire import WireRequest

BINANCE = Binance()

KEY = b"vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SIGNATURE = "a" * 64
FORM = b"application/x-www-form-urlencoded"
SPOT_ORDER, FUTURES_ORDER = "/api/v3/order", "/fapi/v1/order"

REFUSED, PASSED_ON, JUDGED_BY_GATE = "refused", "passed", "judged"


class Case(NamedTuple):
    """One request, or several in a row, and what must become of it."""

    name: str
    raw: bytes
    expect: str
    why: str


ORDER = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "60000",
    "timestamp": "1700000000000", "signature": SIGNATURE,
}


def form(base: dict[str, str] = ORDER, /, drop: Iterable[str] = (), **changes: str) -> bytes:
    """The base's parameters, changed, without `drop`, percent-encoded; the signature stays last."""
    values = {name: value for name, value in {**base, **changes}.items() if name not in set(drop)}
    if "signature" in values:
        values["signature"] = values.pop("signature")
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items()).encode("ascii")


def with_raw(name: str, raw: bytes) -> bytes:
    """The plain order with one parameter's raw value replaced by bytes as they stand."""
    return form(drop=(name,)).replace(b"&signature", b"&" + name.encode() + b"=" + raw + b"&signature")


def http(
    method: str | bytes = "POST",
    target: str | bytes = SPOT_ORDER,
    body: bytes | None = None,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    content_type: bytes | None = FORM,
    key: bytes | None = KEY,
    host: bytes | None = b"127.0.0.1",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """A request as a client would write it; POST and PUT carry the plain order unless told otherwise."""
    method = method.encode() if isinstance(method, str) else method
    target = target.encode() if isinstance(target, str) else target
    if body is None:
        body = form() if method in (b"POST", b"PUT") and b"?" not in target else b""
    lines = [method + b" " + target + b" " + version]
    if host is not None:
        lines.append(b"Host: " + host)
    if key is not None:
        lines.append(b"X-MBX-APIKEY: " + key)
    if content_type is not None and body:
        lines.append(b"Content-Type: " + content_type)
    lines.extend(name + b": " + value for name, value in headers)
    if body or method in (b"POST", b"PUT"):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def wire_of(raw: bytes) -> WireRequest:
    """The request in `raw` as the handler hands it over; for cases whose framing is plain."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, _, rest = first.partition(b" ")
    target = rest.rpartition(b" ")[0]
    headers = [line.partition(b":") for line in lines]
    pairs = tuple((name, value.strip(b" \t")) for name, _, value in headers)
    host = next((value for name, value in pairs if name.lower() == b"host"), b"")
    return WireRequest(method=method.decode("latin-1"), target=target, headers=pairs, body=body, host=host)


def read(raw: bytes) -> Parsed:
    """The judged request in `raw`, parsed."""
    request = wire_of(raw)
    return BINANCE.parse(request, BINANCE.recognise(request))


def outcome(raw: bytes) -> str:
    """What the codec makes of a request whose framing is plain. Anything but a CallerError escapes."""
    request = wire_of(raw)
    try:
        recognised = BINANCE.recognise(request)
        if recognised.verb in JUDGED:
            BINANCE.api_key(request)
            assert BINANCE.parse(request, recognised).instructions
            return JUDGED_BY_GATE
        return PASSED_ON if recognised.verb in PASSED else REFUSED
    except CallerError:
        return REFUSED
