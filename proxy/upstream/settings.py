"""The lane's own numbers: how many connections, and how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass

RESPONSE_HEAD_MAX_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """Bounds of the lane. Times count from the write; waiting for a connection has its own bound.

    `total_timeout_s` lies above the 10 s after which Binance itself answers "status unknown":
    hanging up earlier would turn its answer into our not knowing.
    """

    connections_max: int = 64  # per origin; reads have as many of their own
    connections_warm: int = 2
    connect_timeout_s: float = 3.0
    head_timeout_s: float = 10.5
    body_timeout_s: float = 10.0
    total_timeout_s: float = 12.0
    queue_timeout_s: float = 3.0
    idle_s: float = 30.0
    response_max_bytes: int = 1 << 20
    private_addresses_allowed: bool = False  # for origins given by name; an address given outright is meant
    ca_file: str | None = None  # trusted instead of the system's authorities
