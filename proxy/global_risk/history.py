"""Daily closes of every symbol that matters, from the venue's candles: what the statistics are made of.

Only closed days count. A symbol that cannot be read keeps what is known of it, which grows too old by
itself; nothing takes the place of a day that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from proxy.clock import Clock
from proxy.feeds import FeedFailed, Malformed, Venue
from proxy.feeds.polling import Cycle, Cycles
from proxy.feeds.reading import NUMBER
from proxy.global_risk.arithmetic import Floats
from rules import Market

DAY_MS = 86_400_000
DAY_S = 86_400
CANDLE_FIELDS = 12
SYMBOLS_MAX = 300
SYMBOLS_AT_ONCE = 20  # asked for in one cycle: the address's weight belongs to the orders first
AGAIN_AFTER_S = 60.0  # before a symbol that failed is asked for again
REFUSED_AFTER_S = 3600.0  # and where the venue says that there is nothing to ask for
EVERY_S = 5.0
OLD_AFTER_DAYS = 3  # the newest closed day may be this many days back before a history is too old to use
PATHS = {Market.SPOT: "/api/v3/klines", Market.LINEAR: "/fapi/v1/klines"}


class Series(NamedTuple):
    """Which candles: a symbol of a market of an exchange."""

    exchange: str
    market: Market
    symbol: str


@dataclass(frozen=True, slots=True)
class Aligned:
    """Returns of several series over the days all of them have: a row per day, the newest last.

    `short` names the series that keep there from being enough of them.
    """

    series: tuple[Series, ...]
    days: tuple[int, ...]
    returns: Floats
    short: tuple[Series, ...] = ()


class History:
    """The daily returns of every series, by day."""

    def __init__(self) -> None:
        self.version = 0
        self._returns: dict[Series, dict[int, float]] = {}
        self._aligned: tuple[object, Aligned] | None = None

    def known(self, series: Series) -> int:
        """How many daily returns are known."""
        return len(self._returns.get(series, ()))

    def newest(self, series: Series) -> int | None:
        """The last day that has a return, counted from 1970."""
        days = self._returns.get(series)
        return max(days) if days else None

    def put(self, series: Series, closes: Mapping[int, float]) -> None:
        """Take the closes of closed days; a return needs the day before it as well."""
        returns = {day: close / closes[day - 1] - 1.0 for day, close in closes.items() if day - 1 in closes}
        if returns != self._returns.get(series):
            self._returns[series] = returns
            self.version += 1

    def on_days(self, series: Series, days: Sequence[int]) -> Floats | None:
        """One series' returns on exactly these days; None where one of them is missing."""
        returns = self._returns.get(series)
        if returns is None or not days or any(day not in returns for day in days):
            return None
        return np.array([returns[day] for day in days])

    def aligned(self, series: Sequence[Series], *, today: int, lookback: int, history_min: int) -> Aligned:
        """The returns of all these series over their common days, the newest `lookback` of them.

        Where fewer than `history_min` days are common, or the newest is too old, none are given.
        """
        asked = (tuple(series), self.version, today, lookback, history_min)
        if self._aligned is not None and self._aligned[0] == asked:
            return self._aligned[1]
        found = self.align(asked[0], today=today, lookback=lookback, history_min=history_min)
        self._aligned = (asked, found)
        return found

    def align(self, series: tuple[Series, ...], *, today: int, lookback: int, history_min: int) -> Aligned:
        """The same, made anew."""
        lacking = tuple(one for one in series if not self._is_enough(one, today, lookback, history_min))
        usable = [self._returns[one] for one in series if one not in lacking]
        if lacking or not usable:
            return Aligned(series, (), np.empty((0, len(series))), lacking)
        common = set(usable[0]).intersection(*usable[1:])
        days = tuple(sorted(day for day in common if day >= today - lookback)[-lookback:])
        if len(days) < history_min:
            return Aligned(series, (), np.empty((0, len(series))), series)
        table = np.array([[returns[day] for returns in usable] for day in days])
        return Aligned(series, days, table)

    def _is_enough(self, series: Series, today: int, lookback: int, history_min: int) -> bool:
        days = self._returns.get(series)
        if not days or max(days) < today - OLD_AFTER_DAYS:
            return False
        return sum(1 for day in days if today - lookback <= day < today) >= history_min


class HistoryFeed(Cycles):
    """Keeps the history of every wanted series up to date: each is asked for once a day, and again if it failed."""

    def __init__(
        self,
        history: History,
        venues: Mapping[tuple[str, Market], Venue],
        wanted: Callable[[], Iterable[Series]],
        clock: Clock,
        *,
        lookback_days: int,
        every_s: float = EVERY_S,
    ) -> None:
        self.history = history
        self._venues = venues
        self._wanted = wanted
        self._clock = clock
        self._limit = lookback_days + 2  # one more for the first return, and the day that is not over
        self._read_on: dict[Series, int] = {}
        self._again_s: dict[Series, float] = {}
        self.problems: dict[Series, str] = {}
        self._cycle = Cycle("risk.history", self.read_due, every_s=every_s, clock=clock)
        super().__init__("risk.history", (self._cycle,))

    def poke(self) -> None:
        """Something is held that was not: look early."""
        self._cycle.poke()

    async def read_due(self) -> None:
        """Ask for every wanted series that today has not been read for; what fails is tried again later."""
        wanted = dict.fromkeys(self._wanted())
        due = self._due(wanted)
        self.problems = {series: why for series, why in self.problems.items() if series in wanted}
        for series in due:
            self._again_s[series] = self._clock.monotonic() + AGAIN_AFTER_S
            try:
                await self._read(series)
            except (FeedFailed, Malformed) as error:
                self.problems[series] = str(error)
                if isinstance(error, FeedFailed) and error.status == 400:
                    self._again_s[series] = self._clock.monotonic() + REFUSED_AFTER_S
            else:
                self.problems.pop(series, None)
        if due and len(self.problems) >= len(due):
            series, why = next(iter(self.problems.items()))
            raise FeedFailed(f"{len(self.problems)} symbols could not be read; {series.symbol}: {why}")

    def _due(self, wanted: Iterable[Series]) -> list[Series]:
        today, now_s = day_of(self._clock.now()), self._clock.monotonic()
        due = []
        for series in wanted:
            if self._read_on.get(series) == today or (series.exchange, series.market) not in self._venues:
                continue
            if now_s >= self._again_s.get(series, float("-inf")):
                due.append(series)
        return due[:SYMBOLS_AT_ONCE]

    async def _read(self, series: Series) -> None:
        today = day_of(self._clock.now())
        reply = await self._venues[series.exchange, series.market].get(
            PATHS[series.market], {"symbol": series.symbol, "interval": "1d", "limit": str(self._limit)}
        )
        closes = read_candles(reply.found, int(reply.as_of.timestamp() * 1000))
        self.history.put(series, closes)
        # Just after midnight a venue may not have closed yesterday's candle: then it is asked for again.
        if not closes or max(closes) >= today - 1:
            self._read_on[series] = today


def read_candles(found: object, now_ms: int) -> dict[int, float]:
    """The closes of the days that were over at `now_ms`, by day; anything odd refuses the whole answer."""
    if not isinstance(found, list):
        raise Malformed(f"candles: expected a list, found {type(found).__name__}")
    closes: dict[int, float] = {}
    for row in found:
        if not isinstance(row, list) or len(row) != CANDLE_FIELDS:
            raise Malformed(f"candles: expected rows of {CANDLE_FIELDS} values")
        opened, close, closed = row[0], row[4], row[6]
        if type(opened) is not int or type(closed) is not int or opened % DAY_MS or closed != opened + DAY_MS - 1:
            raise Malformed(f"candles: expected a whole UTC day, found {opened!r} to {closed!r}")
        if not isinstance(close, str) or not NUMBER.fullmatch(close) or not Decimal(close) > 0:
            raise Malformed(f"candles: expected a positive close, found {close!r:.40}")
        day = opened // DAY_MS
        if day in closes:
            raise Malformed(f"candles: the day {opened} stands there twice")
        if closed < now_ms:
            closes[day] = float(close)
    return closes


def day_of(instant: datetime) -> int:
    """The UTC day, counted from 1970."""
    return int(instant.astimezone(UTC).timestamp()) // DAY_S
