"""What the PostgreSQL and the Redis of tests hold, read whole when a test ends that used them.

A test uses a server by a schema or a prefix of its own (`with_own_part`), or by a fixture whose value is the server.
Before its fixtures end, `tests/conftest.py` has everything there searched for the canary: every column of every row
as text, every Redis key with its value, whatever its type. The schemas and prefixes of earlier tests, which were
searched when those ended, are read only once. When a server of ours ends, its files are searched as well: its log,
and journals that still have what a test has dropped. What is published to nobody is nowhere kept, and not searched.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from tests import canary

OWN_PART = re.compile(r"\bt[0-9a-f]{12}\b")
TIMEOUT_S = 10.0
_SERVERS: dict[str, str] = {}  # the backend, and the URL of the server that all tests share
_USED: set[str] = set()  # by the test that runs
_SEARCHED: set[str] = set()  # schemas and prefixes of tests that have ended


def serves(backend: str, url: str) -> str:
    """State which server the tests of this process share."""
    _SERVERS[backend] = url
    return url


def uses(backend: str) -> None:
    """The test that runs keeps something there."""
    if url := _SERVERS.get(backend):
        _USED.add(url)


def used() -> set[str]:
    """The servers that were used since somebody asked."""
    found = set(_USED)
    _USED.clear()
    return found


def leaks(url: str, *, tokens: tuple[bytes, ...] = ()) -> list[str]:
    """Everywhere in a server the word, a person's token or one of these tokens stands; so does what cannot be read."""
    found, parts = [], set()
    try:
        for place, content in contents(url, lambda name: _not_yet(name, parts)):
            if (around := canary.found_in(content)) is not None:
                found.append(f"{place}: ...{around}...")
            found += [f"{place}: the admin token of this test" for token in tokens if token in content]
    except Exception as error:  # noqa: BLE001 - what was not searched may hold anything: the test fails and says so
        found.append(f"{urlsplit(url).scheme} could not be searched: {error!r}")
    _SEARCHED.update(parts)
    return found


def _not_yet(name: str, parts: set[str]) -> bool:
    own = OWN_PART.findall(name)
    parts.update(own)
    return not own or not _SEARCHED.issuperset(own)


def contents(url: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Everything in a server: where it stands, and what. `wanted` is asked for the names of schemas and keys."""
    if urlsplit(url).scheme.startswith("postgres"):
        yield from _in_a_thread_of_its_own(_rows(url, wanted))
    else:
        yield from _keys(url, wanted)


def _in_a_thread_of_its_own(rows: AsyncIterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Its loop is its own too: the test's stands still while it is looked at."""

    async def read() -> list[tuple[str, bytes]]:
        return [one async for one in rows]

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(read())).result()


TABLES = """
    SELECT n.nspname, c.relname, array_agg(a.attname ORDER BY a.attnum), array_agg(a.atttypid = 'bytea'::regtype
    ORDER BY a.attnum) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a
    ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE c.relkind IN ('r', 'm', 'f')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%' GROUP BY 1, 2
"""


async def _rows(url: str, wanted: Callable[[str], bool]) -> AsyncIterator[tuple[str, bytes]]:
    import asyncpg  # here, because most tests need none

    connection = await asyncpg.connect(url.partition("?")[0], timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        for schema, table, names, is_bytes in await connection.fetch(TABLES):
            if not wanted(schema):
                continue
            place = f"{schema}.{table}"
            yield f"the names of {place}", " ".join((place, *names)).encode()
            texts = [
                f"encode({_quoted(name)}, 'escape')" if raw else f"{_quoted(name)}::text"
                for name, raw in zip(names, is_bytes, strict=True)
            ]
            asked = f"SELECT concat_ws(E'\\n', {', '.join(texts)}) FROM {_quoted(schema)}.{_quoted(table)}"
            try:
                for number, row in enumerate(await connection.fetch(asked)):
                    yield f"{place}, row {number}", row[0].encode()
            except asyncpg.UndefinedTableError:  # another worker has dropped it meanwhile
                continue
        for (piece,) in await connection.fetch("SELECT data FROM pg_largeobject"):
            yield "a large object", piece
    finally:
        await connection.close(timeout=TIMEOUT_S)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _keys(url: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    import redis  # here, because most tests need none

    where = urlsplit(url)._replace(path="", query="").geturl()
    with redis.Redis.from_url(where, socket_timeout=TIMEOUT_S) as client:
        numbers = [int(name[2:]) for name in client.info("keyspace")]
    for number in numbers:
        with redis.Redis.from_url(where, socket_timeout=TIMEOUT_S, db=number) as client:
            for key in client.scan_iter(count=1000):
                if wanted(key.decode("latin-1")):
                    place = f"{key.decode('latin-1')} of database {number}"
                    yield f"the name of {place}", key
                    yield place, _value(client, key)


def _value(client: Any, key: bytes) -> bytes:
    """All of it, with groups and their consumers where it is a stream."""
    read = client.execute_command
    kind = read("TYPE", key)
    if kind == b"stream":
        groups = [group["name"] for group in client.xinfo_groups(key)]
        return _flat([read("XRANGE", key, "-", "+"), groups, [client.xinfo_consumers(key, name) for name in groups]])
    asked = {
        b"string": ("GET", key), b"list": ("LRANGE", key, 0, -1), b"set": ("SMEMBERS", key), b"hash": ("HGETALL", key),
        b"zset": ("ZRANGE", key, 0, -1, "WITHSCORES"), b"none": None,
    }[kind]  # fmt: skip
    return b"" if asked is None else _flat(read(*asked))


def _flat(value: object) -> bytes:
    """Every text in an answer, one a line."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        return b"\n".join(_flat(one) for pair in value.items() for one in pair)
    if isinstance(value, list | tuple | set):
        return b"\n".join(map(_flat, value))
    return str(value).encode()
