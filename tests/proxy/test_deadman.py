"""A bot that falls silent: its strategy may only reduce, and the exchange cancels by itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from proxy import audit
from proxy.actions.lane import Sent
from proxy.clock import ManualClock
from proxy.config import from_mapping
from proxy.deadman import DeadMan, DeadManSettings
from proxy.errors import AuditError, ConfigError
from proxy.ess import EssLatch, initialise
from proxy.identity import Account, Bot
from proxy.simulator import Fault
from rules import EssLevel, Fact, Market
from rules.ess import GLOBAL
from tests.runs import Wire, open_run

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
ACCOUNT = Account(name="main", exchange="binance", mode="passthrough")
BOT = Bot(name="b", key="k", account=ACCOUNT, strategy="grid")


@dataclass
class Watch:
    """A watch whose lane is a list."""

    clock: ManualClock
    latch: EssLatch
    working: dict = field(default_factory=dict)
    sent: list = field(default_factory=list)
    outcome: str = "accepted"
    again: bool = False
    records: list = field(default_factory=list)
    dead_man: DeadMan | None = None

    async def countdown(self, symbol, countdown_ms, *, again=False):
        """What the venue would be told."""
        self.sent.append((symbol, countdown_ms))
        self.again = again
        return Sent(outcome=self.outcome)

    async def forward(self, seconds):
        """Let time pass, and look."""
        self.clock.advance(to=self.clock.now() + timedelta(seconds=seconds))
        self.sent.clear()
        await self.dead_man.look()

    def rest(self, **symbols):
        """Working orders: symbol to whether each can only reduce."""
        self.working = {
            symbol: {str(number): SimpleNamespace(reduces_by_venue=one) for number, one in enumerate(reduces)}
            for symbol, reduces in symbols.items()
        }

    def level(self):
        """What holds the strategy."""
        return self.latch.governing("main", "binance", "grid").level


@pytest.fixture
def watch(tmp_path):
    """Lease 60 s, countdown 120 s."""
    clock = ManualClock(NOW)
    initialise(tmp_path / "ess", clock=clock)
    latch = EssLatch.open(tmp_path / "ess", clock=clock, drain=None)
    made = Watch(clock, latch)
    desk = SimpleNamespace(lane=SimpleNamespace(countdown=made.countdown), venues={Market.LINEAR: None})
    book = SimpleNamespace(positions=lambda *_: Fact({}, NOW), working=lambda *_: made.working)
    made.dead_man = DeadMan(
        {"main": DeadManSettings(lease_s=60, countdown_s=120)}, desks={"main": desk}, exchanges={"main": "binance"},
        book=book, latch=latch, audit=SimpleNamespace(append=made.records.append), clock=clock,
    )  # fmt: skip
    yield made
    latch.close()


@pytest.mark.parametrize(("silent_s", "level"), [(59, EssLevel.CLEAR), (60, EssLevel.REDUCE_ONLY)])
async def test_a_lease_ends_on_time(watch, silent_s, level):
    """Just under its time it holds, at its time the strategy may only reduce; others go on."""
    watch.dead_man.seen(BOT)
    await watch.forward(silent_s)

    assert watch.level() is level
    assert watch.latch.governing("main", "binance", "other").level is EssLevel.CLEAR
    recorded = [(one["actor"], one["act"], one["scope"], one["result"]) for one in watch.records]
    ended = [("riskgate (dead_man)", "ess.engage reduce_only", "strategy:grid", "done")]
    assert recorded == (ended if level is EssLevel.REDUCE_ONLY else [])


async def test_being_heard_of_renews_it(watch):
    """Fifty seconds apart, again and again: the lease never ends."""
    for _ in range(5):
        watch.dead_man.seen(BOT)
        await watch.forward(50)

    assert watch.level() is EssLevel.CLEAR


async def test_a_bot_that_speaks_renews_all_its_strategies(watch):
    """What one program trades for falls silent together."""
    watch.dead_man.seen(replace(BOT, prefixes={"trend": None}))
    assert set(watch.dead_man.report("main")["leases_s"]) == {"grid", "trend"}
    await watch.forward(10_000)

    assert {stop.scope for stop in watch.latch.stops() if stop.level is EssLevel.REDUCE_ONLY} == {
        "strategy:grid", "strategy:trend",
    }  # fmt: skip


async def test_leases_that_end_together_stop_their_strategies_at_once(watch, monkeypatch):
    """A disk that hangs for the first of them keeps no other strategy trading."""
    watch.dead_man.seen(replace(BOT, prefixes={"trend": None}))
    seen = []

    async def hanging(stored):
        seen.append({stop.scope for stop in stored.stops})
        return False

    monkeypatch.setattr(watch.latch, "_write", hanging)
    await watch.forward(10_000)

    assert seen[0] >= {"strategy:grid", "strategy:trend"}


async def test_a_strategy_never_heard_of_has_no_lease(watch):
    """Nobody is stopped for not having begun; an account that does not ask for it is not watched."""
    stranger = Bot(name="c", key="x", account=Account(name="o", exchange="binance", mode="passthrough"), strategy="s")
    watch.dead_man.seen(stranger)
    await watch.forward(10_000)

    assert [stop.level for stop in watch.latch.stops()] == [EssLevel.CLEAR]
    assert watch.dead_man.owns_countdown("main")
    assert not watch.dead_man.owns_countdown("o")


async def test_winds_symbols_with_opening_orders_only(watch):
    """Every 30 s of 120 s, and not where only protective orders rest."""
    watch.rest(BTCUSDT=[False, True], ETHUSDT=[True])
    watch.dead_man.seen(BOT)
    await watch.forward(1)
    first = list(watch.sent)
    await watch.forward(28)
    between = list(watch.sent)
    watch.dead_man.seen(BOT)
    await watch.forward(3)

    assert first == [("ETHUSDT", 0), ("BTCUSDT", 120_000)], "one that an earlier process left is stopped once"
    assert between == []
    assert watch.sent == [("BTCUSDT", 120_000)]


async def test_stops_it_where_only_protection_is_left(watch):
    """The opening order filled: the countdown would take the stop along, so it is stopped."""
    watch.rest(BTCUSDT=[False, True])
    watch.dead_man.seen(BOT)
    await watch.forward(1)
    watch.rest(BTCUSDT=[True])
    await watch.forward(1)

    assert watch.sent == [("BTCUSDT", 0)]


async def test_nobody_winds_it_for_the_dead_or_the_halted(watch):
    """After the lease, and after HALT, what is armed runs out."""
    watch.rest(BTCUSDT=[False])
    watch.dead_man.seen(BOT)
    await watch.forward(1)
    await watch.latch.engage(level=EssLevel.HALT, scope=GLOBAL, actor="a", reason="b", source="api")
    await watch.forward(40)
    halted = list(watch.sent)
    await watch.forward(40)

    assert (halted, watch.sent) == ([], [])
    assert watch.dead_man.report("main")["leases_s"] == {}


async def test_a_beat_that_fails_is_tried_with_the_next_look(watch):
    """The exchange does not answer, then it does."""
    watch.rest(BTCUSDT=[False])
    watch.dead_man.seen(BOT)
    watch.outcome = "unknown"
    await watch.forward(1)
    assert not watch.again
    failing = watch.dead_man.report("main")["failing"]
    watch.outcome = "accepted"
    await watch.forward(1)

    assert (failing, watch.sent) == (["BTCUSDT"], [("BTCUSDT", 120_000)])
    assert watch.again, "what is tried every half second is not on record every half second"
    assert watch.dead_man.report("main")["failing"] == []


async def test_a_beat_renews_a_lease_where_there_is_one(watch):
    """On the accounts that are watched; the report says how long each lasts."""
    assert watch.dead_man.beat("grid", ["main", "another"]) == {"main": 60}
    await watch.forward(50)
    watch.dead_man.beat("grid", ["main"])
    await watch.forward(50)

    assert watch.level() is EssLevel.CLEAR
    assert watch.dead_man.report("another") is None
    assert watch.dead_man.report("main") == {
        "lease_s": 60, "countdown_s": 120, "leases_s": {"grid": 10.0}, "armed": [], "failing": [],
    }  # fmt: skip


async def test_what_cannot_be_recorded_does_not_keep_a_strategy_open(watch):
    """The disk is full: it is set to reduce only all the same."""

    def full(_):
        raise AuditError("the disk is full")

    watch.dead_man._audit = SimpleNamespace(append=full)
    watch.dead_man.seen(BOT)
    await watch.forward(60)

    assert watch.level() is EssLevel.REDUCE_ONLY


@pytest.mark.parametrize("stated", [{"countdown": "120s"}, {"lease": "10s", "countdown": "4s"}, {"lease": "500ms"}])
def test_settings_that_make_no_sense_stop_the_start(stated, tmp_path):
    """A countdown without a lease, or times that cannot be meant."""
    with pytest.raises(ConfigError, match="dead_man"):
        from_mapping(
            {"accounts": {"a": {"mode": "passthrough", "dead_man": stated}}}, base=tmp_path, source="(a test)"
        )


async def test_in_a_whole_deployment(tmp_path):
    """The exchange holds the countdown, a bot's own is refused, and a silent strategy may only reduce."""
    settings = {"dead_man": {"lease": "3s", "countdown": "5s"}}
    async with open_run(tmp_path / "run", accounts=settings) as run:
        bot = run.bot("desk")
        assert (await bot.order()).status == 200
        countdowns = run.sim.accounts["desk"].countdowns
        await run.until(lambda: "BTCUSDT" in countdowns, "a countdown at the exchange")
        disarmed = await bot.request("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=0)
        assert (disarmed.status, disarmed.json["risk"]["reason"]) == (403, "countdown_owned"), disarmed
        assert "BTCUSDT" in countdowns
        latch = run.app.latch
        await run.until(
            lambda: latch.governing("desk", "binance", "grid").level is EssLevel.REDUCE_ONLY, "the lease's end"
        )
        refused = await bot.order()

        assert (refused.status, refused.json["risk"]["reason"]) == (403, "ess_reduce_only_active")
        await run.until(lambda: not run.sim.accounts["desk"].open_orders["futures"], "the exchange to cancel", 12.0)
        run.app.audit.flush()
        found = [one for one in audit.read(run.app.audit.directory) if one["kind"] == "action.countdown"]
        first = {key: found[0][key] for key in ("account", "symbol", "countdown_ms", "result")}
        assert first == {"account": "desk", "symbol": "BTCUSDT", "countdown_ms": 5000, "result": "begun"}
        assert {one["result"] for one in found} == {"begun"}, "taken each time"


async def test_a_countdown_that_cannot_be_recorded_is_set_all_the_same(tmp_path):
    """It protects as a cancel does: the record is full, and the exchange holds the countdown."""

    def full(_):
        raise AuditError("the disk is full")

    async with open_run(tmp_path / "run") as run:
        assert (await run.bot("desk").order()).status == 200
        lane = run.app.actions._desks["desk"].lane
        lane._audit = SimpleNamespace(append=full)
        sent = await lane.countdown("BTCUSDT", 60_000)

        assert sent.outcome == "accepted"
        assert "BTCUSDT" in run.sim.accounts["desk"].countdowns


async def test_a_countdown_that_was_not_taken_is_on_record_once(tmp_path):
    """Begun and refused, tried again in silence, and taken at last."""
    async with open_run(tmp_path / "run") as run:
        lane = run.app.actions._desks["desk"].lane
        run.sim.inject(Fault("status", times=2, match="POST /fapi/v1/countdownCancelAll", status=503))
        for again in (False, True, True):
            await lane.countdown("BTCUSDT", 60_000, again=again)
        run.app.audit.flush()

        found = [one["result"] for one in audit.read(run.app.audit.directory) if one["kind"] == "action.countdown"]
        assert found == ["begun", "unknown", "accepted"]


async def test_heartbeats_keep_a_strategy_that_does_not_trade(tmp_path):
    """A bot's own and an operator's both renew the lease; without them it ends, and a beat does not bring it back."""
    async with open_run(tmp_path / "run", accounts={"dead_man": {"lease": "1500ms"}}) as run:
        bot = run.bot("desk")
        own = Wire(run.admin_url)
        run.clients.append(own)
        head = f"POST /bot/v1/heartbeat HTTP/1.1\r\nHost: {own.authority}\r\nX-MBX-APIKEY: {bot.key.key}\r\n\r\n"
        of_strategy = "/api/v2/strategies/grid/heartbeat"
        level = partial(run.app.latch.governing, "desk", "binance", "grid")
        for number in range(6):
            beaten = await (own.raw(head.encode()) if number % 2 else run.admin.call("POST", of_strategy))
            assert beaten.status == 200, beaten
            assert beaten.json["accounts"]["desk"] == {"lease_s": 1.5, "level": "clear"}
            # An operator's is for every account of the strategy, a bot's for its own.
            assert ("direct" in beaten.json["accounts"]) is (number % 2 == 0)
            await asyncio.sleep(0.5)
        assert run.app.status.status()["accounts"]["desk"]["dead_man"]["leases_s"].keys() == {"grid"}
        await run.until(lambda: level().level is EssLevel.REDUCE_ONLY, "the lease's end")

        beaten = await own.raw(head.encode())
        assert beaten.json["accounts"]["desk"] == {"lease_s": 1.5, "level": "reduce_only"}
