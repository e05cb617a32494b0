"""`approvals` and `override`: what people let through once."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli.options import Actor, AsJson, Reason, RunningProxy, asking, group

approvals = group("Large orders that wait for a person.")
override = group("Blocked orders that two persons let through once.")

PermitId = Annotated[str, typer.Argument(help="The id, as `list` shows it.")]


@approvals.command("list")
@asking
def list_approvals(running: RunningProxy, as_json: AsJson = False) -> None:
    """List the orders that wait, that may pass once, and what became of others."""
    from proxy.cli import permits

    permits.show(running.client(), "approvals", as_json=as_json)


@approvals.command("approve")
@asking
def approve(
    running: RunningProxy, permit_id: PermitId, reason: Reason, actor: Actor = "", as_json: AsJson = False
) -> None:
    """Let this order through: its retry passes once."""
    from proxy.cli import permits

    permits.act(running.client(), "approvals", "approve", permit_id, reason=reason, actor=actor, as_json=as_json)


@approvals.command("refuse")
@asking
def refuse_approval(
    running: RunningProxy, permit_id: PermitId, reason: Reason, actor: Actor = "", as_json: AsJson = False
) -> None:
    """Say no, also after a yes that was not used yet."""
    from proxy.cli import permits

    permits.act(running.client(), "approvals", "refuse", permit_id, reason=reason, actor=actor, as_json=as_json)


@override.command("list")
@asking
def list_overrides(running: RunningProxy, as_json: AsJson = False) -> None:
    """List overrides that wait for their second person, that may pass once, and what became of others."""
    from proxy.cli import permits

    permits.show(running.client(), "overrides", as_json=as_json)


@override.command("ask")
@asking
def ask(
    running: RunningProxy,
    decision_id: Annotated[str, typer.Argument(help="The decision that blocked the order.")],
    reason: Reason,
    actor: Actor = "",
    as_json: AsJson = False,
) -> None:
    """Ask to let a blocked order through once; a second person has to confirm."""
    from proxy.cli import permits

    permits.ask(running.client(), decision_id, reason=reason, actor=actor, as_json=as_json)


@override.command("confirm")
@asking
def confirm(
    running: RunningProxy, permit_id: PermitId, reason: Reason, actor: Actor = "", as_json: AsJson = False
) -> None:
    """Say yes as the second person: the order passes once."""
    from proxy.cli import permits

    permits.act(running.client(), "overrides", "confirm", permit_id, reason=reason, actor=actor, as_json=as_json)


@override.command("refuse")
@asking
def refuse_override(
    running: RunningProxy, permit_id: PermitId, reason: Reason, actor: Actor = "", as_json: AsJson = False
) -> None:
    """Say no, also after two said yes, as long as it was not used."""
    from proxy.cli import permits

    permits.act(running.client(), "overrides", "refuse", permit_id, reason=reason, actor=actor, as_json=as_json)
