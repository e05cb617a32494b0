"""What can be worked out of the rulebook and the limits before an order comes.

For every set of limits, which of the rules have something to say to which kind of instruction: a rule
whose limit is not set is known not to apply without asking it. An installation has a handful of limits
and judges thousands of orders by each.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from rules.case import span
from rules.limits import Limits
from rules.order import Instruction
from rules.record import Plan
from rules.rulebook import RULEBOOK, Rule

PREPARED_MAX = 1024


class Spans(NamedTuple):
    """The oldest that facts may be, as time spans."""

    price: timedelta
    account: timedelta
    leverage: timedelta
    risk: timedelta


class Prepared:
    """One set of limits, with the plans and spans that follow from it, each worked out when first needed."""

    __slots__ = ("_plans", "_spans", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._plans: dict[tuple[type[Instruction], bool], Plan] = {}
        self._spans: Spans | None = None

    def plan(self, kind: type[Instruction], *, spared: bool) -> Plan:
        """Every rule of the rulebook with the check to run on a kind of instruction."""
        plan = self._plans.get((kind, spared))
        if plan is None:
            plan = self._plans[kind, spared] = plan_of(RULEBOOK, kind, self.limits, spared=spared)
        return plan

    @property
    def spans(self) -> Spans:
        """The maximum ages of facts; raises if the limits state no sensible number."""
        if self._spans is None:
            ages = self.limits.ages
            self._spans = Spans(span(ages.price_s), span(ages.account_s), span(ages.leverage_s), span(ages.risk_s))
        return self._spans


def plan_of(rules: Sequence[Rule], kind: type[Instruction], limits: Limits, *, spared: bool) -> Plan:
    """Every rule with the check to run, None where it has nothing to say to the instruction under the limits."""
    return tuple((rule, rule.check if _concerns(rule, kind, limits, spared=spared) else None) for rule in rules)


def _concerns(rule: Rule, kind: type[Instruction], limits: Limits, *, spared: bool) -> bool:
    if kind not in rule.applies_to or (spared and rule.spares_reductions):
        return False
    return rule.limit is None or getattr(limits, rule.limit) is not None


# By identity, because limits hold mappings and cannot be hashed. An entry keeps its limits alive, so no
# other limits can get the same id while it stands; and limits never change, so it cannot go stale.
_PREPARED: dict[int, Prepared] = {}


def prepared(limits: Limits) -> Prepared:
    """What was worked out of these very limits before, or the place where it will be kept."""
    found = _PREPARED.get(id(limits))
    if found is not None:
        return found
    if len(_PREPARED) >= PREPARED_MAX:
        _PREPARED.clear()
    found = _PREPARED[id(limits)] = Prepared(limits)
    return found
