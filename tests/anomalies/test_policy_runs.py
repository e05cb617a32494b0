"""The policy changes while orders flow: each order is judged by one revision, and the next one by the next."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from decimal import Decimal

import aiohttp
import pytest

from proxy.cli.main import run as command
from rules import effective, evaluate
from rules.profile import GlobalPolicy
from tests import given, house, runs

# Two modes that each stop every order, for different reasons: an order that passed would have been judged by a
# mix of both, and one that was stopped for the other mode's reason by the wrong revision.
SURE = {"leverage_max": 125, "trade_risk_max": "100%", "drawdown_daily_max": "100%", "open_positions_max": 100,
        "position_notional_max": "100000000", "confidence_min": "0.9"}  # fmt: skip
SMALL = SURE | {"position_notional_max": "1", "confidence_min": "0.1"}
REASONS = {"SURE": "confidence_below_minimum", "SMALL": "position_exceeds_limit"}
MIXED = {
    "active_mode": "SURE", "risk_profiles": {"SURE": SURE, "SMALL": SMALL},
    "capital_profiles": {"open": {"loss_daily_max": "100%", "loss_weekly_max": "100%", "trade_risk_max": "100%",
                                  "open_positions_max": 100, "leverage_max": "125"}},
    "risk_source": {"kind": "none"},
    "accounts": {
        name: {"capital_profile": "open", "strategies": "any", "symbols": "any"} for name in ("desk", "plain")
    },
}  # fmt: skip
HEADERS = [(b"X-Risk-Confidence", b"0.5")]


@pytest.mark.parametrize("switches", [100, pytest.param(1000, marks=pytest.mark.long)])
async def test_no_order_is_judged_by_a_mix_of_revisions(tmp_path, switches):
    """500 orders a second while the mode is switched over and over: the revision on record gives the reason."""
    async with house.open_house(tmp_path, policy=MIXED) as made:
        store, modes, orders = made.policies._store, {1: "SURE"}, 0
        switching = True

        async def switch():
            nonlocal switching
            for number in range(switches):
                mode = ("SMALL", "SURE")[number % 2]
                stored = await store.switch_mode(mode, updated_by="run", reason="again")
                modes[stored.revision] = mode
                await asyncio.sleep(0.002)
            switching = False

        async def trade():
            nonlocal orders
            while switching:
                orders += 1
                answer, _ = await made.ask(made.order(headers=HEADERS, newClientOrderId=f"o{orders}"))
                assert answer.status == 403
                await asyncio.sleep(0.001)

        began = time.monotonic()
        await asyncio.gather(switch(), *(trade() for _ in range(4)))
        took_s = time.monotonic() - began

        found = made.records("decision")
        wrong = [one for one in found if one["reason"] != REASONS[modes[one["policy_revision"]]]]
        assert (wrong, len(found)) == ([], orders)
        assert {one["reason"] for one in found} == set(REASONS.values())
        assert made.venue.sent == []
        assert len(modes) == switches + 1
        assert orders / took_s > 200, f"{orders} orders in {took_s:.1f} s"  # on a busy machine; alone it is far more


SHUT = """  SHUT: {leverage_max: "125", trade_risk_max: "100%", drawdown_daily_max: "100%", open_positions_max: 100,
         position_notional_max: "100000000000", confidence_min: "0", new_positions_allowed: false}
"""
PRESETS = "presets:\n  closed: {active_mode: SHUT}\n  open: {active_mode: OPEN}\n"
WHO = {"updated_by": "run", "reason": "try"}


@asynccontextmanager
async def two_modes(tmp_path, monkeypatch):
    """A deployment whose policy has a mode that opens nothing, and a preset for each."""
    monkeypatch.setattr(runs, "POLICY", runs.POLICY.replace("capital_profiles:\n", SHUT + "capital_profiles:\n", 1))
    async with runs.open_run(tmp_path, more_policy=PRESETS) as run:
        yield run, run.bots(1)[0]


async def post(run, path, body):
    """A POST to the policy of the run."""
    token = run.app.settings.admin_token_path.read_text().strip()
    async with (
        aiohttp.ClientSession() as client,
        client.post(
            f"{run.admin_url}/api/v2/policy/{path}", json=body | WHO, headers={"Authorization": f"Bearer {token}"}
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def verdict(bot):
    """Whether the very next order passes."""
    reply = await bot.order()
    assert reply.status == 200 or reply.headers["x-risk-reason"] == "new_positions_not_allowed", reply
    return reply.status == 200


async def test_switching_by_api_preset_and_command_binds_the_very_next_order(tmp_path, monkeypatch):
    """As soon as the switch is answered, the next order is judged by it; and back."""
    async with two_modes(tmp_path, monkeypatch) as (run, bot):
        token = str(run.app.settings.admin_token_path)

        async def use(mode):
            words = ["policy", "use", mode, "--reason", "try", "--admin-url", run.admin_url, "--token-file", token]
            assert await asyncio.to_thread(command, words) == 0

        assert await verdict(bot)
        for change, passes in (
            (lambda: post(run, "risk-mode", {"mode": "SHUT"}), False),
            (lambda: post(run, "risk-mode", {"mode": "OPEN"}), True),
            (lambda: post(run, "presets", {"preset": "closed"}), False),
            (lambda: post(run, "presets", {"preset": "open"}), True),
            (lambda: use("SHUT"), False),
            (lambda: use("OPEN"), True),
        ):
            await change()
            assert await verdict(bot) is passes


@pytest.mark.parametrize("name", ["QUANTUM_RISK_MODE", "QT_RISK_MODE"])
async def test_the_environment_at_the_first_start_chooses_a_tighter_mode(tmp_path, monkeypatch, name):
    """The first order of a new installation is judged by the mode that the old variable names."""
    monkeypatch.setenv(name, "SHUT")
    async with two_modes(tmp_path, monkeypatch) as (run, bot):
        assert not await verdict(bot)
        assert run.app.policies.get_active_risk_profile_name() == "SHUT"


def judging_s(policy, order, facts):
    """The best time of judging one order."""
    limits = effective(policy, revision=1, account="main", strategy="grid", now=given.NOW)
    assert evaluate(order, facts, limits).verdict.value == "allow"
    best = float("inf")
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(200):
            evaluate(order, facts, limits)
        best = min(best, time.perf_counter() - began)
    return best / 200


def test_five_thousand_symbols_cost_an_order_nothing():
    """With limits of 5,000 symbols an order takes less than a tenth longer than with those of its own alone."""
    account = {"main": {"strategies": "any", "symbols": "any", "capital_profile": "open"}}
    base = {"active_mode": "NORMAL", "accounts": account, "capital_profiles": MIXED["capital_profiles"],
            "risk_profiles": {"NORMAL": SMALL | {"position_notional_max": "100000"}}}  # fmt: skip
    own = {given.SYMBOL: {"size": {"order_quantity_max": "5"}}}
    many = own | {f"S{number}USDT": {"size": {"order_quantity_max": str(number + 1)}} for number in range(5000)}
    order, facts = given.order(quantity=Decimal("0.1")), given.facts()
    few, all_of_them = (GlobalPolicy.model_validate(base | {"symbols": symbols}) for symbols in (own, many))

    # Measured in turn, and the best pair counts: what else runs on this machine takes time from either.
    ratios = [judging_s(all_of_them, order, facts) / judging_s(few, order, facts) for _ in range(4)]
    assert min(ratios) < 1.10, ratios
