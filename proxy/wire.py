"""Requests and answers as they are on the wire, and the one strict reader of what they carry.

One parser serves gate, audit, rewrite and forward, so what is judged is what is sent. What
two readers could read differently is refused, never resolved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request as received: nothing decoded, nothing re-encoded."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    peer: str = ""
    host: bytes = b""

    @property
    def path(self) -> bytes:
        """The target up to the question mark."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The target after the question mark."""
        return self.target.partition(b"?")[2]


@dataclass(frozen=True, slots=True)
class WireResponse:
    """An answer: status, headers in order, and the body bytes after transfer decoding."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    reason: bytes = b""


class Param(NamedTuple):
    """One parameter: its decoded name and value, and where the raw value stands."""

    name: str
    value: str
    place: str  # "query" or "body"
    start: int  # offset of the raw value in the query or body
    end: int


@dataclass(frozen=True, slots=True)
class Params:
    """All parameters of a request in order; a name occurs once over query and body together."""

    items: tuple[Param, ...]

    def get(self, name: str) -> str | None:
        """The value of a parameter, or None."""
        for item in self.items:
            if item.name == name:
                return item.value
        return None
