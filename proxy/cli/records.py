"""`decisions` and `audit`: reads the record on disk, whether or not a proxy is running."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy import audit
from proxy.cli.checking import read_sections
from proxy.cli.limit_sources import SourcesUnknown, sources_of
from proxy.cli.output import CommandFailed, Exit, say, say_json, shortened, table, tell
from proxy.errors import AuditError

AUDIT_NAME = "audit"
RULE_HEAD = ("outcome", "rule", "observed", "limit", "set by")
WORST_FIRST = {"breach": 0, "scaled": 1, "within": 2}
DECISIONS = frozenset({"decision", "refusal"})
COLUMNS = (
    "seq", "at", "decision_id", "account", "bot", "strategy", "endpoint", "symbol", "side", "quantity",
    "decision", "reason", "scale_factor", "risk_level", "ess_active", "policy_revision", "sentence",
)  # fmt: skip


def folder(config: Path | None, data_dir: Path | None = None) -> Path:
    """Where the record is: in the data folder that is named, else in that of the settings."""
    directory = read_sections(config, "data_dir").audit_dir if data_dir is None else data_dir / AUDIT_NAME
    if not directory.is_dir():
        raise CommandFailed(f"no record yet: {directory} does not exist")
    return directory


def tail(directory: Path, count: int, *, as_json: bool) -> None:
    """Print the latest decisions, oldest first."""
    outcomes: dict[str, str] = {}

    def wanted(record: dict[str, Any]) -> bool:
        if record["kind"] == "outcome":  # it is newer than its decision, so it is met first
            outcomes.setdefault(str(record.get("decision_id")), str(record.get("outcome")))
        return record["kind"] in DECISIONS

    try:
        found = audit.newest(directory, limit=count, wanted=wanted)[::-1]
    except AuditError as error:
        raise CommandFailed(str(error)) from None
    if as_json:
        for record in found:
            say_json(record, indent=False)
        return
    head = ("time", "decision", "reason", "account", "bot", "order", "outcome", "decision_id")
    for line in table(head, [_tail_row(record, outcomes) for record in found]):
        say(line)


def _tail_row(record: dict[str, Any], outcomes: dict[str, str]) -> list[str]:
    row = row_of(record)
    order = " ".join(text for text in (row["side"], shortened(row["quantity"]), row["symbol"]) if text)
    became = outcomes.get(row["decision_id"], "")
    # A refusal came before the rulebook could decide; for whoever reads a list it is a block.
    decision = row["decision"] or "block"
    return [
        row["at"][:19].replace("T", " "), decision, row["reason"], row["account"], row["bot"],
        order or row["endpoint"], became, row["decision_id"],
    ]  # fmt: skip


def show(config: Path | None, data_dir: Path | None, decision_id: str, *, as_json: bool) -> None:
    """Print everything recorded of one decision: it, every rule that ran, and what became of it."""
    directory = folder(config, data_dir)
    try:
        found = audit.find(directory, decision_id)
    except AuditError as error:
        raise CommandFailed(str(error)) from None
    if not found:
        raise CommandFailed(f"no decision {decision_id!r} in {directory}")
    if as_json:
        say_json(found)
        return
    for record in found:
        sources: Mapping[str, str] = {}
        try:
            sources = sources_of(record, config, data_dir)
        except SourcesUnknown as error:  # the record is what was asked for; where its limits come from is beside it
            tell(f"riskgate: remark: which layer set each limit is not told: {error}")
        for line in told(record, sources):
            say(line)


def told(record: dict[str, Any], sources: Mapping[str, str]) -> Iterator[str]:
    """One record in lines for people; `sources` says which layer of the policy set a rule's limit."""
    row = row_of(record)
    if record["kind"] == "outcome":
        numbers = ", ".join(str(number) for number in record.get("order_ids") or ())
        said = [f"outcome: {record.get('outcome')}", record.get("status") and f"status {record['status']}",
                numbers and f"exchange order {numbers}", record.get("detail")]
        yield ", ".join(str(part) for part in said if part)
        return
    yield f"{row['decision_id']}: {row['decision'] or 'block'}, {row['reason'] or record['kind']}"
    yield row["sentence"]
    whose = [row["at"], f"account {row['account'] or 'unknown'}", f"bot {row['bot'] or 'unknown'}", row["endpoint"]]
    yield ", ".join(part for part in whose if part)
    for order in record.get("orders") or ():
        yield f"asked: {_order(order)}"
    if rows := sorted(record.get("rules_run") or (), key=lambda run: WORST_FIRST.get(run[2], len(WORST_FIRST))):
        yield ""
        many = len(record.get("orders") or ()) > 1
        yield from table(RULE_HEAD, [_rule_row(run, sources, many=many) for run in rows])


def _order(order: Mapping[str, Any]) -> str:
    quantity = order.get("quantity") or order.get("quote_quantity")
    words = [order.get("side"), quantity and shortened(str(quantity)), order.get("symbol")]
    if order.get("price"):
        words += ["at", shortened(str(order["price"]))]
    said = " ".join(str(word) for word in words if word)
    more = [order.get("type"), order.get("reduce_only") and "reduce only"]
    if order.get("client_order_id"):
        more.append(f"client order id {order['client_order_id']}")
    return ", ".join(str(part) for part in (said or order.get("instruction"), *more) if part)


def _rule_row(run: Sequence[Any], sources: Mapping[str, str], *, many: bool) -> list[str]:
    rule, instruction, outcome, observed, limit = run
    name = f"{rule} (order {int(instruction) + 1})" if many else str(rule)
    return [str(outcome), name, shortened(str(observed)), shortened(str(limit)), sources.get(str(rule), "")]


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
        out.writerow({name: unformulated(value) for name, value in row_of(record).items()})


def unformulated(text: str) -> str:
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
