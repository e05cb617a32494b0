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
from rules.exposure import misfit, placed
from rules.facts import FactMissing, Facts, FactStale
from rules.foresight import foresee
from rules.limits import Limits, RiskSource
from rules.order import Instruction, LeverageChange, MarginChange, Order, QuantityCut
from rules.plan import Prepared, plan_of, prepared
from rules.record import Runs, Stretch
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
    cases: list[Case] = field(default_factory=list)
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
    asked, odd = _placed(asked, facts)
    if odd is not None:
        return _blocked(odd, asked, NO_RUNS, facts, limits, reducing=False)
    candidate = asked
    binding: Cap | None = None
    scaled: tuple[Stretch, ...] = ()
    notionals: tuple[Decimal | None, ...] = ()
    for attempt in range(ROUNDS_MAX):
        walk = _walk(candidate, facts, limits, rules, warned=attempt > 0)
        runs = Runs((*scaled, *walk.stretches), walk.breach)
        if attempt == 0:
            notionals = _notionals(asked, walk.cases, facts, limits)
        if walk.breach is not None:
            return _blocked(walk.breach, asked, runs, facts, limits, reducing=walk.reducing, notionals=notionals)
        if not walk.caps:
            return _passed(asked, candidate, binding, walk, runs, facts, limits, notionals)
        cap = scaling.tightest(walk.caps)
        binding = binding or cap
        try:
            smaller = scaling.scaled(candidate, cap, facts, limits)
        except (FactMissing, FactStale) as error:
            smaller = _breach_of(error)
        if isinstance(smaller, Breach):
            return _blocked(smaller, asked, runs, facts, limits, reducing=False, notionals=notionals)
        candidate = smaller
        scaled = (*scaled, *(stretch.only_scaled() for stretch in walk.stretches))
    assert binding is not None
    return _blocked(binding.breach, asked, Runs(scaled), facts, limits, reducing=False, notionals=notionals)


def _placed(
    asked: tuple[Instruction, ...], facts: Facts
) -> tuple[tuple[Instruction, ...], Breach | None]:
    """Every amendment on the position of the order that it amends; or why one of them cannot be judged."""
    for leg in asked:
        if type(leg) is Order and leg.replaces is not None:
            break
    else:
        return asked, None
    found = tuple([placed(leg, facts.of(leg.symbol)) if isinstance(leg, Order) else leg for leg in asked])
    odd = (misfit(leg, facts) for leg in found if isinstance(leg, Order))
    return found, next((breach for breach in odd if breach is not None), None)


def _notionals(
    asked: tuple[Instruction, ...], judged: Sequence[Case], facts: Facts, limits: Limits
) -> tuple[Decimal | None, ...]:
    """What every instruction is worth as it was asked for, also those that the walk did not get to."""
    cases = list(judged)
    for index in range(len(cases), len(asked)):
        instruction = asked[index]
        cases.append(Case(instruction, facts, limits.of(instruction.symbol or ""), index=index))
    return tuple([_notional(case) for case in cases])


def _notional(case: Case) -> Decimal | None:
    if type(case.instruction) is not Order:
        return None
    try:
        return case.notional
    except Exception:  # noqa: BLE001 - it is only shown: what cannot be told is left out of the record
        return None


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
        walk.cases.append(case)
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
    kind = type(case.instruction)
    spared = _is_spared(case)
    walk.reducing = walk.reducing and spared
    ready = prepared(case.limits)
    if kind is Order and not spared:
        _foresee(case, ready)
    if rules is RULEBOOK:
        plan = ready.plan(kind, spared=spared)
    else:
        plan = plan_of(rules, kind, case.limits, spared=spared)
    found: list[Finding] = []
    keep = found.append
    walk.stretches.append(Stretch(case.index, plan, found))
    for rule, check in plan:
        if check is None:
            keep(None)
            continue
        try:
            finding = check(case)
        except (FactMissing, FactStale) as error:
            finding = _breach_of(error)
        except Exception as error:  # noqa: BLE001 - a rule that raises ends here, and blocks
            finding = Breach(Reason.RULE_FAILED, rule.name, None, None, type(error).__name__)
        if type(finding) is tuple or finding is None:
            keep(finding)
            continue
        if not isinstance(finding, Breach):
            finding = Breach(Reason.RULE_FAILED, rule.name, None, None, f"answered {type(finding).__name__}")
        keep(finding)
        cap = _cap(rule, finding, case, request)
        if cap is None:
            walk.breach = finding
            return
        walk.caps.append(cap)


def _foresee(case: Case, ready: Prepared) -> None:
    """Work out what can be, in one go."""
    try:
        foresee(case, ready.spans)
    except Exception:  # noqa: BLE001 - an odd number; the rule that asks for it meets it by itself, and blocks
        return


def _is_spared(case: Case) -> bool:
    """The instruction provably only reduces, or only closes what its request opens."""
    try:
        # Only an order that waits for another one's fill can close it; most need not be asked.
        return case.reducing or (bool(case.earlier.cases) and case.closing)
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
    notionals: tuple[Decimal | None, ...],
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
        notionals=notionals,
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
    notionals: tuple[Decimal | None, ...] = (),
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
        notionals=notionals,
    )


def _risk_level(facts: Facts, limits: Limits) -> str:
    """The global signal's level as far as it can be believed."""
    if limits.risk_source is NO_SIGNAL:
        return "NONE"
    signal = facts.risk
    if signal is None or not believable(facts.now - signal.as_of, limits.ages.risk_s):
        return "UNKNOWN"
    return str(signal.value.level)
