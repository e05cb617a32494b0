"""The emergency stop's table: complete, and nothing but a release loosens it."""

from __future__ import annotations

from itertools import product

import pytest

from rules import CLEAR, EssAct, EssLevel, Stop, strictest
from rules.ess import TRANSITIONS, after

ENGAGEMENTS = {EssAct.ENGAGE_REDUCE_ONLY: EssLevel.REDUCE_ONLY, EssAct.ENGAGE_HALT: EssLevel.HALT}


def test_every_act_is_answered_in_every_state():
    """The table has a line for each pair of level and act, and no other."""
    assert set(TRANSITIONS) == set(product(EssLevel, EssAct))


@pytest.mark.parametrize(("level", "act"), list(product(EssLevel, ENGAGEMENTS)))
def test_engaging_never_loosens(level, act):
    """After a trip the stop is as strict as the trip asks, and at least as strict as it was."""
    assert after(level, act) == max(level, ENGAGEMENTS[act])


@pytest.mark.parametrize("level", EssLevel)
def test_a_release_clears_whatever_stood(level):
    """Releasing leads to CLEAR from every level, also from CLEAR itself."""
    assert after(level, EssAct.RELEASE) is EssLevel.CLEAR


@pytest.mark.parametrize(("level", "act"), list(product(EssLevel, EssAct)))
def test_doing_the_same_twice_changes_nothing_more(level, act):
    """Every act may be repeated: two alarms at once end where one does."""
    assert after(after(level, act), act) == after(level, act)


def test_levels_are_ordered_by_what_they_stop():
    """HALT is stricter than REDUCE_ONLY, which is stricter than CLEAR."""
    assert EssLevel.CLEAR < EssLevel.REDUCE_ONLY < EssLevel.HALT


@pytest.mark.parametrize(("one", "other"), list(product(EssLevel, EssLevel)))
def test_of_two_scopes_the_stricter_governs(one, other):
    """Whichever way round the scopes are named, the higher level is the one that holds."""
    account, everywhere = Stop(level=one, scope="account:main"), Stop(level=other)

    assert strictest(account, everywhere).level == strictest(everywhere, account).level == max(one, other)


def test_of_equal_stops_the_first_governs():
    """With both at HALT, the first named is shown: the same question gets the same answer."""
    first, second = Stop(level=EssLevel.HALT, scope="global"), Stop(level=EssLevel.HALT, scope="account:main")

    assert strictest(CLEAR, first, second) is first
    assert strictest(second, first) is second
