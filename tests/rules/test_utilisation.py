"""How much of every limit is used."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from rules import Bucket, Level, SymbolUse, utilisation
from rules.limits import TIGHTER
from tests import given

D = Decimal
# These bind one order, or one request: between orders nothing of them is used.
OF_ONE_ORDER = {
    "strategies", "symbols", "confidence_min", "confidence_required", "margin_changes_allowed",
    "trade_notional_fraction_max", "trade_stop_loss_fraction_max", "new_positions_allowed", "price_floor",
    "price_ceiling", "collar_up", "collar_down", "order_quantity_max", "order_notional_max", "order_rate_max",
    "order_rate_window_s", "duplicates_max", "duplicate_window_s", "slippage", "scaling_allowed", "warning_factor",
    "governor", "scaling_by_var", "scaling_factor", "approval_notional_min",
    "critical_allows_reducing", "never_scaled", "warn_at", "risk_source", "loss_cooldown_s", "rank_min",
}  # fmt: skip
BTC = SymbolUse(
    symbol=given.SYMBOL, notional=D(700), by_bucket={Bucket.BOTH: D(700)}, leverage=given.known(D(3)), orders=4,
    is_contract=True,
)


def uses(known=None, symbols=(BTC,), strategies=None, **limits):
    """Every use by limit and scope."""
    found = utilisation(
        known or given.facts(sums=given.account_sums()), given.limits(**limits), strategies or {}, symbols
    )
    return {(use.limit, use.scope): use for use in found}


def one(limit, stated, known=None, **more):
    """The only use there is."""
    (use,) = uses(known, **{limit: stated}, **more).values()
    assert use.limit == limit
    return use


def test_every_limit_between_orders_is_shown():
    """A limit that is added is shown here, or named as one that binds single orders."""
    stated = {
        name: 5 if name.endswith(("orders_max", "symbol_max", "streak_max", "positions_max")) else D(5)
        for name in TIGHTER.keys() - OF_ONE_ORDER
        if name.endswith(("_max", "_min"))
    }
    shown = {limit for limit, _ in uses(
        given.facts(sums=given.account_sums(assets={"BTC": D(1)})), strategies={"grid": D(1)}, **stated
    )}  # fmt: skip

    assert shown == stated.keys()


def test_what_is_not_limited_is_not_shown():
    """No limits, no uses."""
    assert uses() == {}


@pytest.mark.parametrize(
    ("used", "level"),
    [("79.99", Level.WITHIN), ("80", Level.WARNING), ("99.99", Level.WARNING), ("100", Level.REACHED),
     ("120", Level.REACHED)],
)
def test_it_warns_at_four_fifths(used, level):
    """80 of 100 warn, 100 of 100 are all of it."""
    use = one("exposure_account_max", "100", given.facts(exposure={"account": used}))

    assert (use.used, use.warn, use.hard, use.level) == (D(used), 80, 100, level)


@pytest.mark.parametrize(
    ("margin", "level"),
    [("7400", Level.WITHIN), ("7500", Level.WARNING), ("7999", Level.WARNING), ("8000", Level.REACHED)],
)
def test_a_minimum_warns_from_above(margin, level):
    """A fifth of 10,000 must stay free: at a quarter it warns."""
    use = one("margin_free_min", "0.2", given.facts(sums=given.account_sums(margin=margin)))

    assert (use.warn, use.hard, use.level) == (D("0.25"), D("0.2"), level)
    assert use.used == 1 - D(margin) / 10_000


def test_free_margin_is_the_lower_of_ours_and_the_venues():
    """The venue may know of less."""
    known = given.facts(sums=given.account_sums(margin="1000", available="3000"))

    assert one("margin_free_min", "0.2", known).used == D("0.3")


@pytest.mark.parametrize(
    ("limit", "known", "missing"),
    [
        ("exposure_account_max", {"exposure_known": False}, "exposure"),
        ("leverage_max", {"equity": None}, "equity or exposure"),
        ("leverage_max", {"equity": "0"}, "equity or exposure"),
        ("exposure_total_max", {"exposure": {"total": "Infinity"}}, "exposure of another account"),
        ("loss_daily_max", {"losses_known": False}, "losses"),
        ("loss_daily_max", {"anchors": given.losses(day=None)}, "day_start_equity"),
        ("loss_weekly_max", {"equity": None}, "equity"),
        ("open_orders_max", {"sums": None}, "account_sums"),
        ("exposure_net_max", {"sums": None}, "account_sums"),
        ("margin_free_min", {"sums": given.account_sums(wallet=None)}, "equity of the contracts' wallet"),
        ("liquidation_distance_min", {"sums": given.account_sums(maintenance=None)}, "brackets"),
    ],
)
def test_what_is_missing_is_unknown_and_named(limit, known, missing):
    """Never nothing: a limit whose use cannot be told says why."""
    use = one(limit, 1 if limit == "open_orders_max" else "0.5", given.facts(**known), symbols=())

    assert (use.used, use.level, use.missing) == (None, Level.UNKNOWN, missing)


def test_an_old_fact_is_shown_and_said_to_be_old():
    """What was last known is still worth seeing."""
    use = one("exposure_account_max", "100", given.facts(exposure={"account": "50"}, exposure_age="11"))

    assert (use.used, use.is_fresh) == (50, False)
    assert one("exposure_account_max", "100", given.facts(exposure_age="9")).is_fresh


def test_losses_show_their_floor_and_how_far_it_is():
    """1 % lost of 10,000 at a limit of 3 %: 9,700 is the floor, 200 are left; of a drawdown likewise."""
    known = given.facts(equity="9900", anchors=given.losses(high="11000"))
    found = uses(known, symbols=(), loss_daily_max="0.03", drawdown_max="0.2")

    daily, drawdown = found["loss_daily_max", "account"], found["drawdown_max", "account"]
    assert (daily.used, daily.floor, daily.left, daily.level) == (D("0.01"), 9700, 200, Level.WITHIN)
    assert (drawdown.used, drawdown.floor, drawdown.left) == (D("0.1"), 8800, 1100)


def test_each_scope_has_its_own_line():
    """Symbol, leg, coin, strategy, exchange and everything."""
    legs = replace_legs(BTC)
    known = given.facts(exposure={"account": "5", "exchange": "6", "total": "7"},
                        sums=given.account_sums(assets={"BTC": D(900), "ETH": D(0)}, orders=9))
    found = uses(
        known, symbols=(legs,), strategies={"grid": D(300)}, exposure_symbol_max="1000", position_notional_max="500",
        exposure_asset_max="1000", concentration_max="0.5", exposure_strategy_max="1000", exposure_exchange_max="9",
        exposure_total_max="9", leverage_max="4", open_orders_symbol_max=5,
    )  # fmt: skip

    assert {key: use.used for key, use in found.items()} == {
        ("exposure_symbol_max", "symbol BTCUSDT"): 700,
        ("position_notional_max", "symbol BTCUSDT LONG"): 400,
        ("position_notional_max", "symbol BTCUSDT SHORT"): 300,
        ("exposure_asset_max", "asset BTC"): 900,
        ("concentration_max", "asset BTC"): D("0.09"),
        ("exposure_strategy_max", "strategy grid"): 300,
        ("exposure_exchange_max", "exchange binance"): 6,
        ("exposure_total_max", "total"): 7,
        ("leverage_max", "account"): D("0.0005"),
        ("leverage_max", "symbol BTCUSDT"): 3,
        ("open_orders_symbol_max", "symbol BTCUSDT"): 4,
    }


def replace_legs(one):
    """The same in hedge mode."""
    return one._replace(by_bucket={Bucket.LONG: D(400), Bucket.SHORT: D(300)})


def test_limits_of_a_symbol_are_its_own():
    """A tighter limit of the symbol is the one that is shown, and a coin has no leverage."""
    tight = given.limits(exposure_symbol_max="800", leverage_max="2")
    limits = given.limits(exposure_symbol_max="1000", by_symbol={given.SYMBOL: tight})
    (use,) = utilisation(given.facts(), limits, {}, (BTC._replace(is_contract=False),))

    assert (use.limit, use.hard, use.level) == ("exposure_symbol_max", 800, Level.WARNING)


def test_a_leverage_is_fresh_by_its_own_age():
    """Leverage may be minutes old."""
    read = BTC._replace(leverage=given.known(D(3), "200"))
    known = replace(given.facts(), exposure=None)
    found = uses(known, symbols=(read,), leverage_max="4")

    assert found["leverage_max", "symbol BTCUSDT"].is_fresh
