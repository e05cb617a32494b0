"""The options that commands share, each declared once, and the group a file of commands makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Optional, get_type_hints

import typer

if TYPE_CHECKING:
    from proxy.cli.admin_client import AdminClient

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
Actor = Annotated[str, typer.Option("--actor", help="Who; else the login name.")]


class RunningProxy(NamedTuple):
    """The proxy that a command asks, as three options name it."""

    config: Path | None
    admin_url: str
    token_file: Path | None

    def client(self) -> AdminClient:
        """Its admin API."""
        from proxy.cli.admin_client import AdminClient

        return AdminClient.named(self.config, self.admin_url, self.token_file)


def group(sentence: str | None = None) -> typer.Typer:
    """A group of commands; one without a sentence has no name either, its commands stand at the top."""
    return typer.Typer(help=sentence, no_args_is_help=True, rich_markup_mode=None)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the three options of RunningProxy in the place of its first parameter."""

    def asks(config: Config = None, admin_url: AdminUrl = "", token_file: TokenFile = None, **rest: Any) -> None:  # noqa: ANN401 - the command's own options
        command(RunningProxy(config, admin_url, token_file), **rest)

    parameters = [*_parameters(command)[1:], *_parameters(asks)[:-1]]
    # typer reads the options from the signature, and the help from the docstring.
    asks.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    asks.__name__, asks.__doc__ = command.__name__, command.__doc__
    return asks


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    """Its parameters with annotations as objects, to be given by name so that their order is free."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
    ]
