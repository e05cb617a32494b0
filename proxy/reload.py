"""Reading the settings again while orders flow: all of it is checked first, what can change changes at once.

What is live: the bots of accounts that are there already (their keys, new ones, ones that are gone) as long as no
strategy comes or goes, the log level, and the certificates of both listeners. Everything else is named and waits
for a restart. Where anything is wrong nothing changes. The policy is not in the settings: it is read from its
store again, and its file, if it differs, is only spoken of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel

from proxy.config import Settings
from proxy.errors import ConfigError
from proxy.identity import Bot, Identities

log = structlog.get_logger("riskgate.reload")


class ReloadRefused(ConfigError):
    """The settings as they are now cannot be used; nothing changed."""

    status = 422


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What a reload did: settings by name, never by value."""

    applied: tuple[str, ...]
    requires_restart: tuple[str, ...]
    policy_revision: int | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What of a running proxy can be changed."""

    identities: Identities
    bots_of: Callable[[Settings], Iterable[Bot]]
    set_log_level: Callable[[str], None]
    load_certificates: Callable[[Settings], tuple[str, ...]]  # the listeners whose certificates were read again


@dataclass(slots=True)
class Reloading:
    """Knows the settings in force, and puts read ones in their place as far as that goes."""

    settings: Settings
    live: Live
    read: Callable[[str], Settings]

    def again(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Read, check, swap; what was applied and what waits. Raises ReloadRefused, having changed nothing."""
        source = self.settings.source
        if source.startswith("("):
            raise ReloadRefused(f"found settings from {source}, expected a file that can be read again")
        try:
            found = self.read(source)
            bots = tuple(self.live.bots_of(found))
            self.live.identities.check(bots)
        except ConfigError as error:
            raise ReloadRefused(str(error)) from None
        changed = differing(self.settings, found)
        can = [name for name in changed if self._is_live(name, found)]
        applied = list(self.live.load_certificates(found))
        if "log.level" in can:
            self.live.set_log_level(found.log.level)
        if any(name.startswith("accounts.") for name in can):
            self.live.identities.replace(bots)
        applied += can
        waiting = tuple(name for name in changed if name not in can)
        self.settings = _with_live(self.settings, found, {name.partition(".")[0] for name in can})
        log.info("settings.reloaded", applied=applied, requires_restart=list(waiting))
        return tuple(applied), waiting

    def _is_live(self, name: str, found: Settings) -> bool:
        if name == "log.level":
            return True
        parts = name.split(".")
        if len(parts) < 4 or parts[0] != "accounts" or parts[2] != "bots":
            return False
        # What shows accounts, and what may be stopped, was built for the strategies there were.
        return _strategies(self.settings) == _strategies(found)


def _strategies(settings: Settings) -> Mapping[str, frozenset[str]]:
    return {
        name: frozenset(
            strategy for key, bot in account.bots.items() for strategy in (bot.strategy or key, *bot.strategies)
        )
        for name, account in settings.accounts.items()
    }


def _with_live(before: Settings, found: Settings, sections: set[str]) -> Settings:
    """The settings in force: as before, with what was applied. What waits for a restart differs the next time too."""
    changed: dict[str, Any] = {}
    if "log" in sections:
        changed["log"] = before.log.model_copy(update={"level": found.log.level})
    if "accounts" in sections:
        changed["accounts"] = {
            name: account.model_copy(update={"bots": found.accounts[name].bots})
            if name in found.accounts else account
            for name, account in before.accounts.items()
        }
    return before.model_copy(update=changed)


def differing(before: Settings, after: Settings) -> list[str]:
    """The settings that differ, by name, in order; values are not told, as they may be secrets."""
    old, new = dict(_places(before)), dict(_places(after))
    return sorted(name for name in {*old, *new} if name not in old or name not in new or old[name] != new[name])


def _places(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    inner: Mapping[str, object] | None = None
    if isinstance(value, BaseModel):
        inner = {name: getattr(value, name) for name in type(value).model_fields}
    elif isinstance(value, Mapping):
        inner = value
    if inner is None:
        yield path, value
        return
    for name, one in inner.items():
        yield from _places(one, f"{path}.{name}" if path else str(name))
