"""`demo`, `init`, `check`, `run`, `snippet`, `version`, `config`: from nothing to a proxy that runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from proxy.cli.options import AsJson, Config, group
from proxy.cli.output import CommandFailed, Exit, finish, say, say_json

app = group()
config_app = group("About the settings file.")


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the six steps; exit 0 only if all were right.")
    ] = False,
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
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    from proxy import __version__

    if as_json:
        python = ".".join(str(part) for part in sys.version_info[:3])
        say_json({"riskgate": __version__, "python": python, "aiohttp": version_of("aiohttp")})
    else:
        say(f"riskgate {__version__}")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the settings file."""
    from proxy.config import schema

    say_json(schema())


def _refuse_foreign_packages() -> None:
    from proxy.cli.ownership import claimed_packages

    if problem := claimed_packages():
        raise CommandFailed(problem, Exit.USAGE)
