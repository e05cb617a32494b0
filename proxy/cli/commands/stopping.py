"""`halt`, `resume`, `cancel-all`, `flatten`, `drill` and `heartbeat`: the emergency stop, and what goes with it."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli.options import Actor, AsJson, Reason, RunningProxy, asking, group
from proxy.cli.output import finish

app = group()

Scope = Annotated[str, typer.Option("--scope", help="global, or exchange:, account:, strategy: or symbol:NAME.")]
ActionScope = Annotated[str, typer.Option("--scope", help="global, or exchange: or account:NAME.")]
WaitSeconds = Annotated[float, typer.Option("--wait", help="Seconds to follow it for; it goes on by itself.")]


@app.command()
@asking
def halt(
    running: RunningProxy,
    reduce_only: Annotated[bool, typer.Option("--reduce-only", help="Still admit proven reductions.")] = False,
    scope: Scope = "global",
    reason: Reason = "",
    actor: Actor = "",
) -> None:
    """Engage the emergency stop. Cancels still pass."""
    from proxy.cli import stopping

    accounts = () if running.admin_url or scope == "global" else stopping.accounts_of(running.config)
    finish(
        stopping.halt(
            running.client(), reduce_only=reduce_only, scope=scope, reason=reason, actor=actor, accounts=accounts
        )
    )


@app.command()
@asking
def resume(
    running: RunningProxy,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, let orders pass again.")] = False,
    scope: Scope = "global",
    actor: Actor = "",
) -> None:
    """Release the emergency stop; needs a reason and --yes."""
    from proxy.cli import stopping

    finish(stopping.resume(running.client(), scope=scope, reason=reason, actor=actor, confirmed=yes))


@app.command(name="cancel-all")
@asking
def cancel_all(
    running: RunningProxy,
    reason: Reason,
    scope: ActionScope = "global",
    actor: Actor = "",
    wait_s: WaitSeconds = 150.0,
    as_json: AsJson = False,
) -> None:
    """Cancel every working order but protective ones.

    Nothing may open from then on: REDUCE_ONLY is engaged first, unless something as strict holds.
    """
    from proxy.cli import actions

    finish(
        actions.cancel_all(running.client(), scope=scope, reason=reason, actor=actor, wait_s=wait_s, as_json=as_json)
    )


@app.command()
@asking
def flatten(
    running: RunningProxy,
    reason: Reason,
    scope: ActionScope,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, halt, cancel and close everything there.")] = False,
    spot: Annotated[bool, typer.Option("--spot", help="Sell coins for dollars as well.")] = False,
    actor: Actor = "",
    wait_s: WaitSeconds = 150.0,
    as_json: AsJson = False,
) -> None:
    """Halt, cancel, and close every position; needs --yes.

    It says flat only once a later reading of the exchange shows it.
    """
    from proxy.cli import actions

    finish(
        actions.flatten(
            running.client(),
            scope=scope,
            reason=reason,
            actor=actor,
            spot=spot,
            confirmed=yes,
            wait_s=wait_s,
            as_json=as_json,
        )
    )


@app.command()
def drill(as_json: AsJson = False) -> None:
    """Try halt and flatten, with a stopwatch.

    Before a simulated exchange of its own: it touches no account.
    """
    from proxy.cli import actions

    finish(actions.drill(as_json=as_json))


@app.command()
@asking
def heartbeat(
    running: RunningProxy,
    strategy: Annotated[str, typer.Argument(help="As in the settings.")],
    as_json: AsJson = False,
) -> None:
    """Say that a strategy lives: its lease begins anew. Releases nothing."""
    from proxy.cli import heartbeat as beats

    finish(beats.beat(running.client(), strategy=strategy, as_json=as_json))
