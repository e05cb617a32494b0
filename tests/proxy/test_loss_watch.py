"""Losses are acted upon on a timer: a warning, REDUCE_ONLY, HALT, each once and on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from proxy import audit as audit_module
from proxy.audit import Audit
from proxy.ess import EssLatch, initialise
from proxy.loss_watch import LossWatch, Step
from proxy.metrics import Metrics
from proxy.stores import open_store
from proxy.stores.policies import Policies
from proxy.tasks import Tasks
from rules import EssLevel
from rules.profile import LossPolicy, default_policy
from tests.proxy.ledger.made import flow
from tests.proxy.ledger.test_ledger import Desk

D = Decimal
ACCOUNT = {"capital_profile": "aggressive", "strategies": "any", "symbols": "any"}


class Watched:
    """An account of 10,000 with its ledger, policy, stop and record."""

    def __init__(self, folder: Path, **triggers: object) -> None:
        self.folder = folder
        self.triggers = triggers

    async def open(self, **stated: object) -> None:
        """Everything real, in a folder; a second opening is a restart."""
        policy = default_policy(
            accounts={"main": ACCOUNT | stated}, risk_source={"kind": "none"}, triggers=self.triggers
        )
        self.tasks = Tasks()
        self.desk = Desk(self.folder, policy=policy.accounts["main"].losses)
        clock = self.desk.clock
        self.audit = Audit(self.folder / "audit", sync="process", clock=clock, tasks=self.tasks)
        self.audit.open()
        if not (self.folder / "ess").exists():
            initialise(self.folder / "ess", clock=clock)
        self.latch = EssLatch.open(self.folder / "ess", clock=clock, drain=None)
        self.store = await open_store("memory", clock=clock, seed=policy)
        self.policies = Policies(self.store, clock=clock)
        await self.policies.start()
        self.metrics = Metrics("test")
        self.watch = LossWatch(
            self.desk.ledger, self.policies, self.latch, self.audit, self.metrics, clock, lambda: ("main",)
        )

    async def close(self) -> None:
        """Stop as the app does."""
        await self.policies.close()
        await self.store.close()
        await self.tasks.close()
        self.latch.close()
        self.audit.close()

    async def at(self, equity: str, seconds: float) -> EssLevel:
        """Read an equity, look, and say which stop is in force."""
        self.desk.read(equity, seconds, balance="10000")
        await self.watch.look()
        return self.latch.governing("main").level

    def records(self) -> list[dict]:
        """What the record holds about engagements."""
        return [record for record in audit_module.read(self.folder / "audit") if record["kind"] == "admin"]

    def used(self, window: str) -> float | None:
        """The metric."""
        return self.metrics.registry.get_sample_value(
            "riskgate_loss_limit_used", {"account": "main", "window": window}
        )


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """A daily limit of 3.5 % (aggressive), a mode with 5 %, nothing lost."""
    found = Watched(tmp_path)
    await found.open()
    yield found
    await found.close()


@pytest.mark.parametrize(
    ("equity", "step", "level"),
    [
        ("10000", Step.CALM, EssLevel.CLEAR),
        ("9720.01", Step.CALM, EssLevel.CLEAR),
        ("9720", Step.WARNING, EssLevel.CLEAR),  # 80 % of 3.5 %
        ("9650.01", Step.WARNING, EssLevel.CLEAR),
        ("9650", Step.BREACH, EssLevel.REDUCE_ONLY),
        ("9200.01", Step.BREACH, EssLevel.REDUCE_ONLY),
        ("9200", Step.EMERGENCY, EssLevel.HALT),  # 1.6 x the mode's 5 %
    ],
)
async def test_the_ladder_of_a_daily_loss(watched, equity, step, level):
    """Just under, exactly at and over each step."""
    await watched.at("10000", 1)

    assert await watched.at(equity, 2) is level
    assert watched.watch.used("main")[0].step is step
    assert watched.latch.governing("other").level is EssLevel.CLEAR


async def test_a_breach_is_on_record_and_shown_with_its_floor(watched):
    """Who engaged what, for which account, and why in numbers."""
    await watched.at("10000", 1)
    await watched.at("9600", 2)
    await watched.at("9100", 3)

    first, second = watched.records()
    assert (first["act"], first["scope"], first["actor"]) == ("ess.engage reduce_only", "account:main", "riskgate")
    assert first["reason"] == (
        "day loss of 400.00 is 4% of its base, the limit is 3.5%; equity 9600.00, floor 9650.00"
    )
    assert (second["act"], second["before"]["level"]) == ("ess.engage halt", "reduce_only")
    assert second["reason"].startswith("emergency: ")
    assert watched.latch.governing("main").source == "loss"
    assert watched.used("day") > 2


async def test_a_window_is_acted_upon_once_so_that_a_person_can_release_it(watched):
    """Released, the same loss engages nothing again, also after a restart; a graver one does."""
    await watched.at("10000", 1)
    await watched.at("9600", 2)
    epoch = watched.latch.governing("main").epoch
    await watched.latch.release(scope="account:main", actor="ann", reason="seen", expected_epoch=epoch)
    assert await watched.at("9590", 3) is EssLevel.CLEAR
    await watched.desk.ledger.save(now=True)
    await watched.close()
    await watched.open()
    assert await watched.at("9580", 10) is EssLevel.CLEAR

    assert await watched.at("9150", 11) is EssLevel.HALT


async def test_another_window_waits_for_the_cool_down(tmp_path):
    """Released after the day's limit: the drawdown's, reached seconds later, engages when 300 s are over."""
    watched = Watched(tmp_path)
    await watched.open(drawdown_max="4%")
    await watched.at("10000", 1)
    await watched.at("9640", 2)
    epoch = watched.latch.governing("main").epoch
    await watched.latch.release(scope="account:main", actor="ann", reason="seen", expected_epoch=epoch)

    levels = [await watched.at("9590", seconds) for seconds in (3, 301.9, 302, 303)]
    assert levels == [EssLevel.CLEAR, EssLevel.CLEAR, EssLevel.REDUCE_ONLY, EssLevel.REDUCE_ONLY]
    found = watched.watch.cooldowns["loss"].found
    assert found["reason"].startswith("drawdown loss of 410.00")
    await watched.close()


async def test_windows_that_break_together_are_one_stop(tmp_path):
    """The second limit voids no release that is under way; it is not acted upon later either."""
    watched = Watched(tmp_path)
    await watched.open(drawdown_max="4%")
    await watched.at("10000", 1)
    await watched.at("9590", 2)
    stop = watched.latch.stop_of("account:main")
    await watched.at("9580", 3)
    assert watched.latch.stop_of("account:main").epoch == stop.epoch
    await watched.latch.release(scope="account:main", actor="ann", reason="seen", expected_epoch=stop.epoch)

    assert await watched.at("9570", 400) is EssLevel.CLEAR
    assert len(watched.records()) == 1
    await watched.close()


async def test_a_stop_that_would_end_by_itself_is_not_enough_for_a_lasting_one(tmp_path):
    """Within the cool-down somebody else's stop for a time holds: this one waits, and makes it last."""
    watched = Watched(tmp_path)
    await watched.open(drawdown_max="4%")
    await watched.at("10000", 1)
    await watched.at("9640", 2)
    epoch = watched.latch.governing("main").epoch
    await watched.latch.release(scope="account:main", actor="ann", reason="seen", expected_epoch=epoch)
    await watched.latch.engage(
        level=EssLevel.REDUCE_ONLY, scope="account:main", actor="riskgate", reason="r", source="block_rate",
        expires_s=6000,
    )  # fmt: skip
    await watched.at("9590", 3)
    assert watched.latch.stop_of("account:main").expires_s == 6000
    await watched.at("9590", 303)

    assert watched.latch.stop_of("account:main").expires_s is None
    await watched.close()


async def test_the_next_day_is_another_window(watched):
    """A loss of the new day engages again what was released yesterday."""
    await watched.at("10000", 1)
    await watched.at("9600", 2)
    epoch = watched.latch.governing("main").epoch
    await watched.latch.release(scope="account:main", actor="ann", reason="seen", expected_epoch=epoch)
    await watched.at("9600", 12 * 3600 + 1)
    assert await watched.at("9500", 12 * 3600 + 2) is EssLevel.CLEAR

    assert await watched.at("9200", 12 * 3600 + 3) is EssLevel.REDUCE_ONLY


@pytest.mark.parametrize(
    ("triggers", "at_limit", "at_emergency"),
    [
        ({"loss": {"level": "alert"}}, [], [("account:main", "HALT", None)]),
        ({"loss": {"level": "off"}, "emergency_drawdown": {"level": "off"}}, [], []),
        ({"loss": {"level": "halt", "scope": "global"}}, [("global", "HALT", None)], None),
        ({"loss": {"expires_s": "60"}}, [("account:main", "REDUCE_ONLY", 60)], [("account:main", "HALT", None)]),
        ({"loss": {"scope": "exchange"}}, [("exchange:binance", "REDUCE_ONLY", None)], None),
    ],
)
async def test_the_policy_says_what_a_loss_engages(tmp_path, triggers, at_limit, at_emergency):
    """Level, scope and end of the triggers `loss` and `emergency_drawdown`; the loss rule blocks whatever they say."""
    found = Watched(tmp_path, **triggers)
    await found.open()
    found.watch._exchanges = {"main": "binance"}
    try:
        await found.at("10000", 1)
        for equity, engaged in (("9650", at_limit), ("9200", at_emergency)):
            await found.at(equity, 2 if equity == "9650" else 3)
            if engaged is not None:
                stops = [one for one in found.latch.stops() if one.level is not EssLevel.CLEAR]
                assert [(one.scope, one.level.name, one.expires_s) for one in stops] == engaged
    finally:
        await found.close()


async def test_a_stop_stays_when_equity_recovers_and_when_the_day_ends(watched):
    """A trip latches: neither a price nor a clock releases it."""
    await watched.at("10000", 1)
    await watched.at("9600", 2)
    assert await watched.at("10500", 3) is EssLevel.REDUCE_ONLY

    assert await watched.at("10500", 12 * 3600 + 1) is EssLevel.REDUCE_ONLY


async def test_what_is_not_explained_engages_nothing(watched):
    """4,000 are gone, and a second later the history says that they were withdrawn."""
    watched.desk.read("10000", 1)
    watched.desk.read("6000", 2)
    await watched.watch.look()
    assert watched.latch.governing("main").level is EssLevel.CLEAR
    watched.desk.explain(4, flow("-4000", 1.5))
    await watched.watch.look()

    assert watched.latch.governing("main").level is EssLevel.CLEAR
    assert watched.records() == []


async def test_a_drawdown_over_days_engages_as_well(tmp_path):
    """No single day lost 3.5 %, together they lost 6 % from the high."""
    watched = Watched(tmp_path)
    await watched.open(drawdown_max="6%")
    day = 24 * 3600
    levels = [await watched.at("10000", 1)]
    for count, equity in enumerate(("9800", "9600", "9400"), 1):
        await watched.at(str(D(equity) + 200), 12 * 3600 + (count - 1) * day + 1)
        levels.append(await watched.at(equity, 12 * 3600 + (count - 1) * day + 2))
    await watched.close()

    assert levels == [EssLevel.CLEAR, EssLevel.CLEAR, EssLevel.CLEAR, EssLevel.REDUCE_ONLY]


async def test_a_contract_is_watched_by_its_own_floor(tmp_path):
    """10,000 of a capital of 10,000 under the 2-step rules: 5 % of the capital below midnight's balance."""
    watched = Watched(tmp_path)
    await watched.open(losses={"preset": "ftmo_2_step", "initial_capital": "10000"}, capital_profile="aggressive")
    await watched.at("10000", 1)
    day, _week, drawdown = watched.watch.used("main")

    assert (day.limit, drawdown.limit) == (D("0.035"), D("0.1"))  # the ladder's own 3.5 % is tighter
    assert drawdown.shown["floor"] == "9000.00"
    assert drawdown.shown["distance"] == "1000.00"
    assert await watched.at("9650", 2) is EssLevel.REDUCE_ONLY
    await watched.close()


async def test_the_report_tells_what_is_left(watched):
    """Base, floors, distances, transfers and factor, in words and money."""
    await watched.at("10000", 1)
    await watched.at("9800", 2)
    report = watched.watch.report("main")

    assert report["base"] == "start_of_day_equity"
    assert report["limits"]["day"] == {
        "lost": "200.00", "lost_share": "2%", "limit": "3.5%", "used": "57.1429%", "equity": "9800.00",
        "floor": "9650.00", "distance": "150.00", "step": "calm",
    }
    assert (report["day_known"], report["derisk_factor"], report["problem"]) == (True, "1", None)
    assert watched.watch.report("nobody") is None


async def test_the_ladder_of_the_policy_is_told_to_whoever_scales(tmp_path):
    """At 2 % of drawdown size goes to 0.8."""
    watched = Watched(tmp_path)
    await watched.open(losses={"ladder": [{"drawdown": "2%", "factor": "0.8"}]})
    await watched.at("10000", 1)
    assert watched.desk.fact.value.derisk_factor == 1
    await watched.at("9800", 2)
    assert watched.desk.fact.value.derisk_factor == D("0.8")
    await watched.close()


async def test_nothing_is_judged_without_a_policy_or_a_reading(watched):
    """No reading, no figures; an account that the policy does not know, none either."""
    assert watched.watch.used("main") == ()
    watched.desk.ledger.add("other", [], watched.desk.venue)

    assert watched.watch.used("other") == ()


async def test_the_watch_runs_by_itself_and_survives_a_failed_look(watched, monkeypatch):
    """A look that raises is told, and the next one is taken."""
    await watched.at("10000", 1)
    watched.desk.read("9600", 2, balance="10000")
    looks = []
    real = watched.watch.look

    async def look():
        looks.append(1)
        if len(looks) == 1:
            raise OSError
        await real()

    monkeypatch.setattr(watched.watch, "look", look)
    task = watched.tasks.spawn(watched.watch.watch(every_s=0.01), name="watch")
    async with asyncio.timeout(5):
        while watched.latch.governing("main").level is EssLevel.CLEAR:
            await asyncio.sleep(0.01)
    task.cancel()

    assert len(looks) > 1


async def test_a_disk_that_refuses_the_record_does_not_keep_the_stop_from_engaging(watched, monkeypatch):
    """The stop holds; that it is not on record is told."""
    await watched.at("10000", 1)
    monkeypatch.setattr(watched.audit, "append", _refused)

    assert await watched.at("9600", 2) is EssLevel.REDUCE_ONLY


def _refused(record):
    from proxy.errors import AuditError

    raise AuditError("no space left")


def test_a_preset_needs_its_capital():
    """Nothing is assumed about a contract."""
    with pytest.raises(ValueError, match="initial_capital"):
        LossPolicy.model_validate({"preset": "ftmo_2_step"})


async def test_a_limit_in_money_is_acted_upon_too(tmp_path):
    """A warning at four fifths of 100, REDUCE_ONLY at 100 exactly, by a window of its own."""
    watched = Watched(tmp_path)
    await watched.open(loss_daily_money_max="100")
    assert await watched.at("10000", 0) is EssLevel.CLEAR
    assert await watched.at("9920", 5) is EssLevel.CLEAR
    (used,) = [one for one in watched.watch.used("main") if one.window == "day_money"]
    assert (used.step, used.shown["floor"], used.shown["distance"]) == (Step.WARNING, "9900.00", "20.00")
    assert await watched.at("9900", 10) is EssLevel.REDUCE_ONLY
    assert "day_money loss of 100.00" in watched.latch.stop_of("account:main").reason
    await watched.close()
