"""The six systemic signals: each at its threshold, under it, and where nobody can tell."""

from __future__ import annotations

import pytest

from proxy.global_risk.measures import Movement
from proxy.global_risk.models import ExposureMatrix, SystemicRiskType
from proxy.global_risk.snapshot import Spread
from proxy.global_risk.systemic import SIGNALS, Scene, find, liquidity_score
from rules import RiskLevel
from tests.proxy.global_risk.conftest import NOW, Desk, open_desk, place, series

Kind = SystemicRiskType
INFO, WARNING, CRITICAL = RiskLevel.INFO, RiskLevel.WARNING, RiskLevel.CRITICAL


def matrix(**more) -> ExposureMatrix:
    """An exposure matrix of which only what a test states is there."""
    values = {
        "timestamp": NOW, "symbol_shares": {}, "exchange_shares": {}, "strategy_shares": {}, "symbol_hhi": 0.0,
        "exchange_hhi": 0.0, "strategy_hhi": 0.0, "hotspots": (), "symbols": (), "correlations": (),
        "avg_correlation": None, "max_correlation": None, "avg_position_correlation": 0.0, "benchmark": "BTCUSDT",
        "betas": {}, "beta_weights": {}, "portfolio_beta": None, "observations": 90,
    }  # fmt: skip
    return ExposureMatrix(**(values | more))


def scene(desk: Desk, moved: Movement | None = None, taken=None, **more) -> Scene:
    """What the signals look at."""
    calm = Movement(correlation_recent=0.5, correlation_before=0.5, volatility_ratio=1.0)
    return Scene(taken=taken or desk.taken(), matrix=matrix(**more), moved=moved or calm, limits=desk.limits)


def only(found: Scene, kind: Kind):
    """The signal of a kind; None if it is not there. And whether nobody can tell."""
    signals, unmeasured = find(found)
    (signal,) = [one for one in signals if one.type is kind and one.level is not INFO] or [None]
    return signal, any(one.type is kind for one in unmeasured)


def test_there_is_a_look_for_each_of_the_six():
    """No type without a function that finds it."""
    assert sorted(look.__name__ for look in SIGNALS) == sorted(kind.value for kind in Kind)


def test_a_calm_desk_has_no_signal(desk):
    """Neither found nor unknown."""
    desk.hold(BTCUSDT="0.1", ETHUSDT="1")

    assert find(scene(desk)) == ((), ())


def with_spread(desk: Desk, spread: float | None):
    """The desk's snapshot with every spread set."""
    taken = desk.taken()
    spreads = {one: Spread(known.notional, spread) for one, known in taken.spreads.items()}
    return type(taken)(taken.snapshot, taken.net, spreads, taken.exchanges, taken.failing, taken.unlisted)


@pytest.mark.parametrize(
    ("spread", "level"),
    [(0.0, None), (0.00199, None), (0.00201, WARNING), (0.00599, WARNING), (0.00601, CRITICAL), (0.5, CRITICAL)],
)
def test_liquidity_stress_begins_at_half_the_score(desk, spread, level):
    """A spread of 0.2 % scores one half, the minimum; at 0.6 % a quarter is left, which is critical."""
    desk.hold(BTCUSDT="0.1")
    signal, unknown = only(scene(desk, taken=with_spread(desk, spread)), Kind.LIQUIDITY_STRESS)

    assert (signal.level if signal else None, unknown) == (level, False)


def test_liquidity_is_weighted_by_what_is_held(desk):
    """A small illiquid position beside a large liquid one is no stress; the other way round it is."""
    for btc, eth, found in (("0.2", "0.1", False), ("0.001", "4", True)):
        desk.hold(BTCUSDT=btc, ETHUSDT=eth)
        taken = desk.taken()
        wide = {series("BTCUSDT"): 0.0001, series("ETHUSDT"): 0.02}
        spreads = {one: Spread(known.notional, wide[one]) for one, known in taken.spreads.items()}
        taken = type(taken)(taken.snapshot, taken.net, spreads, taken.exchanges, taken.failing, taken.unlisted)
        assert (only(scene(desk, taken=taken), Kind.LIQUIDITY_STRESS)[0] is not None) is found


def test_liquidity_of_what_has_no_book_cannot_be_told(desk):
    """Unknown, not liquid."""
    desk.hold(BTCUSDT="0.1")

    assert only(scene(desk, taken=with_spread(desk, None)), Kind.LIQUIDITY_STRESS) == (None, True)
    assert (liquidity_score(0), liquidity_score(0.002)) == (1, 0.5)


@pytest.mark.parametrize(
    ("recent", "level", "severity"),
    [(0.49, None, 0), (0.5, WARNING, 0.5), (0.59, WARNING, 0.725), (0.6, CRITICAL, 0.75), (1.0, CRITICAL, 1.0)],
)
def test_a_correlation_spike_is_two_tenths_over_its_baseline(desk, recent, level, severity):
    """From a baseline of 0.3: a warning from 0.5, critical from 0.6."""
    desk.hold(BTCUSDT="0.1", ETHUSDT="1")
    moved = Movement(correlation_recent=recent + 1e-12, correlation_before=0.3, volatility_ratio=1.0)
    signal, _ = only(scene(desk, moved), Kind.CORRELATION_SPIKE)

    assert (signal.level if signal else None) == level
    assert signal is None or signal.severity == pytest.approx(severity)


def test_a_correlation_needs_two_symbols_and_a_history(desk):
    """One symbol: nothing to find. Two without history: nobody can tell."""
    unknown = Movement(volatility_ratio=1.0)
    desk.hold(BTCUSDT="0.1")
    assert only(scene(desk, unknown), Kind.CORRELATION_SPIKE) == (None, False)
    desk.hold(BTCUSDT="0.1", ETHUSDT="1")

    assert only(scene(desk, unknown), Kind.CORRELATION_SPIKE) == (None, True)


@pytest.mark.parametrize(
    ("ratio", "level"), [(1.99, None), (2.0, WARNING), (2.99, WARNING), (3.0, CRITICAL), (9.0, CRITICAL)]
)
def test_a_volatility_shift_is_twice_the_baseline(desk, ratio, level):
    """A warning from 2 times, critical from 3."""
    desk.hold(BTCUSDT="0.1")
    signal, _ = only(scene(desk, Movement(volatility_ratio=ratio)), Kind.VOLATILITY_REGIME_SHIFT)

    assert (signal.level if signal else None) == level


def test_volatility_without_history_cannot_be_told_of_what_is_held(desk):
    """With nothing held there is nothing to tell."""
    assert only(scene(desk, Movement()), Kind.VOLATILITY_REGIME_SHIFT) == (None, False)
    desk.hold(BTCUSDT="0.1")

    assert only(scene(desk, Movement()), Kind.VOLATILITY_REGIME_SHIFT) == (None, True)


def exchanges(count: int, failing: int) -> Desk:
    """A desk on several exchanges, some of which have gone silent."""
    desk = open_desk(*(place(f"a{n}", f"e{n}") for n in range(count)))
    for n in range(count):
        desk.hold(f"a{n}")
    if failing:
        desk.forward(61)
        for n in range(failing, count):
            desk.prices(exchange=f"e{n}")
            desk.hold(f"a{n}")
    return desk


@pytest.mark.parametrize(
    ("count", "failing", "level"), [(1, 0, None), (2, 0, None), (2, 1, WARNING), (4, 2, WARNING), (4, 3, CRITICAL)]
)
def test_exchanges_that_fail_are_counted(count, failing, level):
    """Half of them are a warning, three quarters are critical."""
    signal, _ = only(scene(exchanges(count, failing)), Kind.MULTI_EXCHANGE_FAILURE)

    assert (signal.level if signal else None) == level
    assert signal is None or signal.severity == failing / count


@pytest.mark.parametrize(("share", "found"), [(0.75, False), (0.76, True)])
def test_leaning_to_one_exchange_is_told_and_no_more(share, found):
    """With two, more than three quarters on one is an imbalance over one half: INFO, which no level comes from."""
    desk = exchanges(2, 0)
    signals, _ = find(scene(desk, exchange_shares={"e0": share, "e1": 1 - share}))

    assert [one.level for one in signals] == ([INFO] if found else [])


CASCADE = {"BTCUSDT": "0.4", "ETHUSDT": "5"}  # 32,500 with 10,000 of equity


@pytest.mark.parametrize(
    ("correlation", "leverage", "held", "found"),
    [
        (0.71, "4", CASCADE, True), (0.70, "4", CASCADE, False), (0.71, "3", CASCADE, False),
        (0.71, "4", {"BTCUSDT": "0.4", "ETHUSDT": "4"}, False), (0.71, "4", {"BTCUSDT": "0.7"}, False),
    ],
)  # fmt: skip
def test_a_cascade_needs_correlation_leverage_and_two_levered_positions(desk, correlation, leverage, held, found):
    """All three over their thresholds, or it is none; then it is always critical."""
    desk.hold(leverage=leverage, **held)
    signal, unknown = only(scene(desk, avg_position_correlation=correlation), Kind.CASCADING_RISK)

    assert (signal is not None, unknown) == (found, False)
    assert signal is None or (signal.level, signal.severity) == (CRITICAL, 0.75)


def test_a_cascade_without_history_cannot_be_told(desk):
    """Two levered positions in a levered book whose correlation nobody knows."""
    desk.hold(leverage="4", **CASCADE)

    assert only(scene(desk, avg_position_correlation=None), Kind.CASCADING_RISK) == (None, True)


def test_a_leverage_that_is_not_known_counts_as_high():
    """Missing facts never make a desk safer."""
    desk = open_desk(place("main"))
    desk.hold(**CASCADE)
    desk.book._accounts["main"].wallets["linear"].leverage_as_of = None
    desk.book._accounts["main"].wallets["linear"].shown = {}
    taken = desk.taken()

    assert {one.leverage for one in taken.snapshot.positions} == {None}
    assert only(scene(desk, taken=taken, avg_position_correlation=0.9), Kind.CASCADING_RISK)[0] is not None


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ({"symbol_hhi": 0.40, "symbol_shares": {"a": 0.60}}, False),
        ({"symbol_hhi": 0.41, "symbol_shares": {"a": 0.60}}, True),
        ({"symbol_hhi": 0.40, "symbol_shares": {"a": 0.61}}, True),
        ({"symbol_hhi": 0.2, "exchange_shares": {"e0": 1.0}}, False),
    ],
)
def test_concentration_is_found_in_a_levered_book(desk, shape, found):
    """HHI or a symbol over its threshold; one exchange alone is no concentration. Never more than a warning."""
    desk.hold(BTCUSDT="0.6")  # 3x
    signal, _ = only(scene(desk, **shape), Kind.CONCENTRATION_RISK)

    assert (signal is not None) is found
    assert signal is None or signal.level is WARNING


def test_concentration_on_one_of_several_exchanges_is_found():
    """With two, more than eight tenths on one."""
    desk = exchanges(2, 0)
    desk.hold("a0", BTCUSDT="1.2")
    for share, found in ((0.8, False), (0.81, True)):
        signal, _ = only(scene(desk, exchange_shares={"e0": share, "e1": 1 - share}), Kind.CONCENTRATION_RISK)
        assert (signal is not None) is found


@pytest.mark.parametrize(("quantity", "found"), [("0.599", False), ("0.6", True)])
def test_a_small_book_may_stand_in_one_symbol(desk, quantity, found):
    """Below the leverage from which structure counts, the first position is no concentration."""
    desk.hold(BTCUSDT=quantity)
    signal, _ = only(scene(desk, symbol_hhi=1.0, symbol_shares={"BTCUSDT": 1.0}), Kind.CONCENTRATION_RISK)

    assert (signal is not None) is found


def test_severity_of_concentration_is_the_largest_of_three(desk):
    """HHI over a half, a symbol over seven tenths, at most 1."""
    desk.hold(BTCUSDT="0.6")
    signal, _ = only(scene(desk, symbol_hhi=0.41, symbol_shares={"a": 0.63}), Kind.CONCENTRATION_RISK)
    assert signal.severity == pytest.approx(0.9)
    signal, _ = only(scene(desk, symbol_hhi=1.0, symbol_shares={"a": 1.0}), Kind.CONCENTRATION_RISK)

    assert signal.severity == 1.0
