"""Looks with every trigger once a second, engages what its policy says, and tries each on a schedule.

A trigger that has nothing to see with is `inert`; one whose rehearsal failed is `unproven`. Both are told to
people and to monitoring: a trigger that nobody knows to be blind is worse than none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Gauge

from proxy.audit import Audit, admin_record
from proxy.clock import Clock
from proxy.cooldown import Cooldown
from proxy.errors import AuditError
from proxy.ess import EssLatch
from proxy.triggers.detectors import Finding
from proxy.triggers.rehearsal import NotRefused, prove_refusal
from rules import Caller, EssLevel
from rules.ess import GLOBAL, scoped
from rules.profile import TriggerPolicy

log = structlog.get_logger("riskgate.triggers")

ACTOR = "riskgate"
LOOK_EVERY_S = 1.0
REHEARSE_EVERY_S = 60.0
INERT_EVERY_S = 5.0
LEVELS = {"reduce_only": EssLevel.REDUCE_ONLY, "halt": EssLevel.HALT}


def _nothing(_: float) -> Sequence[Finding]:
    return ()


@dataclass
class Standing:
    """One trigger: its policy, what it sees with, how it is tried, and how it did.

    One that acts by itself, where its facts are, has no `look` here: it is tried and shown like the others.
    """

    name: str
    policy: Callable[[], TriggerPolicy]
    inert: Callable[[], str | None]
    rehearse: Callable[[], bool]  # whether it finds what it should, and nothing before
    look: Callable[[float], Sequence[Finding]] = _nothing
    level: Callable[[], str] | None = None  # where settings decide it instead of the policy
    proven_at: datetime | None = None
    problem: str | None = None
    blind: str | None = None
    cooldown: Cooldown = field(default_factory=Cooldown)

    def level_now(self) -> str:
        """What it does, by name."""
        return self.level() if self.level is not None else self.policy().level


class Triggers:
    """All triggers of a process."""

    def __init__(
        self,
        standing: Iterable[Standing],
        latch: EssLatch,
        audit: Audit,
        callers: Sequence[Caller],
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self.standing = tuple(standing)
        self._latch = latch
        self._audit = audit
        self._callers = callers
        self._clock = clock
        self._rehearsals = 0
        self._inert = Gauge(
            "ess_trigger_inert", "1 if a trigger of the emergency stop has nothing to see with", ["trigger"],
            registry=registry,
        )  # fmt: skip
        self._unproven = Gauge(
            "ess_trigger_unproven", "1 if a trigger's last rehearsal failed, or there was none", ["trigger"],
            registry=registry,
        )  # fmt: skip
        for one in self.standing:
            self._inert.labels(one.name).set(1)
            self._unproven.labels(one.name).set(1)

    async def watch(
        self,
        *,
        every_s: float = LOOK_EVERY_S,
        rehearse_every_s: float = REHEARSE_EVERY_S,
        inert_every_s: float = INERT_EVERY_S,
    ) -> None:
        """Run until cancelled."""
        rehearse_at_s = inert_at_s = self._clock.monotonic()
        while True:
            now_s = self._clock.monotonic()
            await self.look()
            if now_s >= inert_at_s:
                inert_at_s = now_s + inert_every_s
                self.look_for_blindness()
            if now_s >= rehearse_at_s:
                rehearse_at_s = now_s + rehearse_every_s
                await self.rehearse()
            await asyncio.sleep(every_s)

    async def look(self) -> int:
        """Look with every trigger; how many acted."""
        acted = 0
        for one in self.standing:
            try:
                found = one.look(self._clock.monotonic())
            except Exception as error:  # noqa: BLE001 - a trigger that fails is told, and must not keep the others from looking
                one.problem = f"it cannot look: {error!r}"
                self._unproven.labels(one.name).set(1)
                log.error("trigger.failed", trigger=one.name, error=repr(error))
                continue
            for finding in found:
                acted += await self._act(one, finding)
        return acted

    async def _act(self, one: Standing, finding: Finding) -> bool:
        """Engage or alert as the policy says, unless this trigger has just done so on this scope."""
        policy, level_name = one.policy(), one.level_now()
        scope, now_s = scope_of(policy.scope, finding), self._clock.monotonic()
        if level_name == "off" or one.cooldown.holds(scope, now_s):
            return False
        one.cooldown.begin(scope, now_s, float(policy.cooldown_s))
        one.cooldown.found = {"at": self._clock.now(), "scope": scope, "reason": finding.reason}
        level = LEVELS.get(level_name)
        if level is None:
            log.warning("trigger.alert", trigger=one.name, scope=scope, reason=finding.reason)
            self._record(one, "trigger.alert", scope, finding.reason, "alert")
            return True
        if self._latch.stop_of(scope).level >= level:
            return False  # it holds already: engaging again would only void a release under way
        engaged = await self._latch.engage(
            level=level,
            scope=scope,
            actor=ACTOR,
            reason=finding.reason,
            source=one.name,
            expires_s=None if policy.expires_s is None else int(policy.expires_s),
        )
        log.error("trigger.engaged", trigger=one.name, scope=scope, level=level.name, reason=finding.reason)
        act = f"ess.engage {level.name.lower()}"
        self._record(one, act, scope, finding.reason, engaged.problem or "done")
        return True

    def _record(self, one: Standing, act: str, scope: str, reason: str, result: str) -> None:
        try:
            self._audit.append(
                admin_record(
                    actor=f"{ACTOR} ({one.name})", act=act, scope=scope, reason=reason[:500], result=result
                )
            )
        except AuditError as error:  # the stop holds; what cannot be recorded is told
            log.error("audit.unavailable", error=str(error), trigger=one.name)

    # -- proof

    def look_for_blindness(self) -> None:
        """Ask every trigger whether it has anything to see with."""
        for one in self.standing:
            try:
                blind = one.inert()
            except Exception as error:  # noqa: BLE001 - whoever cannot say that it sees, does not
                blind = f"it cannot say: {error!r}"
            if blind is not None and one.blind is None:
                log.warning("trigger.inert", trigger=one.name, because=blind)
            one.blind = blind
            self._inert.labels(one.name).set(0 if blind is None else 1)

    async def rehearse(self) -> None:
        """Try every trigger: it has to find what it should, and its stop has to refuse an order that is never sent."""
        for one in self.standing:
            try:
                one.problem = self._tried(one)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong in a rehearsal is what it is for
                one.problem = f"{type(error).__name__}: {error}"
            if one.problem is None:
                one.proven_at = self._clock.now()
            else:
                log.error("trigger.unproven", trigger=one.name, problem=one.problem)
            self._unproven.labels(one.name).set(0 if one.problem is None else 1)
            await asyncio.sleep(0)  # orders go first
        self._rehearsals += 1

    def _tried(self, one: Standing) -> str | None:
        if not one.rehearse():
            return "it did not find what it was shown, or found what was not there"
        if not self._callers:
            return "there is no bot whose order could be tried"
        # One bot after the other, so that in time every account and strategy is tried.
        caller = self._callers[self._rehearsals % len(self._callers)]
        finding = Finding(caller.account, caller.exchange, caller.strategy, "rehearsal")
        scope = scope_of(one.policy().scope, finding)
        for level in (LEVELS.get(one.level_now()),) if one.level_now() in LEVELS else LEVELS.values():
            try:
                prove_refusal(level or EssLevel.HALT, scope, caller, self._clock)
            except NotRefused as error:
                return f"{scope}: {error}"
        return None

    def report(self) -> list[dict[str, Any]]:
        """Every trigger for people."""
        now_s = self._clock.monotonic()
        return [
            {
                "trigger": one.name,
                "level": one.level_now(),
                "scope": one.policy().scope,
                "cooldown_s": one.policy().cooldown_s,
                "expires_s": one.policy().expires_s,
                "inert": one.blind,
                "proven_at": one.proven_at,
                "problem": one.problem,
                "found": one.cooldown.found,
                "cooling": one.cooldown.scopes(now_s),
            }
            for one in self.standing
        ]


def scope_of(kind: str, finding: Finding) -> str:
    """The scope that a policy means, for what was found; what is about no strategy is about its account."""
    if kind == GLOBAL:
        return GLOBAL
    if kind == "exchange":
        return scoped("exchange", finding.exchange)
    if kind == "strategy" and finding.strategy:
        return scoped("strategy", finding.strategy)
    return scoped("account", finding.account)
