"""Where policies are kept. `STORES` lists every backend by the scheme of its URL; its driver is imported when used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.clock import Clock
from proxy.errors import ConfigError, PolicyInvalid
from proxy.stores.base import PolicyStore, Revision, StoredPolicy, Subscriber, merged, validated
from proxy.stores.legacy_env import LegacySettings, read_legacy, tightened
from proxy.stores.memory import MemoryStore
from proxy.stores.places import SQLITE_NAME, Place, shown
from proxy.stores.policies import Policies, RiskModeConfig, risk_config
from proxy.stores.starter import policy_text
from rules.profile import GlobalPolicy

if TYPE_CHECKING:
    from proxy.stores.sqlite import SqliteStore

__all__ = [
    "LegacySettings", "MemoryStore", "Place", "Policies", "PolicyInvalid", "PolicyStore", "Revision",
    "RiskModeConfig", "SQLITE_NAME", "STORES", "SqliteStore", "StoredPolicy", "Subscriber", "create_store", "merged",
    "migrate_store", "open_store", "policy_text", "read_legacy", "risk_config", "shown", "store_exists", "tightened",
    "validated",
]


class Backend(NamedTuple):
    """How a store is found, opened, created with its first policy, and brought to the newest schema."""

    exists: Callable[[Place], Awaitable[bool]]
    opened: Callable[[Place, GlobalPolicy | None], Awaitable[PolicyStore]]
    created: Callable[[Place, GlobalPolicy], Awaitable[PolicyStore]]
    migrated: Callable[[Place], Awaitable[tuple[str, str] | None]]


@contextmanager
def _extra(name: str, package: str) -> Iterator[None]:
    """Say which extra a missing driver comes with."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ConfigError(
            f"store.url: {name} needs {package}, which is not installed; expected riskgate[{name}]: "
            f"pip install 'riskgate[{name}]'"
        ) from None


# -- memory ----------------------------------------------------------------------------------------


async def _no_memory(_place: Place) -> bool:
    return False


async def _memory(place: Place, seed: GlobalPolicy | None) -> PolicyStore:
    if seed is None:
        raise ConfigError("store.url: found memory without a policy file, expected one: it remembers nothing itself")
    return MemoryStore(seed, clock=place.clock)


async def _nothing_to_migrate(_place: Place) -> None:
    return None


# -- SQLite ----------------------------------------------------------------------------------------


async def _sqlite_exists(place: Place) -> bool:
    return place.path.exists()


async def _open_sqlite(place: Place, _seed: GlobalPolicy | None) -> PolicyStore:
    from proxy.stores.sqlite import SqliteStore

    return await SqliteStore.open(place.path, clock=place.clock)


async def _create_sqlite(place: Place, seed: GlobalPolicy) -> PolicyStore:
    from proxy.stores.sqlite import SqliteStore

    return await SqliteStore.create(place.path, seed, clock=place.clock)


async def _migrate_sqlite(place: Place) -> tuple[str, str]:
    from proxy.stores.sqlite import migrate

    return await migrate(place.path)


# -- PostgreSQL ------------------------------------------------------------------------------------


async def _postgres_exists(place: Place) -> bool:
    with _extra("postgres", "asyncpg"):
        from proxy.stores.postgres import PostgresStore
    store = PostgresStore(place)
    try:
        return await store.exists()
    finally:
        await store.close()


async def _open_postgres(place: Place, _seed: GlobalPolicy | None) -> PolicyStore:
    with _extra("postgres", "asyncpg"):
        from proxy.stores.postgres import PostgresStore
    return await PostgresStore.open(place)


async def _create_postgres(place: Place, seed: GlobalPolicy) -> PolicyStore:
    with _extra("postgres", "asyncpg"):
        from proxy.stores.postgres import PostgresStore
    return await PostgresStore.create(place, seed)


async def _migrate_postgres(place: Place) -> tuple[str, str]:
    with _extra("postgres", "asyncpg"):
        from proxy.stores.postgres import PostgresStore
    return await PostgresStore.migrate(place)


# -- Redis and Valkey ------------------------------------------------------------------------------


async def _redis_exists(place: Place) -> bool:
    with _extra("redis", "redis"):
        from proxy.stores.redis import RedisStore
    store = RedisStore.at(place)
    try:
        return await store.exists()
    finally:
        await store.close()


async def _open_redis(place: Place, _seed: GlobalPolicy | None) -> PolicyStore:
    with _extra("redis", "redis"):
        from proxy.stores.redis import RedisStore
    return await RedisStore.open(place)


async def _create_redis(place: Place, seed: GlobalPolicy) -> PolicyStore:
    with _extra("redis", "redis"):
        from proxy.stores.redis import RedisStore
    return await RedisStore.create(place, seed)


_SQLITE = Backend(_sqlite_exists, _open_sqlite, _create_sqlite, _migrate_sqlite)
_POSTGRES = Backend(_postgres_exists, _open_postgres, _create_postgres, _migrate_postgres)
_REDIS = Backend(_redis_exists, _open_redis, _create_redis, _nothing_to_migrate)

STORES: Mapping[str, Backend] = MappingProxyType(
    {
        "memory": Backend(_no_memory, _memory, _memory, _nothing_to_migrate),
        "sqlite": _SQLITE,
        "postgresql": _POSTGRES,
        "postgres": _POSTGRES,
        "redis": _REDIS,
        "rediss": _REDIS,
        "valkey": _REDIS,
        "valkeys": _REDIS,
    }
)


async def open_store(
    url: str,
    *,
    clock: Clock,
    data_dir: Path | None = None,
    seed: GlobalPolicy | None = None,
    password: str | None = None,
) -> PolicyStore:
    """Open an existing store. `seed` serves only a store that forgets; a missing one is never made up."""
    return await _backend(url).opened(Place(url, data_dir, clock, password), seed)


async def create_store(
    url: str, seed: GlobalPolicy, *, clock: Clock, data_dir: Path | None = None, password: str | None = None
) -> PolicyStore:
    """Create a store with `seed` as its first revision; refused if there is one already."""
    return await _backend(url).created(Place(url, data_dir, clock, password), seed)


async def store_exists(
    url: str, *, clock: Clock, data_dir: Path | None = None, password: str | None = None
) -> bool:
    """Whether there is a store, whole or not; StoreUnavailable where that cannot be said."""
    return await _backend(url).exists(Place(url, data_dir, clock, password))


async def migrate_store(
    url: str, *, clock: Clock, data_dir: Path | None = None, password: str | None = None
) -> tuple[str, str] | None:
    """Bring a store to the newest schema; the schemas before and after, None for a store that has none."""
    return await _backend(url).migrated(Place(url, data_dir, clock, password))


def _backend(url: str) -> Backend:
    scheme = url.partition(":")[0]
    if scheme not in STORES:
        # Only the scheme is shown: the rest of a URL may carry a password.
        raise ConfigError(f"store.url: found the scheme {scheme[:32]!r}, expected one of {', '.join(STORES)}")
    return STORES[scheme]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as the name is
    """`SqliteStore`, imported when it is asked for: its libraries take longer to load than all else here."""
    if name == "SqliteStore":
        from proxy.stores.sqlite import SqliteStore

        return SqliteStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
