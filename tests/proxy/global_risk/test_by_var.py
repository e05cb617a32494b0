"""The largest quantity inside VaR and ES: against searching for it, against every fill of what waits, and in time."""

from __future__ import annotations

import itertools
import random
import time
from decimal import Decimal

import numpy as np
import pytest

from proxy.book import AccountPlace, Quote, Working
from proxy.global_risk import arithmetic
from proxy.global_risk.by_var import ByVar, Portfolio, VarLimits, largest_quantity, prepared
from proxy.global_risk.history import Aligned
from proxy.global_risk.measures import Method, tail
from rules import Bucket, Filters, Position, Side, WorkingOrder
from tests.proxy.global_risk.conftest import LINEAR, SPOT, D, open_desk, series

BTC, ETH, SOL = series("BTCUSDT"), series("ETHUSDT"), series("SOLUSDT")
SERIES = (BTC, ETH, SOL)
PAIRS = [(LINEAR, "BTCUSDT"), (LINEAR, "ETHUSDT")]
VALUES = {BTC: D(50000), ETH: D(2500), SOL: D(100)}
METHOD = Method()
NONE = D(0)


def history(pick: random.Random, days: int = 180) -> Aligned:
    """Returns that move together in part."""
    rows = []
    for _ in range(days):
        market = pick.gauss(0, 0.025)
        rows.append([market + pick.gauss(0, 0.015) for _ in SERIES])
    return Aligned(SERIES, tuple(range(days)), np.array(rows))


def measured(portfolio: Portfolio, limit: VarLimits, symbol=None, quantity: float = 0.0) -> float:
    """How much of the tightest limit is used with so much more (signed) of a symbol, by plain evaluation."""
    unit = np.zeros(len(portfolio.worst))
    deviation = 0.0
    if symbol is not None:
        at = portfolio.table.columns[symbol]
        unit = -portfolio.table.returns[:, at] * portfolio.values[symbol]
        deviation = quantity
    worst, held = portfolio.worst + unit * quantity, portfolio.held + unit * deviation
    sigma = arithmetic.ewma_deviation(held) + portfolio.waiting_deviation
    used = []
    for level, money in ((950, limit.var_95), (990, limit.var_99)):
        if money is not None:
            used.append(arithmetic.var_historical(worst, level) / float(money))
            used.append(arithmetic.var_normal(sigma, level) / float(money))
    if limit.es_975 is not None:
        used.append(arithmetic.es_historical(worst, 975) / float(limit.es_975))
        used.append(arithmetic.es_normal(sigma, 975) / float(limit.es_975))
    return max(used)


def drawn(seed: int) -> tuple[Portfolio, VarLimits, object, Side, Decimal]:
    """An account, its limits, and an order."""
    pick = random.Random(seed)
    quantities = {
        symbol: (
            D(str(round(pick.uniform(-1, 1) * 20_000 / float(VALUES[symbol]), 3))),
            *(D(str(round(max(0.0, pick.uniform(-2, 1)) * 8_000 / float(VALUES[symbol]), 3))) for _ in range(2)),
        )
        for symbol in SERIES
    }
    portfolio = prepared(history(pick), quantities, VALUES, METHOD)
    scale = arithmetic.es_historical(portfolio.worst, 975) * pick.uniform(0.7, 2.5)
    shares = (pick.uniform(0.5, 1), pick.uniform(0.6, 1.3), pick.uniform(0.7, 1.3))
    stated = [D(str(round(scale * share, 2))) if pick.random() < 0.7 else None for share in shares]
    if not any(stated):
        stated[2] = D(str(round(scale, 2)))
    symbol, side = pick.choice(SERIES), pick.choice((Side.BUY, Side.SELL))
    asked = D(str(round(pick.uniform(0.01, 3) * 20_000 / float(VALUES[symbol]), 3)))
    return portfolio, VarLimits(*stated), symbol, side, asked


@pytest.mark.parametrize("block", range(10))
def test_it_is_the_largest_that_every_smaller_one_fits_beside(block):
    """Against scanning: all of the answer is inside, a little more is outside or more than asked, none is none."""
    outcomes = {"all": 0, "part": 0, "none": 0}
    for seed in range(block * 60, block * 60 + 60):
        portfolio, limit, symbol, side, asked = drawn(seed)
        sign = 1 if side is Side.BUY else -1
        found = largest_quantity(portfolio, symbol, side, asked, limit)
        assert found is not None
        assert 0 <= found <= asked
        outcomes["all" if found == asked else "part" if found else "none"] += 1
        for share in np.linspace(0, 1, 41):
            if found:
                used = measured(portfolio, limit, symbol, sign * float(found) * share)
                assert used <= 1 + 1e-9, (seed, share)
        if found < asked:
            more = float(found) * (1 + 1e-7) + float(asked) * 1e-7
            assert measured(portfolio, limit, symbol, sign * more) > 1, seed
    assert all(outcomes.values()), outcomes


def test_whatever_of_the_waiting_orders_fills_the_account_stays_inside():
    """Every subset of fills, and half fills, of the order and of what waits: VaR and ES are at most what was judged."""
    for seed in range(40):
        pick = random.Random(seed)
        net = {symbol: pick.uniform(-1, 1) * 20_000 for symbol in SERIES}
        ups = {symbol: pick.uniform(0, 8_000) for symbol in SERIES}
        downs = {symbol: pick.uniform(0, 8_000) for symbol in SERIES}
        quantities = {
            symbol: tuple(D(repr(value[symbol])) / VALUES[symbol] for value in (net, ups, downs)) for symbol in SERIES
        }
        aligned = history(pick)
        portfolio = prepared(aligned, quantities, VALUES, METHOD)
        worst = {level: measured(portfolio, VarLimits(**{name: D(1)})) for level, name in
                 ((950, "var_95"), (990, "var_99"), (975, "es_975"))}  # fmt: skip
        limit = VarLimits(*(D(repr(worst[level] * 1.2)) for level in (950, 990, 975)))
        found = largest_quantity(portfolio, ETH, Side.BUY, D(100), limit)
        assert found
        for fills in itertools.product((0.0, 0.5, 1.0), repeat=4):
            after = dict(net)
            after[BTC] += fills[0] * ups[BTC]
            after[SOL] -= fills[1] * downs[SOL]
            after[ETH] += fills[2] * ups[ETH] + fills[3] * float(found * VALUES[ETH])
            figures = tail(aligned.returns, np.array([after[symbol] for symbol in SERIES]), METHOD)
            for level, money in zip((950, 990, 975), limit, strict=True):
                assert figures.worse(level) <= float(money) * (1 + 1e-9), (seed, fills, level)


def test_a_hedge_has_more_room_than_more_of_the_same():
    """With a long near its limit, selling what moves with it fits where buying it hardly does."""
    portfolio = prepared(history(random.Random(3)), {BTC: (D(1), NONE, NONE)}, VALUES, METHOD)
    limit = VarLimits(es_975=D(repr(measured(portfolio, VarLimits(es_975=D(1))) * 1.05)))
    more = largest_quantity(portfolio, ETH, Side.BUY, D(20), limit)
    hedge = largest_quantity(portfolio, ETH, Side.SELL, D(20), limit)

    assert 0 < more < D(3)
    assert hedge == D(20)


def test_whoever_is_outside_already_gets_nothing():
    """Neither more of the same nor a hedge: what provably reduces is not asked about."""
    portfolio = prepared(history(random.Random(3)), {BTC: (D(1), NONE, NONE)}, VALUES, METHOD)
    limit = VarLimits(var_95=D(10))

    assert largest_quantity(portfolio, ETH, Side.BUY, D(1), limit) == 0
    assert largest_quantity(portfolio, ETH, Side.SELL, D(1), limit) == 0


def test_var_that_comes_back_inside_later_does_not_count():
    """VaR is not convex: a quantity beyond a stretch that is outside is not offered, since the order fills in part."""
    days = 40
    returns = np.zeros((days, 1))
    returns[:3, 0] = (0.10, 0.11, 0.12)  # a short loses on these
    returns[3:9, 0] = -0.01
    portfolio = prepared(Aligned((BTC,), tuple(range(days)), returns), {BTC: (D(-2), NONE, NONE)}, VALUES, METHOD)
    limit = VarLimits(var_95=D(9000))  # two of forty days may be beyond

    found = largest_quantity(portfolio, BTC, Side.BUY, D(30), limit)
    assert found == 0  # three days are beyond now, though buying 1 would mend it
    assert measured(portfolio, VarLimits(var_95=D(9000)), BTC, 1.0) < 1


def test_without_limits_everything_fits_and_without_history_nobody_knows():
    """No limit is no bound; a symbol that is not in the table has no answer, not zero and not all."""
    portfolio = prepared(history(random.Random(1)), {BTC: (D(1), NONE, NONE)}, VALUES, METHOD)

    assert largest_quantity(portfolio, ETH, Side.BUY, D(7), VarLimits()) == D(7)
    assert largest_quantity(portfolio, series("XYZUSDT"), Side.BUY, D(7), VarLimits(var_95=D(1))) is None


def test_older_waiting_orders_leave_less_room():
    """What waits uses room, on either side of the book, whether it would hurt or help."""
    pick = random.Random(5)
    aligned = history(pick)
    limit = VarLimits(D(3000), D(4500), D(5000))
    bare = prepared(aligned, {BTC: (D("0.5"), NONE, NONE)}, VALUES, METHOD)
    room = largest_quantity(bare, BTC, Side.BUY, D(10), limit)
    for waiting in ((D("0.1"), NONE), (NONE, D("0.1")), (D("0.1"), D("0.1"))):
        busy = prepared(aligned, {BTC: (D("0.5"), *waiting)}, VALUES, METHOD)
        assert largest_quantity(busy, BTC, Side.BUY, D(10), limit) < room


# --- prepared from the book -------------------------------------------------------------------


def walk(seed: int, days: int = 60) -> list[float]:
    """Returns of one symbol."""
    pick = random.Random(seed)
    return [pick.gauss(0, 0.03) for _ in range(days)]


def known(desk) -> ByVar:
    """A desk whose symbols have histories."""
    for at, symbol in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")):
        desk.know(symbol, walk(at))
    return ByVar(desk.book, desk.history, METHOD)


def test_the_book_prepares_positions_and_what_waits(desk):
    """Held, working and reserved quantities end in the vectors that plain figures give."""
    by_var = known(desk)
    now = desk.clock.now()
    order = WorkingOrder(
        order_id="1", client_order_id=None, side=Side.BUY, bucket=Bucket.BOTH, remaining=D("0.2")
    )
    desk.book.apply_snapshot(
        "main", LINEAR, as_of=now, positions={"BTCUSDT": Position(both=D("0.5"))}, orders=[Working("BTCUSDT", order)]
    )
    desk.book.shift_reserved("main", LINEAR, "ETHUSDT", Bucket.BOTH, Side.SELL, D(2), "grid", D(2))
    found = by_var.portfolio("main", "binance", [SOL], now)

    aligned = desk.history.align(tuple(sorted(SERIES)), today=desk.today, lookback=180, history_min=30)
    wanted = prepared(
        aligned, {BTC: (D("0.5"), D("0.2"), NONE), ETH: (NONE, NONE, D(2)), SOL: (NONE, NONE, NONE)}, VALUES, METHOD
    )
    assert np.allclose(found.worst, wanted.worst, rtol=1e-12)
    assert np.allclose(found.held, wanted.held, rtol=1e-12)
    assert found.waiting_deviation == pytest.approx(wanted.waiting_deviation)


def test_a_reservation_takes_its_room_in_the_same_step(desk):
    """Two orders never fit into the same headroom: after the first is reserved, the second finds what is left."""
    by_var = known(desk)
    now = desk.clock.now()
    limit = VarLimits(es_975=D(1000))
    first = largest_quantity(by_var.portfolio("main", "binance", [BTC], now), BTC, Side.BUY, D(5), limit)
    assert 0 < first < 5
    desk.book.shift_reserved("main", LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, first, "grid", first)
    second = largest_quantity(by_var.portfolio("main", "binance", [BTC], now), BTC, Side.BUY, D(5), limit)

    assert second < first * D("1e-6")


def test_a_symbol_or_holding_without_history_is_not_prepared(desk):
    """Nothing is guessed: None, for the symbol asked for and for one that is held."""
    by_var = ByVar(desk.book, desk.history, METHOD)
    desk.know("BTCUSDT", walk(1))
    now = desk.clock.now()
    assert by_var.portfolio("main", "binance", [BTC], now) is not None
    assert by_var.portfolio("main", "binance", [ETH], now) is None

    desk.hold(ETHUSDT="1")
    assert by_var.portfolio("main", "binance", [BTC], now) is None


def test_the_room_of_a_request_is_one_accounts_at_one_moment(desk):
    """A tenth, a fifth and a quarter of its own equity, or a stated amount below; answers in an order's own words."""
    by_var = known(desk)
    now = desk.clock.now()
    limits = desk.limits.model_copy(update={"var_99_money_max": D(700)})
    room = by_var.room("main", "binance", PAIRS, limits, now)
    assert room.limits == VarLimits(D(1000), D(700), D(2500))
    found = room.largest_quantity(LINEAR, "BTCUSDT", Side.BUY, D(5))

    assert found == largest_quantity(room.portfolio, BTC, Side.BUY, D(5), room.limits)
    assert 0 < found < 5
    assert room.largest_quantity(LINEAR, "SOLUSDT", Side.BUY, D(5)) is None


def test_a_spot_pair_stands_for_the_coin_it_sells():
    """BTCUSDC uses the candles that price the coin; ETHBTC trades two coins, and nobody answers for it."""
    desk = open_desk(AccountPlace(name="coins", exchange="binance", markets=frozenset({SPOT})))
    listed = {
        symbol: Filters(base_asset=base, quote_asset=quote, quantity_step=D("0.001"), quantity_min=D("0.001"))
        for symbol, base, quote in (("BTCUSDT", "BTC", "USDT"), ("BTCUSDC", "BTC", "USDC"), ("ETHBTC", "ETH", "BTC"))
    }
    now = desk.clock.now()
    desk.book.apply_filters("binance", SPOT, listed, as_of=now)
    desk.book.apply_prices(
        "binance", SPOT, {"BTCUSDT": Quote(D(50000)), "BTCUSDC": Quote(D(50010)), "ETHBTC": Quote(D("0.05"))}, as_of=now
    )
    desk.book.apply_snapshot("coins", SPOT, as_of=now, positions={"USDT": Position(both=D(10000))}, orders=[])
    desk.know("BTCUSDT", walk(1), SPOT)
    by_var = ByVar(desk.book, desk.history, METHOD)
    asked = [(SPOT, "BTCUSDT"), (SPOT, "BTCUSDC"), (SPOT, "ETHBTC")]
    room = by_var.room("coins", "binance", asked, desk.limits, now)
    dollars = room.largest_quantity(SPOT, "BTCUSDT", Side.BUY, D(9))

    assert 0 < dollars < 9
    assert room.largest_quantity(SPOT, "BTCUSDC", Side.BUY, D(9)) == dollars
    assert room.largest_quantity(SPOT, "ETHBTC", Side.BUY, D(9)) is None


def test_a_leg_let_through_before_takes_its_room(desk):
    """As if it were reserved in the book already."""
    by_var = known(desk)
    now = desk.clock.now()
    room = by_var.room("main", "binance", PAIRS, desk.limits, now)
    left = room.after(LINEAR, "BTCUSDT", Side.BUY, D("0.1"))
    desk.book.shift_reserved("main", LINEAR, "BTCUSDT", Bucket.BOTH, Side.BUY, D("0.1"), "grid", D("0.1"))
    reserved = by_var.room("main", "binance", PAIRS, desk.limits, now)

    assert np.allclose(left.portfolio.worst, reserved.portfolio.worst, rtol=1e-12)
    assert left.portfolio.waiting_deviation == pytest.approx(reserved.portfolio.waiting_deviation)
    sold = left.largest_quantity(LINEAR, "ETHUSDT", Side.SELL, D(500))
    assert 0 < sold < room.largest_quantity(LINEAR, "ETHUSDT", Side.SELL, D(500))


def test_without_equity_history_or_price_there_is_no_answer(desk):
    """Nobody knows, which a rule has to treat as missing."""
    by_var = ByVar(desk.book, desk.history, METHOD)
    now = desk.clock.now()
    for room in (
        by_var.room("main", "binance", PAIRS[:1], desk.limits, now),
        by_var.room("nobody", "binance", PAIRS[:1], desk.limits, now),
        known(desk).room("main", "binance", [(LINEAR, "XYZUSDT")], desk.limits, now),
        known(desk).room("main", "binance", PAIRS[:1], desk.limits, now).after(LINEAR, "SOLUSDT", Side.BUY, D(1)),
    ):
        assert room.largest_quantity(LINEAR, "BTCUSDT", Side.BUY, D(1)) is None


def test_less_equity_or_tighter_limits_never_leave_more(desk):
    """Over many accounts: every limit lowered, one by one, and equity."""
    by_var = known(desk)
    now = desk.clock.now()
    for equity in ("10000", "8000", "1000", "0", "-1"):
        desk.hold(equity=equity, BTCUSDT="0.05")
        asked = (LINEAR, "ETHUSDT", Side.BUY, D(50))
        whole = by_var.room("main", "binance", PAIRS[1:], desk.limits, now).largest_quantity(*asked)
        for name in ("var_95_max", "var_99_max", "es_975_max"):
            tighter = desk.limits.model_copy(update={name: getattr(desk.limits, name) / 2})
            assert by_var.room("main", "binance", PAIRS[1:], tighter, now).largest_quantity(*asked) <= whole
        assert equity not in ("0", "-1") or whole == 0


def test_a_new_history_is_taken_at_once(desk):
    """Tables are kept until the history changes."""
    by_var = known(desk)
    now = desk.clock.now()
    desk.hold(BTCUSDT="1")
    calm = by_var.portfolio("main", "binance", [BTC], now)
    assert by_var.portfolio("main", "binance", [BTC], now).table is calm.table
    desk.know("BTCUSDT", [value * 3 for value in walk(0)])

    assert by_var.portfolio("main", "binance", [BTC], now).worst.max() == pytest.approx(3 * calm.worst.max())


def test_the_answer_takes_less_than_fifty_microseconds():
    """Typical orders, scaled ones among them, by the processor's own time: the median of many."""
    cases = [drawn(seed) for seed in range(30)]
    took = []
    for portfolio, limit, symbol, side, asked in cases * 7:
        begun = time.process_time_ns()
        for _ in range(20):
            largest_quantity(portfolio, symbol, side, asked, limit)
        took.append((time.process_time_ns() - begun) / 20_000)
    # The bound is 50 in a quiet process; a busy machine may double it.
    assert sorted(took)[len(took) // 2] < 100
