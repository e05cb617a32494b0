"""What the two SQL stores do alike: rows by SQLAlchemy Core, every step within a bound, errors by who has to act."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, ClassVar, NoReturn

from sqlalchemy import Select, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.clock import Clock
from proxy.errors import ConfigError, StoredDataInvalid, StoreUnavailable
from proxy.stores.base import TIMEOUT_S, Row, VersionedStore, bounded, conflict
from proxy.stores.tables import SCHEMA_NEWEST, SCHEMAS, Tables


class SqlStore(VersionedStore):
    """The document in two tables: the current revision, and every revision there was."""

    may_keep_unanswered = True
    driver_errors: ClassVar[tuple[type[Exception], ...]] = ()  # what the driver raises past SQLAlchemy

    def __init__(self, engine: AsyncEngine, tables: Tables, name: str, clock: Clock) -> None:
        super().__init__(clock)
        self._engine = engine
        self._tables = tables
        self._name = name  # as it may be shown: no password in it
        self._closed = False

    @abstractmethod
    def _transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection on which all or nothing is done, durably."""

    @abstractmethod
    def _outage(self, error: BaseException) -> str | None:
        """What passes, or is the machine's to mend, in a driver's words; None for damage."""

    async def _hint(self, _connection: AsyncConnection, _events: tuple[str, ...]) -> None:
        """Tell other processes, with the transaction, that there is something to read."""
        return

    async def _current(self) -> Row:
        rows = await self._asked(self._tables.current_row())
        if len(rows) != 1:
            raise StoredDataInvalid(f"found {len(rows)} rows where {self._name} keeps the policy, expected one")
        return rows[0]

    async def _rows(self, first: int, last: int) -> list[Row]:
        return await self._asked(self._tables.history_rows(first, last))

    async def _asked(self, query: Select[Any]) -> list[Row]:
        async with self._reached() as engine, engine.connect() as connection:
            return [Row(*row) for row in await connection.execute(query)]

    async def _write(self, row: Row, events: tuple[str, ...]) -> None:
        async with self._reached(), self._transaction() as connection:
            replaced = await connection.execute(self._tables.replace_current(row))
            if replaced.rowcount != 1:
                await self._refuse(connection, row)
            await connection.execute(self._tables.into_history(row))
            await self._hint(connection, events)

    async def _refuse(self, connection: AsyncConnection, row: Row) -> NoReturn:
        found = (await connection.execute(select(self._tables.current.c.revision))).scalars().all()
        if len(found) != 1 or found[0] == row.revision - 1:
            raise StoredDataInvalid(f"found no current policy in {self._name}, expected one")
        raise conflict(expected=row.revision - 1, found=found[0])

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[AsyncEngine]:
        """The engine, for one step: within the bound, its errors in our words."""
        if self._closed:
            raise StoreUnavailable(f"the policy store at {self._name} is closed")
        async with bounded(TIMEOUT_S, f"the policy store at {self._name}"):
            with self._translated():
                yield self._engine

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise  # the bound around it says so
        except (SQLAlchemyError, OSError) as error:
            raise self._in_our_words(error) from error
        except self.driver_errors as error:
            raise self._in_our_words(error) from error

    def _in_our_words(self, error: BaseException) -> StoreUnavailable | StoredDataInvalid:
        # A driver's own message only: SQLAlchemy's repeats the statement and its values.
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if (said := self._outage(cause)) is not None:
            return StoreUnavailable(f"the policy store at {self._name} cannot be used now: {said}")
        return StoredDataInvalid(f"the policy store at {self._name} is damaged: {type(cause).__name__}: {cause}")

    async def close(self) -> None:
        """Let a running change finish and close every connection."""
        await super().close()
        self._closed = True
        await self._engine.dispose()


def check_schema(found: str | None, name: str, *, migrates: bool = False) -> None:
    """A store of another schema is not opened: reading it as ours could read it wrong."""
    if found == SCHEMA_NEWEST or (migrates and found in SCHEMAS):
        return
    if found is None or found in SCHEMAS:
        raise ConfigError(
            f"the policy store at {name}: found the schema {found}, expected {SCHEMA_NEWEST}; "
            "`riskgate store migrate` brings it there"
        )
    raise ConfigError(
        f"the policy store at {name}: found the schema {found[:32]!r}, expected one of {', '.join(SCHEMAS)}; "
        "a newer riskgate made it"
    )
