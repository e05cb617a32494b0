"""Attempts to get an order past people: mutated, replayed, expired, by one person, from another bot, around a restart.

Each attempt is made while something is there to be misused: a live grant for another order, a grant that was used,
a file from before. What counts is what reached the venue. Beside the attempts the very order that people let
through is sent now and then, and passes: a desk that lets nothing through would pass every attempt below.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from random import Random

import orjson
import pytest

from proxy.permits import Kind, PermitRefused, Permits, file
from proxy.wire import WireResponse
from rules import EssLevel
from tests.proxy.permits.conftest import ANN, BOB, open_people, signer
from tests.runs import tell

# Each changes an order of some 290; every one of them is above 200 as well: the limit of account `plain`, and the
# value from which account `desk` asks for an approval.
MUTATIONS = [
    {"quantity": "0.0051"}, {"quantity": "0.00500"}, {"quantity": "0.006"}, {"quantity": "0.004"}, {"side": "SELL"},
    {"type": "MARKET", "timeInForce": None, "price": None}, {"timeInForce": "IOC"}, {"timeInForce": "FOK"},
    {"timeInForce": "GTX"}, {"positionSide": "BOTH"}, {"reduceOnly": "false"}, {"priceProtect": "TRUE"},
    {"selfTradePreventionMode": "EXPIRE_TAKER"}, {"newOrderRespType": "RESULT"}, {"goodTillDate": "1900000000000"},
    {"workingType": "MARK_PRICE"}, {"type": "STOP", "stopPrice": "59500"},
]  # fmt: skip
ONE_PERSON = [
    (ANN, ANN), (ANN, signer("ANN")), (ANN, signer("ann ")), (ANN, signer("bob", credential=ANN.credential)),
    (ANN, signer("bootstrap")), (signer("bootstrap"), BOB), (ANN, signer("bob", credential="")),
    (ANN, signer("bob", makers=frozenset({"ann"}))), (signer("ann", makers=frozenset({"bob"})), BOB),
    (ANN, signer("bob", makers=frozenset({"dave", "ann", "bootstrap"}))),
]  # fmt: skip


def rejected(_):
    """The venue takes nothing: what was sent counts, and leaves no position behind."""
    return WireResponse(400, ((b"Content-Type", b"application/json"),), orjson.dumps({"code": -2010, "msg": "no"}))


class Thief:
    """Makes attempts, on an override or an approval by turns, and counts what the venue saw of them."""

    def __init__(self, people, pick: Random) -> None:
        self.people = people
        self.pick = pick
        self.tried: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.controls = 0
        self.price = 58_000
        self.kind = Kind.OVERRIDE

    def _price(self) -> str:
        self.price = 58_000 + (self.price - 57_999) % 1000
        return f"{self.price}.{self.pick.randrange(1, 9)}"

    def order(self, **changes):
        """An order that needs people's word, of the account whose turn it is."""
        make = self.people.over if self.kind is Kind.OVERRIDE else self.people.large
        return make(**({"quantity": "0.005"} | changes))

    async def grant(self, price: str):
        """Let an order at this price through; the permit."""
        if self.kind is Kind.OVERRIDE:
            return await self.people.overridden(price=price)
        return await self.people.permits.approve(await self.people.waiting(quantity="0.005", price=price), ANN, "yes")

    async def send(self, kind: str, request) -> None:
        """One attempt."""
        before = len(self.people.house.venue.sent)
        await self.people.ask(request)
        self.tried[kind] += 1
        self.passed[kind] += len(self.people.house.venue.sent) - before

    async def control(self, price: str):
        """The order that people let through, which does pass; its bytes."""
        before = len(self.people.house.venue.sent)
        request = self.order(price=price)
        await self.people.ask(request)
        assert len(self.people.house.venue.sent) == before + 1
        self.controls += 1
        return request

    async def mutated(self) -> None:
        """A live grant, and orders that are nearly the one it is for."""
        price = self._price()
        permit = await self.grant(price)
        for _ in range(8):
            await self.send("mutated", self.order(**({"price": price} | self.pick.choice(MUTATIONS))))
        await self.send("mutated", self.order(price=f"{price}0"))
        other = self.people.large if self.kind is Kind.OVERRIDE else self.people.over
        await self.send("of another bot", other(quantity="0.005", price=price))
        if self.pick.random() < 0.5:
            await self.control(price)
        else:
            await self.people.permits.refuse(permit.id, self.kind, BOB, "no")
            await self.send("refused", self.order(price=price))

    async def replayed(self) -> None:
        """What was used, again: the same bytes, signed anew, many at once, and after a restart with the old file."""
        price = self._price()
        await self.grant(price)
        kept = (self.people.folder / "permits.json").read_bytes()
        used = await self.control(price)
        await self.send("replayed", used)
        await self.send("replayed", self.order(price=price))
        await asyncio.gather(*(self.send("replayed at once", self.order(price=price, recvWindow=str(5000 - one)))
                               for one in range(4)))  # fmt: skip
        if self.pick.random() < 0.3:
            (self.people.folder / "permits.json").write_bytes(kept)
            self._restart()
            await self.send("replayed after a restart", self.order(price=price))

    async def expired(self) -> None:
        """A grant whose time is over, by the clock or because the clock was put back."""
        house, price = self.people.house, self._price()
        await self.grant(price)
        lasts = self.people.permits.settings.override_valid_s  # and as long for an approval
        began = house.clock.now()
        house.forward(lasts + self.pick.randrange(1000))
        if self.pick.random() < 0.5:
            house.clock.advance(to=began)
        await house.policies.refresh()
        await self.send("expired", self.order(price=price))

    async def alone(self) -> None:
        """One person as two; and questions that nobody, or only the first, has answered."""
        price = self._price()
        if self.kind is Kind.OVERRIDE:
            with pytest.raises(PermitRefused):
                await self.people.overridden(*self.pick.choice(ONE_PERSON), price=price)
            await self.send("by one person", self.order(price=price))
        else:
            await self.people.waiting(quantity="0.005", price=price)
            await self.send("by nobody", self.order(price=price))
        for one in self.people.permits.listed(self.kind):
            if one.state == "asked":
                await self.people.permits.refuse(one.id, self.kind, BOB, "tidy")

    async def halted(self) -> None:
        """A live grant, and the stop at one of its levels; released, the grant is still good once."""
        house, price = self.people.house, self._price()
        await self.grant(price)
        level = self.pick.choice([EssLevel.HALT, EssLevel.REDUCE_ONLY])
        await house.latch.engage(level=level, scope="global", actor="ann", reason="test", source="api")
        for _ in range(3):
            await self.send("while stopped", self.order(price=price))
        epoch = house.latch.stop_of("global").epoch
        await house.latch.release(scope="global", actor="ann", reason="test", expected_epoch=epoch)
        for stop in house.latch.stops():
            if stop.level is not EssLevel.CLEAR:
                await house.latch.release(scope=stop.scope, actor="ann", reason="x", expected_epoch=stop.epoch)
        await self.control(price)

    async def forged(self) -> None:
        """A file written by hand: a grant turned to another order, or made to last."""
        self.kind, price, other = Kind.OVERRIDE, self._price(), self._price()
        permit = await self.people.overridden(price=price)
        _, body = await self.people.ask(self.people.over(price=other))
        blocked = self.people.permits._blocked["plain"][body["risk"]["decision_id"]]
        forged = self.pick.choice([
            replace(permit, fingerprint=blocked.fingerprint, prices=blocked.prices),
            replace(permit, fingerprint=blocked.fingerprint, until=permit.until.replace(year=2100)),
            replace(permit, id="ov-forged", fingerprint=blocked.fingerprint),
        ])  # fmt: skip
        file.write(self.people.folder / "permits.json", file.content([forged]))
        self._restart()
        await self.send("forged", self.people.over(price=other))

    def _restart(self) -> None:
        people = self.people
        people.permits.close()
        people.permits = Permits(
            people.folder / "permits.json", audit=people.house.audit, clock=people.house.clock,
            settings=people.permits.settings,
        )  # fmt: skip
        people.permits.restore(people.house.audit_dir)
        people.house.pipeline._parts = replace(people.house.parts, permits=people.permits)


async def attempt(folder, count: int, seed: int) -> Thief:
    """Make at least so many attempts."""
    async with open_people(folder, overrides_per_day=10**6) as people:
        people.house.venue.answer = rejected
        thief = Thief(people, Random(seed))
        ways = [thief.mutated, thief.replayed, thief.expired, thief.alone, thief.alone, thief.halted, thief.forged]
        while thief.tried.total() < count:
            thief.kind = thief.pick.choice(list(Kind))
            await thief.pick.choice(ways)()
        return thief


def judge(thief: Thief) -> None:
    """None passed, every way was tried, and what people let through did pass."""
    assert +thief.passed == Counter()
    assert len(thief.tried) == 11
    assert thief.controls > thief.tried.total() / 40


async def test_no_attempt_passes(tmp_path):
    """Three hundred attempts of eleven kinds: none reaches the venue."""
    judge(await attempt(tmp_path, 300, 7))


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_no_attempt_of_ten_thousand_passes(tmp_path):
    """The same with ten thousand."""
    thief = await attempt(tmp_path, 10_000, 11)
    tell(f"{thief.tried.total()} attempts, {thief.passed.total()} passed, beside {thief.controls} of people's: "
         f"{dict(thief.tried)}")
    judge(thief)
