"""`token`: who may ask the admin API."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli.options import AsJson, Config, Reason, RunningProxy, TokenFile, asking, group

app = group("Who may ask the admin API: tokens of people.")


@app.command("create")
@asking
def create(
    running: RunningProxy,
    person: Annotated[str, typer.Argument(help="Whose it is; the name stands beside everything done with it.")],
    role: Annotated[str, typer.Option("--role", help="viewer, operator or admin.")],
    expires: Annotated[str, typer.Option("--expires", help="How long, such as 90d; else until revoked.")] = "",
    as_json: AsJson = False,
) -> None:
    """Hand out a token. It is printed once, and only its digest is kept."""
    from proxy.cli import tokens

    tokens.create(running.client(), person, role=role, expires_in=expires, as_json=as_json)


@app.command("list")
@asking
def list_(running: RunningProxy, as_json: AsJson = False) -> None:
    """List the tokens: whose, what role, until when, when last used."""
    from proxy.cli import tokens

    tokens.show(running.client(), as_json=as_json)


@app.command("revoke")
@asking
def revoke(
    running: RunningProxy,
    token_id: Annotated[str, typer.Argument(help="The id, as `token list` shows it.")],
    reason: Reason = "",
) -> None:
    """Take a token back, at once."""
    from proxy.cli import tokens

    tokens.revoke(running.client(), token_id, reason=reason)


@app.command("show-bootstrap")
def show_bootstrap(config: Config = None, token_file: TokenFile = None) -> None:
    """Print the token of the first start again, from its file."""
    from proxy.cli import tokens
    from proxy.cli.checking import read_sections

    tokens.show_bootstrap(token_file or read_sections(config, "admin", "data_dir").admin_token_path)
