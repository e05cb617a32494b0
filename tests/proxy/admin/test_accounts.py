"""The accounts' endpoints over HTTP: what they show, what they refuse, and settling on record."""

from __future__ import annotations

from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from proxy.admin import AdminParts, build_admin
from proxy.errors import AuditError, UpstreamSilent
from tests.house import open_house
from tests.proxy.test_accounts import POLICY, holding, views_of

TOKEN = "t0ken-" + "x" * 37
SETTLE = {"outcome": "failed", "actor": "ann", "reason": "looked at the exchange: it is not there"}


@pytest.fixture
async def asked(tmp_path):
    """A house behind an admin listener: `asked.house`, `asked.get`, `asked.post`."""
    async with open_house(tmp_path, policy=POLICY) as house, aiohttp.ClientSession() as client:
        parts = AdminParts(
            ess=house.latch, audit=house.audit, store=house.policies._store, values=house.policies,
            status=dict, ready=lambda: (True, {}), clock=house.clock, version="1", accounts=("desk", "plain"),
            registry=house.parts.metrics.registry, account_views=views_of(house),
        )  # fmt: skip
        runner = web.AppRunner(build_admin(parts, token=TOKEN.encode()))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"

        async def call(method, path, **options):
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with client.request(method, base + path, headers=headers, **options) as response:
                return response.status, await response.json(content_type=None)

        yield SimpleNamespace(
            house=house, get=lambda path, **query: call("GET", path, params=query),
            post=lambda path, body: call("POST", path, json=body),
        )  # fmt: skip
        await runner.cleanup()


async def lost(house) -> str:
    """Send an order whose answer is lost; its decision's id."""
    house.venue.fails_after_send = UpstreamSilent("dropped")
    await house.ask(house.order())
    ((reservation, _),) = house.reservations.unknown()
    return reservation.decision_id


async def test_accounts_are_listed_and_shown(asked):
    """A line each, and all of one; amounts are text with all their digits."""
    holding(asked.house)
    status, listed = await asked.get("/admin/v1/accounts")
    assert (status, [line["name"] for line in listed["accounts"]]) == (200, ["desk", "plain"])
    status, shown = await asked.get("/admin/v1/accounts/desk")
    assert (status, shown["name"], shown["positions"][0]["quantity"]) == (200, "desk", "0.02")
    assert {use["limit"] for use in shown["limits"]} >= {"leverage_max", "loss_daily_max", "exposure_asset_max"}
    assert shown["facts"]["equity"]["fresh"] is True
    status, problem = await asked.get("/admin/v1/accounts/nobody")
    assert status == 404
    assert "known: desk, plain" in problem["detail"]


@pytest.mark.parametrize(
    ("more", "quantity", "kind", "bucket"),
    [
        ({}, "0.024", "MARKET", "BOTH"),  # 1,500 at 60,001 and half a per cent
        ({"price": "60000"}, "0.025", "LIMIT", "BOTH"),
        ({"price": "50000", "type": "limit", "market": "linear", "strategy": "grid"}, "0.025", "LIMIT", "BOTH"),
        ({"side": "SELL"}, "0.025", "MARKET", "BOTH"),
        ({"bucket": "short", "side": "sell"}, "0.025", "MARKET", "SHORT"),
    ],
)
async def test_headroom_is_answered_for_what_is_asked(asked, more, quantity, kind, bucket):
    """At the market by default, at a price where one is stated; the account's only strategy and market are taken."""
    status, found = await asked.get("/admin/v1/headroom", **{
        "account": "desk", "symbol": "BTCUSDT", "side": "buy", "confidence": "0.95", **more,
    })  # fmt: skip

    assert (status, found["type"], found["bucket"], found["strategy"]) == (200, kind, bucket, "grid")
    assert (found["quantity"], found["binding"]) == (quantity, "exposure_strategy")


async def test_headroom_in_hedge_mode_is_of_the_leg_that_opens(asked):
    """A buy opens LONG, a sell SHORT, unless the leg is named."""
    asked.house.book.apply_hedge_mode("desk", hedge_mode=True, as_of=asked.house.clock.now())
    for side, bucket in (("buy", "LONG"), ("sell", "SHORT")):
        _, found = await asked.get("/admin/v1/headroom", account="desk", symbol="BTCUSDT", side=side)
        assert found["bucket"] == bucket


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"account": "nobody"}, 404, "no account"),
        ({"account": None}, 422, "account is needed"),
        ({"symbol": None}, 422, "symbol is needed"),
        ({"side": "up"}, 422, "side is one of buy, sell"),
        ({"type": "limit"}, 422, "state a price"),
        ({"type": "market", "price": "5"}, 422, "none for type=market"),
        ({"price": "-5"}, 422, "price is a plain number"),
        ({"price": "0"}, 422, "above nothing"),
        ({"price": "NaN"}, 422, "price is a plain number"),
        ({"confidence": "x"}, 422, "confidence is a plain number"),
        ({"market": "options"}, 422, "market is one of linear"),
        ({"bucket": "x"}, 422, "bucket is one of"),
        ({"quantity": "5"}, 422, "found the parameter 'quantity'"),
        ({"account": "plain"}, 422, "strategy is one of"),
    ],
)
async def test_headroom_refuses_what_it_cannot_answer(asked, change, status, said):
    """Every parameter is checked, and the answer says what was expected."""
    query = {"account": "desk", "symbol": "BTCUSDT", "side": "buy"} | change
    found, problem = await asked.get("/admin/v1/headroom", **{
        name: value for name, value in query.items() if value is not None
    })  # fmt: skip

    assert found == status, problem
    assert said in problem["detail"]


async def test_what_is_left_out_is_asked_for(asked):
    """A parameter that is needed and not stated is named with the words it takes."""
    status, problem = await asked.get("/admin/v1/headroom", account="desk", symbol="BTCUSDT")

    assert (status, problem["detail"]) == (422, "side is needed here, one of buy, sell")


@pytest.mark.parametrize(
    ("outcome", "left", "recorded"), [("failed", "0", "rejected"), ("accepted", "300", "accepted")]
)
async def test_settling_is_on_record_before_and_after(asked, outcome, left, recorded):
    """Intent, result and outcome, with who and why; the headroom is free only if the order failed."""
    decision_id = await lost(asked.house)
    asked.house.forward(75)
    status, told = await asked.post("/admin/v1/accounts/desk/settle", {
        **SETTLE, "decision_id": decision_id, "outcome": outcome,
    })  # fmt: skip

    assert (status, told["settled"], told["audited"]) == (200, 1, True)
    requested, done = asked.house.records("admin")
    assert (requested["act"], requested["actor"], requested["reason"]) == (
        "reservation.settle", "bootstrap (ann)", SETTLE["reason"],
    )  # fmt: skip
    assert (requested["result"], done["result"], done["scope"]) == ("requested", "1 settled", "account:desk")
    last = asked.house.records("outcome")[-1]
    assert (last["decision_id"], last["outcome"]) == (decision_id, recorded)
    _, shown = await asked.get("/admin/v1/accounts/desk")
    assert float(shown["exposure"]["value"]) == float(left)
    status, _ = await asked.post("/admin/v1/accounts/desk/settle", {**SETTLE, "decision_id": decision_id})
    assert status == 404


@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        ("plain", {}, 404),
        ("nobody", {}, 404),
        ("desk", {"decision_id": "unknown"}, 404),
        ("desk", {"outcome": "perhaps"}, 422),
        ("desk", {"actor": ""}, 422),
        ("desk", {"reason": " "}, 422),
        ("desk", {"more": 1}, 422),
    ],
)
async def test_settling_refuses_what_is_not_there_or_not_said(asked, name, change, status):
    """Another account's order, an unknown decision, no person, no reason: nothing changes."""
    decision_id = await lost(asked.house)
    found, _ = await asked.post(f"/admin/v1/accounts/{name}/settle", {**SETTLE, "decision_id": decision_id} | change)

    assert found == status
    assert asked.house.reservations.counts()["unknown"] == 1
    assert asked.house.records("admin") == []


async def test_an_order_that_may_still_arrive_is_not_called_failed(asked):
    """Seventy-five seconds: before, its room would be given away and it could trade on top of what takes it."""
    decision_id = await lost(asked.house)
    asked.house.forward(74)
    failed = {**SETTLE, "decision_id": decision_id, "outcome": "failed"}
    status, problem = await asked.post("/admin/v1/accounts/desk/settle", failed)

    assert (status, asked.house.reservations.counts()["unknown"]) == (409, 1)
    assert "may still arrive for 1 s" in problem["detail"]
    asked.house.forward(1)
    status, told = await asked.post("/admin/v1/accounts/desk/settle", failed)
    assert (status, told["settled"]) == (200, 1)


async def test_an_order_that_was_found_is_settled_at_once(asked):
    """Saying that it arrived frees nothing, so nothing has to be waited for."""
    decision_id = await lost(asked.house)
    status, _ = await asked.post(
        "/admin/v1/accounts/desk/settle", {**SETTLE, "decision_id": decision_id, "outcome": "accepted"}
    )

    assert status == 200


async def test_what_cannot_be_recorded_is_not_settled(asked, monkeypatch):
    """Without a record of the intent the headroom stays taken."""
    decision_id = await lost(asked.house)

    def full(record):
        raise AuditError("the disk is full")

    asked.house.forward(75)
    monkeypatch.setattr(asked.house.audit, "append", full)
    status, _ = await asked.post("/admin/v1/accounts/desk/settle", {**SETTLE, "decision_id": decision_id})

    assert status == 503
    assert asked.house.reservations.counts()["unknown"] == 1


async def test_a_listener_without_accounts_says_so(admin):
    """Where nothing reads accounts, the question is answered, not failed."""
    status, problem, _ = await admin.get("/admin/v1/accounts")

    assert status == 503
    assert "cannot be shown" in problem["detail"]
