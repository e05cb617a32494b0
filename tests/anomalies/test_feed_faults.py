"""Faults F9-F12 and F31: what the gate does when its feeds are down, slow, stale or garbage.

New exposure is blocked within the age the limits allow; a proven reduction passes while its
position is known; everything recovers by itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from proxy.feeds import GlobalRiskFeed, Venue
from proxy.gather import Gather
from proxy.simulator import Fault
from rules import (
    CLEAR,
    Ages,
    Caller,
    Decision,
    Limits,
    Market,
    Order,
    OrderType,
    Reason,
    Side,
    Stop,
    Verdict,
    evaluate,
)
from tests.proxy.feeds.conftest import FakeVenue, World, failing, session, venue_server, world

__all__ = ["session", "venue_server", "world"]

D = Decimal
CALLER = Caller(account="main", exchange="binance", strategy="s", bot="b")
LIMITS = Limits(
    policy_revision=1,
    profile="NORMAL",
    capital_profile="normal",
    order_notional_max=D(100_000),
    exposure_symbol_max=D(100_000),
    exposure_account_max=D(100_000),
    trade_notional_fraction_max=D(1),
    loss_daily_max=D("0.02"),
    open_positions_max=5,
    ages=Ages(),
)
OPEN = Order(
    symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, market=Market.LINEAR, quantity=D("0.010"), price=D(50_000)
)
CLOSE = Order(
    symbol="BTCUSDT", side=Side.SELL, type=OrderType.MARKET, market=Market.LINEAR, quantity=D("0.005"),
    reduce_only=True,
)  # fmt: skip


class Latch:
    """No stop."""

    def of_order(self, caller: Caller, symbols: Collection[str]) -> Stop:
        """Clear."""
        return CLEAR


class Gated:
    """An account that holds a coin, its feeds, the risk signal's feed, and the gate."""

    def __init__(self, world: World, server: FakeVenue) -> None:
        self.world = world
        self.server = server
        self.risk = GlobalRiskFeed(Venue(world.session, server.origin, world.clock, timeout_s=0.2), world.clock)
        self.gather = Gather(
            world.book, world.reservations, self.risk, Latch(), clock=world.clock, losses=world.day_start
        )

    def signal(self, when: datetime | None = None, **more: Any) -> dict[str, Any]:
        """A fresh INFO signal."""
        stamp = (when or self.world.clock.now()).isoformat()
        return {"timestamp": stamp, "risk_level": "INFO", "ess_action_required": False, **more}

    async def read(self) -> None:
        """All feeds once."""
        await self.world.read()
        self.server.answers["/risk/global"] = self.signal()
        assert await self.risk.read_once()

    def judge(self, order: Order = OPEN, after_s: float = 0.0, limits: Limits = LIMITS) -> Decision:
        """What the gate says of an order some seconds from now, if nothing new is read until then."""
        now = self.world.clock.now() + timedelta(seconds=after_s)
        facts = self.gather.facts(CALLER, [order], now, limits)
        return evaluate(order, facts, limits)


@pytest.fixture
async def gated(world: World, venue_server: FakeVenue) -> Gated:
    """Everything read and fresh."""
    await world.send("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    gated = Gated(world, venue_server)
    await gated.read()
    assert gated.judge().verdict is Verdict.ALLOW, gated.judge().sentence
    assert gated.judge(CLOSE).verdict is Verdict.ALLOW, gated.judge(CLOSE).sentence
    return gated


def blocked(decision: Decision, reason: Reason) -> bool:
    """Whether it is a block for that reason."""
    return (decision.verdict, decision.reason) == (Verdict.BLOCK, reason)


async def test_f9_a_risk_service_that_is_down_blocks_within_its_age(gated):
    """The last signal counts for five seconds, no longer; exits go on; its return needs no hand."""
    gated.server.answers["/risk/global"] = failing(503)
    assert not await gated.risk.read_once()
    assert gated.judge(after_s=4).verdict is Verdict.ALLOW
    assert blocked(gated.judge(after_s=5.5), Reason.FACTS_STALE)
    assert gated.judge(CLOSE, after_s=5.5).verdict is Verdict.ALLOW
    await gated.read()
    assert gated.judge().verdict is Verdict.ALLOW


async def test_f9_a_risk_service_that_never_answered_blocks(gated):
    """Without a first signal nothing opens."""
    gated.gather = Gather(
        gated.world.book, gated.world.reservations, GlobalRiskFeed(Venue(gated.world.session, "http://127.0.0.1:9",
        gated.world.clock), gated.world.clock), Latch(), clock=gated.world.clock, losses=gated.world.day_start,
    )  # fmt: skip
    assert blocked(gated.judge(), Reason.FACTS_MISSING)
    assert gated.judge(CLOSE).verdict is Verdict.ALLOW


async def test_f10_no_order_waits_for_a_slow_risk_service(gated):
    """While a reading hangs, a thousand judgements take their usual time."""

    async def slow(request: object) -> object:
        await asyncio.sleep(30)
        raise AssertionError("nobody waits that long")

    gated.server.answers["/risk/global"] = slow
    reading = asyncio.ensure_future(gated.risk.read_once())
    await asyncio.sleep(0.05)
    begun = time.perf_counter()
    for _ in range(1000):
        gated.judge()
    assert time.perf_counter() - begun < 2
    assert not await reading
    assert "no answer within" in gated.risk.health()[0].last_error


async def test_f11_a_frozen_signal_grows_old(gated):
    """The same document over and over is as old as its own timestamp."""
    frozen = gated.signal(when=gated.world.clock.now() - timedelta(seconds=6))
    gated.risk._latest = None
    gated.server.answers["/risk/global"] = frozen
    for _ in range(3):
        assert await gated.risk.read_once()
    assert blocked(gated.judge(), Reason.FACTS_STALE)


@pytest.mark.parametrize(
    "garbage",
    [
        "", "null", "[]", "<html>502</html>", '{"risk_level":"INFO"}', '{"timestamp":1,"risk_level":"INFO"}',
        '{"timestamp":"2026-01-01T00:00:00Z","risk_level":"FINE"}', '{"overall_risk_score":NaN}', "\x00" * 100,
        "[" * 100_000, " " * 1_000_000,
    ],
)  # fmt: skip
async def test_f12_garbage_changes_nothing_and_expires(gated, garbage):
    """The last good signal stays until its age is over."""
    known = gated.risk.latest()
    gated.server.answers["/risk/global"] = lambda request: aiohttp.web.Response(text=garbage)
    assert not await gated.risk.read_once()
    assert gated.risk.latest() is known
    assert gated.judge(after_s=1).verdict is Verdict.ALLOW
    assert blocked(gated.judge(after_s=6), Reason.FACTS_STALE)


async def test_f12_garbage_never_ends_a_critical(gated):
    """A level that cannot be read does not stand for a better one."""
    gated.server.answers["/risk/global"] = gated.signal(risk_level="CRITICAL", critical_issues=["drawdown"])
    await gated.risk.read_once()
    gated.server.answers["/risk/global"] = json.dumps(gated.signal(risk_level="SUPER"))
    assert not await gated.risk.read_once()
    assert blocked(gated.judge(), Reason.GLOBAL_RISK_CRITICAL)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", times=None, match="GET *", status=503),
        Fault("drop_before_accept", times=None, match="GET *"),
        Fault("garbage", times=None, match="GET *"),
        Fault("truncated", times=None, match="GET *"),
        Fault("redirect", times=None, match="GET *"),
        Fault("status", times=None, match="GET *", status=429, headers={"Retry-After": "1"}),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_f31_account_and_price_feeds_that_fail_block_and_recover(gated, fault):
    """Five seconds after the last price nothing opens; an exit still does; then it all comes back by itself."""
    before = gated.world.symbol(Market.LINEAR)
    gated.world.exchange.inject(fault)
    assert not await gated.world.feeds.read_once()
    after = gated.world.symbol(Market.LINEAR)
    assert (after.price, after.position) == (before.price, before.position), "what was known stays, with its age"
    assert blocked(gated.judge(after_s=5.5), Reason.FACTS_STALE)
    assert gated.judge(CLOSE, after_s=60).verdict is Verdict.ALLOW
    gated.world.exchange.clear_faults()
    if fault.status == 429:
        await asyncio.sleep(1.05)  # the pause the venue asked for is kept
    await gated.read()
    assert gated.judge().verdict is Verdict.ALLOW


@pytest.mark.parametrize("path", ["/fapi/v1/openAlgoOrders", "/fapi/v1/openOrders", "/fapi/v3/positionRisk"])
async def test_f31_half_a_reading_is_none(gated, path):
    """Positions without their orders, or orders without positions, are not taken."""
    before = gated.world.symbol(Market.LINEAR).position
    gated.world.exchange.inject(Fault("status", times=None, match=f"GET {path}", status=500))
    await gated.world.feeds.read_once()
    assert gated.world.symbol(Market.LINEAR).position == before
    assert blocked(gated.judge(after_s=11), Reason.FACTS_STALE)


async def test_f31_an_account_that_was_never_read_opens_nothing(gated):
    """The other accounts' facts do not stand in for it."""
    stranger = Caller(account="nobody", exchange="binance", strategy="s", bot="b")
    now = gated.world.clock.now()
    for order in (OPEN, CLOSE):
        decision = evaluate(order, gated.gather.facts(stranger, [order], now, LIMITS), LIMITS)
        assert decision.verdict is Verdict.BLOCK


async def test_an_unknown_part_of_a_sum_over_accounts_blocks_only_where_that_sum_is_limited(gated):
    """With another account unread, a total limit blocks and an account limit does not."""
    from proxy.book import AccountPlace

    gated.world.book.add(AccountPlace(name="unread", exchange="binance", markets=frozenset({Market.LINEAR})))
    assert gated.judge().verdict is Verdict.ALLOW
    from dataclasses import replace

    limited = replace(LIMITS, exposure_total_max=D(10_000_000), scaling_allowed=True)
    assert blocked(gated.judge(limits=limited), Reason.TOTAL_EXPOSURE_EXCEEDS_LIMIT)


# What docs/adr/0007-facts-by-polling.md says of an account without credentials.
WORKS = [
    {"order_notional_max": D(100_000)},
    {"order_quantity_max": D(5)},
    {"trade_notional_fraction_max": D(1)},
    {"price_floor": D(1)},
    {"price_ceiling": D(1_000_000)},
    {"collar_up": D("0.5"), "collar_down": D("0.5")},
    {"order_rate_max": 10},
    {"duplicates_max": 3},
    {"confidence_min": D("0.1")},
    {"strategies": frozenset({"s"})},
    {"symbols": frozenset({"BTCUSDT"})},
]
BLOCKS = [
    {"loss_daily_max": D("0.5")},
    {"loss_weekly_max": D("0.5")},
    {"drawdown_max": D("0.5")},
    {"open_positions_max": 5},
    {"position_notional_max": D(100_000)},
    {"exposure_symbol_max": D(100_000)},
    {"exposure_strategy_max": D(100_000)},
    {"exposure_account_max": D(100_000)},
    {"exposure_exchange_max": D(100_000)},
    {"exposure_total_max": D(100_000)},
    {"leverage_max": D(100)},
]


@pytest.mark.parametrize(
    ("more", "verdict"),
    [(more, Verdict.ALLOW) for more in WORKS] + [(more, Verdict.BLOCK) for more in BLOCKS],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else str(value),
)
async def test_an_account_without_credentials_is_held_to_what_can_be_known(gated, more, verdict):
    """A configured equity judges what it can; a limit that needs positions, losses or leverage blocks."""
    from proxy.book import AccountPlace

    markets = frozenset({Market.LINEAR})
    gated.world.book.add(
        AccountPlace(name="static", exchange="binance", markets=markets, equity_static=D(10_000))
    )
    caller = Caller(account="static", exchange="binance", strategy="s", bot="b", confidence=D(1))
    limits = Limits(policy_revision=1, profile="p", capital_profile="c", **more)
    decision = evaluate(OPEN, gated.gather.facts(caller, [OPEN], gated.world.clock.now(), limits), limits)
    assert decision.verdict is verdict, decision.sentence
    if verdict is Verdict.BLOCK:
        assert decision.reason is Reason.FACTS_MISSING
