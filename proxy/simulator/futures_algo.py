"""Conditional futures orders: POST /fapi/v1/algoOrder, since 2025-12-09 the only place for them.

An algo order takes no margin until the price triggers it; then it becomes an ordinary order,
or is rejected for the reasons an ordinary order would be.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from proxy.simulator import futures_shapes as shapes
from proxy.simulator import parameters as read
from proxy.simulator.account import SimAccount, SimOrder
from proxy.simulator.call import Call, Endpoint
from proxy.simulator.futures import Futures
from proxy.simulator.futures_reading import algo_order, client_id, symbol_of
from proxy.simulator.rejection import Rejection, no_such_order, unknown_order

BOOK = "algo"


class Algos:
    """The desk that keeps conditional orders."""

    def __init__(self, desk: Futures) -> None:
        self._desk = desk

    def endpoints(self) -> list[Endpoint]:
        """What it answers."""
        return [
            Endpoint("POST", "/fapi/v1/algoOrder", self.post_algo, orders=1, weight=0),
            Endpoint("DELETE", "/fapi/v1/algoOrder", self.delete_algo),
            Endpoint("DELETE", "/fapi/v1/algoOpenOrders", self.delete_all),
            Endpoint("GET", "/fapi/v1/algoOrder", self.get_algo),
            Endpoint("GET", "/fapi/v1/openAlgoOrders", self.get_open),
            Endpoint("GET", "/fapi/v1/allAlgoOrders", self.get_all, weight=5),
        ]

    def post_algo(self, call: Call) -> object:
        """POST /fapi/v1/algoOrder."""
        account = call.account
        order = algo_order(call.values, self._desk.next_id(), account, self._desk.prices, call.now_ms)
        if account.has_open_client_id(BOOK, order.symbol.name, order.client_order_id):
            raise Rejection(-4116, "ClientOrderId is duplicated.")
        if order.reduce_only and self._desk.closable(account, order) == 0:
            raise Rejection(-2022, "ReduceOnly Order is rejected.")
        if order.type != "TRAILING_STOP_MARKET" and self._is_due(order):
            raise Rejection(-2021, "Order would immediately trigger.")
        account.add(BOOK, order)
        self._desk.orders[order.order_id] = order
        call.order_ids.append(order.order_id)
        return shapes.algo(order, None)

    def match(self, account: SimAccount, order: SimOrder, now_ms: int) -> None:
        """Trigger the order if the price says so."""
        if order.good_till_ms and now_ms >= order.good_till_ms:
            self._end(account, order, "EXPIRED", now_ms)
        elif self._is_due(order):
            self._trigger(account, order, now_ms)

    def _is_due(self, order: SimOrder) -> bool:
        mark = self._desk.prices.mark(order.symbol.name)
        if order.type == "TRAILING_STOP_MARKET":
            return _is_trail_due(order, mark)
        rising = order.type.startswith("STOP") == (order.side == "BUY")
        return mark >= order.stop_price if rising else mark <= order.stop_price

    def _trigger(self, account: SimAccount, order: SimOrder, now_ms: int) -> None:
        order.triggered = True
        quantity = self._desk.closable(account, order) if order.close_position else order.quantity
        actual = replace(
            order, order_id=self._desk.next_id(), type="LIMIT" if order.price else "MARKET", quantity=quantity,
            reduce_only=order.reduce_only or order.close_position, created_ms=now_ms, updated_ms=now_ms,
            is_algo=False, trades=[],
        )
        try:
            self._desk.submit(account, actual, now_ms)
        except Rejection:
            # Nobody waits for an answer here: the order shows as rejected.
            self._end(account, order, "REJECTED", now_ms)
            return
        order.actual_order_id = actual.order_id
        self._end(account, order, "FINISHED" if actual.status == "FILLED" else "TRIGGERED", now_ms)

    def _end(self, account: SimAccount, order: SimOrder, status: str, now_ms: int) -> None:
        order.status, order.updated_ms = status, now_ms
        account.open_orders[BOOK].pop(order.order_id, None)

    def _find(self, call: Call) -> SimOrder | None:
        algo_id = read.optional_integer(call.values, "algoId")
        client = client_id(call.values, "clientAlgoId")
        if algo_id is None and client is None:
            raise Rejection(-1102, "Param 'clientAlgoId' or 'algoId' must be sent, but both were empty/null!")
        for order in reversed(list(call.account.orders[BOOK].values())):
            if order.order_id == algo_id or (algo_id is None and order.client_order_id == client):
                return order
        return None

    def delete_algo(self, call: Call) -> object:
        """DELETE /fapi/v1/algoOrder."""
        order = self._find(call)
        if order is None or not order.is_open:
            raise unknown_order()
        self._end(call.account, order, "CANCELED", call.now_ms)
        call.order_ids.append(order.order_id)
        return {
            "algoId": order.order_id, "clientAlgoId": order.client_order_id, "code": "200", "msg": "success",
        }

    def delete_all(self, call: Call) -> object:
        """DELETE /fapi/v1/algoOpenOrders."""
        symbol = symbol_of(call.values)
        for order in [o for o in call.account.open_orders[BOOK].values() if o.symbol is symbol]:
            self._end(call.account, order, "CANCELED", call.now_ms)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _shown(self, order: SimOrder) -> dict[str, object]:
        actual = self._desk.orders.get(order.actual_order_id) if order.actual_order_id is not None else None
        return shapes.algo(order, actual)

    def get_algo(self, call: Call) -> object:
        """GET /fapi/v1/algoOrder."""
        order = self._find(call)
        if order is None:
            raise no_such_order()
        return self._shown(order)

    def get_open(self, call: Call) -> object:
        """GET /fapi/v1/openAlgoOrders."""
        symbol = symbol_of(call.values) if call.values.get("symbol") else None
        orders = call.account.open_orders[BOOK].values()
        return [self._shown(order) for order in orders if symbol is None or order.symbol is symbol]

    def get_all(self, call: Call) -> object:
        """GET /fapi/v1/allAlgoOrders."""
        symbol = symbol_of(call.values)
        return [self._shown(o) for o in call.account.orders[BOOK].values() if o.symbol is symbol]


def _is_trail_due(order: SimOrder, mark: Decimal) -> bool:
    # A trailing stop follows the best price since its activation and fires when the price has come
    # back from it by callbackRate percent.
    falling = order.side == "SELL"
    if order.extreme is None:
        waits = order.activate_price and (mark < order.activate_price if falling else mark > order.activate_price)
        if waits:
            return False
        order.extreme = mark
    rate = order.callback_rate / 100
    if falling:
        order.extreme = max(order.extreme, mark)
        return mark <= order.extreme * (1 - rate)
    order.extreme = min(order.extreme, mark)
    return mark >= order.extreme * (1 + rate)
