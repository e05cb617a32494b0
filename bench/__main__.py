"""Direct, nginx, a bare aiohttp passthrough and riskgate, side by side in one run.

    python -m bench [--quick]

riskgate is measured as it is written and, where `make compiled` has made that build, compiled ahead of time.
Every subject is a process of its own, pinned to one core where there are two; load and upstream share the
other. Each is measured in turns with the bare passthrough, with no other proxy beside them that would read
its account meanwhile, and medians are shown; the multiple is of the passthrough in the same turns. Only
ratios and CPU per request carry over to another machine.

The passthrough is the usual one, on asyncio's event loop; on uvloop it stands beside it. riskgate is on the loop
that `riskgate run` would use, uvloop where it is installed, and on asyncio's beside it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from bench.builds import AS_RUN, LOOPS, ROOT, command, interpreters

BARE = "aiohttp passthrough"
PASSTHROUGH = f"{BARE} (asyncio)"  # what everything is a multiple of
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream venue {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ proxy_pass http://venue; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


@dataclass
class Subject:
    """One line of the table."""

    name: str
    port: int
    process: subprocess.Popen[str] | None = None
    runs: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    cpu_per_10k: list[float] = field(default_factory=list)
    rss: float = 0.0  # MiB, at the end
    multiple: float = 0.0  # of the bare passthrough's requests per second, in the same turns
    failure: str = ""

    def cpu_seconds(self) -> float:
        """CPU the process and its children have used."""
        return sum(_cpu(pid) for pid in self._pids())

    def rss_mib(self) -> float:
        """Memory it holds now."""
        return sum(_rss_mib(pid) for pid in self._pids())

    def _pids(self) -> list[int]:
        if self.process is None:
            return []
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [self.process.pid, *(int(pid) for pid in children.read_text().split())]
        except OSError:
            return [self.process.pid]


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def _pin(process: subprocess.Popen[str], core: int) -> None:
    if len(CORES) > 1:
        os.sched_setaffinity(process.pid, {CORES[core % len(CORES)]})


def _started(
    stack: ExitStack, module: str, *arguments: str, core: int, python: str = sys.executable
) -> tuple[subprocess.Popen[str], int]:
    """Start a process that prints its port and ends with its input."""
    process = subprocess.Popen(
        command(python, module, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if module.endswith("riskgate") else None,
        text=True,
        cwd=ROOT,
    )
    _pin(process, core)
    stack.callback(_end, process)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.strip().isdigit():
        process.wait(5)
        detail = process.stderr.read() if process.stderr is not None else ""
        raise RuntimeError(f"{module} did not start: {detail.strip().splitlines()[-1:] or line}")
    return process, int(line)


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


@contextmanager
def _nginx(upstream: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
        process = subprocess.Popen(["nginx", "-c", str(file)], text=True)
        try:
            _pin(process, 0)
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield process, port
        finally:
            process.terminate()
            process.wait(5)


def _load(port: int, connections: int, seconds: float) -> dict[str, float]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load", str(port), str(connections), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    _pin(process, 1)
    output, _ = process.communicate(timeout=seconds + 20)
    return json.loads(output)


def _measure(subject: Subject, connections: int, seconds: float) -> None:
    before = subject.cpu_seconds()
    run = _load(subject.port, connections, seconds)
    used = subject.cpu_seconds() - before
    if run["failures"]:
        subject.failure = f"{run['failures']} of {run['requests']} failed, first: {run['first_failure']!r}"
    subject.runs.setdefault(connections, []).append(run)
    if connections > 1 and run["requests"]:
        subject.cpu_per_10k.append(used / run["requests"] * 10_000)


Start = Callable[[ExitStack], Subject]


def _subjects(*, quick: bool) -> Iterator[tuple[str, Start]]:
    """Everything that is measured, by name, with what starts it beside an upstream of its own."""
    yield "direct, no proxy", lambda stack: Subject("direct, no proxy", _upstream(stack))
    if shutil.which("nginx"):
        yield "nginx proxy_pass", _nginx_subject
    builds = interpreters()
    modules: list[tuple[str, str, tuple[str, ...], str]] = [(BARE, "bench.subject_aiohttp", (), builds["pure"])]
    for build, python in builds.items():
        modules.append((f"riskgate, transport only, {build}", "bench.subject_lane", (), python))
        for sync in ("process",) if quick else ("process", "power"):
            modules.append((f"riskgate, whole, {build}, audit {sync}", "bench.subject_riskgate", (sync,), python))
    for loop in LOOPS:
        # In a short round asyncio's loop is shown for what it is about: the last build, whole.
        for name, module, extra, python in modules[-1:] if quick and loop != AS_RUN else modules:
            shown = f"{name} ({loop})"
            if shown != PASSTHROUGH:
                yield shown, partial(_module_subject, shown, module, (loop, *extra), python)


def _upstream(stack: ExitStack) -> int:
    return _started(stack, "bench.venue", core=1)[1]


def _module_subject(name: str, module: str, extra: tuple[str, ...], python: str, stack: ExitStack) -> Subject:
    process, port = _started(stack, module, str(_upstream(stack)), *extra, core=0, python=python)
    return Subject(name, port, process)


def _nginx_subject(stack: ExitStack) -> Subject:
    process, port = stack.enter_context(_nginx(_upstream(stack)))
    return Subject("nginx proxy_pass", port, process)


def _in_turns(subject: Subject, bare: Subject, rounds: int, seconds: float) -> None:
    """Measure a subject and the bare passthrough one after the other, several times."""
    _load(subject.port, 64, 0.5)  # opens the pools
    beside: list[float] = []
    for _ in range(rounds):
        for one in (bare, subject):
            _measure(one, 64, seconds)
        beside.append(_values(bare, 64, "per_second")[-1])
        _measure(subject, 1, seconds / 2)
    subject.multiple = median(_values(subject, 64, "per_second")) / (median(beside) or 1.0)
    subject.rss = subject.rss_mib()


def _table(subjects: list[Subject]) -> str:
    lines = [
        "| subject | req/s at 64 | x bare aiohttp | p50 us at 1 | p99 us at 1 | CPU s per 10k | RSS MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in subjects:
        rate = median(_values(one, 64, "per_second"))
        cpu = f"{median(one.cpu_per_10k):.2f}" if one.process is not None else "-"
        rss = f"{one.rss:.0f}" if one.process is not None else "-"
        lines.append(
            f"| {one.name} | {rate:,.0f} | {one.multiple:.2f} | {median(_values(one, 1, 'p50_us')):.0f} | "
            f"{median(_values(one, 1, 'p99_us')):.0f} | {cpu} | {rss} |"
        )
    return "\n".join(lines)


def _values(subject: Subject, connections: int, key: str) -> list[float]:
    return [run[key] for run in subject.runs.get(connections, [])] or [0.0]


def main() -> int:
    """Measure, print a Markdown table, and say so if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round (half a minute)")
    parser.add_argument("--only", default="", help="only subjects whose name contains this")
    options = parser.parse_args()
    rounds, seconds = (1, 1.2) if options.quick else (3, 1.0)
    with ExitStack() as stack:
        process, port = _started(stack, "bench.subject_aiohttp", str(_upstream(stack)), "asyncio", core=0)
        bare = Subject(PASSTHROUGH, port, process)
        _load(port, 64, 0.5)
        _measure(bare, 1, seconds / 2)
        subjects = [bare]
        for name, start in _subjects(quick=options.quick):
            if options.only not in name:
                continue
            with ExitStack() as own:
                try:
                    subject = start(own)
                except RuntimeError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                _in_turns(subject, bare, rounds, seconds)
            subjects.append(subject)
        bare.multiple, bare.rss = 1.0, bare.rss_mib()
        print(f"{_table(subjects)}\n\n`riskgate run` uses {AS_RUN} here.")
    failed = [one for one in subjects if one.failure]
    for one in failed:
        print(f"\n{one.name}: {one.failure}", file=sys.stderr)
    if importlib.util.find_spec("bench.gate"):
        print(flush=True)
        subprocess.run([sys.executable, "-m", "bench.gate"], cwd=ROOT, check=False, timeout=60)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
