"""Rewriting and signing: what is changed is exactly what is stated, and the venue verifies it."""

import base64
import json
from decimal import ROUND_DOWN, Decimal
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import NotAuthentic, SigningError
from proxy.exchanges.base import Credentials
from proxy.wire import WireRequest, read_params
from rules import Reason
from tests.proxy.exchanges.orders import BINANCE, HEADERS, LIMIT, request

BOT = Credentials(api_key="bot-key", secret=b"bot-secret")
VENUE = Credentials(api_key="venue-key-which-is-longer", secret=b"venue-secret")
SIGNED = {**LIMIT, "timestamp": "1700000000000", "signature": "0" * 64}


def rescaled(made, *quantities):
    """The request with these quantities written in place."""
    parsed = BINANCE.parse(made, BINANCE.recognise(made))
    return BINANCE.rescale(made, parsed, [None if text is None else Decimal(text) for text in quantities])


# --- signing -----------------------------------------------------------------------------------

_SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"  # the venue's documented example
_PAYLOAD = (
    b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
)
_DOCUMENTED = b"c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
_CUT = _PAYLOAD.index(b"quantity")
_ZEROS = b"signature=" + b"0" * 64


@pytest.mark.parametrize(
    ("query", "body"),
    [
        (b"", _PAYLOAD + b"&" + _ZEROS),
        (_PAYLOAD + b"&" + _ZEROS, b""),
        (_PAYLOAD, _ZEROS),
        (_ZEROS, _PAYLOAD),
        (b"", _ZEROS + b"&" + _PAYLOAD),
        (b"", _PAYLOAD[:_CUT] + _ZEROS + b"&" + _PAYLOAD[_CUT:]),
    ],
)
def test_the_signature_covers_query_and_body_without_its_own_pair(query, body):
    """Wherever the pair stands, the documented payload gets the documented signature in its place."""
    made = WireRequest("POST", b"/api/v3/order" + (b"?" + query if query else b""), HEADERS, body)
    signed = BINANCE.sign(made, Credentials(api_key="k", secret=_SECRET))
    BINANCE.verify(signed, read_params(signed), _SECRET)
    assert signed.target == made.target.replace(b"0" * 64, _DOCUMENTED)
    assert signed.body == made.body.replace(b"0" * 64, _DOCUMENTED)


def test_the_mixed_example_of_the_documentation_is_signed_as_documented():
    """Query and body are joined with nothing between: the documented mixed example's own signature."""
    query = b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
    body = b"quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
    made = WireRequest("POST", b"/api/v3/order?" + query, HEADERS, body + b"&" + _ZEROS)
    signed = BINANCE.sign(made, Credentials(api_key="k", secret=_SECRET))
    assert read_params(signed).get("signature") == "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"


def test_key_and_signature_are_all_that_signing_changes():
    """The key header's value and the signature's, in place; every other byte stays."""
    made = request("POST /api/v3/order", SIGNED)
    signed = BINANCE.sign(made, VENUE)
    signature = read_params(signed).get("signature").encode()
    assert signed.body == made.body.replace(b"0" * 64, signature)
    assert signed.headers == ((b"X-MBX-APIKEY", b"venue-key-which-is-longer"), *made.headers[1:])
    assert (signed.method, signed.target) == (made.method, made.target)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=12).filter(str.isprintable)),
             max_size=6, unique_by=lambda pair: pair[0]),
    st.integers(0, 6), st.booleans(),
)
def test_what_is_signed_verifies_and_a_changed_byte_does_not(pairs, position, in_query):
    """Signed with a secret it verifies with that secret only, and only unchanged."""
    values = dict([*pairs[:position], ("signature", "0" * 64), *pairs[position:]])
    values["signature"] = "0" * 64
    made = request("POST /api/v3/order", values, in_query=in_query)
    signed = BINANCE.sign(made, BOT)
    BINANCE.verify(signed, read_params(signed), BOT.secret)
    for wrong, secret in ((signed, b"other"), (_one_more(signed, in_query), BOT.secret)):
        with pytest.raises(NotAuthentic) as caught:
            BINANCE.verify(wrong, read_params(wrong), secret)
        assert caught.value.reason is Reason.SIGNATURE_INVALID


def _one_more(made, in_query):
    if in_query:
        return WireRequest(made.method, made.target + b"&not_there=1", made.headers, made.body)
    return WireRequest(made.method, made.target, made.headers, made.body + b"&not_there=1")


def test_an_ed25519_signature_is_percent_encoded_in_place():
    """Base64 has characters a query cannot carry; the length of the body is told anew."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = request("POST /api/v3/order", SIGNED)
    signed = BINANCE.sign(made, Credentials(api_key="k", secret=pem, kind="ed25519"))
    raw = signed.body.split(b"&signature=")[1]
    assert b"=" not in raw
    key.public_key().verify(base64.b64decode(unquote(raw.decode())), made.body.split(b"&signature=")[0])
    assert dict(signed.headers)[b"Content-Length"] == b"%d" % len(signed.body)


def test_an_unknown_kind_of_key_signs_nothing():
    """A misspelt kind is an error, not HMAC by default."""
    with pytest.raises(SigningError):
        BINANCE.sign(request("POST /api/v3/order", SIGNED), Credentials(api_key="k", secret=b"s", kind="HMAC"))


def test_rekey_changes_the_key_alone():
    """A listen key request has no signature; it gets the venue's key and nothing else."""
    made = WireRequest("POST", b"/fapi/v1/listenKey", HEADERS)
    assert BINANCE.rekey(made, VENUE).headers[0] == (b"X-MBX-APIKEY", VENUE.api_key.encode())
    assert BINANCE.rekey(made, VENUE).headers[1:] == made.headers[1:]


# --- scaling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("in_query", [True, False])
def test_a_quantity_is_written_in_place(in_query):
    """The digits change, the rest of the bytes and the order of parameters do not."""
    made = request("POST /api/v3/order", SIGNED, in_query=in_query)
    smaller = rescaled(made, "0.5")
    assert smaller.target == made.target.replace(b"quantity=2", b"quantity=0.5")
    assert smaller.body == made.body.replace(b"quantity=2", b"quantity=0.5")
    if not in_query:
        assert dict(smaller.headers)[b"Content-Length"] == b"%d" % len(smaller.body)


def test_a_small_number_has_no_exponent():
    """1E-7 is not a number the venue reads."""
    assert b"quantity=0.0000001&" in rescaled(request("POST /api/v3/order", SIGNED), "1E-7").body


def test_an_equal_quantity_keeps_its_bytes():
    """2 asked and 2 allowed: nothing is rewritten, not even 2.000."""
    made = request("POST /api/v3/order", {**SIGNED, "quantity": "2.000"})
    assert rescaled(made, "2") == made
    assert rescaled(made, None) == made


@pytest.mark.parametrize("wanted", ["3", "2.0000001", "0", "-1"])
def test_an_order_is_never_enlarged(wanted):
    """Nothing at or below zero and nothing above what was asked is ever written."""
    with pytest.raises(SigningError):
        rescaled(request("POST /api/v3/order", SIGNED), wanted)


@pytest.mark.parametrize(
    ("quantity", "iceberg", "wanted", "written"),
    [
        ("2", "0.5", "1", b"0.2"), ("2", "0.50", "1", b"0.2"), ("2", "0.5", "0.999", b"0.249"),
        ("10", "1", "5.5", b"0.5"), ("10", "5", "5", b"2"), ("3", "1", "1", None), ("2", "0", "1", b"0"),
    ],
)
def test_the_visible_part_is_scaled_like_its_whole(quantity, iceberg, wanted, written):
    """Floored on the finer of both numbers' decimals; a part that would vanish blocks instead."""
    made = request("POST /api/v3/order", {**SIGNED, "quantity": quantity, "icebergQty": iceberg})
    if written is None:
        with pytest.raises(SigningError):
            rescaled(made, wanted)
        return
    assert b"icebergQty=" + written in rescaled(made, wanted).body


def test_a_quote_amount_is_written_in_its_own_unit():
    """quoteOrderQty changes, quantity does not appear."""
    values = {key: value for key, value in SIGNED.items() if key not in ("quantity", "price", "timeInForce")}
    made = request("POST /api/v3/order", {**values, "type": "MARKET", "quoteOrderQty": "100"})
    smaller = rescaled(made, "33.33")
    assert b"quoteOrderQty=33.33" in smaller.body
    assert b"&quantity=" not in smaller.body


OTOCO = {
    "symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingPrice": "60000", "workingQuantity": "4",
    "pendingSide": "SELL", "pendingQuantity": "3", "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "70000",
    "pendingAboveIcebergQty": "1.5", "pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": "50000",
}


def test_every_leg_of_a_list_is_scaled():
    """Working and pending quantities, and the pending icebergs with theirs."""
    smaller = rescaled(request("POST /api/v3/orderList/otoco", OTOCO), "2", "1", "1")
    read = BINANCE.parse(smaller, BINANCE.recognise(smaller)).instructions
    assert [order.quantity for order in read] == [2, 1, 1]
    assert read[1].iceberg_quantity == Decimal("0.5")


def test_legs_that_share_a_quantity_are_scaled_alike_or_not_at_all():
    """One parameter cannot say two things."""
    with pytest.raises(SigningError):
        rescaled(request("POST /api/v3/orderList/otoco", OTOCO), "2", "1", "2")


def test_a_batch_is_not_rewritten():
    """Its quantities stand inside JSON; a batch is allowed or blocked."""
    made = request("POST /fapi/v1/batchOrders", {"batchOrders": json.dumps([LIMIT, LIMIT])})
    assert rescaled(made, "2", "2") == made
    with pytest.raises(SigningError):
        rescaled(made, "1", "2")


def test_close_position_has_nothing_to_scale():
    """A quantity for an order without one is a mistake of the caller's, and is not sent."""
    values = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "stopPrice": "5", "closePosition": "true"}
    with pytest.raises(SigningError):
        rescaled(request("POST /fapi/v1/order", values), "1")


@settings(max_examples=300)
@given(
    st.decimals(min_value="0.00000002", max_value=10**12, places=8), st.integers(1, 999_999),
    st.sampled_from(["POST /api/v3/order", "POST /fapi/v1/order"]), st.booleans(),
)
def test_a_scaled_order_reads_back_as_asked_and_differs_nowhere_else(asked, millionths, endpoint, in_query):
    """Parsed again it is the same order but for the quantity, which is exactly the one wanted."""
    wanted = (asked * millionths / 1_000_000).quantize(Decimal("0.00000001"), rounding=ROUND_DOWN)
    made = request(endpoint, {**SIGNED, "quantity": format(asked, "f")}, in_query=in_query)
    if not wanted:
        with pytest.raises(SigningError):
            rescaled(made, wanted)
        return
    sent = BINANCE.sign(rescaled(made, wanted), VENUE)
    before = BINANCE.parse(made, BINANCE.recognise(made)).params.items
    after = BINANCE.parse(sent, BINANCE.recognise(sent))
    assert after.instructions[0].quantity == wanted
    assert [(item.name, item.place) for item in before] == [(item.name, item.place) for item in after.params.items]
    changed = [old.name for old, new in zip(before, after.params.items, strict=True) if old.value != new.value]
    assert set(changed) <= {"quantity", "signature"}
    BINANCE.verify(sent, after.params, VENUE.secret)
