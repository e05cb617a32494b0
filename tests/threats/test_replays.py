"""T13: captured orders sent again, as they were and in other spellings of the same: no second send."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.apart import open_apart
from tests.drawn import now_ms, signature
from tests.runs import key_of
from tests.threats.sockets import read_one

WORKERS = 8
_SIGNATURE = re.compile(rb"signature=([0-9a-f]{64})")


def captured(number: int, account: str, host: str) -> tuple[bytes, bytes]:
    """An order that expires at once, without a client order id: only the replay control can tell it again."""
    bot = key_of(f"{account}-{number % 16}")
    body = b"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&quantity=0.005&price=59000"
    body += b"&timestamp=%d&recvWindow=%d" % (now_ms(), 60000 - number % 20000)
    body += b"&signature=" + signature(bot.secret, body)
    head = f"Host: {host}\r\nX-MBX-APIKEY: {bot.key}\r\nContent-Type: application/x-www-form-urlencoded\r\n".encode()
    return head, body


def request(head: bytes, body: bytes, query: bytes = b"") -> bytes:
    """The order as bytes."""
    return b"POST /fapi/v1/order%b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (query, head, len(body), body)


def again(random: Random, head: bytes, body: bytes) -> bytes:
    """The captured order once more: the same bytes, or others that the signature covers just as well."""
    found = _SIGNATURE.search(body)
    assert found is not None
    made = found[1]
    rest = body[: found.start() - 1]
    upper = made.upper()
    mixed = bytes(random.choice((byte, ord(chr(byte).upper()))) for byte in made)
    escaped = b"%%%02x" % made[0] + made[1:]
    spellings = [
        request(head, body),
        request(head, b"signature=" + made + b"&" + rest),
        request(head, rest, b"?signature=" + made),
        request(head, rest + b"&signature=" + upper),
        request(head, rest + b"&signature=" + mixed),
        request(head, rest + b"&signature=" + escaped),
        request(head.replace(b"X-MBX-APIKEY", b"x-mbx-apikey") + b"X-Other: 1\r\n", body),
    ]
    # The signature covers query and body glued together: where the cut lies changes no byte of it.
    split = rest.index(b"&price") if random.random() < 0.5 else rest.index(b"&quantity")
    spellings.append(request(head, rest[split:] + b"&signature=" + made, b"?" + rest[:split]))
    return random.choice(spellings)


async def replay_run(folder: Any, *, orders: int, seed: int) -> dict[str, Any]:
    """Send so many orders, each followed by a replay of one captured before; the figures."""
    answers: Counter[int] = Counter()
    async with open_apart(folder) as house:
        parts = urlsplit(house.proxy_url)

        async def worker(number: int) -> None:
            random, kept = Random(f"{seed}-{number}"), []
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                for index in range(number, orders, WORKERS):
                    head, body = captured(index, random.choice(("direct", "desk")), parts.netloc)
                    kept = [*kept[-50:], (head, body)]
                    writer.write(request(head, body))
                    first = await read_one(reader)
                    assert first.status == 200, first
                    replay = again(random, *random.choice(kept))
                    writer.write(replay)
                    second = await read_one(reader)
                    answers[second.status] += 1
                    assert 400 <= second.status < 500, (replay, second)
            finally:
                writer.transport.abort()
                await asyncio.sleep(0)

        async with asyncio.timeout(1500), asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(worker(number))
        sent = [received for received in house.sim.received if received.is_order]
        survivors = list(house.sim.survivors)
    assert survivors == []
    assert len(sent) == orders
    assert sum(answers.values()) == orders
    return {"orders": orders, "replays": dict(answers)}


async def test_captured_orders_are_not_sent_twice(tmp_path):
    """300 orders in both key modes, and 300 replays of them within their window: 300 arrive."""
    await replay_run(tmp_path / "run", orders=300, seed=3)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_ten_thousand_captured_orders_are_not_sent_twice(tmp_path):
    """The same for 10,000."""
    await replay_run(tmp_path / "run", orders=10_000, seed=4)
