"""The builds and event loops that are measured: the sources as they are and compiled, on uvloop and on asyncio.

The compiled build lives in an environment of its own (`make compiled`); a process of it must not find
the sources of this folder before the packages that are installed there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from proxy import loops

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ROOT / ".venv-compiled"

# What `riskgate run` uses here, and asyncio beside it.
AS_RUN = "asyncio" if loops.lacking() else "uvloop"
LOOPS = tuple(dict.fromkeys((AS_RUN, "asyncio")))

# Started without the working folder on its path (-P) and with ours at its end: what is installed goes first.
_RUN = (
    "import runpy, sys; sys.path.append({root!r}); sys.argv[0:1] = [];"
    " runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
_WHICH = "import rules.decision; print(rules.decision.__file__)"


def interpreters() -> dict[str, str]:
    """The interpreter of each build that is there, by the build's name."""
    found = {"pure": sys.executable}
    python = COMPILED / "bin" / "python"
    stamp = COMPILED / ".installed"
    if not stamp.exists():
        return found
    loaded = subprocess.run([python, "-P", "-c", _WHICH], capture_output=True, text=True, cwd="/", check=True).stdout
    if not loaded.strip().endswith(".so"):
        raise RuntimeError(f"the compiled build loads {loaded.strip()}, expected an extension module")
    newer = [
        file.name for name in ("proxy", "rules") for file in (ROOT / name).rglob("*.py")
        if file.stat().st_mtime > stamp.stat().st_mtime
    ]  # fmt: skip
    if newer:
        print(f"the compiled build is older than {len(newer)} sources; `make compiled` renews it", file=sys.stderr)
    return found | {"compiled": str(python)}


def command(python: str, module: str, *arguments: str) -> list[str]:
    """What runs a module of the benchmark with a build's interpreter."""
    return [python, "-P", "-c", _RUN.format(root=str(ROOT)), module, *arguments]
