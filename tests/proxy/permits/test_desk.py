"""Approvals and overrides on the path of an order: what passes once, and all that does not."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from proxy.errors import AuditError
from proxy.permits import Kind, PermitNotStored, PermitRefused, Permits, PermitUnknown, State, desk, file
from rules import EssLevel
from tests.house import PLAIN_KEY, VENUE_SECRET
from tests.proxy.permits.conftest import ANN, BOB, PEOPLE_POLICY, open_people, signer


def reason(answer):
    """Why an order was refused; None where it was not."""
    return {name.lower(): value for name, value in answer.headers}.get(b"x-risk-reason")


async def halt(people, level=EssLevel.HALT):
    """Engage the stop for everything."""
    await people.house.latch.engage(level=level, scope="global", actor="ann", reason="test", source="api")


async def test_a_large_order_waits_for_a_person_and_its_retry_passes_once(people):
    """Blocked with an id; approved, the same order passes; the one after it waits again."""
    answer, body = await people.ask(people.large(newClientOrderId="a"))
    permit_id = body["risk"]["approval_id"]
    assert (answer.status, reason(answer)) == (403, b"approval_required")
    assert permit_id in body["msg"]
    assert people.house.venue.sent == []

    await people.permits.approve(permit_id, ANN, "the client called")
    passed, _ = await people.ask(people.large(newClientOrderId="b"))
    again, body = await people.ask(people.large(newClientOrderId="c"))

    assert (passed.status, reason(again)) == (200, b"approval_required")
    assert len(people.house.venue.sent) == 1
    assert body["risk"]["approval_id"] != permit_id
    assert people.told[:3] == [("approval", "asked"), ("approval", "granted"), ("approval", "used")]


async def test_every_step_is_on_record_before_the_order_leaves(people):
    """Asked, granted and used stand in the record, and the decision names who let it through."""
    permit_id = await people.waiting()
    await people.permits.approve(permit_id, ANN, "the client called")
    seen = []
    people.house.venue.before_last_look = lambda: seen.extend(people.house.records())
    await people.ask(people.large())

    acts = [one for one in seen if one["kind"] == "admin"]
    assert [one["act"] for one in acts] == ["approval.asked", "approval.granted", "approval.used"]
    assert acts[1]["actor"] == "ann"
    assert acts[1]["reason"] == "the client called"
    assert seen[-1]["kind"] == "decision"
    assert seen[-1]["decision_id"] == acts[2]["after"]["used_by"]
    assert seen[-1]["limits_off"] == [f"approval {permit_id} of ann"]
    assert f"approval {permit_id} of ann" in seen[-1]["sentence"]


async def test_the_same_order_asks_once(people):
    """A bot that tries again meanwhile gets the id that waits already."""
    assert await people.waiting() == await people.waiting()
    assert [act for act, _ in people.acts()] == ["approval.asked"]


@pytest.mark.parametrize(
    "changes",
    [{"quantity": "0.005"}, {"quantity": "0.0040"}, {"price": "59001"}, {"price": "58999"}, {"side": "SELL"},
     {"timeInForce": "IOC"}, {"positionSide": "BOTH"}, {"reduceOnly": "false"},
     {"selfTradePreventionMode": "EXPIRE_MAKER"}, {"goodTillDate": "1790000000000"}],
)  # fmt: skip
async def test_any_changed_field_is_another_order(people, changes):
    """Also fields that the gate does not read, and the same number written differently."""
    await people.permits.approve(await people.waiting(), ANN, "yes")
    answer, _ = await people.ask(people.large(**changes))

    assert answer.status == 403
    assert people.house.venue.sent == []


async def test_an_approval_lifts_nothing_else(people):
    """An approved order that meets another limit by then is blocked by it, and the approval is not spent."""
    permit_id = await people.waiting()
    await people.permits.approve(permit_id, ANN, "yes")
    await people.house.policies.close()
    limits = people.house.policies.limits_for("desk", "grid", people.house.clock.now())
    people.house.policies.limits_for = lambda *_: replace(limits, order_notional_max=Decimal(150))
    answer, _ = await people.ask(people.large())

    assert reason(answer) == b"order_notional_exceeds_limit"
    assert people.permits.get(permit_id, Kind.APPROVAL).state is State.GRANTED


@pytest.mark.parametrize("kind", ["approval", "override"])
async def test_nothing_passes_the_stop(people, kind):
    """HALT and REDUCE_ONLY hold whatever people let through before, and spend nothing."""
    if kind == "approval":
        await people.permits.approve(await people.waiting(), ANN, "yes")
        request = people.large
    else:
        await people.overridden()
        request = people.over
    await halt(people, EssLevel.REDUCE_ONLY)
    assert reason((await people.ask(request()))[0]) == b"ess_reduce_only_active"
    await halt(people)
    assert reason((await people.ask(request()))[0]) == b"ess_trading_halt_active"
    assert people.house.venue.sent == []
    assert people.permits.listed(Kind(kind))[0].state is State.GRANTED


async def test_a_stop_in_the_last_moment_holds_and_the_permit_is_spent(people):
    """What was taken is never given back, also where the last look refused."""
    permit_id = await people.waiting()
    await people.permits.approve(permit_id, ANN, "yes")
    people.house.venue.before_last_look = lambda: people.house.latch.trip(
        level=EssLevel.HALT, scope="global", actor="ann", reason="test", source="api"
    )
    answer, _ = await people.ask(people.large())

    assert reason(answer) == b"ess_trading_halt_active"
    assert people.house.venue.sent == []
    assert people.permits.get(permit_id, Kind.APPROVAL).state is State.USED


async def test_of_many_at_once_one_passes(people):
    """Forty copies of an approved order, sent together: one leaves."""
    await people.permits.approve(await people.waiting(), ANN, "yes")
    requests = [people.large(newClientOrderId=f"c{number}", recvWindow=str(5000 - number)) for number in range(40)]
    answers = await asyncio.gather(*(people.house.ask(one) for one in requests))

    assert sorted(answer.status for answer, _ in answers) == [200] + [403] * 39
    assert len(people.house.venue.sent) == 1


async def test_a_permit_ends_by_time_by_either_clock(people):
    """After its minutes it lets nothing through, also where the wall clock was put back."""
    permit_id = await people.waiting()
    await people.permits.approve(permit_id, ANN, "yes")
    began = people.house.clock.now()
    people.house.forward(people.permits.settings.approval_valid_s)
    people.house.clock.advance(to=began)
    await people.house.policies.refresh()
    answer, _ = await people.ask(people.large())

    assert reason(answer) == b"approval_required"
    assert people.permits.get(permit_id, Kind.APPROVAL).state is State.EXPIRED


async def test_a_question_ends_by_time(people):
    """Nobody answered: it expires, on record, and nobody can answer any more."""
    permit_id = await people.waiting()
    people.house.forward(people.permits.settings.approval_wait_s + 1)
    people.permits.look()

    assert people.acts()[-1] == ("approval.expired", "its time is over")
    with pytest.raises(PermitRefused, match="expired"):
        await people.permits.approve(permit_id, ANN, "yes")


@pytest.mark.parametrize(("tolerance", "status"), [("0.01", 403), ("0.02", 200)])
async def test_another_price_than_people_saw_voids_it(tmp_path, monkeypatch, tolerance, status):
    """The mark moved by 1.5 %: above a tolerance of 1 % the order is asked about anew, under 2 % it passes."""
    async with open_people(tmp_path, price_tolerance=Decimal(tolerance)) as people:
        await people.permits.approve(await people.waiting(), ANN, "yes")
        monkeypatch.setattr("tests.house.PRICE", Decimal(60900))
        answer, _ = await people.ask(people.large())
        assert answer.status == status


async def test_refusing_counts_at_once_also_after_granting(people):
    """Whoever changes their mind before the order came is in time."""
    permit_id = await people.waiting()
    await people.permits.approve(permit_id, ANN, "yes")
    await people.permits.refuse(permit_id, Kind.APPROVAL, BOB, "no")

    assert (await people.ask(people.large()))[0].status == 403
    with pytest.raises(PermitRefused, match="refused already"):
        await people.permits.approve(permit_id, ANN, "yes")


async def test_a_bot_loses_its_own_oldest_question_only(people):
    """The ninth order that waits ends the first of the same bot."""
    ids = [await people.waiting(price=str(58000 + number)) for number in range(9)]

    assert people.permits.get(ids[0], Kind.APPROVAL).state is State.EXPIRED
    assert people.permits.report()["asked"]["approval"] == 8


async def test_an_order_test_asks_for_nothing_and_spends_nothing(people):
    """`POST /fapi/v1/order/test` is told that an approval would be needed, and that is all."""
    answer, body = await people.ask(people.large(path="/fapi/v1/order/test"))
    assert reason(answer) == b"approval_required"
    assert "approval_id" not in body["risk"]
    assert people.permits.report()["asked"]["approval"] == 0


async def test_two_persons_for_an_approval_where_that_is_set(tmp_path):
    """The first is noted, the same one again is refused, the second grants."""
    async with open_people(tmp_path, approval_by_two=True) as people:
        permit_id = await people.waiting()
        first = await people.permits.approve(permit_id, ANN, "yes")
        with pytest.raises(PermitRefused, match="second person"):
            await people.permits.approve(permit_id, ANN, "yes")
        assert (first.state, (await people.ask(people.large()))[0].status) == (State.ASKED, 403)
        granted = await people.permits.approve(permit_id, BOB, "yes")
        assert granted.granted_by == ("ann", "bob")
        assert (await people.ask(people.large()))[0].status == 200


# -- overrides --------------------------------------------------------------------------------------


async def test_two_persons_let_one_order_over_a_limit_of_size_once(people):
    """Above 200 and under the ceiling of 500: blocked, asked for, confirmed, passed, blocked again."""
    permit = await people.overridden()
    passed, _ = await people.ask(people.over())
    again, _ = await people.ask(people.over())

    assert (passed.status, reason(again)) == (200, b"order_notional_exceeds_limit")
    assert people.house.venue.sent[0].body.startswith(b"symbol=BTCUSDT&side=BUY&type=LIMIT")
    assert permit.granted_by == ("ann", "bob")
    assert [act for act, _ in people.acts()] == ["override.asked", "override.granted", "override.used"]


async def test_overrides_are_off_unless_a_ceiling_is_stated(people):
    """Account `desk` states none: its blocks cannot be asked about."""
    _, body = await people.ask(people.small(quantity="0.2"))
    with pytest.raises(PermitUnknown, match="override_notional_max"):
        await people.permits.ask_override(body["risk"]["decision_id"], ANN, "please")


async def test_nothing_above_the_ceiling_is_asked_for_or_passes(people):
    """590 is above the ceiling of 500: nobody can ask; and a ceiling lowered since holds at once."""
    _, body = await people.ask(people.over(quantity="0.010"))
    with pytest.raises(PermitRefused, match="ceiling of 500"):
        await people.permits.ask_override(body["risk"]["decision_id"], ANN, "please")

    await people.overridden()
    people.permits.settings = replace(people.permits.settings, ceilings={"plain": Decimal(250)})
    assert reason((await people.ask(people.over()))[0]) == b"order_notional_exceeds_limit"
    people.permits.settings = replace(people.permits.settings, ceilings={})
    assert (await people.ask(people.over()))[0].status == 403


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (ANN, ANN, "second person"),
        (ANN, signer("ann", token_id="another"), "second person"),
        (ANN, signer(" Ann ", credential="person: ann "), "second person"),
        (ANN, signer("bob", credential=ANN.credential), "second person"),
        (signer("bootstrap"), BOB, "bootstrap token is nobody's"),
        (ANN, signer("bootstrap", credential="bootstrap"), "bootstrap token is nobody's"),
        (ANN, signer("bob", credential=""), "bootstrap token is nobody's"),
        (ANN, signer("bob", makers=frozenset({"ann"})), "hand in the other's token"),
        (signer("ann", makers=frozenset({"bob", "bootstrap"})), BOB, "hand in the other's token"),
        (ANN, signer("bob", makers=frozenset({"carol", "ann"})), "hand in the other's token"),
    ],
)
async def test_one_person_is_not_two(people, first, second, said):
    """Neither by two tokens, nor by a name written differently, nor by the first token, nor by one made for it."""
    with pytest.raises(PermitRefused, match=said):
        await people.overridden(first, second)
    assert (await people.ask(people.over()))[0].status == 403
    assert people.house.venue.sent == []


async def test_a_person_whose_token_ended_meanwhile_does_not_count(people):
    """Revoked between asking and confirming: one person is left, which is not enough."""
    people.permits.is_live = lambda found: found.person != "ann"
    with pytest.raises(PermitRefused, match="has ended since"):
        await people.overridden()


async def test_overrides_of_a_day_are_counted_also_after_a_restart(tmp_path):
    """The third of two is refused to whoever asks, and a restart counts on."""
    async with open_people(tmp_path, overrides_per_day=2) as people:
        for number in range(2):
            await people.overridden(price=str(59000 + number))
            await people.ask(people.over(price=str(59000 + number)))
        with pytest.raises(PermitRefused, match="within 24 hours"):
            await people.overridden(price="58000")

        later = Permits(
            tmp_path / "permits.json", audit=people.house.audit, clock=people.house.clock,
            settings=people.permits.settings,
        )  # fmt: skip
        later.restore(people.house.audit_dir)
        with pytest.raises(PermitRefused, match="within 24 hours"):
            later._check_day("plain")
        people.house.forward(86_400)
        later._check_day("plain")
        later.close()


# -- what lasts -------------------------------------------------------------------------------------


def restarted(people):
    """The desk of the next process, over the same files."""
    people.permits.close()
    people.permits = Permits(
        people.folder / "permits.json", audit=people.house.audit, clock=people.house.clock,
        settings=people.permits.settings,
    )  # fmt: skip
    people.permits.restore(people.house.audit_dir)
    people.house.pipeline._parts = replace(people.house.parts, permits=people.permits)


async def test_a_grant_survives_a_restart_and_passes_once(people):
    """Granted before, used after; and the process after that knows it was used."""
    await people.overridden()
    restarted(people)
    assert (await people.ask(people.over()))[0].status == 200
    restarted(people)
    assert (await people.ask(people.over()))[0].status == 403
    assert len(people.house.venue.sent) == 1


async def test_a_file_from_before_makes_nothing_good_again(people):
    """A copy of the file, put back after the use: the record says that it was used."""
    await people.overridden()
    copy = (people.folder / "permits.json").read_bytes()
    await people.ask(people.over())
    (people.folder / "permits.json").write_bytes(copy)
    restarted(people)

    assert (await people.ask(people.over()))[0].status == 403


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"version": 2, "permits": []}', b'{"version": 1, "permits": [{}]}']
)
async def test_a_damaged_file_grants_nothing(people, content):
    """Whatever stands in it: what was granted before is void."""
    await people.overridden()
    (people.folder / "permits.json").write_bytes(content)
    restarted(people)

    assert (await people.ask(people.over()))[0].status == 403


async def test_a_grant_that_is_not_on_record_is_none(people):
    """A permit written into the file by hand, for another order: no record, no order."""
    permit = await people.overridden()
    _, body = await people.ask(people.over(price="58500"))
    other = people.permits._blocked["plain"][body["risk"]["decision_id"]]
    forged = replace(permit, fingerprint=other.fingerprint)
    file.write(people.folder / "permits.json", file.content([forged]))
    restarted(people)

    assert (await people.ask(people.over(price="58500")))[0].status == 403


async def test_what_cannot_be_stored_is_not_granted(people, monkeypatch):
    """The disk refuses: an error for the person, and the order stays blocked."""
    permit_id = await people.waiting()
    monkeypatch.setattr(file, "write", refuses)
    with pytest.raises(PermitNotStored):
        await people.permits.approve(permit_id, ANN, "yes")

    assert (await people.ask(people.large()))[0].status == 403
    assert people.acts()[-1][0] == "approval.granted"
    assert people.acts()[-1][1].startswith("failed")


async def test_what_cannot_be_spent_on_disk_is_not_sent(people, monkeypatch):
    """The disk refuses after the grant: nothing leaves, and the permit is gone all the same."""
    await people.permits.approve(await people.waiting(), ANN, "yes")
    monkeypatch.setattr(file, "write", refuses)
    answer, _ = await people.ask(people.large())

    assert reason(answer) == b"audit_unavailable"
    assert people.house.venue.sent == []
    assert people.permits.report()["granted"]["approval"] == 0
    assert not people.house.reservations.client_id_in_use("desk", "a")


async def test_what_cannot_be_recorded_is_neither_granted_nor_sent(people, monkeypatch):
    """The record refuses: no grant; and after a grant, no order."""
    first, second = await people.waiting(), await people.waiting(price="58000")
    await people.permits.approve(second, ANN, "yes")

    def fails(_):
        raise AuditError("no room")

    monkeypatch.setattr(people.house.audit, "append", fails)
    with pytest.raises(AuditError):
        await people.permits.approve(first, ANN, "yes")
    assert reason((await people.ask(people.large(price="58000")))[0]) == b"audit_unavailable"
    assert people.house.venue.sent == []


def refuses(*_):
    """A disk without room."""
    raise OSError(28, "No space left on device")


async def test_of_two_who_confirm_at_once_one_grants(people):
    """Both say yes in the same moment: one grant, and one is told that it is granted already."""
    _, body = await people.ask(people.over())
    asked = await people.permits.ask_override(body["risk"]["decision_id"], ANN, "hedge")
    found = await asyncio.gather(
        *(people.permits.confirm(asked.id, one, "yes") for one in (BOB, signer("carol"))), return_exceptions=True
    )

    assert sorted(type(one).__name__ for one in found) == ["Permit", "PermitRefused"]


async def test_only_orders_are_let_through(people):
    """A leverage change that is blocked cannot be asked about, by whomever."""
    await people.ask(people.house.request(
        "POST", "/fapi/v1/leverage", key=PLAIN_KEY, secret=VENUE_SECRET, symbol="BTCUSDT", leverage="50",
    ))  # fmt: skip
    assert people.permits._blocked == {}


def test_the_policy_of_these_tests_is_what_they_say():
    """The limits that the orders above are compared with."""
    assert PEOPLE_POLICY["accounts"]["desk"]["size"]["approval_notional_min"] == "200"


async def test_a_no_counts_while_a_yes_is_being_written(people, monkeypatch):
    """The disk takes its time over a grant, somebody refuses meanwhile: nothing is granted, here or on disk."""
    permit_id, begun, write = await people.waiting(), threading.Event(), file.write

    def slowly(path, body):
        begun.set()
        time.sleep(0.2)
        write(path, body)

    monkeypatch.setattr(file, "write", slowly)
    granting = asyncio.ensure_future(people.permits.approve(permit_id, ANN, "yes"))
    await asyncio.to_thread(begun.wait, 5)
    await people.permits.refuse(permit_id, Kind.APPROVAL, BOB, "no")
    with pytest.raises(PermitRefused, match="does not wait any more"):
        await granting

    assert (await people.ask(people.large()))[0].status == 403
    restarted(people)
    assert (await people.ask(people.large()))[0].status == 403


async def test_a_disk_that_hangs_keeps_nobody_waiting(people, monkeypatch):
    """After its time the person is told that nothing was granted, and what the disk does later grants nothing."""
    permit_id, write = await people.waiting(), file.write
    monkeypatch.setattr(desk, "WRITE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(file, "write", lambda path, body: (time.sleep(0.3), write(path, body)))
    with pytest.raises(PermitNotStored, match="not within"):
        await people.permits.approve(permit_id, ANN, "yes")
    monkeypatch.setattr(file, "write", write)
    restarted(people)  # waits for the thread: by then the file says that it was granted

    assert [one.state for one in file.read(people.folder / "permits.json")] == [State.GRANTED]
    assert (await people.ask(people.large()))[0].status == 403
