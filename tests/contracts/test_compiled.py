"""The compiled build does what the sources do.

It is made by `make compiled`, into an environment of its own. The short forms run where that build is there
and as new as the sources; the long form, for which `make test-long` makes the build, insists on it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / ".venv-compiled"
SHORT, LONG = 150, 4_000
SIZES = [SHORT, pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


def packages() -> Path | None:
    """Where the compiled build is installed; None if it is not there or older than a source."""
    stamp = COMPILED / ".installed"
    if not stamp.is_file():
        return None
    made_at = stamp.stat().st_mtime
    sources = [*(ROOT / "proxy").rglob("*.py"), *(ROOT / "rules").rglob("*.py"), ROOT / "hatch_build.py"]
    if any(file.stat().st_mtime > made_at for file in sources):
        return None
    (folder,) = COMPILED.glob("lib/python3.*/site-packages")
    return folder


@pytest.fixture
def compiled(request) -> Path:
    """The folder of the compiled build's packages; without it the short forms have nothing to compare."""
    found = packages()
    if found is None:
        if request.node.get_closest_marker("long"):
            pytest.fail("the compiled build is missing or older than the sources: make compiled")
        pytest.skip("the compiled build is not there or older than the sources (make compiled)")
    return found


def run_of(first_on_path: Path, seed: int, orders: int, event_loop: str) -> tuple[str, str]:
    """What a build makes of drawn orders, and the file that its `rules.decision` came from."""
    answered = subprocess.run(
        [sys.executable, "-P", "-c",
         f"import runpy, sys; sys.path.append({str(ROOT)!r}); sys.argv = ['both_builds', '{seed}', '{orders}',"
         f" '{event_loop}'];"
         " runpy.run_module('tests.contracts.both_builds', run_name='__main__')"],
        capture_output=True, text=True, check=False, cwd=ROOT.parent,
        env=os.environ | {"PYTHONPATH": str(first_on_path), "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    assert answered.returncode == 0, answered.stderr[-2000:]
    return answered.stdout, answered.stderr.splitlines()[0]


@pytest.mark.parametrize("orders", SIZES)
def test_both_builds_answer_and_record_the_same_bytes(compiled, orders):
    """The same drawn orders: equal decisions, answers, bytes sent and audit files, hashes included."""
    seed = int.from_bytes(os.urandom(4))
    told, source = run_of(ROOT, seed, orders, "asyncio")
    compiled_told, extension = run_of(compiled, seed, orders, "uvloop")  # as it runs in the image

    assert (Path(source).suffix, Path(extension).suffix) == (".py", ".so")
    differences = [
        pair for pair in zip(told.splitlines(), compiled_told.splitlines(), strict=False) if pair[0] != pair[1]
    ]
    assert differences[:1] == [], f"seed {seed}"
    assert told == compiled_told, f"seed {seed}"
    for verdict in ("allow", "scale_down", "block"):
        assert re.search(f'"kind":"decision".*"decision":"{verdict}"', told), f"seed {seed}: no {verdict} to compare"


@pytest.mark.parametrize("_form", ["short", pytest.param("long", marks=pytest.mark.long)])
def test_the_demo_runs_on_the_compiled_build(compiled, tmp_path, _form):
    """All six steps of the demo are right when every part on the order's path is compiled."""
    answered = subprocess.run(
        [COMPILED / "bin" / "riskgate", "demo", "--once"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=110,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip

    assert answered.returncode == 0, answered.stdout[-2000:] + answered.stderr[-2000:]


def test_the_compiled_build_keeps_its_sources(compiled):
    """Beside every extension module lies the source it was made of: a traceback can be read, and an audit made."""
    extensions = [*(compiled / "proxy").rglob("*.so"), *(compiled / "rules").rglob("*.so")]

    assert extensions
    assert [file.name for file in extensions if not file.with_name(file.name.partition(".")[0] + ".py").is_file()] == []
