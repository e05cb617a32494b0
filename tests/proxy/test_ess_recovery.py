"""After a HALT: REDUCE_ONLY until a reading asked for since is clean."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from proxy.clock import ManualClock
from proxy.errors import LastLookRefused
from proxy.ess import EssLatch, initialise
from proxy.ess_recovery import Recovery
from proxy.reservations import Fate
from rules import EssLevel, Market

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Picture:
    """One account on one market, as a test says."""

    read_s: float = -1.0
    is_in_doubt: bool = False
    drifts: int = 0
    asked: int = 0

    def wants_reading(self):
        """Count who asks."""
        self.asked += 1


@dataclass
class World:
    """Accounts `main` (futures and spot) and `desk`, their pictures, and their orders."""

    latch: EssLatch
    clock: ManualClock
    pictures: dict = field(default_factory=dict)
    fates: dict = field(default_factory=dict)

    def live(self, account, market):
        """The picture; None where nothing is read."""
        return self.pictures.get((account, market))

    def of_account(self, account):
        """Its open orders."""
        return [SimpleNamespace(legs=[SimpleNamespace(fate=fate) for fate in self.fates.get(account, ())])]

    def forward(self, seconds):
        """Let time pass."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))

    def read(self, *accounts):
        """Read accounts again, now."""
        self.forward(1)
        for (account, _), picture in self.pictures.items():
            if account in accounts:
                picture.read_s = self.clock.monotonic()

    def level(self, account="main"):
        """What governs an account."""
        return self.latch.governing(account, "binance", "grid").level

    async def halt(self, scope="global"):
        """HALT, then its release."""
        await self.latch.engage(level=EssLevel.HALT, scope=scope, actor="ann", reason="drill", source="api")
        await self.latch.release(
            scope=scope, actor="bob", reason="over", expected_epoch=self.latch.stop_of(scope).epoch
        )


@pytest.fixture
def world(tmp_path):
    """Everything read once, long ago."""
    clock = ManualClock(NOW)
    initialise(tmp_path / "ess", clock=clock)
    latch = EssLatch.open(tmp_path / "ess", clock=clock, drain=None)
    latch.accounts_under = lambda scope: ("main", "desk") if scope == "global" else (scope.partition(":")[2],)
    made = World(latch, clock)
    made.pictures = {
        ("main", Market.LINEAR): Picture(), ("main", Market.SPOT): Picture(), ("desk", Market.LINEAR): Picture(),
    }  # fmt: skip
    yield made
    latch.close()


def recovery_of(world, latch=None):
    """What ends recoveries."""
    markets = {"main": (Market.LINEAR, Market.SPOT), "desk": (Market.LINEAR,)}
    return Recovery(latch or world.latch, world, world, markets, world.clock)


async def test_after_a_halt_an_account_only_reduces_until_it_was_read_again(world):
    """The release alone does not let anything open; the reading asked for after it does."""
    recovery = recovery_of(world)
    await world.halt()
    await recovery.look()

    assert world.level() is EssLevel.REDUCE_ONLY
    world.latch.last_look("main", reducing=True)
    with pytest.raises(LastLookRefused):
        world.latch.last_look("main", reducing=False)
    assert all(picture.asked for place, picture in world.pictures.items() if place[1] is Market.LINEAR)
    assert "asked for after the release" in recovery.waiting["main"]

    world.read("main")
    await recovery.look()
    assert (world.level("main"), world.level("desk")) == (EssLevel.CLEAR, EssLevel.REDUCE_ONLY)
    world.read("desk")
    await recovery.look()
    assert world.level("desk") is EssLevel.CLEAR
    assert recovery.waiting == {}


async def test_a_reading_that_was_asked_for_before_the_release_does_not_count(world):
    """It may have been on its way while everything stood."""
    recovery = recovery_of(world)
    world.read("main", "desk")
    await world.halt()
    for _ in range(3):
        await recovery.look()
    assert world.level() is EssLevel.REDUCE_ONLY


@pytest.mark.parametrize("market", [Market.LINEAR, Market.SPOT])
async def test_every_market_of_the_account_has_to_be_read(world, market):
    """Half a picture is none."""
    recovery = recovery_of(world)
    await world.halt()
    world.forward(1)
    world.pictures["main", market].read_s = world.clock.monotonic()
    await recovery.look()
    assert world.level() is EssLevel.REDUCE_ONLY


async def test_what_no_event_explains_keeps_it(world):
    """A reading in doubt is not clean; once it is found to be drift, another reading is needed."""
    recovery = recovery_of(world)
    await world.halt()
    await recovery.look()
    picture = world.pictures["main", Market.LINEAR]
    picture.is_in_doubt = True
    world.read("main")
    await recovery.look()
    assert "no event had told" in recovery.waiting["main"]

    picture.is_in_doubt, picture.drifts = False, 1
    await recovery.look()
    assert world.level() is EssLevel.REDUCE_ONLY
    world.read("main")
    await recovery.look()
    assert world.level() is EssLevel.CLEAR


async def test_an_order_of_unknown_fate_keeps_it(world):
    """Nobody opens anything beside an order that may live."""
    recovery = recovery_of(world)
    world.fates["main"] = [Fate.UNKNOWN, Fate.ACCEPTED]
    await world.halt()
    world.read("main")
    await recovery.look()
    assert recovery.waiting["main"] == "the fate of 1 order(s)"
    assert world.level() is EssLevel.REDUCE_ONLY

    world.fates["main"] = [Fate.GONE, Fate.ACCEPTED]
    await recovery.look()
    assert world.level() is EssLevel.CLEAR


async def test_a_restart_does_not_end_it(world):
    """It is stored like any stop, and the next process waits for its own reading."""
    await world.halt("account:main")
    world.read("main")
    again = EssLatch.open(world.latch.path, clock=world.clock, drain=None)
    try:
        recovery = recovery_of(world, again)
        await recovery.look()
        assert again.governing("main").level is EssLevel.REDUCE_ONLY
        world.read("main")
        await recovery.look()
        assert again.governing("main").level is EssLevel.CLEAR
    finally:
        again.close()


async def test_a_disk_that_fails_keeps_it_and_it_is_tried_again(world, monkeypatch):
    """What cannot be stored is not ended."""
    recovery = recovery_of(world)
    await world.halt()
    world.read("main", "desk")

    def failing(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("proxy.ess.os.pwrite", failing)
        await recovery.look()
        assert world.level() is EssLevel.REDUCE_ONLY
    await recovery.look()
    assert world.level() is EssLevel.CLEAR


async def test_a_release_of_reduce_only_needs_no_recovery(world):
    """Orders passed all the time; the picture is as good as ever."""
    await world.latch.engage(
        level=EssLevel.REDUCE_ONLY, scope="global", actor="ann", reason="r", source="api"
    )
    await world.latch.release(
        scope="global", actor="bob", reason="over", expected_epoch=world.latch.stop_of("global").epoch
    )
    assert world.level() is EssLevel.CLEAR


async def test_a_halt_in_between_wins_and_begins_the_recovery_anew(world):
    """A reading from before the second release does not count for it."""
    recovery = recovery_of(world)
    await world.halt()
    world.read("main", "desk")
    await world.halt()
    await recovery.look()
    assert world.level() is EssLevel.REDUCE_ONLY
    world.read("main", "desk")
    await recovery.look()
    assert world.level() is EssLevel.CLEAR


async def test_an_account_that_is_never_read_is_not_waited_for(world):
    """What it holds is not known, so it opens nothing whatever the stop says."""
    world.pictures.clear()
    recovery = recovery_of(world)
    await world.halt()
    await recovery.look()
    assert world.level() is EssLevel.CLEAR
