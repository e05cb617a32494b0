"""What is going on, and whether an order could be judged now."""

from __future__ import annotations

import pytest

from proxy.feeds import Feeds
from proxy.feeds.polling import Health
from proxy.identity import Account
from proxy.status import Status
from rules import EssLevel
from tests.house import open_house


class Reading:
    """A feed that is as healthy as it is told to be."""

    def __init__(self) -> None:
        self.name = "account.desk"
        self.ready = True
        self.age_s = 1.234

    def health(self):
        """One cycle."""
        return (
            Health(
                name=self.name,
                ready=self.ready,
                last_success_at=None,
                age_s=self.age_s,
                last_error=None,
                failures=0,
                malformed=0,
            ),
        )


@pytest.fixture
async def parts(tmp_path):
    """A house, its feed and its status."""
    async with open_house(tmp_path) as house:
        reading = Reading()
        status = Status(
            audit=house.audit,
            latch=house.latch,
            policies=house.policies,
            feeds=Feeds([reading], {}),
            book=house.book,
            reservations=house.reservations,
            upstream=house.venue,
            accounts={"desk": Account(name="desk", exchange="binance", mode="custody")},
            clock=house.clock,
            version="1",
        )
        yield house, reading, status


async def test_ready_when_everything_answers(parts):
    """Audit, policy and feeds are well: an order could be judged."""
    _, _, status = parts
    ready, shown = status.ready()
    assert ready
    assert shown["policy"]["mode"] == "NORMAL"
    assert shown["feeds"]["account.desk"] == {"ready": True, "age_s": 1.2, "error": None}


async def test_not_ready_without_a_feed(parts):
    """A feed that has not delivered would block new exposure."""
    _, reading, status = parts
    reading.ready = False
    assert not status.ready()[0]


async def test_not_ready_with_old_facts(parts):
    """A reading that has grown too old for the policy's ages would block every order: not ready, and why."""
    house, _, status = parts
    house.forward(9)
    assert status.ready()[0]
    house.forward(2)
    ready, shown = status.ready()
    assert not ready
    assert shown["facts"]["desk"] == [
        "equity is 11.0 s old, at most 10 s is allowed",
        "exposure is 11.0 s old, at most 10 s is allowed",
    ]


async def test_not_ready_with_old_prices(parts):
    """Prices older than an order may be priced by are not ready, whatever their feed's own patience."""
    _, reading, status = parts
    reading.name = "market.binance.linear.prices"
    reading.age_s = 5.5
    ready, shown = status.ready()
    assert not ready
    assert not shown["feeds"]["market.binance.linear.prices"]["ready"]


async def test_not_ready_with_a_lost_policy(parts):
    """Past its maximum age the policy blocks, and readiness says so in words."""
    house, _, status = parts
    house.forward(61)
    ready, shown = status.ready()
    assert not ready
    assert "seconds" in shown["policy"]["error"] or " s ago" in shown["policy"]["error"]


async def test_not_ready_while_draining(parts):
    """A proxy on its way out takes no new work."""
    _, _, status = parts
    status.draining = True
    assert not status.ready()[0]


async def test_a_halt_does_not_make_it_unready(parts):
    """Cancels and reads still need the proxy; the state says halt."""
    house, _, status = parts
    house.latch.trip(level=EssLevel.HALT, scope="global", actor="me", reason="test", source="api")
    assert status.ready()[0]
    shown = status.status()
    assert shown["state"] == "halt"
    assert shown["stops"][0]["reason"] == "test"
