"""After a HALT an account may only reduce until it has been read again and nothing about it is open.

While everything stood, orders may have traded, and people may have acted at the venue itself. So the
release of a HALT leaves REDUCE_ONLY on every account it held. That ends by itself, once a reading that
was asked for after the release is in the book, showed nothing that no event explains, and no order of
the account is of unknown fate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Protocol

import structlog

from proxy.clock import Clock
from proxy.errors import ProxyError
from proxy.ess import EssLatch
from proxy.reservations import Fate, Reservations
from rules import EssLevel, Market, Stop
from rules.ess import RECOVERY, parts_of

log = structlog.get_logger("riskgate.ess")

LOOK_EVERY_S = 0.2


class Picture(Protocol):
    """An account as its readings and its stream show it."""

    drifts: int

    @property
    def read_s(self) -> float:
        """Monotonic: when the newest reading in the book was asked for."""
        ...

    @property
    def is_in_doubt(self) -> bool:
        """Whether a reading showed what no event has explained yet."""
        ...

    def wants_reading(self) -> None:
        """Ask for a reading soon."""
        ...


class Pictures(Protocol):
    """Where accounts are read."""

    def live(self, account: str, market: Market) -> Picture | None:
        """One account on one market; None where it is not read."""
        ...


class Recovery:
    """Ends what a HALT left, account by account."""

    def __init__(
        self,
        latch: EssLatch,
        pictures: Pictures,
        reservations: Reservations,
        markets: Mapping[str, Collection[Market]],
        clock: Clock,
    ) -> None:
        self._latch = latch
        self._pictures = pictures
        self._reservations = reservations
        self._markets = markets
        self._clock = clock
        self._since_s: dict[str, float] = {}
        self._drifts: dict[tuple[str, Market], int] = {}
        self.waiting: dict[str, str] = {}  # what each account waits for
        latch.listeners.append(self._changed)
        for stop in latch.stops():
            self._changed(stop)

    def _changed(self, stop: Stop) -> None:
        """A release begins a recovery: only what is asked for from now on shows the account as it is now."""
        kind, account = parts_of(stop.scope)
        if kind != RECOVERY:
            return
        if stop.level is EssLevel.CLEAR:
            self._since_s.pop(account, None)
            self.waiting.pop(account, None)
        else:
            self._since_s[account] = self._clock.monotonic()
            self.waiting[account] = "to be looked at"

    async def watch(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - one failed look must not end the watch; accounts stay as they are
                log.error("ess.recovery_failed", error=repr(error))
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """Let every account go on that may."""
        for account in list(self._since_s):
            lacks = self._lacks(account)
            if lacks is None:
                await self._end(account)
            elif self.waiting.get(account) != lacks:
                self.waiting[account] = lacks
                log.info("ess.recovering", account=account, waits_for=lacks)

    def _lacks(self, account: str) -> str | None:
        """What an account waits for; None if it may go on."""
        for market in self._markets.get(account, ()):
            picture = self._pictures.live(account, market)
            if picture is None:
                continue  # it is never read, and what it holds is not known: it opens nothing anyway
            place = account, market
            if picture.drifts != self._drifts.setdefault(place, picture.drifts):
                self._drifts[place] = picture.drifts
                self._since_s[account] = self._clock.monotonic()
            if picture.read_s <= self._since_s[account]:
                picture.wants_reading()
                return f"a reading of {market.value} that was asked for after the release"
            if picture.is_in_doubt:
                return f"an explanation of what the last reading of {market.value} showed and no event had told"
        unknown = sum(
            leg.fate is Fate.UNKNOWN for one in self._reservations.of_account(account) for leg in one.legs
        )
        return f"the fate of {unknown} order(s)" if unknown else None

    async def _end(self, account: str) -> None:
        stop = self._latch.stop_of(f"{RECOVERY}:{account}")
        if stop.level is EssLevel.CLEAR:
            self._changed(stop)
            return
        try:
            await self._latch.recovered(
                account, expected_epoch=stop.epoch, reason="read again after the release, nothing is open"
            )
        except ProxyError as error:  # the account stays as it is, and is looked at again
            log.error("ess.recovery_not_ended", account=account, error=str(error))
