"""Value at risk: an order may be as large as keeps its account inside its VaR and ES limits.

Asked only where the account's policy scales `by_var`. How bad days could be is worked out beside the path of
orders; here stands what is left of it (`VarRoom`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rules import exposure
from rules.case import Case
from rules.decision import Breach, Finding, Reason
from rules.facts import FactMissing

NOTHING: Final = Decimal(0)


def incremental(case: Case) -> Finding:
    """With an order and all that waits filled, the account's VaR and ES may not pass their limits."""
    if case.limits.scaling_by_var is None:
        return None
    room, added = case.facts.var, case.added
    if room is None:
        raise FactMissing("value_at_risk")
    equity = case.equity  # the limits are shares of it: an old one is none
    if added <= NOTHING:
        return added, equity
    order = case.order
    fits = room.largest_quantity(order.market, order.symbol, order.side, added)
    if fits is None:
        raise FactMissing("value_at_risk")
    if fits >= added:
        return added, added
    return Breach(
        Reason.VALUE_AT_RISK_EXCEEDS_LIMIT, added, fits, exposure.in_order_units(case, case.covered + fits)
    )
