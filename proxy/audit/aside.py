"""A thread for files that may hang: the event loop goes on beside it, and the process can end without it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Final

from proxy.errors import AuditError

CLOSE_TIMEOUT_S: Final = 2.0


class Aside:
    """Does one thing after the other; its caller hears in the event loop what became of each."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: threading.Thread | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def ask(self, work: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        """Do `work` when its turn comes, and call `done` in the event loop with what it raised."""
        loop = asyncio.get_running_loop()

        def job() -> None:
            failed: Exception | None = None
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the work ends here and whoever asked is told; the thread goes on
                failed = error
            try:
                loop.call_soon_threadsafe(done, failed)
            except RuntimeError:  # the loop ended meanwhile: nobody is left who could be told
                return

        self._begin()
        self._jobs.put(job)

    async def run(self, work: Callable[[], None]) -> None:
        """Do `work` and wait for it. Raises AuditError where it failed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ask(work, lambda error: settle(done, error))
        await done

    def close(self, last: Callable[[], None] | None = None) -> bool:
        """End, after one last thing, which raises nothing; False if it hangs and was left behind."""
        if last is not None:
            self._begin()
            self._jobs.put(last)
        if self._worker is None:
            return True
        self._jobs.put(None)
        self._worker.join(CLOSE_TIMEOUT_S)
        hangs = self._worker.is_alive()
        self._worker = None
        return not hangs

    def _begin(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work_off, name=self._name, daemon=True)
            self._worker.start()

    def _work_off(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def settle(waiter: asyncio.Future[None], error: Exception | None) -> None:
    """Answer somebody who waits, unless they gave up."""
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(AuditError(str(error)))
