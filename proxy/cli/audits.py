"""`audit verify` and `audit export`: the record as a whole, whether or not a proxy is running."""

from __future__ import annotations

import csv
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from proxy import audit
from proxy.audit import Anchor, Verification
from proxy.audit.chain import lines_of
from proxy.cli.checking import read_sections
from proxy.cli.output import CommandFailed, Exit, say, say_json
from proxy.cli.records import folder, unformulated
from proxy.errors import AuditError

COLUMNS = (
    "seq", "at", "kind", "who", "act", "scope", "account", "bot", "strategy", "decision_id", "endpoint", "symbol",
    "side", "quantity", "decision", "reason", "result", "sentence", "more", "hash",
)  # fmt: skip
_PLACED = frozenset({*COLUMNS, "prev", "actor", "caller", "orders", "outcome", "status"})


class Named(NamedTuple):
    """The folders of a record, and where its anchors are."""

    first: Path
    second: Path | None = None
    anchors: Path | None = None
    secret: bytes | None = None


def named(config: Path | None, data_dir: Path | None) -> Named:
    """What the settings name, or the one folder in a data folder."""
    first = folder(config, data_dir)
    if data_dir is not None:
        return Named(first)
    stated = read_sections(config, "data_dir", "audit").audit
    secret = None if stated.anchor.secret is None else stated.anchor.secret.get_secret_value()
    # A reference that cannot be resolved here stays as written; the anchors are then compared, not their signatures.
    known = None if secret is None or "${" in secret else secret.encode()
    return Named(first, stated.second_dir, stated.anchor.dir, known)


def verify(found: Named, anchors: Sequence[Path], *, as_json: bool) -> Exit:
    """Print whether the chain is whole, and fits the anchors."""
    places = list(anchors)
    if not places and found.anchors is not None and found.anchors.is_dir():
        places = [found.anchors]
    try:
        wanted = [anchor for place in places for anchor in audit.read_anchors(place, secret=found.secret)]
        results = {"first": audit.verify(found.first, anchors=wanted)}
        if found.second is not None and found.second.is_dir():
            results["second"] = audit.verify(found.second, anchors=wanted)
    except AuditError as error:
        raise CommandFailed(str(error)) from None
    if as_json:
        say_json(results["first"]._asdict() | {name: one._asdict() for name, one in results.items() if name != "first"})
    else:
        for name, one in results.items():
            say((f"{name} folder: " if len(results) > 1 else "") + _told(one, wanted))
    return Exit.OK if all(one.ok for one in results.values()) else Exit.FAILED


def _told(found: Verification, wanted: Sequence[Anchor]) -> str:
    if not found.ok:
        return f"NOT good: at record {found.at_sequence}: {found.problem}; {found.records} records before it hold"
    begins = "" if found.from_sequence == 1 else f" from record {found.from_sequence} on, where it begins"
    fit = ""
    if wanted:
        older = len(wanted) - found.anchors
        fit = f"; {found.anchors} anchors fit" + (f", {older} are older than its beginning" if older else "")
    return f"good: {found.records} records, unbroken{begins}; the last one's hash is {found.head_hash}{fit}"


def export(directory: Path, form: str, *, kinds: Collection[str], since: str, until: str) -> None:
    """Print records as they stand in the record, or as CSV."""
    if form not in ("jsonl", "csv"):
        raise CommandFailed(f"found --format {form}; expected jsonl or csv", Exit.USAGE)
    begins, ends = _instant("--since", since), _instant("--until", until)
    chosen = _chosen(directory, kinds, begins, ends)
    if form == "jsonl":
        for line, _ in chosen:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    out = csv.DictWriter(sys.stdout, COLUMNS)
    out.writeheader()
    for _, record in chosen:
        out.writerow({name: unformulated(value) for name, value in row_of(record).items()})


def _chosen(
    directory: Path, kinds: Collection[str], since: datetime | None, until: datetime | None
) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for line in lines_of(directory):
        try:
            record = orjson.loads(line)
            at = datetime.fromisoformat(record["at"])
        except (ValueError, KeyError, TypeError):
            raise CommandFailed("a record cannot be read; `riskgate audit verify` says which") from None
        if (not kinds or record["kind"] in kinds) and (since is None or at >= since) and (until is None or at < until):
            yield line, record


def _instant(option: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        sentence = f"found {option} {text}; expected an instant such as 2026-11-01T00:00Z"
        raise CommandFailed(sentence, Exit.USAGE) from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def row_of(record: dict[str, Any]) -> dict[str, str]:
    """One record of any kind as flat text; what has no column of its own stands as JSON under `more`."""
    caller, orders = record.get("caller") or {}, record.get("orders") or [{}]
    flat = {**{name: caller.get(name) for name in ("account", "bot", "strategy")}, **orders[0], **record}
    flat["who"] = record.get("actor") or flat.get("bot") or record.get("source")
    flat["quantity"] = orders[0].get("quantity") or orders[0].get("quote_quantity")
    flat["result"] = record.get("result") or record.get("outcome")
    if len(orders) > 1:
        flat["symbol"] = f"{orders[0].get('symbol', '')} +{len(orders) - 1}"
    more = {key: value for key, value in record.items() if key not in _PLACED and value not in (None, "", [], {})}
    flat["more"] = orjson.dumps(more).decode() if more else None
    return {name: "" if flat.get(name) is None else str(flat[name]) for name in COLUMNS}
