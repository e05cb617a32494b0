"""Who may say that a strategy lives, and what is answered where nobody watches over it."""

import pytest

from tests.proxy.admin.conftest import BOT_KEY

OWN = "/bot/v1/heartbeat"
OF_GRID = "/api/v2/strategies/grid/heartbeat"
BOT_HEADERS = {"X-MBX-APIKEY": BOT_KEY}


@pytest.mark.parametrize("body", [None, {}])
async def test_a_bot_says_so_with_its_own_key(admin, body):
    """No token; without a lease of its account nothing is renewed, and the answer says so."""
    status, said, _ = await admin.call("POST", OWN, token=None, headers=BOT_HEADERS, json=body)

    assert (status, said) == (200, {"strategy": "grid", "accounts": {"spot-1": {"lease_s": None, "level": "clear"}}})


@pytest.mark.parametrize("headers", [{}, {"X-MBX-APIKEY": "another"}])
async def test_a_stranger_keeps_nothing_alive(admin, headers):
    """401, on record, and after five from one address 429."""
    found = [(await admin.post(OWN, {}, token=None, headers=headers))[0] for _ in range(6)]

    assert found == [401] * 5 + [429]


async def test_an_operator_says_so_for_a_strategy(admin):
    """By its name, which has to be one that a bot trades."""
    status, said, _ = await admin.post(OF_GRID)
    assert (status, said["strategy"]) == (200, "grid")

    status, problem, _ = await admin.post("/api/v2/strategies/trend/heartbeat")
    assert (status, problem["detail"]) == (404, "there is no strategy 'trend'; known: grid")


async def test_a_bots_key_speaks_for_its_own_strategy_only(admin):
    """The route of operators asks for a token."""
    assert (await admin.post(OF_GRID, token=None, headers=BOT_HEADERS))[0] == 401


@pytest.mark.parametrize("path", [OWN, OF_GRID])
async def test_what_is_said_beside_it_is_refused(admin, path):
    """A body that asks for more than a beat is not passed over."""
    status, _, _ = await admin.post(path, {"release": True}, headers=BOT_HEADERS)

    assert status == 422


async def test_the_answer_tells_of_a_stop(admin):
    """A strategy that was stopped hears so with its next beat."""
    await admin.post("/admin/v1/ess/engage", {"level": "halt", "scope": "strategy:grid", "reason": "r", "actor": "a"})
    _, said, _ = await admin.post(OWN, {}, token=None, headers=BOT_HEADERS)

    assert said["accounts"]["spot-1"]["level"] == "halt"
