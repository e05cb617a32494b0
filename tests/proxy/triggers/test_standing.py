"""The triggers there are: what each sees with, and that each can be proven."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from proxy.clock import ManualClock
from proxy.cooldown import Cooldown
from proxy.outcomes import Outcomes
from proxy.triggers import Lack, Sight, standing_triggers
from rules import Fact, GlobalRisk, RiskLevel
from rules.profile import TriggersPolicy

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NAMES = list(TriggersPolicy.model_fields)


class World:
    """Everything triggers see with, as a test says."""

    def __init__(self, **policy):
        self.clock = ManualClock(NOW)
        self.policy = TriggersPolicy.model_validate(policy)
        self.outcomes = Outcomes()
        self.decided = {}
        self.lacks = [Lack("main", "binance", ())]
        self.used = [SimpleNamespace(window="day"), SimpleNamespace(window="week")]
        self.signal = Fact(GlobalRisk(level=RiskLevel.INFO), NOW)
        self.bypassed = 0
        self.read = True
        self.cooldowns = {"loss": Cooldown(), "emergency_drawdown": Cooldown()}

    def standing(self, **sight):
        """By name."""
        told = {
            "policies": lambda: self.policy, "accounts": {"main": "binance"}, "outcomes": self.outcomes,
            "decisions": lambda: self.decided, "lacks": lambda: self.lacks,
            "losses": SimpleNamespace(used=lambda account: self.used, cooldowns=self.cooldowns),
            "risk": SimpleNamespace(latest=lambda: self.signal), "risk_trips": False,
            "bypasses": lambda account: self.bypassed, "bypass_reduces": [], "is_read": lambda account: self.read,
            "clock": self.clock,
        }  # fmt: skip
        return {one.name: one for one in standing_triggers(Sight(**(told | sight)))}


def test_every_entry_of_the_policy_has_its_trigger():
    """And no trigger is without a policy; a name is also what the stop says as its source."""
    assert list(World().standing()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_trigger_finds_what_it_is_shown(name):
    """Its rehearsal works with the policy as it comes."""
    assert World().standing()[name].rehearse()


def test_every_trigger_without_anything_to_see_says_so():
    """Nothing sent, no loss known, no signal, never read, no account."""
    world = World()
    world.used, world.signal, world.read, world.lacks = [], None, False, []
    blind = {name: one.inert() for name, one in world.standing().items()}
    assert all(blind.values()), blind
    assert "main" in blind["loss"]
    assert "main" in blind["bypass"]


def test_triggers_that_see_are_not_inert():
    """With an order, a loss, a signal and a reading."""
    world = World()
    world.outcomes.by_place["main", "grid"] = SimpleNamespace(exchange="binance", failed=0, streak=0)
    world.decided["allow", "all_risk_checks_passed", "main", "binance", "grid"] = 1
    assert {name: one.inert() for name, one in world.standing().items()} == dict.fromkeys(NAMES)


def test_an_old_signal_is_no_signal():
    """Eleven seconds: it engages nothing and the trigger is inert."""
    world = World(global_risk={"level": "halt"})
    world.signal = Fact(GlobalRisk(level=RiskLevel.CRITICAL, ess_action_required=True, ess_tier="EMERGENCY"), NOW)
    trigger = world.standing()["global_risk"]
    world.clock.advance(to=NOW + timedelta(seconds=11))
    assert trigger.look(0.0) == []
    assert "11 s old" in trigger.inert()


def demand(tier="EMERGENCY"):
    """A signal that wants action."""
    return Fact(GlobalRisk(level=RiskLevel.CRITICAL, ess_action_required=True, ess_tier=tier, issues=("VaR",)), NOW)


def test_a_demand_of_the_signal_is_found_once_where_the_policy_states_a_level():
    """And again after it has ended, or when it becomes graver."""
    world = World(global_risk={"level": "halt"})
    trigger = world.standing()["global_risk"]
    found = []
    calm = Fact(GlobalRisk(level=RiskLevel.INFO), NOW)
    for signal in (demand("REDUCED"), demand("REDUCED"), demand(), demand(), calm, demand()):
        world.signal = signal
        found.append(len(trigger.look(0.0)))
    assert found == [1, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(("trips", "level"), [(True, "reduce_only"), (False, "off")])
def test_settings_decide_where_the_policy_leaves_it_to_them(trips, level):
    """Then this trigger finds nothing itself: what the settings name acts."""
    world = World()
    trigger = world.standing(risk_trips=trips)["global_risk"]
    world.signal = demand()
    assert (trigger.look(0.0), trigger.level_now()) == ([], level)


def test_every_bypass_is_found_once_where_the_policy_states_a_level():
    """By how many more there are than at the last look."""
    world = World(bypass={"level": "reduce_only"})
    trigger = world.standing()["bypass"]
    found = []
    for world.bypassed in (0, 2, 2, 3):
        found.append([one.reason.split()[0] for one in trigger.look(0.0)])
    assert found == [[], ["2"], [], ["1"]]


def test_what_losses_engaged_is_shown_with_their_triggers():
    """They act where losses are watched; what they did and where they wait is the same thing here."""
    world = World()
    world.cooldowns["loss"].found = {"reason": "day loss"}
    shown = world.standing()
    assert shown["loss"].cooldown.found == {"reason": "day loss"}
    assert shown["emergency_drawdown"].cooldown is world.cooldowns["emergency_drawdown"]


@pytest.mark.parametrize(("reduces", "level"), [(["main"], "reduce_only"), ([], "alert")])
def test_a_bypass_is_left_to_the_settings_unless_stated(reduces, level):
    """Shown with what they say."""
    world = World()
    trigger = world.standing(bypass_reduces=reduces)["bypass"]
    world.bypassed = 5
    assert (trigger.look(0.0), trigger.level_now()) == ([], level)
