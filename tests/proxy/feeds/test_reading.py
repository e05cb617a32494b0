"""Reading: exact or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.feeds.reading import Malformed, document, flag, identifier, number, price, record, rows, size, text


@pytest.mark.parametrize(
    ("written", "expected"),
    [("0.1", "0.1"), ("-3", "-3"), (7, "7"), (Decimal("0.30"), "0.30"), ("0E-8", "0"), ("1e3", "1000")],
)
def test_numbers_are_exact(written, expected):
    """Text and JSON numbers are read as the decimal they show."""
    assert number({"n": written}, "n") == Decimal(expected)


@pytest.mark.parametrize(
    "written",
    ["", " 1", "1 ", "+1", "NaN", "Infinity", "0x10", "1_000", "١", True, None, [], {}, "1.", ".5", "9" * 21],
)
def test_what_only_looks_like_a_number_is_refused(written):
    """Signs, spaces, NaN, other scripts' digits, truth values and over-long numbers are no numbers."""
    with pytest.raises(Malformed, match="n: expected a number"):
        number({"n": written}, "n")


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b"[" * 40 + b"]" * 40])
def test_documents_are_read_strictly(body):
    """Broken, repeated, NaN, not UTF-8, too deep: refused."""
    with pytest.raises(Malformed):
        document(body)


def test_a_document_over_its_size_is_refused():
    """One byte more than allowed is too much."""
    assert document(b'"ab"', bytes_max=4) == "ab"
    with pytest.raises(Malformed):
        document(b'"abc"', bytes_max=4)


@pytest.mark.parametrize(
    ("reader", "row"),
    [
        (text, {"n": ""}),
        (text, {"n": 1}),
        (text, {}),
        (flag, {"n": "true"}),
        (flag, {"n": 1}),
        (flag, {}),
        (size, {"n": "-1"}),
        (identifier, {"n": True}),
        (identifier, {"n": 1.5}),
    ],
)
def test_a_value_of_another_kind_is_refused(reader, row):
    """Nothing is converted that was not written so."""
    with pytest.raises(Malformed):
        reader(row, "n")


def test_zero_and_nothing_are_no_price():
    """Venues write 0 or an empty text where there is no price."""
    assert price({"p": "0.00"}, "p") is None
    assert price({"p": ""}, "p") is None
    assert price({}, "p") is None
    assert price({"p": "1.5"}, "p") == Decimal("1.5")


def test_lists_and_objects_are_told_apart():
    """An error object is not a list of rows, and a list is no object."""
    with pytest.raises(Malformed):
        rows({"code": -1})
    with pytest.raises(Malformed):
        rows([1])
    with pytest.raises(Malformed):
        record([])
