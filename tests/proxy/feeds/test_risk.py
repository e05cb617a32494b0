"""The global risk signal: believed when well formed and new."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from proxy.clock import ManualClock
from proxy.feeds.reading import Malformed, document
from proxy.feeds.risk import SIGNAL_BYTES_MAX, GlobalRiskFeed, read_signal
from proxy.feeds.venue import Venue
from rules import RiskLevel
from tests.proxy.feeds.conftest import failing

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def signal(**more: object) -> dict[str, object]:
    """A signal as the risk service writes it, with parts that are not read."""
    return {
        "timestamp": "2026-01-05T11:59:59+00:00", "risk_level": "WARNING", "snapshot": {"positions": []},
        "overall_risk_score": 0.42, "ess_tier_recommendation": "REDUCED", "ess_action_required": True,
        "critical_issues": [], "warnings": ["leverage near limit"], "cro_alert_sent": False, **more,
    }  # fmt: skip


def read(found: object, sent_at: datetime = NOW):
    """As it would arrive: through JSON."""
    return read_signal(document(json.dumps(found).encode()), sent_at)


def test_a_signal_is_read():
    """Level, action, tier, score and issues are there; the age is its own timestamp's."""
    fact = read(signal())
    risk = fact.value
    assert (risk.level, risk.ess_action_required, risk.ess_tier) == (RiskLevel.WARNING, True, "REDUCED")
    assert (risk.score, risk.issues) == (Decimal("0.42"), ("leverage near limit",))
    assert fact.as_of == NOW - timedelta(seconds=1)


def test_the_older_of_timestamp_and_asking_counts():
    """A timestamp a little ahead makes nothing younger than our own asking."""
    assert read(signal(timestamp="2026-01-05T12:00:04Z")).as_of == NOW


def test_a_timestamp_without_an_offset_is_utc():
    """The signal's own program writes it so."""
    assert read(signal(timestamp="2026-01-05T11:00:00")).as_of == NOW - timedelta(hours=1)


def test_critical_issues_come_before_warnings():
    """The reason shown is the gravest."""
    assert read(signal(critical_issues=["a", "b"])).value.issues == ("a", "b")


@pytest.mark.parametrize(
    "more",
    [
        {"risk_level": "UNKNOWN"}, {"risk_level": "critical"}, {"risk_level": None}, {"risk_level": 1},
        {"timestamp": None}, {"timestamp": 1767614400}, {"timestamp": "yesterday"},
        {"timestamp": "2026-01-05T12:00:06Z"}, {"overall_risk_score": "0.4"}, {"overall_risk_score": 1.01},
        {"overall_risk_score": -0.1}, {"overall_risk_score": True}, {"ess_action_required": "false"},
        {"ess_action_required": 0}, {"ess_action_required": None}, {"ess_tier_recommendation": "PANIC"},
        {"critical_issues": "none"}, {"critical_issues": [1]}, {"warnings": None}, {"warnings": ["x" * 2001]},
    ],
)  # fmt: skip
def test_what_is_not_exactly_a_signal_is_malformed(more):
    """Unknown levels, other types, values out of range and timestamps from the future are not believed."""
    with pytest.raises(Malformed):
        read(signal(**more))


@pytest.mark.parametrize("key", ["timestamp", "risk_level"])
def test_level_and_timestamp_must_be_there(key):
    """A signal without them says nothing."""
    found = signal()
    del found[key]
    with pytest.raises(Malformed, match=key):
        read(found)


@pytest.fixture
def clock():
    """Noon."""
    return ManualClock(NOW)


@pytest.fixture
def feed(venue_server, session, clock):
    """A feed of the fake service."""
    return GlobalRiskFeed(Venue(session, venue_server.origin, clock), clock)


async def test_nothing_is_known_before_the_first_signal(feed):
    """The level is missing, not INFO."""
    assert feed.latest() is None


@pytest.mark.parametrize("status", [404, 503, 500, 301, 204])
async def test_any_other_status_is_a_failure(feed, venue_server, status):
    """The service answers 404 before its first evaluation: that is no signal."""
    venue_server.answers["/risk/global"] = failing(status)
    assert not await feed.read_once()
    assert feed.latest() is None


async def test_a_failure_keeps_the_last_good_signal_with_its_age(feed, venue_server, clock):
    """It stays, and grows old."""
    venue_server.answers["/risk/global"] = signal()
    assert await feed.read_once()
    known = feed.latest()
    clock.advance(to=NOW + timedelta(seconds=60))
    venue_server.answers["/risk/global"] = signal(risk_level="FINE")
    assert not await feed.read_once()
    assert feed.latest() is known


async def test_an_older_document_never_takes_the_place_of_a_newer_one(feed, venue_server):
    """A replayed INFO does not end a CRITICAL."""
    venue_server.answers["/risk/global"] = signal(risk_level="CRITICAL")
    await feed.read_once()
    venue_server.answers["/risk/global"] = signal(risk_level="INFO", timestamp="2026-01-05T11:59:58Z")
    await feed.read_once()
    assert feed.latest().value.level is RiskLevel.CRITICAL


async def test_a_clock_set_back_does_not_keep_a_signal_from_the_future(feed, venue_server, clock):
    """When our clock was an hour ahead and is set right, the next signal counts."""
    clock.advance(to=NOW + timedelta(hours=1))
    venue_server.answers["/risk/global"] = signal(timestamp="2026-01-05T13:00:00Z")
    await feed.read_once()
    clock.advance(to=NOW)
    venue_server.answers["/risk/global"] = signal(risk_level="CRITICAL")
    await feed.read_once()
    assert feed.latest().value.level is RiskLevel.CRITICAL


async def test_a_document_that_is_too_long_is_refused(feed, venue_server):
    """A signal is small; what is not is not one."""
    venue_server.answers["/risk/global"] = signal(padding="x" * SIGNAL_BYTES_MAX)
    assert not await feed.read_once()
    assert "longer than" in feed.health()[0].last_error


@pytest.mark.parametrize(
    "text", ['{"risk_level":"INFO","risk_level":"CRITICAL"}', '{"overall_risk_score":NaN}', "<html>"]
)
async def test_a_document_two_readers_could_read_differently_is_refused(feed, venue_server, text):
    """Repeated keys, NaN and other formats are malformed."""
    venue_server.answers["/risk/global"] = text
    assert not await feed.read_once()
    assert feed.health()[0].malformed == 1
