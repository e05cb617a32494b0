"""T4: bytes that two parsers frame differently are refused."""

import pytest

from tests.threats.cases.t04_framing import CASES, CHUNKED, FRAMING, LINES
from tests.threats.corpus import Case
from tests.threats.framed import outcomes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_framing(case: Case):
    """The request meets its expectation, and nothing but a refusal is raised on the way."""
    assert outcomes(case.raw) == {case.expect}, case.why


@pytest.mark.parametrize(("cases", "count"), [(FRAMING, 56), (CHUNKED, 23), (LINES, 42)])
def test_the_corpus_is_as_large_as_the_threat_asks(cases, count):
    """The families of the attack have at least the number of different requests they were found to need."""
    assert len({case.raw for case in cases}) >= count
    assert len({case.name for case in cases}) == len(cases)
