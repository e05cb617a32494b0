"""The policy endpoints: reading and switching the active risk mode."""

import io

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
    assert (status, found["active"], found["revision"], found["updated_by"]) == (200, "DEFENSIVE", 2, "bootstrap (ann)")
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


POLICY = "/api/v2/policy"
BOTH = {name: {"strategies": "any", "symbols": ["BTCUSDT"]} for name in ("spot-1", "fut-1")}
CHANGE = {"policy": {"active_mode": "DEFENSIVE", "accounts": BOTH}, "updated_by": "ann", "reason": "first limits"}


async def put(admin, body, if_match='"1"'):
    """A PUT of the policy; returns status, answer and headers."""
    headers = {} if if_match is None else {"If-Match": if_match}
    return await admin.call("PUT", POLICY, json=body, headers=headers)


async def test_the_document_is_shown_with_its_revision_and_replaced_as_shown(admin):
    """What is read can be written back unchanged: the same document, one revision later."""
    assert (await put(admin, CHANGE))[0] == 200
    status, shown, headers = await admin.get(POLICY)
    assert (status, shown["revision"], headers["ETag"]) == (200, 2, '"2"')
    assert shown["policy"]["accounts"]["spot-1"]["symbols"] == ["BTCUSDT"]

    status, again, headers = await put(admin, CHANGE | {"policy": shown["policy"]}, headers["ETag"])
    assert (status, headers["ETag"], again["policy"]) == (200, '"3"', shown["policy"])


async def test_replacing_takes_effect_at_once_and_is_on_record(admin):
    """The next reading of a value sees it; the audit has intent and result with what changed, who and why."""
    await put(admin, CHANGE)

    assert (await admin.get("/api/v2/policy/value?path=risk.max_leverage"))[1]["value"] == "3"
    intent, result = read(admin.audit.directory)
    assert (intent["act"], intent["actor"], intent["reason"], intent["result"]) == (
        "policy.replace", "bootstrap (ann)", "first limits", "requested",
    )  # fmt: skip
    assert (intent["before"]["active_mode"], intent["after"]["active_mode"]) == ("NORMAL", "DEFENSIVE")
    assert (result["result"], result["after"]["revision"]) == ("revision 2", 2)


async def test_replacing_needs_the_revision_that_was_seen(admin):
    """No If-Match, or one that means any, is 428; one that somebody overtook is 412 and names the one in force."""
    assert [(await put(admin, CHANGE, match))[0] for match in (None, "*", '"1", "2"', 'W/"1"')] == [428] * 4
    await put(admin, CHANGE)
    status, problem, _ = await put(admin, CHANGE | {"reason": "too late"})

    assert (status, problem["revision"]) == (412, 2)
    assert (await admin.get(POLICY))[1]["reason"] == "first limits"
    assert list(read(admin.audit.directory))[-1]["result"].startswith("refused")


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"policy": {"active_mode": "NORMAL"}}, 422, "accounts.fut-1: found nothing"),
        ({"policy": {"active_mode": "NORMAL", "accounts": BOTH, "acounts": {}}}, 422, "acounts: found an unknown key"),
        ({"policy": {"active_mode": "NORMAL", "accounts": BOTH, "defaults": {"slippage": 0.015}}}, 422, "1.5%"),
        ({"policy": []}, 422, "policy"),
        ({"updated_by": ""}, 422, "updated_by"),
        ({"reason": " "}, 422, "reason"),
        ({"extra": 1}, 422, "extra"),
    ],
)
async def test_a_document_that_is_not_right_changes_nothing(admin, change, status, said):
    """Every problem is named by its path, and the policy in force stays."""
    found, problem, _ = await put(admin, CHANGE | change)

    assert found == status
    assert said in problem["detail"]
    assert (await admin.get(POLICY))[1]["revision"] == 1


async def test_a_document_beyond_a_mebibyte_is_not_read(admin):
    """Larger than any policy is refused for its size; the other routes keep their smaller bound."""
    headers = {"If-Match": '"1"', "Content-Type": "application/json"}
    large = io.BytesIO(b" " * 1_100_000)

    assert (await admin.call("PUT", POLICY, data=large, headers=headers))[0] == 413


async def test_a_document_comes_as_json(admin):
    """What a form or a foreign page could send is refused before it is read."""
    headers = {"If-Match": '"1"', "Content-Type": "text/plain"}

    assert (await admin.call("PUT", POLICY, data="{}", headers=headers))[0] == 415


async def test_what_is_probably_not_meant_is_told_with_the_answer(admin):
    """Warnings do not stop a policy; they come with it."""
    policy = {"active_mode": "NORMAL", "accounts": BOTH, "defaults": {"price": {"floor": "1"}}}
    _, found, _ = await put(admin, CHANGE | {"policy": policy})

    assert "price.floor applies to every symbol" in found["warnings"][0]


async def test_a_replacement_that_cannot_be_recorded_does_not_happen(admin, monkeypatch):
    """What cannot be recorded is not done."""

    def failing(record):
        raise AuditError("no space")

    monkeypatch.setattr(admin.audit, "append", failing)
    assert (await put(admin, CHANGE))[0] == 503
    assert (await admin.get(POLICY))[1]["revision"] == 1
