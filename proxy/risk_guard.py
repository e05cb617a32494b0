"""What RiskGuard of older installations checked, told and could be set by, and which rule does it here.

The page docs/risk-guard-parity.md is this table: `python -m proxy.risk_guard > docs/risk-guard-parity.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from rules import RULEBOOK, Decision, Reason, Verdict

PROFILE_LOADED = "risk_guard_risk_profile_loaded"
APPROVED = "risk_guard_trade_approved"


class Check(NamedTuple):
    """One of its checks: its name for the denial, the limit here, the rules, their reasons, the event, the variable."""

    denial: str
    limit: str
    rules: tuple[str, ...]
    reasons: tuple[Reason, ...]
    event: str | None = None
    variable: str | None = None


R = Reason

CHECKS = (
    Check("leverage > max_leverage", "leverage_max", ("leverage_at_venue", "leverage_effective", "leverage_change"),
          (R.LEVERAGE_EXCEEDS_LIMIT, R.EFFECTIVE_LEVERAGE_EXCEEDS_LIMIT), "risk_guard_denied_leverage",
          "RM_MAX_LEVERAGE"),
    Check("trade_risk_pct > max_risk_pct_per_trade", "trade_risk_max", ("trade_notional", "trade_stop_loss"),
          (R.SINGLE_TRADE_RISK_EXCEEDS_LIMIT, R.STOP_LOSS_RISK_EXCEEDS_LIMIT), "risk_guard_denied_risk_pct",
          "QT_MAX_RISK_PER_TRADE"),
    Check("position_size_usd > position_size_cap_usd", "position_notional_max", ("position_size",),
          (R.POSITION_EXCEEDS_LIMIT,), "risk_guard_denied_position_cap"),
    Check("not allow_new_positions", "new_positions_allowed", ("new_positions",), (R.NEW_POSITIONS_NOT_ALLOWED,),
          "risk_guard_denied_new_positions_disabled"),
    Check("open positions >= max_open_positions", "open_positions_max", ("open_positions",),
          (R.OPEN_POSITIONS_EXCEED_LIMIT,), "risk_guard_denied_max_positions", "QT_MAX_POSITIONS"),
    Check("kill_switch", "the emergency stop at HALT", ("ess_halt",), (R.ESS_TRADING_HALT_ACTIVE,), None,
          "QT_KILL_SWITCH"),
    Check("symbol_not_allowed", "symbols", ("symbol",), (R.SYMBOL_NOT_ALLOWED,), None, "QT_ALLOWED_SYMBOLS"),
    Check("notional_limit", "size.order_notional_max", ("order_notional",), (R.ORDER_NOTIONAL_EXCEEDS_LIMIT,), None,
          "QT_MAX_NOTIONAL_PER_TRADE"),
    Check("price_invalid", "always on", ("price_reference",), (R.FACTS_MISSING,)),
    Check("price_floor", "price.floor", ("price_floor",), (R.PRICE_BELOW_FLOOR,), None, "QT_MIN_UNIT_PRICE"),
    Check("price_ceiling", "price.ceiling", ("price_ceiling",), (R.PRICE_ABOVE_CEILING,), None, "QT_MAX_UNIT_PRICE"),
    Check("price_stale", "ages.price_s", ("price_reference",), (R.FACTS_STALE,), None,
          "QT_MAX_PRICE_STALENESS_SECONDS"),
    Check("daily_loss_limit", "loss_daily_money_max", ("loss_daily_money",), (R.DAILY_LOSS_EXCEEDS_LIMIT,), None,
          "QT_MAX_DAILY_LOSS"),
    Check("position_limit", "size.exposure_symbol_max", ("exposure_symbol",), (R.SYMBOL_EXPOSURE_EXCEEDS_LIMIT,), None,
          "QT_MAX_POSITION_PER_SYMBOL"),
    Check("gross_exposure_limit", "size.exposure_total_max", ("exposure_total",), (R.TOTAL_EXPOSURE_EXCEEDS_LIMIT,),
          None, "QT_MAX_GROSS_EXPOSURE"),
)  # fmt: skip

DENIED: Mapping[Reason, str] = MappingProxyType(
    {reason: check.event for check in CHECKS if check.event is not None for reason in check.reasons}
)
BLOCK = Verdict.BLOCK

HEAD = """# RiskGuard, check by check

Generated from `proxy/risk_guard.py`; run `python -m proxy.risk_guard > docs/risk-guard-parity.md`.

Every check of RiskGuard is a rule here, with the same or a stricter meaning. Where a check had a log event, the
same event is written beside ours (`order.decided`), with `trace_id` (the decision's id), `profile_name`, what was
observed and the limit; an order that passes writes `risk_guard_trade_approved`, also when it was scaled down, and a
policy that is loaded or changed writes `risk_guard_risk_profile_loaded`. `log.risk_guard_events: false` leaves out
those of single orders.
"""

TAIL = """
## What differs, and why

- **Numbers are not taken from the caller.** Leverage is what is set at the exchange and what positions make of it,
  equity and open positions are read from the account. Nothing is judged by a default of 5.
- **The check that failed does not fall through.** RiskGuard let its older checks decide when the newer ones raised;
  here a rule that fails blocks.
- **Daily loss** is what equity lost since the day began, open positions, fees and funding included and transfers
  left out, not a sum of closed losses over 24 hours.
- **Per-symbol position and gross exposure** count what waits as if it had filled. Gross exposure is of all accounts
  together.
- **The kill switch does not clear itself.** `QT_FAILSAFE_RESET_MINUTES` has no effect; a person releases the stop.
  `QT_KILL_SWITCH=true` engages HALT at every start for as long as it is set.
- **There is no open admin API.** `QT_ADMIN_TOKEN` and `QT_RISK_STATE_DB` have no effect; see
  [the admin API](admin-api.md).

The variables are read when the policy store is filled for the first time, and can only tighten
([policies](policies.md#old-variables)).
"""


def event_of(decision: Decision) -> str | None:
    """The event that RiskGuard would have written for a decision, where it had one."""
    if decision.verdict is BLOCK:
        return DENIED.get(decision.reason)
    return APPROVED


def page() -> str:
    """The whole page."""
    known = {rule.name for rule in RULEBOOK}
    lines = [HEAD, "| RiskGuard denied for | limit here | rules | reasons | event | variable |", "|---" * 6 + "|"]
    for check in CHECKS:
        assert known.issuperset(check.rules), check
        cells = (
            check.denial, check.limit,
            *(", ".join(f"`{name}`" for name in names) for names in (check.rules, check.reasons)),
            f"`{check.event}`" if check.event else "", f"`{check.variable}`" if check.variable else "",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    sys.stdout.write(page())
