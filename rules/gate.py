"""The gate: walks the rulebook over every instruction of a request and reaches a decision.

It always reaches one. What a rule raises ends as a block; so does whatever goes wrong around the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, getcontext, setcontext

from rules import scaling
from rules.case import Case, believable
from rules.decision import Breach, Decision, Finding, Hold, Reason, Verdict
from rules.ess import EssLevel
from rules.facts import FactMissing, Facts, FactStale
from rules.limits import Limits, RiskSource
from rules.order import Instruction, LeverageChange, MarginChange, Order, QuantityCut
from rules.record import Plan, Runs, Stretch
from rules.rulebook import RULEBOOK, Rule
from rules.running import NOTHING_EARLIER, Running, hold_of
from rules.scaling import Cap, amount
from rules.sentences import described, sentence

ONE = Decimal(1)
NOTHING = Decimal(0)

ROUNDS_MAX = 4  # how often a scaled order is judged again before it is blocked
KINDS_IN_ORDER = (Order, QuantityCut, LeverageChange, MarginChange)
KINDS: frozenset[type] = frozenset(KINDS_IN_ORDER)
CLEAR = EssLevel.CLEAR
NO_SIGNAL = RiskSource.NONE

# Venue numbers have at most 20 + 20 digits, so a product of three (quantity, price, conversion) fits
# exactly; only divisions round, and what they yield is floored or shown, never compared with equality.
# Set for the length of one call and put back: the context belongs to whoever calls us.
EXACT = Context(prec=120)

NO_RUNS = Runs(())


@dataclass(slots=True)
class Walk:
    """One walk over the rulebook: what every rule found, and what follows."""

    stretches: list[Stretch] = field(default_factory=list)
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
        asked = (instructions,) if isinstance(instructions, KINDS_IN_ORDER) else tuple(instructions)
        if not asked or not KINDS.issuperset(map(type, asked)):
            found = ", ".join(type(instruction).__name__ for instruction in asked) or "nothing"
            breach = Breach(Reason.ORDER_NOT_UNDERSTOOD, found, "at least one instruction that the gate knows")
            return _blocked(breach, (), NO_RUNS, facts, limits, reducing=False)
        return _judge(asked, facts, limits, rules)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, no decision was reached: the request is blocked
        breach = Breach(Reason.RULE_FAILED, "gate", None, None, type(error).__name__)
        return _blocked(breach, (), NO_RUNS, facts, limits, reducing=False)
    finally:
        setcontext(callers_context)


def _judge(asked: tuple[Instruction, ...], facts: Facts, limits: Limits, rules: Sequence[Rule]) -> Decision:
    """Walk; where only size is wrong, make it smaller and walk again, until everything holds."""
    candidate = asked
    binding: Cap | None = None
    scaled: tuple[Stretch, ...] = ()
    for attempt in range(ROUNDS_MAX):
        walk = _walk(candidate, facts, limits, rules, warned=attempt > 0)
        runs = Runs((*scaled, *walk.stretches), walk.breach)
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
        scaled = (*scaled, *(stretch.only_scaled() for stretch in walk.stretches))
    assert binding is not None
    return _blocked(binding.breach, asked, Runs(scaled), facts, limits, reducing=False)


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
    spared = _is_spared(case)
    walk.reducing = walk.reducing and spared
    plan = _plan(rules, type(case.instruction), spared=spared)
    found: list[Finding] = []
    walk.stretches.append(Stretch(case.index, plan, found))
    for rule, check in plan:
        if check is None:
            found.append(None)
            continue
        try:
            finding = check(case)
        except (FactMissing, FactStale) as error:
            finding = _breach_of(error)
        except Exception as error:  # noqa: BLE001 - a rule that raises ends here, and blocks
            finding = Breach(Reason.RULE_FAILED, rule.name, None, None, type(error).__name__)
        if finding is None or type(finding) is tuple:
            found.append(finding)
            continue
        if not isinstance(finding, Breach):
            finding = Breach(Reason.RULE_FAILED, rule.name, None, None, f"answered {type(finding).__name__}")
        found.append(finding)
        cap = _cap(rule, finding, case, request)
        if cap is None:
            walk.breach = finding
            return
        walk.caps.append(cap)


def _plan(rules: Sequence[Rule], kind: type[Instruction], *, spared: bool) -> Plan:
    """Every rule with the check to run, None where the rule does not concern the instruction."""
    if rules is RULEBOOK:
        return PLANS[kind, spared]
    return plan_of(rules, kind, spared=spared)


def plan_of(rules: Sequence[Rule], kind: type[Instruction], *, spared: bool) -> Plan:
    """The same, worked out."""
    return tuple(
        (rule, None if kind not in rule.applies_to or (spared and rule.spares_reductions) else rule.check)
        for rule in rules
    )


PLANS: dict[tuple[type[Instruction], bool], Plan] = {
    (kind, spared): plan_of(RULEBOOK, kind, spared=spared) for kind in KINDS_IN_ORDER for spared in (False, True)
}


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
    runs: Runs,
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
        ess_active=facts.stop.level != CLEAR,
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
    runs: Runs,
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
        ess_active=facts.stop.level != CLEAR,
        timestamp=facts.now,
        policy_revision=limits.policy_revision,
        rules_run=runs,
        reducing=reducing,
    )


def _risk_level(facts: Facts, limits: Limits) -> str:
    """The global signal's level as far as it can be believed."""
    if limits.risk_source is NO_SIGNAL:
        return "NONE"
    signal = facts.risk
    if signal is None or not believable(facts.now - signal.as_of, limits.ages.risk_s):
        return "UNKNOWN"
    return str(signal.value.level)
