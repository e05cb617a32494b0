"""Where a store is: its URL taken apart, and what of it may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from proxy.clock import Clock
from proxy.errors import ConfigError

SQLITE_NAME = "policy.sqlite"
_NAME = r"[a-z_][a-z0-9_]{0,39}"


@dataclass(frozen=True, slots=True)
class Place:
    """A store's URL, the folder that relative paths start from, the clock it stamps with, and its password."""

    url: str = field(repr=False)
    data_dir: Path | None
    clock: Clock
    password: str | None = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """The file of `sqlite` (in the data folder), `sqlite:name.db` (relative to it) or `sqlite:///absolute.db`."""
        rest = self.url.partition(":")[2]
        if rest.startswith("//") and not rest.startswith("///"):
            raise ConfigError(f"store.url: found {self.url!r}, expected sqlite, sqlite:FILE or sqlite:///ABSOLUTE/FILE")
        file = Path(rest.removeprefix("//") or SQLITE_NAME)
        if file.is_absolute():
            return file
        if self.data_dir is None:
            raise ConfigError(f"store.url: found {self.url!r} without a data folder, expected sqlite:///ABSOLUTE/FILE")
        return self.data_dir / file

    @property
    def name(self) -> str:
        """The place as it may be shown: without a password, and without parameters, which may hold one."""
        return shown(self.url)

    def taken(self, own: str, default: str, form: str = _NAME) -> tuple[str, str]:
        """The URL without the parameter `own`, and that parameter, which is ours and not the server's."""
        parts = urlsplit(self.url)
        given = parse_qsl(parts.query, keep_blank_values=True)
        found = [value for key, value in given if key == own] or [default]
        if len(found) != 1 or not re.fullmatch(form, found[0]):
            raise ConfigError(f"store.url: found the {own} {found[0][:48]!r}, expected one such as {default!r}")
        rest = urlencode([(key, value) for key, value in given if key != own])
        return parts._replace(query=rest).geturl(), found[0]


def shown(url: str) -> str:
    """A store's URL for people: no password, no parameters."""
    if "://" not in url or url.startswith("sqlite"):
        return url if url.startswith(("sqlite", "memory")) else url.partition(":")[0][:32]
    try:
        parts = urlsplit(url)
        user = f"{parts.username}@" if parts.username else ""
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition(":")[0][:32]
    return f"{parts.scheme}://{user}{host}{parts.path}"
