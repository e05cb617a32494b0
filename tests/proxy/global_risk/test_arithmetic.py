"""VaR, ES and the rest, against figures calculated another way: with fractions, by hand, and by definition."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from proxy.global_risk import arithmetic as a
from proxy.global_risk import measures
from proxy.global_risk.blas import THREADS_VARIABLE

PORTFOLIOS = 1000


def drawn(seed: int) -> tuple[list[list[float]], list[float]]:
    """Returns of some instruments over some days, and signed notionals."""
    pick = random.Random(seed)
    days, instruments = pick.randint(30, 260), pick.randint(1, 12)
    fat = pick.random() < 0.3

    def made() -> float:
        return pick.gauss(0, 0.03) * (pick.choice((1, 1, 1, 6)) if fat else 1) + pick.gauss(0, 0.002)

    rows = [[made() for _ in range(instruments)] for _ in range(days)]
    return rows, [pick.uniform(-50_000, 50_000) for _ in range(instruments)]


def losses_of(rows: list[list[float]], net: list[float]) -> list[float]:
    """The loss of every day, with sums that lose no digit."""
    return [-math.fsum(made * held for made, held in zip(row, net, strict=True)) for row in rows]


def reference_var(losses: list[float], level: Fraction) -> float:
    """By its definition: the smallest loss with at most 1 - level of all days beyond it."""
    beyond = math.floor((1 - level) * len(losses))
    return max(0.0, sorted(losses, reverse=True)[beyond])


def reference_es(losses: list[float], level: Fraction) -> float:
    """The integral of the sorted losses over the worst 1 - level of probability, over that probability, exactly."""
    left, total = 1 - level, Fraction(0)
    for loss in sorted(losses, reverse=True):
        part = min(left, Fraction(1, len(losses)))
        total += part * Fraction(loss)
        left -= part
        if not left:
            break
    return max(0.0, float(total / (1 - level)))


def reference_quantile(level: float) -> float:
    """The normal quantile by bisection of the error function."""
    low, high = 0.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        if 0.5 * math.erfc(-middle / math.sqrt(2)) < level:
            low = middle
        else:
            high = middle
    return low


QUANTILES = {level: reference_quantile(level / 1000) for level in (950, 975, 990)}


def close(found: float, wanted: float, scale: float) -> bool:
    """Equal to a billionth of the figure, or of the scale it was calculated on."""
    return abs(found - wanted) <= 1e-9 * max(abs(wanted), scale * 1e-6)


def check(seed: int) -> None:
    """Every figure of one random portfolio against the reference."""
    rows, net = drawn(seed)
    wanted = losses_of(rows, net)
    found = measures.tail(np.array(rows), np.array(net), measures.Method())
    scale = max(abs(loss) for loss in wanted)
    assert close(found.historical[950], reference_var(wanted, Fraction(95, 100)), scale), seed
    assert close(found.historical[990], reference_var(wanted, Fraction(99, 100)), scale), seed
    assert close(found.historical[975], reference_es(wanted, Fraction(975, 1000)), scale), seed
    variance = weight = 0.0
    for loss in wanted:  # RiskMetrics' recursion, with its starting weight taken out again
        variance, weight = 0.94 * variance + 0.06 * loss * loss, 0.94 * weight + 0.06
    deviation = math.sqrt(variance / weight)
    for level in (950, 990):
        assert close(found.parametric[level], deviation * QUANTILES[level], scale), seed
    density = math.exp(-(QUANTILES[975] ** 2) / 2) / math.sqrt(2 * math.pi)
    assert close(found.parametric[975], deviation * density / 0.025, scale), seed


def test_var_and_es_agree_with_an_independent_reference_on_random_portfolios():
    """A thousand portfolios, thin and fat tails, both methods, to 1e-9: by definition, not by the same code."""
    for seed in range(PORTFOLIOS):
        check(seed)


def test_value_at_risk_takes_the_tail_of_losses():
    """Of 100 days that lost 1 to 100, five are beyond 95 and one is beyond 99; ES 97.5 averages the worst 2.5."""
    losses = np.arange(1.0, 101.0)
    random.Random(1).shuffle(losses)

    assert (a.var_historical(losses, 950), a.var_historical(losses, 990)) == (95.0, 99.0)
    assert a.es_historical(losses, 975) == pytest.approx((100 + 99 + 0.5 * 98) / 2.5, rel=1e-15)


@pytest.mark.parametrize("days", [1, 2, 19, 30])
def test_too_few_days_for_a_level_answer_with_the_worst(days):
    """Thirty days hold no 99 %: what is known of it is the worst day, and it is said as such."""
    losses = np.arange(1.0, days + 1)

    assert a.var_historical(losses, 990) == days
    assert a.es_historical(losses, 975) == days


def test_what_only_ever_gained_has_no_risk_below_zero():
    """A negative loss at the quantile is no risk, and no negative one either."""
    gains = -np.arange(1.0, 101.0)

    assert (a.var_historical(gains, 950), a.es_historical(gains, 975)) == (0.0, 0.0)


def test_ranks_do_not_depend_on_binary_fractions():
    """Over every number of days, the rank at 95 % is the exact ceiling."""
    for days in range(1, 1001):
        losses = np.arange(1.0, days + 1)
        assert a.var_historical(losses, 950) == math.ceil(Fraction(95, 100) * days)


def test_one_day_scales_by_the_root_of_time():
    """A week is sqrt 7 days; a day is itself, and not a 365th of a year's root."""
    assert a.horizon_factor(24) == 1
    assert a.horizon_factor(24 * 7) == pytest.approx(math.sqrt(7))


def test_correlations_are_pearsons_and_unknown_where_nothing_moves():
    """By hand for two columns; an instrument that stands still correlates with nothing."""
    returns = np.array([[0.01, 0.02, 0.0], [-0.02, -0.01, 0.0], [0.03, 0.01, 0.0], [0.0, 0.02, 0.0]])
    x, y = returns[:, 0] - 0.005, returns[:, 1] - 0.01
    wanted = float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))

    found = a.correlations(returns)
    assert found[0, 1] == pytest.approx(wanted, abs=1e-12)
    assert np.isnan(found[0, 2])
    assert list(a.pairs(found)) == [found[0, 1]]


def test_beta_is_covariance_over_variance():
    """Twice the benchmark has beta 2 whatever constant is added; against what stands still there is none."""
    benchmark = np.array([0.01, -0.02, 0.03, 0.0])

    assert a.beta(2 * benchmark + 0.001, benchmark) == pytest.approx(2)
    assert a.beta(-benchmark, benchmark) == pytest.approx(-1)
    assert a.beta(benchmark, np.full(4, 0.001)) is None


def test_concentration_is_one_for_one_and_a_quarter_for_four():
    """Herfindahl: the sum of squared shares; nothing at all is not concentrated."""
    assert a.herfindahl([5]) == 1
    assert a.herfindahl([1, 1, 1, 1]) == 0.25
    assert a.herfindahl([3, -1]) == pytest.approx(0.625)
    assert a.herfindahl([]) == 0


def test_a_covariance_of_one_portfolio_is_its_variance():
    """w'Cw is the squared deviation of the portfolio's own losses."""
    pick = np.random.default_rng(7)
    returns, net = pick.normal(0, 0.03, (90, 4)), np.array([1.0, -2.0, 0.5, 3.0])

    assert net @ a.ewma_covariance(returns) @ net == pytest.approx(a.ewma_deviation(returns @ net) ** 2, rel=1e-12)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted where the kernel lists them")
def test_linear_algebra_starts_no_threads_of_its_own():
    """In a fresh process: one thread after everything is imported, and a variable that is set already stands."""
    told = "import os; {} import proxy.global_risk; print(len(os.listdir('/proc/self/task')), os.environ[{!r}])"
    for before, wanted in (("", ["1", "1"]), (f"os.environ[{THREADS_VARIABLE!r}] = '2';", ["2", "2"])):
        code = told.format(before, THREADS_VARIABLE)
        environ = {name: value for name, value in os.environ.items() if name != THREADS_VARIABLE}
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
        assert found.stdout.split()[1] == wanted[1]
        assert before or found.stdout.split()[0] == wanted[0]
