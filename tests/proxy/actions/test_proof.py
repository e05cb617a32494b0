"""What the proxy may send while everything is halted: nothing but cancels and proven reductions, whatever is tried."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.actions.proof import Admitted, NotAdmitted, admit
from proxy.actions.reading import Picture
from proxy.errors import ProxyError
from proxy.exchanges import EXCHANGES
from proxy.exchanges.binance_endpoints import ENDPOINTS
from proxy.wire import WireRequest
from rules import Bucket, Market
from tests.drawn import Names, draw_cancel, draw_order

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
BINANCE = EXCHANGES[0]
SENDERS = {"proxy/pipeline.py", "proxy/actions/lane.py"}
ROOT = Path(__file__).parents[3]
OWN = {
    ("DELETE", "/fapi/v1/order"), ("DELETE", "/fapi/v1/algoOrder"), ("DELETE", "/api/v3/order"),
    ("POST", "/fapi/v1/countdownCancelAll"),
}  # fmt: skip


def request(method: str, path: str, pairs) -> WireRequest:
    """A request as the lane writes it."""
    query = urlencode([*pairs, ("timestamp", "1772625600000"), ("signature", "0")])
    headers = ((b"Host", b"riskgate"), (b"X-MBX-APIKEY", b"-"))
    return WireRequest(method, f"{path}?{query}".encode(), headers, b"")


def picture(held, *, hedge_mode=False, market=Market.LINEAR) -> Picture:
    """A reading."""
    return Picture(market=market, as_of=NOW, sent_s=0.0, held=held, hedge_mode=hedge_mode)


def is_admitted(method: str, path: str, pairs, seen: Picture | None, *, spot_sales=False) -> bool:
    """Whether the request would be sent."""
    try:
        admit(BINANCE, request(method, path, pairs), seen, spot_sales=spot_sales)
    except ProxyError:
        return False
    return True


ORDER = [("symbol", "BTCUSDT"), ("side", "SELL"), ("type", "MARKET"), ("quantity", "0.4"), ("reduceOnly", "true")]
LONG = picture({("BTCUSDT", Bucket.BOTH): Decimal("0.4")})


def test_a_reduction_of_all_that_is_held_is_admitted():
    """SELL 0.4 of 0.4, reduce-only: exactly at the position."""
    assert is_admitted("POST", "/fapi/v1/order", ORDER, LONG)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantity", "0.400000001"), ("side", "BUY"), ("symbol", "ETHUSDT"), ("reduceOnly", "false"),
        ("positionSide", "LONG"), ("type", "LIMIT"), ("newClientOrderId", ""), ("closePosition", "true"),
    ],
)  # fmt: skip
def test_any_field_changed_for_the_worse_is_not(name, value):
    """One field of a proven order made wrong, and it does not leave."""
    pairs = [pair for pair in ORDER if pair[0] != name] + [(name, value)]

    assert not is_admitted("POST", "/fapi/v1/order", pairs, LONG)


def test_a_reading_of_nothing_admits_nothing():
    """What the reading does not show cannot be closed; without a reading no order leaves at all."""
    assert not is_admitted("POST", "/fapi/v1/order", ORDER, picture({}))
    assert not is_admitted("POST", "/fapi/v1/order", ORDER, None)


def test_coins_are_sold_only_where_that_was_asked_for():
    """The same sale of held coins with and without the word for it."""
    pairs = [("symbol", "BTCUSDT"), ("side", "SELL"), ("type", "MARKET"), ("quantity", "0.4")]
    seen = picture({("BTCUSDT", Bucket.BOTH): Decimal("0.4")}, market=Market.SPOT)

    assert is_admitted("POST", "/api/v3/order", pairs, seen, spot_sales=True)
    assert not is_admitted("POST", "/api/v3/order", pairs, seen)


@pytest.mark.parametrize(("method", "path"), sorted((method, path.decode()) for method, path in ENDPOINTS))
def test_of_all_listed_endpoints_four_cancel_and_two_trade(method, path):
    """Every endpoint the venue's table knows, with the parameters of a proven order."""
    pairs = ORDER if path.startswith("/fapi") else ORDER[:4]
    market = Market.LINEAR if path.startswith("/fapi") else Market.SPOT
    seen = picture({("BTCUSDT", Bucket.BOTH): Decimal("0.4")}, market=market)
    expected = (method, path) in OWN | {("POST", "/fapi/v1/order"), ("POST", "/api/v3/order")}

    assert is_admitted(method, path, pairs, seen, spot_sales=True) is expected


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 40), st.booleans())
def test_what_bots_send_is_never_admitted_unless_it_is_one_of_the_cancels(seed, hedge_mode):
    """Orders, amendments, batches, lists, leverage and cancels as bots write them, before large positions."""
    random = Random(seed)
    names = Names(random, "x")
    drawn = draw_order(random, names) if random.random() < 0.8 else draw_cancel(random, names)
    held = {("BTCUSDT", bucket): Decimal(1) for bucket in Bucket}
    allowed = is_admitted(drawn.method, drawn.path, drawn.pairs, picture(held, hedge_mode=hedge_mode))

    assert not allowed or (drawn.method, drawn.path) in OWN


amounts = st.decimals("0.001", "3", places=3)
held_amounts = st.decimals("-2", "2", places=3)
fields = st.fixed_dictionaries(
    {"side": st.sampled_from(["BUY", "SELL"]), "type": st.sampled_from(["MARKET", "LIMIT", "STOP_MARKET"])},
    optional={
        "quantity": amounts.map(str), "reduceOnly": st.sampled_from(["true", "false", "TRUE", "1"]),
        "positionSide": st.sampled_from(["BOTH", "LONG", "SHORT"]), "price": st.just("60000"),
        "timeInForce": st.sampled_from(["GTC", "IOC", "FOK", "GTX"]), "closePosition": st.just("true"),
        "stopPrice": st.just("50000"), "priceMatch": st.just("QUEUE"),
    },
)  # fmt: skip


@settings(max_examples=800, deadline=None)
@given(fields, held_amounts, held_amounts, held_amounts, st.booleans())
@example(dict(ORDER[1:]), Decimal("0.4"), Decimal(0), Decimal(0), False)
def test_an_admitted_order_only_ever_shrinks_a_position(asked, both, long, short, hedge_mode):
    """Whatever part of it fills: the position it works on comes nearer to zero and does not cross it."""
    held = {
        ("BTCUSDT", bucket): amount
        for bucket, amount in ((Bucket.BOTH, both), (Bucket.LONG, abs(long)), (Bucket.SHORT, -abs(short)))
        if amount and (bucket is not Bucket.BOTH) is hedge_mode
    }
    pairs = [("symbol", "BTCUSDT"), *asked.items()]
    if not is_admitted("POST", "/fapi/v1/order", pairs, picture(held, hedge_mode=hedge_mode)):
        return
    leg = Bucket(asked.get("positionSide", "BOTH"))
    before = held[("BTCUSDT", leg)]
    filled = Decimal(asked["quantity"]) * (1 if asked["side"] == "BUY" else -1)
    for after in (before + filled, before + filled / 2):
        assert abs(after) < abs(before)
        assert after == 0 or (after > 0) is (before > 0)
    assert asked["type"] == "MARKET" or asked["timeInForce"] == "IOC", "nothing may stay behind and fill later"
    assert leg is not Bucket.BOTH or asked["reduceOnly"].lower() == "true", "the venue itself has to hold it to that"


def test_nobody_makes_an_admitted_request_but_the_proof():
    """The type that the lane sends cannot be made from outside."""
    wire = request("POST", "/fapi/v1/order", ORDER)
    recognised = BINANCE.recognise(wire)
    with pytest.raises(NotAdmitted):
        Admitted(wire, recognised, None, object())


def test_only_the_pipeline_and_this_lane_hold_the_way_to_the_venue():
    """No other file of the proxy sends a request upstream."""
    found = set()
    for file in (ROOT / "proxy").rglob("*.py"):
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(("proxy/upstream/", "proxy/simulator/")):
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("upstream.send"):
                found.add(name)

    assert found == SENDERS
