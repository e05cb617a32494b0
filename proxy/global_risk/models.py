"""What Global Risk publishes: the signal and its parts, as JSON and with a schema.

Money and quantities are decimals, written as text so that no digit is lost; shares, correlations and
scores are statistics and plain numbers. `null` means not known, never zero.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from rules import RiskLevel

CENT_OF_CENTS = Decimal("0.00000001")
DIGITS = 8  # of a statistic: beyond it is noise


def _text(value: Decimal) -> str:
    return format(value, "f")


def _rounded(value: float) -> float:
    return round(value, DIGITS) + 0.0  # and no minus before a zero


Money = Annotated[
    Decimal,
    PlainSerializer(_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["1250.50"]}),
]
Statistic = Annotated[float, PlainSerializer(_rounded, return_type=float, when_used="json")]


def money(value: float) -> Decimal:
    """A calculated amount as money, to a hundred-millionth."""
    return Decimal(repr(float(value))).quantize(CENT_OF_CENTS)


class SystemicRiskType(StrEnum):
    """What can go wrong with everything at once."""

    LIQUIDITY_STRESS = "liquidity_stress"
    CORRELATION_SPIKE = "correlation_spike"
    MULTI_EXCHANGE_FAILURE = "multi_exchange_failure"
    VOLATILITY_REGIME_SHIFT = "volatility_regime_shift"
    CASCADING_RISK = "cascading_risk"
    CONCENTRATION_RISK = "concentration_risk"


class Tier(StrEnum):
    """What the emergency stop is recommended to do."""

    NORMAL = "NORMAL"
    REDUCED = "REDUCED"
    EMERGENCY = "EMERGENCY"


class Published(BaseModel):
    """Base of everything published."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HeldPosition(Published):
    """One position of one account; a leg of hedge mode is one of its own. A short has a negative quantity.

    `leverage` is the one set at the venue. `risk_pct` is notional over the account's equity, a fraction.
    `strategy` is the one that opened it, null where several did or nobody knows.
    """

    account: str
    symbol: str
    exchange: str
    market: Literal["spot", "linear"]
    strategy: str | None
    quantity: Money
    notional_usd: Money
    leverage: Money | None
    unrealized_pnl: Money | None
    entry_price: Money | None
    current_price: Money | None
    risk_pct: Statistic | None


class RiskSnapshot(Published):
    """What all accounts hold now, in the account's currency (USD).

    `as_of` is the age of its oldest part. Leverage is notional over equity. `drawdown_pct` is the loss since
    the day began over the equity it began with, a fraction; profit and loss leave transfers out.
    """

    timestamp: datetime
    as_of: datetime | None
    positions: tuple[HeldPosition, ...]
    symbol_exposure: dict[str, Money]
    symbol_leverage: dict[str, Statistic]
    exchange_exposure: dict[str, Money]
    exchange_position_count: dict[str, int]
    strategy_exposure: dict[str, Money]
    strategy_position_count: dict[str, int]
    account_balance: Money | None
    total_equity: Money | None
    total_notional: Money
    total_unrealized_pnl: Money | None
    total_leverage: Statistic | None
    drawdown_pct: Statistic | None
    daily_pnl: Money | None
    weekly_pnl: Money | None
    volatility_cluster: Literal["low", "medium", "high", "extreme"] | None
    regime: Literal["calm", "normal", "stressed"] | None
    unread_accounts: tuple[str, ...]
    old_accounts: tuple[str, ...]
    unpriced_symbols: tuple[str, ...]


class ExposureMatrix(Published):
    """How the exposure is spread, and how much of it moves together.

    `avg_correlation` and `max_correlation` are of the markets; `avg_position_correlation` turns the sign round
    for a short, so that a hedge counts as one. `beta_weights` are beta times signed share of the notional; they
    add up to `portfolio_beta`. All of it is over `observations` daily returns.
    """

    timestamp: datetime
    symbol_shares: dict[str, Statistic]
    exchange_shares: dict[str, Statistic]
    strategy_shares: dict[str, Statistic]
    symbol_hhi: Statistic
    exchange_hhi: Statistic
    strategy_hhi: Statistic
    hotspots: tuple[str, ...]
    symbols: tuple[str, ...]
    correlations: tuple[tuple[Statistic | None, ...], ...]
    avg_correlation: Statistic | None
    max_correlation: Statistic | None
    avg_position_correlation: Statistic | None
    benchmark: str
    betas: dict[str, Statistic | None]
    beta_weights: dict[str, Statistic | None]
    portfolio_beta: Statistic | None
    observations: int


class VarFigures(Published):
    """Value at risk by one method, in money."""

    var_95: Money
    var_99: Money


class VaRResult(Published):
    """Value at risk of what is held, over the horizon: the larger of both methods is what is judged."""

    timestamp: datetime
    var_95: Money
    var_99: Money
    method: Literal["worst_of_historical_and_ewma"]
    historical: VarFigures
    parametric_ewma: VarFigures
    decay: Statistic
    lookback_days: int
    observations: int
    horizon_hours: Statistic
    threshold_95: Money | None
    threshold_99: Money | None
    pass_95: bool | None
    pass_99: bool | None
    portfolio_volatility: Statistic | None


class ESResult(Published):
    """Expected shortfall of what is held, over the horizon: the larger of both methods is what is judged."""

    timestamp: datetime
    es_975: Money
    historical: Money
    parametric_ewma: Money
    threshold: Money | None
    passes: bool | None
    worst_case_loss: Money
    tail_events_count: int


class SystemicSignal(Published):
    """Something that concerns more than one position; `severity` is 0 to 1."""

    type: SystemicRiskType
    level: RiskLevel
    severity: Statistic
    value: Statistic | None
    threshold: Statistic | None
    description: str


class GlobalRiskSignal(Published):
    """The answer: how bad it is, why, and what the emergency stop should do. `overall_risk_score` is 0 to 1.

    `unknown` says what could not be measured; each is a warning as well where something is held.
    """

    timestamp: datetime
    risk_level: RiskLevel
    snapshot: RiskSnapshot
    exposure_matrix: ExposureMatrix
    var_result: VaRResult | None
    es_result: ESResult | None
    systemic_signals: tuple[SystemicSignal, ...]
    overall_risk_score: Statistic
    ess_tier_recommendation: Tier
    ess_action_required: bool
    cro_alert_sent: bool = False
    cro_approval_required: bool = False
    risk_summary: str
    critical_issues: tuple[str, ...]
    warnings: tuple[str, ...]
    unknown: tuple[str, ...]


def schema() -> dict[str, Any]:
    """The JSON schema of the signal."""
    return GlobalRiskSignal.model_json_schema(mode="serialization")
