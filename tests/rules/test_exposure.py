"""The arithmetic rules share: what an order is worth, could open, and provably only closes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from rules import (
    Bucket,
    EssLevel,
    FactMissing,
    FactStale,
    LeverageChange,
    Market,
    OrderType,
    Reason,
    Replaced,
    ReplaceMode,
    Side,
    Verdict,
    evaluate,
)
from rules.case import Asking
from rules.exposure import opening_quantity, worst_elsewhere
from tests import given

ONE_SYMBOL = given.SYMBOL


def case(asked, known=None, **limits):
    """A case as the gate would build it for a single order."""
    return Asking(asked, known or given.facts(), given.limits(**limits))


# --- worst case ---


def test_vector_1_working_orders_count_on_their_own_side():
    """Vector 1: position +5, buys of 4 and sells of 3 waiting: buying 7 could reach +16, selling 7 could reach -5."""
    known = given.facts(held="5", waiting=given.sides(buy="4", sell="3"))

    buying = case(given.order(quantity="7"), known)
    selling = case(given.order(side=Side.SELL, quantity="7"), known)
    assert (buying.worst_before, buying.worst_after) == (9, 16)
    assert selling.worst_before == 9
    assert selling.symbol.waiting(Bucket.BOTH).sell + 7 - 5 == 5
    assert selling.worst_after == 9  # the long side of 5 + 4 is still the larger one


def test_vector_2_a_sell_through_zero_is_neither_reducing_nor_harmless():
    """Vector 2: long 1, sell 3: the worst case goes from 1 to 2; both predicates are false."""
    judged = case(given.order(side=Side.SELL, quantity="3"), given.facts(held="1"))

    assert (judged.worst_before, judged.worst_after) == (1, 2)
    assert (judged.reducing, judged.non_increasing) == (False, False)


def test_vector_3_a_second_close_is_harmless_but_not_reducing():
    """Vector 3: long 1 with a sell of 1 in flight: another sell of 1 leaves the worst case, yet may open a short."""
    known = given.facts(held="1", reserved=given.sides(sell="1"))
    judged = case(given.order(side=Side.SELL), known)

    assert (judged.reducing, judged.non_increasing) == (False, True)


def test_vector_4_hedge_mode_buckets_close_on_their_own_side():
    """Vector 4: LONG 2 and SHORT 1: SELL/LONG 2 reduces, SELL/SHORT 1 opens."""
    known = given.facts(hedge_mode=True, long="2", short="1")
    closing = case(given.order(side=Side.SELL, bucket=Bucket.LONG, quantity="2"), known)
    opening = case(given.order(side=Side.SELL, bucket=Bucket.SHORT), known)

    assert closing.reducing
    assert closing.worst_after == closing.worst_before == 2
    assert not opening.reducing
    assert (opening.worst_before, opening.worst_after) == (1, 2)
    assert worst_elsewhere(opening) == 2
    assert case(given.order(bucket=Bucket.SHORT), known).reducing


def test_vector_5_a_quote_order_fits_its_headroom():
    """Vector 5: 100 of quote currency with a headroom of 60 becomes 60."""
    asked = given.order(type=OrderType.MARKET, market=Market.SPOT, quote_quantity="100")
    decision = evaluate(asked, given.facts(bid="99", ask="101"),
                        given.limits(exposure_account_max="60", scaling_allowed=True))

    assert decision.quantities == (Decimal(60),)


@pytest.mark.parametrize("mode", [ReplaceMode.STOP_ON_FAILURE, ReplaceMode.ALLOW_FAILURE])
def test_vector_7_cancel_and_replace_counts_both(mode):
    """Vector 7: an old order of 5 and a new one of 6 are 11 until the cancel is confirmed."""
    old = given.working("9", remaining="5")
    known = given.facts(orders=[old], waiting=given.sides(buy="5"))
    asked = given.order(quantity="6", replaces=Replaced(mode=mode, order_id="9"))

    assert case(asked, known).worst_after == 11


def test_an_amendment_counts_the_larger_of_old_and_new():
    """An order of 5 amended to 6 adds 1; amended to 4 it adds nothing and takes nothing off before it is confirmed."""
    old = given.working("9", remaining="5", client_order_id="c")
    known = given.facts(orders=[old], waiting=given.sides(buy="5"))
    replaces = Replaced(mode=ReplaceMode.AMEND, order_id="9", client_order_id="other")
    assert case(given.order(quantity="6", replaces=replaces), known).worst_after == 6
    assert case(given.order(quantity="4", replaces=replaces), known).worst_after == 5


def test_an_amendment_by_any_other_name_than_the_venues_counts_in_full():
    """A client id may be another order's id, or have been given on: it neither takes off nor keeps from opening."""
    plain = given.working("9", remaining="5", client_order_id="c")
    closer = given.working("10", remaining="5", client_order_id="9x", reduces_by_venue=True)
    known = given.facts(held="-5", orders=[plain, closer], waiting=given.sides(buy="5"))
    for named in ({"client_order_id": "c"}, {"order_id": "8", "client_order_id": "9x"}, {"order_id": "9x"}):
        replaces = Replaced(mode=ReplaceMode.AMEND, **named)
        judged = case(given.order(quantity="6", replaces=replaces), known)
        assert judged.added == 6
        assert not judged.reducing


def test_an_amendment_is_judged_on_the_leg_of_its_order():
    """In hedge mode the amendment of a LONG order counts against the LONG position, whatever bucket it states."""
    known = given.facts(
        hedge_mode=True, long="8", orders=[given.working("9", remaining="1", bucket=Bucket.LONG)],
        waiting={Bucket.LONG: given.sides(buy="1")},
    )
    asked = given.order(quantity="8", replaces=Replaced(mode=ReplaceMode.AMEND, order_id="9"))
    decision = evaluate(asked, known, given.limits(position_notional_max="900"))

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.POSITION_EXCEEDS_LIMIT)
    allowed = evaluate(asked, known, given.limits(position_notional_max="1600"))
    assert allowed.verdict is Verdict.ALLOW
    assert [(hold.bucket, hold.quantity) for hold in allowed.holds] == [(Bucket.LONG, 7)]


@pytest.mark.parametrize("mode", [True, None])
@pytest.mark.parametrize("named", [{"order_id": "8"}, {"client_order_id": "c"}])
def test_an_amendment_of_an_unknown_order_is_blocked_unless_there_is_one_position_only(mode, named):
    """In hedge mode nobody can say which leg an unknown order is on; in one-way mode it counts in full."""
    orders = [given.working("9", client_order_id="c", bucket=Bucket.LONG)]
    asked = given.order(replaces=Replaced(mode=ReplaceMode.AMEND, **named))
    decision = evaluate(asked, given.facts(hedge_mode=mode, orders=orders), given.limits())

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.FACTS_MISSING)
    assert evaluate(asked, given.facts(hedge_mode=False, orders=orders), given.limits()).verdict is Verdict.ALLOW


def test_an_amendment_that_states_another_side_is_blocked():
    """The venue keeps the order's side or refuses: a SELL that names a working BUY is no reduction of a long."""
    known = given.facts(hedge_mode=False, held="5", orders=[given.working("9")], waiting=given.sides(buy="1"))
    asked = given.order(side=Side.SELL, replaces=Replaced(mode=ReplaceMode.AMEND, order_id="9"))
    decision = evaluate(asked, known, given.limits())

    assert not case(asked, known).reducing
    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.ORDER_NOT_UNDERSTOOD)
    assert "amendment to SELL BOTH" in decision.sentence
    assert "BUY BOTH" in decision.sentence


def test_an_amendment_of_an_unknown_or_other_order_counts_in_full():
    """What is not known, or stands on the other side or bucket, is not taken off."""
    old = given.working("9", remaining="5", side=Side.SELL)
    known = given.facts(orders=[old], waiting=given.sides(buy="5", sell="5"))
    for order_id in ("9", "unknown", None):
        replaces = Replaced(mode=ReplaceMode.AMEND, order_id=order_id)
        assert case(given.order(quantity="6", replaces=replaces), known).worst_after == 11


def test_an_amendment_takes_off_no_more_than_waits():
    """A working order that the sums do not hold yet cannot free other orders' share."""
    known = given.facts(orders=[given.working("9", remaining="5")], waiting=given.sides(buy="2"))
    replaces = Replaced(mode=ReplaceMode.AMEND, order_id="9")

    assert case(given.order(quantity="6", replaces=replaces), known).worst_after == 6


def test_vector_13_an_amendment_above_the_cap_is_blocked():
    """Vector 13: raising an order's size over the cap is blocked like placing it would be, and is not scaled."""
    known = given.facts(orders=[given.working("9", remaining="1")], waiting=given.sides(buy="1"))
    asked = given.order(quantity="3", replaces=Replaced(mode=ReplaceMode.AMEND, order_id="9"))
    decision = evaluate(asked, known, given.limits(position_notional_max="200", scaling_allowed=True))

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.POSITION_EXCEEDS_LIMIT)


def test_what_the_venue_keeps_from_opening_adds_nothing():
    """Reduce-only and close-position orders, and amendments of such, leave the worst case where it is."""
    protective = given.working("9", side=Side.SELL, remaining="5", reduces_by_venue=True)
    known = given.facts(held="1", orders=[protective])
    replaces = Replaced(mode=ReplaceMode.AMEND, order_id="9")
    for asked in (
        given.order(side=Side.SELL, quantity="9", reduce_only=True),
        given.order(side=Side.SELL, close_position=True),
        given.order(side=Side.SELL, quantity="9", replaces=replaces),
    ):
        judged = case(asked, known)
        assert (judged.added, judged.worst_after, judged.reducing) == (0, 1, True)


def test_reduce_only_means_nothing_on_spot_and_in_hedge_mode():
    """Where the venue does not honour the flag, neither does the arithmetic."""
    spot = case(given.order(side=Side.SELL, market=Market.SPOT, quantity="2", reduce_only=True), given.facts(held="1"))
    hedged = case(given.order(bucket=Bucket.LONG, reduce_only=True), given.facts(hedge_mode=True))

    assert (spot.reducing, spot.added) == (False, 2)
    assert (hedged.reducing, hedged.added) == (False, 1)


# --- strictly reducing ---


@pytest.mark.parametrize(
    ("asked", "known", "reduces"),
    [
        ({"side": Side.SELL}, {"held": "1"}, True),
        ({"side": Side.SELL, "quantity": "1.001"}, {"held": "1"}, False),
        ({"side": Side.SELL}, {"held": "0"}, False),
        ({"side": Side.BUY}, {"held": "1"}, False),
        ({"side": Side.BUY}, {"held": "-1"}, True),
        ({"side": Side.SELL}, {"held": "-1"}, False),
        ({"side": Side.SELL, "quantity": "0.5"}, {"held": "1", "waiting": given.sides(sell="0.5")}, True),
        ({"side": Side.SELL, "quantity": "0.5"}, {"held": "1", "waiting": given.sides(sell="0.6")}, False),
        ({"side": Side.SELL}, {"held": "1", "waiting": given.sides(buy="9")}, True),
        # the venue guarantees it, whatever waits and whatever the size
        ({"side": Side.SELL, "quantity": "9", "reduce_only": True},
         {"held": "1", "reserved": given.sides(sell="9")}, True),
        ({"side": Side.BUY, "reduce_only": True}, {"held": "1"}, False),
        ({"side": Side.SELL, "close_position": True}, {"held": "1"}, True),
        ({"side": Side.SELL, "close_position": True}, {"held": "0"}, False),
        # never known: nothing is proven, whatever the flags say
        ({"side": Side.SELL, "reduce_only": True}, {"position_known": False}, False),
        ({"side": Side.SELL, "close_position": True}, {"position_known": False}, False),
        # old: only what the venue guarantees
        ({"side": Side.SELL}, {"held": "1", "position_age": "11"}, False),
        ({"side": Side.SELL, "reduce_only": True}, {"held": "1", "position_age": "11"}, True),
        ({"side": Side.SELL, "close_position": True}, {"held": "1", "position_age": "11"}, True),
        ({"side": Side.SELL, "reduce_only": True}, {"held": "0", "position_age": "11"}, False),
        ({"side": Side.SELL, "bucket": Bucket.LONG}, {"long": "1", "position_age": "11", "hedge_mode": True}, True),
        ({"side": Side.SELL, "bucket": Bucket.LONG, "quantity": "9"}, {"long": "1"}, True),
        ({"side": Side.BUY, "bucket": Bucket.LONG}, {"long": "1"}, False),
        ({"side": Side.SELL, "bucket": Bucket.LONG}, {"short": "1"}, False),
        # the venue will reject what does not fit the account's position mode
        ({"side": Side.SELL, "reduce_only": True}, {"held": "1", "hedge_mode": True}, False),
        ({"side": Side.SELL, "bucket": Bucket.LONG}, {"long": "1", "hedge_mode": False}, False),
        ({"side": Side.SELL}, {"held": "1", "hedge_mode": False}, True),
        # spot knows no position mode, and no flags
        ({"side": Side.SELL, "market": Market.SPOT}, {"held": "1", "hedge_mode": True}, True),
        ({"side": Side.SELL, "market": Market.SPOT, "quantity": "2"}, {"held": "1"}, False),
        ({"side": Side.SELL, "market": Market.SPOT, "close_position": True}, {"held": "1"}, True),
    ],
)
def test_strictly_reducing(asked, known, reduces):
    """Opposite to a known position and not through zero, or guaranteed by the venue; nothing else."""
    assert case(given.order(**asked), given.facts(**known)).reducing is reduces


def test_a_quote_sized_sell_is_measured_at_the_price_that_makes_most_of_it():
    """100 of quote currency at 100 less 0.5 % slippage is more than 1 BTC; without a price nothing is proven."""
    selling = given.order(side=Side.SELL, type=OrderType.MARKET, market=Market.SPOT, quote_quantity="100")

    assert not case(selling, given.facts(held="1")).reducing
    assert case(selling, given.facts(held="1.006")).reducing
    assert not case(selling, given.facts(held="1.006", bid="99")).reducing
    assert not case(selling, given.facts(held="99", mark=None)).reducing


def test_an_amendment_reduces_by_its_own_arithmetic():
    """Long 1 with a sell of 1 working: amending it to 1 at another price still only reduces."""
    known = given.facts(held="1", orders=[given.working("9", side=Side.SELL)], waiting=given.sides(sell="1"))

    assert case(given.order(side=Side.SELL, replaces=Replaced(mode=ReplaceMode.AMEND, order_id="9")), known).reducing
    assert not case(given.order(side=Side.SELL), known).reducing


# --- lists and batches ---


def test_vector_8_the_legs_of_an_oco_exclude_each_other():
    """Vector 8: selling 1 or selling 1, with 1 held, exposes 1 and only reduces; as a batch it does not."""
    legs = [
        given.order(side=Side.SELL, price="110", group=1),
        given.order(side=Side.SELL, type=OrderType.STOP_LIMIT, trigger_price="90", price="89", group=1),
    ]
    known = given.facts(held="1")
    decision = evaluate(legs, known, given.limits(position_notional_max="100", new_positions_allowed=False))

    assert (decision.verdict, decision.reducing) == (Verdict.ALLOW, True)
    assert [hold and hold.quantity for hold in decision.holds] == [1, None]
    batch = [given.order(side=Side.SELL, price="110"), given.order(side=Side.SELL, price="111")]
    assert not evaluate(batch, known, given.limits()).reducing


def test_the_larger_leg_of_a_group_adds_only_its_excess():
    """Legs of 1, 3 and 2 take 3 altogether."""
    legs = [given.order(quantity=quantity, group=1) for quantity in ("1", "3", "2")]
    decision = evaluate(legs, given.facts(), given.limits(position_notional_max="300"))

    assert [hold and hold.quantity for hold in decision.holds] == [1, 2, None]
    assert evaluate(legs, given.facts(), given.limits(position_notional_max="299")).verdict is Verdict.BLOCK


def test_vector_9_a_batch_does_not_fit_in_pieces():
    """Vector 9: three orders of 0.4 with room for 1.0: the third breaks it, so the batch is blocked whole."""
    batch = [given.order(quantity="0.4", price=price) for price in ("100", "99", "98")]
    decision = evaluate(batch, given.facts(), given.limits(position_notional_max="100", scaling_allowed=True))

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.POSITION_EXCEEDS_LIMIT)
    assert {run.instruction for run in decision.rules_run} == {0, 1, 2}
    assert decision.rules_run[-1].outcome == "breach"


def test_vector_14_two_orders_of_sixty_percent():
    """Vector 14: of two orders that each take 60 % of the headroom, the one judged second finds it reserved."""
    first = evaluate(given.order(quantity="0.6"), given.facts(), given.limits(position_notional_max="100"))
    hold = first.holds[0]
    reserved = given.facts(reserved=given.sides(buy=str(hold.quantity)))

    assert evaluate(given.order(quantity="0.6"), reserved, given.limits(position_notional_max="100")).reason is (
        Reason.POSITION_EXCEEDS_LIMIT
    )


def closing_leg(**changed):
    """A sell that waits for the first order of its request."""
    return given.order(**({"side": Side.SELL, "price": "110", "pending_on": 0} | changed))


@pytest.mark.parametrize(
    ("leg", "closes"),
    [
        (closing_leg(), True),
        (closing_leg(quantity="0.9"), True),
        (closing_leg(quantity="1.001"), False),
        (closing_leg(side=Side.BUY), False),
        (closing_leg(symbol="ETHUSDT"), False),
        (closing_leg(bucket=Bucket.LONG), False),
        (closing_leg(pending_on=1), False),
        (closing_leg(pending_on=-1), False),
        (closing_leg(type=OrderType.STOP_MARKET, trigger_price="90", close_position=True), True),
        (given.order(side=Side.SELL, type=OrderType.MARKET, quote_quantity="10", pending_on=0), False),
    ],
)
def test_a_pending_leg_closes_what_its_opener_opens(leg, closes):
    """Opposite side, same place, no more than is opened: exempt from new-exposure rules; anything else is live."""
    both = given.symbol_facts()
    known = given.facts(symbols={ONE_SYMBOL: both, "ETHUSDT": both}, open_positions=frozenset())
    decision = evaluate([given.order(), leg], known, given.limits(exposure_account_max="1000"))

    assert decision.verdict is Verdict.ALLOW
    assert (decision.holds[1] is None) is closes
    assert decision.reducing is False


def test_pending_legs_close_together_no_more_than_is_opened():
    """Two pending legs of 0.6 close 1.2 of 1, so the second is live; exclusive legs of 1 close 1."""
    loose = [given.order(), closing_leg(quantity="0.6"), closing_leg(quantity="0.6", price="120")]
    exclusive = [given.order(), closing_leg(group=1), closing_leg(group=1, price="120")]
    two_groups = [*exclusive, closing_leg(group=2, quantity="0.1"), closing_leg(quantity="0.1", group=2)]

    def held(legs):
        return [hold and hold.quantity for hold in evaluate(legs, given.facts(), given.limits()).holds]

    assert held(loose) == [1, None, Decimal("0.6")]
    assert held(exclusive) == [1, None, None]
    assert held(two_groups) == [1, None, None, Decimal("0.1"), None]


def test_a_leg_pending_on_a_reduction_would_open_again():
    """Closing 1 and then selling back in is new exposure: blocked while new positions are off."""
    legs = [given.order(side=Side.SELL), given.order(pending_on=0, price="90")]
    known = given.facts(held="1")

    assert evaluate(legs, known, given.limits()).verdict is Verdict.ALLOW
    blocked = evaluate(legs, known, given.limits(new_positions_allowed=False))
    assert blocked.reason is Reason.NEW_POSITIONS_NOT_ALLOWED


def test_a_leg_pending_on_a_setting_is_live():
    """An order cannot close what a leverage change opens."""
    legs = [LeverageChange(symbol=ONE_SYMBOL, leverage=Decimal(2)), closing_leg()]

    assert evaluate(legs, given.facts(), given.limits()).holds[1].quantity == 1


# --- worth ---


@pytest.mark.parametrize(
    ("asked", "price"),
    [
        ({"price": "90"}, "90"),
        ({"price": "110"}, "110"),
        ({"side": Side.SELL, "price": "90"}, "100"),
        ({"side": Side.SELL, "price": "110"}, "110"),
        ({"type": OrderType.MARKET}, "102.01"),
        ({"type": OrderType.MARKET, "price": "1"}, "102.01"),
        ({"price": "1", "price_follows_book": True}, "102.01"),
        ({"price": "0"}, "102.01"),
        ({"side": Side.SELL, "type": OrderType.MARKET}, "100"),
        ({"type": OrderType.STOP_MARKET, "trigger_price": "120"}, "121.2"),
        ({"type": OrderType.STOP_MARKET, "trigger_price": "80"}, "102.01"),
        ({"type": OrderType.TAKE_PROFIT_MARKET, "trigger_price": "80"}, "102.01"),
        ({"type": OrderType.STOP_MARKET}, "102.01"),
        ({"side": Side.SELL, "type": OrderType.STOP_MARKET, "trigger_price": "80"}, "100"),
        ({"side": Side.SELL, "type": OrderType.TAKE_PROFIT_MARKET, "trigger_price": "120"}, "120"),
        ({"type": OrderType.STOP_LIMIT, "trigger_price": "120", "price": "125"}, "125"),
        ({"side": Side.SELL, "type": OrderType.STOP_LIMIT, "trigger_price": "120", "price": "115"}, "115"),
        ({"type": OrderType.TRAILING_STOP, "callback_rate": "0.02"}, "102"),
        ({"type": OrderType.TRAILING_STOP, "callback_rate": "0.02", "activation_price": "150"}, "153"),
        ({"type": OrderType.TRAILING_STOP, "callback_rate": "0.02", "activation_price": "50"}, "102"),
        ({"side": Side.SELL, "type": OrderType.TRAILING_STOP, "activation_price": "150"}, "150"),
    ],
)
def test_valuation_price(asked, price):
    """Every type at the worst price it may trade at: market 100, book 99 / 101, 1 % slippage."""
    known = given.facts(bid="99", ask="101")

    assert case(given.order(**asked), known, slippage="0.01").valuation_price == Decimal(price)


def test_a_market_without_a_book_is_priced_at_the_mark():
    """Where no book was read, the mark stands in for it."""
    buying, selling = given.order(type=OrderType.MARKET), given.order(side=Side.SELL, type=OrderType.MARKET)

    assert case(buying, slippage="0.01").valuation_price == 101
    assert case(selling, slippage="0.01").valuation_price == 100
    assert case(selling, given.facts(bid="105")).valuation_price == 105


def test_a_quote_order_is_worth_what_it_spends():
    """100 of quote currency is worth 100, whatever the price; in base units the cheapest price counts."""
    asked = given.order(type=OrderType.MARKET, market=Market.SPOT, quote_quantity="100")

    assert case(asked, given.facts(ask="80")).notional == 100
    assert case(asked, given.facts(ask="80")).quantity_base == Decimal("1.25")
    assert case(asked, given.facts(ask="0")).quantity_base == 1
    assert case(asked, given.facts(conversion="0.5")).notional == 50


def test_close_position_is_as_large_as_the_position():
    """What closes everything has the size of the bucket's position."""
    assert case(given.order(side=Side.SELL, close_position=True), given.facts(held="3")).quantity_base == 3


def test_opening_quantity_leaves_out_what_closes():
    """Long 2 with a sell of 1 waiting: of a sell of 3, one closes and two open; a buy opens in full."""
    known = given.facts(held="2", waiting=given.sides(sell="1"))

    assert opening_quantity(case(given.order(side=Side.SELL, quantity="3"), known)) == 2
    assert opening_quantity(case(given.order(quantity="3"), known)) == 3


def test_facts_are_refused_by_name_and_age():
    """An accessor says which fact is missing or how old it is; the hedge mode is one of them."""
    with pytest.raises(FactMissing, match="hedge_mode"):
        _ = case(given.order()).hedge_mode
    assert case(given.order(), given.facts(hedge_mode=True)).hedge_mode is True
    with pytest.raises(FactStale, match=r"price is 6\.5 s old"):
        _ = case(given.order(), given.facts(price_age="6.5")).price


def test_settings_between_the_orders_of_a_list_do_not_disturb_it():
    """A leverage change among the legs closes nothing and is not counted as a closing leg."""
    change = LeverageChange(symbol=ONE_SYMBOL, leverage=Decimal(2))
    legs = [given.order(), change, closing_leg(quantity="0.5"), closing_leg(quantity="0.5", price="120")]
    decision = evaluate(legs, given.facts(), given.limits())

    assert [hold and hold.quantity for hold in decision.holds] == [1, None, None, None]


# --- what the venue keeps from opening takes the position away from everything else ---


@pytest.mark.parametrize(("closing", "size", "proven"), [("0", "5", True), ("2", "3", True), ("2", "3.001", False),
                                                         ("5", "0.001", False), ("Infinity", "0.001", False)])
def test_a_plain_close_is_proven_only_beside_everything_that_closes(closing, size, proven):
    """Long 5 with closers of 2: a plain sell of 3 only reduces, one of 3.001 may open a short."""
    known = given.facts(held="5", closing=given.sides(sell=closing))
    assert case(given.order(side=Side.SELL, quantity=size), known).reducing is proven
    mirrored = given.facts(held="-5", closing=given.sides(buy=closing))
    assert case(given.order(side=Side.BUY, quantity=size), mirrored).reducing is proven
    assert case(given.order(side=Side.SELL, quantity=size, reduce_only=True), known).reducing


def test_the_worst_case_of_a_side_is_that_everything_closed_before():
    """Long 8 with closers of 8: a sell of 16 can make a short of 16, and 8 more sold is 8 more exposure."""
    known = given.facts(held="8", closing=given.sides(sell="Infinity"))
    judged = case(given.order(side=Side.SELL, quantity="16"), known)
    assert (judged.worst_before, judged.worst_after) == (8, 16)
    assert opening_quantity(judged) == 16
    capped = given.limits(position_notional_max="900", scaling_allowed=True)
    decision = evaluate(given.order(side=Side.SELL, quantity="16"), known, capped)
    assert decision.quantities == (Decimal(9),)
    assert case(given.order(quantity="1"), known).worst_after == 9


def test_what_closes_counts_for_the_orders_after_it_in_a_request():
    """A reduce-only sell of the whole position and a plain one: together they are not proven."""
    known = given.facts(held="5", stop=EssLevel.REDUCE_ONLY)
    plain = given.order(side=Side.SELL, quantity="5")
    for closer in (replace(plain, reduce_only=True), given.order(side=Side.SELL, close_position=True)):
        decision = evaluate([closer, plain], known, given.limits())
        assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.ESS_REDUCE_ONLY_ACTIVE)
    assert evaluate([replace(plain, reduce_only=True)] * 2, known, given.limits()).verdict is Verdict.ALLOW


# --- coins sold for other coins ---


@pytest.mark.parametrize(("base", "quote", "proven"), [("BTC", "USDT", True), ("ETH", "BTC", False),
                                                      ("USDT", "TRY", False), ("USDC", "USDT", False)])
def test_a_sale_of_coins_reduces_only_when_it_is_paid_in_dollars(base, quote, proven):
    """Selling ETHBTC buys BTC, and USDTTRY spends cash: neither is a way out of anything."""
    venue = given.filters(base_asset=base, quote_asset=quote)
    known = given.facts(held="5", rules_of_venue=venue, stop=EssLevel.REDUCE_ONLY)
    asked = given.order(side=Side.SELL, market=Market.SPOT)
    assert case(asked, known).reducing is proven
    assert (evaluate(asked, known, given.limits()).verdict is Verdict.ALLOW) is proven


def test_a_sale_for_other_coins_counts_as_exposure_of_its_value():
    """Held 5 and 1 sold for BTC: 100 more of exposure, against every limit; scaled, what the limit leaves."""
    venue = given.filters(base_asset="ETH", quote_asset="BTC")
    known = given.facts(held="5", rules_of_venue=venue)
    asked = given.order(side=Side.SELL, market=Market.SPOT)
    assert case(asked, known).exposure_delta == 100
    assert opening_quantity(case(asked, known)) == 1
    assert evaluate(asked, known, given.limits(exposure_account_max="99")).verdict is Verdict.BLOCK
    scaled = evaluate(asked, known, given.limits(exposure_account_max="50", scaling_allowed=True))
    assert scaled.quantities == (Decimal("0.5"),)
    assert evaluate(asked, given.facts(held="5"), given.limits(exposure_account_max="0")).verdict is Verdict.ALLOW
