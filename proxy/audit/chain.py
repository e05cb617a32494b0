"""The chain: how a line continues another, and reading and verifying what was written.

Nothing here writes records; all of it works on the files alone, whether or not a proxy runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from proxy.errors import AuditError

BEGINNING: Final = "0" * 64  # the "previous hash" of the first record
LOCK: Final = "lock"
_ANCHOR: Final = "anchor.json"
_SEGMENT: Final = re.compile(r"audit-([0-9]{6,})\.jsonl\Z")
_HASH_ENDING: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}\Z')
_HASH_ENDING_BYTES: Final = len(b',"hash":"') + 64 + len(b'"}')


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
    segments = segments_of(directory)
    try:
        for index, (number, path) in enumerate(segments):
            if number != index + 1:
                raise ChainBroken(f"segment {index + 1} is missing", at.sequence + 1)  # noqa: TRY301 - one exit
            whole, torn = split_lines(path.read_bytes())
            for line in whole:
                at = check(line, at)
                check_anchor(expected, at)
                reached = reached or at == expected
            if torn and not (being_written and index == len(segments) - 1):
                raise ChainBroken(f"record {at.sequence + 1} is incomplete", at.sequence + 1)  # noqa: TRY301 - one exit
    except ChainBroken as error:
        return Verification(False, at.sequence, at.hash, error.problem, error.sequence)  # noqa: FBT003 - a NamedTuple
    if expected is not None and expected.sequence > 0 and not reached:
        problem = f"the chain ends at record {at.sequence}, record {expected.sequence} is missing"
        return Verification(False, at.sequence, at.hash, problem, at.sequence + 1)  # noqa: FBT003 - a NamedTuple
    return Verification(True, at.sequence, at.hash, None, None)  # noqa: FBT003 - a NamedTuple


def read(
    directory: Path, *, after: int = 0, kinds: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The records with a sequence above `after`, oldest first; `kinds` picks some."""
    for _, path in segments_of(directory):
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
    for _, path in reversed(segments_of(directory)):
        for line in _lines_backwards(path):
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
        for line in _lines_backwards(path):
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
    temporary = directory / f"{_ANCHOR}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps({"seq": head.sequence, "hash": head.hash}) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / _ANCHOR)
    sync_directory(directory)


def read_anchor(directory: Path) -> Head | None:
    """How far the chain surely reached when the anchor was last written; None if there is none yet."""
    try:
        content = orjson.loads((directory / _ANCHOR).read_bytes())
        return Head(int(content["seq"]), str(content["hash"]))
    except FileNotFoundError:
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise AuditError(f"{_ANCHOR} in {directory} cannot be read: {error!r}") from error


def sync_directory(directory: Path) -> None:
    """Bring the names of a directory's files to disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
