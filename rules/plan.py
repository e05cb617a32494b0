"""What can be worked out of the rulebook and the limits before an order comes.

For every set of limits, which of the rules have something to say to which kind of instruction: a rule
whose limit is not set is known not to apply without asking it. An installation has a handful of limits
and judges thousands of orders by each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rules.directive import Multipliers
from rules.foresight import spans_of
from rules.governor import governed
from rules.limits import Limits
from rules.order import Instruction
from rules.record import Plan
from rules.rulebook import RULEBOOK, Rule

PREPARED_MAX: Final = 8192  # also for symbols with limits of their own


class Prepared:
    """One set of limits, with the spans and plans that follow from it, each plan worked out when first needed."""

    __slots__ = ("_governed", "_plans", "_spared_plans", "limits", "spans")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.spans = spans_of(limits.ages)
        self._plans: dict[type[Instruction], Plan] = {}
        self._spared_plans: dict[type[Instruction], Plan] = {}
        self._governed: dict[Multipliers, Limits] = {}

    def governed(self, multipliers: Multipliers) -> Limits:
        """The limits as the safety governor leaves them, the same object each time."""
        found = self._governed.get(multipliers)
        if found is None:
            found = self._governed[multipliers] = governed(self.limits, multipliers)
        return found

    def plan(self, kind: type[Instruction], spared: bool) -> Plan:  # noqa: FBT001 - asked for every order
        """The rules of the rulebook to run on a kind of instruction."""
        plans = self._spared_plans if spared else self._plans
        plan = plans.get(kind)
        if plan is None:
            plan = plans[kind] = plan_of(RULEBOOK, kind, self.limits, spared=spared)
        return plan


def plan_of(rules: Sequence[Rule], kind: type[Instruction], limits: Limits, *, spared: bool) -> Plan:
    """The rules, and those of them that have something to say to the instruction under the limits."""
    return Plan(rules, [rule for rule in rules if _concerns(rule, kind, limits, spared=spared)])


def _concerns(rule: Rule, kind: type[Instruction], limits: Limits, *, spared: bool) -> bool:
    if kind not in rule.applies_to or (spared and rule.spares_reductions):
        return False
    return rule.limit is None or getattr(limits, rule.limit) is not None


# By identity, because limits hold mappings and cannot be hashed. An entry keeps its limits alive, so no
# other limits can get the same id while it stands; and limits never change, so it cannot go stale.
_PREPARED: Final[dict[int, Prepared]] = {}


def prepared(limits: Limits) -> Prepared:
    """What was worked out of these very limits before, or the place where it will be kept."""
    found = _PREPARED.get(id(limits))
    if found is not None:
        return found
    if len(_PREPARED) >= PREPARED_MAX:
        _PREPARED.clear()
    found = _PREPARED[id(limits)] = Prepared(limits)
    return found
