"""The command line as a whole: quick to answer, and exit codes that mean one thing each."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy import __version__
from proxy.cli.main import run

ROOT = Path(__file__).parents[3]
COMMANDS = (
    "demo", "init", "check", "run", "snippet", "status", "halt", "resume", "policy", "decisions", "audit", "health",
    "version", "config", "wait",
)  # fmt: skip


def riskgate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_help_is_quick_and_names_every_command():
    """`--help` imports neither aiohttp nor pydantic: half a second of processor time is plenty."""
    before = os.times().children_user + os.times().children_system
    answered = riskgate("--help")
    used = os.times().children_user + os.times().children_system - before

    assert answered.returncode == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in answered.stdout] == []
    # Processor time, not wall time: a busy machine is not a slow command.
    assert used < 0.5, f"{used:.2f} s"


def test_help_loads_nothing_heavy():
    """The cause of a slow `--help` is an import at the top of a module; none of these may be there."""
    code = (
        "import sys; from proxy.cli.main import run; run(['--help']);"
        "sys.exit(', '.join({'aiohttp','pydantic','yaml','structlog','rich'} & set(sys.modules)) or None)"
    )
    answered = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert answered.stderr.strip() == ""
    assert answered.returncode == 0


def test_version_prints_the_version(capsys):
    """`version` prints one line, and JSON on request."""
    assert run(["version"]) == 0
    assert capsys.readouterr().out == f"riskgate {__version__}\n"
    assert run(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["riskgate"] == __version__


def test_the_schema_is_printed_as_json(capsys):
    """`config schema` gives editors the JSON schema."""
    assert run(["config", "schema"]) == 0
    assert "listen" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["demo", "--no-such-option"], ["snippet"], ["decisions", "show"], ["resume"]]
)
def test_wrong_usage_exits_2(arguments):
    """A command that was mistyped does nothing and exits 2."""
    assert run(arguments) == 2


def test_without_a_settings_file_the_command_says_what_to_do(tmp_path, monkeypatch, capsys):
    """`check` in an empty folder names the file it looked for and `riskgate init`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RISKGATE_CONFIG", raising=False)

    assert run(["check"]) == 2
    assert "riskgate init" in capsys.readouterr().err


def test_a_configuration_error_ends_run_before_anything_starts(tmp_path, capsys):
    """`run` with a mistyped key exits 2 with the sentence of `check`."""
    (tmp_path / "riskgate.yaml").write_text("listen: {prot: 1}")

    assert run(["run", "--config", str(tmp_path / "riskgate.yaml")]) == 2
    assert "listen.prot: found the unknown key 'prot'" in capsys.readouterr().err


def test_a_foreign_rules_package_stops_every_command(tmp_path):
    """Started in a folder with somebody else's `rules`, the command refuses with exit 2 and runs none of it."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "__init__.py").write_text("raise SystemExit('foreign code ran')")
    code = f"import runpy, sys; sys.path.insert(1, {str(ROOT)!r}); runpy.run_module('proxy', run_name='__main__')"
    answered = subprocess.run(
        [sys.executable, "-c", code, "version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert answered.returncode == 2
    assert "the package 'rules' is not ours" in answered.stderr
    assert "foreign code ran" not in answered.stderr + answered.stdout


def test_a_closed_pipe_is_no_error():
    """`riskgate config schema | head -1` ends without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "config", "schema"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    with process.stderr:
        assert b"Traceback" not in process.stderr.read()
    assert process.wait() in (0, 1)
