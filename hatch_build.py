"""Compiles the order's path ahead of time, where a wheel is built and that was asked for.

    HATCH_BUILD_HOOK_ENABLE_CUSTOM=true pip wheel .

Without that variable the wheel holds the sources alone and needs no compiler. With it, the modules that
pyproject.toml lists under this hook are compiled by mypyc into extension modules that lie beside their
sources in the wheel; Python prefers them. The sources of the checkout are copied first: an extension
module left in the checkout would hide every later change of its source.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("proxy", "rules")
GROUP = "riskgate"
# What the type checker needs to know for compiling; `make types` is where it is strict.
MYPY = """
[mypy]
ignore_missing_imports = True
follow_imports = silent
"""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled modules to a wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What building needs beside hatchling; asked for only where the hook is enabled."""
        return list(self.config["requires"])

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say where in the wheel the results belong."""
        if version == "editable":  # runs from the checkout, which holds no compiled modules
            return
        self._folder = tempfile.TemporaryDirectory(prefix="riskgate-build-")
        staged = Path(self._folder.name)
        for package in PACKAGES:
            shutil.copytree(Path(self.root, package), staged / package, ignore=shutil.ignore_patterns("__pycache__"))
        modules = modules_of(staged, self.config["modules"], self.config["interpreted"])
        compiling = [sys.executable, str(Path(__file__).resolve()), *modules]
        subprocess.run(compiling, cwd=staged, check=True)  # noqa: S603 - our own file, and names of our own modules
        built = staged / "compiled"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for file in sorted(path for path in built.rglob("*") if path.is_file()):
            build_data["force_include"][str(file)] = file.relative_to(built).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - the hook's interface
        """Take the copy away again."""
        if version != "editable":
            self._folder.cleanup()


def modules_of(folder: Path, patterns: list[str], interpreted: list[str]) -> list[str]:
    """The files that are compiled. Raises if a pattern matches none: a renamed module would silently drop out."""
    found: set[str] = set()
    left_out: set[str] = set()
    for pattern, names in [*((one, found) for one in patterns), *((one, left_out) for one in interpreted)]:
        matches = {path.relative_to(folder).as_posix() for path in folder.glob(pattern)}
        if not matches:
            raise ValueError(f"{pattern} is listed to be compiled (or not to be) and matches no module")
        names |= matches
    return sorted(found - left_out)


def compile_here(modules: list[str]) -> None:
    """Compile modules of the working folder into the folder `compiled`."""
    from mypyc.build import mypycify
    from setuptools import setup

    Path("mypy.ini").write_text(MYPY, encoding="utf-8")
    # One C file a module: compiled as one, they take three times as long, and more memory than small machines have.
    options = {"opt_level": "2", "debug_level": "0", "group_name": GROUP, "multi_file": True}
    extensions = mypycify(["--config-file=mypy.ini", *modules], **options)
    setup(
        name=GROUP, packages=[], py_modules=[], ext_modules=extensions,
        script_args=["--quiet", "build_ext", "--build-lib=compiled", "--build-temp=objects"],
    )  # fmt: skip


if __name__ == "__main__":
    compile_here(sys.argv[1:])
