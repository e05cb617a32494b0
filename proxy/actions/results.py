"""What an action has achieved so far, order by order and position by position, for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rules import Bucket, Market, Side


class OrderState(StrEnum):
    """What is known of a working order that an action met."""

    WORKING = "working"
    CANCELLED = "cancelled"  # the venue took the cancel, and a later reading does not list it
    GONE = "gone"  # the venue did not take the cancel, and a later reading does not list it: filled, or ended
    KEPT = "kept"  # protective


class PositionState(StrEnum):
    """What is known of a position that an action met."""

    OPEN = "open"
    FLAT = "flat"  # a reading that was asked for after the last order shows nothing
    DUST = "dust"  # less than the venue lets anybody sell


class RunState(StrEnum):
    """How an account's action stands."""

    RUNNING = "running"
    DONE = "done"
    NEEDS_PERSON = "needs_person"


@dataclass(slots=True, kw_only=True)
class OrderResult:
    """One working order."""

    market: Market
    symbol: str
    order_id: str
    client_order_id: str | None
    side: Side
    quantity: Decimal
    protective: bool
    state: OrderState = OrderState.WORKING
    attempts: int = 0
    taken: bool = False  # the venue has answered a cancel with yes
    said: str = ""

    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "market": self.market.value, "symbol": self.symbol, "order_id": self.order_id,
            "client_order_id": self.client_order_id, "side": self.side.value, "quantity": format(self.quantity, "f"),
            "protective": self.protective, "state": self.state.value, "attempts": self.attempts, "said": self.said,
        }  # fmt: skip


@dataclass(slots=True, kw_only=True)
class PositionResult:
    """One position; `sent` are the decisions that closed it, in order."""

    market: Market
    symbol: str
    bucket: Bucket
    quantity_before: Decimal
    quantity_now: Decimal
    state: PositionState = PositionState.OPEN
    sent: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""

    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "market": self.market.value, "symbol": self.symbol, "bucket": self.bucket.value,
            "quantity_before": format(self.quantity_before, "f"), "quantity_now": format(self.quantity_now, "f"),
            "state": self.state.value, "sent": self.sent, "said": self.said,
        }  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Run:
    """One account's part of an action."""

    account: str
    state: RunState = RunState.RUNNING
    problem: str = ""
    stopwatch_ms: dict[str, float] = field(default_factory=dict)
    orders: dict[tuple[Market, str, str], OrderResult] = field(default_factory=dict)
    positions: dict[tuple[Market, str, Bucket], PositionResult] = field(default_factory=dict)
    no_working_orders: bool = False
    flat: bool = False
    verified_at: datetime | None = None

    def needs(self, problem: str) -> None:
        """A person has to take over."""
        self.state, self.problem = RunState.NEEDS_PERSON, problem

    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "account": self.account, "state": self.state.value, "problem": self.problem,
            "no_working_orders": self.no_working_orders, "flat": self.flat, "verified_at": self.verified_at,
            "stopwatch_ms": dict(self.stopwatch_ms), "orders": [one.document() for one in self.orders.values()],
            "positions": [one.document() for one in self.positions.values()],
        }  # fmt: skip
