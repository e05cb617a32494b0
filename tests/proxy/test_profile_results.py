"""Results by risk profile: trades are closed by fills, and belong to the profile of their time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from proxy.ledger.readings import Realised
from proxy.profile_results import ProfileResults
from proxy.stores.base import StoredPolicy
from rules.profile import GlobalPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def stored(mode, minutes, revision=1):
    """A revision with a mode, made so many minutes after noon."""
    at = NOW + timedelta(minutes=minutes)
    return StoredPolicy(
        policy=GlobalPolicy(active_mode=mode), revision=revision, updated_at=at, updated_by="ann", reason="why"
    )


def fill(amount, minutes, symbol="BTCUSDT"):
    """What a fill realised, so many minutes after noon."""
    return Realised(f"{symbol}{minutes}", symbol, Decimal(amount), NOW + timedelta(minutes=minutes))


@pytest.fixture
def results():
    """NORMAL from noon, DEFENSIVE an hour later, equity of 1000."""
    made = ProfileResults(lambda: stored("DEFENSIVE", 60, 2), lambda: Decimal(1000))
    made.policy_changed(stored("NORMAL", 0))
    made.policy_changed(stored("DEFENSIVE", 60, 2))
    return made


def test_fills_of_one_symbol_within_a_minute_are_one_trade(results):
    """Two of them win together; another symbol and a later fill are trades of their own."""
    results.realised("main", [fill("-1", 1), fill("3", 1.5), fill("-5", 1.6, "ETHUSDT"), fill("4", 10)])
    results.settle(NOW + timedelta(minutes=30))

    found = results.of("NORMAL")
    assert (found.won, found.lost, found.realised) == (2, 1, Decimal(1))


def test_a_trade_counts_for_the_profile_of_its_time_also_when_told_late(results):
    """One before the switch, one after; one that is still closing is not counted yet."""
    results.realised("main", [fill("7", 59), fill("-2", 61), fill("1", 90)])
    results.settle(NOW + timedelta(minutes=90, seconds=30))

    assert (results.of("NORMAL").realised, results.of("DEFENSIVE").realised) == (Decimal(7), Decimal(-2))
    results.settle(NOW + timedelta(minutes=92))
    assert results.of("DEFENSIVE").trades == 2


def test_drawdown_is_the_largest_fall_and_return_is_of_the_first_equity(results):
    """Up 10, down 6, up 1, down 5: from 10 to 0."""
    results.realised("main", [fill(amount, 2 * place) for place, amount in enumerate(("10", "-6", "1", "-5"), 1)])
    results.settle(NOW + timedelta(minutes=30))

    found = results.of("NORMAL")
    assert (found.drawdown, found.realised, found.equity) == (Decimal(10), Decimal(0), Decimal(1000))


def test_monitoring_reads_all_of_it(results):
    """The active profile is 1 and the others 0; profiles that never traded have no results."""
    results.realised("main", [fill("10", 1), fill("-4", 5)])
    results.settle(NOW + timedelta(minutes=30))
    registry = CollectorRegistry()
    registry.register(results)
    text = generate_latest(registry).decode()

    for line in (
        'risk_profile_active{profile="DEFENSIVE"} 1.0', 'risk_profile_active{profile="NORMAL"} 0.0',
        'trades_per_profile_total{profile="NORMAL",result="won"} 1.0', 'risk_profile_win_rate{profile="NORMAL"} 0.5',
        'risk_profile_roi{profile="NORMAL"} 0.006', 'risk_profile_drawdown{profile="NORMAL"} 4.0',
    ):  # fmt: skip
        assert line in text
    assert 'trades_per_profile_total{profile="DEFENSIVE"' not in text
