"""An account on one market: readings and its stream put together, and put into the book.

A reading is asked for when a stream opens and whenever something may have been missed; it runs
from time to time even if nothing was, and what it then shows differently is drift: told, counted,
corrected. Between readings the stream moves orders and positions at once, and keeps them fresh
only by proof (a pong), only from the last complete reading on, and not for ever without another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import structlog

from proxy.book import Book
from proxy.clock import Clock
from proxy.feeds.bypass import BypassWatch
from proxy.feeds.server_time import ServerTime
from proxy.feeds.stream_events import Triggered
from proxy.feeds.stream_picture import Amount, Change, Difference, HeldKey, Listed, OrderKey, Picture, Step, Told
from proxy.reservations import NameKind, Reservations, names_of
from rules import Market

log = structlog.get_logger("riskgate.feeds")

LAG_MS = 250  # a venue may answer from a copy that is a moment behind, and push a moment late
LATE_MAX_MS = 2000  # an event that comes later says that the stream is behind: what else is on its way?
AHEAD_MAX_MS = 2000  # an event from the future says that the venue's clock was measured wrongly
SUSPECT_S = 1.0  # how long an event may explain what a reading showed before it
OWED_S = 1.0  # how long an event may take to show an accepted order, before it is asked for
SEEN_MAX = 2000
NEVER_S = float("-inf")


class Live:
    """What one account has on one market, now."""

    def __init__(
        self,
        account: str,
        market: Market,
        book: Book,
        reservations: Reservations,
        clock: Clock,
        server_time: ServerTime,
        *,
        watch: BypassWatch | None = None,
        lag_ms: int = LAG_MS,
        unread_max_s: float = 100.0,
    ) -> None:
        self.account = account
        self.market = market
        self._book = book
        self._reservations = reservations
        self._clock = clock
        self._time = server_time
        self._watch = watch
        self._lag_ms = lag_ms
        self._unread_max_s = unread_max_s
        self._picture = Picture()
        self._is_open = False
        self._is_complete = False
        self._gap_s = NEVER_S
        self._read_s = NEVER_S
        self._late_ms = 0
        self._confirmed_at: datetime | None = None
        self._suspects: dict[tuple[str, str, str], tuple[Difference, float]] = {}
        self._seen: OrderedDict[tuple[str, NameKind, str], None] = OrderedDict()
        self.wants_reading: Callable[[], None] = _nothing
        self.wants_connection: Callable[[], None] = _nothing
        self.drifts = 0
        self.events = 0

    @property
    def is_live(self) -> bool:
        """Whether the stream speaks for the account: open, and nothing missed since the last reading."""
        return self._is_open and self._is_complete

    @property
    def read_s(self) -> float:
        """Monotonic: when the newest reading that the book has taken was asked for."""
        return self._read_s

    @property
    def is_in_doubt(self) -> bool:
        """Whether a reading showed what no event has explained yet."""
        return bool(self._suspects)

    # Readings

    def reading(
        self,
        *,
        as_of: datetime,
        sent_s: float,
        orders: Iterable[Listed],
        held: Mapping[HeldKey, Amount],
        held_ms: int = 0,
    ) -> bool:
        """Take a complete reading whose first request left at `sent_s`. Whether the book took it."""
        sent_ms = self._time.at_ms(sent_s)
        listed = list(orders)
        if sent_ms is None:
            self._picture.replace(listed, held)
            differences: list[Difference] = []
        else:
            asked_ms = sent_ms - self._lag_ms - int(self._time.error_ms)
            differences = self._picture.reading(asked_ms, listed, held, held_ms)
        for difference in differences if self.is_live else ():
            self._suspects[_key_of(difference)] = (difference, self._clock.monotonic())
        if self._confirmed_at is not None and self._confirmed_at > self._clock.now():
            self._confirmed_at = None  # by a clock that has been set back since: nothing is as of the future
        if self._confirmed_at is not None:
            as_of = max(as_of, self._confirmed_at)  # what the stream proved since is in the picture too
        working = self._picture.orders()
        took = self._book.apply_snapshot(
            self.account, self.market, as_of=as_of, positions=self._picture.positions(), orders=working
        )
        if took:
            if sent_s > self._gap_s:
                self._is_complete = self._is_open
            self._read_s = sent_s
            self._reservations.snapshot_applied(self.account, self.market, sent_s, names_of(working))
        return took

    def meet(self, listed: Listed, created_ms: int) -> None:
        """An order that a reading lists: was it sent from here?"""
        if self._watch is not None:
            self._watch.meet(self.account, self.market, listed.working, created_ms)

    # The stream

    def opened(self) -> None:
        """A connection lives: what happened before it was missed."""
        self._is_open = True
        self.gap()

    def closed(self) -> None:
        """The connection ended."""
        self._is_open = False
        self.gap()

    def gap(self) -> None:
        """Something may have been missed: only a reading that is asked for from now on is complete."""
        self._is_complete = False
        self._gap_s = self._clock.monotonic()
        self._confirmed_at = None
        self._late_ms = 0
        self.wants_reading()

    def proven(self, as_of: datetime) -> None:
        """All that the venue had pushed by then is in the picture."""
        if not self.is_live or self._clock.monotonic() - self._read_s > self._unread_max_s:
            return
        as_of -= timedelta(milliseconds=max(self._lag_ms, self._late_ms))
        is_set_back = self._confirmed_at is not None and self._confirmed_at > self._clock.now()
        if self._confirmed_at is None or as_of > self._confirmed_at or is_set_back:
            self._confirmed_at = as_of
            self._book.confirm(self.account, self.market, as_of)

    def timed(self, told_ms: int) -> None:
        """Hold an event's time against the venue's clock; one that is far behind may not be the only one."""
        now_ms = self._time.now_ms()
        if now_ms is None:
            return
        late_ms = now_ms - told_ms
        self._late_ms = max(0, late_ms)
        if late_ms > LATE_MAX_MS:
            log.warning("stream.late", account=self.account, market=self.market.value, late_ms=late_ms)
            self.gap()
            self._time.doubted()
        elif late_ms < -AHEAD_MAX_MS:
            self._time.doubted()

    def step(self, step: Step, created_ms: int) -> None:
        """Something happened to an order."""
        self.events += 1
        self.timed(step.told_ms)
        self._apply(self._picture.step(step))
        self._suspects.pop(("order", *step.key), None)
        for symbol, bucket in step.total:
            self._suspects.pop(("position", symbol, bucket.value), None)
        if self._watch is not None:
            order = step.working.order
            quantity = order.remaining + step.executed
            self._watch.meet(self.account, self.market, step.working, created_ms, quantity=quantity)
            if step.is_over:
                self._watch.ended(self.account, self.market, step.key)
        self._saw(step.key)

    def told(self, told: Iterable[Told]) -> None:
        """Holdings changed."""
        for one in told:
            self.events += 1
            self.timed(one.told_ms)
            self._apply(self._picture.told(one))
            self._suspects.pop(("position", one.key[0], one.key[1].value), None)

    def triggered(self, found: Triggered, told_ms: int) -> None:
        """A conditional order became another one."""
        self.events += 1
        self.timed(told_ms)
        if found.child is None:
            self.wants_reading()  # it has triggered, and nobody says into what
            return
        if self._watch is not None:
            self._watch.child(self.account, self.market, found.key, found.child)
        self._apply(self._picture.triggered(found.key, found.child))
        self._suspects.pop(("order", *found.key), None)
        self._saw(found.key)

    def _apply(self, change: Change) -> None:
        if change.is_doubtful:
            self.wants_reading()
        if change:
            self._book.apply_changes(
                self.account, self.market, orders=change.orders, positions=change.positions
            )

    def _saw(self, key: OrderKey) -> None:
        """An order that the book now counts by itself need not be reserved any longer."""
        if not self.is_live or not self._picture.knows(key):
            return
        name = (key[0], NameKind.ORDER_ID, key[1])
        self._seen[name] = None
        self._seen.move_to_end(name)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        self._reservations.snapshot_applied(self.account, self.market, NEVER_S, frozenset((name,)))

    def answered(self) -> None:
        """An order was answered: it may have been seen before that."""
        if self.is_live:
            self._reservations.snapshot_applied(self.account, self.market, NEVER_S, self._seen)
        else:
            self.wants_reading()

    # From time to time

    async def tick(self) -> None:
        """Tell what no event has explained, ask for what no event has shown, raise what nobody sent."""
        now_s = self._clock.monotonic()
        for key, (difference, since_s) in list(self._suspects.items()):
            if now_s - since_s >= SUSPECT_S:
                del self._suspects[key]
                self.drifts += 1
                self.wants_connection()  # it lost something, or it is the stream of nobody
                log.warning(
                    "account.drift",
                    account=self.account,
                    market=self.market.value,
                    kind=difference.kind,
                    symbol=difference.symbol,
                    name=difference.name,
                    expected=difference.expected,
                    found=difference.found,
                )
        if self._picture.is_tied() or self._reservations.is_owed(self.account, self.market, for_s=OWED_S):
            self.wants_reading()
        if self._watch is not None:
            await self._watch.tick(self.account, self.market)


def _key_of(difference: Difference) -> tuple[str, str, str]:
    return difference.kind, difference.symbol, difference.name


def _nothing() -> None:
    """Nobody is to be told."""
