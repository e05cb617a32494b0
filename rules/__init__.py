"""The pure core: given an order, the facts and the limits, the gate walks the rulebook and reaches a decision.

Nothing here waits, reads a clock, opens a socket or writes a log. Import from here, not from the inside.
"""

from rules.decision import Breach, Decision, Finding, Reason, RuleRun, Verdict, Within
from rules.ess import CLEAR, EssAct, EssLevel, Stop, strictest
from rules.facts import (
    Activity,
    Caller,
    Exposure,
    Fact,
    FactMissing,
    Facts,
    FactStale,
    Filters,
    GlobalRisk,
    Losses,
    Position,
    Price,
    RiskLevel,
    Sides,
    SymbolFacts,
    WorkingOrder,
)
from rules.limits import Ages, Limits, RiskSource
from rules.order import (
    Bucket,
    Instruction,
    LeverageChange,
    MarginChange,
    MarginKind,
    Market,
    Order,
    OrderType,
    QuantityCut,
    Replaced,
    ReplaceMode,
    Side,
)

__all__ = [
    "Activity", "Ages", "Breach", "Bucket", "CLEAR", "Caller", "Decision", "EssAct", "EssLevel", "Exposure",
    "Fact", "FactMissing", "FactStale", "Facts", "Filters", "Finding", "GlobalRisk", "Instruction",
    "LeverageChange", "Limits", "Losses", "MarginChange", "MarginKind", "Market", "Order", "OrderType",
    "Position", "Price", "QuantityCut", "Reason", "Replaced", "ReplaceMode", "RiskLevel", "RiskSource",
    "RuleRun", "Side", "Sides", "Stop", "SymbolFacts", "Verdict", "Within", "WorkingOrder", "strictest",
]
