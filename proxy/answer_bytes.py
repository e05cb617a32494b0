"""The bytes of an answer as the bot gets them: the venue's headers as they came, and framing of our own."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import Final

from proxy.wire import Headers, WireResponse

BODYLESS: Final = frozenset({204, 304})
_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


def whole_bytes(answer: WireResponse, *, close: bool, head_only: bool) -> bytes:
    """An answer that is here as a whole, in one piece."""
    body = answer.body
    if answer.status in BODYLESS:
        framing, body = b"", b""
    else:
        framing = b"Content-Length: %d\r\n" % len(body)
        if head_only:
            body = b""
    return head_bytes(answer.status, answer.reason, answer.headers, framing, close=close) + body


def head_bytes(status: int, reason: bytes, headers: Headers, framing: bytes, *, close: bool) -> bytes:
    """The head of an answer, with its empty line; `framing` says how its body ends."""
    pieces = [_status_line(status, reason)]
    for name, value in headers:
        pieces += (name, b": ", value, b"\r\n")
    pieces += (framing, b"Connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(pieces)


@lru_cache(maxsize=256)
def _status_line(status: int, reason: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, reason or _PHRASES.get(status, b""))
