"""Background tasks."""

from __future__ import annotations

import asyncio

import structlog

from proxy.tasks import Tasks


async def test_a_failure_is_told():
    """A task that raises is logged under its name."""
    tasks = Tasks()

    async def broken():
        raise RuntimeError("bug")

    with structlog.testing.capture_logs() as lines:
        task = tasks.spawn(broken(), name="reader")
        await asyncio.wait({task})
        await asyncio.sleep(0)
    assert [(line["event"], line["task"]) for line in lines] == [("task.failed", "reader")]


async def test_closing_ends_what_still_runs():
    """Close cancels and waits; what had ended is not kept."""
    tasks = Tasks()
    ended = asyncio.Event()

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = tasks.spawn(work(), name="work")
    await asyncio.sleep(0)
    await tasks.close()
    assert ended.is_set()
    assert task.cancelled()
