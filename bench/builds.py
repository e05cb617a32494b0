"""The two builds of riskgate that are measured: the sources as they are, and compiled ahead of time.

The compiled build lives in an environment of its own (`make compiled`); a process of it must not find
the sources of this folder before the packages that are installed there.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ROOT / ".venv-compiled" / "bin" / "python"

# Started without the working folder on its path (-P) and with ours at its end: what is installed goes first.
_RUN = (
    "import runpy, sys; sys.path.append({root!r}); sys.argv[0:1] = [];"
    " runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def interpreters() -> dict[str, str]:
    """The interpreter of each build that is there, by the build's name."""
    found = {"pure": sys.executable}
    if COMPILED.exists():
        found["compiled"] = str(COMPILED)
    return found


def command(python: str, module: str, *arguments: str) -> list[str]:
    """What runs a module of the benchmark with a build's interpreter."""
    return [python, "-P", "-c", _RUN.format(root=str(ROOT)), module, *arguments]


def build_of_this_process() -> str:
    """Which build the packages that were imported are."""
    from rules import decision

    return "compiled" if str(decision.__file__).endswith((".so", ".pyd")) else "pure"
