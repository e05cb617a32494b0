"""A drill: the same code, before an exchange that exists for a moment, with a stopwatch.

Everything is real but the exchange: pipeline, latch, record, lane and actions, in a folder that is deleted
afterwards. A bot builds positions and leaves orders resting; the exchange is made slow of hand (a thin book, cancels
that fail at first); then everything is halted and flattened. No account of this proxy is touched.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import structlog

from proxy.actions.desk import desks_of
from proxy.actions.jobs import Actions
from proxy.actions.pace import Pace
from proxy.actions.results import RunState
from proxy.audit import Audit
from proxy.book import AccountPlace, Book
from proxy.clock import Clock, SystemClock
from proxy.ess import EssLatch, initialise
from proxy.exchanges import EXCHANGES
from proxy.exchanges.base import Credentials
from proxy.feeds import AccountSource, Cadence, Feeds, assemble, open_session
from proxy.gather import Gather
from proxy.identity import Account, Bot, Identities
from proxy.ledger import Ledger
from proxy.metrics import Metrics
from proxy.pipeline import Parts, Pipeline
from proxy.reservations import Reservations
from proxy.simulator import Fault, SimExchange
from proxy.stores import open_store
from proxy.stores.policies import Policies
from proxy.tasks import Tasks
from proxy.upstream import Upstream, UpstreamSettings
from proxy.wire import WireRequest, WireResponse
from rules import Market
from rules.profile import default_policy

NAME = "drill"
READY_TIMEOUT_S = 20.0
POSITIONS = (("BTCUSDT", "BUY", "0.4"), ("ETHUSDT", "SELL", "6"), ("SOLUSDT", "BUY", "40"))
PACE = Pace(deadline_s=30.0, market_after_s=10.0, between_s=0.05, between_max_s=0.5, unknown_counts_after_s=2.0)
POLICY: dict[str, Any] = {
    "active_mode": "OPEN",
    "risk_profiles": {
        "OPEN": {
            "leverage_max": "125", "trade_risk_max": "100%", "drawdown_daily_max": "100%", "open_positions_max": 100,
            "position_notional_max": "100000000000", "confidence_min": "0",
        }
    },
    "capital_profiles": {
        "open": {
            "loss_daily_max": "100%", "loss_weekly_max": "100%", "trade_risk_max": "100%", "open_positions_max": 100,
            "leverage_max": "125",
        }
    },
    "risk_source": {"kind": "none"},
    "accounts": {NAME: {"capital_profile": "open", "strategies": "any", "symbols": "any"}},
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """What the stopwatch said, in milliseconds from the order to flatten; None for what was not reached."""

    done: bool
    problem: str
    positions: int
    orders: int
    blocked_ms: float | None  # a bot's order was refused
    no_working_orders_ms: float | None
    flat_ms: float | None
    orders_after_block: int  # of bots, at the exchange, after HALT was acknowledged: 0 or something is wrong
    exchange_is_flat: bool

    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class _Ground:
    """Where a drill takes place."""

    sim: SimExchange
    pipeline: Pipeline
    actions: Actions
    feeds: Feeds
    key: str
    secret: bytes
    clock: Clock
    count: int = 0

    async def ask(self, path: str, **params: str) -> WireResponse:
        """A bot's request, through the pipeline."""
        self.count += 1
        params |= {"newClientOrderId" if path.endswith("/order") else "clientAlgoId": f"bot-{self.count}"}
        query = urlencode({**params, "timestamp": str(self.clock.now_ms()), "signature": "0"})
        headers = ((b"Host", b"drill"), (b"X-MBX-APIKEY", self.key.encode()))
        blank = WireRequest("POST", f"{path}?{query}".encode(), headers, b"")
        signed = EXCHANGES[0].sign(blank, Credentials(api_key=self.key, secret=self.secret))
        answer = await self.pipeline.handle(signed)
        assert isinstance(answer, WireResponse)  # only reads are streamed
        return answer


async def drill(*, pace: Pace = PACE) -> Drilled:
    """Run one drill."""
    with tempfile.TemporaryDirectory(prefix="riskgate-drill-") as folder:
        structlog.contextvars.bind_contextvars(drill=True)
        try:
            async with _ground(Path(folder), pace) as ground:
                return await _run(ground)
        finally:
            structlog.contextvars.unbind_contextvars("drill")


async def _run(ground: _Ground) -> Drilled:
    await _build_up(ground)
    account = ground.sim.accounts[NAME]
    held, resting = len(account.positions), sum(map(len, account.open_orders.values()))
    for symbol, _, quantity in POSITIONS:
        ground.sim.thin(symbol, Decimal(quantity) / 10)
    ground.sim.inject(Fault("status", times=2, match="DELETE /fapi/v1/order", status=503))
    begun_s = ground.clock.monotonic()
    job = await ground.actions.flatten(scope=f"account:{NAME}", accounts=[NAME], actor=NAME, reason="a drill")
    bots = _of_bots(ground.sim)
    refused = await ground.ask("/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    blocked_ms = round((ground.clock.monotonic() - begun_s) * 1000, 1) if refused.status == 403 else None
    await job.over.wait()
    run = job.runs[NAME]
    return Drilled(
        done=job.state is RunState.DONE and blocked_ms is not None, problem=run.problem, positions=held,
        orders=resting, blocked_ms=blocked_ms, no_working_orders_ms=run.stopwatch_ms.get("no_working_orders"),
        flat_ms=run.stopwatch_ms.get("flat"), orders_after_block=_of_bots(ground.sim) - bots,
        exchange_is_flat=not any(one.amount for one in account.positions.values())
        and not any(account.open_orders.values()),
    )  # fmt: skip


def _of_bots(sim: SimExchange) -> int:
    return sum(b"newClientOrderId=rg-" not in one.target for one in sim.orders_received)


async def _build_up(ground: _Ground) -> None:
    """Positions, orders that could open more, and stops that protect."""
    for symbol, side, quantity in POSITIONS:
        mark = ground.sim.mark(symbol)
        far = format((mark * (Decimal("0.8") if side == "BUY" else Decimal("1.2"))).quantize(Decimal(1)), "f")
        opposite = "SELL" if side == "BUY" else "BUY"
        stop = format((mark * (Decimal("0.7") if side == "BUY" else Decimal("1.3"))).quantize(Decimal(1)), "f")
        size = {"symbol": symbol, "quantity": quantity}
        for path, params in (
            ("/fapi/v1/order", {**size, "side": side, "type": "MARKET"}),
            ("/fapi/v1/order", {**size, "side": side, "type": "LIMIT", "price": far, "timeInForce": "GTC"}),
            (
                "/fapi/v1/algoOrder",
                {
                    "algoType": "CONDITIONAL", "symbol": symbol, "side": opposite, "type": "STOP_MARKET",
                    "triggerPrice": stop, "closePosition": "true",
                },
            ),
        ):  # fmt: skip
            answer = await ground.ask(path, **params)
            if answer.status != 200:
                raise RuntimeError(f"the drill could not be set up: {answer.status} {answer.body[:200]!r}")


@asynccontextmanager
async def _ground(folder: Path, pace: Pace) -> AsyncIterator[_Ground]:
    """An exchange and everything before it."""
    clock, tasks = SystemClock(), Tasks()
    async with AsyncExitStack() as stack:
        sim = SimExchange(clock)
        sim.add_account(NAME, futures_wallet=Decimal(1_000_000))
        venue_key, bot_key = (secrets.token_hex(16) for _ in range(2))
        venue_secret, bot_secret = (secrets.token_bytes(32).hex().encode() for _ in range(2))
        sim.add_key(venue_key, venue_secret, NAME)
        hosts = dict.fromkeys(EXCHANGES[0].families, await sim.start())
        stack.push_async_callback(sim.stop)
        audit = Audit(folder / "audit", sync="power", clock=clock, tasks=tasks)
        audit.open()
        stack.callback(audit.close)
        initialise(folder / "ess", clock=clock)
        upstream = Upstream(hosts, UpstreamSettings(total_timeout_s=5.0), tasks=tasks, warm=("/fapi",))
        latch = EssLatch.open(folder / "ess", clock=clock, drain=upstream.drained)
        stack.callback(latch.close)
        store = await open_store("memory", clock=clock, seed=default_policy(**POLICY))
        stack.push_async_callback(store.close)
        policies = Policies(store, clock=clock)
        await policies.start()
        stack.push_async_callback(policies.close)
        stack.push_async_callback(tasks.close)
        await upstream.start()
        stack.push_async_callback(upstream.close)
        credentials = Credentials(api_key=venue_key, secret=venue_secret)
        account = Account(name=NAME, exchange="binance", mode="custody", credentials=credentials)
        bot = Bot(name=NAME, key=bot_key, account=account, strategy=NAME, secret=bot_secret)
        place = AccountPlace(name=NAME, exchange="binance", markets=frozenset({Market.LINEAR}))
        book = Book([place])
        reservations = Reservations(book, clock)
        ledger = Ledger(folder / "marks.json", clock)
        session = open_session()
        stack.push_async_callback(session.close)
        source = AccountSource(place=place, credentials=credentials, wallet_history=False, stream=False)
        feeds = assemble(
            [source], hosts, book=book, reservations=reservations, day_start=ledger, session=session, clock=clock,
            cadence=Cadence(account_s=0.2, snapshot_s=0.5, market_s=0.5, poke_min_s=0.1),
        )  # fmt: skip
        await _read(feeds, clock)
        feeds.start(tasks)
        stack.push_async_callback(feeds.close)
        gather = Gather(book, reservations, None, latch, clock=clock, losses=ledger)
        parts = Parts(
            exchange=EXCHANGES[0], identities=Identities([bot], clock=clock), gather=gather, policies=policies,
            reservations=reservations, audit=audit, latch=latch, upstream=upstream, metrics=Metrics(NAME),
            watcher=feeds, clock=clock,
        )  # fmt: skip
        desks = desks_of(
            {NAME: account}, {NAME: place.markets}, feeds=feeds, book=book, exchange=EXCHANGES[0], gather=gather,
            reservations=reservations, audit=audit, latch=latch, upstream=upstream, clock=clock,
        )  # fmt: skip
        actions = Actions(desks, latch=latch, audit=audit, clock=clock, tasks=tasks, pace=pace)
        yield _Ground(
            sim=sim, pipeline=Pipeline(parts), actions=actions, feeds=feeds, key=bot_key, secret=bot_secret,
            clock=clock,
        )  # fmt: skip


async def _read(feeds: Feeds, clock: Clock) -> None:
    """Read everything once, again where one reading needs another first."""
    ends_s = clock.monotonic() + READY_TIMEOUT_S
    while not await feeds.read_once():
        if clock.monotonic() > ends_s:
            raise RuntimeError("the drill's own exchange could not be read")
