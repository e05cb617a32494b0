"""What each client was measured to make of an answer: tests/data/block_response_matrix.jsonl."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.clients.parts import Subject

FILE = Path(__file__).parents[1] / "data" / "block_response_matrix.jsonl"
CLIENTS = {
    "ccxt": "ccxt",
    "python-binance": "python-binance",
    "binance-connector": "binance-connector",
    "binance-futures-connector": "binance-futures-connector",
    "binance-sdk": "binance-sdk-derivatives-trading-usds-futures",
}
TARGETS = {"spot": ("binance spot", "api order"), "futures": ("binance fapi", "fapi order", "fapi order POST")}


class Row(NamedTuple):
    """One measurement."""

    client: str
    version: str
    target: str
    status: int
    body: str
    raises: str  # the exception's class, without what is written behind it

    @property
    def code(self) -> Any:
        """The code in the body, or None."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return found.get("code") if isinstance(found, dict) else None


@cache
def rows() -> tuple[Row, ...]:
    """All measurements."""
    found = []
    for line in FILE.read_text().splitlines():
        one = json.loads(line)
        name, version = one["client"].split(" ")[:2]
        raises = re.match(r"\w+", one["raises"])[0]
        found.append(Row(name, version, one["target"], one["status"], one["body"], raises))
    return tuple(found)


def raises(subject: Subject, status: int, code: int) -> str:
    """The measured exception class for a status and a code, said in words that mean nothing to the client.

    python-binance was measured on one market; its answer does not depend on it.
    """
    name = CLIENTS[subject.environment]
    fitting = [row for row in rows() if row.client == name and (row.status, row.code) == (status, code)]
    on_market = [row for row in fitting if row.target in TARGETS[subject.market]] or fitting
    # Binance's own sentences have classes of their own, whatever the code.
    classes = {row.raises for row in on_market if not re.search("This account may not|insufficient balance", row.body)}
    assert len(classes) == 1, f"{name}, {status} {code}: found {sorted(classes)}, expected one measured class"
    return classes.pop()


def version(subject: Subject) -> str:
    """The version that was measured."""
    versions = {row.version for row in rows() if row.client == CLIENTS[subject.environment]}
    assert len(versions) == 1
    return versions.pop()
