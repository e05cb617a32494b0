"""PostgreSQL alone: a full disk, a killed server, what it promises about its disk, and whom it lets in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime

import asyncpg
import pytest

from proxy.clock import ManualClock
from proxy.errors import ConfigError, StoredDataInvalid, StoreUnavailable
from proxy.stores import create_store, migrate_store, open_store, store_exists, validated
from proxy.stores.postgres import PostgresStore
from tests.canary import marked
from tests.contracts.servers import PASSWORD, Postgres

BY = {"updated_by": "ana", "reason": "test"}
CLOCK = ManualClock(datetime(2026, 1, 15, 12, tzinfo=UTC))
SEED = validated({"active_mode": "NORMAL", "accounts": {"main": {"strategies": "any", "symbols": ["BTCUSDT"]}}})


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL that may be killed."""
    made = Postgres.make()
    yield made
    made.close()


@pytest.fixture
async def database(server):
    """A connection past the store; whatever was made is dropped afterwards."""
    connection = await asyncpg.connect(server.url)
    yield connection
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        if connection.is_closed():
            connection = await asyncpg.connect(server.url)
        await connection.execute("DROP SCHEMA IF EXISTS riskgate CASCADE")
        await connection.execute("ALTER ROLE risk RESET ALL")
    await connection.close()


def bulky(number: int) -> object:
    """A policy of some 300 kB that compresses badly."""
    chance = [f"{(number * 7919 + index) * 2654435761 % 10**9:09d}" for index in range(20_000)]
    return validated({"active_mode": "NORMAL", "accounts": {"main": {"strategies": "any", "symbols": chance}}})


async def test_the_url_names_the_server_and_the_schema_and_shows_no_password(server, database):
    """Schema `riskgate` unless said otherwise; a password from its own setting is taken as it is."""
    bare = f"postgresql://risk@127.0.0.1:{server.port}/postgres"
    await (await create_store(bare, SEED, clock=CLOCK, password=PASSWORD)).close()

    assert await store_exists(server.url, clock=CLOCK)
    assert not await store_exists(f"{server.url}?schema=elsewhere", clock=CLOCK)
    assert await database.fetchval("SELECT count(*) FROM riskgate.policy_history") == 1
    for schema in ("", "x;DROP", "A", "a-b", "a" * 50):
        with pytest.raises(ConfigError, match="found the schema"):
            await open_store(f"{server.url}?schema={schema}", clock=CLOCK)
    for url, password in ((bare, marked("wrong")), (server.url.replace("risk:", "nobody:"), None)):
        with pytest.raises(StoreUnavailable, match="28P01") as refused:
            await open_store(url, clock=CLOCK, password=password)
        assert PASSWORD not in str(refused.value)


async def test_a_full_disk_is_an_outage_and_ends_when_there_is_room(server, database, tmp_path):
    """A change that finds no room is refused and changes nothing; reads go on; with room it works again."""
    small = server.folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        store = await create_store(server.url, SEED, clock=CLOCK)
        if os.geteuid() == 0:
            shutil.chown(small, "nobody", "nogroup")
        await database.execute(f"CREATE TABLESPACE small LOCATION '{small}'")
        await database.execute("ALTER TABLE riskgate.policy_history SET TABLESPACE small")

        async def fill() -> None:
            for number in range(1, 31):
                await store.put(bulky(number), expected_revision=number, **BY)

        with pytest.raises(StoreUnavailable, match="53100"):
            await fill()
        written = (await store.get()).revision
        assert written > 1
        assert next(one.revision for one in await store.history(limit=5)) == written
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        assert (await store.put(SEED, expected_revision=written, **BY)).revision == written + 1
        await store.close()
        await database.execute("DROP SCHEMA riskgate CASCADE")
        await database.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


async def test_a_killed_server_keeps_every_answered_change(server, database):
    """kill -9 of the server in mid-write, and a start: what was answered is there, and the store recovers by itself."""
    store = await create_store(server.url, SEED, clock=CLOCK)
    answered = []

    async def write() -> None:
        while True:
            answered.append((await store.switch_mode(("DEFENSIVE", "NORMAL")[len(answered) % 2], **BY)).revision)

    writer = asyncio.ensure_future(write())
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    # Cut in a change it is not known whether that was kept; cut in the reading before it, nothing was changed.
    with pytest.raises(StoreUnavailable, match=r"whether the change was kept is not known|cannot be used now"):
        await writer
    with pytest.raises(StoreUnavailable):
        await store.get()
    await asyncio.to_thread(server.start)
    kept = (await store.get()).revision

    assert len(answered) > 3
    assert kept in (answered[-1], answered[-1] + 1)
    assert [one.revision for one in await store.history(limit=200)] == list(range(kept, max(0, kept - 200), -1))
    assert (await store.switch_mode("DEFENSIVE", **BY)).revision == kept + 1
    await store.close()


async def test_a_server_that_does_not_sync_is_no_place_to_write(server, database):
    """With fsync off nothing is made and nothing is changed."""
    store = await create_store(server.url, SEED, clock=CLOCK)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start, "-c", "fsync=off")
    try:
        with pytest.raises(StoreUnavailable, match="found fsync = off, expected on"):
            await store.switch_mode("DEFENSIVE", **BY)
        with pytest.raises(StoreUnavailable, match="found fsync = off, expected on"):
            await create_store(f"{server.url}?schema=another", SEED, clock=CLOCK)
        assert (await store.get()).revision == 1
    finally:
        await store.close()
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)


async def test_a_role_that_commits_lazily_is_overruled(server, database, monkeypatch):
    """`synchronous_commit = off` as somebody's default holds for no change of the policy."""
    await database.execute("ALTER ROLE risk SET synchronous_commit = off")
    found = []

    async def hint(_store, connection, _events) -> None:
        found.append((await connection.exec_driver_sql("SHOW synchronous_commit")).scalar())

    monkeypatch.setattr(PostgresStore, "_hint", hint)
    store = await create_store(server.url, SEED, clock=CLOCK)
    await store.switch_mode("DEFENSIVE", **BY)
    await store.close()

    assert found == ["on"]


async def test_another_schema_version_is_not_opened(server, database):
    """A newer one, none, or two: said as what they are; migrating the newest does nothing."""
    await (await create_store(server.url, SEED, clock=CLOCK)).close()
    assert await migrate_store(server.url, clock=CLOCK) == ("0001", "0001")
    await database.execute("UPDATE riskgate.policy_schema SET version_num = '9999'")
    with pytest.raises(ConfigError, match=r"found the schema '9999'.*newer riskgate"):
        await open_store(server.url, clock=CLOCK)
    with pytest.raises(ConfigError, match="found the schema '9999'"):
        await migrate_store(server.url, clock=CLOCK)
    await database.execute("DELETE FROM riskgate.policy_schema")
    with pytest.raises(StoredDataInvalid, match="found 0 schemas"):
        await open_store(server.url, clock=CLOCK)
    await database.execute("DROP TABLE riskgate.policy_schema")
    with pytest.raises(StoredDataInvalid, match="found no table policy_schema"):
        await open_store(server.url, clock=CLOCK)


async def test_other_programs_hear_what_happened(server, database):
    """The notification carries the event: which revision, whose, which mode before and after."""
    heard = asyncio.Queue()
    await database.add_listener("riskgate_policy", lambda *given: heard.put_nowait(given[3]))
    store = await create_store(server.url, SEED, clock=CLOCK)
    await store.switch_mode("DEFENSIVE", **BY)
    async with asyncio.timeout(5):
        events = [await heard.get(), await heard.get()]
    await store.close()

    assert '"event":"policy.updated"' in events[0]
    assert '"event":"policy.mode.changed"' in events[1]
    assert '"previous_mode":"NORMAL"' in events[1]
    assert '"mode":"DEFENSIVE"' in events[1]


async def test_a_missing_driver_says_which_extra_brings_it(monkeypatch):
    """Without asyncpg the settings are wrong, not the program."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delitem(sys.modules, "proxy.stores.postgres")
    with pytest.raises(ConfigError, match=r"pip install 'riskgate\[postgres\]'"):
        await open_store("postgresql://risk@127.0.0.1/none", clock=CLOCK)
