"""What people may let through once: which limits a person's word lifts for one order, and which it never does.

An approval lifts the limit that asked for it, and nothing else. An override lifts limits of size and of counts,
up to a ceiling that holds instead, and, for what provably only reduces, the block of a CRITICAL risk signal. All
other rules hold for it as for any order: the emergency stop, facts that are missing or old, losses, leverage,
margin, lists, prices, rates, names in use. The order is judged by the same gate, under the limits made here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from rules.decision import Decision, Reason
from rules.limits import Limits
from rules.rulebook import RULEBOOK

# What a smaller order would satisfy, and counts of what is open.
LIFTED_BY_OVERRIDE: Final[frozenset[str]] = frozenset({
    "trade_notional_fraction_max", "trade_stop_loss_fraction_max", "open_positions_max", "position_notional_max",
    "exposure_symbol_max", "exposure_strategy_max", "exposure_account_max", "exposure_exchange_max",
    "exposure_total_max", "exposure_asset_max", "exposure_net_max", "concentration_max", "open_orders_max",
    "open_orders_symbol_max", "order_quantity_max", "order_notional_max", "approval_notional_min",
})  # fmt: skip

# Lifted for proven reductions alone: to everything else a CRITICAL signal stays closed.
LIFTED_FOR_REDUCTIONS: Final[frozenset[Reason]] = frozenset(
    {Reason.GLOBAL_RISK_CRITICAL, Reason.RISK_V3_ESS_ACTION_REQUIRED}
)
_OF_SIZE: Final[frozenset[Reason]] = frozenset(
    {reason for rule in RULEBOOK if rule.limit in LIFTED_BY_OVERRIDE for reason in rule.reasons}
    | {Reason.SCALED_BELOW_MINIMUM}
)


def liftable(decision: Decision) -> bool:
    """Whether an override could let pass what was blocked for this reason."""
    return decision.reason in _OF_SIZE or (decision.reducing and decision.reason in LIFTED_FOR_REDUCTIONS)


def approved(limits: Limits, symbols: Iterable[str], note: str) -> Limits:
    """The limits for one order that was approved: the same, without the one that asked for it."""
    return _for_one_order(limits, symbols, note, {"approval_notional_min": None})


def overridden(limits: Limits, symbols: Iterable[str], note: str, ceiling: Decimal) -> Limits:
    """The limits for one order that two persons let through: nothing of it may be worth more than `ceiling`.

    It passes whole or not at all: a part of what was agreed on is something else.
    """
    changes: dict[str, Any] = dict.fromkeys(LIFTED_BY_OVERRIDE)
    changes |= {"order_notional_max": ceiling, "scaling_allowed": False, "critical_allows_reducing": True}
    return _for_one_order(limits, symbols, note, changes)


def _for_one_order(limits: Limits, symbols: Iterable[str], note: str, changes: dict[str, Any]) -> Limits:
    own = {
        symbol: replace(limits.by_symbol[symbol], **changes) for symbol in symbols if symbol in limits.by_symbol
    }
    # What is only tried has nothing to say to an exception, and every exception stands in the record.
    return replace(limits, **changes, by_symbol=own, shadow=None, limits_off=(*limits.limits_off, note))
