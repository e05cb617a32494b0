"""Tables line up, and JSON keeps amounts as text."""

from decimal import Decimal

import pytest

from proxy.cli.output import say, say_json, shortened, table, tell


def test_columns_are_as_wide_as_their_widest_cell():
    """Every row starts its second column at the same place, and no line ends in blanks."""
    lines = table(("a", "b"), [("long cell", "x"), ("s", "")])

    assert lines == ["a          b", "---------  -", "long cell  x", "s"]


def test_results_and_remarks_go_different_ways(capsys):
    """A pipe sees the result only."""
    say("result")
    tell("remark")

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("result\n", "remark\n")


def test_json_keeps_every_digit(capsys):
    """A Decimal is printed as text, not as a binary number."""
    say_json({"amount": Decimal("0.10000000000000000001")}, indent=False)

    assert capsys.readouterr().out == '{"amount":"0.10000000000000000001"}\n'


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("10000.00000000000000012", "10000"),
        ("0.0333333333333333333333333", "0.0333333333333"),
        ("-12345678901234567", "-12345678901200000"),
        ("0.000000000012", "0.000000000012"),
        ("100", "100"),
        ("NaN", "NaN"),
        ("BTCUSDT, ETHUSDT", "BTCUSDT, ETHUSDT"),
        ("", ""),
    ],
)
def test_numbers_for_people_have_at_most_twelve_digits(text, short):
    """Rounded to magnitude, never in exponents; what is no number stays as it is."""
    assert shortened(text) == short
