"""Decisions and the audit's state over the admin API."""

import pytest


def decide(admin, number, verdict="allow", kind="decision"):
    """Put a decision on record."""
    record = {"kind": kind, "decision_id": f"d-{number}", "reason": "r"}
    if kind == "decision":
        record["decision"] = verdict
    admin.audit.append(record)


async def test_the_newest_decisions_come_first_and_by_outcome(admin):
    """Limit and outcome pick; a refusal counts as a block; other records are left out."""
    for number, verdict in enumerate(["allow", "block", "scale_down", "allow"]):
        decide(admin, number, verdict)
        admin.audit.append({"kind": "outcome", "decision_id": f"d-{number}", "outcome": "accepted"})
    decide(admin, 9, kind="refusal")

    async def ids(query):
        return [one["decision_id"] for one in (await admin.get("/admin/v1/decisions" + query))[1]["decisions"]]

    assert await ids("") == ["d-9", "d-3", "d-2", "d-1", "d-0"]
    assert await ids("?limit=2") == ["d-9", "d-3"]
    assert await ids("?outcome=block") == ["d-9", "d-1"]
    assert await ids("?outcome=allow&limit=1") == ["d-3"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=-1", "limit=1001", "limit=x", "limit=1e2", "limit=٣", "outcome=ok",
    ],
)
async def test_odd_questions_are_told_what_is_expected(admin, query):
    """Limits and outcomes outside their range are 422."""
    assert (await admin.get("/admin/v1/decisions?" + query))[0] == 422


async def test_one_decision_with_what_became_of_it(admin):
    """The decision and its outcome, oldest first; an unknown id is 404."""
    decide(admin, 1)
    admin.audit.append({"kind": "outcome", "decision_id": "d-1", "outcome": "accepted"})
    _, found, _ = await admin.get("/admin/v1/decisions/d-1")
    assert [one["kind"] for one in found["records"]] == ["decision", "outcome"]
    assert (await admin.get("/admin/v1/decisions/d-2"))[0] == 404


async def test_the_audit_is_verified_and_a_change_is_told(admin):
    """200 while the chain holds; 500 naming the record once it does not."""
    for number in range(5):
        decide(admin, number)
    status, found, _ = await admin.get("/admin/v1/audit/verify")
    assert (status, found["ok"], found["records"]) == (200, True, 5)

    path = admin.audit.directory / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"d-2", b"d-7"))
    status, found, _ = await admin.get("/admin/v1/audit/verify")
    assert (status, found["ok"], found["at_sequence"]) == (500, False, 3)
