"""Are the imported packages `proxy` and `rules` ours?

Both names are taken on the package index by others, a folder of that name beside the working
directory is imported before an installed one, and an installer overwrites without a word. A
process that judges orders with somebody else's `rules` must not start.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

DISTRIBUTION = "riskgate"
NAMES = ("proxy", "rules")


def misplaced_packages(home: Path | None = None) -> str | None:
    """Say what is wrong if `rules` and `proxy` do not lie in the same folder as this file's package."""
    home = home or Path(__file__).resolve().parents[2]
    for name in NAMES:
        found = importlib.util.find_spec(name)
        folders = [Path(folder).resolve() for folder in (found and found.submodule_search_locations) or ()]
        if folders != [home / name]:
            where = ", ".join(str(folder) for folder in folders) or "nothing"
            return (
                f"the package {name!r} is not ours: found {where}, expected {home / name}. "
                "Start with the `riskgate` command, or with `python -P -m proxy`, and without PYTHONPATH."
            )
    return None


def claimed_packages(
    owners: Callable[[], Mapping[str, Sequence[str]]] = packages_distributions,
) -> str | None:
    """Say which other installed distribution claims one of our names, if one does."""
    claims = owners()
    for name in NAMES:
        others = sorted({owner for owner in claims.get(name, ()) if owner.lower() != DISTRIBUTION})
        if others:
            return (
                f"the distribution {others[0]!r} in this environment also installs a package {name!r}, "
                "and either may have overwritten the other. Install riskgate into an environment of its own."
            )
    return None
