"""T9: a body is an unpacked form in UTF-8 and its JSON has one reading."""

import pytest

from tests.threats.cases.t09_content import CASES, ENCODINGS, JSON, TYPES
from tests.threats.corpus import Case, outcome


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_content(case: Case):
    """The request meets its expectation, and nothing but a refusal is raised on the way."""
    assert outcome(case.raw) == case.expect, case.why


@pytest.mark.parametrize(("cases", "count"), [(TYPES, 25), (ENCODINGS, 14), (JSON, 53)])
def test_the_corpus_is_as_large_as_the_threat_asks(cases, count):
    """The families of the attack have at least the number of different requests they were found to need."""
    assert len({case.raw for case in cases}) >= count
    assert len({case.name for case in cases}) == len(cases)
