"""The tables of the SQL stores as statements use them; `migrations` makes and changes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Insert, Integer, MetaData, Select, Table, Text, Update, insert, select, update

from proxy.stores.base import Row

SCHEMAS = ("0001",)  # every one of `migrations`, in their order
SCHEMA_NEWEST = SCHEMAS[-1]  # a store of another schema is not opened
SCHEMA_FIRST = SCHEMAS[0]  # what files of before the version table have
VERSION_TABLE = "policy_schema"


@dataclass(frozen=True, slots=True)
class Tables:
    """Both tables and the version, in a named schema where the database has those."""

    current: Table
    history: Table
    version: Table

    @classmethod
    def of(cls, schema: str | None) -> Tables:
        """The tables in a schema of PostgreSQL, or of a file."""
        metadata = MetaData(schema=schema)
        return cls(
            Table("policy_current", metadata, *_columns(), Column("only", Integer)),
            Table("policy_history", metadata, *_columns()),
            Table(VERSION_TABLE, metadata, Column("version_num", Text)),
        )

    def current_row(self) -> Select[Any]:
        """Ask for the current revision; two would be damage, so two are asked for."""
        return select(*_named(self.current)).limit(2)

    def history_rows(self, first: int, last: int) -> Select[Any]:
        """Ask for kept revisions, both ends included."""
        return select(*_named(self.history)).where(self.history.c.revision.between(first, last))

    def replace_current(self, row: Row) -> Update:
        """Put `row` in place of the revision before it, and of no other."""
        return update(self.current).where(self.current.c.revision == row.revision - 1).values(row._asdict())

    def into_history(self, row: Row) -> Insert:
        """Keep `row` for good."""
        return insert(self.history).values(row._asdict())

    def into_current(self, row: Row) -> Insert:
        """Put the first revision of a new store in its place."""
        return insert(self.current).values(row._asdict())


def _columns() -> list[Column[Any]]:
    return [Column("revision", Integer), *(Column(name, Text) for name in Row._fields[1:])]


def _named(table: Table) -> list[Column[Any]]:
    return [table.c[name] for name in Row._fields]
