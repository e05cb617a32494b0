"""Every revision is told once, in order, wherever it came from."""

from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from proxy.clock import ManualClock
from proxy.policy_events import PolicyEvents
from proxy.stores.memory import MemoryStore
from rules.profile import GlobalPolicy

WHO = {"updated_by": "ann", "reason": "why"}


@pytest.fixture
async def store():
    """A store with one revision."""
    kept = MemoryStore(GlobalPolicy(active_mode="NORMAL"), clock=ManualClock(datetime(2026, 3, 1, tzinfo=UTC)))
    yield kept
    await kept.close()


async def test_a_listener_that_was_away_is_told_from_the_history(store):
    """Events made before anybody listened are read from the store."""
    for mode in ("DEFENSIVE", "NORMAL", "DEFENSIVE"):
        await store.switch_mode(mode, **WHO)
    events = PolicyEvents(store)
    async with aclosing(events.stream(1)) as stream:
        found = [await anext(stream) for _ in range(6)]
    assert [(one["revision"], one["event"]) for one in found if one] == [
        (revision, event) for revision in (2, 3, 4) for event in ("policy.mode.changed", "policy.updated")
    ]
    events.close()


async def test_one_that_is_far_behind_is_told_to_read_anew(store, monkeypatch):
    """Beyond the bound nothing is replayed."""
    monkeypatch.setattr("proxy.policy_events.BEHIND_MAX", 2)
    for mode in ("DEFENSIVE", "NORMAL", "DEFENSIVE"):
        await store.switch_mode(mode, **WHO)
    events = PolicyEvents(store)
    async with aclosing(events.stream(1)) as stream:
        told = await anext(stream)
        assert told is not None
        assert (told["event"], told["revision"]) == ("policy.skipped", 4)
    events.close()


async def test_the_bus_of_the_process_hears_at_once(store):
    """A listener on the bus is called in the step of the change."""
    heard = []
    events = PolicyEvents(store)
    events.listen(lambda event: heard.append((event["event"], event["new_mode"])))
    async with aclosing(events.stream(None)) as stream:
        await anext(stream)
        await store.switch_mode("DEFENSIVE", **WHO)
    assert heard == [("policy.mode.changed", "DEFENSIVE"), ("policy.updated", "DEFENSIVE")]
    events.close()


async def test_silence_is_broken_by_a_sign_of_life_and_ends_with_the_bus(store):
    """None while nothing happens; the stream ends when the bus closes."""
    events = PolicyEvents(store)
    async with aclosing(events.stream(1, look_every_s=0.01)) as stream:
        assert await anext(stream) is None
        events.close()
        assert [one async for one in stream] == []
