"""The lines of a decision's record."""

from __future__ import annotations

from rules import RULEBOOK, Breach, Reason, RuleRun
from rules.record import Runs, Stretch


def runs():
    """Three lines: not applicable, within, breach."""
    held, broken = ("a", 1), Breach(Reason.SYMBOL_NOT_ALLOWED, "x", "y")
    plan = tuple((rule, None) for rule in RULEBOOK[:3])
    return Runs([Stretch(0, plan, [None, held, broken])], broken)


def test_lines_read_like_a_tuple():
    """Length, index, slice, iteration, comparison and text are those of the lines."""
    lines = runs()

    assert len(lines) == 3
    assert lines[2] == RuleRun(RULEBOOK[2].name, 0, "breach", "x", "y")
    assert lines[:2] == (
        RuleRun(RULEBOOK[0].name, 0, "not_applicable", "", ""), RuleRun(RULEBOOK[1].name, 0, "within", "a", "1"),
    )
    assert [run.outcome for run in lines] == ["not_applicable", "within", "breach"]
    assert lines == runs() == tuple(runs())
    assert lines != [1]
    assert hash(lines) == hash(tuple(lines))
    assert repr(lines) == repr(tuple(lines))
