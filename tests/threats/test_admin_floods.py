"""What somebody can do to orders by way of the admin listener, without a token or with one, only by what is sent."""

from __future__ import annotations

import asyncio
import errno
from datetime import timedelta

import pytest
from aiohttp import web

from proxy.admin import policy_drafts
from proxy.admin.access import Access, Person, Role
from proxy.admin.policy_changes import PolicyChanges
from proxy.admin.policy_drafts import DraftRoutes
from proxy.admin.roles import PERSON
from proxy.admin.stopping import BOT_REPEATS_MAX
from proxy.audit import read
from proxy.stores.base import validated
from proxy.tasks import Tasks
from rules import EssLevel
from tests.proxy.admin.conftest import admin  # noqa: F401 - the fixture of the listener's own tests

DRAFTS = "/api/v2/policy/drafts"
WHO = {"updated_by": "ana", "reason": "test"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ACCOUNTS = {
    name: {"capital_profile": "aggressive", "strategies": "any", "symbols": "any"} for name in ("spot-1", "fut-1")
}


async def chunked(body):
    """A body whose length is not said beforehand."""
    yield body


@pytest.mark.parametrize("stream", [False, True], ids=["with its length", "chunked"])
async def test_a_huge_form_without_a_token_is_not_parsed(admin, monkeypatch, stream):  # noqa: F811 - the fixture
    """A quarter of a million fields cost half a second of everybody's time; they are refused unread."""
    parsed = []

    async def post(request):
        parsed.append(request)
        return {}

    monkeypatch.setattr(web.BaseRequest, "post", post)
    body = b"a=1&" * 200_000
    status, _, _ = await admin.call(
        "POST", "/ui/login", token=None, headers=FORM, data=chunked(body) if stream else body
    )

    assert status == 413
    assert not parsed


async def test_a_form_of_usual_size_is_read(admin):  # noqa: F811 - the fixture
    """The bound is far above what the log-in sends: a wrong token is told to be one."""
    status, page, _ = await admin.call("POST", "/ui/login", token=None, headers=FORM, data=b"token=" + b"x" * 400)
    assert (status, "not a token" in page) == (401, True)


class Request(dict):
    """What a route reads of a request."""

    remote = "127.0.0.1"


class Watched:
    """Drafts in a folder, and the watch that puts them in force."""

    def __init__(self, found, folder, **parts):
        self.parts = found.parts(drafts_dir=folder, **parts)
        self.routes = DraftRoutes(self.parts, PolicyChanges(self.parts))


def due(found, number, **changes):
    """A scheduled draft whose hour has come."""
    at = (found.clock.now() - timedelta(seconds=1)).isoformat()
    policy = {"active_mode": "NORMAL", "accounts": ACCOUNTS, "defaults": {"leverage_max": "2"}}
    return {
        "id": f"{number:016x}", "status": "scheduled", "base_revision": 1, "created_at": f"2026-01-0{number}",
        "created_by": "ana", "reason": "r", "policy": policy, "effective_at": at, "scheduled_by": "ana",
        "publish_reason": "r",
    } | changes  # fmt: skip


async def put_in_force(found, watched):
    """Run the watch until the newer policy is there, or for a second."""
    tasks = Tasks()
    tasks.spawn(watched.routes.watch(), name="watch")
    for _ in range(100):
        await asyncio.sleep(0.01)
        if (await found.store.get()).revision > 1:
            break
    await tasks.close()
    return await found.store.get()


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"base_revision": 77}, id="overtaken, and the disk is full"),
        pytest.param({"effective_at": 5}, id="an hour that is none"),
    ],
)
async def test_one_draft_keeps_no_other_from_its_hour(admin, tmp_path, monkeypatch, broken):  # noqa: F811 - the fixture
    """A draft that fails, with a disk that keeps nothing, does not end the watch: the next one tightens in time."""
    monkeypatch.setattr(policy_drafts, "LOOK_EVERY_S", 0.01)
    watched = Watched(admin, tmp_path / "drafts")
    for number, changes in ((1, broken), (2, {})):
        await watched.routes._drafts.keep(due(admin, number, **changes))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(policy_drafts, "_written", full)
    stored = await put_in_force(admin, watched)

    assert stored.revision == 2
    assert stored.policy.defaults.leverage_max == 2


async def test_nothing_is_put_in_force_once_its_deletion_was_answered(admin, tmp_path):  # noqa: F811 - the fixture
    """A draft that is being published while somebody deletes it: one of the two happens, never both."""
    watched = Watched(admin, tmp_path / "drafts")
    draft = due(admin, 1)
    await watched.routes._drafts.keep(draft)
    get, reached, go_on = admin.store.get, asyncio.Event(), asyncio.Event()

    async def slow():
        reached.set()
        await go_on.wait()
        return await get()

    admin.store.get = slow
    tasks = Tasks()
    publishing = tasks.spawn(watched.routes._due(draft), name="due")
    await reached.wait()
    deleting = tasks.spawn(_deleted(watched, draft), name="delete")
    await asyncio.sleep(0.05)
    was_answered_first = deleting.done()
    go_on.set()
    await asyncio.wait([publishing, deleting])
    admin.store.get = get

    assert not (was_answered_first and (await get()).revision > 1)


async def _deleted(watched, draft):
    """Delete as the route does, without the listener around it."""
    request = Request()
    request.match_info = {"id": draft["id"]}
    request[PERSON] = Person("ana", Role.ADMIN, "t")
    return await watched.routes.delete(request)


@pytest.mark.parametrize(
    ("ends", "leverage", "revision"),
    [
        pytest.param("revoked", "4", 1, id="looser, and revoked since"),
        pytest.param("revoked", "0.5", 1, id="not valid, and revoked since"),
        pytest.param("revoked", "1", 2, id="tighter, and revoked since"),
        pytest.param("expired", "4", 2, id="looser, and only expired since"),
        pytest.param("live", "4", 2, id="looser, and still somebody"),
    ],
)
async def test_whose_token_was_revoked_loosens_nothing_later(admin, tmp_path, ends, leverage, revision):  # noqa: F811 - the fixture
    """Somebody schedules a looser policy and is gone before its hour: it stays a draft. Tightening goes on."""
    access = Access(None, clock=admin.clock, bootstrap=b"b")
    token, _ = await access.issue("ana", Role.ADMIN, by="bootstrap", lasts_s=60)
    watched = Watched(admin, tmp_path / "drafts", access=access)
    first = {"active_mode": "NORMAL", "accounts": ACCOUNTS, "defaults": {"leverage_max": "2"}}
    await admin.store.put(validated(first), expected_revision=1, **WHO)
    policy = first | {"defaults": {"leverage_max": leverage}}
    draft = due(admin, 1, base_revision=2, policy=policy, scheduled_token=token["id"])
    await watched.routes._drafts.keep(draft)
    if ends == "revoked":
        await access.revoke(token["id"], by="bob")
    elif ends == "expired":
        admin.clock.advance(to=admin.clock.now() + timedelta(seconds=61))
    await watched.routes._due(draft)

    assert (await admin.store.get()).revision == revision + 1
    kept = watched.routes._drafts.all()
    assert [one["status"] for one in kept] == ([] if revision == 2 else ["failed"])


async def test_a_bot_that_engages_again_and_again_fills_no_disk(admin):  # noqa: F811 - the fixture
    """The stop holds as it was engaged; of a thousand repetitions in other words a bounded number is on record."""
    headers = {"X-MBX-APIKEY": admin.parts().identities.bots[0].key}
    for number in range(200):
        body = {"level": "halt", "scope": "strategy", "reason": f"again {number}"}
        status, found, _ = await admin.post("/bot/v1/ess/engage", body, token=None, headers=headers)
        assert (status, found["level"]) == (200, "halt")
    epoch = admin.latch.epoch
    records = [one for one in read(admin.audit.directory) if one.get("act") == "ess.engage"]

    assert len(records) == 1 + BOT_REPEATS_MAX
    await admin.post("/bot/v1/ess/engage", body, token=None, headers=headers)
    assert admin.latch.epoch == epoch
    assert admin.latch.stop_of("strategy:grid").level is EssLevel.HALT
    weaker = {"level": "halt", "scope": "account", "reason": "another scope"}
    status, found, _ = await admin.post("/bot/v1/ess/engage", weaker, token=None, headers=headers)
    assert (status, found["changed"], found["audited"]) == (200, True, True)
