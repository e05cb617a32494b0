"""What every rule found, kept as it was compared and put into words only when somebody reads it.

The gate is on the path of an order; some thirty lines of text are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias, overload

from rules.decision import Breach, Finding, RuleRun
from rules.sentences import described

if TYPE_CHECKING:
    from rules.rulebook import Rule

DIGITS_MAX: Final = 42  # the most that an order can state: twenty before the point, twenty behind it

Row: TypeAlias = tuple[str, int, str, object, object]  # rule, instruction, outcome, observed, limit


class Plan:
    """The rules that stand over an instruction, and those of them that are run on it."""

    __slots__ = ("asked", "checks", "rules", "texts")

    def __init__(self, rules: Sequence[Rule], asked: Sequence[Rule]) -> None:
        self.rules = rules
        self.asked = asked
        self.checks = tuple([rule.check for rule in asked])
        self.texts = [Text(rule.name) for rule in asked]

    def only(self, places: Sequence[int]) -> Plan:
        """The plan of some of the rules that were run."""
        rules = [self.asked[place] for place in places]
        return Plan(rules, rules)


class Text:
    """A rule's name, and the texts of what it found last: as long as it finds the same objects, they stay."""

    __slots__ = ("limit", "limit_text", "observed", "observed_text", "rule")

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.observed: object = None
        self.observed_text: object = described(None)
        self.limit: object = None
        self.limit_text: object = described(None)

    def row(self, instruction: int, outcome: str, observed: object, limit: object) -> Row:
        """A row of the record; what is observed differs with every order only where it is a number."""
        if type(observed) is Decimal:
            text: object = _digits(observed)
        elif type(observed) is str or type(observed) is int:
            text = observed
        else:
            if observed is not self.observed:
                self.observed, self.observed_text = observed, described(observed)
            text = self.observed_text
        if limit is not self.limit:
            self.limit, self.limit_text = limit, _limit_text(limit)
        return self.rule, instruction, outcome, text, self.limit_text


def _digits(value: Decimal) -> str:
    """All digits of a number; of one that was divided, which has as many as the context, what can be read."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    return text if len(text) <= DIGITS_MAX else described(value)


def _limit_text(limit: object) -> object:
    if type(limit) is Decimal:
        return format(limit, "f")
    return limit if type(limit) is int or type(limit) is str else described(limit)


class Stretch:
    """The findings over one instruction, one for each rule asked; fewer where a breach ended the walk."""

    __slots__ = ("found", "instruction", "plan")

    def __init__(self, instruction: int, plan: Plan, found: Sequence[Finding]) -> None:
        self.instruction = instruction
        self.plan = plan
        self.found = found

    def only_scaled(self) -> Stretch:
        """The breaches that a smaller order was to cure."""
        places = [place for place, finding in enumerate(self.found) if isinstance(finding, Breach)]
        return Stretch(self.instruction, self.plan.only(places), [self.found[place] for place in places])

    def runs(self, ending: Breach | None) -> Iterator[RuleRun]:
        """The findings in words, with a line for every rule; `ending` is the breach that blocked the request."""
        place = 0
        for rule in self.plan.rules:
            finding: Finding = None
            if place < len(self.plan.asked) and self.plan.asked[place] is rule:
                if place == len(self.found):
                    return
                finding = self.found[place]
                place += 1
            yield _run(rule.name, self.instruction, finding, ending)
            if ending is not None and finding is ending:
                return

    def rows(self, ending: Breach | None) -> list[Row]:
        """The rules that ran, as rows for a record: rule, instruction, outcome, observed, limit."""
        instruction = self.instruction
        rows = []
        for text, finding in zip(self.plan.texts, self.found, strict=False):
            if finding is None:
                continue
            if isinstance(finding, Breach):
                rows.append(text.row(instruction, _outcome(finding, ending), finding.observed, finding.limit))
            else:
                observed, limit = finding
                rows.append(text.row(instruction, "within", observed, limit))
        return rows


def _outcome(breach: Breach, ending: Breach | None) -> str:
    return "breach" if breach is ending else "scaled"


def _run(rule: str, instruction: int, finding: Finding, ending: Breach | None) -> RuleRun:
    """One line in words."""
    if finding is None:
        return RuleRun(rule, instruction, "not_applicable", "", "")
    if isinstance(finding, Breach):
        outcome, observed, limit = _outcome(finding, ending), finding.observed, finding.limit
    else:
        outcome, (observed, limit) = "within", finding
    return RuleRun(rule, instruction, outcome, described(observed), described(limit))


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

    def rows(self) -> list[Row]:
        """The same for a machine: only the rules that ran, numbers with all their digits."""
        if len(self._stretches) == 1:
            return self._stretches[0].rows(self._ending)
        return [row for stretch in self._stretches for row in stretch.rows(self._ending)]

    @overload
    def __getitem__(self, index: int) -> RuleRun: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[RuleRun, ...]: ...

    def __getitem__(self, index: int | slice) -> RuleRun | tuple[RuleRun, ...]:
        """One line, or several."""
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[RuleRun]:
        return iter(self._read())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Runs):
            return self._read() == other._read()
        return self._read() == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


def rows_of(runs: Sequence[RuleRun]) -> Sequence[Sequence[object]]:
    """The rules that ran, as rows for a record: rule, instruction, outcome, observed, limit."""
    return runs.rows() if isinstance(runs, Runs) else [list(run) for run in runs]
