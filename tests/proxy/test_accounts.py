"""Accounts as people and programs see them: what is held, what is used, how old it is, and what could be opened."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.accounts import Accounts
from proxy.book import Working
from proxy.errors import UpstreamSilent
from proxy.identity import Account
from proxy.reservations import Outcome
from rules import Bracket, Caller, EssLevel, Level, Market, Order, OrderType, Position, Side
from tests import given
from tests.house import PRICE, open_house

D = Decimal
CALLER = Caller(account="desk", exchange="binance", strategy="grid", bot="")
POLICY = {
    "active_mode": "OPEN",
    "risk_profiles": {
        "OPEN": {"leverage_max": "125", "trade_risk_max": "100%", "drawdown_daily_max": "3.5%",
                 "open_positions_max": 100, "position_notional_max": "100000000", "confidence_min": "0.9"},
    },
    "risk_source": {"kind": "none"},
    "accounts": {
        name: {
            "capital_profile": "aggressive", "strategies": "any", "symbols": "any",
            "size": {"exposure_account_max": "6000", "exposure_symbol_max": "3000", "exposure_asset_max": "4000",
                     "open_orders_max": 10},
        }
        for name in ("desk", "plain")
    },
    "strategies": {"grid": {"size": {"exposure_strategy_max": "1500"}}},
}  # fmt: skip


def views_of(house) -> Accounts:
    """The views on a house."""
    return Accounts(
        book=house.book, reservations=house.reservations, gather=house.parts.gather, policies=house.policies,
        latch=house.latch, clock=house.clock, strategies={"desk": frozenset({"grid"})},
        accounts={name: Account(name=name, exchange="binance", mode="custody") for name in ("desk", "plain")},
    )


def holding(house, quantity="0.02", orders=()):
    """Give the account `desk` a position and working orders."""
    house.book.apply_snapshot("desk", Market.LINEAR, as_of=house.clock.now(),
                              positions={"BTCUSDT": Position(both=D(quantity))}, orders=orders)


@pytest.fixture
async def house(tmp_path):
    """A house with limits on every level."""
    async with open_house(tmp_path, policy=POLICY) as house:
        yield house


def used(found, limit):
    """A limit's use by scope."""
    return {use["scope"]: use["used"] for use in found["limits"] if use["limit"] == limit}


async def test_one_account_shows_everything_it_holds(house):
    """0.02 BTC held, 0.01 on sale, an order in flight: position, orders and sums agree."""
    holding(house, orders=[Working("BTCUSDT", given.working("7", side=Side.SELL, remaining="0.01", price="61000"))])
    await house.ask(house.order(newClientOrderId="mine"))
    found = views_of(house).one("desk")

    (position,) = found["positions"]
    assert (position["symbol"], position["quantity"], position["worth"]) == ("BTCUSDT", D("0.02"), 1200)
    assert (position["waiting_up"], position["waiting_down"], position["exposure"]) == (D("0.005"), D("0.01"), 1500)
    assert position["price"] == {"value": PRICE, "as_of": house.clock.now(), "age_s": 0}
    assert [one["order_id"] for one in found["orders"]["working"]] == ["7"]
    (reserved,) = found["orders"]["reserved"]
    assert (reserved["client_order_id"], reserved["state"], reserved["quantity"]) == ("mine", "accepted", D("0.005"))
    exposure = found["exposure"]
    assert (exposure["value"], exposure["total"], exposure["assets"]) == (1500, 1500, {"BTC": 1500})
    assert (exposure["net_long"], exposure["net_short"]) == (1500, 0)
    assert exposure["leverage"] == D("0.015")
    assert exposure["strategies"] == {"grid": 300, "": 1200}
    assert found["equity"]["value"] == 100_000
    assert found["losses"]["day_start_equity"] == 100_000


async def test_every_limit_is_told_with_its_use(house):
    """Account, symbol, coin, strategy, counts; four fifths warn."""
    holding(house, "0.02")
    await house.ask(house.order())
    found = views_of(house).one("desk")

    assert used(found, "exposure_account_max") == {"account": 1500}
    assert used(found, "exposure_symbol_max") == {"symbol BTCUSDT": 1500}
    assert used(found, "exposure_asset_max") == {"asset BTC": 1500}
    assert used(found, "exposure_strategy_max") == {"strategy grid": 1500}  # what no strategy opened counts for each
    assert used(found, "open_orders_max") == {"account": 1}
    assert used(found, "open_positions_max") == {"account": 1}
    symbol = next(use for use in found["limits"] if use["limit"] == "exposure_symbol_max")
    assert (symbol["warn"], symbol["hard"], symbol["share"]) == (2400, 3000, D("0.5"))
    assert (symbol["level"], symbol["age_s"], symbol["fresh"]) == (Level.WITHIN, 0, True)
    strategy = next(use for use in found["limits"] if use["scope"] == "strategy grid")
    assert (strategy["share"], strategy["level"]) == (1, Level.REACHED)
    (daily,) = [use for use in found["limits"] if use["limit"] == "loss_daily_max"]
    assert (daily["used"], daily["floor"], daily["left"]) == (0, 96500, 3500)


async def test_what_is_not_known_is_none_and_says_why(house):
    """Before anything was read, and after a price was lost: unknown, not nothing."""
    holding(house)
    house.book.close_prices("binance", Market.LINEAR, (), as_of=house.clock.now())
    found = views_of(house).one("desk")

    assert found["exposure"] == {"value": None, "as_of": None, "age_s": None}
    assert found["positions"][0]["worth"] is None
    account = next(use for use in found["limits"] if use["limit"] == "exposure_account_max")
    assert (account["used"], account["level"], account["missing"]) == (None, Level.UNKNOWN, "exposure")


async def test_every_fact_has_its_age(house):
    """How old each fact is, how old it may be, and whether it still counts."""
    holding(house)
    house.forward(6)
    ages = views_of(house).one("desk")["facts"]

    now = house.clock.now()
    assert ages["equity"]["age_s"] == 6
    assert (ages["equity"]["age_max_s"], ages["equity"]["fresh"]) == (10, True)
    assert (ages["price_linear_BTCUSDT"]["age_max_s"], ages["price_linear_BTCUSDT"]["fresh"]) == (5, False)
    assert (ages["leverage_BTCUSDT"]["age_max_s"], ages["leverage_BTCUSDT"]["fresh"]) == (300, True)
    # Asked for once a minute: on a flat account, which lists no position, nothing else tells it.
    assert ages["hedge_mode"]["age_max_s"] == 300
    assert ages["positions_linear"]["as_of"] < now
    assert ages["global_risk"] == {"as_of": None, "age_s": None, "age_max_s": 5, "fresh": False}


async def test_the_overview_has_a_line_for_each_account_with_what_is_nearest(house):
    """The limits that are nearest come first, a halted account says so."""
    holding(house, "0.095")
    house.latch.trip(level=EssLevel.HALT, scope="account:plain", actor="me", reason="test", source="api")
    desk, plain = views_of(house).overview()

    assert (desk["name"], desk["state"], plain["name"], plain["state"]) == ("desk", "clear", "plain", "halt")
    assert desk["exposure"]["value"] == 5700
    assert next(use["limit"] for use in desk["nearest"]) in ("exposure_account_max", "exposure_asset_max")
    assert (desk["open_positions"], desk["working_orders"], desk["unknown_orders"]) == (1, 0, 0)
    assert plain["open_positions"] == 0


async def test_a_lost_policy_shows_no_limits_and_everything_else(house):
    """Limits that nobody knows any more are not made up."""
    holding(house)
    house.forward(61)
    found = views_of(house).one("desk")

    assert found["limits"] == []
    assert found["positions"][0]["quantity"] == D("0.02")
    assert views_of(house).overview()[0]["nearest"] == []


def order(**changed) -> Order:
    """A limit buy of BTC at 60,000."""
    values = {"symbol": "BTCUSDT", "side": Side.BUY, "type": OrderType.LIMIT, "market": Market.LINEAR,
              "quantity": D(1), "price": PRICE}  # fmt: skip
    return Order(**(values | changed))


async def test_headroom_is_what_the_gate_lets_pass(house):
    """900 of the strategy's 1,500 in use: 0.01 BTC more; that passes the gate, a step more does not."""
    holding(house, "0.015")
    found = views_of(house).headroom(CALLER, order())

    assert (found["quantity"], found["binding"], found["sendable"]) == (D("0.010"), "exposure_strategy", True)
    assert "exposure" in found["sentence"]
    by_rule = {one["rule"]: one["quantity"] for one in found["rules"]}
    assert (by_rule["exposure_symbol"], by_rule["exposure_asset"]) == (D("0.035"), D("0.051"))
    above, _ = await house.ask(house.order(quantity="0.011", price="60000"))
    exact, _ = await house.ask(house.order(quantity="0.010", price="60000"))
    assert (above.status, exact.status) == (403, 200)
    assert views_of(house).headroom(CALLER, order())["quantity"] == 0


async def test_headroom_without_the_venues_list_is_not_known(house):
    """No steps, no size; the answer says why."""
    found = views_of(house).headroom(CALLER, order(symbol="XYZUSDT"))

    assert (found["quantity"], found["binding"]) == (0, "filters")
    assert "no size is known" in found["sentence"]


async def test_whoever_looks_keeps_no_sums(house):
    """Sums of the account that no limit asks for stay unkept after they were shown."""
    house.book.apply_brackets("plain", {"BTCUSDT": (Bracket(D(10**9), D("0.01"), D(0)),)})
    views = views_of(house)
    assert views.one("plain")["exposure"]["maintenance"] == 0
    assert house.book._accounts["plain"].sums is None


async def test_a_person_settles_what_nobody_knows(house):
    """An order without an answer is settled once, and only for the account it belongs to."""
    house.venue.fails_after_send = UpstreamSilent("dropped")
    await house.ask(house.order())
    ((reservation, _),) = house.reservations.unknown()
    views = views_of(house)

    assert views.unknown("plain", reservation.decision_id) == 0
    assert views.unknown("desk", "no such") == 0
    assert views.unknown("desk", reservation.decision_id) == 1
    assert views.one("desk")["exposure"]["value"] == 300
    assert views.settle(reservation.decision_id, Outcome.FAILED) == 1
    assert views.unknown("desk", reservation.decision_id) == 0
    assert views.one("desk")["exposure"]["value"] == 0


async def test_what_an_account_trades(house):
    """Its exchange, markets, and whether its legs are held apart."""
    views = views_of(house)

    assert (views.names, views.exchange("desk"), views.markets("desk")) == (
        ("desk", "plain"), "binance", frozenset({Market.LINEAR}),
    )  # fmt: skip
    assert not views.is_hedged("desk")
    house.book.apply_hedge_mode("desk", hedge_mode=True, as_of=house.clock.now())
    assert views.is_hedged("desk")
    assert views.strategies("plain") == frozenset()
