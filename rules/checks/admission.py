"""Who may trade what, and how sure they must be."""

from __future__ import annotations

from rules.case import Case
from rules.decision import Breach, Finding, Reason


def strategy(case: Case) -> Finding:
    """A strategy must be on the account's list, where there is one; an empty list admits none."""
    listed, name = case.limits.strategies, case.facts.caller.strategy
    if listed is None:
        return None
    if name not in listed:
        return Breach(Reason.STRATEGY_NOT_ALLOWED, name, listed)
    return name, listed


def symbol(case: Case) -> Finding:
    """A symbol must be on the list, where there is one; an empty list admits none."""
    listed, name = case.limits.symbols, case.instruction.symbol
    if listed is None or name is None:  # a margin setting may concern the whole account
        return None
    if name not in listed:
        return Breach(Reason.SYMBOL_NOT_ALLOWED, name, listed)
    return name, listed


def strategy_blocked(case: Case) -> Finding:
    """A strategy on the list of blocked ones opens nothing, whoever else allows it."""
    listed, name = case.limits.strategies_blocked, case.facts.caller.strategy
    if listed is None:
        return None
    if name in listed:
        return Breach(Reason.STRATEGY_BLOCKED, name, listed)
    return name, listed


def symbol_blocked(case: Case) -> Finding:
    """A symbol on the list of blocked ones is not opened, whoever else allows it."""
    listed, name = case.limits.symbols_blocked, case.instruction.symbol
    if listed is None or name is None:
        return None
    if name in listed:
        return Breach(Reason.SYMBOL_BLOCKED, name, listed)
    return name, listed


def rank(case: Case) -> Finding:
    """A symbol must be ranked at or above the minimum, where there is one; without a rank it is not."""
    lowest, name = case.limits.rank_min, case.instruction.symbol
    if lowest is None or name is None:
        return None
    found = case.limits.ranks.get(name)
    if found is None or found < lowest:
        return Breach(Reason.RANK_BELOW_MINIMUM, found, lowest, None, name)
    return found, lowest


def confidence(case: Case) -> Finding:
    """A caller who states a confidence, or must, may open only at or above the minimum."""
    limits, stated = case.limits, case.facts.caller.confidence
    if stated is None:
        if limits.confidence_required:
            return Breach(Reason.CONFIDENCE_MISSING, None, limits.confidence_min)
        return None
    if limits.confidence_min is None:
        return None
    if stated < limits.confidence_min:
        return Breach(Reason.CONFIDENCE_BELOW_MINIMUM, stated, limits.confidence_min)
    return stated, limits.confidence_min
