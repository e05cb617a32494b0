"""Requests read without a parser, where a parser has read the same head before.

A bot sends the same header block with every order; only target, length and body differ. Once
aiohttp's strict parser has accepted a request of a connection, its head is kept as a form. A
later request that is this form byte for byte, with another plain target, another length and as
many bytes of body, is read from the form. Everything else goes to the parser.

What is read here is what the parser would have read: nothing is looked at but bytes that are
equal to bytes it accepted, a target of plain characters, and a length in plain digits.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from proxy.wire import Headers, WireRequest

HEAD_BYTES_MAX: Final = 4096
_LENGTHS_KEPT: Final = 64
_TARGET: Final = rb"/[A-Za-z0-9_/-]*(?:\?[A-Za-z0-9_.~=&%+,:@*-]*)?"
_LINE: Final = re.compile(rb"(GET|POST|PUT|DELETE) (" + _TARGET + rb") HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,6}|0")
# With these the reading of a request depends on more than its bytes.
_NOT_KEPT: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te"})


class Form:
    """The head of a request that the parser accepted: everything but target and length."""

    __slots__ = ("_after", "_before", "_by_length", "_example", "_length_at", "_line")

    def __init__(self, example: WireRequest, before: bytes, after: bytes, length_at: int | None) -> None:
        self._example = example
        self._line = example.method.encode("ascii") + b" "
        self._before = before  # the header block up to the digits of the length
        self._after = after  # and from there to its empty line
        self._length_at = length_at  # which header is the length; None if the request has no body
        self._by_length: dict[bytes, Headers] = {}

    def read(self, data: bytes, body_max_bytes: int) -> WireRequest | None:
        """The one whole request that `data` is, or None if it is anything else."""
        if not data.startswith(self._line):
            return None
        line = _LINE.match(data)
        if line is None:
            return None
        start = line.end()
        if start > HEAD_BYTES_MAX or not data.startswith(self._before, start):
            return None
        example = self._example
        end = data.find(b"\r\n\r\n", start)
        digits_at = start + len(self._before)
        digits_end = end + 4 - len(self._after)
        if digits_end < digits_at or data[digits_end : end + 4] != self._after:
            return None
        body = data[end + 4 :]
        headers = example.headers
        if self._length_at is not None:
            digits = data[digits_at:digits_end]
            if _LENGTH.fullmatch(digits) is None or int(digits) != len(body) or len(body) > body_max_bytes:
                return None
            headers = self._by_length.get(digits) or self._headers(digits)
        elif body or digits_end != digits_at:
            return None
        return WireRequest(example.method, line[2], headers, body, example.peer, example.host)

    def _headers(self, digits: bytes) -> Headers:
        at, headers = self._length_at, self._example.headers
        assert at is not None
        made = (*headers[:at], (headers[at][0], digits), *headers[at + 1 :])
        if len(self._by_length) < _LENGTHS_KEPT:
            self._by_length[digits] = made
        return made


def form_of(data: bytes, read: WireRequest) -> Form | None:
    """The form of a request, given its bytes and what the parser read in them; None if none can be kept."""
    line = _LINE.match(data)
    end = data.find(b"\r\n\r\n")
    if line is None or end < 0 or end > HEAD_BYTES_MAX or end + 2 < line.end():
        return None
    names = [name.lower() for name, _ in read.headers]
    lengths = [index for index, name in enumerate(names) if name == b"content-length"]
    if len(lengths) > 1 or not _NOT_KEPT.isdisjoint(names):
        return None
    block = data[line.end() : end + 4]
    if not lengths:
        form = Form(without_body(read), block, b"", None)
    else:
        # Line by line as the parser listed them: a value that only looks like the length is not taken for it.
        lines = block.split(b"\r\n")
        position = lengths[0]
        name, digits = read.headers[position]
        whole = lines[position]
        if not whole.endswith(digits) or whole[: len(name)] != name:
            return None
        at = sum(len(one) + 2 for one in lines[:position]) + len(whole) - len(digits)
        form = Form(without_body(read), block[:at], block[at + len(digits) :], position)
    # The proof: read by the form, the request is what the parser made of it.
    return form if form.read(data, len(read.body)) == read else None


def without_body(request: WireRequest) -> WireRequest:
    """The request as an example: its body need not be kept."""
    return replace(request, body=b"")
