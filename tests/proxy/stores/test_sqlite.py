"""The file: it survives restart and kill -9, and damage is found, told and never papered over."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.clock import ManualClock
from proxy.errors import ConfigError, RevisionConflict, StoredDataInvalid, StoreError, StoreUnavailable
from proxy.stores import SqliteStore, create_store, open_store
from proxy.stores import sqlite as sqlite_module
from rules.profile import default_policy

BY = {"updated_by": "ana", "reason": "test"}
CLOCK = ManualClock(datetime(2026, 1, 15, 12, tzinfo=UTC))
ROOT = Path(__file__).parents[3]


@pytest.fixture
async def path(tmp_path):
    """A store file with two revisions, closed."""
    file = tmp_path / "policy.sqlite"
    store = await SqliteStore.create(file, default_policy(), clock=CLOCK)
    await store.switch_mode("DEFENSIVE", **BY)
    await store.close()
    return file


def alter(path: Path, statement: str, *values: object) -> None:
    """Change the file as another program would."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


async def opened_and_read(path: Path) -> None:
    """Open the store and read it."""
    store = await SqliteStore.open(path, clock=CLOCK)
    try:
        await store.get()
    finally:
        await store.close()


async def test_a_restart_keeps_everything(path):
    """Policy, revision, author, reason and the way back to the seed are there after reopening."""
    store = await SqliteStore.open(path, clock=CLOCK)
    stored = await store.get()
    reset = await store.reset(expected_revision=2, **BY)
    await store.close()

    assert (stored.policy.active_mode, stored.revision, stored.updated_by) == ("DEFENSIVE", 2, "ana")
    assert (reset.policy, reset.revision) == (default_policy(), 3)


async def test_every_revision_is_kept_with_its_document(path):
    """The history holds each revision, who, when, why and the whole document."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT revision, updated_by, reason FROM policy_history").fetchall()
        current = connection.execute("SELECT revision, document, digest FROM policy_current").fetchall()
        last = connection.execute("SELECT revision, document, digest FROM policy_history WHERE revision = 2").fetchall()

    assert rows == [(1, "init", "seed"), (2, "ana", "test")]
    assert current == last


async def test_the_file_is_for_its_owner_only(path):
    """Nobody else on the machine reads or writes policies."""
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_missing_file_is_never_made_up(tmp_path):
    """Opening says what is missing and leaves nothing behind."""
    with pytest.raises(StoreUnavailable, match="riskgate store create"):
        await open_store("sqlite", clock=CLOCK, data_dir=tmp_path)

    assert list(tmp_path.iterdir()) == []


async def test_creating_never_touches_a_file_that_is_there(path):
    """A second create is refused, also on a file that is no store, and leaves no draft."""
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        await SqliteStore.create(path, default_policy(), clock=CLOCK)
    other = path.with_name("other")
    other.write_bytes(b"")
    with pytest.raises(ConfigError, match="never overwritten"):
        await SqliteStore.create(other, default_policy(), clock=CLOCK)

    assert (path.read_bytes(), other.read_bytes()) == (before, b"")
    assert sorted(file.name for file in path.parent.iterdir()) == ["other", "policy.sqlite"]


async def test_of_two_creators_one_wins(tmp_path):
    """Racing creators make one store, and it is whole."""
    outcomes = await asyncio.gather(
        *(SqliteStore.create(tmp_path / "p", default_policy(), clock=CLOCK) for _ in range(4)), return_exceptions=True
    )
    made = [outcome for outcome in outcomes if isinstance(outcome, SqliteStore)]

    assert len(made) == 1
    assert all(isinstance(outcome, ConfigError) for outcome in outcomes if outcome is not made[0])
    assert (await made[0].get()).policy == default_policy()
    await made[0].close()


@pytest.mark.parametrize(
    ("url", "name"), [("sqlite", "policy.sqlite"), ("sqlite:x.db", "x.db"), ("sqlite://{}/y.db", "y.db")]
)
async def test_urls_name_the_file(tmp_path, url, name):
    """In the data folder by default, relative to it, or absolute."""
    store = await create_store(url.format(tmp_path), default_policy(), clock=CLOCK, data_dir=tmp_path)
    await store.close()

    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("url", ["sqlite://host/x.db", "sqlite:x.db"])
async def test_urls_that_name_no_file_are_refused(url):
    """A host, or a relative file without a data folder."""
    with pytest.raises(ConfigError, match=r"store\.url"):
        await open_store(url, clock=CLOCK)


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"not a database at all, but long enough to look at" * 40, b"SQLite format 3\x00" + b"\x00" * 200,
    ],
    ids=["empty", "text", "header only"],
)
async def test_a_file_that_is_no_database_is_refused_and_left_alone(path, damage):
    """Rubbish, or nothing, in place of the store is damage and stays as evidence."""
    path.write_bytes(damage)
    with pytest.raises(StoredDataInvalid):
        await opened_and_read(path)

    assert path.read_bytes() == damage


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
async def test_a_truncated_file_is_refused(path, cut):
    """Half a store is no store."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(StoredDataInvalid):
        await opened_and_read(path)


async def test_every_flipped_byte_of_the_document_is_found(path):
    """A damaged digit in the stored limits is never read as another limit."""
    whole = path.read_bytes()
    start = whole.index(b'"leverage_max":"')
    found = 0
    for offset in range(start, start + 40):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x01
        path.write_bytes(damaged)
        try:
            await opened_and_read(path)
        except StoredDataInvalid:
            found += 1

    # The document is in the file three times (current, and two revisions); the one hit here is read at opening.
    path.write_bytes(whole)
    assert found == 40


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE policy_current SET document = replace(document, 'DEFENSIVE', 'NORMAL')",
        "UPDATE policy_current SET document = '{}'",
        "UPDATE policy_current SET revision = 9",
        "UPDATE policy_current SET updated_by = 'nobody'",
        "UPDATE policy_current SET digest = ''",
        "DELETE FROM policy_current",
        "DROP TABLE policy_current",
        "UPDATE policy_history SET document = '{}' WHERE revision = 1",
        "DELETE FROM policy_history",
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 1",
    ],
)
async def test_rows_changed_behind_the_store_are_refused(path, statement):
    """An edit around the store, a lost row or another program's file is not believed."""
    alter(path, statement)
    with pytest.raises(StoredDataInvalid):
        await opened_and_read(path)


async def test_damage_while_open_is_found_at_the_next_read(path):
    """The running store does not serve what it cannot verify."""
    store = await SqliteStore.open(path, clock=CLOCK)
    alter(path, "UPDATE policy_current SET reason = 'forged'")
    with pytest.raises(StoredDataInvalid, match="checksum"):
        await store.get()
    await store.close()


async def test_a_file_removed_while_open_is_noticed(path):
    """Writing on into a deleted file would keep nothing, so nothing is written."""
    store = await SqliteStore.open(path, clock=CLOCK)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await store.get()
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await store.put(default_policy(), expected_revision=2, **BY)
    await store.close()


async def test_two_processes_share_one_sequence_of_revisions(path):
    """What another connection writes is seen at the next read, and the slower writer is refused."""
    one, other = await SqliteStore.open(path, clock=CLOCK), await SqliteStore.open(path, clock=CLOCK)
    await one.switch_mode("NORMAL", **BY)
    with pytest.raises(RevisionConflict, match="found revision 3"):
        await other.put(default_policy(), expected_revision=2, **BY)
    outcomes = await asyncio.gather(
        *(store.put(default_policy(), expected_revision=3, **BY) for store in (one, other)), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["RevisionConflict", "StoredPolicy"]
    assert (await one.get()) == (await other.get())
    await one.close()
    await other.close()


async def test_a_locked_file_is_an_outage_not_damage(path, monkeypatch):
    """Somebody else holds the write lock: StoreUnavailable, and the store works afterwards."""
    monkeypatch.setattr("proxy.stores.sqlite.LOCK_WAIT_S", 0.05)
    store = await SqliteStore.open(path, clock=CLOCK)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            await store.switch_mode("NORMAL", **BY)
        holder.execute("ROLLBACK")
    assert (await store.switch_mode("NORMAL", **BY)).revision == 3
    await store.close()


async def test_a_full_disk_is_an_outage_and_ends_when_there_is_room(path):
    """A change that finds no room is refused and changes nothing; reads go on; with room it works again."""
    store = await SqliteStore.open(path, clock=CLOCK)
    rest = [f"SYMBOL{number}USDT" for number in range(20_000)]
    large = default_policy(accounts={"main": {"strategies": "any", "symbols": rest}})
    before = await store.get()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))  # files of this process cannot grow past it
    try:
        with pytest.raises(StoreUnavailable, match=r"SQLITE_(FULL|IOERR)"):
            await store.put(large, expected_revision=2, **BY)
        assert await store.get() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (await store.put(large, expected_revision=2, **BY)).revision == 3
    assert [one.revision for one in await store.history()] == [3, 2, 1]
    await store.close()


async def test_a_long_document_is_read_beside_the_event_loop(path):
    """A policy of a megabyte holds nobody up while it is read, and a poll that finds it unchanged costs little."""
    store = await SqliteStore.open(path, clock=CLOCK)
    limits = {f"SYMBOL{number}USDT": {"leverage_max": "3"} for number in range(5000)}
    await store.put(default_policy(symbols=limits), expected_revision=2, **BY)
    other = await SqliteStore.open(path, clock=CLOCK)
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - began)

    beating = asyncio.ensure_future(beat())
    other._last = None
    assert len((await other.get()).policy.symbols) == 5000
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    first = await other.get()

    assert await other.get() is first
    assert longest < 0.5, longest
    await other.close()
    await store.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from proxy.clock import SystemClock
from proxy.stores import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), clock=SystemClock())
    while True:
        for mode in ("NORMAL", "DEFENSIVE"):
            stored = await store.switch_mode(mode, updated_by="writer", reason="loop")
            sys.stderr.write(f"{stored.revision} {mode}\\n")
            sys.stderr.flush()

import structlog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=open("/dev/null", "w")))
asyncio.run(main())
"""


async def test_kill_9_while_writing_loses_no_answered_change(path):
    """Killed at random moments, the store opens whole and holds at least every revision that was answered."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(path)]
    for lines in (1, 3, 8, 20):
        with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT, env=environment) as writer:
            assert writer.stderr is not None
            answered = [writer.stderr.readline() for _ in range(lines)]
            writer.send_signal(signal.SIGKILL)
            answered += writer.stderr.read().splitlines(keepends=True)
        whole = [line.split() for line in answered if line.endswith(b"\n")]
        revision, mode = int(whole[-1][0]), whole[-1][1].decode()
        store = await SqliteStore.open(path, clock=CLOCK)
        stored = await store.get()
        await store.close()

        assert len(whole) >= lines
        assert stored.revision in (revision, revision + 1)  # one more may have been durable and not yet answered
        if stored.revision == revision:
            assert stored.policy.active_mode == mode


def test_store_errors_are_one_family():
    """Callers catch StoreError and block; none of ours falls outside."""
    assert issubclass(StoredDataInvalid, StoreError)
    assert issubclass(StoreUnavailable, StoreError)


async def test_a_commit_that_ends_in_the_tick_of_its_first_bytes_is_heard_of(path, monkeypatch):
    """The file's stamp moved before the change could be read, and does not move again: it is read once more."""
    stamp = [0]
    monkeypatch.setattr(sqlite_module, "_stamp", lambda _: stamp[0])
    one, other = await SqliteStore.open(path, clock=CLOCK), await SqliteStore.open(path, clock=CLOCK)
    told, looks, heard = [], [], one._heard

    async def look():
        await heard()
        looks.append(len(told))
        if len(looks) == 1:  # the first bytes were seen, and nothing new was there to read yet
            await other.switch_mode("NORMAL", **BY)

    monkeypatch.setattr(one, "_heard", look)
    one.subscribe(told.append)
    await asyncio.sleep(0.1)
    stamp[0] = 1
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0.01)
    assert looks == [0, 1]
    await asyncio.sleep(0.1)
    assert len(looks) == 2  # and not for ever
    await one.close()
    await other.close()
