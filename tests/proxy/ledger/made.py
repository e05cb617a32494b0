"""Readings and transfers in few words, and a wallet's true history to compare with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from proxy.ledger import Flow, Sample

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Some seconds after the start."""
    return START + timedelta(seconds=seconds)


def sample(equity, seconds: float, *, balance=None, took_s: float = 0.0, sent: datetime | None = None) -> Sample:
    """A reading of dollars only; its cash is its balance."""
    sent = at(seconds) if sent is None else sent
    cash = Decimal(equity if balance is None else balance)
    return Sample(
        equity=Decimal(equity), balance=cash, cash={"USDT": cash}, prices={"USDT": Decimal(1)},
        sent=sent, received=sent + timedelta(seconds=took_s), as_of=sent,
    )  # fmt: skip


def flow(amount, seconds: float, *, key: str = "", until_s: float | None = None) -> Flow:
    """Money that came or went at an instant, or within a span."""
    until = seconds if until_s is None else until_s
    return Flow(key or f"{amount}@{seconds}", Decimal(amount), at(seconds), at(until))


@dataclass
class Truth:
    """What really happened to a wallet: trading moved `won`, transfers moved cash, prices moved what is open."""

    pick: Random
    now_s: float = 0.0
    cash: Decimal = Decimal(10_000)
    open: Decimal = Decimal(0)
    flows: list[Flow] = field(default_factory=list)
    samples: list[tuple[Sample, Decimal]] = field(default_factory=list)  # with the transfers that are in it

    @property
    def transferred(self) -> Decimal:
        """Net transfers in so far."""
        return sum((one.amount for one in self.flows), Decimal(0))

    def wait(self) -> None:
        """Some time passes; every step has an instant of its own."""
        self.now_s += self.pick.choice([0.2, 0.7, 1.5, 3.0, 11.0]) + self.pick.random() / 1000

    def trade(self) -> None:
        """A fill, a fee or funding moves cash."""
        self.cash += Decimal(self.pick.randint(-50_000, 50_000)) / 100

    def move(self) -> None:
        """The price moves what is open; cash stays."""
        self.open += Decimal(self.pick.randint(-50_000, 50_000)) / 100

    def transfer(self) -> None:
        """Money comes or goes."""
        amount = Decimal(self.pick.randint(-300_000, 300_000)) / 100
        self.cash += amount
        self.flows.append(flow(amount, self.now_s, key=str(len(self.flows))))

    def read(self) -> Sample:
        """A reading; something may happen while it is on its way, before or after the venue looks."""
        sent = self.now_s
        if self.pick.random() < 0.3:
            self.now_s += 0.1
            self.pick.choice([self.trade, self.transfer])()
        seen, inside = (self.cash + self.open, self.cash), self.transferred
        self.now_s += 0.05
        if self.pick.random() < 0.2:
            self.transfer()
            self.now_s += 0.05
        taken = sample(seen[0], sent, balance=seen[1], took_s=self.now_s - sent)
        self.samples.append((taken, inside))
        return taken
