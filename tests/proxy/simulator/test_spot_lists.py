"""Order lists: legs share funds, exclude each other and wake each other."""

from __future__ import annotations

from decimal import Decimal

import pytest

OCO = ("symbol=BTCUSDT&side=SELL&quantity=0.5&aboveType=LIMIT_MAKER&abovePrice=65000"
       "&belowType=STOP_LOSS_LIMIT&belowStopPrice=55000&belowPrice=54900&belowTimeInForce=GTC")
OTO = ("symbol=BTCUSDT&workingType=LIMIT&workingSide=BUY&workingPrice=50000&workingQuantity=0.1"
       "&workingTimeInForce=GTC&pendingType=LIMIT&pendingSide=SELL&pendingPrice=65000&pendingQuantity=0.1"
       "&pendingTimeInForce=GTC")
WORKING = ("symbol=BTCUSDT&workingType=LIMIT&workingSide=BUY&workingPrice=50000&workingQuantity=0.1"
           "&workingTimeInForce=GTC&pendingSide=SELL")
PAIR = "&pendingAboveType=LIMIT_MAKER&pendingAbovePrice=65000&pendingBelowType=STOP_LOSS&pendingBelowStopPrice=45000"


def _funds(sim, asset):
    balance = sim.accounts["main"].balance(asset)
    return balance.free, balance.locked


def _statuses(sim, answer):
    return [sim.orders[order["orderId"]].status for order in answer.json["orders"]]


async def test_oco_locks_once_and_the_upper_leg_wins(bot, sim):
    """Both legs share one lock; when the limit leg fills, the stop expires."""
    answer = await bot.place(OCO, "/api/v3/orderList/oco")
    assert (answer.status, answer.json["contingencyType"], len(answer.json["orderReports"])) == (200, "OCO", 2)
    assert _funds(sim, "BTC") == (Decimal("0.5"), Decimal("0.5"))
    sim.mark("BTCUSDT", Decimal(65100))
    assert _statuses(sim, answer) == ["FILLED", "EXPIRED"]
    assert _funds(sim, "BTC") == (Decimal("0.5"), 0)
    assert _funds(sim, "USDT") == (132_500, 0)
    assert (await bot("GET", "/api/v3/openOrderList")).json == []


async def test_oco_the_stop_leg_wins(bot, sim):
    """When the price falls to the stop, the limit leg expires and the stop takes the funds over."""
    answer = await bot.place(OCO, "/api/v3/orderList/oco")
    sim.mark("BTCUSDT", Decimal(54990))

    assert _statuses(sim, answer) == ["EXPIRED", "FILLED"]
    assert _funds(sim, "BTC") == (Decimal("0.5"), 0)


async def test_cancelling_one_leg_cancels_the_list(bot, sim):
    """DELETE order on a leg and DELETE orderList end all legs and free the funds."""
    answer = await bot.place(OCO, "/api/v3/orderList/oco")
    leg = answer.json["orders"][1]["orderId"]
    cancelled = await bot("DELETE", "/api/v3/order", f"symbol=BTCUSDT&orderId={leg}")
    assert cancelled.json["listOrderStatus"] == "ALL_DONE"
    assert _statuses(sim, answer) == ["CANCELED", "CANCELED"]
    again = await bot.place(OCO, "/api/v3/orderList/oco")
    list_id = again.json["orderListId"]
    done = await bot("DELETE", "/api/v3/orderList", f"symbol=BTCUSDT&orderListId={list_id}")
    assert done.status == 200
    assert _funds(sim, "BTC") == (1, 0)
    assert (await bot("DELETE", "/api/v3/orderList", f"symbol=BTCUSDT&orderListId={list_id}")).code == -2011


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (OCO.replace("abovePrice=65000", "abovePrice=59000"), -2010),
        (OCO.replace("belowType=STOP_LOSS_LIMIT", "belowType=LIMIT_MAKER"), -1106),
        (OCO.replace("belowStopPrice=55000", "belowStopPrice=61000"), -2010),
        (OCO.replace("quantity=0.5", "quantity=1.5"), -2010),
        (OCO.replace("quantity=0.5", "quantity=0"), -1013),
        (OCO.replace("&aboveType=LIMIT_MAKER", ""), -1102),
        (OCO + "&aboveClientOrderId=a&belowClientOrderId=a", -2010),
        (OCO + "&pendingPrice=1", -1104),
    ],
)
async def test_lists_that_are_refused(bot, sim, query, code):
    """Wrong relations, no funds, missing and foreign parameters leave nothing behind."""
    answer = await bot.place(query, "/api/v3/orderList/oco")

    assert answer.code == code, answer.body
    assert sim.orders == {}
    assert _funds(sim, "BTC") == (1, 0)


async def test_errors_name_the_leg_parameter(bot):
    """A leg's error names the parameter as the list endpoint calls it."""
    answer = await bot.place(OCO.replace("abovePrice=65000", "abovePrice=6e4"), "/api/v3/orderList/oco")

    assert "'abovePrice'" in answer.json["msg"]


async def test_legacy_oco(bot, sim):
    """POST /api/v3/order/oco makes a stop and a limit maker leg."""
    answer = await bot.place(
        "symbol=BTCUSDT&side=BUY&quantity=0.1&price=55000&stopPrice=65000&stopLimitPrice=65100"
        "&stopLimitTimeInForce=GTC&limitClientOrderId=low", "/api/v3/order/oco")
    assert [report["type"] for report in answer.json["orderReports"]] == ["STOP_LOSS_LIMIT", "LIMIT_MAKER"]
    assert answer.json["orderReports"][1]["clientOrderId"] == "low"
    # The dearer leg decides what is set aside.
    assert _funds(sim, "USDT") == (93_490, 6_510)
    sim.mark("BTCUSDT", Decimal(54990))
    assert _statuses(sim, answer) == ["EXPIRED", "FILLED"]
    assert _funds(sim, "USDT") == (94_500, 0)


async def test_oto_the_pending_order_waits_for_the_whole_fill(bot, sim):
    """A partial fill of the working order wakes nothing; the complete one does."""
    answer = await bot.place(OTO, "/api/v3/orderList/oto")
    working = answer.json["orders"][0]["orderId"]
    assert _statuses(sim, answer) == ["NEW", "PENDING_NEW"]
    sim.mark("BTCUSDT", Decimal(70000))
    sim.mark("BTCUSDT", Decimal(60000))
    sim.fill(working, Decimal("0.05"))
    assert _statuses(sim, answer) == ["PARTIALLY_FILLED", "PENDING_NEW"]
    sim.fill(working)
    assert _statuses(sim, answer) == ["FILLED", "NEW"]
    assert _funds(sim, "BTC") == (1, Decimal("0.1"))


async def test_oto_pending_ends_with_its_working_order(bot, sim):
    """Cancelling the working order cancels the pending one."""
    answer = await bot.place(OTO, "/api/v3/orderList/oto")
    await bot("DELETE", "/api/v3/openOrders", "symbol=BTCUSDT")

    assert _statuses(sim, answer) == ["CANCELED", "CANCELED"]
    assert _funds(sim, "USDT") == (100_000, 0)


async def test_otoco_wakes_a_pair(bot, sim):
    """After the working fill both pending legs live; one excludes the other."""
    answer = await bot.place(WORKING + PAIR + "&pendingQuantity=0.1", "/api/v3/orderList/otoco")
    sim.mark("BTCUSDT", Decimal(49900))
    assert _statuses(sim, answer) == ["FILLED", "NEW", "NEW"]
    sim.mark("BTCUSDT", Decimal(45000))
    assert _statuses(sim, answer) == ["FILLED", "EXPIRED", "FILLED"]
    assert _funds(sim, "BTC") == (1, 0)


async def test_opo_sells_what_was_received(bot, sim):
    """OPO has no pending quantity: it is what the working order received, less the fee."""
    sim.spot._fee_rate = Decimal("0.001")
    query = WORKING + "&pendingType=LIMIT&pendingPrice=65000&pendingTimeInForce=GTC"
    answer = await bot.place(query, "/api/v3/orderList/opo")
    sim.mark("BTCUSDT", Decimal(49900))

    assert sim.orders[answer.json["orders"][1]["orderId"]].quantity == Decimal("0.0999")
    assert (await bot.place(query.replace("Side=BUY", "Side=SELL"), "/api/v3/orderList/opo")).code == -1117


async def test_opoco_sells_what_was_received_by_an_oco(bot, sim):
    """Both pending legs take the quantity that was bought."""
    answer = await bot.place(WORKING + PAIR, "/api/v3/orderList/opoco")
    sim.mark("BTCUSDT", Decimal(49900))
    legs = [sim.orders[order["orderId"]] for order in answer.json["orders"]]

    assert [leg.quantity for leg in legs] == [Decimal("0.1")] * 3
    assert [leg.status for leg in legs] == ["FILLED", "NEW", "NEW"]
