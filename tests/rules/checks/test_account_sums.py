"""One coin's share, the net side, margin, liquidation, and how many orders rest."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rules import Bracket, Bucket, Market, OrderType, Reason, Replaced, ReplaceMode, Side, Verdict, evaluate, growth
from rules.checks.account_sums import distance
from tests import given

D = Decimal
ALLOW, BLOCK, SCALE_DOWN = Verdict.ALLOW, Verdict.BLOCK, Verdict.SCALE_DOWN
SELL = Side.SELL
BRACKETS = (Bracket(D(1000), D("0.01"), D(0)), Bracket(D(5000), D("0.05"), D(40)))


def judge(asked, sums, limit, **known):
    """One limit over an order, with these sums of the account."""
    return evaluate(asked, given.facts(sums=given.account_sums(**sums), **known), given.limits(**limit))


EVERY_LIMIT = [
    {"exposure_asset_max": "1000"}, {"exposure_net_max": "1000"}, {"concentration_max": "0.5"},
    {"margin_free_min": "0.1"}, {"liquidation_distance_min": "0.1"}, {"open_orders_max": "5"},
    {"open_orders_symbol_max": "5"},
]  # fmt: skip


@pytest.mark.parametrize("limit", EVERY_LIMIT)
def test_the_sums_must_be_known_and_fresh(limit):
    """Where one of these limits is set, missing and old sums block new exposure; a proven reduction passes."""
    limits = given.limits(**limit)

    assert evaluate(given.order(), given.facts(), limits).reason is Reason.FACTS_MISSING
    old = given.facts(sums=given.account_sums(), sums_age="10.1", held="1")
    assert evaluate(given.order(), old, limits).reason is Reason.FACTS_STALE
    assert evaluate(given.order(side=SELL), old, limits).verdict is ALLOW


@pytest.mark.parametrize("limit", EVERY_LIMIT)
def test_fresh_sums_with_room_let_pass(limit):
    """Each of the limits passes an order that fits, and the record shows what was compared."""
    decision = judge(given.order(), {"brackets": {given.SYMBOL: BRACKETS}}, limit)

    assert decision.verdict is ALLOW
    (ran,) = [run for run in decision.rules_run if run.rule == next(iter(limit)).removesuffix("_max").removesuffix(
        "_min") and run.outcome == "within"]
    assert ran.limit == next(iter(limit.values()))


def test_a_coin_by_the_thousand_counts_as_the_coin():
    """900 in PEPE: 100 more by contracts of a thousand fit into 1,000, and no more; two legs of a request count."""
    known = {"rules_of_venue": given.filters(base_asset="1000PEPE")}
    sums, limit = {"assets": {"PEPE": D(900)}}, {"exposure_asset_max": "1000"}

    assert judge(given.order(), sums, limit, **known).verdict is ALLOW
    found = judge(given.order(quantity="1.001"), sums, limit, **known)
    assert (found.verdict, found.reason) == (BLOCK, Reason.ASSET_EXPOSURE_EXCEEDS_LIMIT)
    twice = [given.order(quantity="0.6"), given.order(quantity="0.6", client_order_id="b")]
    assert judge(twice, sums, limit, **known).reason is Reason.ASSET_EXPOSURE_EXCEEDS_LIMIT


@pytest.mark.parametrize(("quantity", "verdict"), [("0.999", ALLOW), ("1", ALLOW), ("1.001", BLOCK)])
def test_exposure_in_a_coin_is_at_most_its_limit(quantity, verdict):
    """900 in BTC over all its symbols: 100 more fit into 1,000; ETH does not count."""
    decision = judge(given.order(quantity=quantity), {"assets": {"BTC": D(900), "ETH": D(5000)}},
                     {"exposure_asset_max": "1000"})

    assert decision.verdict is verdict
    if verdict is BLOCK:
        assert (decision.reason, decision.breach.observed) == (Reason.ASSET_EXPOSURE_EXCEEDS_LIMIT, D("1000.1"))
        assert "(BTC)" in decision.sentence


def test_exposure_in_a_coin_scales_to_what_is_left():
    """33.37 left of the coin's limit: 1 becomes 0.333."""
    decision = judge(given.order(), {"assets": {"BTC": D("966.63")}},
                     {"exposure_asset_max": "1000", "scaling_allowed": True})

    assert (decision.verdict, decision.quantities) == (SCALE_DOWN, (D("0.333"),))


def test_a_sale_for_coins_counts_in_the_coin_it_buys():
    """Selling ETH for BTC opens BTC: it is BTC's limit that binds, whatever is held of ETH."""
    pair = given.filters(base_asset="ETH", quote_asset="BTC")
    asked = given.order(side=SELL, market=Market.SPOT, quantity="10", price="0.06")
    known = {"mark": "0.06", "conversion": "1000", "rules_of_venue": pair, "held": "10"}

    blocked = judge(asked, {"assets": {"BTC": D(500)}}, {"exposure_asset_max": "1000"}, **known)
    assert (blocked.reason, blocked.breach.observed) == (Reason.ASSET_EXPOSURE_EXCEEDS_LIMIT, D(1100))
    assert judge(asked, {"assets": {"ETH": D(500)}}, {"exposure_asset_max": "1000"}, **known).verdict is ALLOW


@pytest.mark.parametrize(("quantity", "verdict"), [("1", ALLOW), ("1.001", BLOCK)])
def test_concentration_is_at_most_a_share_of_equity(quantity, verdict):
    """2,900 in BTC and equity of 10,000: 100 more are 30 %."""
    decision = judge(given.order(quantity=quantity), {"assets": {"BTC": D(2900)}}, {"concentration_max": "0.3"})

    assert decision.verdict is verdict
    if verdict is BLOCK:
        assert (decision.reason, decision.breach.observed) == (Reason.CONCENTRATION_EXCEEDS_LIMIT, D("0.30001"))


def test_without_equity_everything_is_concentrated():
    """Equity of nothing makes every share infinite."""
    decision = judge(given.order(), {}, {"concentration_max": "1"}, equity="0")

    assert decision.reason is Reason.CONCENTRATION_EXCEEDS_LIMIT


@pytest.mark.parametrize(
    ("bought", "sold", "side", "quantity", "verdict"),
    [
        ("900", "-900", Side.BUY, "1", ALLOW),
        ("900", "-900", Side.BUY, "1.001", BLOCK),
        ("900", "-900", SELL, "19", ALLOW),  # from 900 long to 1,000 short
        ("900", "-900", SELL, "19.001", BLOCK),
        ("1500", "-1500", SELL, "30", ALLOW),  # over the limit already: as far as that on the other side
        ("1500", "-1500", SELL, "30.001", BLOCK),
        ("1500", "-1500", Side.BUY, "0.001", BLOCK),
        ("800", "700", SELL, "3", ALLOW),  # much waits on both sides: each counts for itself
        ("800", "700", SELL, "3.001", BLOCK),
    ],
)
def test_net_exposure_is_at_most_its_limit_on_either_side(bought, sold, side, quantity, verdict):
    """Held longs and shorts net, what waits does not; at a limit of 1,000."""
    decision = judge(given.order(side=side, quantity=quantity), {"bought": bought, "sold": sold},
                     {"exposure_net_max": "1000"})

    assert decision.verdict is verdict
    if verdict is BLOCK:
        assert decision.reason is Reason.NET_EXPOSURE_EXCEEDS_LIMIT


@pytest.mark.parametrize(
    ("certain", "side", "quantity", "verdict"),
    [
        ({"sold_certain": "0"}, Side.BUY, "10", ALLOW),  # 1,000 long, should nothing come of what is reserved
        ({"sold_certain": "0"}, Side.BUY, "10.001", BLOCK),
        ({"sold_certain": "1200"}, Side.BUY, "12", ALLOW),
        ({"sold_certain": "1200"}, Side.BUY, "12.001", BLOCK),
        ({"sold_certain": "1500"}, Side.BUY, "15", ALLOW),
        ({"bought_certain": "1300", "sold_certain": "0"}, Side.BUY, "13", ALLOW),
        ({"sold_certain": "0"}, SELL, "0.001", BLOCK),
    ],
)
def test_reservations_of_the_other_side_are_no_room_for_a_net_exposure(certain, side, quantity, verdict):
    """1,500 are reserved to sell at a limit of 1,000; a buy may go as far as what is held and works already does."""
    decision = judge(given.order(side=side, quantity=quantity), {"bought": "0", "sold": "1500", **certain},
                     {"exposure_net_max": "1000"})

    assert decision.verdict is verdict


def test_net_exposure_scales_to_the_step():
    """A sell of 20 with 900 long: 19 are left until 1,000 short."""
    decision = judge(given.order(side=SELL, quantity="20"), {"bought": "900", "sold": "-900"},
                     {"exposure_net_max": "1000", "scaling_allowed": True})

    assert (decision.verdict, decision.quantities) == (SCALE_DOWN, (D("19.000"),))


@pytest.mark.parametrize(
    ("sums", "quantity", "verdict"),
    [
        ({"margin": "4000"}, "10", ALLOW),  # 1,000 at 2x need 500: 5,500 of 10,000 stay
        ({"margin": "4500"}, "10", ALLOW),  # 5,000 stay: the half exactly
        ({"margin": "4500"}, "10.001", BLOCK),
        ({"margin": "0", "available": "5500"}, "10", ALLOW),  # the venue knows of less than we do
        ({"margin": "0", "available": "5499"}, "10", BLOCK),
    ],
)
def test_free_margin_stays_above_its_minimum(sums, quantity, verdict):
    """Half of a wallet of 10,000 must stay free, leverage is 2."""
    decision = judge(given.order(quantity=quantity), sums, {"margin_free_min": "0.5"}, leverage="2")

    assert decision.verdict is verdict
    if verdict is BLOCK:
        assert decision.reason is Reason.FREE_MARGIN_BELOW_MINIMUM


def test_free_margin_scales_and_needs_a_wallet_and_leverage():
    """500 of margin left at 2x is an order of 1,000; without leverage, or equity of the wallet, it is not known."""
    limit = {"margin_free_min": "0.5", "scaling_allowed": True}
    scaled = judge(given.order(quantity="20"), {"margin": "4500"}, limit, leverage="2")

    assert (scaled.verdict, scaled.quantities) == (SCALE_DOWN, (D("10.000"),))
    assert judge(given.order(), {}, limit, leverage=None).breach.observed == "leverage"
    assert judge(given.order(), {"wallet": None}, limit).breach.observed == "equity"
    assert judge(given.order(), {"wallet": "0"}, limit).reason is Reason.FREE_MARGIN_BELOW_MINIMUM
    assert judge(given.order(market=Market.SPOT), {"wallet": None}, limit).verdict is ALLOW  # coins need no margin


def test_the_distance_to_liquidation_is_that_of_a_short():
    """500 behind a short of 1,000 at 5 %: 42.9 % up it is worth 1,428.57, needs 71.43, and 71.43 are left."""
    found = distance(D(500), D(1000), D(50))
    price = 1 + found

    assert abs(500 - 1000 * found - 50 * price) < D("1e-20")
    assert distance(D(500), D(0), D(0)) == D("Infinity")
    assert distance(D(50), D(1000), D(60)) < 0


@pytest.mark.parametrize(("quantity", "verdict"), [("10", ALLOW), ("20", BLOCK)])
def test_liquidation_stays_away(quantity, verdict):
    """A wallet of 1,000 behind 1,000 held: 1,000 more are 45.6 % away from liquidation, 2,000 more 28.6 %."""
    sums = {"wallet": "1000", "contracts": "1000", "maintenance": "10", "notionals": {given.SYMBOL: D(1000)},
            "brackets": {given.SYMBOL: BRACKETS}}
    decision = judge(given.order(quantity=quantity), sums, {"liquidation_distance_min": "0.45"})

    assert decision.verdict is verdict
    if verdict is BLOCK:
        # 3,000 need 5 % less 40, which is 110: (1000 - 110) / (3000 + 110).
        assert decision.reason is Reason.LIQUIDATION_TOO_CLOSE
        assert abs(decision.breach.observed - D(890) / D(3110)) < D("1e-25")


@pytest.mark.parametrize("unknown", [{"maintenance": None}, {"brackets": {}}])
def test_without_brackets_the_distance_is_not_known(unknown):
    """A position whose maintenance nobody knows may be liquidated any time: new exposure waits."""
    sums = {"brackets": {given.SYMBOL: BRACKETS}} | unknown
    decision = judge(given.order(), sums, {"liquidation_distance_min": "0.1"})

    assert (decision.reason, decision.breach.observed) == (Reason.FACTS_MISSING, "brackets")


@pytest.mark.parametrize(("orders", "verdict"), [(3, ALLOW), (4, ALLOW), (5, BLOCK)])
def test_open_orders_are_at_most_the_limit(orders, verdict):
    """The fifth of five passes, the sixth does not; by symbol the same."""
    by_account = judge(given.order(), {"orders": orders}, {"open_orders_max": 5})
    by_symbol = judge(given.order(), {"orders_by_symbol": {given.SYMBOL: orders}}, {"open_orders_symbol_max": 5})

    assert by_account.verdict is by_symbol.verdict is verdict
    if verdict is BLOCK:
        assert by_account.reason is by_symbol.reason is Reason.OPEN_ORDERS_EXCEED_LIMIT
        assert by_account.breach.observed == 6


@pytest.mark.parametrize(
    "asked",
    [
        given.order(type=OrderType.MARKET),
        given.order(time_in_force="IOC"),
        given.order(time_in_force="FOK"),
        given.order(replaces=Replaced(mode=ReplaceMode.AMEND, order_id="1")),
        given.order(replaces=Replaced(mode=ReplaceMode.STOP_ON_FAILURE, order_id="1")),
    ],
)
def test_what_adds_no_order_to_rest_is_not_counted(asked):
    """What trades at once or never, and what takes another's place, leaves the count where it was."""
    decision = judge(asked, {"orders": 9}, {"open_orders_max": 1}, hedge_mode=False, orders=[given.working()])

    assert decision.verdict is ALLOW


@pytest.mark.parametrize("time_in_force", ["GTC", "IOC", "FOK"])
@pytest.mark.parametrize(
    "waits",
    [
        {"type": OrderType.STOP_LIMIT, "trigger_price": "101"},
        {"type": OrderType.TAKE_PROFIT_LIMIT, "trigger_price": "99"},
        {"type": OrderType.STOP_MARKET, "trigger_price": "101"},
        {"type": OrderType.TRAILING_STOP, "callback_rate": "0.01"},
        {"type": OrderType.LIMIT, "pending_on": 0},
        {"type": OrderType.MARKET, "pending_on": 0},
    ],
)
def test_what_waits_for_something_rests_until_then(waits, time_in_force):
    """A trigger or another order's fill comes first; that it then trades at once or never changes nothing."""
    assert growth.rests(given.order(**waits, time_in_force=time_in_force))


def test_the_orders_of_a_request_are_counted_one_after_another():
    """Three more with room for two: the request does not pass, for orders, coin, net side and margin alike."""
    request = [given.order(quantity="1")] * 3
    cases = [
        ({"orders": 3}, {"open_orders_max": 5}),
        ({"assets": {"BTC": D(100)}}, {"exposure_asset_max": "399"}),
        ({"bought": "100", "sold": "-100"}, {"exposure_net_max": "399"}),
        ({"margin": "9701"}, {"margin_free_min": "0.000001"}),
        ({"wallet": "1000", "contracts": "700", "maintenance": "7", "notionals": {given.SYMBOL: D(700)},
          "brackets": {given.SYMBOL: BRACKETS}}, {"liquidation_distance_min": "0.981"}),
    ]  # fmt: skip
    for sums, limit in cases:
        assert judge(request, sums, limit).verdict is BLOCK, limit
        assert judge(request[:2], sums, limit).verdict is ALLOW, limit


@pytest.mark.parametrize("flags", [{}, {"reduce_only": True}])
def test_an_exit_leaves_nothing_that_the_next_order_of_its_request_could_net_with(flags):
    """Long 10, worth 1,000, and sold, by whatever guarantee: a sale of 15 more is 1,500 short."""
    request = [given.order(side=SELL, quantity="10", **flags), given.order(side=SELL, quantity="15")]
    sums = {"bought": "1000", "sold": "-1000"}
    alone = judge(request[1:], sums, {"exposure_net_max": "1000"}, held="10")
    after = judge(request, sums, {"exposure_net_max": "1000"}, held="10")

    assert alone.verdict is ALLOW
    assert (after.verdict, after.breach.observed) == (BLOCK, D(1500))


def test_a_hedge_leg_counts_on_its_own_side_of_the_net():
    """Opening SHORT adds to what sells, as any sale does."""
    asked = given.order(side=SELL, bucket=Bucket.SHORT, quantity="20")
    decision = judge(asked, {"bought": "900", "sold": "-900"}, {"exposure_net_max": "1000"}, hedge_mode=True)

    assert decision.breach.observed == D(1100)
