"""What losses are made of: wallets read coin by coin, and the venue's history of what came and went.

The order carries weight. A wallet is read, and only a history asked for later, by more than its lag, says which
transfers are in that reading; the ledger keeps the two apart until then. Days are the venue's: its time is asked
for, and carried on by the monotonic clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import structlog

from proxy.book import Book
from proxy.clock import Clock
from proxy.feeds.history import happened
from proxy.feeds.polling import Cycle, Cycles
from proxy.feeds.reading import flag, identifier, number, record, rows, size, text
from proxy.feeds.stamps import instant_of, stamp
from proxy.feeds.transfers import SpotTransfers
from proxy.feeds.venue import FeedFailed, Reply, Venue
from proxy.ledger import Flow, Ledger, Realised, Sample, VenueTime, value_of
from rules import DOLLAR_COINS, Filters, Market

log = structlog.get_logger("riskgate.feeds")

ZERO, ONE = Decimal(0), Decimal(1)
LAG = timedelta(seconds=3)  # how much later than a balance a history may know
OVERLAP = timedelta(seconds=60)
TIME_EVERY_S = 30.0
RECENT = timedelta(seconds=120)  # a transfer this recent is worth what its coin is worth now
SPAN_MAX = timedelta(days=7)  # of one question
HISTORY_MAX = timedelta(days=85)  # Binance keeps three months of income
DAY = timedelta(days=1)
REBUILD_EVERY_S = 15.0  # it asks for much
UNTOLD = (
    "coins moved between the last reading before {} and now by more than trades, so nobody can tell what there was; "
    "the start stays unknown until the next one"
)
EARNING = "LD"
SURE = timedelta(seconds=1)  # what happened this close to a reading may or may not be in it

# What neither trading nor holding a position brought. A bonus is money given, not money won.
TRANSFERS = frozenset(
    {
        "TRANSFER", "INTERNAL_TRANSFER", "CROSS_COLLATERAL_TRANSFER", "STRATEGY_UMFUTURES_TRANSFER",
        "COIN_SWAP_DEPOSIT", "COIN_SWAP_WITHDRAW", "WELCOME_BONUS", "CONTEST_REWARD",
    }
)  # fmt: skip
RESULTS = frozenset(
    {
        "REALIZED_PNL", "FUNDING_FEE", "COMMISSION", "INSURANCE_CLEAR", "REFERRAL_KICKBACK", "COMMISSION_REBATE",
        "API_REBATE", "OPTIONS_PREMIUM_FEE", "OPTIONS_SETTLE_PROFIT", "AUTO_EXCHANGE", "DELIVERED_SETTELMENT",
        "POSITION_LIMIT_INCREASE_FEE", "FEE_RETURN", "BFUSD_REWARD",
    }
)  # fmt: skip


class NeverTold(FeedFailed):
    """What there was when a window began cannot be known, now or later."""


class WalletFeed(Cycles, ABC):
    """One wallet of one account: read often, its history when something moved that prices do not explain."""

    market: Market
    time_path: str

    def __init__(
        self,
        account: str,
        venue: Venue,
        book: Book,
        ledger: Ledger,
        venue_time: VenueTime,
        clock: Clock,
        *,
        exchange: str,
        every_s: float,
        history_s: float = 30.0,
        history_min_s: float = 5.0,
        lag: timedelta = LAG,
    ) -> None:
        self._account = account
        self._exchange = exchange
        self._venue = venue
        self._book = book
        self._ledger = ledger
        self._venue_time = venue_time
        self._clock = clock
        self._lag = lag
        self._timed_s = float("-inf")
        self._counted: dict[str, datetime] = {}  # fills that were told, for as long as they come again
        self._fills_from: datetime | None = None
        self._untold_start: datetime | None = None  # the window whose start nobody can tell
        self._rebuild_from_s = float("-inf")
        name = f"losses.{account}.{'spot' if self.market is Market.SPOT else 'futures'}"
        self._history = Cycle(
            f"{name}.history", self._read_history, every_s=history_s, clock=clock, venue=venue,
            poke_min_s=history_min_s,
        )  # fmt: skip
        wallet = Cycle(f"{name}.wallet", self._read_wallet, every_s=every_s, clock=clock, venue=venue)
        super().__init__(name, (wallet, self._history))

    async def _read_wallet(self) -> None:
        await self._ask_the_time()
        sample = await self._sample()
        self._ledger.take(self._account, self.market, sample)
        pending = self._ledger.wallet(self._account, self.market).pending
        # A history asked for sooner than its lag after the reading could not explain it.
        ripe = bool(pending) and pending[0].received <= self._now() - self._lag
        begins = self._missing_start
        if ripe or (begins is not None and begins != self._untold_start):
            self._history.poke()
        await self._ledger.save()

    async def _read_history(self) -> None:
        await self._ask_the_time()
        wallet = self._ledger.wallet(self._account, self.market)
        now = self._now()
        since = wallet.complete_to or wallet.begins or now
        if now - since > HISTORY_MAX:
            raise FeedFailed(
                f"the history since {since.isoformat()} is no longer kept by the venue; remove the account from the "
                "ledger's file, and it begins anew"
            )
        self._fills_from = since if self._fills_from is None else self._fills_from
        flows, fills = await self._flows(since - OVERLAP, since, now)
        self._ledger.learn(self._account, self.market, flows, complete_to=now - self._lag)
        self._ledger.realise(self._account, self._untold(fills, since - OVERLAP))
        await self._ledger.save()
        await self._find_start()

    async def _find_start(self) -> None:
        """Work out a start that nobody saw; what cannot be known is asked for once, and said from then on."""
        begins = self._missing_start
        if begins is None:
            return
        if begins == self._untold_start:
            raise FeedFailed(UNTOLD.format(begins.isoformat()))
        if self._clock.monotonic() < self._rebuild_from_s:
            return
        self._rebuild_from_s = self._clock.monotonic() + REBUILD_EVERY_S
        try:
            await self._rebuild(begins)
        except NeverTold:
            self._untold_start = begins
            raise
        await self._ledger.save()

    def _untold(self, fills: Sequence[Realised], since: datetime) -> list[Realised]:
        """Fills that were not told before; histories overlap."""
        begins = self._fills_from
        assert begins is not None
        fresh = [fill for fill in fills if fill.key not in self._counted and fill.at > begins]
        self._counted = {key: at for key, at in self._counted.items() if at >= since}
        self._counted |= {fill.key: fill.at for fill in fresh}
        return fresh

    @property
    def _missing_start(self) -> datetime | None:
        return self._ledger.missing_start(self._account, self.market)

    @abstractmethod
    async def _sample(self) -> Sample:
        """Read the wallet."""

    @abstractmethod
    async def _flows(
        self, since: datetime, known_to: datetime, now: datetime
    ) -> tuple[list[Flow], list[Realised]]:
        """Read what came and went, and what was realised; up to `known_to` all was known before."""

    @abstractmethod
    async def _rebuild(self, begins: datetime) -> None:
        """Work out what the wallet held when a window began that nobody saw begin."""

    # -- shared

    async def _ask_the_time(self) -> None:
        if self._clock.monotonic() - self._timed_s < TIME_EVERY_S:
            return
        reply = await self._venue.get(self.time_path)
        told = instant_of(record(reply.found), "serverTime")
        self._venue_time.note(told, reply.sent_s, self._clock.monotonic())
        self._timed_s = reply.sent_s

    def _now(self) -> datetime:
        now = self._venue_time.now()
        if now is None:
            raise FeedFailed("the venue's time is not known")
        return now

    def _made(self, reply: Reply, cash: Mapping[str, Decimal], open_profit: Mapping[str, Decimal]) -> Sample:
        """A reading of coins, valued; a coin that cannot be valued makes no reading."""
        prices, as_of = {}, reply.as_of
        for coin in cash.keys() | open_profit.keys():
            prices[coin], priced_at = self._price(coin)
            as_of = as_of if priced_at is None else min(as_of, priced_at)
        sent, received = self._venue_time.at(reply.sent_s), self._venue_time.now()
        if sent is None or received is None:
            raise FeedFailed("the venue's time is not known")
        balance = value_of(cash, prices)
        return Sample(
            equity=balance + value_of(open_profit, prices),
            balance=balance,
            cash=dict(cash),
            prices=prices,
            sent=sent,
            received=received,
            as_of=as_of,
        )

    def _price(self, coin: str) -> tuple[Decimal, datetime | None]:
        """What a coin is worth, and since when that is known; None for what never changes."""
        coin = self._underlying(coin)
        if coin in DOLLAR_COINS:
            return ONE, None
        price = self._book.coin_price(self._exchange, coin)
        if price is None:
            raise FeedFailed(f"the price of {coin} is not known")
        return price.value, price.as_of if price.value else None

    async def _price_at(self, coin: str, instant: datetime, candles: str) -> Decimal:
        """What a coin was worth; of a moment ago, what it is worth."""
        coin = self._underlying(coin)
        now_worth, _ = self._price(coin)
        if coin in DOLLAR_COINS or not now_worth or self._now() - instant < RECENT:
            return now_worth
        return await self._opened(f"{coin}USDT", instant, candles)

    def _underlying(self, coin: str) -> str:
        """What lies in flexible Earn is listed as LDUSDT, LDBNB, ..., has no market, and is worth what it is of."""
        inner = coin.removeprefix(EARNING)
        if inner in ("", coin):
            return coin
        own = self._book.coin_price(self._exchange, coin)
        return inner if own is not None and not own.value else coin

    async def _opened(self, symbol: str, instant: datetime, candles: str) -> Decimal:
        """The price of a symbol in the minute of an instant."""
        minute = instant.replace(second=0, microsecond=0)
        asked = {"symbol": symbol, "interval": "1m", "startTime": stamp(minute), "limit": "1"}
        reply = await self._venue.get(candles, asked)
        if not isinstance(reply.found, list) or not reply.found or not isinstance(reply.found[0], list):
            raise FeedFailed(f"{candles}: no price of {symbol} at {minute.isoformat()}")
        return number({"open": reply.found[0][1]}, "open")


class _Held(NamedTuple):
    """One leg of a position: its signed amount, its mark price, and the profit it would bring."""

    amount: Decimal
    mark: Decimal
    profit: Decimal


FLAT = _Held(ZERO, ZERO, ZERO)


class FuturesWalletFeed(WalletFeed):
    """The USDⓈ-M wallet: all its coins, so that a fee paid in BNB is a fee, and the income history."""

    market = Market.LINEAR
    time_path = "/fapi/v1/time"

    async def _sample(self) -> Sample:
        reply = await self._venue.get("/fapi/v3/account", signed=True)
        cash: dict[str, Decimal] = {}
        profit: dict[str, Decimal] = {}
        for row in rows(record(reply.found).get("assets")):
            held, unrealised = number(row, "walletBalance"), number(row, "unrealizedProfit")
            if held or unrealised:
                coin = text(row, "asset")
                cash[coin], profit[coin] = held, unrealised
        return self._made(reply, cash, profit)

    async def _flows(
        self, since: datetime, known_to: datetime, now: datetime  # noqa: ARG002 - lines are told with their time
    ) -> tuple[list[Flow], list[Realised]]:
        lines = await self._income(since, now)
        flows, fills = [], []
        for row in lines:
            kind, amount, at = text(row, "incomeType"), number(row, "income"), instant_of(row, "time")
            key = income_key(row)
            # What we do not know by name gives no room: what comes is taken for paid in, what goes for lost.
            if kind in TRANSFERS or (kind not in RESULTS and amount > ZERO):
                worth = await self._price_at(text(row, "asset"), at, "/fapi/v1/markPriceKlines")
                flows.append(Flow(key, (amount * worth).quantize(Decimal("0.00000001")), at, at))
            elif kind == "REALIZED_PNL" and amount:
                fills.append(Realised(key, str(row.get("symbol", "")), amount, at))
        return flows, fills

    async def _rebuild(self, begins: datetime) -> None:
        """Cash less everything that came since; open profit less what positions made since, by trades and marks."""
        before = await self._positions()
        sample = await self._sample()
        lines = await self._income(begins, self._now())
        symbols = {symbol for symbol, _ in before} | {str(row.get("symbol") or "") for row in lines} - {""}
        trades = {symbol: await self._trades(symbol, begins) for symbol in sorted(symbols)}
        held = await self._positions()
        if {leg: one.amount for leg, one in held.items()} != {leg: one.amount for leg, one in before.items()}:
            raise FeedFailed("positions moved while the start of the day was worked out; it is tried again")
        cash = dict(sample.cash)
        for row in lines:
            at, coin = instant_of(row, "time"), text(row, "asset")
            if sample.sent - SURE < at < sample.received + SURE:
                raise FeedFailed("the wallet moved while the start of the day was worked out; it is tried again")
            if at < sample.sent:
                cash[coin] = cash.get(coin, ZERO) - number(row, "income")
        prices = {coin: await self._price_at(coin, begins, "/fapi/v1/markPriceKlines") for coin in cash}
        balance = value_of(cash, prices)
        profit = ZERO
        legs = held.keys() | {(symbol, str(row["positionSide"])) for symbol in symbols for row in trades[symbol]}
        for symbol, side in sorted(legs):
            traded = [row for row in trades[symbol] if row["positionSide"] == side]
            profit += await self._profit_at(symbol, begins, held.get((symbol, side), FLAT), traded)
        equity = balance + profit.quantize(Decimal("0.00000001"))
        self._ledger.start(self._account, self.market, begins, equity=equity, balance=balance)

    async def _profit_at(
        self, symbol: str, begins: datetime, held: _Held, traded: Sequence[Mapping[str, Any]]
    ) -> Decimal:
        """Open profit of one leg when the window began: what it is, less what it made since and did not pay out."""
        bought = cost = realised = ZERO
        for row in traded:
            quantity = number(row, "qty") if text(row, "side") == "BUY" else -number(row, "qty")
            bought += quantity
            cost += quantity * number(row, "price")
            realised += number(row, "realizedPnl")
        amount = held.amount - bought
        mark = await self._opened(symbol, begins, "/fapi/v1/markPriceKlines") if amount else ZERO
        return held.profit + realised - (held.amount * held.mark - amount * mark - cost)

    async def _positions(self) -> dict[tuple[str, str], _Held]:
        reply = await self._venue.get("/fapi/v3/positionRisk", signed=True)
        return {
            (text(row, "symbol"), text(row, "positionSide")): _Held(
                number(row, "positionAmt"), number(row, "markPrice"), number(row, "unRealizedProfit")
            )
            for row in rows(reply.found)
            if number(row, "positionAmt")
        }

    async def _trades(self, symbol: str, since: datetime) -> list[Mapping[str, Any]]:
        """Every fill of a symbol since an instant, and those that come while this is asked."""
        return await happened(
            self._venue, "/fapi/v1/userTrades", since, self._now() + DAY, key=_fill_id, length=SPAN_MAX,
            of={"symbol": symbol},
        )  # fmt: skip

    async def _income(self, since: datetime, until: datetime) -> list[Mapping[str, Any]]:
        """Every line of a time, oldest first."""
        found = await happened(self._venue, "/fapi/v1/income", since, until, key=income_key, length=SPAN_MAX)
        return sorted(found, key=lambda row: instant_of(row, "time"))


class _Trade(NamedTuple):
    """What a fill did to each coin."""

    at: datetime
    moved: tuple[tuple[str, Decimal], ...]


def _trade(row: Mapping[str, Any], listed: Filters) -> _Trade:
    sign = 1 if flag(row, "isBuyer") else -1
    return _Trade(
        instant_of(row, "time"),
        (
            (listed.base_asset, sign * size(row, "qty")),
            (listed.quote_asset, -sign * size(row, "quoteQty")),
            (text(row, "commissionAsset"), -size(row, "commission")),
        ),
    )


def _less(cash: Mapping[str, Decimal], trades: Iterable[_Trade]) -> dict[str, Decimal]:
    """What there was before some trades; a coin of which nothing was there is left out."""
    before = dict(cash)
    for trade in trades:
        for coin, amount in trade.moved:
            before[coin] = before.get(coin, ZERO) - amount
    return {coin: held for coin, held in before.items() if held}


class SpotWalletFeed(WalletFeed):
    """The spot wallet: what coins there are, and every history that money comes or goes by."""

    market = Market.SPOT
    time_path = "/api/v3/time"

    def __init__(self, *args: Any, wallets: Venue | None, **more: Any) -> None:  # noqa: ANN401 - handed on as they are
        super().__init__(*args, **more)
        self._transfers = None if wallets is None else SpotTransfers(wallets, self._worth, self._now)

    async def _flows(
        self, since: datetime, known_to: datetime, now: datetime
    ) -> tuple[list[Flow], list[Realised]]:
        if self._transfers is None:
            return [], []
        counted = self._ledger.wallet(self._account, self.market).flows
        return await self._transfers.read(since, known_to, now, counted), []

    async def _rebuild(self, begins: datetime) -> None:
        """What there is less what was traded since, if trades alone explain what moved since before it began."""
        last = self._ledger.before(self._account, self.market, begins)
        sample = await self._sample()
        if last is None or self._ledger.wallet(self._account, self.market).since(last.sent):
            raise NeverTold(UNTOLD.format(begins.isoformat()))
        trades = await self._trades(last.cash.keys() | sample.cash.keys(), last.sent)
        if (await self._sample()).cash != sample.cash:
            raise FeedFailed("coins moved while the start of the day was worked out; it is tried again")
        if _less(sample.cash, trades) != {coin: held for coin, held in last.cash.items() if held}:
            raise NeverTold(UNTOLD.format(begins.isoformat()))
        cash = _less(sample.cash, [trade for trade in trades if trade.at >= begins])
        prices = {coin: await self._price_at(coin, begins, "/api/v3/klines") for coin in cash}
        worth = value_of(cash, prices)
        self._ledger.start(self._account, self.market, begins, equity=worth, balance=worth)

    async def _trades(self, coins: Collection[str], since: datetime) -> list[_Trade]:
        """Every fill since an instant, of every pair of coins that were or are held."""
        found: list[_Trade] = []
        until = self._now()
        for symbol, listed in self._book.filters(self._exchange, self.market).items():
            if listed.base_asset in coins and listed.quote_asset in coins:
                fills = await happened(
                    self._venue, "/api/v3/myTrades", since, until, key=_fill_id, length=DAY, of={"symbol": symbol}
                )
                found += [_trade(row, listed) for row in fills]
        return found

    async def _worth(self, coin: str, instant: datetime) -> Decimal:
        return await self._price_at(coin, instant, "/api/v3/klines")

    async def _sample(self) -> Sample:
        reply = await self._venue.get("/api/v3/account", {"omitZeroBalances": "true"}, signed=True)
        cash: dict[str, Decimal] = {}
        for row in rows(record(reply.found).get("balances")):
            held = size(row, "free") + size(row, "locked")
            if held:
                cash[text(row, "asset")] = held
        return self._made(reply, cash, {})


def _fill_id(row: Mapping[str, Any]) -> str:
    return identifier(row, "id")


def income_key(row: Mapping[str, Any]) -> str:
    """What tells one line from another: a transaction's id is unique within its type."""
    return ":".join(str(row.get(name, "")) for name in ("incomeType", "tranId", "asset", "symbol", "tradeId"))
