"""How many instructions an order costs, of the bare passthrough, the lane and the whole proxy.

    python -m bench.count [--orders 300] [--profile FOLDER]

Every subject runs under callgrind (valgrind), which counts the instructions of its process and nothing of
the kernel's. Counting begins after the warm-up, and the feeds stand still meanwhile, so that the count is of
orders alone. Instructions are not time, but they do not depend on what else the machine does: the same code
gives the same number within about one per cent.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.builds import ROOT, command, interpreters

CONNECTIONS = 16
WARM_UP = 200
LOAD_S = 300.0
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


def subjects() -> dict[str, list[str]]:
    """What is counted, by name, as the command to run; the upstream's port goes in for `{}`."""
    builds = interpreters()
    found = {
        "bare aiohttp passthrough": command(builds["pure"], "bench.subject_aiohttp", "{}", "asyncio"),
    }
    for build, python in builds.items():
        found[f"riskgate, transport only, {build}"] = command(python, "bench.subject_lane", "{}", "asyncio")
        found[f"riskgate, whole, {build}"] = command(
            python, "bench.subject_riskgate", "{}", "asyncio", "process", "still"
        )
    return found


def load(port: int, orders: int) -> None:
    """Send so many orders; all must be answered 200."""
    answered = subprocess.run(
        [sys.executable, "-m", "bench.load", str(port), str(CONNECTIONS), str(LOAD_S), str(orders)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    run = json.loads(answered.stdout)
    if run["failures"] or run["requests"] != orders:
        raise RuntimeError(f"{run['requests']} of {orders} orders, {run['failures']} failed: {run['first_failure']!r}")


def count(started: list[str], upstream: int, orders: int, folder: Path) -> float:
    """Instructions per order of one subject."""
    out = folder / "callgrind.out"
    process = subprocess.Popen(
        ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}",
         *(str(upstream) if part == "{}" else part for part in started)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
        env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise RuntimeError(f"it did not start: {line!r}")
        port = int(line)
        load(port, WARM_UP)
        _control("-i", "on", process.pid)
        load(port, orders)
        _control("-i", "off", process.pid)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
    return int(_TOTALS.findall(out.read_text())[-1]) / orders


def _control(option: str, value: str, pid: int) -> None:
    subprocess.run(["callgrind_control", option, value, str(pid)], check=True, capture_output=True)


def main() -> int:
    """Count, and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m bench.count", description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=300)
    parser.add_argument("--only", default="", help="only subjects whose name contains this")
    parser.add_argument("--profile", type=Path, help="keep what callgrind wrote here, for callgrind_annotate")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        print("valgrind is needed to count instructions, and is not installed", file=sys.stderr)
        return 2
    print("| subject | instructions per order | x bare aiohttp |\n|---|---:|---:|")
    bare = 0.0
    with ExitStack() as stack:
        venue = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "bench.venue"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )
        )  # fmt: skip
        assert venue.stdin is not None
        assert venue.stdout is not None
        stack.callback(venue.stdin.close)
        upstream = int(venue.stdout.readline())
        for name, started in subjects().items():
            if options.only not in name:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    counted = count(started, upstream, options.orders, Path(folder))
                except RuntimeError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                if options.profile is not None:
                    options.profile.mkdir(parents=True, exist_ok=True)
                    kept = options.profile / f"callgrind.{name.replace(', ', '-').replace(' ', '-')}"
                    shutil.copy(Path(folder) / "callgrind.out", kept)
            bare = bare or counted
            print(f"| {name} | {counted:,.0f} | {counted / bare:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
