"""ccxt looks Binance's futures codes up by host: what that means behind the proxy, and how to have them all."""

from __future__ import annotations

import json

import pytest

from tests.clients import matrix
from tests.clients.parts import SUBJECTS

pytestmark = pytest.mark.client

CCXT = [subject for subject in SUBJECTS if subject.environment == "ccxt"]
CODES = {  # code -> (the exchange's words, class with the full mapping)
    -2019: ("Margin is insufficient.", "InsufficientFunds"),
    -2022: ("ReduceOnly Order is rejected.", "InvalidOrder"),
    -4164: ("Order's notional must be no smaller than 100", "InvalidOrder"),
}
FUTURES = [subject for subject in CCXT if subject.market == "futures"]


def _place_with_answer(client, house, code: int) -> dict:
    body = json.dumps({"code": code, "msg": CODES[code][0]})
    house.fault(kind="status", status=400, body=body, match=f"POST {client.subject.order_path}")
    return client.place("0.005")


@pytest.mark.parametrize("subject", FUTURES, ids=str)
@pytest.mark.parametrize("code", CODES)
def test_plain_http_loses_the_futures_codes(client_in, house, subject, code):
    """Behind a plain address ccxt consults no futures table: the class is the measured ExchangeError."""
    client = client_in(house, subject, "passthrough")

    answer = _place_with_answer(client, house, code)

    assert answer["exception"] == matrix.raises(subject, 400, code) == "ExchangeError", answer


@pytest.mark.parametrize("subject", FUTURES, ids=str)
@pytest.mark.parametrize("code", CODES)
def test_an_own_domain_keeps_every_code(client_in, tls_house, subject, code):
    """With TLS under an own domain and ccxt's `hostname` set to it, codes mean what they mean at the exchange."""
    client = client_in(tls_house, subject, "passthrough", way=2)

    answer = _place_with_answer(client, tls_house, code)

    assert answer["exception"] == CODES[code][1], answer
    assert len(tls_house.orders()) == 1


@pytest.mark.parametrize("subject", CCXT, ids=str)
@pytest.mark.parametrize("mode", ["passthrough", "custody"])
def test_an_own_domain_serves_orders_and_reads(client_in, tls_house, subject, mode):
    """The second printed configuration works as printed: markets load, orders arrive, cancels pass."""
    client = client_in(tls_house, subject, mode, way=2)

    assert client.reads()["outcome"] == "ok"
    placed = client.place("0.05")
    assert placed["outcome"] == "ok", placed
    assert placed["headers"]["x-risk-decision"] == "scale_down"
    assert client.cancel(placed["sent_id"])["outcome"] == "ok"


@pytest.mark.parametrize("subject", FUTURES, ids=str)
@pytest.mark.parametrize("way", [1, 2])
def test_portfolio_margin_is_refused_for_good(client_in, house, tls_house, subject, way):
    """An order on a family that is not judged raises a final class that names the family, and is not sent."""
    running = house if way == 1 else tls_house
    client = client_in(running, subject, "passthrough", way=way)

    answer = client.place("0.005", form="portfolio_margin")

    assert answer["outcome"] == "raised", answer
    assert "OperationFailed" not in answer["parents"], "ccxt takes that family of classes for worth another try"
    assert "/papi" in answer["message"]
    assert running.orders() == []


@pytest.mark.parametrize("subject", CCXT, ids=str)
def test_a_block_is_the_same_either_way(client_in, house, tls_house, subject):
    """Our own refusals map to the same final class with and without the own domain."""
    answers = [
        client_in(running, subject, "passthrough", way=way).place("1000", symbol="DOGEUSDT")
        for running, way in ((house, 1), (tls_house, 2))
    ]

    assert [answer["exception"] for answer in answers] == [matrix.raises(subject, 403, -2010)] * 2
