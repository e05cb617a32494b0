"""What changed in an account since it was last told, as the events Binance pushes for it.

The desks know nothing of streams: after every request and every move of a price the account is
compared with what was told of it. Ids count up over everything that happens, so they put it in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from proxy.simulator import streams_shapes as shapes
from proxy.simulator.account import SimAccount, SimOrder, SimTrade
from proxy.simulator.market import ZERO, Prices
from proxy.simulator.streams_shapes import Event

TRADED = frozenset({"NEW", "PARTIALLY_FILLED", "FILLED"})


class _Known(NamedTuple):
    """An order as it was last told."""

    status: str
    quantity: Decimal
    price: Decimal
    trades: int


class _Moment(NamedTuple):
    """Something that happened to an order, and how much of it had traded by then; `place` puts it in order."""

    place: tuple[int, int]
    order: SimOrder
    execution: str
    status: str
    at_ms: int
    base: Decimal
    quote: Decimal
    fill: SimTrade | None = None


@dataclass(slots=True)
class _Book:
    """One of an account's order books as it was last told."""

    known: dict[int, _Known] = field(default_factory=dict)  # those that were open
    last_id: int = 0

    def changed(self, orders: dict[int, SimOrder], open_orders: Iterable[int]) -> list[SimOrder]:
        """Orders that may have changed: what was open, what is, and what is new."""
        wanted = {*self.known, *open_orders}
        for order_id in reversed(orders):
            if order_id <= self.last_id:
                break
            wanted.add(order_id)
        return [orders[order_id] for order_id in sorted(wanted) if order_id in orders]

    def told(self, order: SimOrder) -> None:
        """Keep an order as it is now."""
        self.last_id = max(self.last_id, order.order_id)
        if order.is_open:
            self.known[order.order_id] = _known(order)
        else:
            self.known.pop(order.order_id, None)


def _known(order: SimOrder) -> _Known:
    return _Known(order.status, order.quantity, order.price, len(order.trades))


def _moments(order: SimOrder, before: _Known | None, *, amended: str) -> list[_Moment]:
    """What happened to an order since it was told, in order."""
    found: list[_Moment] = []
    base = quote = ZERO
    told = order.trades[: before.trades] if before is not None else []
    for fill in told:
        base, quote = base + fill.quantity, quote + fill.quantity * fill.price

    def note(place: tuple[int, int], execution: str, status: str, at_ms: int, fill: SimTrade | None = None) -> None:
        found.append(_Moment(place, order, execution, status, at_ms, base, quote, fill))

    if before is None:
        status = "PENDING_NEW" if order.status == "PENDING_NEW" else "NEW"
        note((order.order_id, 0), "NEW", status, order.created_ms)
    elif before.status == "PENDING_NEW" and order.status in TRADED:
        note((order.order_id, 0), "NEW", "NEW", order.updated_ms)
    elif (before.quantity, before.price) != (order.quantity, order.price) and order.status in TRADED:
        note((order.order_id, 1), amended, "PARTIALLY_FILLED" if told else "NEW", order.updated_ms)
    for fill in order.trades[len(told) :]:
        base, quote = base + fill.quantity, quote + fill.quantity * fill.price
        status = "FILLED" if base >= order.quantity else "PARTIALLY_FILLED"
        note((fill.trade_id, 0), "TRADE", status, fill.at_ms, fill)
    if not order.is_open and order.status != "FILLED" and (before is None or before.status != order.status):
        last = order.trades[-1].trade_id if order.trades else order.order_id
        note((last, 2), order.status, order.status, order.updated_ms)
    return found


class FuturesChanges:
    """The USDⓈ-M side of one account."""

    def __init__(self, account: SimAccount, prices: Prices, orders: Mapping[int, SimOrder]) -> None:
        self._account = account
        self._prices = prices
        self._orders = orders
        self._plain, self._algo = _Book(), _Book()
        self._positions: dict[tuple[str, str], Decimal] = {}
        self._wallet = ZERO
        self._leverages: dict[str, int] = {}
        self._multi_assets = False
        self.take(0)

    def take(self, now_ms: int) -> list[Event]:
        """The events since the last time; the first time there are none to tell."""
        account = self._account
        events, triggered = self._algos(now_ms)
        moments: list[_Moment] = []
        for order in self._plain.changed(account.orders["futures"], account.open_orders["futures"]):
            moments += _moments(order, self._plain.known.get(order.order_id), amended="AMENDMENT")
            self._plain.told(order)
        for moment in sorted(moments, key=lambda found: found.place):
            events += self._told(moment, now_ms)
        return [*events, *self._rest(now_ms), *triggered]

    def _algos(self, now_ms: int) -> tuple[list[Event], list[Event]]:
        account = self._account
        events: list[Event] = []
        triggered: list[Event] = []  # in the matching engine first, told as triggered afterwards
        for order in self._algo.changed(account.orders["algo"], account.open_orders["algo"]):
            before = self._algo.known.get(order.order_id)
            actual = self._orders.get(order.actual_order_id) if order.actual_order_id is not None else None
            if before is None and order.order_id > self._algo.last_id:
                events.append(shapes.algo_update(order, "NEW", now_ms, None))
            if not order.is_open:
                if order.triggered:
                    events.append(shapes.algo_update(order, "TRIGGERING", now_ms, None))
                if actual is not None:
                    triggered.append(shapes.algo_update(order, "TRIGGERED", now_ms, actual))
                if order.status != "TRIGGERED":
                    triggered.append(shapes.algo_update(order, order.status, now_ms, actual))
            self._algo.told(order)
        return events, triggered

    def _told(self, moment: _Moment, now_ms: int) -> list[Event]:
        events: list[Event] = []
        fill, order = moment.fill, moment.order
        if fill is not None:
            key = (order.symbol.name, order.position_side)
            signed = fill.quantity if order.side == "BUY" else -fill.quantity
            amount = self._positions.get(key, ZERO) + signed
            self._positions[key] = amount
            self._wallet += fill.realised - (fill.fee if fill.fee_asset == "USDT" else ZERO)
            held = (*key, self._account.position(*key), amount, self._prices.mark(key[0]))
            events.append(shapes.account_update("ORDER", self._wallet, ZERO, [held], now_ms, fill.at_ms))
        events.append(
            shapes.order_trade_update(order, moment.execution, moment.status, moment.base, now_ms, moment.at_ms, fill)
        )
        return events

    def _rest(self, now_ms: int) -> list[Event]:
        """What changed by other means than orders: transfers, adjustments, settings."""
        account = self._account
        events: list[Event] = []
        held = []
        for key, position in account.positions.items():
            if self._positions.get(key, ZERO) != position.amount:
                self._positions[key] = position.amount
                held.append((*key, position, position.amount, self._prices.mark(key[0])))
        change = account.wallet - self._wallet
        if held or change:
            reason = "ADJUSTMENT" if held else "DEPOSIT" if change > 0 else "WITHDRAW"
            self._wallet = account.wallet
            events.append(shapes.account_update(reason, account.wallet, change, held, now_ms, now_ms))
        for symbol, leverage in account.leverages.items():
            if self._leverages.get(symbol) != leverage:
                self._leverages[symbol] = leverage
                events.append(shapes.leverage_update(symbol, leverage, now_ms))
        if account.multi_assets is not self._multi_assets:
            self._multi_assets = account.multi_assets
            events.append(shapes.assets_mode_update(now_ms, multi_assets=account.multi_assets))
        return events


class SpotChanges:
    """The spot side of one account."""

    def __init__(self, account: SimAccount, next_id: Callable[[], int]) -> None:
        self._account = account
        self._next_id = next_id
        self._book = _Book()
        self._balances: dict[str, tuple[Decimal, Decimal]] = {}
        self._lists: dict[int, bool] = {}
        self.take(0)

    def take(self, now_ms: int) -> list[Event]:
        """The events since the last time; the first time there are none to tell."""
        account = self._account
        moments: list[_Moment] = []
        for order in self._book.changed(account.orders["spot"], account.open_orders["spot"]):
            moments += _moments(order, self._book.known.get(order.order_id), amended="REPLACED")
            self._book.told(order)
        events: list[Event] = []
        expected = {asset: free + locked for asset, (free, locked) in self._balances.items()}
        for moment in sorted(moments, key=lambda found: found.place):
            fill = moment.fill
            if fill is not None:
                _trade(expected, moment.order, fill)
            events.append(
                shapes.execution_report(
                    moment.order, moment.execution, moment.status, moment.base, moment.quote, self._next_id(), now_ms,
                    moment.at_ms, fill,
                )
            )
        return [*events, *self._lists_told(now_ms), *self._balances_told(expected, now_ms)]

    def _balances_told(self, expected: Mapping[str, Decimal], now_ms: int) -> list[Event]:
        events: list[Event] = []
        changed = []
        for asset, balance in self._account.balances.items():
            if self._balances.get(asset, (ZERO, ZERO)) == (balance.free, balance.locked):
                continue
            self._balances[asset] = (balance.free, balance.locked)
            changed.append((asset, balance))
            moved = balance.free + balance.locked - expected.get(asset, ZERO)
            if moved:
                events.append(shapes.balance_update(asset, moved, now_ms))
        if changed:
            events.append(shapes.account_position(changed, now_ms, now_ms))
        return events

    def _lists_told(self, now_ms: int) -> list[Event]:
        account = self._account
        events: list[Event] = []
        for group in account.lists.values():
            if self._lists.get(group.list_id) is not group.is_done:
                self._lists[group.list_id] = group.is_done
                legs = [account.orders["spot"][one] for one in group.order_ids]
                events.append(shapes.list_status(group, legs, now_ms))
        return events


def _trade(totals: dict[str, Decimal], order: SimOrder, fill: SimTrade) -> None:
    sign = 1 if order.side == "BUY" else -1
    base, quote = order.symbol.base, order.symbol.quote
    totals[base] = totals.get(base, ZERO) + sign * fill.quantity
    totals[quote] = totals.get(quote, ZERO) - sign * fill.quantity * fill.price
    totals[fill.fee_asset] = totals.get(fill.fee_asset, ZERO) - fill.fee

