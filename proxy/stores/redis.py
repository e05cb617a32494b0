"""A policy store in Redis or Valkey: compare-and-set by a script, pub/sub as the hint.

Redis answers before it has synced, unless it is told otherwise. So nothing is written to a
server that would lose an answered change: its append-only file must be on, and either synced at
every write (`appendfsync always`) or waited for (`WAITAOF`, known from Redis 7.2 on). A message
on the channel is lost while nobody listens; whoever hears one reads, and whoever begins to
listen reads as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import orjson
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisUnreachable
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from proxy.clock import Clock
from proxy.errors import ConfigError, StoredDataInvalid, StoreError, StoreUnavailable
from proxy.stores.base import TIMEOUT_S, Row, StoredPolicy, VersionedStore, bounded, conflict
from proxy.stores.places import Place
from rules.profile import GlobalPolicy

log = structlog.get_logger("riskgate.stores")

PREFIX = "riskgate"
LISTEN_AGAIN_S = 0.5
STILL_THERE_S = 10.0  # how often the listening connection is asked whether it still is one
SYNC_WAIT_S = 3.0  # what a write may wait for the disk, or for replicas
REPLICAS_MAX = 5

# Both scripts check everything before their first write, so that one that is refused has written nothing.
CREATE = """
if redis.call('EXISTS', KEYS[1], KEYS[2]) ~= 0 then return 0 end
redis.call('HSET', KEYS[1], 'revision', '1', 'row', ARGV[1])
redis.call('HSET', KEYS[2], '1', ARGV[1])
return 1
"""
WRITE = """
local found = redis.call('HGET', KEYS[1], 'revision')
if not found then return 'nothing' end
if found ~= ARGV[1] then return found end
if redis.call('HEXISTS', KEYS[2], ARGV[2]) ~= 0 then return 'kept already' end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'row', ARGV[3])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 'done'
"""

# What passes, or is the operator's to mend, in Redis's words; within a script they stand inside the message.
_OUTAGES = (
    "OOM", "MISCONF", "NOREPLICAS", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "NOPERM",
    "NOAUTH", "WRONGPASS", "NOPROTO", "max number of clients",
)  # fmt: skip


class RedisStore(VersionedStore):
    """The document in two hashes of one server. What other processes write is heard of by pub/sub."""

    may_keep_unanswered = True

    def __init__(self, client: Redis, name: str, prefix: str, replicas: int, clock: Clock) -> None:
        super().__init__(clock)
        self._client = client
        self._name = name  # as it may be shown: no password in it
        self._replicas = replicas
        # The braces keep both keys on one node.
        self._current_key = f"{{{prefix}}}:policy:current"
        self._history_key = f"{{{prefix}}}:policy:history"
        self._channel = f"{{{prefix}}}:policy:events"
        self._closed = False

    @classmethod
    def at(cls, place: Place) -> RedisStore:
        """The store at a place; nothing is asked of it yet."""
        url, prefix = place.taken("prefix", PREFIX)
        given, _, rest = url.partition(":")
        scheme = given.replace("valkey", "redis")
        url, replicas = _replicas(Place(f"{scheme}:{rest}", None, place.clock))
        options: dict[str, Any] = {} if place.password is None else {"password": place.password}
        client = Redis.from_url(
            url,
            decode_responses=True,
            protocol=2,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            # A write that is sent again could be kept twice, or be refused for its own first copy.
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        return cls(client, place.name, prefix, replicas, place.clock)

    @classmethod
    async def open(cls, place: Place) -> RedisStore:
        """Open the store and check it; none there is StoreUnavailable, a damaged one StoredDataInvalid."""
        store = cls.at(place)
        try:
            await store._expect_made()
            await store._begin()
            async with store._reached() as one:
                if problem := (await _durability(one)).problem:
                    # Reading is as good as ever; what is refused is a change.
                    log.error("store.not_durable", store=place.name, problem=problem)
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    async def create(
        cls, place: Place, seed: GlobalPolicy, *, updated_by: str = "init", reason: str = "seed"
    ) -> RedisStore:
        """Make the keys with `seed` as revision 1, both or none; keys that are there are never touched."""
        first = Row.of(StoredPolicy.first(seed, place.clock, updated_by=updated_by, reason=reason))
        store = cls.at(place)
        try:
            async with store._reached() as one:
                durability = await store._durable(one)
                if await store._script(one, durability, CREATE, _written(first)) != 1:
                    raise ConfigError(f"found a policy store at {place.name}, expected none: it is never overwritten")
        finally:
            await store.close()
        return await cls.open(place)

    async def exists(self) -> bool:
        """Whether there is a store, whole or not."""
        async with self._reached() as one:
            return int(await one.exists(self._current_key, self._history_key)) > 0

    async def _expect_made(self) -> None:
        if not await self.exists():
            raise StoreUnavailable(
                f"found no policy store at {self._name}, expected one: `riskgate store create` makes it"
            )

    async def _current(self) -> Row:
        async with self._reached() as one:
            found: dict[str, str] = await _asked(one, "HGETALL", self._current_key)
        if not found:
            raise StoredDataInvalid(f"found no current policy in {self._name}, expected one")
        row = self._row(found.get("row"))
        if str(row.revision) != found.get("revision"):
            raise StoredDataInvalid(f"found revision {row.revision} under another number in {self._name}")
        return row

    async def _rows(self, first: int, last: int) -> list[Row]:
        numbers = [str(number) for number in range(first, last + 1)]
        async with self._reached() as one:
            found: list[str | None] = await _asked(one, "HMGET", self._history_key, *numbers)
        return [self._row(text) for text in found if text is not None]

    def _row(self, text: str | None) -> Row:
        try:
            row = Row(*orjson.loads(text or ""))
        except (orjson.JSONDecodeError, TypeError):
            raise StoredDataInvalid(f"found something else where {self._name} keeps a revision") from None
        if [type(value) for value in row] != [int, str, str, str, str, str]:
            raise StoredDataInvalid(f"found something else where {self._name} keeps a revision")
        return row

    async def _write(self, row: Row, events: tuple[str, ...]) -> None:
        async with self._reached() as one:
            durability = await self._durable(one)
            answer = await self._script(
                one, durability, WRITE, str(row.revision - 1), str(row.revision), _written(row)
            )
            if answer in ("nothing", "kept already"):
                raise StoredDataInvalid(f"{self._name}: found {answer} at revision {row.revision}")
            if answer != "done":
                raise conflict(expected=row.revision - 1, found=int(answer))
            # Told when it is kept for certain; nobody acts on a change that a crash could take back.
            for event in events:
                await _asked(one, "PUBLISH", self._channel, event)

    async def _script(
        self, one: Redis, durability: _Durability, script: str, *arguments: str
    ) -> Any:  # noqa: ANN401 - as the script answers
        """Run a script, and wait until what it wrote is on disk, here and on as many replicas as are asked for."""
        wait_ms = int(SYNC_WAIT_S * 1000)
        # One connection for both: the server waits for what came by the connection that asks.
        async with one.pipeline(transaction=False) as steps:
            steps.execute_command("EVAL", script, 2, self._current_key, self._history_key, *arguments)
            if durability.waits_for_disk:
                steps.execute_command("WAITAOF", 1, self._replicas, wait_ms)
            elif self._replicas:
                steps.execute_command("WAIT", self._replicas, wait_ms)
            answer, *waited = await steps.execute(raise_on_error=True)
        disks, copies = waited[0] if durability.waits_for_disk else (1, waited[0] if waited else 0)
        if disks < 1 or copies < self._replicas:
            raise StoreUnavailable(
                f"the policy store at {self._name}: a change is on {disks} disks and {copies} replicas after "
                f"{SYNC_WAIT_S:g} s, expected 1 and {self._replicas}"
            )
        return answer

    async def _durable(self, one: Redis) -> _Durability:
        found = await _durability(one)
        if found.problem is not None:
            raise StoreUnavailable(
                f"the policy store at {self._name}: {found.problem}: a change that is answered could be lost, "
                "so none is made"
            )
        return found

    # -- hints ------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Subscribe first, then read; subscribe again whenever the connection is lost."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError, StoreError) as error:
                # Without hints the poll still finds every change; listening begins again.
                self._hints_lost(error)
            await asyncio.sleep(LISTEN_AGAIN_S)

    async def _listen(self) -> None:
        async with self._client.pubsub() as listener:
            await self._finished(listener.subscribe(self._channel))
            asked = False
            while True:
                message = await listener.get_message(timeout=STILL_THERE_S)
                if message is None:
                    if asked:
                        raise RedisUnreachable("the listening connection does not answer")
                    await listener.ping()
                    asked = True
                    continue
                asked = False
                if message["type"] in ("subscribe", "message"):
                    self._hints_found()
                    await self._heard()

    # -- errors -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[Redis]:
        """The client, for one step: within the bound, the server's errors in our words."""
        if self._closed:
            raise StoreUnavailable(f"the policy store at {self._name} is closed")
        async with bounded(TIMEOUT_S, f"the policy store at {self._name}"):
            try:
                yield self._client
            except (RedisUnreachable, RedisTimeout, OSError) as error:
                raise StoreUnavailable(
                    f"the policy store at {self._name} cannot be used now: {type(error).__name__}: {error}"
                ) from error
            except RedisError as error:
                if any(word in str(error) for word in _OUTAGES):
                    raise StoreUnavailable(
                        f"the policy store at {self._name} cannot be used now: {error}"
                    ) from error
                raise StoredDataInvalid(f"the policy store at {self._name} is damaged: {error}") from error

    async def close(self) -> None:
        """Let a running change finish and close every connection."""
        await super().close()
        self._closed = True
        await self._client.aclose()


# -- durability ------------------------------------------------------------------------------------


class _Durability(NamedTuple):
    """Why a change that is answered could be lost all the same, if it could; else whether to wait for the disk."""

    problem: str | None
    waits_for_disk: bool = False


async def _durability(one: Redis) -> _Durability:
    persistence: Mapping[str, Any] = await one.info("persistence")
    if not persistence.get("aof_enabled"):
        return _Durability("found appendonly no, expected yes")
    if (wrote := persistence.get("aof_last_write_status")) != "ok":
        return _Durability(f"found aof_last_write_status {wrote}, expected ok")
    evicts = await _setting(one, "maxmemory-policy")
    if evicts is not None and evicts.startswith("allkeys") and await _setting(one, "maxmemory") != "0":
        return _Durability(f"found maxmemory-policy {evicts}, which may throw the policy away, expected noeviction")
    sync = await _setting(one, "appendfsync")
    if sync == "always":
        return _Durability(None)
    if await _knows_waitaof(one):
        return _Durability(None, waits_for_disk=True)
    return _Durability(f"found appendfsync {sync or 'unknown'}, expected always, or a server that knows WAITAOF")


async def _setting(one: Redis, name: str) -> str | None:
    """A setting of the server; None where it does not tell."""
    try:
        found = await one.config_get(name)
    except ResponseError:
        return None  # a hosted server often forbids to ask
    return str(found[name]) if name in found else None


async def _knows_waitaof(one: Redis) -> bool:
    """Whether the server can say that a write is on disk: asked of it, for version numbers differ by product."""
    try:
        await _asked(one, "WAITAOF", 0, 0, 1)
    except ResponseError:
        return False
    return True


async def _asked(one: Redis, *command: str | int) -> Any:  # noqa: ANN401 - as the server answers
    return await one.execute_command(*command)  # type: ignore[no-untyped-call]


def _written(row: Row) -> str:
    return orjson.dumps(list(row)).decode()


def _replicas(place: Place) -> tuple[str, int]:
    """The URL without the parameter `replicas`, and how many must have a change before it is answered."""
    url, text = place.taken("replicas", "0", form=r"[0-9]")
    if int(text) > REPLICAS_MAX:
        raise ConfigError(f"store.url: found replicas={text}, expected 0 to {REPLICAS_MAX}")
    return url, int(text)
