"""What every policy store promises, tried on every backend that `STORES` lists."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from proxy.clock import ManualClock
from proxy.errors import (
    ConfigError,
    PolicyInvalid,
    ProfileNotFound,
    RevisionConflict,
    RevisionNotFound,
    StoreUnavailable,
)
from proxy.stores import create_store, open_store, validated
from rules.profile import default_policy
from tests.contracts.conftest import BACKENDS
from tests.runs import tell

BY = {"updated_by": "ana", "reason": "test"}
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
SEED = validated(
    {
        "active_mode": "NORMAL",
        "defaults": {"drawdown_max": "12.345678901%"},
        "accounts": {
            "main": {"strategies": "any", "symbols": ["BTCUSDT"], "size": {"order_notional_max": "300.10"}},
            "second": {"strategies": [], "symbols": []},
        },
    }
)


@pytest.fixture
def clock():
    """A clock that stands still until told."""
    return ManualClock(NOW)


@pytest.fixture
async def store(url, tmp_path, clock):
    """A fresh store of each backend, seeded."""
    created = await create_store(url, SEED, clock=clock, data_dir=tmp_path)
    yield created
    await created.close()


def pytest_generate_tests(metafunc):
    """Every test that asks for a store, or for a URL of one, is run on each backend."""
    if "url" in metafunc.fixturenames and "url" not in metafunc.definition.keywords:
        metafunc.parametrize("url", BACKENDS, indirect=True)


async def test_starts_with_its_seed(store):
    """Revision 1 is the seed, equal digit for digit."""
    stored = await store.get()

    assert (stored.policy, stored.revision, stored.updated_at) == (SEED, 1, NOW)
    assert stored.updated_by
    assert stored.reason


async def test_put_replaces_the_whole_and_says_who_and_why(store, clock):
    """A change is a new revision with its instant, its author and its reason."""
    clock.advance(to=NOW + timedelta(hours=1))
    put = await store.put(default_policy(), expected_revision=1, updated_by="ben", reason="start over")

    assert put == await store.get()
    assert (put.policy, put.revision) == (default_policy(), 2)
    assert (put.updated_at, put.updated_by, put.reason) == (NOW + timedelta(hours=1), "ben", "start over")


@pytest.mark.parametrize("revision", [0, 2, -1, 999])
async def test_a_put_on_another_revision_is_refused_and_changes_nothing(store, revision):
    """Who did not see the current policy may not replace it."""
    with pytest.raises(RevisionConflict, match="found revision 1, expected"):
        await store.put(default_policy(), expected_revision=revision, **BY)

    assert (await store.get()).policy == SEED


@pytest.mark.parametrize("change", ["patch", "reset", "switch_mode"])
async def test_every_change_compares_the_revision(store, change):
    """Patching, resetting and switching lose against whoever was first, too."""
    await store.switch_mode("DEFENSIVE", **BY)
    before = await store.get()
    attempt = {
        "patch": lambda: store.patch({"ages": {"price_s": "1"}}, expected_revision=1, **BY),
        "reset": lambda: store.reset(expected_revision=1, **BY),
        "switch_mode": lambda: store.switch_mode("NORMAL", expected_revision=1, **BY),
    }[change]
    with pytest.raises(RevisionConflict):
        await attempt()

    assert await store.get() == before


@pytest.mark.parametrize(
    ("updated_by", "reason"), [("", "why"), ("ana", ""), ("  ", "why"), ("ana", "a\0b"), ("\ud800", "why")]
)
async def test_a_change_needs_a_name_and_a_reason(store, updated_by, reason):
    """An anonymous or unexplained change is refused, and one whose name or reason is no text."""
    with pytest.raises(PolicyInvalid, match="name or a reason"):
        await store.switch_mode("DEFENSIVE", updated_by=updated_by, reason=reason)

    assert (await store.get()).revision == 1


async def test_patch_merges_deeply(store):
    """Only what is named changes; None removes; a share may be stated in another spelling."""
    changes = {
        "defaults": {"drawdown_max_percent": "7"},
        "accounts": {"main": {"symbols": ["ETHUSDT"], "leverage_max": "2"}, "second": None},
    }
    policy = (await store.patch(changes, expected_revision=1, **BY)).policy

    assert policy == validated(
        {
            "active_mode": "NORMAL",
            "defaults": {"drawdown_max": "7%"},
            "accounts": {
                "main": {
                    "strategies": "any", "symbols": ["ETHUSDT"], "leverage_max": "2",
                    "size": {"order_notional_max": "300.10"},
                }
            },
        }
    )
    assert (await store.get()).policy == policy


@pytest.mark.parametrize(
    "changes",
    [
        {"accounts": {"main": {"leverage_max": "-3"}}},
        {"accounts": {"main": {"leverge_max": "3"}}},
        {"accounts": {"new": {"leverage_max": "3"}}},
        {"accounts": {"main": {"loss_daily_max": "0.03"}}},
        {"active_mode": None},
        {"active_mode": "RECKLESS"},
        {"risk_profiles": {"NORMAL": None}},
        {"accounts": "none"},
    ],
)
async def test_a_patch_that_makes_no_valid_whole_changes_nothing(store, changes):
    """The merged document is judged, with one line per problem, and nothing of it is kept."""
    told = []
    store.subscribe(told.append)
    with pytest.raises(PolicyInvalid) as refused:
        await store.patch(changes, expected_revision=1, **BY)

    assert all("expected" in line for line in refused.value.problems)
    assert (await store.get()).policy == SEED
    assert told == []


async def test_a_policy_built_around_its_checks_is_refused(store):
    """`model_copy` checks nothing; the store judges what it is given once more."""
    forged = SEED.model_copy(update={"active_mode": "RECKLESS"})
    with pytest.raises(PolicyInvalid, match="RECKLESS"):
        await store.put(forged, expected_revision=1, **BY)

    assert (await store.get()).policy == SEED


async def test_reset_brings_the_seed_back_as_a_new_revision(store):
    """Nothing is rewritten: the seed returns on top."""
    await store.put(default_policy(), expected_revision=1, **BY)
    reset = await store.reset(expected_revision=2, **BY)

    assert (reset.policy, reset.revision) == (SEED, 3)
    assert await store.get() == reset


async def test_every_revision_is_listed_with_who_when_and_why(store, clock):
    """Newest first, a page at a time; every one can be read whole."""
    for hour in range(1, 6):
        clock.advance(to=NOW + timedelta(hours=hour))
        await store.switch_mode(("NORMAL", "DEFENSIVE")[hour % 2], updated_by=f"by {hour}", reason=f"reason {hour}")
    listed = await store.history()

    assert list(listed[:-1]) == [
        (hour + 1, NOW + timedelta(hours=hour), f"by {hour}", f"reason {hour}") for hour in range(5, 0, -1)
    ]
    assert (listed[-1].revision, listed[-1].updated_at) == (1, NOW)
    assert await store.history(limit=2) == listed[:2]
    assert await store.history(limit=2, before=5) == listed[2:4]
    assert await store.history(before=1) == ()
    assert await store.history(before=999, limit=1) == listed[:1]
    assert [(await store.get_revision(number)).policy.active_mode for number in (1, 2, 3, 6)] == [
        "NORMAL", "DEFENSIVE", "NORMAL", "DEFENSIVE",
    ]
    assert await store.get_revision(6) == await store.get()
    for limit in (0, -1, 201):
        with pytest.raises(PolicyInvalid, match="1 to 200"):
            await store.history(limit=limit)


@pytest.mark.parametrize("revision", [0, -1, 2, 10**9])
async def test_a_revision_that_never_was_is_not_found(store, revision):
    """Neither read nor brought back, and nothing changes."""
    with pytest.raises(RevisionNotFound, match=f"no revision {revision} of the policy, expected 1 to 1"):
        await store.get_revision(revision)
    with pytest.raises(RevisionNotFound):
        await store.rollback(revision, expected_revision=1, **BY)

    assert (await store.get()).revision == 1


async def test_rollback_brings_an_older_policy_back_on_top(store):
    """The old content is a new revision with its own author and reason; what was there stays in the history."""
    told = []
    await store.switch_mode("DEFENSIVE", **BY)
    await store.put(default_policy(), expected_revision=2, **BY)
    store.subscribe(told.append)
    back = await store.rollback(2, expected_revision=3, updated_by="ben", reason="that was wrong")

    assert (back.revision, back.updated_by, back.reason) == (4, "ben", "that was wrong")
    assert back.policy == (await store.get_revision(2)).policy != (await store.get_revision(3)).policy
    assert await store.get() == back == told[-1]
    with pytest.raises(RevisionConflict, match="found revision 4"):
        await store.rollback(1, expected_revision=3, **BY)
    assert (await store.get()).revision == 4


async def test_switching_the_mode_changes_the_mode_only(store):
    """The alias is understood, the rest of the policy stays."""
    switched = await store.switch_mode("AGGRESSIVE", **BY)

    assert switched.policy.active_mode == "AGGRESSIVE_SMALL_ACCOUNT"
    assert switched.policy.model_copy(update={"active_mode": "NORMAL"}) == SEED


@pytest.mark.parametrize("mode", ["", "normal", "RECKLESS", "AGGRESSIVE ", "NORMAL\n"])
async def test_an_unknown_mode_is_refused_and_changes_nothing(store, mode):
    """No name that is not exactly known falls back to one that is."""
    told = []
    store.subscribe(told.append)
    with pytest.raises(ProfileNotFound, match="expected one of AGGRESSIVE_SMALL_ACCOUNT, DEFENSIVE, NORMAL"):
        await store.switch_mode(mode, **BY)

    assert ((await store.get()).policy, told) == (SEED, [])


@pytest.mark.parametrize("pause_s", [0.1, pytest.param(0.0, id="at once", marks=pytest.mark.long)])
async def test_fifty_writers_lose_no_update(store, pause_s, monkeypatch):
    """Each of fifty concurrent writers retries until its own account is in; all fifty are.

    All fifty have read the same revision before the first writes, so that 49 are refused at least once. Then they
    come again at any moment within `pause_s`, doubled every time; without a pause nearly all meet again every time.
    """
    for module in ("base", "sql", "redis", "postgres"):  # fifty at once on a crowded machine are no outage
        monkeypatch.setattr(f"proxy.stores.{module}.TIMEOUT_S", 60.0)
    monkeypatch.setattr("proxy.stores.base.TURN_WAIT_S", 60.0)
    together, chance = asyncio.Barrier(50), random.Random(50)

    async def add(number: int) -> int:
        conflicts = 0
        account = {"strategies": "any", "symbols": "any", "leverage_max": number + 1}
        while True:
            revision = (await store.get()).revision
            if not conflicts:
                await together.wait()
            try:
                await store.patch({"accounts": {f"w{number}": account}}, expected_revision=revision, **BY)
            except RevisionConflict:
                conflicts += 1
                await asyncio.sleep(chance.random() * pause_s * 2**min(conflicts, 8))
            else:
                return conflicts

    conflicts = await asyncio.gather(*(add(number) for number in range(50)))
    stored = await store.get()
    tell(f"refused {sum(conflicts)} times")

    assert {name: int(account.leverage_max) for name, account in stored.policy.accounts.items() if name[0] == "w"} == {
        f"w{number}": number + 1 for number in range(50)
    }
    assert stored.revision == 51
    assert sum(1 for number in conflicts if number) == 49  # only one can have been the first of all


async def test_switches_without_a_revision_all_go_through(store):
    """Twenty concurrent switches that name no revision are twenty revisions, none lost."""
    modes = ["DEFENSIVE", "NORMAL"] * 10
    switched = await asyncio.gather(*(store.switch_mode(mode, **BY) for mode in modes))

    assert sorted(stored.revision for stored in switched) == list(range(2, 22))


async def test_subscribers_are_told_in_order_before_the_writer_is_answered(store):
    """Every change is told once, in revision order, and no writer hears back before the subscribers did."""
    told = []
    store.subscribe(told.append)
    for mode in ("DEFENSIVE", "AGGRESSIVE", "NORMAL"):
        stored = await store.switch_mode(mode, **BY)
        assert told[-1] == stored
    await asyncio.gather(*(store.switch_mode("DEFENSIVE", **BY) for _ in range(5)))

    assert [stored.revision for stored in told] == list(range(2, 10))


async def test_a_failing_subscriber_silences_nobody(store):
    """The change stands, and the next subscriber hears of it."""
    told = []

    def fail(_stored: object) -> None:
        raise RuntimeError("subscriber broke")

    store.subscribe(fail)
    store.subscribe(told.append)
    stored = await store.switch_mode("DEFENSIVE", **BY)

    assert told == [stored]
    assert await store.get() == stored


async def test_a_subscription_ends(store):
    """After its end a subscriber hears nothing; ending twice is harmless."""
    told = []
    end = store.subscribe(told.append)
    end()
    end()
    await store.switch_mode("DEFENSIVE", **BY)

    assert told == []


async def test_a_cancelled_writer_leaves_store_and_subscribers_agreeing(store):
    """Cancelled at any step, a change either never happened or was told to everybody."""
    for steps in range(12):
        told = []
        end = store.subscribe(told.append)
        before = await store.get()
        writer = asyncio.ensure_future(store.switch_mode("DEFENSIVE", **BY))
        for _ in range(steps):
            await asyncio.sleep(0)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        last = await store.switch_mode("NORMAL", **BY)  # queues behind whatever is still being written

        assert [stored.revision for stored in told] == list(range(before.revision + 1, last.revision + 1))
        assert await store.get() == told[-1] == last
        end()


async def test_a_closed_store_answers_nothing(store):
    """After closing, reads and writes are StoreUnavailable."""
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.get()
    with pytest.raises(StoreUnavailable):
        await store.put(SEED, expected_revision=1, **BY)


@pytest.mark.parametrize("place", ["", "mysql://secret@h", "file:x", "SQLITE:x", "postgresql+asyncpg://u:secret@h"])
async def test_unknown_schemes_are_refused_without_showing_the_rest(place, clock):
    """What is not listed does not exist, and a URL's password is not repeated."""
    with pytest.raises(ConfigError, match="expected one of memory, sqlite") as refused:
        await open_store(place, clock=clock)

    assert "secret" not in str(refused.value)


async def test_memory_needs_a_seed(clock):
    """A store that forgets cannot be opened without a policy to start from."""
    with pytest.raises(ConfigError, match="policy file"):
        await open_store("memory", clock=clock)
    opened = await open_store("memory", clock=clock, seed=SEED)

    assert (await opened.get()).policy == SEED
