"""The acceptance vectors of the risk controls, by number, with the edge cases their sections state.

Each is judged by the whole gate, so what is asserted is what a bot would see. What this process keeps between
orders (13d, 14 and 15) is shown on a whole pipeline. 13c is shown where the venue's countdown timer is owned,
in tests/proxy/test_deadman.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from proxy.book import Working
from proxy.errors import UpstreamSilent
from proxy.exchanges import EXCHANGES
from proxy.reservations import Outcome, names_of
from proxy.wire import WireRequest
from rules import (
    Bucket,
    EssLevel,
    LeverageChange,
    Market,
    Order,
    OrderType,
    Position,
    QuantityCut,
    Reason,
    Replaced,
    ReplaceMode,
    RiskLevel,
    RiskSource,
    Side,
    Verdict,
    evaluate,
)
from rules.case import Asking
from tests import given
from tests.house import open_house
from tests.proxy.permits.conftest import ANN, open_people

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
LONG, SHORT = Bucket.LONG, Bucket.SHORT
ALLOW, BLOCK, SCALE_DOWN = Verdict.ALLOW, Verdict.BLOCK, Verdict.SCALE_DOWN


def judge(asked, known=None, **limits):
    """The whole gate's answer."""
    return evaluate(asked, known or given.facts(), given.limits(**limits))


def worst(asked, known):
    """The worst case without and with the order, in base units."""
    case = Asking(asked, known, given.limits())
    return case.worst_before, case.worst_after


def predicates(asked, known):
    """Whether the order strictly reduces, and whether it leaves the worst case where it was."""
    case = Asking(asked, known, given.limits())
    return case.reducing, case.non_increasing


def amendment(order_id="9", **changed) -> Order:
    """A change in place of the order that the venue knows by this id."""
    return given.order(replaces=Replaced(mode=ReplaceMode.AMEND, order_id=order_id), **changed)


# --- 1-4: worst cases and the two predicates ---


def test_vector_1_buys_and_sells_that_wait_are_never_netted():
    """+5 with buys of 4 and sells of 3 waiting: a buy of 7 reaches +16; sells of 7 more reach -5, less than +9."""
    known = given.facts(held="5", waiting=given.sides(buy="4", sell="3"))

    assert worst(given.order(quantity="7"), known) == (9, 16)
    assert worst(given.order(side=SELL, quantity="7"), known) == (9, 9)
    assert worst(given.order(side=SELL, quantity="11"), known) == (9, 9)
    assert worst(given.order(side=SELL, quantity="12"), known) == (9, 10)
    assert judge(given.order(quantity="7"), known, position_notional_max="1600").verdict is ALLOW
    blocked = judge(given.order(quantity="7.001"), known, position_notional_max="1600")
    assert (blocked.verdict, blocked.reason) == (BLOCK, Reason.POSITION_EXCEEDS_LIMIT)
    assert blocked.breach.observed == D("1600.1")


@pytest.mark.parametrize("held", ["5", "-5"])
def test_vector_1_holds_for_what_is_in_flight_as_for_what_works(held):
    """Working and reserved quantity on a side add up, whichever way the position stands."""
    side = BUY if held == "5" else SELL
    mirrored = {"buy": "4", "sell": "3"} if side is BUY else {"buy": "3", "sell": "4"}
    half = {name: str(D(text) / 2) for name, text in mirrored.items()}
    known = given.facts(held=held, waiting=given.sides(**half), reserved=given.sides(**half))

    assert worst(given.order(side=side, quantity="7"), known) == (9, 16)


def test_vector_2_a_sell_through_zero_is_neither():
    """+1 and a sell of 3: the worst case goes from 1 to 2, nothing is proven and the worst case grows."""
    known, asked = given.facts(held="1"), given.order(side=SELL, quantity="3")

    assert worst(asked, known) == (1, 2)
    assert predicates(asked, known) == (False, False)
    assert judge(asked, known, position_notional_max="199").reason is Reason.POSITION_EXCEEDS_LIMIT
    assert judge(asked, known, position_notional_max="200").verdict is ALLOW


def test_vector_3_a_second_close_in_flight_is_harmless_and_not_proven():
    """+1 with a sell of 1 in flight: another sell of 1 keeps the worst case at 1, and may open a short."""
    known = given.facts(held="1", reserved=given.sides(sell="1"))
    asked = given.order(side=SELL)

    assert worst(asked, known) == (1, 1)
    assert predicates(asked, known) == (False, True)
    # Over every size limit it passes, because nothing grows; in REDUCE_ONLY it does not, because nothing is proven.
    assert judge(asked, known, position_notional_max="50", exposure_account_max="1").verdict is ALLOW
    stopped = replace(known, stop=given.Stop(level=EssLevel.REDUCE_ONLY))
    assert judge(asked, stopped).reason is Reason.ESS_REDUCE_ONLY_ACTIVE


def test_vector_4_a_leg_of_hedge_mode_closes_on_its_own_side_only():
    """LONG 2 and SHORT 1: selling LONG 2 is proven whatever waits; selling SHORT 1 opens from 1 to 2."""
    known = given.facts(hedge_mode=True, long="2", short="1", waiting={LONG: given.sides(sell="2")})
    closing = given.order(side=SELL, bucket=LONG, quantity="2")
    opening = given.order(side=SELL, bucket=SHORT)

    assert predicates(closing, known) == (True, True)
    assert worst(opening, known) == (1, 2)
    assert predicates(opening, known) == (False, False)
    # Both legs count in the symbol: LONG 2 and SHORT 2 are 400, not netted to nothing.
    assert judge(opening, known, exposure_symbol_max="400").verdict is ALLOW
    assert judge(opening, known, exposure_symbol_max="399.99").reason is Reason.SYMBOL_EXPOSURE_EXCEEDS_LIMIT


@pytest.mark.parametrize(("side", "bucket"), [(BUY, LONG), (SELL, SHORT)])
def test_vector_4_close_position_closes_the_leg_it_can(side, bucket):
    """A close-position order on the side that opens a leg proves nothing; on the other side it does."""
    known = given.facts(hedge_mode=True, long="2", short="1")
    wrong = given.order(type=OrderType.STOP_MARKET, side=side, bucket=bucket, close_position=True, trigger_price="90")
    right = replace(wrong, side=side.opposite)

    assert not predicates(wrong, known)[0]
    assert predicates(right, known)[0]


# --- 5-6: scaling ---


def test_vector_5_a_quote_order_becomes_its_headroom():
    """100 of quote currency with 60 left becomes 60, in quote currency."""
    asked = given.order(type=OrderType.MARKET, market=Market.SPOT, quote_quantity="100")
    decision = judge(asked, given.facts(bid="99", ask="101"), exposure_account_max="60", scaling_allowed=True)

    assert (decision.verdict, decision.quantities) == (SCALE_DOWN, (D(60),))
    assert decision.scale_factor == D("0.6")


@pytest.mark.parametrize(
    ("minimum", "verdict", "reason", "quantity"),
    [
        ("0.001", SCALE_DOWN, Reason.POSITION_EXCEEDS_LIMIT, D("0.333")),
        ("0.333", SCALE_DOWN, Reason.POSITION_EXCEEDS_LIMIT, D("0.333")),
        ("0.334", BLOCK, Reason.SCALED_BELOW_MINIMUM, None),
        ("0.5", BLOCK, Reason.SCALED_BELOW_MINIMUM, None),
    ],
)
def test_vector_6_scaling_is_floored_to_the_step_and_never_goes_under_the_minimum(minimum, verdict, reason, quantity):
    """1 with headroom for 0.3337 and a step of 0.001 becomes 0.333; with a minimum of 0.5 it is blocked."""
    known = given.facts(rules_of_venue=given.filters(quantity_min=minimum))
    decision = judge(given.order(), known, position_notional_max="33.37", scaling_allowed=True)

    assert (decision.verdict, decision.reason, decision.quantities) == (verdict, reason, (quantity,))


def test_vector_6_the_smallest_share_of_all_rules_binds():
    """f is the smallest over the rules that scale: 0.3 of the position, 0.25 of the order's value."""
    decision = judge(given.order(), position_notional_max="30", order_notional_max="25", scaling_allowed=True)

    assert (decision.verdict, decision.quantities) == (SCALE_DOWN, (D("0.250"),))
    assert decision.reason is Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT


@pytest.mark.parametrize("asked", [given.order(time_in_force="FOK"), amendment()])
def test_vector_6_what_may_not_be_smaller_is_blocked_instead(asked):
    """A fill-or-kill order and an amendment are taken as they are or not at all."""
    known = given.facts(hedge_mode=False)
    decision = judge(asked, known, position_notional_max="50", scaling_allowed=True)

    assert (decision.verdict, decision.reason) == (BLOCK, Reason.POSITION_EXCEEDS_LIMIT)


# --- 7, 13: amendments ---


@pytest.mark.parametrize("mode", [ReplaceMode.STOP_ON_FAILURE, ReplaceMode.ALLOW_FAILURE])
def test_vector_7_cancel_and_replace_counts_old_and_new(mode):
    """An old order of 5 and a new one of 6 can be 11 until the cancel is known."""
    known = given.facts(orders=[given.working("9", remaining="5")], waiting=given.sides(buy="5"))
    asked = given.order(quantity="6", replaces=Replaced(mode=mode, order_id="9"))

    assert worst(asked, known) == (5, 11)
    assert judge(asked, known, position_notional_max="1100").verdict is ALLOW
    assert judge(asked, known, position_notional_max="1099").reason is Reason.POSITION_EXCEEDS_LIMIT


def test_vector_13_an_amendment_is_judged_by_its_new_values():
    """Raising an order of 1 to 6 is 600: above an order limit of 500 and a position limit of 500; 5 is not."""
    known = given.facts(orders=[given.working("9")], waiting=given.sides(buy="1"))

    for limit, reason in (
        ("order_notional_max", Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT),
        ("position_notional_max", Reason.POSITION_EXCEEDS_LIMIT),
        ("exposure_symbol_max", Reason.SYMBOL_EXPOSURE_EXCEEDS_LIMIT),
    ):
        assert judge(amendment(quantity="6"), known, **{limit: "500"}).reason is reason
        assert judge(amendment(quantity="5"), known, **{limit: "500"}).verdict is ALLOW


def test_vector_13_an_amendment_counts_the_larger_of_old_and_new_until_it_is_confirmed():
    """Lowered from 5 to 4 the old 5 still count; raised to 6 only one more does."""
    known = given.facts(orders=[given.working("9", remaining="5")], waiting=given.sides(buy="5"))

    assert worst(amendment(quantity="4"), known) == (5, 5)
    assert worst(amendment(quantity="6"), known) == (5, 6)


def test_vector_13_a_cut_in_place_only_reduces():
    """Spot's amend-keep-priority can only lower a quantity: it passes every limit and REDUCE_ONLY, but not HALT."""
    cut = QuantityCut(
        symbol=given.SYMBOL, market=Market.SPOT, quantity=D("0.5"),
        replaces=Replaced(mode=ReplaceMode.AMEND, order_id="9"),
    )
    strict = {"position_notional_max": "1", "symbols": frozenset(), "order_notional_max": "1"}

    assert judge(cut, given.facts(stop=EssLevel.REDUCE_ONLY), **strict).verdict is ALLOW
    assert judge(cut, given.facts(stop=EssLevel.HALT)).reason is Reason.ESS_TRADING_HALT_ACTIVE


def test_vector_13b_a_leg_of_hedge_mode_is_never_given_reduce_only():
    """The venue rejects reduceOnly in hedge mode: a rewritten order has the bot's parameters and no other."""
    codec = EXCHANGES[0]
    body = (
        b"symbol=BTCUSDT&side=SELL&positionSide=SHORT&type=LIMIT&timeInForce=GTC&quantity=1&price=100"
        b"&timestamp=1&signature=00"
    )
    head = ((b"X-MBX-APIKEY", b"k"), (b"Content-Type", b"application/x-www-form-urlencoded"))
    request = WireRequest("POST", b"/fapi/v1/order", head, body)
    parsed = codec.parse(request, codec.recognise(request))
    (asked,) = parsed.instructions

    assert (asked.bucket, asked.reduce_only) == (SHORT, False)
    smaller = codec.rescale(request, parsed, (D("0.5"),))
    assert smaller.body == body.replace(b"quantity=1", b"quantity=0.5")


# --- 8-9: lists and batches ---


def test_vector_8_the_legs_of_an_oco_count_once_and_close_together():
    """Selling 1 at a profit or at a stop while +1 is held: both legs are proven, the worst case stays 1."""
    known = given.facts(held="1")
    legs = [
        given.order(side=SELL, market=Market.SPOT, price="110", group=1),
        given.order(
            side=SELL, market=Market.SPOT, type=OrderType.STOP_LIMIT, price="89", trigger_price="90", group=1
        ),
    ]
    decision = judge(legs, known, exposure_account_max="1", position_notional_max="1")

    assert (decision.verdict, decision.reducing) == (ALLOW, True)
    opened = judge(
        [replace(leg, side=BUY, market=Market.LINEAR) for leg in legs], given.facts(), position_notional_max="110"
    )
    assert opened.verdict is ALLOW  # two buys of 1 at up to 110 that exclude each other are 1, not 2


@pytest.mark.parametrize(("legs", "verdict"), [(2, ALLOW), (3, BLOCK)])
def test_vector_9_a_batch_does_not_fit_in_pieces(legs, verdict):
    """Orders of 0.4 each with headroom for 1: the third does not fit, and with it none of the batch is sent."""
    decision = judge([given.order(quantity="0.4")] * legs, exposure_account_max="100")

    assert decision.verdict is verdict
    assert decision.quantities == ((D("0.4"),) * 2 if verdict is ALLOW else (None,) * 3)
    if verdict is BLOCK:
        assert (decision.reason, decision.breach.observed) == (Reason.ACCOUNT_EXPOSURE_EXCEEDS_LIMIT, 120)


def test_vector_9_a_list_is_scaled_by_one_factor_or_not_at_all():
    """An opener of 1 with its closing leg of 1, and room for 0.5: both become 0.5."""
    opener = given.order(quantity="1", group=None)
    closer = given.order(side=SELL, quantity="1", price="110", pending_on=0)
    decision = judge([opener, closer], position_notional_max="50", scaling_allowed=True)

    assert (decision.verdict, decision.quantities) == (SCALE_DOWN, (D("0.5"), D("0.5")))
    alone = judge([opener, given.order(quantity="0.1")], position_notional_max="50", scaling_allowed=True)
    assert alone.verdict is BLOCK  # which of two independent orders should shrink is the bot's choice


# --- 10: losses ---


@pytest.mark.parametrize(
    ("anchor", "reason"),
    [("day", Reason.DAILY_LOSS_EXCEEDS_LIMIT), ("week", Reason.WEEKLY_LOSS_EXCEEDS_LIMIT)],
)
def test_vector_10_a_deposit_does_not_hide_a_loss(anchor, reason):
    """10,000 at the start, 1,000 paid in, 10,700 now: 3.0 % were lost; at a limit of 3 % that is reached."""
    limit = "loss_daily_max" if anchor == "day" else "loss_weekly_max"
    known = given.facts(equity="10700", anchors=given.losses(**{f"{anchor}_transfers": "1000"}))

    blocked = judge(given.order(), known, **{limit: "0.03"})
    assert (blocked.verdict, blocked.reason, blocked.breach.observed) == (BLOCK, reason, D("0.03"))
    assert judge(given.order(), known, **{limit: "0.0301"}).verdict is ALLOW


# --- 11-12: what is not known, and when nothing is open ---


def test_vector_11_a_market_order_needs_a_quote_and_a_proven_exit_does_not():
    """Without a price a market buy is blocked; the same with reduceOnly against a short passes."""
    known = given.facts(mark=None, held="-1")
    buy = given.order(type=OrderType.MARKET)

    assert judge(buy, replace(known, symbols=given.facts(mark=None).symbols)).reason is Reason.FACTS_MISSING
    closing = judge(replace(buy, reduce_only=True), known, position_notional_max="1", exposure_account_max="1")
    assert (closing.verdict, closing.reducing) == (ALLOW, True)


@pytest.mark.parametrize("age", ["5.001", "3600"])
def test_vector_11_an_old_quote_is_none(age):
    """The same holds of a price older than its maximum age."""
    known = given.facts(price_age=age, held="-1")

    assert judge(given.order(quantity="2"), known).reason is Reason.FACTS_STALE
    assert judge(given.order(reduce_only=True), known).verdict is ALLOW


@pytest.mark.parametrize("changed", [{}, {"reduce_only": True}, {"side": SELL}, {"side": SELL, "reduce_only": True}])
def test_vector_12_with_nothing_open_reduce_only_admits_no_order(changed):
    """Flat and REDUCE_ONLY: every order is blocked, a reduce-only one as well, because there is nothing to reduce."""
    decision = judge(given.order(**changed), given.facts(stop=EssLevel.REDUCE_ONLY))

    assert (decision.verdict, decision.reason) == (BLOCK, Reason.ESS_REDUCE_ONLY_ACTIVE)


# --- 2.1: prices ---


@pytest.mark.parametrize(
    ("asked", "notional"),
    [
        (given.order(price="110"), "110"),  # a buy is worth its limit
        (given.order(price="90"), "90"),
        (given.order(side=SELL, price="90"), "100"),  # a short is worth what the market says
        (given.order(side=SELL, price="110"), "110"),
        (given.order(type=OrderType.MARKET), "101.505"),  # ask 101 and half a per cent
        (given.order(type=OrderType.MARKET, side=SELL), "100"),  # the higher of bid and mark
        (given.order(type=OrderType.STOP_MARKET, trigger_price="120"), "120.600"),
        (given.order(type=OrderType.STOP_MARKET, trigger_price="80"), "101.505"),  # already through its trigger
        (given.order(type=OrderType.STOP_LIMIT, price="121", trigger_price="120"), "121"),
        (given.order(type=OrderType.TRAILING_STOP, callback_rate="0.01"), "101.00"),
        (given.order(type=OrderType.TRAILING_STOP, callback_rate="0.01", activation_price="120"), "121.20"),
        (given.order(price="90", price_follows_book=True), "101.505"),  # pegged: as at the market
        (given.order(type=OrderType.MARKET, market=Market.SPOT, quote_quantity="250"), "250"),
    ],
)
def test_section_1_an_order_is_worth_the_worst_it_may_trade_at(asked, notional):
    """The valuation price by type, with bid 99, mark 100, ask 101 and slippage of 0.5 %."""
    decision = judge(asked, given.facts(bid="99", ask="101"))

    assert decision.notionals == (D(notional),)


def test_section_1_the_collar_bounds_the_aggressive_side():
    """A buy above 102 and a sell below 98 are outside a collar of 2 %; exactly there they pass."""
    for side, inside, outside in ((BUY, "102", "102.1"), (SELL, "98", "97.9")):
        collars = {"collar_up": "0.02", "collar_down": "0.02"}
        assert judge(given.order(side=side, price=inside), **collars).verdict is ALLOW
        assert judge(given.order(side=side, price=outside), **collars).reason is Reason.PRICE_OUTSIDE_COLLAR


# --- 2.2: exits ---


def test_section_2_a_proven_exit_passes_what_would_block_an_entry():
    """Symbol list, caps, collar, losses, confidence, old prices, minimum sizes: none keeps from leaving."""
    strict = {
        "symbols": frozenset(), "strategies": frozenset(), "position_notional_max": "1", "order_notional_max": "1",
        "exposure_account_max": "1", "collar_down": "0.001", "loss_daily_max": "0.001", "confidence_required": True,
        "new_positions_allowed": False, "order_rate_max": 1, "open_positions_max": 0, "leverage_max": "1",
    }
    known = given.facts(held="1", equity="5000", leverage="20")
    asked = given.order(side=SELL, price="50")

    assert judge(asked, known, **strict).verdict is ALLOW
    assert judge(replace(asked, side=BUY), known, **strict).verdict is BLOCK


def test_section_2_reduce_only_orders_that_rest_do_not_forbid_a_manual_close():
    """A resting stop that the venue keeps from opening takes no room from a close that it keeps from opening too."""
    known = given.facts(held="1", closing=given.sides(sell="1"))

    assert predicates(given.order(side=SELL, reduce_only=True), known)[0]
    assert not predicates(given.order(side=SELL), known)[0]  # a plain one could open once the stop has filled


def test_section_2_a_spot_sale_is_proven_within_what_is_held_and_not_yet_on_sale():
    """Holding 1 with 0.4 on sale, selling 0.6 for dollars is proven; 0.601 is not."""
    known = given.facts(held="1", waiting=given.sides(sell="0.4"))

    assert predicates(given.order(side=SELL, market=Market.SPOT, quantity="0.6"), known)[0]
    assert not predicates(given.order(side=SELL, market=Market.SPOT, quantity="0.601"), known)[0]


# --- 2.3, 2.7, 2.8, 2.10 ---


def test_section_3_gross_includes_what_waits_against_equity():
    """300 open, an order of 100, equity 100: leverage 4. At a limit of 4 it passes, at 3.99 it does not."""
    known = given.facts(equity="100", exposure={"account": "300"})

    assert judge(given.order(), known, leverage_max="4").verdict is ALLOW
    blocked = judge(given.order(), known, leverage_max="3.99")
    assert (blocked.reason, blocked.breach.observed) == (Reason.EFFECTIVE_LEVERAGE_EXCEEDS_LIMIT, D(4))


@pytest.mark.parametrize(("leverage", "verdict"), [("10", ALLOW), ("10.1", BLOCK)])
def test_section_7_a_leverage_request_is_capped(leverage, verdict):
    """Up to the limit passes; lowering always does."""
    change = LeverageChange(symbol=given.SYMBOL, leverage=D(leverage))

    assert judge(change, given.facts(leverage="5"), leverage_max="10").verdict is verdict
    assert judge(change, given.facts(leverage="20"), leverage_max="1").verdict is ALLOW


def test_section_8_share_and_loss_at_the_stop_are_two_numbers():
    """An order of 1,000 against 10,000 is 10 %; with a stop 5 % away it risks 0.5 %."""
    stop = given.order(
        side=SELL, type=OrderType.STOP_LIMIT, quantity="10", price="94", trigger_price="95", pending_on=0
    )
    request = [given.order(quantity="10"), stop]

    assert judge(request, trade_notional_fraction_max="0.1", trade_stop_loss_fraction_max="0.005").verdict is ALLOW
    assert judge(request, trade_notional_fraction_max="0.0999").reason is Reason.SINGLE_TRADE_RISK_EXCEEDS_LIMIT
    assert judge(request, trade_stop_loss_fraction_max="0.0049").reason is Reason.STOP_LOSS_RISK_EXCEEDS_LIMIT


def test_section_8_without_equity_nothing_new_is_opened():
    """Equity that is not known is not 1: shares of it cannot be judged."""
    decision = judge(given.order(), given.facts(equity=None), trade_notional_fraction_max="1")

    assert (decision.reason, decision.breach.observed) == (Reason.FACTS_MISSING, "equity")


def test_section_10_positions_are_counted_by_symbol_and_leg():
    """With two of two open, adding to one passes, flipping it passes, another leg or symbol does not."""
    held = frozenset({(given.SYMBOL, LONG), ("ETHUSDT", Bucket.BOTH)})
    known = given.facts(open_positions=held, hedge_mode=True, long="1")

    assert judge(given.order(bucket=LONG), known, open_positions_max=2).verdict is ALLOW
    other_leg = judge(given.order(side=SELL, bucket=SHORT), known, open_positions_max=2)
    assert (other_leg.reason, other_leg.breach.observed) == (Reason.OPEN_POSITIONS_EXCEED_LIMIT, 3)
    one_way = given.facts(open_positions=frozenset({(given.SYMBOL, Bucket.BOTH)}), held="1")
    assert judge(given.order(side=SELL, quantity="2"), one_way, open_positions_max=1).verdict is ALLOW


# --- 2.14, 2.15, 2.17 ---


@pytest.mark.parametrize(
    ("signal", "verdict", "reason"),
    [
        ({"risk": RiskLevel.INFO}, ALLOW, Reason.ALL_RISK_CHECKS_PASSED),
        ({"risk": RiskLevel.WARNING}, SCALE_DOWN, Reason.GLOBAL_RISK_WARNING),
        ({"risk": RiskLevel.CRITICAL}, BLOCK, Reason.GLOBAL_RISK_CRITICAL),
        ({"risk": RiskLevel.INFO, "action": True}, BLOCK, Reason.RISK_V3_ESS_ACTION_REQUIRED),
        ({"risk": None}, BLOCK, Reason.FACTS_MISSING),
        ({"risk": RiskLevel.INFO, "risk_age": "5.001"}, BLOCK, Reason.FACTS_STALE),
    ],
)
def test_section_14_the_signal_maps_to_a_verdict(signal, verdict, reason):
    """INFO passes, WARNING halves, CRITICAL and a demanded stop block, missing and old block new exposure."""
    decision = judge(given.order(), given.facts(**signal), scaling_allowed=True, warning_factor="0.5")

    assert (decision.verdict, decision.reason) == (verdict, reason)
    if verdict is SCALE_DOWN:
        assert decision.quantities == (D("0.500"),)


def test_section_17_a_rule_that_fails_blocks_entries_and_spares_exits():
    """An exception of our own denies new exposure; a proven reduction passes the rules that spare it."""
    odd = given.facts(held="1", exposure_known=False, risk=None)
    calm = {"risk_source": RiskSource.NONE, "exposure_account_max": "100"}

    assert judge(given.order(), odd, **calm).reason is Reason.FACTS_MISSING
    assert judge(given.order(side=SELL), odd, **calm).verdict is ALLOW


# --- 14-15: what this process keeps between orders ---

ROOM = {
    "risk_source": {"kind": "none"},
    "accounts": {
        name: {"capital_profile": "aggressive", "strategies": "any", "symbols": "any", "size": {
            "exposure_symbol_max": "1000"}}
        for name in ("desk", "plain")
    },
}


async def test_vector_13d_a_permit_used_again_or_for_another_quantity_is_refused(tmp_path):
    """Approved: another quantity is blocked and spends nothing, the order itself passes, and not a second time."""
    async with open_people(tmp_path) as people:
        permit_id = await people.waiting()
        await people.permits.approve(permit_id, ANN, "yes")
        asked = [people.large(quantity="0.005"), people.large(), people.large()]
        answers = [await people.ask(one) for one in asked]

        assert [answer.status for answer, _ in answers] == [403, 200, 403]
        assert [body["risk"]["reason"] for _, body in answers[::2]] == ["approval_required"] * 2
        assert len(people.house.venue.sent) == 1


async def test_vector_14_of_two_orders_of_sixty_per_cent_one_passes(tmp_path):
    """Two orders of 0.01 at 60,000 (600 each) against room for 1,000, at once: exactly one reaches the venue."""
    async with open_house(tmp_path, policy=ROOM) as house:
        asked = [house.order(quantity="0.01", price="60000", newClientOrderId=f"n{number}") for number in range(2)]
        answers = await asyncio.gather(*(house.ask(one) for one in asked))

        assert sorted(answer.status for answer, _ in answers) == [200, 403]
        assert len(house.venue.sent) == 1
        assert house.book.symbol_notional("desk", Market.LINEAR, "BTCUSDT") == 600


@pytest.mark.parametrize("found", [None, Outcome.ACCEPTED])
async def test_vector_15_a_lost_order_stays_reserved_and_its_fill_counts_once(tmp_path, found):
    """No answer: 0.01 stay reserved through every reading; the fill takes their place and is not added to them."""
    async with open_house(tmp_path, policy=ROOM) as house:
        house.venue.fails_after_send = UpstreamSilent("dropped")
        await house.ask(house.order(quantity="0.01", price="60000", newClientOrderId="mine"))
        for _ in range(3):
            read_again(house, held="0")
            assert held_and_reserved(house) == (0, D("0.01"), D(600))
        (decision,) = {reservation.decision_id for reservation, _ in house.reservations.unknown()}

        # It rests: by its name in the reading, or by a look-up and the reading after it.
        if found is not None:
            assert house.reservations.resolve(decision, 0, found, house.clock.now())
        working = given.working("7", remaining="0.01", client_order_id="mine")
        read_again(house, held="0", orders=[Working("BTCUSDT", working)])
        assert held_and_reserved(house) == (0, 0, D(600))
        read_again(house, held="0.01")
        assert held_and_reserved(house) == (D("0.01"), 0, D(600))


def read_again(house, *, held, orders=()):
    """A reading of the account that was asked for now, a second after whatever was before."""
    house.forward(1)
    now = house.clock.now()
    positions = {"BTCUSDT": Position(both=D(held))}
    house.book.apply_snapshot("desk", Market.LINEAR, as_of=now, positions=positions, orders=orders)
    house.reservations.snapshot_applied("desk", Market.LINEAR, house.clock.monotonic(), names_of(orders))


def held_and_reserved(house):
    """Position, reserved buys, and what both and the working orders are worth at worst."""
    known = house.book.symbol("desk", Market.LINEAR, "BTCUSDT", house.clock.now())
    reserved = known.reserved.get(Bucket.BOTH, given.sides())
    return known.position.value.both, reserved.buy, house.book.symbol_notional("desk", Market.LINEAR, "BTCUSDT")
