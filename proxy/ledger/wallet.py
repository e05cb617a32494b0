"""One wallet: readings put in their place between the transfers that moved it.

A reading says what is there, a history says what came and went, and they are asked for one after the other. A
reading counts for good (*placed*) only when it is certain which transfers are in it: when nothing but prices moved
since the last placed one, or when the history was read later than the reading, and none of its transfers happened
while the reading was on its way. Until then it is provisional: what came in without explanation is taken for a
deposit, what went out for a loss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from proxy.ledger.readings import PLACES, ZERO, Flow, Sample

PENDING_MAX = 240
FLOWS_KEPT = timedelta(days=8)


class Placed(NamedTuple):
    """A reading, and the net transfers in up to it."""

    sample: Sample
    total: Decimal


class Wallet:
    """Readings and transfers of one wallet of one account."""

    def __init__(self, skew: timedelta) -> None:
        self.skew = skew  # how far the venue's own clocks and ours may be apart
        self.begins: datetime | None = None  # transfers up to here were before our time
        self.placed: Sample | None = None
        self.anchor: Sample | None = None  # the first of the readings that show the placed one's cash
        self.total = ZERO  # net transfers in, from the beginning up to the placed reading
        self.folded = ZERO  # of which are too old to be kept one by one
        self.flows: dict[str, Flow] = {}
        self.complete_to: datetime | None = None  # the history holds everything up to here
        self.pending: deque[Sample] = deque(maxlen=PENDING_MAX)
        # What was placed and waits until the account's other wallets have been read as late, and what is past it.
        self.ready: deque[Placed] = deque(maxlen=PENDING_MAX)
        self.current: Placed | None = None

    @property
    def newest(self) -> Sample | None:
        """The last reading, placed or not."""
        return self.pending[-1] if self.pending else self.placed

    @property
    def waits_since(self) -> datetime | None:
        """When (by our own clock) the oldest reading was made that no history has explained yet."""
        return self.pending[0].as_of if self.pending else None

    def take(self, sample: Sample) -> None:
        """Keep a reading until it can be placed. The first ever is where everything begins."""
        newest = self.newest
        if newest is not None and sample.sent < newest.sent:
            return
        if self.begins is None:
            self.begins, self.placed, self.anchor = sample.received, sample, sample
            self.ready.append(Placed(sample, self.total))
            return
        self.pending.append(sample)

    def joins(self, amount: Decimal) -> None:
        """Count an amount as paid in before everything else: a wallet that comes to, or goes from, an account."""
        self.folded += amount
        self.total += amount

    def learn(self, flows: Iterable[Flow], complete_to: datetime) -> Decimal:
        """Take the history up to an instant; returns what of it had already been passed over, which is a surprise."""
        late = ZERO
        for flow in flows:
            if flow.key in self.flows or self.begins is None or flow.at <= self.begins:
                continue
            self.flows[flow.key] = flow
            if self.anchor is not None and self._is_in(flow, self.anchor):
                late += flow.amount
        self.total += late
        if late and self.anchor is not None:
            self.ready = deque((self._corrected(placed, late) for placed in self.ready), maxlen=PENDING_MAX)
            self.current = None if self.current is None else self._corrected(self.current, late)
        self.complete_to = complete_to if self.complete_to is None else max(self.complete_to, complete_to)
        for flow in [flow for flow in self.flows.values() if flow.until < self.complete_to - FLOWS_KEPT]:
            self.folded += flow.amount
            del self.flows[flow.key]
        return late

    def place(self) -> bool:
        """Place the next reading if it can be; whether it was. One that never can be is passed over."""
        while self.pending:
            sample = self.pending[0]
            moved = self._around(sample)
            same = self.placed is not None and sample.cash == self.placed.cash
            if not (same and not moved):
                if self.complete_to is None or self.complete_to < sample.received:
                    return False
                unsure = any(not self._is_in(flow, sample) for flow in moved)
                # Transferred and yet the same: the venue's accounts lag behind its history.
                if unsure or (same and sum((flow.amount for flow in moved), ZERO) != ZERO):
                    self.pending.popleft()
                    continue
                self.anchor, self.total = sample, self._total_at(sample)
            self.pending.popleft()
            self.placed = sample
            self.ready.append(Placed(sample, self.total))
            return True
        return False

    def provisional(self) -> tuple[Sample, Decimal, Decimal] | None:
        """The newest reading, the transfers surely in it, and what in it came from nobody knows where."""
        newest, placed = self.newest, self.placed
        if newest is None or placed is None:
            return None
        if newest is placed:
            return newest, self.total, ZERO
        total = self._total_at(newest)
        coins = placed.cash.keys() | newest.cash.keys()
        prices = {**placed.prices, **newest.prices}
        grown = sum(
            ((newest.cash.get(coin, ZERO) - placed.cash.get(coin, ZERO)) * prices[coin] for coin in coins), ZERO
        ).quantize(PLACES)
        return newest, total, max(ZERO, grown - (total - self.total))

    def since(self, instant: datetime) -> Decimal:
        """Net transfers in after an instant, as far as they are in the placed reading."""
        anchor = self.anchor
        if anchor is None:
            return ZERO
        return sum(
            (flow.amount for flow in self.flows.values() if flow.at >= instant and self._is_in(flow, anchor)), ZERO
        )

    def _corrected(self, placed: Placed, late: Decimal) -> Placed:
        assert self.anchor is not None
        return placed._replace(total=placed.total + late) if placed.sample.sent >= self.anchor.sent else placed

    def _around(self, sample: Sample) -> list[Flow]:
        """Transfers that the placed reading does not hold and this one may hold."""
        anchor = self.anchor
        return [
            flow
            for flow in self.flows.values()
            if flow.at - self.skew <= sample.received and (anchor is None or not self._is_in(flow, anchor))
        ]

    def _total_at(self, sample: Sample) -> Decimal:
        return self.folded + sum((flow.amount for flow in self.flows.values() if self._is_in(flow, sample)), ZERO)

    def _is_in(self, flow: Flow, sample: Sample) -> bool:
        """Whether a transfer was surely over when a reading was asked for."""
        return flow.until + self.skew < sample.sent
