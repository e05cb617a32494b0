"""One admitted request on its way to its endpoint, and what an endpoint is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.simulator.account import SimAccount

Handler = Callable[["Call"], object]


@dataclass(slots=True)
class Call:
    """Who asks what, when. A handler adds the ids of the orders it created or touched."""

    values: dict[str, str]
    now_ms: int
    account: SimAccount = field(default_factory=lambda: SimAccount("nobody"))
    order_ids: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and path. `security` is none, key or signed; `known` bounds the parameters (-1104)."""

    method: str
    path: str
    handle: Handler
    security: str = "signed"
    orders: int = 0  # how much it counts towards X-MBX-ORDER-COUNT
    weight: int = 1
    known: frozenset[str] | None = None


PROTOCOL = frozenset({"timestamp", "recvWindow", "signature"})


def names(text: str) -> frozenset[str]:
    """The parameters an endpoint knows, with those every signed request may carry."""
    return frozenset(text.split()) | PROTOCOL
