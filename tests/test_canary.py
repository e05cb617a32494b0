"""The search for secrets finds what is planted, in every store that tests use and under whatever name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import redis

from tests import canary, stored
from tests.contracts.servers import Postgres, Redis

ROOT = Path(__file__).parents[1]
TOKEN_OF_A_PERSON = "rgt_" + "a" * 43
ADMIN_TOKEN = b"the-admin-token-of-a-test"
WAYS_INTO_POSTGRES = {
    "text": ("text", canary.WORD), "json": ("jsonb", f'{{"a": ["{canary.WORD}"]}}'), "array": ("text[]", [canary.WORD]),
    "bytes": ("bytea", b"\0\xff" + canary.WORD.encode() + b"\\"), "person": ("varchar(99)", TOKEN_OF_A_PERSON),
    "admin": ("text", ADMIN_TOKEN.decode()),
}  # fmt: skip
WAYS_INTO_REDIS = {
    "string": ("SET", "k", canary.WORD), "name": ("SET", canary.WORD, "v"), "list": ("RPUSH", "k", "a", canary.WORD),
    "set": ("SADD", "k", canary.WORD), "hash": ("HSET", "k", "field", canary.WORD),
    "field": ("HSET", "k", canary.WORD, 1), "sorted": ("ZADD", "k", 1, canary.WORD),
    "stream": ("XADD", "k", "*", "field", canary.WORD),
    "group": ("XGROUP", "CREATE", "k", canary.WORD, "$", "MKSTREAM"), "person": ("SET", "k", TOKEN_OF_A_PERSON),
    "admin": ("SET", "k", ADMIN_TOKEN),
}  # fmt: skip
# A test of this suite that plants the word where a store is, as pytest runs it.
PLANTING = '''
import asyncpg, pytest, redis
from tests import canary
from tests.contracts.conftest import postgres_url, redis_url, with_own_part

@pytest.mark.parametrize("word", ["nothing", canary.WORD], ids=["without", "with"])
async def test_rows(postgres_url, word):
    schema = with_own_part(postgres_url, "postgres").rpartition("=")[2]
    there = await asyncpg.connect(postgres_url)
    await there.execute(f"CREATE SCHEMA {schema}")
    await there.execute(f"CREATE TABLE {schema}.kept AS SELECT '{word}'::text AS said")
    await there.close()

@pytest.fixture
def keys(redis_url):
    with redis.Redis.from_url(redis_url) as there:
        yield there
        there.flushall()

@pytest.mark.parametrize("word", ["nothing", canary.WORD], ids=["without", "with"])
def test_keys(redis_url, keys, word):
    keys.set(with_own_part(redis_url, "redis").rpartition("=")[2], word)
'''


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL in which words are planted; its own files show them as well."""
    made = Postgres.make()
    yield made.url
    with pytest.raises(AssertionError, match=canary.WORD):
        made.close()


@pytest.fixture(scope="module")
def of_redis():
    """A Redis in which words are planted; its journal has them also after they were deleted."""
    made = Redis.make()
    yield made.url
    with pytest.raises(AssertionError, match=canary.WORD):
        made.close()


@pytest.mark.parametrize("schema", ["public", "A schema", "t0123456789ab"])
@pytest.mark.parametrize("way", WAYS_INTO_POSTGRES)
async def test_what_is_planted_in_postgres_is_found(postgres, schema, way):
    """In every schema, in a column of any type; without it nothing is found."""
    kind, value = WAYS_INTO_POSTGRES[way]
    there = await asyncpg.connect(postgres)
    try:
        await there.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await there.execute(f'CREATE TABLE "{schema}"."ke pt" (number int, "va""lue" {kind}, empty text)')
        await there.execute(f'INSERT INTO "{schema}"."ke pt" VALUES (1, NULL), (2, $1)', value)
        stored._SEARCHED.discard(schema)
        found = stored.leaks(postgres, tokens=(ADMIN_TOKEN,))
        await there.execute(f'DROP TABLE "{schema}"."ke pt"')
    finally:
        await there.close()

    assert [line.partition(":")[0] for line in found] == [f"{schema}.ke pt, row 1"]
    assert stored.leaks(postgres, tokens=(ADMIN_TOKEN,)) == []


async def test_names_and_large_objects_are_searched_as_well(postgres):
    """A column may be called by a secret, and an object may hold one."""
    there = await asyncpg.connect(postgres)
    try:
        await there.execute(f'CREATE TABLE named ("{canary.WORD}" int)')
        number = await there.fetchval("SELECT lo_from_bytea(0, $1)", canary.WORD.encode())
        found = stored.leaks(postgres)
        await there.execute("DROP TABLE named")
        await there.execute("SELECT lo_unlink($1)", number)
    finally:
        await there.close()

    assert [line.partition(":")[0] for line in found] == ["the names of public.named", "a large object"]


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("way", WAYS_INTO_REDIS)
def test_what_is_planted_in_redis_is_found(of_redis, way, number):
    """Under every name, in a value of any type, in every database; without it nothing is found."""
    with redis.Redis.from_url(f"{of_redis.removesuffix('/0')}/{number}") as there:
        there.execute_command(*WAYS_INTO_REDIS[way])
        found = stored.leaks(of_redis, tokens=(ADMIN_TOKEN,))
        there.flushall()

    assert len(found) == 1
    assert f"of database {number}:" in found[0]
    assert stored.leaks(of_redis, tokens=(ADMIN_TOKEN,)) == []


@pytest.mark.parametrize("url", ["postgresql://risk@127.0.0.1:1/none", "redis://127.0.0.1:1/0"])
def test_a_server_that_cannot_be_searched_is_told(url):
    """Nothing found there is not nothing there."""
    (told,) = stored.leaks(url)

    assert "could not be searched" in told


@pytest.mark.timeout(180)
def test_a_test_that_leaves_a_secret_in_a_store_fails(tmp_path):
    """The hook of the suite searches what a test used before its fixtures drop it, and names where."""
    (tmp_path / "test_planting.py").write_text(PLANTING)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RISKGATE_", "PYTEST_"))}
    environment.pop("CI", None)  # with it pytest tells each failure twice in full
    words = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-o", "asyncio_mode=auto"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--rootdir", str(tmp_path), str(tmp_path)], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = re.findall(r"a secret stands in an output:\nt[0-9a-f]{12}(.+?): \.\.\.", done.stdout)

    assert told == [".kept, row 0", " of database 0"], done.stdout[-3000:]
    assert "4 passed, 2 errors" in done.stdout
    assert "a secret stands in what a server wrote" in done.stdout
