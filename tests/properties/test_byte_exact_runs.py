"""What is allowed arrives as it was written, and what is answered comes back as it was answered.

Requests in every legal spelling go through the proxy of a passthrough account; the exchange keeps
what arrived and what it sent, and both ends are compared byte for byte.
"""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from proxy.simulator import Received
from proxy.simulator.server import Reply
from tests.apart import Apart, open_apart
from tests.drawn import Drawn, Names, Spelled, draw_cancel, draw_order, draw_read, spell
from tests.runs import key_of

WORKERS = 8
ORDERS_SHARE = 0.80  # a little below what is drawn, so that there are enough
CLEAR_EVERY = 60  # requests of a worker between two clearings of the books
ANSWER_TIMEOUT_S = 30.0
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})

Pairs = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: the status line's rest, the headers that speak of the content, and the content as it was encoded."""

    status: bytes
    headers: Pairs
    entity: bytes


async def read_answer(reader: asyncio.StreamReader) -> Answered:
    """One answer off the wire; framing is taken off, content coding is not."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    pairs = tuple((name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines))
    framing = {name.lower(): value for name, value in pairs}
    if framing.get(b"transfer-encoding", b"").lower() == b"chunked":
        entity = b""
        while size := int(await reader.readline(), 16):
            entity += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        entity = await reader.readexactly(int(framing[b"content-length"]))
    kept = tuple(pair for pair in pairs if pair[0].lower() not in _FRAMING)
    return Answered(first.partition(b" ")[2], kept, entity)


class OddReply(Reply):
    """An answer compressed and framed in one of the ways venues use, with headers that stand twice."""

    __slots__ = ("random",)

    def encode(self, *, keep_alive: bool = True) -> bytes:
        """The bytes for the wire."""
        body, extra = self.body, self.extra
        coding = self.random.choice((b"", b"gzip", b"deflate", b"br"))
        if coding == b"gzip":
            body = gzip.compress(body)
        elif coding == b"deflate":
            body = zlib.compress(body)
        if coding:  # "br" is a lie on purpose: whoever tries to inflate it fails
            extra += b"Content-Encoding: " + coding + b"\r\n"
        extra += b"Set-Cookie: a=1\r\nset-cookie: b=2\r\nX-MBX-UUID: " + b"%d" % self.random.getrandbits(60) + b"\r\n"
        if self.random.random() < 0.5:
            extra += b"Transfer-Encoding: chunked\r\n"
            size = self.random.randint(1, 400)
            pieces = [body[start : start + size] for start in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            extra += b"Content-Length: %d\r\n" % len(body)
        return b"HTTP/1.1 %d Odd But Legal\r\nContent-Type: %b\r\n%b\r\n%b" % (
            self.status,
            self.content_type,
            extra,
            body,
        )


class Keeping(Reply):
    """An answer that is kept as it was written."""

    __slots__ = ("inner", "keep")

    def encode(self, *, keep_alive: bool = True) -> bytes:
        """The bytes for the wire, and a copy of them."""
        raw = self.inner.encode(keep_alive=keep_alive)
        self.keep(raw)
        return raw


@dataclass(slots=True)
class Met:
    """One request as it arrived, and its answer as it left the exchange."""

    received: Received
    sent: bytes = b""

    def keep(self, raw: bytes) -> None:
        """The answer is written."""
        self.sent = raw


@dataclass
class Ends:
    """What the exchange met, by method, target and body."""

    met: dict[tuple[str, bytes, bytes], list[Met]] = field(default_factory=dict)

    def watch(self, house: Apart, random: Random) -> None:
        """Stand before the exchange's own carrying out."""
        execute: Callable[[Received], Reply] = house.sim.execute
        own_keys = {key_of(f"venue-{account}").key.encode() for account in ("direct", "desk")}

        def kept(received: Received) -> Reply:
            reply = execute(received)
            if received.header(b"x-mbx-apikey") in own_keys or is_public_feed(received):
                return reply
            met = Met(received)
            self.met.setdefault((received.method, received.target, received.body), []).append(met)
            if received.method in ("GET", "DELETE"):
                odd = OddReply(reply.status, reply.body, reply.extra, reply.content_type)
                odd.random = random
                reply = odd
            keeping = Keeping(reply.status, reply.body)
            keeping.inner, keeping.keep = reply, met.keep
            return keeping

        house.sim.execute = kept  # type: ignore[method-assign]

    def take(self, spelled: Spelled) -> Met:
        """The one that arrived with exactly these bytes; of several, one with these headers."""
        key = (spelled.method, spelled.target, spelled.body)
        found = self.met.get(key, [])
        assert found, f"nothing with these bytes arrived: {spelled.raw!r}"
        same = [met for met in found if comparable(met.received.headers) == spelled.headers]
        assert same, f"other headers arrived: {spelled.raw!r}: {[met.received.headers for met in found]}"
        found.remove(same[0])
        if not found:
            del self.met[key]
        return same[0]


def is_public_feed(received: Received) -> bool:
    """Whether the proxy itself asks; bots of these runs never call themselves that."""
    return (received.header(b"user-agent") or b"").startswith(b"riskgate")


def comparable(headers: Pairs) -> Pairs:
    """The headers in order that must arrive: framing is written anew and Host is the venue's."""
    return tuple((name, value) for name, value in headers if name.lower() not in _FRAMING and name.lower() != b"host")


async def check(house: Apart, ends: Ends, spelled: Spelled, answered: Answered, statuses: Counter[str]) -> None:
    """Hold one exchange of request and answer against what the venue saw."""
    met = ends.take(spelled)
    received = met.received
    assert received.header(b"host") == urlsplit(house.sim.url).netloc.encode()
    if spelled.body or spelled.method in ("POST", "PUT"):
        assert received.header(b"content-length") == b"%d" % len(spelled.body)
    reader = asyncio.StreamReader()
    reader.feed_data(met.sent)
    sent = await read_answer(reader)
    own = tuple(pair for pair in answered.headers if not pair[0].lower().startswith(b"x-risk-"))
    assert (answered.status, own, answered.entity) == (sent.status, sent.headers, sent.entity), spelled.raw
    statuses[answered.status[:3].decode()] += 1


class Worker:
    """One bot on one connection, asking one thing after the other."""

    def __init__(self, house: Apart, ends: Ends, number: int, seed: int) -> None:
        self._house = house
        self._ends = ends
        self._random = Random(f"{seed}-{number}")
        self._names = Names(self._random, f"w{number}x")
        self._key = key_of(f"direct-{number}")
        self._host = urlsplit(house.proxy_url).netloc
        self.statuses: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    async def run(self, count: int) -> None:
        """Ask so many things."""
        parts = urlsplit(self._house.proxy_url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        try:
            for number in range(count):
                drawn = self._draw(number)
                spelled = spell(self._random, drawn, self._key.key, self._key.secret, self._host)
                for segment in spelled.segments:
                    writer.write(segment)
                    if len(spelled.segments) > 1:
                        await asyncio.sleep(0)
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    answered = await read_answer(reader)
                changes = spelled.method in ("POST", "PUT") and drawn.signed
                kind = "judged" if changes and "countdown" not in drawn.path else "passed"
                if kind == "judged":
                    assert (b"X-Risk-Decision", b"allow") in answered.headers, (spelled.raw, answered)
                self.kinds[kind] += 1
                await check(self._house, self._ends, spelled, answered, self.statuses)
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)

    def _draw(self, number: int) -> Drawn:
        if number % CLEAR_EVERY < 3:
            path = ("/fapi/v1/allOpenOrders", "/api/v3/openOrders", "/fapi/v1/algoOpenOrders")[number % CLEAR_EVERY]
            return Drawn("DELETE", path, [("symbol", "BTCUSDT")])
        roll = self._random.random()
        if roll < 0.88:
            return draw_order(self._random, self._names)
        return draw_cancel(self._random, self._names) if roll < 0.94 else draw_read(self._random, self._names)


async def byte_exact_run(folder: Any, *, judged: int, seed: int, event_loop: str) -> dict[str, Any]:
    """So many allowed orders, and a share of cancels and reads on top; the figures."""
    began = time.monotonic()
    each = round(judged / ORDERS_SHARE / WORKERS) + 1
    async with open_apart(folder, event_loop=event_loop) as house:
        ends = Ends()
        ends.watch(house, Random(seed))
        workers = [Worker(house, ends, number, seed) for number in range(WORKERS)]
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.run(each))
        if house.sim.survivors:
            pytest.fail("\n".join(house.sim.survivors[:3]), pytrace=False)
        assert not ends.met, list(ends.met)[:3]  # nothing arrived that nobody had sent
        kinds = sum((worker.kinds for worker in workers), Counter[str]())
        statuses = sum((worker.statuses for worker in workers), Counter[str]())
        figures = {
            "judged": kinds["judged"],
            "passed": kinds["passed"],
            "statuses": dict(statuses),
            "accepted": house.sim.accepted,
            "seconds": round(time.monotonic() - began, 1),
            **await house.steps(),
        }
    (folder / "figures.json").write_bytes(orjson.dumps(figures))
    assert kinds["judged"] >= judged, figures
    assert house.sim.judged_arrivals >= judged, figures
    # A venue that refused everything would prove little: most orders are taken.
    assert house.sim.accepted > 0.5 * judged, figures
    return figures


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
async def test_allowed_requests_arrive_byte_for_byte(tmp_path, event_loop):
    """Target, body and headers arrive as written, and the answer comes back as sent: 1,500 orders."""
    await byte_exact_run(tmp_path / "run", judged=1_500, seed=1, event_loop=event_loop)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("event_loop", "seed"), [("asyncio", 2), ("uvloop", 3)])
async def test_a_hundred_thousand_allowed_requests_arrive_byte_for_byte(tmp_path, event_loop, seed):
    """The same for 100,000 orders, half of them on each event loop."""
    await byte_exact_run(tmp_path / "run", judged=50_000, seed=seed, event_loop=event_loop)
