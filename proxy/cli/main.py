"""The commands and their options; what they do lives in the modules beside, imported when needed.

Exit codes: 0 done, 1 failed or unhealthy, 2 usage or configuration, 3 refused, 4 the admin
API does not answer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from proxy.cli.output import CommandFailed, Exit, finish, say, say_json, tell
from proxy.errors import ConfigError

app = typer.Typer(
    name="riskgate",
    help="A sidecar proxy that makes risk limits unavoidable for exchange APIs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
policy_app = typer.Typer(
    help="Show, compare and change the policy in force.", no_args_is_help=True, rich_markup_mode=None
)
decisions_app = typer.Typer(help="Read the record of decisions.", no_args_is_help=True, rich_markup_mode=None)
audit_app = typer.Typer(help="Check the record itself.", no_args_is_help=True, rich_markup_mode=None)
store_app = typer.Typer(
    help="Make and migrate the policy store itself.", no_args_is_help=True, rich_markup_mode=None
)
config_app = typer.Typer(help="About the settings file.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(policy_app, name="policy")
app.add_typer(decisions_app, name="decisions")
app.add_typer(audit_app, name="audit")
app.add_typer(config_app, name="config")
app.add_typer(store_app, name="store")
token_app = typer.Typer(
    help="Who may ask the admin API: tokens of people.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(token_app, name="token")

# typer reads these annotations at run time, and needs Optional rather than a union with None.
Config = Annotated[
    Optional[Path],  # noqa: UP045 - see above
    typer.Option("--config", "-c", help="Settings file; else RISKGATE_CONFIG, else ./riskgate.yaml."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AdminUrl = Annotated[str, typer.Option("--admin-url", help="Admin address, instead of the settings file.")]
DataDir = Annotated[
    Optional[Path],  # noqa: UP045 - see above
    typer.Option("--data-dir", help="Data folder, instead of the settings file."),
]
TokenFile = Annotated[
    Optional[Path],  # noqa: UP045 - see above
    typer.Option("--token-file", help="Admin token file, with --admin-url."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Scope = Annotated[str, typer.Option("--scope", help="global, or exchange:, account:, strategy: or symbol:NAME.")]
ActionScope = Annotated[str, typer.Option("--scope", help="global, or exchange: or account:NAME.")]
WaitSeconds = Annotated[float, typer.Option("--wait", help="Seconds to follow it for; it goes on by itself.")]
Actor = Annotated[str, typer.Option("--actor", help="Who; else the login name.")]


def run(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        app(args=arguments, prog_name="riskgate")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(Exit.FAILED)
    except ConfigError as error:
        for line in str(error).splitlines():
            tell(f"riskgate: {line}")
        return int(Exit.USAGE)
    except CommandFailed as error:
        tell(f"riskgate: {error}")
        return int(error.code)
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`); nothing is left to be told to anyone.
        sys.stderr.close()
        return int(Exit.OK)
    return int(Exit.OK)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the six steps; exit 0 only if all were right.")]
    = False,
    proxy_bind: Annotated[str, typer.Option(help="Where the demo proxy listens.")] = "127.0.0.1:0",
    admin_bind: Annotated[str, typer.Option(help="Where its admin API listens.")] = "127.0.0.1:0",
    exchange_bind: Annotated[str, typer.Option(help="Where the simulated exchange listens.")] = "127.0.0.1:0",
    data_dir: Annotated[
        Optional[Path],  # noqa: UP045 - see above
        typer.Option(help="Where its data is kept; else a new temporary folder."),
    ] = None,
) -> None:
    """Show it working, without a key.

    A simulated exchange, the proxy before it, and six requests through the real path.
    """
    from proxy.cli.demo import Binds
    from proxy.cli.demo import run as run_demo

    _refuse_foreign_packages()
    binds = Binds.parse(proxy=proxy_bind, admin=admin_bind, exchange=exchange_bind)
    finish(run_demo(binds, data_dir, once=once))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")] = Path(),
) -> None:
    """Write the files of a first start.

    Commented settings, a policy, an admin token and one bot's key. Nothing is overwritten.
    """
    from proxy.cli import starter

    for line in starter.write(folder):
        say(line)


@app.command()
def check(config: Config = None, as_json: AsJson = False) -> None:
    """Say everything that is wrong, and end.

    Settings and policy are read as `run` reads them.
    """
    from proxy.cli import checking

    finish(checking.check(config, as_json=as_json))


@app.command(name="run")
def run_proxy(config: Config = None) -> None:
    """Run the proxy until it is told to stop."""
    from proxy.cli import serving

    _refuse_foreign_packages()
    finish(serving.run(serving.settings_for(config)))


@app.command()
def snippet(
    client: Annotated[str, typer.Argument(help="ccxt, freqtrade, python-binance, ... ; `list` names all.")],
    config: Config = None,
    bot: Annotated[str, typer.Option("--bot", help="ACCOUNT/BOT whose key to name.")] = "",
) -> None:
    """Print what to put into a client.

    With it every order of the client goes through the proxy.
    """
    from proxy.cli import snippets

    say(snippets.snippet(client, config, bot))


@app.command()
def status(
    account: Annotated[str, typer.Argument(help="Everything of this account alone.")] = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how the running proxy does.

    The emergency stop comes first. Of one account: positions, orders, every limit's use, facts that are old.
    --json has everything.
    """
    from proxy.cli import accounts, stopping

    client = stopping.client(config, admin_url, token_file)
    if account:
        accounts.show(client, account, as_json=as_json)
    else:
        stopping.status(client, as_json=as_json)


@app.command()
def headroom(
    account: Annotated[str, typer.Argument(help="The account.")],
    symbol: Annotated[str, typer.Argument(help="The symbol, as the exchange writes it.")],
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    strategy: Annotated[str, typer.Option(help="The strategy; needed where the account has several.")] = "",
    price: Annotated[str, typer.Option(help="Of a limit order; else at the market.")] = "",
    market: Annotated[str, typer.Option(help="linear or spot, where the account trades both.")] = "",
    bucket: Annotated[str, typer.Option(help="long or short, in hedge mode; else the leg that opens.")] = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how large an order could be now.

    By every rule, and which of them binds. Exit 3 if none could be sent at all.
    """
    from proxy.cli import accounts, stopping

    asked = {"account": account, "symbol": symbol, "side": side, "strategy": strategy, "price": price,
             "market": market, "bucket": bucket}  # fmt: skip
    finish(accounts.headroom(stopping.client(config, admin_url, token_file), asked, as_json=as_json))


@app.command()
def settle(
    account: Annotated[str, typer.Argument(help="The account.")],
    decision_id: Annotated[str, typer.Argument(help="The decision, as `status ACCOUNT` names it.")],
    outcome: Annotated[str, typer.Option("--outcome", help="accepted or failed, as the exchange shows it.")],
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, I have looked at the exchange.")] = False,
    actor: Actor = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Say what became of an order whose answer was lost.

    Only what nobody could find out by itself. A failed order gives its headroom back; needs a reason and --yes.
    """
    from proxy.cli import accounts, stopping

    client = stopping.client(config, admin_url, token_file)
    finish(
        accounts.settle(
            client, account, decision_id, outcome=outcome, reason=reason, actor=actor, confirmed=yes
        )
    )


@app.command()
def halt(
    reduce_only: Annotated[bool, typer.Option("--reduce-only", help="Still admit proven reductions.")] = False,
    scope: Scope = "global",
    reason: Reason = "",
    actor: Actor = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Engage the emergency stop. Cancels still pass."""
    from proxy.cli import stopping

    client = stopping.client(config, admin_url, token_file)
    accounts = () if admin_url or scope == "global" else stopping.accounts_of(config)
    finish(
        stopping.halt(client, reduce_only=reduce_only, scope=scope, reason=reason, actor=actor, accounts=accounts)
    )


@app.command()
def resume(
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, let orders pass again.")] = False,
    scope: Scope = "global",
    actor: Actor = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Release the emergency stop; needs a reason and --yes."""
    from proxy.cli import stopping

    client = stopping.client(config, admin_url, token_file)
    finish(stopping.resume(client, scope=scope, reason=reason, actor=actor, confirmed=yes))


@app.command(name="cancel-all")
def cancel_all(
    reason: Reason,
    scope: ActionScope = "global",
    actor: Actor = "",
    wait_s: WaitSeconds = 150.0,
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop opening, then cancel every working order but protective ones."""
    from proxy.cli import actions, stopping

    client = stopping.client(config, admin_url, token_file)
    finish(actions.cancel_all(client, scope=scope, reason=reason, actor=actor, wait_s=wait_s, as_json=as_json))


@app.command()
def flatten(
    reason: Reason,
    scope: ActionScope,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, halt, cancel and close everything there.")] = False,
    spot: Annotated[bool, typer.Option("--spot", help="Sell coins for dollars as well.")] = False,
    actor: Actor = "",
    wait_s: WaitSeconds = 150.0,
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Halt, cancel, close every position, and verify at the exchange; needs --yes."""
    from proxy.cli import actions, stopping

    client = stopping.client(config, admin_url, token_file)
    finish(
        actions.flatten(
            client, scope=scope, reason=reason, actor=actor, spot=spot, confirmed=yes, wait_s=wait_s, as_json=as_json
        )
    )


@app.command()
def drill(as_json: AsJson = False) -> None:
    """Halt and flatten before a simulated exchange, with a stopwatch; touches no account."""
    from proxy.cli import actions

    finish(actions.drill(as_json=as_json))


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

    finish(stopping.health(stopping.client(config, admin_url, None), ready=ready, as_json=as_json))


@app.command()
def wait(
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="How long at most, in seconds.")] = 30.0,
    config: Config = None,
    admin_url: AdminUrl = "",
    as_json: AsJson = False,
) -> None:
    """Return as soon as an order could be judged; exit 1 if that takes too long.

    For scripts that start bots after the proxy. It needs no token.
    """
    from proxy.cli import stopping

    finish(stopping.wait(stopping.client(config, admin_url, None), timeout_s=timeout, as_json=as_json))


@token_app.command("create")
def token_create(
    person: Annotated[str, typer.Argument(help="Whose it is; the name stands beside everything done with it.")],
    role: Annotated[str, typer.Option("--role", help="viewer, operator or admin.")],
    expires: Annotated[str, typer.Option("--expires", help="How long, such as 90d; else until revoked.")] = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Hand out a token. It is printed once, and only its digest is kept."""
    from proxy.cli import stopping, tokens

    client = stopping.client(config, admin_url, token_file)
    tokens.create(client, person, role=role, expires_in=expires, as_json=as_json)


@token_app.command("list")
def token_list(
    config: Config = None, admin_url: AdminUrl = "", token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """List the tokens: whose, what role, until when, when last used."""
    from proxy.cli import stopping, tokens

    tokens.show(stopping.client(config, admin_url, token_file), as_json=as_json)


@token_app.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(help="The id, as `token list` shows it.")],
    reason: Reason = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Take a token back, at once."""
    from proxy.cli import stopping, tokens

    tokens.revoke(stopping.client(config, admin_url, token_file), token_id, reason=reason)


@token_app.command("show-bootstrap")
def token_show_bootstrap(config: Config = None, token_file: TokenFile = None) -> None:
    """Print the token of the first start again, from its file."""
    from proxy.cli import tokens
    from proxy.cli.checking import read_sections

    tokens.show_bootstrap(token_file or read_sections(config, "admin", "data_dir").admin_token_path)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    from proxy import __version__

    if as_json:
        python = ".".join(str(part) for part in sys.version_info[:3])
        say_json({"riskgate": __version__, "python": python, "aiohttp": version_of("aiohttp")})
    else:
        say(f"riskgate {__version__}")


PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A whole policy, YAML or TOML.")]


@store_app.command("status")
def store_status(config: Config = None) -> None:
    """Say where the policy store is, and its latest revision."""
    from proxy.cli import stores

    stores.status(config)


@store_app.command("create")
def store_create(config: Config = None) -> None:
    """Make the policy store from the policy file; one that is there is never overwritten."""
    from proxy.cli import stores

    stores.create(config)


@store_app.command("migrate")
def store_migrate(config: Config = None) -> None:
    """Bring the policy store to the schema of this version. A file is copied beside itself first."""
    from proxy.cli import stores

    stores.migrate(config)


@policy_app.command("show")
def policy_show(
    config: Config = None, admin_url: AdminUrl = "", token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Print the policy in force, as a file."""
    from proxy.cli import policies, stopping

    policies.show(stopping.client(config, admin_url, token_file), as_json=as_json)


@policy_app.command("diff")
def policy_diff(
    file: PolicyFile, config: Config = None, admin_url: AdminUrl = "", token_file: TokenFile = None
) -> None:
    """Say what a file would change; exit 1 if anything."""
    from proxy.cli import policies, stopping

    finish(policies.diff(stopping.client(config, admin_url, token_file), file))


@policy_app.command("apply")
def policy_apply(
    file: PolicyFile,
    reason: Reason,
    actor: Actor = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Put a file in the place of the policy in force.

    The difference is shown first. A policy that somebody else changed meanwhile is left alone.
    """
    from proxy.cli import policies, stopping

    client = stopping.client(config, admin_url, token_file)
    finish(policies.apply(client, file, reason=reason, actor=actor))


PolicyReason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change; exit 1 if anything.")]
Seen = Annotated[
    Optional[int],  # noqa: UP045 - see above
    typer.Option("--revision", help="Only if this is still the revision in force."),
]


@policy_app.command("get")
def policy_get(
    path: Annotated[str, typer.Argument(help="Such as risk.max_leverage, ai.enable_rl, accounts.main.symbols.")] = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Print one value by its path, or the whole policy."""
    from proxy.cli import policy_changes, stopping

    finish(policy_changes.get(stopping.client(config, admin_url, token_file), path, as_json=as_json))


@policy_app.command("set")
def policy_set(
    assignments: Annotated[list[str], typer.Argument(metavar="PATH=VALUE...", help="null removes.")],
    reason: PolicyReason = "",
    actor: Actor = "",
    revision: Seen = None,
    dry_run: DryRun = False,
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Change single values. The difference is shown first."""
    from proxy.cli import policy_changes, stopping

    changes = policy_changes.assigned(assignments)
    client = stopping.client(config, admin_url, token_file)
    finish(
        policy_changes.change(client, changes, reason=reason, actor=actor, revision=revision, dry_run=dry_run)
    )


@policy_app.command("patch")
def policy_patch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A part of a policy, YAML or TOML.")],
    reason: PolicyReason = "",
    actor: Actor = "",
    revision: Seen = None,
    dry_run: DryRun = False,
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Merge a part of a policy into the one in force. The difference is shown first."""
    from proxy.cli import policy_changes, stopping

    changes = policy_changes.patched_by_file(file)
    client = stopping.client(config, admin_url, token_file)
    finish(
        policy_changes.change(client, changes, reason=reason, actor=actor, revision=revision, dry_run=dry_run)
    )


@policy_app.command("use")
def policy_use(
    mode: Annotated[str, typer.Argument(help="NORMAL, DEFENSIVE, AGGRESSIVE, or one of your own.")],
    reason: PolicyReason = "",
    actor: Actor = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Make another risk mode the active one."""
    from proxy.cli import policy_changes, stopping

    client = stopping.client(config, admin_url, token_file)
    finish(policy_changes.use(client, mode, reason=reason, actor=actor))


@policy_app.command("list")
def policy_list(
    config: Config = None, admin_url: AdminUrl = "", token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """List the risk modes, and which is active."""
    from proxy.cli import policy_changes, stopping

    policy_changes.modes(stopping.client(config, admin_url, token_file), as_json=as_json)


@policy_app.command("history")
def policy_history(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=200, help="How many.")] = 20,
    revision: Annotated[
        Optional[int],  # noqa: UP045 - see above
        typer.Option("--revision", min=1, help="What this one changed."),
    ] = None,
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """The latest revisions of the policy: when, who and why."""
    from proxy.cli import policy_changes, stopping

    client = stopping.client(config, admin_url, token_file)
    finish(policy_changes.history(client, count=count, revision=revision, as_json=as_json))


@policy_app.command("rollback")
def policy_rollback(
    revision: Annotated[int, typer.Argument(min=1, help="The revision to bring back.")],
    reason: PolicyReason = "",
    actor: Actor = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
) -> None:
    """Bring an older policy back, as a new revision."""
    from proxy.cli import policy_changes, stopping

    client = stopping.client(config, admin_url, token_file)
    finish(policy_changes.rollback(client, revision, reason=reason, actor=actor))


@policy_app.command("presets")
def policy_presets(
    preset: Annotated[str, typer.Argument(help="The preset to apply; without it, list them.")] = "",
    off: Annotated[bool, typer.Option("--off", help="Take the limits of the one that is on off.")] = False,
    reason: PolicyReason = "",
    actor: Actor = "",
    config: Config = None,
    admin_url: AdminUrl = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List presets, or apply one."""
    from proxy.cli import policy_changes, stopping

    client = stopping.client(config, admin_url, token_file)
    finish(policy_changes.presets(client, preset, off=off, reason=reason, actor=actor, as_json=as_json))


@policy_app.command("validate")
def policy_validate(file: PolicyFile) -> None:
    """Say whether a file is a whole policy, and what of it is probably not meant. No proxy is asked."""
    from proxy.cli import policy_changes

    finish(policy_changes.validate(file))


@decisions_app.command("tail")
def decisions_tail(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 20,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """The latest decisions, oldest first."""
    from proxy.cli import records

    records.tail(records.folder(config, data_dir), count, as_json=as_json)


@decisions_app.command("show")
def decisions_show(
    decision_id: Annotated[str, typer.Argument(help="The id a refusal or a log line names.")],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Everything recorded of one decision."""
    from proxy.cli import records

    records.show(records.folder(config, data_dir), decision_id, as_json=as_json)


@decisions_app.command("export")
def decisions_export(
    form: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """All decisions, oldest first."""
    from proxy.cli import records

    records.export(records.folder(config, data_dir), form)


@audit_app.command("verify")
def audit_verify(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check that the record is whole.

    Exit 1 if a record was changed, removed or moved.
    """
    from proxy.cli import records

    finish(records.verify(records.folder(config, data_dir), as_json=as_json))


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the settings file."""
    from proxy.config import schema

    say_json(schema())


def _refuse_foreign_packages() -> None:
    from proxy.cli.ownership import claimed_packages

    if problem := claimed_packages():
        raise CommandFailed(problem, Exit.USAGE)
