"""Arbitrary orders, facts and limits, small enough that their numbers meet.

Each is made from one random seed: drawing every field by itself took hypothesis a hundred times longer than
judging the order. What failed is printed in full.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random

from hypothesis import strategies as st

from rules import (
    NO_SIDES,
    AccountSums,
    Activity,
    Bracket,
    Bucket,
    Cause,
    Directive,
    EssLevel,
    Exposure,
    Fact,
    Facts,
    Governing,
    GovernorAct,
    GovernorLevel,
    LeverageChange,
    Limits,
    LossBase,
    Losses,
    MarginChange,
    MarginKind,
    Market,
    Order,
    OrderType,
    Position,
    Price,
    QuantityCut,
    Replaced,
    ReplaceMode,
    RiskLevel,
    RiskSource,
    Side,
    Sides,
    SymbolFacts,
)
from rules.directive import MULTIPLIERS
from tests import given

SYMBOLS = (given.SYMBOL, "ETHUSDT")
SIDES, BUCKETS, MARKETS, TYPES, KINDS = map(list, (Side, Bucket, Market, OrderType, MarginKind))

PRICES = [Decimal(text) for text in ("50", "90", "99.5", "100", "100.1", "110", "200")]
MONEY = [Decimal(text) for text in ("0", "40", "99.99", "100", "150", "333.3", "1000", "100000")]
FRACTIONS = [Decimal(text) for text in ("0", "0.001", "0.01", "0.05", "0.5", "1")]
EQUITIES = [Decimal(text) for text in ("-1", "0", "1000", "9700", "10000", "50000")]
AGES_S = [Decimal(text) for text in ("-2", "-0.5", "0", "1", "4.9", "5.1", "11", "400", "90000")]

SHARES = ("trade_notional_fraction_max", "trade_stop_loss_fraction_max", "loss_daily_max", "loss_weekly_max",
          "drawdown_max", "collar_up", "collar_down")
SUMS = ("position_notional_max", "exposure_symbol_max", "exposure_strategy_max", "exposure_account_max",
        "exposure_exchange_max", "exposure_total_max", "order_notional_max")
COUNTS = ("open_positions_max", "order_rate_max", "duplicates_max", "loss_streak_max")
SHARES += ("concentration_max",)
SUMS += ("exposure_asset_max", "exposure_net_max", "approval_notional_min")
COUNTS += ("open_orders_max", "open_orders_symbol_max")
MINIMA = ("margin_free_min", "liquidation_distance_min")  # the higher the stricter
LISTS = {"strategies": "grid", "symbols": given.SYMBOL}
FILTERS = (
    given.filters(), given.filters(quantity_step="0.1", quantity_min="0.2"),
    given.filters(market_quantity_step="0.01", notional_min="0"),
)


def seeded(make, **options):
    """A strategy for what `make` makes from a random generator."""
    return st.integers(0, 2**48).map(lambda seed: make(Random(seed), **options))


def quantity(pick: Random) -> Decimal:
    """From a thousandth up to six."""
    return Decimal(pick.randint(1, 6000)) / 1000


def make_order(pick: Random) -> Order:
    """Any order that a codec could hand over."""
    kind, market = pick.choice(TYPES), pick.choice(MARKETS)
    linear = market is Market.LINEAR
    size = pick.choice(["quantity"] * 3 + ["quote_quantity", "close_position"])
    amount = {"quantity": quantity(pick), "quote_quantity": quantity(pick) * 100, "close_position": True}[size]
    mode = pick.choice([None, None, None, *ReplaceMode])
    return Order(
        symbol=pick.choice(SYMBOLS),
        side=pick.choice(SIDES),
        type=kind,
        market=market,
        price=pick.choice(PRICES) if kind.value.endswith("LIMIT") else None,
        trigger_price=pick.choice(PRICES) if "STOP" in kind.value or "PROFIT" in kind.value else None,
        callback_rate=Decimal("0.01") if kind is OrderType.TRAILING_STOP else None,
        price_follows_book=linear and pick.random() < 0.2,
        bucket=pick.choice([Bucket.BOTH, *BUCKETS]) if linear else Bucket.BOTH,
        reduce_only=linear and pick.random() < 0.2,
        time_in_force=pick.choice([None, "GTC", "IOC", "FOK"]),
        client_order_id=pick.choice([None, "a", "b"]),
        replaces=None if mode is None else Replaced(mode=mode, order_id=pick.choice("129")),
        **{size: amount},
    )


def make_instruction(pick: Random):
    """Any single instruction, mostly orders."""
    symbol, other = pick.choice(SYMBOLS), pick.randint(0, 9)
    if other == 0:
        return LeverageChange(symbol=symbol, leverage=quantity(pick))
    if other == 1:
        value = pick.choice(["ISOLATED", "CROSSED", "1"])
        return MarginChange(kind=pick.choice(KINDS), value=value, symbol=pick.choice([None, symbol]))
    if other == 2:
        replaces = Replaced(mode=ReplaceMode.AMEND, order_id="1")
        return QuantityCut(symbol=symbol, market=Market.SPOT, quantity=quantity(pick), replaces=replaces)
    return make_order(pick)


def make_request(pick: Random):
    """One instruction or several, with groups and pending legs as they come."""
    legs = [make_instruction(pick) for _ in range(pick.randint(1, 4))]
    return [
        replace(leg, group=pick.choice([None, None, 1, 2]), pending_on=pick.choice([None, None, 0, 1, 3]))
        if isinstance(leg, Order) else leg
        for leg in legs
    ]


def fact(pick: Random, value, *, always: bool):
    """A fact of any age, or none; mostly fresh, and with `always` always."""
    luck = 9 if always else pick.randint(0, 19)
    if luck == 0:
        return None
    age = pick.choice(AGES_S) if luck < 3 else Decimal(0)
    return Fact(value, given.NOW - timedelta(microseconds=int(age * 1_000_000)))


def make_waiting(pick: Random):
    """Quantities that wait in some of the buckets."""
    buckets = pick.sample(BUCKETS, pick.choice([0, 0, 1, 2, 3]))
    return {bucket: Sides(buy=quantity(pick), sell=quantity(pick)) for bucket in buckets}


def make_closing(pick: Random) -> Sides:
    """What reduce-only orders may take off a position; an infinite one closes whatever is there."""
    sizes = [Decimal(0), Decimal(0), quantity(pick), Decimal("Infinity")]
    return pick.choice([NO_SIDES, NO_SIDES, Sides(buy=pick.choice(sizes), sell=pick.choice(sizes))])


def make_symbol_facts(pick: Random, *, always: bool) -> SymbolFacts:
    """Anything that may be known of a symbol."""
    one = given.working(
        "1", side=pick.choice(SIDES), remaining=str(quantity(pick)), client_order_id="2",
        trigger_price=pick.choice([None, *PRICES]), reduces_by_venue=pick.random() < 0.5,
    )
    price = Price(
        mark=pick.choice(PRICES), bid=pick.choice([None, *PRICES]), ask=pick.choice([None, *PRICES]),
        conversion=pick.choice([Decimal(1), Decimal("0.9")]),
    )
    position = Position(
        both=pick.choice([Decimal(0), quantity(pick), -quantity(pick)]),
        long=pick.choice([Decimal(0), quantity(pick)]), short=pick.choice([Decimal(0), quantity(pick)]),
    )
    return SymbolFacts(
        price=fact(pick, price, always=always),
        position=fact(pick, position, always=always),
        working=make_waiting(pick),
        reserved=make_waiting(pick),
        closing=make_closing(pick),
        orders_by_id=pick.choice([{}, {"1": one, "2": one}]),
        leverage=fact(pick, pick.choice([Decimal(1), Decimal(3), Decimal(20)]), always=always),
        filters=fact(pick, pick.choice(FILTERS), always=always),
    )


def make_losses(pick: Random, *, calm: bool) -> Losses:
    """Any marks of losses, on any base; calm ones show none."""
    if calm:
        return given.losses()
    marks = {name: pick.choice([None, *MONEY]) for name in (
        "day_start_equity", "week_start_equity", "high_water_mark", "day_start_balance", "week_start_balance",
        "end_of_day_high", "equity",
    )}
    moved = {name: pick.choice([Decimal(0), *MONEY, -MONEY[3]]) for name in (
        "day_transfers", "week_transfers", "high_transfers", "capital_transfers",
    )}
    return Losses(
        **marks, **moved, base=pick.choice(list(LossBase)), initial_capital=pick.choice([None, *MONEY[1:]]),
        day_worst=pick.choice(MONEY), week_worst=pick.choice(MONEY), drawdown_ema=pick.choice([None, *FRACTIONS]),
        trailing_locks=pick.random() < 0.5, losing_streak=pick.randint(0, 5),
        last_loss_at=pick.choice([None, given.NOW, given.NOW - timedelta(hours=2)]),
    )


def make_sums(pick: Random) -> AccountSums:
    """Any sums of an account."""
    steps = (("100", "0.01", "0"), ("1000000", "0.05", "4"))
    brackets = tuple([Bracket(*map(Decimal, step)) for step in steps])
    return AccountSums(
        assets={"BTC": pick.choice(MONEY)}, bought=pick.choice(MONEY), sold=pick.choice([*MONEY, -MONEY[3]]),
        bought_certain=pick.choice(MONEY), sold_certain=pick.choice([*MONEY, -MONEY[3]]),
        contracts=pick.choice(MONEY), margin=pick.choice(MONEY), maintenance=pick.choice([None, *MONEY]),
        wallet=pick.choice([None, *EQUITIES]), available=pick.choice([None, *MONEY]),
        notionals={symbol: pick.choice(MONEY) for symbol in SYMBOLS},
        brackets={symbol: brackets for symbol in SYMBOLS if pick.random() < 0.9},
        orders=pick.randint(0, 4), orders_by_symbol={symbol: pick.randint(0, 3) for symbol in SYMBOLS},
    )


def make_directive(pick: Random, *, calm: bool) -> Directive:
    """Any word of the safety governor."""
    level = GovernorLevel.CAUTIOUS if calm else pick.choice(list(GovernorLevel))
    blocks = not calm and pick.random() < 0.2
    missing = blocks and pick.random() < 0.2
    return Directive(
        act=GovernorAct.BLOCK if blocks else GovernorAct.MODIFY,
        level=level, multipliers=MULTIPLIERS[level], cause=Cause.INPUT_MISSING if missing else Cause.DRAWDOWN,
        observed="losses" if missing else Decimal("0.04"), threshold=Decimal("0.035"), losing_streak=0, until=None,
        words=level.value,
    )


def make_facts(pick: Random, *, always: bool = False) -> Facts:
    """Any facts; with `always` everything is known, fresh and calm."""
    calm = always or pick.random() < 0.7
    open_positions = frozenset((pick.choice(SYMBOLS), pick.choice(BUCKETS)) for _ in range(pick.randint(0, 3)))
    return Facts(
        now=given.NOW,
        caller=given.Caller(account="main", exchange="binance", strategy="grid", bot="one",
                            confidence=pick.choice([None, Decimal("0.5"), Decimal("0.9")])),
        stop=given.Stop(level=EssLevel.CLEAR if calm else pick.choice(list(EssLevel))),
        symbols={symbol: make_symbol_facts(pick, always=always) for symbol in SYMBOLS},
        risk=fact(pick, given.GlobalRisk(
            level=RiskLevel.INFO if calm else pick.choice(list(RiskLevel)),
            ess_action_required=not calm and pick.random() < 0.2,
        ), always=always),
        equity=fact(pick, pick.choice(EQUITIES), always=always),
        losses=fact(pick, make_losses(pick, calm=calm), always=always),
        hedge_mode=pick.choice([None, Fact(value=True, as_of=given.NOW), Fact(value=False, as_of=given.NOW)]),
        exposure=fact(pick, Exposure(
            account=pick.choice(MONEY), strategy=pick.choice(MONEY), exchange=pick.choice(MONEY),
            total=pick.choice(MONEY),
        ), always=always),
        open_positions=fact(pick, open_positions, always=always),
        sums=fact(pick, make_sums(pick), always=always),
        activity=Activity(
            orders_in_window=pick.randint(0, 3), identical_in_window=pick.randint(0, 2),
            client_order_id_in_use=pick.random() < 0.05,
        ),
        governor=fact(pick, make_directive(pick, calm=calm), always=always),
    )


GOVERNING = Governing(
    loss_daily_max=Decimal("0.05"), cautious_at=Decimal("0.7"), emergency_at=Decimal("1.6"), streak_cautious=5,
    streak_block=8, streak_cooldown_s=Decimal(3600), signal_counts=True,
)


def make_limits(pick: Random, *, scaling: bool | None = None) -> Limits:
    """Any limits; each is off more often than not, so that orders get far."""
    def rarely(choices):
        return pick.choice(choices) if pick.random() < 0.2 else None

    values = {name: rarely(FRACTIONS) for name in SHARES}
    values |= {name: rarely(MONEY) for name in SUMS}
    values |= {name: rarely(range(5)) for name in COUNTS}
    values |= {name: rarely(FRACTIONS) for name in MINIMA}
    values |= {name: rarely([frozenset(), frozenset({member})]) for name, member in LISTS.items()}
    return given.limits(
        **values,
        leverage_max=rarely([Decimal(2), Decimal(10)]),
        confidence_min=rarely([Decimal("0.6")]),
        confidence_required=pick.random() < 0.1,
        new_positions_allowed=pick.random() < 0.9,
        margin_changes_allowed=pick.random() < 0.5,
        price_floor=rarely(PRICES),
        price_ceiling=rarely(PRICES),
        order_quantity_max=rarely([quantity(pick)]),
        scaling_allowed=pick.random() < 0.5 if scaling is None else scaling,
        warning_factor=pick.choice([Decimal(0), Decimal("0.5"), Decimal(1)]),
        critical_allows_reducing=pick.random() < 0.5,
        governor=rarely([GOVERNING]),
        risk_source=pick.choice([RiskSource.REQUIRED, RiskSource.REQUIRED, RiskSource.NONE,
                                 RiskSource.PROFILE_CHECKS_ONLY]),
    )


def randoms():
    """A random generator, for what a property changes by chance."""
    return st.integers(0, 2**48).map(Random)


def orders():
    """Any order."""
    return seeded(make_order)


def requests():
    """Any request."""
    return seeded(make_request)


def some_facts(*, always: bool = False):
    """Any facts."""
    return seeded(make_facts, always=always)


def some_limits(*, scaling: bool | None = None):
    """Any limits."""
    return seeded(make_limits, scaling=scaling)
