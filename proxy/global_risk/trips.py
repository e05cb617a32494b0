"""Lets a signal that demands action engage the emergency stop, once per demand.

Whatever the source: the embedded engine or another service. An old signal engages nothing; it blocks new
exposure anyway. A stop that a person has released is not engaged again by the demand it was released
under, or nobody could ever release it; a graver demand, or a new one after this has ended, engages again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import structlog

from proxy.audit import Audit, admin_record
from proxy.clock import Clock
from proxy.errors import AuditError
from proxy.ess import EssLatch
from proxy.global_risk.models import Tier
from rules import EssLevel, Fact, GlobalRisk
from rules.ess import GLOBAL

log = structlog.get_logger("riskgate.risk")

FRESH = timedelta(seconds=10)
ACTOR = "global risk"
LEVELS = {Tier.EMERGENCY: EssLevel.HALT}  # every other demand is REDUCE_ONLY


class RiskReader(Protocol):
    """Where the global risk signal is read."""

    def latest(self) -> Fact[GlobalRisk] | None:
        """The newest valid signal, however old; None before the first."""
        ...


class RiskTrips:
    """Watches the signal."""

    def __init__(
        self,
        reader: RiskReader,
        latch: EssLatch,
        audit: Audit,
        clock: Clock,
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._reader = reader
        self._latch = latch
        self._audit = audit
        self._clock = clock
        self._wanted = wanted  # not where the policy says itself what a demand engages
        self._answered = EssLevel.CLEAR  # the gravest level that the present demand has engaged

    async def watch(self, *, every_s: float) -> None:
        """Run until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(every_s)

    async def look(self) -> bool:
        """Look at the signal now; whether the stop was engaged."""
        known = self._reader.latest()
        if known is None or abs(self._clock.now() - known.as_of) > FRESH or not self._wanted():
            return False
        level = demanded(known.value)
        if level is EssLevel.CLEAR:
            self._answered = level
        if level <= self._answered:
            return False
        self._answered = level
        risk = known.value
        reason = f"tier {risk.ess_tier or 'not stated'}: {'; '.join(risk.issues) or 'no issue stated'}"
        engaged = await self._latch.engage(level=level, scope=GLOBAL, actor=ACTOR, reason=reason, source="rule")
        result = "engaged" if engaged.durable else "engaged, not stored"
        try:
            self._audit.append(
                admin_record(actor=ACTOR, act=f"ess.engage {level.name.lower()}", result=result, reason=reason[:500])
            )
        except AuditError as error:  # the stop holds; what cannot be recorded is told
            log.error("audit.unavailable", error=str(error))
        return True


def demanded(risk: GlobalRisk) -> EssLevel:
    """What the signal wants engaged."""
    if not risk.ess_action_required:
        return EssLevel.CLEAR
    try:
        return LEVELS.get(Tier(risk.ess_tier or ""), EssLevel.REDUCE_ONLY)
    except ValueError:
        return EssLevel.REDUCE_ONLY  # action is demanded, and no tier stated
