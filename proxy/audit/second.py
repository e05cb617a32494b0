"""The second folder of the audit: the same segments, byte for byte, on another disk.

It is written by a thread of its own, so that a disk that hangs holds up neither the event loop nor the first
folder. Records are handed over with their place in the files; where the folder is not at that place, because it
is new, was away or full, it copies what it lacks from the first. As long as the first folder takes no records,
nothing that waits here is ever dropped: then this is the only place where it will stand.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from proxy.audit.aside import Aside, settle
from proxy.audit.chain import Head, write_anchor
from proxy.audit.folder import (
    START,
    End,
    Position,
    check_same,
    copy_forward,
    create_segment,
    quarantine,
    read_end,
    remove_older,
    segment_path,
    take_lock,
    write_again,
)
from proxy.errors import AuditError
from proxy.tasks import Tasks

log: Final = structlog.get_logger("riskgate.audit")

RETRY_EVERY_S: Final = 1.0
SLOW_S: Final = 0.5  # how long an order that is in one folder waits for the other
HUNG_S: Final = 5.0  # how long it waits for the only folder there is
NEAR_BYTES: Final = 1 << 20  # what may be missing in a folder that counts as well again
WAITING_BYTES_MAX: Final = 4 << 20


class Piece(NamedTuple):
    """Lines with their place in the files, where the chain ended before them, and its head after them."""

    after: Position
    place: Position  # not where the chain ended, if a segment begins here
    lines: bytes
    head: Head


def reached(position: Position, head: Head) -> Piece:
    """No lines, but how far the chain is."""
    return Piece(position, position, b"", head)


class SecondFolder:
    """Follows the first folder. `healthy` says whether it holds all but what is being written."""

    def __init__(self, directory: Path, first: Path, *, sync: bool, tasks: Tasks) -> None:
        self.directory = directory
        self.healthy = False
        self.error = "it was not opened yet"
        self.failures = 0
        self.stored_head = Head(0, "")
        self.is_only = False  # the first folder takes nothing at present
        self._first = first
        self._sync = sync
        self._tasks = tasks
        self._target: Piece | None = None  # the newest piece that was put, without its lines
        self._waiting: list[Piece] = []
        self._waiting_bytes = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.aside = Aside("audit-second")
        self._has_begun = False
        self._is_busy = False
        # What follows belongs to the thread, once there is one.
        self._at = START
        self._descriptor = -1
        self._lock = -1
        self._sync_failed = False
        self._is_open = False

    # -- opening and closing

    def look(self) -> End | None:
        """Take the folder and read where it ends; None where it is empty or cannot be read, which `error` tells.

        Raises AuditError if it is damaged, and ConfigError if another process has it.
        """
        try:
            return self._take()
        except OSError as error:
            self.error = f"it cannot be opened: {error}"
            return None

    def _take(self) -> End | None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        if self._lock < 0:
            self._lock = take_lock(self.directory)
        remove_older(self.directory)
        end = read_end(self.directory)
        if end is not None and end.torn:
            # What was half written here is whole in the first folder, or was never acknowledged.
            path = segment_path(self.directory, end.position.segment)
            log.warning("audit.recovered", **quarantine(path, end.position.size, end.torn))
        self._at = START if end is None else end.position
        self._is_open = True
        return end

    def begin(self, place: Position, head: Head) -> None:
        """Start the thread; the chain is at `place`, and what this folder lacks of it is copied."""
        self._has_begun = True
        self._target = reached(place, head)
        if self._is_open and self._at == place:
            self.healthy, self.error, self.stored_head = True, "", head
        else:
            self._go([self._target])

    def close(self) -> None:
        """Write what waits and leave the anchor; gives up on a disk that hangs."""
        if not self._has_begun:
            self._let_go()
            return
        self._has_begun = self.healthy = False
        pieces, self._waiting = [*self._waiting], []
        if self._target is not None:
            pieces.append(self._target)
        if not self.aside.close(lambda: self._end(pieces)):
            log.error("audit.failed", error="its disk does not answer", act="close", folder="second")
        self._answer(AuditError("the audit was closed before the record was on disk"))

    def _end(self, pieces: list[Piece]) -> None:
        try:
            self._store(pieces)
            write_anchor(self.directory, pieces[-1].head)
        except Exception as error:  # noqa: BLE001 - the thread ends here; what is missing is copied at the next start
            log.error("audit.failed", error=str(error), act="close", folder="second")
        self._let_go()

    def _let_go(self) -> None:
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1
        self._is_open = False

    # -- in the event loop

    def takes(self, size: int) -> bool:
        """Whether it will take so many bytes more, as the only folder that does."""
        return self.healthy and self._waiting_bytes + size <= WAITING_BYTES_MAX

    def put(self, piece: Piece) -> None:
        """Hand over lines; never waits."""
        self._target = reached(_end_of(piece), piece.head)
        if not self.healthy and not self.is_only:
            return  # the first folder has them; they are copied from there
        if self._waiting_bytes + len(piece.lines) > WAITING_BYTES_MAX and not self.is_only:
            self._fail(f"its disk is too slow: {self._waiting_bytes} bytes wait")
            return
        self._waiting.append(piece)
        self._waiting_bytes += len(piece.lines)
        if not self._is_busy:
            self._go(list(self._waiting))

    async def stored(self, sequence: int) -> None:
        """Return when a record is in this folder. Raises AuditError where that cannot be expected."""
        if sequence <= self.stored_head.sequence:
            return
        if not self.healthy:
            raise AuditError(f"the second folder of the audit takes no records: {self.error}")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((sequence, waiter))
        try:
            async with asyncio.timeout(HUNG_S):
                await waiter
        except TimeoutError:
            self._fail(f"its disk took longer than {HUNG_S:g} s")
            raise AuditError(f"the second folder of the audit takes no records: {self.error}") from None

    async def stored_soon(self, sequence: int) -> None:
        """Wait a little for a record that is in the first folder already; whoever is later than that has failed."""
        if sequence <= self.stored_head.sequence or not self.healthy:
            return
        try:
            async with asyncio.timeout(SLOW_S):
                await self.stored(sequence)
        except TimeoutError:
            self._fail(f"its disk took longer than {SLOW_S:g} s")
        except AuditError:
            return  # it is counted, told and tried again; the record is in the first folder

    def _go(self, pieces: list[Piece]) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a tool without an event loop: what waits is stored when it closes
            return
        self._is_busy = True
        self.aside.ask(lambda: self._store(pieces), lambda error: self._done(pieces, error))

    def _done(self, pieces: list[Piece], error: Exception | None) -> None:
        self._is_busy = False
        if not self._has_begun:
            return
        if error is not None:
            self._fail(str(error))
            return
        self.stored_head = pieces[-1].head
        self._waiting = [one for one in self._waiting if one.head.sequence > self.stored_head.sequence]
        self._waiting_bytes = sum(len(one.lines) for one in self._waiting)
        target = self._target
        assert target is not None
        if not self.healthy and not self._is_near(pieces[-1], target):
            self._go([target])
            return
        if not self.healthy:
            self.healthy, self.error = True, ""
            log.info("audit.caught_up", sequence=self.stored_head.sequence, folder="second")
        self._answer(None)
        if self._waiting:
            self._go(list(self._waiting))
        elif self.stored_head.sequence < target.head.sequence:
            self._go([target])

    def _is_near(self, stored: Piece, target: Piece) -> bool:
        if self.is_only:
            return not self._waiting or stored.head.sequence >= self._waiting[-1].head.sequence
        end = _end_of(stored)
        return end.segment == target.place.segment and target.place.size - end.size <= NEAR_BYTES

    def _fail(self, error: str) -> None:
        if self.error != error:
            log.error("audit.failed", error=error, act="write", folder="second")
        self.healthy, self.error = False, error
        self.failures += 1
        if not self.is_only:
            self._waiting, self._waiting_bytes = [], 0
        self._answer(AuditError(f"the second folder of the audit takes no records: {error}"))
        self._tasks.spawn(self._try_again(), name="audit-second")

    async def _try_again(self) -> None:
        await asyncio.sleep(RETRY_EVERY_S)
        if self._has_begun and not self._is_busy and not self.healthy and self._target is not None:
            self._go(list(self._waiting) or [self._target])

    def _answer(self, error: AuditError | None) -> None:
        """Tell those whose record is stored, or everybody that it failed."""
        stored = self.stored_head.sequence
        served = [one for one in self._waiters if error is not None or one[0] <= stored]
        self._waiters = [one for one in self._waiters if error is None and one[0] > stored]
        for sequence, waiter in served:
            settle(waiter, None if sequence <= stored else error)

    # -- in the thread

    def _store(self, pieces: list[Piece]) -> None:
        """Write pieces in their places, and bring them to disk where that is asked for."""
        if not self._is_open:
            check_same(self._take(), self._first)
        try:
            for piece in pieces:
                self._store_one(piece)
            if self._sync and self._descriptor >= 0:
                self._bring_to_disk()
        except OSError:
            self._drop_descriptor()  # what is half written is cut away when it is opened again
            raise

    def _store_one(self, piece: Piece) -> None:
        if _end_of(piece) <= self._at:
            return  # stored before a later piece of the same try failed
        if self._at != piece.after:
            self._drop_descriptor()
            copy_forward(self._first, self.directory, self._at, piece.after)
            self._at = piece.after
        if piece.lines:
            self._write(piece)

    def _write(self, piece: Piece) -> None:
        if self._descriptor < 0 or self._at.segment != piece.place.segment:
            if self._descriptor >= 0 and self._sync:
                self._bring_to_disk()
            self._drop_descriptor()
            self._descriptor = self._opened(piece.place)
            self._at = piece.place
        written = os.write(self._descriptor, piece.lines)
        if written != len(piece.lines):
            raise OSError(f"only {written} of {len(piece.lines)} bytes fitted")
        self._at = Position(piece.place.segment, piece.place.size + written)

    def _opened(self, place: Position) -> int:
        path = segment_path(self.directory, place.segment)
        if not path.exists():
            return create_segment(self.directory, place.segment)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(descriptor, place.size)
        return descriptor

    def _bring_to_disk(self) -> None:
        if self._sync_failed:
            write_again(segment_path(self.directory, self._at.segment), self._at.size)
        self._sync_failed = True
        os.fdatasync(self._descriptor)
        self._sync_failed = False

    def _drop_descriptor(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _end_of(piece: Piece) -> Position:
    return Position(piece.place.segment, piece.place.size + len(piece.lines))
