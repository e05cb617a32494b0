"""Whatever bots, the exchange and the wire do in whatever order: worst-case exposure stays within its limits.

A state machine drives a whole deployment: orders at once, fills, cancels, amendments, lost answers, restarts.
After every step the exchange itself is asked what could become of everything it holds, and that is held
against the limits; and what provably only reduces must never be blocked.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from proxy.app import App
from proxy.simulator.faults import Fault
from rules import Bucket, Market
from tests.runs import ORDER_PATH, READY_TIMEOUT_S, Reply, open_run, tell

SYMBOLS = ("BTCUSDT", "ETHUSDT")
UNIT = {"BTCUSDT": Decimal("0.002"), "ETHUSDT": Decimal("0.04")}  # 120 of each
LIMITS = {
    "exposure_symbol_max": "2000", "exposure_account_max": "3000", "position_notional_max": "1500",
    "exposure_asset_max": "1900", "exposure_net_max": "2600", "open_orders_max": 12,
}  # fmt: skip
FAULTS = ("drop_before_accept", "drop_after_accept", "drop_mid_answer", "never_answer", "reset", "latency", "garbage")
BOTS = 5
SYNC_S = 8.0
STREAMS = (False, True)  # read, or heard as well
# Not shrunk: each try takes a second and more, and the steps that led there are printed as they are.
SHORT = settings(
    max_examples=5, stateful_step_count=30, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
LONG = settings(SHORT, max_examples=150, stateful_step_count=40, derandomize=False)

orders = st.tuples(
    st.sampled_from(SYMBOLS), st.sampled_from(["BUY", "SELL"]), st.integers(1, 6),
    st.sampled_from(["market", "through", "market", "far", "near", "stop"]), st.sampled_from([False, False, True]),
)  # fmt: skip
TOTAL: Counter[str] = Counter()


@dataclass(frozen=True)
class Truth:
    """What the exchange holds of one symbol: by leg what is held, and what could still be added to either side."""

    held: dict[str, Decimal]
    buys: dict[str, Decimal]
    sells: dict[str, Decimal]
    closing_buys: Decimal
    closing_sells: Decimal
    opening_orders: int

    def worst(self, bucket: str) -> Decimal:
        """The largest position that could arise, whatever fills first; what closes may fill before all else."""
        held, buys, sells = (one.get(bucket, Decimal(0)) for one in (self.held, self.buys, self.sells))
        if bucket == "LONG":
            return held + buys
        if bucket == "SHORT":
            return held + sells
        if_closed_long = held - min(held, self.closing_sells) if held > 0 else held
        if_closed_short = held + min(-held, self.closing_buys) if held < 0 else held
        return max(if_closed_short + buys, sells - if_closed_long, Decimal(0))

    def net(self) -> tuple[Decimal, Decimal]:
        """The net position if everything fills that buys and opens, and with its sign turned if all that sells does.

        What closes a position may fill before.
        """
        held = self.held.get("BOTH", Decimal(0)), self.held.get("LONG", Decimal(0)) - self.held.get("SHORT", Decimal(0))
        if_closed_short = held[0] + (min(-held[0], self.closing_buys) if held[0] < 0 else 0)
        if_closed_long = held[0] - (min(held[0], self.closing_sells) if held[0] > 0 else 0)
        return if_closed_short + held[1] + sum(self.buys.values()), sum(self.sells.values()) - if_closed_long - held[1]

    @property
    def buckets(self) -> tuple[str, ...]:
        """The legs there are."""
        return tuple({*self.held, *self.buys, *self.sells} or {"BOTH"})


def truth(account, symbol) -> Truth:
    """Read the simulated account itself, not its API."""
    held, buys, sells = {}, {}, {}
    closing = {"BUY": Decimal(0), "SELL": Decimal(0)}
    for (name, bucket), position in account.positions.items():
        if name == symbol and position.amount:
            held[bucket] = position.amount if bucket == "BOTH" else abs(position.amount)
    opening = 0
    for book in ("futures", "algo"):
        for one in account.open_orders[book].values():
            if one.symbol.name != symbol or not one.is_open:
                continue
            closes = one.reduce_only or one.close_position
            closes = closes or (one.position_side, one.side) in (("LONG", "SELL"), ("SHORT", "BUY"))
            if closes:
                closing[one.side] += one.remaining
                continue
            opening += 1
            side = buys if one.side == "BUY" else sells
            side[one.position_side] = side.get(one.position_side, Decimal(0)) + one.remaining
    return Truth(held, buys, sells, closing["BUY"], closing["SELL"], opening)


class ExposureMachine(RuleBasedStateMachine):
    """Five bots of one account before a proxy and an exchange."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory()
        self.blocked: Counter[str] = Counter()
        self.slack: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)

    # --- the deployment ---

    @initialize(
        hedged=st.booleans(), account=st.sampled_from(["direct", "desk"]), streams=st.sampled_from(STREAMS),
        asked=st.lists(orders, min_size=3, max_size=6),
    )  # fmt: skip
    def start(self, hedged, account, streams, asked):
        """Everything is up: in one mode of positions, for a passthrough or a custody account, heard or read.

        First orders, so that there is something for the steps to work on, whichever rules they are drawn from.
        """
        self.hedged, self.name, self.streams = hedged, account, streams
        self.runner.run(self._start())
        self.runner.run(self._send_all(asked))

    async def _start(self) -> None:
        def prepare(sim) -> None:
            sim.accounts[self.name].hedge_mode = self.hedged

        lane = {"connect_timeout": "400ms", "total_timeout": "400ms"}
        self.run = await self.stack.enter_async_context(
            open_run(Path(self.folder.name) / "run", size=LIMITS, upstream=lane, prepare=prepare,
                     streams=self.streams, account_interval="200ms", market_interval="500ms")
        )  # fmt: skip
        self.account = self.run.sim.accounts[self.name]
        self.bots = [self.run.bot(self.name, number) for number in range(BOTS)]

    def _mode_is_known(self) -> bool:
        mode = self.run.app.book.hedge_mode(self.name, Market.LINEAR, self.run.app.clock.now())
        return mode is not None and mode.value is self.hedged

    def teardown(self) -> None:
        """What is held can be given up in the end, and everything is closed."""
        try:
            if hasattr(self, "account"):
                for symbol in SYMBOLS:
                    self.runner.run(self._reduce(symbol, Decimal(1), plain=False))
        finally:
            TOTAL.update(self.blocked)
            self.runner.run(self._end())
            self.runner.close()
            self.folder.cleanup()

    async def _end(self) -> None:
        if hasattr(self, "run"):
            self.run.sim.clear_faults()
            for client in self.run.clients:
                await client.close()
            await self.run.app.stop()
        await self.stack.aclose()

    # --- what happens ---

    @rule(asked=st.lists(orders, min_size=1, max_size=6))
    def orders_at_once(self, asked):
        """Several bots send in the same moment."""
        self.runner.run(self._send_all(asked))

    @rule(asked=st.lists(orders, min_size=1, max_size=3), kind=st.sampled_from(FAULTS))
    def orders_with_a_lost_answer(self, asked, kind):
        """One of them meets a connection that breaks, before or after the exchange took it."""
        self.run.sim.inject(Fault(kind, match="POST /fapi/v1/*rder", latency_s=0.05))
        self.runner.run(self._send_all(asked))
        self.run.sim.clear_faults()

    async def _send_all(self, asked) -> None:
        pairs = zip(self.bots, asked, strict=False)
        requests = [(bot, bot.order_bytes(**self._parameters(*one))) for bot, one in pairs]
        replies = await asyncio.gather(*(bot.raw(request) for bot, request in requests))
        for reply, (symbol, _, units, _, reduces) in zip(replies, asked, strict=False):
            self._note(reply)
            if reduces and reply.status not in (400, 403):
                self._an_exit_passed(symbol, UNIT[symbol] * units)

    def _an_exit_passed(self, symbol, quantity) -> None:
        """What rests was counted against the position that an exit takes away, and exits are never blocked.

        So by as much as was closed, and no more, the worst case may be over its limits until it was within them again.
        """
        for place in (("position", symbol), ("asset", symbol), ("account", ""), ("net", "")):
            self.slack[place] += quantity * self.run.sim.mark(symbol)

    def _is_within(self, place, worst, limit, known) -> None:
        over = max(worst - Decimal(limit), Decimal(0))
        assert over <= self.slack[place], (place, worst, limit, self.slack[place], known)
        self.slack[place] = over

    def _parameters(self, symbol, side, units, kind, reduces) -> dict[str, object]:
        mark, is_buy = self.run.sim.mark(symbol), side == "BUY"
        share = {"far": Decimal("0.97"), "near": Decimal("0.999"), "through": Decimal("1.01")}.get(kind, Decimal(1))
        price = mark * (share if is_buy else 2 - share)
        asked: dict[str, object] = {"symbol": symbol, "side": side, "quantity": str(UNIT[symbol] * units),
                                    "price": str(price.quantize(Decimal("0.1")))}
        if kind == "market":
            asked |= {"type": "MARKET", "price": None, "timeInForce": None}
        if kind == "stop":
            trigger = (mark * Decimal("1.02" if is_buy else "0.98")).quantize(Decimal("0.1"))
            asked |= {"path": "/fapi/v1/algoOrder", "algoType": "CONDITIONAL", "type": "STOP_MARKET",
                      "triggerPrice": str(trigger), "price": None, "timeInForce": None, "newClientOrderId": None}
        if self.hedged:
            opens = "LONG" if is_buy else "SHORT"
            asked["positionSide"] = {"LONG": "SHORT", "SHORT": "LONG"}[opens] if reduces else opens
        elif reduces:
            asked["reduceOnly"] = "true"
        return asked

    def _note(self, reply: Reply) -> None:
        assert reply.status in (200, 400, 403, 503, 504), reply
        self.blocked[reply.headers.get("x-risk-reason", str(reply.status))] += 1

    # What works and what is held depends on the moment as well as on the steps. So it may decide what a rule does but
    # not which rules there are (`precondition`): Hypothesis goes on from beginnings that it has seen, and takes it
    # for a mistake of the test if the same steps leave it another choice.

    def _working(self):
        return [one for one in self.account.open_orders["futures"].values() if one.is_open]

    def _one_working(self, pick: int):
        """One of the working orders, and where none works a new one; None if that does not rest either."""
        if not self._working():
            self.runner.run(self._send_all([(SYMBOLS[pick % 2], ("BUY", "SELL")[pick // 2 % 2], 2, "far", False)]))
        working = self._working()
        return working[pick % len(working)] if working else None

    @rule(pick=st.integers(0, 100), share=st.sampled_from([Decimal("0.2"), Decimal("0.6"), Decimal(1)]))
    def a_fill(self, pick, share):
        """A working order trades, in part or whole."""
        one = self._one_working(pick)
        if one is None:
            return
        quantity = max(one.symbol.step, (one.remaining * share // one.symbol.step) * one.symbol.step)
        self.runner.run(self._fill(one.order_id, quantity))

    async def _fill(self, order_id, quantity) -> None:
        self.run.sim.fill(order_id, quantity)
        await asyncio.sleep(0.01)

    @rule(pick=st.integers(0, 100))
    def a_cancel(self, pick):
        """A bot takes an order back; that is never blocked."""
        one = self._one_working(pick)
        if one is None:
            return
        gone = self.bots[0].request("DELETE", ORDER_PATH, symbol=one.symbol.name, orderId=one.order_id)
        reply = self.runner.run(gone)
        assert reply.status != 403, reply
        self._note(reply)

    @rule(pick=st.integers(0, 100), units=st.integers(1, 8), kind=st.sampled_from([None, "drop_after_accept"]))
    def an_amendment(self, pick, units, kind):
        """A bot changes the quantity of a working order, up or down; the answer may be lost."""
        one = self._one_working(pick)
        if one is None:
            return
        if kind is not None:
            self.run.sim.inject(Fault(kind, match=f"PUT {ORDER_PATH}"))
        quantity, more = UNIT[one.symbol.name] * units, UNIT[one.symbol.name] * units - one.remaining
        closes = one.reduce_only or (one.position_side, one.side) in (("LONG", "SELL"), ("SHORT", "BUY"))
        reply = self.runner.run(self.bots[1].request(
            "PUT", ORDER_PATH, symbol=one.symbol.name, side=one.side, orderId=one.order_id,
            quantity=str(quantity), price=str(one.price),
        ))  # fmt: skip
        self.run.sim.clear_faults()
        self._note(reply)
        if closes and more > 0 and reply.status not in (400, 403):
            self._an_exit_passed(one.symbol.name, more)

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.4]))
    def time_passes(self, seconds):
        """Readings come in, or not yet."""
        self.runner.run(asyncio.sleep(seconds))

    @rule()
    def a_restart(self):
        """The proxy is stopped and started on its data; what was on its way is reserved again."""
        self.runner.run(self._restart())

    async def _restart(self) -> None:
        await self.run.app.stop()
        app = self.run.app = App.from_settings(self.run.app.settings)
        await app.start()
        self.run.proxy_url = app.proxy_url
        for client in self.run.clients:
            await client.close()
        self.bots = [self.run.bot(self.name, number) for number in range(BOTS)]
        await self.run.until(lambda: app.status.ready()[0] and self._mode_is_known(), "ready again", READY_TIMEOUT_S)

    @rule(symbol=st.sampled_from(SYMBOLS), share=st.sampled_from([Decimal("0.3"), Decimal(1)]), plain=st.booleans())
    def a_proven_reduction(self, symbol, share, plain):
        """What the book shows as held can be closed: by what the exchange keeps from opening, or by arithmetic."""
        others = [other for other in SYMBOLS if truth(self.account, other).held]
        self.runner.run(self._reduce(symbol if symbol in others or not others else others[0], share, plain=plain))

    async def _reduce(self, symbol, share, *, plain) -> None:
        known = truth(self.account, symbol)
        if not known.held or not await self._is_seen(symbol, known):
            return
        bucket, held = next(iter(known.held.items()))
        side = "SELL" if held > 0 and bucket != "SHORT" else "BUY"
        size = abs(held)
        if bucket == "BOTH" and plain:
            against = known.sells if side == "SELL" else known.buys
            closing = known.closing_sells if side == "SELL" else known.closing_buys
            in_flight = self.run.app.book.symbol(self.name, Market.LINEAR, symbol, self.run.app.clock.now())
            size -= against.get("BOTH", Decimal(0)) + closing + _reserved(in_flight, side)
        quantity = (size * share).quantize(Decimal("0.001"))
        if quantity <= 0:
            return
        asked: dict[str, object] = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": str(quantity),
                                    "price": None, "timeInForce": None}
        if bucket != "BOTH":
            asked["positionSide"] = bucket
        elif not plain:
            asked["reduceOnly"] = "true"
        reply = await self.bots[2].order(**asked)
        assert reply.status in (200, 400), (reply.headers.get("x-risk-reason"), reply.body, known)
        self.blocked["reduced"] += 1
        self._an_exit_passed(symbol, quantity)

    async def _is_seen(self, symbol, known: Truth) -> bool:
        """Whether the proxy comes to know what is held and waiting."""
        def shows() -> bool:
            book = self.run.app.book.symbol(self.name, Market.LINEAR, symbol, self.run.app.clock.now())
            if book.position is None:
                return False
            held = book.position.value
            seen = {"BOTH": held.both, "LONG": held.long, "SHORT": held.short}
            working = book.working.get(Bucket.BOTH)
            sides = (known.buys.get("BOTH", Decimal(0)), known.sells.get("BOTH", Decimal(0)))
            return {name: size for name, size in seen.items() if size} == known.held and (
                self.hedged or (working or (0, 0)) == sides
            )
        self.run.app.feeds.poke(self.name, Market.LINEAR)
        try:
            await self.run.until(shows, "the book shows what is held", SYNC_S)
        except AssertionError:
            raise AssertionError(f"the book never showed {known}") from None
        return True

    # --- what holds ---

    @invariant()
    def exposure_is_within_every_limit(self):
        """By the exchange's own state, at its own prices."""
        if not hasattr(self, "account"):
            return
        total, opening, net = Decimal(0), 0, [Decimal(0), Decimal(0)]
        for symbol in SYMBOLS:
            known, mark = truth(self.account, symbol), self.run.sim.mark(symbol)
            worst = {bucket: known.worst(bucket) * mark for bucket in known.buckets}
            self._is_within(("position", symbol), max(worst.values()), LIMITS["position_notional_max"], known)
            self._is_within(("asset", symbol), sum(worst.values()), LIMITS["exposure_asset_max"], known)
            total += sum(worst.values())
            opening += known.opening_orders
            net = [one + more * mark for one, more in zip(net, known.net(), strict=True)]
        self._is_within(("account", ""), total, LIMITS["exposure_account_max"], total)
        self._is_within(("net", ""), max(net), LIMITS["exposure_net_max"], net)
        assert opening <= LIMITS["open_orders_max"], opening


def _reserved(facts, side) -> Decimal:
    """What is in flight on a side, what closes included."""
    waiting = facts.reserved.get(Bucket.BOTH)
    return Decimal(0) if waiting is None else (waiting.buy if side == "BUY" else waiting.sell)


@pytest.mark.timeout(600)
def test_exposure_stays_within_its_limits():
    """A few runs of thirty steps; they open, block and reduce, or they would show nothing."""
    TOTAL.clear()
    run_state_machine_as_test(ExposureMachine, settings=SHORT)
    tell(str(dict(TOTAL)))
    assert TOTAL["reduced"] > 0
    assert TOTAL["200"] > 15
    assert sum(count for reason, count in TOTAL.items() if reason.endswith("_limit")) > 5


@pytest.mark.long
@pytest.mark.timeout(0)
def test_exposure_stays_within_its_limits_at_length():
    """The same with many runs of forty steps."""
    run_state_machine_as_test(ExposureMachine, settings=LONG)
    tell(str(dict(TOTAL)))
