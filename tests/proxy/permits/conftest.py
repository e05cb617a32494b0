"""A whole pipeline with people beside it: account `desk` asks for approvals from 200 on, `plain` has a ceiling."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from proxy.permits import Permits, PermitSettings, Signer
from proxy.pipeline import Pipeline
from tests.house import PLAIN_KEY, POLICY, VENUE_SECRET, House, open_house

CEILING = Decimal(500)
PEOPLE_POLICY = POLICY | {
    "accounts": {
        "desk": POLICY["accounts"]["desk"] | {
            "scaling": "off", "size": {"order_notional_max": "600", "approval_notional_min": "200"},
        },
        "plain": POLICY["accounts"]["plain"] | {"scaling": "off", "size": {"order_notional_max": "200"}},
    },
}  # fmt: skip


def signer(name: str, **changed) -> Signer:
    """A person with a token that the bootstrap token made."""
    told = {"credential": f"person:{name.casefold()}", "makers": frozenset({"bootstrap"}), "token_id": f"t-{name}"}
    return Signer(name, name, **(told | changed))


ANN, BOB = signer("ann"), signer("bob")


@dataclass
class People:
    """The house, and the desk at which people say yes or no."""

    house: House
    permits: Permits
    folder: object
    told: list

    def small(self, **changes):
        """A small order of account `desk`, under every limit."""
        return self.house.order(**({"quantity": "0.002"} | changes))

    def large(self, **changes):
        """An order of account `desk` that needs an approval: 236."""
        return self.house.order(**({"quantity": "0.004"} | changes))

    def over(self, **changes):
        """An order of account `plain` above its limit of 200 and under the ceiling: 295."""
        return self.house.order(**({"key": PLAIN_KEY, "secret": VENUE_SECRET, "quantity": "0.005"} | changes))

    async def ask(self, request):
        """Send it; a moment passes, so that no signature is used twice."""
        self.house.forward(0.01)
        self.house.refresh()
        return await self.house.ask(request)

    async def waiting(self, **changes):
        """A large order, blocked; the id of its approval."""
        _, body = await self.ask(self.large(**changes))
        return body["risk"]["approval_id"]

    async def overridden(self, first=ANN, second=BOB, **changes):
        """An order that two persons let through; the permit."""
        _, body = await self.ask(self.over(**changes))
        asked = await self.permits.ask_override(body["risk"]["decision_id"], first, "hedge")
        return await self.permits.confirm(asked.id, second, "agreed")

    def acts(self):
        """What is on record of permits, as act and result."""
        return [(one["act"], one["result"]) for one in self.house.records("admin")]


@asynccontextmanager
async def open_people(folder, *, policy=None, **settings):
    """The house of tests/house.py with permits in its pipeline."""
    stated = {"ceilings": {"plain": CEILING}} | settings
    async with open_house(folder, policy=policy or PEOPLE_POLICY) as house:
        permits = Permits(
            folder / "permits.json", audit=house.audit, clock=house.clock, settings=PermitSettings(**stated)
        )
        told = []
        permits.listeners.append(lambda permit: told.append((permit.kind.value, permit.state.value)))
        house.pipeline = Pipeline(replace(house.parts, permits=permits))
        yield People(house, permits, folder, told)
        permits.close()


@pytest.fixture
async def people(tmp_path):
    """The same for one test."""
    async with open_people(tmp_path) as people:
        yield people
