"""Good requests with random damage: read as some order, or refused, and never anything else."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import CallerError
from proxy.exchanges.base import JUDGED, PASSED
from proxy.exchanges.binance_endpoints import ENDPOINTS
from proxy.wire import WireRequest
from rules import Order
from tests.proxy.exchanges.orders import BINANCE

_LINES = (Path(__file__).parents[2] / "data" / "binance_client_requests.jsonl").read_text().splitlines()
GOOD = [
    WireRequest(
        case["method"],
        case["target"].encode(),
        tuple((name.encode(), value.encode()) for name, value in case["headers"]),
        case["body"].encode(),
    )
    for case in map(json.loads, _LINES)
]
_SPICE = st.sampled_from([
    b"&", b"=", b";", b"%", b"%00", b"%2", b"+", b"/", b"//", b"..", b"?", b"#", b"\\", b" ", b"\r\n", b"\0",
    b"\xff", b"&quantity=1000", b"&Quantity=1",
    b"quantity", b"1e9", b"-", b".", b"0", b"99999999999999999999", b"%5B",
    b'"', b"{", b"[", b"NaN", b"true", b"&reduceOnly=true", b"\xef\xbc\x91",
])


@st.composite
def damaged(draw):
    """A good request with a few bytes cut out of its target or body and others put in."""
    request = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(1, 3))):
        field = draw(st.sampled_from(["target", "body"]))
        raw = getattr(request, field)
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 6)))
        put_in = draw(st.one_of(st.just(b""), _SPICE, st.binary(max_size=3)))
        request = replace(request, **{field: raw[:start] + put_in + raw[end:]})
    return request


@settings(max_examples=1500)
@given(damaged())
def test_a_damaged_request_is_read_or_refused(request):
    """No damage raises anything but a refusal, and whatever goes on is on the list by its exact path."""
    try:
        recognised = BINANCE.recognise(request)
        BINANCE.api_key(request)
        parsed = BINANCE.parse(request, recognised) if recognised.verb in JUDGED else None
    except CallerError:
        return
    if recognised.verb in JUDGED or (recognised.verb in PASSED and request.method != "GET"):
        assert (request.method, request.path) in ENDPOINTS
    if parsed is not None:
        _check_against_a_lenient_reader(request, [item for item in parsed.instructions if isinstance(item, Order)])


def _check_against_a_lenient_reader(request: WireRequest, orders: list[Order]) -> None:
    """What the strict reader lets through, an ordinary one reads the same: one value per name, same number."""
    for raw in (request.query, request.body):
        assert raw.isascii()
    pairs = parse_qsl(request.query.decode(), keep_blank_values=True)
    pairs += parse_qsl(request.body.decode(), keep_blank_values=True)
    values = dict(pairs)
    assert len(values) == len(pairs)
    if len(orders) == 1 and "batchOrders" not in values:
        (order,) = orders
        assert values["symbol"] == order.symbol
        assert values["side"] == order.side.value
        stated = values.get("quantity")
        assert order.quantity == (None if stated is None else Decimal(stated))
