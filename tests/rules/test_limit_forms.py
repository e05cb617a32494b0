"""Limits in their long form: tried, switched off, never scaled, warning earlier; and overrides for a time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pydantic import ValidationError

from rules import Side, Verdict, asks_for_sums, effective, effective_with_sources, evaluate, looser
from rules.profile import GlobalPolicy, explain, warnings
from tests import given

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def document(account=None, **sections):
    """A policy with account main, whose capital profile is the widest."""
    wide = {"loss_daily_max": "100%", "loss_weekly_max": "100%", "trade_risk_max": "100%", "open_positions_max": 100,
            "leverage_max": 125}  # fmt: skip
    return {
        "active_mode": "NORMAL", "capital_profiles": {"wide": wide},
        "accounts": {"main": {"strategies": "any", "symbols": "any", "capital_profile": "wide", **(account or {})}},
        **sections,
    }  # fmt: skip


def read(account=None, **sections):
    """The policy that a document describes."""
    return GlobalPolicy.model_validate(document(account, **sections))


def limits(policy, now=NOW, strategy="grid"):
    """The limits of account main."""
    return effective(policy, revision=7, account="main", strategy=strategy, now=now)


def problems(account=None, **sections):
    """Why a document is refused."""
    with pytest.raises(ValidationError) as refused:
        read(account, **sections)
    return "; ".join(explain(refused.value))


def test_the_long_form_says_the_same_as_the_short_one():
    """A value with its unit beside it is the value, and is written back with what was said of it."""
    policy = read({
        "leverage_max": {"limit": "3", "unit": "x", "warn_at": "70%"},
        "loss_daily_max": {"limit": "0.8", "unit": "percent"},
        "trade_risk_max": {"limit": "0.01", "unit": "fraction", "action": "block"},
        "size": {"order_notional_max": {"limit": "500", "unit": "USDT", "action": "scale_down"}},
        "new_positions_allowed": {"limit": False},
    })  # fmt: skip
    found = limits(policy)

    assert (found.leverage_max, found.loss_daily_max, found.trade_notional_fraction_max) == (
        Decimal(3), Decimal("0.008"), Decimal("0.01"),
    )  # fmt: skip
    assert (found.order_notional_max, found.new_positions_allowed) == (Decimal(500), False)
    assert found.warn_at == {"leverage_max": Decimal("0.7")}
    assert found.never_scaled == {"trade_notional_fraction_max", "trade_stop_loss_fraction_max"}
    written = policy.model_dump(mode="json", exclude_none=True)
    assert written["accounts"]["main"]["leverage_max"] == {"limit": "3", "unit": "x", "warn_at": "70%"}
    assert written["accounts"]["main"]["loss_daily_max"] == "0.8%"
    assert GlobalPolicy.model_validate(written) == policy


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"leverage_max": {"limit": "3", "unit": "percent"}}, "leverage_max.unit: found 'percent', expected x"),
        ({"leverage_max": {"mode": "off"}}, "leverage_max: found no limit beside mode, expected its value"),
        ({"leverage_max": {"limit": "3", "mdoe": "off"}}, "leverage_max: found mdoe, expected limit, unit"),
        ({"leverage_max": {"limit": "3", "mode": "on"}}, "leverage_max.mode: found 'on', expected 'enforce'"),
        ({"leverage_max": {"limit": "500"}}, "leverage_max: found '500', expected a leverage from 1 to 125"),
        ({"loss_daily_max": {"limit": "1", "unit": "USDT"}}, "loss_daily_max.unit: found 'USDT', expected one of"),
        ({"loss_daily_max": {"limit": "1%", "unit": "fraction"}}, "loss_daily_max: found 1% in fractions"),
        ({"loss_daily_max": {"limit": "1"}}, "loss_daily_max: found '1', expected a share of equity with its unit"),
        ({"loss_daily_max": {"limit": "1%", "warn_at": "1.5"}}, "warn_at: found '1.5', expected a share"),
        ({"size": {"order_notional_max": {"limit": "5", "unit": "EUR"}}}, "order_notional_max.unit: found 'EUR'"),
        ({"open_positions_max": {"limit": 3, "unit": "x"}}, "expected none: this limit has no unit"),
        ({"settings": {}}, "settings: found an unknown key"),
    ],
)
def test_a_long_form_that_could_be_misread_is_refused(given_, said):
    """Path, found and expected, for each part of it."""
    assert said in problems(given_)


def test_a_profile_has_all_its_limits():
    """What a risk or capital profile states is enforced; it may warn earlier."""
    normal = {"leverage_max": {"limit": "5", "mode": "shadow"}, "trade_risk_max": "1%", "drawdown_daily_max": "5%",
              "open_positions_max": 30, "position_notional_max": "1000", "confidence_min": "0.6"}  # fmt: skip
    said = problems(risk_profiles={"NORMAL": normal})
    assert "leverage_max.mode: found 'shadow', expected enforce" in said
    normal["leverage_max"] = {"limit": "5", "warn_at": "50%"}
    assert limits(read(risk_profiles={"NORMAL": normal})).warn_at == {"leverage_max": Decimal("0.5")}


@pytest.mark.parametrize("layer", ["account", "defaults", "strategies", "symbols"])
def test_a_limit_in_shadow_mode_is_judged_and_does_not_bind(order, facts, layer):
    """The order passes, and the decision says that it would not have."""
    size = {"size": {"order_notional_max": {"limit": "50", "mode": "shadow"}}}
    policy = {
        "account": lambda: read(size), "defaults": lambda: read(defaults=size),
        "strategies": lambda: read(strategies={"grid": size}), "symbols": lambda: read(symbols={given.SYMBOL: size}),
    }[layer]()  # fmt: skip
    decision = evaluate(order(), facts(), limits(policy))
    small = evaluate(order(quantity=Decimal("0.1")), facts(), limits(policy))

    assert (decision.verdict, small.verdict, small.tried) == (Verdict.ALLOW, Verdict.ALLOW, None)
    assert decision.tried is not None
    assert (decision.tried.verdict, decision.tried.reason.value) == (Verdict.BLOCK, "order_notional_exceeds_limit")
    assert evaluate(order(side=Side.SELL), facts(held="1"), limits(policy)).tried is None  # a reduction
    enforced = GlobalPolicy.model_validate(document({"size": {"order_notional_max": "50"}}))
    assert evaluate(order(), facts(), limits(enforced)).verdict is Verdict.BLOCK


def test_what_blocks_is_not_tried_again(order, facts):
    """A block is a block; what shadow limits would have said of it is nobody's question."""
    policy = read({"size": {"order_notional_max": {"limit": "50", "mode": "shadow"}, "order_quantity_max": "0.1"}})
    decision = evaluate(order(), facts(), limits(policy))

    assert (decision.verdict, decision.tried) == (Verdict.BLOCK, None)


def test_a_limit_that_is_off_says_so(order, facts):
    """It neither binds nor is tried, and every decision that it might have concerned names its place."""
    off = {"size": {"order_notional_max": {"limit": "50", "mode": "off"}}}
    policy = read(off, strategies={"grid": off, "trend": off})
    decision = evaluate(order(), facts(), limits(policy))

    assert (decision.verdict, decision.tried) == (Verdict.ALLOW, None)
    assert decision.limits_off == ("accounts.main.size.order_notional_max", "strategies.grid.size.order_notional_max")
    assert evaluate(order(), facts(), limits(read())).limits_off == ()


def test_shadow_of_one_layer_leaves_the_others_binding():
    """A looser or a tried value on one layer never loosens another."""
    policy = read({"leverage_max": {"limit": "2", "mode": "shadow"}}, defaults={"leverage_max": "4"})
    found = limits(policy)

    assert found.shadow is not None
    assert (found.leverage_max, found.shadow.leverage_max, found.shadow.shadow) == (Decimal(4), Decimal(2), None)


def test_a_limit_that_is_never_scaled_blocks_where_others_scale(order, facts):
    """`action: block` on one limit, though the account allows scaling."""
    sized = {"order_quantity_max": "0.5"}
    scaled = evaluate(order(), facts(), limits(read({"scaling": "allowed", "size": sized})))
    sized = {"order_quantity_max": {"limit": "0.5", "action": "block"}}
    blocked = evaluate(order(), facts(), limits(read({"scaling": "allowed", "size": sized})))

    assert (scaled.verdict, blocked.verdict) == (Verdict.SCALE_DOWN, Verdict.BLOCK)


def test_windows_stay_with_a_limit_that_is_only_tried():
    """A rate in shadow mode keeps its window, and an unlimited rate has none in force."""
    policy = read({"rate": {"order_rate_max": {"limit": 5, "mode": "shadow"}, "order_rate_window_s": "30"},
                   "loss_streak_max": {"limit": 3, "mode": "off"}, "loss_cooldown_s": "60"})  # fmt: skip
    found = limits(policy)

    assert found.shadow is not None
    assert (found.order_rate_max, found.shadow.order_rate_max, found.shadow.order_rate_window_s) == (None, 5, 30)
    assert found.loss_streak_max is None


CEILING = {"leverage_max": "5", "size": {"order_notional_max": "800"}}
LIFTED = {"until": (NOW + HOUR).isoformat(), "granted_by": "ann", "reason": "rollover"}


def lifting(**one):
    """A policy with one override of a leverage of 2."""
    return read({"leverage_max": "2"}, ceiling=CEILING, overrides={"roll": LIFTED | one})


def test_an_override_replaces_a_limit_until_it_ends():
    """Looser than the layers for an hour, as far as the ceiling; then as before, at the very instant."""
    policy = lifting(limits={"leverage_max": "4"}, starts_at=NOW.isoformat())
    values = [limits(policy, NOW + at).leverage_max for at in (-HOUR, timedelta(0), HOUR - timedelta.resolution, HOUR)]

    assert values == [2, 4, 4, 2]
    assert policy.instants == (NOW, NOW + HOUR)
    _, sources = effective_with_sources(policy, revision=1, account="main", strategy="grid", now=NOW)
    assert sources["leverage_max"] == "overrides.roll"


def test_an_override_may_tighten_and_the_tightest_of_two_counts():
    """Two at once: the stricter one."""
    two = {name: LIFTED | {"limits": {"leverage_max": value}} for name, value in (("a", "1.5"), ("b", "4"))}
    assert limits(read({"leverage_max": "2"}, ceiling=CEILING, overrides=two)).leverage_max == Decimal("1.5")


def test_an_override_of_one_account_strategy_or_symbol_is_theirs():
    """Nobody else's limits change; a symbol's own limits narrow what is lifted for all."""
    assert limits(lifting(limits={"leverage_max": "4"}, account="other")).leverage_max == 2
    assert limits(lifting(limits={"leverage_max": "4"}, strategy="trend")).leverage_max == 2
    found = limits(lifting(limits={"leverage_max": "4"}, symbol="ETHUSDT"))
    assert (found.leverage_max, found.of("ETHUSDT").leverage_max, found.of("BTCUSDT").leverage_max) == (2, 4, 2)
    own = {"leverage_max": "2", "by_symbol": {"ETHUSDT": {"leverage_max": "1"}}}
    found = limits(read(own, ceiling=CEILING, overrides={"roll": LIFTED | {"limits": {"leverage_max": "4"}}}))
    assert (found.leverage_max, found.of("ETHUSDT").leverage_max) == (4, 1)


def test_nothing_passes_the_ceiling():
    """It binds every layer, and an override that states more, or something the ceiling does not, is refused."""
    assert limits(read({"size": {"order_notional_max": "9000"}}, ceiling=CEILING)).order_notional_max == 800
    one = {"limits": {"leverage_max": "6"}}
    assert "overrides.roll.limits: found leverage_max 6, expected at most the ceiling's 5" in problems(
        ceiling=CEILING, overrides={"roll": LIFTED | one}
    )
    one = {"limits": {"loss_daily_max": "2%"}}
    assert "found loss_daily_max, expected it under ceiling as well" in problems(
        ceiling=CEILING, overrides={"roll": LIFTED | one}
    )
    assert "expected an instant after starts_at" in problems(
        ceiling=CEILING, overrides={"roll": LIFTED | {"limits": {}, "starts_at": LIFTED["until"]}}
    )


def test_a_preset_lies_on_top_and_an_unknown_one_is_refused():
    """Its limits bind while it is on; a preset whose mode does not exist is remarked."""
    preset = {"calm": {"active_mode": "QUIET", "limits": {"leverage_max": "1", "symbols_blocked": ["XRPUSDT"]}}}
    found = limits(read(presets=preset, active_preset="calm"))
    assert (found.leverage_max, found.symbols_blocked) == (1, {"XRPUSDT"})
    assert limits(read(presets=preset)).leverage_max == 5
    assert warnings(read(presets=preset)) == [
        "presets.calm.active_mode QUIET is no risk profile here: the preset cannot be applied"
    ]
    assert "active_preset: found 'wild', expected one of calm" in problems(presets=preset, active_preset="wild")


def test_symbols_are_worked_out_when_they_are_asked_for():
    """Thousands of symbols cost nothing until an order comes; each is what it would be alone."""
    many = {f"S{number}USDT": {"size": {"order_quantity_max": str(number + 1)}} for number in range(5000)}
    found = limits(read(symbols=many))

    assert len(found.by_symbol) == 5000
    assert (found.of("S41USDT").order_quantity_max, found.of("OTHER").order_quantity_max) == (42, None)
    assert "S1USDT" in found.by_symbol
    assert found.by_symbol.get("OTHER") is None
    with pytest.raises(KeyError):
        found.by_symbol["OTHER"]
    assert not asks_for_sums(found)
    assert asks_for_sums(limits(read(symbols={"BTCUSDT": {"size": {"open_orders_max": 3}}})))
    assert asks_for_sums(limits(read({"size": {"open_orders_max": {"limit": 3, "mode": "shadow"}}})))


def test_looser_sees_ranks_warnings_and_actions():
    """A better rank, a later warning or an allowed scaling admits more, and is named."""
    one = {"rank_min": "0.5", "leverage_max": {"limit": "2", "warn_at": "50%", "action": "block"}}
    tight = limits(read(one, opp_rankings={"BTCUSDT": "0.2"}))
    loose = limits(read(one | {"leverage_max": "2"}, opp_rankings={"BTCUSDT": "0.6"}))

    assert set(looser(loose, tight)) == {"never_scaled", "warn_at", "ranks.BTCUSDT"}
    assert looser(tight, loose) == ()


def test_the_defensive_mode_switches_learning_off():
    """What a profile names under ai_off is off while it is active, whatever the document says."""
    assert GlobalPolicy(active_mode="NORMAL").ai_flags["enable_clm"] is True
    assert GlobalPolicy(active_mode="DEFENSIVE").ai_flags["enable_clm"] is False
    flags = GlobalPolicy.model_validate({"active_mode": "NORMAL", "ai": {"enable_rl": False}}).ai_flags
    assert (flags["enable_rl"], flags["enable_pal"]) == (False, True)
