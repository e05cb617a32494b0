"""Prints the rulebook as a page: `python -m rules.describe > docs/rules.md`.

The sentence of a rule is the first line of its docstring, so that what an operator reads and what runs
cannot drift apart; a test compares the page with this output.
"""

from __future__ import annotations

import sys

from rules.rulebook import RULEBOOK, Rule
from rules.sentences import SENTENCES

HEAD = """# The rulebook

Generated from `rules/rulebook.py`; edit the rules, then run `python -m rules.describe > docs/rules.md`.

Every instruction of a request is walked through these rules in this order, and the first breach wins. A rule
whose limit is not set does not apply. Sizes and counts may be exactly at their limit; a loss limit that is
reached is a breach.

- **scales**: where the policy allows scaling, a smaller order may cure the breach. It is floored to the venue's
  step and judged again by every rule; below the venue's minimum it is blocked.
- **spares reductions**: not run on what provably only reduces: an order on the other side of a known position
  that cannot go through zero even if everything waiting on its side fills first, or that the venue itself keeps
  from opening (reduce-only in one-way mode, close-position, the closing side of a hedge-mode bucket); a working
  order's quantity cut in place; leverage lowered; margin added or isolated. Nor on a pending leg that only closes
  what another order of the same request opens.

A fact that a rule needs and that is missing or too old blocks with `facts_missing` or `facts_stale`. A rule that
fails blocks with `rule_failed`. Cancels do not come here: they always pass.
"""

COLUMNS = ("#", "rule", "what it says", "reason", "applies to", "scales", "spares reductions")


def page() -> str:
    """The whole page."""
    lines = [HEAD, _row(COLUMNS), _row(["---"] * len(COLUMNS))]
    lines += [_row(_cells(number, rule)) for number, rule in enumerate(RULEBOOK, start=1)]
    lines += ["", "## What a block says", "", _row(("reason", "sentence")), _row(("---", "---"))]
    lines += [_row((f"`{reason.value}`", text)) for reason, text in SENTENCES.items()]
    return "\n".join(lines) + "\n"


def _cells(number: int, rule: Rule) -> tuple[str, ...]:
    reasons = ", ".join(f"`{reason.value}`" for reason in rule.reasons)
    kinds = ", ".join(kind.__name__ for kind in rule.applies_to)
    return (
        str(number), f"`{rule.name}`", first_line(rule), reasons, kinds, _yes(rule.scalable),
        _yes(rule.spares_reductions),
    )


def first_line(rule: Rule) -> str:
    """The rule in words: the first line of its docstring."""
    return (rule.check.__doc__ or "").strip().split("\n", 1)[0]


def _yes(stated: bool) -> str:  # noqa: FBT001 - the value itself is shown
    return "yes" if stated else "no"


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(page())
