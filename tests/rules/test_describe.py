"""The page of rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rules import RULEBOOK
from rules.describe import first_line, page

ROOT = Path(__file__).parents[2]


def test_the_page_is_the_rulebook():
    """docs/rules.md is what the generator prints; run `python -m rules.describe > docs/rules.md`."""
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == page()


def test_the_generator_prints_the_page():
    """The command that the page names prints it."""
    printed = subprocess.run(
        [sys.executable, "-m", "rules.describe"], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    assert printed.stdout.decode() == page()


def test_every_rule_says_what_it_is():
    """Each rule has a first docstring line that is one sentence, and a row."""
    rows = page()
    for rule in RULEBOOK:
        assert first_line(rule).endswith("."), rule.name
        assert f"| `{rule.name}` | {first_line(rule)} |" in rows
