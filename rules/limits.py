"""What applies to an order: the tightest of risk mode, capital profile, account and strategy.

`None` means that no limit of that kind applies. Fractions are fractions of equity
(0.015 is 1.5 %), money is in the account's currency, ages and windows are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class RiskSource(StrEnum):
    """How the global risk signal binds."""

    REQUIRED = "required"  # missing or stale blocks new exposure
    PROFILE_CHECKS_ONLY = "profile_checks_only"  # explicit, visible, for a stated time
    NONE = "none"  # this installation has no such signal, and says so in every record


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """The oldest a fact may be, in seconds."""

    price_s: Decimal = Decimal(5)
    account_s: Decimal = Decimal(10)
    risk_s: Decimal = Decimal(5)
    leverage_s: Decimal = Decimal(300)
    filters_s: Decimal = Decimal(86400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits in force for one account, strategy and symbol."""

    policy_revision: int
    profile: str  # name of the active risk profile
    capital_profile: str

    strategies: frozenset[str] | None = None  # None admits any; an empty set admits none
    symbols: frozenset[str] | None = None
    confidence_min: Decimal | None = None
    confidence_required: bool = False

    leverage_max: Decimal | None = None
    margin_changes_allowed: bool = True

    trade_notional_fraction_max: Decimal | None = None  # single-trade risk: notional / equity
    trade_stop_loss_fraction_max: Decimal | None = None  # loss at the stop / equity, where a stop is known

    loss_daily_max: Decimal | None = None
    loss_weekly_max: Decimal | None = None
    drawdown_max: Decimal | None = None  # from the high-water mark

    new_positions_allowed: bool = True
    open_positions_max: int | None = None
    position_notional_max: Decimal | None = None
    exposure_symbol_max: Decimal | None = None
    exposure_strategy_max: Decimal | None = None
    exposure_account_max: Decimal | None = None
    exposure_exchange_max: Decimal | None = None
    exposure_total_max: Decimal | None = None

    price_floor: Decimal | None = None
    price_ceiling: Decimal | None = None
    collar_up: Decimal | None = None  # fraction of the reference a buy may be above it
    collar_down: Decimal | None = None  # fraction of the reference a sell may be below it

    order_quantity_max: Decimal | None = None
    order_notional_max: Decimal | None = None
    order_rate_max: int | None = None  # orders per rate window
    order_rate_window_s: Decimal = Decimal(10)
    duplicates_max: int | None = None  # identical orders per duplicate window
    duplicate_window_s: Decimal = Decimal(2)

    slippage: Decimal = Decimal("0.005")  # a market order is priced this much worse than the book
    scaling_allowed: bool = False
    warning_factor: Decimal = Decimal("0.5")  # a WARNING signal scales new exposure to this share
    critical_allows_reducing: bool = False
    risk_source: RiskSource = RiskSource.REQUIRED
    ages: Ages = Ages()
    by_symbol: Mapping[str, Limits] = field(default_factory=dict)

    def of(self, symbol: str) -> Limits:
        """The limits for one symbol."""
        return self.by_symbol.get(symbol, self)
