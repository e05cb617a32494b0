"""Handing out tokens and taking them back over the admin API."""

from datetime import timedelta

import pytest

from proxy.audit import read
from tests.proxy.admin.conftest import NOW

TOKENS = "/admin/v1/tokens"


async def test_a_token_is_shown_once_and_never_again(admin):
    """Neither the list nor the record holds it, nor what it is known by."""
    status, made, _ = await admin.post(TOKENS, {"person": "anna", "role": "operator", "expires_in": "90d"})
    _, listed, _ = await admin.get(TOKENS)

    assert (status, made["person"], made["role"], made["audited"]) == (201, "anna", "operator", True)
    assert made["expires_at"] == (NOW + timedelta(days=90)).isoformat().replace("+00:00", "Z")
    assert len(made["token"]) > 40
    assert [(one["person"], one["state"], "token" in one, "sha256" in one) for one in listed["tokens"]] == [
        ("anna", "live", False, False)
    ]
    on_disk = b"".join(file.read_bytes() for file in admin.audit.directory.iterdir())
    assert made["token"].encode() not in on_disk
    assert b'"token.create"' in on_disk


async def test_a_revoked_token_is_refused_and_says_so(admin):
    """From the answer on; the attempt is on record with whose token it was."""
    _, made, _ = await admin.post(TOKENS, {"person": "anna", "role": "admin"})
    assert (await admin.get(TOKENS, token=made["token"]))[0] == 200
    status, gone, _ = await admin.call("DELETE", f"{TOKENS}/{made['id']}?reason=left")

    assert (status, gone["state"], gone["revoked_by"]) == (200, "revoked", "bootstrap")
    status, problem, _ = await admin.get(TOKENS, token=made["token"])
    records = list(read(admin.audit.directory, kinds={"admin"}))
    assert (status, "anna is revoked" in problem["detail"]) == (401, True)
    assert (records[-1]["actor"], records[-1]["reason"]) == ("unknown", "the token of anna is revoked")
    assert (records[-2]["act"], records[-2]["reason"], records[-2]["result"]) == ("token.revoke", "left", "done")


async def test_wrong_tokens_wait_and_the_right_one_does_not(admin):
    """Five failures from an address and then 429, while a person's token goes on working."""
    _, made, _ = await admin.post(TOKENS, {"person": "anna", "role": "viewer"})
    found = [(await admin.get("/admin/v1/ess", token="rgt_wrong"))[0] for _ in range(6)]

    assert found == [401] * 5 + [429]
    assert (await admin.get("/admin/v1/ess", token=made["token"]))[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        {"person": "bootstrap"}, {"person": ""}, {"role": "root"}, {"role": None}, {"expires_in": "5"},
        {"expires_in": "59s"}, {"expires_in": "401d"}, {"expires_in": "-1d"}, {"token": "mine"},
    ],
)  # fmt: skip
async def test_what_is_not_right_makes_no_token(admin, change):
    """Names, roles and times outside their bounds are refused, and nothing is there afterwards."""
    status, _, _ = await admin.post(TOKENS, {"person": "anna", "role": "viewer"} | change)

    assert status == 422
    assert (await admin.get(TOKENS))[1]["tokens"] == []


async def test_what_cannot_be_recorded_lets_nobody_in(admin, monkeypatch):
    """Without a record there is no new token; one can still be taken away."""
    from proxy.errors import AuditError

    _, made, _ = await admin.post(TOKENS, {"person": "anna", "role": "viewer"})

    def fail(*_, **__):
        raise AuditError("the disk is full")

    monkeypatch.setattr(type(admin.audit), "append", fail)
    assert (await admin.post(TOKENS, {"person": "ben", "role": "admin"}))[0] == 503
    status, gone, _ = await admin.call("DELETE", f"{TOKENS}/{made['id']}")
    assert (status, gone["state"], gone["audited"]) == (200, "revoked", False)
    assert [one["person"] for one in (await admin.get(TOKENS))[1]["tokens"]] == ["anna"]
