"""Who and what is let in: keys, signatures, timestamps, parameters, paths."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.simulator.keys import SimKey, without_signature
from proxy.simulator.parameters import read
from proxy.simulator.rejection import Rejection
from tests.proxy.simulator.conftest import KEY, NOW_MS, exchange_bytes, raw_request, sign

DOCUMENTED_SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
REST = "side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
BUY = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price=50000"


@pytest.mark.parametrize(
    ("symbol", "signature"),
    [
        ("LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (
            "%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
        ),
    ],
)
def test_the_documented_signatures_verify(symbol, signature):
    """The two examples of Binance's documentation are accepted, in either case of hex."""
    key = SimKey("k", "main", "hmac", DOCUMENTED_SECRET)
    payload = f"symbol={symbol}&{REST}".encode()

    assert key.verifies(payload, signature.encode())
    assert key.verifies(payload, signature.upper().encode())
    assert not key.verifies(payload + b"0", signature.encode())


@pytest.mark.parametrize(
    ("part", "payload", "signature"),
    [
        (b"a=1&b=2&signature=xy", b"a=1&b=2", b"xy"),
        (b"signature=xy&a=1", b"a=1", b"xy"),
        (b"a=1&signature=xy&b=2", b"a=1&b=2", b"xy"),
        (b"signature=xy", b"", b"xy"),
        (b"a=1&mysignature=xy", b"a=1&mysignature=xy", None),
    ],
)
def test_the_signature_pair_is_cut_out_wherever_it_stands(part, payload, signature):
    """What is signed is the raw text without the signature pair."""
    assert without_signature(part) == (payload, signature)


async def test_a_signed_order_passes_in_query_body_and_both(bot, sim):
    """The payload is the query followed by the body, wherever the signature stands."""
    assert (await bot.place(BUY)).status == 200
    stamped = f"{BUY}&timestamp={NOW_MS}"
    in_body = f"{stamped}&signature={sign(stamped)}"
    assert (await exchange_bytes(sim.url, raw_request("POST", "/api/v3/order", in_body))).status == 200
    rest = f"quantity=0.01&price=50000&timestamp={NOW_MS}"
    query = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC"
    mixed = f"{rest}&signature={sign(query + rest)}"
    assert (await exchange_bytes(sim.url, raw_request("POST", f"/api/v3/order?{query}", mixed))).status == 200
    assert len(sim.accounts["main"].open_orders["spot"]) == 3


async def test_the_query_wins_over_the_body(bot, sim):
    """A quantity in both places is read from the query, as documented."""
    answer = await bot("POST", "/api/v3/order", BUY, body="quantity=0.5")

    assert answer.json["origQty"] == "0.01000000"


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
async def test_public_key_signatures(sim, kind):
    """Ed25519 and RSA keys sign with base64, percent-encoded; another payload is refused."""
    if kind == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
        make = private.sign
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

        def make(payload):
            return private.sign(payload, padding.PKCS1v15(), SHA256())

    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    sim.add_key("public", pem, account="main", kind=kind)
    stamped = f"{BUY}&timestamp={NOW_MS}"
    signature = quote(base64.b64encode(make(stamped.encode())).decode(), safe="")
    good = await exchange_bytes(
        sim.url, raw_request("POST", f"/api/v3/order?{stamped}&signature={signature}", key="public")
    )
    changed = stamped.replace("0.01", "0.02")
    bad = await exchange_bytes(
        sim.url, raw_request("POST", f"/api/v3/order?{changed}&signature={signature}", key="public")
    )

    assert good.status == 200
    assert (bad.status, bad.code) == (400, -1022)


async def _with(sim, query, key=KEY, path="/api/v3/order", signature=None):
    signed = f"{query}&signature={signature or sign(query)}"
    return await exchange_bytes(sim.url, raw_request("POST", f"{path}?{signed}", key=key))


async def test_keys(sim):
    """No key is -2014, an unknown one -2015, both with 401; nothing is executed."""
    query = f"{BUY}&timestamp={NOW_MS}"
    none = await _with(sim, query, key=None)
    unknown = await _with(sim, query, key="other")

    assert (none.status, none.code) == (401, -2014)
    assert (unknown.status, unknown.code) == (401, -2015)
    assert sim.orders == {}


@pytest.mark.parametrize("path", ["/api/v3/order", "/fapi/v1/order"])
async def test_a_wrong_signature_is_refused(sim, path):
    """-1022 for a signature of another payload, and -1102 for none at all."""
    query = f"{BUY}&timestamp={NOW_MS}"
    wrong = await _with(sim, query, path=path, signature="0" * 64)
    absent = await exchange_bytes(sim.url, raw_request("POST", f"{path}?{query}"))

    assert (wrong.status, wrong.code) == (400, -1022)
    assert absent.code == -1102
    assert "'signature'" in absent.json["msg"]
    assert sim.orders == {}


@pytest.mark.parametrize(
    ("stamp", "code"),
    [
        (f"timestamp={NOW_MS}", None),
        (f"timestamp={NOW_MS}000", None),  # microseconds
        (f"timestamp={NOW_MS - 5000}", None),
        (f"timestamp={NOW_MS - 5001}", -1021),
        (f"timestamp={NOW_MS - 5001}&recvWindow=5001", None),
        (f"timestamp={NOW_MS - 5001}&recvWindow=5000.999", -1021),
        (f"timestamp={NOW_MS + 999}", None),
        (f"timestamp={NOW_MS + 1000}", -1021),
        (f"timestamp={NOW_MS}&recvWindow=60001", -1131),
        (f"timestamp={NOW_MS}&recvWindow=1e3", -1100),
        ("timestamp=", -1102),
        ("recvWindow=5000", -1102),
        ("timestamp=abc", -1100),
    ],
)
async def test_timestamps_just_inside_and_just_outside(sim, stamp, code):
    """The window is closed at recvWindow and open a second ahead."""
    answer = await _with(sim, f"{BUY}&{stamp}")

    assert (answer.code if answer.status != 200 else None) == code


async def test_repeated_and_unknown_parameters(sim, bot):
    """A parameter twice in one place is -1101; one the endpoint does not know is -1104 on spot."""
    twice = await bot.place(f"{BUY}&quantity=0.02")
    unknown = await bot.place(f"{BUY}&colour=red")

    assert (twice.code, unknown.code) == (-1101, -1104)
    assert "read '7' parameter(s) but was sent '9'" not in unknown.json["msg"]
    assert "read '8' parameter(s) but was sent '9'" in unknown.json["msg"]
    assert sim.orders == {}


def test_parameters_are_percent_and_plus_decoded():
    """Names and values are form-decoded; a percent-encoded twin of a name is the same name."""
    assert read(b"a=%31+x", b"b=2&&c") == {"a": "1 x", "b": "2", "c": ""}
    with pytest.raises(Rejection) as refused:
        read(b"a=1&%61=2", b"")
    assert refused.value.code == -1101


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/api/v3/nothing", None),
        ("POST", "/api/v3/order/", None),
        ("POST", "/api/v3//order", None),
        ("POST", "/api/v3/%6frder", None),
        ("PATCH", "/api/v3/order", None),
        ("POST", "/fapi/v1/nothing", -5000),
    ],
)
async def test_unknown_paths(bot, sim, method, path, code):
    """Only the exact path counts; what looks like an order is still noted as one."""
    answer = await bot(method, path, BUY)

    assert answer.status == 404
    assert sim.received[-1].code == code
    assert sim.received[-1].is_order is ("rder" in path)
    assert sim.orders == {}


async def test_what_arrived_is_kept_byte_for_byte(bot, sim):
    """Target, headers and body stand in the record as they were sent, in order of arrival."""
    await bot("POST", "/api/v3/order", BUY + "&newClientOrderId=my-1", body="x%20=%2C")
    await bot("GET", "/api/v3/account")
    first, second = sim.received

    assert first.target.startswith(b"/api/v3/order?symbol=BTCUSDT&")
    assert first.body == b"x%20=%2C"
    assert first.headers[:2] == ((b"Host", b"sim"), (b"X-MBX-APIKEY", KEY.encode()))
    assert (first.sequence, second.sequence) == (0, 1)
    assert first.at_ns < second.at_ns
    assert (first.status, first.code, first.client_order_id) == (400, -1104, "my-1")
    assert sim.orders_received == [first]


async def test_orders_are_counted_in_the_headers(bot):
    """X-MBX-ORDER-COUNT-10S counts orders of the account, the weight counts everything."""
    first = await bot.place(BUY)
    second = await bot.place(BUY)
    read_only = await bot("GET", "/api/v3/account")

    assert (first.headers["x-mbx-order-count-10s"], second.headers["x-mbx-order-count-10s"]) == ("1", "2")
    assert "x-mbx-order-count-10s" not in read_only.headers
    assert read_only.headers["x-mbx-used-weight-1m"] == "22"
