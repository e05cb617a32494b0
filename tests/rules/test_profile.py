"""What people write: units, signs, unknown keys, and messages that say what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rules.limits import RiskSource
from rules.profile import (
    CAPITAL_PROFILES,
    RISK_PROFILES,
    AccountPolicy,
    Defaults,
    GlobalPolicy,
    RiskProfile,
    default_policy,
    explain,
    warnings,
)

FULL = {
    "active_mode": "NORMAL",
    "defaults": {"size": {"order_notional_max": "900"}, "price": {"collar_up": "5%"}, "rate": {"order_rate_max": "9"}},
    "accounts": {
        "main": {
            "capital_profile": "low",
            "strategies": ["grid"],
            "symbols": ["BTCUSDT"],
            "size": {"exposure_account_max": "5000"},
            "price": {"collar_down_percent": "4"},
            "rate": {"duplicates_max": 1},
            "by_symbol": {"BTCUSDT": {"size": {"order_quantity_max": "0.5"}, "price": {"floor": "100"}, "rate": {}}},
        }
    },
    "strategies": {"grid": {"size": {}, "price": {}, "rate": {}, "symbols": "any"}},
    "symbols": {"ETHUSDT": {"leverage_max": "2"}},
    "ages": {"price_s": "3"},
    "risk_source": {"kind": "profile_checks_only", "until": "2026-03-01T00:00:00Z"},
}


def problems(document: object) -> list[str]:
    """The explained errors of a document that must be refused."""
    with pytest.raises(ValidationError) as refused:
        GlobalPolicy.model_validate(document)
    return explain(refused.value)


def account(**stated: object) -> dict[str, object]:
    """A document with one account that states something."""
    return {"active_mode": "NORMAL", "accounts": {"main": {"strategies": "any", "symbols": "any", **stated}}}


def read(**stated: object) -> AccountPolicy:
    """That account, read."""
    return GlobalPolicy.model_validate(account(**stated)).accounts["main"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AGGRESSIVE_SMALL_ACCOUNT", ("7", "0.03", "0.06", 15, "300", "0.60", "1.5")),
        ("NORMAL", ("5", "0.015", "0.05", 30, "1000", "0.65", "1")),
        ("DEFENSIVE", ("3", "0.0075", "0.03", 10, "500", "0.75", "0.7")),
    ],
)
def test_the_built_in_risk_profiles_hold_the_agreed_values(name, expected):
    """Leverage, trade risk, drawdown, positions, cap, confidence and scaling factor of each mode."""
    profile = RISK_PROFILES[name]
    leverage, trade, drawdown, positions, cap, confidence, scaling = expected

    assert (profile.leverage_max, profile.trade_risk_max) == (Decimal(leverage), Decimal(trade))
    assert (profile.drawdown_daily_max, profile.open_positions_max) == (Decimal(drawdown), positions)
    assert (profile.position_notional_max, profile.confidence_min) == (Decimal(cap), Decimal(confidence))
    assert (profile.scaling_factor, profile.new_positions_allowed) == (Decimal(scaling), True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("micro", ("0.005", "0.02", "0.002", 2, "1")),
        ("low", ("0.01", "0.035", "0.005", 3, "2")),
        ("normal", ("0.02", "0.07", "0.01", 5, "3")),
        ("aggressive", ("0.035", "0.12", "0.02", 8, "5")),
    ],
)
def test_the_built_in_capital_profiles_hold_the_agreed_values(name, expected):
    """Daily loss, weekly loss, single trade, positions and leverage of each rung."""
    rung = CAPITAL_PROFILES[name]

    found = (rung.loss_daily_max, rung.loss_weekly_max, rung.trade_risk_max, rung.open_positions_max, rung.leverage_max)
    assert found == tuple(Decimal(value) for value in expected)


@pytest.mark.parametrize(
    "stated",
    [
        {"loss_daily_max": "1.5%"},
        {"loss_daily_max": "1.50 %"},
        {"loss_daily_max_percent": "1.5"},
        {"loss_daily_max_percent": Decimal("1.5")},
        {"loss_daily_max_fraction": "0.015"},
    ],
)
def test_a_share_is_read_with_its_unit(stated):
    """A percent sign, or the unit in the key: all mean 0.015."""
    assert read(**stated).loss_daily_max == Decimal("0.015")


@pytest.mark.parametrize("bare", ["0.015", "1.5", "1", 1, Decimal("0.015"), 0.015, True, "%", "1,5%", "1e-2%", ""])
def test_a_share_without_its_unit_is_refused_with_what_to_write(bare):
    """1.5 could be a fraction or a percentage; the message shows both ways to write it."""
    (line,) = problems(account(loss_daily_max=bare))

    assert line.startswith("accounts.main.loss_daily_max: found ")
    assert "'1.5%'" in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss_daily_max", "-1%"), ("loss_daily_max", "0%"), ("loss_daily_max", "100.1%"),
        ("loss_daily_max_percent", "-0.5"), ("loss_daily_max_percent", "101"),
        ("loss_daily_max_fraction", "1.01"), ("loss_daily_max_fraction", "0"),
        ("leverage_max", "0.5"), ("leverage_max", "126"), ("leverage_max", "-3"), ("leverage_max", "5x"),
        ("open_positions_max", "-1"), ("open_positions_max", "2.5"), ("open_positions_max", 101),
        ("confidence_min", "65"), ("confidence_min", "1.01"), ("confidence_min", "-0.1"),
        ("warning_factor", "0"), ("warning_factor", "1.1"),
        ("new_positions_allowed", "yes"), ("new_positions_allowed", 1),
        ("size", {"order_notional_max": "-300"}), ("size", {"order_notional_max": "0"}),
        ("size", {"order_notional_max": 300.5}), ("size", {"order_notional_max": "NaN"}),
        ("size", {"order_notional_max": "1e3"}), ("size", {"order_notional_max": "٣"}),
        ("size", {"order_notional_max": Decimal("Infinity")}), ("size", {"order_notional_max": "1" * 16}),
        ("price", {"floor": "9", "ceiling": "8"}), ("rate", {"order_rate_window_s": "5"}),
        ("rate", {"order_rate_max": 0}), ("capital_profile", "MICRO"), ("scaling", "on"),
        ("symbols", "BTCUSDT"), ("symbols", ["*"]), ("symbols", ["any"]), ("symbols", [""]), ("symbols", [1]),
        ("symbols", {"BTCUSDT": True}), ("strategies", None), ("critical_allows_reducing", None),
    ],
)
def test_values_that_are_no_limit_are_refused(key, value):
    """Negative, zero, out of range, not plain, or of the wrong kind: refused at its path, with what was expected."""
    (line,) = problems(account(**{key: value}))

    assert line.startswith("accounts.main")
    assert "found" in line
    assert "expected" in line


def test_negative_limits_are_told_that_limits_are_positive_magnitudes():
    """Older documents wrote losses as negative numbers; the message says what is meant here."""
    assert "limits are positive magnitudes" in problems(account(loss_daily_max="-1%"))[0]
    assert "limits are positive magnitudes" in problems(account(size={"order_notional_max": "-300"}))[0]


def test_a_share_stated_twice_is_refused():
    """Two spellings of one limit could disagree, so neither is taken."""
    assert problems(account(drawdown_max="5%", drawdown_max_percent="4")) == [
        "accounts.main: found drawdown_max and drawdown_max_percent, expected one of them"
    ]


def sections(document: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every section of a document whose keys are field names."""
    if not isinstance(document, Mapping):
        return []
    found = [] if path and path[-1] in ("accounts", "strategies", "symbols", "by_symbol") else [path]
    return found + [deeper for key, value in document.items() for deeper in sections(value, (*path, key))]


@pytest.mark.parametrize("path", sections(FULL), ids=".".join)
def test_unknown_keys_are_refused_at_every_depth(path):
    """A mistyped limit that is ignored is no limit; the message names its place."""
    document = GlobalPolicy.model_validate(FULL).model_dump(mode="json", exclude_none=True)
    here = document
    for step in path:
        here = here[step]
    here["leverge_max"] = "3"

    (line,) = problems(document)
    assert line.startswith(".".join((*path, "leverge_max")) + ": found an unknown key, expected ")


def test_an_unknown_key_is_answered_with_its_likely_meaning():
    """A typo is answered with the name that was probably meant."""
    assert problems(account(leverge_max="3")) == [
        "accounts.main.leverge_max: found an unknown key, expected leverage_max?"
    ]


def test_both_whitelists_of_an_account_must_be_written():
    """Silence admits nobody by accident: 'any' has to be said."""
    lines = problems({"active_mode": "NORMAL", "accounts": {"main": {}}})

    assert [line.partition(":")[0] for line in lines] == ["accounts.main.strategies", "accounts.main.symbols"]
    assert all("'any', or a list" in line for line in lines)


def test_an_empty_whitelist_stays_empty():
    """An empty list is kept as a list that admits none, not as silence."""
    assert read(symbols=[]).symbols == frozenset()
    assert read(symbols="any").symbols == "any"


def models(value: object) -> list[BaseModel]:
    """Every model inside a value."""
    if isinstance(value, BaseModel):
        return [value, *(inner for name in type(value).model_fields for inner in models(getattr(value, name)))]
    return [inner for item in value.values() for inner in models(item)] if isinstance(value, Mapping) else []


def test_a_policy_is_frozen_at_every_depth():
    """Neither a field nor an entry of a mapping can be changed after reading."""
    policy = GlobalPolicy.model_validate(FULL)
    found = models(policy)

    assert len(found) > 25
    for model in found:
        name = next(iter(type(model).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, name, getattr(model, name))
    for mapping in (policy.accounts, policy.risk_profiles, policy.symbols, policy.accounts["main"].by_symbol):
        with pytest.raises(TypeError):
            mapping["x"] = None


@pytest.mark.parametrize("mode", ["json", "python"])
def test_a_policy_survives_being_written_and_read(mode):
    """What is stored reads back equal, digit for digit."""
    policy = GlobalPolicy.model_validate(FULL)

    assert GlobalPolicy.model_validate(policy.model_dump(mode=mode, exclude_none=True)) == policy


@given(st.decimals(min_value="0.000000001", max_value=100, places=9))
def test_percentages_are_exact(percent):
    """Percent to fraction and back loses no digit."""
    defaults = Defaults.model_validate({"drawdown_max_percent": format(percent, "f")})

    assert defaults.drawdown_max * 100 == percent
    assert Defaults.model_validate(defaults.model_dump()) == defaults


@given(st.decimals(min_value="0.000000000001", max_value="999999999999999", places=12))
def test_money_is_exact(amount):
    """An amount keeps every digit it was written with."""
    defaults = Defaults.model_validate({"size": {"order_notional_max": format(amount, "f")}})

    assert defaults.size.order_notional_max == amount
    assert defaults.model_dump(mode="json")["size"]["order_notional_max"] == format(amount, "f")


def test_strings_are_enough():
    """Strictly read YAML holds only strings; counts, flags, factors and instants are read from them."""
    stated = read(open_positions_max="4", confidence_required="true", warning_factor="0.4", confidence_min="65%")

    assert (stated.open_positions_max, stated.confidence_required) == (4, True)
    assert (stated.warning_factor, stated.confidence_min) == (Decimal("0.4"), Decimal("0.65"))


def test_an_alias_of_a_mode_becomes_the_mode():
    """AGGRESSIVE is read, AGGRESSIVE_SMALL_ACCOUNT is kept."""
    assert default_policy(active_mode="AGGRESSIVE").active_mode == "AGGRESSIVE_SMALL_ACCOUNT"
    assert default_policy().mode_named("AGGRESSIVE") == "AGGRESSIVE_SMALL_ACCOUNT"
    assert default_policy().mode_named("aggressive") is None


@pytest.mark.parametrize("mode", ["", "normal", "RECKLESS", "EMERGENCY"])
def test_unknown_modes_are_refused(mode):
    """No unknown name falls back to a mode."""
    assert any("active_mode: found" in line for line in problems({"active_mode": mode}))


def test_the_mode_must_be_written():
    """A document without a mode is refused rather than read as NORMAL."""
    assert problems({}) == ["active_mode: found nothing, expected a value"]


def test_listed_profiles_are_all_there_are():
    """A document that leaves a mode out cannot be switched to it."""
    normal = RISK_PROFILES["NORMAL"].model_dump(mode="json")

    assert default_policy(risk_profiles={"NORMAL": normal}).mode_named("AGGRESSIVE") is None


def test_a_profile_takes_its_name_from_its_key_and_from_nowhere_else():
    """The key is the name; a name that differs, or that is an alias, is refused."""
    normal = RISK_PROFILES["NORMAL"].model_dump(mode="json")
    unnamed = {key: value for key, value in normal.items() if key != "name"}

    assert default_policy(risk_profiles={"NORMAL": unnamed}).risk_profile == RISK_PROFILES["NORMAL"]
    assert "expected one name" in problems({"active_mode": "X", "risk_profiles": {"X": normal}})[0]
    assert "AGGRESSIVE" in problems({"active_mode": "AGGRESSIVE", "risk_profiles": {"AGGRESSIVE": unnamed}})[0]


def test_the_lowest_leverage_is_not_above_the_highest():
    """A profile whose bounds cross is refused."""
    crossed = RISK_PROFILES["NORMAL"].model_dump(mode="json") | {"leverage_min": "6"}
    with pytest.raises(ValidationError, match="leverage_min 6 above leverage_max 5"):
        RiskProfile.model_validate(crossed)


@pytest.mark.parametrize(
    "setting",
    [
        {"kind": "profile_checks_only"},
        {"kind": "profile_checks_only", "until": "2026-01-01T00:00:00"},
        {"kind": "profile_checks_only", "until": "tomorrow"},
        {"kind": "none", "until": "2026-01-01T00:00:00Z"},
        {"kind": "optional"},
        {"until": "2026-01-01T00:00:00Z"},
    ],
)
def test_the_degraded_risk_source_needs_its_end(setting):
    """`profile_checks_only` without an aware instant, or an end for anything else, is refused."""
    (line,) = problems({"active_mode": "NORMAL", "risk_source": setting})

    assert line.startswith("risk_source")


def test_the_degraded_risk_source_keeps_its_end_in_utc():
    """An instant with an offset is the same instant in UTC."""
    setting = {"kind": "profile_checks_only", "until": "2026-01-01T02:00:00+02:00"}
    source = default_policy(risk_source=setting).risk_source

    assert (source.kind, source.until) == (RiskSource.PROFILE_CHECKS_ONLY, datetime(2026, 1, 1, tzinfo=UTC))


def test_the_built_in_policy_gives_no_warnings():
    """The values as agreed are ordered as they should be."""
    assert warnings(default_policy()) == []


def profile(name: str, **changes: object) -> dict[str, object]:
    """The built-in risk profiles with one changed."""
    documents = {key: value.model_dump(mode="json") for key, value in RISK_PROFILES.items()}
    documents[name] |= changes
    return documents


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("DEFENSIVE", {"leverage_max": "6"}, "risk_profiles.DEFENSIVE.leverage_max 6 is looser than NORMAL's 5"),
        ("DEFENSIVE", {"open_positions_max": 31}, "DEFENSIVE.open_positions_max 31 is looser"),
        ("DEFENSIVE", {"confidence_min": "0.5"}, "DEFENSIVE.confidence_min 0.5 is looser"),
        ("NORMAL", {"trade_risk_max": "4%"}, "NORMAL.trade_risk_max 0.04 is looser than AGGRESSIVE_SMALL_"),
        ("NORMAL", {"new_positions_allowed": False}, "DEFENSIVE allows new positions and NORMAL does not"),
    ],
)
def test_a_mode_looser_than_the_next_one_is_told(name, changes, expected):
    """DEFENSIVE above NORMAL, or NORMAL above AGGRESSIVE, is warned of by name and value."""
    found = warnings(default_policy(risk_profiles=profile(name, **changes)))

    assert any(expected in line for line in found), found


def test_a_rung_looser_than_the_next_one_is_told():
    """The capital ladder only widens upwards."""
    rungs = {key: value.model_dump(mode="json") for key, value in CAPITAL_PROFILES.items()}
    rungs["micro"]["leverage_max"] = "4"

    assert warnings(default_policy(capital_profiles=rungs)) == [
        "capital_profiles.micro.leverage_max 4 is looser than low's 2"
    ]


def test_limits_that_cannot_be_meant_are_told():
    """A price floor over all symbols, and limits for a symbol that the account may not trade."""
    document = account(price={"floor": "5"}, by_symbol={"ETHUSDT": {"leverage_max": 1}}, symbols=["BTCUSDT"])
    found = warnings(GlobalPolicy.model_validate(document))

    assert len(found) == 2
    assert found[0].startswith("accounts.main.price.floor applies to every symbol")
    assert found[1].startswith("accounts.main.by_symbol.ETHUSDT has no effect")
