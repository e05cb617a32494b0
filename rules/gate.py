"""The gate: walks the rulebook over every instruction of a request and reaches a decision.

It always reaches one. What a rule raises ends as a block; so does whatever goes wrong around the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, getcontext, setcontext

from rules import scaling
from rules.case import Case
from rules.decision import Breach, Decision, Hold, Reason, RuleRun, Verdict
from rules.ess import EssLevel
from rules.facts import FactMissing, Facts, FactStale
from rules.limits import Limits, RiskSource
from rules.order import Instruction, LeverageChange, MarginChange, Order, QuantityCut
from rules.rulebook import RULEBOOK, Rule
from rules.running import NOTHING_EARLIER, Running, hold_of
from rules.scaling import Cap, amount
from rules.sentences import described, sentence

ONE = Decimal(1)
NOTHING = Decimal(0)

ROUNDS_MAX = 4  # how often a scaled order is judged again before it is blocked
INSTRUCTIONS = (Order, QuantityCut, LeverageChange, MarginChange)

# Venue numbers have at most 20 + 20 digits, so a product of three (quantity, price, conversion) fits
# exactly; only divisions round, and what they yield is floored or shown, never compared with equality.
# Set for the length of one call and put back: the context belongs to whoever calls us.
EXACT = Context(prec=120)


@dataclass(slots=True)
class Walk:
    """One walk over the rulebook: what every rule found, and what follows."""

    runs: list[RuleRun] = field(default_factory=list)
    breach: Breach | None = None  # ends the walk
    caps: list[Cap] = field(default_factory=list)  # breaches that a smaller order may cure
    holds: list[Hold | None] = field(default_factory=list)
    reducing: bool = True


def evaluate(
    instructions: Instruction | Sequence[Instruction],
    facts: Facts,
    limits: Limits,
    *,
    rules: Sequence[Rule] = RULEBOOK,
) -> Decision:
    """Judge a request: allow it, scale it down, or block it. Never raises."""
    callers_context = getcontext()
    setcontext(EXACT)
    try:
        asked = (instructions,) if isinstance(instructions, INSTRUCTIONS) else tuple(instructions)
        if not asked or not all(isinstance(instruction, INSTRUCTIONS) for instruction in asked):
            found = ", ".join(type(instruction).__name__ for instruction in asked) or "nothing"
            breach = Breach(Reason.ORDER_NOT_UNDERSTOOD, found, "at least one instruction that the gate knows")
            return _blocked(breach, (), (), facts, limits, reducing=False)
        return _judge(asked, facts, limits, rules)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, no decision was reached: the request is blocked
        breach = Breach(Reason.RULE_FAILED, "gate", None, None, type(error).__name__)
        return _blocked(breach, (), (), facts, limits, reducing=False)
    finally:
        setcontext(callers_context)


def _judge(asked: tuple[Instruction, ...], facts: Facts, limits: Limits, rules: Sequence[Rule]) -> Decision:
    """Walk; where only size is wrong, make it smaller and walk again, until everything holds."""
    candidate = asked
    binding: Cap | None = None
    scaled_runs: tuple[RuleRun, ...] = ()
    for attempt in range(ROUNDS_MAX):
        walk = _walk(candidate, facts, limits, rules, warned=attempt > 0)
        runs = (*scaled_runs, *walk.runs)
        if walk.breach is not None:
            return _blocked(walk.breach, asked, runs, facts, limits, reducing=walk.reducing)
        if not walk.caps:
            return _passed(asked, candidate, binding, walk, runs, facts, limits)
        cap = scaling.tightest(walk.caps)
        binding = binding or cap
        try:
            smaller = scaling.scaled(candidate, cap, facts, limits)
        except (FactMissing, FactStale) as error:
            smaller = _breach_of(error)
        if isinstance(smaller, Breach):
            return _blocked(smaller, asked, runs, facts, limits, reducing=False)
        candidate = smaller
        scaled_runs = (*scaled_runs, *(run for run in walk.runs if run.outcome == "scaled"))
    assert binding is not None
    return _blocked(binding.breach, asked, scaled_runs, facts, limits, reducing=False)


def _walk(
    instructions: tuple[Instruction, ...], facts: Facts, limits: Limits, rules: Sequence[Rule], *, warned: bool
) -> Walk:
    """Judge one instruction after another, each as if those before it had been accepted."""
    walk = Walk()
    last = len(instructions) - 1
    running = NOTHING_EARLIER if last == 0 else Running(instructions=instructions)
    for index, instruction in enumerate(instructions):
        symbol = instruction.symbol
        own_limits = limits.of(symbol) if symbol is not None else limits
        case = Case(instruction, facts, own_limits, running, index=index, warned=warned)
        _walk_rules(walk, case, rules, instructions)
        if walk.breach is not None:
            return walk
        hold = hold_of(case)
        walk.holds.append(hold)
        if index < last:
            facts = running.take(case, hold, facts)
    return walk


def _walk_rules(walk: Walk, case: Case, rules: Sequence[Rule], request: tuple[Instruction, ...]) -> None:
    """Every rule over one instruction, in order; ends at the first breach that no smaller order would cure."""
    kind, index, runs = type(case.instruction), case.index, walk.runs
    spared = _is_spared(case)
    walk.reducing = walk.reducing and spared
    for rule in rules:
        if kind not in rule.applies_to or (spared and rule.spares_reductions):
            runs.append(RuleRun(rule.name, index, "not_applicable", None, None))
            continue
        try:
            finding = rule.check(case)
        except (FactMissing, FactStale) as error:
            finding = _breach_of(error)
        except Exception as error:  # noqa: BLE001 - a rule that raises ends here, and blocks
            finding = Breach(Reason.RULE_FAILED, rule.name, None, None, type(error).__name__)
        if finding is None:
            runs.append(RuleRun(rule.name, index, "not_applicable", None, None))
        elif not isinstance(finding, Breach):
            runs.append(RuleRun(rule.name, index, "within", finding.observed, finding.limit))
        elif (cap := _cap(rule, finding, case, request)) is not None:
            runs.append(RuleRun(rule.name, index, "scaled", finding.observed, finding.limit))
            walk.caps.append(cap)
        else:
            runs.append(RuleRun(rule.name, index, "breach", finding.observed, finding.limit))
            walk.breach = finding
            return


def _is_spared(case: Case) -> bool:
    """The instruction provably only reduces, or only closes what its request opens."""
    try:
        return case.reducing or case.closing
    except Exception:  # noqa: BLE001 - what cannot be proven is not proven; rules that ask again will block
        return False


def _cap(rule: Rule, breach: Breach, case: Case, request: tuple[Instruction, ...]) -> Cap | None:
    """What a scalable breach leaves; None where no smaller order would pass or the request may not be scaled."""
    fits, asked = breach.quantity_max, amount(case.instruction)
    if not rule.scalable or not case.limits.scaling_allowed or fits is None or asked is None:
        return None
    if not NOTHING < fits < asked or not scaling.can_scale(request):
        return None
    return Cap(case.index, rule.name, breach, asked, fits)


def _breach_of(error: FactMissing | FactStale) -> Breach:
    if isinstance(error, FactMissing):
        return Breach(Reason.FACTS_MISSING, error.name, "known")
    return Breach(Reason.FACTS_STALE, f"{error.name}: {described(error.age_s)} s", error.age_max_s)


def _passed(
    asked: tuple[Instruction, ...],
    sent: tuple[Instruction, ...],
    binding: Cap | None,
    walk: Walk,
    runs: tuple[RuleRun, ...],
    facts: Facts,
    limits: Limits,
) -> Decision:
    """An allow, or a scale-down with the breach that bound."""
    quantities = tuple([amount(instruction) for instruction in sent])
    if binding is None:
        verdict, reason, breach, factor = Verdict.ALLOW, Reason.ALL_RISK_CHECKS_PASSED, None, ONE
        text = "All risk checks passed."
    else:
        verdict, breach = Verdict.SCALE_DOWN, binding.breach
        reason = breach.reason
        before, after = amount(asked[binding.at]), quantities[binding.at]
        factor = _smallest_share(asked, quantities)
        text = f"Scaled down from {described(before)} to {described(after)}: {sentence(breach)}"
    return Decision(
        verdict=verdict,
        reason=reason,
        sentence=text,
        breach=breach,
        quantities=quantities,
        scale_factor=factor,
        risk_level=_risk_level(facts, limits),
        ess_active=facts.stop.level != EssLevel.CLEAR,
        timestamp=facts.now,
        policy_revision=limits.policy_revision,
        rules_run=runs,
        reducing=walk.reducing,
        holds=tuple(walk.holds),
    )


def _smallest_share(asked: tuple[Instruction, ...], quantities: tuple[Decimal | None, ...]) -> Decimal:
    shares = [
        after / before
        for before, after in zip(map(amount, asked), quantities, strict=True)
        if before is not None and after is not None
    ]
    return min(shares, default=ONE)


def _blocked(
    breach: Breach,
    asked: tuple[Instruction, ...],
    runs: tuple[RuleRun, ...],
    facts: Facts,
    limits: Limits,
    *,
    reducing: bool,
) -> Decision:
    """A block: nothing is to be sent, so there are no quantities."""
    return Decision(
        verdict=Verdict.BLOCK,
        reason=breach.reason,
        sentence=sentence(breach),
        breach=breach,
        quantities=(None,) * len(asked),
        scale_factor=NOTHING,
        risk_level=_risk_level(facts, limits),
        ess_active=facts.stop.level != EssLevel.CLEAR,
        timestamp=facts.now,
        policy_revision=limits.policy_revision,
        rules_run=runs,
        reducing=reducing,
    )


def _risk_level(facts: Facts, limits: Limits) -> str:
    """The global signal's level as far as it can be believed."""
    if limits.risk_source is RiskSource.NONE:
        return "NONE"
    try:
        return str(Case(_NO_ORDER, facts, limits).risk.level)
    except (FactMissing, FactStale):
        return "UNKNOWN"


_NO_ORDER = LeverageChange(symbol="", leverage=ONE)  # the signal's freshness does not depend on the order
