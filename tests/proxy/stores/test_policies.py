"""The policy from memory: told at once, polled otherwise, and refused once it is too old."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from proxy.clock import ManualClock
from proxy.errors import ProfileNotFound, StoredDataInvalid, StoreUnavailable
from proxy.stores import MemoryStore, Policies, policy_text, validated
from rules.limits import RiskSource
from rules.profile import default_policy

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
BY = {"updated_by": "ana", "reason": "test"}
ACCOUNT = {"capital_profile": "aggressive", "strategies": "any", "symbols": "any"}
SEED = validated({"active_mode": "NORMAL", "accounts": {"main": ACCOUNT}})


class FlakyStore(MemoryStore):
    """A memory store whose reads fail, hang or answer what a test says."""

    failure: BaseException | None = None
    answer = None
    hangs = False

    async def get(self):
        """The answer, the failure, or the policy."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        return self.answer or await super().get()


@pytest.fixture
def clock():
    """A clock that moves when told to."""
    return ManualClock(NOW)


@pytest.fixture
def store(clock):
    """A store that can be made to fail."""
    return FlakyStore(SEED, clock=clock)


@pytest.fixture
async def policies(store, clock):
    """Policies read once; polling is driven by the tests."""
    read = Policies(store, clock=clock, poll_s=3600, age_max_s=60, timeout_s=0.05)
    await read.start()
    yield read
    await read.close()


def later(clock: ManualClock, seconds: float) -> None:
    """Let time pass."""
    clock.advance(to=clock.now() + timedelta(seconds=seconds))


async def test_nothing_is_served_before_the_first_read(store, clock):
    """Before the store was read there are no limits, not even for exits."""
    unread = Policies(store, clock=clock)
    with pytest.raises(StoreUnavailable, match="never read"):
        unread.limits_for("main", "grid", NOW)

    assert unread.exit_limits_for("main", "grid", NOW) is None
    await unread.close()


async def test_a_start_without_a_readable_store_fails(store, clock):
    """The process does not begin with a policy that it could not read."""
    store.failure = StoreUnavailable("gone")
    unread = Policies(store, clock=clock)
    with pytest.raises(StoreUnavailable):
        await unread.start()
    await unread.close()


async def test_limits_are_cached_and_a_change_is_seen_at_once(policies, store):
    """The same object until something changes; after a switch the new limits, without a poll."""
    before = policies.limits_for("main", "grid", NOW)
    assert policies.limits_for("main", "grid", NOW) is before

    await store.switch_mode("DEFENSIVE", **BY)
    after = policies.limits_for("main", "grid", NOW)

    assert (before.leverage_max, before.policy_revision) == (5, 1)
    assert (after.leverage_max, after.policy_revision) == (3, 2)


async def test_unknown_accounts_are_not_found(policies):
    """There are no limits for an account that the policy does not name."""
    with pytest.raises(ProfileNotFound, match="no policy for account 'other'"):
        policies.limits_for("other", "grid", NOW)


async def test_an_outage_is_bridged_up_to_the_maximum_age_and_not_longer(policies, store, clock):
    """Last known good for 60 s; then StoreUnavailable for all that asks, but exits can still be judged."""
    store.failure = StoreUnavailable("gone")
    later(clock, 60)
    with pytest.raises(StoreUnavailable, match="gone"):
        await policies.refresh()
    assert policies.limits_for("main", "grid", clock.now()).leverage_max == 5

    later(clock, 0.001)
    for ask in (
        lambda: policies.limits_for("main", "grid", clock.now()),
        policies.get_active_risk_profile,
        policies.get_active_risk_profile_name,
        policies.get_active_risk_config,
        lambda: policies.get_value("risk.max_leverage", Decimal(99)),
    ):
        with pytest.raises(StoreUnavailable, match="at most 60"):
            ask()
    assert policies.exit_limits_for("main", "grid", clock.now()).leverage_max == 5

    store.failure = None
    await policies.refresh()
    assert policies.limits_for("main", "grid", clock.now()).leverage_max == 5


async def test_a_store_that_hangs_is_an_outage(policies, store):
    """A read that does not end is given up."""
    store.hangs = True
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await policies.refresh()


async def test_damage_blocks_at_once_and_a_good_read_ends_it(policies, store):
    """Stored data that cannot be trusted is not bridged."""
    store.failure = StoredDataInvalid("checksum")
    with pytest.raises(StoredDataInvalid):
        await policies.refresh()
    with pytest.raises(StoredDataInvalid):
        policies.limits_for("main", "grid", NOW)

    store.failure = None
    await policies.refresh()
    assert policies.limits_for("main", "grid", NOW).leverage_max == 5


async def test_an_older_revision_never_replaces_a_newer_one_nor_counts_as_fresh(policies, store, clock):
    """A slow read, or a store put back to an older copy, does not bring looser limits back."""
    older = await store.get()
    await store.switch_mode("DEFENSIVE", **BY)
    store.answer = older
    later(clock, 50)
    await policies.refresh()
    assert policies.limits_for("main", "grid", clock.now()).leverage_max == 3

    later(clock, 11)
    with pytest.raises(StoreUnavailable):
        policies.limits_for("main", "grid", clock.now())


async def test_a_revision_that_changed_its_content_blocks(policies, store, clock):
    """One number, two policies: neither is believed."""
    forged = MemoryStore(default_policy(accounts={"main": ACCOUNT | {"leverage_max": 2}}), clock=clock)
    store.answer = await forged.get()
    with pytest.raises(StoredDataInvalid, match="without a new number"):
        await policies.refresh()
    with pytest.raises(StoredDataInvalid):
        policies.limits_for("main", "grid", NOW)


async def test_a_change_made_elsewhere_arrives_with_the_poll(store, clock):
    """What another process wrote is in force after the next poll, and polling survives failures."""
    policies = Policies(store, clock=clock, poll_s=0.005, age_max_s=60)
    await policies.start()
    store.failure = RuntimeError("broken")
    await asyncio.sleep(0.02)
    elsewhere = MemoryStore(SEED, clock=clock)
    await elsewhere.switch_mode("DEFENSIVE", **BY)
    store.failure, store.answer = None, await elsewhere.get()
    async with asyncio.timeout(5):
        while policies.current.revision == 1:
            await asyncio.sleep(0.005)

    assert policies.limits_for("main", "grid", NOW).leverage_max == 3
    await policies.close()


async def test_the_degraded_risk_source_ends_in_the_cache_too(store, clock):
    """Cached limits do not outlive `until`."""
    until = NOW + timedelta(minutes=5)
    source = {"kind": "profile_checks_only", "until": until.isoformat()}
    await store.patch({"risk_source": source}, expected_revision=1, **BY)
    policies = Policies(store, clock=clock)
    await policies.start()

    assert policies.limits_for("main", "grid", NOW).risk_source is RiskSource.PROFILE_CHECKS_ONLY
    assert policies.limits_for("main", "grid", until).risk_source is RiskSource.REQUIRED
    await policies.close()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("AGGRESSIVE_SMALL_ACCOUNT", ("7", "0.03", "0.06", 15, "0.60", "1.5", "300")),
        ("NORMAL", ("5", "0.015", "0.05", 30, "0.65", "1", "1000")),
        ("DEFENSIVE", ("3", "0.0075", "0.03", 10, "0.75", "0.7", "500")),
    ],
)
async def test_the_documented_paths_follow_the_mode(policies, store, mode, expected):
    """All seven risk paths, after switching to each mode."""
    await store.switch_mode(mode, **BY)
    paths = (
        "max_leverage", "max_risk_pct_per_trade", "max_daily_drawdown", "max_positions",
        "global_min_confidence", "scaling_factor", "position_size_cap",
    )

    assert [policies.get_value(f"risk.{path}") for path in paths] == [Decimal(value) for value in expected]
    assert [getattr(policies.get_active_risk_config(), path) for path in paths] == [Decimal(v) for v in expected]
    assert policies.get_active_risk_profile_name() == policies.get_active_risk_profile().name == mode


async def test_other_paths_reach_the_document_and_nothing_else(policies):
    """A place in the document is read; what is no place gives the default, or says so."""
    assert policies.get_value("accounts.main.capital_profile") == "aggressive"
    assert policies.get_value("ages.price_s") == 5
    assert policies.get_value("ai.enable_rl") is True
    for path in ("ai.enable_ai", "ai.enable_rl.real", "risk.nothing", "accounts.x.leverage_max", "", "risk.",
                 "model_dump", "accounts.keys"):  # fmt: skip
        assert policies.get_value(path, "default") == "default"
        with pytest.raises(ProfileNotFound, match="found no policy value"):
            policies.get_value(path)


async def test_cached_limits_cost_microseconds(policies):
    """The order path reads limits without computing them: far below the 10 µs that would be noticed."""
    policies.limits_for("main", "grid", NOW)
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            policies.limits_for("main", "grid", NOW)
        rounds.append((time.perf_counter() - began) / 2000)

    assert min(rounds) < 10e-6


def test_the_starter_policy_is_valid_and_strict():
    """What `riskgate init` writes is read without a warning, and admits little."""
    from proxy import config
    from rules.profile import warnings

    policy = validated(config.read_yaml(policy_text(), "policy.yaml"))
    main = policy.accounts["main"]

    assert warnings(policy) == []
    assert (policy.active_mode, main.capital_profile, main.scaling) == ("NORMAL", "micro", "off")
    assert main.symbols == {"BTCUSDT", "ETHUSDT"}
