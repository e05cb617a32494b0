"""Background tasks that are kept, named, and whose failures are told.

A bare `asyncio.create_task` may be garbage collected mid-way and swallows its error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger("riskgate.tasks")

# A driver may take a cancellation for a timeout of its own and go on (redis, some uses of wait_for). Long enough
# for what tidies up before it ends.
CANCEL_AGAIN_S = 5.0


class Tasks:
    """A set of running tasks that ends as one."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Start `work`, keep it until it ends, and log it if it fails."""
        task = asyncio.create_task(work, name=name)  # noqa: TID251 - this is the place
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task.failed", task=task.get_name(), error=repr(error))

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended; what goes on all the same is cancelled again."""
        running = set(self._running)
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
            for task in running:
                log.warning("task.cancelled_again", task=task.get_name(), after_s=CANCEL_AGAIN_S)
