"""Binance's codec as a whole: what requests are, and that real clients' requests are read."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.errors import CallerError, OrderNotUnderstood
from proxy.exchanges import EXCHANGES, family_of
from proxy.exchanges.base import JUDGED, PASSED, Verb
from proxy.exchanges.binance import _FORMS as FORMS
from proxy.exchanges.binance import Binance
from proxy.exchanges.binance_endpoints import ENDPOINTS
from proxy.wire import WireRequest
from rules import Order

BINANCE = Binance()
CLIENTS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "binance_client_requests.jsonl").read_text().splitlines()
]


def wire(method, target, *, headers=(), body=b""):
    """A request without much around it."""
    return WireRequest(method=method, target=target, headers=tuple(headers), body=body)


def of_client(case):
    """A client's request from the data file."""
    headers = tuple((name.encode(), value.encode()) for name, value in case["headers"])
    return wire(case["method"], case["target"].encode(), headers=headers, body=case["body"].encode())


@pytest.mark.parametrize("case", CLIENTS, ids=lambda case: case["client"])
def test_requests_in_the_style_of_real_clients_are_read(case):
    """What clients send to judged endpoints comes out as the orders they meant."""
    request = of_client(case)
    recognised = BINANCE.recognise(request)
    parsed = BINANCE.parse(request, recognised)

    assert recognised.verb in JUDGED
    assert BINANCE.api_key(request) == "k" * 64
    if case["expect"] is None:
        assert not any(isinstance(instruction, Order) for instruction in parsed.instructions)
        return
    found = [
        [order.type.value, order.side.value, order.symbol, order.quantity, order.quote_quantity]
        for order in parsed.instructions
        if isinstance(order, Order)
    ]
    expected = [[*row[:3], *(None if text is None else Decimal(text) for text in row[3:])] for row in case["expect"]]
    assert found == expected


def test_every_judged_endpoint_has_a_form_and_every_form_an_endpoint():
    """Nothing is judged that cannot be read, and no form lies idle."""
    assert {item.endpoint for item in ENDPOINTS.values() if item.verb in JUDGED} == set(FORMS)


def test_only_the_two_judged_families_place_orders():
    """On the other families no endpoint is judged, and none that orders, borrows or moves is passed."""
    for (_, path), item in ENDPOINTS.items():
        assert path.startswith(item.family.encode() + b"/")
        if item.family not in ("/api", "/fapi"):
            assert item.verb not in JUDGED


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("POST", b"/fapi/v1/countdownCancelAll", Verb.CANCEL),
        ("POST", b"/sapi/v1/convert/limit/cancelOrder", Verb.CANCEL),
        ("DELETE", b"/sapi/v1/margin/isolated/account", Verb.OTHER), ("DELETE", b"/sapi/v1/margin/apiKey", Verb.OTHER),
        ("GET", b"/sapi/v1/soft-staking/set", Verb.OTHER),
        ("GET", b"/sapi/v1/simple-earn/locked/setRedeemOption", Verb.OTHER),
        ("POST", b"/sapi/v3/asset/getUserAsset", Verb.READ), ("POST", b"/sapi/v1/asset/get-funding-asset", Verb.READ),
        ("POST", b"/sapi/v1/convert/getQuote", Verb.READ), ("POST", b"/fapi/v1/convert/acceptQuote", Verb.UNSUPPORTED),
        ("POST", b"/sapi/v1/margin/order", Verb.UNSUPPORTED), ("POST", b"/dapi/v1/leverage", Verb.UNSUPPORTED),
        ("POST", b"/sapi/v1/capital/withdraw/apply", Verb.TRANSFER), ("POST", b"/papi/v1/bnb-transfer", Verb.TRANSFER),
        ("POST", b"/fapi/v1/listenKey", Verb.KEEP_ALIVE), ("POST", b"/api/v3/order/test", Verb.TEST),
        ("PUT", b"/fapi/v1/order", Verb.AMEND), ("POST", b"/fapi/v1/leverage", Verb.MARGIN),
        ("POST", b"/api/v3/cancelReplace", Verb.UNKNOWN), ("POST", b"/fapi/v1/batchOrder", Verb.UNKNOWN),
        ("GET", b"/api/v3/anything/new", Verb.READ), ("GET", b"/elsewhere/v1/x", Verb.UNKNOWN),
        ("GET", b"/futures/data/takerlongshortRatio", Verb.READ), ("POST", b"/futures/data/x", Verb.UNKNOWN),
    ],
)
def test_endpoints_are_what_they_do_not_what_they_are_called(method, path, verb):
    """Neither the method nor the word in the path decides; the list does."""
    assert BINANCE.recognise(wire(method, path)).verb is verb


@pytest.mark.parametrize(
    ("target", "headers", "security"),
    [
        (b"/api/v3/time", (), "none"),
        (b"/api/v3/historicalTrades?symbol=A", ((b"X-MBX-APIKEY", b"k"),), "key"),
        (b"/api/v3/account?timestamp=1&signature=ab", ((b"x-mbx-apikey", b"k"),), "signed"),
        (b"/api/v3/account?signature=ab&timestamp=1", (), "signed"),
        (b"/api/v3/account?notsignature=ab", (), "none"),
    ],
)
def test_reads_say_how_they_prove_who_asks(target, headers, security):
    """Public reads, reads with a key, signed reads."""
    assert BINANCE.recognise(wire("GET", target, headers=headers)).security == security


def test_endpoint_names_are_a_closed_set():
    """Whatever path is asked for, the endpoint's name is from the list or one per method and family."""
    seen = {BINANCE.recognise(wire("GET", b"/api/v3/%d" % index)).endpoint for index in range(50)}
    assert seen == {"GET /api/*"}


@pytest.mark.parametrize(
    ("path", "family"),
    [(b"/api/v3/order", "/api"), (b"/fapi/v1/order", "/fapi"), (b"/futures/data/x", "/fapi"), (b"/apix/v3", None),
     (b"/API/v3", None), (b"/api", None), (b"/", None), (b"", None), (b"api/v3", None)],
)
def test_the_family_is_the_first_segment(path, family):
    """Exactly, and in its own case."""
    assert family_of(path) == family


@pytest.mark.parametrize(
    ("headers", "key"),
    [((), None), (((b"X-MBX-APIKEY", b""),), None), (((b"x-MBX-apikey", b"abc"),), "abc")],
)
def test_the_key_is_the_headers_value(headers, key):
    """Whatever the header's case; an absent or empty one is no key."""
    assert BINANCE.api_key(wire("GET", b"/api/v3/time", headers=headers)) == key


@pytest.mark.parametrize("value", [b"a b", b"\xff", b"a\tb", b"k" * 257])
def test_a_key_no_venue_gave_out_is_refused(value):
    """Keys are visible ASCII of bounded length."""
    with pytest.raises(OrderNotUnderstood):
        BINANCE.api_key(wire("GET", b"/api/v3/time", headers=((b"X-MBX-APIKEY", value),)))


def test_an_unknown_parameter_is_named_with_its_right_spelling():
    """A bot's author reads what was wrong."""
    request = wire("POST", b"/api/v3/order?symbol=BTCUSDT&Quantity=1")
    with pytest.raises(OrderNotUnderstood, match="no parameter Quantity; it is written quantity"):
        BINANCE.parse(request, BINANCE.recognise(request))


def test_the_tuple_of_exchanges_holds_it_once():
    """One instance serves everybody."""
    assert [exchange.name for exchange in EXCHANGES] == ["binance"]


def test_what_is_passed_and_what_is_judged_are_apart():
    """No verb is both."""
    assert not JUDGED & PASSED
    with pytest.raises(CallerError):
        BINANCE.recognise(wire("HEAD", b"/api/v3/time"))
