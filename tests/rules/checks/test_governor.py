"""The rule about the safety governor's word."""

from __future__ import annotations

from decimal import Decimal

from rules import EssLevel, LeverageChange, Reason, Side, Verdict, evaluate
from tests import given
from tests.rules.test_governor import GOVERNING, directive, judged

D = Decimal


def test_a_block_names_what_led_to_it():
    """The sentence says the level, the cause and both numbers."""
    decision = judged(given.order(), directive(equity="9500"))

    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.SAFETY_GOVERNOR_BLOCK)
    assert "BLOCK DEFENSIVE" in decision.sentence
    assert "drawdown of 0.05 against 0.05" in decision.sentence


def test_reductions_pass_a_block():
    """The governor blocks what opens: a proven reduction and a lowered leverage pass in an EMERGENCY."""
    emergency = directive(equity="100")
    selling = given.order(side=Side.SELL)
    assert judged(selling, emergency, known={"held": "1"}, leverage_max="5").verdict is Verdict.ALLOW
    lowered = LeverageChange(symbol=given.SYMBOL, leverage=D(2))
    assert judged(lowered, emergency, known={"leverage": "3"}, leverage_max="5").verdict is Verdict.ALLOW
    raised = LeverageChange(symbol=given.SYMBOL, leverage=D(4))
    assert judged(raised, emergency, known={"leverage": "3"}, leverage_max="5").verdict is Verdict.BLOCK


def test_without_a_directive_nothing_opens():
    """Where the governor is on, none yet and an old one block; where it is off, nobody asks."""
    on = given.limits(governor=GOVERNING)
    missing = evaluate(given.order(), given.facts(), on)
    assert (missing.reason, missing.breach.observed) == (Reason.FACTS_MISSING, "safety_governor")
    assert judged(given.order(), directive(), age_s="10").verdict is Verdict.ALLOW
    assert judged(given.order(), directive(), age_s="10.1").reason is Reason.FACTS_STALE
    assert evaluate(given.order(), given.facts(), given.limits()).verdict is Verdict.ALLOW
    assert evaluate(given.order(side=Side.SELL), given.facts(held="1"), on).verdict is Verdict.ALLOW


def test_a_halt_is_told_before_the_governor():
    """The emergency stop stands above it."""
    decision = judged(given.order(), directive(equity="100"), known={"stop": EssLevel.HALT})
    assert decision.reason is Reason.ESS_TRADING_HALT_ACTIVE
