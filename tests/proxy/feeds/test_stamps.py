"""Instants as a venue writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from proxy.feeds import Malformed
from proxy.feeds.stamps import instant_of, stamp


def test_milliseconds_are_exact_both_ways():
    """No instant passes through a float."""
    instant = datetime(2028, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)

    assert instant_of({"time": int(stamp(instant))}, "time") == instant
    assert stamp(instant + timedelta(microseconds=999)) == stamp(instant)


@pytest.mark.parametrize("value", [None, "1570608000000", 1.5, True, 0, -1, 10**14])
def test_what_is_no_instant_is_malformed(value):
    """Text, fractions and what lies beyond every calendar are refused."""
    with pytest.raises(Malformed, match="milliseconds"):
        instant_of({"time": value}, "time")
