"""What is answered, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Policy:
    """A revision of the whole document, as the API writes it."""

    revision: int
    updated_at: datetime
    updated_by: str
    reason: str
    document: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """The active risk mode under the names that clients know; shares are fractions."""

    revision: int
    mode: str
    max_leverage: Decimal
    max_risk_pct_per_trade: Decimal
    max_daily_drawdown: Decimal
    max_positions: int
    global_min_confidence: Decimal
    scaling_factor: Decimal
    position_size_cap: Decimal


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit in force, and the place of the document that set it."""

    value: Any
    source: str

    @property
    def number(self) -> Decimal:
        """The value of a limit that is a number."""
        return Decimal(str(self.value))


@dataclass(frozen=True, slots=True)
class Effective:
    """Every limit in force for an account, strategy and symbol."""

    revision: int
    mode: str
    limits: Mapping[str, Limit]


@dataclass(frozen=True, slots=True)
class Headroom:
    """The largest order that would pass now; `binding` is the rule that stops a larger one."""

    quantity: Decimal
    sendable: bool
    binding: str | None
    sentence: str | None


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """What happened to the policy."""

    event: str
    revision: int
    previous_mode: str
    new_mode: str
    preset: str | None
    updated_by: str
    reason: str
    timestamp: datetime
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class Lease:
    """For how long a strategy counts as alive on an account (None: it has no lease there), and what holds it."""

    lease_s: float | None
    level: str

    @property
    def is_stopped(self) -> bool:
        """Whether a stop holds the strategy there."""
        return self.level != "clear"


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heart-beat came to, by account."""

    strategy: str
    accounts: Mapping[str, Lease]


@dataclass(frozen=True, slots=True)
class Permit:
    """An approval or an override, as far as it has come: asked, granted, used, refused or expired."""

    id: str
    kind: str
    state: str
    account: str
    bot: str
    strategy: str
    reason: str
    sentence: str
    orders: tuple[Mapping[str, Any], ...]
    notional: Decimal | None
    decision_id: str
    until: datetime
    first: str | None
    granted_by: tuple[str, ...]
    used_by: str | None
