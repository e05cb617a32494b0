"""What is worth telling: each class of events once, when it begins."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from proxy.loss_watch import Step
from proxy.notifiers import AlertClass, Watch
from proxy.notifiers.watch import _parts
from proxy.permits import Kind, State
from rules import EssLevel, Stop
from tests.proxy.notifiers.conftest import NOW
from tests.proxy.permits.test_file import PERMIT


class World:
    """Everything that the watch looks at, as a test wants it."""

    def __init__(self, clock):
        self.clock = clock
        self.told = []
        self.audit, self.store_error, self.feed = True, None, True
        self.found, self.used, self.counts = 0, [], (0, 0)
        self.watch = Watch(
            self, ready=self.ready, losses=lambda _: self.used, bypasses=lambda _: self.found,
            decisions=lambda: self.counts, accounts=["main"], clock=clock,
        )  # fmt: skip

    def tell(self, about, severity, title, detail=""):
        """As Telling does."""
        self.told.append((about.value, severity.value, title))

    def ready(self):
        """As Status does."""
        policy = {"mode": "NORMAL"} if self.store_error is None else {"error": self.store_error}
        feeds = {"account.main": {"ready": self.feed, "age_s": 31.0, "error": None}}
        return True, {"audit": {"ready": self.audit}, "policy": policy, "feeds": feeds}

    def look(self, after_s=1):
        """One look, some seconds later; what was told by it."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=after_s))
        before = len(self.told)
        self.watch.look()
        return self.told[before:]


@pytest.fixture
def world(clock):
    """Everything well, looked at once."""
    world = World(clock)
    assert world.look() == []
    return world


@pytest.mark.parametrize(
    ("field", "bad", "good", "about", "name"),
    [
        ("audit", False, True, "audit", "record"),
        ("store_error", "gone", None, "store", "policy store"),
        ("feed", False, True, "feed", "feed account.main"),
    ],
)
def test_a_part_that_fails_is_told_once_and_its_end_too(world, field, bad, good, about, name):
    """Critical when it begins, silence while it lasts, and a word when it is over."""
    setattr(world, field, bad)
    assert world.look() == [(about, "critical", f"{name} is failing")]
    assert world.look() == []
    setattr(world, field, good)
    assert world.look() == [(about, "info", f"{name} is well again")]


def test_a_feed_that_has_not_begun_is_given_half_a_minute(clock):
    """A start is no loss; a feed that never comes is."""
    world = World(clock)
    world.feed = False
    assert world.look(29) == []
    assert world.look(1) == [("feed", "critical", "feed account.main is failing")]


def test_a_feed_that_was_never_read_is_told_so(world):
    """An age is told only where there is one."""
    feed = {"ready": False, "age_s": None, "error": "failed: nobody there"}
    ready = {"audit": {"ready": True}, "policy": {}, "feeds": {"a": feed, "b": {**feed, "age_s": 31.0, "error": None}}}

    told = {name: wrong for name, about, wrong in _parts(ready) if about is AlertClass.FEED}
    assert told == {"feed a": "never read: failed: nobody there", "feed b": "last good 31.0 s ago: old"}


def test_bypasses_are_counted_since_the_last_look(world):
    """Two more orders, one alert; none without new ones."""
    world.found = 2
    assert world.look() == [("bypass", "critical", "2 order(s) of main did not come through here")]
    assert world.look() == []
    world.found = 3
    assert world.look()[0][2].startswith("1 order(s)")


def test_each_step_of_a_loss_is_told_once_a_window(world):
    """Warning, breach; not again while it swings; anew in the next window."""
    shown = dict.fromkeys(("lost", "lost_share", "limit", "equity", "floor"), "1")

    def at(step, key="monday"):
        world.used = [SimpleNamespace(window="day", key=key, step=step, shown=shown, share=Decimal(1))]
        return world.look()

    assert at(Step.CALM) == []
    assert at(Step.WARNING) == [("loss", "warning", "main: day loss warning")]
    assert at(Step.BREACH) == [("loss", "critical", "main: day loss breach")]
    assert at(Step.WARNING) == []
    assert at(Step.BREACH) == []
    assert at(Step.WARNING, "tuesday") == [("loss", "warning", "main: day loss warning")]


@pytest.mark.parametrize(("decided", "blocked", "told"), [(19, 19, 0), (20, 9, 0), (20, 10, 1), (1000, 499, 0)])
def test_frequent_blocks_are_told_from_half_of_twenty_on(world, decided, blocked, told):
    """Within a minute; a few blocks, or few among many, are a bot's daily life."""
    world.counts = (decided, blocked)
    assert len(world.look()) == told
    assert world.look() == []


def test_old_blocks_do_not_count(world):
    """What was blocked more than a minute ago is over, and can begin again."""
    world.counts = (20, 20)
    assert len(world.look()) == 1
    assert world.look(61) == []
    world.counts = (40, 40)
    assert [about for about, _, _ in world.look()] == ["block_rate"]


def test_a_stop_is_told_by_its_level(world):
    """HALT is critical, a release is news."""
    for level in EssLevel:
        world.watch.stopped(Stop(level=level, scope="account:main", actor="anna", reason="r", source="api", since=NOW))

    assert world.told == [
        ("ess", "info", "released: account:main"), ("ess", "warning", "REDUCE_ONLY account:main"),
        ("ess", "critical", "HALT account:main"),
    ]  # fmt: skip


def test_a_revision_is_told_and_a_mode_switch_louder(world):
    """Who changed what: the mode is named only where it changed."""
    for revision, mode in ((2, "NORMAL"), (3, "NORMAL"), (4, "DEFENSIVE")):
        policy = SimpleNamespace(active_mode=mode)
        world.watch.policy_changed(SimpleNamespace(policy=policy, revision=revision, updated_by="anna", reason="r"))

    assert world.told == [
        ("policy", "info", "policy revision 2"), ("policy", "info", "policy revision 3"),
        ("policy", "warning", "policy revision 4, mode DEFENSIVE"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "state", "severity"),
    [
        ("approval", "asked", "warning"), ("approval", "granted", "warning"), ("approval", "used", "warning"),
        ("approval", "refused", "info"), ("override", "asked", "critical"), ("override", "granted", "critical"),
        ("override", "used", "critical"), ("override", "expired", "info"),
    ],
)  # fmt: skip
def test_every_step_of_a_permit_is_told(world, kind, state, severity):
    """What is let through and by whom; an override louder than an approval, an end softer."""
    permit = replace(PERMIT, kind=Kind(kind), state=State(state))
    world.watch.permit_changed(permit)
    assert world.told == [("permit", severity, f"{kind} {state}: BUY 1 BTCUSDT worth 59000.10 of main, bot one")]
