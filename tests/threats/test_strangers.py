"""Whoever has no key can make the proxy refuse, and cannot make it fill the disk."""

from __future__ import annotations

import pytest

from proxy.strangers import AT_ONCE, PER_SECOND
from tests.canary import KEY, SECRET
from tests.house import open_house


@pytest.fixture
async def house(tmp_path):
    """Two accounts with a bot each."""
    async with open_house(tmp_path) as opened:
        yield opened


async def flood(house, count):
    """So many orders with a key that belongs to nobody."""
    for number in range(count):
        answer, body = await house.ask(house.order(key=KEY, secret=SECRET, newClientOrderId=f"n{number}"))
        assert (answer.status, body["risk"]["reason"]) == (403, "key_unknown")


async def test_refusals_of_strangers_are_recorded_up_to_a_bound(house):
    """Each is refused; of ten times as many as there is room for, only that many are on record."""
    await flood(house, AT_ONCE + 500)
    records = house.records("refusal")

    assert len(records) == AT_ONCE
    assert not house.venue.sent


async def test_the_next_record_says_how_many_there_were(house):
    """Nothing is lost silently: the number stands in the first record after the flood."""
    await flood(house, AT_ONCE + 500)
    house.forward(1 / PER_SECOND)
    await flood(house, 1)
    last = house.records("refusal")[-1]

    assert last["unrecorded_before"] == 500
    house.forward(1 / PER_SECOND)
    await flood(house, 1)
    assert "unrecorded_before" not in house.records("refusal")[-1]


async def test_a_flood_hides_no_refusal_of_a_bot(house):
    """Whose key is known is on record each time, flood or not."""
    await flood(house, AT_ONCE + 1)
    for _ in range(20):
        answer, _ = await house.ask(house.order(quantity="1e9"))
        assert answer.status == 403
    mine = [one for one in house.records("refusal") if one["bot"] == "grid1"]

    assert len(mine) == 20
    assert all("unrecorded_before" not in one for one in mine)


async def test_a_flood_holds_up_no_order(house):
    """Orders of bots are judged, recorded and sent as ever."""
    await flood(house, AT_ONCE + 1)
    house.refresh()
    answer, body = await house.ask(house.order())

    assert answer.status == 200, body
    assert len(house.records("decision")) == 1
