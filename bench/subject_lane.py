"""riskgate's listener and lane with nothing between: what transport alone costs.

    python -m bench.subject_lane UPSTREAM_PORT auto|asyncio|uvloop
"""

from __future__ import annotations

import asyncio
import sys

from proxy import loops
from proxy.handler import ProxyServer
from proxy.tasks import Tasks
from proxy.upstream import Upstream, UpstreamSettings
from proxy.wire import WireRequest, WireResponse


class Forward:
    """A pipeline that lets everything pass."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    async def handle(self, request: WireRequest) -> WireResponse:
        return await self.upstream.send("/fapi", request, last_look=self.look, tracked=True)

    def look(self) -> None:
        """Nothing to see."""


async def serve(upstream_port: int) -> None:
    tasks = Tasks()
    origin = f"http://127.0.0.1:{upstream_port}"
    upstream = Upstream({"/fapi": origin}, UpstreamSettings(), tasks=tasks)
    await upstream.start()
    server = ProxyServer(Forward(upstream))
    _, port = await server.start("127.0.0.1", 0)
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(1)
    await upstream.close()
    await tasks.close()


def main() -> None:
    loops.run(serve(int(sys.argv[1])), sys.argv[2])


if __name__ == "__main__":
    main()
