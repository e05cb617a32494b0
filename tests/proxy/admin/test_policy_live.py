"""Events of the policy over HTTP: server-sent events and a WebSocket."""

import asyncio
import json

import aiohttp
import pytest

from tests.proxy.admin.conftest import TOKEN

EVENTS, SOCKET = "/api/v2/policy/events", "/api/v2/policy/ws"
BODY = {"updated_by": "ann", "reason": "volatile"}
AUTH = {"Authorization": f"Bearer {TOKEN}"}


async def switch(admin, mode, **options):
    """A switch of mode."""
    assert (await admin.post("/api/v2/policy/risk-mode", BODY | {"mode": mode}, **options))[0] == 200


async def lines(response, count):
    """So many lines of a stream that say something."""
    found = []
    async with asyncio.timeout(10):
        while len(found) < count:
            line = (await response.content.readline()).decode().rstrip("\n")
            if line and not line.startswith(":"):
                found.append(line)
    return found


async def test_server_sent_events_carry_their_revision_and_resume(admin):
    """Only the last event of a revision has its id; Last-Event-ID brings what followed, with the writer's trace."""
    await switch(admin, "DEFENSIVE", headers={"X-Request-Id": "trace-7"})
    async with admin.client.get(admin.base + EVENTS, headers=AUTH | {"Last-Event-ID": "1"}) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        found = await lines(response, 5)
        assert [line for line in found if not line.startswith("data")] == [
            "event: policy.mode.changed", "id: 2", "event: policy.updated",
        ]  # fmt: skip
        told = json.loads(found[1].removeprefix("data: "))
        assert (told["previous_mode"], told["new_mode"], told["updated_by"], told["trace_id"]) == (
            "NORMAL", "DEFENSIVE", "bootstrap (ann)", "trace-7",
        )  # fmt: skip
        await switch(admin, "NORMAL")
        assert (await lines(response, 5))[2] == "id: 3"


async def test_without_a_place_the_policy_in_force_comes_first(admin):
    """A listener that knows nothing learns the revision that counts, also when it knows one that never was."""
    for headers in ({}, {"Last-Event-ID": "99"}):
        async with admin.client.get(admin.base + EVENTS, headers=AUTH | headers) as response:
            assert (await lines(response, 2)) == ["id: 1", "event: policy.current"]


@pytest.mark.parametrize("place", ["x", "-1", "1" * 16, ""])
async def test_a_place_that_is_none_is_refused(admin, place):
    """Neither path guesses where to begin."""
    assert (await admin.get(f"{EVENTS}?since={place}"))[0] == 422
    assert (await admin.get(f"{SOCKET}?since={place}"))[0] == 422


async def test_a_websocket_tells_the_same(admin):
    """JSON messages, resumed by the revision; what is sent to it is passed over; without a token there is none."""
    await switch(admin, "DEFENSIVE")
    async with admin.client.ws_connect(admin.base + SOCKET + "?since=1", headers=AUTH) as socket:
        await socket.send_str("hello")
        found = [json.loads(await socket.receive_str(timeout=10)) for _ in range(2)]
        assert [(one["event"], one["revision"]) for one in found] == [("policy.mode.changed", 2), ("policy.updated", 2)]
        await switch(admin, "NORMAL")
        assert json.loads(await socket.receive_str(timeout=10))["new_mode"] == "NORMAL"
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await admin.client.ws_connect(admin.base + SOCKET)
    assert (await admin.get(SOCKET))[0] == 426


async def test_too_many_listeners_are_turned_away(admin, monkeypatch):
    """The listener stays free for the stop; one that leaves makes room."""
    monkeypatch.setattr("proxy.admin.policy_live.LISTENERS_MAX", 1)
    async with admin.client.get(admin.base + EVENTS, headers=AUTH) as response:
        await lines(response, 1)
        assert (await admin.get(EVENTS))[0] == 503
