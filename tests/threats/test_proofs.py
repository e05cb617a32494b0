"""A bot that wants to open what it may not, by orders that look as if they only closed: all the way but the socket."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from proxy.book import Working
from proxy.wire import WireResponse
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


def filled(quantity):
    """The venue's answer to an order that filled at once."""
    body = {"orderId": 9, "status": "FILLED", "executedQty": quantity, "origQty": quantity, "symbol": "BTCUSDT"}
    return lambda request: WireResponse(200, ((b"Content-Type", b"application/json"),), orjson.dumps(body))


CLOSE = {"side": "SELL", "type": "MARKET", "price": None, "timeInForce": None}


@pytest.mark.parametrize("age_s", [0, 9])
async def test_a_position_is_not_closed_twice(house, age_s):
    """A reduce-only close and a plain one: what the first took is not there for the second to reduce."""
    read(house, Position(both=Decimal("0.005")))
    house.forward(age_s)
    await reduce_only(house)
    house.venue.answer = filled("0.005")
    first, body = await house.ask(house.order(**CLOSE, reduceOnly="true"))
    assert first.status == 200, body
    second, body = await house.ask(house.order(**CLOSE))
    assert second.status == 403, body
    assert len(house.venue.sent) == 1
    again, body = await house.ask(house.order(**CLOSE, reduceOnly="true", newClientOrderId="again"))
    assert again.status == 200, body


async def test_a_refused_close_gives_the_proof_back(house):
    """What the venue refused took nothing: a plain close is proven again at once."""
    read(house, Position(both=Decimal("0.005")))
    await reduce_only(house)
    rejected = WireResponse(400, ((b"Content-Type", b"application/json"),), b'{"code":-2022,"msg":"ReduceOnly"}')
    house.venue.answer = lambda request: rejected
    await house.ask(house.order(**CLOSE, reduceOnly="true"))
    house.venue.answer = None
    answer, body = await house.ask(house.order(**CLOSE))
    assert answer.status == 200, body


@pytest.mark.parametrize("remaining", ["0.005", "0"])
async def test_a_plain_close_is_not_proven_beside_a_resting_stop(house, remaining):
    """The stop may fire first; close-position orders state no size. The way out is reduceOnly."""
    read(house, Position(both=Decimal("0.005")), resting("8", Side.SELL, remaining, "sl", closer=True))
    await reduce_only(house)
    answer, body = await house.ask(house.order(side="SELL", price="61000"))
    assert answer.status == 403, body
    answer, body = await house.ask(house.order(side="SELL", price="61000", reduceOnly="true"))
    assert answer.status == 200, body


async def test_a_resting_stop_does_not_lend_its_position_to_a_larger_short(house):
    """Held 0.008 with a stop for all of it: a sell of 0.016 may become a short of 960 under a cap of 500."""
    read(house, Position(both=Decimal("0.008")), resting("8", Side.SELL, "0.008", "sl", closer=True))
    answer, body = await house.ask(house.order(side="SELL", price="60000", quantity="0.016"))
    assert answer.status == 403, body
    answer, body = await house.ask(house.order(side="SELL", price="60000", quantity="0.008"))
    assert answer.status == 200, body
    answer, body = await house.ask(house.order(side="SELL", price="60100", quantity="0.008"))
    assert answer.status == 403, body
