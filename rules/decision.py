"""What the gate answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from rules.order import Bucket, Side


class Verdict(StrEnum):
    """What happens to a request. There is no default: a verdict is always reached, never left over."""

    ALLOW = "allow"
    SCALE_DOWN = "scale_down"
    BLOCK = "block"


class Reason(StrEnum):
    """Why: one code for log field, metric label, JSON and docs."""

    ALL_RISK_CHECKS_PASSED = "all_risk_checks_passed"
    # 1-3: the stop and the global risk signal
    ESS_TRADING_HALT_ACTIVE = "ess_trading_halt_active"
    ESS_REDUCE_ONLY_ACTIVE = "ess_reduce_only_active"
    GLOBAL_RISK_CRITICAL = "global_risk_critical"
    RISK_V3_ESS_ACTION_REQUIRED = "risk_v3_ess_action_required"
    GLOBAL_RISK_WARNING = "global_risk_warning"
    SAFETY_GOVERNOR_BLOCK = "safety_governor_block"
    # 4: who may trade what
    STRATEGY_NOT_ALLOWED = "strategy_not_allowed"
    SYMBOL_NOT_ALLOWED = "symbol_not_allowed"
    STRATEGY_BLOCKED = "strategy_blocked"
    SYMBOL_BLOCKED = "symbol_blocked"
    RANK_BELOW_MINIMUM = "rank_below_minimum"
    CONFIDENCE_MISSING = "confidence_missing"
    CONFIDENCE_BELOW_MINIMUM = "confidence_below_minimum"
    # 5-7: leverage, single trade, losses
    LEVERAGE_EXCEEDS_LIMIT = "leverage_exceeds_limit"
    EFFECTIVE_LEVERAGE_EXCEEDS_LIMIT = "effective_leverage_exceeds_limit"
    MARGIN_CHANGE_NOT_ALLOWED = "margin_change_not_allowed"
    SINGLE_TRADE_RISK_EXCEEDS_LIMIT = "single_trade_risk_exceeds_limit"
    STOP_LOSS_RISK_EXCEEDS_LIMIT = "stop_loss_risk_exceeds_limit"
    DAILY_LOSS_EXCEEDS_LIMIT = "daily_loss_exceeds_limit"
    WEEKLY_LOSS_EXCEEDS_LIMIT = "weekly_loss_exceeds_limit"
    DRAWDOWN_EXCEEDS_LIMIT = "drawdown_exceeds_limit"
    LOSS_STREAK_REACHES_LIMIT = "loss_streak_reaches_limit"
    # 8: positions and exposure
    NEW_POSITIONS_NOT_ALLOWED = "new_positions_not_allowed"
    OPEN_POSITIONS_EXCEED_LIMIT = "open_positions_exceed_limit"
    POSITION_EXCEEDS_LIMIT = "position_exceeds_limit"
    SYMBOL_EXPOSURE_EXCEEDS_LIMIT = "symbol_exposure_exceeds_limit"
    STRATEGY_EXPOSURE_EXCEEDS_LIMIT = "strategy_exposure_exceeds_limit"
    ACCOUNT_EXPOSURE_EXCEEDS_LIMIT = "account_exposure_exceeds_limit"
    EXCHANGE_EXPOSURE_EXCEEDS_LIMIT = "exchange_exposure_exceeds_limit"
    TOTAL_EXPOSURE_EXCEEDS_LIMIT = "total_exposure_exceeds_limit"
    ASSET_EXPOSURE_EXCEEDS_LIMIT = "asset_exposure_exceeds_limit"
    NET_EXPOSURE_EXCEEDS_LIMIT = "net_exposure_exceeds_limit"
    CONCENTRATION_EXCEEDS_LIMIT = "concentration_exceeds_limit"
    FREE_MARGIN_BELOW_MINIMUM = "free_margin_below_minimum"
    LIQUIDATION_TOO_CLOSE = "liquidation_too_close"
    VALUE_AT_RISK_EXCEEDS_LIMIT = "value_at_risk_exceeds_limit"
    OPEN_ORDERS_EXCEED_LIMIT = "open_orders_exceed_limit"
    # 9: price
    PRICE_BELOW_FLOOR = "price_below_floor"
    PRICE_ABOVE_CEILING = "price_above_ceiling"
    PRICE_OUTSIDE_COLLAR = "price_outside_collar"
    # 10: order size, rate, duplicates
    ORDER_QUANTITY_EXCEEDS_LIMIT = "order_quantity_exceeds_limit"
    ORDER_NOTIONAL_EXCEEDS_LIMIT = "order_notional_exceeds_limit"
    ORDER_RATE_EXCEEDS_LIMIT = "order_rate_exceeds_limit"
    ORDER_DUPLICATE = "order_duplicate"
    # 11: a person's word
    APPROVAL_REQUIRED = "approval_required"
    # when no rule could answer
    SCALED_BELOW_MINIMUM = "scaled_below_minimum"
    FACTS_MISSING = "facts_missing"
    FACTS_STALE = "facts_stale"
    RULE_FAILED = "rule_failed"
    # before or after the rulebook, by the proxy
    ORDER_NOT_UNDERSTOOD = "order_not_understood"
    ENDPOINT_UNKNOWN = "endpoint_unknown"
    FAMILY_NOT_SUPPORTED = "family_not_supported"
    TRANSFER_NOT_ALLOWED = "transfer_not_allowed"
    KEY_UNKNOWN = "key_unknown"
    SIGNATURE_INVALID = "signature_invalid"
    TIMESTAMP_OUTSIDE_WINDOW = "timestamp_outside_window"
    REQUEST_REPLAYED = "request_replayed"
    RESIGN_UNAVAILABLE = "resign_unavailable"
    POLICY_UNAVAILABLE = "policy_unavailable"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    UPSTREAM_BACKOFF = "upstream_backoff"
    COUNTDOWN_OWNED = "countdown_owned"


# A rule held: the pair of what it saw and what it compared with. A plain tuple, because some thirty of
# them are made for every order.
Within: TypeAlias = tuple[object, object]


class Breach(NamedTuple):
    """A rule failed. `quantity_max` is the largest quantity that would have passed, where size is the cure.

    It is in the unit the order states its size in (base, or quote for a quote order).
    """

    reason: Reason
    observed: object | None  # `object` alone would say the same, and stops the compiler (ADR 0010)
    limit: object | None
    quantity_max: Decimal | None = None
    detail: str = ""


Finding: TypeAlias = Breach | Within | None


class RuleRun(NamedTuple):
    """One line of the record: which rule, on which instruction of the request, and what it found."""

    rule: str
    instruction: int
    outcome: str  # "within", "breach", "scaled", "not_applicable"
    observed: str
    limit: str


class Hold(NamedTuple):
    """What an order takes when it is sent, to be reserved in the same step in which it was decided.

    `quantity` (base units) is added to what waits on `side`; `notional` (account's currency) is what the
    worst case grows by. An order that the venue keeps from opening holds nothing.
    """

    symbol: str
    bucket: Bucket
    side: Side
    quantity: Decimal
    notional: Decimal
    coin: str = ""  # what a sale for other coins buys: there the position is opened, not in what is sold


class Tried(NamedTuple):
    """What limits in shadow mode would have done to a request that was not blocked."""

    verdict: Verdict
    reason: Reason
    sentence: str


class Decision(NamedTuple):
    """The gate's answer for one request: all its instructions stand or fall together. Written by keyword.

    `quantities` holds, per instruction, the amount to send in the unit the bot used (None where the
    instruction has none); after an allow it is what was asked.
    """

    verdict: Verdict
    reason: Reason
    sentence: str
    breach: Breach | None
    quantities: tuple[Decimal | None, ...]
    scale_factor: Decimal
    risk_level: str
    ess_active: bool
    timestamp: datetime
    policy_revision: int
    rules_run: Sequence[RuleRun]
    reducing: bool  # every instruction provably only reduces
    holds: tuple[Hold | None, ...] = ()  # per instruction, for the quantities as sent; empty after a block
    notionals: tuple[Decimal | None, ...] = ()  # per instruction as asked (account's currency), None where unknown
    tried: Tried | None = None  # what limits that are only tried would have done, where that is something else
    limits_off: tuple[str, ...] = ()  # places of the policy whose limit is switched off
