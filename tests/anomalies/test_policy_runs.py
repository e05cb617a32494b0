"""The policy changes while orders flow: each order is judged by one revision, and the next one by the next."""

from __future__ import annotations

import asyncio
import signal
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import NamedTuple

import aiohttp
import orjson
import pytest
import yaml

from proxy.cli.main import run as command
from rules import effective, evaluate
from rules.profile import GlobalPolicy
from tests import given, house, runs
from tests.anomalies.test_kill_runs import Journal, Process, Records, exchange

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
        name: {"capital_profile": "open", "strategies": "any", "symbols": "any"} for name in ("desk", "direct", "plain")
    },
}  # fmt: skip
HEADERS = [(b"X-Risk-Confidence", b"0.5")]


async def test_no_order_is_judged_by_a_mix_of_revisions(tmp_path):
    """Orders in turn with a hundred switches, in one loop: the revision on record gives the reason."""
    switches = 100
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

        await asyncio.gather(switch(), *(trade() for _ in range(4)))

        found = made.records("decision")
        wrong = [one for one in found if one["reason"] != REASONS[modes[one["policy_revision"]]]]
        assert (wrong, len(found)) == ([], orders)
        assert {one["reason"] for one in found} == set(REASONS.values())
        assert made.venue.sent == []
        assert len(modes) == switches + 1


PER_SECOND = 900  # sent by the two bots together; the rest of a second is for what else the machine does
SWITCH_EVERY_S = 0.02
STRETCH = 20  # switches; a stretch with fewer orders a second, on a busy machine, is made once more
STRETCHES_MAX = 5  # for one that counts
RULES_LIMITS = {  # what either mode's rules compare with: they may never meet in one record
    "SURE": {"confidence": "0.9", "position_limit": "100000000"},
    "SMALL": {"confidence": "0.1", "position_limit": "1"},
}


class Switches(NamedTuple):
    """Switches in their order: when each was asked for and answered, and the mode of each revision."""

    asked_ns: list[int]
    answered_ns: list[int]
    revisions: list[int]
    modes: dict[int, str]

    def between(self, sent_ns: int, answered_ns: int) -> tuple[int, int]:
        """The oldest and the newest revision that an order sent and answered then may have been judged by."""
        before, begun = bisect_left(self.answered_ns, sent_ns), bisect_right(self.asked_ns, answered_ns)
        return (self.revisions[max(before, 1) - 1], self.revisions[max(begun, 1) - 1])


@asynccontextmanager
async def in_processes(folder):
    """Exchange and proxy in processes of their own, with the policy of both modes; proxy URL, admin, journal."""
    async with exchange(folder / "journal.jsonl") as url:
        tree = runs.settings_tree(folder, url)
        # Bots that sign with venue keys of their own would need them at that exchange.
        del tree["accounts"]["direct"]
        runs.write_policy(folder, yaml.safe_dump(MIXED))
        config = folder / "riskgate.yaml"
        config.touch(mode=0o600)
        config.write_text(yaml.safe_dump(tree, sort_keys=False))
        proxy = await Process.start("-m", "proxy", "run", "--config", str(config))
        try:
            address = (await proxy.line("bots connect to")).split("bots connect to ")[1].split(";")[0]
            admin_url = proxy.said[-1].rsplit("admin at ", 1)[1].strip()
            admin = runs.RunAdmin(admin_url, (folder / "data" / "admin_token").read_text().strip())
            async with asyncio.timeout(20):
                while (await admin.call("GET", "/readyz")).status != 200:
                    await asyncio.sleep(0.02)
            yield address, admin, Journal(folder / "journal.jsonl")
            await admin.close()
        finally:
            await proxy.end(signal.SIGTERM)
        assert "Traceback" not in "".join(proxy.said), proxy.said[-40:]


async def decided(admin):
    """How many decisions the proxy has reached."""
    lines = (await admin.call("GET", "/metrics")).body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("risk_gate_decisions_total"))


async def switch_over_and_over(admin, switches, per_second):
    """The mode switched so many times under orders enough; and the orders a second of each stretch."""
    found = (await admin.call("GET", "/api/v2/policy/risk-profile")).json
    made = Switches([0], [0], [found["revision"]], {found["revision"]: "SURE"})
    rates = []
    while counted(rates, per_second) < switches and len(rates) < STRETCHES_MAX * switches / STRETCH:
        orders, began = await decided(admin), time.monotonic()
        for number in range(1, STRETCH + 1):
            mode = ("SURE", "SMALL")[number % 2]
            made.asked_ns.append(time.monotonic_ns())
            reply = await admin.call("POST", "/api/v2/policy/risk-mode", mode=mode, **WHO)
            made.answered_ns.append(time.monotonic_ns())
            assert reply.status == 200, reply
            made.revisions.append(reply.json["revision"])
            made.modes[reply.json["revision"]] = mode
            await asyncio.sleep(max(0.0, began + number * SWITCH_EVERY_S - time.monotonic()))
        rates.append((await decided(admin) - orders) / (time.monotonic() - began))
    return made, rates


def counted(rates, per_second):
    """Switches that were made under orders enough."""
    return STRETCH * sum(rate >= per_second for rate in rates)


def wrong_in(record, order, switches):
    """What does not fit one revision, the one on record, between the order's sending and its answer."""
    _, sent_ns, answered_ns, status, reason = order
    mode = switches.modes[record["policy_revision"]]
    compared = {rule: limit for rule, _, _, _, limit in record["rules_run"] if rule in RULES_LIMITS[mode]}
    oldest, newest = switches.between(sent_ns, answered_ns)
    fits = {
        "status": status == 403,
        "answer": reason == record["reason"],
        "reason": record["reason"] == REASONS[mode],
        "profile": record["profile_name"] == mode,
        "limits": bool(compared) and compared.items() <= RULES_LIMITS[mode].items(),
        "instant": oldest <= record["policy_revision"] <= newest,
    }
    return [what for what, held in fits.items() if not held]


# The short form runs beside other tests, which leave it less than half of a machine.
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("switches", "per_second"),
    [(40, 200), pytest.param(1000, 500, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
async def test_orders_under_switches_meet_one_revision_each(tmp_path, switches, per_second):
    """Five hundred orders a second from two processes while the mode is switched a thousand times by the API.

    Each is judged by one revision alone, and by none that was replaced before it was sent: reason, limits and
    profile on record are those of the revision on record.
    """
    async with in_processes(tmp_path) as (url, admin, journal), AsyncExitStack() as stack:
        senders = []
        for bot in ("desk-0", "desk-1"):
            words = ("-m", "tests.orders_at_pace", url, bot, "6", str(PER_SECOND / 2))
            senders.append(await Process.start(*words))
            stack.push_async_callback(senders[-1].end, signal.SIGKILL)
        for sender in senders:
            await sender.line("sending")
        made, rates = await switch_over_and_over(admin, switches, per_second)
        for sender in senders:
            await sender.end(signal.SIGTERM)
        orders = [order for sender in senders for order in orjson.loads(sender.said[-1])]
        assert journal.read_on() == []

    records = Records(tmp_path / "data" / "audit")
    records.read_on()
    found = {one["orders"][0]["client_order_id"]: one for (one,) in records.by_id.values()}
    assert len(found) == len(orders)
    wrong = [(what, order, found[order[0]]) for order in orders if (what := wrong_in(found[order[0]], order, made))]
    assert wrong == []
    judged = Counter(found[name]["policy_revision"] for name, *_ in orders)
    runs.tell(
        f"{len(made.modes) - 1} switches, {counted(rates, per_second)} of them under {per_second} orders a second; "
        f"{len(orders)} orders judged by {len(judged)} revisions; {Counter(why for *_, why in orders)}; "
        f"orders a second {sorted(map(round, rates))}"
    )
    assert len(made.modes) == len(made.revisions) == len(rates) * STRETCH + 1
    assert len(judged) > len(made.modes) / 2, f"only {len(judged)} revisions judged an order"
    assert counted(rates, per_second) >= switches, f"orders a second: {sorted(map(round, rates))}"


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
