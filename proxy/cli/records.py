"""`decisions` and `audit`: reads the record on disk, whether or not a proxy is running."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy import audit
from proxy.cli.checking import read_sections
from proxy.cli.output import CommandFailed, Exit, say, say_json, table
from proxy.errors import AuditError

DECISIONS = frozenset({"decision", "refusal"})
COLUMNS = (
    "seq", "at", "decision_id", "account", "bot", "strategy", "endpoint", "symbol", "side", "quantity",
    "decision", "reason", "scale_factor", "risk_level", "ess_active", "policy_revision", "sentence",
)  # fmt: skip


def folder(config: Path | None) -> Path:
    """Where the record is."""
    directory = read_sections(config, "data_dir").audit_dir
    if not directory.is_dir():
        raise CommandFailed(f"no record yet: {directory} does not exist")
    return directory


def tail(directory: Path, count: int, *, as_json: bool) -> None:
    """Print the latest decisions, oldest first."""
    try:
        found = audit.newest(directory, limit=count, wanted=lambda record: record["kind"] in DECISIONS)[::-1]
    except AuditError as error:
        raise CommandFailed(str(error)) from None
    if as_json:
        for record in found:
            say_json(record, indent=False)
        return
    head = ("at", "decision_id", "account", "symbol", "decision", "reason", "sentence")
    for line in table(head, [[row[name] for name in head] for row in map(row_of, found)]):
        say(line)


def show(directory: Path, decision_id: str) -> None:
    """Print everything recorded of one decision: it, and what became of it."""
    try:
        found = audit.find(directory, decision_id)
    except AuditError as error:
        raise CommandFailed(str(error)) from None
    if not found:
        raise CommandFailed(f"no decision {decision_id!r} in {directory}")
    say_json(found)


def export(directory: Path, form: str) -> None:
    """Print every decision as JSON lines or CSV."""
    if form not in ("jsonl", "csv"):
        raise CommandFailed(f"found --format {form}; expected jsonl or csv", Exit.USAGE)
    try:
        records = audit.read(directory, kinds=DECISIONS)
        if form == "jsonl":
            for record in records:
                say_json(record, indent=False)
        else:
            _write_csv(records)
    except AuditError as error:
        raise CommandFailed(str(error)) from None


def _write_csv(records: Iterator[dict[str, Any]]) -> None:
    out = csv.DictWriter(sys.stdout, COLUMNS)
    out.writeheader()
    for record in records:
        out.writerow({name: _unformulated(value) for name, value in row_of(record).items()})


def _unformulated(text: str) -> str:
    """A cell no spreadsheet takes for a formula: a bot chooses some of these texts."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def row_of(record: dict[str, Any]) -> dict[str, str]:
    """One decision as flat text; a batch shows its first order and how many more there were."""
    orders = record.get("orders") or [{}]
    first = orders[0]
    caller = record.get("caller") or {}
    flat = {**caller, **first, **record}
    flat["quantity"] = first.get("quantity") or first.get("quote_quantity")
    if len(orders) > 1:
        flat["symbol"] = f"{first.get('symbol', '')} +{len(orders) - 1}"
    return {name: "" if flat.get(name) is None else str(flat[name]) for name in COLUMNS}


def verify(directory: Path, *, as_json: bool) -> Exit:
    """Print whether the chain is whole."""
    found = audit.verify(directory)
    if as_json:
        say_json(found._asdict())
    elif found.ok:
        say(f"good: {found.records} records, unbroken; the last one's hash is {found.head_hash}")
    else:
        say(f"NOT good: at record {found.at_sequence}: {found.problem}; {found.records} records before it hold")
    return Exit.OK if found.ok else Exit.FAILED
