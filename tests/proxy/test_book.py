"""The book: sums that follow every write, and facts that are missing rather than guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, getcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.book import UNKNOWN, AccountPlace, Book, Quote, Working, worst_case
from rules import Bucket, Fact, Filters, Market, Position, Side, Sides, SymbolFacts, WorkingOrder

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
D = Decimal
LINEAR = frozenset({Market.LINEAR})
SPOT = frozenset({Market.SPOT})


def filters(base: str, quote: str = "USDT") -> Filters:
    """Filters that only name the assets."""
    return Filters(base_asset=base, quote_asset=quote, quantity_step=D("0.001"), quantity_min=D("0.001"))


def working(symbol: str, side: Side, quantity: str, **more: object) -> Working:
    """A working order as a feed would hand it over."""
    group = more.pop("group", None)
    bucket = more.pop("bucket", Bucket.BOTH)
    order = WorkingOrder(
        order_id=str(more.pop("order_id", f"{symbol}{side}{quantity}")),
        client_order_id=None,
        side=side,
        bucket=bucket,  # type: ignore[arg-type]
        remaining=D(quantity),
        **more,  # type: ignore[arg-type]
    )
    return Working(symbol, order, group)  # type: ignore[arg-type]


@pytest.fixture
def book() -> Book:
    """Two futures accounts and one spot account on one exchange, with prices."""
    book = Book(
        [
            AccountPlace(name="main", exchange="binance", markets=LINEAR),
            AccountPlace(name="other", exchange="binance", markets=LINEAR),
            AccountPlace(name="coins", exchange="binance", markets=SPOT),
        ]
    )
    book.apply_filters(
        "binance", Market.LINEAR, {"BTCUSDT": filters("BTC"), "ETHUSDT": filters("ETH")}, as_of=NOW
    )
    book.apply_filters(
        "binance",
        Market.SPOT,
        {"BTCUSDT": filters("BTC"), "BTCUSDC": filters("BTC", "USDC"), "ETHBTC": filters("ETH", "BTC")},
        as_of=NOW,
    )
    quotes = {"BTCUSDT": Quote(D(50000)), "ETHUSDT": Quote(D(3000))}
    book.apply_prices("binance", Market.LINEAR, quotes, as_of=NOW, complete=True)
    quotes = {
        "ETHBTC": Quote(D("0.06")),
        "BTCUSDC": Quote(D(50010)),
        "BTCUSDT": Quote(D(50000), D(49999), D(50001)),
    }
    book.apply_prices("binance", Market.SPOT, quotes, as_of=NOW, complete=True)
    return book


def snapshot(book: Book, account: str = "main", market: Market = Market.LINEAR, **more: object) -> None:
    """Apply a snapshot with what is given and nothing else."""
    values: dict[str, object] = {"as_of": NOW, "positions": {}, "orders": [], **more}
    book.apply_snapshot(account, market, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("q", "buys", "sells", "expected"),
    [
        ("5", "4", "3", "9"),
        ("5", "11", "3", "16"),
        ("5", "4", "10", "9"),
        ("-5", "0", "3", "8"),
        ("1", "0", "3", "2"),
        ("0", "0", "0", "0"),
    ],
)
def test_worst_case_is_the_worse_side(q, buys, sells, expected):
    """Buys never net against sells; the larger of the two end positions counts."""
    waiting = {Bucket.BOTH: Sides(buy=D(buys), sell=D(sells))}
    assert worst_case(Position(both=D(q)), waiting) == D(expected)


def test_worst_case_of_hedge_mode_adds_the_legs():
    """Long 2 and short 1 with one more of each waiting are 5; closing orders of a leg add nothing."""
    waiting = {Bucket.LONG: Sides(buy=D(1), sell=D(9)), Bucket.SHORT: Sides(sell=D(1), buy=D(9))}
    assert worst_case(Position(long=D(2), short=D(1)), waiting) == D(5)


def test_nothing_is_known_before_the_first_snapshot(book):
    """Equity, position, exposure and open positions are missing, not zero."""
    facts = book.symbol("main", Market.LINEAR, "BTCUSDT", NOW)
    assert facts.position is None
    assert facts.leverage is None
    assert facts.leverage_max is None
    assert book.equity("main", NOW) is None
    assert book.exposure("main", "s", NOW) is None
    assert book.open_positions("main", Market.LINEAR, ["BTCUSDT"]) is None
    assert book.hedge_mode("main", Market.LINEAR, NOW) is None


def test_a_symbol_left_out_of_a_complete_snapshot_is_flat(book):
    """The venue lists what is held: what it leaves out is a fresh, flat position."""
    snapshot(book)
    position = book.symbol("main", Market.LINEAR, "BTCUSDT", NOW).position
    assert position is not None
    assert (position.value, position.as_of) == (Position(), NOW)


def test_a_closed_position_leaves_the_sums(book):
    """After the next snapshot without it, a position counts for nothing."""
    snapshot(book, positions={"BTCUSDT": Position(both=D(2))})
    assert book.exposure("main", "s", NOW).value.account == D(100000)
    snapshot(book, as_of=NOW + timedelta(seconds=1))
    assert book.exposure("main", "s", NOW).value.account == 0


def test_an_older_snapshot_changes_nothing(book):
    """Readings that arrive out of order never take the book back."""
    snapshot(book, positions={"BTCUSDT": Position(both=D(2))})
    snapshot(book, as_of=NOW - timedelta(seconds=1))
    assert book.symbol("main", Market.LINEAR, "BTCUSDT", NOW).position.value.both == 2


def test_a_clock_set_back_does_not_stop_the_book(book):
    """A reading an hour older than the last is not late: the clock has changed, and it counts."""
    snapshot(book, positions={"BTCUSDT": Position(both=D(2))})
    before = NOW - timedelta(hours=1)
    snapshot(book, as_of=before, positions={"BTCUSDT": Position(both=D(3))})
    book.apply_prices("binance", Market.LINEAR, {"BTCUSDT": Quote(D(7))}, as_of=before)
    assert book.symbol("main", Market.LINEAR, "BTCUSDT", NOW).position == (Position(both=D(3)), before)
    assert book.price("binance", Market.LINEAR, "BTCUSDT").value.mark == 7


def test_a_late_snapshot_says_that_it_was_not_taken(book):
    """Who would release reservations by it must not."""
    values = {"as_of": NOW, "positions": {}, "orders": []}
    assert book.apply_snapshot("main", Market.LINEAR, **values)
    assert not book.apply_snapshot("main", Market.LINEAR, **{**values, "as_of": NOW - timedelta(seconds=1)})


def test_working_orders_count_but_for_those_the_venue_keeps_from_opening(book):
    """A reduce-only order is listed, but adds to neither side."""
    snapshot(
        book,
        positions={"BTCUSDT": Position(both=D(1))},
        orders=[
            working("BTCUSDT", Side.BUY, "2"),
            working("BTCUSDT", Side.SELL, "1", order_id="7", reduces_by_venue=True),
        ],
    )
    facts = book.symbol("main", Market.LINEAR, "BTCUSDT", NOW)
    assert facts.working[Bucket.BOTH] == Sides(buy=D(2))
    assert facts.orders_by_id["7"].remaining == 1
    assert book.exposure("main", "s", NOW).value.account == D(150000)


def test_orders_that_exclude_each_other_count_once(book):
    """The two legs of an OCO add the larger of the two."""
    snapshot(
        book,
        orders=[
            working("BTCUSDT", Side.SELL, "1", group="9"),
            working("BTCUSDT", Side.SELL, "3", group="9"),
            working("BTCUSDT", Side.SELL, "2"),
        ],
    )
    assert book.symbol("main", Market.LINEAR, "BTCUSDT", NOW).working[Bucket.BOTH].sell == 5


def test_sums_follow_a_price_move_at_once(book):
    """Account, exchange and total move with the price, on every account that holds the symbol."""
    snapshot(book, positions={"BTCUSDT": Position(both=D(-1))})
    snapshot(book, "other", positions={"BTCUSDT": Position(both=D(2))})
    snapshot(book, "coins", Market.SPOT)
    book.apply_prices("binance", Market.LINEAR, {"BTCUSDT": Quote(D(60000))}, as_of=NOW)
    sums = book.exposure("main", "s", NOW).value
    assert (sums.account, sums.exchange, sums.total) == (60000, 180000, 180000)


def test_a_reservation_counts_at_once(book):
    """Reserved quantity is in the sums and in the open positions before anything is sent."""
    snapshot(book)
    book.shift_reserved("main", Market.LINEAR, "ETHUSDT", Bucket.BOTH, Side.SELL, D(2))
    assert book.exposure("main", "s", NOW).value.account == 6000
    assert book.symbol_notional("main", Market.LINEAR, "ETHUSDT") == 6000
    assert book.open_positions("main", Market.LINEAR, ["ETHUSDT"]).value == {("ETHUSDT", Bucket.BOTH)}
    book.shift_reserved("main", Market.LINEAR, "ETHUSDT", Bucket.BOTH, Side.SELL, D(-2))
    assert book.exposure("main", "s", NOW).value.account == 0
    assert book.open_positions("main", Market.LINEAR, ["ETHUSDT"]).value == set()


def test_releasing_more_than_reserved_is_refused(book):
    """A sum that would go below zero is a defect and is said so."""
    with pytest.raises(ValueError, match="more was released than reserved"):
        book.shift_reserved("main", Market.LINEAR, "ETHUSDT", Bucket.BOTH, Side.SELL, D(-1))


def test_exposure_is_missing_while_something_held_has_no_price(book):
    """A complete reading without a held symbol's price takes the sums away until it is back."""
    snapshot(book, positions={"ETHUSDT": Position(both=D(1))})
    book.apply_prices("binance", Market.LINEAR, {"BTCUSDT": Quote(D(1))}, as_of=NOW, complete=True)
    assert book.exposure("main", "s", NOW) is None
    assert book.symbol_notional("main", Market.LINEAR, "ETHUSDT") is None
    book.apply_prices("binance", Market.LINEAR, {"ETHUSDT": Quote(D(3000))}, as_of=NOW)
    assert book.exposure("main", "s", NOW).value.account == 3000


def test_sums_over_accounts_are_above_every_limit_while_a_part_is_unknown(book):
    """Without a snapshot of every account, exchange and total are infinite; the account's own sum is known."""
    snapshot(book, positions={"BTCUSDT": Position(both=D(1))})
    sums = book.exposure("main", "s", NOW).value
    assert (sums.account, sums.exchange, sums.total) == (50000, UNKNOWN, UNKNOWN)
    snapshot(book, "other")
    snapshot(book, "coins", Market.SPOT)
    assert book.exposure("main", "s", NOW).value.total == 50000
    late = NOW + timedelta(seconds=61)
    assert book.exposure("main", "s", late).value.total == UNKNOWN


def test_exposure_is_as_old_as_its_oldest_part(book):
    """A snapshot newer than the prices is valued at old prices, and says so."""
    snapshot(book, as_of=NOW + timedelta(seconds=9), positions={"BTCUSDT": Position(both=D(1))})
    assert book.exposure("main", "s", NOW).as_of == NOW


def test_price_of_a_pair_quoted_in_a_coin_is_converted(book):
    """ETHBTC is worth its price times BTCUSDT."""
    price = book.price("binance", Market.SPOT, "ETHBTC").value
    assert (price.mark, price.conversion) == (D("0.06"), D(50000))


def test_no_price_fact_where_the_quote_coin_has_none(book):
    """When BTCUSDT goes, ETHBTC cannot be valued and has no price either."""
    book.apply_prices("binance", Market.SPOT, {"ETHBTC": Quote(D("0.06"))}, as_of=NOW, complete=True)
    book.apply_prices("binance", Market.SPOT, {"ETHBTC": Quote(D("0.06"))}, as_of=NOW, complete=True)
    assert book.price("binance", Market.SPOT, "ETHBTC") is None


def test_an_older_price_never_replaces_a_newer_one(book):
    """Quotes that arrive late are dropped."""
    book.apply_prices("binance", Market.LINEAR, {"BTCUSDT": Quote(D(1))}, as_of=NOW - timedelta(seconds=1))
    assert book.price("binance", Market.LINEAR, "BTCUSDT").value.mark == 50000


def test_spot_positions_are_kept_by_coin(book):
    """Pairs of one coin share holdings, working orders and reservations; cash is no exposure."""
    snapshot(
        book,
        "coins",
        Market.SPOT,
        positions={"BTC": Position(both=D(1)), "USDT": Position(both=D(500))},
        orders=[working("BTCUSDC", Side.SELL, "0.4")],
    )
    facts = book.symbol("coins", Market.SPOT, "BTCUSDT", NOW)
    assert facts.position.value.both == 1
    assert facts.working[Bucket.BOTH].sell == D("0.4")
    assert (facts.leverage.value, facts.leverage_max) == (1, 1)
    assert book.equity("coins", NOW).value == 50500
    assert book.exposure("coins", "s", NOW).value.account == 50000
    held = book.open_positions("coins", Market.SPOT, ["BTCUSDC"]).value
    assert held == {("BTCUSDC", Bucket.BOTH)}


def test_spot_equity_follows_prices_and_is_missing_without_one(book):
    """Equity of coins is their worth now; without a price it is not known."""
    snapshot(book, "coins", Market.SPOT, positions={"BTC": Position(both=D(1))})
    book.apply_prices("binance", Market.SPOT, {"BTCUSDT": Quote(D(40000))}, as_of=NOW)
    assert book.equity("coins", NOW).value == 40000
    book.apply_prices("binance", Market.SPOT, {"BTCUSDC": Quote(D(1))}, as_of=NOW, complete=True)
    assert book.equity("coins", NOW) is None


def test_dust_and_unsellable_coins_are_no_positions(book):
    """Less than five dollars of a coin, or a coin without a market, takes no position slot."""
    positions = {"BTC": Position(both=D("0.00001")), "AIRDROP": Position(both=D(1000000))}
    snapshot(book, "coins", Market.SPOT, positions=positions)
    assert book.open_positions("coins", Market.SPOT, ["BTCUSDT"]).value == set()
    assert book.equity("coins", NOW).value == D("0.5")


def test_equity_is_summed_over_the_wallets_of_an_account():
    """Moving money from spot to futures is neither a loss nor a gain."""
    both = Book([AccountPlace(name="a", exchange="x", markets=SPOT | LINEAR)])
    both.apply_filters("x", Market.SPOT, {"BTCUSDT": filters("BTC")}, as_of=NOW)
    both.apply_prices("x", Market.SPOT, {"BTCUSDT": Quote(D(1))}, as_of=NOW, complete=True)
    both.apply_equity("a", Market.LINEAR, equity=D(70), available=D(60), as_of=NOW)
    assert both.equity("a", NOW) is None
    older = NOW - timedelta(seconds=3)
    both.apply_snapshot("a", Market.SPOT, as_of=older, positions={"USDT": Position(both=D(30))}, orders=[])
    equity = both.equity("a", NOW)
    assert (equity.value, equity.as_of) == (100, older)


def test_static_equity_is_always_fresh_and_everything_else_missing():
    """An account without credentials has the equity it was configured with, and no positions."""
    book = Book([AccountPlace(name="a", exchange="x", markets=LINEAR, equity_static=D(1000))])
    assert book.equity("a", NOW) == (D(1000), NOW)
    assert book.exposure("a", "s", NOW) is None
    assert book.symbol("a", Market.LINEAR, "BTCUSDT", NOW).position is None


def test_strategy_exposure_is_capped_by_the_symbol_and_forgotten_when_flat(book):
    """What a strategy opened counts for it up to what is left of the symbol; flat ends it."""
    snapshot(book)
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D(2))
    book.attribute("main", Market.LINEAR, "BTCUSDT", "grid", D(2))
    assert book.exposure("main", "grid", NOW).value.strategy == 100000
    assert book.exposure("main", "other", NOW).value.strategy == 0
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D(-1))
    assert book.exposure("main", "grid", NOW).value.strategy == 50000
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D(-1))
    assert book.exposure("main", "grid", NOW).value.strategy == 0
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D(1))
    assert book.exposure("main", "grid", NOW).value.strategy == 50000, "now nobody's, so everybody's"


def test_what_a_strategy_opens_is_its_own_also_where_the_worst_case_stays(book):
    """Short 5 of another's, a buy of 6 can end at long 1: the worst case is 5 as before, and 1 of it is its own."""
    snapshot(book)
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.SELL, D(5), "other", D(5))
    snapshot(book, positions={"BTCUSDT": Position(both=D(-5))})
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.SELL, D(-5))
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D(6), "grid", D(1))
    assert book.exposure("main", "grid", NOW).value.strategy == 50000
    assert book.exposure("main", "other", NOW).value.strategy == 250000


def test_what_nobody_opened_is_not_what_one_strategy_opens_later(book):
    """Short 5 of nobody's counts for every strategy, also for one whose buy of 6 can end at long 1."""
    snapshot(book, positions={"BTCUSDT": Position(both=D(-5))})
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D(6), "grid", D(1))
    assert book.exposure("main", "grid", NOW).value.strategy == 250000
    assert book.exposure("main", "other", NOW).value.strategy == 250000


def test_sums_lose_no_digit_and_leave_the_callers_arithmetic_alone(book):
    """Far more digits than decimals keep by themselves, in quantities and in prices, are all counted."""
    callers = getcontext()
    large, small = D("12345678901234567890"), D("0.00000000000000000001")
    price = D("0.000001")
    quotes = {"BTCUSDT": Quote(price), "ETHUSDT": Quote(price)}
    book.apply_prices("binance", Market.LINEAR, quotes, as_of=NOW, complete=True)
    snapshot(book, orders=[working("BTCUSDT", Side.BUY, str(large)), working("BTCUSDT", Side.BUY, str(small))])
    for quantity in (large, small, -large, -small):
        book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, quantity, "grid", quantity)
    facts = book.symbol("main", Market.LINEAR, "BTCUSDT", NOW)
    assert str(facts.working[Bucket.BOTH].buy) == "12345678901234567890.00000000000000000001"
    assert facts.reserved == {}
    assert book.exposure("main", "grid", NOW).value.account == D("12345678901234.56789001")
    assert getcontext() is callers


def test_what_no_strategy_opened_counts_for_every_strategy(book):
    """After a restart it is not known who opened a position: no strategy gets its room twice."""
    snapshot(book, positions={"BTCUSDT": Position(both=D(1))})
    assert book.exposure("main", "any", NOW).value.strategy == 50000


WRITES = st.lists(
    st.one_of(
        st.tuples(st.just("price"), st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.integers(1, 10**7)),
        st.tuples(st.just("hold"), st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.integers(-500, 500)),
        st.tuples(st.just("work"), st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.integers(1, 500)),
        st.tuples(st.just("reserve"), st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.integers(1, 500)),
        st.tuples(st.just("attribute"), st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.integers(-500, 500)),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(WRITES)
def test_kept_sums_equal_sums_made_afresh(writes):
    """However the book was written, its sums are those of adding everything up again, to the last digit."""
    book = Book([AccountPlace(name="a", exchange="x", markets=LINEAR)])
    names = {"BTCUSDT": filters("BTC"), "ETHUSDT": filters("ETH")}
    book.apply_filters("x", Market.LINEAR, names, as_of=NOW)
    prices = {"BTCUSDT": D(50000), "ETHUSDT": D(3000)}
    positions: dict[str, Position] = {}
    orders: list[Working] = []
    reserved = dict.fromkeys(prices, D(0))
    book.apply_prices(
        "x", Market.LINEAR, {name: Quote(value) for name, value in prices.items()}, as_of=NOW, complete=True
    )
    snapshot(book, "a")
    for kind, symbol, number in writes:
        if kind == "price":
            prices[symbol] = D(number) / 1000
            book.apply_prices("x", Market.LINEAR, {symbol: Quote(prices[symbol])}, as_of=NOW)
        elif kind == "reserve":
            reserved[symbol] += D(number) / 1000
            book.shift_reserved("a", Market.LINEAR, symbol, Bucket.BOTH, Side.BUY, D(number) / 1000)
        elif kind == "attribute":
            book.attribute("a", Market.LINEAR, symbol, "s", D(number) / 1000)
        else:
            if kind == "hold":
                positions[symbol] = Position(both=D(number) / 1000)
            else:
                orders.append(working(symbol, Side.SELL, str(D(number) / 1000), order_id=str(len(orders))))
            snapshot(book, "a", positions=dict(positions), orders=list(orders))
    total = D(0)
    for symbol, price in prices.items():
        held = positions.get(symbol, Position()).both
        sells = sum((order.order.remaining for order in orders if order.symbol == symbol), D(0))
        total += max(D(0), held + reserved[symbol], sells - held) * price
    sums = book.exposure("a", "s", NOW).value
    assert sums.account == sums.exchange == sums.total == total
    assert sums.strategy <= total


PLACES = st.tuples(
    st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.sampled_from(list(Bucket)), st.sampled_from(list(Side))
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(PLACES, st.integers(1, 500), st.booleans()), max_size=20), st.data())
def test_reserving_and_releasing_leaves_what_a_new_book_would_say(steps, data):
    """Whatever was reserved and given back: a book that has read what is left as working orders agrees."""
    names = {"BTCUSDT": filters("BTC"), "ETHUSDT": filters("ETH")}

    def new_book(*more: Working) -> Book:
        book = Book([AccountPlace(name="a", exchange="x", markets=LINEAR)])
        book.apply_filters("x", Market.LINEAR, names, as_of=NOW)
        quotes = {"BTCUSDT": Quote(D("50000.1")), "ETHUSDT": Quote(D("3000.7"))}
        book.apply_prices("x", Market.LINEAR, quotes, as_of=NOW, complete=True)
        held = {"BTCUSDT": Position(both=D("0.3"), long=D("0.2"))}
        snapshot(book, "a", positions=held, orders=[working("BTCUSDT", Side.SELL, "0.4"), *more])
        return book

    kept = new_book()
    left: list[tuple[tuple[str, Bucket, Side], D]] = []
    for place, number, claims in steps:
        quantity = D(number) / 1000
        if left and data.draw(st.booleans()):
            place, quantity = left.pop(data.draw(st.integers(0, len(left) - 1)))
            quantity = -quantity
        else:
            left.append((place, quantity))
        kept.shift_reserved("a", Market.LINEAR, *place, quantity, "s", quantity if claims else D(0))
    afresh = new_book(
        *(
            working(symbol, side, str(quantity), bucket=bucket, order_id=f"w{number}")
            for number, ((symbol, bucket, side), quantity) in enumerate(left)
        )
    )
    for symbol in names:
        ours_of, theirs_of = (book.symbol("a", Market.LINEAR, symbol, NOW) for book in (kept, afresh))
        assert all(ours_of.waiting(bucket) == theirs_of.waiting(bucket) for bucket in Bucket)
        assert kept.symbol_notional("a", Market.LINEAR, symbol) == afresh.symbol_notional("a", Market.LINEAR, symbol)
    assert kept.open_positions("a", Market.LINEAR, names) == afresh.open_positions("a", Market.LINEAR, names)
    ours, anybodys = (kept.exposure("a", strategy, NOW).value for strategy in ("s", "another"))
    expected = afresh.exposure("a", "s", NOW).value
    assert (ours.account, ours.exchange, ours.total) == (expected.account, expected.exchange, expected.total)
    assert anybodys.strategy <= ours.strategy <= expected.strategy + 2 * D("0.00000001"), "rounded up in parts"


def test_what_was_read_before_never_hides_what_came_after(book):
    """Facts are kept between orders; each kind of reading is in the next facts all the same."""

    def read() -> SymbolFacts:
        return book.symbol("main", Market.LINEAR, "BTCUSDT", NOW)

    snapshot(book)
    before = read()
    assert read() is before, "nothing changed, so nothing is made again"
    book.apply_prices("binance", Market.LINEAR, {"BTCUSDT": Quote(D(49000))}, as_of=NOW)
    assert read().price.value.mark == 49000
    book.apply_leverage("main", {"BTCUSDT": D(7)}, as_of=NOW)
    assert read().leverage.value == 7
    book.apply_leverage_max("main", {"BTCUSDT": D(77)})
    assert read().leverage_max == 77
    book.apply_filters("binance", Market.LINEAR, {"BTCUSDT": filters("XBT")}, as_of=NOW)
    assert read().filters.value.base_asset == "XBT"
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D(2))
    assert read().reserved[Bucket.BOTH].buy == 2
    assert book.open_positions("main", Market.LINEAR, []).value == {("BTCUSDT", Bucket.BOTH)}
    later = NOW + timedelta(seconds=1)
    snapshot(book, as_of=later, positions={"ETHUSDT": Position(both=D(1))}, orders=[working("BTCUSDT", Side.SELL, "3")])
    assert read().position == (Position(), later)
    assert (read().working[Bucket.BOTH].sell, len(read().orders_by_id)) == (3, 1)
    held = book.open_positions("main", Market.LINEAR, [])
    assert held == ({("BTCUSDT", Bucket.BOTH), ("ETHUSDT", Bucket.BOTH)}, later)
    book.shift_reserved("main", Market.LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D(-2))
    assert read().reserved == {}


def test_closers_in_flight_count_until_they_are_taken_back(book):
    """Long 2 with sells of 3 can end short 1; with a closer of 2 on its way, short 3; taken back, 1 again."""
    snapshot(book, positions={"BTCUSDT": Position(both=D(2))}, orders=[working("BTCUSDT", Side.SELL, "3")])

    def worst():
        return book.symbol_notional("main", Market.LINEAR, "BTCUSDT")

    plain = worst()
    for size in (D(2), D("Infinity")):
        book.shift_closing("main", Market.LINEAR, "BTCUSDT", Side.SELL, size, taken=True)
        assert book.symbol("main", Market.LINEAR, "BTCUSDT", NOW).closing == Sides(sell=size)
        assert worst() == plain / 2 * 3
        book.shift_closing("main", Market.LINEAR, "BTCUSDT", Side.SELL, size, taken=False)
        assert worst() == plain
        assert book.symbol("main", Market.LINEAR, "BTCUSDT", NOW).closing == Sides()


def test_an_older_reading_does_not_undo_a_leverage_that_was_set(book):
    """Lowered to 2 a second after a reading was asked for: that reading still says 20, and is not believed."""
    def known():
        return book.symbol("main", Market.LINEAR, "BTCUSDT", NOW).leverage

    def read(seconds):
        book.apply_leverage("main", {"BTCUSDT": D(20)}, as_of=NOW + timedelta(seconds=seconds))

    read(0)
    book.set_leverage("main", "BTCUSDT", D(2), NOW + timedelta(seconds=2))
    assert known() == Fact(D(2), NOW + timedelta(seconds=2))
    for seconds in (1, 2, 2.2):
        read(seconds)
        assert known().value == 2
    read(2.3)
    assert known().value == 20
    book.set_leverage("main", "BTCUSDT", None, NOW + timedelta(seconds=3))
    assert known() is None


def test_holdings_say_what_is_held_and_how_far_what_waits_may_move_it(book):
    """A position, both sides that wait, its worth and who opened it, for whoever judges the whole book."""
    book.apply_snapshot(
        "main", Market.LINEAR, as_of=NOW, positions={"BTCUSDT": Position(both=D(2))},
        orders=[working("BTCUSDT", Side.BUY, "0.5"), working("BTCUSDT", Side.SELL, "3")],
    )  # fmt: skip
    book.attribute("main", Market.LINEAR, "BTCUSDT", "grid", D(2))

    (held,) = book.holdings("main")
    assert (held.symbol, held.position.both, held.up, held.down) == ("BTCUSDT", D(2), D("0.5"), D(3))
    assert (held.value, held.strategies) == (D(50000), ("grid",))


def test_a_close_in_flight_lets_an_order_move_a_short_all_the_way_up(book):
    """What only closes fills first: a buy of 1 beside the close of a short of 5 may move the position by 6."""
    book.apply_snapshot(
        "main", Market.LINEAR, as_of=NOW, positions={"BTCUSDT": Position(both=D(-5))},
        orders=[working("BTCUSDT", Side.BUY, "5", order_id="a", reduces_by_venue=True),
                working("BTCUSDT", Side.BUY, "1", order_id="b")],
    )  # fmt: skip

    (held,) = book.holdings("main")
    assert (held.up, held.down) == (D(6), D(0))


def test_holdings_of_hedge_mode_keep_their_legs(book):
    """What waits on a leg is what may open it."""
    book.apply_snapshot(
        "main", Market.LINEAR, as_of=NOW, positions={"BTCUSDT": Position(long=D(1), short=D(2))},
        orders=[working("BTCUSDT", Side.BUY, "3", bucket=Bucket.LONG),
                working("BTCUSDT", Side.SELL, "4", bucket=Bucket.SHORT)],
    )  # fmt: skip

    (held,) = book.holdings("main")
    assert (held.up, held.down, held.long_up, held.short_up) == (D(0), D(0), D(3), D(4))


def test_a_coin_is_held_under_the_symbol_that_prices_it(book):
    """Spot positions are coins; the pair that values one is named, and one without a market has none."""
    book.apply_snapshot(
        "coins", Market.SPOT, as_of=NOW, positions={"BTC": Position(both=D(1)), "XYZ": Position(both=D(5))}, orders=[]
    )

    held = {one.instrument: (one.symbol, one.value) for one in book.holdings("coins")}
    assert held["BTC"][0] == "BTCUSDT"
    assert held["XYZ"] == (None, D(0))


def test_a_symbol_is_priced_by_the_pair_that_values_its_coin_in_dollars(book):
    """Contracts by themselves; spot pairs by their coin's; nothing that is not listed or has no dollar price."""
    priced = [
        book.priced_by("binance", Market.SPOT, symbol) for symbol in ("BTCUSDT", "BTCUSDC", "ETHBTC", "XYZUSDT")
    ]
    assert priced == ["BTCUSDT", "BTCUSDT", None, None]
    assert book.priced_by("binance", Market.LINEAR, "ETHUSDT") == "ETHUSDT"
    assert book.priced_by("binance", Market.LINEAR, "XYZUSDT") is None


def test_an_account_was_read_when_its_oldest_wallet_was(book):
    """None before each wallet has been read, and of an account nobody knows."""
    assert book.read_at("main") is None
    book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={}, orders=[])

    assert (book.read_at("main"), book.read_at("nobody"), book.holdings("nobody")) == (NOW, None, ())


def test_notional_per_strategy_shows_what_nobody_opened_under_no_name(book):
    """Held before anybody was let through: nobody's."""
    book.apply_snapshot("main", Market.LINEAR, as_of=NOW, positions={"BTCUSDT": Position(both=D(2))}, orders=[])
    book.attribute("main", Market.LINEAR, "BTCUSDT", "grid", D(1))

    assert book.strategy_notional("main")[""] == D(100000)
    assert book.strategy_notional("nobody") == {}


@pytest.mark.parametrize(
    ("more", "coins"),
    [
        ({"price": D("0.07")}, "0.7"),  # at its limit
        ({"price": D("0.05")}, "0.6"),  # at the market, which is above it
        ({"trigger_price": D("0.08")}, "0.8"),
        ({}, "0.6"),
    ],
)
def test_a_sale_for_coins_counts_as_a_purchase_of_them(book, more, coins):
    """10 ETH on sale for BTC may become so many BTC, beside the ETH that are held as long as it has not filled."""
    positions = {"ETH": Position(both=D(10)), "BTC": Position(both=D(1))}
    snapshot(book, "coins", Market.SPOT, positions=positions, orders=[working("ETHBTC", Side.SELL, "10", **more)])

    assert book.symbol_notional("coins", Market.SPOT, "BTCUSDT") == (1 + D(coins)) * 50000
    assert book.symbol_notional("coins", Market.SPOT, "ETHBTC") == 10 * 3000
    assert book.exposure("coins", "s", NOW).value.account == (1 + D(coins)) * 50000 + 30000


def test_sales_for_coins_that_exclude_each_other_buy_once(book):
    """Of two orders of one list the one that would buy more counts."""
    orders = [
        working("ETHBTC", Side.SELL, "10", price=D(price), group="g", order_id=price) for price in ("0.07", "0.09")
    ]
    snapshot(book, "coins", Market.SPOT, positions={"ETH": Position(both=D(10))}, orders=orders)

    assert book.symbol_notional("coins", Market.SPOT, "BTCUSDT") == D("0.9") * 50000


def test_a_sale_for_dollars_buys_nothing(book):
    """Dollars are money, not exposure."""
    snapshot(book, "coins", Market.SPOT, positions={"BTC": Position(both=D(1))},
             orders=[working("BTCUSDC", Side.SELL, "1", price=D(60000))])  # fmt: skip

    assert book.exposure("coins", "s", NOW).value.account == 50000


def test_a_sale_for_coins_whose_pair_has_no_price_is_valued_across(book):
    """Without a price of the pair, what both coins are worth says how many are bought."""
    book.apply_filters(
        "binance", Market.SPOT,
        {name: filters(*assets) for name, assets in
         {"BTCUSDT": ("BTC",), "ETHUSDT": ("ETH",), "ETHBTC": ("ETH", "BTC")}.items()},
        as_of=NOW,
    )  # fmt: skip
    quotes = {"BTCUSDT": Quote(D(50000)), "ETHUSDT": Quote(D(2500))}
    book.apply_prices("binance", Market.SPOT, quotes, as_of=NOW, complete=True)
    snapshot(book, "coins", Market.SPOT, positions={"ETH": Position(both=D(10))},
             orders=[working("ETHBTC", Side.SELL, "10")])  # fmt: skip

    assert book.symbol_notional("coins", Market.SPOT, "BTCUSDT") == 25000


def test_watchers_are_told_when_what_is_held_changes_and_only_then(book):
    """A reading that shows the same positions is no news; one that does not is, and so is a change between two."""
    told = []
    book.watchers.append(told.append)
    for held in ("2", "2", "3"):
        snapshot(book, positions={"BTCUSDT": Position(both=D(held))})
    assert told == ["main", "main"]

    book.apply_changes("main", Market.LINEAR, orders={}, positions={"BTCUSDT": Position(both=D(4))})
    assert told == ["main"] * 3
