"""What differs between two policies, place by place: for people before they apply one, and for the record after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rules.profile import GlobalPolicy

ABSENT = "(not set)"


class Change(NamedTuple):
    """One place of the document: its dotted path, what stands there and what would."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} -> {self.after}"


def changes(before: GlobalPolicy, after: GlobalPolicy) -> list[Change]:
    """Every place that differs, in the order of its path."""
    old, new = dict(_places(document(before))), dict(_places(document(after)))
    return [
        Change(path, old.get(path, ABSENT), new.get(path, ABSENT))
        for path in sorted({*old, *new})
        if old.get(path, ABSENT) != new.get(path, ABSENT)
    ]


def document(policy: GlobalPolicy) -> dict[str, Any]:
    """The policy as people write it: shares in percent, amounts as text, nothing that is not set."""
    return policy.model_dump(mode="json", exclude_none=True)


def _places(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _places(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        yield path, f"[{', '.join(str(one) for one in value)}]"
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)
