"""`audit verify` and `audit export`: the whole record, and what was told of it elsewhere."""

import asyncio
import csv
import io
import json
import shutil
from datetime import timedelta

import pytest

from proxy.audit import AnchorFolder, Anchoring, Audit, Retention, admin_record
from proxy.cli.main import run
from proxy.clock import ManualClock
from proxy.tasks import Tasks
from tests.canary import marked
from tests.proxy.audit.conftest import NOW
from tests.proxy.cli.test_records import decision

SECRET = marked("signs-anchors")


async def recorded(directory, *, elsewhere=None, second=None, mark="d", keep_days=None):
    """A record of a decision, its outcome, an act and a refusal, with an anchor after it."""
    tasks, clock = Tasks(), ManualClock(NOW)
    audit = Audit(directory, clock=clock, sync="process", tasks=tasks, second=second, segment_bytes=900)
    audit.open()
    audit.append(decision(1) | {"decision_id": f"{mark}-1"})
    audit.append({"kind": "outcome", "decision_id": f"{mark}-1", "outcome": "accepted"})
    clock.advance(to=NOW + timedelta(hours=1))
    audit.append(admin_record(actor="ann", act="ess.engage halt", scope="global", reason="=cmd()", result="done"))
    audit.append({"kind": "refusal", "decision_id": f"{mark}-2", "reason": "key_unknown", "caller": None})
    if elsewhere is not None:
        folder = AnchorFolder(elsewhere, secret=SECRET.encode())
        await Anchoring(audit, [folder], clock=clock).leave()
        folder.close()
    if keep_days is not None:
        clock.advance(to=NOW + timedelta(days=keep_days + 1))
        retention = Retention(audit, keep_s=keep_days * 86400, clock=clock)
        await retention.look()
        clock.advance(to=clock.now() + timedelta(hours=1))
        assert await retention.look() > 0
    audit.close()
    await tasks.close()


@pytest.fixture
def config(folder, tmp_path):
    """Options for settings with a second folder and a signed folder of anchors."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    settings = folder / "riskgate.yaml"
    stated = (
        f"audit:\n  second_dir: {tmp_path / 'second'}\n  anchor:\n    dir: {tmp_path / 'elsewhere'}\n"
        f"    secret: ${{file:{tmp_path / 'secret'}}}\n"
    )
    settings.write_text(settings.read_text().replace("audit:\n", stated))
    asyncio.run(recorded(folder / "data" / "audit", elsewhere=tmp_path / "elsewhere", second=tmp_path / "second"))
    return ["--config", str(folder / "riskgate.yaml")]


def test_verify_says_good_for_both_folders_and_the_anchors_in_the_settings(config, capsys):
    """Nothing has to be named that the settings name."""
    capsys.readouterr()
    assert run(["audit", "verify", *config]) == 0

    out = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in out] == ["first folder", "second folder"]
    assert all("good: 4 records, unbroken" in line and "1 anchors fit" in line for line in out)


def test_verify_finds_a_changed_byte_in_either_folder(config, folder, tmp_path, capsys):
    """One changed word exits 1 and names folder and record."""
    for place in (tmp_path / "second", folder / "data" / "audit"):
        segment = next(path for path in place.glob("audit-*.jsonl") if b"ess.engage" in path.read_bytes())
        whole = segment.read_bytes()
        segment.write_bytes(whole.replace(b'"ann"', b'"bob"'))
        assert run(["audit", "verify", *config]) == 1
        assert "NOT good: at record 3" in capsys.readouterr().out
        assert run(["audit", "verify", "--json", *config]) == 1
        capsys.readouterr()
        segment.write_bytes(whole)
    assert run(["audit", "verify", "--json", *config]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["second"]["ok"], found["anchors"]) == (True, True, 1)


def test_verify_finds_a_record_that_was_made_anew(config, folder, tmp_path, capsys):
    """Whole by itself, second folder included; the anchor says otherwise."""
    for place in (folder / "data" / "audit", tmp_path / "second"):
        shutil.rmtree(place)
    asyncio.run(recorded(folder / "data" / "audit", second=tmp_path / "second", mark="x"))
    capsys.readouterr()

    assert run(["audit", "verify", "--data-dir", str(folder / "data")]) == 0
    assert run(["audit", "verify", *config]) == 1
    assert "NOT good: at record 4: record 4 is not the one the anchor left at" in capsys.readouterr().out
    assert run(["audit", "verify", "--data-dir", str(folder / "data"), "--anchor", str(tmp_path / "elsewhere")]) == 1


def test_verify_finds_an_anchor_that_is_not_signed(config, tmp_path, capsys):
    """The secret is known from the settings."""
    file = next((tmp_path / "elsewhere").glob("*.jsonl"))
    line = json.loads(file.read_text())
    file.write_text(json.dumps(line | {"hmac": "0" * 64}) + "\n")

    assert run(["audit", "verify", *config]) == 1
    assert "not signed" in capsys.readouterr().err


def test_verify_says_from_where_on_it_looked(folder, capsys):
    """Where old segments were removed, the first record is named."""
    asyncio.run(recorded(folder / "data" / "audit", keep_days=30))
    capsys.readouterr()

    assert run(["audit", "verify", "--data-dir", str(folder / "data")]) == 0
    assert "unbroken from record 3 on, where it begins" in capsys.readouterr().out


def test_anchors_that_are_not_there_are_said_plainly(config, tmp_path, capsys):
    """A wrong path must not look like an anchor that fits."""
    assert run(["audit", "verify", "--anchor", str(tmp_path / "nowhere"), *config]) == 1
    assert "cannot be read" in capsys.readouterr().err


# -- export


def test_export_prints_every_record_as_it_stands(config, folder, capsys):
    """Byte for byte: an export can be verified as the record can."""
    capsys.readouterr()
    assert run(["audit", "export", *config]) == 0
    written = b"".join(path.read_bytes() for path in sorted((folder / "data" / "audit").glob("audit-*.jsonl")))

    assert capsys.readouterr().out.encode() == written


def test_export_as_csv_has_a_row_for_every_kind(config, capsys):
    """Who did what, beside every decision; nothing a spreadsheet would take for a formula."""
    capsys.readouterr()
    assert run(["audit", "export", "--format", "csv", *config]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert [row["kind"] for row in rows] == ["decision", "outcome", "admin", "refusal"]
    assert rows[0] | {"who": "grid1", "symbol": "BTCUSDT", "decision": "allow", "account": "main"} == rows[0]
    assert rows[1]["result"] == "accepted"
    assert rows[2] | {"who": "ann", "act": "ess.engage halt", "scope": "global", "reason": "'=cmd()"} == rows[2]
    assert rows[3]["reason"] == "key_unknown"
    assert all(len(row["hash"]) == 64 for row in rows)


def test_export_picks_kinds_and_times(config, capsys):
    """`--kind`, `--since` and `--until`, the latter not included."""
    capsys.readouterr()
    for options, kinds in (
        (["--kind", "admin", "--kind", "outcome"], ["outcome", "admin"]),
        (["--since", (NOW + timedelta(minutes=30)).isoformat()], ["admin", "refusal"]),
        (["--until", "2026-03-01T13:00Z"], ["decision", "outcome"]),
        (["--since", "2026-03-01", "--until", "2026-03-01T12:00:00"], []),
    ):
        assert run(["audit", "export", *options, *config]) == 0
        assert [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()] == kinds


@pytest.mark.parametrize("options", [["--format", "xml"], ["--since", "yesterday"]])
def test_export_refuses_what_it_does_not_know(config, capsys, options):
    """With what was expected, as a usage error."""
    assert run(["audit", "export", *options, *config]) == 2
    assert "expected" in capsys.readouterr().err


def test_a_record_that_cannot_be_read_is_no_export(config, folder, capsys):
    """Half an export must not look like a whole one."""
    segment = folder / "data" / "audit" / "audit-000001.jsonl"
    segment.write_bytes(b"nonsense\n" + segment.read_bytes())

    assert run(["audit", "export", *config]) == 1
    assert "audit verify" in capsys.readouterr().err
