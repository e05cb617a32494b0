"""`status`, `headroom`, `settle`, `health` and `wait`: what people ask a running proxy."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli.options import Actor, AdminUrl, AsJson, Config, Reason, RunningProxy, asking, group
from proxy.cli.output import finish

app = group()


@app.command()
@asking
def status(
    running: RunningProxy,
    account: Annotated[str, typer.Argument(help="Everything of this account alone.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say how the running proxy does.

    The emergency stop comes first. Of one account: positions, orders, every limit's use, facts that are old.
    --json has everything.
    """
    from proxy.cli import accounts, stopping

    if account:
        accounts.show(running.client(), account, as_json=as_json)
    else:
        stopping.status(running.client(), as_json=as_json)


@app.command()
@asking
def headroom(
    running: RunningProxy,
    account: Annotated[str, typer.Argument(help="The account.")],
    symbol: Annotated[str, typer.Argument(help="The symbol, as the exchange writes it.")],
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    strategy: Annotated[str, typer.Option(help="The strategy; needed where the account has several.")] = "",
    price: Annotated[str, typer.Option(help="Of a limit order; else at the market.")] = "",
    market: Annotated[str, typer.Option(help="linear or spot, where the account trades both.")] = "",
    bucket: Annotated[str, typer.Option(help="long or short, in hedge mode; else the leg that opens.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say how large an order could be now.

    By every rule, and which of them binds. Exit 3 if none could be sent at all.
    """
    from proxy.cli import accounts

    asked = {"account": account, "symbol": symbol, "side": side, "strategy": strategy, "price": price,
             "market": market, "bucket": bucket}  # fmt: skip
    finish(accounts.headroom(running.client(), asked, as_json=as_json))


@app.command()
@asking
def settle(
    running: RunningProxy,
    account: Annotated[str, typer.Argument(help="The account.")],
    decision_id: Annotated[str, typer.Argument(help="The decision, as `status ACCOUNT` names it.")],
    outcome: Annotated[str, typer.Option("--outcome", help="accepted or failed, as the exchange shows it.")],
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, I have looked at the exchange.")] = False,
    actor: Actor = "",
) -> None:
    """Say what became of an order whose answer was lost.

    Only what nobody could find out by itself. A failed order gives its headroom back; needs a reason and --yes.
    """
    from proxy.cli import accounts

    finish(
        accounts.settle(
            running.client(), account, decision_id, outcome=outcome, reason=reason, actor=actor, confirmed=yes
        )
    )


@app.command()
def health(
    ready: Annotated[bool, typer.Option("--ready", help="Ask whether it is ready, not just alive.")] = False,
    config: Config = None,
    admin_url: AdminUrl = "",
    as_json: AsJson = False,
) -> None:
    """Exit 0 if the proxy is alive, else 1.

    With --ready: if an order could be judged now. It needs no token.
    """
    from proxy.cli import stopping

    finish(stopping.health(RunningProxy(config, admin_url, None).client(), ready=ready, as_json=as_json))


@app.command()
def wait(
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="How long at most, in seconds.")] = 30.0,
    config: Config = None,
    admin_url: AdminUrl = "",
    as_json: AsJson = False,
) -> None:
    """Return as soon as an order could be judged.

    Exit 1 if that takes too long. For scripts that start bots after the proxy. It needs no token.
    """
    from proxy.cli import stopping

    finish(stopping.wait(RunningProxy(config, admin_url, None).client(), timeout_s=timeout, as_json=as_json))
