"""Redis alone: what it promises about its disk and its replicas, a full memory, a killed server."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
import redis.asyncio
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from proxy.clock import ManualClock
from proxy.errors import ConfigError, StoreUnavailable
from proxy.stores import create_store, migrate_store, open_store, store_exists, validated
from tests.canary import marked
from tests.contracts.servers import Redis

RIGHT, WRONG = marked("the right one"), marked("the wrong one")
BY = {"updated_by": "ana", "reason": "test"}
CLOCK = ManualClock(datetime(2026, 1, 15, 12, tzinfo=UTC))
SEED = validated({"active_mode": "NORMAL", "accounts": {"main": {"strategies": "any", "symbols": ["BTCUSDT"]}}})


@pytest.fixture(scope="module")
def server():
    """A Redis that may be killed."""
    made = Redis.make()
    yield made
    made.close()


@pytest.fixture
async def client(server):
    """A connection past the store; settings and keys are as before afterwards."""
    async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as made:
        yield made
        for name, value in {
            "appendonly": "yes", "appendfsync": "always", "maxmemory": "0", "maxmemory-policy": "noeviction",
        }.items():
            await made.config_set(name, value)
        await made.flushall()


@pytest.fixture
async def store(server, client):
    """A store of one revision."""
    made = await create_store(server.url, SEED, clock=CLOCK)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"appendonly": "no"}, "found appendonly no, expected yes"),
        ({"appendfsync": "everysec"}, "found appendfsync everysec, expected always"),
        ({"appendfsync": "no"}, "found appendfsync no, expected always"),
        ({"maxmemory": "500mb", "maxmemory-policy": "allkeys-lru"}, "found maxmemory-policy allkeys-lru"),
    ],
)
async def test_a_server_that_could_lose_an_answered_change_is_no_place_to_write(
    server, client, store, settings, problem
):
    """Nothing is made there and nothing changed; reading goes on, also for who opens it anew."""
    for name, value in settings.items():
        await client.config_set(name, value)
    with pytest.raises(StoreUnavailable, match=problem):
        await store.switch_mode("DEFENSIVE", **BY)
    with pytest.raises(StoreUnavailable, match=problem):
        await create_store(f"{server.url}?prefix=another", SEED, clock=CLOCK)
    again = await open_store(server.url, clock=CLOCK)

    assert (await again.get()).revision == 1
    await again.close()


class Waits:
    """A server that knows WAITAOF, or not: it answers as given, and the question is kept."""

    def __init__(self, monkeypatch, answer) -> None:
        self.asked = []
        self.answer = answer
        asked_one, asked_many = redis.asyncio.Redis.execute_command, Pipeline.execute

        async def one(client, *command, **options):
            if command[0] == "WAITAOF":
                self.asked.append(command[1:])
                if isinstance(self.answer, Exception):
                    raise self.answer
                return self.answer
            return await asked_one(client, *command, **options)

        async def many(pipeline, raise_on_error=True):
            last = pipeline.command_stack[-1][0]
            if last[0] != "WAITAOF":
                return await asked_many(pipeline, raise_on_error)
            pipeline.command_stack.pop()
            self.asked.append(last[1:])
            return [*await asked_many(pipeline, raise_on_error), self.answer]

        monkeypatch.setattr(redis.asyncio.Redis, "execute_command", one)
        monkeypatch.setattr(Pipeline, "execute", many)


async def test_a_server_that_syncs_each_second_is_waited_for(client, store, monkeypatch):
    """Where WAITAOF is known, a change is answered when it says that the disk has it, and not otherwise."""
    await client.config_set("appendfsync", "everysec")
    waits = Waits(monkeypatch, [1, 0])
    assert (await store.switch_mode("DEFENSIVE", **BY)).revision == 2
    assert waits.asked == [(0, 0, 1), (1, 0, 3000)]

    waits.answer = [0, 0]
    with pytest.raises(StoreUnavailable, match=r"on 0 disks and 0 replicas after 3 s.*whether the change was kept"):
        await store.switch_mode("NORMAL", **BY)
    waits.answer = ResponseError("unknown command 'WAITAOF'")
    with pytest.raises(StoreUnavailable, match="or a server that knows WAITAOF"):
        await store.switch_mode("NORMAL", **BY)


async def test_replicas_that_must_have_a_change_are_waited_for(server, client, monkeypatch):
    """`replicas=1`: with a replica a change is answered; without, it is not."""
    monkeypatch.setattr("proxy.stores.redis.SYNC_WAIT_S", 0.3)
    url = f"{server.url}?replicas=1"
    with pytest.raises(StoreUnavailable, match="on 1 disks and 0 replicas"):
        await create_store(url, SEED, clock=CLOCK)
    await client.flushall()
    replica = Redis(Path(tempfile.mkdtemp(prefix="riskgate-redis-")))
    replica.start("--replicaof", "127.0.0.1", str(server.port))
    try:
        async with asyncio.timeout(20):
            while (await client.info("replication"))["connected_slaves"] != 1:
                await asyncio.sleep(0.05)
            store = None
            while store is None:  # the first synchronisation of a replica takes a moment
                await client.flushall()
                try:
                    store = await create_store(url, SEED, clock=CLOCK)
                except StoreUnavailable:
                    await asyncio.sleep(0.1)
        assert (await store.switch_mode("DEFENSIVE", **BY)).revision == 2
        copy = await open_store(replica.url, clock=CLOCK)
        assert (await copy.get()).policy.active_mode == "DEFENSIVE"
        with pytest.raises(StoreUnavailable, match="READONLY"):
            await copy.switch_mode("NORMAL", **BY)
        await copy.close()
        await asyncio.to_thread(replica.stop, signal.SIGKILL)
        with pytest.raises(StoreUnavailable, match="on 1 disks and 0 replicas"):
            await store.switch_mode("NORMAL", **BY)
        await store.close()
    finally:
        replica.close()


async def test_a_full_memory_is_an_outage_and_ends_when_there_is_room(client, store):
    """A change that finds no room is refused whole; reads go on; with room it works again."""
    await store.switch_mode("DEFENSIVE", **BY)
    await client.config_set("maxmemory", "1mb")
    with pytest.raises(StoreUnavailable, match="OOM"):
        await store.switch_mode("NORMAL", **BY)
    kept = (await store.get()).revision
    assert next(one.revision for one in await store.history(limit=3)) == kept
    await client.config_set("maxmemory", "0")

    assert (await store.switch_mode("NORMAL", **BY)).revision == kept + 1


async def test_a_killed_server_keeps_every_answered_change(server, store):
    """kill -9 of the server in mid-write, and a start: what was answered is there, and the store recovers by itself."""
    answered = []

    async def write() -> None:
        while True:
            answered.append((await store.switch_mode(("DEFENSIVE", "NORMAL")[len(answered) % 2], **BY)).revision)

    writer = asyncio.ensure_future(write())
    await asyncio.sleep(0.4)
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    with pytest.raises(StoreUnavailable, match="whether the change was kept is not known"):
        await writer
    with pytest.raises(StoreUnavailable):
        await store.get()
    await asyncio.to_thread(server.start)
    kept = (await store.get()).revision

    assert len(answered) > 3
    assert kept in (answered[-1], answered[-1] + 1)
    assert [one.revision for one in await store.history(limit=200)] == list(range(kept, max(0, kept - 200), -1))
    assert (await store.switch_mode("DEFENSIVE", **BY)).revision == kept + 1


async def test_other_programs_hear_what_happened(client, store):
    """The channel carries the event: which revision, whose, which mode before and after."""
    async with client.pubsub() as listener:
        await listener.subscribe("{riskgate}:policy:events")
        await store.switch_mode("DEFENSIVE", **BY)
        events = []
        async with asyncio.timeout(5):
            while len(events) < 2:
                message = await listener.get_message(ignore_subscribe_messages=True, timeout=1)
                events += [orjson.loads(message["data"])] if message else []

    assert [event["event"] for event in events] == ["policy.updated", "policy.mode.changed"]
    assert events[1] | {"updated_at": ""} == {
        "event": "policy.mode.changed", "revision": 2, "mode": "DEFENSIVE", "previous_mode": "NORMAL",
        "updated_by": "ana", "reason": "test", "updated_at": "", "trace_id": None,
    }


async def test_the_url_takes_a_prefix_replicas_and_both_names(server, client, store):
    """`valkey://` is the same server; stores of two prefixes do not meet; what cannot be meant is refused."""
    url = server.url.replace("redis://", "valkey://")

    assert await store_exists(url, clock=CLOCK)
    assert not await store_exists(f"{url}?prefix=another", clock=CLOCK)
    assert await migrate_store(url, clock=CLOCK) is None
    for wrong in ("prefix=", "prefix=a:b", "prefix=A", "replicas=x", "replicas=9", "replicas=-1"):
        with pytest.raises(ConfigError, match=r"store\.url: found"):
            await open_store(f"{url}?{wrong}", clock=CLOCK)


async def test_a_password_is_needed_where_one_is_set_and_never_shown(server, client, store):
    """Without it, or with another, the store cannot be used now; neither is repeated."""
    await client.config_set("requirepass", RIGHT)
    try:
        with pytest.raises(StoreUnavailable, match="Authentication required"):
            await open_store(server.url, clock=CLOCK)
        with pytest.raises(StoreUnavailable) as refused:
            await open_store(server.url, clock=CLOCK, password=WRONG)
        assert WRONG not in str(refused.value)
        right = await open_store(server.url, clock=CLOCK, password=RIGHT)
        assert (await right.get()).revision == 1
        await right.close()
    finally:
        await client.execute_command("AUTH", RIGHT)
        await client.config_set("requirepass", "")


async def test_a_missing_driver_says_which_extra_brings_it(monkeypatch):
    """Without redis the settings are wrong, not the program."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "proxy.stores.redis")
    with pytest.raises(ConfigError, match=r"pip install 'riskgate\[redis\]'"):
        await open_store("redis://127.0.0.1/0", clock=CLOCK)
