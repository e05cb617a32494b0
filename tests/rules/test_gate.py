"""The gate: always a decision, the first breach wins, what raises blocks."""

from __future__ import annotations

from decimal import Decimal, getcontext, localcontext

import pytest

from rules import (
    RULEBOOK,
    Breach,
    EssLevel,
    FactMissing,
    FactStale,
    LeverageChange,
    Market,
    QuantityCut,
    Reason,
    Replaced,
    ReplaceMode,
    RiskLevel,
    Rule,
    Side,
    Verdict,
    evaluate,
)
from rules.rulebook import EVERYTHING
from tests import given

CUT = QuantityCut(
    symbol=given.SYMBOL, market=Market.SPOT, quantity=Decimal("0.5"),
    replaces=Replaced(mode=ReplaceMode.AMEND, order_id="1"),
)


def test_an_allow_carries_the_whole_record(order, facts, limits):
    """Every rule has its line in order; quantities, factor, level and time are those of the request."""
    decision = evaluate(order(), facts(), limits())

    assert (decision.verdict, decision.reason) == (Verdict.ALLOW, Reason.ALL_RISK_CHECKS_PASSED)
    assert [run.rule for run in decision.rules_run] == [rule.name for rule in RULEBOOK]
    assert (decision.quantities, decision.scale_factor) == ((Decimal(1),), 1)
    assert (decision.risk_level, decision.ess_active) == ("INFO", False)
    assert (decision.timestamp, decision.policy_revision) == (given.NOW, 7)
    assert decision.breach is None
    assert decision.reducing is False
    assert (decision.holds[0].quantity, decision.holds[0].notional) == (1, 100)


def test_a_block_sends_nothing(order, facts, limits):
    """A blocked decision has no quantities and no holds, and ends at the breach."""
    decision = evaluate(order(), facts(), limits(order_quantity_max="0.5"))

    assert (decision.quantities, decision.holds, decision.scale_factor) == ((None,), (), 0)
    last = decision.rules_run[-1]
    assert (last.rule, last.outcome, last.observed, last.limit) == ("order_quantity", "breach", "1", "0.5")


def test_the_first_breach_wins(order, facts, limits):
    """Of several broken rules, the one listed first gives the reason."""
    known = facts(stop=EssLevel.HALT, risk=RiskLevel.CRITICAL, equity="1")
    applied = limits(symbols=frozenset(), loss_daily_max="0.01", order_quantity_max="0.1")

    assert evaluate(order(), known, applied).reason is Reason.ESS_TRADING_HALT_ACTIVE


def test_a_quantity_cut_passes_everything_but_halt_and_critical(facts, limits):
    """An order's size lowered in place can only reduce."""
    strict = limits(
        symbols=frozenset(), strategies=frozenset(), new_positions_allowed=False, loss_daily_max="0.01",
        order_rate_max=0,
    )
    bad = {"equity": "1", "mark": None, "position_known": False}

    assert evaluate(CUT, facts(stop=EssLevel.REDUCE_ONLY, **bad), strict).quantities == (Decimal("0.5"),)
    assert evaluate(CUT, facts(stop=EssLevel.HALT), strict).verdict is Verdict.BLOCK
    assert evaluate(CUT, facts(risk=RiskLevel.CRITICAL), strict).verdict is Verdict.BLOCK
    assert evaluate(CUT, facts(), strict).reducing is True


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ZeroDivisionError("1/0"), Reason.RULE_FAILED), (KeyError("x"), Reason.RULE_FAILED),
     (FactMissing("moon"), Reason.FACTS_MISSING), (FactStale("moon", Decimal(9), Decimal(5)), Reason.FACTS_STALE)],
)
def test_a_rule_that_raises_blocks(order, facts, limits, error, reason):
    """Whatever a rule raises ends as a block that names the rule or the fact, never the error's own text."""

    def broken(case):
        """A rule for this test: it fails."""
        raise error

    decision = evaluate(order(), facts(), limits(), rules=(Rule("broken", broken, ()), *RULEBOOK))

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, reason)
    assert ("moon" in decision.sentence) is (reason is not Reason.RULE_FAILED)
    assert "1/0" not in decision.sentence
    assert len(decision.rules_run) == 1


def test_a_rule_that_answers_nonsense_blocks(order, facts, limits):
    """A rule must answer with a breach, a pair or None."""
    decision = evaluate(order(), facts(), limits(), rules=(Rule("odd", lambda case: True, ()),))

    assert (decision.reason, decision.breach.detail) == (Reason.RULE_FAILED, "answered bool")


@pytest.mark.parametrize("asked", [[], (), [3], "BTC", None, 7, [given.order(), None]])
def test_what_is_no_request_blocks(facts, limits, asked):
    """Nothing, or something the gate does not know, is never allowed."""
    assert evaluate(asked, facts(), limits()).verdict is Verdict.BLOCK


def test_a_reduction_does_not_trip_over_facts_it_does_not_need(order, facts, limits):
    """With every fact but position and stop missing, what provably reduces passes every limit."""
    known = facts(
        held="1", mark=None, equity=None, risk=None, losses_known=False, exposure_known=False,
        open_positions=None, leverage=None, filters_known=False,
    )
    applied = limits(
        leverage_max="1", trade_notional_fraction_max="0", loss_daily_max="0", open_positions_max=0,
        position_notional_max="0", exposure_account_max="0", price_floor="999", order_quantity_max="0",
        order_rate_max=0, duplicates_max=0, symbols=frozenset(), confidence_required=True,
    )

    decision = evaluate(order(side=Side.SELL), known, applied)

    assert (decision.verdict, decision.reducing) == (Verdict.ALLOW, True)
    assert decision.holds[0].quantity == 1
    assert decision.holds[0].notional == 0


def test_a_hold_without_the_facts_for_exposure_is_the_orders_own_value(order, facts, limits):
    """Where no limit asked for the position, the hold still has a value."""
    decision = evaluate(order(), facts(position_known=False), limits())

    assert decision.holds[0].notional == 100


def test_a_hold_without_any_price_has_no_value(order, facts, limits):
    """With no rules at all there may be no price either; the quantity is held all the same."""
    decision = evaluate(order(), facts(mark=None), limits(), rules=())

    assert (decision.holds[0].quantity, decision.holds[0].notional) == (1, 0)


def test_numbers_that_are_none_block(facts, limits):
    """An order whose size is not a number is blocked by whatever touches it first."""
    from dataclasses import replace

    odd = replace(given.order(), quantity=Decimal("Infinity"))
    object.__setattr__(odd, "quantity", Decimal("NaN"))

    assert evaluate(odd, facts(held="-1"), limits()).reason is Reason.RULE_FAILED


def test_facts_that_cannot_be_counted_on_block(order, facts, limits):
    """When something around the rules fails, the request is blocked."""
    from dataclasses import replace

    broken = replace(facts(), activity=None)

    assert evaluate([order(), order(quantity="2")], broken, limits(), rules=()).reason is Reason.RULE_FAILED


def test_limits_of_the_symbol_apply(order, facts, limits):
    """A symbol with limits of its own is judged by them."""
    tight = limits(order_quantity_max="0.5")
    applied = limits(by_symbol={given.SYMBOL: tight})

    assert evaluate(order(), facts(), applied).verdict is Verdict.BLOCK


def test_the_callers_decimal_context_is_left_alone(order, facts, limits):
    """The gate computes exactly whatever the caller's precision is, and puts that back."""
    with localcontext() as context:
        context.prec = 3
        decision = evaluate(
            order(quantity="1.00000000000000000001"), facts(), limits(position_notional_max="100")
        )
        assert getcontext().prec == 3
    assert decision.verdict is Verdict.BLOCK


def test_the_level_is_unknown_when_the_signal_is_not_believed(order, facts, limits):
    """A stale signal's level is not repeated in the decision."""
    assert evaluate(order(), facts(risk_age="6"), limits()).risk_level == "UNKNOWN"


def test_same_question_same_answer(order, facts, limits):
    """A decision depends on nothing but its arguments, down to the lines of its record."""
    applied = limits(position_notional_max="33.37", scaling_allowed=True)

    assert evaluate(order(), facts(), applied) == evaluate(order(), facts(), applied)


def test_rules_are_named_once_and_their_reasons_are_said():
    """Names are unique; every reason of the rulebook has a sentence."""
    from rules.sentences import SENTENCES

    names = [rule.name for rule in RULEBOOK]
    assert len(names) == len(set(names))
    assert {reason for rule in RULEBOOK for reason in rule.reasons} <= SENTENCES.keys()


def test_rules_that_bind_reductions_are_few():
    """Only the stop, the global signal and a repeated client id are run on what provably reduces."""
    binding = {rule.name for rule in RULEBOOK if not rule.spares_reductions}

    assert binding == {"ess_halt", "ess_reduce_only", "global_risk_critical", "global_risk_action", "client_order_id"}
    assert all(rule.applies_to == EVERYTHING for rule in RULEBOOK[:4])


def test_a_custom_rule_is_run_by_kind(facts, limits):
    """A rule listed for orders is not run on a quantity cut."""
    never = Rule("never", lambda case: Breach(Reason.SYMBOL_NOT_ALLOWED, 1, 2), (), spares_reductions=False)

    assert evaluate(CUT, facts(), limits(), rules=(never,)).verdict is Verdict.ALLOW


def test_a_request_is_judged_with_what_is_known(order, facts, limits):
    """Where sums and positions are unknown and unlimited, several orders are judged all the same."""
    known = facts(exposure_known=False, open_positions=None)

    assert evaluate([order(), order(quantity="2")], known, limits()).verdict is Verdict.ALLOW
    blocked = evaluate([order(), order(quantity="2")], known, limits(exposure_total_max="1000"))
    assert blocked.reason is Reason.FACTS_MISSING


def test_a_guaranteed_reduction_of_unknown_size_passes_and_holds_nothing(facts, limits):
    """Closing a hedge-mode long in quote currency needs no price: the venue caps it, and there is nothing to hold."""
    asked = given.order(
        side=Side.SELL, bucket=given.Bucket.LONG, type=given.OrderType.MARKET, quote_quantity="50", group=1
    )
    for price in ({"mark": None}, {"price_age": "6"}):
        decision = evaluate([asked, asked], facts(long="1", **price), limits())
        assert (decision.verdict, decision.reducing) == (Verdict.ALLOW, True)
        assert decision.holds == (None, None)


def test_a_close_of_an_unknown_position_does_not_break_a_request(order, facts, limits):
    """Close-position beside another order, with the position unknown: judged, since the venue keeps it from opening."""
    closing = order(side=Side.SELL, type=given.OrderType.STOP_MARKET, trigger_price="90", close_position=True)
    unknown = facts(position_known=False)

    assert evaluate([closing, order()], unknown, limits()).verdict is Verdict.ALLOW
    assert evaluate([closing, order()], unknown, limits(order_notional_max="999")).reason is Reason.FACTS_MISSING


def test_every_verdict_says_what_each_leg_is_worth():
    """An allow, a scale-down and a block carry the value of every order as it was asked, in the account's currency."""
    facts = given.facts(conversion="0.9")
    order = given.order(quantity="2")

    allowed = evaluate(order, facts, given.limits())
    scaled = evaluate(order, facts, given.limits(order_notional_max="90", scaling_allowed=True))
    blocked = evaluate(order, facts, given.limits(order_notional_max="90"))

    assert (allowed.verdict, scaled.verdict, blocked.verdict) == (Verdict.ALLOW, Verdict.SCALE_DOWN, Verdict.BLOCK)
    assert allowed.notionals == scaled.notionals == blocked.notionals == (180,)


def test_a_block_values_the_legs_it_did_not_get_to():
    """The first leg ends the walk; the record still tells what the second is worth, and nothing of what has no size."""
    change = LeverageChange(symbol=given.SYMBOL, leverage=Decimal(2))
    decision = evaluate(
        [given.order(price="50"), given.order(quantity="3"), change], given.facts(), given.limits(price_floor="60")
    )

    assert decision.verdict is Verdict.BLOCK
    assert decision.notionals == (50, 300, None)


def test_a_value_that_cannot_be_told_is_none():
    """Without a price an order is blocked, and its value left out."""
    decision = evaluate(given.order(), given.facts(mark=None), given.limits())

    assert decision.verdict is Verdict.BLOCK
    assert decision.notionals == (None,)
