"""How the exchange can be told to misbehave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

# Kinds whose request is carried out although its sender will not learn it properly.
EXECUTED = frozenset(
    {
        "latency",
        "drop_after_accept",
        "drop_mid_answer",
        "garbage",
        "truncated",
        "oversized",
        "slow_answer",
        "never_answer",
    }
)
NOT_EXECUTED = frozenset(
    {"drop_on_connect", "drop_before_read", "drop_before_accept", "reset", "status", "redirect"}
)
KINDS = EXECUTED | NOT_EXECUTED
AT_HEAD = frozenset({"drop_before_read"})


@dataclass(slots=True)
class Fault:
    """One misbehaviour. `times` counts down; None means until cleared.

    `match` is `METHOD /path`, with `*` and `?` as wildcards; without a space it is a path;
    None matches everything. `executes` overrides whether the request is carried out.
    `latency_s` is how long to wait before the misbehaviour (`slow_answer`: between pieces).
    """

    kind: str
    times: int | None = 1
    match: str | None = None
    latency_s: float = 0.0
    status: int = 503
    body: bytes | str = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    executes: bool | None = None
    size: int = 1_200_000
    piece_bytes: int = 1

    def __post_init__(self) -> None:
        """Refuse a kind that does not exist: a fault that never fires proves nothing."""
        if self.kind not in KINDS:
            raise ValueError(f"fault kind must be one of {sorted(KINDS)}, found {self.kind!r}")

    @property
    def is_executed(self) -> bool:
        """Whether the request is carried out."""
        return self.kind in EXECUTED if self.executes is None else self.executes

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is meant."""
        if self.match is None:
            return True
        if " " in self.match:
            return fnmatchcase(f"{method} {path}", self.match)
        return fnmatchcase(path, self.match)


class Faults:
    """The faults still to come, in the order they were injected."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def inject(self, fault: Fault) -> None:
        """Queue a fault."""
        self._waiting.append(fault)

    def clear(self) -> None:
        """Behave again."""
        self._waiting.clear()

    def take_on_connect(self) -> Fault | None:
        """The fault for a connection just accepted."""
        return self._take("", "", frozenset({"drop_on_connect"}))

    def take_at_head(self, method: str, path: str) -> Fault | None:
        """The fault for a request whose head was read."""
        return self._take(method, path, AT_HEAD)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for a request that was read fully."""
        return self._take(method, path, KINDS - AT_HEAD - {"drop_on_connect"})

    def _take(self, method: str, path: str, kinds: frozenset[str]) -> Fault | None:
        for fault in self._waiting:
            if fault.kind in kinds and (not method or fault.matches(method, path)):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                return fault
        return None
