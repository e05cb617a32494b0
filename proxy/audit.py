"""What the proxy remembers: an append-only, hash-chained record of every decision.

A record is one line of JSON in a segment file (`audit-000001.jsonl`, ...):

    {"seq":7,"at":"...","prev":"<hash of record 6>","kind":"decision",...,"hash":"<hash>"}

`hash` is SHA-256 over the previous hash and the bytes of the line without its hash, so a
changed, lost, added or moved line breaks the chain at that place. What is cut off at the
end breaks no chain; it is found against the anchor, a small file with the last sequence
and hash that were surely on disk, and against the head the running process remembers.
A record survives `kill -9` when `append` has returned and power loss when `durable` has.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import mmap
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import structlog

from proxy.clock import Clock
from proxy.errors import AuditError, ConfigError
from proxy.tasks import Tasks
from rules import (
    Caller,
    Decision,
    Instruction,
    LeverageChange,
    MarginChange,
    Order,
    QuantityCut,
)

log = structlog.get_logger("riskgate.audit")

BEGINNING = "0" * 64  # the "previous hash" of the first record
ANCHOR_EVERY_S = 60.0
ANCHOR_RETRY_S = 2.0
RECOVER_EVERY_S = 1.0
_ANCHOR = "anchor.json"
_LOCK = "lock"
_SEGMENT = re.compile(r"audit-([0-9]{6,})\.jsonl\Z")
_HASH_ENDING = re.compile(rb',"hash":"([0-9a-f]{64})"\}\Z')
_HASH_ENDING_BYTES = len(b',"hash":"') + 64 + len(b'"}')
_OPTIONS = orjson.OPT_UTC_Z
_OWN_KEYS = 3  # seq, at, prev


class Head(NamedTuple):
    """The end of a chain: the last record's number and hash."""

    sequence: int
    hash: str


class Verification(NamedTuple):
    """What a walk over the whole chain found; `at_sequence` is the first record that is wrong."""

    ok: bool
    records: int
    head_hash: str
    problem: str | None
    at_sequence: int | None


class _ChainBroken(Exception):
    """A line that does not continue the chain."""

    def __init__(self, problem: str, sequence: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.sequence = sequence


class _Open(NamedTuple):
    """A segment file that is open for writing, and how much of it is to be brought to disk."""

    descriptor: int
    path: Path
    size: int


class Audit:
    """The one writer of a directory of audit segments.

    `append` is called in the event loop and costs one write; `durable` lets any number of
    waiting orders share one sync, made in a thread of its own. After a failure `healthy` is
    False until a write (or sync) succeeds again.
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
        self._thread: ThreadPoolExecutor | None = None

    @property
    def last_sequence(self) -> int:
        """The number of the newest record."""
        return self._sequence

    @property
    def head_hash(self) -> str:
        """The hash of the newest record."""
        return self._head

    @property
    def head(self) -> Head:
        """The newest record's number and hash."""
        return Head(self._sequence, self._head)

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
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit-sync")
        self._anchor_due = self._clock.monotonic() + ANCHOR_EVERY_S
        self.healthy = True
        if torn is not None:
            log.warning("audit.recovered", **torn)
            self.append({"kind": "audit.recovered", **torn})

    def _continue_chain(self) -> dict[str, object] | None:
        segments = _segments(self.directory)
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
        whole, torn = _split(path.read_bytes())
        head = _end_of(segments[-2][1]) if len(segments) > 1 else Head(0, BEGINNING)
        anchor = read_anchor(self.directory)
        try:
            for line in whole:
                head = _check(line, head)
                _check_anchor(anchor, head)
        except _ChainBroken as error:
            raise AuditError(
                f"{path.name}: {error.problem}; the audit was changed or damaged. Nothing is written to it: "
                "keep the directory as it is and start with a new one"
            ) from None
        if anchor is not None and anchor.sequence > head.sequence:
            raise AuditError(
                f"{path.name} ends at record {head.sequence}, but record {anchor.sequence} was already on disk: "
                "records are missing. Keep the directory as it is and start with a new one"
            )
        self._sequence, self._head = head
        self._size = sum(len(line) + 1 for line in whole)
        return _quarantine(path, self._size, torn) if torn else None

    def _create_segment(self, number: int) -> None:
        path = self.directory / f"audit-{number:06d}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            # The file's name has to be on disk before any sync of its content counts.
            _sync_directory(self.directory)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        self._descriptor, self._segment, self._size = descriptor, number, 0

    def close(self) -> None:
        """Bring everything to disk, leave the anchor, and give the directory free."""
        if self._thread is None:
            return
        self._thread.shutdown(wait=True)
        self._thread = None
        try:
            _sync(self._unsynced(), again=self._sync_failed)
            _write_anchor(self.directory, self.head)
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
        if self._descriptor < 0:
            raise AuditError("the audit is not open")
        sequence = self._sequence + 1
        own = {"seq": sequence, "at": self._clock.now(), "prev": self._head, **record}
        if len(own) != len(record) + _OWN_KEYS or "hash" in record:
            raise AuditError("a record may not bring its own seq, at, prev or hash")
        try:
            body = orjson.dumps(own, default=_plain, option=_OPTIONS)
        except TypeError as error:
            self.failures += 1
            raise AuditError(f"a record cannot be written as JSON: {error}") from error
        digest = hashlib.sha256(self._head.encode() + body).hexdigest()
        line = b'%b,"hash":"%b"}\n' % (body[:-1], digest.encode())
        try:
            self._write(line)
        except OSError as error:
            self._failed()
            raise AuditError(f"record {sequence} could not be written: {error}") from error
        self._sequence, self._head = sequence, digest
        self._size += len(line)
        if not self._sync_failed:
            self.healthy = True
        return sequence

    def _write(self, line: bytes) -> None:
        if self._torn:
            self._cut_torn()
        if self._size and self._size + len(line) > self._segment_bytes:
            self._rotate()
        try:
            written = os.write(self._descriptor, line)
        except OSError:
            self._torn = True  # whether and how much arrived is not known
            with contextlib.suppress(OSError):  # tried again before the next record
                self._cut_torn()
            raise
        if written != len(line):
            self._torn = True
            self._cut_torn()
            raise OSError(f"only {written} of {len(line)} bytes fitted")

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
                    await self._synced(self.append({"kind": "audit.probe", "failures": self.failures}))
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
                covers = self._sequence
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
        if self._thread is None:
            return AuditError("the audit is not open")
        # What is synced is settled here: the event loop may begin a new segment meanwhile.
        files, again = self._unsynced(), self._sync_failed
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._thread, partial(_sync, files, again=again)
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
            if self._thread is not None:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._thread, _write_anchor, self.directory, head)
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
    lines, _ = _split(data)
    if not lines:
        return
    head = _before(lines[0])
    for line in lines:
        try:
            head = _check(line, head)
        except _ChainBroken as error:
            raise AuditError(f"{path.name} after a failed sync: {error.problem}") from None
    with path.open("r+b", buffering=0) as file:
        file.write(data)


def _take_lock(directory: Path) -> int:
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigError(
            f"the audit directory {directory} is in use by another process; each process needs its own"
        ) from None
    return lock


def _is_being_written(directory: Path) -> bool:
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def _write_anchor(directory: Path, head: Head) -> None:
    temporary = directory / f"{_ANCHOR}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps({"seq": head.sequence, "hash": head.hash}) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / _ANCHOR)
    _sync_directory(directory)


def read_anchor(directory: Path) -> Head | None:
    """How far the chain surely reached when the anchor was last written; None if there is none yet."""
    try:
        content = orjson.loads((directory / _ANCHOR).read_bytes())
        return Head(int(content["seq"]), str(content["hash"]))
    except FileNotFoundError:
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise AuditError(f"{_ANCHOR} in {directory} cannot be read: {error!r}") from error


# -- reading


def _segments(directory: Path) -> list[tuple[int, Path]]:
    matches = ((_SEGMENT.match(path.name), path) for path in directory.iterdir())
    return sorted((int(match.group(1)), path) for match, path in matches if match)


def _split(content: bytes) -> tuple[list[bytes], bytes]:
    """The complete lines, and what stands behind the last line end."""
    *whole, torn = content.split(b"\n")
    return whole, torn


def _check(line: bytes, head: Head) -> Head:
    """The head after `line`. Raises _ChainBroken if the line does not continue `head`."""
    sequence = head.sequence + 1
    ending = _HASH_ENDING.search(line)
    if ending is None:
        raise _ChainBroken(f"record {sequence} is not a record", sequence)
    body = line[:-_HASH_ENDING_BYTES] + b"}"
    try:
        record = orjson.loads(body)
        found, previous = record["seq"], record["prev"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise _ChainBroken(f"record {sequence} is not a record", sequence) from None
    if found != sequence:
        raise _ChainBroken(f"record {sequence} was expected and record {found} was found", sequence)
    if previous != head.hash:
        raise _ChainBroken(f"record {sequence} does not follow record {head.sequence}", sequence)
    digest = hashlib.sha256(head.hash.encode() + body).hexdigest()
    if digest.encode() != ending.group(1):
        raise _ChainBroken(f"record {sequence} was changed: its hash does not fit", sequence)
    return Head(sequence, digest)


def _check_anchor(anchor: Head | None, head: Head) -> None:
    if anchor is not None and anchor.sequence == head.sequence and anchor.hash != head.hash:
        raise _ChainBroken(f"record {head.sequence} is not the one the anchor names", head.sequence)


def _before(line: bytes) -> Head:
    """The head that a line says it follows."""
    record = orjson.loads(line)
    return Head(record["seq"] - 1, record["prev"])


def _end_of(path: Path) -> Head:
    for line in _lines_backwards(path):
        try:
            record = orjson.loads(line)
            return Head(record["seq"], record["hash"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise AuditError(f"{path.name}: its last record cannot be read") from None
    raise AuditError(f"{path.name} is empty although a newer segment exists")


def verify(directory: Path, *, head: Head | None = None) -> Verification:
    """Walk the whole chain, oldest record first.

    `head`, where known, is a record that must be there; without it the anchor file is taken.
    """
    expected = head if head is not None else read_anchor(directory)
    at = Head(0, BEGINNING)
    reached = False
    being_written = _is_being_written(directory)
    segments = _segments(directory)
    try:
        for index, (number, path) in enumerate(segments):
            if number != index + 1:
                raise _ChainBroken(f"segment {index + 1} is missing", at.sequence + 1)  # noqa: TRY301 - one exit
            whole, torn = _split(path.read_bytes())
            for line in whole:
                at = _check(line, at)
                _check_anchor(expected, at)
                reached = reached or at == expected
            if torn and not (being_written and index == len(segments) - 1):
                raise _ChainBroken(f"record {at.sequence + 1} is incomplete", at.sequence + 1)  # noqa: TRY301
    except _ChainBroken as error:
        return Verification(False, at.sequence, at.hash, error.problem, error.sequence)  # noqa: FBT003 - a NamedTuple
    if expected is not None and expected.sequence > 0 and not reached:
        problem = f"the chain ends at record {at.sequence}, record {expected.sequence} is missing"
        return Verification(False, at.sequence, at.hash, problem, at.sequence + 1)  # noqa: FBT003
    return Verification(True, at.sequence, at.hash, None, None)  # noqa: FBT003


def read(
    directory: Path, *, after: int = 0, kinds: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The records with a sequence above `after`, oldest first; `kinds` picks some."""
    for _, path in _segments(directory):
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                record = orjson.loads(line)
                if record["seq"] > after and (kinds is None or record["kind"] in kinds):
                    yield record


def newest(
    directory: Path, *, limit: int, wanted: Callable[[dict[str, Any]], bool] | None = None
) -> list[dict[str, Any]]:
    """Up to `limit` records that are wanted, newest first."""
    found: list[dict[str, Any]] = []
    for _, path in reversed(_segments(directory)):
        for line in _lines_backwards(path):
            record = orjson.loads(line)
            if wanted is None or wanted(record):
                found.append(record)
                if len(found) >= limit:
                    return found
    return found


def find(directory: Path, decision_id: str) -> list[dict[str, Any]]:
    """Every record of one decision, oldest first: the decision and then its outcomes."""
    found: list[dict[str, Any]] = []
    quoted = orjson.dumps(decision_id)
    for _, path in reversed(_segments(directory)):
        for line in _lines_backwards(path):
            if quoted not in line:
                continue
            record = orjson.loads(line)
            if record.get("decision_id") != decision_id:
                continue
            found.append(record)
            if record["kind"] == "decision":
                return found[::-1]
    return found[::-1]


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """A segment's complete lines, last first, without reading what is not asked for."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = content.rfind(b"\n")
        while end >= 0:
            start = content.rfind(b"\n", 0, end)
            yield content[start + 1 : end]
            end = start


# -- building records


def _plain(value: object) -> object:
    """What orjson does not know by itself: exact decimals as text, tuples with names as lists."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, tuple | frozenset | set):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in a record")


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def instruction_record(instruction: Instruction, notional: Decimal | None = None) -> dict[str, object]:
    """One instruction as judged: every field that was stated, amounts as exact text."""
    match instruction:
        case Order():
            return _order_record(instruction, notional)
        case QuantityCut():
            return {
                "instruction": "quantity_cut",
                "symbol": instruction.symbol,
                "market": instruction.market,
                "quantity": _amount(instruction.quantity),
                "replaces": _replaced(instruction),
            }
        case LeverageChange():
            return {
                "instruction": "leverage",
                "symbol": instruction.symbol,
                "leverage": _amount(instruction.leverage),
            }
        case MarginChange():
            return {
                "instruction": "margin",
                "symbol": instruction.symbol,
                "change": instruction.kind,
                "value": instruction.value,
            }


def _order_record(order: Order, notional: Decimal | None) -> dict[str, object]:
    record: dict[str, object] = {
        "instruction": "order",
        "symbol": order.symbol,
        "market": order.market,
        "side": order.side,
        "type": order.type,
        "quantity": _amount(order.quantity),
        "price": _amount(order.price),
        "notional": _amount(notional),
        "bucket": order.bucket,
        "reduce_only": order.reduce_only,
        "client_order_id": order.client_order_id,
    }
    # Rare fields stand in the record only when the order stated them.
    for name, amount in (
        ("quote_quantity", order.quote_quantity),
        ("trigger_price", order.trigger_price),
        ("activation_price", order.activation_price),
        ("callback_rate", order.callback_rate),
        ("iceberg_quantity", order.iceberg_quantity),
    ):
        if amount is not None:
            record[name] = format(amount, "f")
    if order.close_position:
        record["close_position"] = True
    if order.price_follows_book:
        record["price_follows_book"] = True
    if order.time_in_force is not None:
        record["time_in_force"] = order.time_in_force
    if order.group is not None:
        record["group"] = order.group
    if order.pending_on is not None:
        record["pending_on"] = order.pending_on
    if order.replaces is not None:
        record["replaces"] = _replaced(order)
    return record


def _replaced(instruction: Order | QuantityCut) -> dict[str, object] | None:
    replaced = instruction.replaces
    if replaced is None:
        return None
    return {
        "mode": replaced.mode,
        "order_id": replaced.order_id,
        "client_order_id": replaced.client_order_id,
    }


def decision_record(
    decision: Decision,
    *,
    decision_id: str,
    caller: Caller,
    instructions: Sequence[Instruction],
    endpoint: str,
    ess_epoch: int,
    latency_us: int,
    sent_sha256: str | None,
    notionals: Sequence[Decimal | None] = (),
) -> dict[str, object]:
    """A judged request: the orders, the answer in RiskGateResult's keys, and every rule that ran.

    `sent_sha256` is of target and body as they will be forwarded, None for a block; the bytes
    themselves, keys and signatures are never in a record. `rules_run` rows are rule,
    instruction, outcome, observed, limit.
    """
    orders = [
        instruction_record(one, notionals[index] if index < len(notionals) else None)
        for index, one in enumerate(instructions)
    ]
    return {
        "kind": "decision",
        "decision_id": decision_id,
        "caller": {
            "account": caller.account,
            "exchange": caller.exchange,
            "strategy": caller.strategy,
            "bot": caller.bot,
            "confidence": _amount(caller.confidence),
        },
        "endpoint": endpoint,
        "orders": orders,
        "decision": decision.verdict,
        "reason": decision.reason,
        "scale_factor": format(decision.scale_factor, "f"),
        "risk_level": decision.risk_level,
        "ess_active": decision.ess_active,
        "timestamp": decision.timestamp,
        "sentence": decision.sentence,
        "quantities": [_amount(quantity) for quantity in decision.quantities],
        "reducing": decision.reducing,
        "rules_run": list(map(tuple, decision.rules_run)),
        "policy_revision": decision.policy_revision,
        "ess_epoch": ess_epoch,
        "latency_us": latency_us,
        "sent_sha256": sent_sha256,
    }


def admin_record(
    *,
    actor: str,
    act: str,
    result: str,
    scope: str | None = None,
    reason: str = "",
    before: object = None,
    after: object = None,
    peer: str = "",
) -> dict[str, object]:
    """What a person (or a tool in a person's name) did to the proxy."""
    return {
        "kind": "admin",
        "actor": actor,
        "act": act,
        "scope": scope,
        "reason": reason,
        "before": before,
        "after": after,
        "result": result,
        "peer": peer,
    }
