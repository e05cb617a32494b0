"""Retention: old segments go, the chain says so itself, and whoever removes more is found."""

import asyncio
import hashlib
import shutil
from datetime import timedelta

import orjson
import pytest

from proxy.audit import Anchor, Head, Retention, find, newest, read, verify
from proxy.audit.chain import RETIRED, Oldest, read_oldest, write_oldest
from proxy.errors import AuditError

DAY_S = 86400


async def days(audit, clock, count):
    """A decision an hour for some days, an anchor of each day's end as somebody outside would have it."""
    anchors = []
    for _ in range(count):
        for _ in range(24):
            clock.advance(to=clock.now() + timedelta(hours=1))
            audit.append({"kind": "decision", "decision_id": f"d-{audit.last_sequence + 1}", "filler": "x" * 40})
        anchors.append(Anchor(audit.head.sequence, audit.head.hash, clock.now().isoformat()))
    return anchors


async def kept(audit, clock, *, keep_days=30):
    """Look twice, an hour apart; how many segments went."""
    retention = Retention(audit, keep_s=keep_days * DAY_S, clock=clock)
    assert await retention.look() == 0
    clock.advance(to=clock.now() + timedelta(hours=1))
    return await retention.look()


@pytest.fixture
async def aged(opened, clock):
    """A record of 45 days in small segments, and the anchors of its days."""
    audit = opened(segment_bytes=6000)
    return audit, await days(audit, clock, 45)


async def test_old_segments_go_and_the_chain_still_verifies(aged, clock, opened):
    """It says from which record on, and what is left holds; every later record continues it."""
    audit, _ = aged
    removed = await kept(audit, clock)

    oldest = read_oldest(audit.directory)
    assert removed == oldest.segment - 1 > 10
    assert min(audit.directory.glob("audit-*.jsonl")).name == f"audit-{oldest.segment:06d}.jsonl"
    found = verify(audit.directory, head=audit.head)
    assert (found.ok, found.from_sequence) == (True, oldest.before.sequence + 1)
    assert found.records == audit.last_sequence - oldest.before.sequence
    ages = [one["at"] for one in read(audit.directory)]
    assert ages[0] >= (clock.now() - timedelta(days=31)).isoformat()[:10]

    audit.close()
    again = opened(segment_bytes=6000)
    again.append({"kind": "start"})
    assert verify(again.directory, head=again.head).ok
    assert newest(again.directory, limit=1)[0]["kind"] == "start"


async def test_the_record_says_what_went(aged, clock):
    """Enough to tell later that an archived copy is the real one."""
    audit, _ = aged
    archive = audit.directory.parent / "archive"
    shutil.copytree(audit.directory, archive)
    await kept(audit, clock)

    (told,) = read(audit.directory, kinds={RETIRED})
    for one in told["segments"]:
        content = (archive / f"audit-{one['segment']:06d}.jsonl").read_bytes()
        assert one["sha256"] == hashlib.sha256(content).hexdigest()
        assert one["records"] == content.count(b"\n")
    assert told["upto"] == sum(one["records"] for one in told["segments"])


async def test_anchors_older_than_the_beginning_are_let_be_and_the_others_must_fit(aged, clock):
    """The anchor of the very last removed record is still held against it."""
    audit, anchors = aged
    await kept(audit, clock)
    begun = read_oldest(audit.directory).before
    anchors.append(Anchor(begun.sequence, begun.hash, "at the cut"))

    found = verify(audit.directory, anchors=anchors)
    assert found.ok
    assert found.anchors == sum(one.sequence >= begun.sequence for one in anchors)
    wrong = Anchor(begun.sequence, "f" * 64, "at the cut")
    assert verify(audit.directory, anchors=[wrong]).at_sequence == begun.sequence


async def test_nothing_goes_before_its_time_nor_by_a_clock_that_jumped(aged, clock, opened):
    """A clock that is a year ahead for half an hour removes nothing."""
    audit, _ = aged
    retention = Retention(audit, keep_s=61 * DAY_S, clock=clock)
    assert await retention.look() == 0
    clock._now += timedelta(days=365)  # the wall clock alone
    assert await retention.look() == 0
    clock.advance(to=clock.now() + timedelta(minutes=30))
    assert await retention.look() == 0
    clock._now -= timedelta(days=365)
    assert await retention.look() == 0
    clock.advance(to=clock.now() + timedelta(minutes=59))
    assert await retention.look() == 0

    assert read_oldest(audit.directory) is None


async def test_the_newest_segment_always_stays(opened, clock):
    """A proxy that recorded nothing for a year still has the end of its chain."""
    audit = opened()
    audit.append({"kind": "start"})
    clock.advance(to=clock.now() + timedelta(days=400))

    assert await kept(audit, clock) == 0
    assert find(audit.directory, "nothing") == []
    assert audit.last_sequence == 1


@pytest.mark.parametrize("more", [1, 3])
async def test_removing_more_than_the_record_says_is_found(aged, clock, more):
    """Somebody takes away further segments and moves the beginning: no record says so."""
    audit, _ = aged
    await kept(audit, clock)
    audit.close()
    oldest = read_oldest(audit.directory)
    last = oldest.segment + more
    line = (audit.directory / f"audit-{last - 1:06d}.jsonl").read_bytes().splitlines()[-1]
    for number in range(oldest.segment, last):
        (audit.directory / f"audit-{number:06d}.jsonl").unlink()
    assert "missing" in verify(audit.directory).problem
    ended = orjson.loads(line)
    write_oldest(audit.directory, Oldest(Head(ended["seq"], ended["hash"]), last))

    found = verify(audit.directory)
    assert not found.ok
    assert "no record says that older ones were removed" in found.problem


async def test_a_beginning_that_does_not_fit_is_found(aged, clock, opened):
    """`oldest.json` with another hash, number or segment, or gone: each is noticed."""
    audit, _ = aged
    await kept(audit, clock)
    audit.close()
    right = read_oldest(audit.directory)
    for wrong in (
        Oldest(Head(right.before.sequence, "0" * 64), right.segment),
        Oldest(Head(right.before.sequence - 1, right.before.hash), right.segment),
        Oldest(right.before, right.segment + 1),
        Oldest(right.before, right.segment - 1),
    ):
        write_oldest(audit.directory, wrong)
        assert not verify(audit.directory).ok, wrong
    (audit.directory / "oldest.json").unlink()
    assert verify(audit.directory).problem == "segment 1 is missing"
    (audit.directory / "oldest.json").write_text("{")
    with pytest.raises(AuditError, match=r"oldest\.json"):
        verify(audit.directory)


async def test_a_removal_that_was_cut_off_is_ended_at_the_next_start(aged, clock, opened, monkeypatch):
    """Killed between the record and the last file: what was to go goes, and the chain is whole."""
    audit, _ = aged
    from proxy.audit import retention as retention_module

    monkeypatch.setattr(retention_module, "remove_older", lambda directory: None)
    await kept(audit, clock)
    audit.close()
    oldest = read_oldest(audit.directory)
    (audit.directory / "audit-000001.jsonl").unlink()
    assert (audit.directory / "audit-000002.jsonl").exists()
    assert verify(audit.directory).ok

    again = opened(segment_bytes=6000)
    assert verify(again.directory, head=again.head).ok
    assert min(int(path.stem[-6:]) for path in again.directory.glob("audit-*.jsonl")) == oldest.segment


async def test_both_folders_lose_the_same(opened, clock, tmp_path):
    """And a second folder that is named later begins where the first one does."""
    audit = opened(tmp_path / "audit", second=tmp_path / "second", segment_bytes=6000)
    await days(audit, clock, 45)
    await until(lambda: not audit.folders["second"] and audit.may_retire())
    await kept(audit, clock)
    audit.close()
    names = {path.name for path in (tmp_path / "audit").glob("*.json*")}
    assert {path.name for path in (tmp_path / "second").glob("*.json*")} == names
    assert verify(tmp_path / "second").ok

    again = opened(tmp_path / "audit", second=tmp_path / "third", segment_bytes=6000)
    await until(lambda: not again.folders["second"])
    again.close()
    found = verify(tmp_path / "third")
    assert found.ok
    assert found.from_sequence > 1


async def test_nothing_goes_while_a_folder_needs_it(opened, clock, tmp_path):
    """A folder that is out of reach catches up from the other; its records must still be there."""
    (tmp_path / "second").write_text("no folder")
    audit = opened(tmp_path / "audit", second=tmp_path / "second", segment_bytes=6000)
    await days(audit, clock, 45)

    assert await kept(audit, clock) == 0


async def until(condition):
    """Wait for something to become true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
