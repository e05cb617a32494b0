"""A folder of segments: who has it, where its chain ends, and how it takes over what another one holds.

Two folders of one chain hold the same bytes under the same names. So a folder that fell behind, or is new,
is brought up to the other by copying bytes, and a place in one is the same place in the other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Final, NamedTuple

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
    read_oldest,
    segments_of,
    split_lines,
    sync_directory,
    write_oldest,
)
from proxy.errors import AuditError, ConfigError

_COPY_BYTES: Final = 1 << 20


class Position(NamedTuple):
    """A place in a chain's files: so many bytes into a segment."""

    segment: int
    size: int


class End(NamedTuple):
    """Where a folder's chain ends, and what stands behind its last whole line."""

    position: Position
    head: Head
    torn: bytes


START: Final = Position(1, 0)


def segment_path(directory: Path, segment: int) -> Path:
    """A segment's file."""
    return directory / f"audit-{segment:06d}.jsonl"


def take_lock(directory: Path) -> int:
    """Become the one writer of a directory."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigError(
            f"the audit directory {directory} is in use by another process; each process needs its own"
        ) from None
    return lock


def create_segment(directory: Path, segment: int) -> int:
    """Begin a segment, open for writing."""
    path = segment_path(directory, segment)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # The file's name has to be on disk before any sync of its content counts.
        sync_directory(directory)
    except OSError:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def read_end(directory: Path) -> End | None:
    """Check the newest segment and say where it ends; None if there is none.

    Raises AuditError if it was changed or damaged.
    """
    segments = segments_of(directory)
    if not segments:
        return None
    number, path = segments[-1]
    whole, torn = split_lines(path.read_bytes())
    head = _before(directory, segments)
    try:
        anchor = read_anchor(directory)
        for line in whole:
            head = check(line, head)
            check_anchor(anchor, head)
    except ChainBroken as error:
        raise AuditError(
            f"{path.name}: {error.problem}; the audit was changed or damaged. Nothing is written to it: "
            "keep the directory as it is and start with a new one"
        ) from None
    return End(Position(number, sum(len(line) + 1 for line in whole)), head, torn)


def _before(directory: Path, segments: list[tuple[int, Path]]) -> Head:
    """The head that the newest segment continues."""
    oldest = read_oldest(directory)
    if len(segments) > 1 and (oldest is None or segments[-2][0] >= oldest.segment):
        return end_of(segments[-2][1])
    return Head(0, BEGINNING) if oldest is None else oldest.before


def remove_older(directory: Path) -> None:
    """Remove segments before the one with which the chain begins; a removal that was cut off is ended so."""
    oldest = read_oldest(directory)
    if oldest is None:
        return
    for number, path in segments_of(directory):
        if number < oldest.segment:
            path.unlink()
    sync_directory(directory)


def check_reaches(directory: Path, end: End | None) -> None:
    """Raise AuditError where a folder ends before the record that its anchor says was on disk."""
    anchor = read_anchor(directory)
    head = Head(0, BEGINNING) if end is None else end.head
    if anchor is None or anchor.sequence <= head.sequence:
        return
    name = segment_path(directory, 1 if end is None else end.position.segment).name
    raise AuditError(
        f"{name} ends at record {head.sequence}, but record {anchor.sequence} was already on disk: "
        "records are missing. Keep the directory as it is and start with a new one"
    )


def check_same(shorter: End | None, longer: Path) -> None:
    """Raise AuditError unless a folder's end is a place in another folder's chain."""
    if shorter is None or shorter.head.sequence == 0:
        return
    if _hash_at(longer, shorter.position) != shorter.head.hash:
        raise AuditError(
            f"the two folders of the audit hold different records, at the latest from record {shorter.head.sequence} "
            f"on ({longer} is one of them): a person has to look which is right"
        )


def _hash_at(directory: Path, position: Position) -> str | None:
    """The hash of the last record before a position; None if no record ends there."""
    path = segment_path(directory, position.segment)
    try:
        with path.open("rb") as file:
            held = file.read(position.size)
            following = file.readline() if position.size == 0 else b""
    except FileNotFoundError:
        return None
    if len(held) != position.size:
        return None
    if position.size:
        line = held[held.rfind(b"\n", 0, -1) + 1 : -1] if held.endswith(b"\n") else b""
        return line[-66:-2].decode("ascii", "replace")
    if following.endswith(b"\n"):
        return before(following).hash
    older = segment_path(directory, position.segment - 1)
    return end_of(older).hash if older.exists() else None


def copy_forward(source: Path, target: Path, at: Position, until: Position) -> None:
    """Let `target`, which ends at `at`, hold what `source` holds up to `until`; on disk when this returns."""
    if at == START and not segments_of(target) and (oldest := read_oldest(source)) is not None:
        write_oldest(target, oldest)
        at = Position(oldest.segment, 0)
    for number in range(at.segment, until.segment + 1):
        path = segment_path(source, number)
        start = at.size if number == at.segment else 0
        stop = until.size if number == until.segment else path.stat().st_size
        _copy(path, segment_path(target, number), start, stop)
    sync_directory(target)


def _copy(source: Path, target: Path, start: int, stop: int) -> None:
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(writing, start)
        os.lseek(writing, start, os.SEEK_SET)
        with source.open("rb", buffering=0) as reading:
            reading.seek(start)
            left = stop - start
            while left > 0:
                block = reading.read(min(left, _COPY_BYTES))
                if not block:
                    raise AuditError(f"{source.name} holds {stop - left} bytes, {stop} were written")
                left -= len(block)
                while block:
                    written = os.write(writing, block)  # not inside the slice: mypyc evaluates that twice
                    block = block[written:]
        os.fdatasync(writing)
    finally:
        os.close(writing)


def write_again(path: Path, size: int) -> None:
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


def quarantine(path: Path, whole_bytes: int, torn: bytes) -> dict[str, object]:
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
