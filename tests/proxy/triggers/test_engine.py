"""Triggers engage what their policy says, tell when they are blind, and are tried on a schedule."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry

from proxy.audit import Audit, read
from proxy.clock import ManualClock
from proxy.ess import EssLatch, initialise
from proxy.tasks import Tasks
from proxy.triggers import Finding, Standing, Triggers
from rules import Caller, EssLevel
from rules.profile import TriggerPolicy

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FOUND = Finding("main", "binance", "grid", "it happened")
CALLERS = [Caller(account="main", exchange="binance", strategy="grid", bot="b1")]


class World:
    """One trigger that finds what a test says."""

    def __init__(self, latch, audit, clock):
        self.latch, self.audit, self.clock = latch, audit, clock
        self.finds = [FOUND]
        self.registry = CollectorRegistry()
        self.policy = TriggerPolicy(level="halt")
        self.blind = None
        self.proven = True

    def triggers(self, callers=CALLERS, **standing):
        """The engine around it."""
        told = {
            "name": "error_storm", "policy": lambda: self.policy, "inert": lambda: self.blind,
            "rehearse": lambda: self.proven, "look": lambda now_s: self.finds,
        }  # fmt: skip
        return Triggers(
            [Standing(**(told | standing))], self.latch, self.audit, callers, self.clock, self.registry
        )

    def forward(self, seconds):
        """Let time pass."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))

    def gauge(self, name):
        """What monitoring reads."""
        return self.registry.get_sample_value(name, {"trigger": "error_storm"})


@pytest.fixture
async def world(tmp_path):
    """A latch, an audit, a clock."""
    clock, tasks = ManualClock(NOW), Tasks()
    initialise(tmp_path / "ess", clock=clock)
    latch = EssLatch.open(tmp_path / "ess", clock=clock, drain=None)
    audit = Audit(tmp_path / "audit", sync="process", clock=clock, tasks=tasks)
    audit.open()
    yield World(latch, audit, clock)
    await tasks.close()
    audit.close()
    latch.close()


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        ("global", "global"), ("exchange", "exchange:binance"), ("account", "account:main"),
        ("strategy", "strategy:grid"),
    ],
)
@pytest.mark.parametrize("level", ["reduce_only", "halt"])
async def test_a_finding_engages_what_the_policy_says(world, scope, stopped, level):
    """Level and scope are the policy's, the reason is what was found, and it is stored and on record."""
    world.policy = TriggerPolicy(level=level, scope=scope)
    assert await world.triggers().look() == 1

    stop = world.latch.stop_of(stopped)
    assert (stop.level, stop.source, stop.reason) == (EssLevel[level.upper()], "error_storm", "it happened")
    assert (stop.by_person, world.latch.durable) == (False, True)
    world.audit.flush()
    (record,) = read(world.audit.directory, kinds={"admin"})
    assert (record["act"], record["scope"]) == (f"ess.engage {level}", stopped)


async def test_what_is_about_no_strategy_stops_the_account(world):
    """A policy that says strategy, and a finding that knows none."""
    world.policy = TriggerPolicy(level="halt", scope="strategy")
    world.finds = [FOUND._replace(strategy="")]
    await world.triggers().look()
    assert [stop.scope for stop in world.latch.stops()] == ["global", "account:main"]


@pytest.mark.parametrize(("level", "acted", "acts"), [("alert", 1, ["trigger.alert"]), ("off", 0, [])])
async def test_alert_tells_and_off_does_nothing(world, level, acted, acts):
    """Neither engages anything."""
    world.policy = TriggerPolicy(level=level)
    assert await world.triggers().look() == acted
    assert len(world.latch.stops()) == 1
    world.audit.flush()
    assert [record["act"] for record in read(world.audit.directory, kinds={"admin"})] == acts


async def test_during_the_cool_down_a_released_stop_stays_released(world):
    """Just before its end nothing, at its end again; another scope has its own."""
    world.policy = TriggerPolicy(level="reduce_only", cooldown_s=Decimal(60))
    triggers = world.triggers()
    await triggers.look()
    stop = world.latch.stop_of("account:main")
    await world.latch.release(scope="account:main", actor="ann", reason="r", expected_epoch=stop.epoch)

    world.forward(59.9)
    assert await triggers.look() == 0
    assert world.latch.governing("main").level is EssLevel.CLEAR
    world.finds = [FOUND._replace(account="desk")]
    assert await triggers.look() == 1
    world.finds = [FOUND]
    world.forward(0.2)
    assert await triggers.look() == 1
    assert world.latch.governing("main").level is EssLevel.REDUCE_ONLY


async def test_what_holds_already_is_not_engaged_again(world):
    """A release under way must not be voided by what it was decided in spite of."""
    world.policy = TriggerPolicy(level="reduce_only", cooldown_s=Decimal(1))
    triggers = world.triggers()
    await triggers.look()
    epoch = world.latch.epoch
    for _ in range(5):
        world.forward(10)
        await triggers.look()
    assert world.latch.epoch == epoch


async def test_a_stop_with_an_expiry_asks_for_it(world):
    """The latch ends it; without one nothing does."""
    world.policy = TriggerPolicy(level="halt", expires_s=Decimal(90))
    await world.triggers().look()
    assert world.latch.stop_of("account:main").expires_s == 90


async def test_a_trigger_that_raises_is_told_and_the_others_look_on(world):
    """Its problem stands in the report and in monitoring."""

    def failing(now_s):
        raise RuntimeError("no eyes")

    triggers = world.triggers(look=failing)
    assert await triggers.look() == 0
    assert "no eyes" in triggers.report()[0]["problem"]
    assert world.gauge("ess_trigger_unproven") == 1


async def test_a_blind_trigger_is_inert(world):
    """Told with its reason, from the start on, until it sees."""
    triggers = world.triggers()
    assert world.gauge("ess_trigger_inert") == 1
    world.blind = "no signal"
    triggers.look_for_blindness()
    assert (triggers.report()[0]["inert"], world.gauge("ess_trigger_inert")) == ("no signal", 1)
    world.blind = None
    triggers.look_for_blindness()
    assert (triggers.report()[0]["inert"], world.gauge("ess_trigger_inert")) == (None, 0)


@pytest.mark.parametrize("scope", ["global", "exchange", "account", "strategy"])
@pytest.mark.parametrize("level", ["off", "alert", "reduce_only", "halt"])
async def test_a_rehearsal_proves_a_trigger_and_engages_nothing(world, level, scope):
    """Whatever the policy, also while it only alerts: it is known that it could."""
    world.policy = TriggerPolicy(level=level, scope=scope)
    triggers = world.triggers()
    epoch = world.latch.epoch
    await triggers.rehearse()

    (one,) = triggers.report()
    assert (one["problem"], one["proven_at"]) == (None, NOW)
    assert world.gauge("ess_trigger_unproven") == 0
    assert (world.latch.epoch, len(world.latch.stops())) == (epoch, 1)


async def test_a_failed_rehearsal_is_told(world, monkeypatch):
    """A detector that sees nothing, a stop that does not hold, no bot to try: each is a problem."""
    world.proven = False
    triggers = world.triggers()
    await triggers.rehearse()
    assert "did not find" in triggers.report()[0]["problem"]
    assert triggers.report()[0]["proven_at"] is None

    world.proven = True
    monkeypatch.setattr(EssLatch, "last_look", lambda self, account, **told: None)
    await triggers.rehearse()
    assert "last look" in triggers.report()[0]["problem"]
    assert world.gauge("ess_trigger_unproven") == 1


async def test_without_a_bot_nothing_is_proven(world):
    """There is no order to try."""
    triggers = world.triggers(callers=[])
    await triggers.rehearse()
    assert "no bot" in triggers.report()[0]["problem"]
