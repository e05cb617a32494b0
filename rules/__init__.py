"""The pure core: given an order, the facts and the limits, the gate walks the rulebook and reaches a decision.

Nothing here waits, reads a clock, opens a socket or writes a log. Import from here, not from the inside.
"""

from rules.account_sums import AccountSums, Bracket, coin_of
from rules.amounts import written
from rules.case import Case
from rules.decision import Breach, Decision, Finding, Hold, Reason, RuleRun, Tried, Verdict, Within
from rules.directive import Cause, Directive, Governing, GovernorAct, GovernorLevel, Multipliers
from rules.ess import CLEAR, EssAct, EssLevel, Stop, strictest
from rules.exposure import amended_order, closed, placed, side_unproven
from rules.facts import (
    DOLLAR_COINS,
    NO_SIDES,
    Activity,
    Caller,
    Exposure,
    Fact,
    FactMissing,
    Facts,
    FactStale,
    Filters,
    GlobalRisk,
    LossBase,
    Losses,
    Position,
    Price,
    RiskLevel,
    Sides,
    SymbolFacts,
    VarRoom,
    WorkingOrder,
)
from rules.gate import evaluate
from rules.governor import GOVERNED, govern, governed, in_force, sources_governed
from rules.growth import maintenance_of, rests
from rules.headroom import Headroom, RuleHeadroom, headroom
from rules.limits import (
    Ages,
    BySymbol,
    Limits,
    PolicyGap,
    RiskSource,
    asks_for_sums,
    effective,
    effective_with_sources,
    looser,
    no_looser,
)
from rules.losses import Measure, Rung, daily_loss, derisked, drawdown_loss, weekly_loss
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
from rules.permits import approved, liftable, overridden
from rules.record import rows_of
from rules.rulebook import RULEBOOK, Rule
from rules.running import after
from rules.sentences import described, sentence
from rules.utilisation import Level, SymbolUse, Use, utilisation
from rules.values import value_type

__all__ = [
    "rows_of",
    "approved", "liftable", "overridden",
    "Activity", "Ages", "Breach", "Bucket", "CLEAR", "Case", "Caller", "DOLLAR_COINS", "Decision", "EssAct", "EssLevel",
    "Exposure", "Fact", "FactMissing", "FactStale", "Facts", "Filters", "Finding", "GlobalRisk", "Hold", "Instruction",
    "LeverageChange", "Limits", "LossBase", "Losses", "MarginChange", "MarginKind", "Market", "NO_SIDES",
    "Order", "OrderType",
    "Position", "Price", "QuantityCut", "Reason", "Replaced", "ReplaceMode", "RiskLevel", "RiskSource",
    "RULEBOOK", "Rule", "RuleRun", "Side", "Sides", "Stop", "SymbolFacts", "Verdict", "Within", "WorkingOrder",
    "after", "amended_order", "closed", "described", "evaluate", "placed", "sentence", "side_unproven", "strictest",
    "value_type", "written",
    "Measure", "Rung", "daily_loss", "derisked", "drawdown_loss", "weekly_loss",
    "AccountSums", "Bracket", "asks_for_sums", "coin_of", "maintenance_of", "rests",
    "Headroom", "RuleHeadroom", "headroom", "Level", "SymbolUse", "Use", "utilisation",
    "Cause", "Directive", "Governing", "GovernorAct", "GovernorLevel", "Multipliers", "VarRoom", "govern", "governed",
    "GOVERNED", "in_force", "sources_governed",
    "BySymbol", "PolicyGap", "Tried", "effective", "effective_with_sources", "looser", "no_looser",
]
