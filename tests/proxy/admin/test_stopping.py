"""Engage and release over the admin API: what is told is what holds."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from proxy import ess
from proxy.audit import read
from proxy.errors import AuditError
from proxy.ess import EssLatch
from rules import EssLevel
from tests.proxy.admin.conftest import BOT_KEY, TOKEN

ENGAGE, RELEASE = "/admin/v1/ess/engage", "/admin/v1/ess/release"
HALT = {"level": "halt", "scope": "global", "reason": "runaway bot", "actor": "ann"}


def records(admin):
    """What was recorded of admin acts: act, result, actor."""
    return [(one["act"], one["result"], one["actor"]) for one in read(admin.audit.directory, kinds={"admin"})]


def fail_to_append(admin, monkeypatch):
    """From now on nothing can be recorded."""

    def failing(record):
        raise AuditError("no space")

    monkeypatch.setattr(admin.audit, "append", failing)


async def test_engage_show_release(admin):
    """The whole way of a stop, each step with the record that was stored."""
    status, stop, _ = await admin.post(ENGAGE, HALT)
    assert status == 200
    by = "bootstrap (ann)"
    assert (stop["level"], stop["scope"], stop["actor"], stop["reason"]) == ("halt", "global", by, "runaway bot")
    assert (stop["durable"], stop["audited"], stop["changed"]) == (True, True, True)

    status, shown, _ = await admin.get("/admin/v1/ess")
    assert shown["stops"][0]["epoch"] == stop["epoch"] == shown["epoch"]
    assert shown["stops"][0]["since"] == "2026-03-01T12:00:00Z"

    body = {"scope": "global", "reason": "bot fixed", "actor": "bob", "expected_epoch": stop["epoch"]}
    status, asked, _ = await admin.post(RELEASE, body)
    assert (status, asked["released"], asked["asked_by"]) == (202, False, "bootstrap (bob)")
    assert admin.latch.governing("spot-1").level is EssLevel.HALT
    assert (await admin.get("/admin/v1/ess"))[1]["release_asked"]["asked_by"] == "bootstrap (bob)"
    status, released, _ = await admin.post(RELEASE, body | {"actor": "cat", "reason": "looked too"})
    assert (status, released["level"], released["actor"]) == (200, "clear", "bootstrap (bob) and bootstrap (cat)")
    assert admin.latch.governing("spot-1").level is EssLevel.CLEAR
    assert records(admin) == [
        ("ess.engage", "done", "bootstrap (ann)"),
        ("ess.release", "requested", "bootstrap (bob)"),
        ("ess.release", "asked for; a second person has to confirm", "bootstrap (bob)"),
        ("ess.release", "requested", "bootstrap (cat)"),
        ("ess.release", "done", "bootstrap (bob) and bootstrap (cat)"),
    ]


async def test_an_empty_body_halts_everything(admin):
    """Nobody has to look anything up to halt."""
    status, stop, _ = await admin.post(ENGAGE, {})
    assert (status, stop["level"], stop["scope"]) == (200, "halt", "global")


async def test_an_account_can_be_stopped_alone(admin):
    """The other accounts go on."""
    await admin.post(ENGAGE, HALT | {"scope": "account:spot-1", "level": "reduce_only"})

    assert admin.latch.governing("spot-1").level is EssLevel.REDUCE_ONLY
    assert admin.latch.governing("fut-1").level is EssLevel.CLEAR
    _, shown, _ = await admin.get("/admin/v1/ess")
    assert [stop["scope"] for stop in shown["stops"]] == ["global", "account:spot-1"]


async def test_engaging_twice_is_engaging_once(admin):
    """The second answer is the same stored record."""
    first = (await admin.post(ENGAGE, HALT))[1]
    second = (await admin.post(ENGAGE, HALT))[1]
    assert (second["epoch"], second["since"], second["changed"]) == (first["epoch"], first["since"], False)


async def test_engaging_works_when_nothing_can_be_recorded(admin, monkeypatch):
    """The latch comes first; the answer says that the act is not on record."""
    fail_to_append(admin, monkeypatch)
    status, stop, _ = await admin.post(ENGAGE, HALT)
    assert (status, stop["audited"]) == (200, False)
    assert admin.latch.governing("spot-1").level is EssLevel.HALT


async def test_a_release_that_cannot_be_recorded_does_not_happen(admin, monkeypatch):
    """503, and the stop stays."""
    _, stop, _ = await admin.post(ENGAGE, HALT)
    fail_to_append(admin, monkeypatch)
    body = {"scope": "global", "reason": "r", "actor": "bob", "expected_epoch": stop["epoch"]}
    assert (await admin.post(RELEASE, body))[0] == 503
    assert admin.latch.governing("spot-1").level is EssLevel.HALT


async def test_halted_here_but_not_stored_is_a_500_that_says_so(admin, monkeypatch):
    """Never a silent success: the caller knows that a restart would forget it."""

    def failing(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(ess.os, "pwrite", failing)
    status, problem, _ = await admin.post(ENGAGE, HALT)
    assert status == 500
    assert "halted here, but not stored" in problem["detail"]
    assert (problem["durable"], problem["level"]) == (False, "halt")
    assert admin.latch.governing("spot-1").level is EssLevel.HALT
    assert records(admin)[0][1].startswith("halted here, but not stored")


async def test_what_was_on_its_way_is_told(admin):
    """The acknowledgement counts orders that left and have no answer yet."""

    async def drain(*, flush_timeout_s, answer_timeout_s):
        return SimpleNamespace(unanswered=2, aborted=1)

    admin.latch.drain = drain
    _, stop, _ = await admin.post(ENGAGE, HALT)
    assert (stop["in_flight_unanswered"], stop["aborted"]) == (2, 1)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"expected_epoch": 1}, 409),
        ({"expected_epoch": 99}, 409),
        ({"expected_epoch": "2"}, 422),
        ({"expected_epoch": 2.0}, 422),
        ({"expected_epoch": True}, 422),
        ({"expected_epoch": None}, 422),
        ({"actor": ""}, 422),
        ({"actor": "  "}, 422),
        ({"reason": ""}, 422),
        ({"reason": None}, 422),
        ({"scope": "account:nobody"}, 422),
        ({"scope": "account:spot-1"}, 409),
        ({"force": True}, 422),
    ],
)
async def test_a_release_needs_everything_exactly_right(admin, change, status):
    """Epoch, person, reason, scope: one of them wrong and the stop stays."""
    _, stop, _ = await admin.post(ENGAGE, HALT)
    assert stop["epoch"] == 2
    body = {"scope": "global", "reason": "r", "actor": "bob", "expected_epoch": 2} | change
    found, problem, _ = await admin.post(RELEASE, body)
    assert found == status, problem
    assert admin.latch.governing("spot-1").level is EssLevel.HALT


@pytest.mark.parametrize("missing", ["scope", "reason", "actor", "expected_epoch"])
async def test_nothing_of_a_release_can_be_left_out(admin, missing):
    """Starting again is two steps, and signed."""
    await admin.post(ENGAGE, HALT)
    body = {"scope": "global", "reason": "r", "actor": "bob", "expected_epoch": 2}
    del body[missing]
    found, problem, _ = await admin.post(RELEASE, body)
    assert found == 422
    assert missing in problem["detail"]


async def test_a_refused_release_is_on_record(admin):
    """Who tried, and why it was refused."""
    await admin.post(ENGAGE, HALT)
    await admin.post(RELEASE, {"scope": "global", "reason": "r", "actor": "eve", "expected_epoch": 1})
    assert records(admin)[-1][0::2] == ("ess.release", "bootstrap (eve)")
    assert records(admin)[-1][1].startswith("refused: ")


async def test_a_caller_that_hangs_up_has_halted_all_the_same(admin, tmp_path):
    """The stop is stored although nobody waited for the answer."""
    host, port = admin.base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /admin/v1/ess/engage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Length: 2\r\n\r\n{}"
    )
    await writer.drain()
    writer.transport.abort()
    for _ in range(500):
        if list(read(admin.audit.directory, kinds={"admin"})):
            break
        await asyncio.sleep(0.01)
    assert admin.latch.durable
    again = EssLatch.open(tmp_path / "ess.state", clock=admin.clock, drain=None)
    again.close()
    assert again.governing("spot-1").level is EssLevel.HALT


async def test_engage_is_fast_over_the_wire(admin):
    """Forty stored halts over HTTP: the median far below the 50 ms that the slowest may take."""
    took = []
    for number in range(40):
        begun = time.perf_counter()
        status, stop, _ = await admin.post(ENGAGE, HALT | {"reason": str(number), "actor": str(number)})
        took.append((time.perf_counter() - begun) * 1000)
        assert status == 200
        body = {"scope": "global", "reason": "r", "actor": "bob", "expected_epoch": stop["epoch"]}
        assert (await admin.post(RELEASE, body))[0] == 202
        assert (await admin.post(RELEASE, body | {"actor": "cat"}))[0] == 200
    took.sort()
    assert took[20] < 50


async def test_engaging_says_what_was_in_force_before(admin):
    """Whoever halts a second time learns that it was halted already, and by whom."""
    first = await admin.post("/admin/v1/ess/engage", {"actor": "ann", "reason": "fills"})
    second = await admin.post("/admin/v1/ess/engage", {"actor": "bob", "reason": "also", "level": "reduce_only"})

    assert [answer[1]["level_before"] for answer in (first, second)] == ["clear", "halt"]
    assert (second[1]["level"], second[1]["actor"]) == ("halt", "bootstrap (ann)")


# -- a bot stops what is its own

OWN = "/bot/v1/ess/engage"
BOT_HEADERS = {"X-MBX-APIKEY": BOT_KEY}


async def test_a_bot_stops_its_own_strategy_with_its_own_key(admin):
    """No operator's token, no form: the key it trades with is enough, and the stop is its strategy's."""
    status, stop, _ = await admin.post(OWN, {}, token=None, headers=BOT_HEADERS)

    assert (status, stop["level"], stop["scope"], stop["actor"]) == (200, "halt", "strategy:grid", "bot grid-1")
    assert (stop["durable"], stop["source"], stop["unknown"]) == (True, "bot", 0)
    assert admin.latch.governing("spot-1", "binance", "grid").level is EssLevel.HALT
    assert admin.latch.governing("spot-1", "binance", "trend").level is EssLevel.CLEAR


async def test_a_bot_of_several_strategies_stops_all_of_them_or_the_one_it_names(admin):
    """It can name none but its own."""
    identities = admin.parts().identities
    identities.replace([replace(bot, prefixes={"trend": None}) for bot in identities.bots])

    status, problem, _ = await admin.post(OWN, {"strategy": "other"}, token=None, headers=BOT_HEADERS)
    told = "bot grid-1 trades for no 'other'; expected one of: grid, trend"
    assert (status, problem["detail"]) == (422, told)
    _, stop, _ = await admin.post(OWN, {"strategy": "trend"}, token=None, headers=BOT_HEADERS)
    assert (stop["scope"], len(admin.latch.stops())) == ("strategy:trend", 2)
    _, stop, _ = await admin.post(OWN, {}, token=None, headers=BOT_HEADERS)
    assert stop["scope"] == "strategy:grid"
    assert {stop.scope for stop in admin.latch.stops()} >= {"strategy:grid", "strategy:trend"}


async def test_all_strategies_of_a_bot_stop_at_once_also_where_nothing_can_be_stored(admin, monkeypatch):
    """None of them trades on while another one's stop is stored, or because it cannot be."""
    identities = admin.parts().identities
    identities.replace([replace(bot, prefixes={"trend": None}) for bot in identities.bots])
    seen = []

    async def failing(stored):
        seen.append({stop.scope for stop in stored.stops})
        return False

    monkeypatch.setattr(admin.latch, "_write", failing)
    status, problem, _ = await admin.post(OWN, {}, token=None, headers=BOT_HEADERS)

    scopes = {"strategy:grid", "strategy:trend"}
    assert (status, problem["level"]) == (500, "halt")
    assert {stop.scope for stop in admin.latch.stops()} >= scopes
    assert seen[0] >= scopes


async def test_a_bot_may_stop_its_account(admin):
    """Its account only, and at the level it asks for."""
    body = {"scope": "account", "level": "reduce_only", "reason": "lost my feed"}
    status, stop, _ = await admin.post(OWN, body, token=None, headers=BOT_HEADERS)

    assert (status, stop["level"], stop["scope"], stop["reason"]) == (
        200, "reduce_only", "account:spot-1", "lost my feed",
    )  # fmt: skip


@pytest.mark.parametrize("body", [{"scope": "global"}, {"scope": "account:fut-1"}, {"scope": "strategy:trend"}])
async def test_a_bot_stops_nothing_of_others(admin, body):
    """Another scope than its own cannot even be said."""
    assert (await admin.post(OWN, body, token=None, headers=BOT_HEADERS))[0] == 422
    assert len(admin.latch.stops()) == 1


@pytest.mark.parametrize("headers", [{}, {"X-MBX-APIKEY": "another-key"}, {"X-MBX-APIKEY": ""}])
async def test_an_unknown_key_stops_nothing(admin, headers):
    """401, on record, and after five from one address 429; the right key goes on working."""
    found = [(await admin.post(OWN, {}, token=None, headers=headers))[0] for _ in range(6)]

    assert found == [401] * 5 + [429]
    assert len(admin.latch.stops()) == 1
    assert records(admin) == [("ess.engage", "refused", "unknown")] * 5
    assert (await admin.post(OWN, {}, token=None, headers=BOT_HEADERS))[0] == 200


async def test_a_bot_cannot_release(admin):
    """Stopping needs no right, starting again does."""
    _, stop, _ = await admin.post(OWN, {}, token=None, headers=BOT_HEADERS)
    body = {"scope": "strategy:grid", "reason": "r", "actor": "bot", "expected_epoch": stop["epoch"]}

    assert (await admin.post(RELEASE, body, token=None, headers=BOT_HEADERS))[0] == 401
    assert (await admin.post(RELEASE, body))[0] == 200


# -- scopes


@pytest.mark.parametrize("scope", ["exchange:binance", "strategy:grid", "symbol:BTCUSDT", "account:fut-1"])
async def test_every_kind_of_scope_is_engaged_shown_and_released_by_one_person(admin, scope):
    """Only a stop of everything needs two."""
    status, stop, _ = await admin.post(ENGAGE, HALT | {"scope": scope})
    assert (status, stop["scope"], stop["durable"]) == (200, scope, True)
    assert [one["scope"] for one in (await admin.get("/admin/v1/ess"))[1]["stops"]] == ["global", scope]

    body = {"scope": scope, "reason": "r", "actor": "ann", "expected_epoch": stop["epoch"]}
    assert (await admin.post(RELEASE, body))[0] == 200
    assert len(admin.latch.stops()) == 1


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("exchange:bybit", "known: binance"),
        ("strategy:grids", "known: grid, trend"),
        ("symbol:BTCUSD", "known: BTCUSDT, ETHUSDT"),
        ("symbol:btcusdt", "a scope is"),
        ("recovery:spot-1", "a scope is"),
        ("side:buy", "a scope is"),
    ],
)
async def test_a_scope_that_holds_nothing_is_refused(admin, scope, said):
    """It would look like a stop and stop nothing."""
    status, problem, _ = await admin.post(ENGAGE, HALT | {"scope": scope})

    assert (status, said in problem["detail"]) == (422, True), problem
    assert len(admin.latch.stops()) == 1


async def test_the_triggers_are_listed(admin):
    """Without any, an empty list."""
    assert (await admin.get("/admin/v1/ess/triggers"))[1] == {"triggers": []}
