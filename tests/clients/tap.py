"""A relay in front of the proxy that keeps what clients send, byte for byte.

The exchange knows what arrived, the clients know what they meant; only a third party in between
can show that the bytes are the same.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import NamedTuple

from tests import canary

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_PIECE_BYTES = 65536


class Sent(NamedTuple):
    """One request as a client wrote it."""

    number: int
    raw: bytes


class Tap:
    """Listens where clients think the proxy is."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.leaks: list[str] = []  # where a secret stood in what the proxy answered
        self.url = ""
        self._to = ("", 0)
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; connections are refused until `relay_to` says where to."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self.url

    def relay_to(self, host: str, port: int) -> None:
        """Where the proxy listens."""
        self._to = (host, port)

    def stop(self) -> None:
        """Accept nobody any more."""
        if self._server is not None:
            self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            proxy_reader, proxy_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._copy(reader, proxy_writer, keep=True), self._copy(proxy_reader, writer, keep=False)
        )

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool) -> None:
        waiting = said = b""
        with suppress(OSError):  # either side may hang up at any time; then the other is hung up on as well
            while piece := await reader.read(_PIECE_BYTES):
                if keep:
                    waiting = self._cut(waiting + piece)
                elif (around := canary.found_in(said := said[-len(canary.WORD) :] + piece)) is not None:
                    self.leaks.append(f"an answer to a client: ...{around}...")
                writer.write(piece)
                await writer.drain()
        writer.close()

    def _cut(self, waiting: bytes) -> bytes:
        """Keep every complete request; what is left belongs to the next one."""
        while (head_end := waiting.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(waiting, 0, head_end + 2)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(waiting) < end:
                break
            self.sent.append(Sent(len(self.sent), waiting[:end]))
            waiting = waiting[end:]
        return waiting
