"""The policy file that `riskgate init` writes: the built-in values, explained, for a first account."""

from __future__ import annotations

POLICY_TEXT = """\
# Who may do what. This file seeds the policy store; afterwards the store holds the policy, and
# `riskgate policy apply policy.yaml --reason ...` puts a changed file in its place.
# Every limit that applies is the tightest of risk mode, capital profile, account, strategy and symbol.
# Shares of equity carry their unit ("1.5%"); money is in the account's currency.

active_mode: NORMAL            # NORMAL, DEFENSIVE or AGGRESSIVE_SMALL_ACCOUNT

accounts:
  main:
    # micro, low, normal or aggressive. micro admits 1x, and orders of 0.2% of equity: 20 of 10000, which is under
    # the exchange's minimum for some symbols. `riskgate check` says what it comes to.
    capital_profile: micro
    strategies: any            # any, or a list; an empty list admits none
    symbols: [BTCUSDT, ETHUSDT]
    scaling: "off"             # allowed: too large an order is sent smaller instead of being blocked
    # loss_daily_max: "0.4%"
    # drawdown_max: "10%"      # from the account's highest equity
    price:
      collar_up: "5%"          # how far above the reference a buy may be priced
      collar_down: "5%"        # how far below it a sell may be
    rate:
      order_rate_max: 50       # orders in 10 seconds
    # by_symbol:
    #   BTCUSDT:
    #     size:
    #       order_quantity_max: "0.05"

risk_source:
  kind: required               # without a fresh global risk signal new exposure is blocked; none: it binds nobody

# risk_limits:                 # what the whole book is measured against; docs/global-risk.md lists them all
#   leverage_max: "5"
#   var_99_max: "20%"          # of the equity of all accounts
"""


def policy_text() -> str:
    """The starter policy as YAML."""
    return POLICY_TEXT
