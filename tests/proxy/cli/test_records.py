"""`decisions` and `audit` read what the running proxy wrote, and find what somebody changed."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime

import pytest

from proxy.audit import Audit
from proxy.cli.main import run
from proxy.clock import ManualClock
from proxy.policy_file import read_policy_file
from proxy.stores import create_store
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
def config(folder):
    """Options for a folder whose record holds three decisions, one outcome and one refusal."""
    asyncio.run(recorded(folder))
    return ["--config", str(folder / "riskgate.yaml")]


async def recorded(folder):
    """A record with three decisions, one outcome and one refusal."""
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


def test_tail_shows_the_latest_last(config, capsys):
    """`tail -n 2` prints the last two decisions, refusals included and outcomes not."""
    assert run(["decisions", "tail", "-n", "2", "--json", *config]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["decision_id"] for line in lines] == ["d-2", "d-3"]


def test_tail_is_a_table_for_people(config, capsys):
    """A batch is one row that names its first symbol and how many more there were."""
    assert run(["decisions", "tail", *config]) == 0

    out = capsys.readouterr().out
    assert "BTCUSDT +1" in out
    assert len(out.splitlines()) == 5


def test_show_tells_decision_and_outcome(config, capsys):
    """`show` prints what was decided and what became of it."""
    capsys.readouterr()
    assert run(["decisions", "show", "d-1", "--json", *config]) == 0

    assert [record["kind"] for record in json.loads(capsys.readouterr().out)] == ["decision", "outcome"]


def test_show_of_an_unknown_id_fails(config, capsys):
    """An id that is not on record exits 1 and names it."""
    assert run(["decisions", "show", "d-9", *config]) == 1
    assert "d-9" in capsys.readouterr().err


def test_export_as_json_lines(config, capsys):
    """Every line of the export is one record as it stands in the file."""
    capsys.readouterr()
    assert run(["decisions", "export", "--format", "jsonl", *config]) == 0

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["decision_id"] for record in records] == ["d-1", "d-2", "d-3"]
    assert all(len(record["hash"]) == 64 for record in records)


def test_export_as_csv_starts_no_formula(config, capsys):
    """A text a bot chose does not become a formula in a spreadsheet."""
    capsys.readouterr()
    assert run(["decisions", "export", "--format", "csv", *config]) == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["account"] for row in rows] == ["main", "main", ""]
    assert rows[0]["sentence"] == "'" + SENTENCE


def test_an_unknown_format_is_a_usage_error(config):
    """Only jsonl and csv exist."""
    assert run(["decisions", "export", "--format", "xml", *config]) == 2


def test_no_record_yet_is_said_plainly(folder, capsys):
    """Before the first start there is no record; that is a sentence, not a traceback."""
    assert run(["decisions", "tail", "--config", str(folder / "riskgate.yaml")]) == 1
    assert "no record yet" in capsys.readouterr().err


RULES = [
    ["leverage_effective", 0, "within", "0.0333333333333333333333333333", "5"],
    ["trade_notional", 0, "breach", "0.0295", "0.015"],
    ["order_rate", 0, "within", 1, 50],
]


def test_show_is_lines_for_people(folder, capsys):
    """The answer, the sentence, what was asked, the breach first, at most twelve digits, and who set the limit."""
    file = folder / "policy.yaml"

    async def fill():
        tasks = Tasks()
        clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        audit = Audit(folder / "data" / "audit", clock=clock, sync="process", tasks=tasks)
        audit.open()
        audit.append(decision(1, decision="block", rules_run=RULES, policy_revision=1))
        audit.append({"kind": "outcome", "decision_id": "d-1", "outcome": "accepted", "status": 200, "order_ids": [7]})
        audit.close()
        await tasks.close()
        store = await create_store("sqlite", read_policy_file(file), clock=clock, data_dir=folder / "data")
        await store.close()

    asyncio.run(fill())
    capsys.readouterr()
    assert run(["decisions", "show", "d-1", "--data-dir", str(folder / "data")]) == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["d-1: block, all_risk_checks_passed", SENTENCE]
    assert lines[3] == "asked: buy 0.1 BTCUSDT"
    assert lines[7:] == [
        "breach trade_notional 0.0295 0.015 capital_profiles.micro",
        "within leverage_effective 0.0333333333333 5 capital_profiles.micro",
        "within order_rate 1 50 accounts.main",
        "outcome: accepted, status 200, exchange order 7",
    ]


def test_tail_says_who_asked_what_and_what_became_of_it(config, capsys):
    """Time, answer, reason, account, bot, the order in words, its outcome; a refusal is a block."""
    capsys.readouterr()
    assert run(["decisions", "tail", *config]) == 0

    head, _, first, _, last = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    assert [cell.strip() for cell in head if cell.strip()] == [
        "time", "decision", "reason", "account", "bot", "order", "outcome", "decision_id",
    ]  # fmt: skip
    assert [cell.strip() for cell in first if cell.strip()] == [
        "2026-01-01 00:00:00", "allow", "all_risk_checks_passed", "main", "grid1", "buy 0.1 BTCUSDT", "accepted", "d-1",
    ]  # fmt: skip
    assert [cell.strip() for cell in last if cell.strip()] == ["2026-01-01 00:00:00", "block", "key_unknown", "d-3"]


def test_a_data_folder_can_be_named_without_settings(config, folder, monkeypatch, tmp_path, capsys):
    """`--data-dir` reads a record that no settings file belongs to, such as the demo's."""
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    assert run(["audit", "verify", "--data-dir", str(folder / "data")]) == 0
    assert run(["decisions", "tail", "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert "no record yet" in capsys.readouterr().err
