"""An account's state, read from time to time; with a stream seldom, without one often.

The order of requests carries weight: conditional orders, then orders, then positions. What
moves between two readings (a trigger fires, an order fills) is then seen twice for a moment,
never missed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from proxy.book import AccountPlace, Book, Working, only_closes
from proxy.clock import Clock
from proxy.feeds.polling import Cycle, Cycles, Health
from proxy.feeds.reading import Malformed, flag, identifier, number, optional_stamp_ms, price, record, rows, size, text
from proxy.feeds.stream_account import Live
from proxy.feeds.stream_binance import FuturesStream, SpotStream
from proxy.feeds.stream_picture import Amount, HeldKey, Listed
from proxy.feeds.venue import FeedFailed, Venue
from proxy.ledger import Ledger
from proxy.reservations import ALGO
from proxy.tasks import Tasks
from rules import Bracket, Bucket, Market, Position, Side, WorkingOrder

ZERO = Decimal(0)
WATCH_S = 1.0
KEEP_ALIVE_S = 1800.0  # a listen key lives for an hour


class AccountFeed(Cycles, ABC):
    """One market of one account. `live` puts readings and the user data stream together; without a stream it
    takes readings only."""

    market: str

    def __init__(
        self,
        venue: Venue,
        book: Book,
        live: Live,
        day_start: Ledger,
        clock: Clock,
        *,
        snapshot_s: float,
        calm_s: float,
        poke_min_s: float,
    ) -> None:
        self._account = live.account
        self._venue = venue
        self._book = book
        self.live = live
        self._day_start = day_start
        self._clock = clock
        name = f"account.{live.account}.{self.market}"
        super().__init__(name)
        self._snapshot = Cycle(
            f"{name}.snapshot", self._read_snapshot, every_s=snapshot_s, clock=clock, venue=venue,
            calm_s=calm_s, is_calm=lambda: live.is_live, poke_min_s=poke_min_s,
        )  # fmt: skip
        live.wants_reading = self._snapshot.poke

    @abstractmethod
    async def _read_snapshot(self) -> None:
        """Read orders and holdings."""

    async def _observe(self) -> None:
        """Measure losses by the equity as it is known now."""
        await self._day_start.observe(self._account, self._book.equity(self._account, self._clock.now()))


class FuturesAccountFeed(AccountFeed):
    """A USDⓈ-M futures account: equity, positions, working orders, position mode, leverage."""

    market = "futures"

    def __init__(
        self,
        venue: Venue,
        book: Book,
        live: Live,
        day_start: Ledger,
        clock: Clock,
        *,
        account_s: float = 2.0,
        snapshot_s: float = 5.0,
        calm_s: float = 30.0,
        poke_min_s: float = 2.0,
        config_s: float = 60.0,
        brackets_s: float = 3600.0,
        stream: FuturesStream | None = None,
    ) -> None:
        super().__init__(
            venue, book, live, day_start, clock, snapshot_s=snapshot_s, calm_s=calm_s, poke_min_s=poke_min_s
        )
        name = self.name
        self._config = Cycle(
            f"{name}.config", self._read_config, every_s=config_s, clock=clock, venue=venue, poke_min_s=5.0
        )
        self._equity = Cycle(f"{name}.equity", self._read_equity, every_s=account_s, clock=clock, venue=venue)
        self.cycles = (
            self._config,
            Cycle(f"{name}.brackets", self._read_brackets, every_s=brackets_s, clock=clock, venue=venue),
            self._snapshot,
            self._equity,
            Cycle(f"{name}.watch", live.tick, every_s=WATCH_S, clock=clock),
        )
        if stream is not None:
            stream.wants_equity, stream.wants_config = self._equity.poke, self._config.poke
            listen_key = Cycle(
                f"{name}.listen_key", stream.keep_alive, every_s=KEEP_ALIVE_S, clock=clock, start_s=KEEP_ALIVE_S,
                is_needed=False,
            )  # fmt: skip
            self.cycles = (*self.cycles, listen_key)
            self.streams = (stream.stream,)

    def poke(self, *, config: bool = False) -> None:
        """An order was answered (or a setting): make sure that it is seen."""
        self.live.answered()
        if config:
            self._config.poke()

    async def _read_snapshot(self) -> None:
        algo = await self._venue.get("/fapi/v1/openAlgoOrders", signed=True)
        plain = await self._venue.get("/fapi/v1/openOrders", signed=True)
        held = await self._venue.get("/fapi/v3/positionRisk", signed=True)
        found = [(_listed(row, conditional_order(row)), created_ms(row, "createTime")) for row in rows(algo.found)]
        found += [(_listed(row, futures_order(row)), created_ms(row, "time")) for row in rows(plain.found)]
        listed = rows(held.found)
        # As old as its first request: the oldest part decides.
        self.live.reading(
            as_of=algo.as_of, sent_s=algo.sent_s, orders=[one for one, _ in found], held=futures_held(listed)
        )
        for one, at_ms in found:
            self.live.meet(one, at_ms)
        if listed:
            # What positions are listed under shows the mode as well, and far more often than asking for it.
            legs = any(_bucket(row) is not Bucket.BOTH for row in listed)
            self._book.apply_hedge_mode(self._account, hedge_mode=legs, as_of=held.as_of)

    async def _read_equity(self) -> None:
        reply = await self._venue.get("/fapi/v3/account", signed=True)
        row = record(reply.found)
        self._book.apply_equity(
            self._account,
            Market.LINEAR,
            equity=number(row, "totalMarginBalance"),
            available=number(row, "availableBalance"),
            as_of=reply.as_of,
        )
        await self._observe()

    async def _read_config(self) -> None:
        dual = await self._venue.get("/fapi/v1/positionSide/dual", signed=True)
        self._book.apply_hedge_mode(
            self._account, hedge_mode=flag(record(dual.found), "dualSidePosition"), as_of=dual.as_of
        )
        config = await self._venue.get("/fapi/v1/symbolConfig", signed=True)
        leverage = {text(row, "symbol"): _leverage(row, "leverage") for row in rows(config.found)}
        self._book.apply_leverage(self._account, leverage, as_of=config.as_of)

    async def _read_brackets(self) -> None:
        reply = await self._venue.get("/fapi/v1/leverageBracket", signed=True)
        highest: dict[str, Decimal] = {}
        steps: dict[str, tuple[Bracket, ...]] = {}
        for row in rows(reply.found):
            brackets = rows(row.get("brackets"))
            if brackets:
                highest[text(row, "symbol")] = max(_leverage(bracket, "initialLeverage") for bracket in brackets)
                steps[text(row, "symbol")] = _steps(brackets)
        self._book.apply_leverage_max(self._account, highest)
        self._book.apply_brackets(self._account, steps)


class SpotAccountFeed(AccountFeed):
    """A spot account: balances by coin and working orders; equity is what the coins are worth."""

    market = "spot"

    def __init__(
        self,
        venue: Venue,
        book: Book,
        live: Live,
        day_start: Ledger,
        clock: Clock,
        *,
        exchange: str,
        snapshot_s: float = 5.0,
        calm_s: float = 30.0,
        poke_min_s: float = 2.0,
        stream: SpotStream | None = None,
    ) -> None:
        super().__init__(
            venue, book, live, day_start, clock, snapshot_s=snapshot_s, calm_s=calm_s, poke_min_s=poke_min_s
        )
        self._exchange = exchange
        self.cycles = (self._snapshot, Cycle(f"{self.name}.watch", self._watch, every_s=WATCH_S, clock=clock))
        self.streams = () if stream is None else (stream.stream,)

    def poke(self, *, config: bool = False) -> None:  # noqa: ARG002 - spot has no settings to read
        """An order was answered: make sure that it is seen."""
        self.live.answered()

    async def _watch(self) -> None:
        await self.live.tick()
        # The stream moves balances and prices move equity: losses are measured between readings as well.
        await self._observe()

    async def _read_snapshot(self) -> None:
        if not self._book.filters_known(self._exchange, Market.SPOT):
            # Without the venue's list nobody knows which coin a pair trades.
            raise FeedFailed("exchangeInfo has not been read yet")
        plain = await self._venue.get("/api/v3/openOrders", signed=True)
        held = await self._venue.get("/api/v3/account", {"omitZeroBalances": "true"}, signed=True)
        found = [(_listed(row, spot_order(row)), created_ms(row, "time")) for row in rows(plain.found)]
        account = record(held.found)
        at_ms = optional_stamp_ms(account, "updateTime")
        balances = spot_balances(rows(account.get("balances")))
        amounts = {(coin, Bucket.BOTH): Amount(held.both, at_ms) for coin, held in balances.items()}
        self.live.reading(
            as_of=plain.as_of, sent_s=plain.sent_s, orders=[one for one, _ in found], held=amounts, held_ms=at_ms
        )
        for one, created in found:
            self.live.meet(one, created)
        await self._observe()


class StaticAccount:
    """An account without credentials: the configured equity, and nothing else.

    Positions, working orders, leverage and losses stay missing, so every limit that needs them
    blocks new exposure; what works without is in docs/adr/0007-facts-by-polling.md.
    """

    def __init__(self, place: AccountPlace) -> None:
        if place.equity_static is None:
            raise ValueError(f"account {place.name!r} has neither credentials nor a configured equity")
        self.name = f"account.{place.name}.static"

    def start(self, tasks: Tasks) -> None:
        """Nothing to poll."""

    async def close(self) -> None:
        """Nothing to stop."""

    async def read_once(self) -> bool:
        """Nothing to read."""
        return True

    def health(self) -> tuple[Health, ...]:
        """What is configured is always there."""
        return (
            Health(
                name=self.name,
                ready=True,
                last_success_at=None,
                age_s=None,
                last_error=None,
                failures=0,
                malformed=0,
            ),
        )


def futures_positions(found: Iterable[Mapping[str, Any]]) -> dict[str, Position]:
    """positionRisk: a row per symbol, or per leg in hedge mode; short legs have a negative amount."""
    sizes: dict[str, dict[Bucket, Decimal]] = {}
    for row in found:
        bucket, amount = _bucket(row), number(row, "positionAmt")
        legs = sizes.setdefault(text(row, "symbol"), {})
        if bucket in legs:
            raise Malformed(f"{row['symbol']} has two positions of {bucket.value}")
        legs[bucket] = amount if bucket is Bucket.BOTH else abs(amount)
    return {
        symbol: Position(
            both=legs.get(Bucket.BOTH, ZERO), long=legs.get(Bucket.LONG, ZERO), short=legs.get(Bucket.SHORT, ZERO)
        )
        for symbol, legs in sizes.items()
    }


def futures_held(found: Iterable[Mapping[str, Any]]) -> dict[HeldKey, Amount]:
    """positionRisk, each row with the time of its last change."""
    listed = list(found)
    futures_positions(listed)
    return {
        (text(row, "symbol"), _bucket(row)): Amount(number(row, "positionAmt"), optional_stamp_ms(row, "updateTime"))
        for row in listed
    }


def _listed(row: Mapping[str, Any], working: Working) -> Listed:
    executed = size(row, "executedQty") if "executedQty" in row else ZERO
    return Listed(working, optional_stamp_ms(row, "updateTime"), executed)


def created_ms(row: Mapping[str, Any], key: str) -> int:
    """When an order was placed; 0, long ago, where the venue does not say."""
    return optional_stamp_ms(row, key)


def futures_order(row: Mapping[str, Any]) -> Working:
    """One row of openOrders."""
    side, bucket = _side(row), _bucket(row)
    order = WorkingOrder(
        order_id=identifier(row, "orderId"),
        client_order_id=text(row, "clientOrderId") if row.get("clientOrderId") else None,
        side=side,
        bucket=bucket,
        remaining=max(ZERO, size(row, "origQty") - size(row, "executedQty")),
        price=price(row, "price"),
        trigger_price=price(row, "stopPrice"),
        reduces_by_venue=only_closes(
            side, bucket, reduce_only=flag(row, "reduceOnly"), close_position=flag(row, "closePosition")
        ),
    )
    return Working(text(row, "symbol"), order)


def conditional_order(row: Mapping[str, Any]) -> Working:
    """One row of openAlgoOrders. Its ids count apart from those of plain orders."""
    side, bucket = _side(row), _bucket(row)
    closes = flag(row, "closePosition")
    order = WorkingOrder(
        order_id=ALGO + identifier(row, "algoId"),
        client_order_id=text(row, "clientAlgoId") if row.get("clientAlgoId") else None,
        side=side,
        bucket=bucket,
        # An order that closes the position states no quantity of its own.
        remaining=ZERO if closes else size(row, "quantity"),
        price=price(row, "price"),
        trigger_price=price(row, "triggerPrice"),
        reduces_by_venue=only_closes(
            side, bucket, reduce_only=flag(row, "reduceOnly"), close_position=closes
        ),
    )
    return Working(text(row, "symbol"), order)


def spot_order(row: Mapping[str, Any]) -> Working:
    """One row of spot openOrders; orders of one list exclude each other per side and state.

    What waits for the fill of another order of its list does not exclude that one: both may fill.
    """
    order = WorkingOrder(
        order_id=identifier(row, "orderId"),
        client_order_id=text(row, "clientOrderId") if row.get("clientOrderId") else None,
        side=_side(row),
        bucket=Bucket.BOTH,
        remaining=max(ZERO, size(row, "origQty") - size(row, "executedQty")),
        price=price(row, "price"),
        trigger_price=price(row, "stopPrice"),
    )
    group, status = row.get("orderListId", -1), row.get("status")
    if group in (-1, None) or not status:  # without a state nobody knows which of them exclude each other
        return Working(text(row, "symbol"), order)
    return Working(text(row, "symbol"), order, f"{group}:pending" if status == "PENDING_NEW" else str(group))


def spot_balances(found: Iterable[Mapping[str, Any]]) -> dict[str, Position]:
    """Balances by coin, what open orders lock included."""
    positions: dict[str, Position] = {}
    for row in found:
        amount = size(row, "free") + size(row, "locked")
        coin = text(row, "asset")
        if coin in positions:
            raise Malformed(f"{coin} is listed twice")
        if amount:
            positions[coin] = Position(both=amount)
    return positions


def _leverage(row: Mapping[str, Any], key: str) -> Decimal:
    value = number(row, key)
    if value < 1:
        raise Malformed(f"{key}: expected a leverage of at least 1, found {value}")
    return value


def _steps(brackets: Iterable[Mapping[str, Any]]) -> tuple[Bracket, ...]:
    """leverageBracket: what maintenance margin positions up to a size need, smallest first."""
    steps = [Bracket(size(row, "notionalCap"), size(row, "maintMarginRatio"), number(row, "cum")) for row in brackets]
    return tuple(sorted(steps))


def _side(row: Mapping[str, Any]) -> Side:
    try:
        return Side(text(row, "side"))
    except ValueError:
        raise Malformed(f"side: expected BUY or SELL, found {row['side']!r}") from None


def _bucket(row: Mapping[str, Any]) -> Bucket:
    try:
        return Bucket(text(row, "positionSide"))
    except ValueError:
        raise Malformed(f"positionSide: expected BOTH, LONG or SHORT, found {row['positionSide']!r}") from None
