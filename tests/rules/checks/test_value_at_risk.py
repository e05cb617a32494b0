"""The rule about what VaR and ES leave of an account."""

from __future__ import annotations

import pytest

from rules import Market, Reason, Replaced, ReplaceMode, Side, Verdict, evaluate
from tests import given
from tests.rules.test_scaling_modes import BY_VAR, D, facts


@pytest.mark.parametrize("left", [None, "0", "0.0005"])
def test_by_var_blocks_what_cannot_be_made_to_fit(left):
    """No answer, no room, or less than the venue's minimum: nothing is sent."""
    decision = evaluate(given.order(), facts(left), BY_VAR)
    expected = {
        None: Reason.FACTS_MISSING, "0": Reason.VALUE_AT_RISK_EXCEEDS_LIMIT, "0.0005": Reason.SCALED_BELOW_MINIMUM
    }  # fmt: skip
    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, expected[left])


def test_without_the_arithmetic_new_exposure_is_blocked():
    """No room was gathered, or equity is old: unknown is not unlimited."""
    none = evaluate(given.order(), given.facts(), BY_VAR)
    assert (none.reason, none.breach.observed) == (Reason.FACTS_MISSING, "value_at_risk")
    assert evaluate(given.order(), facts(equity_age="11"), BY_VAR).reason is Reason.FACTS_STALE


def test_by_var_spares_reductions():
    """A proven reduction needs no arithmetic."""
    assert evaluate(given.order(side=Side.SELL), given.facts(held="1"), BY_VAR).verdict is Verdict.ALLOW


def test_by_var_counts_an_order_in_quote_currency():
    """100 USDT at 100 are 1 BTC: with room for 0.4 it may spend 40."""
    decision = evaluate(given.order(quote_quantity="100", market=Market.SPOT), facts(), BY_VAR)
    assert decision.quantities == (D(40),)


def test_legs_of_a_request_share_the_room():
    """Each is judged as if those before it had been accepted: 0.3 and 0.2 do not both fit into 0.4."""
    legs = [given.order(quantity="0.3"), given.order(quantity="0.2")]
    assert evaluate(legs, facts(), BY_VAR).reason is Reason.VALUE_AT_RISK_EXCEEDS_LIMIT
    assert evaluate(legs, facts("0.5"), BY_VAR).verdict is Verdict.ALLOW


def test_an_amendment_counts_only_what_it_adds():
    """A resting order is in VaR already: raising it from 1 to 1.3 needs room for 0.3."""
    resting = given.working("7", remaining="1")
    asked = given.order(quantity="1.3", replaces=Replaced(mode=ReplaceMode.AMEND, order_id="7"))
    changed = {"waiting": given.sides(buy="1"), "orders": [resting]}
    assert evaluate(asked, facts("0.3", **changed), BY_VAR).verdict is Verdict.ALLOW
    assert evaluate(asked, facts("0.29", **changed), BY_VAR).verdict is Verdict.BLOCK
