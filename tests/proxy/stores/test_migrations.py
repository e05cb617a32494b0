"""Schemas: what older versions wrote is read on, brought to the newest schema on request, and never half of it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.clock import ManualClock
from proxy.stores import SqliteStore
from proxy.stores.tables import SCHEMA_NEWEST, SCHEMAS

CLOCK = ManualClock(datetime(2026, 2, 1, tzinfo=UTC))
MADE_BEFORE = Path(__file__).parents[2] / "data" / "stores" / "policy_v1.sqlite"
VERSIONS = Path(__file__).parents[3] / "proxy" / "stores" / "migrations" / "versions"
BY = {"updated_by": "ana", "reason": "test"}


@pytest.fixture
def old(tmp_path):
    """A file as the first version wrote it: three revisions, no version table."""
    shutil.copy(MADE_BEFORE, tmp_path / "policy.sqlite")
    return tmp_path / "policy.sqlite"


def test_the_listed_schemas_are_the_migrations_in_their_order():
    """The schema a store must have is the last migration; none is forgotten in either place."""
    assert tuple(sorted(file.stem[1:5] for file in VERSIONS.glob("v*.py"))) == SCHEMAS
    assert SCHEMAS[-1] == SCHEMA_NEWEST


async def test_a_file_of_the_first_version_works_on(old):
    """Policy, who, when and why of each revision are read, and it is written on."""
    store = await SqliteStore.open(old, clock=CLOCK)
    stored = await store.get()
    told = [(one.revision, one.updated_at.hour, one.updated_by, one.reason) for one in await store.history()]
    reset = await store.reset(expected_revision=3, **BY)
    await store.close()

    assert (stored.revision, stored.policy.active_mode, stored.policy.accounts["main"].leverage_max) == (
        3, "DEFENSIVE", 2,
    )
    assert told == [(3, 14, "ben", "less of it"), (2, 13, "ana", "the market turned"), (1, 12, "init", "seed")]
    assert (reset.revision, reset.policy.active_mode) == (4, "NORMAL")


async def test_new_files_have_the_tables_of_old_ones(old, tmp_path):
    """The first migration makes what the first version made: same columns, types and constraints."""
    store = await SqliteStore.open(old, clock=CLOCK)
    seed = (await store.get()).policy
    await store.close()
    await (await SqliteStore.create(tmp_path / "new", seed, clock=CLOCK)).close()

    def columns(file: Path) -> dict[str, list[object]]:
        with closing(sqlite3.connect(file)) as connection:
            return {
                table: sorted(row[1:4] for row in connection.execute(f"PRAGMA table_info({table})"))
                + connection.execute(f"SELECT strict FROM pragma_table_list WHERE name = '{table}'").fetchall()
                for table in ("policy_current", "policy_history")
            }

    def loosened(found: dict[str, list[object]]) -> dict[str, list[object]]:
        # A primary key is said to be NOT NULL by one and not by the other; it is in both.
        return {
            table: [row if len(row) == 1 or row[0] not in ("only", "revision") else row[:2] for row in rows]
            for table, rows in found.items()
        }

    assert loosened(columns(old)) == loosened(columns(tmp_path / "new"))
    for file in (old, tmp_path / "new"):
        with closing(sqlite3.connect(file)) as connection, pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO policy_current SELECT 9, 'a', 'b', 'c', 'd', 'e', 2")
