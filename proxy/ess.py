"""The emergency stop's latch: in memory for every order, on disk for the next start.

Engaging sets memory first, which cannot fail, then the file, then waits for what had
already passed the last look; only then is it answered. Releasing goes the other way round:
the file first, then memory. So at every instant memory is at least as strict as what
somebody was told.

The file has two slots of 4 KiB that exist from `riskgate init` on. Both are overwritten in
place, one after the other: a full disk does not keep anybody from halting, and a torn or
damaged slot leaves the other. A file that is missing or cannot be read means HALT.

What governs an order is worked out once for each account, exchange and strategy, and again
only after a change: on the way of an order it is read, not computed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson
import structlog

from proxy.clock import Clock
from proxy.errors import ConfigError, LastLookRefused, ProxyError, RevisionConflict
from proxy.tasks import Tasks
from rules import CLEAR, Caller, EssAct, EssLevel, Instruction, Reason, Stop, strictest
from rules.ess import GLOBAL, KINDS, RECOVERY, RULE_SOURCES, after, expiry_of, scoped

log = structlog.get_logger("riskgate.ess")

SLOT_BYTES = 4096
HALT_FILE = "HALT"
_HALT_FILE_REASON = "the file HALT is in the data directory"
FLUSH_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 0.01  # what has left is counted, not awaited: whoever halts wants to know that it holds
WRITE_TIMEOUT_S = 2.0  # a disk that hangs must not keep the caller from being told
LOOK_EVERY_S = 0.1
STORE_AGAIN_S = 0.5
_NAMES = {"symbol": r"[A-Z0-9][A-Z0-9_.-]{0,63}"}  # as orders have to spell them: "btcusdt" would hold nothing
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_SCOPE = re.compile("|".join([GLOBAL, *(f"{kind}:{_NAMES.get(kind, _NAME)}" for kind in KINDS)]))
# Written with the second name since a scope may be more than an account: a program that knows accounts only
# would not hold the others, so it must not be able to read the file, which means HALT to it.
_MAGIC, _MAGIC_BEFORE = b"riskgate-ess-2 ", b"riskgate-ess-1 "
_TEXT_MAX = 400  # characters of a reason or actor that are kept
_ENGAGE = {EssLevel.REDUCE_ONLY: EssAct.ENGAGE_REDUCE_ONLY, EssLevel.HALT: EssAct.ENGAGE_HALT}


class StopRequestInvalid(ProxyError):
    """A request to engage or release that cannot be carried out as written."""

    status = 422


class StopHeld(ProxyError):
    """Something else still holds the stop; releasing it here would not last."""

    status = 409


class StopNotStored(ProxyError):
    """The stop could not be released because that could not be written down; it stays engaged."""

    status = 500


class Drained(Protocol):
    """What became of orders that had passed the last look."""

    @property
    def aborted(self) -> int:
        """Orders cut off before all their bytes had left."""
        ...

    @property
    def unanswered(self) -> int:
        """Orders that left and have no answer yet."""
        ...


class Drain(Protocol):
    """Waits until no order that passed the last look can still be on its way to a socket."""

    async def __call__(self, *, flush_timeout_s: float, answer_timeout_s: float) -> Drained:
        """Wait at most `flush_timeout_s` for bytes to leave, and `answer_timeout_s` for answers."""
        ...


class Engaged(NamedTuple):
    """What engaging achieved. With a `problem` the stop holds here, but not all of it could be done."""

    stop: Stop
    epoch: int
    in_flight_unanswered: int
    aborted: int
    durable: bool
    took_ms: float
    changed: bool
    unknown: int = 0  # orders whose fate is not known, whenever they were sent
    problem: str = ""


class _Stored(NamedTuple):
    """The content of a slot."""

    epoch: int
    stops: tuple[Stop, ...]

    @property
    def strictness(self) -> tuple[int, int]:
        """Newest first; of equal epochs the stricter."""
        return self.epoch, sum(stop.level for stop in self.stops)


class EssLatch:
    """The stop in force, for one process."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        drain: Drain | None,
        epoch: int,
        stops: tuple[Stop, ...],
    ) -> None:
        self.path = path
        self.drain = drain
        self.epoch = epoch
        self.listeners: list[Callable[[Stop], None]] = []  # told after each change, in the event loop
        self._clock = clock
        self._stops: dict[str, Stop] = {GLOBAL: CLEAR} | {stop.scope: stop for stop in stops}
        self._global = CLEAR
        self._narrow: dict[str, Stop] = {}  # every engaged stop but the global one, by scope
        self._symbols: dict[str, Stop] = {}  # of those, by symbol
        self._prepared: dict[tuple[str, str, str], Stop] = {}
        self._ends_s: dict[str, float] = {}  # monotonic: by scope, when a stop ends by itself
        for stop in stops:
            self._time(stop)  # begins anew with the process: how long it was down is not known
        self._combine()
        # Which accounts a scope holds, so that they are read again before they may open anything after a HALT.
        self.accounts_under: Callable[[str], Collection[str]] = lambda _: ()
        self.unknown_orders: Callable[[], int] = lambda: 0
        self._order = asyncio.Lock()  # of writes and releases; latching memory does not wait for it
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ess-write")
        self._stored_epoch = epoch
        self._unwritten = False
        self._engagements = 0  # how often anybody has engaged anything

    @classmethod
    def open(cls, path: Path, *, clock: Clock, drain: Drain | None) -> EssLatch:
        """Read the stored stop. Missing, empty or unreadable is HALT, and the reason says which."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return cls._halted(path, clock, drain, f"there is no emergency stop file at {path}")
        except OSError as error:
            return cls._halted(path, clock, drain, f"the emergency stop file cannot be read: {error}")
        slots = [_read_slot(content[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]
        valid = [slot for slot in slots if slot is not None]
        if not valid:
            _keep_copy(path, content)
            return cls._halted(path, clock, drain, f"both halves of the emergency stop file {path} are damaged")
        newest = max(valid, key=lambda slot: slot.strictness)
        latch = cls(path, clock=clock, drain=drain, epoch=newest.epoch, stops=newest.stops)
        if len(valid) == 1:
            log.warning("ess.slot_damaged", path=str(path), epoch=newest.epoch)
            latch._unwritten = True  # the next look at the disk writes both halves again
        if (path.parent / HALT_FILE).exists():
            actor, reason = _halt_file_said(path.parent / HALT_FILE)
            latch.trip(level=EssLevel.HALT, scope=GLOBAL, actor=actor, reason=reason, source="file")
        return latch

    @classmethod
    def _halted(cls, path: Path, clock: Clock, drain: Drain | None, reason: str) -> EssLatch:
        # Epochs only grow, and how far they had grown is not known: the time is larger than any count.
        now = clock.now()
        epoch = int(now.timestamp())
        stop = Stop(
            level=EssLevel.HALT,
            scope=GLOBAL,
            reason=reason,
            actor="riskgate",
            source="start",
            since=now,
            epoch=epoch,
        )
        log.error("ess.unreadable", path=str(path), reason=reason)
        return cls(path, clock=clock, drain=drain, epoch=epoch, stops=(stop,))

    # -- reading

    def governing(self, account: str, exchange: str = "", strategy: str = "") -> Stop:
        """The strictest stop of all that hold for an account, whatever the symbol."""
        if not self._narrow:
            return self._global
        place = account, exchange, strategy
        found = self._prepared.get(place)
        if found is None:
            scopes = (
                scoped("exchange", exchange), scoped("account", account), scoped(RECOVERY, account),
                scoped("strategy", strategy),
            )  # fmt: skip
            found = strictest(self._global, *(self._narrow[one] for one in scopes if one in self._narrow))
            self._prepared[place] = found
        return found

    def of_order(self, caller: Caller, symbols: Collection[str]) -> Stop:
        """The strictest stop that a request falls under; one that names no symbol is about all of them."""
        if not self._narrow:
            return self._global
        found = self.governing(caller.account, caller.exchange, caller.strategy)
        held = self._symbols
        if held:
            named = [held[symbol] for symbol in symbols if symbol in held] if symbols else held.values()
            found = strictest(found, *named)
        return found

    def stops(self) -> tuple[Stop, ...]:
        """The global stop, and every narrower one that is engaged."""
        return tuple(self._stops.values())

    def stop_of(self, scope: str) -> Stop:
        """One scope's own stop."""
        return self._stops.get(scope) or replace(CLEAR, scope=scope)

    @property
    def durable(self) -> bool:
        """Whether what is in force here would also be in force after a restart."""
        return not self._unwritten and self.epoch == self._stored_epoch

    def last_look(
        self,
        account: str,
        *,
        reducing: bool,
        caller: Caller | None = None,
        instructions: Iterable[Instruction] | None = None,
    ) -> None:
        """Raise LastLookRefused if the stop in force does not let this request go.

        Without instructions it is about no symbol, as a transfer.
        """
        stop = self._global
        if self._narrow:
            if caller is None:
                stop = self.governing(account)
            elif instructions is None:
                stop = self.governing(account, caller.exchange, caller.strategy)
            else:
                stop = self.of_order(caller, {one.symbol for one in instructions if one.symbol is not None})
        level = stop.level
        if level is EssLevel.CLEAR or (reducing and level is EssLevel.REDUCE_ONLY):
            return
        refused = LastLookRefused(f"the emergency stop was engaged before the order left: {stop.reason}")
        if level is EssLevel.REDUCE_ONLY:
            refused.reason = Reason.ESS_REDUCE_ONLY_ACTIVE
        raise refused

    # -- engaging

    def trip(
        self, *, level: EssLevel, scope: str, actor: str, reason: str, source: str, expires_s: int | None = None
    ) -> bool:
        """Set the latch in memory, now; `engage` does the rest. Returns whether anything is new.

        `expires_s` is a rule's wish that the stop ends by itself; it counts only while no person has joined.
        """
        check_scope(scope)
        if level not in _ENGAGE:
            raise StopRequestInvalid("engaging needs level REDUCE_ONLY or HALT; to clear, release")
        before = self.stop_of(scope)
        reached = after(before.level, _ENGAGE[level])
        by = _short(actor) or "unknown", _short(reason) or "no reason given"
        by_person = source not in RULE_SOURCES
        expires_s = expiry_of(before, reached, expires_s, by_person=by_person)
        # Every engage counts, also one in the same words: a release that is being stored right now was
        # meant for the stop before it, and must not clear what was engaged since.
        self._engagements += 1
        if reached is before.level and (before.actor, before.reason) == by and before.by_person >= by_person:
            return False
        by_person = by_person or before.by_person
        self.epoch += 1
        if reached is before.level:
            # Who stopped first stays on record, but a release meant for that stop no longer fits.
            stop = replace(before, epoch=self.epoch, by_person=by_person, expires_s=expires_s)
        else:
            stop = Stop(
                level=reached,
                scope=scope,
                actor=by[0],
                reason=by[1],
                source=source,
                since=self._clock.now(),
                epoch=self.epoch,
                by_person=by_person,
                expires_s=expires_s,
            )
        self._set(stop)
        log.warning("ess.engaged", level=stop.level.name, scope=scope, actor=by[0], reason=by[1], source=source)
        return True

    async def engage(
        self, *, level: EssLevel, scope: str, actor: str, reason: str, source: str, expires_s: int | None = None
    ) -> Engaged:
        """Stop now; return when it is stored and nothing that was let through can still be leaving."""
        begun = self._clock.monotonic()
        changed = self.trip(
            level=level, scope=scope, actor=actor, reason=reason, source=source, expires_s=expires_s
        )
        # Both at once: what was let through leaves while the disk is written, and neither needs the other.
        durable, (unanswered, aborted, lost) = await asyncio.gather(self._store(), self._drained())
        problems = [] if durable else ["halted here, but not stored: a restart would forget it"]
        if lost:
            problems.append(lost)
        stop = self.stop_of(scope)
        return Engaged(
            stop=stop,
            epoch=stop.epoch,
            in_flight_unanswered=unanswered,
            aborted=aborted,
            durable=durable,
            took_ms=(self._clock.monotonic() - begun) * 1000,
            changed=changed,
            unknown=self.unknown_orders(),
            problem="; ".join(problems),
        )

    async def _drained(self) -> tuple[int, int, str]:
        """Wait for what had passed its last look: unanswered, cut off, and what could not be done."""
        if self.drain is None:
            return 0, 0, ""
        try:
            drained = await self.drain(flush_timeout_s=FLUSH_TIMEOUT_S, answer_timeout_s=ANSWER_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the latch holds whatever happened; the caller is told
            log.error("ess.drain_failed", error=repr(error))
            return 0, 0, "orders already on their way could not be waited for"
        return drained.unanswered, drained.aborted, ""

    # -- releasing

    async def release(self, *, scope: str, actor: str, reason: str, expected_epoch: int) -> Stop:
        """Clear one scope, in a person's name. What it halted may only reduce until it has been read again.

        Raises StopRequestInvalid without actor or reason, RevisionConflict if the stop is not the
        one the person has seen, StopHeld while the HALT file lies there, and StopNotStored if the
        disk refuses; in every case the stop stays.
        """
        check_scope(scope)
        actor, reason = _short(actor), _short(reason)
        if not actor or not reason:
            raise StopRequestInvalid("releasing the emergency stop needs an actor and a reason")
        return await self._release(scope, actor, reason, expected_epoch, source="api")

    async def recovered(self, account: str, *, expected_epoch: int, reason: str) -> None:
        """End what a HALT left on an account: it has been read since, and nothing about it is open."""
        await self._release(scoped(RECOVERY, account), "riskgate", reason, expected_epoch, source=RECOVERY)

    async def _release(self, scope: str, actor: str, reason: str, expected_epoch: int, *, source: str) -> Stop:
        async with self._order:
            self.check_releasable(scope, expected_epoch)
            engagements = self._engagements
            self.epoch += 1
            released = Stop(
                level=EssLevel.CLEAR,
                scope=scope,
                actor=actor,
                reason=reason,
                source=source,
                since=self._clock.now(),
                epoch=self.epoch,
            )
            changes = (*self._to_recover(released), released)
            stored = await self._write(_Stored(self.epoch, self._with(*changes)))
            try:
                if not stored:
                    raise StopNotStored("the release could not be stored; the emergency stop stays engaged")
                self.check_releasable(scope, expected_epoch)  # somebody may have engaged meanwhile
                if self._engagements != engagements:
                    raise RevisionConflict(f"the {scope} stop was engaged again while its release was stored")
            except ProxyError:
                # The file may now say less than what is in force: write what is in force over it.
                self.epoch += 1
                self._unwritten = True
                await self._write_current()
                raise
            # What an account keeps comes before what it loses: at no instant may it do more than either says.
            self._set(*changes)
        log.warning("ess.released", scope=scope, actor=actor, reason=reason, epoch=released.epoch)
        return released

    def _to_recover(self, released: Stop) -> list[Stop]:
        """REDUCE_ONLY for every account that a HALT held: its picture is as old as the last reading."""
        if self.stop_of(released.scope).level is not EssLevel.HALT:
            return []
        return [
            replace(
                released,
                level=EssLevel.REDUCE_ONLY,
                scope=scoped(RECOVERY, account),
                reason=f"released from HALT ({released.scope}), not read again since",
                source=RECOVERY,
            )
            for account in self.accounts_under(released.scope)
        ]

    async def _end_expired(self) -> None:
        """Release what a rule engaged for a time that is over."""
        now_s = self._clock.monotonic()
        for scope in [scope for scope, ends_s in self._ends_s.items() if now_s >= ends_s]:
            stop = self.stop_of(scope)
            reason = f"the rule that engaged it let it end after {stop.expires_s} s"
            try:
                await self._release(scope, "riskgate", reason, stop.epoch, source="expiry")
            except ProxyError as error:  # it stays engaged, and is tried again with the next look
                log.error("ess.not_expired", scope=scope, error=str(error))

    def check_releasable(self, scope: str, expected_epoch: int) -> None:
        """Raise RevisionConflict unless the stop is at this epoch, and StopHeld while the HALT file lies there."""
        stop = self.stop_of(scope)
        if stop.epoch != expected_epoch:
            raise RevisionConflict(
                f"the {scope} stop is at epoch {stop.epoch}, the release was meant for epoch {expected_epoch}: "
                "look at it again"
            )
        if scope == GLOBAL and (halt_file := self.path.parent / HALT_FILE).exists():
            raise StopHeld(f"the file {halt_file} holds the stop: remove it, then release")

    # -- memory

    def _with(self, *changes: Stop) -> tuple[Stop, ...]:
        stops = self._stops | {stop.scope: stop for stop in changes}
        return tuple(stop for stop in stops.values() if stop.level is not EssLevel.CLEAR or stop.scope == GLOBAL)

    def _set(self, *changes: Stop) -> None:
        self._stops = {each.scope: each for each in self._with(*changes)}
        self._combine()
        for stop in changes:
            self._time(stop)
            for listener in self.listeners:
                listener(stop)

    def _time(self, stop: Stop) -> None:
        self._ends_s.pop(stop.scope, None)
        if stop.expires_s is not None and stop.level is not EssLevel.CLEAR:
            self._ends_s[stop.scope] = self._clock.monotonic() + stop.expires_s

    def _combine(self) -> None:
        """Prepare what orders read; replaced as a whole, so that nobody reads half of a change."""
        self._global = self._stops[GLOBAL]
        self._prepared = {}
        self._narrow = narrow = {scope: stop for scope, stop in self._stops.items() if scope != GLOBAL}
        self._symbols = {
            scope.removeprefix("symbol:"): stop for scope, stop in narrow.items() if scope.startswith("symbol:")
        }

    # -- the file

    async def _store(self) -> bool:
        """Bring what is in force to disk, unless it is there."""
        async with self._order:
            return await self._write_current()

    async def _write_current(self) -> bool:
        if self.durable:
            return True
        return await self._write(_Stored(self.epoch, self.stops()))

    async def _write(self, stored: _Stored) -> bool:
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, partial(_write_file, self.path, stored))
        try:
            await asyncio.wait_for(asyncio.shield(writing), WRITE_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            writing.add_done_callback(_forget)
            self._unwritten = True
            log.error("ess.not_stored", path=str(self.path), epoch=stored.epoch, error=repr(error))
            return False
        self._stored_epoch = stored.epoch
        self._unwritten = False
        return True

    # -- the second way to stop

    async def watch(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Run until cancelled: engage when a file named HALT appears, end what expires, repeat failed writes."""
        store_at_s = 0.0
        while True:
            try:
                store_at_s = await self._look(store_at_s, max(STORE_AGAIN_S, every_s))
            except Exception as error:  # noqa: BLE001 - one failed look must not end the watch for the HALT file
                log.error("ess.watch_failed", error=repr(error))
            await asyncio.sleep(every_s)

    async def _look(self, store_at_s: float, store_every_s: float) -> float:
        """Look once; returns when a failed write is to be repeated."""
        halt_file = self.path.parent / HALT_FILE
        # A person left the file, so what a rule had halted before is from now on a person's as well.
        if halt_file.exists() and not (self._global.level is EssLevel.HALT and self._global.by_person):
            actor, reason = _halt_file_said(halt_file)
            await self.engage(level=EssLevel.HALT, scope=GLOBAL, actor=actor, reason=reason, source="file")
        elif not self.durable and self._clock.monotonic() >= store_at_s:
            store_at_s = self._clock.monotonic() + store_every_s
            await self._store()
        if self._ends_s:
            await self._end_expired()
        return store_at_s

    def close(self) -> None:
        """End the writing thread; what it has begun is finished."""
        self._thread.shutdown(wait=True)


def halt_on_signal(
    latch: EssLatch, tasks: Tasks, loop: asyncio.AbstractEventLoop, number: int = signal.SIGUSR1
) -> None:
    """Engage a global HALT whenever the process receives the signal."""

    def halt() -> None:
        named = {
            "level": EssLevel.HALT,
            "scope": GLOBAL,
            "actor": "signal",
            "reason": f"the process received {signal.Signals(number).name}",
            "source": "signal",
        }
        tasks.spawn(latch.engage(**named), name="ess-signal")  # type: ignore[arg-type]

    loop.add_signal_handler(number, halt)


def check_scope(scope: str) -> None:
    """Raise StopRequestInvalid unless `scope` is "global" or one of the kinds with a name."""
    if not _SCOPE.fullmatch(scope):
        kinds = ", ".join(f'"{kind}:<name>"' for kind in KINDS)
        raise StopRequestInvalid(f'a scope is "global" or one of {kinds}, found {scope[:80]!r}')


def initialise(path: Path, *, clock: Clock) -> None:
    """Write the first state, CLEAR at epoch 1. Only `riskgate init` may: it refuses an existing file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    first = Stop(
        level=EssLevel.CLEAR, actor="riskgate", reason="initialised", source="init", since=clock.now(), epoch=1
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists: an emergency stop is never initialised twice") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(_slot(_Stored(1, (first,))) * 2)
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(path.parent)


def _forget(writing: asyncio.Future[None]) -> None:
    if not writing.cancelled():
        writing.exception()  # told already: the wait for it ended


def _short(text: str) -> str:
    """One line of text that can surely be stored."""
    return " ".join(text.encode("utf-8", "replace").decode().split())[:_TEXT_MAX]


def _write_file(path: Path, stored: _Stored) -> None:
    """Write both slots in place, one surely on disk before the other is touched."""
    slot = _slot(stored)
    created = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for at in (0, SLOT_BYTES):
            if os.pwrite(descriptor, slot, at) != len(slot):
                raise OSError("a slot could not be written whole")
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    if created:
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _halt_file_said(file: Path) -> tuple[str, str]:
    """Who left the HALT file and why, where `riskgate halt` wrote it down; any other content halts as well."""
    try:
        with file.open("rb") as opened:
            said = orjson.loads(opened.read(SLOT_BYTES))
        actor, reason = (said[name] if isinstance(said.get(name), str) else "" for name in ("actor", "reason"))
    except (OSError, ValueError, AttributeError):
        return "file", _HALT_FILE_REASON
    if not reason:
        return actor or "file", _HALT_FILE_REASON
    return actor or "file", f"{reason} ({_HALT_FILE_REASON})"


def _keep_copy(path: Path, content: bytes) -> None:
    """Keep what could not be read for whoever has to find out why."""
    with contextlib.suppress(OSError):
        copy = path.with_name(f"{path.name}.damaged")
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


def _slot(stored: _Stored) -> bytes:
    """A slot's bytes: magic, checksum, content, padding."""
    for text_max in (_TEXT_MAX, 60, 0):
        content = _content(stored.epoch, stored.stops, text_max)
        if len(content) <= _CONTENT_MAX:
            break
    else:
        # More engaged stops than a slot can name: after a restart all of them, and all others,
        # are held by the strictest, until a person releases it.
        worst = replace(
            strictest(*stored.stops), scope=GLOBAL, reason="many scopes were stopped", by_person=True, expires_s=None
        )
        content = _content(stored.epoch, (worst,), 60)
    line = _MAGIC + hashlib.sha256(content).hexdigest().encode() + b" " + content + b"\n"
    return line.ljust(SLOT_BYTES, b" ")


_CONTENT_MAX = SLOT_BYTES - len(_MAGIC) - 64 - 2


def _content(epoch: int, stops: tuple[Stop, ...], text_max: int) -> bytes:
    rows = [
        {
            "level": stop.level.name,
            "scope": stop.scope,
            "reason": stop.reason[:text_max],
            "actor": stop.actor[:text_max],
            "source": stop.source,
            "since": stop.since,
            "epoch": stop.epoch,
        }
        # Only what the reader would not conclude by itself: a slot is small.
        | ({"by_person": stop.by_person} if stop.by_person is (stop.source in RULE_SOURCES) else {})
        | ({} if stop.expires_s is None else {"expires_s": stop.expires_s})
        for stop in stops
    ]
    return orjson.dumps({"epoch": epoch, "stops": rows}, option=orjson.OPT_UTC_Z)


def _read_slot(slot: bytes) -> _Stored | None:
    """A slot's content, or None if it is not exactly what was once written."""
    line = slot.rstrip(b" ")
    if len(slot) != SLOT_BYTES or not line.startswith((_MAGIC, _MAGIC_BEFORE)) or not line.endswith(b"\n"):
        return None
    checksum, _, content = line[len(_MAGIC) : -1].partition(b" ")
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        return None
    try:
        stored = orjson.loads(content)
        stops = tuple(
            Stop(
                level=EssLevel[row["level"]],
                scope=row["scope"],
                reason=row["reason"],
                actor=row["actor"],
                source=row["source"],
                since=datetime.fromisoformat(row["since"]) if row["since"] else None,
                epoch=int(row["epoch"]),
                # The form before this one does not say; the source does.
                by_person=bool(row.get("by_person", row["source"] not in RULE_SOURCES)),
                expires_s=row.get("expires_s"),
            )
            for row in stored["stops"]
        )
        return _Stored(int(stored["epoch"]), stops)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
