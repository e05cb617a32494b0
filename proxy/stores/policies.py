"""The policy as the order path reads it: from memory, with a bound on how old it may be.

A change made through the store arrives in the same step; one made elsewhere when the store hears
of it, which takes milliseconds, or with the next poll. When the store cannot be read the last
known policy serves until its maximum age, then new exposure is refused. No looser value ever
takes its place.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import structlog
from cachetools import LRUCache
from pydantic import BaseModel

from proxy.clock import Clock
from proxy.errors import ProfileNotFound, StoredDataInvalid, StoreError, StoreUnavailable
from proxy.stores.base import PolicyStore, StoredPolicy
from proxy.tasks import Tasks
from rules.limits import Limits, PolicyGap, effective, stricter_of
from rules.profile import GlobalPolicy, RiskProfile

log = structlog.get_logger("riskgate.policies")

CACHED_LIMITS_MAX = 4096
POLL_S = 1.0
AGE_MAX_S = 60.0
TIMEOUT_S = 2.0
_NO_DEFAULT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskModeConfig:
    """The active risk mode under the names that clients know; shares are fractions."""

    mode: str
    max_leverage: Decimal
    max_risk_pct_per_trade: Decimal
    max_daily_drawdown: Decimal
    max_positions: int
    global_min_confidence: Decimal
    scaling_factor: Decimal
    position_size_cap: Decimal


class Policies:
    """Answers from memory; `start` reads the store and keeps reading it."""

    def __init__(
        self,
        store: PolicyStore,
        *,
        clock: Clock,
        poll_s: float = POLL_S,
        age_max_s: float = AGE_MAX_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._poll_s = poll_s
        self._age_max_s = age_max_s
        self._timeout_s = timeout_s
        self._stored: StoredPolicy | None = None
        self._read_at = float("-inf")  # monotonic instant from which the age counts
        self._invalid: StoredDataInvalid | None = None
        self._instants: tuple[datetime, ...] = ()  # when the limits change by themselves
        self._latest = datetime.min.replace(tzinfo=UTC)  # the latest time that anybody asked at
        self._is_set_back = False
        self._limits: LRUCache[tuple[int, str, str, int, int], Limits] = LRUCache(CACHED_LIMITS_MAX)
        self._unsubscribe = store.subscribe(self._told)
        self._tasks = Tasks()

    async def start(self) -> None:
        """Read the store once, failing loudly, then keep polling it."""
        await self.refresh()
        self._tasks.spawn(self._poll(), name="policies.poll")

    async def close(self) -> None:
        """Stop polling and listening; the store itself is its opener's to close."""
        self._unsubscribe()
        await self._tasks.close()

    async def refresh(self) -> None:
        """Read the store now. Damaged data blocks from this moment on; an outage does after the maximum age."""
        began_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                stored = await self._store.get()
        except TimeoutError:
            raise StoreUnavailable(f"the policy store did not answer within {self._timeout_s} s") from None
        except StoredDataInvalid as error:
            self._invalid = error
            raise
        self._take(stored, as_of=began_at)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.refresh()
            except StoreError as error:
                # The last known policy serves until its maximum age; `current` refuses after that.
                log.error("store.unavailable", error=str(error), age_s=round(self.age_s, 3))
            except Exception as error:  # noqa: BLE001 - one failed read must not end the polling; its age shows it
                log.error("store.failed", error=repr(error), age_s=round(self.age_s, 3))

    def _told(self, stored: StoredPolicy) -> None:
        # News, and no sign of how long ago the store was seen to have it: the age counts from the last poll.
        self._take(stored, as_of=self._read_at)

    def _take(self, stored: StoredPolicy, *, as_of: float) -> None:
        """Use `stored` from now on, unless it is not newer than what is known."""
        known = self._stored
        if known is not None and stored.revision < known.revision:
            # A read that began before a change, or a store put back to an older copy: neither is fresh news.
            log.warning("policy.older_revision", found=stored.revision, known=known.revision)
            return
        if known is not None and stored.revision == known.revision and not _same(stored, known):
            self._invalid = StoredDataInvalid(f"revision {stored.revision} of the policy changed without a new number")
            raise self._invalid
        if known is None or stored.revision > known.revision:
            self._stored = stored
            self._instants = stored.policy.instants
            self._limits.clear()
        self._invalid = None
        self._read_at = max(self._read_at, as_of)

    @property
    def age_s(self) -> float:
        """Seconds since the store last confirmed the policy."""
        return self._clock.monotonic() - self._read_at

    @property
    def current(self) -> StoredPolicy:
        """The policy in force; StoreUnavailable past its maximum age, StoredDataInvalid if the store is damaged."""
        if self._invalid is not None:
            raise self._invalid
        if self._stored is None:
            raise StoreUnavailable("the policy was never read")
        if (age_s := self.age_s) > self._age_max_s:
            raise StoreUnavailable(f"the policy was read {age_s:.1f} s ago, at most {self._age_max_s} s is allowed")
        return self._stored

    @property
    def last_known(self) -> StoredPolicy | None:
        """The last known policy however old: to watch losses by, never to admit new exposure."""
        return self._stored

    def limits_for(self, account: str, strategy: str, now: datetime) -> Limits:
        """The limits of an account and strategy, from memory. Unknown accounts are ProfileNotFound."""
        return self._limits_of(self.current, account, strategy, now)

    def exit_limits_for(self, account: str, strategy: str, now: datetime) -> Limits | None:
        """The last known limits however old: only to judge what provably only reduces, never new exposure."""
        return None if self._stored is None else self._limits_of(self._stored, account, strategy, now)

    def _limits_of(self, stored: StoredPolicy, account: str, strategy: str, now: datetime) -> Limits:
        passed = reached = 0
        if self._instants:
            passed, reached = bisect_right(self._instants, now), self._reached(now)
        key = (stored.revision, account, strategy, passed, reached)
        try:
            return self._limits[key]
        except KeyError:
            pass
        try:
            limits = effective(stored.policy, revision=stored.revision, account=account, strategy=strategy, now=now)
            if passed != reached:
                later = effective(
                    stored.policy, revision=stored.revision, account=account, strategy=strategy, now=self._latest
                )
                limits = stricter_of(limits, later)
        except PolicyGap as error:
            raise ProfileNotFound(str(error)) from error
        self._limits[key] = limits
        return limits

    def _reached(self, now: datetime) -> int:
        """How many of the policy's instants have passed at the latest time there was.

        A clock that is set back brings nothing back to life that has ended: what holds then is the stricter of
        what it says now and what it has said.
        """
        if now >= self._latest:
            self._latest = now
        elif (reached := bisect_right(self._instants, self._latest)) != bisect_right(self._instants, now):
            if not self._is_set_back:
                log.error("policy.clock_set_back", now=now.isoformat(), was=self._latest.isoformat())
            self._is_set_back = True
            return reached
        self._is_set_back = False
        return bisect_right(self._instants, now)

    def get_active_risk_profile(self) -> RiskProfile:
        """The active risk profile."""
        return self.current.policy.risk_profile

    def get_active_risk_profile_name(self) -> str:
        """The active risk profile's name."""
        return self.current.policy.active_mode

    def get_active_risk_config(self) -> RiskModeConfig:
        """The active risk mode under the names that clients know."""
        return risk_config(self.current.policy)

    def get_value(self, path: str, default: Any = _NO_DEFAULT) -> Any:  # noqa: ANN401 - as many types as the document
        """A value by its dotted path: `risk.max_leverage`, or a place in the document, `accounts.main.symbols`.

        `default` answers for a path that does not exist, never for a store that cannot be read.
        """
        policy = self.current.policy
        section, _, name = path.partition(".")
        sections: dict[str, Any] = {"risk": risk_config, "ai": lambda policy: policy.ai_flags}
        here: Any = sections[section](policy) if section in sections else policy
        for step in name.split(".") if section in sections else path.split("."):
            here = _step(here, step)
            if here is _NO_DEFAULT:
                if default is _NO_DEFAULT:
                    expected = "risk.<name>, ai.<name> or a document path"
                    raise ProfileNotFound(f"found no policy value {path!r}, expected {expected}")
                return default
        return here


def _same(one: StoredPolicy, other: StoredPolicy) -> bool:
    return one.policy is other.policy or one.policy == other.policy


def risk_config(policy: GlobalPolicy) -> RiskModeConfig:
    """The active risk mode of a policy under the names that clients know."""
    profile = policy.risk_profile
    return RiskModeConfig(
        mode=profile.name,
        max_leverage=profile.leverage_max,
        max_risk_pct_per_trade=profile.trade_risk_max,
        max_daily_drawdown=profile.drawdown_daily_max,
        max_positions=profile.open_positions_max,
        global_min_confidence=profile.confidence_min,
        scaling_factor=profile.scaling_factor,
        position_size_cap=profile.position_notional_max,
    )


def _step(here: Any, name: str) -> Any:  # noqa: ANN401 - as get_value
    """One step into the document: a key of a mapping or a field of a section; methods are out of reach."""
    if isinstance(here, Mapping):
        return here.get(name, _NO_DEFAULT)
    if isinstance(here, BaseModel):
        return getattr(here, name) if name in type(here).model_fields else _NO_DEFAULT
    if isinstance(here, RiskModeConfig):
        return getattr(here, name) if name in RiskModeConfig.__slots__ else _NO_DEFAULT
    return _NO_DEFAULT
