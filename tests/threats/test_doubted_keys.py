"""A passthrough bot's key in the hands of somebody without its secret."""

from __future__ import annotations

import hashlib
import hmac

import orjson
import pytest

from proxy.exchanges.base import Credentials
from proxy.wire import WireResponse
from tests.canary import KEY, SECRET, marked
from tests.house import PLAIN_KEY, VENUE_SECRET, accepted, open_house

GUESS = marked("guess").encode()
JSON = ((b"Content-Type", b"application/json"),)


def checking(request):
    """A venue that checks signatures as Binance does."""
    signed, _, signature = request.body.rpartition(b"&signature=")
    if hmac.new(VENUE_SECRET, signed, hashlib.sha256).hexdigest().encode() == signature:
        return accepted(request)
    return WireResponse(
        400, JSON, orjson.dumps({"code": -1022, "msg": "Signature for this request is not valid."})
    )


@pytest.fixture
async def house(tmp_path):
    """The account `plain` is passthrough, and its secret is configured."""
    async with open_house(tmp_path) as opened:
        opened.venue.answer = checking
        yield opened


def order(house, number, *, secret=VENUE_SECRET):
    """One of the bot's orders, each with its own name."""
    return house.order(key=PLAIN_KEY, secret=secret, quantity="0.001", newClientOrderId=f"n{number}")


async def test_orders_with_a_wrong_signature_reach_the_venue_once(house):
    """The venue refuses the first; the others are refused here, and take nothing of the bot's rate."""
    first, body = await house.ask(order(house, 0, secret=GUESS))
    assert (first.status, body["code"]) == (400, -1022)
    for number in range(1, 30):
        answer, body = await house.ask(order(house, number, secret=GUESS))
        assert (answer.status, body["code"], body["risk"]["reason"]) == (403, -1022, "signature_invalid")

    assert len(house.venue.sent) == 1
    assert house.reservations._sent.count(("plain", "grid2"), house.clock.monotonic(), 60.0) == 1
    answer, body = await house.ask(order(house, 99))
    assert answer.status == 200, body


async def test_what_is_refused_for_its_signature_fills_no_disk(house):
    """Under a known key as under none: a bounded number of refusals is on record."""
    for number in range(1600):
        await house.ask(order(house, number, secret=GUESS))

    assert 900 < len(house.records("refusal")) <= 1000


async def test_a_key_that_was_not_misused_is_not_checked_here(house, monkeypatch):
    """It costs time, so it is done only after the venue found a signature wrong, and not for good."""
    checked = []
    exchange = type(house.parts.exchange)
    verify = exchange.verify_own
    monkeypatch.setattr(exchange, "verify_own", lambda self, *given: checked.append(1) or verify(self, *given))
    assert (await house.ask(order(house, 1)))[0].status == 200
    assert checked == []
    await house.ask(order(house, 2, secret=GUESS))
    assert (await house.ask(order(house, 3)))[0].status == 200
    assert checked == [1]
    house.forward(601)
    house.refresh()
    await house.policies.refresh()
    assert (await house.ask(order(house, 4)))[0].status == 200
    assert (await house.ask(order(house, 5)))[0].status == 200
    assert checked == [1]


async def test_the_secret_of_another_key_checks_nothing(tmp_path):
    """A bot with a key of its own beside the account's: only the venue can tell, so it is asked each time."""
    other = Credentials(api_key=KEY, secret=SECRET)
    async with open_house(tmp_path, plain_credentials=other) as house:
        house.venue.answer = checking
        await house.ask(order(house, 0, secret=GUESS))
        answer, body = await house.ask(order(house, 1))

        assert answer.status == 200, body


async def test_a_banned_address_is_noted_whatever_was_asked(house):
    """A read that is answered 418 means that orders would prolong the ban: nothing opens until it is over."""
    banned = WireResponse(418, (*JSON, (b"Retry-After", b"30")), b'{"code":-1003,"msg":"banned"}')
    house.venue.answer = lambda request: banned
    await house.pipeline.handle(house.request("GET", "/fapi/v1/openOrders", key=PLAIN_KEY, secret=VENUE_SECRET))
    house.venue.answer = checking
    answer, body = await house.ask(order(house, 1))

    assert (answer.status, body["risk"]["reason"]) == (429, "upstream_backoff")
    house.forward(31)
    house.refresh()
    assert (await house.ask(order(house, 2)))[0].status == 200
