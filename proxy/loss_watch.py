"""Watches every account's losses on a timer, also when nobody trades, and acts on what is certain.

At the policy's `warn_at` share of a limit it warns. When a limit is reached it engages what the policy's trigger
`loss` says, REDUCE_ONLY for the account unless stated, and at 1.6 times the active profile's daily drawdown what
`emergency_drawdown` says, HALT unless stated. It acts once per window and step: what a
person has released is not engaged again by the loss it was released under. A further window whose limit is reached
during the cool-down waits for its end. Only readings whose transfers are all
known are acted upon; what is merely suspected blocks orders and engages nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

import structlog

from proxy.audit import Audit, admin_record
from proxy.clock import Clock
from proxy.cooldown import Cooldown
from proxy.errors import AuditError, ProfileNotFound
from proxy.ess import EssLatch
from proxy.ledger import Ledger, Marks
from proxy.metrics import Metrics
from proxy.stores.policies import Policies
from rules import EssLevel, FactMissing, Limits, Losses, Measure, daily_loss, drawdown_loss, weekly_loss
from rules.ess import GLOBAL, scoped
from rules.profile import TriggerPolicy, TriggersPolicy

log = structlog.get_logger("riskgate.losses")

EMERGENCY = Decimal("1.6")  # times the active profile's daily drawdown
ACTOR, SOURCE = "riskgate", "loss"
ONE = Decimal(1)


class Step(IntEnum):
    """How far a loss has come."""

    CALM = 0
    WARNING = 1
    BREACH = 2
    EMERGENCY = 3


ENGAGED = {"reduce_only": EssLevel.REDUCE_ONLY, "halt": EssLevel.HALT}  # by what the policy says


class Used(NamedTuple):
    """One loss limit of one account: how much of it is used, and what is left."""

    window: str  # day, week, drawdown
    key: str  # of this very window: acted upon once
    measure: Measure
    limit: Decimal
    step: Step

    @property
    def share(self) -> Decimal:
        """The share of the limit that is used."""
        return self.measure.share / self.limit

    @property
    def shown(self) -> dict[str, str]:
        """What people are shown; money to the cent."""
        return {
            "lost": _money(self.measure.lost),
            "lost_share": _share(self.measure.share),
            "limit": _share(self.limit),
            "used": _share(self.share),
            "equity": _money(self.measure.equity),
            "floor": _money(self.measure.floor(self.limit)),
            "distance": _money(self.measure.distance(self.limit)),
            "step": self.step.name.lower(),
        }


class LossWatch:
    """Judges the losses of all accounts."""

    def __init__(
        self,
        ledger: Ledger,
        policies: Policies,
        latch: EssLatch,
        audit: Audit,
        metrics: Metrics,
        clock: Clock,
        accounts: Callable[[], Iterable[str]],
        exchanges: Mapping[str, str] | None = None,
    ) -> None:
        self._ledger = ledger
        self._policies = policies
        self._latch = latch
        self._audit = audit
        self._metrics = metrics
        self._clock = clock
        self._accounts = accounts
        self._exchanges = exchanges or {}
        self.cooldowns = {"loss": Cooldown(), "emergency_drawdown": Cooldown()}

    async def watch(self, *, every_s: float = 1.0) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - one failed look must not end the watch; orders are judged anyway
                log.error("losses.watch_failed", error=repr(error))
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """Judge every account now."""
        for account in self._accounts():
            for used in self.used(account):
                self._metrics.loss_used(account, used.window, used.share)
                await self._act(account, used)
        await self._ledger.save()

    def used(self, account: str) -> tuple[Used, ...]:
        """Every loss limit of an account that is set and whose loss is known."""
        losses, marks = self._ledger.settled(account), self._ledger.marks(account)
        if losses is None or marks is None or losses.equity is None:
            return ()
        stored = self._policies.last_known  # a store that fails must not keep a loss from being acted upon
        try:
            limits = self._policies.exit_limits_for(account, "", self._clock.now())
        except ProfileNotFound:
            return ()
        if stored is None or limits is None:
            return ()
        policy = stored.policy
        emergency = EMERGENCY * policy.risk_profile.drawdown_daily_max
        warn_at = policy.accounts[account].losses.warn_at
        return tuple(_used(losses, marks, limits, warn_at, emergency))

    def report(self, account: str) -> dict[str, object] | None:
        """Losses, floors and distances of an account for people; None where nothing is known."""
        losses = self._ledger.settled(account)
        if losses is None:
            return None
        return {
            "base": losses.base.value,
            "limits": {used.window: used.shown for used in self.used(account)},
            "day_transfers": _money(losses.day_transfers),
            "week_transfers": _money(losses.week_transfers),
            "day_known": losses.day_start_equity is not None,
            "week_known": losses.week_start_equity is not None,
            "losing_streak": losses.losing_streak,
            "derisk_factor": format(losses.derisk_factor.normalize(), "f"),
            "problem": self._ledger.problem,
        }

    async def _act(self, account: str, used: Used) -> None:
        known = self._ledger.done(account, used.window)
        before = known[1] if known is not None and known[0] == used.key else Step.CALM
        if used.step <= before:
            return
        fields = {"account": account, "window": used.window} | used.shown
        if used.step is Step.WARNING:
            log.warning("losses.warning", **fields)
        else:
            if not await self._engage(account, used):
                return  # the next look finds it again
            log.error("losses.limit_reached", **fields)
        self._ledger.do(account, used.window, used.key, int(used.step))
        await self._ledger.save(now=True)

    def _scope(self, kind: str, account: str) -> str:
        """Whom a loss of an account stops; it is of no strategy."""
        if kind == GLOBAL:
            return GLOBAL
        if kind == "exchange" and account in self._exchanges:
            return scoped("exchange", self._exchanges[account])
        return scoped("account", account)

    async def _engage(self, account: str, used: Used) -> bool:
        """Do what the policy's trigger says; False where the cool-down wants that to wait."""
        stored = self._policies.last_known
        triggers = TriggersPolicy() if stored is None else stored.policy.triggers
        name = "emergency_drawdown" if used.step is Step.EMERGENCY else "loss"
        policy: TriggerPolicy = getattr(triggers, name)
        level, scope = ENGAGED.get(policy.level), self._scope(policy.scope, account)
        if level is None:
            return True  # told; the policy wants no more
        cooldown, now_s = self.cooldowns[name], self._clock.monotonic()
        if cooldown.holds(scope, now_s):
            stop = self._latch.stop_of(scope)
            # What holds as long as this trigger wants is this loss's stop as well: engaging it again would only void
            # a release under way.
            return stop.level >= level and (stop.expires_s is None or policy.expires_s is not None)
        reason = _reason(used)
        cooldown.begin(scope, now_s, float(policy.cooldown_s))
        cooldown.found = {"at": self._clock.now(), "scope": scope, "reason": reason}
        await self._stop(scope, level, reason, policy)
        return True

    async def _stop(self, scope: str, level: EssLevel, reason: str, policy: TriggerPolicy) -> None:
        before = self._latch.stop_of(scope).level
        engaged = await self._latch.engage(
            level=level, scope=scope, actor=ACTOR, reason=reason, source=SOURCE,
            expires_s=None if policy.expires_s is None else int(policy.expires_s),
        )  # fmt: skip
        record = admin_record(
            actor=ACTOR,
            act=f"ess.engage {level.name.lower()}",
            scope=scope,
            reason=reason,
            before={"level": before.name.lower()},
            after={"level": engaged.stop.level.name.lower(), "epoch": engaged.epoch},
            result=engaged.problem or "done",
        )
        try:
            self._audit.append(record)
        except AuditError as error:  # the stop holds; what cannot be recorded is told
            log.error("audit.unavailable", error=str(error))


def _reason(used: Used) -> str:
    shown = used.shown
    reason = (
        f"{used.window} loss of {shown['lost']} is {shown['lost_share']} of its base, the limit is "
        f"{shown['limit']}; equity {shown['equity']}, floor {shown['floor']}"
    )
    return f"emergency: {reason}" if used.step is Step.EMERGENCY else reason


def _used(
    losses: Losses, marks: Marks, limits: Limits, warn_at: Decimal, emergency: Decimal
) -> Iterator[Used]:
    equity = losses.equity
    assert equity is not None
    kinds: tuple[tuple[str, Decimal | None, datetime, Callable[[Decimal], Measure]], ...] = (
        ("day", limits.loss_daily_max, marks.day_from, lambda limit: daily_loss(losses, equity)),  # noqa: ARG005 - one of three alike
        ("day_money", limits.loss_daily_money_max, marks.day_from, lambda limit: daily_loss(losses, equity)),  # noqa: ARG005 - as above
        ("week", limits.loss_weekly_max, marks.week_from, lambda limit: weekly_loss(losses, equity)),  # noqa: ARG005 - as above
        ("drawdown", limits.drawdown_max, marks.high.at, lambda limit: drawdown_loss(losses, equity, limit)),
    )
    for window, limit, begins, measured in kinds:
        if limit is None:
            continue
        try:
            measure = measured(limit)
        except FactMissing:
            continue  # not known, so new exposure is blocked: there is nothing to act upon
        if window == "day_money":
            if measure.base <= 0:
                continue  # nothing of which money could be a share; the day's limit counts that as all lost
            limit /= measure.base
        step = stepped(window, measure.share, limit, emergency, warn_at)
        yield Used(window, begins.isoformat(), measure, limit, step)


def stepped(window: str, share: Decimal, limit: Decimal, emergency: Decimal, warn_at: Decimal = ONE) -> Step:
    """How far a loss of this share has come."""
    if window == "day" and share >= emergency:
        return Step.EMERGENCY
    if share >= limit:
        return Step.BREACH
    return Step.WARNING if share >= warn_at * limit else Step.CALM


def _money(amount: Decimal) -> str:
    return format(amount.quantize(Decimal("0.01")), "f")


def _share(share: Decimal) -> str:
    if share.is_infinite():
        return "infinite"
    return format((share * 100).quantize(Decimal("0.0001")).normalize(), "f") + "%"
