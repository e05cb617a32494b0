"""A bot that wants to open what it may not, by orders that look as if they only closed: all the way but the socket."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.book import Working
from rules import Bucket, EssLevel, Market, Position, Side, WorkingOrder
from tests.house import POLICY, open_house

CAPPED = {
    **POLICY,
    "accounts": POLICY["accounts"]
    | {
        "desk": POLICY["accounts"]["desk"]
        | {"scaling": "off", "size": {"order_notional_max": "1000", "position_notional_max": "500"}}
    },
}


@pytest.fixture
async def house(tmp_path):
    """Fresh facts, nothing held, and a position cap of 500."""
    async with open_house(tmp_path, policy=CAPPED) as opened:
        yield opened


def resting(order_id, side, remaining, client_order_id=None, *, bucket=Bucket.BOTH, closer=False):
    """An order that the account feed has read."""
    return Working(
        "BTCUSDT",
        WorkingOrder(
            order_id=order_id, client_order_id=client_order_id, side=side, bucket=bucket,
            remaining=Decimal(remaining), price=Decimal(59000), reduces_by_venue=closer,
        ),
    )  # fmt: skip


def read(house, position, *orders):
    """The account feed has read so much."""
    house.book.apply_snapshot(
        "desk", Market.LINEAR, as_of=house.clock.now(), positions={"BTCUSDT": position}, orders=list(orders)
    )


async def reduce_only(house):
    """The emergency stop lets only reductions pass."""
    await house.latch.engage(level=EssLevel.REDUCE_ONLY, scope="global", actor="x", reason="y", source="api")


def amendment(house, **named):
    """A futures amendment to 1000 BTC, or as told."""
    values = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "1000", "price": "60000"} | named
    return house.request("PUT", "/fapi/v1/order", **values)


@pytest.mark.parametrize(
    ("closer", "named"),
    [
        pytest.param(("8", "7"), {"orderId": "7"}, id="digits as client id"),
        pytest.param(("8", "ro"), {"orderId": "6", "origClientOrderId": "ro"}, id="order id not read yet"),
        pytest.param(("8", "X"), {"origClientOrderId": "X"}, id="client id given on since the reading"),
    ],
)
async def test_no_order_borrows_the_reduce_only_mark_of_another(house, closer, named):
    """An amendment is proven only by the order that the venue will amend, found by the venue's own id."""
    order_id, client_id = closer
    read(
        house, Position(both=Decimal("-0.001")),
        resting("7", Side.BUY, "0.001", "a"), resting(order_id, Side.BUY, "0.001", client_id, closer=True),
    )  # fmt: skip
    await reduce_only(house)
    answer, body = await house.ask(amendment(house, **named))

    assert answer.status == 403, body
    assert not house.venue.sent


async def test_a_reduce_only_order_may_still_be_amended_by_its_own_id(house):
    """Trailing a stop is ordinary life, also while only reductions pass."""
    read(house, Position(both=Decimal("-0.001")), resting("8", Side.BUY, "0.001", closer=True))
    await reduce_only(house)
    answer, body = await house.ask(amendment(house, orderId="8", quantity="0.001", price="61000"))

    assert answer.status == 200, body


async def test_an_amendment_in_hedge_mode_counts_on_its_orders_leg(house):
    """A LONG order of 0.001 cannot become 0.008 beside a LONG position of 0.008 under a cap of 500."""
    house.book.apply_hedge_mode("desk", hedge_mode=True, as_of=house.clock.now())
    read(house, Position(long=Decimal("0.008")), resting("7", Side.BUY, "0.001", "a", bucket=Bucket.LONG))
    for named in ({"orderId": "7"}, {"origClientOrderId": "a"}):
        answer, body = await house.ask(amendment(house, quantity="0.008", **named))
        assert answer.status == 403, body

    assert not house.venue.sent


async def test_an_amendment_cannot_turn_a_buy_into_a_proven_sell(house):
    """The amendment states its own side; the order that it names says otherwise."""
    read(house, Position(both=Decimal("0.5")), resting("7", Side.BUY, "0.001", "a"))
    await reduce_only(house)
    answer, body = await house.ask(amendment(house, side="SELL", quantity="0.5", orderId="7"))

    assert answer.status == 403, body
    assert not house.venue.sent
