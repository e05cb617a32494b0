"""A clock that is set back: what was lifted for a time and has ended does not come back with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from proxy.clock import ManualClock
from proxy.stores import MemoryStore, Policies, validated
from rules.limits import RiskSource, no_looser
from tests.house import NOW

BY = {"updated_by": "ana", "reason": "test"}
HOUR = timedelta(hours=1)
ACCOUNT = {
    "capital_profile": "aggressive", "strategies": "any", "symbols": "any", "size": {"order_notional_max": "100"},
    "by_symbol": {"ETHUSDT": {"size": {"order_notional_max": "50"}}},
}  # fmt: skip


def at(hours: float) -> str:
    """An instant, so many hours from now."""
    return (NOW + hours * HOUR).isoformat()


POLICY = {
    "active_mode": "NORMAL",
    "accounts": {"main": ACCOUNT},
    "ceiling": {"size": {"order_notional_max": "1000", "order_quantity_max": "9"}},
    "overrides": {
        "lifted": {"account": "main", "limits": {"size": {"order_notional_max": "900"}}, "until": at(1)},
        "for_eth": {
            "account": "main", "symbol": "ETHUSDT", "limits": {"size": {"order_notional_max": "800"}}, "until": at(1),
        },
        "tight": {
            "account": "main", "limits": {"size": {"order_quantity_max": "1"}}, "starts_at": at(2), "until": at(3),
        },
    },
    "risk_source": {"kind": "profile_checks_only", "until": at(1)},
}  # fmt: skip


@pytest.fixture
async def policies():
    """A policy with something lifted for an hour, and something tightened later."""
    clock = ManualClock(NOW)
    store = MemoryStore(validated(POLICY), clock=clock)
    read = Policies(store, clock=clock, poll_s=3600)
    await read.start()
    yield read
    await read.close()
    await store.close()


def notional(policies: Policies, now: datetime, symbol: str = "BTCUSDT") -> Decimal | None:
    """What one order may be worth at an instant."""
    return policies.limits_for("main", "grid", now).of(symbol).order_notional_max


async def test_what_was_lifted_and_ended_stays_ended(policies):
    """An order as large as the override had allowed is over the limit again, for good."""
    assert (notional(policies, NOW), notional(policies, NOW, "ETHUSDT")) == (Decimal(900), Decimal(800))
    assert notional(policies, NOW + 1.5 * HOUR) == Decimal(100)
    back = policies.limits_for("main", "grid", NOW)

    assert back.of("BTCUSDT").order_notional_max == Decimal(100)
    assert back.of("ETHUSDT").order_notional_max == Decimal(50)
    assert back.risk_source is RiskSource.REQUIRED
    assert policies.exit_limits_for("main", "grid", NOW) is back


async def test_a_clock_that_jumped_ahead_lifts_nothing_for_good(policies):
    """What was tight for a while at either time is tight while nobody knows which of them was right."""
    inside = policies.limits_for("main", "grid", NOW + 2.5 * HOUR)
    assert inside.order_quantity_max == Decimal(1)
    back = policies.limits_for("main", "grid", NOW + 1.5 * HOUR)

    assert back.order_quantity_max == Decimal(1)
    assert no_looser(back, inside)
    ahead = policies.limits_for("main", "grid", NOW + 4 * HOUR)
    assert ahead.order_quantity_max == Decimal(9)
    again = policies.limits_for("main", "grid", NOW + 2.5 * HOUR)
    assert again.order_quantity_max == Decimal(1)


async def test_time_that_goes_on_is_not_held_up(policies):
    """Small steps back between two instants change nothing, and the same limits serve."""
    first = policies.limits_for("main", "grid", NOW + 0.5 * HOUR)
    assert policies.limits_for("main", "grid", NOW + 0.4 * HOUR) is first
    assert policies.limits_for("main", "grid", NOW + 0.6 * HOUR) is first
