"""The policy, as an ordered tuple: the first breach wins.

To add a rule: write it in `rules/checks/`, list it here, give its reason a sentence in `rules/sentences.py`.
`docs/rules.md` prints this table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from rules.case import Case
from rules.checks import (
    account_sums,
    activity,
    admission,
    approval,
    exposures,
    global_risk,
    governor,
    leverage,
    losses,
    margin,
    order_size,
    positions,
    price,
    single_trade,
    stop,
    value_at_risk,
)
from rules.decision import Finding, Reason
from rules.order import Instruction, LeverageChange, MarginChange, Order, QuantityCut

Check: TypeAlias = Callable[[Case], Finding]

EVERYTHING: Final[tuple[type[Instruction], ...]] = (Order, QuantityCut, LeverageChange, MarginChange)
ORDERS: Final[tuple[type[Instruction], ...]] = (Order,)
SETTINGS: Final[tuple[type[Instruction], ...]] = (LeverageChange, MarginChange)


class Rule(NamedTuple):
    """A check and how the gate treats it.

    `spares_reductions`: not run on what provably only reduces. `scalable`: a smaller order may cure it.
    `limit`: the limit it compares with; where that is not set, the rule does not apply and is not run.
    `after_scaling`: its breach counts only once nothing else would make the order smaller.
    """

    name: str
    check: Check
    reasons: tuple[Reason, ...]
    applies_to: tuple[type[Instruction], ...] = ORDERS
    spares_reductions: bool = True
    scalable: bool = False
    limit: str | None = None
    after_scaling: bool = False


R: Final = Reason

RULEBOOK: Final[tuple[Rule, ...]] = (
    # 1-3: the stop and the global risk signal
    Rule("ess_halt", stop.halted, (R.ESS_TRADING_HALT_ACTIVE,), EVERYTHING, spares_reductions=False),
    Rule("ess_reduce_only", stop.reduce_only, (R.ESS_REDUCE_ONLY_ACTIVE,), EVERYTHING, spares_reductions=False),
    Rule("global_risk_critical", global_risk.critical, (R.GLOBAL_RISK_CRITICAL,), EVERYTHING, spares_reductions=False),
    Rule("global_risk_action", global_risk.action_required, (R.RISK_V3_ESS_ACTION_REQUIRED,), EVERYTHING,
         spares_reductions=False),
    Rule("global_risk_warning", global_risk.warning, (R.GLOBAL_RISK_WARNING,), scalable=True),
    Rule("safety_governor", governor.directive, (R.SAFETY_GOVERNOR_BLOCK, R.FACTS_MISSING, R.FACTS_STALE), EVERYTHING,
         limit="governor"),
    # 4: who may trade what
    Rule("strategy", admission.strategy, (R.STRATEGY_NOT_ALLOWED,), ORDERS + SETTINGS, limit="strategies"),
    Rule("symbol", admission.symbol, (R.SYMBOL_NOT_ALLOWED,), ORDERS + SETTINGS, limit="symbols"),
    Rule("strategy_blocked", admission.strategy_blocked, (R.STRATEGY_BLOCKED,), ORDERS + SETTINGS,
         limit="strategies_blocked"),
    Rule("symbol_blocked", admission.symbol_blocked, (R.SYMBOL_BLOCKED,), ORDERS + SETTINGS, limit="symbols_blocked"),
    Rule("rank", admission.rank, (R.RANK_BELOW_MINIMUM,), limit="rank_min"),
    Rule("confidence", admission.confidence, (R.CONFIDENCE_MISSING, R.CONFIDENCE_BELOW_MINIMUM)),
    # 5-7: leverage, single trade, losses
    Rule("leverage_at_venue", leverage.at_venue, (R.LEVERAGE_EXCEEDS_LIMIT,), limit="leverage_max"),
    Rule("leverage_effective", leverage.effective, (R.EFFECTIVE_LEVERAGE_EXCEEDS_LIMIT,), limit="leverage_max"),
    Rule("leverage_change", leverage.change, (R.LEVERAGE_EXCEEDS_LIMIT,), (LeverageChange,), limit="leverage_max"),
    Rule("margin_change", margin.change, (R.MARGIN_CHANGE_NOT_ALLOWED,), (MarginChange,)),
    Rule("trade_notional", single_trade.notional, (R.SINGLE_TRADE_RISK_EXCEEDS_LIMIT,), scalable=True,
         limit="trade_notional_fraction_max"),
    Rule("trade_stop_loss", single_trade.loss_at_stop, (R.STOP_LOSS_RISK_EXCEEDS_LIMIT,), scalable=True,
         limit="trade_stop_loss_fraction_max"),
    Rule("loss_daily", losses.daily, (R.DAILY_LOSS_EXCEEDS_LIMIT,), limit="loss_daily_max"),
    Rule("loss_daily_money", losses.daily_money, (R.DAILY_LOSS_EXCEEDS_LIMIT,), limit="loss_daily_money_max"),
    Rule("loss_weekly", losses.weekly, (R.WEEKLY_LOSS_EXCEEDS_LIMIT,), limit="loss_weekly_max"),
    Rule("drawdown", losses.drawdown, (R.DRAWDOWN_EXCEEDS_LIMIT,), limit="drawdown_max"),
    Rule("loss_streak", losses.streak, (R.LOSS_STREAK_REACHES_LIMIT,), limit="loss_streak_max"),
    # 8: positions and exposure
    Rule("new_positions", positions.new_allowed, (R.NEW_POSITIONS_NOT_ALLOWED,)),
    Rule("open_positions", positions.count, (R.OPEN_POSITIONS_EXCEED_LIMIT,), limit="open_positions_max"),
    Rule("position_size", positions.size, (R.POSITION_EXCEEDS_LIMIT,), scalable=True, limit="position_notional_max"),
    Rule("exposure_symbol", exposures.symbol, (R.SYMBOL_EXPOSURE_EXCEEDS_LIMIT,), scalable=True,
         limit="exposure_symbol_max"),
    Rule("exposure_strategy", exposures.strategy, (R.STRATEGY_EXPOSURE_EXCEEDS_LIMIT,), scalable=True,
         limit="exposure_strategy_max"),
    Rule("exposure_account", exposures.account, (R.ACCOUNT_EXPOSURE_EXCEEDS_LIMIT,), scalable=True,
         limit="exposure_account_max"),
    Rule("exposure_exchange", exposures.exchange, (R.EXCHANGE_EXPOSURE_EXCEEDS_LIMIT,), scalable=True,
         limit="exposure_exchange_max"),
    Rule("exposure_total", exposures.total, (R.TOTAL_EXPOSURE_EXCEEDS_LIMIT,), scalable=True,
         limit="exposure_total_max"),
    Rule("exposure_asset", account_sums.asset, (R.ASSET_EXPOSURE_EXCEEDS_LIMIT,), scalable=True,
         limit="exposure_asset_max"),
    Rule("exposure_net", account_sums.net, (R.NET_EXPOSURE_EXCEEDS_LIMIT,), scalable=True, limit="exposure_net_max"),
    Rule("concentration", account_sums.concentration, (R.CONCENTRATION_EXCEEDS_LIMIT,), scalable=True,
         limit="concentration_max"),
    Rule("margin_free", account_sums.free_margin, (R.FREE_MARGIN_BELOW_MINIMUM,), scalable=True,
         limit="margin_free_min"),
    Rule("liquidation_distance", account_sums.liquidation_distance, (R.LIQUIDATION_TOO_CLOSE,),
         limit="liquidation_distance_min"),
    Rule("incremental_var", value_at_risk.incremental, (R.VALUE_AT_RISK_EXCEEDS_LIMIT,), scalable=True,
         limit="scaling_by_var"),
    Rule("open_orders", account_sums.open_orders, (R.OPEN_ORDERS_EXCEED_LIMIT,), limit="open_orders_max"),
    Rule("open_orders_symbol", account_sums.open_orders_symbol, (R.OPEN_ORDERS_EXCEED_LIMIT,),
         limit="open_orders_symbol_max"),
    # 9: price
    Rule("price_reference", price.reference, (R.FACTS_MISSING, R.FACTS_STALE)),
    Rule("price_floor", price.floor, (R.PRICE_BELOW_FLOOR,), limit="price_floor"),
    Rule("price_ceiling", price.ceiling, (R.PRICE_ABOVE_CEILING,), limit="price_ceiling"),
    Rule("price_collar", price.collar, (R.PRICE_OUTSIDE_COLLAR,)),
    # 10: order size, rate, duplicates
    Rule("order_quantity", order_size.quantity, (R.ORDER_QUANTITY_EXCEEDS_LIMIT,), scalable=True,
         limit="order_quantity_max"),
    Rule("order_notional", order_size.notional, (R.ORDER_NOTIONAL_EXCEEDS_LIMIT,), scalable=True,
         limit="order_notional_max"),
    Rule("order_rate", activity.rate, (R.ORDER_RATE_EXCEEDS_LIMIT,), limit="order_rate_max"),
    Rule("order_identical", activity.identical, (R.ORDER_DUPLICATE,), limit="duplicates_max"),
    Rule("client_order_id", activity.client_order_id, (R.ORDER_DUPLICATE,), spares_reductions=False),
    # 11: a person's word, asked for only where every other rule would let the order pass
    Rule("approval", approval.required, (R.APPROVAL_REQUIRED,), limit="approval_notional_min", after_scaling=True),
)
