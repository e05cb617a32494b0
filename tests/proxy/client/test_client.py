"""The client against a real admin listener: reading, writing, events, and what it raises."""

import asyncio
from contextlib import aclosing
from decimal import Decimal

import pytest

from proxy.client import NotFound, Overtaken, PolicyClient, Refused, Unavailable
from tests.proxy.admin.conftest import TOKEN, admin

__all__ = ["admin"]

BOTH = {name: {"strategies": "any", "symbols": ["BTCUSDT"]} for name in ("spot-1", "fut-1")}
WHO = {"updated_by": "test", "reason": "why"}


@pytest.fixture
async def policy(admin):
    """A client of a listener whose policy knows the accounts: revision 2."""
    body = {"policy": {"active_mode": "NORMAL", "accounts": BOTH}, **WHO}
    assert (await admin.call("PUT", "/api/v2/policy", json=body, headers={"If-Match": '"1"'}))[0] == 200
    async with PolicyClient(admin.base, TOKEN) as client:
        yield client


async def test_limits_are_read_as_exact_numbers(policy):
    """Fractions and money as Decimal, counts as int."""
    risk = await policy.risk()
    assert (risk.mode, risk.max_leverage, risk.max_risk_pct_per_trade, risk.max_positions, risk.revision) == (
        "NORMAL", Decimal(5), Decimal("0.015"), 30, 2,
    )  # fmt: skip
    assert await policy.number("risk.global_min_confidence") == Decimal("0.65")
    assert await policy.value("ai.enable_rl") is True
    found = await policy.effective("spot-1", strategy="grid", symbol="BTCUSDT")
    assert found.limits["leverage_max"].number == 1
    assert found.limits["leverage_max"].source == "capital_profiles.micro"


async def test_rankings_and_versions_are_written_on_top(policy):
    """Two writers at once lose nothing; None takes one away."""
    await asyncio.gather(
        policy.write_rankings({"BTCUSDT": Decimal("0.9"), "ETHUSDT": Decimal("0.4")}, **WHO),
        policy.write_model_versions({"lstm": "2.3"}, **WHO),
    )
    await policy.write_rankings({"ETHUSDT": None}, **WHO)
    found = (await policy.policy()).document
    assert (found["opp_rankings"], found["model_versions"]) == ({"BTCUSDT": "0.9"}, {"lstm": "2.3"})


async def test_what_is_raised_says_what_to_do(policy, admin):
    """Not found, overtaken, refused with its problems, unavailable."""
    with pytest.raises(NotFound):
        await policy.value("risk.nothing")
    with pytest.raises(NotFound):
        await policy.switch_mode("RECKLESS", **WHO)
    with pytest.raises(Overtaken):
        await policy.patch({"defaults": {"leverage_max": "2"}}, revision=1, **WHO)
    with pytest.raises(Refused) as refused:
        await policy.write_rankings({"BTCUSDT": Decimal(2)}, **WHO)
    assert refused.value.problems == ("opp_rankings.BTCUSDT: found '2', expected a rank from 0 to 1, like '0.8'",)
    async with PolicyClient("http://127.0.0.1:9", "x" * 40, timeout_s=1) as nobody:
        with pytest.raises(Unavailable):
            await nobody.risk()
    async with PolicyClient(admin.base, "x" * 40) as stranger:
        with pytest.raises(Refused):
            await stranger.risk()


async def test_events_come_in_order_and_resume(policy):
    """The state first, then every revision; a later listener names its place and gets what followed."""
    async with aclosing(policy.events()) as events:
        first = await anext(events)
        assert (first.event, first.revision, first.new_mode) == ("policy.current", 2, "NORMAL")
        await policy.switch_mode("DEFENSIVE", **WHO)
        found = [await anext(events), await anext(events)]
    assert [(one.event, one.revision, one.previous_mode, one.new_mode) for one in found] == [
        ("policy.mode.changed", 3, "NORMAL", "DEFENSIVE"), ("policy.updated", 3, "NORMAL", "DEFENSIVE"),
    ]  # fmt: skip
    assert "test" in found[0].updated_by
    assert found[0].trace_id

    await policy.switch_mode("NORMAL", **WHO)
    async with aclosing(policy.events(since=2)) as events:
        assert [(await anext(events)).revision for _ in range(4)] == [3, 3, 4, 4]


async def test_events_survive_a_restart_of_the_way(policy, admin):
    """When the stream breaks off, the client comes back with its place and misses nothing."""
    async with aclosing(policy.events(since=2)) as events:
        await policy.switch_mode("DEFENSIVE", **WHO)
        assert [(await anext(events)).revision for _ in range(2)] == [3, 3]
        for connection in list(policy._open.connector._acquired):
            if connection.transport is not None:
                connection.transport.abort()
        await policy.switch_mode("NORMAL", **WHO)
        async with asyncio.timeout(10):
            assert [(await anext(events)).revision for _ in range(2)] == [4, 4]


async def test_a_client_is_entered_first():
    """Without a session nothing is asked."""
    with pytest.raises(RuntimeError, match="enter the client first"):
        await PolicyClient("http://127.0.0.1:9", "x").risk()
