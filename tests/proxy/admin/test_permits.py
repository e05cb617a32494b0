"""Approvals and overrides over the admin API and the console: who may, what is answered, what two persons are."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import pytest
from aiohttp import web

from proxy.admin import AdminParts, build_admin
from proxy.admin.access import Access, Role
from proxy.permits import Kind, State
from tests.proxy.admin.conftest import TOKEN, Admin
from tests.proxy.permits.conftest import open_people

WHO = {"actor": "somebody", "reason": "the client called"}


@asynccontextmanager
async def listening(people):
    """The admin listener of a house, and a token for each who asks."""
    house = people.house
    access = Access(None, clock=house.clock, bootstrap=TOKEN.encode())
    parts = AdminParts(
        ess=house.latch, audit=house.audit, store=house.policies._store, values=house.policies,
        status=lambda: {"permits": people.permits.report(), "parts": {}}, ready=lambda: (True, {}), clock=house.clock,
        version="1.2.3", accounts={"desk", "plain"}, registry=house.parts.metrics.registry, access=access,
        permits=people.permits,
    )  # fmt: skip
    runner = web.AppRunner(build_admin(parts, token=TOKEN.encode()))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        desk = Admin(client, house.latch, house.audit, house.clock, url)
        desk.people, desk.access = people, access
        yield desk
    await runner.cleanup()


@pytest.fixture
async def desk(tmp_path):
    """The listener of a house with people."""
    async with open_people(tmp_path) as people, listening(people) as desk:
        yield desk


async def token(desk, person, role=Role.ADMIN, by="bootstrap"):
    """A token of a person's own; the call that shows it."""
    _, secret = await desk.access.issue(person, role, by=by)
    return partial(desk.call, "POST", token=secret)


async def blocked(desk, **changes):
    """An order above its limit; the decision that blocked it."""
    _, body = await desk.people.ask(desk.people.over(**changes))
    return body["risk"]["decision_id"]


async def test_an_approval_over_the_api(desk):
    """Listed while it waits, approved by an operator, listed as used with who and when."""
    operator = await token(desk, "ann", Role.OPERATOR)
    permit_id = await desk.people.waiting()
    _, listed, _ = await desk.get("/admin/v1/approvals")
    assert [(one["id"], one["state"], one["bot"]) for one in listed["approvals"]] == [(permit_id, "asked", "grid1")]

    status, granted, _ = await operator(f"/admin/v1/approvals/{permit_id}/approve", json=WHO)
    assert (status, granted["state"], granted["granted_by"]) == (200, "granted", ["ann (somebody)"])
    assert (await desk.people.ask(desk.people.large()))[0].status == 200
    _, listed, _ = await desk.get("/admin/v1/approvals")
    assert listed["approvals"][0]["state"] == "used"
    assert listed["approvals"][0]["used_by"] is not None


async def test_an_override_over_the_api_takes_two_persons(desk):
    """Asked for by an operator, refused to the same person and to operators, confirmed by an admin."""
    ann, ann_too = await token(desk, "ann", Role.OPERATOR), await token(desk, "Ann", Role.ADMIN)
    carl, bob = await token(desk, "carl", Role.OPERATOR), await token(desk, "bob")
    status, asked, _ = await ann("/admin/v1/overrides", json=WHO | {"decision_id": await blocked(desk)})
    assert (status, asked["state"], asked["first"]) == (202, "asked", "ann (somebody)")
    path = f"/admin/v1/overrides/{asked['id']}/confirm"

    assert (await ann_too(path, json=WHO))[0] == 409
    assert (await carl(path, json=WHO))[0] == 403
    assert (await desk.post(path, WHO))[0] == 409  # the bootstrap token
    status, granted, _ = await bob(path, json={"reason": "agreed"})
    assert (status, granted["granted_by"]) == (200, ["ann (somebody)", "bob"])
    assert (await desk.people.ask(desk.people.over()))[0].status == 200
    assert (await desk.people.ask(desk.people.over()))[0].status == 403
    assert (await desk.get("/admin/v1/overrides"))[1]["ceilings"] == {"plain": "500"}


@pytest.mark.parametrize("chain", [["ann"], ["carl", "ann"]])
async def test_nobody_makes_their_own_second_person(desk, chain):
    """A token that an admin made, or that somebody made whose token the admin made, does not count beside theirs."""
    ann, by = await token(desk, "ann"), "ann"
    for name in chain[:-1]:
        await token(desk, name, by=by)
        by = name
    bob = await token(desk, "bob", by=by)
    _, asked, _ = await bob("/admin/v1/overrides", json=WHO | {"decision_id": await blocked(desk)})
    status, told, _ = await ann(f"/admin/v1/overrides/{asked['id']}/confirm", json=WHO)

    assert (status, "hand in the other's token" in told["detail"]) == (409, True)


async def test_a_token_revoked_since_does_not_count(desk):
    """Who asked has left: one person is not enough."""
    shown, secret = await desk.access.issue("ann", Role.OPERATOR, by="bootstrap")
    bob = await token(desk, "bob")
    _, asked, _ = await desk.call(
        "POST", "/admin/v1/overrides", token=secret, json=WHO | {"decision_id": await blocked(desk)}
    )
    await desk.access.revoke(shown["id"], by="bootstrap")
    status, told, _ = await bob(f"/admin/v1/overrides/{asked['id']}/confirm", json=WHO)

    assert (status, "has ended since" in told["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/admin/v1/approvals/ap-1/approve", WHO, 404),
        ("/admin/v1/approvals/ap-1/approve", {"actor": "ann"}, 422),
        ("/admin/v1/approvals/ap-1/approve", WHO | {"quantity": "1"}, 422),
        ("/admin/v1/overrides", WHO | {"decision_id": "d-1"}, 404),
        ("/admin/v1/overrides", WHO, 422),
        ("/admin/v1/overrides/ov-1/confirm", WHO, 404),
        ("/admin/v1/overrides/ov-1/refuse", WHO, 404),
    ],
)
async def test_what_is_not_there_or_not_said_is_refused(desk, path, body, status):
    """Unknown ids, and bodies that leave out who or why or say more."""
    assert (await desk.post(path, body))[0] == status
    assert desk.people.house.records("decision") == []


async def test_an_approval_is_no_override(desk):
    """The one's id does not open the other's door."""
    permit_id, bob = await desk.people.waiting(), await token(desk, "bob")
    assert (await bob(f"/admin/v1/overrides/{permit_id}/confirm", json=WHO))[0] == 404


async def test_a_viewer_looks_and_does_nothing(desk):
    """Reading is free, a word is not."""
    permit_id = await desk.people.waiting()
    _, secret = await desk.access.issue("vic", Role.VIEWER, by="bootstrap")
    assert (await desk.get("/admin/v1/approvals", token=secret))[0] == 200
    for verb in ("approve", "refuse"):
        path = f"/admin/v1/approvals/{permit_id}/{verb}"
        assert (await desk.call("POST", path, token=secret, json=WHO))[0] == 403
    assert desk.people.permits.get(permit_id, Kind.APPROVAL).state is State.ASKED


async def test_a_listener_without_permits_says_so(admin):
    """Nothing to show, and nothing to say yes to."""
    assert (await admin.get("/admin/v1/approvals"))[1] == {"approvals": []}
    assert (await admin.post("/admin/v1/approvals/ap-1/approve", WHO))[0] == 409


# -- the console ------------------------------------------------------------------------------------


async def logged_in(desk, person, role):
    """A session of a person; what posts its forms and what reads its pages."""
    _, secret = await desk.access.issue(person, role, by="bootstrap")
    own = {"Origin": desk.base}
    async with desk.client.post(
        f"{desk.base}/ui/login", data={"token": secret}, headers=own, allow_redirects=False
    ) as response:
        cookie = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}

    async def page(path="/ui"):
        async with desk.client.get(desk.base + path, headers=cookie) as response:
            return await response.text()

    async def form(path, **fields):
        csrf = re.search(r'name="csrf" value="([^"]+)"', await page())[1]
        async with desk.client.post(
            desk.base + path, data=fields | {"csrf": csrf}, headers=cookie | own, allow_redirects=False
        ) as response:
            return response.status, await response.text()

    return page, form


async def test_the_console_shows_what_waits_and_takes_a_word(desk):
    """The block names the order and its worth; one form lets it through, without scripts."""
    permit_id = await desk.people.waiting()
    page, form = await logged_in(desk, "ann", Role.OPERATOR)
    assert permit_id in await page()
    assert (await form("/ui/permits/grant", kind="approval", id=permit_id))[0] == 422
    assert (await form("/ui/permits/grant", kind="approval", id=permit_id, reason="the client called"))[0] == 303
    assert "may pass once" in await page()
    assert (await form("/ui/permits/refuse", kind="approval", id=permit_id, reason="no after all"))[0] == 303
    assert permit_id not in (await page()).partition('id="permits"')[2].partition("</div>")[0]
    assert desk.people.permits.get(permit_id, Kind.APPROVAL).state is State.REFUSED


async def test_an_override_at_the_console(desk):
    """Asked for on the page of the decision; the state bar says that one is in force once an admin has confirmed."""
    decision_id = await blocked(desk)
    page, form = await logged_in(desk, "ann", Role.OPERATOR)
    _, confirm = await logged_in(desk, "bob", Role.ADMIN)
    assert "Ask for an override" in await page(f"/ui/decisions/{decision_id}")
    assert (await form("/ui/permits/ask", decision_id=decision_id, reason="hedge"))[0] == 303
    permit_id = desk.people.permits.listed(Kind.OVERRIDE)[0].id
    said = {"kind": "override", "id": permit_id, "reason": "agreed"}
    assert (await form("/ui/permits/grant", **said))[0] == 403
    assert (await confirm("/ui/permits/grant", **said))[0] == 303
    assert "overrides in force" in await page()
    assert "Ask for an override" not in await page(f"/ui/decisions/{decision_id}")
