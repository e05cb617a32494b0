"""How requests leave: an own lane to the venue, from bytes to bytes.

The lane owns its sockets, so three things can be promised that an HTTP client library does not
promise: the last look and the write are one step, nothing is ever sent twice, and it is known
whether a byte left. `docs/adr/0003-own-upstream-lane.md` says why it is not aiohttp's client.
"""

from __future__ import annotations

from proxy.upstream.connection import StreamedResponse, TimedResponse
from proxy.upstream.framing import Origin
from proxy.upstream.lane import Drained, Upstream, tls_context
from proxy.upstream.settings import UpstreamSettings

__all__ = [
    "Drained",
    "Origin",
    "StreamedResponse",
    "TimedResponse",
    "Upstream",
    "UpstreamSettings",
    "tls_context",
]
