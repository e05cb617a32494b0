"""Spot order lists: OCO, OTO, OTOCO, OPO and OPOCO, and the older POST /api/v3/order/oco.

Legs of an OCO share one set of funds, held by the first leg; the leg that trades or triggers
takes them over and the other expires. Pending legs hold nothing until their working order has
filled completely.
https://github.com/binance/binance-spot-api-docs/blob/master/rest-api.md#order-lists
"""

from __future__ import annotations

from typing import Any

from proxy.simulator import parameters as read
from proxy.simulator import spot_shapes as shapes
from proxy.simulator.account import SimAccount, SimOrder, SimOrderList
from proxy.simulator.call import Call, Endpoint, names
from proxy.simulator.market import ZERO, on_step
from proxy.simulator.parameters import Values
from proxy.simulator.rejection import Rejection, filter_failure, missing, unknown_order
from proxy.simulator.spot import BOOK, Spot
from proxy.simulator.spot_reading import RESPONSE_TYPES, check_filters, client_id, spot_order, symbol_of

LEG = (
    "ClientOrderId IcebergQty Price StopPrice TrailingDelta TimeInForce StrategyId StrategyType PegPriceType"
    " PegOffsetType PegOffsetValue"
)
LIST = "symbol listClientOrderId newOrderRespType selfTradePreventionMode"
LEGACY_OCO = (
    "symbol side quantity price stopPrice listClientOrderId limitClientOrderId limitStrategyId limitStrategyType"
    " limitIcebergQty trailingDelta stopClientOrderId stopStrategyId stopStrategyType stopLimitPrice stopIcebergQty"
    " stopLimitTimeInForce newOrderRespType selfTradePreventionMode"
)
LEG_PARAMETERS = {
    "newClientOrderId": "ClientOrderId",
    "icebergQty": "IcebergQty",
    "price": "Price",
    "stopPrice": "StopPrice",
    "trailingDelta": "TrailingDelta",
    "timeInForce": "TimeInForce",
}
LOSS_TYPES = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT"})
GAIN_TYPES = frozenset({"LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})


class OrderLists:
    """The part of the spot desk that keeps orders together."""

    def __init__(self, desk: Spot) -> None:
        self._desk = desk
        desk.lists = self

    def endpoints(self) -> list[Endpoint]:
        """What it answers."""
        working, pending = _legs("working", "Type Side Quantity"), _legs("pending", "Side")
        pair = _legs("pendingAbove", "Type") + _legs("pendingBelow", "Type")
        return [
            Endpoint("POST", "/api/v3/order/oco", self.post_legacy_oco, orders=2, known=names(LEGACY_OCO)),
            Endpoint("POST", "/api/v3/orderList/oco", self.post_oco, orders=2, known=names(
                LIST + " side quantity" + _legs("above", "Type") + _legs("below", "Type"))),
            Endpoint("POST", "/api/v3/orderList/oto", self.post_oto, orders=2, known=names(
                LIST + working + pending + " pendingType pendingQuantity")),
            Endpoint("POST", "/api/v3/orderList/otoco", self.post_otoco, orders=3, known=names(
                LIST + working + pair + " pendingSide pendingQuantity")),
            Endpoint("POST", "/api/v3/orderList/opo", self.post_opo, orders=2, known=names(
                LIST + working + pending + " pendingType")),
            Endpoint("POST", "/api/v3/orderList/opoco", self.post_opoco, orders=3, known=names(
                LIST + working + pair + " pendingSide")),
            Endpoint("DELETE", "/api/v3/orderList", self.delete_list, known=names(
                "symbol orderListId listClientOrderId newClientOrderId")),
            Endpoint("GET", "/api/v3/orderList", self.get_list, weight=4),
            Endpoint("GET", "/api/v3/allOrderList", self.get_all_lists, weight=20),
            Endpoint("GET", "/api/v3/openOrderList", self.get_open_lists, weight=6),
        ]

    # Placing

    def post_legacy_oco(self, call: Call) -> object:
        """POST /api/v3/order/oco: a LIMIT_MAKER and a stop order."""
        values, limit, stop = call.values, dict(call.values), dict(call.values)
        for leg in (limit, stop):
            for name in ("stopPrice", "trailingDelta", "price", "newClientOrderId", "icebergQty", "timeInForce"):
                leg.pop(name, None)
        limit.update(type="LIMIT_MAKER", price=read.text(values, "price"))
        stop["type"] = "STOP_LOSS"
        if "stopLimitPrice" in values:
            if "stopLimitTimeInForce" not in values:
                raise missing("stopLimitTimeInForce")
            stop.update(
                type="STOP_LOSS_LIMIT", price=values["stopLimitPrice"], timeInForce=values["stopLimitTimeInForce"])
        stop.update({name: values[name] for name in ("stopPrice", "trailingDelta") if name in values})
        for leg, prefix in ((limit, "limit"), (stop, "stop")):
            for name, theirs in (("newClientOrderId", "ClientOrderId"), ("icebergQty", "IcebergQty")):
                if prefix + theirs in values:
                    leg[name] = values[prefix + theirs]
        # Answered stop leg first, as Binance does.
        return self._place(call, "OCO", [self._read(call, stop), self._read(call, limit)], [])

    def post_oco(self, call: Call) -> object:
        """POST /api/v3/orderList/oco."""
        side, quantity = read.text(call.values, "side"), read.text(call.values, "quantity")
        legs = [self._leg(call, prefix, side=side, quantity=quantity) for prefix in ("above", "below")]
        return self._place(call, "OCO", legs, [])

    def post_oto(self, call: Call) -> object:
        """POST /api/v3/orderList/oto."""
        working = self._working(call)
        quantity = read.text(call.values, "pendingQuantity")
        pending = self._leg(call, "pending", side=read.text(call.values, "pendingSide"), quantity=quantity)
        return self._place(call, "OTO", [working], [pending])

    def post_otoco(self, call: Call) -> object:
        """POST /api/v3/orderList/otoco."""
        working = self._working(call)
        quantity, side = read.text(call.values, "pendingQuantity"), read.text(call.values, "pendingSide")
        return self._place(call, "OTO", [working], self._pending_pair(call, side, quantity))

    def post_opo(self, call: Call) -> object:
        """POST /api/v3/orderList/opo: the pending order sells what the working one bought."""
        working = self._working(call, only="BUY")
        side = read.one_of(call.values, "pendingSide", frozenset({"SELL"}), -1117, "Invalid side.")
        pending = self._leg(call, "pending", side=side, quantity=None)
        return self._place(call, "OTO", [working], [pending], takes_received=True)

    def post_opoco(self, call: Call) -> object:
        """POST /api/v3/orderList/opoco: an OCO that sells what the working order bought."""
        working = self._working(call, only="BUY")
        side = read.one_of(call.values, "pendingSide", frozenset({"SELL"}), -1117, "Invalid side.")
        return self._place(call, "OTO", [working], self._pending_pair(call, side, None), takes_received=True)

    def _working(self, call: Call, only: str | None = None) -> SimOrder:
        side = read.text(call.values, "workingSide")
        if only is not None and side != only:
            raise Rejection(-1117, "Invalid side.")
        if read.text(call.values, "workingType") not in ("LIMIT", "LIMIT_MAKER"):
            raise Rejection(-1116, "Invalid orderType.")
        return self._leg(call, "working", side=side, quantity=read.text(call.values, "workingQuantity"))

    def _pending_pair(self, call: Call, side: str, quantity: str | None) -> list[SimOrder]:
        prefixes = ["pendingAbove"]
        if "pendingBelowType" in call.values:
            prefixes.append("pendingBelow")
        return [self._leg(call, prefix, side=side, quantity=quantity) for prefix in prefixes]

    def _leg(self, call: Call, prefix: str, *, side: str, quantity: str | None) -> SimOrder:
        values = call.values
        leg = {"symbol": read.text(values, "symbol"), "side": side, "type": read.text(values, f"{prefix}Type")}
        if quantity is not None:
            leg["quantity"] = quantity
        for name, theirs in LEG_PARAMETERS.items():
            if prefix + theirs in values:
                leg[name] = values[prefix + theirs]
        if "selfTradePreventionMode" in values:
            leg["selfTradePreventionMode"] = values["selfTradePreventionMode"]
        try:
            return self._read(call, leg, sized=quantity is not None)
        except Rejection as refused:
            message = refused.message
            for name, theirs in LEG_PARAMETERS.items():
                message = message.replace(f"'{name}'", f"'{prefix}{theirs}'")
            raise Rejection(refused.code, message, refused.status) from None

    def _read(self, call: Call, leg: Values, *, sized: bool = True) -> SimOrder:
        order = spot_order(leg, self._desk.next_id(), call.account.name, call.now_ms, sized=sized)
        check_filters(order, self._desk.prices)
        return order

    def _place(self, call: Call, kind: str, working: list[SimOrder], pending: list[SimOrder], *,
               takes_received: bool = False) -> object:
        account, now_ms = call.account, call.now_ms
        wanted = call.values.get("newOrderRespType", "RESULT")
        if wanted not in RESPONSE_TYPES:
            raise Rejection(-1154, "Invalid newOrderRespType.")
        list_id = self._desk.next_id()
        group = SimOrderList(
            list_id=list_id, kind=kind, symbol=symbol_of(call.values).name, at_ms=now_ms,
            client_id=client_id(call.values, "listClientOrderId") or f"simlist{list_id}",
            working=[order.order_id for order in working], pending=[order.order_id for order in pending],
            pending_takes_received=takes_received,
        )
        self._check(account, group, working, pending)
        self._fund(account, working)
        account.lists[list_id] = group
        for order in (*working, *pending):
            order.list_id = list_id
            if order in pending:
                order.status = "PENDING_NEW"
            account.add(BOOK, order)
            self._desk.orders[order.order_id] = order
            call.order_ids.append(order.order_id)
        for order in working:
            if order.is_open:
                self._desk.match(account, order, now_ms, taking=True)
        legs = [*working, *pending]
        reports = [shapes.placed(order, wanted, {}) for order in legs]
        return {**shapes.order_list(group, legs), "orderReports": reports}

    def _check(self, account: SimAccount, group: SimOrderList, working: list[SimOrder], pending: list[SimOrder]
               ) -> None:
        if any(other.client_id == group.client_id and not other.is_done for other in account.lists.values()):
            raise Rejection(-2010, "Duplicate order sent.")
        ids = [order.client_order_id for order in (*working, *pending)]
        taken = any(account.has_open_client_id(BOOK, group.symbol, one) for one in ids)
        if taken or len(set(ids)) != len(ids):
            raise Rejection(-2010, "Duplicate order sent.")
        for pair in (working, pending):
            if len(pair) == 2:
                _check_pair(pair)
        for order in working:
            self._desk.check_at_once(order)

    def _fund(self, account: SimAccount, legs: list[SimOrder]) -> None:
        amounts = [self._desk.lock_needed(order)[1] for order in legs]
        self._desk.lock(account, legs[0], max(amounts))

    # What the desk tells

    def takes_over(self, account: SimAccount, order: SimOrder, now_ms: int) -> None:
        """An OCO leg trades or triggers: its sibling's funds become its own and the sibling expires."""
        for sibling in self._siblings(account, order):
            order.locked += sibling.locked
            sibling.locked = ZERO
            self._desk.end(account, sibling, "EXPIRED", now_ms)

    def _siblings(self, account: SimAccount, order: SimOrder) -> list[SimOrder]:
        group = account.lists[order.list_id]
        together = group.working if order.order_id in group.working else group.pending
        found = [self._desk.orders[one] for one in together if one != order.order_id]
        return [sibling for sibling in found if sibling.is_open]

    def ended(self, account: SimAccount, order: SimOrder, now_ms: int) -> None:
        """A leg has filled or ended: pending legs come to life or end with it."""
        group = account.lists[order.list_id]
        if group.pending and order.order_id in group.working:
            pending = [self._desk.orders[one] for one in group.pending]
            if order.status == "FILLED":
                self._activate(account, group, order, pending, now_ms)
            else:
                for leg in pending:
                    if leg.is_open:
                        self._desk.end(account, leg, order.status, now_ms)
        group.is_done = not any(self._desk.orders[one].is_open for one in group.order_ids)

    def _activate(self, account: SimAccount, group: SimOrderList, working: SimOrder, pending: list[SimOrder],
                  now_ms: int) -> None:
        for leg in pending:
            leg.status, leg.updated_ms = "NEW", now_ms
        try:
            for leg in pending:
                if group.pending_takes_received:
                    received = sum(
                        (trade.quantity - (trade.fee if trade.fee_asset == leg.symbol.base else ZERO)
                         for trade in working.trades), ZERO)
                    leg.quantity = on_step(received, leg.symbol.step)
                    if leg.quantity < leg.symbol.quantity_min:
                        raise filter_failure("LOT_SIZE")
                check_filters(leg, self._desk.prices)
                self._desk.check_at_once(leg)
            self._fund(account, pending)
        except Rejection:
            # Nobody waits for an answer here: as at Binance the pending legs expire.
            for leg in pending:
                self._desk.end(account, leg, "EXPIRED", now_ms)
            return
        for leg in pending:
            if leg.is_open:
                self._desk.match(account, leg, now_ms, taking=True)

    def cancel_list(self, account: SimAccount, order: SimOrder, now_ms: int) -> dict[str, Any]:
        """Cancel all legs of the list this order is part of."""
        group = account.lists[order.list_id]
        legs = [self._desk.orders[one] for one in group.order_ids]
        for leg in legs:
            if leg.is_open:
                self._desk.end(account, leg, "CANCELED", now_ms)
        reports = [shapes.cancelled(leg, f"cancel{leg.order_id}") for leg in legs]
        return {**shapes.order_list(group, legs), "orderReports": reports}

    # Cancelling and reading

    def _find(self, call: Call, client_name: str) -> SimOrderList | None:
        list_id = read.optional_integer(call.values, "orderListId")
        client = client_id(call.values, client_name)
        if list_id is None and client is None:
            raise Rejection(-1102, f"Param '{client_name}' or 'orderListId' must be sent, but both were empty/null!")
        for group in reversed(list(call.account.lists.values())):
            if group.list_id == list_id or (list_id is None and group.client_id == client):
                return group
        return None

    def delete_list(self, call: Call) -> object:
        """DELETE /api/v3/orderList."""
        symbol = symbol_of(call.values)
        group = self._find(call, "listClientOrderId")
        if group is None or group.is_done or group.symbol != symbol.name:
            raise unknown_order()
        call.order_ids.extend(group.order_ids)
        return self.cancel_list(call.account, self._desk.orders[group.order_ids[0]], call.now_ms)

    def get_list(self, call: Call) -> object:
        """GET /api/v3/orderList."""
        group = self._find(call, "origClientOrderId")
        if group is None:
            raise Rejection(-2018, "Order list does not exist.")
        return self._shown(group)

    def get_all_lists(self, call: Call) -> object:
        """GET /api/v3/allOrderList."""
        limit = min(read.optional_integer(call.values, "limit") or 500, 1000)
        return [self._shown(group) for group in list(call.account.lists.values())[-limit:]]

    def get_open_lists(self, call: Call) -> object:
        """GET /api/v3/openOrderList."""
        return [self._shown(group) for group in call.account.lists.values() if not group.is_done]

    def _shown(self, group: SimOrderList) -> dict[str, Any]:
        return shapes.order_list(group, [self._desk.orders[one] for one in group.order_ids])


def _legs(prefix: str, more: str) -> str:
    return "".join(f" {prefix}{name}" for name in f"{LEG} {more}".split())


def _check_pair(pair: list[SimOrder]) -> None:
    """One leg takes the gain, the other stops the loss, and the market stands between them."""
    losses = [order for order in pair if order.type in LOSS_TYPES]
    gains = [order for order in pair if order.type in GAIN_TYPES]
    if len(losses) != 1 or len(gains) != 1:
        raise Rejection(-1116, "Invalid orderType.")
    loss, gain = losses[0].stop_price, gains[0].price or gains[0].stop_price
    if loss and (gain <= loss if losses[0].side == "SELL" else gain >= loss):
        raise Rejection(-2010, "The relationship of the prices for the orders is not correct.")
