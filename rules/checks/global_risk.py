"""The global risk signal: what the desk's risk engine says of the whole book.

Where it is required, a signal that is missing, old or of an unknown level blocks new exposure, and only
that: a way out must not depend on a feed. Where an installation runs without it, or has switched to its
own profile's checks for a while, the record says so.
"""

from __future__ import annotations

from typing import Final

from rules.case import Case
from rules.decision import Breach, Finding, Reason
from rules.facts import FactMissing, FactStale, GlobalRisk, RiskLevel
from rules.limits import RiskSource

NOT_BOUND: Final = {
    RiskSource.PROFILE_CHECKS_ONLY: ("not consulted: profile checks only", None),
    RiskSource.NONE: ("not consulted: no global risk signal here", None),
}
UNKNOWN: Final[tuple[object, object]] = ("unknown, and the order only reduces", None)
REQUIRED: Final = RiskSource.REQUIRED
WARNING: Final = RiskLevel.WARNING
CRITICAL: Final = RiskLevel.CRITICAL


def critical(case: Case) -> Finding:
    """While the global risk level is CRITICAL, nothing passes but reductions where the policy allows them."""
    if case.limits.risk_source is not REQUIRED:
        return NOT_BOUND[case.limits.risk_source]
    try:
        signal = case.risk
    except (FactMissing, FactStale):
        if case.reducing:
            return UNKNOWN
        raise
    if signal.level == CRITICAL and not (case.limits.critical_allows_reducing and case.reducing):
        return Breach(
            Reason.GLOBAL_RISK_CRITICAL, signal.level, WARNING, None, _issues(signal)
        )
    return signal.level, WARNING


def action_required(case: Case) -> Finding:
    """While the global risk signal demands the emergency stop to act, it binds like CRITICAL."""
    if case.limits.risk_source is not REQUIRED:
        return NOT_BOUND[case.limits.risk_source]
    try:
        signal = case.risk
    except (FactMissing, FactStale):
        if case.reducing:
            return UNKNOWN
        raise
    if signal.ess_action_required and not (case.limits.critical_allows_reducing and case.reducing):
        return Breach(
            Reason.RISK_V3_ESS_ACTION_REQUIRED, signal.ess_tier or "action required", "no action", None,
            _issues(signal),
        )
    return signal.ess_action_required, False


def warning(case: Case) -> Finding:
    """While the global risk level is WARNING, new exposure is scaled once to the policy's share."""
    limits = case.limits
    if limits.risk_source is not REQUIRED:
        return NOT_BOUND[limits.risk_source]
    if case.risk.level != WARNING:
        return case.risk.level, WARNING
    if not limits.scaling_allowed or case.warned or limits.warning_factor >= 1:
        return WARNING, WARNING
    order = case.order
    asked = order.quantity if order.quantity is not None else order.quote_quantity
    share = None if asked is None else asked * limits.warning_factor
    return Breach(Reason.GLOBAL_RISK_WARNING, WARNING, limits.warning_factor, share, _issues(case.risk))


def _issues(signal: GlobalRisk) -> str:
    return ", ".join(signal.issues)
