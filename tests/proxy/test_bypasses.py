"""What is done about orders that never came through, and which of them an earlier process sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from proxy import audit
from proxy.bypasses import Bypasses, recorded_in
from proxy.feeds import Bypass
from proxy.tasks import Tasks
from rules import EssLevel, Market
from tests.house import NOW, open_house

CREATED_MS = int(NOW.timestamp() * 1000)
BYPASS = Bypass(
    account="plain", market=Market.LINEAR, symbol="BTCUSDT", order_id="77", client_order_id="theirs", side="BUY",
    quantity=Decimal("0.5"), created_ms=CREATED_MS,
)  # fmt: skip


@pytest.fixture
async def house(tmp_path):
    """A stop and a record."""
    async with open_house(tmp_path) as opened:
        yield opened


def bypasses(house) -> Bypasses:
    """Of an account that alerts and one that reduces."""
    answers = {"plain": "alert", "desk": "reduce_only"}
    return Bypasses(house.latch, house.audit, Tasks(), answers)


@pytest.mark.parametrize(
    ("account", "level"), [("plain", EssLevel.CLEAR), ("desk", EssLevel.REDUCE_ONLY), ("other", EssLevel.CLEAR)]
)
async def test_an_account_is_reduced_only_where_that_is_set(house, account, level):
    """At once, and for that account alone; whatever is done, it is on record with what was found."""
    bypasses(house).found(account, replace(BYPASS, account=account))
    await asyncio.sleep(0.05)
    assert house.latch.governing(account).level is level
    assert house.latch.governing("").level is EssLevel.CLEAR
    if level is not EssLevel.CLEAR:
        assert "order 77" in house.latch.governing(account).reason
    record = house.records()[-1]
    assert (record["kind"], record["act"], record["scope"]) == ("admin", "bypass_detected", f"account:{account}")
    assert record["result"] == ("alert" if level is EssLevel.CLEAR else "reduce_only")
    assert "BUY 0.5 BTCUSDT" in record["reason"]


def written(folder, *records) -> None:
    """An audit folder with these records."""
    made = audit.Audit(folder, sync="process", clock=CLOCK, tasks=None, segment_bytes=2000)
    made.open()
    for record in records:
        made.append(record)
    made.close()


class _Clock:
    """It is always the same time."""

    def now(self):
        """That time."""
        return NOW

    def monotonic(self) -> float:
        """No time passes."""
        return 0.0

    def stamp(self) -> str:
        """That time, as records have it."""
        return NOW.isoformat(timespec="microseconds").replace("+00:00", "Z")


CLOCK = _Clock()


def decision(client_order_id, *, account="plain", symbol="BTCUSDT", sent="0" * 64):
    """A decision as it is recorded."""
    return {
        "kind": "decision", "decision_id": "d", "caller": {"account": account},
        "orders": [{"instruction": "order", "symbol": symbol, "client_order_id": client_order_id}],
        "sent_sha256": sent,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("records", "is_ours"),
    [
        ([decision("theirs")], True),
        ([{"kind": "outcome", "decision_id": "d", "outcome": "accepted", "order_ids": ["77"]}], True),
        ([decision("another")], False),
        ([decision("theirs", account="desk")], False),
        ([decision("theirs", symbol="ETHUSDT")], False),
        ([decision("theirs", sent=None)], False),
        ([{"kind": "outcome", "decision_id": "d", "outcome": "accepted", "order_ids": ["777"]}], False),
        ([{"kind": "admin", "actor": "theirs", "act": "77"}], False),
        ([], False),
    ],
)
def test_an_order_of_an_earlier_process_is_found_in_its_record(tmp_path, records, is_ours):
    """By the client id of a decision that was sent, or by the id in an outcome; nothing else proves it."""
    filler = [decision(f"filler-{number}") for number in range(50)]
    written(tmp_path / "audit", *filler[:25], *records, *filler[25:])
    assert len(list((tmp_path / "audit").glob("*.jsonl"))) > 2
    found = recorded_in(tmp_path / "audit", [BYPASS, replace(BYPASS, order_id="78", client_order_id=None)])
    assert found == (frozenset({("BTCUSDT", "77")}) if is_ours else frozenset())


def test_a_conditional_order_is_found_by_its_own_id(tmp_path):
    """Its id counts apart from those of plain orders, and is recorded as the exchange wrote it."""
    written(tmp_path / "audit", {"kind": "outcome", "decision_id": "d", "outcome": "accepted", "order_ids": ["9"]})
    algo = replace(BYPASS, order_id="algo:9", client_order_id=None)
    assert recorded_in(tmp_path / "audit", [algo]) == frozenset({("BTCUSDT", "algo:9")})


def test_files_from_before_the_order_are_not_read(tmp_path):
    """An order cannot have been decided on in a file that was last written long before it."""
    written(tmp_path / "audit", decision("theirs"))
    late = replace(BYPASS, created_ms=int((NOW + timedelta(days=30 * 365)).timestamp() * 1000))
    assert recorded_in(tmp_path / "audit", [late]) == frozenset()


async def test_the_files_are_read_without_holding_up_orders(house, tmp_path):
    """Asked for in a thread; the same answer."""
    written(tmp_path / "others", decision("theirs"))
    asked = Bypasses(house.latch, SimpleNamespace(directory=tmp_path / "others"), Tasks(), {})
    assert await asked.recorded([BYPASS]) == frozenset({("BTCUSDT", "77")})
