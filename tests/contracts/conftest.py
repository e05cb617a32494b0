"""The backends under the contract, each with a place of its own in every test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from tests import stored
from tests.contracts import servers


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL for the whole run, or the one that the environment names."""
    if given := os.environ.get(servers.POSTGRES_URL):
        yield stored.serves("postgres", given)
        return
    server = servers.Postgres.make()
    yield stored.serves("postgres", server.url)
    server.close()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis for the whole run, or the one that the environment names."""
    if given := os.environ.get(servers.REDIS_URL):
        yield stored.serves("redis", given)
        return
    server = servers.Redis.make(servers.PASSWORD)
    yield stored.serves("redis", server.url)
    server.close()


def with_own_part(url: str, backend: str, name: str | None = None) -> str:
    """The URL of a schema or a prefix that nobody else has, which is searched when the test ends."""
    stored.uses(backend)
    part = {"postgres": "schema", "redis": "prefix"}[backend]
    return f"{url}{'&' if '?' in url else '?'}{part}={name or f't{secrets.token_hex(6)}'}"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Where a new store of the parametrised backend is to be: `indirect`, or by `backends`."""
    backend = request.param
    if backend in ("memory", "sqlite"):
        return backend
    return with_own_part(request.getfixturevalue(f"{backend}_url"), backend)


BACKENDS = ("memory", "sqlite", "postgres", "redis")
LASTING = BACKENDS[1:]
SERVED = BACKENDS[2:]
