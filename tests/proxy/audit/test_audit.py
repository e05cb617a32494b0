"""The audit: what is recorded is found again, and what was changed is noticed."""

import asyncio
import json
import os
import stat
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from proxy import audit as audit_module
from proxy.audit import (
    Audit,
    Head,
    admin_record,
    decision_record,
    find,
    newest,
    read,
    read_anchor,
    verify,
)
from proxy.clock import ManualClock
from proxy.errors import AuditError, ConfigError
from proxy.tasks import Tasks
from rules import (
    Bucket,
    Caller,
    Decision,
    LeverageChange,
    MarginChange,
    MarginKind,
    Market,
    Order,
    OrderType,
    QuantityCut,
    Reason,
    Replaced,
    ReplaceMode,
    RuleRun,
    Side,
    Verdict,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CALLER = Caller(account="spot-1", exchange="binance", strategy="grid", bot="grid1", confidence=Decimal("0.7"))
ORDER = Order(
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.LIMIT,
    market=Market.SPOT,
    quantity=Decimal("0.0000001"),
    price=Decimal(60000),
    client_order_id="mine-1",
)


def decided(instruction=ORDER, decision_id="d-1"):
    """The record of a scaled order."""
    decision = Decision(
        verdict=Verdict.SCALE_DOWN,
        reason=Reason.POSITION_EXCEEDS_LIMIT,
        sentence="position 3 BTC would pass its limit of 2 BTC",
        breach=None,
        quantities=(Decimal("0.00000005"),),
        scale_factor=Decimal("0.5"),
        risk_level="INFO",
        ess_active=False,
        timestamp=NOW,
        policy_revision=4,
        rules_run=(RuleRun("position", 0, "scaled", "3", "2"), RuleRun("leverage", 0, "within", "1", "5")),
        reducing=False,
    )
    return decision_record(
        decision,
        decision_id=decision_id,
        caller=CALLER,
        endpoint="POST /api/v3/order",
        instructions=(instruction,),
        ess_epoch=1,
        latency_us=40,
        sent_sha256="ab" * 32,
        notionals=(Decimal("0.006"),),
    )


def filled(opened, records=20, **options):
    """The directory of a closed audit with some records."""
    audit = opened(**options)
    for number in range(records):
        audit.append({"kind": "decision", "decision_id": f"d-{number}"})
    audit.close()
    return audit.directory


async def test_a_record_is_found_again_with_everything_that_was_judged(opened):
    """Order, answer, rules and caller come back as they were recorded, amounts exact and plain."""
    audit = opened()
    audit.append(decided())
    audit.append({"kind": "outcome", "decision_id": "d-1", "outcome": "accepted", "status": 200})

    decision, outcome = find(audit.directory, "d-1")

    assert decision["seq"] == 1
    assert decision["orders"][0]["quantity"] == "0.0000001"
    assert decision["orders"][0]["notional"] == "0.006"
    assert decision["quantities"] == ["0.00000005"]
    assert decision["rules_run"][0] == ["position", 0, "scaled", "3", "2"]
    assert decision["caller"]["account"] == "spot-1"
    for key in ("decision", "reason", "scale_factor", "risk_level", "ess_active", "timestamp"):
        assert key in decision
    assert outcome["outcome"] == "accepted"
    assert verify(audit.directory).ok


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        (LeverageChange(symbol="BTCUSDT", leverage=Decimal(20)), {"instruction": "leverage", "leverage": "20"}),
        (
            MarginChange(kind=MarginKind.MARGIN_TYPE, value="ISOLATED", symbol="BTCUSDT"),
            {"instruction": "margin", "change": "margin_type", "value": "ISOLATED"},
        ),
        (
            QuantityCut(
                symbol="BTCUSDT",
                market=Market.SPOT,
                quantity=Decimal("0.1"),
                replaces=Replaced(mode=ReplaceMode.AMEND, order_id="9"),
            ),
            {"instruction": "quantity_cut", "quantity": "0.1"},
        ),
        (
            Order(
                symbol="ETHUSDT",
                side=Side.SELL,
                type=OrderType.STOP_MARKET,
                market=Market.LINEAR,
                close_position=True,
                trigger_price=Decimal("2000.5"),
                bucket=Bucket.LONG,
                group=2,
            ),
            {"close_position": True, "trigger_price": "2000.5", "bucket": "LONG", "group": 2, "quantity": None},
        ),
    ],
)
async def test_every_kind_of_instruction_has_a_record(opened, instruction, expected):
    """Leverage, margin, cuts and conditional orders are recorded with what they asked."""
    audit = opened()
    audit.append(decided(instruction))

    (decision,) = find(audit.directory, "d-1")

    assert expected.items() <= decision["orders"][0].items()


async def test_sequence_and_hash_continue_after_reopening(opened):
    """A closed audit is continued where it ended."""
    directory = filled(opened, records=3)
    again = opened()

    assert again.last_sequence == 3
    assert again.append({"kind": "start"}) == 4
    assert verify(directory) == (True, 4, again.head_hash, None, None, 1, 0)


async def test_what_need_not_be_waited_for_is_written_when_the_loop_comes_round(opened):
    """It has its place in the chain at once; until it is written, the head is the record before it."""
    audit = opened()
    audit.append({"kind": "decision", "decision_id": "d-1"})
    audit.append_soon({"kind": "outcome", "decision_id": "d-1"})
    audit.append_soon({"kind": "outcome", "decision_id": "d-0"})
    assert (audit.last_sequence, verify(audit.directory, head=audit.head).ok) == (1, True)

    await asyncio.sleep(0)

    assert [(one["seq"], one["kind"]) for one in read(audit.directory)] == [
        (1, "decision"), (2, "outcome"), (3, "outcome"),
    ]  # fmt: skip
    assert (audit.last_sequence, verify(audit.directory, head=audit.head).ok) == (3, True)


async def test_the_next_record_takes_with_it_what_waits(opened, monkeypatch):
    """An outcome and the next decision are one write, in their order, and the decision is in the file at once."""
    audit = opened()
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, lines: writes.append(lines) or real(descriptor, lines))
    audit.append_soon({"kind": "outcome", "decision_id": "d-0"})

    assert audit.append({"kind": "decision", "decision_id": "d-1"}) == 2

    assert [lines.count(b"\n") for lines in writes] == [2]
    assert [one["kind"] for one in read(audit.directory)] == ["outcome", "decision"]
    await asyncio.sleep(0)
    assert len(writes) == 1
    assert verify(audit.directory, head=audit.head).ok


async def test_closing_writes_what_waits(opened):
    """The end of the process does not lose an outcome."""
    audit = opened()
    audit.append_soon({"kind": "outcome", "decision_id": "d-1"})

    audit.close()

    assert verify(audit.directory).records == 1


def test_without_an_event_loop_nothing_waits(tmp_path, clock):
    """A tool that has no loop writes at once."""
    audit = Audit(tmp_path / "audit", sync="process", clock=clock, tasks=Tasks())
    audit.open()
    audit.append_soon({"kind": "outcome", "decision_id": "d-1"})

    assert verify(audit.directory).records == 1
    audit.close()


async def test_files_are_for_the_owner_only(opened):
    """Directory 0700, files 0600."""
    directory = filled(opened)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


async def test_a_second_opener_is_refused(opened):
    """Two writers would break the chain: the second is told that the directory is in use."""
    opened()
    with pytest.raises(ConfigError, match="in use by another process"):
        opened()


async def test_segments_rotate_and_the_chain_runs_through(opened):
    """Small segments: many files, one chain, found and read across them."""
    directory = filled(opened, records=50, segment_bytes=1000)

    assert len(list(directory.glob("audit-*.jsonl"))) > 5
    assert verify(directory).ok
    assert [record["seq"] for record in read(directory, after=40)] == list(range(41, 51))
    assert [record["seq"] for record in newest(directory, limit=3)] == [50, 49, 48]
    assert find(directory, "d-4")[0]["seq"] == 5
    assert opened(segment_bytes=1000).last_sequence == 50


async def test_kinds_and_predicates_pick_records(opened):
    """Readers get only what they asked for."""
    audit = opened()
    audit.append(decided())
    audit.append(admin_record(actor="ann", act="ess.engage", result="done", scope="global"))

    assert [record["kind"] for record in read(audit.directory, kinds={"admin"})] == ["admin"]
    assert newest(audit.directory, limit=9, wanted=lambda record: record["kind"] == "admin")[0]["actor"] == "ann"
    assert find(audit.directory, "nothing") == []


# -- tampering


def lines_of(directory):
    """The first segment's lines."""
    return (directory / "audit-000001.jsonl").read_bytes().splitlines(keepends=True)


def write_lines(directory, lines):
    """Replace the first segment."""
    (directory / "audit-000001.jsonl").write_bytes(b"".join(lines))


async def test_every_flipped_byte_is_found(opened):
    """Each byte of a record changed in turn: verification names that record or fails before it."""
    directory = filled(opened, records=5)
    original = lines_of(directory)
    line = original[2]
    for position in range(len(line)):
        changed = bytearray(line)
        changed[position] ^= 0x01
        write_lines(directory, [*original[:2], bytes(changed), *original[3:]])
        found = verify(directory)
        assert not found.ok, (position, bytes(changed))
        assert found.at_sequence in (3, 4)


@pytest.mark.parametrize("number", range(30))
async def test_every_deleted_record_is_found(opened, number):
    """Any record taken out is noticed at its place; the last one by the anchor."""
    directory = filled(opened, records=30)
    lines = lines_of(directory)
    write_lines(directory, lines[:number] + lines[number + 1 :])

    found = verify(directory)

    assert (found.ok, found.at_sequence) == (False, number + 1)


@pytest.mark.parametrize("number", range(29))
async def test_every_swapped_pair_is_found(opened, number):
    """Two neighbours exchanged are noticed at the first of them."""
    directory = filled(opened, records=30)
    lines = lines_of(directory)
    lines[number], lines[number + 1] = lines[number + 1], lines[number]
    write_lines(directory, lines)

    assert verify(directory).at_sequence == number + 1


@pytest.mark.parametrize("kept", range(30))
async def test_every_truncation_is_found_against_the_anchor(opened, kept):
    """Cutting off the end breaks no hash; the anchor knows how far the chain reached."""
    directory = filled(opened, records=30)
    write_lines(directory, lines_of(directory)[:kept])

    found = verify(directory)

    assert (found.ok, found.at_sequence) == (False, kept + 1)
    with pytest.raises(AuditError, match=r"missing|changed"):
        opened()


async def test_a_rewritten_end_is_found_against_the_anchor(opened, tmp_path):
    """A forger who rebuilds the last records with fitting hashes still differs from the anchor."""
    directory = filled(opened, records=5)
    other = opened(tmp_path / "forged")
    for number in range(5):
        other.append({"kind": "decision", "decision_id": f"forged-{number}"})
    other.close()
    write_lines(directory, lines_of(other.directory))

    assert verify(other.directory).ok
    assert not verify(directory).ok
    with pytest.raises(AuditError, match="anchor"):
        opened()


async def test_a_duplicated_record_and_a_foreign_line_are_found(opened):
    """Inserted lines are noticed wherever they stand."""
    directory = filled(opened, records=4)
    lines = lines_of(directory)
    for inserted in (lines[1], b"{}\n", b"\n", b"\x00\x00\n"):
        write_lines(directory, [*lines[:2], inserted, *lines[2:]])
        assert verify(directory).at_sequence == 3


async def test_a_missing_segment_is_found(opened):
    """A whole file taken away, first or middle, is noticed."""
    directory = filled(opened, records=50, segment_bytes=1000)
    for name in ("audit-000001.jsonl", "audit-000003.jsonl"):
        content = (directory / name).read_bytes()
        (directory / name).unlink()
        assert not verify(directory).ok
        (directory / name).write_bytes(content)
    assert verify(directory).ok


async def test_a_damaged_newest_segment_is_not_continued(opened):
    """Opening checks the newest segment and refuses, rather than burying the damage under new records."""
    directory = filled(opened, records=5)
    lines = lines_of(directory)
    lines[1] = lines[1].replace(b"d-1", b"d-9")
    write_lines(directory, lines)

    with pytest.raises(AuditError, match="record 2 was changed"):
        opened()
    assert lines_of(directory) == lines


async def test_the_running_head_finds_a_truncation_under_it(opened):
    """The process remembers its own head: cutting the file while it runs is noticed."""
    audit = opened()
    for number in range(4):
        audit.append({"kind": "decision", "decision_id": str(number)})
    head = audit.head
    assert verify(audit.directory, head=head).ok
    write_lines(audit.directory, lines_of(audit.directory)[:3])

    assert verify(audit.directory, head=head).at_sequence == 4
    assert not verify(audit.directory, head=Head(2, "f" * 64)).ok


# -- torn ends


@pytest.mark.parametrize("cut", [1, 10, 80])
async def test_a_torn_last_line_is_moved_aside_and_recorded(opened, cut):
    """What a power cut left half written is kept in its own file; the chain goes on, saying so."""
    directory = filled(opened, records=3)
    (directory / "anchor.json").unlink()
    content = (directory / "audit-000001.jsonl").read_bytes()
    (directory / "audit-000001.jsonl").write_bytes(content[:-cut])

    audit = opened()

    last = newest(directory, limit=1)[0]
    assert last["kind"] == "audit.recovered"
    assert last["seq"] == 3
    assert (directory / last["moved_to"]).read_bytes() == content.splitlines(keepends=True)[2][:-cut]
    assert verify(directory).ok
    assert audit.append({"kind": "start"}) == 4


async def test_garbage_behind_the_last_line_is_moved_aside(opened):
    """Zero bytes behind the last line, as some file systems leave after a power cut, are not a record."""
    directory = filled(opened, records=3)
    with (directory / "audit-000001.jsonl").open("ab") as file:
        file.write(b"\0" * 700)

    assert opened().last_sequence == 4
    assert verify(directory).ok


async def test_an_empty_newest_segment_continues_the_one_before(opened):
    """A stop right after a rotation leaves an empty file; the chain is taken up from its predecessor."""
    directory = filled(opened, records=50, segment_bytes=1000)
    number = len(list(directory.glob("audit-*.jsonl"))) + 1
    (directory / f"audit-{number:06d}.jsonl").touch()

    audit = opened(segment_bytes=1000)

    assert audit.append({"kind": "start"}) == 51
    assert verify(directory).ok


# -- what must not get in


async def test_a_record_cannot_bring_its_own_place_in_the_chain(opened):
    """seq, at, prev and hash belong to the chain."""
    audit = opened()
    for key in ("seq", "at", "prev", "hash"):
        with pytest.raises(AuditError, match="may not bring its own"):
            audit.append({"kind": "decision", key: 1})
    assert audit.last_sequence == 0


@pytest.mark.parametrize("value", [object(), "\ud800", {1: 2}, b"bytes"])
async def test_a_record_that_is_no_json_is_refused_whole(opened, value):
    """What cannot be written is an AuditError, and the next record follows as if it had not been."""
    audit = opened()
    with pytest.raises(AuditError, match="as JSON"):
        audit.append({"kind": "decision", "value": value})
    assert audit.append({"kind": "start"}) == 1
    assert verify(audit.directory).ok


async def test_a_line_break_in_a_value_stays_inside_its_record(opened):
    """A value cannot forge a second line."""
    audit = opened()
    audit.append({"kind": "decision", "decision_id": 'x"}\n{"seq":2,"kind":"decision"}'})

    assert verify(audit.directory) == (True, 1, audit.head_hash, None, None, 1, 0)


# -- durability


async def test_process_mode_returns_at_once(opened, monkeypatch):
    """With `process`, durable never syncs on an order's path."""
    audit = opened(sync="process")
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: pytest.fail("synced"))
    await audit.durable(audit.append({"kind": "decision"}))
    monkeypatch.undo()


async def test_power_mode_returns_only_after_a_sync_that_began_after_the_write(opened, monkeypatch):
    """Each durable() is covered by a sync whose file size at its beginning included the record."""
    audit = opened(sync="power")
    path = audit.directory / "audit-000001.jsonl"
    synced = []
    real = os.fdatasync

    def recording(descriptor):
        size = path.stat().st_size
        real(descriptor)
        synced.append(size)

    monkeypatch.setattr(os, "fdatasync", recording)

    async def one(number):
        sequence = audit.append({"kind": "decision", "decision_id": str(number)})
        size = path.stat().st_size
        await audit.durable(sequence)
        assert synced
        assert synced[-1] >= size

    for _ in range(5):
        await asyncio.gather(*(one(number) for number in range(40)))
    assert len(synced) <= 20  # 200 records shared them


async def test_power_mode_syncs_full_segments_too(opened, monkeypatch):
    """A record in a segment that was full before its sync began is on disk when durable returns."""
    audit = opened(sync="power", segment_bytes=600)
    synced = set()
    real = os.fdatasync

    def recording(descriptor):
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", recording)
    sequences = [audit.append({"kind": "decision", "decision_id": str(number)}) for number in range(12)]
    await audit.durable(sequences[-1])

    assert synced >= {path.name for path in audit.directory.glob("audit-*.jsonl")}
    open_files = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    assert sum(str(audit.directory) in name and ".jsonl" in name for name in open_files) == 1


async def test_the_anchor_says_how_far_the_chain_surely_reaches(opened):
    """What was appended before is on disk when the anchor names it."""
    audit = opened()
    audit.append({"kind": "decision"})
    head = await audit.anchor()

    assert head == read_anchor(audit.directory) == Head(1, audit.head_hash)


async def test_an_unreadable_anchor_stops_the_opening(opened):
    """An anchor that says nothing cannot vouch for the chain's end."""
    directory = filled(opened)
    (directory / "anchor.json").write_text("{")
    with pytest.raises(AuditError, match=r"anchor\.json"):
        opened()


async def test_a_closed_audit_takes_nothing(opened):
    """After close, appending is an error, not a silent loss."""
    audit = opened()
    audit.close()
    with pytest.raises(AuditError, match="not open"):
        audit.append({"kind": "decision"})
    with pytest.raises(AuditError):
        await Audit(
            audit.directory, sync="power", clock=ManualClock(NOW), tasks=audit._tasks
        ).durable(1)


async def test_the_line_is_what_the_documentation_says(opened):
    """The hash can be recomputed with nothing but SHA-256 and the line itself."""
    import hashlib

    directory = filled(opened, records=2)
    first, second = lines_of(directory)
    body, hash_text = second.rstrip(b"\n").rsplit(b',"hash":"', 1)
    previous = json.loads(first)["hash"]

    assert json.loads(second)["prev"] == previous
    assert hashlib.sha256(previous.encode() + body + b"}").hexdigest() == hash_text.decode().removesuffix('"}')
    assert json.loads(first)["prev"] == audit_module.BEGINNING
