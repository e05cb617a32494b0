"""The safety governor: what its inputs make of an account, and what that makes of limits and orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given as property_given
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rules import (
    Directive,
    Fact,
    Governing,
    GovernorAct,
    GovernorLevel,
    Reason,
    RiskLevel,
    Verdict,
    effective,
    effective_with_sources,
    evaluate,
    govern,
    governed,
    headroom,
    in_force,
    no_looser,
    sources_governed,
    utilisation,
)
from rules.directive import MULTIPLIERS, Cause
from rules.facts import GlobalRisk
from rules.profile import GlobalPolicy, explain, warnings
from tests import given
from tests import strategies as some

D = Decimal
NOW = given.NOW
GOVERNING = Governing(
    loss_daily_max=D("0.05"), cautious_at=D("0.7"), emergency_at=D("1.6"), streak_cautious=5, streak_block=8,
    streak_cooldown_s=D(3600), signal_counts=True,
)  # fmt: skip
INFO = GlobalRisk(level=RiskLevel.INFO)
BLOCK, MODIFY, ALLOW = GovernorAct.BLOCK, GovernorAct.MODIFY, GovernorAct.ALLOW
NORMAL, CAUTIOUS, DEFENSIVE, EMERGENCY = GovernorLevel


def directive(*, equity="10000", signal=INFO, governing=GOVERNING, now=NOW, **losses) -> Directive:
    """What the governor makes of an account that began the day with 10,000."""
    return govern(governing, given.losses(**losses), D(equity), signal, now)


def known(found: Directive, age_s="0") -> Fact[Directive]:
    """The directive as a fact."""
    return given.known(found, age_s)


def judged(order, found, age_s="0", **changed):
    """The gate's answer where the governor is on and says so."""
    facts = replace(given.facts(**changed.pop("known", {})), governor=known(found, age_s))
    return evaluate(order, facts, given.limits(governor=GOVERNING, **changed))


@pytest.mark.parametrize(
    ("equity", "act", "level"),
    [
        ("10000", ALLOW, NORMAL), ("9650.01", ALLOW, NORMAL), ("9650", MODIFY, CAUTIOUS), ("9500.01", MODIFY, CAUTIOUS),
        ("9500", BLOCK, DEFENSIVE), ("9200.01", BLOCK, DEFENSIVE), ("9200", BLOCK, EMERGENCY), ("0", BLOCK, EMERGENCY),
    ],
)  # fmt: skip
def test_levels_follow_the_drawdown(equity, act, level):
    """Of a daily limit of 5 %: cautious from 3.5 %, blocked at 5 %, emergency from 8 %."""
    found = directive(equity=equity)

    assert (found.act, found.level, found.multipliers) == (act, level, MULTIPLIERS[level])
    assert found.words == f"{act} {level}"
    assert (found.cause is Cause.NONE) == (level is NORMAL)


def test_a_recovered_loss_of_the_day_still_counts():
    """The worst of the day decides until the day ends, as it does for the limit."""
    assert directive(equity="10000", day_worst="500").act is BLOCK


@pytest.mark.parametrize(
    ("streak", "act", "level"),
    [(4, ALLOW, NORMAL), (5, MODIFY, CAUTIOUS), (7, MODIFY, CAUTIOUS), (8, BLOCK, DEFENSIVE), (20, BLOCK, DEFENSIVE)],
)
def test_levels_follow_the_losing_streak(streak, act, level):
    """Five lost trades in a row make it cautious, eight block."""
    found = directive(losing_streak=streak, last_loss_at=NOW - timedelta(seconds=10))

    assert (found.act, found.level) == (act, level)
    assert found.multipliers == MULTIPLIERS[level]


def test_a_streak_that_blocks_does_so_until_its_cooldown_is_over():
    """Nothing could be won while it blocks, so it would never end; after the cooldown it is cautious."""
    lost = NOW - timedelta(seconds=3599)
    found = directive(losing_streak=8, last_loss_at=lost)

    assert found.until == lost + timedelta(seconds=3600)
    assert directive(losing_streak=8, last_loss_at=lost, now=found.until - timedelta(microseconds=1)).act is BLOCK
    assert directive(losing_streak=8, last_loss_at=lost, now=found.until).level is CAUTIOUS
    assert directive(losing_streak=8).act is BLOCK  # when it was is not known


@pytest.mark.parametrize(
    ("signal", "act", "level"),
    [
        (GlobalRisk(level=RiskLevel.INFO, ess_tier="NORMAL"), ALLOW, NORMAL),
        (GlobalRisk(level=RiskLevel.WARNING), MODIFY, CAUTIOUS),
        (GlobalRisk(level=RiskLevel.WARNING, ess_tier="REDUCED"), MODIFY, DEFENSIVE),
        (GlobalRisk(level=RiskLevel.CRITICAL), BLOCK, DEFENSIVE),
        (GlobalRisk(level=RiskLevel.CRITICAL, ess_tier="EMERGENCY"), BLOCK, EMERGENCY),
        (GlobalRisk(level=RiskLevel.INFO, ess_action_required=True), BLOCK, EMERGENCY),
    ],
)
def test_levels_follow_the_risk_signal(signal, act, level):
    """WARNING is cautious, CRITICAL blocks, an action that is required is an emergency."""
    found = directive(signal=signal)

    assert (found.act, found.level) == (act, level)
    assert directive(signal=signal, governing=GOVERNING._replace(signal_counts=False)).level is NORMAL


def test_the_ladder_makes_size_smaller_than_the_level_would():
    """A rung of 0.3 binds size; leverage and exposure follow the level."""
    found = directive(derisk_factor="0.3")
    assert (found.act, found.level, found.cause, found.multipliers) == (MODIFY, NORMAL, Cause.LADDER, (1, D("0.3"), 1))
    assert directive(equity="9600", derisk_factor="0.9").multipliers == MULTIPLIERS[CAUTIOUS]
    assert directive(equity="9600", derisk_factor="0.3").multipliers == (D("0.75"), D("0.3"), D("0.85"))


@pytest.mark.parametrize(
    ("missing", "name"),
    [({"losses": None}, "losses"), ({"equity": None}, "equity"), ({"signal": None}, "global_risk"),
     ({"losses": given.losses(day=None)}, "day_start_equity")],
)
def test_what_is_not_known_blocks(missing, name):
    """Without one of its inputs the governor is at its strictest, and names what is missing."""
    values = {"losses": given.losses(), "equity": D(10_000), "signal": INFO} | missing
    found = govern(GOVERNING, values["losses"], values["equity"], values["signal"], NOW)

    assert (found.act, found.level, found.cause, found.observed) == (BLOCK, EMERGENCY, Cause.INPUT_MISSING, name)
    decision = judged(given.order(), found)
    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.FACTS_MISSING)
    assert decision.breach.observed == name


STEPS = [D(text) for text in ("10000", "9800", "9650", "9600", "9500", "9300", "9200", "9000", "1")]


@settings(max_examples=300, deadline=None, derandomize=True)
@property_given(st.data())
def test_worse_inputs_are_never_treated_better(data):
    """More lost, longer rows, a worse signal: each multiplier is at most as high, and a block stays a block."""
    levels = list(RiskLevel)
    better = [data.draw(st.integers(0, 8)), data.draw(st.integers(0, 9)), data.draw(st.integers(0, 2))]
    worse = [data.draw(st.integers(one, top)) for one, top in zip(better, (8, 9, 2), strict=True)]
    made = [
        directive(equity=str(STEPS[lost]), losing_streak=streak, signal=GlobalRisk(level=levels[level]))
        for lost, streak, level in (better, worse)
    ]

    assert all(after <= before for before, after in zip(made[0].multipliers, made[1].multipliers, strict=True))
    assert made[1].act is BLOCK or made[0].act is not BLOCK


@settings(max_examples=300, deadline=None, derandomize=True)
@property_given(
    limits=some.some_limits(), level=st.sampled_from(GovernorLevel), ladder=st.sampled_from(["0", "0.3", "1"])
)
def test_governed_limits_are_never_looser(limits, level, ladder):
    """Whatever the limits, and for every symbol: the governor only tightens, and NORMAL changes nothing."""
    limits = replace(limits, by_symbol={"ETHUSDT": replace(limits, exposure_symbol_max=D(7))})
    multipliers = MULTIPLIERS[level]._replace(size=min(MULTIPLIERS[level].size, D(ladder)))

    assert no_looser(governed(limits, multipliers), limits)
    assert governed(limits, MULTIPLIERS[NORMAL]) is limits


@settings(max_examples=300, deadline=None, derandomize=True)
@property_given(
    request=some.requests(), facts=some.some_facts(), limits=some.some_limits(), level=st.sampled_from(GovernorLevel)
)
def test_a_stricter_level_never_allows_more(request, facts, limits, level):
    """What is allowed under a level is allowed without the governor; nothing that reduces is lost to it."""
    found = Directive(
        act=BLOCK if level in (DEFENSIVE, EMERGENCY) else MODIFY, level=level, multipliers=MULTIPLIERS[level],
        cause=Cause.DRAWDOWN, observed=1, threshold=1, losing_streak=0, until=None, words="x",
    )  # fmt: skip
    limits = replace(limits, scaling_allowed=False, governor=None)
    ungoverned = evaluate(request, facts, limits)
    decision = evaluate(request, replace(facts, governor=known(found)), replace(limits, governor=GOVERNING))

    if decision.verdict is Verdict.ALLOW:
        assert ungoverned.verdict is Verdict.ALLOW
    if ungoverned.verdict is Verdict.ALLOW and ungoverned.reducing:
        assert decision.verdict is Verdict.ALLOW


def test_cautious_lets_three_quarters_through():
    """A cap of 100 on one order is 75 under CAUTIOUS; where scaling is allowed it is scaled to that."""
    cautious = directive(equity="9650")
    caps = {"order_notional_max": "100", "loss_daily_max": None}
    assert judged(given.order(quantity="0.75"), cautious, **caps).verdict is Verdict.ALLOW
    decision = judged(given.order(quantity="0.751"), cautious, **caps)
    assert (decision.reason, decision.breach.limit) == (Reason.ORDER_NOTIONAL_EXCEEDS_LIMIT, 75)
    scaled = judged(given.order(), cautious, scaling_allowed=True, **caps)
    assert (scaled.verdict, scaled.quantities) == (Verdict.SCALE_DOWN, (D("0.75"),))


@pytest.mark.parametrize("limit", ["exposure_account_max", "exposure_symbol_max"])
def test_exposure_has_a_multiplier_of_its_own(limit):
    """Exposure limits of 100 are 85 under CAUTIOUS."""
    cautious = directive(equity="9650")
    assert judged(given.order(quantity="0.85"), cautious, **{limit: "100"}).verdict is Verdict.ALLOW
    assert judged(given.order(quantity="0.851"), cautious, **{limit: "100"}).verdict is Verdict.BLOCK


def test_leverage_is_multiplied_and_ends_at_one():
    """5x is 3.75x under CAUTIOUS; 1x stays, since no venue knows less; nothing is left in an EMERGENCY."""
    cautious, emergency = MULTIPLIERS[CAUTIOUS], MULTIPLIERS[EMERGENCY]
    assert governed(given.limits(leverage_max="5"), cautious).leverage_max == D("3.75")
    assert governed(given.limits(leverage_max="1"), cautious).leverage_max == 1
    assert governed(given.limits(leverage_max="5"), emergency).leverage_max == 0
    decision = judged(given.order(), directive(equity="9650"), leverage_max="5", known={"leverage": "4"})
    assert decision.reason is Reason.LEVERAGE_EXCEEDS_LIMIT


def test_limits_of_single_symbols_are_multiplied_too():
    """A symbol's own cap is no way around the governor."""
    own = given.limits(governor=GOVERNING, order_notional_max="50")
    limits = given.limits(governor=GOVERNING, by_symbol={given.SYMBOL: own})
    facts = replace(given.facts(), governor=known(directive(equity="9650")))
    assert evaluate(given.order(quantity="0.375"), facts, limits).verdict is Verdict.ALLOW
    assert evaluate(given.order(quantity="0.376"), facts, limits).verdict is Verdict.BLOCK


def test_headroom_and_use_are_of_the_governed_limits():
    """What people are shown is what the gate compares with."""
    facts = replace(given.facts(exposure={"account": "60"}), governor=known(directive(equity="9650")))
    limits = given.limits(governor=GOVERNING, exposure_account_max="100")

    assert headroom(given.order(), facts, limits).quantity == D("0.25")
    (use,) = [use for use in utilisation(facts, limits, {}, ()) if use.limit == "exposure_account_max"]
    assert use.hard == 85
    assert in_force(limits, given.facts()) is limits


def test_sources_name_the_governor():
    """Whoever asks which layer set a limit is told when the governor did."""
    limits = given.limits(order_notional_max="100", by_symbol={"A": given.limits(order_notional_max="50")})
    found = sources_governed(limits, directive(equity="9650"), "A")

    assert sources_governed(limits, directive(equity="9650"), "B").keys() == {"order_notional_max"}
    assert found == dict.fromkeys(
        ("order_notional_max", "by_symbol.A.order_notional_max"), "safety governor MODIFY CAUTIOUS"
    )
    assert sources_governed(limits, directive()) == {}


# --- what people write ---


def policy(defaults: dict | None = None, **account: object) -> GlobalPolicy:
    """A policy with one account."""
    main = {"strategies": "any", "symbols": "any", "capital_profile": "normal", **account}
    return GlobalPolicy.model_validate({
        "active_mode": "NORMAL", "accounts": {"main": main}, "defaults": defaults or {},
        "risk_source": {"kind": "none"},
    })  # fmt: skip


def governing(written: GlobalPolicy) -> Governing | None:
    """How account main is governed."""
    return effective(written, revision=1, account="main", strategy="grid", now=NOW).governor


def test_it_is_off_unless_switched_on():
    """Nothing stated governs nobody."""
    assert governing(policy()) is None
    assert governing(policy(governor={"streak_block": 9})) is None


def test_it_measures_by_the_tightest_daily_loss():
    """NORMAL's 5 % and the capital profile's 2 %: the account's own 1 % is the tightest."""
    on = {"enabled": "true"}
    assert governing(policy(governor=on)).loss_daily_max == D("0.02")
    assert governing(policy(governor=on, loss_daily_max="1%")).loss_daily_max == D("0.01")
    assert governing(policy(governor=on, capital_profile="aggressive")).loss_daily_max == D("0.035")


@pytest.mark.parametrize(
    ("mode", "limit"), [("AGGRESSIVE_SMALL_ACCOUNT", "0.06"), ("NORMAL", "0.05"), ("DEFENSIVE", "0.03")]
)
def test_thresholds_differ_by_risk_profile(mode, limit):
    """Under a capital profile that is wide enough, each mode's own limit sets the emergency: 9.6, 8 and 4.8 %."""
    wide = {"loss_daily_max": "100%", "loss_weekly_max": "100%", "trade_risk_max": "100%", "open_positions_max": 100,
            "leverage_max": 125}
    written = GlobalPolicy.model_validate({
        "active_mode": mode, "capital_profiles": {"wide": wide}, "accounts": {"main": {
            "strategies": "any", "symbols": "any", "capital_profile": "wide", "governor": {"enabled": True}}},
    })  # fmt: skip
    found = governing(written)
    assert found.loss_daily_max == D(limit)
    assert found.loss_daily_max * found.emergency_at == D(limit) * D("1.6")
    assert found.signal_counts


def test_layers_tighten_each_other():
    """Defaults and the account both govern: each value is the stricter one, and both are named."""
    written = policy(
        defaults={"governor": {"enabled": True, "streak_cautious": 3, "cautious_at": "80%"}},
        governor={"enabled": True, "streak_block": 6, "streak_cooldown_s": "7200"},
    )
    found = governing(written)
    assert (found.streak_cautious, found.streak_block, found.cautious_at) == (3, 6, D("0.7"))
    assert found.streak_cooldown_s == 7200
    _, sources = effective_with_sources(written, revision=1, account="main", strategy="grid", now=NOW)
    assert sources["governor"] == "defaults and accounts.main"
    assert governing(policy(defaults={"governor": {"enabled": True}})) is not None


def test_a_symbol_is_governed_like_its_account():
    """A symbol's own layer does not change by what its account is governed."""
    written = policy(governor={"enabled": True}, by_symbol={"BTCUSDT": {"loss_daily_max": "0.1%"}})
    limits = effective(written, revision=1, account="main", strategy="grid", now=NOW)
    assert limits.of("BTCUSDT").governor == limits.governor


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"emergency_at": "0.9"}, "expected at least 1"),
        ({"streak_cautious": 8}, "expected the row that blocks to be the longer one"),
        ({"streak": 8}, "unknown key"),
    ],
)
def test_what_makes_no_sense_is_refused(stated, said):
    """Each refusal says what was found and expected."""
    with pytest.raises(ValidationError) as refused:
        policy(governor=stated)
    assert said in " ".join(explain(refused.value, GlobalPolicy))


def test_a_ladder_without_a_governor_is_warned_of():
    """A ladder that nobody follows is probably not meant."""
    ladder = {"losses": {"ladder": [{"drawdown": "5%", "factor": "0.5"}]}}
    assert [text for text in warnings(policy(**ladder)) if "ladder" in text]
    assert not [text for text in warnings(policy(**ladder, governor={"enabled": True})) if "ladder" in text]


def test_limits_of_symbols_are_worked_out_when_they_are_asked_for():
    """Of thousands of symbols one is traded: governing costs that one alone, and each only once."""
    written = policy(governor={"enabled": True}, by_symbol={
        f"S{number}USDT": {"size": {"order_notional_max": "100"}} for number in range(2000)
    })  # fmt: skip
    limits = effective(written, revision=1, account="main", strategy="grid", now=NOW)
    cautious = governed(limits, MULTIPLIERS[CAUTIOUS])

    assert limits.by_symbol._kept == cautious.by_symbol._kept == {}
    assert cautious.of("S7USDT").order_notional_max == 75
    assert cautious.of("S7USDT") is cautious.of("S7USDT")
    assert len(cautious.by_symbol) == 2000
    assert limits.by_symbol._kept.keys() == {"S7USDT"}
