"""The policy endpoints: reading and switching the active risk mode."""

import pytest

from proxy.audit import read
from proxy.errors import AuditError

SWITCH = "/api/v2/policy/risk-mode"
BODY = {"mode": "DEFENSIVE", "updated_by": "ann", "reason": "volatile"}


async def test_the_active_profile_is_shown(admin):
    """Profile, revision and the names that clients know, amounts as exact text."""
    status, found, _ = await admin.get("/api/v2/policy/risk-profile")
    assert (status, found["active"], found["revision"]) == (200, "NORMAL", 1)
    assert found["profile"]["leverage_max"] == "5"
    assert found["config"]["max_leverage"] == "5"


async def test_the_modes_are_listed(admin):
    """All three, and which is active."""
    _, found, _ = await admin.get("/api/v2/policy/risk-modes")
    assert set(found["modes"]) == {"AGGRESSIVE_SMALL_ACCOUNT", "NORMAL", "DEFENSIVE"}
    assert found["active"] == "NORMAL"


async def test_switching_takes_effect_and_is_on_record(admin):
    """The mode is active afterwards, with who and why; the audit has intent and result."""
    status, found, _ = await admin.post(SWITCH, BODY)
    assert (status, found["active"], found["revision"], found["updated_by"]) == (200, "DEFENSIVE", 2, "ann")
    _, value, _ = await admin.get("/api/v2/policy/value?path=risk.max_leverage")
    assert value == {"path": "risk.max_leverage", "value": "3"}
    acts = [(one["act"], one["before"], one["after"], one["result"]) for one in read(admin.audit.directory)]
    assert acts == [
        ("policy.switch_mode", "NORMAL", "DEFENSIVE", "requested"),
        ("policy.switch_mode", "NORMAL", "DEFENSIVE", "revision 2"),
    ]


async def test_an_alias_of_a_mode_is_understood(admin):
    """AGGRESSIVE stands for AGGRESSIVE_SMALL_ACCOUNT."""
    assert (await admin.post(SWITCH, BODY | {"mode": "AGGRESSIVE"}))[1]["active"] == "AGGRESSIVE_SMALL_ACCOUNT"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"mode": "RECKLESS"}, 404),
        ({"mode": "defensive"}, 404),
        ({"mode": ""}, 422),
        ({"mode": "A" * 65}, 422),
        ({"mode": "DEFENSIVE\n"}, 422),
        ({"mode": None}, 422),
        ({"updated_by": " "}, 422),
        ({"reason": ""}, 422),
        ({"expected_revision": 7}, 409),
        ({"expected_revision": "1"}, 422),
        ({"extra": 1}, 422),
    ],
)
async def test_a_switch_that_is_not_right_changes_nothing(admin, change, status):
    """Unknown modes, missing names, old revisions."""
    found, problem, _ = await admin.post(SWITCH, BODY | change)
    assert found == status, problem
    assert (await admin.get("/api/v2/policy/risk-profile"))[1]["active"] == "NORMAL"


async def test_a_switch_that_cannot_be_recorded_does_not_happen(admin, monkeypatch):
    """What cannot be recorded is not done."""

    def failing(record):
        raise AuditError("no space")

    monkeypatch.setattr(admin.audit, "append", failing)
    assert (await admin.post(SWITCH, BODY))[0] == 503
    assert (await admin.get("/api/policy/risk_mode"))[1] == {"risk_mode": "NORMAL"}


async def test_the_v1_aliases(admin):
    """Reading and switching by the older paths, with the same rules."""
    assert (await admin.get("/api/policy/risk_mode"))[1] == {"risk_mode": "NORMAL"}
    body = {"updated_by": "ann", "reason": "volatile"}
    assert (await admin.post("/api/policy/risk_mode/DEFENSIVE", body))[1] == {"risk_mode": "DEFENSIVE"}
    assert (await admin.post("/api/policy/risk_mode/RECKLESS", body))[0] == 404
    assert (await admin.post("/api/policy/risk_mode/NORMAL", {}))[0] == 422


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("?path=", 422),
        ("?path=a&path=b", 422),
        ("?path=risk.nothing", 404),
        ("?path=risk.__class__", 404),
        ("?path=model_dump", 404),
        ("?path=active_mode", 200),
    ],
)
async def test_values_are_read_by_path_and_nothing_else_is_reachable(admin, query, status):
    """Fields of the document, never an object's insides."""
    assert (await admin.get("/api/v2/policy/value" + query))[0] == status
