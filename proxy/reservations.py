"""What was let through and is not yet seen at the venue: headroom that is already spent.

A reservation is made in the same event-loop step as the decision, so two orders never fit
into the same headroom. It ends when the venue certainly refused, when an order finished
without trading, or when a reading of the account that was *asked for after* the acceptance
has been taken into the book, because that reading then holds the order or its fill. What
nobody knows the fate of stays reserved until it is looked up or settled by a person.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from proxy.book import EXACT, Book, Working, only_closes
from proxy.clock import Clock
from proxy.exchanges.base import Answer, AnswerKind, OrderState
from proxy.sent import Sent
from rules import (
    DOLLAR_COINS,
    Activity,
    Bucket,
    Caller,
    FactMissing,
    Facts,
    LeverageChange,
    Limits,
    Market,
    Order,
    OrderType,
    ReplaceMode,
    Side,
    Sides,
    SymbolFacts,
    amended_order,
    placed,
    rests,
    side_unproven,
    written,
)

ZERO: Final = Decimal(0)
_NEW: Final = tuple.__new__  # a NamedTuple's own constructor costs three times as much
ONE: Final = Decimal(1)
EVERYTHING: Final = Decimal("Infinity")  # an order that closes whatever is there
BASE_STEP: Final = Decimal("0.00000001")
FINGERPRINTS_MAX: Final = 65_536
CALLERS_MAX: Final = 4_096
LAG_S: Final = 0.25  # a venue may answer a reading from a copy that is a moment behind
TIMES_MAX: Final = 20_000  # per caller and per fingerprint; far above every order rate a venue grants

ALGO: Final = "algo:"  # conditional orders of contracts have ids of their own, which may equal those of plain orders


class NameKind(StrEnum):
    """By which of its names an order is listed; a bot may choose another order's id as its client id."""

    ORDER_ID = "order_id"
    CLIENT_ID = "client_id"
    ALGO_CLIENT_ID = "algo_client_id"


Name = tuple[str, NameKind, str]  # ids are unique within a symbol only


class Fate(StrEnum):
    """What is known of an order that was let through."""

    IN_FLIGHT = "in_flight"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    GONE = "gone"


class Outcome(StrEnum):
    """How an order of unknown fate was resolved."""

    ACCEPTED = "accepted"  # the venue has it: kept until the book has seen it
    FAILED = "failed"  # it certainly does not work and never traded


# Looked up once: on an enumeration class that costs more than what follows from it.
IN_FLIGHT: Final = Fate.IN_FLIGHT
ACCEPTED: Final = Fate.ACCEPTED
UNKNOWN: Final = Fate.UNKNOWN
GONE: Final = Fate.GONE
LEAST_SETTLED_FIRST: Final[tuple[Fate, ...]] = (UNKNOWN, IN_FLIGHT, ACCEPTED, GONE)
UNTRIGGERED: Final[tuple[OrderType, ...]] = (OrderType.LIMIT, OrderType.MARKET)
BUY: Final = Side.BUY
AMEND: Final = ReplaceMode.AMEND
LINEAR: Final = Market.LINEAR
BOTH: Final = Bucket.BOTH
SAID_REJECTED: Final = AnswerKind.REJECTED
SAID_UNKNOWN: Final = AnswerKind.UNKNOWN
# What an answer that names no orders says of each.
SAME_FOR_ALL: Final = {kind: OrderState(kind=kind) for kind in AnswerKind}


class Place(NamedTuple):
    """Where reserved quantity counts."""

    instrument: str
    bucket: Bucket
    side: Side


# Built by hand, as every order makes them: in the compiled build a constructor that dataclasses write is not compiled.


@dataclass(slots=True, init=False)
class Hold:
    """Quantity reserved in one place, for one order or for several that exclude each other."""

    place: Place
    quantity: Decimal
    opening: Decimal  # the share of it that is attributed to the strategy as opened
    legs: set[int]
    closes: bool  # of an order that the venue keeps from opening: what it may take off the position
    rate: Decimal  # what one base unit of the order is of the place's (a sale for coins buys others)

    def __init__(
        self,
        place: Place,
        quantity: Decimal,
        opening: Decimal,
        legs: set[int],
        closes: bool = False,  # noqa: FBT001, FBT002 - by its place in a record too
        rate: Decimal = ONE,
    ) -> None:
        self.place = place
        self.quantity = quantity
        self.opening = opening
        self.legs = legs
        self.closes = closes
        self.rate = rate


@dataclass(slots=True, init=False)
class Leg:
    """One order of a reservation."""

    index: int
    symbol: str
    client_order_id: str | None
    replaces: bool
    amends: bool
    conditional: bool  # waits for a trigger: on contracts such orders have an endpoint of their own
    quantity: Decimal | None
    fate: Fate
    changes: str | None  # the id of the order that it amends, where it was named by that
    order_id: str | None
    accepted_at: datetime | None
    accepted_s: float  # monotonic: a stepped wall clock must not release anything early
    unknown_since_s: float
    rests: bool  # one more order at the venue, if it takes it
    side: Side | None
    stands_for: str | None  # the order at the venue that this nameless one was taken to be

    def __init__(
        self,
        *,
        index: int,
        symbol: str,
        client_order_id: str | None,
        replaces: bool,
        amends: bool,
        conditional: bool,
        quantity: Decimal | None,
        fate: Fate,
        changes: str | None,
        rests: bool,
        side: Side | None,
        unknown_since_s: float = 0.0,
    ) -> None:
        self.index = index
        self.symbol = symbol
        self.client_order_id = client_order_id
        self.replaces = replaces
        self.amends = amends
        self.conditional = conditional
        self.quantity = quantity
        self.fate = fate
        self.changes = changes
        self.order_id = None
        self.accepted_at = None
        self.accepted_s = 0.0
        self.unknown_since_s = unknown_since_s
        self.rests = rests
        self.side = side
        self.stands_for = None


@dataclass(slots=True, init=False)
class Reservation:
    """What one decision let through, order by order."""

    decision_id: str
    caller: Caller
    key: str
    market: Market
    legs: tuple[Leg, ...]
    holds: list[Hold]
    reserved_at: datetime
    reserved_s: float
    ended: bool

    def __init__(
        self,
        *,
        decision_id: str,
        caller: Caller,
        key: str,
        market: Market,
        legs: tuple[Leg, ...],
        holds: list[Hold],
        reserved_at: datetime,
        reserved_s: float = 0.0,
        ended: bool = False,
    ) -> None:
        self.decision_id = decision_id
        self.caller = caller
        self.key = key
        self.market = market
        self.legs = legs
        self.holds = holds
        self.reserved_at = reserved_at
        self.reserved_s = reserved_s
        self.ended = ended

    @property
    def fate(self) -> Fate:
        """The least settled fate among its orders."""
        fates = [leg.fate for leg in self.legs]
        for fate in LEAST_SETTLED_FIRST:
            if fate in fates:
                return fate
        return GONE

    def recorded(self) -> list[tuple[object, ...]]:
        """The holds as a decision's record keeps them, for `Reservations.restore`."""
        return [
            (
                hold.place.instrument, hold.place.bucket, hold.place.side, written(hold.quantity),
                written(hold.opening), sorted(hold.legs), *(["closes"] if hold.closes else []),
            )
            for hold in self.holds
        ]  # fmt: skip


class Reservations:
    """All reservations of this process. Every method is synchronous and leaves the book's sums right."""

    def __init__(self, book: Book, clock: Clock, *, lag_s: float = LAG_S) -> None:
        self._book = book
        self._lag_s = lag_s
        self._clock = clock
        self._open: dict[str, Reservation] = {}
        self._by_account: dict[str, dict[str, Reservation]] = {}
        self._client_ids: dict[tuple[str, str], int] = {}
        self._resting: dict[tuple[str, Market, str], int] = {}  # by account, market and symbol; "" counts all
        self._sent = _Windows(CALLERS_MAX)
        self._alike = _Windows(FINGERPRINTS_MAX)
        self._printed: tuple[Order, tuple[str, str], str] | None = None  # whose fingerprint was asked for last
        self.sent = Sent()

    def reserve(
        self,
        decision_id: str,
        caller: Caller,
        key: str,
        orders: Sequence[Order],
        quantities: Sequence[Decimal | None],
        facts: Facts,
        *,
        test: bool = False,
    ) -> Reservation:
        """Reserve what the orders could open, at the quantities decided. `key` is the API key's name.

        An order test is counted as activity and reserves nothing. Raises FactMissing, before
        anything is reserved, where a quote-sized order cannot be converted without a price.
        """
        if decision_id in self._open:
            raise ValueError(f"decision {decision_id} has a reservation already")
        now_s = self._clock.monotonic()
        orders = [
            order if order.replaces is None else placed(order, facts.of(order.symbol)) for order in orders
        ]
        bases: list[Decimal | None] = [None] * len(orders)
        holds: list[Hold] = []
        if not test:
            bases = [
                _base_quantity(order, asked, facts) for order, asked in zip(orders, quantities, strict=True)
            ]
            holds = self._holds(caller, orders, bases, facts)
        legs = tuple(
            [_leg(index, order, bases[index], GONE if test else IN_FLIGHT) for index, order in enumerate(orders)]
        )
        reservation = Reservation(
            decision_id=decision_id,
            caller=caller,
            key=key,
            market=orders[0].market if orders else Market.LINEAR,
            legs=legs,
            holds=holds,
            reserved_at=facts.now,
            reserved_s=now_s,
            ended=test or not legs,
        )
        who = (caller.account, caller.bot)
        for order in orders:
            self._sent.add(who, now_s)
            self._alike.add(self._print_of(who, order), now_s)
        if not reservation.ended:
            self._begin(reservation)
        return reservation

    def restore(self, record: Mapping[str, Any], age_s: float) -> Reservation | None:
        """Reserve again what an earlier process recorded `age_s` ago and never learned the fate of.

        None for a decision that has no order in it, such as a change of leverage.
        """
        rows = [
            (row, quantity)
            for row, quantity in zip(record["orders"], record["quantities"], strict=True)
            if row["instruction"] == "order"
        ]
        if not rows or record["decision_id"] in self._open:
            return None
        since_s = self._clock.monotonic() - age_s
        legs = tuple(_leg_of(index, row, quantity, since_s) for index, (row, quantity) in enumerate(rows))
        caller = record["caller"]
        reservation = Reservation(
            decision_id=record["decision_id"],
            caller=Caller(
                account=caller["account"], exchange=caller["exchange"], strategy=caller["strategy"], bot=caller["bot"]
            ),
            key=caller["bot"],
            market=Market(rows[0][0]["market"]),
            legs=legs,
            holds=self._recorded_holds(record, caller["account"], rows),
            reserved_at=datetime.fromisoformat(record["at"]),
            reserved_s=since_s,
        )
        self._begin(reservation)
        return reservation

    def _recorded_holds(
        self, record: Mapping[str, Any], account: str, rows: Sequence[tuple[Mapping[str, Any], str | None]]
    ) -> list[Hold]:
        """The holds of a record; of one that does not state them (an earlier version's), all that it could open."""
        recorded = record.get("reserved")
        if recorded is not None:
            return [_hold_of(row) for row in recorded]
        holds: list[Hold] = []
        for index, (row, decided) in enumerate(rows):
            quantity = _quantity_of(row, decided)
            if quantity is None or row.get("reduce_only"):
                continue
            instrument = self._book.instrument(account, Market(row["market"]), row["symbol"])
            for side in [Side(row["side"])] if "side" in row else list(Side):
                place = Place(instrument, Bucket(row.get("bucket", Bucket.BOTH)), side)
                holds.append(Hold(place, quantity, quantity, {index}))
        return holds

    def _begin(self, reservation: Reservation) -> None:
        for hold in reservation.holds:
            self._shift(reservation, hold, hold.quantity, hold.opening)
        for leg in reservation.legs:
            self._name(reservation.caller.account, leg, +1)
            self._rest(reservation, leg, +1)
            if leg.client_order_id is not None and not leg.amends:
                self.sent.expect(reservation.caller.account, reservation.market, leg.symbol, leg.client_order_id)
        self._open[reservation.decision_id] = reservation
        self._by_account.setdefault(reservation.caller.account, {})[reservation.decision_id] = reservation

    def settle(self, decision_id: str, answer: Answer, at: datetime) -> None:
        """Take the venue's answer. An answer that says nothing of an order leaves its fate unknown."""
        reservation = self._open.get(decision_id)
        if reservation is None:
            return
        for leg in reservation.legs:
            if leg.fate is IN_FLIGHT:
                is_named = leg.index < len(answer.orders)
                state = answer.orders[leg.index] if is_named else SAME_FOR_ALL[answer.kind]
                self._take(reservation, leg, state, at)
        self._end(reservation)

    def settle_leverage(self, account: str, change: LeverageChange, kind: AnswerKind, at: datetime) -> None:
        """A change of leverage was answered: what the venue took is known at once, what it may have taken is not."""
        if kind is not SAID_REJECTED:
            self._book.set_leverage(account, change.symbol, None if kind is SAID_UNKNOWN else change.leverage, at)

    def release(self, decision_id: str) -> None:
        """Certainly nothing was sent: give everything back."""
        self.settle(decision_id, Answer(kind=AnswerKind.REJECTED), self._clock.now())

    def lost(self, decision_id: str) -> None:
        """Bytes left and nothing came back: everything stays reserved, its fate unknown."""
        self.settle(decision_id, Answer(kind=AnswerKind.UNKNOWN), self._clock.now())

    def resolve(self, decision_id: str, leg_index: int, outcome: Outcome, at: datetime) -> bool:
        """Settle one order of unknown fate by what a look-up found; False if it is not unknown (any more)."""
        reservation = self._open.get(decision_id)
        if reservation is None or leg_index >= len(reservation.legs):
            return False
        leg = reservation.legs[leg_index]
        if leg.fate is not Fate.UNKNOWN:
            return False
        kind = AnswerKind.ACCEPTED if outcome is Outcome.ACCEPTED else AnswerKind.REJECTED
        self._take(reservation, leg, OrderState(kind=kind), at)
        self._end(reservation)
        return True

    def settle_by_operator(self, decision_id: str, outcome: Outcome) -> int:
        """A person says what became of a decision's orders of unknown fate; how many there were."""
        reservation = self._open.get(decision_id)
        legs = () if reservation is None else reservation.legs
        at = self._clock.now()
        return sum(self.resolve(decision_id, leg.index, outcome, at) for leg in legs)

    def snapshot_applied(
        self, account: str, market: Market, sent_s: float, seen: Container[Name] = frozenset()
    ) -> None:
        """The book has taken a complete reading of the account whose first request left at `sent_s` (monotonic).

        `seen` holds the names of what the reading lists as working (`names_of`): an order that is
        there is counted there, also if its answer came after the reading was asked for.
        """
        accepted_before_s = sent_s - self._lag_s
        released: dict[Place, Decimal] = {}
        for reservation in list(self._by_account.get(account, {}).values()):
            if reservation.market is not market:
                continue
            for leg in reservation.legs:
                is_over = leg.fate is ACCEPTED and leg.accepted_s < accepted_before_s
                if not is_over and (leg.fate is ACCEPTED or leg.fate is UNKNOWN):
                    is_over = _is_seen(leg, market, seen, began=reservation.reserved_s < accepted_before_s)
                if is_over:
                    self._drop(reservation, leg, released)
            self._end(reservation)
        # Thousands may end at once: their sums are taken away in one step for each place.
        for (instrument, bucket, side), quantity in released.items():
            self._book.shift_reserved(account, market, instrument, bucket, side, quantity.copy_negate())

    def reserved(self, account: str, symbol: str, market: Market = Market.LINEAR) -> Mapping[Bucket, Sides]:
        """What is reserved of a symbol (spot: of its base asset), per bucket and side."""
        return self._book.symbol(account, market, symbol, self._clock.now()).reserved

    def client_id_in_use(self, account: str, client_order_id: str) -> bool:
        """Whether an order with this client id is in flight or of unknown fate."""
        return (account, client_order_id) in self._client_ids

    def counts(self) -> dict[Fate, int]:
        """How many orders are in each state."""
        counts = {Fate.IN_FLIGHT: 0, Fate.ACCEPTED: 0, Fate.UNKNOWN: 0}
        for reservation in self._open.values():
            for leg in reservation.legs:
                if leg.fate is not Fate.GONE:
                    counts[leg.fate] += 1
        return counts

    def unknown(self) -> list[tuple[Reservation, Leg]]:
        """Every order of unknown fate."""
        return [
            (reservation, leg)
            for reservation in self._open.values()
            for leg in reservation.legs
            if leg.fate is Fate.UNKNOWN
        ]

    def is_owed(self, account: str, market: Market, *, for_s: float) -> bool:
        """Whether an order that was accepted longer ago than this has not been seen since."""
        before_s = self._clock.monotonic() - for_s
        return any(
            leg.fate is ACCEPTED and leg.accepted_s <= before_s
            for reservation in self._by_account.get(account, {}).values()
            if reservation.market is market
            for leg in reservation.legs
        )

    def may_be_ours(
        self, account: str, market: Market, symbol: str, *, met_s: float, side: str, quantity: Decimal,
        order_id: str | None = None,
    ) -> bool:
        """Whether an order at the venue may be one of ours that is out without a name, let through before `met_s`.

        It has to be on that one's side and no larger. With its id it is taken to be that one for good, and each of
        ours is one order only: the next one like it is somebody else's.
        """
        for reservation in self._by_account.get(account, {}).values():
            if reservation.market is not market or reservation.reserved_s > met_s:
                continue
            for leg in reservation.legs:
                if leg.symbol != symbol or not _is_nameless(leg) or leg.stands_for is not None:
                    continue
                if leg.side in (None, side) and (leg.quantity is None or quantity <= leg.quantity):
                    leg.stands_for = order_id
                    return True
        return False

    def of_account(self, account: str) -> list[Reservation]:
        """Everything of an account that is in flight, of unknown fate, or taken and not yet seen."""
        return list(self._by_account.get(account, {}).values())

    def get(self, decision_id: str) -> Reservation | None:
        """A reservation that has not ended."""
        return self._open.get(decision_id)

    def activity(
        self,
        caller: Caller,
        order: Order,
        now_s: float,
        *,
        rate_window_s: float = 10.0,
        duplicate_window_s: float = 2.0,
    ) -> Activity:
        """What the caller has been let through lately; what was refused does not count."""
        return self._activity(caller, (order,), now_s, rate_window_s, duplicate_window_s)

    def activity_of(
        self, caller: Caller, orders: Sequence[Order], now_s: float, limits: Limits | None
    ) -> Activity:
        """The same for a request of several orders: the worst of each. `limits` says how long the windows are."""
        rate_window_s, duplicate_window_s = _windows(limits)
        return self._activity(caller, orders, now_s, rate_window_s, duplicate_window_s)

    def _activity(
        self,
        caller: Caller,
        orders: Sequence[Order],
        now_s: float,
        rate_window_s: float,
        duplicate_window_s: float,
    ) -> Activity:
        alike, in_use = 0, False
        who = (caller.account, caller.bot)
        for order in orders:
            alike = max(alike, self._alike.count(self._print_of(who, order), now_s, duplicate_window_s))
            if order.client_order_id is not None and (caller.account, order.client_order_id) in self._client_ids:
                in_use = True
        sent = self._sent.count(who, now_s, rate_window_s)
        return _activity_of(sent, alike, in_use)

    def _print_of(self, who: tuple[str, str], order: Order) -> str:
        """The order's fingerprint, which is asked for when it is judged and again when it is reserved."""
        known = self._printed
        if known is not None and known[0] is order and known[1] == who:
            return known[2]
        made = _fingerprint(who, order)
        self._printed = order, who, made
        return made

    def _holds(
        self, caller: Caller, orders: Sequence[Order], bases: Sequence[Decimal | None], facts: Facts
    ) -> list[Hold]:
        holds: list[Hold] = []
        groups: dict[tuple[int, Place], Hold] = {}
        for index, order in enumerate(orders):
            known = facts.of(order.symbol)
            if _takes_position(order, known):
                place = Place(order.symbol, order.bucket, order.side)
                holds.append(Hold(place, bases[index] or EVERYTHING, ZERO, {index}, closes=True))
                continue
            changing: list[Decimal] = []
            if order.replaces is not None and order.replaces.mode is AMEND:
                changing = self._changing(caller.account, order, index, orders, bases)
            quantity = _opening_quantity(order, bases[index], orders, bases, facts, changing)
            if quantity <= ZERO:
                continue
            instrument = self._book.instrument(caller.account, order.market, order.symbol)
            place = _NEW(Place, (instrument, order.bucket, order.side))
            opening = _opened(quantity, place, known, holds)
            found = [Hold(place, quantity, opening, {index})]
            if order.replaces is not None and side_unproven(order, known):
                opposite = Place(instrument, order.bucket, order.side.opposite)
                found.append(Hold(opposite, quantity, ZERO, {index}))
            bought = None if order.market is LINEAR else _coins_bought(order, known)
            if bought is not None:
                coin, rate = bought
                paid = EXACT.multiply(quantity, rate)
                found.append(Hold(Place(coin, Bucket.BOTH, BUY), paid, paid, {index}, rate=rate))
            for hold in found:
                shared = None if order.group is None else groups.get((order.group, hold.place))
                if shared is not None:
                    shared.legs.add(index)
                    shared.quantity = max(shared.quantity, hold.quantity)
                    shared.opening = max(shared.opening, hold.opening)
                    continue
                holds.append(hold)
                if order.group is not None:
                    groups[order.group, hold.place] = hold
        return holds

    def _changing(
        self, account: str, order: Order, own: int, orders: Sequence[Order], bases: Sequence[Decimal | None]
    ) -> list[Decimal]:
        """What other amendments set the same order to, which the book has not shown yet.

        A reading that is on its way may show the order as any of them left it.
        """
        target = _changes(order)
        found = [
            leg.quantity or ZERO
            for reservation in self._by_account.get(account, {}).values()
            if reservation.market is order.market
            for leg in reservation.legs
            if leg.amends and leg.fate is not GONE and leg.symbol == order.symbol and leg.changes in (None, target)
        ]
        for index, other in enumerate(orders):
            is_amendment = other.replaces is not None and other.replaces.mode is AMEND
            if index != own and is_amendment and other.symbol == order.symbol and _changes(other) in (None, target):
                found.append(bases[index] or ZERO)
        return found

    def _take(self, reservation: Reservation, leg: Leg, state: OrderState, at: datetime) -> None:
        if state.order_id is not None:
            leg.order_id = ALGO + state.order_id if _is_algo(leg, reservation.market) else state.order_id
        self._keep_name(reservation, leg, state)
        if state.kind is SAID_UNKNOWN:
            self._become(reservation, leg, UNKNOWN)
            leg.unknown_since_s = self._clock.monotonic()
            return
        if state.kind is SAID_REJECTED or (state.finished and state.executed == 0):
            self._become(reservation, leg, GONE)
            self._free(reservation, leg)
            return
        self._become(reservation, leg, ACCEPTED)
        leg.accepted_at = at
        leg.accepted_s = self._clock.monotonic()
        if state.finished and state.executed is not None:
            self._shrink(reservation, leg, state.executed)

    def _keep_name(self, reservation: Reservation, leg: Leg, state: OrderState) -> None:
        account, market = reservation.caller.account, reservation.market
        client_order_id = None if leg.amends else leg.client_order_id  # an amended order has its name already
        if leg.order_id is not None:
            self.sent.accepted(account, market, leg.symbol, leg.order_id, client_order_id)
        elif client_order_id is not None and state.kind is SAID_REJECTED:
            self.sent.refused(account, market, leg.symbol, client_order_id)

    def _drop(self, reservation: Reservation, leg: Leg, released: dict[Place, Decimal]) -> None:
        """The book holds the order now: the hold ends, what the strategy opened stays its own.

        What it held is added to `released`, for the caller to take out of the book.
        """
        self._become(reservation, leg, GONE)
        for hold in list(reservation.holds):
            hold.legs.discard(leg.index)
            if not hold.legs:
                reservation.holds.remove(hold)
                if hold.closes:
                    self._shift(reservation, hold, hold.quantity.copy_negate(), ZERO)
                else:
                    released[hold.place] = EXACT.add(released.get(hold.place, ZERO), hold.quantity)

    def _free(self, reservation: Reservation, leg: Leg) -> None:
        """The order opened nothing and never will: the hold and what was attributed end."""
        for hold in list(reservation.holds):
            hold.legs.discard(leg.index)
            if not hold.legs:
                reservation.holds.remove(hold)
                self._shift(reservation, hold, hold.quantity.copy_negate(), hold.opening.copy_negate())

    def _shrink(self, reservation: Reservation, leg: Leg, executed: Decimal) -> None:
        """A finished order can add no more than it executed."""
        for hold in reservation.holds:
            if hold.legs != {leg.index} or hold.closes:
                continue
            left = EXACT.multiply(executed, hold.rate)
            if left < hold.quantity:
                opening = min(hold.opening, left)
                less, less_opening = EXACT.subtract(left, hold.quantity), EXACT.subtract(opening, hold.opening)
                self._shift(reservation, hold, less, less_opening)
                hold.quantity, hold.opening = left, opening

    def _shift(self, reservation: Reservation, hold: Hold, quantity: Decimal, opening: Decimal) -> None:
        caller = reservation.caller
        instrument, bucket, side = hold.place
        if hold.closes:
            size, taken = quantity.copy_abs(), quantity > ZERO
            self._book.shift_closing(caller.account, reservation.market, instrument, side, size, taken=taken)
            return
        self._book.shift_reserved(
            caller.account, reservation.market, instrument, bucket, side, quantity, caller.strategy, opening
        )

    def _become(self, reservation: Reservation, leg: Leg, fate: Fate) -> None:
        was_undecided = leg.fate is IN_FLIGHT or leg.fate is UNKNOWN
        if was_undecided and (fate is ACCEPTED or fate is GONE):
            self._name(reservation.caller.account, leg, -1)
        if fate is GONE and leg.fate is not GONE:
            self._rest(reservation, leg, -1)
        leg.fate = fate

    def resting(self, account: str, market: Market, symbol: str = "") -> int:
        """How many orders on their way, or taken and not yet seen, come to rest; of all symbols if none is named."""
        return self._resting.get((account, market, symbol), 0)

    def _rest(self, reservation: Reservation, leg: Leg, step: int) -> None:
        if not leg.rests:
            return
        for symbol in (leg.symbol, ""):
            key = (reservation.caller.account, reservation.market, symbol)
            count = self._resting.get(key, 0) + step
            if count:
                self._resting[key] = count
            else:
                del self._resting[key]

    def _name(self, account: str, leg: Leg, step: int) -> None:
        if leg.client_order_id is None:
            return
        key = (account, leg.client_order_id)
        count = self._client_ids.get(key, 0) + step
        if count > 0:
            self._client_ids[key] = count
        else:
            self._client_ids.pop(key, None)

    def _end(self, reservation: Reservation) -> None:
        if reservation.ended:
            return
        for leg in reservation.legs:
            if leg.fate is not GONE:
                return
        reservation.ended = True
        self._open.pop(reservation.decision_id, None)
        account = self._by_account[reservation.caller.account]
        account.pop(reservation.decision_id, None)
        if not account:
            del self._by_account[reservation.caller.account]


def _is_nameless(leg: Leg) -> bool:
    """It may be at the venue under an id that nobody knows; what changes an order that was there makes none."""
    if leg.order_id is not None or leg.client_order_id is not None or leg.amends:
        return False
    return leg.fate is IN_FLIGHT or leg.fate is UNKNOWN


def names_of(orders: Iterable[Working]) -> frozenset[Name]:
    """By what names a reading lists its orders, for `Reservations.snapshot_applied`."""
    names: list[Name] = []
    for symbol, order, _ in orders:
        names.append((symbol, NameKind.ORDER_ID, order.order_id))
        if order.client_order_id is not None:
            is_algo = order.order_id.startswith(ALGO)
            kind = NameKind.ALGO_CLIENT_ID if is_algo else NameKind.CLIENT_ID
            names.append((symbol, kind, order.client_order_id))
    return frozenset(names)


def _is_seen(leg: Leg, market: Market, seen: Container[Name], *, began: bool) -> bool:
    """Whether a reading lists the order; `began`: the reading was asked for after the order was reserved.

    Of an order whose id is known nothing else counts. A client id may be used again, so one that
    was listed before the order began is that of an earlier order.
    """
    # The order that an amendment changes was listed before it as well: seeing it proves nothing.
    if leg.replaces:
        return False
    if leg.order_id is not None:
        return (leg.symbol, NameKind.ORDER_ID, leg.order_id) in seen
    if leg.client_order_id is None or not began:
        return False
    kind = NameKind.ALGO_CLIENT_ID if _is_algo(leg, market) else NameKind.CLIENT_ID
    return (leg.symbol, kind, leg.client_order_id) in seen


def _is_algo(leg: Leg, market: Market) -> bool:
    """Whether the order counts among the conditional orders of contracts."""
    return leg.conditional and market is Market.LINEAR


def _leg_of(index: int, row: Mapping[str, Any], quantity: str | None, unknown_since_s: float) -> Leg:
    """An order of a record, its fate unknown."""
    replaces = row.get("replaces")
    return Leg(
        index=index,
        symbol=row["symbol"],
        client_order_id=row.get("client_order_id"),
        replaces=replaces is not None,
        amends=replaces is not None and replaces["mode"] == ReplaceMode.AMEND,
        conditional=row["type"] not in (OrderType.LIMIT, OrderType.MARKET),
        quantity=_quantity_of(row, quantity),
        fate=Fate.UNKNOWN,
        changes=None if replaces is None else replaces.get("order_id"),
        unknown_since_s=unknown_since_s,
        rests=row["type"] != OrderType.MARKET
        and (replaces is None or replaces["mode"] == ReplaceMode.ALLOW_FAILURE),
        side=Side(row["side"]) if "side" in row else None,
    )


def _quantity_of(row: Mapping[str, Any], decided: str | None) -> Decimal | None:
    """What an order of a record trades in base units; None where it states something else."""
    stated = row.get("quantity") if decided is None else decided
    return None if stated is None or "quote_quantity" in row else Decimal(stated)


def _hold_of(row: Sequence[Any]) -> Hold:
    """A hold as `Reservation.recorded` wrote it."""
    instrument, bucket, side, quantity, opening, legs, *closes = row
    place = Place(instrument, Bucket(bucket), Side(side))
    return Hold(place, Decimal(quantity), Decimal(opening), set(legs), bool(closes))


class _Windows:
    """When things happened, per key; bounded in keys and in times per key."""

    def __init__(self, keys_max: int) -> None:
        self._times: OrderedDict[Hashable, deque[float]] = OrderedDict()  # what was added to last comes last
        self._keys_max = keys_max
        self._longest_s = 0.0

    def add(self, key: Hashable, now_s: float) -> None:
        times = self._times.get(key)
        if times is None:
            if len(self._times) >= self._keys_max:
                self._times.popitem(last=False)
            times = self._times[key] = deque(maxlen=TIMES_MAX)
        else:
            self._times.move_to_end(key)
        times.append(now_s)

    def count(self, key: Hashable, now_s: float, window_s: float) -> int:
        times = self._times.get(key)
        if times is None:
            return 0
        # What is older than the longest window anybody asked for is never asked for again.
        self._longest_s = max(self._longest_s, window_s)
        while times and now_s - times[0] >= self._longest_s:
            times.popleft()
        if window_s >= self._longest_s:
            return len(times)
        return sum(1 for instant in times if now_s - instant < window_s)


def _windows(limits: Limits | None) -> tuple[float, float]:
    if limits is None:
        return 10.0, 2.0
    return _seconds(limits.order_rate_window_s), _seconds(limits.duplicate_window_s)


@lru_cache(maxsize=256)
def _seconds(window_s: Decimal) -> float:
    """A window of the policy as a clock counts; they are few, and asked for with every order."""
    return float(window_s)


def _fingerprint(who: tuple[str, str], order: Order) -> str:
    """What an order asks, as one text: numbers that are equal are spelt alike, however the bot wrote them.

    A text remembers its hash, which for a tuple with numbers in it takes longer than to look it up.
    """
    return "\n".join(
        [
            *who, order.market, order.symbol, order.side, order.bucket, order.type,
            _spelt(order.quantity), _spelt(order.quote_quantity), _spelt(order.price), _spelt(order.trigger_price),
            "closes" if order.close_position else "", "reduces" if order.reduce_only else "",
        ]
    )  # fmt: skip


def _spelt(number: Decimal | None) -> str:
    return "" if number is None else str(EXACT.normalize(number))


def _leg(index: int, order: Order, quantity: Decimal | None, fate: Fate) -> Leg:
    replaces = order.replaces is not None
    return Leg(
        index=index,
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        replaces=replaces,
        amends=order.replaces is not None and order.replaces.mode is AMEND,
        conditional=order.type not in UNTRIGGERED,
        quantity=quantity,
        fate=fate,
        changes=None if order.replaces is None else order.replaces.order_id,
        rests=rests(order),
        side=order.side,
    )


def _changes(order: Order) -> str | None:
    """The id of the order that this one amends or replaces, where it was named by that."""
    return None if order.replaces is None else order.replaces.order_id


@lru_cache(maxsize=1024)
def _activity_of(sent: int, alike: int, in_use: bool) -> Activity:  # noqa: FBT001 - by position, so that the cache is quick
    """The same few figures, again and again."""
    return Activity(orders_in_window=sent, identical_in_window=alike, client_order_id_in_use=in_use)


def _base_quantity(order: Order, asked: Decimal | None, facts: Facts) -> Decimal | None:
    """What an order trades in base units, rounded up; None for one that closes whatever is there."""
    if order.quote_quantity is not None:
        amount = order.quote_quantity if asked is None else asked
        price = facts.of(order.symbol).price
        if price is None:
            raise FactMissing("price")
        near = price.value.ask if order.side is BUY else price.value.bid
        base = EXACT.divide(amount, near or price.value.mark)
        return base.quantize(BASE_STEP, rounding=ROUND_CEILING, context=EXACT)
    if order.close_position:
        return None
    return order.quantity if asked is None else asked


def _closes(order: Order) -> bool:
    return only_closes(
        order.side, order.bucket, reduce_only=order.reduce_only, close_position=order.close_position
    )


def _opening_quantity(
    order: Order,
    quantity: Decimal | None,
    orders: Sequence[Order],
    bases: Sequence[Decimal | None],
    facts: Facts,
    changing: Sequence[Decimal] = (),
) -> Decimal:
    """The part to reserve of one order of a request; `bases` is what each of its orders trades in base units.

    `changing` is what other amendments, not yet seen in the book, set the same order to.
    """
    if quantity is None or _closes(order):
        return ZERO
    if order.replaces is not None and order.replaces.mode is AMEND:
        counted = _still_counted(order, facts)
        # The next reading may show it as small as any of them made it, and before this one has grown it.
        if changing and counted.is_finite():
            counted = min(counted, *changing)
        return EXACT.subtract(quantity, counted)
    if order.pending_on is not None:
        parent = orders[order.pending_on]
        same_place = (parent.symbol, parent.bucket) == (order.symbol, order.bucket)
        if same_place and parent.side is not order.side and not _buys_coins(order, facts.of(order.symbol)):
            # It comes to life when its parent has filled and takes back what that bought or sold.
            return EXACT.subtract(quantity, bases[order.pending_on] or ZERO)
    return quantity


def _buys_coins(order: Order, known: SymbolFacts) -> bool:
    """Coins are bought, by a purchase or by a sale for other coins than dollars.

    One that waits for a sale buys back what that sold. What was sold may be seen first, and then nothing else
    stands for what will be bought.
    """
    if order.market is not Market.SPOT or order.side is BUY:
        return order.market is Market.SPOT
    return known.filters is None or known.filters.value.quote_asset not in DOLLAR_COINS


def _coins_bought(order: Order, known: SymbolFacts) -> tuple[str, Decimal] | None:
    """The coin that a sale for other coins than dollars buys, and how many of it for one sold, at most."""
    if order.market is not Market.SPOT or order.side is BUY or known.filters is None:
        return None
    coin = known.filters.value.quote_asset
    if coin in DOLLAR_COINS:
        return None
    price = None if known.price is None else known.price.value
    quoted = () if price is None else (price.mark, price.bid)
    rate = max((one for one in (order.price, order.trigger_price, *quoted) if one is not None), default=ZERO)
    if rate <= ZERO:
        raise FactMissing("price")
    return coin, rate


def _takes_position(order: Order, known: SymbolFacts) -> bool:
    """The venue keeps the order from opening, and what it closes another order cannot (one-way mode only)."""
    if order.market is not LINEAR or order.bucket is not BOTH:
        return False
    if order.reduce_only or order.close_position:
        return True
    amended = None if order.replaces is None else amended_order(order, known)
    return amended is not None and amended.reduces_by_venue


def _still_counted(order: Order, facts: Facts) -> Decimal:
    """What of an amended order the book counts as working already."""
    known = amended_order(order, facts.of(order.symbol))
    if known is None or known.side is not order.side or known.bucket is not order.bucket:
        return ZERO
    # An amended order keeps its reduce-only mark: the venue still keeps it from opening.
    return Decimal("Infinity") if known.reduces_by_venue else known.remaining


def _opened(quantity: Decimal, place: Place, facts: SymbolFacts, earlier: Sequence[Hold]) -> Decimal:
    """The part of a quantity that goes beyond closing what is held, once what waits on its side has filled.

    `earlier` is held for the orders before it in the same request.
    """
    if facts.position is None:
        return quantity
    signed = facts.position.value.signed(place.bucket)
    if not signed:
        return quantity
    against = -signed if place.side is BUY else signed
    if against <= ZERO:
        return quantity
    closable = EXACT.subtract(against, facts.waiting(place.bucket).of(place.side))
    for hold in earlier:
        if hold.place == place:
            closable = EXACT.subtract(closable, hold.quantity)
    return quantity if closable <= ZERO else EXACT.subtract(quantity, min(quantity, closable))
