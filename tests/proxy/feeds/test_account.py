"""An account read by polling, at the simulated exchange and from rows written by hand."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from proxy.book import AccountPlace
from proxy.exchanges.base import Answer, AnswerKind, OrderState
from proxy.feeds.account import (
    StaticAccount,
    conditional_order,
    futures_order,
    futures_positions,
    spot_balances,
    spot_order,
)
from proxy.feeds.reading import Malformed
from proxy.reservations import Fate
from proxy.tasks import Tasks
from rules import CLEAR, Bucket, Caller, Facts, Market, Order, OrderType, Position, Side, Sides

D = Decimal


async def test_a_futures_account_is_read_whole(world):
    """Equity, position, working and conditional orders, leverage and mode are what the exchange has."""
    await world.send("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage="7")
    await world.send("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    await world.send(
        "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.020", price="30000",
        timeInForce="GTC", newClientOrderId="mine",
    )  # fmt: skip
    await world.send(
        "POST", "/fapi/v1/order", symbol="BTCUSDT", side="SELL", type="LIMIT", quantity="0.005", price="90000",
        timeInForce="GTC", reduceOnly="true", newClientOrderId="exit",
    )  # fmt: skip
    await world.send(
        "POST", "/fapi/v1/algoOrder", algoType="CONDITIONAL", symbol="BTCUSDT", side="SELL", type="STOP_MARKET",
        triggerPrice="20000", quantity="0.030", clientAlgoId="stop",
    )  # fmt: skip
    await world.read()
    facts = world.symbol(Market.LINEAR)
    assert facts.position.value == Position(both=D("0.010"))
    assert facts.working[Bucket.BOTH] == Sides(buy=D("0.020"), sell=D("0.030"))
    working = {one.client_order_id: one for one in facts.orders_by_id.values()}
    assert working["mine"].price == 30000
    assert working["exit"].reduces_by_venue
    assert working["stop"].trigger_price == 20000
    assert facts.leverage.value == 7
    assert facts.leverage_max >= 7
    sums = world.book.account_sums("main", Market.LINEAR, ["BTCUSDT"], world.clock.now()).value
    brackets = sums.brackets["BTCUSDT"]
    assert sums.orders_by_symbol == {"BTCUSDT": 3}
    assert [step.rate for step in brackets[:2]] == [D("0.004"), D("0.008")]
    assert [step.notional_max for step in brackets] == sorted(step.notional_max for step in brackets)
    assert world.book.hedge_mode("main", Market.LINEAR, world.clock.now()).value is False
    mark = facts.price.value.mark
    assert world.book.symbol_notional("main", Market.LINEAR, "BTCUSDT") == D("0.030") * mark
    shown = await world.send("GET", "/fapi/v3/account")
    linear = D(shown["totalMarginBalance"])
    spot = D(5000) + D("0.5") * world.symbol(Market.SPOT).price.value.mark
    assert world.book.equity("main", world.clock.now()).value == linear + spot


async def test_an_untouched_symbol_is_flat_and_has_its_leverage(world):
    """What positionRisk leaves out is flat and fresh; its leverage comes from the symbols' settings."""
    await world.read()
    facts = world.symbol(Market.LINEAR, "ETHUSDT")
    assert facts.position.value == Position()
    assert facts.leverage is not None


async def test_hedge_mode_is_read(world):
    """After the switch, positions are kept per leg."""
    await world.send("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")
    for side, leg in (("BUY", "LONG"), ("SELL", "SHORT")):
        await world.send(
            "POST", "/fapi/v1/order", symbol="BTCUSDT", side=side, positionSide=leg, type="MARKET", quantity="0.010"
        )
    await world.read()
    assert world.book.hedge_mode("main", Market.LINEAR, world.clock.now()).value is True
    assert world.symbol(Market.LINEAR).position.value == Position(long=D("0.010"), short=D("0.010"))


async def test_a_spot_account_is_read_whole(world):
    """Coins in orders still count as held; the order waits to sell."""
    await world.send(
        "POST", "/api/v3/order", symbol="BTCUSDT", side="SELL", type="LIMIT", quantity="0.20000", price="90000",
        timeInForce="GTC",
    )  # fmt: skip
    await world.read()
    facts = world.symbol(Market.SPOT)
    assert facts.position.value.both == D("0.5")
    assert facts.working[Bucket.BOTH] == Sides(sell=D("0.2"))
    assert facts.filters.value.base_asset == "BTC"


async def test_the_legs_of_an_oco_count_once(world):
    """A take-profit and a stop of one list sell once."""
    await world.send(
        "POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="SELL", quantity="0.20000",
        aboveType="LIMIT_MAKER", abovePrice="90000", belowType="STOP_LOSS", belowStopPrice="20000",
    )  # fmt: skip
    await world.read()
    assert world.symbol(Market.SPOT).working[Bucket.BOTH] == Sides(sell=D("0.2"))


async def test_the_first_reading_of_equity_begins_day_and_week(world):
    """Losses are measured from the equity that was read first, as soon as the whole of it was."""
    await world.read()
    now = world.clock.now()
    equity = world.book.equity("main", now)
    losses = world.day_start.losses("main", equity, now).value
    assert losses.day_start_equity == losses.week_start_equity == losses.high_water_mark == equity.value


async def test_orders_are_read_before_positions(world):
    """Conditional orders, orders, positions: what moves in between is seen twice, never missed."""
    await world.read()
    paths = [received.target.partition(b"?")[0] for received in world.exchange.received]
    order = [b"/fapi/v1/openAlgoOrders", b"/fapi/v1/openOrders", b"/fapi/v3/positionRisk"]
    assert [path for path in paths if path in order][:3] == order


async def test_a_reservation_ends_with_the_reading_after_its_answer(world):
    """Reserved until read; then the working order takes its place, counted once."""
    await world.read()
    caller = Caller(account="main", exchange="binance", strategy="s", bot="b")
    order = Order(
        symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=D("0.02"),
        price=D(30000), client_order_id="mine",
    )  # fmt: skip
    now = world.clock.now()
    facts = Facts(now=now, caller=caller, stop=CLEAR, symbols={"BTCUSDT": world.symbol(Market.LINEAR)})
    world.reservations.reserve("d", caller, "k", [order], [order.quantity], facts)
    found = await world.send(
        "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.020", price="30000",
        timeInForce="GTC", newClientOrderId="mine",
    )  # fmt: skip
    state = OrderState(kind=AnswerKind.ACCEPTED, order_id=str(found["orderId"]))
    world.reservations.settle("d", Answer(kind=AnswerKind.ACCEPTED, orders=(state,)), world.clock.now())
    assert world.symbol(Market.LINEAR).waiting(Bucket.BOTH).buy == D("0.02")
    await world.read()
    facts_after = world.symbol(Market.LINEAR)
    assert (facts_after.reserved, facts_after.waiting(Bucket.BOTH).buy) == ({}, D("0.02"))
    assert world.reservations.counts()[Fate.ACCEPTED] == 0


async def test_polls_in_the_background_and_reads_early_when_poked(world):
    """Started feeds keep the book fresh by themselves, become ready, and end when closed."""
    tasks = Tasks()
    world.feeds.start(tasks)
    try:
        async with asyncio.timeout(10):
            while not all(health.ready for health in world.feeds.health()):
                await asyncio.sleep(0.02)
            await world.send(
                "POST", "/fapi/v1/order", symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.100"
            )
            world.feeds.poke("main", Market.LINEAR, config=True)
            world.feeds.poke("nobody", Market.SPOT)
            while world.symbol(Market.LINEAR, "ETHUSDT").position.value.both != D("0.1"):
                await asyncio.sleep(0.02)
    finally:
        await world.feeds.close()
        await tasks.close()


def futures_row(**more: object) -> dict[str, object]:
    """A row of openOrders."""
    return {
        "orderId": 7, "clientOrderId": "c", "symbol": "BTCUSDT", "side": "BUY", "positionSide": "BOTH",
        "origQty": "2", "executedQty": "0.5", "price": "0", "stopPrice": "0", "reduceOnly": False,
        "closePosition": False, **more,
    }  # fmt: skip


def test_remaining_is_what_has_not_traded():
    """Of 2 with 0.5 executed, 1.5 wait; a price of 0 is no price."""
    symbol, order, group = futures_order(futures_row())
    assert (symbol, group) == ("BTCUSDT", None)
    assert (order.remaining, order.price, order.reduces_by_venue) == (D("1.5"), None, False)


@pytest.mark.parametrize(
    ("more", "reduces"),
    [
        ({"reduceOnly": True}, True),
        ({"closePosition": True}, True),
        ({"positionSide": "LONG", "side": "SELL"}, True),
        ({"positionSide": "SHORT", "side": "BUY"}, True),
        ({"positionSide": "LONG"}, False),
    ],
)
def test_what_the_venue_keeps_from_opening_is_marked(more, reduces):
    """Reduce-only, close-position and the closing side of a leg cannot open."""
    assert futures_order(futures_row(**more)).order.reduces_by_venue is reduces


@pytest.mark.parametrize(
    "more",
    [
        {"side": "buy"}, {"side": None}, {"positionSide": "NET"}, {"origQty": "many"}, {"origQty": "-1"},
        {"executedQty": None}, {"reduceOnly": "false"}, {"closePosition": 0}, {"symbol": ""}, {"orderId": None},
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_refused(more):
    """One bad field makes the whole reading malformed: half of an account is not an account."""
    with pytest.raises(Malformed):
        futures_order(futures_row(**more))


def test_conditional_orders_have_ids_of_their_own():
    """An algo order with the id of a plain one is another order; closing the position needs no quantity."""
    row = {
        "algoId": 7, "clientAlgoId": "s", "symbol": "BTCUSDT", "side": "SELL", "positionSide": "BOTH",
        "quantity": "", "price": "0", "triggerPrice": "9", "reduceOnly": False, "closePosition": True,
    }  # fmt: skip
    order = conditional_order(row).order
    assert (order.order_id, order.remaining, order.reduces_by_venue) == ("algo:7", 0, True)


def test_rows_of_one_symbol_and_leg_are_not_added_up():
    """The same position twice is a reading that cannot be trusted."""
    row = {"symbol": "BTCUSDT", "positionSide": "BOTH", "positionAmt": "1"}
    assert futures_positions([row]) == {"BTCUSDT": Position(both=D(1))}
    with pytest.raises(Malformed, match="two positions"):
        futures_positions([row, row])
    with pytest.raises(Malformed, match="twice"):
        spot_balances([{"asset": "BTC", "free": "1", "locked": "0"}] * 2)


def test_spot_orders_outside_a_list_have_no_group():
    """orderListId -1 means none."""
    row = {**futures_row(), "orderListId": -1}
    assert spot_order(row).group is None
    assert spot_order({**row, "orderListId": 5, "status": "NEW"}).group == "5"
    assert spot_order({**row, "orderListId": 5}).group is None, "without a state it may fill with any other"


async def test_what_waits_for_its_list_to_begin_counts_besides_it(world):
    """Of an OTO that buys and then buys again both count; a pending OCO counts once, on its own side."""
    await world.read()
    row = {**futures_row(executedQty="0"), "orderListId": 5, "status": "NEW"}
    pending = {**row, "orderId": 8, "status": "PENDING_NEW"}
    sells = [{**pending, "orderId": number, "side": "SELL", "orderListId": 6} for number in (10, 11)]
    first = {**row, "orderId": 9, "orderListId": 6}
    orders = [spot_order(one) for one in (row, pending, first, *sells)]
    world.book.apply_snapshot("main", Market.SPOT, as_of=world.clock.now(), positions={}, orders=orders)
    assert world.symbol(Market.SPOT).working[Bucket.BOTH] == Sides(buy=D(6), sell=D(2))


async def test_a_static_account_needs_an_equity():
    """Without credentials and without an equity there is nothing to judge by."""
    with pytest.raises(ValueError, match="neither credentials nor a configured equity"):
        StaticAccount(AccountPlace(name="a", exchange="x", markets=frozenset()))
    feed = StaticAccount(AccountPlace(name="a", exchange="x", markets=frozenset(), equity_static=D(1)))
    assert await feed.read_once()
    assert feed.health()[0].ready
