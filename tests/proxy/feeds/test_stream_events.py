"""Events read: what each of them means for orders and holdings, and what is refused as no event."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from proxy.feeds.reading import Malformed
from proxy.feeds.stream_events import (
    Leverage,
    Triggered,
    account_reason,
    algo_step,
    futures_held,
    futures_step,
    leverage_set,
    spot_held,
    spot_step,
)
from proxy.feeds.stream_picture import Told
from rules import Bucket, Filters, Side

D = Decimal
PAIR = Filters(base_asset="ETH", quote_asset="BTC", quantity_step=D("0.0001"), quantity_min=D("0.0001"))


def futures(**row: Any) -> dict[str, Any]:
    """ORDER_TRADE_UPDATE, by the letters of the venue's page."""
    order = {
        "s": "BTCUSDT", "c": "TEST", "S": "SELL", "o": "LIMIT", "f": "GTC", "q": "0.010", "p": "60000", "ap": "0",
        "sp": "0", "x": "TRADE", "X": "PARTIALLY_FILLED", "i": 8886774, "l": "0.002", "z": "0.004", "L": "60000",
        "N": "USDT", "n": "0.1", "T": 1568879465650, "t": 7, "b": "0", "a": "9.91", "m": False, "R": False,
        "wt": "CONTRACT_PRICE", "ot": "LIMIT", "ps": "BOTH", "cp": False, "rp": "0", "pP": False, "V": "NONE",
        "pm": "NONE", "gtd": 0,
    }  # fmt: skip
    return {"e": "ORDER_TRADE_UPDATE", "E": 1568879465651, "T": 1568879465650, "o": {**order, **row}}


def spot(**row: Any) -> dict[str, Any]:
    """executionReport."""
    event = {
        "e": "executionReport", "E": 1499405658658, "s": "ETHBTC", "c": "mine", "S": "BUY", "o": "LIMIT", "f": "GTC",
        "q": "1.00000000", "p": "0.10264410", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "", "x": "TRADE",
        "X": "PARTIALLY_FILLED", "r": "NONE", "i": 4293153, "l": "0.30000000", "z": "0.50000000", "L": "0.1",
        "n": "0.0003", "N": "ETH", "T": 1499405658657, "t": 5, "I": 3, "w": True, "m": False, "M": False,
        "O": 1499405658600, "Z": "0.05000000", "Y": "0.03000000", "Q": "0.00000000", "V": "NONE",
    }  # fmt: skip
    return {**event, **row}


def test_a_fill_of_a_contract_moves_its_own_leg():
    """Sold: the net position goes down; what is left waits."""
    step = futures_step(futures())
    assert (step.key, step.at_ms, step.told_ms) == (("BTCUSDT", "8886774"), 1568879465650, 1568879465651)
    assert (step.executed, step.traded, step.is_over) == (D("0.004"), D("0.002"), False)
    assert step.last == {("BTCUSDT", Bucket.BOTH): D("-0.002")}
    assert step.total == {("BTCUSDT", Bucket.BOTH): D("-0.004")}
    order = step.working.order
    assert (order.side, order.remaining, order.price, order.trigger_price) == (Side.SELL, D("0.006"), 60000, None)


@pytest.mark.parametrize(
    ("row", "reduces"),
    [({}, False), ({"R": True}, True), ({"cp": True}, True), ({"ps": "LONG"}, True), ({"ps": "SHORT"}, False)],
)
def test_what_the_venue_keeps_from_opening_is_marked(row, reduces):
    """Reduce-only, close-position, and selling a long leg."""
    assert futures_step(futures(**row)).working.order.reduces_by_venue is reduces


@pytest.mark.parametrize(
    ("status", "is_over"),
    [
        ("NEW", False), ("PARTIALLY_FILLED", False), ("FILLED", True), ("CANCELED", True), ("EXPIRED", True),
        ("EXPIRED_IN_MATCH", True),
    ],
)  # fmt: skip
def test_an_order_is_over_or_works(status, is_over):
    """Every state of the venue's page is one or the other."""
    assert futures_step(futures(X=status)).is_over is is_over


def test_a_liquidation_is_a_fill():
    """Its execution type is its own."""
    assert futures_step(futures(x="CALCULATED")).traded == D("0.002")
    assert futures_step(futures(x="CANCELED", X="CANCELED")).traded == 0


@pytest.mark.parametrize(
    "row",
    [
        {"S": "sell"}, {"ps": "NET"}, {"X": "WORKING"}, {"X": None}, {"i": None}, {"q": "-1"}, {"z": "many"},
        {"R": "false"}, {"s": ""}, {"cp": 0},
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_read_is_refused(row):
    """It may have been the one that mattered: never skipped, never guessed."""
    with pytest.raises(Malformed):
        futures_step(futures(**row))


@pytest.mark.parametrize("change", [{"T": None}, {"T": "1"}, {"E": -1}, {"E": True}, {"o": None}, {"o": []}])
def test_an_event_without_its_times_or_its_order_is_refused(change):
    """The times are what everything is put in order by."""
    with pytest.raises(Malformed):
        futures_step({**futures(), **change})


def test_positions_of_an_account_update_carry_its_times():
    """Signed as told, each with its leg; a reason without positions has none."""
    event = {
        "e": "ACCOUNT_UPDATE", "E": 2, "T": 1,
        "a": {"m": "ORDER", "B": [], "P": [
            {"s": "BTCUSDT", "pa": "-0.5", "ps": "BOTH"}, {"s": "ETHUSDT", "pa": "-3", "ps": "SHORT"},
        ]},
    }  # fmt: skip
    assert futures_held(event) == [
        Told(("BTCUSDT", Bucket.BOTH), D("-0.5"), 1, 2), Told(("ETHUSDT", Bucket.SHORT), D(-3), 1, 2),
    ]  # fmt: skip
    assert account_reason(event) == "ORDER"
    assert futures_held({"E": 2, "T": 1, "a": {"m": "FUNDING_FEE", "B": []}}) == []
    with pytest.raises(Malformed):
        futures_held({"E": 2, "T": 1, "a": {"m": "ORDER", "P": [{"s": "BTCUSDT", "pa": "x", "ps": "BOTH"}]}})


def algo(status: str, **row: Any) -> dict[str, Any]:
    """ALGO_UPDATE."""
    order = {
        "caid": "mine", "aid": 2148719, "at": "CONDITIONAL", "o": "STOP_MARKET", "s": "BTCUSDT", "S": "BUY",
        "ps": "BOTH", "f": "GTC", "q": "0.01", "X": status, "ai": "", "tp": "61000", "p": "0", "cp": False, "R": False,
    }  # fmt: skip
    return {"e": "ALGO_UPDATE", "T": 1, "E": 2, "o": {**order, **row}}


@pytest.mark.parametrize(
    ("status", "is_over"), [("NEW", False), ("CANCELED", True), ("EXPIRED", True), ("REJECTED", True)]
)
def test_a_conditional_order_works_or_is_over(status, is_over):
    """Under an id that counts apart from those of plain orders."""
    step = algo_step(algo(status))
    assert (step.key, step.is_over, step.working.order.remaining) == (("BTCUSDT", "algo:2148719"), is_over, D("0.01"))
    assert algo_step(algo(status, cp=True, q="")).working.order.remaining == 0


def test_a_conditional_order_that_triggers_becomes_another_one():
    """While it is triggering it is what it was; then the exchange says what it became."""
    assert algo_step(algo("TRIGGERING")) is None
    for status in ("TRIGGERED", "FINISHED"):
        assert algo_step(algo(status, ai="77")) == Triggered(("BTCUSDT", "algo:2148719"), ("BTCUSDT", "77"))
    assert algo_step(algo("TRIGGERED")).child is None
    with pytest.raises(Malformed):
        algo_step(algo("PONDERING"))


def test_only_a_change_of_leverage_is_one():
    """Another setting is none; a leverage below 1 is nonsense."""
    assert leverage_set({"ac": {"s": "BTCUSDT", "l": 25}}) == Leverage("BTCUSDT", D(25))
    assert leverage_set({"ai": {"j": True}}) is None
    with pytest.raises(Malformed):
        leverage_set({"ac": {"s": "BTCUSDT", "l": 0}})


def test_a_spot_fill_moves_both_coins_and_the_fee():
    """Bought for another coin, the fee taken from what was bought."""
    step = spot_step(spot(), {"ETHBTC": PAIR})
    assert step.last == {("ETH", Bucket.BOTH): D("0.2997"), ("BTC", Bucket.BOTH): D("-0.03")}
    assert step.total == {("ETH", Bucket.BOTH): D("0.5"), ("BTC", Bucket.BOTH): D("-0.05")}
    assert (step.executed, step.traded, step.working.order.remaining) == (D("0.5"), D("0.3"), D("0.5"))
    paid = spot_step(spot(N="BNB", n="0.001", S="SELL"), {"ETHBTC": PAIR})
    moved = {coin: amount for (coin, _), amount in paid.last.items()}
    assert moved == {"ETH": D("-0.3"), "BTC": D("0.03"), "BNB": D("-0.001")}


def test_a_cancelled_spot_order_keeps_its_name():
    """`c` is the name of the cancel then."""
    cancelled = spot(x="CANCELED", X="CANCELED", l="0", c="the-cancel", C="mine")
    assert spot_step(cancelled, {}).working.order.client_order_id == "mine"
    assert spot_step(spot(C="other"), {}).working.order.client_order_id == "mine"


def test_of_a_pair_that_is_not_listed_only_the_order_is_known():
    """Which coins it moves nobody knows; the balances are told beside it."""
    step = spot_step(spot(), {})
    assert (step.last, step.total) == ({}, {})
    assert step.working.order.remaining == D("0.5")


def test_orders_of_a_list_exclude_each_other_per_state():
    """What waits for another order's fill does not exclude that one."""
    assert spot_step(spot(), {}).working.group is None
    assert spot_step(spot(g=9, X="NEW", x="NEW", l="0"), {}).working.group == "9"
    assert spot_step(spot(g=9, X="PENDING_NEW", x="NEW", l="0"), {}).working.group == "9:pending"


def test_balances_count_what_orders_lock():
    """Free and locked together, as of the time of the last update."""
    event = {"e": "outboundAccountPosition", "E": 5, "u": 4, "B": [{"a": "ETH", "f": "10.5", "l": "0.5"}]}
    assert spot_held(event) == [Told(("ETH", Bucket.BOTH), D(11), 4, 5)]
    with pytest.raises(Malformed):
        spot_held({**event, "B": [{"a": "ETH", "f": "-1", "l": "0"}]})
