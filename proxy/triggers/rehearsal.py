"""Proof that a trigger's stop would hold: an order that has to be refused, and is never sent.

The stop is put into a latch of its own, in memory. Then an order that opens a position goes the way of every
order: the latch says what governs it, the gate judges it with facts that are all there, and the last look is
asked to let it go. Both have to refuse, for the stop's reason. Nothing here knows the way to the venue.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from proxy.clock import Clock
from proxy.errors import LastLookRefused
from proxy.ess import EssLatch
from rules import (
    Bucket,
    Caller,
    EssLevel,
    Fact,
    Facts,
    Limits,
    Market,
    Order,
    OrderType,
    Position,
    Price,
    Reason,
    Side,
    Stop,
    SymbolFacts,
    Verdict,
    evaluate,
)

SYMBOL = "BTCUSDT"
REASONS = {EssLevel.HALT: Reason.ESS_TRADING_HALT_ACTIVE, EssLevel.REDUCE_ONLY: Reason.ESS_REDUCE_ONLY_ACTIVE}


class NotRefused(Exception):
    """An order that had to be refused would have passed."""


def prove_refusal(level: EssLevel, scope: str, caller: Caller, clock: Clock) -> None:
    """Raise NotRefused unless an opening order of this caller is refused under such a stop, twice."""
    stop = Stop(level=level, scope=scope, actor="rehearsal", reason="rehearsal", source="rule", epoch=1)
    latch = EssLatch(Path("rehearsal"), clock=clock, drain=None, epoch=1, stops=(stop,))
    try:
        order = Order(
            symbol=SYMBOL, side=Side.BUY, type=OrderType.MARKET, market=Market.LINEAR, quantity=Decimal(1),
            bucket=Bucket.BOTH,
        )  # fmt: skip
        now = clock.now()
        known = SymbolFacts(price=Fact(Price(mark=Decimal(1)), now), position=Fact(Position(), now))
        facts = Facts(
            now=now, caller=caller, stop=latch.of_order(caller, {SYMBOL}), symbols={SYMBOL: known},
            hedge_mode=Fact(value=False, as_of=now),
        )  # fmt: skip
        limits = Limits(policy_revision=0, profile="rehearsal", capital_profile="rehearsal")
        decision = evaluate((order,), facts, limits)
        if decision.verdict is not Verdict.BLOCK or decision.reason is not REASONS[level]:
            raise NotRefused(
                f"the gate answered {decision.verdict.value} ({decision.reason.value}), expected a block for "
                f"{REASONS[level].value}"
            )
        try:
            latch.last_look(caller.account, reducing=False, caller=caller, instructions=(order,))
        except LastLookRefused:
            return
        raise NotRefused("the last look before the socket let it go")
    finally:
        latch.close()
