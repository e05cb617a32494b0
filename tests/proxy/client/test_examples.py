"""The examples of docs/clients.md, run as they are printed."""

import asyncio
import re
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.admin.access import Role
from proxy.client import BotClient, Headroom, OperatorClient, PolicyClient
from tests.proxy.admin.conftest import BOT_KEY, TOKEN, admin
from tests.proxy.admin.test_permits import listening
from tests.proxy.permits.conftest import open_people

__all__ = ["admin"]

PAGE = (Path(__file__).parents[3] / "docs" / "clients.md").read_text("utf-8")
BOTH = {name: {"strategies": "any", "symbols": ["BTCUSDT"]} for name in ("spot-1", "fut-1")}
WHO = {"updated_by": "test", "reason": "why"}


def example(heading):
    """What the code under a heading defines."""
    section = PAGE.partition(f"## {heading}\n")[2]
    found = {}
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], found)
    return found


@pytest.fixture
async def policy(admin):
    """A client of a listener whose policy knows the accounts."""
    body = {"policy": {"active_mode": "NORMAL", "accounts": BOTH}, **WHO}
    assert (await admin.call("PUT", "/api/v2/policy", json=body, headers={"If-Match": '"1"'}))[0] == 200
    async with PolicyClient(admin.base, TOKEN) as client:
        yield client


async def test_the_sizing_agent_takes_the_smallest(policy, monkeypatch):
    """0.2 % of 10000 at 100 is 0.2; with less room it takes the room, and nothing where nothing can be sent."""
    rooms = [Headroom(Decimal(5), True, None, None), Headroom(Decimal("0.1"), True, "position_size", None),
             Headroom(Decimal(5), False, "ess_halt", None)]  # fmt: skip

    async def headroom(*_, **__):
        return rooms.pop(0)

    monkeypatch.setattr(policy, "headroom", headroom)
    size = example("A sizing agent")["size"]
    asked = (policy, "spot-1", "BTCUSDT", "grid", Decimal(10000), Decimal(100))
    assert [await size(*asked) for _ in range(3)] == [Decimal("0.2"), Decimal("0.1"), Decimal(0)]


async def test_the_orchestrator_follows_the_mode(policy):
    """It accepts nothing before it knows, then by the active mode, then by the next."""
    orchestrator = example("An orchestrator")["Orchestrator"](policy)
    assert not orchestrator.accepts(Decimal("0.99"))
    following = asyncio.ensure_future(orchestrator.follow())
    async with asyncio.timeout(10):
        while orchestrator.mode != "NORMAL":
            await asyncio.sleep(0.01)
        assert orchestrator.accepts(Decimal("0.65"))
        await policy.switch_mode("DEFENSIVE", **WHO)
        while orchestrator.mode != "DEFENSIVE":
            await asyncio.sleep(0.01)
    assert not orchestrator.accepts(Decimal("0.65"))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_the_ranker_writes_ranks(policy):
    """The best is 1, the others a share of it."""
    assert await example("A ranker")["publish"](policy, {"BTCUSDT": 8.0, "ETHUSDT": 2.0}) == 3
    assert await policy.value("opp_rankings") == {"BTCUSDT": "1.0000", "ETHUSDT": "0.2500"}


async def test_the_bot_beats_until_it_is_stopped(admin):
    """It goes on while nothing holds it, and names the account once something does."""
    stay_alive = example("A bot that has nothing to send")["stay_alive"]
    async with BotClient(admin.base, BOT_KEY) as bot:
        staying = asyncio.ensure_future(stay_alive(bot, every_s=0.01))
        await asyncio.sleep(0.1)
        assert not staying.done()
        await bot.stop(reason="enough")
        async with asyncio.timeout(10):
            assert await staying == "spot-1"


async def test_the_desk_shows_what_waits_and_passes_words_on(tmp_path):
    """The longest first; a yes and a no."""
    found = example("A desk that approves large orders")
    async with open_people(tmp_path) as people, listening(people) as desk:
        ids = [await people.waiting(quantity=quantity) for quantity in ("0.004", "0.0045")]
        _, secret = await desk.access.issue("ann", Role.OPERATOR, by="bootstrap")
        async with OperatorClient(desk.base, secret) as ann:
            first, second = await found["waiting"](ann)
            assert [first.id, second.id] == ids
            assert await found["answer"](ann, first, True, "the client called") == "granted"
            assert await found["answer"](ann, second, False, "too much") == "refused"
            assert await found["waiting"](ann) == []
