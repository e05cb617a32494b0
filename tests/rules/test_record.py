"""The lines of a decision's record."""

from __future__ import annotations

from decimal import Decimal

from rules import RULEBOOK, Breach, Reason, RuleRun
from rules.record import Plan, Runs, Stretch, rows_of


def runs():
    """Three lines: not applicable, within, breach."""
    held, broken = ("a", 1), Breach(Reason.SYMBOL_NOT_ALLOWED, "x", "y")
    rules = RULEBOOK[:3]
    return Runs([Stretch(0, Plan(rules, rules[1:]), [held, broken])], broken)


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


def rows_for(*found):
    """The rows of findings by rules of one plan, one after another through the same plan."""
    plan = Plan(RULEBOOK[:1], RULEBOOK[:1])
    return [row for finding in found for row in Runs([Stretch(3, plan, [finding])]).rows()]


def test_rows_name_what_ran_and_keep_every_digit():
    """A row holds rule, instruction, outcome, observed and limit; what did not apply has none."""
    rule = RULEBOOK[0].name

    assert runs().rows() == [
        (RULEBOOK[1].name, 0, "within", "a", 1), (RULEBOOK[2].name, 0, "breach", "x", "y"),
    ]
    assert rows_for((Decimal("1E-7"), Decimal("1E+3")), None, (Decimal("0.10"), None)) == [
        (rule, 3, "within", "0.0000001", "1000"), (rule, 3, "within", "0.10", "none"),
    ]
    assert rows_for((Decimal(1) / 3 / 10**20, frozenset({"b", "a"}))) == [
        (rule, 3, "within", "0.00000000000000000000333333333333", "a, b"),
    ]


def test_a_row_never_shows_what_an_earlier_order_found():
    """Texts are kept for the very objects they were made of: other ones get their own."""
    one, other = frozenset({"a"}), frozenset({"b"})
    texts = [row[3:] for row in rows_for((one, one), (one, other), (other, other), (True, 1), (1, True), (one, one))]

    assert texts == [("a", "a"), ("a", "b"), ("b", "b"), ("True", 1), (1, "True"), ("a", "a")]


def test_rows_of_plain_lines_are_those_lines():
    """Lines that were read from elsewhere become rows as they are."""
    assert list(rows_of(tuple(runs()))) == [list(run) for run in runs()]
