"""`decisions` and `audit` read what the running proxy wrote, and find what somebody changed."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from proxy.audit import Audit
from proxy.cli.main import run
from proxy.clock import ManualClock
from proxy.tasks import Tasks

SENTENCE = "=1+1 looks like a formula"


def decision(number: int, **changes: object) -> dict[str, object]:
    """A decision as the proxy records it, as far as the commands read it."""
    return {
        "kind": "decision",
        "decision_id": f"d-{number}",
        "caller": {"account": "main", "bot": "grid1", "strategy": "grid"},
        "endpoint": "POST /fapi/v1/order",
        "orders": [{"symbol": "BTCUSDT", "side": "buy", "quantity": "0.1"}],
        "decision": "allow",
        "reason": "all_risk_checks_passed",
        "sentence": SENTENCE,
    } | changes


@pytest.fixture
async def config(folder):
    """Options for a folder whose record holds three decisions, one outcome and one refusal."""
    tasks = Tasks()
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    audit = Audit(folder / "data" / "audit", clock=clock, sync="process", tasks=tasks)
    audit.open()
    audit.append(decision(1))
    audit.append({"kind": "outcome", "decision_id": "d-1", "outcome": "accepted"})
    audit.append(decision(2, decision="block", orders=[{"symbol": "BTCUSDT"}, {"symbol": "ETHUSDT"}]))
    audit.append({"kind": "refusal", "decision_id": "d-3", "reason": "key_unknown", "caller": None, "orders": []})
    audit.close()
    await tasks.close()
    return ["--config", str(folder / "riskgate.yaml")]


async def test_tail_shows_the_latest_last(config, capsys):
    """`tail -n 2` prints the last two decisions, refusals included and outcomes not."""
    assert run(["decisions", "tail", "-n", "2", "--json", *config]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["decision_id"] for line in lines] == ["d-2", "d-3"]


async def test_tail_is_a_table_for_people(config, capsys):
    """A batch is one row that names its first symbol and how many more there were."""
    assert run(["decisions", "tail", *config]) == 0

    out = capsys.readouterr().out
    assert "BTCUSDT +1" in out
    assert len(out.splitlines()) == 5


async def test_show_tells_decision_and_outcome(config, capsys):
    """`show` prints what was decided and what became of it."""
    capsys.readouterr()
    assert run(["decisions", "show", "d-1", *config]) == 0

    assert [record["kind"] for record in json.loads(capsys.readouterr().out)] == ["decision", "outcome"]


async def test_show_of_an_unknown_id_fails(config, capsys):
    """An id that is not on record exits 1 and names it."""
    assert run(["decisions", "show", "d-9", *config]) == 1
    assert "d-9" in capsys.readouterr().err


async def test_export_as_json_lines(config, capsys):
    """Every line of the export is one record as it stands in the file."""
    capsys.readouterr()
    assert run(["decisions", "export", "--format", "jsonl", *config]) == 0

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["decision_id"] for record in records] == ["d-1", "d-2", "d-3"]
    assert all(len(record["hash"]) == 64 for record in records)


async def test_export_as_csv_starts_no_formula(config, capsys):
    """A text a bot chose does not become a formula in a spreadsheet."""
    capsys.readouterr()
    assert run(["decisions", "export", "--format", "csv", *config]) == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["account"] for row in rows] == ["main", "main", ""]
    assert rows[0]["sentence"] == "'" + SENTENCE


async def test_an_unknown_format_is_a_usage_error(config):
    """Only jsonl and csv exist."""
    assert run(["decisions", "export", "--format", "xml", *config]) == 2


async def test_verify_says_good_and_exits_0(config, capsys):
    """An untouched record is good, with its length."""
    capsys.readouterr()
    assert run(["audit", "verify", *config]) == 0
    assert capsys.readouterr().out.startswith("good: 4 records")


async def test_verify_finds_a_changed_byte(config, folder, capsys):
    """One changed word in the record exits 1 and names the record."""
    (segment,) = (folder / "data" / "audit").glob("audit-*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"block"', b'"allow"'))
    capsys.readouterr()

    assert run(["audit", "verify", "--json", *config]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["at_sequence"]) == (False, 3)


async def test_no_record_yet_is_said_plainly(folder, capsys):
    """Before the first start there is no record; that is a sentence, not a traceback."""
    assert run(["decisions", "tail", "--config", str(folder / "riskgate.yaml")]) == 1
    assert "no record yet" in capsys.readouterr().err
