"""The bytes of a request as the venue gets them, and which header fields cross the proxy.

The client's own framing is never forwarded: fields that speak of a connection end here, and
Content-Length is written from the body that was judged. Everything else passes in order, in the
case and with the bytes it came in.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from proxy.errors import ConfigError, OrderNotUnderstood
from proxy.wire import Headers, WireRequest

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_TARGET: Final = re.compile(rb"/[^\x00-\x20\x7f]*")

_HOP_BY_HOP: Final = frozenset(
    {b"keep-alive", b"te", b"trailer", b"trailers", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
# Who the bot is and how it got here is nobody's business upstream; x-risk-* speaks to the gate only.
_NOT_FORWARDED: Final = frozenset({b"host", b"forwarded", b"via", b"expect", b"x-real-ip"})
_NOT_FORWARDED_PREFIXES = (b"proxy-", b"x-forwarded-", b"x-risk-")

# Methods whose empty body a server may want to see declared.
_DECLARES_EMPTY_BODY: Final = frozenset({"POST", "PUT", "PATCH"})

_CLASSIFIED_MAX: Final = 1024  # distinct names remembered; bots use a few dozen
_BLOCKS_KEPT: Final = 512
_BLOCK_KEPT_BYTES_MAX: Final = 4096


class Field(Enum):
    """What becomes of a header field."""

    PASSES = "passes"
    ENDS_HERE = "ends_here"
    LENGTH = "length"
    CONNECTION = "connection"


# Looked up once: on an enumeration class that costs more than what follows from it.
PASSES: Final = Field.PASSES
ENDS_HERE: Final = Field.ENDS_HERE
LENGTH: Final = Field.LENGTH
CONNECTION: Final = Field.CONNECTION


class Origin(NamedTuple):
    """Where a family's requests go: fixed by configuration, never by a request."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read `https://api.example.com[:port]`. Raises ConfigError for anything else."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"upstream origin {text!r} cannot be read: {error}") from error
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.path not in ("", "/")
            or parts.username is not None
            or parts.query
            or parts.fragment
        ):
            raise ConfigError(f"upstream origin is {text!r}, expected https://host or https://host:port")
        return cls(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))

    @property
    def host_header(self) -> bytes:
        """The Host field: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        own_port = 443 if self.scheme == "https" else 80
        return (host if self.port == own_port else f"{host}:{self.port}").encode("ascii")

    @property
    def is_address(self) -> bool:
        """Whether it names a machine outright: an IP address, or this machine."""
        if self.host == "localhost":
            return True
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


_classified: dict[bytes, Field] = {}


def classify(name: bytes) -> Field:
    """Say what becomes of a field, by its name. Raises OrderNotUnderstood if it is not a name."""
    known = _classified.get(name)
    if known is not None:
        return known
    if not _TOKEN.fullmatch(name):
        raise OrderNotUnderstood("a header name holds bytes that no header name may hold", status=400)
    lower = name.lower()
    if lower == b"content-length":
        field = LENGTH
    elif lower == b"connection":
        field = CONNECTION
    elif (
        lower in _HOP_BY_HOP or lower in _NOT_FORWARDED or lower.startswith(_NOT_FORWARDED_PREFIXES)
    ):
        field = ENDS_HERE
    else:
        field = PASSES
    if len(_classified) < _CLASSIFIED_MAX:
        _classified[name] = field
    return field


def connection_options(headers: tuple[tuple[bytes, bytes], ...]) -> frozenset[bytes]:
    """The lower-case options of all Connection fields."""
    return frozenset(
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    )


def request_bytes(request: WireRequest, host: bytes) -> bytes:
    """One buffer: request line with the raw target, the fields that cross, our own length, the body.

    Raises OrderNotUnderstood for what would not be read as exactly this one request.
    """
    method, target, body, headers = _method(request.method), _target(request.target), request.body, request.headers
    key = (id(headers), host, len(body), method)
    kept = _blocks.get(key)
    if kept is not None:
        block = kept[1]
    else:
        block = _header_block(request, host)
        if len(block) <= _BLOCK_KEPT_BYTES_MAX:
            if len(_blocks) >= _BLOCKS_KEPT:
                del _blocks[next(iter(_blocks))]
            _blocks[key] = headers, block
    return b"%b %b HTTP/1.1\r\n%b%b" % (method, target, block, body)


# Header blocks as they were written: a bot's are the same from order to order but for the length, and the very same
# object (`proxy.front`). Known by identity, as to hash a head costs more; kept with it, so that no other one has it.
_blocks: Final[dict[tuple[int, bytes, int, bytes], tuple[Headers, bytes]]] = {}


def _header_block(request: WireRequest, host: bytes) -> bytes:
    body = request.body
    lines = [b"Host: %b" % host]
    named: frozenset[bytes] | None = None
    length_written = False
    for name, value in request.headers:
        field = classify(name)
        if field is PASSES:
            lines.append(b"%b: %b" % (name, value))
        elif field is LENGTH and not length_written:
            # Where the client had it and as it spelt the name, but with the number we count.
            lines.append(b"%b: %d" % (name, len(body)))
            length_written = True
        elif field is CONNECTION:
            named = connection_options(request.headers)
    if not length_written and (body or request.method in _DECLARES_EMPTY_BODY):
        lines.append(b"Content-Length: %d" % len(body))
    if named is not None and not named <= {b"close", b"keep-alive"}:
        lines[1:] = [line for line in lines[1:] if line.partition(b":")[0].lower() not in named]
    head = b"\r\n".join(lines)
    # A line feed inside a value would be a header, or a request, of its own.
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise OrderNotUnderstood("a header value holds CR, LF or NUL", status=400)
    return head + b"\r\n\r\n"


@lru_cache(maxsize=64)
def _method(method: str) -> bytes:
    if not _METHOD.fullmatch(method):
        raise OrderNotUnderstood(f"the method is {method[:20]!r}, expected capital letters", status=400)
    return method.encode("ascii")


def _target(target: bytes) -> bytes:
    if not _TARGET.fullmatch(target):
        raise OrderNotUnderstood(
            "the request target is not a path starting with / and free of blanks and control bytes",
            status=400,
        )
    return target
