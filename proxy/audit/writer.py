"""The one writer of an audit directory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

import orjson
import structlog

from proxy.audit.chain import (
    BEGINNING,
    LOCK,
    ChainBroken,
    Head,
    before,
    check,
    check_anchor,
    end_of,
    read_anchor,
    segments_of,
    split_lines,
    sync_directory,
    write_anchor,
)
from proxy.clock import Clock
from proxy.errors import AuditError, ConfigError
from proxy.tasks import Tasks

log: Final = structlog.get_logger("riskgate.audit")

ANCHOR_EVERY_S: Final = 60.0
ANCHOR_RETRY_S: Final = 2.0
# As large as the largest decisions are: on a full disk a small record fits where no order's would.
PROBE: Final = {"kind": "audit.probe", "room": " " * 8192}
RECOVER_EVERY_S: Final = 1.0
PENDING_BYTES_MAX: Final = 1 << 20  # of records that wait for a disk that takes none; orders stop at the first of them
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
    """

    def __init__(
        self,
        directory: Path,
        *,
        sync: Literal["power", "process"],
        clock: Clock,
        tasks: Tasks,
        segment_bytes: int = 64 << 20,
    ) -> None:
        self.directory = directory
        self.healthy = False
        self.failures = 0
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
        self._anchor_due = 0.0
        self._disk: ThreadPoolExecutor | None = None

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
        return self._written

    # -- opening and closing

    def open(self) -> None:
        """Take the directory, check the newest segment, cut away a torn last line, continue the chain.

        Raises ConfigError if another process has the directory, and AuditError if the chain's
        end is corrupt or shorter than the anchor says: then a person has to look.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        self._lock = _take_lock(self.directory)
        try:
            torn = self._continue_chain()
        except OSError as error:
            self._let_go()
            raise AuditError(f"the audit in {self.directory} cannot be opened: {error}") from error
        except AuditError:
            self._let_go()
            raise
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit-sync")
        self._anchor_due = self._clock.monotonic() + ANCHOR_EVERY_S
        self.healthy = True
        if torn is not None:
            log.warning("audit.recovered", **torn)
            self.append({"kind": "audit.recovered", **torn})

    def _continue_chain(self) -> dict[str, object] | None:
        segments = segments_of(self.directory)
        torn = None
        if not segments:
            self._create_segment(1)
        else:
            self._segment = segments[-1][0]
            torn = self._read_end(segments)
            self._descriptor = os.open(segments[-1][1], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            os.fdatasync(self._descriptor)
        self._durable_sequence = self._sequence
        return torn

    def _read_end(self, segments: list[tuple[int, Path]]) -> dict[str, object] | None:
        """Check the newest segment and set the head from it."""
        path = segments[-1][1]
        whole, torn = split_lines(path.read_bytes())
        head = end_of(segments[-2][1]) if len(segments) > 1 else Head(0, BEGINNING)
        anchor = read_anchor(self.directory)
        try:
            for line in whole:
                head = check(line, head)
                check_anchor(anchor, head)
        except ChainBroken as error:
            raise AuditError(
                f"{path.name}: {error.problem}; the audit was changed or damaged. Nothing is written to it: "
                "keep the directory as it is and start with a new one"
            ) from None
        if anchor is not None and anchor.sequence > head.sequence:
            raise AuditError(
                f"{path.name} ends at record {head.sequence}, but record {anchor.sequence} was already on disk: "
                "records are missing. Keep the directory as it is and start with a new one"
            )
        self._sequence, self._head = self._written = head
        self._size = sum(len(line) + 1 for line in whole)
        return _quarantine(path, self._size, torn) if torn else None

    def _create_segment(self, number: int) -> None:
        path = self.directory / f"audit-{number:06d}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            # The file's name has to be on disk before any sync of its content counts.
            sync_directory(self.directory)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        self._descriptor, self._segment, self._size = descriptor, number, 0

    def close(self) -> None:
        """Bring everything to disk, leave the anchor, and give the directory free."""
        if self._disk is None:
            return
        self._disk.shutdown(wait=True)
        self._disk = None
        self.flush()
        try:
            _sync(self._unsynced(), again=self._sync_failed)
            write_anchor(self.directory, self.head)
        except (OSError, AuditError) as error:
            log.error("audit.failed", error=str(error), act="close")
        self.healthy = False
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
        try:
            self._write(b"".join([*self._pending, line]) if self._pending else line)
        except OSError as error:
            self._failed()
            raise AuditError(f"record {sequence} could not be written: {error}") from error
        self._sequence, self._head = sequence, digest
        self._all_written()
        return sequence

    def append_soon(self, record: dict[str, object]) -> None:
        """Give a record its place in the chain now; it is written with the next one, or when the loop comes round.

        For what is told of an order after it was sent: nothing waits for it, and a record that a crash loses
        leaves an order of unknown outcome, which a restart looks up. What a full disk does not take is
        written when there is room again. Raises AuditError if too much waits for that.
        """
        sequence, digest, line = self._next(record)
        if self._pending_bytes + len(line) > PENDING_BYTES_MAX:
            raise AuditError(f"record {sequence} could not be written: {self._pending_bytes} bytes wait already")
        if not self._pending:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # a tool without an event loop
                self.append(record)
                return
        self._pending.append(line)
        self._pending_bytes += len(line)
        self._sequence, self._head = sequence, digest

    def _next(self, record: dict[str, object]) -> tuple[int, str, bytes]:
        """The line that continues the chain with a record, its number and its hash."""
        if self._descriptor < 0:
            raise AuditError("the audit is not open")
        sequence = self._sequence + 1
        if not record or "seq" in record or "at" in record or "prev" in record or "hash" in record:
            raise AuditError("a record says something, and may not bring its own seq, at, prev or hash")
        head = self._head.encode()
        try:
            at = orjson.dumps(self._clock.now(), option=_OPTIONS)
            said = orjson.dumps(record, default=_plain, option=_OPTIONS)
        except TypeError as error:
            self.failures += 1
            raise AuditError(f"a record cannot be written as JSON: {error}") from error
        body = b'{"seq":%d,"at":%b,"prev":"%b",%b' % (sequence, at, head, said[1:])
        digest = hashlib.sha256(head + body).hexdigest()
        return sequence, digest, b'%b,"hash":"%b"}\n' % (body[:-1], digest.encode())

    def flush(self) -> None:
        """Write what waits; where that fails, the next record or the recovery tries again."""
        if not self._pending or self._descriptor < 0:
            return
        try:
            self._write(b"".join(self._pending))
        except OSError as error:
            log.error("audit.failed", error=str(error), act="write")
            self._failed()
            return
        self._all_written()

    def _all_written(self) -> None:
        self._written = _NEW(Head, (self._sequence, self._head))
        if self._pending:
            self._pending, self._pending_bytes = [], 0
        if not self._sync_failed:
            self.healthy = True

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

    def _failed(self) -> None:
        self.healthy = False
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
            while self._descriptor >= 0 and not self.healthy:
                await asyncio.sleep(RECOVER_EVERY_S)
                with contextlib.suppress(AuditError):
                    await self._synced(self.append(PROBE | {"failures": self.failures}))
        finally:
            self._recovering = False

    def _cut_torn(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        self._torn = False

    def _rotate(self) -> None:
        old = _Open(self._descriptor, self._path(self._segment), self._size)
        self._create_segment(self._segment + 1)
        self._retired.append(old)
        log.info("audit.rotated", segment=self._segment)

    def _path(self, segment: int) -> Path:
        return self.directory / f"audit-{segment:06d}.jsonl"

    # -- making durable

    async def durable(self, sequence: int) -> None:
        """Return when the record cannot be lost any more: at once, or after the sync that covers it."""
        if self._clock.monotonic() >= self._anchor_due:
            self._anchor_due = self._clock.monotonic() + ANCHOR_EVERY_S
            self._tasks.spawn(self._anchor(), name="audit-anchor")
        if not self._sync_to_disk or sequence <= self._durable_sequence:
            return
        await self._synced(sequence)

    async def _synced(self, sequence: int) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((sequence, waiter))
        if not self._syncing:
            self._syncing = True
            self._tasks.spawn(self._sync_rounds(), name="audit-sync")
        await waiter

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
        return [*self._retired, _Open(self._descriptor, self._path(self._segment), self._size)]

    async def _sync_in_thread(self) -> AuditError | None:
        if self._disk is None:
            return AuditError("the audit is not open")
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
            self.healthy = not self._torn
        return None

    async def _anchor(self) -> None:
        """Leave word, here and in the log, how far the chain surely reaches."""
        head = self.head
        try:
            await self._synced(head.sequence)
            if self._disk is not None:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._disk, write_anchor, self.directory, head)
        except (OSError, AuditError) as error:  # the previous anchor still stands
            self._anchor_due = self._clock.monotonic() + ANCHOR_RETRY_S
            log.warning("audit.anchor_failed", error=str(error))
            return
        log.info("audit.anchored", sequence=head.sequence, hash=head.hash)


def _sync(files: list[_Open], *, again: bool) -> None:
    """Bring segments to disk; `again` after a sync that failed."""
    for file in files:
        if again:
            _write_again(file.path, file.size)
        os.fdatasync(file.descriptor)


def _answer(waiter: asyncio.Future[None], error: AuditError | None) -> None:
    if waiter.done():  # its order gave up waiting
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(AuditError(str(error)))


def _write_again(path: Path, size: int) -> None:
    """Write a segment's bytes anew after a failed sync.

    A failed sync may mark pages as clean, so that the next one would succeed without having
    written them. Writing the same bytes makes them dirty again; the chain proves that what
    was read back is what had been written.
    """
    data = path.read_bytes()[:size]
    if len(data) != size:
        raise AuditError(f"{path.name} holds {len(data)} bytes, {size} were written")
    lines, _ = split_lines(data)
    if not lines:
        return
    head = before(lines[0])
    for line in lines:
        try:
            head = check(line, head)
        except ChainBroken as error:
            raise AuditError(f"{path.name} after a failed sync: {error.problem}") from None
    with path.open("r+b", buffering=0) as file:
        file.write(data)


def _take_lock(directory: Path) -> int:
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigError(
            f"the audit directory {directory} is in use by another process; each process needs its own"
        ) from None
    return lock


def _quarantine(path: Path, whole_bytes: int, torn: bytes) -> dict[str, object]:
    """Move an unfinished last line into a file beside, and say what was moved."""
    number = 1
    while True:
        aside = path.with_name(f"{path.stem}.torn-{number}")
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            number += 1
            continue
        break
    with os.fdopen(descriptor, "wb") as file:
        file.write(torn)
        file.flush()
        os.fsync(file.fileno())
    os.truncate(path, whole_bytes)
    return {"torn_bytes": len(torn), "torn_sha256": hashlib.sha256(torn).hexdigest(), "moved_to": aside.name}


def _plain(value: object) -> object:
    """What orjson does not know by itself: exact decimals as text, tuples with names as lists."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, tuple | frozenset | set):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in a record")
