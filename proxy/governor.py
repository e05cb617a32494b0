"""The safety governor of every account: asked for each order from memory, and looked at on a timer when nobody trades.

A directive is worked out anew only when one of its inputs changed or its own time is over. Every change of one is
told once, under a trace id that decisions judged by it carry in their record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import structlog

from proxy.clock import Clock
from proxy.errors import ProfileNotFound, StoreError
from proxy.metrics import Metrics
from proxy.risk_guard import PROFILE_LOADED
from proxy.stores.policies import Policies
from rules import (
    Cause,
    Directive,
    Fact,
    GlobalRisk,
    Governing,
    GovernorAct,
    GovernorLevel,
    Limits,
    Losses,
    described,
    govern,
)

log = structlog.get_logger("riskgate.governor")

KEPT_MAX = 1024
LEVELS = tuple(GovernorLevel)
NO_STRATEGY = ""


class LossReader(Protocol):
    """Where an account's losses are read."""

    def losses(self, account: str, equity: Fact[Decimal] | None, now: datetime) -> Fact[Losses] | None:
        """What losses are measured from; None where that is not known."""
        ...


class RiskReader(Protocol):
    """Where the global risk signal is read."""

    def latest(self) -> Fact[GlobalRisk] | None:
        """The newest valid signal, however old; None before the first."""
        ...


class EquityReader(Protocol):
    """Where an account's equity is read."""

    def equity(self, account: str, now: datetime) -> Fact[Decimal] | None:
        """What the account is worth; None where that is not known."""
        ...


class _Kept(NamedTuple):
    """A directive, what it was made of, and since when it says what it says."""

    losses: Fact[Losses] | None
    equity: Fact[Decimal] | None
    risk: Fact[GlobalRisk] | None
    made_at: datetime
    since: datetime
    fact: Fact[Directive]


class Governor:
    """Directives for orders, for people and for the log."""

    def __init__(
        self,
        policies: Policies,
        clock: Clock,
        metrics: Metrics,
        *,
        accounts: Callable[[], Iterable[str]],
        equity: EquityReader,
        losses: LossReader,
        risk: RiskReader | None,
    ) -> None:
        self._policies = policies
        self._clock = clock
        self._metrics = metrics
        self._accounts = accounts
        self._equity = equity
        self._losses = losses
        self._risk = risk
        self._kept: dict[tuple[str, Governing], _Kept] = {}
        self._count = 0
        self._profile: tuple[int, str] | None = None
        self._store_failed = False
        log.info("safety_governor_initialized", trace_id=self._next_id(), accounts=sorted(accounts()))

    # -- asking

    def directive(
        self,
        account: str,
        limits: Limits,
        losses: Fact[Losses] | None,
        equity: Fact[Decimal] | None,
        risk: Fact[GlobalRisk] | None,
        now: datetime,
    ) -> Fact[Directive] | None:
        """The directive for an account under its limits; None where it is not governed."""
        governing = limits.governor
        if governing is None:
            return None
        kept = self._kept.get((account, governing))
        if (
            kept is not None
            and kept.losses is losses
            and kept.risk is risk
            and (kept.equity is equity or (losses is not None and losses.value.equity is not None))
            and kept.made_at <= now
        ):
            until = kept.fact.value.until
            if until is None or now < until:
                return kept.fact
        return self._made(account, limits.profile, governing, losses, equity, risk, now, kept)

    def report(self, account: str) -> dict[str, object] | None:
        """What people are shown of an account; None where it is not governed or nobody knows how."""
        now = self._clock.now()
        try:
            limits = self._policies.limits_for(account, NO_STRATEGY, now)
        except StoreError:
            return None
        found = self._now(account, limits, now)
        if found is None or limits.governor is None:
            return None
        kept = self._kept[account, limits.governor]
        return {
            **told(found.value),
            "profile_name": limits.profile,
            "since": kept.since.isoformat(),
            "as_of": found.as_of.isoformat(),
            "trace_id": found.value.trace_id,
        }

    # -- on a timer

    async def watch(self, *, every_s: float = 1.0) -> None:
        """Run until cancelled."""
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - one failed look must not end the watch; orders ask for themselves
                log.error("governor.watch_failed", error=repr(error))
            await asyncio.sleep(every_s)

    def look(self) -> None:
        """Work out every account's directive now, and tell what changed."""
        now = self._clock.now()
        try:
            stored = self._policies.current
        except StoreError as error:
            if not self._store_failed:
                self._store_failed = True
                last = self._policies.last_known
                log.error(
                    "safety_governor_policystore_error",
                    trace_id=self._next_id(),
                    profile_name=None if last is None else last.policy.active_mode,
                    error=str(error),
                )
            return
        self._store_failed = False
        self._tell_profile(stored.revision, stored.policy.active_mode)
        for account in self._accounts():
            try:
                limits = self._policies.limits_for(account, NO_STRATEGY, now)
            except ProfileNotFound:
                continue
            self._now(account, limits, now)
            if limits.governor is None:
                self._metrics.governor_level.labels(account).set(0)

    # -- inside

    def _now(self, account: str, limits: Limits, now: datetime) -> Fact[Directive] | None:
        equity = self._equity.equity(account, now)
        losses = self._losses.losses(account, equity, now)
        return self.directive(account, limits, losses, equity, None if self._risk is None else self._risk.latest(), now)

    def _made(
        self,
        account: str,
        profile: str,
        governing: Governing,
        losses: Fact[Losses] | None,
        equity: Fact[Decimal] | None,
        risk: Fact[GlobalRisk] | None,
        now: datetime,
        before: _Kept | None,
    ) -> Fact[Directive]:
        found = govern(
            governing,
            None if losses is None else losses.value,
            None if equity is None else equity.value,
            None if risk is None else risk.value,
            now,
        )
        since = now
        if before is not None and _same(before.fact.value, found):
            found, since = found_with(found, before.fact.value.trace_id), before.since
        else:
            found = found_with(found, self._next_id())
            self._tell(account, profile, governing, found, None if before is None else before.fact.value)
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        instants = [known.as_of for known in (losses, _used(losses, equity)) if known is not None]
        fact = Fact(found, min(instants, default=now))
        self._kept[account, governing] = _Kept(losses, equity, risk, now, since, fact)
        self._metrics.governor_level.labels(account).set(LEVELS.index(found.level))
        return fact

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._clock.now_ms():011x}-governor-{self._count:x}"

    def _tell_profile(self, revision: int, profile: str) -> None:
        if self._profile == (revision, profile):
            return
        self._profile = (revision, profile)
        stored = self._policies.current.policy
        told_of = {
            "trace_id": self._next_id(), "profile_name": profile, "policy_revision": revision,
            "max_daily_drawdown": stored.risk_profile.drawdown_daily_max,
        }  # fmt: skip
        log.info(PROFILE_LOADED, max_leverage=stored.risk_profile.leverage_max, **told_of)
        log.info("safety_governor_risk_profile_loaded", **told_of)

    def _tell(
        self, account: str, profile: str, governing: Governing, found: Directive, before: Directive | None
    ) -> None:
        """Our own event, and beside it the ones that dashboards of older installations look for."""
        fields = {"account": account, "trace_id": found.trace_id, "profile_name": profile, **told(found)}
        fields["governor_level"] = fields.pop("level")  # a line's own level is how loud it is
        changed = log.warning if found.act is GovernorAct.BLOCK else log.info
        changed("governor.changed", before=None if before is None else before.words, **fields)
        log.info(
            "safety_governor_risk_manager_input",
            loss_daily_max=governing.loss_daily_max,
            emergency_drawdown=governing.loss_daily_max * governing.emergency_at,
            **fields,
        )
        if found.cause is Cause.DRAWDOWN and found.act is GovernorAct.BLOCK:
            if found.level is GovernorLevel.EMERGENCY:
                log.error("safety_governor_critical_drawdown", **fields)
            else:
                log.warning("safety_governor_high_drawdown", **fields)


def told(directive: Directive) -> dict[str, Any]:
    """A directive as people and records are shown it."""
    return {
        "directive": directive.act.value,
        "level": directive.level.value,
        "cause": directive.cause.value,
        "observed": described(directive.observed),
        "threshold": described(directive.threshold),
        "losing_streak": directive.losing_streak,
        "multipliers": {name: described(value) for name, value in directive.multipliers._asdict().items()},
    }


def found_with(directive: Directive, trace_id: str) -> Directive:
    """The directive under a trace id."""
    return Directive(
        act=directive.act, level=directive.level, multipliers=directive.multipliers, cause=directive.cause,
        observed=directive.observed, threshold=directive.threshold, losing_streak=directive.losing_streak,
        until=directive.until, words=directive.words, trace_id=trace_id,
    )  # fmt: skip


def _same(one: Directive, other: Directive) -> bool:
    """Whether they say the same for the same reason; that a loss grows within its level is nothing new."""
    return (one.words, one.cause, one.multipliers) == (other.words, other.cause, other.multipliers)


def _used(losses: Fact[Losses] | None, equity: Fact[Decimal] | None) -> Fact[Decimal] | None:
    """The account's own equity, where losses do not bring theirs."""
    return equity if losses is not None and losses.value.equity is None else None
