"""`decisions` and `audit`: the record on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from proxy.cli.options import AsJson, Config, DataDir, group
from proxy.cli.output import finish

decisions = group("Read the record of decisions.")
audit = group("Check the record itself.")


@decisions.command("tail")
def decisions_tail(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 20,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """The latest decisions, oldest first."""
    from proxy.cli import records

    records.tail(records.folder(config, data_dir), count, as_json=as_json)


@decisions.command("show")
def decisions_show(
    decision_id: Annotated[str, typer.Argument(help="The id a refusal or a log line names.")],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Everything recorded of one decision."""
    from proxy.cli import records

    records.show(config, data_dir, decision_id, as_json=as_json)


@decisions.command("export")
def decisions_export(
    form: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """All decisions, oldest first."""
    from proxy.cli import records

    records.export(records.folder(config, data_dir), form)


@audit.command("verify")
def audit_verify(
    anchor: Annotated[
        Optional[list[Path]],  # noqa: UP045 - typer reads it at run time
        typer.Option("--anchor", help="A folder or file of anchors, or a log with them; may be repeated."),
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check that the record is whole, and with --anchor that it is the one that was written.

    Without --data-dir the second folder and the folder of anchors in the settings are checked too.
    Exit 1 if a record was changed, removed or moved, or if the record was cut off or made anew.
    """
    from proxy.cli import audits

    finish(audits.verify(audits.named(config, data_dir), anchor or [], as_json=as_json))


@audit.command("export")
def audit_export(
    form: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    kind: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Option("--kind", help="Only records of this kind, such as decision or admin; may be repeated."),
    ] = None,
    since: Annotated[str, typer.Option("--since", help="From this instant on, such as 2026-11-01T00:00Z.")] = "",
    until: Annotated[str, typer.Option("--until", help="Before this instant.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Every record, oldest first: decisions, outcomes, refusals, and what people and rules did."""
    from proxy.cli import audits

    audits.export(audits.named(config, data_dir).first, form, kinds=kind or (), since=since, until=until)
