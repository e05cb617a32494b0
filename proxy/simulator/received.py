"""The observer: what arrived, exactly as it arrived, and in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, unquote

import orjson

# Wide on purpose: a path that some server might read as an order counts as one, whether or not
# this exchange would carry it out.
_ORDER_PATH = re.compile(
    r"/(order|orders|orderlist|sor|batchorders?|algoorder|acceptquote|placeorder|neworder(twap|vp)"
    r"|cancelreplace|manual-liquidation|move-position|place-order-bundle)(/|$)"
)
_NOT_AN_ORDER = re.compile(r"/(test|cancelorder|cancel|cancel-all|countdowncancelall)/?$")


def is_order_request(method: str, target: bytes) -> bool:
    """Whether a request places or amends an order, judged from its target as a lenient server would."""
    return _is_order_path(method, target.partition(b"?")[0])


@lru_cache(maxsize=4096)
def _is_order_path(method: str, raw: bytes) -> bool:
    if method.upper() in ("GET", "HEAD", "OPTIONS", "DELETE"):
        return False
    path = raw.partition(b"#")[0].decode("latin-1")
    for _ in range(3):
        path = unquote(path)
    path = re.sub(r"[/\\]+", "/", path.lower())
    return _ORDER_PATH.search(path) is not None and _NOT_AN_ORDER.search(path) is None


@dataclass(slots=True)
class Received:
    """One request in arrival order; `status` and `code` are what it was answered.

    `at_ns` is the machine's monotonic clock when the last byte had been read. `complete` is
    False when the connection ended first; `fault` names the misbehaviour it met.
    """

    sequence: int
    at_ns: int
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_order: bool
    status: int | None = None
    code: int | None = None
    order_ids: list[int] = field(default_factory=list)
    connection: int = 0
    complete: bool = True
    fault: str | None = None

    @property
    def path(self) -> str:
        """The target up to the question mark."""
        return self.target.partition(b"?")[0].decode("latin-1")

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, in any case."""
        wanted = name.lower()
        for key, value in self.headers:
            if key.lower() == wanted:
                return value
        return None

    @property
    def client_order_id(self) -> str | None:
        """The client order id it carries, if one."""
        for part in (self.target.partition(b"?")[2], self.body):
            found = parse_qs(part.decode("latin-1"))
            for name in ("newClientOrderId", "clientAlgoId", "listClientOrderId"):
                if name in found:
                    return found[name][0]
        return None


class Journal:
    """Received orders as JSON lines, handed to the operating system before the answer is written."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("ab", buffering=0)

    def write(self, received: Received) -> None:
        """Append one order."""
        line = {
            "sequence": received.sequence,
            "at_ns": received.at_ns,
            "method": received.method,
            "target": received.target.decode("latin-1"),
            "body": received.body.decode("latin-1"),
            "clientOrderId": received.client_order_id,
            "complete": received.complete,
        }
        self._file.write(orjson.dumps(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
