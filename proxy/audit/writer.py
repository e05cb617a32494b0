"""The one writer of an audit directory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

import orjson
import structlog

from proxy.audit.chain import BEGINNING, Head, write_anchor
from proxy.audit.folder import (
    START,
    End,
    Position,
    check_reaches,
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
from proxy.audit.second import SLOW_S, Piece, SecondFolder
from proxy.clock import Clock
from proxy.errors import AuditError, ProxyError
from proxy.tasks import Tasks

log: Final = structlog.get_logger("riskgate.audit")

# As large as the largest decisions are: on a full disk a small record fits where no order's would.
PROBE: Final = {"kind": "audit.probe", "room": " " * 8192}
RECOVER_EVERY_S: Final = 1.0
PENDING_BYTES_MAX: Final = 1 << 20  # of records that wait for a disk that takes none; orders stop at the first of them
TAIL_BYTES_MAX: Final = 1 << 20  # of records that the first folder gets from memory when it has caught up so far
SLOW: Final = f"its disk took longer than {SLOW_S:g} s"
_OPTIONS: Final = orjson.OPT_UTC_Z
_NEW: Final = tuple.__new__  # a NamedTuple's own constructor costs three times as much


class _Open(NamedTuple):
    """A segment file that is open for writing, and how much of it is to be brought to disk."""

    descriptor: int
    path: Path
    size: int


class Audit:
    """The one writer of a directory of audit segments.

    `append` is called in the event loop and costs one write. `append_soon` takes its place in the
    chain at once and is written with the next record, or when the loop comes round. `durable` lets
    any number of waiting orders share one sync, made in a thread of its own. After a failure
    `healthy` is False until a write (or sync) succeeds again.

    With a second folder everything stands in both, and `healthy` means that one of them takes records.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sync: Literal["power", "process"],
        clock: Clock,
        tasks: Tasks,
        segment_bytes: int = 64 << 20,
        second: Path | None = None,
    ) -> None:
        self.failures = 0
        self._first = directory
        self._well = False  # the first folder
        self._sync_to_disk = sync == "power"
        self._clock = clock
        self._tasks = tasks
        self._segment_bytes = segment_bytes
        self._sequence = 0
        self._head = BEGINNING
        self._written = Head(0, BEGINNING)
        self._pending: list[bytes] = []  # lines that have their place in the chain and are not in the file yet
        self._pending_bytes = 0
        self._segment = 0
        self._size = 0
        self._descriptor = -1
        self._lock = -1
        self._torn = False  # a partial line could not be cut away yet
        self._retired: list[_Open] = []  # full segments that still have to reach the disk
        self._durable_sequence = 0
        self._sync_failed = False
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._syncing = False
        self._recovering = False
        self._disk: ThreadPoolExecutor | None = None
        self._second: SecondFolder | None = None
        if second is not None:
            self._second = SecondFolder(second, directory, sync=self._sync_to_disk, tasks=tasks)
        self._behind: Position | None = None  # where the first folder ends while only the second takes records
        self._behind_error = ""
        self._tail: list[Piece] | None = None  # what came since the first folder began to catch up
        self._tail_bytes = 0
        self._is_late = False  # a sync of the first folder takes so long that orders go by the second

    @property
    def healthy(self) -> bool:
        """Whether records can be written now, somewhere."""
        return self._well or (self._second is not None and self._second.healthy)

    @property
    def directory(self) -> Path:
        """Where every record can be read."""
        return self._first if self._behind is None or self._second is None else self._second.directory

    @property
    def folders(self) -> dict[str, str]:
        """What is wrong with each folder; nothing where it is well."""
        first = "" if self._well else self._behind_error or "its last write or sync failed"
        if self._second is None:
            return {"first": first}
        return {"first": SLOW if self._is_late else first, "second": self._second.error}

    @property
    def last_sequence(self) -> int:
        """The number of the newest record that is written."""
        return self._written.sequence

    @property
    def head_hash(self) -> str:
        """The hash of the newest record that is written."""
        return self._written.hash

    @property
    def head(self) -> Head:
        """The number and hash of the newest record that is written."""
        if self._behind is not None and self._second is not None:
            return self._second.stored_head
        return self._written

    # -- opening and closing

    def open(self) -> None:
        """Take the directory, check the newest segment, cut away a torn last line, continue the chain.

        Raises ConfigError if another process has the directory, and AuditError if the chain's
        end is corrupt or shorter than the anchor says: then a person has to look.
        """
        try:
            told = self._open_folders()
        except ProxyError:
            self._let_go()
            if self._second is not None:
                self._second.close()
            raise
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit-sync")
        self._durable_sequence = self._sequence
        if self._second is not None:
            self._second.is_only = self._behind is not None
            self._second.begin(Position(self._segment, self._size), self._written)
        if self._behind is not None:
            self._tasks.spawn(self._catch_up(), name="audit-catch-up")
        if told is not None:
            log.warning("audit.recovered", **told)
            self.append({"kind": "audit.recovered", **told})

    def _open_folders(self) -> dict[str, object] | None:
        """Take both folders, or the one that can be read; returns what had to be mended."""
        second = None if self._second is None else self._second.look()
        try:
            return self._open_first(second)
        except OSError as error:
            self._let_go()
            if second is None:
                raise AuditError(f"the audit in {self._first} cannot be opened: {error}") from error
            self._go_on_with(second, f"it cannot be opened: {error}")
            return None

    def _open_first(self, second: End | None) -> dict[str, object] | None:
        """Take the first folder and continue its chain; returns what had to be mended."""
        self._first.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._first.chmod(0o700)
        self._lock = take_lock(self._first)
        remove_older(self._first)
        end = read_end(self._first)
        told: dict[str, object] | None = None
        if end is not None and end.torn:
            told = quarantine(segment_path(self._first, end.position.segment), end.position.size, end.torn)
        end, copied = self._agreed(end, second)
        check_reaches(self._first, end)
        if end is None:
            self._descriptor, self._segment, self._size = create_segment(self._first, 1), 1, 0
        else:
            self._segment, self._size = end.position
            self._sequence, self._head = self._written = end.head
            path = segment_path(self._first, self._segment)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            os.fdatasync(self._descriptor)
        self._well = True
        return (told or {}) | copied if told or copied else None

    def _agreed(self, end: End | None, second: End | None) -> tuple[End | None, dict[str, object]]:
        """Where the chain ends by both folders; the first gets what only the second has."""
        if self._second is None or second is None:
            return end, {}
        if second.head.sequence <= (0 if end is None else end.head.sequence):
            check_same(second, self._first)
            return end, {}
        check_same(end, self._second.directory)
        at = START if end is None else end.position
        copy_forward(self._second.directory, self._first, at, second.position)
        since = 0 if end is None else end.head.sequence
        return read_end(self._first), {"copied_from_second": [since + 1, second.head.sequence]}

    def _go_on_with(self, second: End, error: str) -> None:
        """Continue the chain where the second folder ends; the first one is out of reach."""
        assert self._second is not None
        check_reaches(self._second.directory, second)
        self._segment, self._size = second.position
        self._sequence, self._head = self._written = second.head
        self._note_behind(Position(0, 0), error)

    def close(self) -> None:
        """Bring everything to disk, leave the anchor, and give the directory free."""
        if self._disk is None:
            return
        self._disk.shutdown(wait=True)
        self._disk = None
        self.flush()
        if self._behind is None:
            try:
                _sync(self._unsynced(), again=self._sync_failed)
                write_anchor(self._first, self._written)
            except (OSError, AuditError) as error:
                log.error("audit.failed", error=str(error), act="close")
        self._well = False
        if self._second is not None:
            self._second.close()
        self._let_go()

    def _let_go(self) -> None:
        for descriptor in (self._descriptor, self._lock, *(old.descriptor for old in self._retired)):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1
        self._retired = []

    # -- writing

    def append(self, record: dict[str, object]) -> int:
        """Write one record and return its sequence number; it then survives this process.

        Raises AuditError if it could not be written whole; nothing of it is then left behind.
        """
        sequence, digest, line = self._next(record)
        lines = b"".join([*self._pending, line]) if self._pending else line
        try:
            if self._second is None:
                self._write(lines)
            else:
                self._write_twice(lines, Head(sequence, digest))
        except OSError as error:
            self._failed()
            raise AuditError(f"record {sequence} could not be written: {error}") from error
        self._sequence, self._head = sequence, digest
        self._all_written()
        return sequence

    def append_soon(self, record: dict[str, object]) -> int:
        """Give a record its place in the chain now; it is written with the next one, or when the loop comes round.

        For what is told of an order after it was sent: nothing waits for it, and a record that a crash loses
        leaves an order of unknown outcome, which a restart looks up. Whoever has to know that it is written lets
        the loop come round and asks `is_written`. What a full disk does not take is written when there is room
        again. Returns the record's number. Raises AuditError if too much waits for that.
        """
        sequence, digest, line = self._next(record)
        if self._pending_bytes + len(line) > PENDING_BYTES_MAX:
            raise AuditError(f"record {sequence} could not be written: {self._pending_bytes} bytes wait already")
        if not self._pending:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # a tool without an event loop
                return self.append(record)
        self._pending.append(line)
        self._pending_bytes += len(line)
        self._sequence, self._head = sequence, digest
        return sequence

    def is_written(self, sequence: int) -> bool:
        """Whether a record is in the file: it then survives this process."""
        return sequence <= self._written.sequence

    def _next(self, record: dict[str, object]) -> tuple[int, str, bytes]:
        """The line that continues the chain with a record, its number and its hash."""
        if self._disk is None:
            raise AuditError("the audit is not open")
        sequence = self._sequence + 1
        if not record or "seq" in record or "at" in record or "prev" in record or "hash" in record:
            raise AuditError("a record says something, and may not bring its own seq, at, prev or hash")
        head = self._head.encode()
        try:
            said = orjson.dumps(record, default=_plain, option=_OPTIONS)
        except TypeError as error:
            self.failures += 1
            raise AuditError(f"a record cannot be written as JSON: {error}") from error
        body = b'{"seq":%d,"at":"%b","prev":"%b",%b' % (sequence, self._clock.stamp().encode(), head, said[1:])
        digest = hashlib.sha256(head + body).hexdigest()
        return sequence, digest, b'%b,"hash":"%b"}\n' % (body[:-1], digest.encode())

    def flush(self) -> None:
        """Write what waits; where that fails, the next record or the recovery tries again."""
        if not self._pending or (self._descriptor < 0 and self._behind is None):
            return
        lines = b"".join(self._pending)
        try:
            if self._second is None:
                self._write(lines)
            else:
                self._write_twice(lines, Head(self._sequence, self._head))
        except OSError as error:
            log.error("audit.failed", error=str(error), act="write")
            self._failed()
            return
        self._all_written()

    def _all_written(self) -> None:
        self._written = _NEW(Head, (self._sequence, self._head))
        if self._pending:
            self._pending, self._pending_bytes = [], 0
        if not self._sync_failed and self._behind is None:
            self._well = True

    def _write(self, lines: bytes) -> None:
        if self._torn:
            self._cut_torn()
        if self._size and self._size + len(lines) > self._segment_bytes:
            self._rotate()
        try:
            written = os.write(self._descriptor, lines)
        except OSError:
            self._torn = True  # whether and how much arrived is not known
            with contextlib.suppress(OSError):  # tried again before the next record
                self._cut_torn()
            raise
        if written != len(lines):
            self._torn = True
            self._cut_torn()
            raise OSError(f"only {written} of {len(lines)} bytes fitted")
        self._size += len(lines)

    def _write_twice(self, lines: bytes, head: Head) -> None:
        """Write into the first folder and hand over to the second; raises OSError where neither takes it."""
        second = self._second
        assert second is not None
        after = Position(self._segment, self._size)
        if self._behind is None:
            try:
                self._write(lines)
            except OSError as error:
                if not second.takes(len(lines)):
                    raise
                self._fall_behind(str(error))
        if self._behind is not None:
            if not second.takes(len(lines)):
                raise OSError(f"neither folder takes it: the first: {self._behind_error}; the second: {second.error}")
            if self._size and self._size + len(lines) > self._segment_bytes:
                self._segment, self._size = self._segment + 1, 0
            self._size += len(lines)
        piece = Piece(after, Position(self._segment, self._size - len(lines)), lines, head)
        second.put(piece)
        if self._tail is not None:
            self._tail.append(piece)
            self._tail_bytes += len(lines)

    def _fall_behind(self, error: str) -> None:
        """Go on with the second folder alone; the first is tried every second."""
        self.failures += 1
        self._note_behind(Position(self._segment, self._size), error)
        self._tasks.spawn(self._catch_up(), name="audit-catch-up")

    def _note_behind(self, at: Position, error: str) -> None:
        assert self._second is not None
        log.error("audit.failed", error=error, act="write", folder="first")
        self._behind, self._behind_error = at, error
        self._well = False
        self._second.is_only = True

    async def _catch_up(self) -> None:
        """Try every second to bring the first folder up to the second."""
        while self._behind is not None and self._disk is not None:
            await asyncio.sleep(RECOVER_EVERY_S)
            try:
                await self._catch_up_once()
            except (OSError, ProxyError) as error:
                self._tail = None
                if str(error) != self._behind_error:
                    log.error("audit.failed", error=str(error), act="catch up", folder="first")
                self._behind_error = str(error)

    async def _catch_up_once(self) -> None:
        """Copy what the first folder lacks; what comes meanwhile is kept and written in one step at the end."""
        second, disk = self._second, self._disk
        assert second is not None
        if disk is None or self._behind is None:
            return
        mark, sequence = Position(self._segment, self._size), self._written.sequence
        self._tail, self._tail_bytes = [], 0
        await second.stored(sequence)
        loop = asyncio.get_running_loop()
        at = await loop.run_in_executor(disk, partial(self._reopen_first, self._behind, list(self._retired)))
        await loop.run_in_executor(disk, partial(copy_forward, second.directory, self._first, at, mark))
        self._behind = mark
        if self._disk is not None and self._tail_bytes <= TAIL_BYTES_MAX:
            self._rejoin(mark)
        self._tail = None

    def _reopen_first(self, behind: Position, retired: list[_Open]) -> Position:
        """From where on the first folder lacks records; one that could not be opened at the start is read now.

        Runs in the thread.
        """
        assert self._second is not None
        if self._lock >= 0:
            _sync(retired, again=self._sync_failed)
            # After a failed sync nobody knows which pages are on disk: the segment is written anew.
            return Position(behind.segment, 0) if self._sync_failed else behind
        self._first.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = take_lock(self._first)
        try:
            end = read_end(self._first)
            if end is not None and end.torn:
                quarantine(segment_path(self._first, end.position.segment), end.position.size, end.torn)
            check_same(end, self._second.directory)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        return START if end is None else end.position

    def _rejoin(self, mark: Position) -> None:
        """The first folder holds everything up to `mark`: write what came since, and take records again."""
        assert self._second is not None
        assert self._tail is not None
        path = segment_path(self._first, mark.segment)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for piece in self._tail:
                if piece.place.segment != piece.after.segment:
                    os.fdatasync(descriptor)
                    os.close(descriptor)
                    descriptor = -1
                    descriptor = create_segment(self._first, piece.place.segment)
                _write_whole(descriptor, piece.lines)
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            raise
        for open_ in {self._descriptor, *(old.descriptor for old in self._retired)} - {-1}:
            os.close(open_)
        self._descriptor, self._retired, self._torn = descriptor, [], False
        self._behind, self._behind_error, self._sync_failed = None, "", False
        self._well, self._second.is_only = True, False
        log.info("audit.caught_up", sequence=self._written.sequence)

    def _failed(self) -> None:
        self._well = False
        self.failures += 1
        if self._recovering:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a tool without an event loop: its next record tries again
            return
        self._recovering = True
        self._tasks.spawn(self._recover(), name="audit-recover")

    async def _recover(self) -> None:
        """Try by itself: a proxy that is not ready may get no order whose record would show that all is well."""
        try:
            while self._disk is not None and not self.healthy:
                await asyncio.sleep(RECOVER_EVERY_S)
                with contextlib.suppress(AuditError):
                    await self._surely(self.append(PROBE | {"failures": self.failures}))
        finally:
            self._recovering = False

    def _cut_torn(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        self._torn = False

    def _rotate(self) -> None:
        old = _Open(self._descriptor, segment_path(self._first, self._segment), self._size)
        self._descriptor = create_segment(self._first, self._segment + 1)
        self._segment, self._size = self._segment + 1, 0
        self._retired.append(old)
        log.info("audit.rotated", segment=self._segment)

    # -- making durable

    async def durable(self, sequence: int) -> None:
        """Return when the record cannot be lost any more: at once, or after the sync that covers it."""
        if self._second is not None and (self._sync_to_disk or self._behind is not None):
            await self._surely(sequence)
        elif self._sync_to_disk and sequence > self._durable_sequence:
            await self._synced(sequence)

    async def _surely(self, sequence: int) -> None:
        """Return when a record is on disk: in both folders, or in the one that takes records."""
        second = self._second
        if second is None:
            await self._synced(sequence)
        elif await self._first_synced(sequence):
            await second.stored_soon(sequence)
        else:
            await second.stored(sequence)

    async def _first_synced(self, sequence: int) -> bool:
        """Whether the first folder has brought a record to disk; one that takes long is left alone meanwhile."""
        second = self._second
        assert second is not None
        if self._behind is not None or self._is_late:
            return False
        if sequence <= self._durable_sequence:
            return True
        waiter = self._ask_for_sync(sequence)
        try:
            await asyncio.wait([waiter], timeout=SLOW_S if second.healthy else None)
        except asyncio.CancelledError:
            waiter.cancel()
            raise
        if waiter.done():
            return waiter.exception() is None
        self._is_late = True
        self.failures += 1
        log.error("audit.failed", error=SLOW, act="sync", folder="first")
        waiter.add_done_callback(self._came_late)
        return False

    def _came_late(self, waiter: asyncio.Future[None]) -> None:
        self._is_late = False
        if not waiter.cancelled():
            waiter.exception()  # it is in the log

    async def _synced(self, sequence: int) -> None:
        await self._ask_for_sync(sequence)

    def _ask_for_sync(self, sequence: int) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((sequence, waiter))
        if not self._syncing:
            self._syncing = True
            self._tasks.spawn(self._sync_rounds(), name="audit-sync")
        return waiter

    async def _sync_rounds(self) -> None:
        """Sync as long as somebody waits; each sync serves all who came before it began."""
        try:
            while self._waiters:
                served, self._waiters = self._waiters, []
                covers = self._written.sequence
                error = await self._sync_in_thread()
                if error is None:
                    self._durable_sequence = covers
                for _, waiter in served:
                    _answer(waiter, error)
        finally:
            self._syncing = False
            for _, waiter in self._waiters:  # only when this task was cancelled
                _answer(waiter, AuditError("the audit was closed before the record was on disk"))

    def _unsynced(self) -> list[_Open]:
        return [*self._retired, _Open(self._descriptor, segment_path(self._first, self._segment), self._size)]

    async def _sync_in_thread(self) -> AuditError | None:
        if self._disk is None:
            return AuditError("the audit is not open")
        if self._behind is not None:
            return AuditError(f"the first folder of the audit takes no records: {self._behind_error}")
        # What is synced is settled here: the event loop may begin a new segment meanwhile.
        files, again = self._unsynced(), self._sync_failed
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._disk, partial(_sync, files, again=again)
            )
        except (OSError, AuditError) as error:
            self._failed()
            self._sync_failed = True
            log.error("audit.failed", error=str(error), act="sync")
            return AuditError(f"the record could not be brought to disk: {error}")
        for full in files[:-1]:
            if full in self._retired:  # not when the audit was closed meanwhile
                self._retired.remove(full)
                os.close(full.descriptor)
        if self._sync_failed:
            self._sync_failed = False
            self._well = not self._torn and self._behind is None
        return None

    def may_retire(self) -> bool:
        """Whether old segments may be removed now: not while one folder needs them to catch up from the other."""
        return self._well and self._behind is None and (self._second is None or self._second.healthy)

    async def retire(self, record: dict[str, object], remove: Callable[[Path], None]) -> None:
        """Put on record that old segments go, and then remove them from every folder."""
        await self._surely(self.append(record))
        if self._disk is None or not self.may_retire():
            raise AuditError("the audit's folders are not both well; nothing was removed")
        await asyncio.get_running_loop().run_in_executor(self._disk, partial(remove, self._first))
        if self._second is not None:
            await self._second.aside.run(partial(remove, self._second.directory))

    async def anchor(self) -> Head:
        """Bring all that is written to disk, leave word in the folders how far that is, and return it.

        Raises AuditError where that failed; the previous anchor still stands.
        """
        head = self.head
        await self._surely(head.sequence)
        loop, second = asyncio.get_running_loop(), self._second
        try:
            if self._behind is None and self._disk is not None:
                await loop.run_in_executor(self._disk, write_anchor, self._first, head)
        except OSError as error:
            raise AuditError(f"the anchor could not be written: {error}") from error
        if second is not None and second.healthy and second.stored_head.sequence >= head.sequence:
            await second.aside.run(partial(write_anchor, second.directory, head))
        return head


def _sync(files: list[_Open], *, again: bool) -> None:
    """Bring segments to disk; `again` after a sync that failed."""
    for file in files:
        if again:
            write_again(file.path, file.size)
        os.fdatasync(file.descriptor)


def _write_whole(descriptor: int, lines: bytes) -> None:
    written = os.write(descriptor, lines)
    if written != len(lines):
        raise OSError(f"only {written} of {len(lines)} bytes fitted")


def _answer(waiter: asyncio.Future[None], error: AuditError | None) -> None:
    if waiter.done():  # its order gave up waiting
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(AuditError(str(error)))


def _plain(value: object) -> object:
    """What orjson does not know by itself: exact decimals as text, tuples with names as lists."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, tuple | frozenset | set):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in a record")
