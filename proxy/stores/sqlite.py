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
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote

import aiosqlite

from proxy.clock import Clock
from proxy.errors import ConfigError, StoredDataInvalid, StoreUnavailable
from proxy.stores.base import StoredPolicy, VersionedStore, conflict, decoded, digest, encoded
from rules.profile import GlobalPolicy

APPLICATION_ID = 0x52474154  # "RGAT", so that another program's file is not taken for ours
SCHEMA_VERSION = 1
LOCK_WAIT_S = 5.0

# What passes or is the machine's: everything else SQLite complains about is damage.
_OUTAGES = tuple(
    f"SQLITE_{name}"
    for name in ("BUSY", "LOCKED", "CANTOPEN", "FULL", "READONLY", "IOERR", "PERM", "NOMEM", "INTERRUPT")
)

_COLUMNS = "revision, updated_at, updated_by, reason, document, digest"
_TABLE = """(
    revision INTEGER NOT NULL UNIQUE,
    updated_at TEXT NOT NULL,
    updated_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    document TEXT NOT NULL,
    digest TEXT NOT NULL
"""
_SCHEMA = f"""
CREATE TABLE policy_current {_TABLE}, only INTEGER PRIMARY KEY DEFAULT 1 CHECK (only = 1)) STRICT;
CREATE TABLE policy_history {_TABLE}, PRIMARY KEY (revision)) STRICT;
"""
_INTO_HISTORY = f"INSERT INTO policy_history ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only
_INTO_CURRENT = f"INSERT INTO policy_current ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only
_REPLACE_CURRENT = (
    "UPDATE policy_current SET revision = ?, updated_at = ?, updated_by = ?, reason = ?, document = ?, digest = ?"
)
_CURRENT = f"SELECT {_COLUMNS} FROM policy_current"  # noqa: S608 - constants only
_FIRST = f"SELECT {_COLUMNS} FROM policy_history ORDER BY revision LIMIT 1"  # noqa: S608 - constants only


class Row(NamedTuple):
    """One stored revision as it is in the file."""

    revision: int
    updated_at: str
    updated_by: str
    reason: str
    document: str
    digest: str

    @classmethod
    def of(cls, stored: StoredPolicy) -> Self:
        """The row that keeps `stored`."""
        told = (stored.revision, stored.updated_at.isoformat(), stored.updated_by, stored.reason)
        document = encoded(stored.policy)
        return cls(*told, document, digest(*told, document))

    def read(self) -> StoredPolicy:
        """The stored policy, if the row is whole."""
        told = (self.revision, self.updated_at, self.updated_by, self.reason)
        if digest(*told, self.document) != self.digest:
            raise StoredDataInvalid(f"revision {self.revision} of the policy does not match its checksum")
        return StoredPolicy(
            policy=decoded(self.document),
            revision=self.revision,
            updated_at=datetime.fromisoformat(self.updated_at),
            updated_by=self.updated_by,
            reason=self.reason,
        )


class SqliteStore(VersionedStore):
    """The document in a file. Other processes may write to it as well; they are seen at the next `get`."""

    def __init__(self, path: Path, connection: aiosqlite.Connection, clock: Clock) -> None:
        super().__init__(clock)
        self._path = path
        self._identity = _identity(path)
        self._connection = connection
        self._statements = asyncio.Lock()  # one transaction at a time on the connection

    @classmethod
    async def create(
        cls, path: Path, seed: GlobalPolicy, *, clock: Clock, updated_by: str = "init", reason: str = "seed"
    ) -> SqliteStore:
        """Make the file with `seed` as revision 1; a file that is there is never touched."""
        first = StoredPolicy(
            policy=seed, revision=1, updated_at=clock.now(), updated_by=updated_by, reason=reason
        )
        await asyncio.to_thread(_create_file, path, Row.of(first))
        return await cls.open(path, clock=clock)

    @classmethod
    async def open(cls, path: Path, *, clock: Clock) -> SqliteStore:
        """Open the file and check it; a missing one is StoreUnavailable, a damaged one StoredDataInvalid."""
        if not await asyncio.to_thread(path.is_file):
            raise StoreUnavailable(f"found no policy store at {path}, expected one: `riskgate init` creates it")
        with _translated(path):
            # mode=rw: opening must never create an empty file.
            connection = await aiosqlite.connect(
                f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=LOCK_WAIT_S
            )
        try:
            with _translated(path):
                await _check(connection, path)
            store = cls(path, connection, clock)
            await store.get()
            await store._seed()
        except BaseException:
            await connection.close()
            raise
        return store

    async def get(self) -> StoredPolicy:
        """The policy as the file has it."""
        return (await self._row(_CURRENT)).read()

    async def _seed(self) -> GlobalPolicy:
        return (await self._row(_FIRST)).read().policy

    async def _row(self, query: str) -> Row:
        async with self._statements:
            with _translated(self._path):
                self._same_file()
                async with self._connection.execute(query) as cursor:
                    rows = list(await cursor.fetchmany(2))
        if len(rows) != 1:
            raise StoredDataInvalid(f"found {len(rows)} rows where {self._path} keeps a policy, expected one")
        return Row(*rows[0])

    async def _write(self, stored: StoredPolicy) -> None:
        row = Row.of(stored)
        async with self._statements:
            with _translated(self._path):
                self._same_file()
                async with self._transaction():
                    async with self._connection.execute("SELECT revision FROM policy_current") as cursor:
                        found = await cursor.fetchone()
                    if found is None:
                        raise StoredDataInvalid(f"found no current policy in {self._path}, expected one")
                    if found[0] != row.revision - 1:
                        raise conflict(expected=row.revision - 1, found=found[0])
                    await self._connection.execute(_REPLACE_CURRENT, row)
                    await self._connection.execute(_INTO_HISTORY, row)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """All or nothing, with the write lock taken at the start so that two processes cannot both read first."""
        await self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            await self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                await self._connection.execute("ROLLBACK")
            raise

    def _same_file(self) -> None:
        """Writing on into a deleted or replaced file would keep nothing."""
        if _identity(self._path) != self._identity:
            raise StoreUnavailable(f"the policy store at {self._path} was removed or replaced while in use")

    async def close(self) -> None:
        """Let a running change finish and close the file."""
        await super().close()
        await self._connection.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def _check(connection: aiosqlite.Connection, path: Path) -> None:
    """The file is ours, whole, and will be synced at every change."""
    found = {}
    for pragma in ("application_id", "user_version", "quick_check"):
        async with connection.execute(f"PRAGMA {pragma}") as cursor:
            row = await cursor.fetchone()
            found[pragma] = row[0] if row else None
    expected = {"application_id": APPLICATION_ID, "user_version": SCHEMA_VERSION, "quick_check": "ok"}
    if found != expected:
        raise StoredDataInvalid(f"{path} is no whole policy store: found {found}, expected {expected}")
    await connection.execute("PRAGMA synchronous = FULL")


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors by who has to act: busy, full or gone is an outage, anything else is damage."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        if name.startswith(_OUTAGES):
            raise StoreUnavailable(f"the policy store at {path} cannot be used now: {name}: {error}") from error
        raise StoredDataInvalid(f"the policy store at {path} is damaged: {name}: {error}") from error
    except ValueError as error:
        # aiosqlite says "no active connection" after close.
        raise StoreUnavailable(f"the policy store at {path} is closed: {error}") from error


def _create_file(path: Path, row: Row) -> None:
    """Build the file beside its place and link it in: a crash leaves the whole store or none."""
    if path.exists():
        raise ConfigError(f"found a policy store at {path}, expected none: it is never overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_INTO_CURRENT, row)
            connection.execute(_INTO_HISTORY, row)
            connection.execute("COMMIT")
        os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            raise ConfigError(f"found a policy store at {path}, expected none: it is never overwritten") from None
        _sync_folder(path.parent)
    finally:
        os.close(descriptor)
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
