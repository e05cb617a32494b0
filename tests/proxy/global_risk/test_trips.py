"""A signal that demands action engages the stop: once per demand, and never on old news."""

from __future__ import annotations

from datetime import timedelta

import pytest

from proxy import audit as audit_module
from proxy.audit import Audit
from proxy.clock import ManualClock
from proxy.ess import EssLatch, initialise
from proxy.global_risk.trips import FRESH, RiskTrips, demanded
from proxy.tasks import Tasks
from rules import EssLevel, Fact, GlobalRisk, RiskLevel
from tests.proxy.global_risk.conftest import NOW

CLEAR, REDUCE_ONLY, HALT = EssLevel.CLEAR, EssLevel.REDUCE_ONLY, EssLevel.HALT


def risk(tier: str | None, *, action: bool = True) -> GlobalRisk:
    """A signal of a tier."""
    return GlobalRisk(
        level=RiskLevel.CRITICAL if action else RiskLevel.INFO, ess_action_required=action, ess_tier=tier,
        issues=("leverage 6.00 of at most 5.00",),
    )  # fmt: skip


class Bench:
    """A latch, a record, and a signal that a test sets."""

    def __init__(self, folder) -> None:
        self.clock = ManualClock(NOW)
        self.tasks = Tasks()
        self.folder = folder
        initialise(folder / "ess", clock=self.clock)
        self.latch = EssLatch.open(folder / "ess", clock=self.clock, drain=None)
        self.audit = Audit(folder / "audit", sync="process", clock=self.clock, tasks=self.tasks)
        self.audit.open()
        self.fact: Fact[GlobalRisk] | None = None
        self.trips = RiskTrips(self, self.latch, self.audit, self.clock)

    def latest(self):
        """As the engine and the remote feed do."""
        return self.fact

    async def see(self, tier: str | None, *, action: bool = True) -> bool:
        """Look at a fresh signal; whether the stop was engaged."""
        self.fact = Fact(risk(tier, action=action), self.clock.now())
        return await self.trips.look()

    @property
    def level(self) -> EssLevel:
        """Of the global stop."""
        return self.latch.governing("").level

    async def release(self) -> None:
        """A person clears it."""
        await self.latch.release(scope="global", actor="ann", reason="looked", expected_epoch=self.latch.epoch)


@pytest.fixture
async def bench(tmp_path):
    """Clear, with no signal."""
    bench = Bench(tmp_path)
    yield bench
    await bench.tasks.close()
    bench.audit.close()
    bench.latch.close()


@pytest.mark.parametrize(
    ("tier", "level"),
    [("REDUCED", REDUCE_ONLY), ("EMERGENCY", HALT), ("NORMAL", REDUCE_ONLY), (None, REDUCE_ONLY), ("?", REDUCE_ONLY)],
)
def test_each_tier_demands_its_level(tier, level):
    """Action without a tier that is known is at least REDUCE_ONLY; without action nothing is demanded."""
    assert demanded(risk(tier)) is level
    assert demanded(risk(tier, action=False)) is CLEAR


async def test_a_demand_engages_and_is_on_record(bench):
    """Under its own name, with the tier and the first issue as the reason."""
    assert await bench.see("EMERGENCY")
    assert bench.level is HALT
    stop = bench.latch.governing("")
    assert (stop.actor, stop.source) == ("global risk", "rule")
    assert "leverage 6.00" in stop.reason
    (record,) = [one for one in audit_module.read(bench.folder / "audit") if one["kind"] == "admin"]

    assert (record["actor"], record["act"], record["result"]) == ("global risk", "ess.engage halt", "engaged")


async def test_no_signal_and_a_calm_one_engage_nothing(bench):
    """Missing blocks by itself; calm is calm."""
    assert not await bench.trips.look()
    assert not await bench.see("NORMAL", action=False)
    assert bench.level is CLEAR


@pytest.mark.parametrize(("age", "engages"), [(FRESH, True), (FRESH + timedelta(microseconds=1), False),
                                              (-FRESH - timedelta(microseconds=1), False)])  # fmt: skip
async def test_old_news_engages_nothing(bench, age, engages):
    """Nor does news from the future."""
    bench.fact = Fact(risk("EMERGENCY"), bench.clock.now() - age)

    assert await bench.trips.look() is engages


async def test_a_graver_demand_engages_more_and_a_lesser_one_never_loosens(bench):
    """REDUCED, then EMERGENCY, then REDUCED again: the stop stays where it got to."""
    assert await bench.see("REDUCED")
    assert not await bench.see("REDUCED")
    assert await bench.see("EMERGENCY")
    assert not await bench.see("REDUCED")
    assert bench.level is HALT


async def test_a_person_can_release_while_the_demand_stands(bench):
    """The same demand does not engage again; after it has ended, the next one does."""
    await bench.see("REDUCED")
    await bench.release()
    assert not await bench.see("REDUCED")
    assert bench.level is CLEAR
    await bench.see("NORMAL", action=False)

    assert await bench.see("REDUCED")
    assert bench.level is REDUCE_ONLY
