"""The chain: how a line continues another, and reading and verifying what was written.

Nothing here writes records; all of it works on the files alone, whether or not a proxy runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from proxy.errors import AuditError

BEGINNING: Final = "0" * 64  # the "previous hash" of the first record
LOCK: Final = "lock"
_ANCHOR: Final = "anchor.json"
_OLDEST: Final = "oldest.json"
_OWN: Final = ""  # when the chain's own anchor was left: it is none from outside
RETIRED: Final = "audit.retired"  # the kind of the record that says which segments were removed
_SEGMENT: Final = re.compile(r"audit-([0-9]{6,})\.jsonl\Z")
_HASH_ENDING: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}\Z')
_HASH_ENDING_BYTES: Final = len(b',"hash":"') + 64 + len(b'"}')


class Head(NamedTuple):
    """The end of a chain: the last record's number and hash."""

    sequence: int
    hash: str


class Anchor(NamedTuple):
    """A head of the chain as somebody outside was told it."""

    sequence: int
    hash: str
    at: str


class Oldest(NamedTuple):
    """Where a chain begins whose oldest segments were removed: behind which record, and with which segment."""

    before: Head
    segment: int


class Verification(NamedTuple):
    """What a walk over the whole chain found.

    `at_sequence` is the first record that is wrong, `from_sequence` the oldest one that is still there,
    `records` how many hold, and `anchors` how many anchors from outside were found to fit.
    """

    ok: bool
    records: int
    head_hash: str
    problem: str | None
    at_sequence: int | None
    from_sequence: int = 1
    anchors: int = 0


class ChainBroken(Exception):
    """A line that does not continue the chain."""

    def __init__(self, problem: str, sequence: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.sequence = sequence


def segments_of(directory: Path) -> list[tuple[int, Path]]:
    """The directory's segments with their numbers, oldest first."""
    matches = ((_SEGMENT.match(path.name), path) for path in directory.iterdir())
    return sorted((int(match.group(1)), path) for match, path in matches if match)


def split_lines(content: bytes) -> tuple[list[bytes], bytes]:
    """The complete lines, and what stands behind the last line end."""
    *whole, torn = content.split(b"\n")
    return whole, torn


def check(line: bytes, head: Head) -> Head:
    """The head after `line`. Raises ChainBroken if the line does not continue `head`."""
    sequence = head.sequence + 1
    ending = _HASH_ENDING.search(line)
    if ending is None:
        raise ChainBroken(f"record {sequence} is not a record", sequence)
    body = line[:-_HASH_ENDING_BYTES] + b"}"
    try:
        record = orjson.loads(body)
        found, previous = record["seq"], record["prev"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ChainBroken(f"record {sequence} is not a record", sequence) from None
    if found != sequence:
        raise ChainBroken(f"record {sequence} was expected and record {found} was found", sequence)
    if previous != head.hash:
        raise ChainBroken(f"record {sequence} does not follow record {head.sequence}", sequence)
    digest = hashlib.sha256(head.hash.encode() + body).hexdigest()
    if digest.encode() != ending.group(1):
        raise ChainBroken(f"record {sequence} was changed: its hash does not fit", sequence)
    return Head(sequence, digest)


def check_anchor(anchor: Head | None, head: Head) -> None:
    """Raise ChainBroken if this is the anchor's record and another one stands in its place."""
    if anchor is not None and anchor.sequence == head.sequence and anchor.hash != head.hash:
        raise ChainBroken(f"record {head.sequence} is not the one the anchor names", head.sequence)


def before(line: bytes) -> Head:
    """The head that a line says it follows."""
    record = orjson.loads(line)
    return Head(record["seq"] - 1, record["prev"])


def end_of(path: Path) -> Head:
    """The last record of a segment that a newer one follows."""
    for line in lines_backwards(path):
        try:
            record = orjson.loads(line)
            return Head(record["seq"], record["hash"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise AuditError(f"{path.name}: its last record cannot be read") from None
    raise AuditError(f"{path.name} is empty although a newer segment exists")


def verify(directory: Path, *, head: Head | None = None, anchors: Iterable[Anchor] = ()) -> Verification:
    """Walk the whole chain, oldest record first.

    `head`, where known, is a record that must be there; without it the anchor file is taken. `anchors` are
    heads that were left elsewhere: each must be in the chain, unless it is older than the oldest record.
    """
    expected = head if head is not None else read_anchor(directory)
    oldest = read_oldest(directory)
    walk = _Walk(expected, oldest, anchors)
    try:
        walk.through(directory)
        walk.finish()
    except ChainBroken as error:
        return walk.result(error)
    return walk.result(None)


class _Walk:
    """One walk over a chain: where it is, and what must still be met on the way."""

    def __init__(self, expected: Head | None, oldest: Oldest | None, anchors: Iterable[Anchor]) -> None:
        self._oldest = oldest
        self._begun = Head(0, BEGINNING) if oldest is None else oldest.before
        self._at = self._begun
        self._wanted: dict[int, list[Anchor]] = {}
        self._fitted = 0
        if expected is not None and expected.sequence > self._begun.sequence:
            self._wanted[expected.sequence] = [Anchor(expected.sequence, expected.hash, _OWN)]
        for anchor in anchors:
            if anchor.sequence >= max(1, self._begun.sequence):
                self._wanted.setdefault(anchor.sequence, []).append(anchor)
        # Of a chain that says where it begins, a record of its own has to say the same.
        self._explained = oldest is None

    def through(self, directory: Path) -> None:
        """Check every segment in its turn."""
        being_written = _is_being_written(directory)
        expected_number = 1 if self._oldest is None else self._oldest.segment
        segments = [found for found in segments_of(directory) if found[0] >= expected_number]
        self._meet(self._begun)
        for number, path in segments:
            if number != expected_number:
                raise ChainBroken(f"segment {expected_number} is missing", self._at.sequence + 1)
            whole, torn = split_lines(path.read_bytes())
            for line in whole:
                self._at = check(line, self._at)
                if self._wanted:
                    self._meet(self._at)
                if not self._explained and RETIRED.encode() in line:
                    self._explained = _explains(line, self._begun)
            if torn and not (being_written and number == segments[-1][0]):
                raise ChainBroken(f"record {self._at.sequence + 1} is incomplete", self._at.sequence + 1)
            expected_number += 1

    def _meet(self, head: Head) -> None:
        for anchor in self._wanted.pop(head.sequence, ()):
            if anchor.hash != head.hash:
                told = "" if anchor.at == _OWN else f" left at {anchor.at}"
                raise ChainBroken(
                    f"record {head.sequence} is not the one the anchor{told} names", head.sequence
                )
            self._fitted += anchor.at != _OWN

    def finish(self) -> None:
        """What had to be met and was not."""
        if self._wanted:
            missing = self._wanted[max(self._wanted)][0]
            told = "" if missing.at == _OWN else f", which the anchor left at {missing.at} names,"
            raise ChainBroken(
                f"the chain ends at record {self._at.sequence}, record {missing.sequence}{told} is missing",
                self._at.sequence + 1,
            )
        if not self._explained:
            sequence = self._begun.sequence + 1
            raise ChainBroken(
                f"the chain begins at record {sequence}, and no record says that older ones were removed", sequence
            )

    def result(self, error: ChainBroken | None) -> Verification:
        """What was found so far."""
        begun = self._begun.sequence
        problem = None if error is None else error.problem
        wrong = None if error is None else error.sequence
        return Verification(
            error is None, self._at.sequence - begun, self._at.hash, problem, wrong, begun + 1, self._fitted
        )


def _explains(line: bytes, begun: Head) -> bool:
    """Whether a record says that everything up to a head was removed."""
    record = orjson.loads(line)
    return bool(record["kind"] == RETIRED and Head(record["upto"], record["upto_hash"]) == begun)


def read(
    directory: Path, *, after: int = 0, kinds: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The records with a sequence above `after`, oldest first; `kinds` picks some."""
    for line in lines_of(directory):
        record = orjson.loads(line)
        if record["seq"] > after and (kinds is None or record["kind"] in kinds):
            yield record


def lines_of(directory: Path) -> Iterator[bytes]:
    """Every complete line with its line end, oldest first."""
    for _, path in segments_of(directory):
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield line


def newest(
    directory: Path, *, limit: int, wanted: Callable[[dict[str, Any]], bool] | None = None
) -> list[dict[str, Any]]:
    """Up to `limit` records that are wanted, newest first."""
    found: list[dict[str, Any]] = []
    for _, path in reversed(segments_of(directory)):
        for line in lines_backwards(path):
            record = orjson.loads(line)
            if wanted is None or wanted(record):
                found.append(record)
                if len(found) >= limit:
                    return found
    return found


def since(directory: Path, instant: datetime) -> list[dict[str, Any]]:
    """The records that are not older than `instant`, oldest first; read from the end, so its cost is theirs."""
    found: list[dict[str, Any]] = []
    for _, path in reversed(segments_of(directory)):
        for line in lines_backwards(path):
            record = orjson.loads(line)
            if datetime.fromisoformat(record["at"]) < instant:
                return found[::-1]
            found.append(record)
    return found[::-1]


def find(directory: Path, decision_id: str) -> list[dict[str, Any]]:
    """Every record of one decision, oldest first: the decision and then its outcomes."""
    found: list[dict[str, Any]] = []
    quoted = orjson.dumps(decision_id)
    for _, path in reversed(segments_of(directory)):
        for line in lines_backwards(path):
            if quoted not in line:
                continue
            record = orjson.loads(line)
            if record.get("decision_id") != decision_id:
                continue
            found.append(record)
            if record["kind"] == "decision":
                return found[::-1]
    return found[::-1]


def hash_of(directory: Path, sequence: int) -> str | None:
    """The hash of one record, searched from the end; None if it is not there (any more)."""
    for _, path in reversed(segments_of(directory)):
        for line in lines_backwards(path):
            record = orjson.loads(line)
            if record["seq"] <= sequence:
                return str(record["hash"]) if record["seq"] == sequence else None
    return None


def lines_backwards(path: Path) -> Iterator[bytes]:
    """A segment's complete lines, last first, without reading what is not asked for."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = content.rfind(b"\n")
        while end >= 0:
            start = content.rfind(b"\n", 0, end)
            yield content[start + 1 : end]
            end = start


def _is_being_written(directory: Path) -> bool:
    try:
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def write_anchor(directory: Path, head: Head) -> None:
    """Leave word how far the chain surely reaches; whole or not at all."""
    _replace(directory, _ANCHOR, {"seq": head.sequence, "hash": head.hash})


def read_anchor(directory: Path) -> Head | None:
    """How far the chain surely reached when the anchor was last written; None if there is none yet."""
    try:
        content = orjson.loads((directory / _ANCHOR).read_bytes())
        return Head(int(content["seq"]), str(content["hash"]))
    except FileNotFoundError:
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise AuditError(f"{_ANCHOR} in {directory} cannot be read: {error!r}") from error


def write_oldest(directory: Path, oldest: Oldest) -> None:
    """Leave word where the chain begins from now on; whole or not at all."""
    before_it = oldest.before
    _replace(directory, _OLDEST, {"after_seq": before_it.sequence, "prev": before_it.hash, "segment": oldest.segment})


def read_oldest(directory: Path) -> Oldest | None:
    """Where the chain begins; None if nothing of it was ever removed."""
    try:
        content = orjson.loads((directory / _OLDEST).read_bytes())
        return Oldest(Head(int(content["after_seq"]), str(content["prev"])), int(content["segment"]))
    except FileNotFoundError:
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise AuditError(f"{_OLDEST} in {directory} cannot be read: {error!r}") from error


def _replace(directory: Path, name: str, content: dict[str, object]) -> None:
    temporary = directory / f"{name}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(content) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / name)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Bring the names of a directory's files to disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
