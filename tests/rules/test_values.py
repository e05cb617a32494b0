"""Values: equal when their fields are, and never assigned to, which the type checker sees to."""

from __future__ import annotations

import os
from dataclasses import replace

from mypy import api

from rules import Caller

DESK = Caller(account="desk", exchange="binance", strategy="grid", bot="grid1")
ASSIGNS = """
from rules import Caller
caller = Caller(account="desk", exchange="binance", strategy="grid", bot="grid1")
caller.account = "other"
"""


def test_values_are_equal_and_hash_alike_when_their_fields_are_equal():
    """Two callers built of the same words are one key; one word of difference makes another."""
    same = Caller(account="desk", exchange="binance", strategy="grid", bot="grid1")

    assert same == DESK
    assert hash(same) == hash(DESK)
    assert replace(DESK, account="other") != DESK


def test_a_value_has_no_room_for_more_than_its_fields():
    """A misspelt field is refused when the program runs, too."""
    assert not hasattr(DESK, "__dict__")


def test_the_type_checker_refuses_an_assignment_to_a_field():
    """What a frozen dataclass would refuse at run time is refused before anything runs."""
    nothing_kept = ["--config-file", os.devnull, "--cache-dir", os.devnull]
    said, _, status = api.run([*nothing_kept, "-c", ASSIGNS])

    assert status == 1
    assert 'Property "account" defined in "Caller" is read-only' in said
