"""Raw bytes through aiohttp's own parser and then the codec: what the proxy makes of them, less the socket."""

from __future__ import annotations

import asyncio

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from proxy.errors import CallerError
from proxy.exchanges.base import JUDGED, PASSED
from proxy.wire import WireRequest
from tests.threats.corpus import BINANCE, JUDGED_BY_GATE, PASSED_ON, REFUSED


def outcomes(raw: bytes) -> set[str]:
    """What becomes of the requests in `raw`; one that never ends is refused, since its deadline comes."""
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 2**24, max_line_size=8190, max_field_size=8190, auto_decompress=False
    )
    try:
        messages, _, _ = parser.feed_data(raw)
    except HttpProcessingError:
        return {REFUSED}
    found = set()
    for message, payload in messages:
        if payload.exception() is not None or not payload.is_eof() or message.version != (1, 1):
            found.add(REFUSED)
            continue
        target = message.path.encode("utf-8", "surrogateescape")
        body = payload.read_nowait()
        found.add(_outcome(WireRequest(message.method, target, tuple(message.raw_headers), body)))
    return found or {REFUSED}


def _outcome(request: WireRequest) -> str:
    try:
        recognised = BINANCE.recognise(request)
        if recognised.verb in JUDGED:
            BINANCE.parse(request, recognised)
            return JUDGED_BY_GATE
        return PASSED_ON if recognised.verb in PASSED else REFUSED
    except CallerError:
        return REFUSED

