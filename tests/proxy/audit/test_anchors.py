"""Anchors outside: a chain that was cut off or made anew no longer fits what was told before."""

import asyncio
import json
import shutil
from datetime import timedelta

import pytest

from proxy.audit import AnchorFolder, Anchoring, check_start, read_anchors, verify
from proxy.audit import anchors as anchors_module
from proxy.errors import AuditError
from tests.canary import marked
from tests.proxy.audit.conftest import NOW

SECRET = marked("signs-anchors").encode()


class Failing:
    """A place that takes nothing."""

    name = "webhook"

    def __init__(self, error):
        self.error = error

    async def leave(self, anchor):
        """Refuse, or never answer."""
        if self.error is None:
            await asyncio.sleep(60)
        raise self.error


@pytest.fixture
def folder(tmp_path):
    """A folder of anchors elsewhere, signed."""
    made = AnchorFolder(tmp_path / "elsewhere", secret=SECRET)
    yield made
    made.close()


async def anchored(audit, folder, clock, *, minutes=3, records=10):
    """Some minutes of records with an anchor after each."""
    anchoring = Anchoring(audit, [folder], clock=clock)
    for minute in range(minutes):
        for number in range(records):
            audit.append({"kind": "decision", "decision_id": f"d-{minute}-{number}"})
        clock.advance(to=clock.now() + timedelta(minutes=1))
        await anchoring.leave()
    return anchoring


def forged(opened, directory, records, mark="forged"):
    """Replace the folder with a chain that is whole, its own anchor included."""
    shutil.rmtree(directory)
    other = opened(directory)
    for number in range(records):
        other.append({"kind": "decision", "decision_id": f"{mark}-{number}"})
    other.close()
    assert verify(directory).ok


async def test_every_anchor_fits_the_chain_it_was_taken_of(opened, folder, clock, tmp_path):
    """One line a minute, signed; the walk meets all of them."""
    audit = opened()
    await anchored(audit, folder, clock)
    anchors = read_anchors(tmp_path / "elsewhere", secret=SECRET)

    assert [one.sequence for one in anchors] == [10, 20, 30]
    found = verify(audit.directory, anchors=anchors)
    assert (found.ok, found.records, found.anchors) == (True, 30, 3)


@pytest.mark.parametrize("records", [30, 31, 500, 12, 1])
async def test_a_chain_that_was_made_anew_is_found(opened, folder, clock, tmp_path, records):
    """Every hash fits, and so does anchor.json; what was told outside does not."""
    audit = opened()
    await anchored(audit, folder, clock)
    audit.close()
    forged(opened, audit.directory, records)

    found = verify(audit.directory, anchors=read_anchors(tmp_path / "elsewhere"))

    assert not found.ok
    assert found.at_sequence == (10 if records >= 10 else 2)
    with pytest.raises(AuditError, match="anchor"):
        check_start(opened(), folder)


@pytest.mark.parametrize("kept", range(30))
async def test_a_chain_that_was_cut_off_with_its_own_anchor_is_found(opened, folder, clock, tmp_path, kept):
    """The end and anchor.json are gone; the last line elsewhere knows how far the chain reached."""
    audit = opened()
    await anchored(audit, folder, clock)
    audit.close()
    path = audit.directory / "audit-000001.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))
    (audit.directory / "anchor.json").unlink()
    assert verify(audit.directory).ok

    found = verify(audit.directory, anchors=read_anchors(tmp_path / "elsewhere"))

    assert (found.ok, found.at_sequence) == (False, kept + 1)
    assert "record 30" in found.problem
    with pytest.raises(AuditError, match="records are missing"):
        check_start(opened(), folder)


async def test_a_whole_chain_starts(opened, folder, clock):
    """Restarts agree with the newest anchor, also when records came after it."""
    audit = opened()
    await anchored(audit, folder, clock)
    audit.append({"kind": "stop"})
    audit.close()

    check_start(opened(), folder)


async def test_an_anchor_that_was_made_up_is_found(opened, folder, clock, tmp_path):
    """Who can write the folder of anchors but does not know the secret cannot make the forged chain fit."""
    audit = opened()
    await anchored(audit, folder, clock)
    audit.close()
    forged(opened, audit.directory, 30)
    line = {"at": NOW.isoformat(), "seq": 30, "hash": audit.head_hash}
    file = next((tmp_path / "elsewhere").glob("*.jsonl"))
    for signature in ({}, {"hmac": "0" * 64}, {"hmac": None}):
        file.write_text(json.dumps(line | signature) + "\n")
        with pytest.raises(AuditError, match="not signed"):
            read_anchors(tmp_path / "elsewhere", secret=SECRET)
        with pytest.raises(AuditError, match="not signed"):
            check_start(opened(tmp_path / "another"), folder)
        shutil.rmtree(tmp_path / "another", ignore_errors=True)
        break
    file.write_text(json.dumps(line | {"hmac": "0" * 64}) + "\n")
    with pytest.raises(AuditError, match="not signed"):
        read_anchors(tmp_path / "elsewhere", secret=SECRET)


async def test_the_log_is_a_place_of_anchors_too(opened, folder, clock, tmp_path):
    """Lines of `audit.anchored` among others, as a shipped log holds them."""
    audit = opened()
    for number in range(5):
        audit.append({"kind": "decision", "decision_id": str(number)})
    head = audit.head
    log = tmp_path / "proxy.log"
    log.write_text(
        "starting\n"
        + json.dumps({"event": "order.decided", "hash": "x", "seq": 1, "prev": "y"}) + "\n"
        + json.dumps({"event": "audit.anchored", "sequence": head.sequence, "hash": head.hash, "timestamp": "t"})
        + "\n"
    )

    assert verify(audit.directory, anchors=read_anchors(log, secret=SECRET)).anchors == 1
    audit.close()
    forged(opened, audit.directory, 9)
    assert verify(audit.directory, anchors=read_anchors(log)).at_sequence == 5


async def test_no_anchor_is_no_answer(tmp_path):
    """A file without any says nothing about the record, and must not look as if it did."""
    (tmp_path / "empty.jsonl").write_text("{}\nnonsense\n[1]\n")
    with pytest.raises(AuditError, match="no anchor"):
        read_anchors(tmp_path / "empty.jsonl")
    with pytest.raises(AuditError, match="cannot be read"):
        read_anchors(tmp_path / "gone.jsonl")


async def test_a_line_that_was_cut_off_does_not_spoil_the_next(opened, folder, clock, tmp_path):
    """A full disk in the middle of a line: the next anchor stands on a line of its own."""
    audit = opened()
    await anchored(audit, folder, clock, minutes=1)
    file = next((tmp_path / "elsewhere").glob("*.jsonl"))
    with file.open("ab") as lines:
        lines.write(b'{"at":"2026-03')
    await anchored(audit, folder, clock, minutes=1)

    assert [one.sequence for one in read_anchors(tmp_path / "elsewhere", secret=SECRET)] == [10, 20]


@pytest.mark.parametrize("error", [OSError("No space left on device"), AuditError("it answered 500"), None])
async def test_a_place_that_fails_hinders_no_other(opened, folder, clock, monkeypatch, tmp_path, error):
    """What failed is told with its age, and the others have their anchor."""
    monkeypatch.setattr(anchors_module, "PLACE_TIMEOUT_S", 0.05)
    audit = opened()
    audit.append({"kind": "decision"})
    anchoring = Anchoring(audit, [Failing(error), folder], clock=clock)
    clock.advance(to=clock.now() + timedelta(seconds=90))
    await anchoring.leave()

    report = anchoring.report()
    assert report["folder"] == {"age_s": 0.0, "error": ""}
    assert report["log"] == {"age_s": 0.0, "error": ""}
    assert report["webhook"]["age_s"] == 90.0
    assert report["webhook"]["error"]
    assert len(read_anchors(tmp_path / "elsewhere", secret=SECRET)) == 1


async def test_without_a_record_on_disk_there_is_no_anchor(opened, folder, clock, monkeypatch):
    """An anchor promises that everything up to it is safe; where that fails none is left."""
    audit = opened()
    audit.append({"kind": "decision"})

    async def failing():
        raise AuditError("the record could not be brought to disk")

    monkeypatch.setattr(audit, "anchor", failing)
    anchoring = Anchoring(audit, [folder], clock=clock)
    await anchoring.leave()

    assert folder.newest() is None
    assert anchoring.report()["log"]["error"] == "the record could not be brought to disk"


async def test_a_folder_that_hangs_is_left_alone(opened, clock, monkeypatch, tmp_path):
    """One thread waits for it, however many minutes that takes."""
    import threading

    monkeypatch.setattr(anchors_module, "PLACE_TIMEOUT_S", 0.05)
    folder = AnchorFolder(tmp_path / "elsewhere")
    answers, asked = threading.Event(), []
    real = folder._append
    monkeypatch.setattr(folder, "_append", lambda anchor: (asked.append(anchor), answers.wait(20), real(anchor)))
    audit = opened()
    audit.append({"kind": "decision"})
    anchoring = Anchoring(audit, [folder], clock=clock)
    for _ in range(3):
        await anchoring.leave()
    assert len(asked) == 1
    assert anchoring.report()["folder"]["error"]
    answers.set()
    folder.close()
    assert folder.newest() is not None


async def test_an_anchor_is_left_every_minute(opened, folder, clock):
    """Also while nothing happens: the silence of a place is then a sign."""
    audit = opened()
    audit.append({"kind": "decision"})
    watching = asyncio.ensure_future(Anchoring(audit, [folder], clock=clock).watch(every_s=0.01))
    async with asyncio.timeout(5):
        while folder.newest() is None or len(read_anchors(folder._directory, secret=SECRET)) < 3:
            await asyncio.sleep(0.01)
    watching.cancel()

    assert {one.sequence for one in read_anchors(folder._directory, secret=SECRET)} == {1}
