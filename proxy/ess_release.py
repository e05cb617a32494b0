"""Who may release the stop: one named person, and two where a person stopped everything.

The first of two asks, the second says the same within ten minutes and under another name; only then is
anything released. What was asked is kept in memory: a restart forgets the request and never the stop.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from proxy.clock import Clock
from proxy.ess import EssLatch, StopRequestInvalid
from rules import EssLevel, Stop
from rules.ess import GLOBAL

log = structlog.get_logger("riskgate.ess")

CONFIRM_S = 600


class Asked(NamedTuple):
    """A release that one person wants and a second has to confirm."""

    scope: str
    epoch: int
    actor: str
    reason: str
    until: datetime
    until_s: float  # monotonic: a stepped wall clock gives nobody more time
    credential: str


class Releases:
    """Releases the latch, if enough people want it."""

    def __init__(self, latch: EssLatch, clock: Clock, *, by_two: bool = True) -> None:
        self._latch = latch
        self._clock = clock
        self._by_two = by_two
        self._asked: Asked | None = None

    @property
    def asked(self) -> Asked | None:
        """The request that waits for a second person; None once it is too old or fits no stop any more."""
        asked = self._asked
        if asked is None or asked.epoch != self._latch.stop_of(asked.scope).epoch:
            return None
        return asked if self._clock.monotonic() < asked.until_s else None

    def needs_two(self, stop: Stop) -> bool:
        """Whether one person cannot release this stop: a person stopped everything."""
        return self._by_two and stop.scope == GLOBAL and stop.by_person and stop.level is not EssLevel.CLEAR

    async def release(
        self, *, scope: str, actor: str, reason: str, expected_epoch: int, credential: str = ""
    ) -> Stop | Asked:
        """Clear a scope, or note who wants to. `credential` names the person's own token, where there are such.

        Raises as `EssLatch.release` does, and StopRequestInvalid if both persons use one credential.
        """
        actor, reason = " ".join(actor.split()), " ".join(reason.split())
        if not actor or not reason:
            raise StopRequestInvalid("releasing the emergency stop needs an actor and a reason")
        self._latch.check_releasable(scope, expected_epoch)
        if not self.needs_two(self._latch.stop_of(scope)):
            return await self._latch.release(
                scope=scope, actor=actor, reason=reason, expected_epoch=expected_epoch
            )
        first = self.asked
        if first is None or first.actor.casefold() == actor.casefold():
            return self._ask(scope, actor, reason, expected_epoch, credential)
        if credential and credential == first.credential:
            raise StopRequestInvalid(
                f"{first.actor} asked for this release with the same token; expected a second person's own"
            )
        released = await self._latch.release(
            scope=scope,
            actor=f"{first.actor} and {actor}",
            reason=f"{first.reason}; confirmed: {reason}",
            expected_epoch=expected_epoch,
        )
        self._asked = None
        return released

    def _ask(self, scope: str, actor: str, reason: str, epoch: int, credential: str) -> Asked:
        self._asked = asked = Asked(
            scope=scope,
            epoch=epoch,
            actor=actor,
            reason=reason,
            until=self._clock.now() + timedelta(seconds=CONFIRM_S),
            until_s=self._clock.monotonic() + CONFIRM_S,
            credential=credential,
        )
        log.warning("ess.release_asked", scope=scope, actor=actor, reason=reason, epoch=epoch)
        return asked
