"""One account as an action sees it: where it is read, and the lane its own requests leave by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from proxy.actions.lane import ACTOR, OwnLane
from proxy.actions.reading import Picture, read_futures, read_positions, read_spot
from proxy.audit import Audit
from proxy.book import Book
from proxy.clock import Clock
from proxy.ess import EssLatch
from proxy.exchanges.base import Exchange
from proxy.feeds import Feeds
from proxy.feeds.venue import Venue
from proxy.gather import Gather
from proxy.identity import Account
from proxy.pipeline import Lane
from proxy.reservations import Fate, Outcome, Reservations
from rules import Filters, Market, SymbolFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What an action needs of one account."""

    account: Account
    venues: Mapping[Market, Venue]
    lane: OwnLane
    book: Book
    reservations: Reservations
    clock: Clock

    @property
    def markets(self) -> tuple[Market, ...]:
        """The markets that it trades on."""
        return tuple(sorted(self.venues))

    async def read(self, market: Market) -> Picture:
        """Everything, asked for now. Raises FeedFailed, Malformed."""
        if market is Market.SPOT:
            return await read_spot(self.venues[market], self.filters(market))
        return await read_futures(self.venues[market])

    async def read_held(self, market: Market) -> Picture:
        """What is held, asked for now."""
        if market is Market.SPOT:
            return await self.read(market)
        return await read_positions(self.venues[market])

    def filters(self, market: Market) -> Mapping[str, Filters]:
        """What the venue accepts, by symbol."""
        return self.book.filters(self.account.exchange, market)

    def known(self, market: Market, symbol: str, now: datetime) -> SymbolFacts:
        """Price and filters of a symbol, as the book has them."""
        return self.book.symbol(self.account.name, market, symbol, now)

    def of_bots(self) -> list[str]:
        """Orders of bots that may still be on their way to the venue: until their fate is known nothing is over."""
        return [
            one.decision_id
            for one in self.reservations.of_account(self.account.name)
            if one.caller.bot != ACTOR and one.fate in (Fate.IN_FLIGHT, Fate.UNKNOWN)
        ]

    def resolve(self, decision_id: str, *, arrived: bool) -> None:
        """An own order of unknown fate was found out about."""
        outcome = Outcome.ACCEPTED if arrived else Outcome.FAILED
        self.reservations.resolve(decision_id, 0, outcome, self.clock.now())


def desks_of(
    accounts: Mapping[str, Account],
    markets: Mapping[str, Collection[Market]],
    *,
    feeds: Feeds,
    book: Book,
    exchange: Exchange,
    gather: Gather,
    reservations: Reservations,
    audit: Audit,
    latch: EssLatch,
    upstream: Lane,
    clock: Clock,
) -> dict[str, Desk]:
    """A desk for every account that the proxy has credentials for and reads."""
    found: dict[str, Desk] = {}
    for name, account in accounts.items():
        asked = {market: feeds.venue(name, market) for market in markets.get(name, ())}
        venues = {market: venue for market, venue in asked.items() if venue is not None}
        if account.credentials is None or not venues:
            continue
        lane = OwnLane(
            account, exchange=exchange, venues=venues, gather=gather, reservations=reservations, audit=audit,
            latch=latch, upstream=upstream, clock=clock,
        )  # fmt: skip
        found[name] = Desk(
            account=account, venues=venues, lane=lane, book=book, reservations=reservations, clock=clock
        )
    return found
