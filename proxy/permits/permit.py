"""A permit: one order, who let it through, until when, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

from proxy.errors import AuditError, ProxyError

BOOTSTRAP: Final = "bootstrap"


class Kind(StrEnum):
    """What is let through."""

    APPROVAL = "approval"  # a large order that keeps to every other rule
    OVERRIDE = "override"  # an order above limits of size, or a reduction under a CRITICAL signal


class State(StrEnum):
    """Where a permit stands; the last three are ends."""

    ASKED = "asked"
    GRANTED = "granted"
    USED = "used"
    REFUSED = "refused"
    EXPIRED = "expired"


OPEN: Final = frozenset({State.ASKED, State.GRANTED})


class PermitUnknown(ProxyError):
    """No permit, or no blocked order, has this id."""

    status = 404


class PermitRefused(ProxyError):
    """Understood, and not granted: the wrong person, the wrong state, or what no override lifts."""

    status = 409


class PermitNotStored(AuditError):
    """What was to be granted or spent could not be written down: it does not count, and its order is not sent."""


class Signer(NamedTuple):
    """Who says yes: the person of a token, and what tells two persons apart."""

    actor: str  # for the record
    person: str  # whose token was shown
    credential: str = ""  # what two persons must not share; "" while nobody has a token of their own
    makers: frozenset[str] = frozenset()  # who had a hand in the token, by folded names
    token_id: str = ""

    @property
    def is_own(self) -> bool:
        """Whether this is a person's own token, not the one of the first start."""
        return self.person != BOOTSTRAP

    @property
    def folded(self) -> str:
        """The name that two persons must not share, however it is written."""
        return " ".join(self.person.split()).casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """One order that somebody asked to let through."""

    id: str
    kind: Kind
    fingerprint: str
    account: str
    exchange: str
    bot: str
    strategy: str
    decision_id: str  # of the block that it began with
    reason: str  # of that block
    sentence: str
    orders: tuple[Mapping[str, Any], ...]  # as a record shows them
    symbols: tuple[str, ...]
    notional: Decimal | None  # what the request was worth, in the account's currency
    prices: Mapping[str, Decimal]  # the marks that people saw
    reducing: bool
    asked_at: datetime
    until: datetime
    asked_by: str = ""
    why: str = ""  # what whoever asked said
    first: Signer | None = None  # who said yes, where a second person has to
    granted_by: tuple[str, ...] = ()
    granted_at: datetime | None = None
    state: State = State.ASKED
    ended_at: datetime | None = None
    used_by: str | None = None  # the decision that spent it
    until_s: float = field(default=0.0, compare=False)  # monotonic: a stepped wall clock gives nobody more time

    @property
    def headline(self) -> str:
        """The order in one line, for people."""
        shown = [
            f"{one.get('side', '')} {_size(one)} {one.get('symbol', '')}".strip() for one in self.orders[:3]
        ]
        more = f" and {len(self.orders) - 3} more" if len(self.orders) > 3 else ""
        worth = "" if self.notional is None else f" worth {self.notional.quantize(Decimal('0.01')):f}"
        return f"{', '.join(shown)}{more}{worth} of {self.account}, bot {self.bot}"

    @property
    def note(self) -> str:
        """How the record of the order names it."""
        return f"{self.kind} {self.id} of {' and '.join(self.granted_by)}"

    def document(self) -> dict[str, Any]:
        """As the API, the console and the record show it."""
        return {
            "id": self.id, "kind": self.kind.value, "state": self.state.value, "account": self.account,
            "bot": self.bot, "strategy": self.strategy, "reason": self.reason, "sentence": self.sentence,
            "orders": [dict(one) for one in self.orders],
            "notional": None if self.notional is None else format(self.notional, "f"),
            "prices": {symbol: format(price, "f") for symbol, price in self.prices.items()},
            "reducing": self.reducing, "decision_id": self.decision_id, "fingerprint": self.fingerprint,
            "asked_at": self.asked_at, "asked_by": self.asked_by, "why": self.why,
            "first": None if self.first is None else self.first.actor, "granted_by": list(self.granted_by),
            "granted_at": self.granted_at, "until": self.until, "ended_at": self.ended_at, "used_by": self.used_by,
        }  # fmt: skip


def _size(order: Mapping[str, Any]) -> str:
    if order.get("close_position"):
        return "all"
    return str(order.get("quantity") or f"for {order.get('quote_quantity')}")
