"""The sums that few policies limit: what they are, and that they follow every write."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, localcontext
from random import Random

import pytest

from proxy import book_sums
from proxy.book import EXACT, AccountPlace, Book, Quote
from proxy.book_sums import CEILING, Part, Sums
from rules import Bracket, Bucket, Fact, Market, Position, Side
from tests.proxy.test_book import NOW, filters, snapshot, working

D = Decimal
LINEAR, SPOT = Market.LINEAR, Market.SPOT
CONTRACTS = {"BTCUSDT": filters("BTC"), "BTCUSDC": filters("BTC", "USDC"), "ETHUSDT": filters("ETH")}
COINS = {"BTCUSDT": filters("BTC"), "ETHUSDT": filters("ETH"), "ETHBTC": filters("ETH", "BTC")}
BRACKETS = (Bracket(D(10_000), D("0.01"), D(0)), Bracket(D(10**9), D("0.05"), D(400)))


def new_book() -> Book:
    """One account on both markets, priced, with nothing in it."""
    book = Book([AccountPlace(name="main", exchange="binance", markets=frozenset(Market))])
    book.apply_filters("binance", LINEAR, CONTRACTS, as_of=NOW)
    book.apply_filters("binance", SPOT, COINS, as_of=NOW)
    quotes = {"BTCUSDT": Quote(D(100)), "BTCUSDC": Quote(D(100)), "ETHUSDT": Quote(D(10))}
    book.apply_prices("binance", LINEAR, quotes, as_of=NOW, complete=True)
    quotes = {"BTCUSDT": Quote(D(100)), "ETHUSDT": Quote(D(10)), "ETHBTC": Quote(D("0.1"))}
    book.apply_prices("binance", SPOT, quotes, as_of=NOW, complete=True)
    for market in Market:
        snapshot(book, market=market)
    book.apply_equity("main", LINEAR, equity=D(5000), available=D(4000), as_of=NOW)
    return book


def sums(book: Book, market: Market = LINEAR, symbols=("BTCUSDT", "ETHUSDT")):
    """The sums as a request for these symbols finds them."""
    found = book.account_sums("main", market, symbols, NOW)
    assert found is not None
    return found.value


def test_one_coin_is_summed_over_its_symbols_and_markets():
    """2 BTC held as coins, contracts of 3 in dollars and -1 in USDC, and 5 ETH on sale for 0.5 BTC: 6.5 BTC."""
    book = new_book()
    snapshot(book, positions={"BTCUSDT": Position(both=D(3)), "BTCUSDC": Position(both=D(-1))})
    coins = {"BTC": Position(both=D(2)), "ETH": Position(both=D(5))}
    snapshot(book, market=SPOT, positions=coins, orders=[working("ETHBTC", Side.SELL, "5")])

    assert sums(book).assets == {"BTC": 650, "ETH": 50, "USDT": 0}
    assert sums(book, SPOT, ("ETHBTC",)).assets == {"BTC": 650, "ETH": 50}


def test_a_coin_traded_by_the_thousand_is_the_same_coin():
    """Coins of PEPE, contracts of a thousand, and contracts of a million in another currency are one exposure."""
    book = Book([AccountPlace(name="main", exchange="binance", markets=frozenset(Market))])
    contracts = {"1000PEPEUSDT": filters("1000PEPE"), "1MPEPEUSDC": filters("1MPEPE", "USDC")}
    book.apply_filters("binance", LINEAR, contracts, as_of=NOW)
    book.apply_filters("binance", SPOT, {"PEPEUSDT": filters("PEPE")}, as_of=NOW)
    quotes = {"1000PEPEUSDT": Quote(D("0.01")), "1MPEPEUSDC": Quote(D(10))}
    book.apply_prices("binance", LINEAR, quotes, as_of=NOW, complete=True)
    book.apply_prices("binance", SPOT, {"PEPEUSDT": Quote(D("0.00001"))}, as_of=NOW, complete=True)
    snapshot(book, positions={"1000PEPEUSDT": Position(both=D(500)), "1MPEPEUSDC": Position(both=D(-1))})
    snapshot(book, market=SPOT, positions={"PEPE": Position(both=D(300_000))})

    assert sums(book, LINEAR, ("1000PEPEUSDT",)).assets == {"PEPE": 18, "USDT": 0}
    assert sums(book, SPOT, ("PEPEUSDT",)).assets == {"PEPE": 18, "USDT": 0}


def test_a_sale_for_coins_keeps_the_mark_of_the_moment_it_was_looked_at():
    """1 ETH on sale for 0.08 BTC while it is worth 0.1: with a mark of 0.07 later, 0.08 from its next event on."""
    book = new_book()
    sale = working("ETHBTC", Side.SELL, "1", price=D("0.08"))
    snapshot(book, market=SPOT, orders=[sale])
    assert book.symbol("main", SPOT, "BTCUSDT", NOW).working[Bucket.BOTH].buy == D("0.1")
    book.apply_prices("binance", SPOT, {"ETHBTC": Quote(D("0.07"))}, as_of=NOW)
    assert book.symbol("main", SPOT, "BTCUSDT", NOW).working[Bucket.BOTH].buy == D("0.1")
    book.apply_changes("main", SPOT, orders={("ETHBTC", sale.order.order_id): sale}, positions={})
    assert book.symbol("main", SPOT, "BTCUSDT", NOW).working[Bucket.BOTH].buy == D("0.08")


def test_held_sides_net_and_waiting_ones_do_not():
    """Long 3 BTC and short 10 ETH are +200 and -200; buys of 1 BTC and sells of 2 BTC raise either side alone."""
    book = new_book()
    held = {"BTCUSDT": Position(both=D(3)), "ETHUSDT": Position(both=D(-10))}
    snapshot(book, positions=held)
    assert (sums(book).bought, sums(book).sold) == (200, -200)
    orders = [working("BTCUSDT", Side.BUY, "1"), working("BTCUSDT", Side.SELL, "2")]
    snapshot(book, positions=held, orders=orders)
    assert (sums(book).bought, sums(book).sold) == (300, 0)


def test_the_legs_of_hedge_mode_net_what_is_held():
    """LONG 3 with a buy of 1, SHORT 2 with a sell of 4: 2 net long at most, 3 net short at most."""
    book = new_book()
    snapshot(
        book, positions={"BTCUSDT": Position(long=D(3), short=D(2))},
        orders=[working("BTCUSDT", Side.BUY, "1", bucket=Bucket.LONG),
                working("BTCUSDT", Side.SELL, "4", bucket=Bucket.SHORT)],
    )  # fmt: skip

    assert (sums(book).bought, sums(book).sold) == (200, 300)


def test_what_is_only_reserved_is_not_certain():
    """Long 3 with a buy of 1 that works; buys of 2 and sells of 9 in flight come and go, in either position mode."""
    for bucket, other, position in (
        (Bucket.BOTH, Bucket.BOTH, Position(both=D(3))), (Bucket.LONG, Bucket.SHORT, Position(long=D(5), short=D(2))),
    ):
        book = new_book()
        snapshot(book, positions={"BTCUSDT": position}, orders=[working("BTCUSDT", Side.BUY, "1", bucket=bucket)])
        calm = (sums(book).bought_certain, sums(book).sold_certain)
        assert calm == (sums(book).bought, sums(book).sold) == (400, -300)

        book.shift_reserved("main", LINEAR, "BTCUSDT", bucket, Side.BUY, D(2))
        book.shift_reserved("main", LINEAR, "BTCUSDT", other, Side.SELL, D(9))
        assert (sums(book).bought, sums(book).sold) == (600, 600)
        assert (sums(book).bought_certain, sums(book).sold_certain) == calm

        book.shift_reserved("main", LINEAR, "BTCUSDT", other, Side.SELL, D(-9))
        book.shift_reserved("main", LINEAR, "BTCUSDT", bucket, Side.BUY, D(-2))
        assert (sums(book).bought, sums(book).sold) == calm


def test_margin_goes_by_the_leverage_that_is_set():
    """300 at 3x and 100 at 2x need 150; of a leverage that nobody knows, everything is margin."""
    book = new_book()
    book.apply_leverage("main", {"BTCUSDT": D(3), "ETHUSDT": D(2)}, as_of=NOW)
    snapshot(book, positions={"BTCUSDT": Position(both=D(3)), "ETHUSDT": Position(both=D(10))})

    assert (sums(book).contracts, sums(book).margin) == (400, 150)
    book.set_leverage("main", "ETHUSDT", D(10), NOW + timedelta(seconds=1))
    assert sums(book).margin == 110
    book.set_leverage("main", "ETHUSDT", None, NOW + timedelta(seconds=2))
    assert sums(book).margin == 200
    assert (sums(book).wallet, sums(book).available) == (5000, 4000)


def test_maintenance_is_known_when_every_bracket_is():
    """12,000 of BTC need 5 % less 400; with a position whose brackets nobody read, the sum is not known."""
    book = new_book()
    snapshot(book, positions={"BTCUSDT": Position(both=D(120))})
    assert sums(book).maintenance is None
    book.apply_brackets("main", {"BTCUSDT": BRACKETS})
    assert sums(book).maintenance == 200
    assert sums(book).brackets == {"BTCUSDT": BRACKETS}
    assert sums(book).notionals == {"BTCUSDT": 12000, "ETHUSDT": 0}
    snapshot(book, positions={"BTCUSDT": Position(both=D(120)), "ETHUSDT": Position(both=D(1))})
    assert sums(book).maintenance is None


def test_working_orders_are_counted_with_those_that_only_reduce():
    """Two of BTC, one of them reduce-only, and one of ETH; they are counted again when they change."""
    book = new_book()
    orders = [working("BTCUSDT", Side.BUY, "1"), working("ETHUSDT", Side.BUY, "1"),
              working("BTCUSDT", Side.SELL, "1", reduces_by_venue=True)]  # fmt: skip
    snapshot(book, orders=orders)

    assert (sums(book).orders, sums(book).orders_by_symbol) == (3, {"BTCUSDT": 2, "ETHUSDT": 1})
    book.apply_changes("main", LINEAR, orders={("ETHUSDT", orders[1].order.order_id): None}, positions={})
    assert (sums(book).orders, sums(book).orders_by_symbol) == (2, {"BTCUSDT": 2, "ETHUSDT": 0})


def test_sums_are_missing_while_exposure_is():
    """Without a price of something held nothing is known; of an unknown account neither."""
    book = new_book()
    snapshot(book, positions={"BTCUSDT": Position(both=D(1))})
    book.apply_prices("binance", LINEAR, {"ETHUSDT": Quote(D(10))}, as_of=NOW, complete=True)

    assert book.account_sums("main", LINEAR, (), NOW) is None
    assert book.account_sums("nobody", LINEAR, (), NOW) is None


def test_sums_are_as_old_as_the_exposure_is():
    """The oldest reading decides."""
    book = new_book()
    snapshot(book, as_of=NOW + timedelta(seconds=3))

    found = book.account_sums("main", LINEAR, (), NOW)
    assert found == Fact(found.value, NOW)


def test_a_part_that_goes_leaves_nothing_behind():
    """Sums are exact: what was added is taken away to the last digit."""
    part = Part("BTC", D("0.1"), D("1E-30"), D("-1E+30"), D("1E-30"), D(0), D(3), D("0.3"))
    kept = Sums({("linear", "A"): part})
    with localcontext(EXACT):
        kept.follow(("linear", "B"), part._replace(maintenance=None))
        assert kept.maintenance is None
        kept.follow(("linear", "B"), None)
        kept.follow(("linear", "A"), None)
        kept.follow(("linear", "A"), None)

    assert (kept.assets, kept.bought, kept.sold, kept.contracts, kept.margin, kept.maintenance) == ({}, 0, 0, 0, 0, 0)


def test_margin_is_divided_again_only_where_notional_moved(monkeypatch):
    """Of a hundred leverages the one that moved is divided; asked again, none is."""
    divided = []

    class Counted:
        """The context, telling what it divides."""

        def divide(self, notional: Decimal, leverage: Decimal) -> Decimal:
            """As it does."""
            divided.append(leverage)
            return CEILING.divide(notional, leverage)

        def quantize(self, amount: Decimal, unit: Decimal) -> Decimal:
            """As it does."""
            return CEILING.quantize(amount, unit)

    monkeypatch.setattr(book_sums, "CEILING", Counted())
    parts = {
        ("linear", str(times)): Part("BTC", D(times), D(1), D(1), D(1), D(1), D(times), D(0))
        for times in range(1, 101)
    }
    kept = Sums(parts)
    assert (kept.margin, kept.contracts, len(divided)) == (100, 5050, 100)
    divided.clear()
    kept.follow(("linear", "7"), parts["linear", "7"]._replace(notional=D(14)))
    assert (kept.contracts, kept.margin, kept.margin, divided) == (5057, 101, 101, [D(7)])
    kept.follow(("linear", "7"), None)
    assert (kept.margin, kept.contracts, divided) == (99, 5043, [D(7)])


def write_something(book: Book, pick: Random, reserved: list) -> None:
    """One write of any kind that feeds and reservations make."""
    def size() -> Decimal:
        return D(pick.randint(0, 40)) / 8

    symbol, side = pick.choice(list(CONTRACTS)), pick.choice(list(Side))
    kind = pick.randint(0, 8)
    if kind == 0:
        names = pick.sample(list(CONTRACTS), 2)
        held = {name: Position(both=size() - 2, long=size(), short=size()) for name in names}
        orders = [working(symbol, side, str(size()), bucket=pick.choice(list(Bucket)))]
        snapshot(book, positions=held, orders=orders)
    elif kind == 1:
        coins = {"BTC": Position(both=size()), "ETH": Position(both=size())}
        snapshot(book, market=SPOT, positions=coins, orders=[working("ETHBTC", side, str(size()))])
    elif kind == 2:
        market = pick.choice(list(Market))
        book.apply_prices("binance", market, {pick.choice(["BTCUSDT", "ETHUSDT"]): Quote(size() + 1)}, as_of=NOW)
    elif kind == 3:
        book.apply_leverage("main", {symbol: D(pick.randint(1, 7))}, as_of=NOW)
    elif kind == 4:
        book.set_leverage("main", symbol, pick.choice([None, D(9)]), NOW)
    elif kind == 5:
        book.apply_brackets("main", {symbol: BRACKETS for symbol in CONTRACTS if pick.random() < 0.8})
    elif kind == 6:
        place = (pick.choice([LINEAR, SPOT]), symbol, Bucket.BOTH if pick.random() < 0.7 else Bucket.LONG, side)
        reserved.append((place, size()))
        book.shift_reserved("main", *place, reserved[-1][1], "s", reserved[-1][1])
    elif kind == 7 and reserved:
        place, quantity = reserved.pop(pick.randrange(len(reserved)))
        book.shift_reserved("main", *place, -quantity, "s", -quantity)
    else:
        orders = {("ETHUSDT", "7"): working("ETHUSDT", side, str(size()), order_id="7")}
        book.apply_changes("main", LINEAR, orders=orders, positions={symbol: Position(both=size())})


@pytest.mark.parametrize("seed", range(40))
def test_kept_sums_equal_sums_made_afresh(seed):
    """Whatever was written since they were first asked for, the sums are those that a first look finds."""
    pick = Random(seed)
    kept, afresh = new_book(), new_book()
    assert kept.account_sums("main", LINEAR, ("BTCUSDT",), NOW)
    steps = pick.randint(1, 40)
    for book in (kept, afresh):
        pick, reserved = Random(f"{seed} writes"), []
        for _ in range(steps):
            write_something(book, pick, reserved)
            if book is kept and steps % 2:
                kept.account_sums("main", LINEAR, ("BTCUSDT",), NOW)  # asking in between changes nothing

    for market, symbols in ((LINEAR, tuple(CONTRACTS)), (SPOT, tuple(COINS))):
        ours, theirs = (book.account_sums("main", market, symbols, NOW) for book in (kept, afresh))
        assert ours == theirs
