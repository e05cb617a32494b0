"""The global risk signal, read from another program: believed when it is well formed and new.

A message that cannot be read changes nothing: the last good one stays and grows too old
by itself, and a signal that is too old blocks new exposure.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from proxy.clock import Clock
from proxy.feeds.polling import Cycle, Cycles
from proxy.feeds.reading import Malformed, record
from proxy.feeds.venue import Venue
from rules import Fact, GlobalRisk, RiskLevel

SIGNAL_BYTES_MAX = 4 * 1024 * 1024  # a desk of ten thousand positions; a longer one is no signal
AHEAD_MAX = timedelta(seconds=5)  # a clock may be a little ahead of ours; more is not believed


def _exact(value: object) -> object:
    """JSON writes a score of exactly 0 or 1 as a whole number."""
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _instant(value: object) -> object:
    """ISO 8601; without an offset it is UTC, as the signal's own program writes it."""
    if not isinstance(value, str):
        raise ValueError("expected an ISO 8601 text")  # noqa: TRY004 - pydantic wants a ValueError
    instant = datetime.fromisoformat(value)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


Sentence = Annotated[str, Field(max_length=2000)]


class Signal(BaseModel):
    """What is read of the document. It is another program's, so keys we do not know are its own business."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    timestamp: Annotated[datetime, BeforeValidator(_instant)]
    risk_level: Literal["INFO", "WARNING", "CRITICAL"]
    overall_risk_score: Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=1)] | None = None
    ess_tier_recommendation: Literal["NORMAL", "REDUCED", "EMERGENCY"] | None = None
    ess_action_required: bool = False
    critical_issues: Annotated[list[Sentence], Field(max_length=1000)] = []
    warnings: Annotated[list[Sentence], Field(max_length=1000)] = []


class GlobalRiskFeed(Cycles):
    """Keeps the newest valid signal."""

    def __init__(self, venue: Venue, clock: Clock, *, every_s: float = 1.0) -> None:
        self._venue = venue
        self._clock = clock
        self._latest: Fact[GlobalRisk] | None = None
        super().__init__("risk.global", (Cycle("risk.global", self._read, every_s=every_s, clock=clock),))

    def latest(self) -> Fact[GlobalRisk] | None:
        """The newest valid signal, however old; None before the first."""
        return self._latest

    async def _read(self) -> None:
        reply = await self._venue.get("/risk/global", bytes_max=SIGNAL_BYTES_MAX)
        fact = read_signal(reply.found, reply.as_of)
        # A document written before the one we have never takes its place, unless ours is from
        # a future that a clock set back has taken away.
        known = self._latest
        if known is None or fact.as_of >= known.as_of or known.as_of > reply.as_of + AHEAD_MAX:
            self._latest = fact


def read_signal(found: object, sent_at: datetime) -> Fact[GlobalRisk]:
    """The signal in a document, as old as the older of its own timestamp and our asking."""
    try:
        signal = Signal.model_validate(record(found))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"{where}: {first['msg']}") from None
    if signal.timestamp > sent_at + AHEAD_MAX:
        raise Malformed(f"timestamp: {signal.timestamp.isoformat()} is in the future")
    risk = GlobalRisk(
        level=RiskLevel(signal.risk_level),
        ess_action_required=signal.ess_action_required,
        ess_tier=signal.ess_tier_recommendation,
        score=signal.overall_risk_score,
        issues=tuple(signal.critical_issues or signal.warnings),
    )
    return Fact(risk, min(signal.timestamp, sent_at))
