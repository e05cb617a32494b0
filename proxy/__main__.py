"""The `riskgate` command; `python -P -m proxy` is the same.

Before anything of ours is imported in earnest, the names `proxy` and `rules` are checked to
be ours: both are common words, and a foreign package in their place would judge orders.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command and leave with its exit code."""
    from proxy.cli.ownership import misplaced_packages

    if problem := misplaced_packages():
        sys.stderr.write(f"riskgate: {problem}\n")
        sys.exit(2)
    from proxy.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
