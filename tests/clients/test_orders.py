"""Real clients, configured as `riskgate snippet` prints it, against proxy and exchange over sockets."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.clients import matrix
from tests.clients.parts import Request

pytestmark = pytest.mark.client

HOP_BY_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}
SCALED = {"spot": Decimal("0.01016"), "futures": Decimal("0.010")}  # 600 USDT at 59000 on the lot step


def _sent(house, path: str) -> list[Request]:
    """The requests the client wrote to one path."""
    found = [Request.read(raw) for raw in house.sent()]
    return [one for one in found if one.target.partition("?")[0] == path]


def test_the_versions_are_the_measured_ones(client):
    """The pinned client is the one whose reactions were measured; another one has to be measured anew."""
    assert client.version == matrix.version(client.subject)


def test_the_client_reads_what_it_needs(client):
    """Listing, server time and balance come through, in both key modes, with the URLs the snippet printed."""
    found = client.reads()

    assert found["outcome"] == "ok", found
    assert found["symbols"] >= 4
    assert found["time"] > 1_700_000_000_000
    # Other tests trade a little on the same account.
    assert abs(Decimal(found["usdt"]) - 1_000_000) < 20_000


def test_an_order_within_limits_arrives(client, house):
    """It reaches the exchange once; a passthrough bot's request byte for byte, a custody bot's with our signature."""
    answer = client.place("0.005")

    assert answer["outcome"] == "ok", answer
    assert Decimal(answer["quantity"]) == Decimal("0.005")
    assert answer["id"] == answer["sent_id"]
    [arrived] = house.orders()
    assert arrived["status"] == 200
    [sent] = _sent(house, client.subject.order_path)
    if client.mode == "passthrough":
        assert (arrived["method"], arrived["target"], arrived["body"]) == (sent.method, sent.target, sent.body)
        assert _end_to_end(arrived["headers"]) == _end_to_end(sent.headers)
    else:
        assert sent.parameters()["signature"] not in arrived["target"] + arrived["body"]
        before, after = sent.parameters(), Request(**_as_request(arrived)).parameters()
        assert before | {"signature": ""} == after | {"signature": ""}


def test_an_order_that_is_too_large_arrives_smaller(client, house):
    """The exchange gets the scaled quantity under a valid signature, and the client reads it in its answer."""
    answer = client.place("0.05")

    assert answer["outcome"] == "ok", answer
    [arrived] = house.orders()
    assert arrived["status"] == 200
    expected = SCALED[client.subject.market]
    assert Decimal(Request(**_as_request(arrived)).parameters()["quantity"]) == expected
    assert Decimal(answer["quantity"]) == expected
    if "headers" in answer:  # the official connectors do not show headers
        assert answer["headers"]["x-risk-decision"] == "scale_down"
        assert Decimal(answer["headers"]["x-risk-quantity"]) == expected
        assert Decimal(answer["headers"]["x-risk-original-quantity"]) == Decimal("0.05")


def test_a_blocked_order_raises_the_measured_class(client, house):
    """A symbol nobody allowed: the final class that was measured, our sentence in it, nothing at the exchange."""
    answer = client.place("1000", symbol="DOGEUSDT")

    _assert_refused(client, answer, house)
    assert "DOGEUSDT" in answer["message"]


def test_halted_means_nothing_arrives(client, house):
    """While halted an order raises the same final class, and nothing reaches the exchange."""
    with house.halted():
        answer = client.place("0.005")

    _assert_refused(client, answer, house)
    assert "halt" in answer["message"].lower()


def test_a_cancel_passes_while_halted(client, house):
    """What rests can always be taken away."""
    placed = client.place("0.005")
    assert placed["outcome"] == "ok", placed

    with house.halted():
        answer = client.cancel(placed["sent_id"])

    assert answer["outcome"] == "ok", answer
    assert answer["id"] == placed["sent_id"]
    assert answer["status"].upper() == "CANCELED"


# What a client raises for 504 with -1007; not part of the matrix, which was measured with blocks.
TIMED_OUT = {
    "ccxt": "RequestTimeout",
    "python-binance": "BinanceAPIException",
    "binance-connector": "ServerError",
    "binance-futures-connector": "ServerError",
    "binance-sdk": "ServerError",
}


def test_silence_is_told_as_unknown_and_sent_once(client, house):
    """An exchange that never answers: 504 with -1007 in the client's own class, and one copy of the order."""
    house.fault(kind="never_answer", match=f"POST {client.subject.order_path}")

    answer = client.place("0.005")

    assert answer["outcome"] == "raised", answer
    assert answer["exception"] == TIMED_OUT[client.subject.environment], answer
    # binance-sdk shows nothing of a 5xx but its status.
    assert ("504" if client.subject.environment == "binance-sdk" else "unknown") in answer["message"], answer
    assert [one["client_order_id"] for one in house.orders()] == [answer["sent_id"]]
    assert len(_sent(house, client.subject.order_path)) == 1


def _assert_refused(client, answer, house) -> None:
    assert answer["outcome"] == "raised", answer
    assert answer["exception"] == matrix.raises(client.subject, 403, -2010), answer
    assert "risk gate: " in answer["message"]
    assert "decision " in answer["message"]
    assert house.orders() == []
    assert len(_sent(house, client.subject.order_path)) == 1, "a final refusal is not tried again"


def _end_to_end(headers: list[list[str]]) -> list[list[str]]:
    return [one for one in headers if one[0].lower() not in HOP_BY_HOP]


def _as_request(arrived: dict[str, object]) -> dict[str, object]:
    return {name: arrived[name] for name in ("method", "target", "headers", "body")}
