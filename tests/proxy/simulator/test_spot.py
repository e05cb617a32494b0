"""Spot orders: what is refused with which code, and what becomes of the rest."""

from __future__ import annotations

from decimal import Decimal

import pytest

LIMIT = "symbol=BTCUSDT&type=LIMIT&timeInForce=GTC"
MARKET = "symbol=BTCUSDT&type=MARKET"


def _has(sim, asset):
    balance = sim.accounts["main"].balance(asset)
    return balance.free, balance.locked


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=NOPE&side=BUY&type=MARKET&quantity=1", -1121),
        ("side=BUY&type=MARKET&quantity=1", -1102),
        (f"{MARKET}&quantity=1", -1102),
        (f"{MARKET}&side=LONG&quantity=1", -1117),
        ("symbol=BTCUSDT&side=BUY&type=GUESS&quantity=1", -1116),
        (f"{MARKET}&side=BUY", -1102),
        (f"{MARKET}&side=BUY&quantity=0", -1013),
        (f"{MARKET}&side=BUY&quantity=", -1105),
        (f"{MARKET}&side=BUY&quantity=-1", -1100),
        (f"{MARKET}&side=BUY&quantity=1e-2", -1100),
        (f"{MARKET}&side=BUY&quantity=%EF%BC%91", -1100),
        (f"{MARKET}&side=BUY&quantity=0.010000001", -1111),
        (f"{MARKET}&side=BUY&quantity=0.010001", -1013),  # step
        (f"{MARKET}&side=BUY&quantity=0.000001", -1013),  # minimum
        (f"{MARKET}&side=BUY&quantity=115.00001", -1013),  # MARKET_LOT_SIZE
        (f"{MARKET}&side=BUY&quantity=0.00008", -1013),  # NOTIONAL: 4.80
        (f"{MARKET}&side=BUY&quantity=0.01&price=60000", -1106),
        (f"{MARKET}&side=BUY&quantity=0.01&timeInForce=GTC", -1106),
        (f"{MARKET}&side=BUY&quantity=0.01&quoteOrderQty=100", -1106),
        (f"{MARKET}&side=BUY&quantity=0.01&stopPrice=1", -1106),
        (f"{MARKET}&side=BUY&quantity=0.01&newOrderRespType=ALL", -1154),
        (f"{MARKET}&side=BUY&quantity=0.01&newClientOrderId=a%20b", -1100),
        (f"{MARKET}&side=BUY&quantity=2", -2010),
        (f"{MARKET}&side=SELL&quantity=1.00001", -2010),
        (f"{LIMIT}&side=BUY&quantity=0.01", -1102),
        ("symbol=BTCUSDT&type=LIMIT&side=BUY&quantity=0.01&price=50000", -1102),
        ("symbol=BTCUSDT&type=LIMIT&timeInForce=DAY&side=BUY&quantity=0.01&price=50000", -1115),
        (f"{LIMIT}&side=BUY&quantity=0.01&price=50000.001", -1013),  # tick
        (f"{LIMIT}&side=BUY&quantity=0.01&price=11999.99", -1013),  # PERCENT_PRICE_BY_SIDE
        (f"{LIMIT}&side=BUY&quantity=0.01&quoteOrderQty=5&price=50000", -1106),
        (f"{LIMIT}&side=BUY&quantity=0.01&price=50000&icebergQty=0.02", -1013),
        ("symbol=BTCUSDT&type=LIMIT_MAKER&side=BUY&quantity=0.01&price=60100", -2010),
        ("symbol=BTCUSDT&type=STOP_LOSS&side=SELL&quantity=0.01", -1102),
        ("symbol=BTCUSDT&type=STOP_LOSS&side=SELL&quantity=0.01&stopPrice=60001", -2010),
        ("symbol=BTCUSDT&type=STOP_LOSS&side=SELL&quantity=0.01&trailingDelta=9", -1013),
    ],
)
@pytest.mark.parametrize("path", ["/api/v3/order", "/api/v3/order/cancelReplace"])
async def test_refusals(bot, sim, query, code, path):
    """Each is refused with the documented code and leaves nothing behind."""
    if path.endswith("cancelReplace"):
        # What depends on balance and book is judged after the cancel, and here that has failed as well.
        code = -2022 if code == -2010 else code
        query += "&cancelReplaceMode=ALLOW_FAILURE&cancelOrderId=1"
    answer = await bot.place(query, path)

    assert (answer.status, answer.code) == (400, code), answer.body
    assert sim.orders == {}
    assert _has(sim, "USDT") == (100_000, 0)


@pytest.mark.parametrize("quantity", ["0.00009", "115"])
async def test_the_edges_of_the_filters_pass(bot, sim, quantity):
    """The smallest notional above the minimum and the largest market lot are accepted."""
    sim.accounts["main"].balance("USDT").free = Decimal(10_000_000)

    assert (await bot.place(f"{MARKET}&side=BUY&quantity={quantity}")).status == 200


async def test_a_market_order_fills_at_once_at_the_far_side(bot, sim):
    """Buying takes the ask, selling the bid; the answer is FULL with its fill."""
    bought = (await bot.place(f"{MARKET}&side=BUY&quantity=0.1")).json
    assert (bought["status"], bought["executedQty"]) == ("FILLED", "0.10000000")
    assert bought["fills"][0]["price"] == "60006.00000000"
    assert _has(sim, "USDT") == (Decimal("93999.4"), 0)
    sold = (await bot.place(f"{MARKET}&side=SELL&quantity=0.1")).json
    assert sold["fills"][0]["price"] == "59994.00000000"
    assert _has(sim, "USDT") == (Decimal("99998.8"), 0)
    assert _has(sim, "BTC") == (1, 0)


async def test_quote_order_quantity_buys_what_the_money_buys(bot, sim):
    """quoteOrderQty is floored to the lot step and the change is returned."""
    answer = (await bot.place(f"{MARKET}&side=BUY&quoteOrderQty=1000")).json

    assert answer["executedQty"] == "0.01666000"
    assert _has(sim, "USDT") == (100_000 - Decimal("0.01666") * 60006, 0)


async def test_a_resting_order_locks_funds_and_fills_when_the_price_comes(bot, sim):
    """A limit order below the market rests, is listed, and fills at its own price."""
    placed = (await bot.place(f"{LIMIT}&side=BUY&quantity=0.1&price=50000")).json
    assert placed["status"] == "NEW"
    assert _has(sim, "USDT") == (95_000, 5_000)
    assert [o["orderId"] for o in (await bot("GET", "/api/v3/openOrders")).json] == [placed["orderId"]]
    sim.mark("BTCUSDT", Decimal(49_000))
    shown = (await bot("GET", "/api/v3/order", f"symbol=BTCUSDT&orderId={placed['orderId']}")).json
    assert (shown["status"], shown["cummulativeQuoteQty"]) == ("FILLED", "5000.00000000")
    assert _has(sim, "USDT") == (95_000, 0)
    assert (await bot("GET", "/api/v3/openOrders")).json == []
    assert (await bot("GET", "/api/v3/myTrades", "symbol=BTCUSDT")).json[0]["isMaker"] is True


@pytest.mark.parametrize(
    ("time_in_force", "price", "status"), [("IOC", "50000", "EXPIRED"), ("FOK", "50000", "EXPIRED"),
                                           ("IOC", "61000", "FILLED"), ("FOK", "60006", "FILLED")]
)
async def test_immediate_orders_never_rest(bot, sim, time_in_force, price, status):
    """IOC and FOK fill or expire, and lock nothing afterwards."""
    query = f"symbol=BTCUSDT&type=LIMIT&side=BUY&quantity=0.1&price={price}&timeInForce={time_in_force}"

    assert (await bot.place(query)).json["status"] == status
    assert _has(sim, "USDT")[1] == 0


async def test_a_partial_fill_keeps_its_share_locked(bot, sim):
    """`fill` trades a part; the cancel returns the rest."""
    order_id = (await bot.place(f"{LIMIT}&side=BUY&quantity=0.1&price=50000")).json["orderId"]
    sim.fill(order_id, Decimal("0.04"))
    assert _has(sim, "USDT") == (95_000, 3_000)
    cancelled = (await bot("DELETE", "/api/v3/order", f"symbol=BTCUSDT&orderId={order_id}")).json
    assert (cancelled["status"], cancelled["executedQty"]) == ("CANCELED", "0.04000000")
    assert _has(sim, "USDT") == (98_000, 0)


async def test_fees_come_out_of_what_is_received(clock, bot, sim):
    """With a fee rate the buyer receives less base."""
    sim.spot._fee_rate = Decimal("0.001")
    answer = (await bot.place(f"{MARKET}&side=BUY&quantity=0.1")).json

    assert answer["fills"][0]["commission"] == "0.00010000"
    assert _has(sim, "BTC")[0] == Decimal("1.0999")


async def test_client_ids_are_unique_among_open_orders(bot, sim):
    """-2010 while the first is open; free again when it has ended; queries find the latest."""
    query = f"{LIMIT}&side=BUY&quantity=0.01&price=50000&newClientOrderId=mine"
    first = await bot.place(query)
    second = await bot.place(query)
    assert (second.code, second.json["msg"]) == (-2010, "Duplicate order sent.")
    await bot("DELETE", "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=mine")
    third = await bot.place(query)
    assert third.status == 200
    found = await bot("GET", "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=mine")
    assert found.json["orderId"] == third.json["orderId"] != first.json["orderId"]


async def test_cancels_of_what_is_not_there(bot):
    """-2011 for an unknown order, -2013 for a query, -1102 without any id."""
    assert (await bot("DELETE", "/api/v3/order", "symbol=BTCUSDT&orderId=1")).code == -2011
    assert (await bot("GET", "/api/v3/order", "symbol=BTCUSDT&orderId=1")).code == -2013
    assert (await bot("DELETE", "/api/v3/order", "symbol=BTCUSDT")).code == -1102
    assert (await bot("DELETE", "/api/v3/openOrders", "symbol=BTCUSDT")).code == -2011


async def test_cancel_all_of_a_symbol(bot, sim):
    """Only the orders of that symbol end."""
    await bot.place(f"{LIMIT}&side=BUY&quantity=0.01&price=50000")
    await bot.place(f"{LIMIT}&side=BUY&quantity=0.01&price=51000")
    await bot.place("symbol=ETHUSDT&type=LIMIT&timeInForce=GTC&side=BUY&quantity=0.1&price=2500")
    cancelled = (await bot("DELETE", "/api/v3/openOrders", "symbol=BTCUSDT")).json

    assert [order["status"] for order in cancelled] == ["CANCELED", "CANCELED"]
    assert [order["symbol"] for order in (await bot("GET", "/api/v3/openOrders")).json] == ["ETHUSDT"]
    assert _has(sim, "USDT") == (99_750, 250)


async def test_a_stop_waits_triggers_and_sells(bot, sim):
    """A STOP_LOSS rests unseen by the book until the price falls to it."""
    order_id = (await bot.place(
        "symbol=BTCUSDT&type=STOP_LOSS&side=SELL&quantity=0.5&stopPrice=55000&newOrderRespType=RESULT"
    )).json["orderId"]
    sim.mark("BTCUSDT", Decimal("55000.01"))
    assert sim.orders[order_id].status == "NEW"
    sim.mark("BTCUSDT", Decimal(55000))
    assert (sim.orders[order_id].status, sim.orders[order_id].average_price) == ("FILLED", Decimal("54994.5"))


async def test_a_trailing_stop_follows_the_price(bot, sim):
    """It sells when the price has come back by trailingDelta from its best."""
    answer = await bot.place("symbol=BTCUSDT&type=STOP_LOSS&side=SELL&quantity=0.5&trailingDelta=100")
    order = sim.orders[answer.json["orderId"]]
    sim.mark("BTCUSDT", Decimal(66000))
    sim.mark("BTCUSDT", Decimal(65341))
    assert order.status == "NEW"
    sim.mark("BTCUSDT", Decimal(65340))
    assert order.status == "FILLED"


async def test_amend_only_shrinks(bot, sim):
    """newQty below the present one is taken and frees funds; anything else is -2038."""
    order_id = (await bot.place(f"{LIMIT}&side=BUY&quantity=0.1&price=50000")).json["orderId"]
    path, base = "/api/v3/order/amend/keepPriority", f"symbol=BTCUSDT&orderId={order_id}"
    for wrong in ("0.1", "0.2"):
        assert (await bot("PUT", path, f"{base}&newQty={wrong}")).code == -2038
    answer = await bot("PUT", path, f"{base}&newQty=0.04")
    assert answer.json["amendedOrder"]["qty"] == "0.04000000"
    assert _has(sim, "USDT") == (98_000, 2_000)


@pytest.mark.parametrize(
    ("mode", "old", "quantity", "status", "code", "results", "open_orders"),
    [
        ("STOP_ON_FAILURE", True, "0.02", 200, None, ("SUCCESS", "SUCCESS"), ["0.02"]),
        ("STOP_ON_FAILURE", False, "0.02", 400, -2022, ("FAILURE", "NOT_ATTEMPTED"), ["0.01"]),
        ("ALLOW_FAILURE", False, "0.02", 409, -2021, ("FAILURE", "SUCCESS"), ["0.01", "0.02"]),
        ("ALLOW_FAILURE", True, "9", 409, -2021, ("SUCCESS", "FAILURE"), []),
        ("ALLOW_FAILURE", False, "9", 400, -2022, ("FAILURE", "FAILURE"), ["0.01"]),
    ],
)
async def test_cancel_replace(bot, sim, mode, old, quantity, status, code, results, open_orders):
    """Both modes with either half failing answer, and leave behind, what the documents say."""
    order_id = (await bot.place(f"{LIMIT}&side=BUY&quantity=0.01&price=50000")).json["orderId"]
    answer = await bot.place(
        f"{LIMIT}&side=BUY&quantity={quantity}&price=51000&cancelReplaceMode={mode}"
        f"&cancelOrderId={order_id if old else 1}",
        "/api/v3/order/cancelReplace",
    )
    found = answer.json if code is None else answer.json["data"]

    assert (answer.status, answer.code if code else None) == (status, code)
    assert (found["cancelResult"], found["newOrderResult"]) == results
    left = sim.accounts["main"].open_orders["spot"].values()
    assert [order.quantity for order in left] == [Decimal(one) for one in open_orders]


async def test_order_test_does_nothing(bot, sim):
    """order/test checks everything and places nothing."""
    good = await bot.place(f"{MARKET}&side=BUY&quantity=0.1", "/api/v3/order/test")
    bad = await bot.place(f"{MARKET}&side=BUY&quantity=0", "/api/v3/order/test")

    assert (good.json, bad.code) == ({}, -1013)
    assert sim.orders == {}
    assert sim.orders_received == []


async def test_sor_orders(bot):
    """SOR takes LIMIT and MARKET by quantity and says so in the answer."""
    answer = await bot.place(f"{MARKET}&side=BUY&quantity=0.1", "/api/v3/sor/order")
    stop = await bot.place(
        "symbol=BTCUSDT&type=STOP_LOSS&side=SELL&quantity=0.1&stopPrice=5", "/api/v3/sor/order")

    assert (answer.json["usedSor"], stop.status) == (True, 400)


async def test_account_adds_up(bot, sim):
    """The account shows free and locked money as text with eight decimals."""
    await bot.place(f"{LIMIT}&side=SELL&quantity=0.4&price=70000")
    account = (await bot("GET", "/api/v3/account", "omitZeroBalances=true")).json

    assert account["balances"] == [
        {"asset": "BTC", "free": "0.60000000", "locked": "0.40000000"},
        {"asset": "USDT", "free": "100000.00000000", "locked": "0.00000000"},
    ]
