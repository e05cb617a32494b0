"""Feeds: what keeps the book up to date. What is not listed here does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from proxy.book import AccountPlace, Book
from proxy.clock import Clock
from proxy.exchanges.base import Credentials
from proxy.feeds.account import FuturesAccountFeed, SpotAccountFeed, StaticAccount
from proxy.feeds.day_start import DayStart
from proxy.feeds.lookup import UnknownLookup
from proxy.feeds.market import MarketFeed
from proxy.feeds.polling import Cycle, Feed, Health
from proxy.feeds.reading import Malformed
from proxy.feeds.risk import GlobalRiskFeed
from proxy.feeds.venue import Allowance, FeedFailed, Venue, open_session
from proxy.reservations import Reservations
from proxy.tasks import Tasks
from rules import Market

FEEDS: Mapping[str, type] = {
    "account.futures": FuturesAccountFeed,
    "account.spot": SpotAccountFeed,
    "account.static": StaticAccount,
    "market": MarketFeed,
    "risk.global": GlobalRiskFeed,
    "lookup": UnknownLookup,
}

FAMILY = {Market.SPOT: "/api", Market.LINEAR: "/fapi"}
WEIGHT_MAX = {Market.SPOT: 6000, Market.LINEAR: 2400}  # request weight per minute and address


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSource:
    """An account, and the key to read it with; without one its place states an equity."""

    place: AccountPlace
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """How often things are read, in seconds. One futures account then uses two thirds of an address's weight."""

    account_s: float = 2.0
    snapshot_s: float = 5.0
    config_s: float = 60.0
    market_s: float = 2.0
    risk_s: float = 1.0


class Feeds:
    """All feeds of a process, started and closed as one."""

    def __init__(
        self, feeds: Sequence[Feed], pokes: Mapping[tuple[str, Market], FuturesAccountFeed | SpotAccountFeed]
    ) -> None:
        self._feeds = tuple(feeds)
        self._pokes = pokes

    def start(self, tasks: Tasks) -> None:
        """Begin to poll."""
        for feed in self._feeds:
            feed.start(tasks)

    async def close(self) -> None:
        """Stop polling."""
        for feed in self._feeds:
            await feed.close()

    async def read_once(self) -> bool:
        """Every reading of every feed once, in order: for start-up and tests. Whether all worked."""
        worked = [await feed.read_once() for feed in self._feeds]
        return all(worked)

    def poke(self, account: str, market: Market, *, config: bool = False) -> None:
        """An order of this account was answered (`config`: leverage or position mode was): read it early."""
        feed = self._pokes.get((account, market))
        if feed is not None:
            feed.poke(config=config)

    def health(self) -> tuple[Health, ...]:
        """How every cycle of every feed does."""
        return tuple(health for feed in self._feeds for health in feed.health())


def allowances_of(sources: Iterable[AccountSource], clock: Clock) -> Mapping[tuple[str, Market], Allowance]:
    """One allowance per exchange and market: weight and pauses are the address's, whichever account asks."""
    markets = {(source.place.exchange, market) for source in sources for market in source.place.markets}
    return {(exchange, market): Allowance(clock, weight_max=WEIGHT_MAX[market]) for exchange, market in markets}


def assemble(
    accounts: Iterable[AccountSource],
    hosts: Mapping[str, str],
    *,
    book: Book,
    reservations: Reservations,
    day_start: DayStart,
    session: aiohttp.ClientSession,
    clock: Clock,
    cadence: Cadence | None = None,
    risk: Feed | None = None,
    allowances: Mapping[tuple[str, Market], Allowance] | None = None,
) -> Feeds:
    """The feeds that these accounts need. `hosts` maps family (`/fapi`) to origin.

    `allowances` are handed in by whoever asks the same hosts for something else as well.
    """
    times = Cadence() if cadence is None else cadence
    feeds: list[Feed] = []
    pokes: dict[tuple[str, Market], FuturesAccountFeed | SpotAccountFeed] = {}
    venues: dict[tuple[str, Market], Venue] = {}
    sources = tuple(accounts)
    markets = {(source.place.exchange, market) for source in sources for market in source.place.markets}
    if allowances is None:
        allowances = allowances_of(sources, clock)
    for source in sources:
        place = source.place
        if source.credentials is None:
            feeds.append(StaticAccount(place))
            continue
        for market in sorted(place.markets):
            origin = hosts[FAMILY[market]]
            venue = Venue(
                session, origin, clock, credentials=source.credentials, allowance=allowances[place.exchange, market]
            )
            venues[place.name, market] = venue
            feed: FuturesAccountFeed | SpotAccountFeed
            if market is Market.SPOT:
                feed = SpotAccountFeed(
                    place.name, venue, book, reservations, day_start, clock,
                    exchange=place.exchange, snapshot_s=times.snapshot_s,
                )  # fmt: skip
            else:
                feed = FuturesAccountFeed(
                    place.name, venue, book, reservations, day_start, clock,
                    account_s=times.account_s, snapshot_s=times.snapshot_s, config_s=times.config_s,
                )  # fmt: skip
            feeds.append(feed)
            pokes[place.name, market] = feed
    for exchange, market in sorted(markets):
        allowance = allowances[exchange, market]
        venue = Venue(session, hosts[FAMILY[market]], clock, allowance=allowance, timeout_s=10.0)
        feeds.insert(0, MarketFeed(market, venue, book, clock, exchange=exchange, prices_s=times.market_s))
    feeds.append(UnknownLookup(reservations, venues, clock))
    if risk is not None:
        feeds.append(risk)
    return Feeds(feeds, pokes)


__all__ = [
    "AccountSource", "Allowance", "Cadence", "Cycle", "DayStart", "FEEDS", "Feed", "FeedFailed", "Feeds",
    "FuturesAccountFeed", "GlobalRiskFeed", "Health", "Malformed", "MarketFeed", "SpotAccountFeed",
    "StaticAccount", "UnknownLookup", "Venue", "allowances_of", "assemble", "open_session",
]
