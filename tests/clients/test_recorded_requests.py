"""The codec against requests that real clients wrote, kept byte for byte in tests/data/client_requests.

`python -m tests.clients.record` writes them anew.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.errors import NotAuthentic, SigningError
from proxy.exchanges.base import JUDGED, Credentials
from proxy.exchanges.binance import Binance
from proxy.wire import WireRequest, check_head
from rules import LeverageChange, MarginChange, Order, QuantityCut, Side
from tests.clients.forms import FORMS
from tests.clients.house import DESK, DIRECT
from tests.clients.parts import SUBJECTS

BINANCE = Binance()
FOLDER = Path(__file__).parents[1] / "data" / "client_requests"
FILES = sorted(FOLDER.rglob("*.http"))
BUYS = ("limit", "market", "test", "batch")
SELLS = ("stop_loss", "reduce_only", "oco")


def read(file: Path) -> WireRequest:
    """A request as our listener hands it on."""
    head, _, body = file.read_bytes().partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.split(b" ")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(b":") for line in lines))
    return WireRequest(method=method.decode(), target=target, headers=headers, body=body)


def quantities(instructions) -> list[Decimal | None]:
    """What orders and amendments ask for."""
    return [one.quantity for one in instructions if isinstance(one, Order | QuantityCut)]


@pytest.fixture(params=FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def file(request) -> Path:
    """Every recorded request."""
    return request.param


def test_every_way_of_using_every_client_is_recorded():
    """A client whose requests were lost would be tested by nothing here."""
    assert {file.parent.name for file in FILES} == {str(subject) for subject in SUBJECTS}
    assert all((FOLDER / str(subject) / "limit.http").is_file() for subject in SUBJECTS)


def test_recorded_requests_mean_what_the_client_was_told(file):
    """Head, place in the table, key, and the instructions with their quantities come out right."""
    request, form = read(file), file.stem
    check_head(request)
    recognised = BINANCE.recognise(request)
    parsed = BINANCE.parse(request, recognised)

    assert recognised.verb in JUDGED
    assert BINANCE.api_key(request) == DIRECT.key
    if form in ("leverage", "margin_mode"):
        assert [type(one) for one in parsed.instructions] == [LeverageChange if form == "leverage" else MarginChange]
        return
    orders = [one for one in parsed.instructions if isinstance(one, Order)]
    asked = Decimal(FORMS[form][0])
    assert {one.symbol for one in orders} <= {"BTCUSDT"}
    if form == "market_by_cost":
        assert [one.quote_quantity for one in orders] == [asked]
    elif b"closePosition=" in request.query + request.body:
        assert orders[0].close_position
    else:
        assert set(quantities(parsed.instructions)) == {asked}
    if form in BUYS + SELLS:
        assert {one.side for one in orders} == {Side.BUY if form in BUYS else Side.SELL}
    assert len(orders) == (2 if form in ("batch", "oco") else 1)


def test_recorded_signatures_verify(file):
    """What the client signed is what we think it signed; with one byte changed it is not."""
    request = read(file)
    params = BINANCE.read_params(request)

    BINANCE.verify(request, params, DIRECT.secret.encode())
    with pytest.raises(NotAuthentic):
        BINANCE.verify(request, params, DIRECT.secret.encode() + b"x")
    place = "target" if b"timestamp=" in request.target else "body"
    changed = replace(request, **{place: getattr(request, place).replace(b"timestamp=1", b"timestamp=2")})
    with pytest.raises(NotAuthentic):
        BINANCE.verify(changed, BINANCE.read_params(changed), DIRECT.secret.encode())


def test_signing_again_changes_key_and_signature_only(file):
    """A custody bot's order leaves with the same parameters in the same order, and verifies with the other secret."""
    request = read(file)
    credentials = Credentials(api_key=DESK.key, secret=DESK.secret.encode())

    signed = BINANCE.sign(request, credentials)

    assert BINANCE.api_key(signed) == DESK.key
    BINANCE.verify(signed, BINANCE.read_params(signed), credentials.secret)
    before, after = (BINANCE.read_params(one).items for one in (request, signed))
    assert [(one.name, one.place) for one in before] == [(one.name, one.place) for one in after]
    assert [one for one in before if one.name != "signature"] == [one for one in after if one.name != "signature"]
    assert [name for name, _ in request.headers] == [name for name, _ in signed.headers]


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_recorded_orders_can_be_made_smaller(subject):
    """Every client's way of writing a quantity can be rewritten, signed and read back."""
    request = read(FOLDER / str(subject) / "limit.http")
    recognised = BINANCE.recognise(request)
    parsed = BINANCE.parse(request, recognised)

    scaled = BINANCE.rescale(request, parsed, [Decimal("0.001")])
    signed = BINANCE.sign(scaled, Credentials(api_key=DESK.key, secret=DESK.secret.encode()))

    [after] = BINANCE.parse(signed, recognised).instructions
    [before] = parsed.instructions
    assert after.quantity == Decimal("0.001")
    assert replace(after, quantity=before.quantity) == before


@pytest.mark.parametrize("file", [one for one in FILES if one.stem == "batch"], ids=lambda file: file.parent.name)
def test_recorded_batches_are_never_rewritten(file):
    """A batch is one whole: too large, it is refused and not shrunk leg by leg."""
    request = read(file)
    recognised = BINANCE.recognise(request)

    with pytest.raises(SigningError):
        BINANCE.rescale(request, BINANCE.parse(request, recognised), [Decimal("0.001"), Decimal("0.001")])
