"""How layers become limits: the tightest wins, for every limit, and nothing that is added ever loosens."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rules.limits import (
    TIGHTER,
    Ages,
    Limits,
    PolicyGap,
    RiskSource,
    effective,
    effective_with_sources,
    looser,
    no_looser,
)
from rules.profile import CAPITAL_PROFILES, RISK_PROFILES, GlobalPolicy, default_policy

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
NOT_LIMITS = {"shadow", "limits_off", "ranks", "policy_revision", "profile", "capital_profile", "ages", "by_symbol"}


def limits(document: dict, *, strategy: str = "grid", now: datetime = NOW) -> Limits:
    """The limits of account main under a document."""
    policy = GlobalPolicy.model_validate(document)
    return effective(policy, revision=7, account="main", strategy=strategy, now=now)


def document(layer: str = "accounts", **stated: object) -> dict:
    """A policy whose account has no capital profile in its way and states something on one layer."""
    wide = {
        "loss_daily_max": "100%", "loss_weekly_max": "100%", "trade_risk_max": "100%",
        "open_positions_max": 100, "leverage_max": 125,
    }
    mode = {
        "leverage_max": 125, "trade_risk_max": "100%", "drawdown_daily_max": "100%", "open_positions_max": 100,
        "position_notional_max": "1000000", "confidence_min": "0",
    }
    main = {"capital_profile": "wide", "strategies": "any", "symbols": "any", "scaling": "allowed"}
    result: dict = {
        "active_mode": "WIDE",
        "risk_profiles": {"WIDE": mode},
        "capital_profiles": {"wide": wide},
        "accounts": {"main": main | (stated if layer == "accounts" else {})},
    }
    if layer == "defaults":
        result["defaults"] = stated
    elif layer == "strategies":
        result["strategies"] = {"grid": stated}
    elif layer == "symbols":
        result["symbols"] = {"BTCUSDT": stated}
    elif layer == "by_symbol":
        main["by_symbol"] = {"BTCUSDT": stated}
        result["accounts"] = {"main": main}
    return result


STATED = [
    ({"leverage_max": "3"}, "leverage_max", Decimal(3)),
    ({"trade_risk_max": "1%"}, "trade_notional_fraction_max", Decimal("0.01")),
    ({"trade_risk_max": "1%"}, "trade_stop_loss_fraction_max", Decimal("0.01")),
    ({"trade_stop_loss_max": "0.5%"}, "trade_stop_loss_fraction_max", Decimal("0.005")),
    ({"trade_risk_max": "1%", "trade_stop_loss_max": "0.5%"}, "trade_stop_loss_fraction_max", Decimal("0.005")),
    ({"trade_risk_max": "1%", "trade_stop_loss_max": "2%"}, "trade_stop_loss_fraction_max", Decimal("0.01")),
    ({"loss_daily_max": "2%"}, "loss_daily_max", Decimal("0.02")),
    ({"loss_daily_money_max": "800"}, "loss_daily_money_max", Decimal(800)),
    ({"loss_weekly_max": "6%"}, "loss_weekly_max", Decimal("0.06")),
    ({"drawdown_max": "9%"}, "drawdown_max", Decimal("0.09")),
    ({"loss_streak_max": 3, "loss_cooldown_s": "7200"}, "loss_streak_max", 3),
    ({"loss_streak_max": 3, "loss_cooldown_s": "7200"}, "loss_cooldown_s", Decimal(7200)),
    ({"open_positions_max": 4}, "open_positions_max", 4),
    ({"rank_min": "0.5"}, "rank_min", Decimal("0.5")),
    ({"size": {"exposure_asset_max": "8"}}, "exposure_asset_max", Decimal(8)),
    ({"size": {"exposure_net_max": "8"}}, "exposure_net_max", Decimal(8)),
    ({"size": {"concentration_max": "8%"}}, "concentration_max", Decimal("0.08")),
    ({"size": {"margin_free_min": "8%"}}, "margin_free_min", Decimal("0.08")),
    ({"size": {"liquidation_distance_min": "8%"}}, "liquidation_distance_min", Decimal("0.08")),
    ({"size": {"open_orders_max": 8}}, "open_orders_max", 8),
    ({"size": {"open_orders_symbol_max": 8}}, "open_orders_symbol_max", 8),
    ({"size": {"approval_notional_min": "5000"}}, "approval_notional_min", Decimal(5000)),
    ({"confidence_min": "0.7"}, "confidence_min", Decimal("0.7")),
    ({"confidence_required": True}, "confidence_required", True),
    ({"new_positions_allowed": False}, "new_positions_allowed", False),
    ({"margin_changes_allowed": False}, "margin_changes_allowed", False),
    ({"slippage": "2%"}, "slippage", Decimal("0.02")),
    ({"warning_factor": "0.3"}, "warning_factor", Decimal("0.3")),
    ({"scaling": "off"}, "scaling_allowed", False),
    ({"price": {"floor": "5"}}, "price_floor", Decimal(5)),
    ({"price": {"ceiling": "50"}}, "price_ceiling", Decimal(50)),
    ({"price": {"collar_up": "3%"}}, "collar_up", Decimal("0.03")),
    ({"price": {"collar_down": "4%"}}, "collar_down", Decimal("0.04")),
    ({"rate": {"order_rate_max": 20, "order_rate_window_s": "60"}}, "order_rate_max", 20),
    ({"rate": {"order_rate_max": 20, "order_rate_window_s": "60"}}, "order_rate_window_s", Decimal(60)),
    ({"rate": {"duplicates_max": 2, "duplicate_window_s": "9"}}, "duplicates_max", 2),
    ({"rate": {"duplicates_max": 2, "duplicate_window_s": "9"}}, "duplicate_window_s", Decimal(9)),
    *(
        ({"size": {name: "77"}}, name, Decimal(77))
        for name in (
            "order_notional_max", "order_quantity_max", "position_notional_max", "exposure_symbol_max",
            "exposure_strategy_max", "exposure_account_max", "exposure_exchange_max", "exposure_total_max",
        )
    ),
]


def test_every_limit_says_which_value_is_stricter():
    """A limit added to the core without its direction would be compared by nobody."""
    assert set(TIGHTER) == {limit.name for limit in fields(Limits)} - NOT_LIMITS


def test_every_limit_is_tried_from_a_document():
    """Each limit that a layer can state has a case below; whitelists and the risk source have their own."""
    own = {
        "never_scaled", "warn_at", "strategies", "symbols", "strategies_blocked", "symbols_blocked",
        "critical_allows_reducing", "risk_source",
    }  # fmt: skip
    own |= {"governor", "scaling_by_var", "scaling_factor"}  # tests/rules/test_governor.py, test_scaling_modes.py
    assert {name for _, name, _ in STATED} == set(TIGHTER) - own


@pytest.mark.parametrize("layer", ["defaults", "accounts", "strategies", "symbols", "by_symbol"])
@pytest.mark.parametrize(("stated", "name", "value"), STATED)
def test_each_layer_sets_each_limit(layer, stated, name, value):
    """What a layer states arrives under its limit, and its source is named; elsewhere it does not."""
    policy = GlobalPolicy.model_validate(document(layer, **stated))
    found, sources = effective_with_sources(policy, revision=7, account="main", strategy="grid", now=NOW)
    without = limits(document())

    assert getattr(found.of("BTCUSDT"), name) == value
    assert getattr(without, name) != value
    if layer in ("symbols", "by_symbol"):
        assert getattr(found.of("ETHUSDT"), name) == getattr(without, name)
        expected = "symbols.BTCUSDT" if layer == "symbols" else "accounts.main.by_symbol.BTCUSDT"
        assert sources[f"by_symbol.BTCUSDT.{name}"] == expected
    else:
        expected = {"defaults": "defaults", "accounts": "accounts.main", "strategies": "strategies.grid"}[layer]
        assert sources[name] == expected


@pytest.mark.parametrize("layer", ["accounts", "strategies", "symbols", "by_symbol"])
@pytest.mark.parametrize(
    ("tight", "loose", "name"),
    [
        ({"leverage_max": "3"}, {"leverage_max": "4"}, "leverage_max"),
        ({"confidence_min": "0.7"}, {"confidence_min": "0.6"}, "confidence_min"),
        ({"slippage": "2%"}, {"slippage": "0.1%"}, "slippage"),
        ({"new_positions_allowed": False}, {"new_positions_allowed": True}, "new_positions_allowed"),
        ({"confidence_required": True}, {"confidence_required": False}, "confidence_required"),
        ({"price": {"floor": "5"}}, {"price": {"floor": "4"}}, "price_floor"),
        ({"size": {"exposure_total_max": "9"}}, {"size": {"exposure_total_max": "10"}}, "exposure_total_max"),
    ],
)
def test_a_looser_value_on_a_narrower_layer_changes_nothing(layer, tight, loose, name):
    """The defaults state the tighter value; whoever states a looser one is not heard."""
    policy = document(layer, **loose) | {"defaults": tight}
    alone = document() | {"defaults": tight}

    assert getattr(limits(policy).of("BTCUSDT"), name) == getattr(limits(alone).of("BTCUSDT"), name)


@pytest.mark.parametrize("mode", RISK_PROFILES)
@pytest.mark.parametrize("rung", CAPITAL_PROFILES)
def test_the_built_in_profiles_give_the_lower_of_each(mode, rung):
    """All twelve pairs of mode and capital profile, against the agreed tables."""
    modes = {
        "AGGRESSIVE_SMALL_ACCOUNT": ("7", "0.03", "0.06", 15, "300", "0.60"),
        "NORMAL": ("5", "0.015", "0.05", 30, "1000", "0.65"),
        "DEFENSIVE": ("3", "0.0075", "0.03", 10, "500", "0.75"),
    }
    rungs = {
        "micro": ("1", "0.002", "0.005", 2, "0.02"),
        "low": ("2", "0.005", "0.01", 3, "0.035"),
        "normal": ("3", "0.01", "0.02", 5, "0.07"),
        "aggressive": ("5", "0.02", "0.035", 8, "0.12"),
    }
    main = {"capital_profile": rung, "strategies": "any", "symbols": "any"}
    found = limits({"active_mode": mode, "accounts": {"main": main}})
    lower = [min(Decimal(one), Decimal(other)) for one, other in zip(modes[mode][:4], rungs[rung][:4], strict=True)]

    assert [
        found.leverage_max, found.trade_notional_fraction_max, found.loss_daily_max, found.open_positions_max,
    ] == lower
    assert found.trade_stop_loss_fraction_max == lower[1]
    assert found.loss_weekly_max == Decimal(rungs[rung][4])
    assert found.position_notional_max == Decimal(modes[mode][4])
    assert found.confidence_min == Decimal(modes[mode][5])
    assert found.drawdown_max is None
    assert (found.policy_revision, found.profile, found.capital_profile) == (7, mode, rung)


def test_without_a_written_capital_profile_the_lowest_rung_applies():
    """An account that names none is micro."""
    policy = {"active_mode": "NORMAL", "accounts": {"main": {"strategies": "any", "symbols": "any"}}}

    assert limits(policy).leverage_max == 1


def test_whitelists_narrow_each_other():
    """Only what every layer lists is admitted; both layers are named."""
    policy = document("accounts", symbols=["BTCUSDT", "ETHUSDT"], strategies=["grid", "trend"])
    policy["strategies"] = {"grid": {"symbols": ["ETHUSDT", "SOLUSDT"]}}
    policy["defaults"] = {"strategies": ["grid"]}
    found, sources = effective_with_sources(
        GlobalPolicy.model_validate(policy), revision=1, account="main", strategy="grid", now=NOW
    )

    assert (found.symbols, found.strategies) == (frozenset({"ETHUSDT"}), frozenset({"grid"}))
    assert sources["symbols"] == "accounts.main and strategies.grid"
    assert limits(policy, strategy="trend").symbols == frozenset({"BTCUSDT", "ETHUSDT"})


def test_any_admits_all_and_an_empty_list_none():
    """The two are told apart down to the limits."""
    assert limits(document(symbols="any")).symbols is None
    assert limits(document(symbols=[])).symbols == frozenset()


def test_rates_of_different_windows_give_one_that_satisfies_both():
    """10 in 1 s and 50 in 60 s become 10 in 60 s: stricter than both, never looser than either."""
    policy = document("accounts", rate={"order_rate_max": 10, "order_rate_window_s": "1"})
    policy["defaults"] = {"rate": {"order_rate_max": 50, "order_rate_window_s": "60"}}

    assert (limits(policy).order_rate_max, limits(policy).order_rate_window_s) == (10, Decimal(60))


@pytest.mark.parametrize(
    ("policy", "account"), [(default_policy(), "main"), (GlobalPolicy.model_validate(document()), "MAIN")]
)
def test_an_unknown_account_has_no_limits(policy, account):
    """An account that the policy does not name, letter for letter, is a gap and not a default."""
    with pytest.raises(PolicyGap, match="no policy for account"):
        effective(policy, revision=1, account=account, strategy="grid", now=NOW)


def test_the_degraded_risk_source_ends_by_itself():
    """Up to `until` the profile checks alone hold; from that instant on the signal is required again."""
    until = NOW + timedelta(hours=1)
    policy = document() | {"risk_source": {"kind": "profile_checks_only", "until": until.isoformat()}}

    assert limits(policy, now=until - timedelta(microseconds=1)).risk_source is RiskSource.PROFILE_CHECKS_ONLY
    assert limits(policy, now=until).risk_source is RiskSource.REQUIRED
    assert limits(document()).risk_source is RiskSource.REQUIRED


def test_scaling_and_exits_under_critical_are_off_until_the_account_says_so():
    """Silence never enables anything."""
    policy = {"active_mode": "NORMAL", "accounts": {"main": {"strategies": "any", "symbols": "any"}}}

    assert (limits(policy).scaling_allowed, limits(policy).critical_allows_reducing) == (False, False)
    assert limits(document(critical_allows_reducing=True)).critical_allows_reducing


# --- comparing --------------------------------------------------------------------------------

BASE = limits(document(symbols=["BTCUSDT"], strategies=["grid"], drawdown_max="5%", rate={"order_rate_max": 5}))
LOOSER = [
    ("strategies", frozenset({"grid", "other"})), ("symbols", None), ("confidence_min", None),
    ("leverage_max", Decimal(126)), ("drawdown_max", None), ("drawdown_max", Decimal("0.0500001")),
    ("position_notional_max", None), ("order_rate_max", 6), ("order_rate_window_s", Decimal("9.9")),
    ("slippage", Decimal("0.004")), ("warning_factor", Decimal("0.6")), ("critical_allows_reducing", True),
    ("risk_source", RiskSource.NONE), ("risk_source", RiskSource.PROFILE_CHECKS_ONLY),
]


@pytest.mark.parametrize(("name", "value"), LOOSER)
def test_a_looser_limit_is_found(name, value):
    """The comparison names the limit that loosened, and says nothing the other way round."""
    wider = replace(BASE, **{name: value})

    assert looser(wider, BASE) == (name,)
    assert no_looser(BASE, wider)
    assert no_looser(BASE, BASE)


def test_looser_ages_and_single_symbols_are_found():
    """An older fact accepted, and one symbol exempted, count as looser too."""
    older = replace(BASE, ages=Ages(price_s=Decimal(6)))
    exempt = replace(BASE, by_symbol={"ETHUSDT": replace(BASE, leverage_max=None)})
    stricter_symbol = replace(BASE, by_symbol={"ETHUSDT": replace(BASE, leverage_max=Decimal(2))})

    assert looser(older, BASE) == ("ages.price_s",)
    assert looser(exempt, BASE) == ("by_symbol.ETHUSDT.leverage_max",)
    assert looser(BASE, stricter_symbol) == ("by_symbol.ETHUSDT.leverage_max",)
    assert no_looser(stricter_symbol, BASE)


# --- properties -------------------------------------------------------------------------------

names = st.lists(st.sampled_from(["BTCUSDT", "ETHUSDT", "grid", "trend"]), max_size=3)
percent = st.integers(1, 1000).map(lambda tenths: f"{Decimal(tenths) / 10}%")
money = st.integers(1, 10**6).map(lambda cents: str(Decimal(cents) / 100))
SINGLE = {
    "leverage_max": st.integers(1, 125), "trade_risk_max": percent, "trade_stop_loss_max": percent,
    "loss_daily_max": percent, "loss_weekly_max": percent, "drawdown_max": percent,
    "open_positions_max": st.integers(0, 100), "confidence_min": st.integers(0, 100).map(lambda n: f"{n}%"),
    "confidence_required": st.booleans(), "new_positions_allowed": st.booleans(),
    "margin_changes_allowed": st.booleans(), "slippage": percent,
    "warning_factor": st.integers(1, 100).map(lambda n: str(Decimal(n) / 100)),
    "size": st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("order_notional_max", "position_notional_max", "exposure_symbol_max", "exposure_total_max"), money
        ),
    ),
    "price": st.fixed_dictionaries({}, optional={"floor": money, "collar_up": percent, "collar_down": percent}),
    "rate": st.one_of(
        st.just({}),
        st.fixed_dictionaries(
            {"order_rate_max": st.integers(1, 99)}, optional={"order_rate_window_s": st.integers(1, 99)}
        ),
        st.fixed_dictionaries(
            {"duplicates_max": st.integers(1, 9)}, optional={"duplicate_window_s": st.integers(1, 99)}
        ),
    ),
}
overrides = st.fixed_dictionaries({}, optional=SINGLE)
layer_paths = st.sampled_from(
    [
        ("defaults",), ("accounts", "main"), ("strategies", "grid"), ("symbols", "BTCUSDT"), ("symbols", "ETHUSDT"),
        ("accounts", "main", "by_symbol", "BTCUSDT"), ("accounts", "main", "by_symbol", "SOLUSDT"),
    ]
)


@st.composite
def policies(draw):
    """A document with overrides on some layers."""
    main = {
        "capital_profile": draw(st.sampled_from(list(CAPITAL_PROFILES))),
        "strategies": draw(st.one_of(st.just("any"), names)),
        "symbols": draw(st.one_of(st.just("any"), names)),
        "scaling": draw(st.sampled_from(["allowed", "off"])),
        **draw(overrides),
        "by_symbol": {"BTCUSDT": draw(overrides)} if draw(st.booleans()) else {},
    }
    # The defaults' slippage and warning factor are where those two start, so they are not drawn here.
    defaults = {name: value for name, value in draw(overrides).items() if name not in ("slippage", "warning_factor")}
    return {
        "active_mode": draw(st.sampled_from(list(RISK_PROFILES))),
        "defaults": defaults,
        "accounts": {"main": main},
        "strategies": {"grid": draw(overrides)} if draw(st.booleans()) else {},
        "symbols": {"ETHUSDT": draw(overrides)} if draw(st.booleans()) else {},
    }


def added(policy: dict, path: tuple[str, ...], name: str, value: object) -> dict | None:
    """The document with one more limit on a layer; None where that layer states it already."""
    result = dict(policy)
    here = result
    for step in path:
        here[step] = dict(here.get(step, {}))
        here = here[step]
    if isinstance(value, dict):
        before = here.get(name, {})
        if set(before) & set(value):
            return None
        here[name] = {**before, **value}
    elif name in here:
        return None
    else:
        here[name] = value
    return result


@given(policies(), layer_paths, st.sampled_from(sorted(SINGLE)), st.data())
@example(
    {"active_mode": "NORMAL", "accounts": {"main": {"strategies": "any", "symbols": "any", "trade_risk_max": "1%"}}},
    ("accounts", "main"), "trade_stop_loss_max", None,
)
def test_adding_an_override_never_loosens_a_limit(policy, path, name, data):
    """Whatever a policy says, one more stated limit on any layer admits nothing that was refused before."""
    value = "50%" if data is None else data.draw(SINGLE[name])
    assume(not (path == ("defaults",) and name in ("slippage", "warning_factor")))
    after = added(policy, path, name, value)
    assume(after is not None)

    assert looser(limits(after), limits(policy)) == ()


@given(
    policies(),
    st.sampled_from(["defaults", "accounts", "strategies"]),
    st.sampled_from(["strategies", "symbols"]),
    names,
)
def test_adding_a_whitelist_never_admits_more(policy, layer, which, listed):
    """A list where 'any' stood narrows, on every layer that has one."""
    path = {"defaults": ("defaults",), "accounts": ("accounts", "main"), "strategies": ("strategies", "grid")}[layer]
    assume(not (layer == "strategies" and which == "strategies"))
    assume(layer != "accounts" or policy["accounts"]["main"][which] == "any")
    open_policy = {**policy, "accounts": {"main": {k: v for k, v in policy["accounts"]["main"].items() if k != which}}}
    after = added(open_policy if layer == "accounts" else policy, path, which, listed)

    assert looser(limits(after), limits(policy)) == ()


@given(policies())
def test_every_value_comes_from_its_named_source(policy):
    """Stating only the named layer's value again, on the account, changes nothing: the source is no guess."""
    read = GlobalPolicy.model_validate(policy)
    found, sources = effective_with_sources(read, revision=1, account="main", strategy="grid", now=NOW)

    assert {name for name in sources if "." not in name} >= {
        "leverage_max", "loss_daily_max", "confidence_min", "slippage", "risk_source"
    }
    profile, rung = RISK_PROFILES[found.profile], CAPITAL_PROFILES[found.capital_profile]
    leverages = {
        f"risk_profiles.{found.profile}": profile.leverage_max,
        f"capital_profiles.{found.capital_profile}": rung.leverage_max,
        "defaults": read.defaults.leverage_max,
        "accounts.main": read.accounts["main"].leverage_max,
        "strategies.grid": read.strategies["grid"].leverage_max if "grid" in read.strategies else None,
    }
    assert found.leverage_max == leverages[sources["leverage_max"]]
    assert found.leverage_max == min(value for value in leverages.values() if value is not None)
