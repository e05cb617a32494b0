"""`policy`: what is in force, and every way to change it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from proxy.cli.options import Actor, AsJson, Reason, RunningProxy, asking, group
from proxy.cli.output import finish

app = group("Show, compare and change the policy in force.")

PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A whole policy, YAML or TOML.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record; needed for every change.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change; exit 1 if anything.")]
Seen = Annotated[
    Optional[int],  # noqa: UP045 - see above
    typer.Option("--revision", help="Only if this is still the revision in force."),
]


@app.command("show")
@asking
def show(running: RunningProxy, as_json: AsJson = False) -> None:
    """Print the policy in force, as a file."""
    from proxy.cli import policies

    policies.show(running.client(), as_json=as_json)


@app.command("diff")
@asking
def diff(running: RunningProxy, file: PolicyFile) -> None:
    """Say what a file would change; exit 1 if anything."""
    from proxy.cli import policies

    finish(policies.diff(running.client(), file))


@app.command("apply")
@asking
def apply(
    running: RunningProxy,
    file: PolicyFile,
    reason: Reason,
    actor: Actor = "",
) -> None:
    """Put a file in the place of the policy in force.

    The difference is shown first. A policy that somebody else changed meanwhile is left alone.
    """
    from proxy.cli import policies

    finish(policies.apply(running.client(), file, reason=reason, actor=actor))


@app.command("get")
@asking
def get(
    running: RunningProxy,
    path: Annotated[str, typer.Argument(help="Such as risk.max_leverage, ai.enable_rl, accounts.main.symbols.")] = "",
    as_json: AsJson = False,
) -> None:
    """Print one value by its path, or the whole policy."""
    from proxy.cli import policy_changes

    finish(policy_changes.get(running.client(), path, as_json=as_json))


@app.command("set")
@asking
def set_(
    running: RunningProxy,
    assignments: Annotated[list[str], typer.Argument(metavar="PATH=VALUE...", help="null removes.")],
    reason: Why = "",
    actor: Actor = "",
    revision: Seen = None,
    dry_run: DryRun = False,
) -> None:
    """Change single values. The difference is shown first."""
    from proxy.cli import policy_changes

    changes = policy_changes.assigned(assignments)
    finish(
        policy_changes.change(running.client(), changes, reason=reason, actor=actor, revision=revision, dry_run=dry_run)
    )


@app.command("patch")
@asking
def patch(
    running: RunningProxy,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A part of a policy, YAML or TOML.")],
    reason: Why = "",
    actor: Actor = "",
    revision: Seen = None,
    dry_run: DryRun = False,
) -> None:
    """Merge a part of a policy into the one in force. The difference is shown first."""
    from proxy.cli import policy_changes

    changes = policy_changes.patched_by_file(file)
    finish(
        policy_changes.change(running.client(), changes, reason=reason, actor=actor, revision=revision, dry_run=dry_run)
    )


@app.command("use")
@asking
def use(
    running: RunningProxy,
    mode: Annotated[str, typer.Argument(help="NORMAL, DEFENSIVE, AGGRESSIVE, or one of your own.")],
    reason: Why = "",
    actor: Actor = "",
) -> None:
    """Make another risk mode the active one."""
    from proxy.cli import policy_changes

    finish(policy_changes.use(running.client(), mode, reason=reason, actor=actor))


@app.command("list")
@asking
def list_(running: RunningProxy, as_json: AsJson = False) -> None:
    """List the risk modes, and which is active."""
    from proxy.cli import policy_changes

    policy_changes.modes(running.client(), as_json=as_json)


@app.command("history")
@asking
def history(
    running: RunningProxy,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=200, help="How many.")] = 20,
    revision: Annotated[
        Optional[int],  # noqa: UP045 - see above
        typer.Option("--revision", min=1, help="What this one changed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The latest revisions of the policy: when, who and why."""
    from proxy.cli import policy_changes

    finish(policy_changes.history(running.client(), count=count, revision=revision, as_json=as_json))


@app.command("rollback")
@asking
def rollback(
    running: RunningProxy,
    revision: Annotated[int, typer.Argument(min=1, help="The revision to bring back.")],
    reason: Why = "",
    actor: Actor = "",
) -> None:
    """Bring an older policy back, as a new revision."""
    from proxy.cli import policy_changes

    finish(policy_changes.rollback(running.client(), revision, reason=reason, actor=actor))


@app.command("presets")
@asking
def presets(
    running: RunningProxy,
    preset: Annotated[str, typer.Argument(help="The preset to apply; without it, list them.")] = "",
    off: Annotated[bool, typer.Option("--off", help="Take the limits of the one that is on off.")] = False,
    reason: Why = "",
    actor: Actor = "",
    as_json: AsJson = False,
) -> None:
    """List presets, or apply one."""
    from proxy.cli import policy_changes

    finish(policy_changes.presets(running.client(), preset, off=off, reason=reason, actor=actor, as_json=as_json))


@app.command("validate")
def validate(file: PolicyFile) -> None:
    """Say whether a file is a whole policy, and what of it is probably not meant. No proxy is asked."""
    from proxy.cli import policy_changes

    finish(policy_changes.validate(file))
