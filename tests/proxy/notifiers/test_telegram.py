"""Telegram: who is told, who may command, and that starting again takes two messages."""

import json
from datetime import timedelta

import pytest

from proxy.admin.access import Person, Role
from proxy.audit import Audit, read
from proxy.ess import EssLatch, initialise
from proxy.ess_release import Releases
from proxy.ess_scopes import Scopes
from proxy.identity import Account
from proxy.notifiers import AlertClass, Api, Commands, Message, NotifyFailed, Severity, Telegram
from proxy.tasks import Tasks
from rules import EssLevel
from tests.canary import WORD
from tests.proxy.notifiers.conftest import NOW

TOKEN = f"12345:{WORD}"
ACCOUNT = Account(name="main", exchange="binance", mode="passthrough")
VERA, OTTO, ANNA, BEN, STRANGER = 1, 2, 3, 4, 99
USERS = {
    VERA: Person("vera", Role.VIEWER, "telegram:1"),
    OTTO: Person("otto", Role.OPERATOR, "telegram:2"),
    ANNA: Person("anna", Role.ADMIN, "telegram:3"),
    BEN: Person("ben", Role.ADMIN, "telegram:4"),
}
STATUS = {
    "state": "clear", "ready": True, "stops": [],
    "accounts": {"main": {"state": "clear", "equity": "1000"}},
}  # fmt: skip


class Chat:
    """What a test writes and is answered."""

    def __init__(self, commands, server, latch, audit, clock):
        self.commands, self.server, self.latch, self.audit, self.clock = commands, server, latch, audit, clock

    async def write(self, user, text, *, kind="private", age_s=0):
        """One message of a user; the answer, or None."""
        number = len(self.server.updates) + 1
        before = len(self.server.sent("sendMessage"))
        self.server.updates.append({
            "update_id": number,
            "message": {
                "from": {"id": user}, "chat": {"id": user, "type": kind}, "text": text,
                "date": int(self.clock.now().timestamp()) - age_s,
            },
        })  # fmt: skip
        await self.commands.poll(wait_s=0)
        answers = [json.loads(body) for body in self.server.sent("sendMessage")[before:]]
        assert all(answer["chat_id"] == user for answer in answers)
        return answers[0]["text"] if answers else None

    @property
    def acts(self):
        """Actor, act, result and peer of every record."""
        found = read(self.audit.directory, kinds={"admin"})
        return [(one["actor"], one["act"], one["result"], one["peer"]) for one in found]

    def level(self, scope="global"):
        """The level of a scope's stop."""
        return self.latch.stop_of(scope).level.name


@pytest.fixture
async def chat(tmp_path, server, session, clock):
    """Commands against a real latch and record."""
    tasks = Tasks()
    initialise(tmp_path / "ess", clock=clock)
    latch = EssLatch.open(tmp_path / "ess", clock=clock, drain=None)
    audit = Audit(tmp_path / "audit", sync="process", clock=clock, tasks=tasks)
    audit.open()
    commands = Commands(
        Api(session, TOKEN, origin=server.url), USERS, latch=latch, releases=Releases(latch, clock),
        scopes=Scopes({"main": ACCOUNT}, {"main": {"grid"}}, lambda: {"BTCUSDT"}), audit=audit, status=lambda: STATUS,
        clock=clock,
    )  # fmt: skip
    yield Chat(commands, server, latch, audit, clock)
    await tasks.close()
    audit.close()
    latch.close()


def code_of(answer):
    """The number that a first /resume answers with."""
    return answer.rpartition("/resume ")[2]


async def test_every_listed_user_is_told(server, session):
    """Each in a private chat of their own."""
    message = Message(Severity.CRITICAL, "HALT", "by anna", NOW, (AlertClass.ESS,))
    await Telegram(Api(session, TOKEN, origin=server.url), USERS).send(message)

    told = [json.loads(body) for body in server.sent("sendMessage")]
    assert [one["chat_id"] for one in told] == [VERA, OTTO, ANNA, BEN]
    assert told[0]["text"] == "CRITICAL: HALT\nby anna"


async def test_a_failure_does_not_name_the_address(server, session):
    """The bot's token stands in it."""
    server.status = 404
    failures = []
    for origin in (server.url, "http://127.0.0.1:1"):
        with pytest.raises(NotifyFailed) as failed:
            await Telegram(Api(session, TOKEN, origin=origin), USERS).send(Message(Severity.INFO, "t", "", NOW, ()))
        failures.append(str(failed.value))

    assert [(WORD in one, "127.0.0.1" in one) for one in failures] == [(False, False)] * 2


async def test_one_message_halts_everything_or_a_part(chat):
    """In force, on disk and on record when it is answered; the scope and reason may be left out."""
    answer = await chat.write(OTTO, "/halt")
    assert (chat.level(), chat.latch.durable, answer.splitlines()[0]) == ("HALT", True, "HALT (global) is in force")
    await chat.write(OTTO, "/reduceonly account:main odd fills")
    stop = chat.latch.stop_of("account:main")

    assert (stop.level, stop.reason, stop.actor, stop.by_person) == (EssLevel.REDUCE_ONLY, "odd fills", "otto", True)
    assert chat.acts == [("otto", "ess.engage", "done", "telegram")] * 2


async def test_a_scope_that_holds_nothing_is_refused(chat):
    """A typing mistake must not look like a stop."""
    assert "there is no account" in await chat.write(OTTO, "/halt account:mian")
    assert chat.level("account:mian") == "CLEAR"


@pytest.mark.parametrize(("user", "kind"), [(STRANGER, "private"), (ANNA, "group"), (ANNA, "supergroup")])
async def test_strangers_and_groups_are_not_even_answered(chat, user, kind):
    """In a group everybody could write; who is not listed learns nothing."""
    for command in ("/halt", "/status", "/resume 123456"):
        assert await chat.write(user, command, kind=kind) is None

    assert chat.level() == "CLEAR"
    assert chat.acts == []


async def test_a_viewer_looks_and_stops_nothing(chat):
    """The attempt is on record."""
    assert "equity 1000" in await chat.write(VERA, "/status")
    assert "vera is viewer; this needs operator" in await chat.write(VERA, "/halt")

    assert (chat.level(), chat.acts) == ("CLEAR", [("vera", "ess.engage", "refused", "telegram")])


async def test_starting_again_takes_the_number_of_the_first_answer(chat):
    """One message releases nothing; the second, with the number, does."""
    await chat.write(OTTO, "/reduceonly account:main odd")
    assert "needs a reason" in await chat.write(OTTO, "/resume account:main")
    answer = await chat.write(OTTO, "/resume account:main looked at it")
    assert (chat.level("account:main"), "by otto: odd" in answer) == ("REDUCE_ONLY", True)
    assert await chat.write(OTTO, f"/resume {code_of(answer)}") == "account:main is released"

    assert chat.level("account:main") == "CLEAR"
    assert [result for _, act, result, _ in chat.acts if act == "ess.release"] == ["requested", "done"]


async def test_the_number_is_for_one_person_and_two_minutes(chat):
    """Another person's message, a late one, and one sent twice release nothing."""
    await chat.write(ANNA, "/reduceonly account:main odd")
    code = code_of(await chat.write(ANNA, "/resume account:main looked"))
    assert "nothing waits" in await chat.write(BEN, f"/resume {code}")
    chat.clock.advance(to=NOW + timedelta(seconds=120))
    assert "nothing waits" in await chat.write(ANNA, f"/resume {code}")
    assert chat.level("account:main") == "REDUCE_ONLY"

    code = code_of(await chat.write(ANNA, "/resume account:main looked"))
    await chat.write(ANNA, f"/resume {code}")
    await chat.write(ANNA, "/halt account:main again")
    assert "nothing waits" in await chat.write(ANNA, f"/resume {code}")
    assert chat.level("account:main") == "HALT"


async def test_three_wrong_numbers_end_it(chat):
    """Guessing is over before it begins; the right one does not count any more either."""
    await chat.write(ANNA, "/reduceonly account:main odd")
    code = code_of(await chat.write(ANNA, "/resume account:main looked"))
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    for _ in range(3):
        assert "not the number" in await chat.write(ANNA, f"/resume {wrong}")

    assert "nothing waits" in await chat.write(ANNA, f"/resume {code}")
    assert chat.level("account:main") == "REDUCE_ONLY"


async def test_a_stop_that_changed_meanwhile_stays(chat):
    """The number was for the stop as it was seen."""
    await chat.write(ANNA, "/reduceonly account:main odd")
    code = code_of(await chat.write(ANNA, "/resume account:main looked"))
    await chat.write(OTTO, "/halt account:main worse")

    assert "NOT done" in await chat.write(ANNA, f"/resume {code}")
    assert chat.level("account:main") == "HALT"


async def test_everything_takes_an_admin_and_a_second_person(chat):
    """An operator is refused; one admin asks, and the same again is not two; another admin releases."""
    await chat.write(OTTO, "/halt")
    assert "needs admin" in await chat.write(OTTO, "/resume global looked")
    for _ in range(2):
        code = code_of(await chat.write(ANNA, "/resume fills explained"))
        assert "a second person" in (await chat.write(ANNA, f"/resume {code}")).lower()
        assert chat.level() == "HALT"
    code = code_of(await chat.write(BEN, "/resume seen them too"))
    assert await chat.write(BEN, f"/resume {code}") == "global is released"

    assert (chat.level(), chat.latch.stop_of("global").actor) == ("CLEAR", "anna and ben")


async def test_what_was_written_long_ago_is_not_done(chat):
    """A release after a minute, a halt after ten: nobody means it any more."""
    assert "NOT done" in await chat.write(ANNA, "/halt", age_s=601)
    assert chat.level() == "CLEAR"
    await chat.write(ANNA, "/reduceonly account:main", age_s=600)
    assert chat.level("account:main") == "REDUCE_ONLY"
    assert "NOT done" in await chat.write(ANNA, "/resume account:main looked", age_s=61)


async def test_what_cannot_be_read_is_passed_over_once(chat):
    """Pictures, edits and odd shapes keep nobody from halting afterwards."""
    chat.server.updates += [
        {"update_id": 1}, {"update_id": 2, "message": {"from": {"id": ANNA}, "chat": {"id": ANNA, "type": "private"}}},
        {"update_id": 3, "message": []},
    ]  # fmt: skip
    assert "is in force" in await chat.write(OTTO, "/halt")
    assert chat.level() == "HALT"
    assert "/reduceonly" in await chat.write(OTTO, "hello")
