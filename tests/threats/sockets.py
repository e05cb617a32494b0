"""The corpora over real sockets: what a proxy answers to raw bytes, and what of them reached the exchange."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

ANSWERS_TIMEOUT_S = 20.0
QUIET_S = 0.02


class Seen(NamedTuple):
    """One answer: its status, its head and its body."""

    status: int
    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a connection saw: answers in order, and whether the proxy ended it by itself."""

    answers: tuple[Seen, ...]
    closed: bool


def address(url: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


async def talk(
    url: str,
    segments: Sequence[bytes],
    *,
    answers: int | None = None,
    timeout_s: float = ANSWERS_TIMEOUT_S,
    pause_s: float = 0.0,
    source: str = "127.0.0.1",
) -> Outcome:
    """Send segments, and read until so many answers came, the proxy closed, or the time is over."""
    reader, writer = await asyncio.open_connection(*address(url), limit=1 << 21, local_addr=(source, 0))
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found: list[Seen] = []
    closed = False
    try:
        async with asyncio.timeout(timeout_s):
            for segment in segments:
                if not writer.is_closing():  # uvloop complains of what asyncio ignores
                    writer.write(segment)
                if len(segments) > 1:
                    await asyncio.sleep(pause_s)
            while answers is None or len(found) < answers:
                found.append(await read_one(reader, bodyless=segments[0].startswith(b"HEAD ")))
            # A connection that is to be closed closes at once; one that is kept stays.
            async with asyncio.timeout(QUIET_S):
                await read_one(reader)
                raise AssertionError(f"more answers than requests: {segments!r}")
    except (asyncio.IncompleteReadError, ConnectionError):
        closed = True
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
    return Outcome(tuple(found), closed)


async def read_one(reader: asyncio.StreamReader, *, bodyless: bool = False) -> Seen:
    """One final answer off the wire; `100 Continue` is passed over. Raises IncompleteReadError at the end."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status != 100:
            break
    names = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if bodyless:
        body = b""
    elif names.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(names.get(b"content-length", b"0")))
    return Seen(status, head, body)
