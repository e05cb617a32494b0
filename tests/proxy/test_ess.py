"""The emergency stop's latch: never looser than what somebody was told."""

import asyncio
import hashlib
import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import orjson
import pytest

from proxy import ess
from proxy.clock import ManualClock, SystemClock
from proxy.errors import ConfigError, LastLookRefused, RevisionConflict
from proxy.ess import EssLatch, StopHeld, StopNotStored, StopRequestInvalid, halt_on_signal, initialise
from proxy.tasks import Tasks
from rules import Caller, EssLevel, Market, Order, OrderType, Reason, Side

pytestmark = pytest.mark.both_loops

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLOCK = ManualClock(NOW)


@pytest.fixture
def path(tmp_path):
    """A file as `riskgate init` writes it."""
    path = tmp_path / "ess.state"
    initialise(path, clock=CLOCK)
    return path


@pytest.fixture
def latches(path):
    """Open latches on the same file; each is closed at the end."""
    made = []

    def make(drain=None, clock=CLOCK):
        latch = EssLatch.open(path, clock=clock, drain=drain)
        made.append(latch)
        return latch

    yield make
    for latch in made:
        latch.close()


def halt(latch, level=EssLevel.HALT, scope="global", actor="ann", reason="drill", source="api"):
    """Engage, with defaults."""
    return latch.engage(level=level, scope=scope, actor=actor, reason=reason, source=source)


def release(latch, scope="global", actor="ann", reason="all clear", expected_epoch=None):
    """Release, at the epoch that is in force unless told otherwise."""
    epoch = latch.stop_of(scope).epoch if expected_epoch is None else expected_epoch
    return latch.release(scope=scope, actor=actor, reason=reason, expected_epoch=epoch)


# -- what is found at the start


async def test_an_initialised_file_is_clear(latches):
    """`riskgate init` wrote CLEAR at epoch 1, and only that is found."""
    latch = latches()

    assert latch.governing("any").level is EssLevel.CLEAR
    assert (latch.epoch, latch.durable) == (1, True)
    latch.last_look("any", reducing=False)


def test_initialise_never_overwrites(path):
    """A second init would forget a halt."""
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="never initialised twice"):
        initialise(path, clock=CLOCK)
    assert path.read_bytes() == before
    assert len(before) == 2 * ess.SLOT_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "there is no emergency stop file"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(b"\0" * 8192), "damaged"),
        (lambda path: path.write_bytes(b"{}"), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"CLEAR", b"clear")), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[1:]), "damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    ],
)
async def test_missing_or_unreadable_is_halt(path, latches, spoil, said):
    """No state is not "no halt": the start is halted and says why."""
    spoil(path)
    latch = latches()
    stop = latch.governing("any")

    assert stop.level is EssLevel.HALT
    assert said in stop.reason
    assert stop.source == "start"
    with pytest.raises(LastLookRefused):
        latch.last_look("any", reducing=True)


async def test_a_person_can_release_after_a_lost_file_and_it_lasts(path, latches):
    """The lost file's stop is released like any other, and its epoch is above whatever was lost."""
    path.unlink()
    latch = latches()
    assert latch.epoch > 1_000_000

    await release(latch)

    assert latches().governing("any").level is EssLevel.CLEAR


async def test_a_damaged_file_is_kept(path, latches):
    """What could not be read is kept for whoever has to find out why."""
    path.write_bytes(b"x" * 8192)
    latches()

    assert path.with_name("ess.state.damaged").read_bytes() == b"x" * 8192


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("damage", [b"\0" * 4096, b"riskgate-ess-1 " + b"0" * 4081])
async def test_one_damaged_slot_leaves_the_other(path, latches, slot, damage):
    """Either half alone still knows that trading is halted, and both are written again."""
    latch = latches()
    await halt(latch)
    content = bytearray(path.read_bytes())
    content[slot * 4096 : slot * 4096 + 4096] = damage
    path.write_bytes(content)

    again = latches()

    assert again.governing("any").level is EssLevel.HALT
    assert not again.durable
    assert (await halt(again)).durable
    assert again.durable
    assert path.read_bytes()[:4096] == path.read_bytes()[4096:]


async def test_the_newest_slot_wins_and_of_equals_the_stricter(path, latches):
    """Slots of different epochs: the newer. Of the same epoch: the one that stops more."""
    clear = path.read_bytes()[:4096]
    latch = latches()
    engaged = await halt(latch)
    halted = path.read_bytes()[:4096]
    for content in (clear + halted, halted + clear):
        path.write_bytes(content)
        assert latches().governing("any").level is EssLevel.HALT

    equal = ess._slot(ess._Stored(engaged.epoch, (ess.CLEAR,)))
    for content in (equal + halted, halted + equal):
        path.write_bytes(content)
        assert latches().governing("any").level is EssLevel.HALT

    newer = ess._slot(ess._Stored(engaged.epoch + 1, (ess.CLEAR,)))
    path.write_bytes(halted + newer)
    assert latches().governing("any").level is EssLevel.CLEAR


# -- engaging


async def test_engaging_stops_every_account_and_survives_a_restart(latches):
    """A global halt holds for all accounts, here and in the next process."""
    result = await halt(latches())

    assert (result.durable, result.changed, result.problem) == (True, True, "")
    stop = latches().governing("spot-1")
    assert stop.level is EssLevel.HALT
    assert (stop.actor, stop.reason, stop.source, stop.since, stop.epoch) == ("ann", "drill", "api", NOW, 2)


@pytest.mark.parametrize(
    ("level", "reducing", "passes"),
    [
        (EssLevel.REDUCE_ONLY, True, True),
        (EssLevel.REDUCE_ONLY, False, False),
        (EssLevel.HALT, True, False),
        (EssLevel.HALT, False, False),
    ],
)
async def test_the_last_look_admits_only_reductions_and_only_under_reduce_only(latches, level, reducing, passes):
    """HALT admits nothing; REDUCE_ONLY admits what provably reduces; the reason tells them apart."""
    latch = latches()
    await halt(latch, level=level)
    if passes:
        latch.last_look("a", reducing=reducing)
        return
    with pytest.raises(LastLookRefused) as refused:
        latch.last_look("a", reducing=reducing)
    expected = {
        EssLevel.HALT: Reason.ESS_TRADING_HALT_ACTIVE,
        EssLevel.REDUCE_ONLY: Reason.ESS_REDUCE_ONLY_ACTIVE,
    }
    assert refused.value.reason is expected[level]


async def test_an_account_stop_leaves_other_accounts_and_the_strictest_governs(latches):
    """Account and global stop combine to the stricter of the two."""
    latch = latches()
    await halt(latch, scope="account:a")
    assert latch.governing("a").level is EssLevel.HALT
    assert latch.governing("b").level is EssLevel.CLEAR

    await halt(latch, level=EssLevel.REDUCE_ONLY)
    assert latch.governing("a").level is EssLevel.HALT
    assert latch.governing("b").level is EssLevel.REDUCE_ONLY

    await release(latch)
    assert latch.governing("a").level is EssLevel.HALT
    assert {stop.scope for stop in latches().stops()} == {"global", "account:a"}

    await release(latch, scope="account:a")
    assert latch.governing("a").level is EssLevel.CLEAR


async def test_a_weaker_trip_never_loosens(latches):
    """REDUCE_ONLY on top of HALT stays HALT, with the first person's reason."""
    latch = latches()
    await halt(latch)
    result = await halt(latch, level=EssLevel.REDUCE_ONLY, actor="bob", reason="drawdown")

    assert result.stop.level is EssLevel.HALT
    assert result.stop.actor == "ann"


async def test_repeating_the_same_engage_changes_nothing(latches):
    """Pressing twice is pressing once: same epoch, same record."""
    latch = latches()
    first = await halt(latch)
    second = await halt(latch)

    assert (second.stop, second.changed) == (first.stop, False)


async def test_an_engage_in_the_same_words_voids_a_release_under_way(latches, monkeypatch):
    """The watchdog halts again while Ann's release is being written: what it is told is engaged stays engaged."""
    latch = latches()
    first = await halt(latch)
    writing, going_on = asyncio.Event(), asyncio.Event()
    real = latch._write

    async def slow(stored):
        writing.set()
        await going_on.wait()
        return await real(stored)

    monkeypatch.setattr(latch, "_write", slow)
    releasing = asyncio.ensure_future(release(latch, expected_epoch=first.epoch))
    await writing.wait()
    engaging = asyncio.ensure_future(halt(latch))
    await asyncio.sleep(0)
    going_on.set()
    with pytest.raises(RevisionConflict, match="engaged again"):
        await releasing
    assert (await engaging).stop.level is EssLevel.HALT
    assert latch.governing("a").level is EssLevel.HALT


async def test_anothers_engage_voids_a_release_that_did_not_know_of_it(latches):
    """Ann's release was meant for her own stop; Bob has engaged since, so she is told to look again."""
    latch = latches()
    mine = await halt(latch)
    await halt(latch, actor="bob", reason="runaway bot")

    with pytest.raises(RevisionConflict, match="look at it again"):
        await release(latch, expected_epoch=mine.epoch)
    assert latch.governing("a").level is EssLevel.HALT


@pytest.mark.parametrize(
    "scope", ["", "Global", "account:", "account", "account:a/b", "bot:x", "account:../x", "global\n"]
)
async def test_an_unknown_scope_is_refused_rather_than_stopping_nothing(latches, scope):
    """A misspelt scope must not look like a stop."""
    latch = latches()
    with pytest.raises(StopRequestInvalid):
        await halt(latch, scope=scope)
    with pytest.raises(StopRequestInvalid):
        await release(latch, scope=scope, expected_epoch=1)


async def test_engaging_to_clear_is_refused(latches):
    """There is no way to loosen through engage."""
    latch = latches()
    await halt(latch)
    with pytest.raises(StopRequestInvalid):
        await halt(latch, level=EssLevel.CLEAR)


async def test_memory_is_latched_before_anything_is_awaited(latches):
    """The very first step of engage stops orders, before disk or drain."""
    latch = latches()
    coroutine = halt(latch)
    coroutine.send(None)  # up to its first wait

    with pytest.raises(LastLookRefused):
        latch.last_look("a", reducing=False)
    coroutine.close()


async def test_the_order_is_memory_then_disk_and_drain_at_once(path, latches):
    """When the drain begins the latch holds; when the answer comes, file and drain are done, whichever was slower."""
    seen = []
    slow = asyncio.Event()

    async def drain(*, flush_timeout_s, answer_timeout_s):
        seen.append((latch.governing("a").level, flush_timeout_s, answer_timeout_s))
        await slow.wait()
        return SimpleNamespace(unanswered=3, aborted=1)

    latch = latches(drain)
    engaging = asyncio.ensure_future(halt(latch))
    while b'"HALT"' not in path.read_bytes():
        await asyncio.sleep(0.001)  # the disk does not wait for the drain
    assert not engaging.done()
    slow.set()
    result = await engaging

    assert seen == [(EssLevel.HALT, 2.0, 0.01)]
    assert (result.in_flight_unanswered, result.aborted, result.durable) == (3, 1, True)


async def test_a_failing_drain_is_reported_and_the_stop_holds(latches):
    """Whoever engaged is told that orders on their way could not be waited for."""

    async def drain(*, flush_timeout_s, answer_timeout_s):
        raise RuntimeError("lost")

    latch = latches(drain)
    result = await halt(latch)

    assert "could not be waited for" in result.problem
    assert result.durable
    assert latch.governing("a").level is EssLevel.HALT


async def test_a_failing_disk_keeps_the_stop_and_says_so(latches, monkeypatch):
    """Halted here, not durable: never a silent success and never a rollback; stored once the disk is back."""
    latch = latches()

    def failing(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(ess.os, "pwrite", failing)
    result = await halt(latch)

    assert not result.durable
    assert "not stored" in result.problem
    assert latch.governing("a").level is EssLevel.HALT
    assert not latch.durable

    monkeypatch.undo()
    watching = asyncio.ensure_future(latch.watch(every_s=0.01))
    for _ in range(200):
        if latch.durable:
            break
        await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert latches().governing("a").level is EssLevel.HALT


async def test_a_hanging_disk_does_not_keep_the_caller_waiting(latches, monkeypatch):
    """A write that never returns is reported as not durable after its deadline."""
    monkeypatch.setattr(ess, "WRITE_TIMEOUT_S", 0.05)
    real = os.pwrite

    def slow(*arguments):
        time.sleep(0.3)
        return real(*arguments)

    monkeypatch.setattr(ess.os, "pwrite", slow)
    latch = latches()
    result = await halt(latch)

    assert not result.durable
    assert latch.governing("a").level is EssLevel.HALT


async def test_concurrent_engages_latch_at_once_and_all_are_stored(latches):
    """Twenty at the same time: all in force before any write ends, all in the file afterwards."""
    latch = latches()
    tasks = [asyncio.ensure_future(halt(latch, scope=f"account:a{number}")) for number in range(20)]
    await asyncio.sleep(0)
    assert all(latch.governing(f"a{number}").level is EssLevel.HALT for number in range(20))

    results = await asyncio.gather(*tasks)

    assert all(result.durable for result in results)
    assert len({result.epoch for result in results}) == 20
    again = latches()
    assert all(again.governing(f"a{number}").level is EssLevel.HALT for number in range(20))
    assert again.epoch == latch.epoch


async def test_more_stopped_accounts_than_a_slot_can_name_halt_everything_after_a_restart(latches):
    """The file never grows; what it cannot name in detail it holds globally."""
    latch = latches()
    for number in range(70):
        latch.trip(
            level=EssLevel.HALT,
            scope=f"account:{'long-account-name-' * 3}{number}",
            actor="ann",
            reason="r" * 300,
            source="api",
        )
    assert (await halt(latch, scope="account:last")).durable
    assert latch.governing("another").level is EssLevel.CLEAR

    assert latches().governing("another").level is EssLevel.HALT


@pytest.mark.parametrize("text", ["\ud800 lone", "x" * 100_000, "new\nline\x00", "\N{POUTING FACE}" * 900])
async def test_any_reason_can_be_stored(latches, text):
    """No text a person types keeps the halt from being durable."""
    latch = latches()
    assert (await halt(latch, reason=text, actor=text)).durable
    assert latches().governing("a").level is EssLevel.HALT


async def test_engaging_without_a_name_still_engages(latches):
    """Stopping never waits for a form."""
    result = await halt(latches(), actor=" ", reason="")
    assert (result.stop.actor, result.stop.reason) == ("unknown", "no reason given")


# -- releasing


@pytest.mark.parametrize(("actor", "reason"), [("", "r"), ("  ", "r"), ("ann", ""), ("ann", "\n")])
async def test_a_release_needs_a_person_and_a_reason(latches, actor, reason):
    """Starting again is signed."""
    latch = latches()
    await halt(latch)
    with pytest.raises(StopRequestInvalid, match="needs an actor and a reason"):
        await release(latch, actor=actor, reason=reason)
    assert latch.governing("a").level is EssLevel.HALT


@pytest.mark.parametrize("offset", [-1, 1])
async def test_a_release_names_the_epoch_it_has_seen(latches, offset):
    """Any other epoch is a conflict and changes nothing."""
    latch = latches()
    engaged = await halt(latch)
    with pytest.raises(RevisionConflict):
        await release(latch, expected_epoch=engaged.epoch + offset)
    assert latch.governing("a").level is EssLevel.HALT


async def test_a_release_is_on_disk_before_memory_loosens(latches, monkeypatch):
    """While the file is being written, orders are still refused."""
    latch = latches()
    await halt(latch)
    levels = []
    real = os.fdatasync

    def watching(descriptor):
        levels.append(latch.governing("a").level)
        real(descriptor)

    monkeypatch.setattr(ess.os, "fdatasync", watching)
    await release(latch)

    assert levels == [EssLevel.HALT, EssLevel.HALT]
    assert latch.governing("a").level is EssLevel.CLEAR


async def test_a_release_that_cannot_be_stored_does_not_happen(latches, monkeypatch):
    """The disk refuses: the stop stays, here and after a restart."""
    latch = latches()
    await halt(latch)
    real, calls = os.pwrite, []

    def failing_once(*arguments):
        calls.append(1)
        if len(calls) == 2:  # the second slot of the release
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(ess.os, "pwrite", failing_once)
    with pytest.raises(StopNotStored):
        await release(latch)

    assert latch.governing("a").level is EssLevel.HALT
    assert latches().governing("a").level is EssLevel.HALT


async def test_an_engage_during_a_release_wins(latches, monkeypatch):
    """Somebody halts while the release is being written: the release is refused and the file says HALT."""
    latch = latches()
    await halt(latch)
    engaged = []
    real = os.pwrite

    def engaging(*arguments):
        if not engaged:
            engaged.append(1)
            loop.call_soon_threadsafe(
                lambda: latch.trip(
                    level=EssLevel.HALT, scope="global", actor="bob", reason="again", source="api"
                )
            )
            time.sleep(0.05)
        return real(*arguments)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(ess.os, "pwrite", engaging)
    with pytest.raises(RevisionConflict):
        await release(latch)

    assert latch.governing("a").level is EssLevel.HALT
    assert latches().governing("a").level is EssLevel.HALT


async def test_cycles_of_engage_and_release_keep_memory_and_file_together(latches, path):
    """Epochs only grow, memory and file agree after every step."""
    latch = latches()
    epochs = [latch.epoch]
    for number in range(100):
        scope = "global" if number % 3 else "account:a"
        engaged = await halt(latch, scope=scope, reason=str(number))
        assert latch.governing("a").level is EssLevel.HALT
        released = await release(latch, scope=scope, expected_epoch=engaged.epoch)
        assert latch.governing("a").level is EssLevel.CLEAR
        epochs += [engaged.epoch, released.epoch]
    assert epochs == sorted(set(epochs))
    again = latches()
    assert (again.epoch, again.governing("a").level) == (latch.epoch, EssLevel.CLEAR)


async def test_listeners_hear_every_change(latches):
    """Metrics and notifiers are told of engage and release, once each."""
    latch, heard = latches(), []
    latch.listeners.append(lambda stop: heard.append((stop.level, stop.scope)))
    await halt(latch)
    await halt(latch)
    await release(latch)

    assert heard == [(EssLevel.HALT, "global"), (EssLevel.CLEAR, "global")]


# -- the other ways to stop


async def test_a_file_named_halt_engages_and_holds(path, latches):
    """`touch HALT` in the data directory stops trading, and as long as it lies there nothing releases."""
    latch = latches()
    halt_file = path.parent / "HALT"
    watching = asyncio.ensure_future(latch.watch(every_s=0.01))
    halt_file.touch()
    for _ in range(200):
        if latch.governing("a").level is EssLevel.HALT and latch.durable:
            break
        await asyncio.sleep(0.01)
    assert latch.governing("a").source == "file"
    with pytest.raises(StopHeld, match="remove it"):
        await release(latch)

    halt_file.unlink()
    await release(latch)
    assert latch.governing("a").level is EssLevel.CLEAR
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_start_with_the_halt_file_is_halted_at_once(path, latches):
    """No order can slip in between the start and the first look at the file; it is stored soon after."""
    (path.parent / "HALT").touch()
    latch = latches()
    assert latch.governing("a").level is EssLevel.HALT
    assert not latch.durable

    watching = asyncio.ensure_future(latch.watch(every_s=0.01))
    for _ in range(200):
        if latch.durable:
            break
        await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    (path.parent / "HALT").unlink()
    assert latches().governing("a").level is EssLevel.HALT


async def test_a_trip_in_memory_is_stored_by_the_watch(latches):
    """A rule that trips the latch need not wait for the disk: the watch stores what is in force."""
    latch = latches()
    latch.trip(level=EssLevel.REDUCE_ONLY, scope="account:a", actor="rule", reason="drawdown", source="rule")
    assert not latch.durable
    watching = asyncio.ensure_future(latch.watch(every_s=0.01))
    for _ in range(200):
        if latch.durable:
            break
        await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert latches().governing("a").level is EssLevel.REDUCE_ONLY


async def test_sigusr1_engages(latches):
    """kill -USR1 halts."""
    latch, tasks, loop = latches(), Tasks(), asyncio.get_running_loop()
    halt_on_signal(latch, tasks, loop)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(200):
            if latch.governing("a").level is EssLevel.HALT:
                break
            await asyncio.sleep(0.01)
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)
    assert latch.governing("a").source == "signal"
    await asyncio.sleep(0.05)
    await tasks.close()


async def test_engaging_takes_less_than_fifty_milliseconds(latches):
    """The median of 50 durable engages is well below the target for the slowest."""
    latch, took = latches(clock=SystemClock()), []
    for number in range(50):
        result = await halt(latch, reason=str(number), actor=str(number))
        took.append(result.took_ms)
        await release(latch)
    assert sorted(took)[25] < 50


@pytest.mark.parametrize(
    ("content", "actor", "reason"),
    [
        (b'{"actor": "ann", "reason": "fire"}', "ann", "fire (the file HALT is in the data directory)"),
        (b'{"reason": "fire"}', "file", "fire (the file HALT is in the data directory)"),
        (b"", "file", "the file HALT is in the data directory"),
        (b"\xff\xfe[", "file", "the file HALT is in the data directory"),
        (b"[1]", "file", "the file HALT is in the data directory"),
        (b'{"actor": 7, "reason": null}', "file", "the file HALT is in the data directory"),
    ],
)
async def test_the_halt_file_says_who_and_why_and_stops_whatever_it_says(path, latches, content, actor, reason):
    """What `riskgate halt` wrote down is shown; anything else in the file halts just as well."""
    (path.parent / "HALT").write_bytes(content)

    stop = latches().governing("any")
    assert (stop.level, stop.actor, stop.reason) == (EssLevel.HALT, actor, reason)


# -- scopes


CALLER = Caller(account="main", exchange="binance", strategy="grid", bot="b1")
ORDER = Order(symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, market=Market.LINEAR, quantity=Decimal(1))


@pytest.mark.parametrize(
    ("scope", "held", "free"),
    [
        ("global", {}, None),
        ("exchange:binance", {}, {"exchange": "other"}),
        ("account:main", {}, {"account": "desk"}),
        ("strategy:grid", {}, {"strategy": "trend"}),
        ("symbol:BTCUSDT", {}, {"symbol": "ETHUSDT"}),
    ],
)
@pytest.mark.parametrize("level", [EssLevel.REDUCE_ONLY, EssLevel.HALT])
async def test_a_stop_holds_what_falls_under_its_scope_and_nothing_else(latches, scope, held, free, level):
    """Gate and last look agree, before and after a restart."""
    await halt(latches(), level, scope)
    for latch in (latches(), latches()):
        assert [latch.of_order(CALLER, {"BTCUSDT"}).level, latch.of_order(CALLER, {"BTCUSDT"}).scope] == [level, scope]
        with pytest.raises(LastLookRefused):
            latch.last_look("main", reducing=False, caller=CALLER, instructions=[ORDER])
        if free is not None:
            symbol = free.get("symbol", "BTCUSDT")
            other = replace(CALLER, **{name: value for name, value in free.items() if name != "symbol"})
            assert latch.of_order(other, {symbol}).level is EssLevel.CLEAR
            order = replace(ORDER, symbol=symbol)
            latch.last_look(other.account, reducing=False, caller=other, instructions=[order])


async def test_of_all_scopes_the_strictest_governs(latches):
    """In every order of engaging, and whatever the others say."""
    scopes = ["exchange:binance", "account:main", "strategy:grid", "symbol:BTCUSDT"]
    for strict in scopes:
        latch = latches()
        for scope in scopes:
            await halt(latch, EssLevel.HALT if scope == strict else EssLevel.REDUCE_ONLY, scope)
        governing = latch.of_order(CALLER, {"BTCUSDT"})
        assert (governing.level, governing.scope) == (EssLevel.HALT, strict)
        for scope in scopes:
            await release(latch, scope)
        assert latch.of_order(CALLER, {"BTCUSDT"}).level is EssLevel.CLEAR


async def test_a_request_about_no_symbol_is_held_by_every_symbols_stop(latches):
    """A setting of the whole account changes the stopped symbol too; a transfer is about none."""
    latch = latches()
    await halt(latch, scope="symbol:BTCUSDT")

    assert latch.of_order(CALLER, ()).level is EssLevel.HALT
    assert latch.of_order(CALLER, {"ETHUSDT"}).level is EssLevel.CLEAR
    assert latch.of_order(CALLER, {"ETHUSDT", "BTCUSDT"}).level is EssLevel.HALT
    latch.last_look("main", reducing=False, caller=CALLER)


async def test_what_governs_is_prepared_once_and_replaced_by_a_change(latches):
    """The second read gives the same object without working it out; a change is read at once."""
    latch = latches()
    await halt(latch, EssLevel.REDUCE_ONLY, "strategy:grid")
    latch.of_order(CALLER, {"BTCUSDT"})
    prepared = latch._prepared
    latch.of_order(CALLER, {"BTCUSDT"})
    assert list(prepared) == [("main", "binance", "grid")]

    latch.trip(level=EssLevel.HALT, scope="exchange:binance", actor="a", reason="r", source="api")
    assert latch.of_order(CALLER, {"BTCUSDT"}).level is EssLevel.HALT
    assert latch._prepared is not prepared


# -- the file of before


def old_slot(epoch, stops):
    """A slot as versions before this one wrote it."""
    rows = [
        {"level": level, "scope": scope, "reason": "r", "actor": "ann", "source": source,
         "since": "2026-03-01T12:00:00Z", "epoch": epoch}
        for level, scope, source in stops
    ]  # fmt: skip
    content = orjson.dumps({"epoch": epoch, "stops": rows})
    line = b"riskgate-ess-1 " + hashlib.sha256(content).hexdigest().encode() + b" " + content + b"\n"
    return line.ljust(4096, b" ")


async def test_the_file_of_before_is_read_and_written_in_the_new_form(path, latches):
    """Every stop in it holds, who is a person is known by the source, and the next change writes the new form."""
    stops = [("HALT", "global", "api"), ("REDUCE_ONLY", "account:main", "loss")]
    path.write_bytes(old_slot(7, stops) * 2)

    latch = latches()
    assert (latch.epoch, latch.durable) == (7, True)
    assert [(stop.level.name, stop.scope, stop.by_person) for stop in latch.stops()] == [
        ("HALT", "global", True), ("REDUCE_ONLY", "account:main", False),
    ]  # fmt: skip
    await halt(latch, scope="symbol:BTCUSDT")
    assert path.read_bytes().count(b"riskgate-ess-2 ") == 2
    assert len(latches().stops()) == 3


# -- what ends by itself


async def expire(latch, clock, seconds):
    """Let time pass and the watch look once."""
    clock.advance(to=clock.now() + timedelta(seconds=seconds))
    await latch._end_expired()


async def test_a_rule_may_ask_for_an_end_and_gets_it(latches):
    """Just before it holds, at the time it ends; a person's stop has no end however it is asked."""
    clock = ManualClock(NOW)
    latch = latches(clock=clock)
    asked = {"level": EssLevel.REDUCE_ONLY, "actor": "riskgate", "reason": "r", "expires_s": 60}
    await latch.engage(**asked, scope="account:main", source="block_rate")
    await latch.engage(**asked, scope="account:desk", source="api")

    await expire(latch, clock, 59.9)
    assert latch.governing("main").level is EssLevel.REDUCE_ONLY
    await expire(latch, clock, 0.1)
    assert latch.governing("main").level is EssLevel.CLEAR
    await expire(latch, clock, 1_000_000)
    assert latch.governing("desk").level is EssLevel.REDUCE_ONLY


@pytest.mark.parametrize(
    "joined",
    [
        {"source": "api", "level": EssLevel.REDUCE_ONLY},
        {"source": "loss", "level": EssLevel.REDUCE_ONLY},
        {"source": "loss", "level": EssLevel.HALT},
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_a_stop_that_somebody_wants_to_last_lasts(latches, joined, first):
    """A person or a rule without an end beside it: it never ends by itself, whoever came first."""
    clock = ManualClock(NOW)
    latch = latches(clock=clock)
    ends = {"source": "block_rate", "level": EssLevel.REDUCE_ONLY, "expires_s": 60}
    for number, one in enumerate((ends, joined) if first else (joined, ends)):
        await latch.engage(**one, scope="account:main", actor=f"a{number}", reason="r")
    await expire(latch, clock, 1_000_000)
    assert latch.governing("main").level >= joined["level"]


async def test_a_restart_begins_the_time_anew_and_a_stepped_clock_ends_nothing(latches):
    """How long the process was down is not known; only time that passed counts, not what the wall clock says."""
    clock = ManualClock(NOW)
    latch = latches(clock=clock)
    await latch.engage(
        level=EssLevel.HALT, scope="account:main", actor="r", reason="r", source="bypass", expires_s=60
    )
    await expire(latch, clock, 59)
    later = ManualClock(NOW + timedelta(days=365))
    again = latches(clock=later)
    await expire(again, later, 59)
    assert again.governing("main").level is EssLevel.HALT
    await expire(again, later, 1)
    assert again.governing("main").level is EssLevel.CLEAR


async def test_the_halt_file_makes_a_rules_stop_a_persons(path, latches):
    """Whoever leaves the file is a person; without it afterwards two are still needed, and nothing ends by itself."""
    latch = latches()
    await latch.engage(
        level=EssLevel.HALT, scope="global", actor="r", reason="r", source="data_feed", expires_s=60
    )
    (path.parent / "HALT").touch()
    watching = asyncio.ensure_future(latch.watch(every_s=0.01))
    while not latch.stop_of("global").by_person:
        await asyncio.sleep(0.01)
    epoch = latch.epoch
    await asyncio.sleep(0.1)
    watching.cancel()
    assert latch.epoch == epoch  # noticed once, not with every look
    assert latch.stop_of("global").expires_s is None
