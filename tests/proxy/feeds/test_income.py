"""Losses against a simulated exchange: whatever comes or goes, they are what was won and lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import aiohttp
import pytest

from proxy.book import AccountPlace, Book
from proxy.clock import ManualClock
from proxy.exchanges.base import Credentials
from proxy.feeds import AccountSource, Cadence, assemble, open_session
from proxy.ledger import Ledger
from proxy.reservations import Reservations
from proxy.simulator import SimExchange
from rules import Losses, Market, Side, daily_loss, drawdown_loss, weekly_loss
from rules.profile import LossPolicy
from tests.canary import KEY, SECRET

D = Decimal
SPOT, FUTURES = Market.SPOT, Market.LINEAR
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


class Money:
    """An exchange and a ledger on one clock that is moved by hand; the account is read when told."""

    def __init__(self, session: aiohttp.ClientSession, folder: Path, markets=(SPOT, FUTURES), start=NOON) -> None:
        self.clock = ManualClock(start)
        self.exchange = SimExchange(clock=self.clock, fee_rate=D("0.0005"))
        self.session, self.folder, self.markets = session, folder, markets
        self.policy = LossPolicy()

    async def open(self) -> None:
        """Listen, open an account, and begin the books."""
        await self.exchange.start()
        self.account = self.exchange.add_account(
            "main", spot={"USDT": D(5000), "BTC": D("0.1")}, futures_wallet=D(10_000)
        )
        self.account.is_sub_account = True
        self.exchange.add_key(KEY, SECRET.decode(), "main")
        await self.restart()

    async def restart(self) -> None:
        """A new process: its ledger knows what is in the file."""
        place = AccountPlace(name="main", exchange="binance", markets=frozenset(self.markets))
        book = Book([place])
        self.ledger = Ledger(
            self.folder / "day_start.json", self.clock, policy_of=lambda account: self.policy,
            skew=timedelta(milliseconds=1),
        )  # fmt: skip
        self.feeds = assemble(
            [AccountSource(place=place, credentials=Credentials(api_key=KEY, secret=SECRET))],
            {"/api": self.exchange.url, "/fapi": self.exchange.url},
            book=book, reservations=Reservations(book, self.clock), day_start=self.ledger, session=self.session,
            clock=self.clock, cadence=Cadence(history_lag_s=0),
        )  # fmt: skip
        await self.feeds.read_once()
        await self.feeds.read_once()

    def wait(self, **time: float) -> None:
        """Let time pass for both."""
        self.clock.advance(to=self.clock.now() + timedelta(**time))

    @property
    def wallets(self) -> list:
        """The feeds that losses come from."""
        return [feed for feed in self.feeds._feeds if feed.name.startswith("losses.")]

    async def read(self) -> None:
        """Prices and wallets once, as often as it takes one after the other."""
        self.wait(seconds=1)
        for feed in self.feeds._feeds:
            if feed.name.startswith("market"):
                await feed.read_once()
        for feed in self.wallets:
            assert await feed.cycles[0].once(), feed.health()

    async def explain(self) -> None:
        """The histories of all wallets."""
        self.wait(seconds=1)
        for feed in self.wallets:
            assert await feed.cycles[1].once(), feed.health()

    async def settle(self) -> Losses:
        """Read, then ask for the history of it: everything is known."""
        await self.read()
        await self.explain()
        return self.losses

    @property
    def losses(self) -> Losses:
        """What rules would be told."""
        fact = self.ledger.losses("main", None, self.clock.now())
        assert fact is not None
        return fact.value

    @property
    def lost(self) -> Decimal:
        """Today's loss, gains being negative."""
        found = self.losses
        return found.day_start_equity + found.day_transfers - found.equity

    def trade(self, side: Side, quantity: str, symbol: str = "BTCUSDT", market: str = "futures") -> None:
        """A fill at the mark."""
        desk = self.exchange.futures if market == "futures" else self.exchange.spot
        order = self._order(desk, side, quantity, symbol)
        desk.submit(self.account, order, int(self.clock.now().timestamp() * 1000))

    def _order(self, desk, side, quantity, symbol):
        from proxy.simulator.futures_reading import plain_order
        from proxy.simulator.spot_reading import spot_order

        values = {"symbol": symbol, "side": side.value, "type": "MARKET", "quantity": quantity}
        now_ms = int(self.clock.now().timestamp() * 1000)
        if desk is self.exchange.futures:
            return plain_order(values, desk.next_id(), self.account, desk.prices, now_ms)
        return spot_order(values, desk.next_id(), "main", now_ms)


@pytest.fixture
async def money(tmp_path: Path) -> AsyncIterator[Money]:
    """5,000 USDT and 0.1 BTC (6,000) in spot, 10,000 USDT in futures, at noon."""
    session = open_session()
    money = Money(session, tmp_path)
    await money.open()
    money.wait(seconds=5)
    yield money
    await session.close()
    await money.exchange.stop()


async def test_losses_begin_with_what_all_wallets_hold(money):
    """Spot and futures together."""
    assert (money.losses.day_start_equity, money.lost) == (21_000, 0)


MOVES = {
    "a deposit": lambda money: money.exchange.treasury.deposit(money.account, "USDT", D(1000)),
    "a deposit whose credit is not timed": lambda money: money.exchange.treasury.deposit(
        money.account, "USDT", D(1000), timed=False
    ),
    "a deposit of coins": lambda money: money.exchange.treasury.deposit(money.account, "ETH", D(2)),
    "a withdrawal with its fee": lambda money: money.exchange.treasury.withdraw(
        money.account, "USDT", D(1000), D("1.5")
    ),
    "spot to futures": lambda money: money.exchange.treasury.transfer(money.account, "MAIN_UMFUTURE", "USDT", D(700)),
    "futures to spot": lambda money: money.exchange.treasury.transfer(money.account, "UMFUTURE_MAIN", "USDT", D(700)),
    "coins to futures": lambda money: money.exchange.treasury.transfer(
        money.account, "MAIN_UMFUTURE", "BTC", D("0.05")
    ),
    "spot to funding": lambda money: money.exchange.treasury.transfer(money.account, "MAIN_FUNDING", "USDT", D(700)),
    "margin to spot": lambda money: money.exchange.treasury.transfer(money.account, "MARGIN_MAIN", "USDT", D(700)),
    "the master sends": lambda money: money.exchange.treasury.sub_transfer(money.account, "USDT", D(900)),
    "back to the master": lambda money: money.exchange.treasury.sub_transfer(money.account, "USDT", D(-900)),
    "an internal transfer": lambda money: money.exchange.treasury.income(money.account, "INTERNAL_TRANSFER", D(250)),
    "a bonus": lambda money: money.exchange.treasury.income(money.account, "WELCOME_BONUS", D(50)),
    "something new that comes": lambda money: money.account.income.append(
        {"symbol": "", "incomeType": "MOON_GIFT", "income": "50", "asset": "USDT", "info": "", "tranId": 9,
         "time": int(money.clock.now().timestamp() * 1000), "tradeId": ""}
    ) or setattr(money.account, "wallet", money.account.wallet + 50),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("first", ["reading", "history"])
async def test_what_comes_or_goes_changes_no_loss(money, move, first):
    """Seen by the balances first, or by the history first: 100 were lost before, and 100 are lost after."""
    money.exchange.treasury.income(money.account, "FUNDING_FEE", D(-100))
    await money.settle()
    assert money.lost == 100
    money.wait(seconds=5)
    MOVES[move](money)
    money.wait(seconds=5)
    steps = [money.read, money.explain] if first == "reading" else [money.explain, money.read, money.explain]
    for step in steps:
        await step()
        # Never more room than there is; what is suspected blocks and lasts in nothing.
        assert money.lost >= 100
        assert money.ledger.settled("main").day_worst == 100
    await money.settle()

    assert money.lost == 100
    assert money.losses.day_worst == 100
    assert drawdown_loss(money.losses, money.losses.equity).lost == 100
    assert weekly_loss(money.losses, money.losses.equity).lost == 100


async def test_a_history_that_is_told_late_only_delays(money):
    """The venue keeps a withdrawal from its history for eight seconds: until then it blocks, and lasts in nothing."""
    money.exchange.treasury.history_lag_ms = 8_000
    for feed in money.wallets:
        feed._lag = timedelta(seconds=10)
    money.exchange.treasury.withdraw(money.account, "USDT", D(1000))
    for _ in range(3):
        await money.settle()
        assert (money.lost, money.ledger.settled("main").day_worst) == (1000, 0)
    money.wait(seconds=20)
    await money.settle()

    assert (money.lost, money.losses.day_worst) == (0, 0)


async def test_a_withdrawal_that_failed_comes_back_and_changes_nothing(money):
    """Gone for a minute, and back: at no time a loss or a gain that lasts."""
    identifier = money.exchange.treasury.withdraw(money.account, "USDT", D(1000))
    money.wait(seconds=10)
    await money.settle()
    assert (money.lost, money.losses.day_worst) == (0, 0)
    money.wait(seconds=60)
    money.exchange.treasury.fail_withdrawal(money.account, identifier)
    money.wait(seconds=10)
    await money.settle()
    await money.settle()

    assert (money.lost, money.losses.day_worst) == (0, 0)
    assert money.ledger.wallet("main", SPOT).total == 0


async def test_a_withdrawal_that_failed_before_anybody_looked_changes_nothing(money):
    """It left and came back between two histories; the reading in between is passed over."""
    identifier = money.exchange.treasury.withdraw(money.account, "USDT", D(1000))
    await money.read()
    money.wait(seconds=30)
    money.exchange.treasury.fail_withdrawal(money.account, identifier)
    money.wait(seconds=10)
    await money.settle()
    await money.settle()

    assert (money.lost, money.losses.day_worst) == (0, 0)


async def test_funding_counts_once(money):
    """12.5 paid and 2.5 received are a loss of 10, read as often as you like."""
    money.exchange.treasury.income(money.account, "FUNDING_FEE", D("-12.5"), symbol="BTCUSDT")
    money.exchange.treasury.income(money.account, "FUNDING_FEE", D("2.5"), symbol="BTCUSDT")
    for _ in range(3):
        await money.settle()

    assert money.lost == 10


@pytest.mark.parametrize("in_bnb", [False, True])
async def test_a_fee_counts_once_in_whatever_coin_it_is_paid(money, in_bnb):
    """0.05 % of two fills of 6,000 and the spread, from USDT or from BNB that lies beside it."""
    money.exchange.treasury.income(money.account, "TRANSFER", D(1), coin="BNB")
    money.account.burns_bnb = in_bnb
    await money.settle()
    assert money.lost == 0
    money.trade(Side.BUY, "0.1")
    money.trade(Side.SELL, "0.1")
    for _ in range(3):
        await money.settle()

    spread = D("0.1") * 60_000 * D("0.0002")
    fees = D("0.0005") * D("0.1") * (60_006 + 59_994)
    assert {line["asset"] for line in money.account.income if line["incomeType"] == "COMMISSION"} == {
        "BNB" if in_bnb else "USDT"
    }
    assert abs(money.lost - spread - fees) <= D("0.00002")  # BNB has eight places


@pytest.mark.parametrize("in_bnb", [False, True])
async def test_a_spot_fee_counts_once_in_whatever_coin_it_is_paid(money, in_bnb):
    """Buying 0.01 BTC costs half the spread and 0.05 %, from what was bought or from BNB."""
    money.exchange.treasury.deposit(money.account, "BNB", D(1))
    money.account.burns_bnb = in_bnb
    await money.settle()
    money.trade(Side.BUY, "0.01", market="spot")
    await money.settle()

    cost = D("0.01") * 60_006
    expected = cost * D("0.0005") + D("0.01") * 6
    assert abs(money.lost - expected) < D("0.001")


async def test_open_profit_counts_before_it_is_realised_and_not_again_after(money):
    """A long of 0.1 gains 200, is closed, and the gain stays what it was but for fees and spread."""
    money.trade(Side.BUY, "0.1")
    money.exchange.mark("BTCUSDT", D(62_000))
    await money.settle()
    opened = money.lost
    assert -400 < opened < -380  # the 0.1 BTC in spot gain 200 as well
    money.trade(Side.SELL, "0.1")
    await money.settle()

    assert 0 < money.lost - opened < 4


async def test_converting_dust_costs_its_charge_and_is_no_transfer(money):
    """150 in SOL become BNB: 2 % of it are lost."""
    money.exchange.treasury.deposit(money.account, "SOL", D(1))
    await money.settle()
    money.exchange.treasury.convert_dust(money.account, "SOL")
    await money.settle()

    assert money.lost == 3
    assert money.losses.day_transfers == 150


async def test_what_goes_into_flexible_earn_is_still_there(money):
    """400 USDT become LDUSDT, 0.05 BTC become LDBTC, which have no market: nothing is lost."""
    for coin, amount in (("USDT", D(400)), ("BTC", D("0.05"))):
        money.account.balance(coin).free -= amount
        money.account.balance(f"LD{coin}").free += amount
    await money.settle()

    assert (money.lost, money.losses.day_worst) == (0, 0)


async def test_a_gain_is_no_room_before_it_is_explained(money):
    """A rebate of 300 after a loss of 100: still 100 lost until the history says what it was."""
    money.exchange.treasury.income(money.account, "FUNDING_FEE", D(-100))
    await money.settle()
    money.exchange.treasury.income(money.account, "COMMISSION_REBATE", D(300))
    await money.read()
    assert money.lost == 100
    await money.explain()

    assert money.lost == -200
    assert daily_loss(money.losses, money.losses.equity).lost == 100  # once lost, the day has lost it


async def test_losing_trades_in_a_row_are_counted_from_the_income(money):
    """Three round trips that each lose the spread are three losses; a winner ends the row."""
    for count in (1, 2, 3):
        money.wait(seconds=120)
        money.trade(Side.BUY, "0.01")
        money.trade(Side.SELL, "0.01")
        await money.settle()
        await money.settle()
        assert money.losses.losing_streak == count
    assert money.losses.last_loss_at <= money.clock.now()
    money.wait(seconds=120)
    money.trade(Side.BUY, "0.01")
    money.exchange.mark("BTCUSDT", D(61_000))
    money.trade(Side.SELL, "0.01")
    await money.settle()

    assert money.losses.losing_streak == 0


async def test_a_restart_counts_nothing_again(money):
    """Transfers, streak and loss are what they were, and what happened meanwhile is looked up."""
    money.exchange.treasury.deposit(money.account, "USDT", D(1000))
    money.trade(Side.BUY, "0.01")
    money.trade(Side.SELL, "0.01")
    await money.settle()
    await money.ledger.save(now=True)
    before = money.losses
    money.wait(minutes=30)
    money.exchange.treasury.withdraw(money.account, "USDT", D(400))
    money.wait(minutes=30)
    await money.restart()
    await money.settle()

    assert money.losses.day_start_equity == before.day_start_equity
    assert money.losses.losing_streak == before.losing_streak == 1
    assert money.losses.day_transfers == 600
    assert daily_loss(money.losses, money.losses.equity).lost == daily_loss(before, before.equity).lost


async def test_more_lines_than_a_page_holds_are_all_read(money):
    """2,300 payments of funding between two looks, several within one millisecond."""
    for number in range(2300):
        money.exchange.treasury.income(money.account, "FUNDING_FEE", D("-0.01"))
        if number % 7 == 0:
            money.wait(milliseconds=1)
    money.exchange.treasury.income(money.account, "TRANSFER", D(40))
    money.wait(seconds=1)
    await money.settle()

    assert (money.lost, money.losses.day_transfers) == (23, 40)


async def test_many_transfers_fill_numbered_pages(money):
    """250 transfers of one kind: three pages of a hundred."""
    for _ in range(250):
        money.exchange.treasury.transfer(money.account, "MAIN_FUNDING", "USDT", D(1))
    money.wait(seconds=2)
    await money.settle()

    assert (money.lost, money.losses.day_transfers) == (0, -250)


async def test_midnight_begins_a_day_with_what_there_is_then(money):
    """It is the venue's midnight; a loss of yesterday stays in the week."""
    money.exchange.treasury.income(money.account, "FUNDING_FEE", D(-100))
    await money.settle()
    money.clock.advance(to=datetime(2026, 3, 4, 23, 59, 58, tzinfo=UTC))
    await money.settle()
    money.clock.advance(to=datetime(2026, 3, 5, 0, 0, 0, tzinfo=UTC))
    assert money.losses.day_start_equity is None
    await money.settle()

    assert (money.losses.day_start_equity, money.lost, money.losses.week_worst) == (20_900, 0, 100)


async def test_a_missed_midnight_is_worked_out_from_income_trades_and_marks(money):
    """Down from evening to morning with a position open over midnight, traded since, and money that came."""
    money.markets = (FUTURES,)
    (money.folder / "day_start.json").unlink(missing_ok=True)
    await money.restart()
    money.wait(seconds=5)
    money.trade(Side.BUY, "0.1")
    await money.settle()
    await money.ledger.save(now=True)
    money.clock.advance(to=datetime(2026, 3, 5, 0, 0, 0, tzinfo=UTC))
    there_was = money.account.wallet + (60_000 - D(60_006)) * D("0.1")
    money.wait(hours=1)
    money.exchange.treasury.income(money.account, "TRANSFER", D(500))
    money.exchange.treasury.income(money.account, "FUNDING_FEE", D("-3.25"))
    money.trade(Side.SELL, "0.03")
    money.trade(Side.BUY, "0.01", symbol="ETHUSDT")
    money.wait(hours=5)
    expected = money.exchange.futures.equity(money.account) - 500
    await money.restart()
    money.wait(seconds=10)
    await money.settle()
    await money.settle()

    assert money.losses.day_start_equity == there_was
    assert money.lost == there_was - expected


async def test_a_missed_midnight_of_spot_is_known_where_nothing_moved(money):
    """The same coins as before midnight: they were worth what they cost at midnight."""
    await money.settle()
    await money.ledger.save(now=True)
    money.clock.advance(to=datetime(2026, 3, 5, 8, 0, 0, tzinfo=UTC))
    await money.restart()
    money.wait(seconds=10)
    await money.settle()
    await money.settle()

    assert money.losses.day_start_equity == 21_000


@pytest.mark.parametrize("in_bnb", [False, True])
async def test_a_missed_midnight_of_spot_is_worked_out_from_trades(money, in_bnb):
    """Sold before midnight, bought after it, fees paid in BNB or not: what there was at midnight in between."""
    money.exchange.treasury.deposit(money.account, "BNB", D(1))
    money.account.burns_bnb = in_bnb
    await money.settle()
    await money.ledger.save(now=True)
    money.wait(hours=3)
    money.trade(Side.SELL, "0.02", market="spot")
    money.clock.advance(to=datetime(2026, 3, 5, 0, 0, 0, tzinfo=UTC))
    spot = {coin: balance.free for coin, balance in money.account.balances.items()}
    there_was = spot["USDT"] + spot["BTC"] * 60_000 + spot["BNB"] * 600 + 10_000
    money.wait(hours=8)
    money.trade(Side.BUY, "0.01", market="spot")
    money.trade(Side.BUY, "0.1", symbol="ETHUSDT", market="spot")
    money.wait(seconds=10)
    await money.restart()
    money.wait(seconds=10)
    await money.settle()
    await money.settle()

    assert abs(money.losses.day_start_equity - there_was) < D("0.00001")


async def test_a_missed_midnight_of_spot_stays_unknown_where_more_than_trades_moved_coins(money):
    """A transfer in the same night: unknown, and said so in the feed's health."""
    await money.settle()
    await money.ledger.save(now=True)
    money.clock.advance(to=datetime(2026, 3, 5, 8, 0, 0, tzinfo=UTC))
    money.exchange.treasury.convert_dust(money.account, "BTC")
    money.wait(seconds=10)
    await money.restart()
    money.wait(seconds=10)
    await money.read()
    history = next(feed for feed in money.wallets if feed.name.endswith("spot")).cycles[1]
    assert not await history.once()

    asked = sum(b"myTrades" in one.target for one in money.exchange.received)
    for _ in range(3):
        money.wait(seconds=60)
        await money.read()
        assert not await history.once()

    assert money.losses.day_start_equity is None
    assert "nobody can tell what there was" in history.health().last_error
    assert sum(b"myTrades" in one.target for one in money.exchange.received) == asked  # it is not asked for again


async def test_a_step_of_our_own_clock_changes_no_window(money):
    """Three hours forward, over midnight, and back: the venue's time has not moved, nor has the day."""
    money.exchange.treasury.income(money.account, "FUNDING_FEE", D(-100))
    await money.settle()
    start = money.losses.day_start_equity
    venue = money.exchange._clock
    own = ManualClock(money.clock.now() + timedelta(hours=13))
    own._monotonic = money.clock.monotonic()
    for feed in money.wallets:
        feed._venue_time._clock = feed._clock = own
    assert venue is not own

    assert money.losses.day_start_equity == start
    assert money.lost == 100


async def test_a_history_the_venue_no_longer_keeps_is_said(money):
    """After three months nobody can explain what happened; losses grow old and block."""
    await money.settle()
    money.wait(days=86)
    feed = money.wallets[0]
    assert not await feed.cycles[1].once()

    assert "no longer kept by the venue" in feed.cycles[1].health().last_error


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(n, marks=pytest.mark.long) for n in range(12, 300))])
async def test_losses_equal_a_brute_force_ledger_after_any_history(money, seed):
    """Random fills, funding, prices, transfers and restarts, read and explained at random moments."""
    pick, treasury = Random(seed), money.exchange.treasury
    transferred = D(0)

    def move(amount: D) -> None:
        nonlocal transferred
        transferred += amount

    def some(low: int, high: int) -> D:
        return D(pick.randint(low, high))

    acts = [
        lambda: treasury.income(money.account, "FUNDING_FEE", some(-20, 20)),
        lambda: money.trade(pick.choice(list(Side)), "0.01"),
        lambda: money.trade(pick.choice(list(Side)), "0.001", market="spot"),
        lambda: money.exchange.mark("BTCUSDT", some(58_000, 62_000)),
    ]
    for _ in range(25):
        money.wait(seconds=pick.choice([2, 30, 600]))
        act = pick.randint(0, 9)
        if act == 0:
            amount = some(1, 500)
            move(amount)
            treasury.deposit(money.account, "USDT", amount)
        elif act == 1:
            amount = some(1, 100)
            move(-amount)
            treasury.withdraw(money.account, "USDT", amount)
        elif act == 2:
            treasury.transfer(money.account, pick.choice(["MAIN_UMFUTURE", "UMFUTURE_MAIN"]), "USDT", some(1, 100))
        elif act == 3:
            amount = some(1, 100)
            move(-amount)
            treasury.transfer(money.account, "MAIN_FUNDING", "USDT", amount)
        elif act == 9:
            await money.ledger.save(now=True)
            await money.restart()
        else:
            pick.choice(acts)()
        money.wait(seconds=2)
        await pick.choice([money.read, money.explain, money.settle])()
    money.wait(seconds=5)
    await money.settle()

    mark = money.exchange.mark("BTCUSDT")
    held = money.account.balances["USDT"].free + money.account.balances["BTC"].free * mark
    true = held + money.exchange.futures.equity(money.account) - transferred
    assert abs(money.lost - (21_000 - true)) < D("0.00001")
    assert money.losses.day_transfers == transferred
