"""How large an order could be now: the largest size that the gate itself lets pass, and which rule stops the next one.

Nothing is worked out apart: the gate is asked about sizes until it is clear where it turns. What a rule says
would have fitted is only where the search begins. A size that passes passes with every smaller one, so there
is one such place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple

from rules import scaling
from rules.case import believable, seconds
from rules.decision import Breach, Verdict
from rules.facts import FactMissing, Facts, FactStale, Filters
from rules.gate import evaluate
from rules.limits import Limits
from rules.order import Order
from rules.plan import plan_of
from rules.rulebook import RULEBOOK, Rule

NOTHING: Final = Decimal(0)
STEPS_MAX: Final = 10**15  # where a venue names no largest order, as many steps count as without bound
KEPT_MAX: Final = 256

Judge = Callable[[int], Breach | None]


class RuleHeadroom(NamedTuple):
    """What one rule alone leaves; `quantity` is None where it bounds nothing."""

    rule: str
    quantity: Decimal | None
    breach: Breach | None  # of one step more


class Headroom(NamedTuple):
    """The largest quantity that passes every rule, on the venue's step; nothing where none does.

    `binding` is the rule that stops one step more, None where only the venue's own maximum does. Below
    `quantity_min` the venue takes no order, whatever the gate says. With `unbounded` there is no maximum at all.
    """

    quantity: Decimal
    binding: str | None
    breach: Breach | None
    step: Decimal
    quantity_min: Decimal
    unbounded: bool
    rules: tuple[RuleHeadroom, ...]


def headroom(order: Order, facts: Facts, limits: Limits) -> Headroom:
    """Ask the gate how large this order could be; its own quantity does not matter.

    Scaling is left out: what is asked for is what would be sent whole. Raises FactMissing or FactStale where
    the venue's steps are not known, since then no size is.
    """
    if order.quantity is None:
        raise ValueError("headroom is asked for an order with a quantity in base units")
    filters = _filters(order, facts, limits)
    step, top, unbounded = _sizes(order, filters)
    whole = _whole(limits.of(order.symbol))

    def within(rules: Sequence[Rule]) -> tuple[int, Breach | None]:
        return _largest(_judge(order, step, facts, whole, rules), top, step)

    largest, breach = within(RULEBOOK)
    found = []
    for rule in plan_of(RULEBOOK, Order, whole, spared=False).asked:
        count, stops = within((rule,))
        found.append(RuleHeadroom(rule.name, None if stops is None else step * count, stops))
    # The first breach wins: of the rules that stop one step more, the first in the rulebook.
    stopping = (one.rule for one in found if one.quantity is not None and one.quantity <= step * largest)
    return Headroom(
        quantity=step * largest,
        binding=None if breach is None else next(stopping, None),
        breach=breach,
        step=step,
        quantity_min=scaling.quantity_min(order, filters),
        unbounded=breach is None and unbounded,
        rules=tuple(found),
    )


# By identity, because limits cannot be hashed; an entry keeps its limits alive. Made anew for every question, they
# would drive what the gate has prepared for its own limits out of its memory.
_WHOLE: Final[dict[int, tuple[Limits, Limits]]] = {}


def _whole(limits: Limits) -> Limits:
    """The same limits for this one symbol, under which nothing is scaled."""
    found = _WHOLE.get(id(limits))
    if found is None:
        if len(_WHOLE) >= KEPT_MAX:
            _WHOLE.clear()
        found = _WHOLE[id(limits)] = limits, replace(limits, scaling_allowed=False, by_symbol={})
    return found[1]


def _filters(order: Order, facts: Facts, limits: Limits) -> Filters:
    known, age_max_s = facts.of(order.symbol).filters, limits.ages.filters_s
    if known is None:
        raise FactMissing("filters")
    age = facts.now - known.as_of
    if not believable(age, age_max_s):
        raise FactStale("filters", seconds(age), age_max_s)
    return known.value


def _sizes(order: Order, filters: Filters) -> tuple[Decimal, int, bool]:
    """The step, how many of them the venue takes at most, and whether it names no maximum."""
    step = scaling.quantity_step(order, filters)
    if step <= NOTHING:
        raise FactMissing("quantity_step")
    highest = filters.quantity_max
    if order.type in scaling.AT_MARKET and filters.market_quantity_max is not None:
        highest = filters.market_quantity_max if highest is None else min(highest, filters.market_quantity_max)
    return (step, STEPS_MAX, True) if highest is None else (step, int(highest // step), False)


def _judge(order: Order, step: Decimal, facts: Facts, limits: Limits, rules: Sequence[Rule]) -> Judge:
    def judge(steps: int) -> Breach | None:
        decision = evaluate(replace(order, quantity=step * steps), facts, limits, rules=rules)
        return None if decision.verdict is Verdict.ALLOW else decision.breach

    return judge


def _largest(judge: Judge, top: int, step: Decimal) -> tuple[int, Breach | None]:
    """The most steps that pass, and the breach of one more; no breach where all of them pass."""
    breach = judge(top) if top > 0 else None
    if breach is None:
        return max(top, 0), None
    low, high = 0, top  # `low` passes, `high` does not
    guess: int | None = _fitting(breach, step)
    while high - low > 1:
        middle = guess if guess is not None and low < guess < high else (low + high) // 2
        found = judge(middle)
        if found is None:
            # Where a rule said what fits, one more should not.
            guess = middle + 1 if guess == middle else None
            low = middle
        else:
            breach, guess = found, _fitting(found, step)
            high = middle
    return low, breach


def _fitting(breach: Breach, step: Decimal) -> int | None:
    """How many steps the rule says would have passed, where it says so."""
    fits = breach.quantity_max
    return None if fits is None or not fits.is_finite() else int(fits // step)

