"""USDⓈ-M orders: codes, margin, position modes, reduce-only, batches, conditional orders."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest

from tests.proxy.simulator.conftest import NOW, NOW_MS

PATH = "/fapi/v1/order"
LIMIT = "symbol=BTCUSDT&type=LIMIT&timeInForce=GTC"
MARKET = "symbol=BTCUSDT&type=MARKET&newOrderRespType=RESULT"
ALGO = "algoType=CONDITIONAL&symbol=BTCUSDT"


def _amount(sim, side="BOTH"):
    return sim.accounts["main"].position("BTCUSDT", side).amount


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=NOPE&side=BUY&type=MARKET&quantity=1", -1121),
        (f"{MARKET}&quantity=1", -1102),
        (f"{MARKET}&side=buy&quantity=1", -1117),
        ("symbol=BTCUSDT&side=BUY&type=GUESS&quantity=1", -1116),
        (f"{MARKET}&side=BUY", -1102),
        (f"{MARKET}&side=BUY&quantity=0", -4003),
        (f"{MARKET}&side=BUY&quantity=0.000", -4003),
        (f"{MARKET}&side=BUY&quantity=0.0015", -1111),
        (f"{MARKET}&side=BUY&quantity=120.001", -4005),
        (f"{MARKET}&side=BUY&quantity=0.001", -4164),  # 60 of 100
        (f"{MARKET}&side=BUY&quantity=0.01&price=60000", -1106),
        (f"{MARKET}&side=BUY&quantity=0.01&timeInForce=GTC", -1106),
        (f"{MARKET}&side=BUY&quantity=0.01&closePosition=true", -1106),
        (f"{MARKET}&side=BUY&quantity=0.01&positionSide=LONG", -4061),
        (f"{MARKET}&side=BUY&quantity=0.01&positionSide=UP", -4060),
        (f"{MARKET}&side=BUY&quantity=0.01&reduceOnly=true", -2022),
        (f"{MARKET}&side=BUY&quantity=0.01&reduceOnly=yes", -1100),
        (f"{MARKET}&side=BUY&quantity=3.4", -2019),  # 204,000 at 20x of 10,000
        (f"{MARKET}&side=BUY&quantity=0.01&newClientOrderId={'a' * 37}", -4015),
        ("symbol=BTCUSDT&type=MARKET&newOrderRespType=FULL&side=BUY&quantity=0.01", -1130),
        (f"{LIMIT}&side=BUY&quantity=0.01", -1102),
        (f"{LIMIT}&side=BUY&quantity=0.01&price=0", -4001),
        (f"{LIMIT}&side=BUY&quantity=0.01&price=58000.05", -4014),
        (f"{LIMIT}&side=BUY&quantity=0.01&price=58000.005", -1111),
        (f"{LIMIT}&side=BUY&quantity=0.01&price=63000.1", -4016),
        (f"{LIMIT}&side=SELL&quantity=0.01&price=56999.9", -4024),
        (f"{LIMIT}&side=BUY&quantity=1&price=200", -4013),
        (f"{LIMIT}&side=BUY&quantity=1&price=900000", -4002),
        (f"{LIMIT}&side=BUY&quantity=0.01&price=58000&priceMatch=QUEUE", -1106),
        ("symbol=BTCUSDT&type=LIMIT&side=BUY&quantity=0.01&price=58000", -1102),
        ("symbol=BTCUSDT&type=LIMIT&timeInForce=DAY&side=BUY&quantity=0.01&price=58000", -1115),
        ("symbol=BTCUSDT&type=LIMIT&timeInForce=GTX&side=BUY&quantity=0.01&price=60100", -5022),
        ("symbol=BTCUSDT&type=LIMIT&timeInForce=FOK&side=BUY&quantity=0.01&price=58000", -5021),
        (f"symbol=BTCUSDT&type=LIMIT&timeInForce=GTD&goodTillDate={NOW_MS}&side=BUY&quantity=0.01&price=58000", -4196),
        ("symbol=BTCUSDT&type=STOP_MARKET&side=SELL&quantity=0.01&stopPrice=50000", -4120),
        ("symbol=BTCUSDT&type=TRAILING_STOP_MARKET&side=SELL&quantity=0.01&callbackRate=1", -4120),
    ],
)
async def test_refusals(bot, sim, query, code):
    """Each is refused with the documented code and leaves nothing behind."""
    answer = await bot.place(query, PATH)

    assert (answer.status, answer.code) == (400, code), answer.body
    assert sim.orders == {}


async def test_ack_tells_nothing_and_result_tells_the_fill(bot):
    """The default answer is NEW with nothing executed, even for an order that has filled."""
    acknowledged = (await bot.place("symbol=BTCUSDT&type=MARKET&side=BUY&quantity=0.01", PATH)).json
    result = (await bot.place(f"{MARKET}&side=BUY&quantity=0.01", PATH)).json

    assert (acknowledged["status"], acknowledged["executedQty"]) == ("NEW", "0.000")
    assert (result["status"], result["executedQty"], result["avgPrice"]) == ("FILLED", "0.010", "60006.00")
    shown = (await bot("GET", PATH, f"symbol=BTCUSDT&orderId={acknowledged['orderId']}")).json
    assert shown["status"] == "FILLED"


async def test_a_position_opens_turns_and_realises_profit(bot, sim):
    """Entry prices average, closing realises, crossing zero starts anew at the fill price."""
    await bot.place(f"{MARKET}&side=BUY&quantity=0.1", PATH)
    sim.mark("BTCUSDT", Decimal(62000))
    await bot.place(f"{MARKET}&side=BUY&quantity=0.1", PATH)
    position = sim.accounts["main"].position("BTCUSDT")
    assert position.entry_price == Decimal("61006.1")
    await bot.place(f"{MARKET}&side=SELL&quantity=0.3", PATH)
    assert (position.amount, position.entry_price) == (Decimal("-0.1"), Decimal("61993.8"))
    assert sim.accounts["main"].wallet == 10_000 + (Decimal("61993.8") - Decimal("61006.1")) * Decimal("0.2")
    income = (await bot("GET", "/fapi/v1/income", "incomeType=REALIZED_PNL")).json
    assert [line["income"] for line in income] == ["197.54000000"]


async def test_account_and_positions_show_equity(bot, sim):
    """Unrealised profit moves equity; v2 lists every symbol, v3 only those in use."""
    await bot.place(f"{MARKET}&side=SELL&quantity=0.1", PATH)
    sim.mark("BTCUSDT", Decimal(59000))
    account = (await bot("GET", "/fapi/v3/account")).json
    assert account["totalUnrealizedProfit"] == "99.40000000"
    assert account["totalMarginBalance"] == "10099.40000000"
    assert account["totalInitialMargin"] == "295.00000000"
    assert account["availableBalance"] == "9804.40000000"
    assert [position["symbol"] for position in account["positions"]] == ["BTCUSDT"]
    assert len((await bot("GET", "/fapi/v2/account")).json["positions"]) == 5
    risk = (await bot("GET", "/fapi/v3/positionRisk")).json
    assert [(p["symbol"], p["positionAmt"], p["unRealizedProfit"]) for p in risk] == [
        ("BTCUSDT", "-0.100", "99.40000000")]
    assert len((await bot("GET", "/fapi/v2/positionRisk")).json) == 5
    assert (await bot("GET", "/fapi/v2/balance")).json[0]["balance"] == "10000.00000000"


async def test_margin_counts_resting_orders_of_a_side(bot, sim):
    """Ten resting orders need the margin of ten; a cancel returns it; the other side is not added."""
    for _ in range(3):
        assert (await bot.place(f"{LIMIT}&side=BUY&quantity=1&price=58000", PATH)).status == 200
    assert (await bot.place(f"{LIMIT}&side=BUY&quantity=1&price=58000", PATH)).code == -2019
    assert (await bot.place(f"{LIMIT}&side=SELL&quantity=1&price=62000", PATH)).status == 200
    assert (await bot("GET", "/fapi/v3/account")).json["totalInitialMargin"] == "8700.00000000"
    await bot("DELETE", "/fapi/v1/allOpenOrders", "symbol=BTCUSDT")
    assert (await bot("GET", "/fapi/v3/account")).json["totalInitialMargin"] == "0.00000000"


async def test_resting_orders_fill_when_the_price_comes(bot, sim):
    """A limit order rests, fills at its own price as maker, and frees its order margin."""
    order_id = (await bot.place(f"{LIMIT}&side=BUY&quantity=0.1&price=58000", PATH)).json["orderId"]
    sim.fill(order_id, Decimal("0.04"))
    assert sim.orders[order_id].status == "PARTIALLY_FILLED"
    sim.mark("BTCUSDT", Decimal(57900))
    assert (sim.orders[order_id].status, sim.orders[order_id].average_price) == ("FILLED", 58000)
    assert _amount(sim) == Decimal("0.1")
    assert (await bot("GET", "/fapi/v1/openOrders")).json == []
    assert sim.accounts["main"].working["BTCUSDT", "BOTH"] == (0, 0)
    assert all(t["maker"] for t in (await bot("GET", "/fapi/v1/userTrades", "symbol=BTCUSDT")).json)


async def test_reduce_only_never_opens(bot, sim):
    """It is refused without a position, capped at the position, and expires when that is gone."""
    await bot.place(f"{MARKET}&side=BUY&quantity=0.1", PATH)
    assert (await bot.place(f"{MARKET}&side=BUY&quantity=0.1&reduceOnly=true", PATH)).code == -2022
    resting = (await bot.place(f"{LIMIT}&side=SELL&quantity=0.1&price=62000&reduceOnly=true", PATH)).json
    closed = (await bot.place(f"{MARKET}&side=SELL&quantity=0.5&reduceOnly=true", PATH)).json
    assert (closed["status"], closed["executedQty"]) == ("EXPIRED", "0.100")
    assert _amount(sim) == 0
    assert sim.orders[resting["orderId"]].status == "EXPIRED"


async def test_reduce_only_may_be_small(bot):
    """The minimum notional does not bind reduce-only orders."""
    await bot.place(f"{MARKET}&side=BUY&quantity=0.1", PATH)

    assert (await bot.place(f"{MARKET}&side=SELL&quantity=0.001&reduceOnly=True", PATH)).status == 200


async def test_hedge_mode(bot, sim):
    """Legs live side by side; every order names its side; none closes more than its leg holds."""
    dual = "/fapi/v1/positionSide/dual"
    assert (await bot("POST", dual, "dualSidePosition=false")).code == -4059
    assert (await bot("POST", dual, "dualSidePosition=true")).json["code"] == 200
    assert (await bot("GET", dual)).json == {"dualSidePosition": True}
    assert (await bot.place(f"{MARKET}&side=BUY&quantity=0.1", PATH)).code == -4061
    assert (await bot.place(f"{MARKET}&side=BUY&quantity=0.1&positionSide=LONG", PATH)).status == 200
    assert (await bot.place(f"{MARKET}&side=SELL&quantity=0.3&positionSide=SHORT", PATH)).status == 200
    assert (_amount(sim, "LONG"), _amount(sim, "SHORT")) == (Decimal("0.1"), Decimal("-0.3"))
    over = await bot.place(f"{MARKET}&side=SELL&quantity=0.2&positionSide=LONG", PATH)
    reduce = await bot.place(f"{MARKET}&side=SELL&quantity=0.1&positionSide=LONG&reduceOnly=true", PATH)
    assert (over.code, reduce.code) == (-2022, -1106)
    assert (await bot.place(f"{MARKET}&side=SELL&quantity=0.1&positionSide=LONG", PATH)).status == 200
    assert _amount(sim, "LONG") == 0
    assert (await bot("POST", dual, "dualSidePosition=false")).code == -4068


async def test_leverage(bot, sim):
    """Set within the brackets, kept per symbol, and what margin is counted with."""
    path = "/fapi/v1/leverage"
    assert (await bot("POST", path, "symbol=BTCUSDT&leverage=126")).code == -4028
    assert (await bot("POST", path, "symbol=BTCUSDT&leverage=0")).code == -4028
    answer = (await bot("POST", path, "symbol=BTCUSDT&leverage=50")).json
    assert answer == {"leverage": 50, "maxNotionalValue": "600000", "symbol": "BTCUSDT"}
    assert (await bot.place(f"{MARKET}&side=BUY&quantity=3.4", PATH)).status == 200
    config = (await bot("GET", "/fapi/v1/symbolConfig", "symbol=BTCUSDT")).json
    assert config[0]["leverage"] == 50
    assert (await bot("POST", path, "symbol=BTCUSDT&leverage=10")).code == -2028
    assert (await bot("POST", path, "symbol=BTCUSDT&leverage=100")).code == -2027


async def test_margin_settings(bot):
    """Margin type, multi-assets mode and position margin refuse what changes nothing or may not be."""
    kind = "/fapi/v1/marginType"
    assert (await bot("POST", kind, "symbol=BTCUSDT&marginType=CROSSED")).code == -4046
    assert (await bot("POST", kind, "symbol=BTCUSDT&marginType=ISOLATED")).json["code"] == 200
    assert (await bot("POST", "/fapi/v1/multiAssetsMargin", "multiAssetsMargin=true")).code == -4168
    await bot.place(f"{MARKET}&side=BUY&quantity=0.1", PATH)
    assert (await bot("POST", kind, "symbol=BTCUSDT&marginType=CROSSED")).code == -4048
    margin = "/fapi/v1/positionMargin"
    assert (await bot("POST", margin, "symbol=BTCUSDT&amount=100&type=1")).json["code"] == 200
    assert (await bot("POST", margin, "symbol=BTCUSDT&amount=200&type=2")).code == -4051
    assert (await bot("POST", margin, "symbol=ETHUSDT&amount=1&type=1")).code == -4054


async def test_duplicate_client_ids(bot):
    """-4116 while the first order is open."""
    query = f"{LIMIT}&side=BUY&quantity=0.01&price=58000&newClientOrderId=mine"

    assert (await bot.place(query, PATH)).status == 200
    assert (await bot.place(query, PATH)).code == -4116


async def test_price_match(bot, sim):
    """QUEUE joins the own side of the book, OPPONENT takes the other."""
    queue = (await bot.place(f"{LIMIT}&side=BUY&quantity=0.01&priceMatch=QUEUE_5", PATH)).json
    taken = (await bot.place(
        f"{LIMIT}&side=BUY&quantity=0.01&priceMatch=OPPONENT&newOrderRespType=RESULT", PATH)).json

    assert (queue["price"], queue["status"]) == ("59993.50", "NEW")
    assert (taken["price"], taken["status"]) == ("60006.00", "FILLED")


async def test_modify_can_grow_and_is_checked(bot, sim):
    """PUT order changes price and quantity, refuses what margin or filters forbid, and keeps the old then."""
    order_id = (await bot.place(f"{LIMIT}&side=BUY&quantity=0.1&price=58000", PATH)).json["orderId"]
    base = f"symbol=BTCUSDT&orderId={order_id}&side=BUY"
    grown = (await bot("PUT", PATH, f"{base}&quantity=0.2&price=57500")).json
    assert (grown["origQty"], grown["price"]) == ("0.200", "57500.00")
    assert (await bot("PUT", PATH, f"{base}&quantity=0.2&price=57500")).code == -5027
    assert (await bot("PUT", PATH, f"{base}&quantity=9&price=57500")).code == -2019
    assert (await bot("PUT", PATH, f"{base}&quantity=0.2015&price=57500")).code == -1111
    assert (sim.orders[order_id].quantity, sim.orders[order_id].price) == (Decimal("0.2"), 57500)
    assert sim.accounts["main"].working["BTCUSDT", "BOTH"] == (11_500, 0)
    crossing = (await bot("PUT", PATH, f"{base}&quantity=0.2&price=60100")).json
    assert crossing["status"] == "FILLED"
    assert (await bot("PUT", PATH, f"{base}&quantity=0.2&price=57500")).code == -2013


def _batch(*legs):
    return "batchOrders=" + quote(json.dumps(legs))


async def test_batches_answer_leg_by_leg(bot, sim):
    """Each leg stands for itself; more than five are refused; repeated keys and NaN too."""
    good = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    poor = {**good, "quantity": "0"}
    number = {**good, "quantity": 0.01}
    answer = await bot("POST", "/fapi/v1/batchOrders", _batch(good, poor, number))
    assert [leg.get("code") for leg in answer.json] == [None, -4003, None]
    assert len(sim.orders_received[0].order_ids) == 2
    assert (await bot("POST", "/fapi/v1/batchOrders", _batch(*[good] * 6))).code == -4082
    assert (await bot("POST", "/fapi/v1/batchOrders", _batch())).code == -4082
    twice = quote('[{"symbol":"BTCUSDT","quantity":"0.01","quantity":"9"}]')
    assert (await bot("POST", "/fapi/v1/batchOrders", f"batchOrders={twice}")).code == -1101
    nan = quote('[{"symbol":"BTCUSDT","quantity":NaN}]')
    assert (await bot("POST", "/fapi/v1/batchOrders", f"batchOrders={nan}")).code == -1130
    assert _amount(sim) == Decimal("0.02")


async def test_batch_modify_and_cancel(bot, sim):
    """PUT and DELETE batchOrders work leg by leg."""
    ids = [
        (await bot.place(f"{LIMIT}&side=BUY&quantity=0.01&price=58000", PATH)).json["orderId"] for _ in range(2)
    ]
    legs = [{"symbol": "BTCUSDT", "side": "BUY", "orderId": one, "quantity": "0.02", "price": "57000"}
            for one in (ids[0], 5)]
    changed = (await bot("PUT", "/fapi/v1/batchOrders", _batch(*legs))).json
    assert (changed[0]["origQty"], changed[1]["code"]) == ("0.020", -2013)
    cancelled = (await bot("DELETE", "/fapi/v1/batchOrders", f"symbol=BTCUSDT&orderIdList=[{ids[0]},5,{ids[1]}]")).json
    assert [leg.get("status", leg.get("code")) for leg in cancelled] == ["CANCELED", -2011, "CANCELED"]


async def test_conditional_orders_trigger(bot, sim):
    """An algo order waits, triggers on the price and becomes an order of its own."""
    await bot.place(f"{MARKET}&side=BUY&quantity=0.1", PATH)
    placed = (await bot.place(
        f"{ALGO}&side=SELL&type=STOP_MARKET&triggerPrice=58000&closePosition=true&clientAlgoId=guard",
        "/fapi/v1/algoOrder")).json
    assert (placed["algoStatus"], placed["closePosition"]) == ("NEW", True)
    assert (await bot("GET", "/fapi/v1/openOrders")).json == []
    assert [o["clientAlgoId"] for o in (await bot("GET", "/fapi/v1/openAlgoOrders")).json] == ["guard"]
    sim.mark("BTCUSDT", Decimal("58000.1"))
    assert _amount(sim) == Decimal("0.1")
    sim.mark("BTCUSDT", Decimal(58000))
    assert _amount(sim) == 0
    shown = (await bot("GET", "/fapi/v1/algoOrder", "clientAlgoId=guard")).json
    assert (shown["algoStatus"], sim.orders[int(shown["actualOrderId"])].status) == ("FINISHED", "FILLED")


async def test_a_conditional_order_that_finds_nothing_to_close_is_rejected(bot, sim):
    """Close-position without a position ends as REJECTED and trades nothing."""
    placed = (await bot.place(
        f"{ALGO}&side=SELL&type=STOP_MARKET&triggerPrice=58000&closePosition=true", "/fapi/v1/algoOrder")).json
    sim.mark("BTCUSDT", Decimal(57000))

    assert sim.orders[placed["algoId"]].status == "REJECTED"
    assert _amount(sim) == 0


async def test_a_trailing_algo_order(bot, sim):
    """It follows the price from its activation and fires on the way back."""
    placed = (await bot.place(
        f"{ALGO}&side=BUY&type=TRAILING_STOP_MARKET&callbackRate=1&activatePrice=59000&quantity=0.1",
        "/fapi/v1/algoOrder")).json
    order = sim.orders[placed["algoId"]]
    for price in (60500, 59000, 58000, 58579):
        sim.mark("BTCUSDT", Decimal(price))
        assert order.status == "NEW"
    sim.mark("BTCUSDT", Decimal(58580))
    assert (order.status, _amount(sim)) == ("FINISHED", Decimal("0.1"))


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=BTCUSDT&side=SELL&type=STOP_MARKET&triggerPrice=58000&quantity=0.1", -1102),
        (f"{ALGO}&side=SELL&type=LIMIT&price=58000&quantity=0.1", -1116),
        (f"{ALGO}&side=SELL&type=STOP_MARKET&quantity=0.1", -1102),
        (f"{ALGO}&side=SELL&type=STOP_MARKET&triggerPrice=61000&quantity=0.1", -2021),
        (f"{ALGO}&side=SELL&type=STOP_MARKET&triggerPrice=58000&quantity=0.1&closePosition=true", -4137),
        (f"{ALGO}&side=SELL&type=STOP&triggerPrice=58000&price=57900&closePosition=true", -4136),
        (f"{ALGO}&side=SELL&type=TRAILING_STOP_MARKET&callbackRate=11&quantity=0.1", -2007),
        (f"{ALGO}&side=SELL&type=STOP_MARKET&triggerPrice=58000&quantity=0.1&reduceOnly=true", -2022),
    ],
)
async def test_conditional_orders_that_are_refused(bot, sim, query, code):
    """The algo endpoint has its own refusals."""
    answer = await bot.place(query, "/fapi/v1/algoOrder")

    assert answer.code == code, answer.body
    assert sim.orders == {}


async def test_cancelling_conditional_orders(bot, sim):
    """By id, by client id, and all of a symbol; never by the ordinary cancel."""
    query = f"{ALGO}&side=SELL&type=STOP_MARKET&triggerPrice=58000&quantity=0.1"
    first = (await bot.place(query, "/fapi/v1/algoOrder")).json["algoId"]
    await bot.place(query + "&clientAlgoId=two", "/fapi/v1/algoOrder")
    await bot.place(query, "/fapi/v1/algoOrder")
    assert (await bot("DELETE", PATH, f"symbol=BTCUSDT&orderId={first}")).code == -2011
    assert (await bot("DELETE", "/fapi/v1/algoOrder", f"algoId={first}")).json["code"] == "200"
    assert (await bot("DELETE", "/fapi/v1/algoOrder", "clientAlgoId=two")).status == 200
    assert len(sim.accounts["main"].open_orders["algo"]) == 1
    assert (await bot("DELETE", "/fapi/v1/algoOpenOrders", "symbol=BTCUSDT")).json["code"] == 200
    assert sim.accounts["main"].open_orders["algo"] == {}


async def test_countdown_cancels_when_it_runs_out(bot, sim, clock):
    """The dead man's switch ends the symbol's orders once its time has passed."""
    await bot.place(f"{LIMIT}&side=BUY&quantity=0.01&price=58000", PATH)
    answer = await bot("POST", "/fapi/v1/countdownCancelAll", "symbol=BTCUSDT&countdownTime=1000")
    assert answer.json == {"symbol": "BTCUSDT", "countdownTime": "1000"}
    assert len((await bot("GET", "/fapi/v1/openOrders")).json) == 1
    clock.advance(to=NOW + timedelta(seconds=1))
    assert (await bot("GET", "/fapi/v1/openOrders")).json == []


async def test_order_test_takes_conditional_types_and_does_nothing(bot, sim):
    """order/test still checks stop types, and places nothing."""
    good = await bot.place("symbol=BTCUSDT&type=STOP_MARKET&side=SELL&quantity=0.01&stopPrice=50000",
                           "/fapi/v1/order/test")
    bad = await bot.place("symbol=BTCUSDT&type=MARKET&side=SELL&quantity=0", "/fapi/v1/order/test")

    assert (good.status, bad.code) == (200, -4003)
    assert (sim.orders, sim.orders_received) == ({}, [])


async def test_listen_keys(bot):
    """A listen key is made, kept alive and dropped."""
    made = (await bot("POST", "/fapi/v1/listenKey")).json["listenKey"]

    assert (await bot("PUT", "/fapi/v1/listenKey")).json["listenKey"] == made
    assert (await bot("DELETE", "/fapi/v1/listenKey")).json == {}
    assert (await bot("PUT", "/fapi/v1/listenKey")).code == -1125
