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


async def test_what_swallows_a_cancellation_is_cancelled_again(monkeypatch):
    """Once taken for something else, it would otherwise be waited for for ever; what fails while it ends is told."""
    monkeypatch.setattr("proxy.tasks.CANCEL_AGAIN_S", 0.02)
    tasks, swallowed = Tasks(), []

    async def deaf():
        while len(swallowed) < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.append(True)
        raise RuntimeError("bug")

    tasks.spawn(deaf(), name="deaf")
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(5):
            await tasks.close()
        await asyncio.sleep(0)
    assert [line["event"] for line in lines] == ["task.cancelled_again"] * 2 + ["task.failed"]
