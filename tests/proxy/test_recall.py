"""After a kill: what was let through without a known fate is reserved again, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from proxy import audit as audit_module
from proxy.audit import Audit
from proxy.book import AccountPlace, Book
from proxy.errors import LastLookRefused, UpstreamSilent, UpstreamUnreachable
from proxy.recall import WINDOW_S, recall
from proxy.reservations import Fate, Outcome, Reservations
from rules import Bucket, Market, Sides
from tests.house import NOW, open_house

D = Decimal
ACCOUNTS = ("desk", "plain")


@pytest.fixture
async def house(tmp_path):
    """A pipeline whose record outlives it."""
    async with open_house(tmp_path) as opened:
        yield opened


class Next:
    """The book and reservations of the next process on the same record."""

    def __init__(self, house, accounts=ACCOUNTS):
        places = [
            AccountPlace(name=name, exchange="binance", markets=frozenset({Market.LINEAR})) for name in ACCOUNTS
        ]
        self.clock = house.clock
        self.book = Book(places)
        self.reservations = Reservations(self.book, house.clock)
        house.audit.flush()  # as an orderly end does; what a kill leaves unwritten is reserved again, and looked up
        self.recalled = recall(house.audit_dir, self.reservations, accounts, house.clock)

    def reserved(self, account="desk"):
        """What is reserved of bitcoin."""
        return self.reservations.reserved(account, "BTCUSDT")


async def test_an_order_that_was_lost_is_reserved_again_as_it_was(house):
    """The same quantity in the same place, its fate unknown since it was decided, its name in use."""
    house.venue.fails_after_send = UpstreamSilent("gone")
    answer, _ = await house.ask(house.order(newClientOrderId="mine"))
    assert answer.status == 504
    before = house.reservations.reserved("desk", "BTCUSDT")
    assert before == {Bucket.BOTH: Sides(buy=D("0.005"))}

    house.forward(7)
    after = Next(house)
    assert after.reserved() == before
    (reservation, leg), = after.reservations.unknown()  # fmt: skip
    assert after.recalled == [reservation.decision_id]
    assert house.clock.monotonic() - leg.unknown_since_s == 7
    assert reservation.caller == house.reservations.unknown()[0][0].caller
    assert after.reservations.client_id_in_use("desk", "mine")
    assert not after.reservations.client_id_in_use("plain", "mine")


async def test_an_order_killed_before_any_outcome_is_reserved_again(house):
    """The record says that it was about to be sent; whether it was, nobody knows."""
    class Killed(BaseException):
        """The process is gone."""

    house.venue.fails_after_send = Killed()
    with pytest.raises(Killed):
        await house.pipeline.handle(house.order())
    assert [record["kind"] for record in house.records()] == ["decision"]
    assert Next(house).reserved() == {Bucket.BOTH: Sides(buy=D("0.005"))}


async def test_a_scaled_order_counts_with_its_smaller_quantity(house):
    """What was sent is reserved, not what was asked."""
    house.venue.fails_after_send = UpstreamSilent("gone")
    await house.ask(house.order(quantity="0.05"))
    after = Next(house)
    assert after.reserved() == house.reservations.reserved("desk", "BTCUSDT")
    assert 0 < after.reserved()[Bucket.BOTH].buy < D("0.05")


@pytest.mark.parametrize("lacks", [("reserved",), ("reserved", "side"), ("reserved", "bucket", "client_order_id")])
async def test_a_record_of_an_earlier_version_is_reserved_whole(house, lacks):
    """What a record does not state is taken at its worst, and never stops the start."""
    house.venue.fails_after_send = UpstreamSilent("gone")
    await house.ask(house.order(newClientOrderId="mine"))
    (record,) = house.records("decision")
    for name in lacks:
        record.pop(name, None)
        record["orders"][0].pop(name, None)
    after = Next(house, accounts=())
    assert after.reservations.restore(record, 1.0) is not None
    sell = D("0.005") if "side" in lacks else D(0)
    assert after.reserved() == {Bucket.BOTH: Sides(buy=D("0.005"), sell=sell)}
    assert after.reservations.client_id_in_use("desk", "mine") is ("client_order_id" not in lacks)
    assert after.reservations.settle_by_operator(record["decision_id"], Outcome.FAILED) == 1
    assert after.reserved() == {}


@pytest.mark.parametrize("what", ["accepted", "not sent", "stopped", "blocked"])
async def test_what_was_settled_is_not_reserved_again(house, what):
    """Accepted ones are in the account's next reading; the others certainly never left."""
    def stop() -> None:
        raise LastLookRefused("stopped")

    if what == "not sent":
        house.venue.fails = UpstreamUnreachable("nobody there")
    if what == "stopped":
        house.venue.before_last_look = stop
    await house.ask(house.order(symbol="DOGEUSDT" if what == "blocked" else "BTCUSDT"))
    after = Next(house)
    assert after.recalled == []
    assert not after.reservations.counts()[Fate.UNKNOWN]


async def test_an_old_order_is_not_reserved_again(house):
    """So long after, the first reading of the account shows what became of it."""
    house.venue.fails_after_send = UpstreamSilent("gone")
    await house.ask(house.order())
    house.forward(WINDOW_S - 1)
    assert Next(house).recalled
    house.forward(2)
    assert not Next(house).recalled


async def test_an_account_that_is_gone_is_left_out(house):
    """Nobody trades it here any more."""
    house.venue.fails_after_send = UpstreamSilent("gone")
    await house.ask(house.order())
    after = Next(house, accounts=("plain",))
    assert after.recalled == []


@pytest.mark.parametrize(("outcome", "left"), [(Outcome.FAILED, {}), (Outcome.ACCEPTED, None)])
async def test_a_recalled_order_is_resolved_like_any_other(house, outcome, left):
    """Not found: free again at once. Found: free when a later reading of the account holds it."""
    house.venue.fails_after_send = UpstreamSilent("gone")
    await house.ask(house.order(newClientOrderId="mine"))
    after = Next(house)
    before = after.reserved()
    assert after.reservations.resolve(after.recalled[0], 0, outcome, NOW)
    assert after.reserved() == (before if left is None else left)
    house.forward(1)
    after.reservations.snapshot_applied("desk", Market.LINEAR, house.clock.monotonic())
    assert after.reserved() == {}
    assert not after.reservations.client_id_in_use("desk", "mine")


async def test_a_change_of_leverage_reserves_nothing(house):
    """It has no order in it."""
    house.venue.fails_after_send = UpstreamSilent("gone")
    answer, _ = await house.ask(house.request("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage="2"))
    assert answer.status == 504
    assert Next(house).recalled == []


async def test_records_are_read_from_the_end_across_segments(house, tmp_path):
    """Only what is young enough, oldest first, whatever lies before it."""
    audit = Audit(tmp_path / "other", sync="process", clock=house.clock, tasks=None, segment_bytes=1000)
    audit.open()
    for number in range(40):
        audit.append({"kind": "decision", "number": number})
        house.forward(1)
    audit.close()
    young = audit_module.since(tmp_path / "other", NOW + timedelta(seconds=25))
    assert [record["number"] for record in young] == list(range(25, 40))
    assert len(list((tmp_path / "other").glob("*.jsonl"))) > 3
