"""What an account holds and has working, from readings and events put together.

A reading shows everything at some instant between its question and its answer; an event shows one
thing at the instant it names. Both carry the venue's time, so whichever is newer counts, however
late it comes, how often, or in which order. An order that has ended never comes back. A fill counts
for the position at once, and is not counted again when the position itself is told.

Pure: no clock, no network. Times are milliseconds of the venue's clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from proxy.book import Working
from rules import Bucket, Position

ZERO = Decimal(0)
ENDED_MAX = 20_000
# What an event says happened later than this after a reading was asked for, was told by a clock that has been set.
AHEAD_MAX_MS = 60_000

OrderKey = tuple[str, str]  # symbol, order id: ids are unique within a symbol only
HeldKey = tuple[str, Bucket]  # contracts: symbol and leg; spot: asset and BOTH


class Listed(NamedTuple):
    """A working order as a reading lists it; `at_ms` is 0 where the venue states no time."""

    working: Working
    at_ms: int = 0
    executed: Decimal = ZERO


class Amount(NamedTuple):
    """What a reading shows of one holding; short legs are negative."""

    amount: Decimal
    at_ms: int = 0


class Step(NamedTuple):
    """An event of one order: what it is by then, all that it has moved so far, and what this event moved.

    `last` may differ from the growth of `total` by fees; it is empty where nothing traded.
    """

    working: Working
    at_ms: int
    told_ms: int
    executed: Decimal
    is_over: bool
    traded: Decimal = ZERO
    total: Mapping[HeldKey, Decimal] = {}
    last: Mapping[HeldKey, Decimal] = {}

    @property
    def key(self) -> OrderKey:
        """Which order it is."""
        return self.working.symbol, self.working.order.order_id


class Told(NamedTuple):
    """An event of one holding: how much there is."""

    key: HeldKey
    amount: Decimal
    at_ms: int
    told_ms: int


class Difference(NamedTuple):
    """Where a reading showed something else than what the events had led to."""

    kind: str  # order or position
    symbol: str
    name: str  # order id or leg
    expected: str
    found: str


@dataclass(slots=True)
class Change:
    """What became of the picture; `is_doubtful` where only a reading can say whether it is right."""

    orders: dict[OrderKey, Working | None] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    is_doubtful: bool = False

    def __bool__(self) -> bool:
        return bool(self.orders or self.positions)


@dataclass(slots=True)
class _Order:
    """A working order as last known."""

    working: Working
    at_ms: int
    told_ms: int  # 0 where a reading has shown it since
    executed: Decimal


@dataclass(slots=True)
class _Held:
    """A holding as last told, and fills since then.

    Several amounts may be told for one instant. They come in order; if they do not, the fills of that
    instant say which is the last: `before` it and all of them together.
    """

    amount: Decimal = ZERO
    at_ms: int = 0
    told_ms: int = 0
    before: Decimal = ZERO
    here: Decimal = ZERO  # fills of the instant itself
    seen: list[Decimal] = field(default_factory=list)  # amounts told for it
    moves: list[tuple[int, Decimal]] = field(default_factory=list)  # fills since

    @property
    def present(self) -> Decimal:
        """With the fills that it does not show yet."""
        return sum((amount for _, amount in self.moves), self.amount)

    @property
    def is_tied(self) -> bool:
        """Whether nobody can say which of several amounts was the last."""
        return len(self.seen) > 1 and self.before + self.here != self.amount

    def begin(self, amount: Decimal, at_ms: int, told_ms: int) -> None:
        """What is held as of a later instant; it includes the fills up to then."""
        self.before = sum((move for moved_ms, move in self.moves if moved_ms < at_ms), self.amount)
        self.here = sum((move for moved_ms, move in self.moves if moved_ms == at_ms), ZERO)
        self.moves = [move for move in self.moves if move[0] > at_ms]
        self.amount, self.at_ms, self.told_ms, self.seen = amount, at_ms, told_ms, [amount]

    def move(self, amount: Decimal, at_ms: int) -> None:
        """A fill: counted unless what was told includes it."""
        if at_ms > self.at_ms:
            self.moves.append((at_ms, amount))
        elif at_ms == self.at_ms:
            self.here += amount
            if self.before + self.here in self.seen:
                self.amount = self.before + self.here


class Picture:
    """One account on one market."""

    def __init__(self) -> None:
        self._orders: dict[OrderKey, _Order] = {}
        self._ended: OrderedDict[OrderKey, None] = OrderedDict()
        self._held: dict[HeldKey, _Held] = {}
        self._parents: dict[OrderKey, OrderKey] = {}  # order that a triggered one became -> the triggered one
        self._tied: set[HeldKey] = set()
        self._floor_ms = 0  # what was last changed before this, a reading has shown

    def orders(self) -> list[Working]:
        """Every working order."""
        return [known.working for known in self._orders.values()]

    def positions(self) -> dict[str, Position]:
        """Everything held."""
        return {name: self._position(name) for name in dict.fromkeys(name for name, _ in self._held)}

    def knows(self, key: OrderKey) -> bool:
        """Whether the order works or is known to have ended."""
        return key in self._orders or key in self._ended

    def is_tied(self) -> bool:
        """Whether only a reading can say what is held: asked from time to time, when all fills should have come."""
        self._tied = {key for key in self._tied if key in self._held and self._held[key].is_tied}
        return bool(self._tied)

    # Events

    def step(self, step: Step) -> Change:
        """Take what happened to an order."""
        change = Change()
        key = step.key
        known = self._orders.get(key)
        if key in self._ended or (known is None and step.at_ms <= self._floor_ms):
            if step.is_over:
                self._end(key)
            return change
        if known is not None and not _is_newer(step, known):
            return change
        for held_key in {*step.total, *step.last}:
            self._move(held_key, step, known, change)
        if step.is_over:
            self._orders.pop(key, None)
            self._end(key)
            change.orders[key] = None
        else:
            self._orders[key] = _Order(step.working, step.at_ms, step.told_ms, step.executed)
            change.orders[key] = step.working
        parent = self._parents.pop(key, None)
        if parent is not None:
            self._drop(parent, change)
        return change

    def triggered(self, key: OrderKey, child: OrderKey) -> Change:
        """A conditional order became another order: it counts until that one has been seen."""
        change = Change()
        if self.knows(child):
            self._drop(key, change)
        elif key in self._orders:
            self._parents[child] = key
        return change

    def told(self, told: Told) -> Change:
        """Take how much there is of a holding."""
        change = Change()
        held = self._held.setdefault(told.key, _Held(at_ms=self._floor_ms))
        if (told.at_ms, told.told_ms) < (held.at_ms, held.told_ms):
            return change
        if (told.at_ms, told.told_ms) > (held.at_ms, held.told_ms):
            held.begin(told.amount, told.at_ms, told.told_ms)
        elif told.amount in held.seen:
            return change
        else:
            held.amount = told.amount
            held.seen.append(told.amount)
            self._tied.add(told.key)
        change.positions[told.key[0]] = self._position(told.key[0])
        return change

    def _move(self, key: HeldKey, step: Step, known: _Order | None, change: Change) -> None:
        last, total = step.last.get(key, ZERO), step.total.get(key, ZERO)
        before_executed = ZERO if known is None else known.executed
        missed = step.executed - before_executed - step.traded
        held = self._held.setdefault(key, _Held(at_ms=self._floor_ms))
        if missed:
            # Fills that were never told, or will be told late: what is held may show them already.
            change.is_doubtful = True
            before_ms = self._floor_ms if known is None else known.at_ms
            if held.at_ms <= before_ms and step.executed:
                held.move(total * missed / step.executed, step.at_ms)
        if last:
            held.move(last, step.at_ms)
        if last or missed:
            change.positions[key[0]] = self._position(key[0])

    def _drop(self, key: OrderKey, change: Change) -> None:
        if self._orders.pop(key, None) is not None:
            change.orders[key] = None
        self._end(key)

    def _end(self, key: OrderKey) -> None:
        self._ended[key] = None
        self._ended.move_to_end(key)
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)

    def _position(self, name: str) -> Position:
        both, long, short = (
            ZERO if held is None else held.present
            for held in (self._held.get((name, bucket)) for bucket in (Bucket.BOTH, Bucket.LONG, Bucket.SHORT))
        )
        return Position(both=both, long=abs(long), short=abs(short))

    # Readings

    def reading(
        self, asked_ms: int, orders: Iterable[Listed], held: Mapping[HeldKey, Amount], held_ms: int = 0
    ) -> list[Difference]:
        """Take a complete reading that shows at least everything up to `asked_ms`; where it differed.

        `held_ms`: the latest change of any holding that it shows, where the venue states that.
        """
        listed = {(one.working.symbol, one.working.order.order_id): one for one in orders}
        differences = self._read_orders(asked_ms, listed) + self._read_held(max(asked_ms, held_ms), held)
        self._parents = {child: parent for child, parent in self._parents.items() if parent in self._orders}
        self._floor_ms = asked_ms
        return differences

    def replace(self, orders: Iterable[Listed], held: Mapping[HeldKey, Amount]) -> None:
        """Take a complete reading as all there is: where the venue's time is not known nothing can be compared."""
        self._orders.clear()
        self._held.clear()
        self._floor_ms = 0
        self.reading(0, orders, held)

    def _read_orders(self, asked_ms: int, listed: Mapping[OrderKey, Listed]) -> list[Difference]:
        differences = []
        for key, known in list(self._orders.items()):
            if key not in listed and not _is_after(known, asked_ms):
                del self._orders[key]
                differences.append(_order_difference(key, known.working, None))
        for key, one in listed.items():
            before = self._orders.get(key)
            # An order that was seen to end does not come back: the reading was asked for before it ended.
            if key in self._ended or (before is not None and _is_after(before, one.at_ms or asked_ms)):
                continue
            same = before is not None and _shown(before.working) == _shown(one.working)
            if not same:
                differences.append(_order_difference(key, None if before is None else before.working, one.working))
            self._orders[key] = _Order(one.working, one.at_ms or asked_ms, 0, one.executed)
        return differences

    def _read_held(self, asked_ms: int, held: Mapping[HeldKey, Amount]) -> list[Difference]:
        differences = []
        for key in {*self._held, *held}:
            found = held.get(key, Amount(ZERO))
            at_ms = max(found.at_ms, asked_ms)
            known = self._held.setdefault(key, _Held())
            if _is_after(known, at_ms):
                continue
            expected = known.present
            known.begin(found.amount, at_ms, 0)
            if expected != known.present:
                differences.append(
                    Difference("position", key[0], key[1].value, format(expected, "f"), format(known.present, "f"))
                )
            if not known.amount and not known.moves:
                del self._held[key]
        return differences


def _is_after(known: _Order | _Held, at_ms: int) -> bool:
    """Whether an event told of it later than a reading can show."""
    return known.told_ms > 0 and at_ms < known.at_ms <= at_ms + AHEAD_MAX_MS


def _is_newer(step: Step, known: _Order) -> bool:
    if step.is_over:
        return True  # whatever came before or comes after: it has ended
    if step.at_ms < known.at_ms or step.executed < known.executed:
        return False
    return step.at_ms > known.at_ms or step.executed > known.executed or step.told_ms >= known.told_ms


def _shown(working: Working) -> tuple[object, ...]:
    order = working.order
    return order.remaining, order.side, order.bucket, order.reduces_by_venue


def _order_difference(key: OrderKey, expected: Working | None, found: Working | None) -> Difference:
    shown = [
        "nothing" if one is None else f"{one.order.side.value} {one.order.remaining:f}" for one in (expected, found)
    ]
    return Difference("order", key[0], key[1], *shown)
