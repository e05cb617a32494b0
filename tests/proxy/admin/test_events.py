"""What happens, told as it happens: in order, once, and again from where a listener was."""

import asyncio
from contextlib import asynccontextmanager

import orjson
import pytest

from proxy.audit import admin_record
from rules import EssLevel

from .conftest import TOKEN


@asynccontextmanager
async def listening(admin, headers=None, query=""):
    """A stream: `await next()` gives the next event as id, name and content; status and flow are passed over."""
    sent = {"Authorization": f"Bearer {TOKEN}"} | (headers or {})
    async with admin.client.get(f"{admin.base}/admin/v1/events{query}", headers=sent) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"

        async def told(*names):
            found = {}
            async with asyncio.timeout(5):
                async for line in response.content:
                    text = line.decode().rstrip("\n")
                    if text:
                        name, _, value = text.partition(": ")
                        found[name] = value
                        continue
                    if found.get("event") in names:
                        number = found.get("id")
                        return number and int(number), found["event"], orjson.loads(found["data"])
                    found = {}
            return None

        assert (await told("status"))[1] == "status"
        yield told


def act(admin, name):
    """Something on record."""
    return admin.audit.append(admin_record(actor=name, act="test", result="done"))


async def test_records_are_told_in_order_with_their_numbers(admin):
    """Every act once, in the order of the record, with its number as id."""
    async with listening(admin) as told:
        numbers = [act(admin, f"a{index}") for index in range(5)]
        found = [await told("admin") for _ in numbers]

    assert [one[0] for one in found] == numbers
    assert [one[2]["actor"] for one in found] == [f"a{index}" for index in range(5)]


@pytest.mark.parametrize("way", ["header", "query"])
async def test_who_comes_back_hears_what_was_missed(admin, way):
    """By the last number: what was recorded meanwhile comes first, then what is new, nothing twice."""
    last = act(admin, "heard")
    missed = [act(admin, f"m{index}") for index in range(3)]
    headers = {"Last-Event-ID": str(last)} if way == "header" else {}

    sent = {"Authorization": f"Bearer {TOKEN}"} | headers
    query = f"?since={last}" if way == "query" else ""
    async with admin.client.get(f"{admin.base}/admin/v1/events{query}", headers=sent) as response:
        ids = []
        async with asyncio.timeout(5):
            async for line in response.content:
                if line.startswith(b"id: "):
                    ids.append(int(line[4:]))
                if len(ids) == 4:
                    ids.append(act(admin, "new"))
                if len(ids) == 6:
                    break

    assert ids[:3] == missed
    assert ids[3] == missed[-1]  # the status that follows stands at the same place
    assert ids[4] == ids[5]


async def test_a_number_of_another_record_is_told_as_skipped(admin):
    """A listener that knows more than there is hears that it has to look anew."""
    act(admin, "one")
    sent = {"Authorization": f"Bearer {TOKEN}", "Last-Event-ID": "999999"}
    async with admin.client.get(f"{admin.base}/admin/v1/events", headers=sent) as response:
        async with asyncio.timeout(5):
            lines = [await response.content.readline() for _ in range(4)]

    assert b"event: skipped\n" in lines


async def test_a_stop_is_told_at_once(admin):
    """Without waiting for the next look at the record."""
    async with listening(admin) as told:
        await admin.latch.engage(level=EssLevel.HALT, scope="global", actor="ann", reason="why", source="cli")
        _, _, stop = await told("ess")

    assert (stop["level"], stop["actor"], stop["scope"]) == ("halt", "ann", "global")


async def test_it_asks_for_a_token_and_a_number(admin):
    """401 without a token, 422 for what is no number."""
    assert (await admin.get("/admin/v1/events", token=None))[0] == 401
    assert (await admin.get("/admin/v1/events?since=x"))[0] == 422
