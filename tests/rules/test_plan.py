"""What is known of the rulebook before an order comes."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from rules import RULEBOOK, LeverageChange, Limits, Order, Rule
from rules import plan as plans
from rules.case import Asking
from tests import given

BOUND = [rule for rule in RULEBOOK if rule.limit is not None]


class Untouchable:
    """Facts that fail whoever reads them."""

    def __getattr__(self, name):
        if name == "symbols":
            return {}
        if name in ("caller", "activity"):  # always there, read together with the limit
            return getattr(given.facts(), name)
        raise AssertionError(f"{name} was read")


@pytest.mark.parametrize("rule", BOUND, ids=lambda rule: rule.name)
def test_a_rule_without_its_limit_does_not_apply(rule):
    """What the plan leaves out would have answered "not applicable", and without reading a fact."""
    assert rule.limit in {limit.name for limit in fields(Limits)}
    change = LeverageChange(symbol=given.SYMBOL, leverage=given.number("3"))
    instruction = given.order() if Order in rule.applies_to else change
    case = Asking(instruction, Untouchable(), replace(given.limits(), **{rule.limit: None}))

    assert rule.check(case) is None


def test_only_set_limits_are_planned():
    """Of the rules bound to a limit, the plan runs those whose limit is set."""
    limits = given.limits(price_floor="1", order_rate_max=5)
    run = {rule.name for rule in plans.prepared(limits).plan(Order, spared=False).asked}

    assert {rule.name for rule in BOUND} & run == {"price_floor", "order_rate"}


def test_every_rule_stands_in_every_plan():
    """A rule that is not run still has its line, so that the record names the whole rulebook."""
    for spared in (False, True):
        plan = plans.prepared(given.limits()).plan(Order, spared=spared)
        assert list(plan.rules) == list(RULEBOOK)
        assert [rule.check for rule in plan.asked] == list(plan.checks)


def test_a_reduction_is_spared_what_spares_reductions():
    """For a spared order the plan runs no rule that spares reductions, whatever limit is set."""
    limits = given.limits(price_floor="1")
    run = plans.prepared(limits).plan(Order, spared=True).asked

    assert run
    assert not any(rule.spares_reductions for rule in run)


def test_a_rule_without_a_bound_limit_is_always_run():
    """A rule that names no limit is asked, whatever the limits are."""
    rule = Rule("mine", lambda case: None, ())

    assert plans.plan_of([rule], Order, given.limits(), spared=False).asked == [rule]
    assert plans.plan_of([rule], LeverageChange, given.limits(), spared=False).asked == []


def test_the_same_limits_are_prepared_once():
    """The work is kept for these very limits; equal ones that are another object get their own."""
    limits = given.limits(price_floor="1")

    assert plans.prepared(limits) is plans.prepared(limits)
    assert plans.prepared(replace(limits)) is not plans.prepared(limits)
    assert plans.prepared(replace(limits)).limits == limits


def test_what_is_kept_is_bounded_and_never_mixed_up():
    """Thousands of short-lived limits leave at most the maximum behind, each with its own plan."""
    for number in range(plans.PREPARED_MAX * 2 + 10):
        limits = given.limits(price_floor="1") if number % 2 else given.limits(price_ceiling="1")
        run = {rule.name for rule in plans.prepared(limits).plan(Order, spared=False).asked}
        assert ("price_floor" in run, "price_ceiling" in run) == (number % 2 == 1, number % 2 == 0)

    assert len(plans._PREPARED) <= plans.PREPARED_MAX


def test_spans_are_exact():
    """A maximum age in seconds becomes a span exact to the microsecond."""
    limits = given.limits()
    spans = plans.prepared(replace(limits, ages=replace(limits.ages, price_s=given.number("0.000001")))).spans

    assert (spans.price.microseconds, spans.account.total_seconds()) == (1, 10)
