"""What happens when a bot falls silent: the venue cancels its orders, and its strategy may only reduce.

Two things that do not need each other. A *lease*: a strategy that has been heard of has to be heard of again
within its time, by any request that proves to be its bot's; else it is set to REDUCE_ONLY. And the venue's own
*countdown*: while a lease of the account lives, the proxy winds it up for every symbol on which an opening order
works. When bots, the proxy or the line to it die, nobody winds it, and the venue cancels by itself.

The countdown cancels protective orders as well, so it is stopped where nothing but those is left, and a bot may
not set it: `0` would disarm it, and any other time would be in force until the proxy's next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from proxy.actions import Desk
from proxy.actions.lane import ACTOR, OwnLane, Sent
from proxy.audit import Audit, admin_record
from proxy.book import Book
from proxy.clock import Clock
from proxy.errors import AuditError, ProxyError
from proxy.ess import EssLatch
from proxy.identity import Bot
from rules import EssLevel, Market
from rules.ess import scoped

log = structlog.get_logger("riskgate.deadman")

LOOK_EVERY_S = 0.5
BEATS_PER_COUNTDOWN = 4  # Binance recommends 30 s for a countdown of 120 s


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadManSettings:
    """How long each may be silent."""

    lease_s: float
    countdown_s: float | None  # None: leases alone


@dataclass(slots=True, kw_only=True)
class _Watched:
    """One account."""

    name: str
    exchange: str
    settings: DeadManSettings
    lane: OwnLane | None
    leases: dict[str, float] = field(default_factory=dict)  # strategy -> monotonic second of its end
    armed: dict[str, float] = field(default_factory=dict)  # symbol -> monotonic second of the next beat
    failing: set[str] = field(default_factory=set)
    is_tidied: bool = False  # countdowns of an earlier process were stopped where they would harm


class DeadMan:
    """Watches over the accounts that ask for it."""

    def __init__(
        self,
        settings: Mapping[str, DeadManSettings],
        *,
        desks: Mapping[str, Desk],
        exchanges: Mapping[str, str],
        book: Book,
        latch: EssLatch,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._book = book
        self._latch = latch
        self._audit = audit
        self._clock = clock
        self._watched = {
            name: _Watched(
                name=name, exchange=exchanges[name], settings=one,
                lane=desks[name].lane if name in desks and Market.LINEAR in desks[name].venues else None,
            )
            for name, one in settings.items()
        }  # fmt: skip

    @property
    def is_needed(self) -> bool:
        """Whether any account asks for it."""
        return bool(self._watched)

    # -- what the path of a request asks

    def seen(self, bot: Bot) -> None:
        """A request proved to be this bot's: the lease of each of its strategies begins anew."""
        watched = self._watched.get(bot.account.name)
        if watched is not None:
            ends_s = self._clock.monotonic() + watched.settings.lease_s
            for strategy in bot.callers:
                watched.leases[strategy] = ends_s

    def beat(self, strategy: str, accounts: Iterable[str]) -> dict[str, float]:
        """Somebody says that a strategy lives: its leases on these accounts begin anew, and last so many seconds."""
        found: dict[str, float] = {}
        for watched in (self._watched[name] for name in accounts if name in self._watched):
            watched.leases[strategy] = self._clock.monotonic() + watched.settings.lease_s
            found[watched.name] = watched.settings.lease_s
        return found

    def owns_countdown(self, account: str) -> bool:
        """Whether the venue's countdown of this account is the proxy's to wind."""
        watched = self._watched.get(account)
        return watched is not None and watched.lane is not None and watched.settings.countdown_s is not None

    # -- what runs beside it

    async def watch(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Run until cancelled. Leases end on time whatever the venue does: only the countdowns wait for it."""
        await asyncio.gather(
            *(self._repeated(watched, self._end_leases, every_s) for watched in self._watched.values()),
            *(self._repeated(watched, self._beat, every_s) for watched in self._watched.values()),
        )

    async def _repeated(
        self, watched: _Watched, look: Callable[[_Watched], Awaitable[None]], every_s: float
    ) -> None:
        while True:
            try:
                await look(watched)
            except Exception as error:  # noqa: BLE001 - one failed look must not end the watch; countdowns run on
                log.error("deadman.failed", account=watched.name, error=repr(error))
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """End leases that ran out, then wind up or stop countdowns."""
        for watched in self._watched.values():
            await self._end_leases(watched)
        for watched in self._watched.values():
            await self._beat(watched)

    async def _end_leases(self, watched: _Watched) -> None:
        """All that ran out at once: each is latched before any of them waits for its disk."""
        now_s = self._clock.monotonic()
        ended = [name for name, ends_s in watched.leases.items() if now_s >= ends_s]
        await asyncio.gather(*(self._end_lease(watched, strategy, now_s) for strategy in ended))

    async def _end_lease(self, watched: _Watched, strategy: str, now_s: float) -> None:
        scope, reason = scoped("strategy", strategy), (
            f"strategy {strategy} was not heard of on account {watched.name} for {watched.settings.lease_s:g} s"
        )
        try:
            engaged = await self._latch.engage(
                level=EssLevel.REDUCE_ONLY, scope=scope, actor=ACTOR, reason=reason, source="rule"
            )
        except ProxyError as error:  # the lease stays ended and is tried again with the next look
            log.error("deadman.not_engaged", strategy=strategy, error=str(error))
            return
        log.warning("deadman.lease_ended", account=watched.name, strategy=strategy)
        self._record(scope, reason, engaged.problem or "done")
        if watched.leases.get(strategy, 0.0) <= now_s:  # not when it spoke meanwhile
            watched.leases.pop(strategy, None)

    def _record(self, scope: str, reason: str, result: str) -> None:
        act = "ess.engage reduce_only"
        try:
            self._audit.append(
                admin_record(actor=f"{ACTOR} (dead_man)", act=act, scope=scope, reason=reason, result=result)
            )
        except AuditError as error:  # the stop holds; what cannot be recorded is told
            log.error("audit.unavailable", error=str(error), act=act)

    async def _beat(self, watched: _Watched) -> None:
        if not self.owns_countdown(watched.name):
            return
        opening, all_working = self._symbols(watched.name)
        is_attended = any(ends_s > self._clock.monotonic() for ends_s in watched.leases.values())
        halted = self._latch.governing(watched.name, watched.exchange).level is EssLevel.HALT
        if not watched.is_tidied and all_working is not None:
            # An earlier process may have left one running where only protective orders are left.
            watched.is_tidied = all([await self._wind(watched, one, 0.0) for one in sorted(all_working - opening)])
        if all_working is not None:
            for symbol in [one for one in watched.armed if one not in opening]:
                if await self._wind(watched, symbol, 0.0):
                    del watched.armed[symbol]
        if not is_attended or halted:
            return  # what is armed runs out, and the venue cancels
        countdown_s = watched.settings.countdown_s
        assert countdown_s is not None
        for symbol in sorted(opening):
            now_s = self._clock.monotonic()
            if now_s >= watched.armed.get(symbol, 0.0) and await self._wind(watched, symbol, countdown_s):
                watched.armed[symbol] = now_s + countdown_s / BEATS_PER_COUNTDOWN

    def _symbols(self, account: str) -> tuple[set[str], set[str] | None]:
        """The symbols with an opening order, and those with any; None before the account was read."""
        if self._book.positions(account, Market.LINEAR) is None:
            return set(), None
        working = self._book.working(account, Market.LINEAR)
        listed = {symbol for symbol, orders in working.items() if orders}
        opens = {
            symbol for symbol in listed if any(not one.reduces_by_venue for one in working[symbol].values())
        }
        return opens, listed

    async def _wind(self, watched: _Watched, symbol: str, countdown_s: float) -> bool:
        """Set the venue's countdown; what fails is tried again with the next look."""
        assert watched.lane is not None
        sent: Sent = await watched.lane.countdown(
            symbol, int(countdown_s * 1000), again=symbol in watched.failing
        )
        if sent.outcome == "accepted":
            if symbol in watched.failing:
                watched.failing.discard(symbol)
                log.warning("deadman.beats_again", account=watched.name, symbol=symbol)
            return True
        if symbol not in watched.failing:
            watched.failing.add(symbol)
            log.error("deadman.beat_failed", account=watched.name, symbol=symbol, said=sent.said)
        return False

    def report(self, account: str) -> dict[str, object] | None:
        """Leases and countdowns of an account, for whoever looks; None where it does not ask for them."""
        watched, now_s = self._watched.get(account), self._clock.monotonic()
        if watched is None:
            return None
        return {
            "lease_s": watched.settings.lease_s,
            "countdown_s": watched.settings.countdown_s if self.owns_countdown(account) else None,
            "leases_s": {name: round(ends_s - now_s, 1) for name, ends_s in sorted(watched.leases.items())},
            "armed": sorted(watched.armed),
            "failing": sorted(watched.failing),
        }
