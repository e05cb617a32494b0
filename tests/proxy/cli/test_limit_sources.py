"""`decisions show` says which layer set each limit, wherever policies are kept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from proxy.audit import Audit
from proxy.cli.main import run
from proxy.clock import ManualClock
from proxy.policy_file import read_policy_file
from proxy.stores import create_store, open_store
from proxy.stores.changes import document
from proxy.tasks import Tasks
from tests.contracts.conftest import postgres_url, redis_url, with_own_part

__all__ = ["postgres_url", "redis_url"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = ["leverage_effective", 0, "within", "2", "5"]
MEANT = "within leverage_effective 2 5 capital_profiles.micro"


def decision(revision: int) -> dict[str, object]:
    """An order that was held against its leverage limit under a revision."""
    return {
        "kind": "decision", "decision_id": f"d-{revision}", "endpoint": "POST /fapi/v1/order", "decision": "allow",
        "caller": {"account": "main", "bot": "grid1", "strategy": "grid"}, "reason": "all_risk_checks_passed",
        "orders": [{"symbol": "BTCUSDT", "side": "buy", "quantity": "0.1"}], "sentence": "It passed.",
        "policy_revision": revision, "rules_run": [RUN],
    }  # fmt: skip


@pytest.fixture
def judged(folder, monkeypatch):
    """A record of decisions under revisions 1 and 9, beside a folder whose settings name a store."""

    async def recorded(at):
        tasks = Tasks()
        audit = Audit(folder / "data" / "audit", clock=ManualClock(at), sync="process", tasks=tasks)
        audit.open()
        audit.append(decision(1))
        audit.append(decision(9))
        audit.close()
        await tasks.close()

    def record(url, at=NOW):
        monkeypatch.setenv("RISKGATE_STORE__URL", url)
        monkeypatch.setenv("RISKGATE_STORE__ALLOW_MEMORY", "true")
        asyncio.run(recorded(at))
        return folder

    return record


def shown(folder, capsys, decision_id="d-1"):
    """The rule's line, and what was said beside the record."""
    capsys.readouterr()
    assert run(["decisions", "show", decision_id, "--config", str(folder / "riskgate.yaml")]) == 0
    said = capsys.readouterr()
    (line,) = (line for line in said.out.splitlines() if "leverage_effective" in line)
    return " ".join(line.split()), said.err


@pytest.mark.parametrize("backend", ["sqlite", "postgres", "redis"])
def test_the_revision_that_judged_is_asked_of_every_store(judged, capsys, request, backend):
    """The limit has moved to another layer since; what is told is the layer of then."""
    url = "sqlite" if backend == "sqlite" else with_own_part(request.getfixturevalue(f"{backend}_url"), backend)
    folder = judged(url)

    async def fill():
        place = {"clock": ManualClock(NOW), "data_dir": folder / "data"}
        await (await create_store(url, read_policy_file(folder / "policy.yaml"), **place)).close()
        store = await open_store(url, **place)
        moved = {"accounts": {"main": {"leverage_max": "3"}}}
        await store.patch(moved, expected_revision=1, updated_by="ann", reason="tighter")
        await store.close()

    asyncio.run(fill())

    assert shown(folder, capsys) == (MEANT, "")
    line, said = shown(folder, capsys, "d-9")
    assert line == "within leverage_effective 2 5"
    assert "no revision 9" in said


def told(folder, at):
    """Revision 1 as the admin API tells it."""
    policy = read_policy_file(folder / "policy.yaml")
    return {"revision": 1, "updated_at": at.isoformat(), "updated_by": "init", "reason": "seed",
            "policy": document(policy), "warnings": [], "changes": []}  # fmt: skip


def test_a_store_in_memory_is_asked_of_the_running_proxy(judged, admin, capsys, monkeypatch):
    """Nobody else has its revisions."""
    folder = judged("memory")
    monkeypatch.setenv("RISKGATE_ADMIN__BIND", admin.url.removeprefix("http://"))
    admin.more["/api/v2/policy/history/1"] = told(folder, NOW)

    assert shown(folder, capsys) == (MEANT, "")


def test_a_revision_of_a_later_store_is_none_of_the_decisions(judged, admin, capsys, monkeypatch):
    """Numbers begin anew with every store; one that is younger than the decision did not judge it."""
    folder = judged("memory")
    monkeypatch.setenv("RISKGATE_ADMIN__BIND", admin.url.removeprefix("http://"))
    admin.more["/api/v2/policy/history/1"] = told(folder, NOW + timedelta(hours=1))

    line, said = shown(folder, capsys)

    assert line == "within leverage_effective 2 5"
    assert "made anew" in said


def test_a_store_that_does_not_answer_leaves_the_record_readable(judged, capsys):
    """The record is what was asked for; why the last column is empty is said beside it."""
    folder = judged("sqlite")

    line, said = shown(folder, capsys)

    assert line == "within leverage_effective 2 5"
    assert "which layer set each limit is not told" in said
