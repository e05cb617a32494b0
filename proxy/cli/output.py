"""What commands print and how they end: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Context, Decimal, InvalidOperation
from enum import IntEnum
from typing import Any, NoReturn

import orjson
import typer


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2  # usage or configuration
    REFUSED = 3
    UNREACHABLE = 4  # the admin API does not answer


class CommandFailed(Exception):
    """A command ends here, with a sentence for stderr."""

    def __init__(self, sentence: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.code = code


def say(line: str = "") -> None:
    """One line of the result."""
    sys.stdout.write(f"{line}\n")


def tell(line: str) -> None:
    """One line beside the result."""
    sys.stderr.write(f"{line}\n")


def say_json(value: Any, *, indent: bool = True) -> None:  # noqa: ANN401 - any JSON value
    """The result as JSON; decimals and times as text."""
    options = orjson.OPT_INDENT_2 if indent else 0
    say(orjson.dumps(value, default=str, option=options).decode())


def shortened(text: str, digits: int = 12) -> str:
    """A number with at most so many significant digits, rounded and never in exponents; other text as it is."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite():
        return text
    rounded = Context(prec=digits).create_decimal(number)
    plain = format(rounded, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def finish(code: Exit) -> NoReturn:
    """End the command with a code."""
    raise typer.Exit(int(code))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Plain columns, as wide as their widest cell; the last one is not padded."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ("-" * width for width in (*widths[:-1], len(head[-1])))
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (lines[0], tuple(rule), *lines[1:])
    ]
