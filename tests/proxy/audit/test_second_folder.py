"""Two folders: both hold every record, one may fail, and without any nothing is recorded."""

import asyncio
import os
import shutil
import threading
from pathlib import Path

import pytest

from proxy.audit import newest, read, read_anchor, verify
from proxy.audit import second as second_module
from proxy.audit import writer as writer_module
from proxy.audit.folder import segment_path
from proxy.clock import ManualClock
from proxy.errors import AuditError, ConfigError
from tests.proxy.audit.conftest import NOW


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What is tried every second is tried often."""
    monkeypatch.setattr(writer_module, "RECOVER_EVERY_S", 0.01)
    monkeypatch.setattr(second_module, "RETRY_EVERY_S", 0.01)


@pytest.fixture
def both(opened, tmp_path):
    """Open an audit with two folders."""
    return lambda sync="power", **options: opened(
        tmp_path / "audit", sync=sync, second=tmp_path / "second", **options
    )


def record(number):
    """A record of some length."""
    return {"kind": "decision", "decision_id": f"d-{number}", "filler": "x" * 100}


async def put(audit, *numbers):
    """Record, durably."""
    for number in numbers:
        await audit.durable(audit.append(record(number)))


async def until(condition, *, timeout_s=5.0):
    """Wait for something to become true."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def contents(folder):
    """A folder's segments, byte for byte."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("audit-*.jsonl"))}


def same(audit, tmp_path):
    """Both folders hold the same, whole chain."""
    audit.close()
    assert contents(tmp_path / "audit") == contents(tmp_path / "second")
    found = verify(tmp_path / "second")
    assert found.ok, found
    assert read_anchor(tmp_path / "second") == read_anchor(tmp_path / "audit")
    return found.records


def name_of(descriptor):
    """The file behind a descriptor."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


class Broken:
    """A disk whose writes fail in one folder, until it is mended."""

    def __init__(self, monkeypatch, folder):
        self.folder = str(folder)
        self.is_broken = True
        real_write, real_sync, real_open = os.write, os.fdatasync, os.open

        def of(descriptor):
            return self.is_broken and name_of(descriptor).startswith(self.folder)

        def write(descriptor, content):
            if of(descriptor):
                raise OSError(28, "No space left on device")
            return real_write(descriptor, content)

        def sync(descriptor):
            if of(descriptor):
                raise OSError(5, "Input/output error")
            real_sync(descriptor)

        def open_(path, flags, *mode, **options):
            if self.is_broken and flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(self.folder):
                raise OSError(30, "Read-only file system")
            return real_open(path, flags, *mode, **options)

        monkeypatch.setattr(os, "write", write)
        monkeypatch.setattr(os, "fdatasync", sync)
        monkeypatch.setattr(os, "open", open_)


@pytest.mark.parametrize("sync", ["power", "process"])
async def test_both_folders_hold_the_same_bytes(both, tmp_path, sync):
    """Segments, rotations and the anchor: a copy that can take over at any time."""
    audit = both(sync, segment_bytes=1500)
    await put(audit, *range(40))
    audit.append_soon({"kind": "outcome", "decision_id": "d-1"})

    assert same(audit, tmp_path) == 41
    assert len(contents(tmp_path / "second")) > 3


async def test_an_order_waits_until_its_record_is_in_both(both, tmp_path):
    """With power cuts in mind: when durable returns, the second folder has the bytes too."""
    audit = both()
    for number in range(20):
        await put(audit, number)
        assert newest(tmp_path / "second", limit=1)[0]["decision_id"] == f"d-{number}"


async def test_a_second_folder_named_later_gets_everything(opened, both, tmp_path):
    """It is filled from the first in the background, and well when it has caught up."""
    first = opened(tmp_path / "audit", segment_bytes=1500)
    await put(first, *range(30))
    first.close()
    audit = both(segment_bytes=1500)
    await until(lambda: not audit.folders["second"])
    await put(audit, 30)

    assert same(audit, tmp_path) == 31


@pytest.mark.parametrize("sync", ["power", "process"])
async def test_the_second_folder_may_fail(both, tmp_path, monkeypatch, sync):
    """Orders go on with the first, it is said what is wrong, and the second gets what it missed."""
    audit = both(sync, segment_bytes=1500)
    await put(audit, *range(5))
    disk = Broken(monkeypatch, tmp_path / "second")
    await put(audit, *range(5, 25))
    await until(lambda: audit.folders["second"])
    assert audit.healthy
    assert audit.folders["first"] == ""
    assert "No space" in audit.folders["second"] or "Read-only" in audit.folders["second"]

    disk.is_broken = False
    await until(lambda: not audit.folders["second"])
    await put(audit, 25)

    assert same(audit, tmp_path) == 26


@pytest.mark.parametrize("sync", ["power", "process"])
async def test_the_first_folder_may_fail(both, tmp_path, monkeypatch, sync):
    """Orders go on with the second, readers read there, and the first gets what it missed."""
    audit = both(sync, segment_bytes=1500)
    await put(audit, *range(5))
    disk = Broken(monkeypatch, tmp_path / "audit")
    await put(audit, *range(5, 25))
    assert audit.healthy
    # What was tried last: to write, to open anew, or to catch up.
    assert any(said in audit.folders["first"] for said in ("No space", "Read-only", "Input/output"))
    assert audit.directory == tmp_path / "second"
    assert [one["decision_id"] for one in read(audit.directory)] == [f"d-{number}" for number in range(25)]
    assert verify(audit.directory, head=audit.head).ok

    disk.is_broken = False
    await until(lambda: not audit.folders["first"])
    assert audit.directory == tmp_path / "audit"
    await put(audit, 25)

    assert same(audit, tmp_path) == 26


async def test_the_first_folder_catches_up_while_orders_go_on(both, tmp_path, monkeypatch):
    """What comes while it copies is neither lost nor written twice."""
    audit = both(segment_bytes=4000)
    disk = Broken(monkeypatch, tmp_path / "audit")
    numbers = iter(range(10_000))
    going = True

    async def orders():
        while going:
            await put(audit, next(numbers))

    bots = [asyncio.ensure_future(orders()) for _ in range(4)]
    await until(lambda: audit.folders["first"])
    for _ in range(5):
        disk.is_broken = False
        await until(lambda: not audit.folders["first"])
        await asyncio.sleep(0.02)
        disk.is_broken = True
        await until(lambda: audit.folders["first"])
    disk.is_broken = False
    await until(lambda: not audit.folders["first"])
    going = False
    await asyncio.gather(*bots)

    assert same(audit, tmp_path) == next(numbers)


async def test_without_any_folder_nothing_is_recorded(both, tmp_path, monkeypatch):
    """No record, no forward; when one of them is back it goes on, and nothing that was acknowledged is lost."""
    audit = both()
    await put(audit, 0)
    first = Broken(monkeypatch, tmp_path / "audit")
    await put(audit, 1)
    second = Broken(monkeypatch, tmp_path / "second")
    with pytest.raises(AuditError):
        await put(audit, 2)
    await until(lambda: not audit.healthy)
    for number in range(3, 6):
        with pytest.raises(AuditError, match="neither folder"):
            await put(audit, number)

    second.is_broken = False
    await until(lambda: audit.healthy)
    await put(audit, 6)
    first.is_broken = False
    await until(lambda: not audit.folders["first"])
    same(audit, tmp_path)

    found = [one["decision_id"] for one in read(tmp_path / "audit") if one["kind"] == "decision"]
    assert [one for one in found if one != "d-2"] == ["d-0", "d-1", "d-6"]


async def test_a_second_disk_that_hangs_delays_an_order_once(both, tmp_path, monkeypatch):
    """Neither the event loop nor the orders wait for it; when it answers again it catches up."""
    monkeypatch.setattr(second_module, "SLOW_S", 0.05)
    audit = both()
    await put(audit, 0)
    hangs, real = threading.Event(), os.fdatasync
    folder = str(tmp_path / "second")

    def hanging(descriptor):
        if name_of(descriptor).startswith(folder):
            hangs.wait(20)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", hanging)
    await asyncio.wait_for(put(audit, 1), 5)
    assert "longer than" in audit.folders["second"]
    await asyncio.wait_for(put(audit, *range(2, 50)), 5)
    assert audit.healthy
    hangs.set()
    await until(lambda: not audit.folders["second"])
    await put(audit, 50)

    assert same(audit, tmp_path) == 51


async def test_a_first_disk_that_hangs_in_its_sync_delays_an_order_once(both, tmp_path, monkeypatch):
    """The record is durable in the second folder; the first is asked again when it has answered."""
    monkeypatch.setattr(writer_module, "SLOW_S", 0.05)
    audit = both()
    await put(audit, 0)
    hangs, real = threading.Event(), os.fdatasync
    folder = str(tmp_path / "audit")

    def hanging(descriptor):
        if name_of(descriptor).startswith(folder):
            hangs.wait(20)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", hanging)
    await asyncio.wait_for(put(audit, *range(1, 30)), 5)
    assert "longer than" in audit.folders["first"]
    assert newest(tmp_path / "second", limit=1)[0]["decision_id"] == "d-29"
    hangs.set()
    await until(lambda: not audit.folders["first"])
    await put(audit, 30)

    assert same(audit, tmp_path) == 31


# -- starting


async def test_what_only_the_second_folder_has_is_taken_over_at_the_start(both, tmp_path):
    """The first was restored from an older state, or lost: the chain goes on where it ended, and says so."""
    audit = both(segment_bytes=1500)
    await put(audit, *range(20))
    audit.close()
    shutil.rmtree(tmp_path / "audit")

    again = both(segment_bytes=1500)
    await put(again, 20)

    recovered = next(read(tmp_path / "audit", kinds={"audit.recovered"}))
    assert recovered["copied_from_second"] == [1, 20]
    assert same(again, tmp_path) == 22


async def test_a_first_folder_that_cannot_be_opened_does_not_stop_the_start(both, tmp_path, monkeypatch):
    """The chain goes on in the second, and is complete in both when the first is back."""
    audit = both()
    await put(audit, *range(3))
    audit.close()
    disk = Broken(monkeypatch, tmp_path / "audit")
    again = both()
    assert again.healthy
    await put(again, 3)
    disk.is_broken = False
    await until(lambda: not again.folders["first"])
    await put(again, 4)

    assert same(again, tmp_path) == 5


async def test_a_second_folder_that_cannot_be_opened_does_not_stop_the_start(both, tmp_path, monkeypatch):
    """It is told, and filled when it is back."""
    disk = Broken(monkeypatch, tmp_path / "second")
    audit = both()
    await put(audit, *range(3))
    assert "cannot be opened" in audit.folders["second"] or "Read-only" in audit.folders["second"]
    disk.is_broken = False
    await until(lambda: not audit.folders["second"])
    await put(audit, 3)

    assert same(audit, tmp_path) == 4


async def test_two_folders_that_disagree_stop_the_start(opened, both, tmp_path):
    """Each holds a whole chain, but not the same one: a person has to look."""
    for name, mark in (("audit", "a"), ("second", "b")):
        audit = opened(tmp_path / name)
        audit.append({"kind": "decision", "decision_id": mark})
        audit.append({"kind": "decision", "decision_id": mark})
        audit.close()

    with pytest.raises(AuditError, match="hold different records"):
        both()
    with pytest.raises(AuditError, match="hold different records"):
        both()  # and its locks were given back


async def test_a_damaged_second_folder_stops_the_start(both, tmp_path):
    """A changed record is evidence, not a disk that failed."""
    audit = both()
    await put(audit, *range(5))
    audit.close()
    path = segment_path(tmp_path / "second", 1)
    path.write_bytes(path.read_bytes().replace(b"d-2", b"d-9"))

    with pytest.raises(AuditError, match="changed"):
        both()


async def test_the_second_folder_belongs_to_one_process_too(opened, both, tmp_path):
    """Two proxies that name the same second folder would mix two chains."""
    opened(tmp_path / "second")
    with pytest.raises(ConfigError, match="in use by another process"):
        both()


async def test_a_torn_line_in_the_second_folder_is_completed_from_the_first(both, tmp_path):
    """A power cut in the middle of its write."""
    audit = both()
    await put(audit, *range(5))
    audit.close()
    path = segment_path(tmp_path / "second", 1)
    path.write_bytes(path.read_bytes()[:-30])
    again = both()
    await until(lambda: not again.folders["second"])

    assert same(again, tmp_path) == 5
    assert list((tmp_path / "second").glob("*.torn-1"))


def test_without_an_event_loop_both_are_written_at_the_close(tmp_path):
    """A tool that has no loop leaves both complete."""
    from proxy.audit import Audit
    from proxy.tasks import Tasks

    audit = Audit(tmp_path / "audit", sync="power", clock=ManualClock(NOW), tasks=Tasks(), second=tmp_path / "second")
    audit.open()
    for number in range(3):
        audit.append(record(number))

    assert same(audit, tmp_path) == 3


async def test_one_folder_costs_no_second_look(opened, monkeypatch):
    """Without a second folder nothing of it runs on the order's path."""
    audit = opened(sync="process")
    monkeypatch.setattr(audit, "_write_twice", None)
    monkeypatch.setattr(audit, "_surely", None)
    await audit.durable(audit.append(record(1)))
    assert audit.folders == {"first": ""}
