"""Audits in a test's own folder, closed at its end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from proxy.audit import Audit
from proxy.clock import ManualClock
from proxy.tasks import Tasks

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock():
    """A clock that stands still."""
    return ManualClock(NOW)


@pytest.fixture
async def tasks():
    """Background tasks, ended with the test."""
    tasks = Tasks()
    yield tasks
    await tasks.close()


@pytest.fixture
def opened(tmp_path, clock, tasks):
    """Open audits that are closed at the end."""
    made = []

    def make(directory=tmp_path / "audit", sync="process", **options):
        audit = Audit(directory, sync=sync, clock=clock, tasks=tasks, **options)
        audit.open()
        made.append(audit)
        return audit

    yield make
    for audit in made:
        audit.close()
