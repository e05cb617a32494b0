"""`decisions` and `audit`: the record on disk."""

from __future__ import annotations

from typing import Annotated

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
def audit_verify(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check that the record is whole.

    Exit 1 if a record was changed, removed or moved.
    """
    from proxy.cli import records

    finish(records.verify(records.folder(config, data_dir), as_json=as_json))
