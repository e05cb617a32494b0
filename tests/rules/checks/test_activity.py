"""Rate, repetition, and the same order sent twice."""

from __future__ import annotations

import pytest

from rules import Activity, Reason, Side, Verdict, evaluate


@pytest.mark.parametrize(("sent", "passes"), [(3, True), (4, True), (5, False)])
def test_orders_in_the_window_are_at_most_the_limit(order, facts, limits, sent, passes):
    """With this order counted in: the fifth of five passes, the sixth does not."""
    decision = evaluate(order(), facts(activity=Activity(orders_in_window=sent)), limits(order_rate_max=5))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.ORDER_RATE_EXCEEDS_LIMIT) is not passes


def test_every_order_of_a_request_counts(order, facts, limits):
    """A request of three orders needs room for three."""
    three = [order(quantity=quantity) for quantity in ("0.1", "0.2", "0.3")]

    assert evaluate(three, facts(), limits(order_rate_max=3)).verdict is Verdict.ALLOW
    assert evaluate(three, facts(), limits(order_rate_max=2)).reason is Reason.ORDER_RATE_EXCEEDS_LIMIT


@pytest.mark.parametrize(("sent", "passes"), [(0, True), (1, True), (2, False)])
def test_identical_orders_are_at_most_the_limit(order, facts, limits, sent, passes):
    """With this one counted in: the second of two passes, the third does not."""
    decision = evaluate(order(), facts(activity=Activity(identical_in_window=sent)), limits(duplicates_max=2))

    assert (decision.verdict is Verdict.ALLOW) is passes
    assert (decision.reason is Reason.ORDER_DUPLICATE) is not passes


def test_identical_orders_of_one_request_count(order, facts, limits):
    """A request of three equal orders is two too many, whatever their client ids."""
    three = [order(quantity="0.1", client_order_id=str(index)) for index in range(3)]

    assert evaluate(three, facts(), limits(duplicates_max=3)).verdict is Verdict.ALLOW
    assert evaluate(three, facts(), limits(duplicates_max=2)).reason is Reason.ORDER_DUPLICATE


def test_a_client_id_in_use_blocks_even_a_reduction(order, facts, limits):
    """The same order is not sent twice, also when it would only reduce."""
    used = Activity(client_order_id_in_use=True)

    decision = evaluate(order(side=Side.SELL, client_order_id="a"), facts(activity=used, held="5"), limits())

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.ORDER_DUPLICATE)
    assert decision.breach.observed == "a"


def test_a_client_id_twice_in_one_request_blocks(order, facts, limits):
    """Two orders of one request may not bear the same client id; two without any may."""
    twice = [order(client_order_id="a"), order(quantity="2", client_order_id="a")]
    without = [order(), order(quantity="2")]

    assert evaluate(twice, facts(), limits()).reason is Reason.ORDER_DUPLICATE
    assert evaluate(without, facts(), limits()).verdict is Verdict.ALLOW


def test_rate_and_repetition_do_not_keep_from_leaving(order, facts, limits):
    """A reduction passes whatever was sent before."""
    busy = Activity(orders_in_window=99, identical_in_window=99)
    decision = evaluate(
        order(side=Side.SELL), facts(activity=busy, held="1"), limits(order_rate_max=1, duplicates_max=1)
    )

    assert decision.verdict is Verdict.ALLOW
