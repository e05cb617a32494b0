"""What is calculated of a snapshot: shares, correlations, betas, VaR and ES, and now against before."""

from __future__ import annotations

import random

import numpy as np
import pytest

from proxy.global_risk import arithmetic
from proxy.global_risk.history import Series
from proxy.global_risk.judgement import thresholds
from proxy.global_risk.measures import Method, described, matrix, movement, results
from tests.proxy.global_risk.conftest import LINEAR, NOW, D, Desk, open_desk, place, series

METHOD = Method()


def walk(seed: int, days: int = 90, deviation: float = 0.03) -> list[float]:
    """Returns of one symbol."""
    pick = random.Random(seed)
    return [pick.gauss(0, deviation) for _ in range(days)]


def aligned_of(desk: Desk, taken):
    """The history of what is held."""
    return desk.history.aligned(
        tuple(sorted(taken.net)), today=desk.today, lookback=METHOD.lookback_days, history_min=METHOD.history_min
    )


def matrix_of(desk: Desk, *, benchmark: str | None = "BTCUSDT"):
    """The exposure matrix now."""
    taken = desk.taken()
    aligned = aligned_of(desk, taken)
    against = None if benchmark is None else desk.history.on_days(series(benchmark), aligned.days)
    return matrix(taken, aligned, against, METHOD, NOW)


def test_shares_and_concentration(desk):
    """Three quarters in one symbol: HHI 0.625, and both symbols or the one are hotspots as they are large."""
    desk.hold(BTCUSDT="0.15", ETHUSDT="-1")
    found = matrix_of(desk)

    assert found.symbol_shares == {"BTCUSDT": 0.75, "ETHUSDT": 0.25}
    assert found.symbol_hhi == pytest.approx(0.625)
    assert found.exchange_hhi == 1
    assert found.hotspots == ("exchange binance", "symbol BTCUSDT")


@pytest.mark.parametrize(("quantity", "hot"), [("0.0599", False), ("0.06", True)])
def test_a_hotspot_is_three_tenths(desk, quantity, hot):
    """At 30 % it is one, under it is not."""
    desk.hold(BTCUSDT=quantity, ETHUSDT="2.8")

    assert ("symbol BTCUSDT" in matrix_of(desk).hotspots) is hot


def test_correlation_counts_a_hedge_as_one(desk):
    """Two symbols that move alike: the markets' average is 1, that of a long and a short is -1."""
    desk.know("BTCUSDT", walk(1))
    desk.know("ETHUSDT", [2 * made for made in walk(1)])
    desk.hold(BTCUSDT="0.1", ETHUSDT="-2")
    hedged = matrix_of(desk)
    desk.hold(BTCUSDT="0.1", ETHUSDT="2")
    doubled = matrix_of(desk)

    assert hedged.avg_correlation == hedged.max_correlation == pytest.approx(1)
    assert hedged.avg_position_correlation == pytest.approx(-1)
    assert doubled.avg_position_correlation == pytest.approx(1)
    assert hedged.symbols == ("BTCUSDT", "ETHUSDT")
    assert hedged.correlations[0][1] == pytest.approx(1)


def test_betas_are_measured_against_the_benchmark(desk):
    """Twice the benchmark: beta 2. Weights are beta times signed share, and add up to the portfolio's."""
    desk.know("BTCUSDT", walk(1))
    desk.know("ETHUSDT", [2 * made for made in walk(1)])
    desk.hold(BTCUSDT="0.1", ETHUSDT="-2")
    found = matrix_of(desk)

    assert found.betas == {"BTCUSDT": pytest.approx(1), "ETHUSDT": pytest.approx(2)}
    assert found.beta_weights == {"BTCUSDT": pytest.approx(0.5), "ETHUSDT": pytest.approx(-1)}
    assert found.portfolio_beta == pytest.approx(-0.5)


def test_without_history_correlations_and_betas_are_not_known(desk):
    """Shares are; nothing else is made up."""
    desk.hold(BTCUSDT="0.1", ETHUSDT="-2")
    found = matrix_of(desk)

    assert (found.avg_correlation, found.max_correlation, found.portfolio_beta) == (None, None, None)
    assert found.betas == {"BTCUSDT": None, "ETHUSDT": None}
    assert (found.observations, found.correlations) == (0, ())


def test_one_symbol_has_no_correlation(desk):
    """There is no pair."""
    desk.know("BTCUSDT", walk(1))
    desk.hold(BTCUSDT="0.1")

    assert matrix_of(desk).avg_correlation is None


def test_the_same_symbol_on_two_exchanges_has_two_names():
    """Labels tell them apart where they must."""
    desk = open_desk(place("main"), place("other", "elsewhere"))
    desk.hold("main", BTCUSDT="0.1")
    desk.hold("other", BTCUSDT="0.1")
    for exchange in ("binance", "elsewhere"):
        desk.history.put(Series(exchange, LINEAR, "BTCUSDT"), {desk.today - n: 100.0 + n % 3 for n in range(1, 60)})

    assert sorted(matrix_of(desk).betas) == ["BTCUSDT@binance.linear", "BTCUSDT@elsewhere.linear"]


def results_of(desk: Desk, method: Method = METHOD):
    """VaR and ES now."""
    taken = desk.taken()
    return results(taken, aligned_of(desk, taken), thresholds(taken.snapshot, desk.limits), method, NOW)


def test_var_and_es_are_the_larger_of_both_methods(desk):
    """Each method's figure stands beside it, by hand for one symbol."""
    made = walk(4)
    desk.know("BTCUSDT", made)
    desk.hold(BTCUSDT="0.1")
    var, es = results_of(desk)
    losses = -5000 * np.array(made)
    sigma = arithmetic.ewma_deviation(losses)

    assert float(var.historical.var_95) == pytest.approx(arithmetic.var_historical(losses, 950), abs=1e-6)
    assert float(var.parametric_ewma.var_99) == pytest.approx(2.3263478740408408 * sigma, abs=1e-6)
    assert var.var_99 == max(var.historical.var_99, var.parametric_ewma.var_99)
    assert es.es_975 == max(es.historical, es.parametric_ewma)
    assert float(es.worst_case_loss) == pytest.approx(losses.max(), abs=1e-6)
    assert (var.observations, es.tail_events_count) == (90, 3)
    assert var.portfolio_volatility == pytest.approx(sigma / 10000)


def test_thresholds_are_shares_of_equity_or_amounts_whichever_is_lower(desk):
    """10 %, 20 % and 25 % of 10,000; a stated amount below counts instead."""
    desk.know("BTCUSDT", walk(4))
    desk.hold(BTCUSDT="0.1")
    var, es = results_of(desk)
    assert (var.threshold_95, var.threshold_99, es.threshold) == (D(1000), D(2000), D(2500))
    assert (var.pass_95, var.pass_99, es.passes) == (True, True, True)

    desk.limits = desk.limits.model_copy(update={"var_95_money_max": D(50), "es_975_money_max": D(9000)})
    var, es = results_of(desk)
    assert (var.threshold_95, es.threshold) == (D(50), D(2500))
    assert (var.pass_95, var.pass_99) == (False, True)


def test_a_longer_horizon_scales_by_the_root_of_time(desk):
    """A week is the square root of seven days, by either method."""
    desk.know("BTCUSDT", walk(4))
    desk.hold(BTCUSDT="0.1")
    day, week = results_of(desk), results_of(desk, Method(horizon_hours=168))

    for one, seven in ((day[0].var_95, week[0].var_95), (day[1].es_975, week[1].es_975)):
        assert float(seven) == pytest.approx(float(one) * 7**0.5, rel=1e-9)


def test_nothing_held_has_no_risk_and_needs_no_history(desk):
    """Zero, and not unknown."""
    var, es = results_of(desk)

    assert (var.var_95, var.var_99, es.es_975) == (D(0), D(0), D(0))


def test_held_without_history_is_not_known(desk):
    """None, also where one of two symbols has a history."""
    desk.know("BTCUSDT", walk(4))
    desk.know("ETHUSDT", walk(5, days=29))
    desk.hold(BTCUSDT="0.1", ETHUSDT="1")

    assert results_of(desk) is None


def test_a_perfect_hedge_has_no_value_at_risk(desk):
    """Positions are judged together: what cancels, cancels."""
    desk.know("BTCUSDT", walk(1))
    desk.know("ETHUSDT", walk(1))
    desk.hold(BTCUSDT="0.1", ETHUSDT="-2")
    var, es = results_of(desk)

    assert (var.var_99, es.es_975) == (D(0), D(0))


def moved(desk: Desk):
    """Now against before."""
    taken = desk.taken()
    return movement(taken, aligned_of(desk, taken))


def test_volatility_is_compared_with_its_baseline(desk):
    """Ten days that move three times as much as those before, weighted by what is held."""
    calm = [0.01, -0.01] * 40
    desk.know("BTCUSDT", [*calm, *([0.03, -0.03] * 5)])
    desk.know("ETHUSDT", [*calm, *([0.01, -0.01] * 5)])
    desk.hold(BTCUSDT="0.1")
    assert moved(desk).volatility_ratio == pytest.approx(3)
    desk.hold(BTCUSDT="0.1", ETHUSDT="-2")

    assert moved(desk).volatility_ratio == pytest.approx(2)


def test_correlation_is_compared_with_its_baseline(desk):
    """Ten days in step after eighty that were not."""
    step = [0.01, -0.02, 0.03, -0.01, 0.02, -0.03, 0.01, 0.02, -0.01, 0.005]
    desk.know("BTCUSDT", [0.01, -0.01] * 40 + step)
    desk.know("ETHUSDT", [0.01, 0.01, -0.01, -0.01] * 20 + step)
    desk.hold(BTCUSDT="0.1", ETHUSDT="2")
    found = moved(desk)

    assert found.correlation_recent == pytest.approx(1)
    assert found.correlation_before == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("days", "known"), [(30, True), (29, False)])
def test_now_and_before_need_ten_and_twenty_days(desk, days, known):
    """With less, nobody can say what changed."""
    desk.history.put(series("BTCUSDT"), {desk.today - n: 100.0 + n % 2 for n in range(1, days + 2)})
    desk.hold(BTCUSDT="0.1")
    taken = desk.taken()
    aligned = desk.history.aligned((series("BTCUSDT"),), today=desk.today, lookback=90, history_min=20)

    assert (movement(taken, aligned).volatility_ratio is not None) is known


@pytest.mark.parametrize(
    ("scale", "cluster", "regime"),
    [(0.7, "low", "calm"), (1.0, "medium", "normal"), (1.5, "high", "normal"), (2.0, "extreme", "stressed")],
)
def test_the_snapshot_says_how_volatile_it_is(desk, scale, cluster, regime):
    """By the ratio of now to before: under 0.75, under 1.25, under the limit of a spike, from there on."""
    desk.know("BTCUSDT", [0.01, -0.01] * 40 + [0.01 * scale, -0.01 * scale] * 5)
    desk.hold(BTCUSDT="0.1")
    found = described(desk.taken().snapshot, moved(desk), 2.0)

    assert (found.volatility_cluster, found.regime) == (cluster, regime)
