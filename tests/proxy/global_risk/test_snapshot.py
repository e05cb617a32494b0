"""The snapshot: everything that is held, added up under every heading, and named where it is not known."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from proxy.book import AccountPlace, Quote
from proxy.global_risk.snapshot import NOBODY, NotReady, collect, collect_in_parts
from rules import Market, Position
from tests.proxy.global_risk.conftest import LINEAR, NOW, SPOT, D, Marks, open_desk, place, series


def test_positions_are_added_up_under_every_heading():
    """Two accounts on two exchanges: symbols, exchanges, counts, equity and leverage by hand."""
    desk = open_desk(place("main"), place("other", "elsewhere"))
    desk.hold("main", equity="10000", BTCUSDT="0.2", ETHUSDT="-2")
    desk.hold("other", equity="5000", BTCUSDT="0.1")
    taken = desk.taken()
    found = taken.snapshot

    assert found.symbol_exposure == {"BTCUSDT": D(15000), "ETHUSDT": D(5000)}
    assert found.exchange_exposure == {"binance": D(15000), "elsewhere": D(5000)}
    assert found.exchange_position_count == {"binance": 2, "elsewhere": 1}
    assert (found.total_notional, found.total_equity) == (D(20000), D(15000))
    assert found.total_leverage == pytest.approx(20000 / 15000)
    assert found.symbol_leverage["BTCUSDT"] == pytest.approx(1)
    assert taken.net == {
        series("BTCUSDT"): 10000.0, series("ETHUSDT"): -5000.0, series("BTCUSDT", exchange="elsewhere"): 5000.0
    }  # fmt: skip


def test_a_position_is_told_with_all_that_is_known_of_it(desk):
    """Signed quantity, notional, the venue's leverage, share of equity, mark; what the proxy does not keep is null."""
    desk.hold(ETHUSDT="-2", leverage="7")
    (found,) = desk.taken().snapshot.positions

    assert (found.account, found.symbol, found.exchange, found.market) == ("main", "ETHUSDT", "binance", "linear")
    assert (found.quantity, found.notional_usd, found.leverage, found.current_price) == (D(-2), D(5000), D(7), D(2500))
    assert found.risk_pct == pytest.approx(0.5)
    assert (found.entry_price, found.unrealized_pnl, found.strategy) == (None, None, None)


def test_legs_of_hedge_mode_are_positions_of_their_own(desk):
    """Gross they add up, net they cancel: what a move of the price makes is the difference."""
    desk.book.apply_snapshot(
        "main", LINEAR, as_of=NOW, positions={"BTCUSDT": Position(long=D("0.3"), short=D("0.1"))}, orders=[]
    )
    taken = desk.taken()

    assert [one.quantity for one in taken.snapshot.positions] == [D("0.3"), D("-0.1")]
    assert taken.snapshot.total_notional == D(20000)
    assert taken.net[series("BTCUSDT")] == pytest.approx(10000)


def test_strategies_are_counted_as_the_book_counts_them(desk):
    """What one strategy opened is its own, what nobody here opened stands apart; a shared position has no owner."""
    desk.hold(BTCUSDT="0.2", ETHUSDT="2")
    desk.book.attribute("main", LINEAR, "ETHUSDT", "grid", D(2))
    found = desk.taken().snapshot

    assert found.strategy_exposure[NOBODY] >= D(10000)
    assert {one.symbol: one.strategy for one in found.positions} == {"BTCUSDT": None, "ETHUSDT": "grid"}


def test_nothing_is_told_before_every_account_was_read():
    """A missing account is not an empty one: there is no snapshot, and it is named."""
    desk = open_desk(place("main"), place("other"))
    desk.hold("main")

    with pytest.raises(NotReady, match="other"):
        desk.taken()


def test_an_old_account_counts_with_what_was_known_of_it_and_is_named():
    """One of two is older than allowed: it still counts, and its exchange is failing if it has no other."""
    desk = open_desk(place("main"), place("other", "elsewhere"))
    desk.hold("other", BTCUSDT="0.1")
    desk.forward(61)
    desk.prices()
    desk.hold("main")
    taken = desk.taken()

    assert taken.snapshot.old_accounts == ("other",)
    assert taken.failing == {"elsewhere"}
    assert taken.snapshot.total_notional == D(5000)
    assert taken.snapshot.as_of == NOW


def test_without_one_fresh_account_there_is_no_snapshot(desk):
    """At exactly the age it is still one; a moment later everything is too old to be called a state."""
    desk.forward(60)
    desk.taken()
    desk.forward(0.001)

    with pytest.raises(NotReady, match="older than 60 s"):
        desk.taken()


def test_a_position_without_a_price_is_named(desk):
    """It cannot be counted, and nobody may think that there is nothing."""
    desk.hold(BTCUSDT="0.1", XYZUSDT="5")
    found = desk.taken().snapshot

    assert found.unpriced_symbols == ("XYZUSDT",)
    assert found.total_notional == D(5000)


def test_an_old_price_is_named_and_still_counts(desk):
    """The last price is a better guess than none, and is told as old."""
    desk.forward(61)
    desk.hold(BTCUSDT="0.1")
    found = desk.taken().snapshot

    assert found.unpriced_symbols == ("BTCUSDT",)
    assert found.total_notional == D(5000)


def test_coins_are_positions_and_dollars_are_not():
    """On spot, one bitcoin is notional under the pair that prices it; a coin without a market is worth nothing."""
    spot = AccountPlace(name="coins", exchange="binance", markets=frozenset({SPOT}))
    desk = open_desk(spot)
    held = {"BTC": Position(both=D(1)), "USDT": Position(both=D(700)), "ODD": Position(both=D(9))}
    desk.book.apply_snapshot("coins", SPOT, as_of=NOW, positions=held, orders=[])
    taken = desk.taken()

    assert [(one.symbol, one.market, one.leverage) for one in taken.snapshot.positions] == [("BTCUSDT", "spot", D(1))]
    assert taken.snapshot.total_equity == D(50700)
    assert taken.net == {series("BTCUSDT", SPOT): 50000.0}


def test_an_account_with_a_configured_equity_is_named_and_counts_nowhere():
    """It is not read, so nobody knows what it holds; with no other account the desk has no equity at all."""
    desk = open_desk(place("paper", equity_static=D(1000)))
    found = desk.taken().snapshot

    assert found.unread_accounts == ("paper",)
    assert (found.total_equity, found.total_leverage, found.total_notional) == (None, None, D(0))


def test_results_leave_transfers_out(desk):
    """10,000 now from 9,000 this morning with 1,500 sent in is a loss of 500, of 9,000."""
    desk.marks = Marks(day=D(9000), week=D(11000), day_transfers=D(1500))
    found = desk.taken().snapshot

    assert (found.daily_pnl, found.weekly_pnl) == (D(-500), D(-1000))
    assert found.drawdown_pct == pytest.approx(500 / 9000)


def test_results_are_measured_by_the_equity_that_losses_are_measured_by(desk):
    """Where a transfer may explain a reading and no history does yet, the least that can be true counts."""
    desk.marks = Marks(day=D(9000), equity=D(8000))

    assert desk.taken().snapshot.daily_pnl == D(-1000)
    assert desk.taken().snapshot.total_equity == D(10000)


def test_a_gain_is_no_drawdown_and_an_unknown_start_is_unknown(desk):
    """Never negative, never zero for want of knowledge."""
    desk.marks = Marks(day=D(9000))
    assert desk.taken().snapshot.drawdown_pct == 0
    assert desk.taken().snapshot.weekly_pnl is None
    desk.marks = Marks(week=D(9000))
    found = desk.taken().snapshot

    assert (found.daily_pnl, found.drawdown_pct, found.weekly_pnl) == (None, None, D(1000))


async def test_reading_in_parts_comes_to_the_same():
    """Account by account with the loop between them, or in one go."""
    desk = open_desk(place("main"), place("other", "elsewhere"))
    desk.hold("main", BTCUSDT="0.2", ETHUSDT="-2")
    desk.hold("other", SOLUSDT="7")
    asked = {"now": NOW, "age_max": timedelta(seconds=60)}

    assert await collect_in_parts(desk.book, desk.marks, **asked) == collect(desk.book, desk.marks, **asked)


def test_spreads_come_from_bid_and_ask(desk):
    """As a fraction of the mark; without a book, unknown."""
    desk.hold(BTCUSDT="0.1", ETHUSDT="1")
    desk.book.apply_prices(
        "binance", Market.LINEAR, {"BTCUSDT": Quote(D(50000), D(49950), D(50050)), "ETHUSDT": Quote(D(2500))},
        as_of=NOW + timedelta(seconds=1),
    )  # fmt: skip
    spreads = desk.taken().spreads

    assert spreads[series("BTCUSDT")].spread == pytest.approx(0.002)
    assert spreads[series("ETHUSDT")].spread is None
    assert spreads[series("ETHUSDT")].notional == float(Decimal(2500))
