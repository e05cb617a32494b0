"""The `riskgate` command: its groups, and how it ends.

Exit codes: 0 done, 1 failed or unhealthy, 2 usage or configuration, 3 refused, 4 the admin
API does not answer.
"""

from __future__ import annotations

import sys

import typer

from proxy.cli.commands import asking, permits, policy, records, starting, stopping, store, token
from proxy.cli.output import CommandFailed, Exit, tell
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
for top in (starting.app, asking.app, stopping.app):
    app.add_typer(top)
GROUPS = {
    "policy": policy.app, "decisions": records.decisions, "audit": records.audit, "config": starting.config_app,
    "store": store.app, "token": token.app, "approvals": permits.approvals, "override": permits.override,
}  # fmt: skip
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


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
