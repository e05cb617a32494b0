"""T15: a target names a path of this venue and nothing else."""

import pytest

from tests.threats.cases.t15_targets import CASES
from tests.threats.corpus import Case, outcome


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_targets(case: Case):
    """The request meets its expectation, and nothing but a refusal is raised on the way."""
    assert outcome(case.raw) == case.expect, case.why


@pytest.mark.parametrize(("cases", "count"), [(CASES, 26)])
def test_the_corpus_is_as_large_as_the_threat_asks(cases, count):
    """The families of the attack have at least the number of different requests they were found to need."""
    assert len({case.raw for case in cases}) >= count
    assert len({case.name for case in cases}) == len(cases)
