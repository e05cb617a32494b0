"""Feeds: what keeps the book up to date. What is not listed here does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp

from proxy.book import AccountPlace, Book
from proxy.clock import Clock
from proxy.exchanges.base import Credentials
from proxy.feeds.account import FuturesAccountFeed, SpotAccountFeed, StaticAccount
from proxy.feeds.bypass import Bypass, BypassWatch, OnBypass, Recorded
from proxy.feeds.income import FuturesWalletFeed, SpotWalletFeed, WalletFeed
from proxy.feeds.lookup import UnknownLookup
from proxy.feeds.market import MarketFeed
from proxy.feeds.polling import Cycle, Feed, Health
from proxy.feeds.reading import Malformed
from proxy.feeds.risk import GlobalRiskFeed
from proxy.feeds.server_time import ServerTime
from proxy.feeds.stream import Stream
from proxy.feeds.stream_account import Live
from proxy.feeds.stream_binance import FuturesStream, SpotStream
from proxy.feeds.stream_prices import PriceStream
from proxy.feeds.venue import Allowance, FeedFailed, Venue, open_session
from proxy.ledger import Ledger, VenueTime
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
    "losses.futures": FuturesWalletFeed,
    "losses.spot": SpotWalletFeed,
}

FAMILY = {Market.SPOT: "/api", Market.LINEAR: "/fapi"}
WALLET_FAMILY = "/sapi"  # deposits, withdrawals and transfers, with a weight of its own
WALLET_WEIGHT_MAX = 12_000
WEIGHT_MAX = {Market.SPOT: 6000, Market.LINEAR: 2400}  # request weight per minute and address


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSource:
    """An account, and the key to read it with; without one its place states an equity."""

    place: AccountPlace
    credentials: Credentials | None = None
    wallet_history: bool = True  # a test network has none: whatever comes or goes is then won or lost
    stream: bool = True  # listen to the venue's user data stream, where `assemble` knows its origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """How often things are read, in seconds. Without streams one futures account then uses two thirds of an address's
    weight, with them a quarter."""

    account_s: float = 2.0
    snapshot_s: float = 5.0
    config_s: float = 60.0
    market_s: float = 2.0
    risk_s: float = 1.0
    history_min_s: float = 5.0  # between two readings of a wallet's history
    history_lag_s: float = 3.0  # how much later than a balance a history may know
    calm_s: float = 30.0  # orders and positions, while a stream tells them
    poke_min_s: float = 2.0  # between two readings that something asked for
    time_s: float = 60.0
    ping_s: float = 2.0
    pong_s: float = 5.0
    away_max_s: float = 30.0  # between two tries to connect
    lag_ms: int = 250

    @property
    def beats(self) -> dict[str, float]:
        """How a stream is kept."""
        return {"ping_s": self.ping_s, "pong_s": self.pong_s, "backoff_max_s": self.away_max_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOrigins:
    """Where the venue pushes, per API; a connection lives long, so they have a session of their own."""

    futures: str | None = None
    spot: str | None = None  # prices
    spot_account: str | None = None  # the WebSocket API
    session: aiohttp.ClientSession | None = None

    def account_of(self, market: Market) -> str | None:
        """Where an account's events are told."""
        return self.spot_account if market is Market.SPOT else self.futures

    def prices_of(self, market: Market) -> str | None:
        """Where prices are told."""
        return self.spot if market is Market.SPOT else self.futures


class Feeds:
    """All feeds of a process, started and closed as one."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        pokes: Mapping[tuple[str, Market], FuturesAccountFeed | SpotAccountFeed],
        watch: BypassWatch | None = None,
        venues: Mapping[tuple[str, Market], Venue] | None = None,
    ) -> None:
        self._feeds = tuple(feeds)
        self._venues = {} if venues is None else venues
        self._pokes = pokes
        self._watch = watch

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

    def bypass_count(self, account: str) -> int:
        """How many orders of an account were found that did not come through here."""
        return 0 if self._watch is None else self._watch.counts.get(account, 0)

    def live(self, account: str, market: Market) -> Live | None:
        """An account as its readings and its stream show it; None for one that is not read."""
        feed = self._pokes.get((account, market))
        return None if feed is None else feed.live

    def venue(self, account: str, market: Market) -> Venue | None:
        """Where an account is asked, for whoever needs a reading of its own; None for one that is not read."""
        return self._venues.get((account, market))

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
    day_start: Ledger,
    session: aiohttp.ClientSession,
    clock: Clock,
    cadence: Cadence | None = None,
    risk: Feed | None = None,
    allowances: Mapping[tuple[str, Market], Allowance] | None = None,
    streams: StreamOrigins | None = None,
    on_bypass: OnBypass | None = None,
    recorded: Recorded | None = None,
) -> Feeds:
    """The feeds that these accounts need. `hosts` maps family (`/fapi`) to origin.

    `allowances` are handed in by whoever asks the same hosts for something else as well. `streams` says
    where the venue pushes; without it everything is read. `on_bypass` is told of orders that nobody here sent,
    `recorded` which of them an earlier process did.
    """
    times = Cadence() if cadence is None else cadence
    pokes: dict[tuple[str, Market], FuturesAccountFeed | SpotAccountFeed] = {}
    venues: dict[tuple[str, Market], Venue] = {}
    sources = tuple(accounts)
    if allowances is None:
        allowances = allowances_of(sources, clock)
    if streams is None:
        streams = StreamOrigins()
    watch = BypassWatch(reservations, clock, on_bypass=on_bypass, recorded=recorded)
    markets = _market_feeds(hosts, book, session, clock, times, allowances, streams)
    feeds: list[Feed] = [*markets.values()]
    for source in sources:
        place = source.place
        if source.credentials is None:
            feeds.append(StaticAccount(place))
            continue
        for market in sorted(place.markets):
            shared = markets[place.exchange, market]
            venue = venues[place.name, market] = Venue(
                session, hosts[FAMILY[market]], clock, credentials=source.credentials,
                allowance=allowances[place.exchange, market], server_time=shared.server_time,
            )  # fmt: skip
            live = Live(
                place.name, market, book, reservations, clock, shared.server_time, watch=watch, lag_ms=times.lag_ms,
                unread_max_s=3 * times.calm_s + 10,
            )  # fmt: skip
            feed = _account_feed(source, market, venue, book, live, day_start, clock, times, streams, session)
            feeds.append(feed)
            pokes[place.name, market] = feed
        feeds += _wallet_feeds(source, venues, hosts, session, book, day_start, clock, times)
    feeds.append(UnknownLookup(reservations, venues, clock))
    if risk is not None:
        feeds.append(risk)
    return Feeds(feeds, pokes, watch, venues)


def _market_feeds(
    hosts: Mapping[str, str],
    book: Book,
    session: aiohttp.ClientSession,
    clock: Clock,
    times: Cadence,
    allowances: Mapping[tuple[str, Market], Allowance],
    streams: StreamOrigins,
) -> dict[tuple[str, Market], MarketFeed]:
    """What every account of a market shares: its list, prices and time."""
    markets: dict[tuple[str, Market], MarketFeed] = {}
    for exchange, market in sorted(allowances):
        allowance = allowances[exchange, market]
        venue = Venue(session, hosts[FAMILY[market]], clock, allowance=allowance, timeout_s=10.0)
        markets[exchange, market] = MarketFeed(
            market, venue, book, clock, exchange=exchange, prices_s=times.market_s, time_s=times.time_s,
        )  # fmt: skip
        told_at = streams.prices_of(market)
        if told_at is not None:
            markets[exchange, market].listen(
                PriceStream(
                    f"market.{exchange}.{market.value}.stream", market, told_at, venue.server_time,
                    streams.session or session, clock, markets[exchange, market].take_marks,
                    markets[exchange, market].marks_lost, **times.beats,
                )
            )  # fmt: skip
    return markets


def _wallet_feeds(
    source: AccountSource,
    venues: Mapping[tuple[str, Market], Venue],
    hosts: Mapping[str, str],
    session: aiohttp.ClientSession,
    book: Book,
    ledger: Ledger,
    clock: Clock,
    times: Cadence,
) -> list[WalletFeed]:
    """What losses are made of: every wallet of an account, and the history of each."""
    place = source.place
    venue_time = VenueTime(clock)
    ledger.add(place.name, place.markets, venue_time)
    found: list[WalletFeed] = []
    for market in sorted(place.markets):
        venue = venues[place.name, market]
        shared = place.name, venue, book, ledger, venue_time, clock
        lag = timedelta(seconds=times.history_lag_s)
        asked: dict[str, Any] = {"exchange": place.exchange, "history_min_s": times.history_min_s, "lag": lag}
        if market is Market.LINEAR:
            found.append(FuturesWalletFeed(*shared, every_s=times.account_s, **asked))
            continue
        wallets = None if not source.wallet_history else Venue(
            session, hosts.get(WALLET_FAMILY, hosts[FAMILY[market]]), clock, credentials=source.credentials,
            allowance=Allowance(clock, weight_max=WALLET_WEIGHT_MAX), server_time=venue.server_time,
        )  # fmt: skip
        found.append(SpotWalletFeed(*shared, wallets=wallets, every_s=times.snapshot_s, **asked))
    return found


def _account_feed(
    source: AccountSource,
    market: Market,
    venue: Venue,
    book: Book,
    live: Live,
    day_start: Ledger,
    clock: Clock,
    times: Cadence,
    streams: StreamOrigins,
    session: aiohttp.ClientSession,
) -> FuturesAccountFeed | SpotAccountFeed:
    name, exchange = source.place.name, source.place.exchange
    origin = streams.account_of(market) if source.stream else None
    session = streams.session or session
    if market is Market.SPOT:
        told = None if origin is None else SpotStream(
            f"account.{name}.spot.stream", live, venue, venue.server_time, origin, session, clock,
            book=book, exchange=exchange, **times.beats,
        )  # fmt: skip
        return SpotAccountFeed(
            venue, book, live, day_start, clock, exchange=exchange, snapshot_s=times.snapshot_s,
            calm_s=times.calm_s, poke_min_s=times.poke_min_s, stream=told,
        )  # fmt: skip
    heard = None if origin is None else FuturesStream(
        f"account.{name}.futures.stream", live, venue, venue.server_time, origin, session, clock,
        book=book, exchange=exchange, **times.beats,
    )  # fmt: skip
    return FuturesAccountFeed(
        venue, book, live, day_start, clock, account_s=times.account_s, snapshot_s=times.snapshot_s,
        calm_s=times.calm_s, poke_min_s=times.poke_min_s, config_s=times.config_s, stream=heard,
    )  # fmt: skip


__all__ = [
    "AccountSource", "Allowance", "allowances_of", "assemble", "Bypass", "BypassWatch", "Cadence", "Cycle",
    "Feed", "FeedFailed", "FEEDS", "Feeds", "FuturesAccountFeed", "GlobalRiskFeed", "Health",
    "Live", "Malformed", "MarketFeed", "open_session", "ServerTime", "SpotAccountFeed", "StaticAccount",
    "Stream", "StreamOrigins", "UnknownLookup", "Venue",
]
