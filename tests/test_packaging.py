"""What is shipped: the wheel's content and names, the image's text, and what `make` needs."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from proxy import __version__
from proxy.config import Settings, fields, read_yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built here with the backend that builds it elsewhere."""
    folder = tmp_path_factory.mktemp("wheel")
    (file,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(file) as archive:
        yield archive


def test_the_wheel_holds_our_two_packages_and_nothing_else(wheel):
    """Top level: proxy, rules and the metadata; no tests, no docs, no data folder."""
    top = {name.partition("/")[0] for name in wheel.namelist()}

    assert top == {"proxy", "rules", f"riskgate-{__version__}.dist-info"}
    assert [name for name in wheel.namelist() if name.endswith((".pyc", ".md", ".jsonl", ".db"))] == []


def test_the_wheel_holds_every_source_file_and_the_type_markers(wheel):
    """What runs from the checkout runs from the wheel: each file of both packages is in it."""
    wanted = {
        file.relative_to(ROOT).as_posix() for name in ("proxy", "rules") for file in (ROOT / name).rglob("*.py")
    }

    assert sorted(wanted - set(wheel.namelist())) == []
    assert {"proxy/py.typed", "rules/py.typed"} <= set(wheel.namelist())


def test_the_wheel_states_name_version_licence_and_privacy(wheel):
    """The metadata carries our name, version and licence, and the classifier that keeps it off the index."""
    metadata = wheel.read(f"riskgate-{__version__}.dist-info/METADATA").decode()

    assert f"\nName: riskgate\nVersion: {__version__}\n" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "Classifier: Private :: Do Not Upload" in metadata
    assert f"riskgate-{__version__}.dist-info/licenses/LICENSE" in wheel.namelist()


def test_the_wheel_installs_the_command(wheel):
    """The console script `riskgate` is proxy.__main__:main."""
    points = wheel.read(f"riskgate-{__version__}.dist-info/entry_points.txt").decode()

    assert "riskgate = proxy.__main__:main" in points


def test_the_wheel_runs_on_its_own(wheel, tmp_path):
    """Unpacked elsewhere, with nothing of the checkout on the path, the command answers."""
    wheel.extractall(tmp_path)
    answered = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['riskgate',"
         " 'version']; from proxy.__main__ import main; import proxy; assert proxy.__file__.startswith"
         f"({str(tmp_path)!r}); main()"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip

    assert answered.stdout == f"riskgate {__version__}\n", answered.stderr


def test_the_source_archive_can_build_the_wheel(tmp_path):
    """The source archive holds what the build needs and no environment."""
    (file,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    import tarfile

    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "rules/__init__.py", "proxy/__init__.py"}
    assert wanted <= names
    assert [name for name in names if name.startswith((".venv", ".git/"))] == []


def test_the_build_hook_lists_modules_that_exist_and_is_off():
    """A renamed module drops out of the compiled build loudly, and nobody needs a compiler who did not ask."""
    hook = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    listed = hook["modules"] + hook["interpreted"]

    assert hook["enable-by-default"] is False
    assert [pattern for pattern in listed if not any(ROOT.glob(pattern))] == []


def test_the_compiler_is_the_type_checker_that_is_tested_with():
    """The build asks for the very mypy that checks the types here: another one may compile something else."""
    hook = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    (pinned,) = [line for line in PROJECT["dependency-groups"]["dev"] if line.startswith("mypy")]

    assert pinned in hook["requires"]


def test_the_checkout_holds_no_compiled_module():
    """An extension module beside its source would hide every later change of that source."""
    assert [file.name for name in ("proxy", "rules") for file in (ROOT / name).rglob("*.so")] == []
    assert list(ROOT.glob("*.so")) == []


def test_the_image_is_compiled_and_ships_no_compiler():
    """The build stage asks the hook to compile; the runtime stage installs nothing."""
    build, _, runtime = DOCKERFILE.rpartition("FROM ")

    assert "HATCH_BUILD_HOOK_ENABLE_CUSTOM=true" in build
    assert "gcc" in build
    assert "apt-get" not in runtime


def test_the_licence_is_whole():
    """The Apache licence, from its title to the end of its terms."""
    text = (ROOT / "LICENSE").read_text("utf-8")

    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def instructions(name: str) -> list[str]:
    """The arguments of every Dockerfile instruction of a kind, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def test_the_image_has_two_stages_and_ships_the_second():
    """The runtime stage copies the finished environment and builds nothing."""
    stages = instructions("FROM")
    runtime = DOCKERFILE.rpartition("FROM ")[2]

    assert len(stages) == 2
    assert stages[0].endswith("AS build")
    assert "COPY --from=build" in runtime
    assert "pip install" not in runtime


def test_the_image_runs_as_a_numeric_user_that_is_not_root():
    """A cluster can check a number; the last USER counts."""
    assert instructions("USER")[-1] == "65532:65532"


def test_the_image_keeps_foreign_packages_out():
    """PYTHONSAFEPATH is set, PYTHONPATH is not, and the working folder holds no code."""
    environment = " ".join(instructions("ENV"))

    assert "PYTHONSAFEPATH=1" in environment
    assert "PYTHONPATH" not in environment
    assert instructions("WORKDIR")[-1] == "/data"


def test_the_image_is_fit_for_a_read_only_root():
    """No bytecode is written at run time, and the one folder that is written to is a volume."""
    assert "PYTHONDONTWRITEBYTECODE=1" in " ".join(instructions("ENV"))
    assert instructions("VOLUME") == ["/data"]


def test_the_image_starts_and_is_checked_without_a_shell():
    """ENTRYPOINT, CMD and HEALTHCHECK are in exec form: the process gets the signals, and needs no curl."""
    assert instructions("ENTRYPOINT") == ['["riskgate"]']
    assert instructions("CMD") == ['["run"]']
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["riskgate", "health"]')
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


def test_the_image_sets_only_settings_that_exist():
    """A RISKGATE_ variable in the image that matches no setting would stop every start."""
    named = re.findall(r"RISKGATE_([A-Z_]+)=", DOCKERFILE + (ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
    known = {name.replace(".", "__").upper() for name in fields()} | {"CONFIG"}

    assert named
    assert set(named) <= known


def test_the_compose_file_gives_the_container_little():
    """Read-only root, no capabilities, bots without another way out, and a stop longer than the drain."""
    compose = read_yaml((ROOT / "deploy" / "compose.yaml").read_text("utf-8"), "compose.yaml")
    service = compose["services"]["riskgate"]

    assert (service["read_only"], service["cap_drop"]) == ("true", ["ALL"])
    assert compose["networks"]["bots"] == {"internal": "true"}
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings().listen.drain_timeout


def test_the_unit_starts_the_command_with_safe_paths():
    """The systemd unit runs the installed command, keeps foreign packages out and allows the drain."""
    unit = (ROOT / "deploy" / "riskgate.service").read_text("utf-8")

    assert re.search(r"^ExecStart=\S+/bin/riskgate run ", unit, re.MULTILINE)
    assert "PYTHONSAFEPATH=1" in unit
    assert "LimitCORE=0" in unit
    # A halt typed in another shell reads the settings only: it has to mean the same folder.
    assert re.findall(r"^Environment=.*RISKGATE_", unit, re.MULTILINE) == []
    assert "`data_dir: /var/lib/riskgate`" in unit
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1]) > Settings().listen.drain_timeout
    # `run` speaks the manager's protocol (tests/proxy/cli/test_service_manager.py), so it may wait for it.
    assert re.search(r"^Type=notify$", unit, re.MULTILINE)
    assert re.search(r"^WatchdogSec=\d+$", unit, re.MULTILINE)


def test_the_pod_starts_the_proxy_first_and_gives_it_little():
    """A native sidecar: before the bot, after the bot, ready by our own word, and read-only as a plain user."""
    text = (ROOT / "deploy" / "kubernetes" / "pod.yaml").read_text("utf-8")
    documents = [read_yaml(part, "pod.yaml") for part in re.split(r"^---$", text, flags=re.MULTILINE)]
    parts = {document["kind"]: document for document in documents}
    pod = parts["Pod"]["spec"]
    sidecar = pod["initContainers"][0]

    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["exec"]["command"] == ["riskgate", "health", "--ready"]
    assert sidecar["livenessProbe"]["exec"]["command"] == ["riskgate", "health"]
    assert sidecar["securityContext"]["readOnlyRootFilesystem"] == "true"
    assert sidecar["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"] == "true"
    assert int(pod["terminationGracePeriodSeconds"]) > Settings().listen.drain_timeout
    assert pod["automountServiceAccountToken"] == "false"
    assert "secret" not in str(pod["containers"][0].get("env", "")).lower()


def test_the_build_context_holds_no_secret():
    """.dockerignore admits what the wheel is made of, and nothing by default."""
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]

    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "proxy", "rules",
    }  # fmt: skip


def test_make_needs_python_and_nothing_else():
    """The recipes call the environment's own tools; the only outside program is an interpreter that is new enough."""
    recipes = "\n".join(line for line in MAKEFILE.splitlines() if line.startswith("\t"))

    assert "(3, 11)" in MAKEFILE
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert set(re.findall(r"\$\(BIN\)/(\w+)", recipes)) == {"python", "riskgate", "ruff", "mypy"}
    assert re.findall(r"\b(uv|poetry|docker|curl|npm|sudo)\b", recipes) == []


def test_make_without_a_new_enough_python_says_so(tmp_path):
    """Where no Python 3.11 is found, `make install` fails with a sentence that says what to do."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "pyproject.toml").touch()
    answered = subprocess.run(
        ["make", "PYTHON=", "install"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert answered.returncode != 0
    assert "needs Python 3.11 or newer" in answered.stderr


def test_ci_is_make_test():
    """What a reviewer runs and what the checks run is one command."""
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert script.read_text("utf-8").rstrip().endswith("exec make test")


def test_every_import_is_a_declared_dependency():
    """What the packages import at run time is in `dependencies`; what is declared is imported."""
    declared = {re.split(r"[<>=\[]", line)[0].lower().replace("-", "_") for line in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"].values()
    declared |= {re.split(r"[<>=\[]", line)[0] for extra in extras for line in extra}
    modules = {
        "pyyaml": "yaml", "opentelemetry-sdk": "opentelemetry",
        "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
    }  # fmt: skip
    wanted = {modules.get(name, name) for name in declared}
    imported = set()
    for node in (node for name in ("proxy", "rules") for file in (ROOT / name).rglob("*.py")
                 for node in ast.walk(ast.parse(file.read_text("utf-8")))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    ours = {"proxy", "rules", "pydantic_core", "yarl", "multidict"}  # the last three come with a declared one

    assert sorted(imported - wanted - ours - sys.stdlib_module_names) == []
    found_by_others = {"tzdata"}  # by the standard library
    assert sorted(wanted - imported - found_by_others) == []
