"""Where policies are kept. `STORES` lists every backend by the scheme of its URL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from proxy.clock import Clock
from proxy.errors import ConfigError, PolicyInvalid
from proxy.stores.base import PolicyStore, StoredPolicy, Subscriber, merged, validated
from proxy.stores.legacy_env import LegacySettings, read_legacy, tightened
from proxy.stores.memory import MemoryStore
from proxy.stores.policies import Policies, RiskModeConfig, risk_config
from proxy.stores.sqlite import SqliteStore
from proxy.stores.starter import policy_text
from rules.profile import GlobalPolicy

__all__ = [
    "LegacySettings", "MemoryStore", "Place", "Policies", "PolicyInvalid", "PolicyStore", "RiskModeConfig", "STORES",
    "SqliteStore", "StoredPolicy", "Subscriber", "create_store", "merged", "open_store", "policy_text", "read_legacy",
    "risk_config", "tightened", "validated",
]

SQLITE_NAME = "policy.sqlite"


class Place(NamedTuple):
    """Where a store is: its URL, the folder that relative paths start from, and the clock it stamps with."""

    url: str
    data_dir: Path | None
    clock: Clock

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


class Backend(NamedTuple):
    """How a store is opened, and how it is created with its first policy."""

    opened: Callable[[Place, GlobalPolicy | None], Awaitable[PolicyStore]]
    created: Callable[[Place, GlobalPolicy], Awaitable[PolicyStore]]


async def _memory(place: Place, seed: GlobalPolicy | None) -> PolicyStore:
    if seed is None:
        raise ConfigError("store.url: found memory without a policy file, expected one: it remembers nothing itself")
    return MemoryStore(seed, clock=place.clock)


async def _open_sqlite(place: Place, _seed: GlobalPolicy | None) -> PolicyStore:
    return await SqliteStore.open(place.path, clock=place.clock)


async def _create_sqlite(place: Place, seed: GlobalPolicy) -> PolicyStore:
    return await SqliteStore.create(place.path, seed, clock=place.clock)


STORES: Mapping[str, Backend] = MappingProxyType(
    {
        "memory": Backend(_memory, _memory),
        "sqlite": Backend(_open_sqlite, _create_sqlite),
    }
)


async def open_store(
    url: str, *, clock: Clock, data_dir: Path | None = None, seed: GlobalPolicy | None = None
) -> PolicyStore:
    """Open an existing store. `seed` serves only a store that forgets; a missing one is never made up."""
    return await _backend(url).opened(Place(url, data_dir, clock), seed)


async def create_store(url: str, seed: GlobalPolicy, *, clock: Clock, data_dir: Path | None = None) -> PolicyStore:
    """Create a store with `seed` as its first revision; refused if there is one already."""
    return await _backend(url).created(Place(url, data_dir, clock), seed)


def _backend(url: str) -> Backend:
    scheme = url.partition(":")[0]
    if scheme not in STORES:
        # Only the scheme is shown: the rest of a URL may carry a password.
        raise ConfigError(f"store.url: found the scheme {scheme[:32]!r}, expected one of {', '.join(STORES)}")
    return STORES[scheme]
