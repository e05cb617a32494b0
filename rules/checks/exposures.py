"""Exposure: worst-case notional of a symbol, strategy, account, exchange, and of everything.

Working orders and orders in flight are counted as if one side had filled. Buys are never netted against
sells. An order that leaves the worst case of its position where it certainly was passes even over a limit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rules import exposure
from rules.case import Case
from rules.decision import Breach, Finding, Reason

ACCOUNT: Final = Reason.ACCOUNT_EXPOSURE_EXCEEDS_LIMIT
EXCHANGE: Final = Reason.EXCHANGE_EXPOSURE_EXCEEDS_LIMIT
TOTAL: Final = Reason.TOTAL_EXPOSURE_EXCEEDS_LIMIT
SYMBOL: Final = Reason.SYMBOL_EXPOSURE_EXCEEDS_LIMIT


def symbol(case: Case) -> Finding:
    """The worst-case exposure in one symbol may not grow past its limit."""
    limit = case.limits.exposure_symbol_max
    if limit is None:
        return None
    base, price = case.worst_before + exposure.worst_elsewhere(case), case.price
    before = base * price.mark * price.conversion
    after = before + case.exposure_delta
    return (after, limit) if after <= limit else _breach(case, SYMBOL, before, limit)


def strategy(case: Case) -> Finding:
    """A strategy's exposure, with what this order opens, may not grow past its limit."""
    limit = case.limits.exposure_strategy_max
    if limit is None:
        return None
    before = case.exposure.strategy
    unit = case.exposure_price * case.price.conversion
    opening = exposure.opening_quantity(case)
    after = before + opening * unit
    if after <= limit or case.non_increasing:
        return after, limit
    not_opening = case.covered + case.added - opening
    fits = exposure.in_order_units(case, not_opening + max(limit - before, Decimal(0)) / unit)
    unharmed = exposure.quantity_unharmed(case)
    return Breach(Reason.STRATEGY_EXPOSURE_EXCEEDS_LIMIT, after, limit, max(fits, unharmed))


def account(case: Case) -> Finding:
    """The account's exposure may not grow past its limit."""
    limit = case.limits.exposure_account_max
    if limit is None:
        return None
    after = case.exposure.account + case.exposure_delta
    return (after, limit) if after <= limit else _breach(case, ACCOUNT, case.exposure.account, limit)


def exchange(case: Case) -> Finding:
    """The exposure on one exchange, over all accounts, may not grow past its limit."""
    limit = case.limits.exposure_exchange_max
    if limit is None:
        return None
    after = case.exposure.exchange + case.exposure_delta
    return (after, limit) if after <= limit else _breach(case, EXCHANGE, case.exposure.exchange, limit)


def total(case: Case) -> Finding:
    """The exposure of everything behind this gate may not grow past its limit."""
    limit = case.limits.exposure_total_max
    if limit is None:
        return None
    after = case.exposure.total + case.exposure_delta
    return (after, limit) if after <= limit else _breach(case, TOTAL, case.exposure.total, limit)


def _breach(case: Case, reason: Reason, before: Decimal, limit: Decimal) -> Finding:
    """Over the limit: a breach, unless the order is spared."""
    after = before + case.exposure_delta
    if exposure.spared(case, before, limit):
        return after, limit
    return Breach(reason, after, limit, exposure.quantity_within(case, limit - before))
