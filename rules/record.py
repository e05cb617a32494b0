"""What every rule found, kept as it was compared and put into words only when somebody reads it.

The gate is on the path of an order; some thirty lines of text are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, overload

from rules.decision import Breach, Finding, RuleRun
from rules.sentences import described

if TYPE_CHECKING:
    from rules.rulebook import Check, Rule

DIGITS_MAX = 42  # the most that an order can state: twenty before the point, twenty behind it

Plan: TypeAlias = "tuple[tuple[Rule, Check | None], ...]"


class Stretch(NamedTuple):
    """The findings over one instruction, rule by rule; shorter than the plan where a breach ended the walk."""

    instruction: int
    plan: Plan
    found: Sequence[Finding]

    def only_scaled(self) -> Stretch:
        """The breaches that a smaller order was to cure."""
        pairs = [
            (step, finding)
            for step, finding in zip(self.plan, self.found, strict=False)
            if isinstance(finding, Breach)
        ]
        return Stretch(self.instruction, tuple(step for step, _ in pairs), [finding for _, finding in pairs])

    def runs(self, ending: Breach | None) -> Iterator[RuleRun]:
        """The findings in words; `ending` is the breach that blocked the request."""
        for (rule, _), finding in zip(self.plan, self.found, strict=False):
            if finding is None:
                yield RuleRun(rule.name, self.instruction, "not_applicable", "", "")
                continue
            outcome = "within"
            if isinstance(finding, Breach):
                outcome = "breach" if finding is ending else "scaled"
                observed, limit = finding.observed, finding.limit
            else:
                observed, limit = finding
            yield RuleRun(rule.name, self.instruction, outcome, described(observed), described(limit))


    def rows(self, ending: Breach | None, into: list[list[object]]) -> None:
        """The rules that ran, as rows for a record: rule, instruction, outcome, observed, limit."""
        instruction = self.instruction
        for (rule, _), finding in zip(self.plan, self.found, strict=False):
            if finding is None:
                continue
            observed, limit = finding[0], finding[1]
            outcome = "within"
            if len(finding) > 2:  # a Breach has more to say than a Within
                outcome = "breach" if finding is ending else "scaled"
                observed, limit = finding[1], finding[2]
            if type(observed) is Decimal:
                text = format(observed, "f")
                # What was divided has as many digits as the context: nobody needs more than can be read.
                observed = text if len(text) <= DIGITS_MAX else described(observed)
            elif type(observed) is not str and type(observed) is not int:
                observed = described(observed)
            into.append([rule.name, instruction, outcome, observed, _limit_text(rule.name, limit)])


# A rule compares with the same object as long as the same limits apply: its text is made once for them.
_limit_texts: dict[str, tuple[object, object]] = {}


def _limit_text(rule: str, limit: object) -> object:
    known = _limit_texts.get(rule)
    if known is not None and known[0] is limit:
        return known[1]
    if type(limit) is Decimal:
        text: object = format(limit, "f")
    else:
        text = limit if type(limit) is int or type(limit) is str else described(limit)
    _limit_texts[rule] = (limit, text)
    return text


class Runs(Sequence[RuleRun]):
    """The lines of a decision's record, made when first read."""

    __slots__ = ("_ending", "_lines", "_stretches")

    def __init__(self, stretches: Sequence[Stretch], ending: Breach | None = None) -> None:
        self._stretches = stretches
        self._ending = ending
        self._lines: tuple[RuleRun, ...] | None = None

    def _read(self) -> tuple[RuleRun, ...]:
        if self._lines is None:
            self._lines = tuple([run for stretch in self._stretches for run in stretch.runs(self._ending)])
        return self._lines

    def rows(self) -> list[list[object]]:
        """The same for a machine: only the rules that ran, numbers with all their digits."""
        rows: list[list[object]] = []
        for stretch in self._stretches:
            stretch.rows(self._ending, rows)
        return rows

    @overload
    def __getitem__(self, index: int) -> RuleRun: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[RuleRun, ...]: ...

    def __getitem__(self, index: int | slice) -> RuleRun | tuple[RuleRun, ...]:
        """One line, or several."""
        return self._read()[index]

    def __len__(self) -> int:
        return sum(len(stretch.found) for stretch in self._stretches)

    def __iter__(self) -> Iterator[RuleRun]:
        return iter(self._read())

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (Runs, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


def rows_of(runs: Sequence[RuleRun]) -> list[list[object]]:
    """The rules that ran, as rows for a record: rule, instruction, outcome, observed, limit."""
    return runs.rows() if isinstance(runs, Runs) else [list(run) for run in runs]
