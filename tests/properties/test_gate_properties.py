"""What holds of the gate for any order, facts and limits."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from rules import RULEBOOK, Bucket, EssLevel, Fact, Order, Reason, RiskLevel, Rule, Verdict, evaluate
from rules.case import Asking
from rules.order import OrderType
from tests import strategies as some
from tests.given import limits as no_limits

SHORT = settings(
    max_examples=300, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
LONG = settings(SHORT, max_examples=20_000, derandomize=False)
LENGTHS = [
    pytest.param(SHORT, id="short"),
    pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
]

at_length = pytest.mark.parametrize("length", LENGTHS)


def check(length, **arguments):
    """Run the decorated property at the given length."""
    return lambda judge: length(given(**arguments)(judge))()


def amount(order):
    """How much the order asks for, in its own unit."""
    return order.quantity if order.quantity is not None else order.quote_quantity


def resized(order, quantity):
    """The same order with another size."""
    return replace(order, **{"quantity" if order.quantity is not None else "quote_quantity": quantity})


@at_length
def test_scaling_never_enlarges_and_satisfies_every_rule(length):
    """A scaled order is smaller, positive, on the step, and allowed when it is judged alone."""

    # One in fifty is scaled, hence more of them.
    @check(settings(length, max_examples=length.max_examples * 4), order=some.orders(),
           facts=some.some_facts(always=True), limits=some.some_limits(scaling=True))
    def judge(order, facts, limits):
        decision = evaluate(order, facts, limits)
        if decision.verdict is not Verdict.SCALE_DOWN:
            return
        (quantity,) = decision.quantities
        note(decision.sentence)
        assert 0 < quantity < amount(order)
        assert decision.scale_factor < 1
        filters = facts.of(order.symbol).filters.value
        step = filters.quantity_step if order.quantity is not None else filters.quote_quantity_step
        assert quantity % step == 0
        again = evaluate(resized(order, quantity), facts, limits)
        assert again.verdict is Verdict.ALLOW, again.sentence
        assert again.holds == decision.holds


@at_length
def test_scaling_leaves_no_more_than_a_step_unused(length):
    """One step more than a scaled order would be blocked where scaling is off: nothing is given away."""

    @check(length, order=some.orders(), facts=some.some_facts(always=True), limits=some.some_limits(scaling=True))
    def judge(order, facts, limits):
        decision = evaluate(order, facts, limits)
        at_market = order.type not in (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
        if decision.verdict is not Verdict.SCALE_DOWN or order.quantity is None or at_market:
            return
        more = decision.quantities[0] + facts.of(order.symbol).filters.value.quantity_step
        strict = replace(limits, scaling_allowed=False)
        larger = evaluate(replace(order, quantity=more), facts, strict)
        # What only reduces is spared the limits, so it may be larger than what a limit leaves.
        if more < order.quantity and not larger.reducing:
            assert larger.verdict is Verdict.BLOCK


def tightened(pick, limits):
    """The same limits with one of them stricter."""
    name = pick.choice([
        *some.SHARES, *some.SUMS, *some.COUNTS, *some.MINIMA,
        "leverage_max", "order_quantity_max", "price_floor", "price_ceiling",
        "strategies", "symbols", "new_positions_allowed", "confidence_required", "margin_changes_allowed",
    ])
    value = getattr(limits, name)
    if name in some.LISTS:
        return replace(limits, **{name: frozenset()})
    if isinstance(value, bool):
        return replace(limits, **{name: name == "confidence_required"})
    if name == "price_floor":
        return replace(limits, price_floor=pick.choice(some.PRICES) + (value or 0))
    if name in some.MINIMA:
        return replace(limits, **{name: max(value or Decimal(0), pick.choice(some.FRACTIONS))})
    stricter = pick.randint(0, 4) if name in some.COUNTS else pick.choice(some.MONEY + some.FRACTIONS)
    return replace(limits, **{name: stricter if value is None else min(value, stricter)})


@at_length
def test_tighter_limits_never_allow_more(length):
    """What stricter limits allow, the looser ones allow too."""

    @check(length, pick=some.randoms(), request=some.requests(), facts=some.some_facts(),
           limits=some.some_limits(scaling=False))
    def judge(pick, request, facts, limits):
        stricter = tightened(pick, limits)
        if evaluate(request, facts, stricter).verdict is Verdict.ALLOW:
            assert evaluate(request, facts, limits).verdict is Verdict.ALLOW


@at_length
def test_a_tighter_limit_never_sends_more(length):
    """A scaled order is never larger under stricter limits."""

    @check(length, pick=some.randoms(), order=some.orders(), facts=some.some_facts(always=True),
           limits=some.some_limits(scaling=True))
    def judge(pick, order, facts, limits):
        stricter = evaluate(order, facts, tightened(pick, limits))
        looser = evaluate(order, facts, limits)
        if stricter.verdict is Verdict.BLOCK or amount(order) is None:
            return
        assert looser.verdict is not Verdict.BLOCK
        assert stricter.quantities[0] <= looser.quantities[0]


def poorer(pick, facts):
    """The same facts with one of them missing or a day older."""
    name = pick.choice(
        ["equity", "losses", "exposure", "open_positions", "sums", "risk", "governor", "price", "position", "leverage",
         "filters"]
    )

    def aged(fact):
        if fact is None or pick.random() < 0.5:
            return None
        return Fact(fact.value, fact.as_of - some.timedelta(days=2))

    if hasattr(facts, name):
        return name, replace(facts, **{name: aged(getattr(facts, name))})
    symbols = {symbol: replace(known, **{name: aged(getattr(known, name))}) for symbol, known in facts.symbols.items()}
    return name, replace(facts, symbols=symbols)


@at_length
def test_missing_or_older_facts_never_allow_more(length):
    """What passes with less knowledge passes with more; but a global signal may say CRITICAL once it is heard."""

    @check(length, pick=some.randoms(), request=some.requests(), facts=some.some_facts(),
           limits=some.some_limits(scaling=False))
    def judge(pick, request, facts, limits):
        name, less = poorer(pick, facts)
        decision = evaluate(request, less, limits)
        # A way out must not depend on a feed: a reduction passes an unknown signal and not a CRITICAL one.
        if decision.verdict is Verdict.ALLOW and not (name == "risk" and decision.reducing):
            note(name)
            assert evaluate(request, facts, limits).verdict is Verdict.ALLOW


@at_length
def test_a_rule_that_raises_blocks(length):
    """Wherever a failing rule stands and whatever is asked, the request does not pass."""

    @check(length, request=some.requests(), facts=some.some_facts(always=True), place=st.integers(0, len(RULEBOOK)),
           error=st.sampled_from([ValueError("no"), KeyError("no"), ZeroDivisionError(), RecursionError()]))
    def judge(request, facts, place, error):
        def broken(case):
            """A rule for this test: it fails."""
            raise error

        kinds = tuple({type(leg) for leg in request})
        failing = Rule("broken", broken, (), kinds, spares_reductions=False)
        decision = evaluate(request, facts, no_limits(), rules=(*RULEBOOK[:place], failing, *RULEBOOK[place:]))
        assert decision.verdict is Verdict.BLOCK


@at_length
def test_same_input_same_decision(length):
    """Two judgements of the same request are equal to the last line of their record."""

    @check(length, request=some.requests(), facts=some.some_facts(), limits=some.some_limits())
    def judge(request, facts, limits):
        assert evaluate(request, facts, limits) == evaluate(request, facts, limits)


@at_length
def test_a_reduction_is_blocked_only_by_halt_critical_or_its_client_id(length):
    """What provably only reduces passes everything else."""

    @check(length, order=some.orders(), facts=some.some_facts(), limits=some.some_limits())
    def judge(order, facts, limits):
        decision = evaluate(order, facts, limits)
        if not Asking(order, facts, limits).reducing:
            return
        assert decision.reducing
        if decision.verdict is Verdict.BLOCK:
            assert decision.reason in {
                Reason.ESS_TRADING_HALT_ACTIVE, Reason.GLOBAL_RISK_CRITICAL, Reason.RISK_V3_ESS_ACTION_REQUIRED,
                Reason.ORDER_DUPLICATE,
            }
            assert decision.reason is not Reason.ORDER_DUPLICATE or facts.activity.client_order_id_in_use
        else:
            assert decision.verdict is Verdict.ALLOW
            assert decision.quantities == (amount(order),)


@at_length
def test_a_reduction_brings_the_position_towards_zero(length):
    """An order called reducing cannot open: filled after all that waits or closes on its side, it stops at zero."""

    @check(length, order=some.orders(), facts=some.some_facts(always=True))
    def judge(order, facts):
        case = Asking(order, facts, no_limits())
        if order.bucket is not Bucket.BOTH or order.replaces or case.kept_from_opening or not case.reducing:
            return
        held = case.position.signed(order.bucket)
        closing = facts.of(order.symbol).closing.of(order.side)
        assert abs(held) - case.waiting.of(order.side) - closing - case.quantity_base >= 0
        assert case.non_increasing


@at_length
def test_it_always_reaches_a_decision(length):
    """Any request gets a decision; while halted, or with nothing known, it is never an allow of new exposure."""

    @check(length, request=some.requests(), facts=some.some_facts(), limits=some.some_limits())
    def judge(request, facts, limits):
        decision = evaluate(request, facts, limits)
        note(decision.sentence)
        assert decision.verdict in Verdict
        assert decision.reason is not Reason.RULE_FAILED
        assert decision.sentence
        list(decision.rules_run)
        if facts.stop.level is EssLevel.HALT:
            assert decision.verdict is Verdict.BLOCK
        if facts.stop.level is EssLevel.REDUCE_ONLY and decision.verdict is not Verdict.BLOCK:
            assert decision.reducing
        if decision.verdict is not Verdict.BLOCK and any(isinstance(leg, Order) for leg in request):
            assert decision.risk_level != RiskLevel.CRITICAL or decision.reducing or limits.risk_source != "required"


@at_length
def test_arbitrary_objects_get_a_block(length):
    """Things that are no instructions are blocked, and nothing is raised."""
    simple = st.none() | st.integers() | st.text(max_size=5) | st.decimals()
    things = simple | st.lists(simple, max_size=3)

    @check(length, thing=things, facts=some.some_facts(always=True))
    def judge(thing, facts):
        assert evaluate(thing, facts, no_limits()).verdict is Verdict.BLOCK


@at_length
def test_odd_numbers_get_a_decision(length):
    """Orders with numbers that are not numbers are decided without raising, and not allowed under a cap."""

    @check(length, order=some.orders(), odd=st.sampled_from(["NaN", "sNaN", "Infinity", "-1", "0", "1E+999999"]),
           facts=some.some_facts(always=True))
    def judge(order, odd, facts):
        if order.quantity is None:
            return
        broken = replace(order)
        object.__setattr__(broken, "quantity", Decimal(odd))
        evaluate(broken, facts, no_limits())
        if odd not in ("-1", "0") and not Asking(order, facts, no_limits()).kept_from_opening:
            capped = no_limits(order_quantity_max="5", position_notional_max="5")
            decision = evaluate(broken, facts, capped)
            assert decision.verdict is Verdict.BLOCK or decision.reducing
