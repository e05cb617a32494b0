"""Sentences and values in words."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from rules import Breach, EssLevel, Reason, RiskLevel, described, sentence
from rules.sentences import MAPPED_BY_CLIENTS, SENTENCES, harmless


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1E-7"), "0.0000001"), (Decimal("1E+3"), "1000"), (Decimal("0.500"), "0.5"), (Decimal(100), "100"),
        (Decimal(1) / 3, "0.333333333333"), (Decimal("12345678901234567890.12"), "12345678901200000000"),
        (Decimal("Infinity"), "Infinity"), (None, "none"), (True, "True"), (3, "3"), ("x", "x"),
        (EssLevel.HALT, "HALT"), (RiskLevel.WARNING, "WARNING"), (timedelta(seconds=1, microseconds=500000), "1.5 s"),
        (frozenset({"b", "a"}), "a, b"), (frozenset(), "none"),
        (tuple(str(index) for index in range(10, 24)), "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21 and 2 more"),
    ],
)
def test_values_in_words(value, text):
    """Numbers in plain notation, lists in a fixed order and of bounded length."""
    assert described(value) == text


@pytest.mark.parametrize("reason", list(SENTENCES))
def test_no_sentence_is_taken_for_a_venues_error(reason):
    """Whatever names occur in it, a sentence has none of the phrases that clients map, and is one sentence."""
    for phrase in MAPPED_BY_CLIENTS:
        text = sentence(Breach(reason, phrase, phrase, None, phrase))
        assert not [mapped for mapped in MAPPED_BY_CLIENTS if mapped in text]
        assert text[0].isupper()
        assert text.endswith(".")
        assert "{" not in text


def test_other_text_is_left_alone():
    """Only the mapped phrases are changed."""
    assert harmless("nothing to see") == "nothing to see"


def test_a_detail_is_given_in_brackets():
    """Who set the stop, or what was wrong, stands in brackets."""
    assert "HALT (account:main)" in sentence(
        Breach(Reason.ESS_TRADING_HALT_ACTIVE, EssLevel.HALT, None, None, "account:main")
    )
