"""Variables of older installations: aliases that may only tighten, and never a guess."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.stores import read_legacy, tightened, validated
from rules.limits import effective, looser
from rules.profile import GlobalPolicy

NOW = datetime(2026, 1, 15, tzinfo=UTC)


def policy(mode: str = "NORMAL", **defaults: object) -> GlobalPolicy:
    """A policy with one account on the widest rung."""
    main = {"capital_profile": "aggressive", "strategies": "any", "symbols": "any"}
    return validated({"active_mode": mode, "defaults": defaults, "accounts": {"main": main}})


def limits(of: GlobalPolicy):
    """The account's limits."""
    return effective(of, revision=1, account="main", strategy="s", now=NOW)


@pytest.mark.parametrize(
    ("name", "value", "limit", "expected"),
    [
        ("QT_MAX_RISK_PER_TRADE", "0.01", "trade_notional_fraction_max", "0.01"),
        ("RM_RISK_PER_TRADE_PCT", "0.7", "trade_notional_fraction_max", "0.007"),
        ("QT_MAX_POSITIONS", "5", "open_positions_max", "5"),
        ("QT_CONFIDENCE_THRESHOLD", "0.70", "confidence_min", "0.7"),
        ("RM_MAX_LEVERAGE", "2.5", "leverage_max", "2.5"),
        ("QT_MAX_DAILY_LOSS", "800", "loss_daily_money_max", "800"),
        ("QT_MAX_NOTIONAL_PER_TRADE", "5000", "order_notional_max", "5000"),
        ("QT_MAX_POSITION_PER_SYMBOL", "7000", "exposure_symbol_max", "7000"),
        ("QT_MAX_GROSS_EXPOSURE", "9000", "exposure_total_max", "9000"),
        ("QT_MIN_UNIT_PRICE", "0.5", "price_floor", "0.5"),
        ("QT_MAX_UNIT_PRICE", "200000", "price_ceiling", "200000"),
    ],
)
def test_each_variable_tightens_its_limit_and_is_told(name, value, limit, expected):
    """The value becomes a default for all accounts, and the operator hears where to write it instead."""
    legacy = read_legacy({name: value, "PATH": "/bin"})
    after, ignored = tightened(policy(), legacy)

    assert getattr(limits(after), limit) == Decimal(expected)
    assert ignored == ()
    assert len(legacy.notices) == 1
    assert legacy.notices[0].startswith(f"{name} is deprecated")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QT_MAX_RISK_PER_TRADE", "1.5"), ("QT_MAX_RISK_PER_TRADE", "abc"), ("QT_MAX_RISK_PER_TRADE", ""),
        ("QT_MAX_RISK_PER_TRADE", "-0.01"), ("QT_MAX_RISK_PER_TRADE", "1%"), ("RM_RISK_PER_TRADE_PCT", "101"),
        ("QT_MAX_POSITIONS", "5.5"), ("QT_MAX_POSITIONS", "many"), ("QT_CONFIDENCE_THRESHOLD", "70"),
        ("QT_CONFIDENCE_THRESHOLD", "nan"), ("RM_MAX_LEVERAGE", "0"), ("RM_MAX_LEVERAGE", "1e1"),
        ("QT_MAX_DAILY_LOSS", "-800"), ("QT_MAX_DAILY_LOSS", "8%"), ("QT_MAX_NOTIONAL_PER_TRADE", "0"),
        ("QT_MIN_UNIT_PRICE", "cheap"), ("QT_MAX_PRICE_STALENESS_SECONDS", "0"), ("QT_ALLOWED_SYMBOLS", " , "),
        ("QT_ALLOWED_SYMBOLS", "any,*"), ("QT_KILL_SWITCH", "maybe"), ("QT_KILL_SWITCH", ""),
    ],
)
def test_what_cannot_be_read_stops_the_start(name, value):
    """An unparsable value is a ConfigError that names the variable, never a default."""
    with pytest.raises(ConfigError, match=f"environment: {name}: .*expected"):
        read_legacy({name: value})


def test_no_variables_change_nothing():
    """An environment without them leaves the policy as it is."""
    legacy = read_legacy({"HOME": "/root"})

    assert tightened(policy(), legacy) == (policy(), ())
    assert legacy.notices == ()


@pytest.mark.parametrize("name", ["QUANTUM_RISK_MODE", "QT_RISK_MODE"])
def test_a_stricter_mode_is_taken(name):
    """DEFENSIVE under NORMAL tightens everything, so it applies."""
    after, ignored = tightened(policy("NORMAL"), read_legacy({name: "DEFENSIVE"}))

    assert (after.active_mode, ignored) == ("DEFENSIVE", ())


@pytest.mark.parametrize(("stored", "asked"), [("NORMAL", "AGGRESSIVE"), ("DEFENSIVE", "NORMAL")])
def test_a_looser_mode_is_not_taken_and_that_is_told(stored, asked):
    """The environment cannot loosen; the sentence names what would have loosened."""
    after, (ignored,) = tightened(policy(stored), read_legacy({"QUANTUM_RISK_MODE": asked}))

    assert after.active_mode == stored
    assert f"risk mode {stored} is kept" in ignored
    assert "leverage_max" in ignored


def test_unknown_or_disagreeing_modes_stop_the_start():
    """No name is guessed, and of two names none is picked; an alias agrees with its long name."""
    with pytest.raises(ConfigError, match="expected one of"):
        tightened(policy(), read_legacy({"QT_RISK_MODE": "RECKLESS"}))
    with pytest.raises(ConfigError, match="expected one risk mode"):
        read_legacy({"QUANTUM_RISK_MODE": "NORMAL", "QT_RISK_MODE": "DEFENSIVE"})

    agreed = read_legacy({"QUANTUM_RISK_MODE": "AGGRESSIVE_SMALL_ACCOUNT", "QT_RISK_MODE": "AGGRESSIVE"})
    assert agreed.mode == "AGGRESSIVE_SMALL_ACCOUNT"


def test_of_two_values_for_one_limit_the_tighter_holds():
    """A fraction and a percentage of the same limit: the lower one."""
    both = read_legacy({"QT_MAX_RISK_PER_TRADE": "0.01", "RM_RISK_PER_TRADE_PCT": "0.4"})

    assert limits(tightened(policy(), both)[0]).trade_notional_fraction_max == Decimal("0.004")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "QUANTUM_RISK_MODE": st.sampled_from(["NORMAL", "DEFENSIVE", "AGGRESSIVE"]),
            "QT_MAX_RISK_PER_TRADE": st.integers(1, 1000).map(lambda n: str(Decimal(n) / 1000)),
            "RM_RISK_PER_TRADE_PCT": st.integers(1, 100).map(str),
            "QT_MAX_POSITIONS": st.integers(0, 100).map(str),
            "QT_CONFIDENCE_THRESHOLD": st.integers(0, 100).map(lambda n: str(Decimal(n) / 100)),
            "RM_MAX_LEVERAGE": st.integers(1, 125).map(str),
        },
    ),
    st.sampled_from(["NORMAL", "DEFENSIVE", "AGGRESSIVE"]),
    st.fixed_dictionaries(
        {},
        optional={
            "leverage_max": st.integers(1, 9), "trade_risk_max_percent": st.integers(1, 9),
            "open_positions_max": st.integers(0, 9), "confidence_min": st.sampled_from(["0.2", "0.9"]),
        },
    ),
)
def test_no_environment_loosens_any_limit(environ, mode, defaults):
    """Whatever the variables and the policy say, every limit afterwards is at least as tight."""
    before = policy(mode, **defaults)
    after, _ = tightened(before, read_legacy(environ))

    assert looser(limits(after), limits(before)) == ()


SECTIONS = {
    "QT_MAX_NOTIONAL_PER_TRADE": ("size", "order_notional_max", "100", "200"),
    "QT_MAX_POSITION_PER_SYMBOL": ("size", "exposure_symbol_max", "100", "200"),
    "QT_MAX_GROSS_EXPOSURE": ("size", "exposure_total_max", "100", "200"),
    "QT_MIN_UNIT_PRICE": ("price", "floor", "200", "100"),
    "QT_MAX_UNIT_PRICE": ("price", "ceiling", "100", "200"),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_limit_in_a_section_is_only_tightened(name):
    """The stricter of the policy's own and the variable's holds, whichever it is, and its neighbours stay."""
    section, key, strict, loose = SECTIONS[name]
    for written, stated in ((strict, loose), (loose, strict)):
        own = {section: {key: written, **({"order_quantity_max": "3"} if section == "size" else {"collar_up": "5%"})}}
        after, _ = tightened(policy(**own), read_legacy({name: stated}))
        found = getattr(after.defaults, section)
        assert getattr(found, key) == Decimal(strict)
        assert (found.order_quantity_max if section == "size" else found.collar_up) is not None


def test_allowed_symbols_narrow_the_list():
    """In capitals, as venues write them; against a list of its own, what both name."""
    legacy = read_legacy({"QT_ALLOWED_SYMBOLS": "btcusdt, ETHUSDT"})
    assert tightened(policy(), legacy)[0].defaults.symbols == {"BTCUSDT", "ETHUSDT"}
    assert tightened(policy(symbols=["ETHUSDT", "SOLUSDT"]), legacy)[0].defaults.symbols == {"ETHUSDT"}
    assert tightened(policy(symbols=["SOLUSDT"]), legacy)[0].defaults.symbols == frozenset()


def test_the_age_of_prices_is_only_lowered():
    """2 s bind, 60 s do not."""
    for stated, expected in (("2", 2), ("60", 5)):
        after, _ = tightened(policy(), read_legacy({"QT_MAX_PRICE_STALENESS_SECONDS": stated}))
        assert after.ages.price_s == expected


def test_the_kill_switch_is_read_and_what_would_loosen_is_not():
    """True engages, false does not; a fail-safe that resets by itself is told to have no effect."""
    assert read_legacy({"QT_KILL_SWITCH": "TRUE"}).kill_switch
    assert not read_legacy({"QT_KILL_SWITCH": "false"}).kill_switch
    legacy = read_legacy({"QT_FAILSAFE_RESET_MINUTES": "60"})
    assert (tightened(policy(), legacy), legacy.kill_switch) == ((policy(), ()), False)
    assert legacy.notices == ("QT_FAILSAFE_RESET_MINUTES has no effect: an emergency stop does not end by itself",)
