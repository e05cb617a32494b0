"""Schemas: what older versions wrote is read on, brought to the newest schema on request, and never half of it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.clock import ManualClock
from proxy.errors import ConfigError, StoredDataInvalid
from proxy.stores import SqliteStore, create_store, migrate_store, migrations, open_store
from proxy.stores.tables import SCHEMA_NEWEST, SCHEMAS
from tests.contracts.conftest import postgres_url, with_own_part

__all__ = ["postgres_url"]

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


LATER = '''"""A later version's change, for the tests."""
import sqlalchemy as sa
from alembic import context, op
revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None
def upgrade():
    op.create_table("later", sa.Column("note", sa.Text), schema=context.config.attributes["schema"])
    FAILS
'''


@pytest.fixture
def later_version(tmp_path, monkeypatch):
    """As if the next version of riskgate ran, with one more migration; called, it becomes that version."""

    def become(*, fails: bool = False) -> None:
        scripts = tmp_path / ("failing" if fails else "later")
        shutil.copytree(migrations.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        (scripts / "versions" / "v0002_later.py").write_text(
            LATER.replace("FAILS", 'op.execute("SELECT 1 FROM nowhere")' if fails else "")
        )
        monkeypatch.setattr(migrations, "SCRIPTS", scripts)
        for module in ("sql", "sqlite", "postgres"):
            for name, value in {"SCHEMAS": ("0001", "0002"), "SCHEMA_NEWEST": "0002"}.items():
                monkeypatch.setattr(f"proxy.stores.{module}.{name}", value, raising=False)

    return become


@pytest.mark.parametrize("kind", ["sqlite as first written", "sqlite", "postgres"])
async def test_a_store_is_migrated_when_asked_and_not_by_a_start(tmp_path, old, later_version, request, kind):
    """The next version does not open it; `migrate` brings it there whole, and what was kept is there."""
    url = f"sqlite://{old}"
    if kind != "sqlite as first written":
        seed = (await (store := await SqliteStore.open(old, clock=CLOCK)).get()).policy
        await store.close()
        url = f"sqlite://{tmp_path}/new.sqlite"
        if kind == "postgres":
            url = with_own_part(request.getfixturevalue("postgres_url"), "postgres")
        await (await create_store(url, seed, clock=CLOCK)).close()
    store = await open_store(url, clock=CLOCK)
    before, listed = await store.get(), await store.history()
    await store.close()
    later_version()
    with pytest.raises(ConfigError, match="found the schema 0001, expected 0002; `riskgate store migrate`"):
        await open_store(url, clock=CLOCK)
    assert await migrate_store(url, clock=CLOCK) == ("0001", "0002")
    assert await migrate_store(url, clock=CLOCK) == ("0002", "0002")
    store = await open_store(url, clock=CLOCK)

    assert (await store.get(), await store.history()) == (before, listed)
    assert (await store.switch_mode("NORMAL", **BY)).revision == before.revision + 1
    await store.close()
    assert (old.with_name("policy.sqlite.schema-0001").exists()) == (kind == "sqlite as first written")
    if kind == "sqlite as first written":
        copy = old.with_name("policy.sqlite.schema-0001")
        assert copy.stat().st_mode & 0o777 == 0o600
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT count(*) FROM policy_history").fetchone() == (3,)
            assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'later'").fetchone() == (0,)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_migration_that_fails_leaves_the_store_as_it_was(old, later_version, monkeypatch, request, kind):
    """Nothing of it is kept; the version before opens the store as if nothing had been tried."""
    url = f"sqlite://{old}"
    if kind == "postgres":
        store = await SqliteStore.open(old, clock=CLOCK)
        url = with_own_part(request.getfixturevalue("postgres_url"), "postgres")
        await (await create_store(url, (await store.get()).policy, clock=CLOCK)).close()
        await store.close()
    later_version(fails=True)
    with pytest.raises(StoredDataInvalid, match="nowhere"):
        await migrate_store(url, clock=CLOCK)
    monkeypatch.undo()
    store = await open_store(url, clock=CLOCK)

    assert (await store.switch_mode("NORMAL", **BY)).revision > 1
    await store.close()


async def test_a_copy_from_before_is_never_overwritten(old, later_version):
    """Somebody's way back stays; the migration asks for it to be moved first."""
    later_version()
    copy = old.with_name("policy.sqlite.schema-0001")
    copy.write_bytes(b"the way back")
    with pytest.raises(ConfigError, match="expected nothing there"):
        await migrate_store(f"sqlite://{old}", clock=CLOCK)

    assert copy.read_bytes() == b"the way back"
