"""The policy file people write: read strictly, told with its lines, compared with what the store holds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from proxy.config import Problem, SettingsInvalid, read_document
from proxy.errors import ConfigError
from proxy.stores.base import StoredPolicy
from proxy.stores.changes import changes
from proxy.stores.legacy_env import read_legacy, tightened
from rules.profile import GlobalPolicy, explain

_PLACE = re.compile(r"([^\s:]+): (?=found )")


def read_policy_file(file: Path) -> GlobalPolicy:
    """Read a policy file strictly. Raises SettingsInvalid with every problem: file, line, key, found, expected."""
    lines: dict[tuple[str, ...], str] = {}
    document = read_document(file, lines)
    try:
        return GlobalPolicy.model_validate(document)
    except ValidationError as error:
        raise SettingsInvalid(tuple(_problem(file, line, lines) for line in explain(error))) from None


def difference(file: Path, stored: StoredPolicy, environ: Mapping[str, str] | None = None) -> str | None:
    """Say that a policy file is not what the store holds, which is what counts; None if it is."""
    try:
        written = read_policy_file(file)
        # A new store is filled with the file as the old variables tighten it.
        seed, _ = tightened(written, read_legacy(os.environ if environ is None else environ))
    except ConfigError as error:
        why = "; ".join(str(error).splitlines())
        held = f"the stored policy (revision {stored.revision}) is"
        return f"{file.name} cannot be read and is not in force; {held}. {why}"
    if stored.policy in (written, seed):
        return None
    count = len(changes(stored.policy, written))
    return (
        f"{file.name} differs from the stored policy (revision {stored.revision}), which is in force, "
        f"in {count} place{'s' * (count != 1)}; `riskgate policy apply {file} --reason ...` makes it so"
    )


def _problem(file: Path, line: str, lines: Mapping[tuple[str, ...], str]) -> Problem:
    """A sentence about the policy taken apart: where it stands, its key, what was found and expected."""
    place = _PLACE.match(line)
    key = place[1] if place else ""
    found, _, expected = line[place.end() if place else 0 :].removeprefix("found ").partition(", expected ")
    return Problem(_line_of(file, key, lines), key, found, expected or "a policy that can be used")


def _line_of(file: Path, key: str, lines: Mapping[tuple[str, ...], str]) -> str:
    """The line of a key, of the same key with its unit, or of the nearest section around it."""
    dotted = {".".join(path): where for path, where in lines.items()}
    for name in (key, f"{key}_percent", f"{key}_fraction"):
        if name in dotted:
            return dotted[name]
    while "." in key:
        key = key.rpartition(".")[0]
        if key in dotted:
            return dotted[key]
    return str(file)
