"""The gate: walks the rulebook over every instruction of a request and reaches a decision.

It always reaches one. What a rule raises ends as a block; so does whatever goes wrong around the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal, getcontext, setcontext
from typing import Final

from rules import scaling
from rules.case import FUTURE_MAX, Asking, Case, Foreseen
from rules.decision import Breach, Decision, Finding, Hold, Reason, Tried, Verdict
from rules.ess import EssLevel
from rules.exposure import misfit, placed
from rules.facts import FactMissing, Facts, FactStale
from rules.foresight import foresee
from rules.limits import Limits, RiskSource
from rules.order import Instruction, LeverageChange, MarginChange, Order, QuantityCut
from rules.plan import Prepared, plan_of, prepared
from rules.record import Plan, Runs, Stretch
from rules.rulebook import RULEBOOK, Rule
from rules.running import NOTHING_EARLIER, Running, hold_of
from rules.scaling import Cap, amount
from rules.sentences import described, sentence

_NEW: Final = tuple.__new__  # a NamedTuple's own constructor costs three times as much
ONE: Final = Decimal(1)
NOTHING: Final = Decimal(0)

ROUNDS_MAX: Final = 4  # how often a scaled order is judged again before it is blocked
KINDS_IN_ORDER = (Order, QuantityCut, LeverageChange, MarginChange)
KINDS: Final[frozenset[type]] = frozenset(KINDS_IN_ORDER)
# Members looked up once: on an enumeration class a look-up costs more than a rule.
ALLOW: Final = Verdict.ALLOW
SCALE_DOWN: Final = Verdict.SCALE_DOWN
PASSED: Final = Reason.ALL_RISK_CHECKS_PASSED
WARNED: Final = Reason.GLOBAL_RISK_WARNING
CLEAR: Final = EssLevel.CLEAR
NO_SIGNAL: Final = RiskSource.NONE

# Venue numbers have at most 20 + 20 digits, so a product of three (quantity, price, conversion) fits
# exactly; only divisions round, and what they yield is floored or shown, never compared with equality.
# Set for the length of one call and put back: the context belongs to whoever calls us.
EXACT: Final = Context(prec=120)

HELD: Final = frozenset({tuple, type(None)})  # how a rule answers that held, or did not apply

NO_RUNS: Final = Runs(())


class Walk:
    """One walk over the rulebook: what every rule found, and what follows."""

    __slots__ = ("breach", "caps", "holds", "notionals", "reducing", "stretches")

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.breach: Breach | None = None  # ends the walk
        self.caps: list[Cap] = []  # breaches that a smaller order may cure
        self.notionals: list[Decimal | None] = []
        self.holds: list[Hold | None] = []
        self.reducing = True


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
        if asked and KINDS.issuperset(map(type, asked)):
            decision = _judge(asked, facts, limits, rules)
            if limits.shadow is not None:
                return _tried(decision, asked, facts, limits.shadow, rules)
            return decision
        found = ", ".join([type(instruction).__name__ for instruction in asked]) or "nothing"
        breach = Breach(Reason.ORDER_NOT_UNDERSTOOD, found, "at least one instruction that the gate knows")
        return _blocked(breach, (), NO_RUNS, facts, limits, reducing=False)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, no decision was reached: the request is blocked
        breach = Breach(Reason.RULE_FAILED, "gate", None, None, type(error).__name__)
        return _blocked(breach, (), NO_RUNS, facts, limits, reducing=False)
    finally:
        setcontext(callers_context)


def _tried(
    decision: Decision, asked: tuple[Instruction, ...], facts: Facts, shadow: Limits, rules: Sequence[Rule]
) -> Decision:
    """The decision, with what limits that are only tried would have made of it, where that is something else."""
    if decision.verdict is Verdict.BLOCK:
        return decision
    try:
        found = _judge(asked, facts, shadow, rules)
    except Exception as error:  # noqa: BLE001 - a trial binds nobody: that it failed is what is told of it
        failed = f"The trial failed: {type(error).__name__}."
        return decision._replace(tried=Tried(Verdict.BLOCK, Reason.RULE_FAILED, failed))
    if (found.verdict, found.quantities) == (decision.verdict, decision.quantities):
        return decision
    return decision._replace(tried=Tried(found.verdict, found.reason, found.sentence))


def _judge(asked: tuple[Instruction, ...], facts: Facts, limits: Limits, rules: Sequence[Rule]) -> Decision:
    """Walk; most requests hold to every rule at once."""
    for leg in asked:
        if type(leg) is Order and leg.replaces is not None:
            asked, odd = _placed(asked, facts)
            if odd is not None:
                return _blocked(odd, asked, NO_RUNS, facts, limits, reducing=False)
            break
    ready = prepared(limits)
    if limits.governor is not None and facts.governor is not None:
        # Without a directive its rule blocks; here it only multiplies.
        limits = ready.governed(facts.governor.value.multipliers)
        ready = prepared(limits)
    walk = _walk(asked, facts, ready, rules, warned=False)
    notionals = tuple(walk.notionals)
    if walk.breach is None and not walk.caps:
        return _passed(asked, asked, None, walk, Runs(walk.stretches), facts, ready, notionals)
    notionals += _notionals_of_rest(asked[len(notionals):], facts, limits)
    return _cured(asked, walk, facts, ready, rules, notionals)


def _cured(
    asked: tuple[Instruction, ...],
    walk: Walk,
    facts: Facts,
    ready: Prepared,
    rules: Sequence[Rule],
    notionals: tuple[Decimal | None, ...],
) -> Decision:
    """Where only size is wrong, made smaller and walked again, until everything holds; else blocked."""
    candidate, limits = asked, ready.limits
    binding: Cap | None = None
    scaled: tuple[Stretch, ...] = ()
    for _ in range(ROUNDS_MAX):
        runs = Runs((*scaled, *walk.stretches), walk.breach)
        if walk.breach is not None:
            return _blocked(walk.breach, asked, runs, facts, limits, reducing=walk.reducing, notionals=notionals)
        if not walk.caps:
            return _passed(asked, candidate, binding, walk, runs, facts, ready, notionals)
        cap = scaling.tightest(walk.caps)
        binding = binding or cap
        try:
            smaller = scaling.scaled(candidate, cap, facts, limits)
        except (FactMissing, FactStale) as error:
            smaller = _breach_of(error)
        if isinstance(smaller, Breach):
            return _blocked(smaller, asked, runs, facts, limits, reducing=False, notionals=notionals)
        candidate = smaller
        scaled = (*scaled, *[stretch.only_scaled() for stretch in walk.stretches])
        walk = _walk(candidate, facts, ready, rules, warned=True)
    assert binding is not None
    return _blocked(binding.breach, asked, Runs(scaled), facts, limits, reducing=False, notionals=notionals)


def _placed(
    asked: tuple[Instruction, ...], facts: Facts
) -> tuple[tuple[Instruction, ...], Breach | None]:
    """Every amendment on the position of the order that it amends; or why one of them cannot be judged."""
    found = tuple([placed(leg, facts.of(leg.symbol)) if isinstance(leg, Order) else leg for leg in asked])
    odd = (misfit(leg, facts) for leg in found if isinstance(leg, Order))
    return found, next((breach for breach in odd if breach is not None), None)


def _notionals_of_rest(
    unjudged: tuple[Instruction, ...], facts: Facts, limits: Limits
) -> tuple[Decimal | None, ...]:
    """What the instructions are worth that the walk did not get to."""
    return tuple([_notional(Asking(leg, facts, limits.of(leg.symbol or ""))) for leg in unjudged])


def _notional(case: Asking) -> Decimal | None:
    """What an instruction is worth as it was asked for."""
    if type(case.instruction) is not Order:
        return None
    try:
        return case.notional
    except Exception:  # noqa: BLE001 - it is only shown: what cannot be told is left out of the record
        return None


def _walk(
    instructions: tuple[Instruction, ...], facts: Facts, ready: Prepared, rules: Sequence[Rule], *, warned: bool
) -> Walk:
    """Judge one instruction after another, each as if those before it had been accepted."""
    walk, limits = Walk(), ready.limits
    last = len(instructions) - 1
    running = Running(instructions=instructions) if last else NOTHING_EARLIER
    for index, instruction in enumerate(instructions):
        own = prepared(limits.of(instruction.symbol or "")) if limits.by_symbol else ready
        case: Case | None = None
        if isinstance(instruction, Order):
            try:
                case = foresee(instruction, facts, own.limits, own.spans, running, index, warned)
            except Exception:  # noqa: BLE001 - an odd number; the rule that asks for it meets it by itself, and blocks
                case = None
        if case is None:
            case = Asking(instruction, facts, own.limits, running, index=index, warned=warned)
            spared = _is_spared(case)
            walk.notionals.append(_notional(case))
        else:
            spared = case.reducing
            walk.notionals.append(case.notional)
        walk.reducing = walk.reducing and spared
        kind = type(instruction)
        plan = own.plan(kind, spared) if rules is RULEBOOK else plan_of(rules, kind, own.limits, spared=spared)
        found = _findings(plan, case)
        walk.stretches.append(Stretch(index, plan, found))
        if not HELD.issuperset(map(type, found)):
            _break(walk, case, plan, found, instructions)
            if walk.breach is not None:
                return walk
        hold = hold_of(case)
        walk.holds.append(hold)
        if index < last:
            facts = running.take(case.asking() if isinstance(case, Foreseen) else case, hold, facts)
    return walk


def _findings(plan: Plan, case: Case) -> list[Finding]:
    """What every rule finds. Where one raises they are asked singly, about the case that says what is missing."""
    try:
        return [check(case) for check in plan.checks]
    except Exception:  # noqa: BLE001 - each rule is asked again, and the one that raised blocks
        asking = case.asking() if isinstance(case, Foreseen) else case
        return [_finding(rule, asking) for rule in plan.asked]


def _finding(rule: Rule, case: Asking) -> Finding:
    """What one rule finds; what it raises is a breach."""
    try:
        return rule.check(case)
    except (FactMissing, FactStale) as unknown:
        return _breach_of(unknown)
    except Exception as error:  # noqa: BLE001 - a rule that raises ends here, and blocks
        return Breach(Reason.RULE_FAILED, rule.name, None, None, type(error).__name__)


def _break(
    walk: Walk, case: Case, plan: Plan, found: list[Finding], request: tuple[Instruction, ...]
) -> None:
    """The breaches among the findings; what follows the first that no smaller order would cure is left out."""
    for place, finding in enumerate(found):
        if type(finding) is tuple or finding is None:
            continue
        rule = plan.asked[place]
        if not isinstance(finding, Breach):
            finding = Breach(Reason.RULE_FAILED, rule.name, None, None, f"answered {type(finding).__name__}")
            found[place] = finding
        if rule.after_scaling and walk.caps:
            found[place] = None  # asked again about the smaller order
            continue
        cap = _cap(rule, finding, case, request)
        if cap is None:
            walk.breach = finding
            del found[place + 1:]
            return
        walk.caps.append(cap)


def _is_spared(case: Asking) -> bool:
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
    if rule.limit in case.limits.never_scaled:
        return None
    if not NOTHING < fits < asked or not scaling.can_scale(request):
        return None
    factor = case.limits.scaling_factor
    if factor is not None and breach.reason is not WARNED:
        # One step down, and only where that is enough: what was made smaller once is not made smaller again.
        if case.warned or asked * factor > fits:
            return None
        fits = asked * factor
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
    ready: Prepared,
    notionals: tuple[Decimal | None, ...],
) -> Decision:
    """An allow, or a scale-down with the breach that bound."""
    quantities = tuple([amount(instruction) for instruction in sent])
    if binding is None:
        verdict, reason, breach, factor = ALLOW, PASSED, None, ONE
        text = "All risk checks passed."
    else:
        verdict, breach = SCALE_DOWN, binding.breach
        reason = breach.reason
        before, after = amount(asked[binding.at]), quantities[binding.at]
        factor = _smallest_share(asked, quantities)
        text = f"Scaled down from {described(before)} to {described(after)}: {sentence(breach)}"
    return _NEW(Decision, (  # in the order of its fields: by name it takes three times as long
        verdict, reason, text, breach, quantities, factor, _risk_level(facts, ready), facts.stop.level is not CLEAR,
        facts.now, ready.limits.policy_revision, runs, walk.reducing, tuple(walk.holds), notionals,
        None, ready.limits.limits_off,
    ))


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
        risk_level=_risk_level(facts, prepared(limits)),
        ess_active=facts.stop.level != CLEAR,
        timestamp=facts.now,
        policy_revision=limits.policy_revision,
        rules_run=runs,
        reducing=reducing,
        notionals=notionals,
        limits_off=limits.limits_off,
    )


def _risk_level(facts: Facts, ready: Prepared) -> str:
    """The global signal's level as far as it can be believed."""
    if ready.limits.risk_source is NO_SIGNAL:
        return "NONE"
    signal = facts.risk
    if signal is None or not FUTURE_MAX <= facts.now - signal.as_of <= ready.spans.risk:
        return "UNKNOWN"
    return str(signal.value.level)
