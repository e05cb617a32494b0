"""What earlier instructions of a request take from those that follow."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import Bucket, Hold, LeverageChange, Reason, Side, Sides, Verdict, after, evaluate
from rules.case import Asking
from rules.running import Running, hold_of
from tests import given


def running(*orders, facts=None):
    """What is left behind by orders that all passed, and the facts that the next one finds."""
    state, facts = Running(instructions=orders), facts or given.facts()
    for index, order in enumerate(orders):
        case = Asking(order, facts, given.limits(), state, index=index)
        facts = state.take(case, hold_of(case), facts)
    return state, facts


def test_values_of_independent_orders_add_up():
    """Two orders of 100 and 300 have asked for 400 together."""
    state, _ = running(given.order(), given.order(quantity="3"))

    assert state.notional_besides(given.order()) == 400


def test_a_group_counts_its_largest_leg():
    """Legs that exclude each other: 100 and 300 are worth 300, and nothing to a leg of their own group."""
    state, _ = running(given.order(group=1), given.order(quantity="3", group=1))

    assert state.notional_besides(given.order()) == 300
    assert state.notional_besides(given.order(group=1)) == 0
    assert state.notional_besides(given.order(group=2)) == 300
    assert state.group_notional(given.order(group=1)) == 300


def test_a_group_waits_once_on_its_side():
    """The second leg adds only what is more than the first has taken; another side or group starts anew."""
    state, facts = running(given.order(quantity="1", group=1), given.order(quantity="3", group=1))

    assert state.group_quantity(given.order(group=1)) == 3
    assert state.group_quantity(given.order(group=1, side=Side.SELL)) == 0
    assert state.group_quantity(given.order(group=2)) == 0
    assert facts.of(given.SYMBOL).waiting(Bucket.BOTH) == given.sides(buy="3")


def test_pending_orders_close_no_more_than_their_opener_opens():
    """Of an opening buy of 2, a pending sell of 1.5 is taken; another of 0.5 still closes, one of 0.6 does not."""
    opener = given.order(quantity="2")
    first = given.order(quantity="1.5", side=Side.SELL, pending_on=0)
    state, facts = running(opener, first)

    def closes(quantity, **changed):
        order = given.order(quantity=quantity, side=Side.SELL, pending_on=0, **changed)
        return Asking(order, facts, given.limits(), state, index=2).closing

    assert state.closing_taken(0, besides=None) == Decimal("1.5")
    assert closes("0.5")
    assert not closes("0.6")


def test_pending_legs_of_one_group_close_the_same_fill():
    """A stop and a take-profit of 2 each exclude each other: together they close 2, and each of them may."""
    opener = given.order(quantity="2")
    stop = given.order(quantity="2", side=Side.SELL, pending_on=0, group=1)
    state, facts = running(opener, stop)

    assert state.closing_taken(0, besides=1) == 0
    assert state.closing_taken(0, besides=None) == 2
    assert Asking(stop, facts, given.limits(), state, index=2).closing


def test_only_another_client_id_does_not_make_an_order_different():
    """The same order under two client ids is the same order twice; another price is another order."""
    state, _ = running(given.order(client_order_id="a"), given.order(client_order_id="b"), given.order(price="99"))

    assert state.identical(given.order(client_order_id="c")) == 2


@pytest.mark.parametrize(("name", "expected"), [("a", True), ("b", False), (None, False)])
def test_a_client_id_is_known_by_the_orders_that_bear_it(name, expected):
    """No client id is nobody's client id."""
    state, _ = running(given.order(client_order_id="a"), given.order())

    assert state.has_client_order_id(name) is expected


def test_settings_take_nothing():
    """A leverage change has no hold, and leaves the facts as they were."""
    change = LeverageChange(symbol=given.SYMBOL, leverage=Decimal(2))
    facts = given.facts()
    state, left = running(change, facts=facts)

    assert hold_of(Asking(change, facts, given.limits())) is None
    assert left is facts
    assert state.notional == 0


def test_an_order_let_through_is_counted_everywhere():
    """Afterwards it waits on its side, weighs in all four sums, is an open position, and one more order sent."""
    hold = Hold(given.SYMBOL, Bucket.BOTH, Side.SELL, Decimal(2), Decimal(200))
    facts = after(given.facts(reserved=given.sides(sell="1"), exposure={"account": "10", "total": "20"}), hold)
    sums = facts.exposure.value

    assert facts.of(given.SYMBOL).reserved[Bucket.BOTH] == Sides(buy=Decimal(0), sell=Decimal(3))
    assert (sums.account, sums.strategy, sums.exchange, sums.total) == (210, 200, 200, 220)
    assert facts.open_positions.value == {(given.SYMBOL, Bucket.BOTH)}
    assert facts.activity.orders_in_window == 1


def test_what_was_unknown_stays_unknown():
    """An order let through does not make up sums or positions that nobody has read."""
    hold = Hold(given.SYMBOL, Bucket.BOTH, Side.BUY, Decimal(2), Decimal(200))
    facts = after(given.facts(exposure_known=False, open_positions=None), hold)

    assert (facts.exposure, facts.open_positions) == (None, None)


def test_an_order_without_a_hold_is_still_one_more_order():
    """What the venue keeps from opening reserves nothing, and counts towards the rate."""
    facts = given.facts(held="1")
    counted = after(facts, hold_of(Asking(given.order(side=Side.SELL, reduce_only=True), facts, given.limits())))

    assert counted.symbols == facts.symbols
    assert counted.activity.orders_in_window == 1


def test_two_orders_of_one_request_do_not_fit_into_the_same_headroom():
    """Room for 150: one order of 100 passes, the second is judged as if the first had been accepted."""
    limits = given.limits(exposure_account_max="150")

    assert evaluate(given.order(), given.facts(), limits).verdict is Verdict.ALLOW
    decision = evaluate([given.order(), given.order()], given.facts(), limits)
    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.ACCOUNT_EXPOSURE_EXCEEDS_LIMIT)
    assert decision.breach.observed == 200
