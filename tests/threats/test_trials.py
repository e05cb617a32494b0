"""Limits in shadow mode are tried beside those in force: whatever becomes of the trial, it binds nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules import Ages, Reason, Verdict, evaluate
from tests import given


class _Broken:
    """Something that raises wherever it is looked at."""

    def __getattr__(self, name):
        raise RuntimeError(name)


def _shadows():
    enforced = given.limits()
    yield "ages that are none", replace(enforced, ages=None)
    yield "ages without numbers", replace(enforced, ages=Ages(price_s=None))
    yield "symbols that cannot be looked up", replace(enforced, by_symbol=_Broken())


@pytest.mark.parametrize("shadow", [pytest.param(one, id=name) for name, one in _shadows()])
def test_a_trial_that_fails_does_not_block(shadow):
    """The order is allowed as if nothing were tried, and the record says that the trial failed."""
    plain = evaluate(given.order(), given.facts(), given.limits())
    assert plain.verdict is Verdict.ALLOW
    found = evaluate(given.order(), given.facts(), replace(given.limits(), shadow=shadow))

    assert (found.verdict, found.quantities, found.holds) == (plain.verdict, plain.quantities, plain.holds)
    assert found.tried is not None
    assert (found.tried.verdict, found.tried.reason) == (Verdict.BLOCK, Reason.RULE_FAILED)


def test_limits_in_force_that_fail_still_block():
    """The same damage in what is enforced ends as a block."""
    found = evaluate(given.order(), given.facts(), replace(given.limits(), by_symbol=_Broken()))

    assert (found.verdict, found.reason) == (Verdict.BLOCK, Reason.RULE_FAILED)
