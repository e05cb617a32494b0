"""A policy store in PostgreSQL: the same tables as in a file, one row lock per change, NOTIFY as the hint.

A notification is lost while nobody listens, so it is never believed: whoever hears one reads,
and whoever begins to listen reads as well. A change is durable when it is answered; a server
that promises less is refused as a place to write.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from proxy.errors import ConfigError, StoredDataInvalid, StoreError, StoreUnavailable
from proxy.stores.base import TIMEOUT_S, Row, StoredPolicy, bounded
from proxy.stores.places import Place
from proxy.stores.sql import SqlStore, check_schema
from proxy.stores.tables import SCHEMA_NEWEST, VERSION_TABLE, Tables
from rules.profile import GlobalPolicy

CHANNEL = "riskgate_policy"
SCHEMA = "riskgate"
CONNECTIONS = 4
LISTEN_AGAIN_S = 0.5
STILL_THERE_S = 10.0  # how often the listening connection is asked whether it still is one
CREATE_TIMEOUT_S = 30.0
_LOCK = 0x52474154  # one creator or migrator at a time, in the whole database

# A lock, a statement and an open transaction end before the step that they are part of does.
_BOUNDS = """
SELECT set_config('lock_timeout', '4000', false), set_config('statement_timeout', '4500', false),
       set_config('idle_in_transaction_session_timeout', '10000', false)
"""

# Classes of SQLSTATE that pass or are the operator's: connection, authorisation, deadlock, resources, limits, state,
# intervention, system; a standby that takes no writes; a right that is missing. All else is damage.
_OUTAGES = ("08", "28", "40", "53", "54", "55", "57", "58", "25006", "3D000", "42501")


class PostgresStore(SqlStore):
    """The document in a schema of a database. What other processes write is heard of by NOTIFY."""

    driver_errors: ClassVar[tuple[type[Exception], ...]] = (asyncpg.PostgresError, asyncpg.InterfaceError)

    def __init__(self, place: Place) -> None:
        dsn, schema = place.taken("schema", SCHEMA)
        self._dsn = dsn
        self._password = place.password
        self._schema = schema
        super().__init__(self._made_engine(AsyncAdaptedQueuePool), Tables.of(schema), place.name, place.clock)

    def _made_engine(self, pool: type[AsyncAdaptedQueuePool | NullPool]) -> AsyncEngine:
        kept: dict[str, Any] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": TIMEOUT_S}
        kept["pool_pre_ping"] = True  # a server that was restarted is found so before a step, not by one
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            isolation_level="AUTOCOMMIT",
            poolclass=pool,
            **(kept if pool is AsyncAdaptedQueuePool else {}),
        )

    @classmethod
    async def open(cls, place: Place) -> PostgresStore:
        """Open the store and check it; none there is StoreUnavailable, a damaged one StoredDataInvalid."""
        store = cls(place)
        try:
            async with store._reached() as engine, engine.connect() as connection:
                check_schema(await connection.run_sync(store._schema_found), place.name)
            return await store._begin()
        except BaseException:
            await store.close()
            raise

    @classmethod
    async def create(
        cls, place: Place, seed: GlobalPolicy, *, updated_by: str = "init", reason: str = "seed"
    ) -> PostgresStore:
        """Make the tables with `seed` as revision 1, all or nothing; tables that are there are never touched."""
        first = Row.of(StoredPolicy.first(seed, place.clock, updated_by=updated_by, reason=reason))

        def made(store: PostgresStore, connection: Connection) -> None:
            from proxy.stores.migrations import upgrade  # alembic is for this and for migrating only

            if store._is_made(connection):
                raise ConfigError(f"found a policy store at {place.name}, expected none: it is never overwritten")
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{store._schema}"'))
            upgrade(connection, schema=store._schema)
            connection.execute(store._tables.into_current(first))
            connection.execute(store._tables.into_history(first))

        await asyncio.to_thread(lambda: asyncio.run(cls(place)._alone(made)))
        return await cls.open(place)

    @classmethod
    async def migrate(cls, place: Place) -> tuple[str, str]:
        """Bring the tables to the newest schema, all or nothing; the schemas before and after."""
        before: list[str] = []

        def migrated(store: PostgresStore, connection: Connection) -> None:
            from proxy.stores.migrations import upgrade  # alembic is for this and for new stores only

            found = store._schema_found(connection)
            check_schema(found, place.name, migrates=True)
            before.append(found)
            upgrade(connection, schema=store._schema)

        await asyncio.to_thread(lambda: asyncio.run(cls(place)._alone(migrated)))
        return before[0], SCHEMA_NEWEST

    async def _alone(self, work: Callable[[PostgresStore, Connection], None]) -> None:
        """Do `work` in one transaction that no other creator or migrator runs beside; in a thread of its own."""
        engine = self._made_engine(NullPool)
        try:
            async with bounded(CREATE_TIMEOUT_S, f"making the policy store at {self._name}"):
                with self._translated():
                    async with engine.connect() as connection:
                        await connection.execution_options(isolation_level="READ COMMITTED")
                        async with connection.begin():
                            await self._check_durable(connection)
                            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                            await connection.run_sync(lambda one: work(self, one))
        finally:
            await engine.dispose()
            await self._engine.dispose()

    async def exists(self) -> bool:
        """Whether there is a store, whole or not."""
        async with self._reached() as engine, engine.connect() as connection:
            return await connection.run_sync(self._is_made)

    async def _connect(self) -> Any:  # noqa: ANN401 - asyncpg has no types
        connection = await asyncpg.connect(
            self._dsn,
            password=self._password,
            timeout=TIMEOUT_S,
            command_timeout=TIMEOUT_S,
            server_settings={"application_name": "riskgate"},
        )
        try:
            await connection.execute(_BOUNDS)
        except BaseException:
            connection.terminate()
            raise
        return connection

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                await self._check_durable(connection)
                yield connection

    async def _check_durable(self, connection: AsyncConnection) -> None:
        """A commit must be on disk when it is answered, whatever the server's or the role's default is."""
        asked = text("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
        fsync, commit = (await connection.execute(asked)).one()
        if fsync != "on":
            raise StoreUnavailable(
                f"the policy store at {self._name}: found fsync = {fsync}, expected on: "
                "a change that is answered could be lost, so none is made"
            )
        if commit == "off":
            await connection.execute(text("SET LOCAL synchronous_commit = on"))

    async def _hint(self, _connection: AsyncConnection, _events: tuple[str, ...]) -> None:
        for event in _events:
            await _connection.execute(
                text("SELECT pg_notify(:channel, :event)"), {"channel": self._channel, "event": event}
            )

    @property
    def _channel(self) -> str:
        return CHANNEL if self._schema == SCHEMA else f"{CHANNEL}_{self._schema}"[:63]

    async def _watch(self) -> None:
        """Listen first, then read; listen again whenever the connection is lost."""
        while True:
            try:
                await self._listen()
            except (OSError, SQLAlchemyError, StoreError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                # Without hints the poll still finds every change; listening begins again.
                self._hints_lost(error)
            await asyncio.sleep(LISTEN_AGAIN_S)

    async def _listen(self) -> None:
        made: list[Any] = []

        async def connect() -> None:
            made.append(await self._connect())

        rung = asyncio.Event()
        try:
            await self._finished(connect())
            connection = made[0]
            connection.add_termination_listener(lambda _: rung.set())
            async with bounded(TIMEOUT_S, "listening"):
                await connection.add_listener(self._channel, lambda *_: rung.set())
            self._hints_found()
            rung.set()
            while not connection.is_closed():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STILL_THERE_S):
                        await rung.wait()
                if rung.is_set():
                    rung.clear()
                    await self._heard()
                else:
                    async with bounded(TIMEOUT_S, "listening"):
                        await connection.execute("SELECT 1")
        finally:
            for connection in made:
                connection.terminate()

    def _is_made(self, connection: Connection) -> bool:
        place = f'"{self._schema}".policy_current'
        return connection.execute(text("SELECT to_regclass(:place) IS NOT NULL"), {"place": place}).scalar() is True

    def _schema_found(self, connection: Connection) -> str:
        if not self._is_made(connection):
            raise StoreUnavailable(
                f"found no policy store at {self._name}, expected one: `riskgate store create` makes it"
            )
        place = f'"{self._schema}".{VERSION_TABLE}'
        if connection.execute(text("SELECT to_regclass(:place) IS NULL"), {"place": place}).scalar():
            raise StoredDataInvalid(f"found no table {VERSION_TABLE} in {self._name}, expected one")
        versions = connection.execute(self._tables.version.select()).scalars().all()
        if len(versions) != 1:
            raise StoredDataInvalid(f"found {len(versions)} schemas in {self._name}, expected one")
        return str(versions[0])

    def _outage(self, error: BaseException) -> str | None:
        state = getattr(error, "sqlstate", None)
        if state is None or str(state).startswith(_OUTAGES):
            # Without a state it is a connection that was not had, or was lost.
            return f"{type(error).__name__}: {error}" if state is None else f"{state}: {error}"
        return None
