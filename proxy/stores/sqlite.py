"""The default policy store: one SQLite file, WAL, synced to disk at every change.

The current revision and its history are written in one transaction. Every row carries a
checksum. What cannot be read is StoredDataInvalid and stays as it is: a damaged file is
evidence, and a new one in its place would be a looser policy that nobody chose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiosqlite
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from proxy.clock import Clock
from proxy.errors import ConfigError, StoredDataInvalid, StoreUnavailable
from proxy.stores.base import Row, StoredPolicy
from proxy.stores.sql import SqlStore, check_schema
from proxy.stores.tables import SCHEMA_FIRST, SCHEMA_NEWEST, VERSION_TABLE, Tables
from rules.profile import GlobalPolicy

APPLICATION_ID = 0x52474154  # "RGAT", so that another program's file is not taken for ours
FILE_FORMAT = 1
LOCK_WAIT_S = 4.0  # less than the bound of a step, so that a lock is called a lock
WATCH_S = 0.02  # how often the file is looked at for changes of other processes
CONNECTIONS = 2  # a reader need not wait for a writer

TABLES = Tables.of(None)

# What passes or is the machine's: everything else SQLite complains about is damage.
_OUTAGES = tuple(
    f"SQLITE_{name}"
    for name in ("BUSY", "LOCKED", "CANTOPEN", "FULL", "READONLY", "IOERR", "PERM", "NOMEM", "INTERRUPT")
)


class SqliteStore(SqlStore):
    """The document in a file. What other processes write to it is heard of within WATCH_S."""

    def __init__(self, path: Path, clock: Clock) -> None:
        engine = create_async_engine(
            "sqlite+aiosqlite://",
            async_creator=self._connect,
            isolation_level="AUTOCOMMIT",  # transactions are begun by hand, with the write lock first
            poolclass=AsyncAdaptedQueuePool,
            pool_size=CONNECTIONS,
            max_overflow=0,
        )
        super().__init__(engine, TABLES, str(path), clock)
        self._path = path
        self._identity = _identity(path)

    @classmethod
    async def create(
        cls, path: Path, seed: GlobalPolicy, *, clock: Clock, updated_by: str = "init", reason: str = "seed"
    ) -> SqliteStore:
        """Make the file with `seed` as revision 1; a file that is there is never touched."""
        first = StoredPolicy.first(seed, clock, updated_by=updated_by, reason=reason)
        await asyncio.to_thread(_create_file, path, Row.of(first))
        return await cls.open(path, clock=clock)

    @classmethod
    async def open(cls, path: Path, *, clock: Clock) -> SqliteStore:
        """Open the file and check it; a missing one is StoreUnavailable, a damaged one StoredDataInvalid."""
        if not await asyncio.to_thread(path.is_file):
            raise StoreUnavailable(f"found no policy store at {path}, expected one: `riskgate store create` makes it")
        store = cls(path, clock)
        try:
            async with store._reached() as engine, engine.connect() as connection:
                found = await connection.run_sync(_schema_of, path)
            check_schema(found, str(path))
            return await store._begin()
        except BaseException:
            await store.close()
            raise

    async def _connect(self) -> aiosqlite.Connection:
        self._same_file()
        # mode=rw: opening must never create an empty file.
        connection = await aiosqlite.connect(_uri(self._path), uri=True, isolation_level=None, timeout=LOCK_WAIT_S)
        try:
            await connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _asked(self, query: Any) -> list[Row]:  # noqa: ANN401 - as SqlStore
        self._same_file()
        return await super()._asked(query)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        """All or nothing, with the write lock taken at the start so that two processes cannot both read first."""
        self._same_file()
        async with self._engine.connect() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                await connection.exec_driver_sql("COMMIT")
            except BaseException:
                with contextlib.suppress(SQLAlchemyError):  # the first error is the one to tell
                    await connection.exec_driver_sql("ROLLBACK")
                raise

    def _outage(self, error: BaseException) -> str | None:
        return _outage(error)

    def _same_file(self) -> None:
        """Writing on into a deleted or replaced file would keep nothing."""
        if _identity(self._path) != self._identity:
            raise StoreUnavailable(f"the policy store at {self._path} was removed or replaced while in use")

    async def _watch(self) -> None:
        """Every commit touches the file or its log; to look at both costs microseconds."""
        seen, has_changed = _stamp(self._path), False
        while True:
            await asyncio.sleep(WATCH_S)
            now = _stamp(self._path)
            # A commit ends some time after its first bytes, and within one tick of the clock that stamps files both
            # look alike: after a change it is read once more when nothing has moved since.
            if now != seen or has_changed:
                has_changed = now != seen
                seen = now
                await self._heard()


async def migrate(path: Path) -> tuple[str, str]:
    """Bring a file to the newest schema, after copying it beside itself; the schemas before and after."""
    return await asyncio.to_thread(_migrate_file, path)


def _migrate_file(path: Path) -> tuple[str, str]:
    from proxy.stores.migrations import upgrade  # alembic is for this and for new stores only

    if not path.is_file():
        raise StoreUnavailable(f"found no policy store at {path}, expected one to migrate")
    try:
        with _opened(path) as connection:
            connection.exec_driver_sql("BEGIN EXCLUSIVE")  # nobody writes between the copy and the change
            found = _schema_of(connection, path)
            check_schema(found, str(path), migrates=True)
            if found == SCHEMA_NEWEST:
                return found, found
            _copy(path, path.with_name(f"{path.name}.schema-{found}"))
            upgrade(connection, schema=None, found=None if _has_version(connection) else found)
            connection.exec_driver_sql("COMMIT")
    except SQLAlchemyError as error:
        raise _in_words(path, getattr(error, "orig", None) or error) from error
    return found, SCHEMA_NEWEST


def _copy(path: Path, beside: Path) -> None:
    """The store as it was, for the way back."""
    try:
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        raise ConfigError(f"found {beside}, expected nothing there: the store is copied to it first") from None
    with closing(sqlite3.connect(_uri(path), uri=True)) as source, closing(sqlite3.connect(beside)) as target:
        source.backup(target)
    _sync(beside)
    _sync(beside.parent)


def _outage(error: BaseException) -> str | None:
    name = getattr(error, "sqlite_errorname", None)
    if isinstance(name, str) and name.startswith(_OUTAGES):
        return f"{name}: {error}"
    # A connection that was closed under a running step, or could not be had in time.
    return str(error) if isinstance(error, OSError) or "connection" in str(error).lower() else None


def _in_words(path: Path, error: BaseException) -> StoreUnavailable | StoredDataInvalid:
    if (said := _outage(error)) is not None:
        return StoreUnavailable(f"the policy store at {path} cannot be used now: {said}")
    return StoredDataInvalid(f"the policy store at {path} is damaged: {type(error).__name__}: {error}")


def _schema_of(connection: Connection, path: Path) -> str:
    """The schema of a file that is ours and whole."""
    found = {
        pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
        for pragma in ("application_id", "user_version", "quick_check")
    }
    expected = {"application_id": APPLICATION_ID, "user_version": FILE_FORMAT, "quick_check": "ok"}
    if found != expected:
        raise StoredDataInvalid(f"{path} is no whole policy store: found {found}, expected {expected}")
    if not _has_version(connection):
        return SCHEMA_FIRST  # a file of before the version table
    versions = connection.execute(TABLES.version.select()).scalars().all()
    if len(versions) != 1:
        raise StoredDataInvalid(f"found {len(versions)} schemas in {path}, expected one")
    return str(versions[0])


def _has_version(connection: Connection) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.exec_driver_sql(query, (VERSION_TABLE,)).scalar() == 1


def _uri(path: Path) -> str:
    return f"file:{quote(str(path))}?mode=rw"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _stamp(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """When the file and its log were last written to, and their sizes."""

    def of(file: Path) -> tuple[int, int] | None:
        try:
            status = file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    return of(path), of(path.with_name(f"{path.name}-wal"))


@contextmanager
def _opened(path: Path) -> Iterator[Connection]:
    """A connection for making or migrating the file, in a thread of its own."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(_uri(path), uri=True, isolation_level=None, timeout=LOCK_WAIT_S)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def _create_file(path: Path, row: Row) -> None:
    """Build the file beside its place and link it in: a crash leaves the whole store or none."""
    from proxy.stores.migrations import upgrade  # alembic is for this and for migrating only

    if path.exists():
        raise ConfigError(f"found a policy store at {path}, expected none: it is never overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        try:
            with _opened(draft) as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                connection.exec_driver_sql("PRAGMA synchronous = FULL")
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.exec_driver_sql(f"PRAGMA user_version = {FILE_FORMAT}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                upgrade(connection, schema=None)
                connection.execute(TABLES.into_current(row))
                connection.execute(TABLES.into_history(row))
                connection.exec_driver_sql("COMMIT")
        except SQLAlchemyError as error:
            raise _in_words(path, getattr(error, "orig", None) or error) from error
        _sync(draft)
        try:
            os.link(draft, path)
        except FileExistsError:
            raise ConfigError(f"found a policy store at {path}, expected none: it is never overwritten") from None
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
