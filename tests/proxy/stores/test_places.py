"""A store's URL taken apart, and what of it may be shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from proxy.clock import ManualClock
from proxy.config import STORE_SCHEMES
from proxy.errors import ConfigError
from proxy.stores import STORES, Place, shown

CLOCK = ManualClock(datetime(2026, 1, 15, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite", "sqlite"),
        ("sqlite:policies.db", "sqlite:policies.db"),
        ("sqlite:///var/lib/policies.db", "sqlite:///var/lib/policies.db"),
        ("memory", "memory"),
        ("postgresql://risk:secret@db:5432/policies?sslpassword=secret", "postgresql://risk@db:5432/policies"),
        ("postgresql://db1,db2:5433/policies", "postgresql://db1,db2:5433/policies"),
        ("redis://:secret@h/0?ssl_password=secret", "redis://h/0"),
        ("rediss://user:s:e@c@ret@h:6380/0", "rediss://user@h:6380/0"),
        ("redis://[secret", "redis"),
        ("nonsense:secret", "nonsense"),
    ],
)
def test_what_is_shown_holds_no_password(url, expected):
    """User, host and path are told; passwords and parameters are not, in whatever form they come."""
    assert shown(url) == expected
    assert "secret" not in repr(Place(url, None, CLOCK, "secret")).replace("secret", "", 0)


def test_own_parameters_are_taken_and_others_left():
    """The schema is ours; how to connect is the driver's."""
    place = Place("postgresql://db/policies?sslmode=verify-full&schema=desk&sslrootcert=/ca.pem", None, CLOCK)

    assert place.taken("schema", "riskgate") == (
        "postgresql://db/policies?sslmode=verify-full&sslrootcert=%2Fca.pem", "desk",
    )
    assert Place("postgresql://db/policies", None, CLOCK).taken("schema", "riskgate")[1] == "riskgate"
    for wrong in ("schema=a&schema=b", "schema=", "schema=A"):
        with pytest.raises(ConfigError, match="found the schema"):
            Place(f"postgresql://db/policies?{wrong}", None, CLOCK).taken("schema", "riskgate")


def test_settings_accept_the_schemes_that_there_are():
    """What settings let through is what a store can be opened by."""
    assert sorted(STORE_SCHEMES) == sorted(STORES)
