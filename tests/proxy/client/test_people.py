"""Heart-beats, approvals and overrides by the client, against real admin listeners."""

from decimal import Decimal

import pytest

from proxy.admin.access import Role
from proxy.client import BotClient, Lease, NotFound, OperatorClient, Refused, Unavailable
from tests.proxy.admin.conftest import BOT_KEY, TOKEN, admin
from tests.proxy.admin.test_permits import blocked, listening
from tests.proxy.permits.conftest import open_people

__all__ = ["admin"]

WHO = {"actor": "desk tool", "reason": "the client called"}


@pytest.fixture
async def desk(tmp_path):
    """The listener of a house with people."""
    async with open_people(tmp_path) as people, listening(people) as desk:
        yield desk


async def operator(desk, person, role=Role.ADMIN):
    """A client with a token of a person's own."""
    _, secret = await desk.access.issue(person, role, by="bootstrap")
    return OperatorClient(desk.base, secret)


async def test_a_heartbeat_tells_what_holds_the_strategy(admin):
    """By a bot's own key and by an operator's token; a stop stands in the answer of either."""
    async with BotClient(admin.base, BOT_KEY) as bot, OperatorClient(admin.base, TOKEN) as watcher:
        alive = await bot.heartbeat()
        assert (alive.strategy, alive.accounts) == ("grid", {"spot-1": Lease(None, "clear")})
        assert not alive.accounts["spot-1"].is_stopped

        assert await bot.stop(reason="I am lost") == admin.latch.epoch
        assert [(await one).accounts["spot-1"].is_stopped for one in (bot.heartbeat(), watcher.heartbeat("grid"))] == [
            True, True,
        ]  # fmt: skip
        with pytest.raises(NotFound, match="there is no strategy 'trend'"):
            await watcher.heartbeat("trend")


async def test_a_stranger_keeps_nothing_alive(admin):
    """A key that is nobody's is refused, and where nothing answers that is said."""
    async with BotClient(admin.base, "another") as stranger:
        with pytest.raises(Refused):
            await stranger.heartbeat()
    async with BotClient("http://127.0.0.1:9", BOT_KEY, timeout_s=1) as nobody:
        with pytest.raises(Unavailable):
            await nobody.heartbeat()


async def test_a_large_order_is_approved_by_a_program(desk):
    """Listed with its worth, approved, and used by the bot's next try; a second yes is refused with the reason."""
    await desk.people.waiting()
    async with await operator(desk, "ann", Role.OPERATOR) as ann:
        (waits,) = await ann.approvals()
        assert (waits.state, waits.kind, waits.account, waits.notional) == ("asked", "approval", "desk", Decimal(236))
        granted = await ann.approve(waits.id, **WHO)
        assert (granted.state, granted.granted_by) == ("granted", ("ann (desk tool)",))
        with pytest.raises(Refused, match="is granted already"):
            await ann.approve(waits.id, **WHO)
        assert (await desk.people.ask(desk.people.large()))[0].status == 200
        assert [(one.state, one.used_by is None) for one in await ann.approvals()] == [("used", False)]


async def test_an_override_takes_two_clients(desk):
    """One asks, the same person is refused, another one confirms; what two refuse passes no more."""
    async with await operator(desk, "ann", Role.ADMIN) as ann, await operator(desk, "bob") as bob:
        asked = await ann.ask_override(await blocked(desk), **WHO)
        assert (asked.state, asked.first, asked.kind) == ("asked", "ann (desk tool)", "override")
        with pytest.raises(Refused, match="expected a second person"):
            await ann.confirm_override(asked.id, **WHO)
        assert (await bob.confirm_override(asked.id, **WHO)).state == "granted"
        assert [one.id for one in await bob.overrides()] == [asked.id]

        assert (await ann.refuse_override(asked.id, **WHO)).state == "refused"
        assert (await desk.people.ask(desk.people.over()))[0].status == 403
        with pytest.raises(NotFound):
            await bob.confirm_override("ov-none", **WHO)


async def test_a_large_order_is_refused_by_a_program(desk):
    """It waits no more."""
    permit_id = await desk.people.waiting()
    async with await operator(desk, "ann", Role.OPERATOR) as ann:
        assert (await ann.refuse_approval(permit_id, **WHO)).state == "refused"
        with pytest.raises(Refused, match="is refused already"):
            await ann.approve(permit_id, **WHO)
