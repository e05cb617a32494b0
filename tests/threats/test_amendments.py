"""Amendments of orders that nobody here knows: on which side they are is the bot's word, and proves nothing."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from proxy.book import Working
from rules import Bucket, EssLevel, Market, Position, Side, WorkingOrder
from tests.house import POLICY, open_house

CAPPED = {
    **POLICY,
    "accounts": POLICY["accounts"]
    | {"desk": POLICY["accounts"]["desk"] | {"scaling": "off", "size": {"position_notional_max": "500"}}},
}


@pytest.fixture
async def house(tmp_path):
    """A long position of 0.005, a working buy of 0.001, and a position cap of 500 (0.0083 at 60000)."""
    async with open_house(tmp_path, policy=CAPPED) as opened:
        buy = WorkingOrder(
            order_id="7", client_order_id="a", side=Side.BUY, bucket=Bucket.BOTH, remaining=Decimal("0.001"),
            price=Decimal(59000),
        )  # fmt: skip
        opened.book.apply_snapshot(
            "desk", Market.LINEAR, as_of=opened.clock.now(), positions={"BTCUSDT": Position(both=Decimal("0.005"))},
            orders=[Working("BTCUSDT", buy)],
        )  # fmt: skip
        yield opened


def amendment(house, **named):
    """An amendment that says of itself that it sells."""
    values = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.005", "price": "60000"} | named
    return house.request("PUT", "/fapi/v1/order", **values)


@pytest.mark.parametrize("named", [{"origClientOrderId": "a"}, {"orderId": "99"}])
async def test_a_stated_side_proves_no_reduction(house, named):
    """Under REDUCE_ONLY a buy does not grow by being amended as a sell under a name that nobody can look up."""
    await house.latch.engage(level=EssLevel.REDUCE_ONLY, scope="global", actor="x", reason="y", source="api")
    answer, body = await house.ask(amendment(house, **named))

    assert answer.status == 403, body
    assert not house.venue.sent


@pytest.mark.parametrize("named", [{"origClientOrderId": "a"}, {"orderId": "99"}])
async def test_a_stated_side_does_not_pass_the_position_cap(house, named):
    """What may be a buy counts as one: 0.005 held and 0.005 more are over the cap, whatever the side stated."""
    answer, body = await house.ask(amendment(house, **named))

    assert (answer.status, body["risk"]["reason"]) == (403, "position_exceeds_limit"), body
    assert not house.venue.sent


async def test_amendments_of_one_request_count_together(house):
    """Two of them that would fit one by one do not fit together."""
    one = {"symbol": "BTCUSDT", "side": "SELL", "price": "60000", "quantity": "0.0015"}
    batch = orjson.dumps([one | {"origClientOrderId": "a"}, one | {"origClientOrderId": "b"}]).decode()
    answer, body = await house.ask(house.request("PUT", "/fapi/v1/batchOrders", batchOrders=batch))

    assert answer.status == 403, body
    assert not house.venue.sent


async def test_an_amendment_in_flight_is_reserved_on_both_sides(house):
    """Until it is seen what it did, it may have bought as well as sold."""
    answer, body = await house.ask(amendment(house, origClientOrderId="a", quantity="0.002"))
    assert answer.status == 200, body
    sides = house.reservations.reserved("desk", "BTCUSDT")[Bucket.BOTH]

    assert (sides.buy, sides.sell) == (Decimal("0.002"), Decimal("0.002"))
    second, body = await house.ask(house.order(side="BUY", quantity="0.002", newClientOrderId="n"))
    assert (second.status, body["risk"]["reason"]) == (403, "position_exceeds_limit"), body
