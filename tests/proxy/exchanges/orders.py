"""Short ways to write Binance requests for tests."""

from urllib.parse import urlencode

from proxy.exchanges.base import Parsed
from proxy.exchanges.binance import Binance
from proxy.wire import WireRequest

BINANCE = Binance()
HEADERS = ((b"X-MBX-APIKEY", b"bot-key"), (b"Content-Type", b"application/x-www-form-urlencoded"))

LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "2", "price": "60000",
}


def request(endpoint: str, values: dict[str, str], *, in_query: bool = False) -> WireRequest:
    """`endpoint` (method and path) with `values` encoded in the body or the query."""
    method, _, path = endpoint.partition(" ")
    encoded = urlencode(values).encode()
    if in_query:
        return WireRequest(method, path.encode() + b"?" + encoded, HEADERS)
    length = (b"Content-Length", b"%d" % len(encoded))
    return WireRequest(method, path.encode(), (*HEADERS, length), encoded)


def parse(endpoint: str, base: dict[str, str] | None = None, /, drop: str = "", **changes: str) -> Parsed:
    """The request read; `drop` names parameters to leave out of the base."""
    values = {**(LIMIT if base is None else base), **changes}
    for name in drop.split():
        del values[name]
    made = request(endpoint, values)
    return BINANCE.parse(made, BINANCE.recognise(made))


def one(endpoint: str, base: dict[str, str] | None = None, /, drop: str = "", **changes: str):
    """The only instruction of the request."""
    (instruction,) = parse(endpoint, base, drop, **changes).instructions
    return instruction
