"""Orders, facts and limits in few words: numbers are written as text, the rest is ordinary."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from rules import (
    CLEAR,
    NO_SIDES,
    AccountSums,
    Activity,
    Bucket,
    Caller,
    EssLevel,
    Exposure,
    Fact,
    Facts,
    Filters,
    GlobalRisk,
    Limits,
    Losses,
    Market,
    Order,
    OrderType,
    Position,
    Price,
    RiskLevel,
    Side,
    Sides,
    Stop,
    SymbolFacts,
    WorkingOrder,
)

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SYMBOL = "BTCUSDT"

ORDER_NUMBERS = frozenset(
    {"quantity", "quote_quantity", "price", "trigger_price", "activation_price", "callback_rate", "iceberg_quantity"}
)
LIMIT_COUNTS = frozenset(
    {"policy_revision", "open_positions_max", "order_rate_max", "duplicates_max", "loss_streak_max"}
)
LIMIT_COUNTS |= {"open_orders_max", "open_orders_symbol_max"}
WORDS = frozenset({"profile", "capital_profile"})


def number(value):
    """Text as a Decimal; anything else as it is."""
    return Decimal(value) if type(value) is str else value  # an enumeration of words stays itself


def order(**changed) -> Order:
    """A limit buy of 1 BTC at 100 on the contract market, unless told otherwise."""
    values = {"symbol": SYMBOL, "side": Side.BUY, "type": OrderType.LIMIT, "market": Market.LINEAR}
    values |= {name: number(value) if name in ORDER_NUMBERS else value for name, value in changed.items()}
    if not {"quantity", "quote_quantity", "close_position"} & values.keys():
        values["quantity"] = Decimal(1)
    if values["type"] in (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT):
        values.setdefault("price", Decimal(100))
    return Order(**values)


def sides(buy="0", sell="0") -> Sides:
    """What waits on either side."""
    return Sides(buy=number(buy), sell=number(sell))


def filters(**changed) -> Filters:
    """A venue that accepts steps of 0.001 from 0.001, worth 5 or more."""
    values = {"base_asset": "BTC", "quote_asset": "USDT", "quantity_step": "0.001", "quantity_min": "0.001",
              "notional_min": "5"} | changed
    return Filters(**{name: value if name.endswith("asset") else number(value) for name, value in values.items()})


def working(order_id="1", *, side=Side.BUY, remaining="1", bucket=Bucket.BOTH, client_order_id=None, **changed):
    """An order that works at the venue."""
    values = {name: number(value) for name, value in changed.items()}
    return WorkingOrder(
        order_id=order_id, client_order_id=client_order_id, side=side, bucket=bucket,
        remaining=Decimal(remaining), **values,
    )


def known(value, age_s="0"):
    """A fact of the given age; None stays unknown."""
    return None if value is None else Fact(value, NOW - timedelta(microseconds=int(Decimal(age_s) * 1_000_000)))


def symbol_facts(
    *, mark="100", bid=None, ask=None, conversion="1", price_age="0", held=None, long="0", short="0", closing=None,
    position_known=True, position_age="0", waiting=None, reserved=None, orders: Iterable[WorkingOrder] = (),
    leverage="1", leverage_age="0", filters_known=True, filters_age="0", rules_of_venue=None,
) -> SymbolFacts:
    """What is known of one symbol: a price of 100, nothing held, nothing waiting."""
    price = None if mark is None else Price(
        mark=number(mark), bid=number(bid), ask=number(ask), conversion=number(conversion)
    )
    position = Position(both=number(held or "0"), long=number(long), short=number(short)) if position_known else None
    return SymbolFacts(
        price=known(price, price_age),
        position=known(position, position_age),
        working={Bucket.BOTH: waiting} if isinstance(waiting, Sides) else waiting or {},
        reserved={Bucket.BOTH: reserved} if isinstance(reserved, Sides) else reserved or {},
        orders_by_id={one.order_id: one for one in orders},
        closing=closing or NO_SIDES,
        leverage=known(number(leverage), leverage_age),
        filters=known((rules_of_venue or filters()) if filters_known else None, filters_age),
    )


def losses(day="10000", week="10000", high="10000", **changed) -> Losses:
    """The anchors of the loss limits, 10,000 each; the rest by its name."""
    return Losses(
        day_start_equity=number(day), week_start_equity=number(week), high_water_mark=number(high),
        **{name: value if name == "base" else number(value) for name, value in changed.items()},
    )


def account_sums(**changed) -> AccountSums:
    """Nothing held by the account, and a wallet of 10,000; what is bought and sold is certain unless stated."""
    values = {"wallet": Decimal(10_000)} | {name: number(value) for name, value in changed.items()}
    for side in ("bought", "sold"):
        values.setdefault(f"{side}_certain", values.get(side, Decimal(0)))
    return AccountSums(**values)


def facts(
    *, symbols=None, equity="10000", equity_age="0", risk=RiskLevel.INFO, risk_age="0", action=False,
    stop=CLEAR, anchors=None, losses_age="0", losses_known=True, exposure=None, exposure_age="0",
    exposure_known=True, open_positions=frozenset(), positions_age="0", hedge_mode=None, activity=None,
    strategy="grid", confidence=None, sums=None, sums_age="0", **symbol,
) -> Facts:
    """Everything known and fresh, nothing held, nothing waiting, unless told otherwise."""
    totals = Exposure(**{name: number(value) for name, value in (exposure or {}).items()})
    signal = None if risk is None else GlobalRisk(level=risk, ess_action_required=action)
    return Facts(
        now=NOW,
        caller=Caller(
            account="main", exchange="binance", strategy=strategy, bot="one", confidence=number(confidence)
        ),
        stop=Stop(level=stop) if isinstance(stop, EssLevel) else stop,
        symbols=symbols if symbols is not None else {SYMBOL: symbol_facts(**symbol)},
        risk=known(signal, risk_age),
        equity=known(number(equity), equity_age),
        losses=known((anchors or losses()) if losses_known else None, losses_age),
        hedge_mode=known(hedge_mode),
        exposure=known(totals if exposure_known else None, exposure_age),
        sums=known(sums, sums_age),
        open_positions=known(open_positions, positions_age),
        activity=activity or Activity(),
    )


def limits(**changed) -> Limits:
    """Nothing limited, unless told otherwise."""
    values = {"policy_revision": 7, "profile": "NORMAL", "capital_profile": "normal"} | changed
    return Limits(**{name: value if name in WORDS else number(value) for name, value in values.items()})
