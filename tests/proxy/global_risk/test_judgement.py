"""From figures to level, tier and score: every limit at 80 % and at 100 %."""

from __future__ import annotations

import pytest

from proxy.global_risk.history import Aligned
from proxy.global_risk.judgement import Judgement, judge, score, summary, thresholds, tier
from proxy.global_risk.measures import Thresholds
from proxy.global_risk.models import ESResult, SystemicRiskType, SystemicSignal, Tier, VarFigures, VaRResult
from proxy.global_risk.systemic import Unmeasured
from rules import RiskLevel
from tests.proxy.global_risk.conftest import NOW, D, Desk, Marks, open_desk, place
from tests.proxy.global_risk.test_systemic import exchanges, matrix, scene

INFO, WARNING, CRITICAL = RiskLevel.INFO, RiskLevel.WARNING, RiskLevel.CRITICAL


def figures(var_95: str = "0", var_99: str = "0", es_975: str = "0", limits: Thresholds | None = None):
    """VaR and ES results with these figures."""
    limits = limits or Thresholds(var_95=D(1000), var_99=D(2000), es_975=D(2500))
    both = VarFigures(var_95=D(var_95), var_99=D(var_99))
    var = VaRResult(
        timestamp=NOW, var_95=D(var_95), var_99=D(var_99), method="worst_of_historical_and_ewma", historical=both,
        parametric_ewma=both, decay=0.94, lookback_days=180, observations=90, horizon_hours=24,
        threshold_95=limits.var_95, threshold_99=limits.var_99, pass_95=True, pass_99=True, portfolio_volatility=0.01,
    )  # fmt: skip
    es = ESResult(
        timestamp=NOW, es_975=D(es_975), historical=D(es_975), parametric_ewma=D(es_975), threshold=limits.es_975,
        passes=True, worst_case_loss=D(0), tail_events_count=3,
    )  # fmt: skip
    return var, es


def judged(desk: Desk, *, var=None, es=None, signals=(), unmeasured=(), taken=None, **shape) -> Judgement:
    """The judgement of a desk, with VaR and ES of nothing unless stated."""
    nothing = figures()
    return judge(scene(desk, taken=taken, **shape), var or nothing[0], es or nothing[1], signals, unmeasured)


def test_inside_everything_is_info(desk):
    """No issue, no warning."""
    desk.hold(BTCUSDT="0.2")
    found = judged(desk)

    assert (found.level, found.critical, found.warnings) == (INFO, [], [])


@pytest.mark.parametrize(
    ("quantity", "level"), [("0.7999", INFO), ("0.8", WARNING), ("0.9999", WARNING), ("1", CRITICAL), ("2", CRITICAL)]
)
def test_leverage_warns_at_four_fifths_and_is_critical_at_its_limit(desk, quantity, level):
    """Five times equity of 10,000 is 50,000; the shape of the book is out of the way here."""
    desk.limits = desk.limits.model_copy(update={"structure_from_leverage": D(1000)})
    desk.hold(BTCUSDT=quantity)

    assert judged(desk).level is level


@pytest.mark.parametrize(("equity", "level"), [("0", CRITICAL), ("-5", CRITICAL)])
def test_positions_without_equity_are_critical(desk, equity, level):
    """There is no leverage to divide by, and nothing worse."""
    desk.hold(equity=equity, BTCUSDT="0.001")
    found = judged(desk)

    assert found.level is level
    assert "no equity" in found.critical[0]


def test_no_equity_and_no_positions_is_no_issue(desk):
    """An empty account is not in danger."""
    desk.hold(equity="0")

    assert judged(desk).level is INFO


@pytest.mark.parametrize(
    ("started", "level"),
    [("10000", INFO), ("10415", INFO), ("10417", WARNING), ("10526", WARNING), ("10527", CRITICAL)],
)
def test_drawdown_warns_at_four_percent_and_is_critical_at_five(desk, started, level):
    """With 10,000 left: of 10,416.67 four percent are gone, of 10,526.32 five."""
    desk.marks = Marks(day=D(started))

    assert judged(desk).level is level


@pytest.mark.parametrize("name", ["var_95", "var_99", "es_975"])
@pytest.mark.parametrize(("share", "level"), [("0.7999", INFO), ("0.8", WARNING), ("0.9999", WARNING), ("1", CRITICAL)])
def test_var_and_es_warn_at_four_fifths_and_are_critical_at_their_limit(desk, name, share, level):
    """Not at one and a half times: a limit that may be passed by half is none."""
    desk.hold(BTCUSDT="0.01")
    limits = thresholds(desk.taken().snapshot, desk.limits)
    var, es = figures(**{name: str(getattr(limits, name) * D(share))}, limits=limits)

    assert judged(desk, var=var, es=es).level is level


def test_thresholds_of_a_desk_without_equity_are_zero_or_what_is_stated():
    """A share of nothing is nothing; without any read account only amounts are left."""
    desk = open_desk(place("main"))
    desk.hold(equity="-5")
    assert thresholds(desk.taken().snapshot, desk.limits) == Thresholds(var_95=D(0), var_99=D(0), es_975=D(0))
    var, es = figures("1", limits=Thresholds(var_95=D(0), var_99=D(0), es_975=D(0)))
    assert judged(desk, var=var, es=es).level is CRITICAL

    desk = open_desk(place("paper", equity_static=D(1)))
    desk.limits = desk.limits.model_copy(update={"var_99_money_max": D(7)})
    assert thresholds(desk.taken().snapshot, desk.limits) == Thresholds(var_95=None, var_99=D(7), es_975=None)


@pytest.mark.parametrize(("quantity", "level"), [("0.1599", INFO), ("0.16", WARNING), ("0.2", CRITICAL)])
def test_one_symbol_may_have_a_limit_in_money(desk, quantity, level):
    """10,000 where stated; else there is none."""
    desk.hold(BTCUSDT=quantity)
    assert judged(desk).level is INFO
    desk.limits = desk.limits.model_copy(update={"position_money_max": D(10000)})

    assert judged(desk).level is level


@pytest.mark.parametrize(
    ("correlation", "level"), [(0.639, INFO), (0.64, WARNING), (0.799, WARNING), (0.8, CRITICAL), (-0.9, INFO)]
)
def test_correlation_of_a_levered_book(desk, correlation, level):
    """Of at most 0.80; a hedge is no correlation. A smaller book is not asked."""
    desk.hold(BTCUSDT="0.6")
    shape = {"avg_position_correlation": correlation, "symbol_shares": {"a": 0.4}}
    assert judged(desk, **shape).level is level
    desk.hold(BTCUSDT="0.599")

    assert judged(desk, **shape).level is INFO


@pytest.mark.parametrize(("share", "level"), [(0.479, INFO), (0.48, WARNING), (0.599, WARNING), (0.6, CRITICAL)])
def test_concentration_of_a_levered_book_in_a_symbol(desk, share, level):
    """Of at most 0.60; a smaller book may stand in one symbol."""
    desk.hold(BTCUSDT="0.6")
    assert judged(desk, symbol_shares={"a": share}).level is level
    desk.hold(BTCUSDT="0.599")

    assert judged(desk, symbol_shares={"a": 1.0}).level is INFO


@pytest.mark.parametrize(("share", "level"), [(0.639, INFO), (0.64, WARNING), (0.8, CRITICAL)])
def test_concentration_of_a_levered_book_on_an_exchange(share, level):
    """Of at most 0.80, where there are several; with one exchange everything is on it."""
    shares = {"e0": share, "e1": 1 - share}
    desk = exchanges(2, 0)
    desk.hold("a0", BTCUSDT="1.2")
    assert judged(desk, exchange_shares=shares).level is level
    desk = exchanges(1, 0)
    desk.hold("a0", BTCUSDT="0.6")

    assert judged(desk, exchange_shares={"e0": 1.0}).level is INFO


def signal(level: RiskLevel, severity: float, kind: SystemicRiskType = SystemicRiskType.LIQUIDITY_STRESS):
    """A systemic signal."""
    return SystemicSignal(type=kind, level=level, severity=severity, value=None, threshold=None, description="so")


@pytest.mark.parametrize("level", [INFO, WARNING, CRITICAL])
def test_a_signal_brings_its_level(desk, level):
    """An INFO signal is told and changes nothing."""
    assert judged(desk, signals=[signal(level, 0.5)]).level is level


def test_what_is_held_and_not_known_is_a_warning(desk):
    """VaR, a signal, a price: each may be anything."""
    desk.hold(BTCUSDT="0.01", XYZUSDT="1")
    assert judge(scene(desk), None, None, (), ()).warnings == ["no fresh price of XYZUSDT", "VaR and ES are not known"]
    desk.hold(BTCUSDT="0.01")
    unknown = [Unmeasured(SystemicRiskType.CORRELATION_SPIKE, "because")]

    assert judged(desk, unmeasured=unknown).warnings == ["correlation_spike cannot be told: because"]


def test_an_old_account_is_a_warning():
    """What was last known of it is counted, and may be wrong."""
    assert judged(exchanges(2, 1)).level is WARNING


@pytest.mark.parametrize(
    ("critical", "signals", "wanted"),
    [
        (0, [], Tier.NORMAL),
        (0, [signal(WARNING, 0.74)], Tier.NORMAL),
        (0, [signal(WARNING, 0.75)], Tier.REDUCED),
        (1, [], Tier.REDUCED),
        (2, [], Tier.EMERGENCY),
        (0, [signal(CRITICAL, 0.75, SystemicRiskType.CASCADING_RISK)], Tier.EMERGENCY),
    ],
)
def test_the_tier_follows_issues_severity_and_cascades(critical, signals, wanted):
    """Two issues or a cascade: EMERGENCY. One issue or a severe signal: REDUCED. Warnings alone: NORMAL."""
    found = Judgement(critical=["x"] * critical, warnings=["y"] * 5)

    assert tier(found, signals) is wanted


def test_one_levered_symbol_is_one_issue_and_not_two(desk):
    """The share of the symbol is its limit's issue; the signal beside it only warns. So the tier is REDUCED."""
    desk.hold(BTCUSDT="0.7")
    shape = {"symbol_hhi": 1.0, "symbol_shares": {"BTCUSDT": 1.0}}
    signals = [signal(WARNING, 1.0, SystemicRiskType.CONCENTRATION_RISK)]
    found = judged(desk, signals=signals, **shape)

    assert len(found.critical) == 1
    assert tier(found, signals) is Tier.REDUCED


def test_the_score_is_the_mean_of_what_is_known(desk):
    """By hand; never beyond 1, and 0 for a desk without anything."""
    assert score(judged(desk), matrix(), ()) == 0
    desk.hold(BTCUSDT="0.2")
    var, es = figures("500", "500", "500")
    found = judged(desk, var=var, es=es)
    # leverage 1 of 5, HHI, correlation, the larger use of VaR, ES, severity, no critical issue
    parts = (0.2, 1.0, 0.4, 0.5, 0.2, 0.3, 0.0)
    known = matrix(symbol_hhi=1.0, avg_position_correlation=0.4)
    assert score(found, known, [signal(WARNING, 0.3)]) == pytest.approx(sum(parts) / 7)
    unknown = matrix(symbol_hhi=1.0, avg_position_correlation=None)
    assert score(found, unknown, [signal(WARNING, 0.3)]) == pytest.approx((sum(parts) - 0.4) / 6)

    found.critical = ["x"] * 9
    assert score(found, matrix(symbol_hhi=1.0, avg_position_correlation=1.0), [signal(CRITICAL, 1.0)]) <= 1


def test_the_summary_says_how_many_and_the_first():
    """One line for people."""
    assert summary(Judgement(), Tier.NORMAL) == "all measures are inside their limits"
    assert "1 critical and 2 warnings, tier REDUCED; first: a" in summary(
        Judgement(critical=["a"], warnings=["b", "c"]), Tier.REDUCED
    )


def test_an_empty_history_is_no_history():
    """The table of nothing has no days: what is held without one is unknown, not riskless."""
    assert not Aligned((), (), []).days
