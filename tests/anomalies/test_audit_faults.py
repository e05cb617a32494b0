"""Full disks, failing syncs and kill -9: nothing that was acknowledged is lost, and the stop can always be set."""

import asyncio
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.audit import Audit, newest, read, verify
from proxy.audit import writer as audit_module
from proxy.clock import ManualClock
from proxy.errors import AuditError
from proxy.ess import EssLatch, initialise
from proxy.tasks import Tasks
from rules import EssLevel

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def make(tmp_path):
    """Open audits in one directory; they are closed at the end."""
    tasks, made = Tasks(), []

    def open_audit(sync="process", **options):
        audit = Audit(tmp_path / "audit", sync=sync, clock=ManualClock(NOW), tasks=tasks, **options)
        audit.open()
        made.append(audit)
        return audit

    yield open_audit
    await tasks.close()
    for audit in made:
        audit.close()


def record(number):
    """A record of some length."""
    return {"kind": "decision", "decision_id": f"d-{number}", "filler": "x" * 300}


# -- a full disk


def until_full(audit):
    """Append until it fails; returns how many records there are."""
    for number in range(10_000):
        try:
            audit.append(record(number))
        except AuditError:
            return number
    raise AssertionError("the disk never filled")


def limited(size):
    """From now on no file of this process grows beyond `size`: a disk that is full, made by the kernel."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


@pytest.fixture
def unlimited():
    """Whatever a test sets, files may grow again afterwards."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 7, 100, 400])
async def test_a_full_disk_refuses_the_record_and_leaves_no_part_of_it(make, unlimited, room):
    """However many bytes still fit: AuditError, the partial line is cut away, and the chain goes on later."""
    audit = make()
    for number in range(3):
        audit.append(record(number))
    path = audit.directory / "audit-000001.jsonl"
    size = path.stat().st_size
    limited(size + room)
    for _ in range(3):
        with pytest.raises(AuditError, match="could not be written"):
            audit.append(record(99))
    assert path.stat().st_size == size
    assert not audit.healthy

    unlimited()
    assert audit.append(record(3)) == 4
    assert audit.healthy
    assert verify(audit.directory) == (True, 4, audit.head_hash, None, None, 1, 0)


async def test_the_stop_can_be_set_when_the_disk_is_full(make, unlimited, tmp_path):
    """Not one more byte fits anywhere, and the halt is durable all the same; so is its release."""
    initialise(tmp_path / "ess.state", clock=ManualClock(NOW))
    latch = EssLatch.open(tmp_path / "ess.state", clock=ManualClock(NOW), drain=None)
    audit = make()
    audit.append(record(1))
    limited(min(audit._size, 8192))
    with pytest.raises(AuditError):
        audit.append(record(2))

    # Rewriting the file's 8192 bytes in place is all that engaging needs.
    limited(8192)
    result = await latch.engage(level=EssLevel.HALT, scope="global", actor="a", reason="disk full", source="api")

    assert result.durable
    again = EssLatch.open(tmp_path / "ess.state", clock=ManualClock(NOW), drain=None)
    assert again.governing("x").level is EssLevel.HALT
    unlimited()
    again.close()
    latch.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_small_file_system_that_is_really_full(tmp_path):
    """On a tmpfs of 256 KiB: audit until ENOSPC, halt, make room, go on; the chain holds throughout."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    mounted = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this environment does not allow mounts")
    try:
        initialise(mount / "ess.state", clock=ManualClock(NOW))
        latch = EssLatch.open(mount / "ess.state", clock=ManualClock(NOW), drain=None)
        ballast = mount / "ballast"
        ballast.write_bytes(b"x" * 100_000)
        audit = Audit(mount / "audit", sync="process", clock=ManualClock(NOW), tasks=Tasks())
        audit.open()
        written = until_full(audit)
        assert written > 100
        result = await latch.engage(level=EssLevel.HALT, scope="global", actor="a", reason="full", source="api")
        assert result.durable
        ballast.unlink()
        assert audit.append(record(written)) == written + 1
        audit.close()
        latch.close()
        assert verify(mount / "audit").records == written + 1
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(mount)], check=True)


async def test_a_partial_line_that_cannot_be_cut_away_is_cut_before_the_next_record(make, monkeypatch):
    """Write and truncation both fail; the next append repairs first, and nothing is ever glued to a torn line."""
    audit = make()
    audit.append(record(1))
    real_write, real_truncate = os.write, os.ftruncate

    def half(descriptor, line):
        real_write(descriptor, line[: len(line) // 2])
        raise OSError(errno.EIO, "Input/output error")

    def failing(descriptor, size):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(audit_module.os, "write", half)
    monkeypatch.setattr(audit_module.os, "ftruncate", failing)
    with pytest.raises(AuditError):
        audit.append(record(2))
    monkeypatch.setattr(audit_module.os, "write", real_write)
    with pytest.raises(AuditError):
        audit.append(record(3))
    assert not audit.healthy
    monkeypatch.setattr(audit_module.os, "ftruncate", real_truncate)

    assert audit.append(record(4)) == 2
    assert [one["decision_id"] for one in read(audit.directory)] == ["d-1", "d-4"]
    assert verify(audit.directory).ok


async def test_a_segment_that_cannot_be_created_refuses_the_record(make, monkeypatch):
    """At the rotation the disk has no room for another file: AuditError, and later the rotation succeeds."""
    audit = make(segment_bytes=1500)
    real = os.open
    for number in range(2):
        audit.append(record(number))

    def failing(path, flags, *arguments):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, flags, *arguments)

    monkeypatch.setattr(audit_module.os, "open", failing)
    with pytest.raises(AuditError):
        audit.append(record(9))
    monkeypatch.undo()
    for number in range(2, 6):
        audit.append(record(number))
    assert len(list(audit.directory.glob("*.jsonl"))) == 3
    assert verify(audit.directory).records == 6


@pytest.mark.parametrize("sync", ["process", "power"])
async def test_a_failed_audit_recovers_by_itself(make, monkeypatch, sync):
    """A proxy that is not ready gets no orders; it finds out by a record of its own that it can write again."""
    monkeypatch.setattr(audit_module, "RECOVER_EVERY_S", 0.01)
    audit = make(sync=sync)
    real = os.write

    def failing(descriptor, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audit_module.os, "write", failing)
    with pytest.raises(AuditError):
        audit.append(record(1))
    await asyncio.sleep(0.05)
    assert not audit.healthy
    monkeypatch.setattr(audit_module.os, "write", real)
    for _ in range(200):
        if audit.healthy:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)

    assert [one["kind"] for one in read(audit.directory)] == ["audit.probe"]
    assert verify(audit.directory).ok


async def test_what_a_full_disk_did_not_take_is_written_when_there_is_room(make, monkeypatch):
    """Outcomes keep their places while the disk is full, no decision gets in between, and the chain is whole after."""
    monkeypatch.setattr(audit_module, "RECOVER_EVERY_S", 0.01)
    audit = make()
    audit.append(record(1))
    real = os.write

    def failing(descriptor, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audit_module.os, "write", failing)
    audit.append_soon({"kind": "outcome", "decision_id": "d-1"})
    await asyncio.sleep(0)
    assert not audit.healthy
    with pytest.raises(AuditError):
        audit.append(record(2))
    audit.append_soon({"kind": "outcome", "decision_id": "d-0"})
    monkeypatch.setattr(audit_module.os, "write", real)
    for _ in range(200):
        if audit.healthy:
            break
        await asyncio.sleep(0.01)
    audit.append(record(3))

    kinds = [one["kind"] for one in read(audit.directory)]
    assert kinds == [record(1)["kind"], "outcome", "outcome", "audit.probe", record(3)["kind"]]
    assert verify(audit.directory, head=audit.head).ok


async def test_not_without_end_waits_for_a_full_disk(make, monkeypatch):
    """Where too much waits already, an outcome is refused aloud instead of filling the memory."""
    audit = make()

    def failing(descriptor, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audit_module, "PENDING_BYTES_MAX", 1000)
    monkeypatch.setattr(audit_module.os, "write", failing)
    audit.append_soon({"kind": "outcome", "decision_id": "d-1", "detail": " " * 600})
    with pytest.raises(AuditError, match="wait already"):
        audit.append_soon({"kind": "outcome", "decision_id": "d-2", "detail": " " * 600})
    monkeypatch.undo()
    audit.flush()

    assert [one["decision_id"] for one in read(audit.directory)] == ["d-1"]
    assert verify(audit.directory, head=audit.head).ok


# -- failing syncs


async def test_a_failed_sync_fails_everybody_it_was_for(make, monkeypatch):
    """All who waited for it are told; nobody is told that a record is durable that may not be."""
    audit = make(sync="power")

    def failing(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(audit_module.os, "fdatasync", failing)
    waits = [audit.durable(audit.append(record(number))) for number in range(10)]
    results = await asyncio.gather(*waits, return_exceptions=True)

    assert all(isinstance(result, AuditError) for result in results)
    assert not audit.healthy


async def test_after_a_failed_sync_the_bytes_are_written_again(make, monkeypatch):
    """A second sync alone would succeed without having written anything: the pages count as clean by then."""
    audit = make(sync="power")
    first = audit.append(record(1))
    real, calls = os.fdatasync, []

    def failing_once(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(audit_module.os, "fdatasync", failing_once)
    with pytest.raises(AuditError):
        await audit.durable(first)
    rewritten = []
    again = audit_module.write_again
    monkeypatch.setattr(
        audit_module, "write_again", lambda path, size: (rewritten.append((path.name, size)), again(path, size))
    )
    second = audit.append(record(2))
    assert not audit.healthy
    await audit.durable(second)

    assert rewritten == [("audit-000001.jsonl", (audit.directory / "audit-000001.jsonl").stat().st_size)]
    assert audit.healthy
    assert verify(audit.directory).records == 2
    await audit.durable(audit.append(record(3)))
    assert len(rewritten) == 1


async def test_bytes_that_changed_under_a_failed_sync_are_not_written_again(make, monkeypatch):
    """What is read back must be what had been written; otherwise durability stays refused."""
    audit = make(sync="power")
    sequence = audit.append(record(1))
    audit._sync_failed = True
    path = audit.directory / "audit-000001.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"d-1", b"d-7"))
    with pytest.raises(AuditError, match="after a failed sync"):
        await audit.durable(sequence)
    path.write_bytes(content)
    await audit.durable(sequence)


async def test_a_closing_audit_leaves_nobody_waiting(make):
    """Whoever waits while the audit is closed gets an answer, whichever."""
    audit = make(sync="power")
    waits = [asyncio.ensure_future(audit.durable(audit.append(record(number)))) for number in range(5)]
    await asyncio.sleep(0)
    audit.close()
    results = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 5)
    assert all(result is None or isinstance(result, AuditError) for result in results)


# -- kill -9

WRITER = """
import asyncio, sys
from pathlib import Path
from proxy.audit import Audit
from proxy.clock import SystemClock
from proxy.ess import EssLatch
from proxy.tasks import Tasks
from rules import EssLevel

async def main(directory, sync):
    audit = Audit(directory / "audit", sync=sync, clock=SystemClock(), tasks=Tasks(), segment_bytes=40_000)
    audit.open()
    latch = EssLatch.open(directory / "ess.state", clock=SystemClock(), drain=None)
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        sequence = audit.append({"kind": "decision", "decision_id": f"{sys.argv[3]}-{number}", "filler": "x" * 200})
        await audit.durable(sequence)
        print("recorded", f"{sys.argv[3]}-{number}", sequence, flush=True)
        if number % 20 == 0:
            scope = f"account:a{number}"
            said = await latch.engage(level=EssLevel.HALT, scope=scope, actor="a", reason="r", source="api")
            print("engaged", scope, said.epoch, flush=True)
            if number % 40 == 0:
                stop = await latch.release(scope=scope, actor="a", reason="r", expected_epoch=said.epoch)
                print("released", scope, stop.epoch, flush=True)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def run_and_kill(directory, sync, name, after_s):
    """Run a writer, kill it at some instant, and return what it had acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), sync, name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", "the writer did not start"
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    lines = process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    process.wait()
    return [line.split() for line in lines if line.endswith("\n")]


def kill_rounds(directory, rounds):
    """Kill writers at random instants; after each, everything acknowledged is there and the chain holds."""
    initialise(directory / "ess.state", clock=ManualClock(NOW))
    chance = random.Random(rounds)
    acknowledged = {}
    for number in range(rounds):
        sync = "power" if number % 2 else "process"
        said = run_and_kill(directory, sync, f"r{number}", chance.uniform(0.0, 0.12))
        acknowledged |= {words[1]: int(words[2]) for words in said if words[0] == "recorded"}
        stops = {words[1]: words[0] for words in said if words[0] in ("engaged", "released")}
        check_after(directory, acknowledged, stops)
    return len(acknowledged)


def check_after(directory, acknowledged, stops):
    """What a writer had acknowledged before it was killed holds for the next one."""
    latch = EssLatch.open(directory / "ess.state", clock=ManualClock(NOW), drain=None)
    latch.close()
    for scope, word in stops.items():
        account = scope.removeprefix("account:")
        # Of every fortieth a release may have been under way, which nobody had been told of.
        if word == "engaged" and int(account.removeprefix("a")) % 40:
            assert latch.governing(account).level is EssLevel.HALT, scope
    audit = Audit(directory / "audit", sync="process", clock=ManualClock(NOW), tasks=Tasks())
    audit.open()
    audit.close()
    assert verify(directory / "audit").ok
    found = {one["decision_id"]: one["seq"] for one in read(directory / "audit", kinds={"decision"})}
    lost = {name: seq for name, seq in acknowledged.items() if found.get(name) != seq}
    assert not lost
    assert newest(directory / "audit", limit=1)


def test_ten_kills_lose_no_acknowledged_record_and_no_acknowledged_halt(tmp_path):
    """kill -9 at ten random instants."""
    assert kill_rounds(tmp_path, 10) > 50


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_hundred_kills_lose_no_acknowledged_record_and_no_acknowledged_halt(tmp_path):
    """kill -9 at two hundred random instants."""
    assert kill_rounds(tmp_path, 200) > 1000
