"""How many instructions an order costs, of the bare passthrough, the lane and the whole proxy.

    python -m bench.count [--orders 300] [--profile FOLDER]

Every subject runs under callgrind (valgrind), which counts the instructions of its process and nothing of
the kernel's. Counting begins after the warm-up, and the feeds stand still meanwhile, so that the count is of
orders alone. Instructions are not time, but they do not depend on what else the machine does: the same code
gives the same number within about one per cent.

Digests are counted apart: callgrind has no SHA instructions, so under it a library takes some 27 instructions a
byte where a processor that has them takes two cycles. What a digest costs there is not an instruction count.
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

from bench.builds import LOOPS, ROOT, command, interpreters

CONNECTIONS = 16
WARM_UP = 200
LOAD_S = 300.0
_COST = frozenset("0123456789+-*")  # how a line of costs begins: with a line number, perhaps relative
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


def subjects() -> dict[str, list[str]]:
    """What is counted, by name, as the command to run; the upstream's port goes in for `{}`."""
    builds = interpreters()
    found = {}
    for loop in reversed(LOOPS):  # asyncio first: what everything is a multiple of
        found[f"bare aiohttp passthrough ({loop})"] = command(builds["pure"], "bench.subject_aiohttp", "{}", loop)
        for build, python in builds.items():
            found[f"riskgate, transport only, {build} ({loop})"] = command(python, "bench.subject_lane", "{}", loop)
            found[f"riskgate, whole, {build} ({loop})"] = command(
                python, "bench.subject_riskgate", "{}", loop, "process", "still"
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


def digests_in(profile: str) -> int:
    """Of what callgrind wrote, the instructions that the cryptographic library spent in itself."""
    spent, inside, passes_on = 0, False, False
    libraries: dict[str, bool] = {}
    for line in profile.splitlines():
        if line.startswith("ob="):
            number, _, path = line[3:].partition(" ")
            if path:
                libraries[number] = "libcrypto" in path
            inside = libraries.get(number, False)
        elif line.startswith("cob="):  # named here first, perhaps
            number, _, path = line[4:].partition(" ")
            if path:
                libraries[number] = "libcrypto" in path
        elif line.startswith("calls="):
            passes_on = True  # the next line is what the callee took
        elif line[:1] in _COST:
            if inside and not passes_on:
                spent += int(line.split()[1])
            passes_on = False
    return spent


def count(started: list[str], upstream: int, orders: int, folder: Path) -> tuple[float, float]:
    """Instructions per order of one subject: all of them, and those of digests."""
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
    written = out.read_text()
    return int(_TOTALS.findall(written)[-1]) / orders, digests_in(written) / orders


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
    print("| subject | instructions per order | of these digests | x bare aiohttp | without digests |")
    print("|---|---:|---:|---:|---:|")
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
                    counted, digests = count(started, upstream, options.orders, Path(folder))
                except RuntimeError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                if options.profile is not None:
                    options.profile.mkdir(parents=True, exist_ok=True)
                    kept = options.profile / f"callgrind.{name.replace(', ', '-').replace(' ', '-')}"
                    shutil.copy(Path(folder) / "callgrind.out", kept)
            bare = bare or counted
            rest = counted - digests
            print(
                f"| {name} | {counted:,.0f} | {digests:,.0f} | {counted / bare:.2f} | {rest / bare:.2f} |", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
