"""The spot market: orders, balances and fills."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

from proxy.simulator import listing
from proxy.simulator import parameters as read
from proxy.simulator import spot_shapes as shapes
from proxy.simulator.account import SimAccount, SimOrder, SimTrade
from proxy.simulator.call import Call, Endpoint, names
from proxy.simulator.market import ZERO, Prices, on_step
from proxy.simulator.rejection import Rejection, missing, no_such_order, unknown_order
from proxy.simulator.spot_reading import check_filters, client_id, response_type, spot_order, symbol_of

BOOK = "spot"
ORDER = (
    "symbol side type timeInForce quantity quoteOrderQty price newClientOrderId strategyId strategyType stopPrice"
    " trailingDelta icebergQty newOrderRespType selfTradePreventionMode pegPriceType pegOffsetValue pegOffsetType"
)
SOR = (
    "symbol side type quantity timeInForce price newClientOrderId strategyId strategyType icebergQty"
    " newOrderRespType selfTradePreventionMode"
)
CANCEL = "symbol orderId origClientOrderId newClientOrderId cancelRestrictions"
REPLACE = (
    " cancelReplaceMode cancelNewClientOrderId cancelOrigClientOrderId cancelOrderId cancelRestrictions"
    " orderRateLimitExceededMode"
)


class Lists(Protocol):
    """What the desk asks of the order lists."""

    def ended(self, account: SimAccount, order: SimOrder, now_ms: int) -> None:
        """A leg has filled or ended."""
        ...

    def takes_over(self, account: SimAccount, order: SimOrder, now_ms: int) -> None:
        """A leg trades or triggers: its sibling gives it the funds and expires."""
        ...

    def cancel_list(self, account: SimAccount, order: SimOrder, now_ms: int) -> object:
        """Cancel all legs of the list this order is part of."""
        ...


class Spot:
    """The desk that takes spot orders."""

    def __init__(self, prices: Prices, next_id: Callable[[], int], orders: dict[int, SimOrder],
                 fee_rate: Decimal, open_orders_max: int | None) -> None:
        self.prices = prices
        self.next_id = next_id
        self.orders = orders
        self._fee_rate = fee_rate
        self._open_orders_max = open_orders_max
        self.lists: Lists | None = None

    def endpoints(self) -> list[Endpoint]:
        """What it answers."""
        return [
            Endpoint("POST", "/api/v3/order", self.post_order, orders=1, known=names(ORDER)),
            Endpoint("POST", "/api/v3/order/test", self.post_test, known=names(ORDER + " computeCommissionRates")),
            Endpoint("POST", "/api/v3/sor/order", self.post_sor, orders=1, known=names(SOR)),
            Endpoint("POST", "/api/v3/sor/order/test", self.post_test, known=names(SOR + " computeCommissionRates")),
            Endpoint("POST", "/api/v3/order/cancelReplace", self.cancel_replace, orders=1,
                     known=names(ORDER + REPLACE)),
            Endpoint("PUT", "/api/v3/order/amend/keepPriority", self.amend, weight=4,
                     known=names("symbol newQty orderId origClientOrderId newClientOrderId")),
            Endpoint("DELETE", "/api/v3/order", self.delete_order, known=names(CANCEL)),
            Endpoint("DELETE", "/api/v3/openOrders", self.delete_open_orders, known=names("symbol")),
            Endpoint("GET", "/api/v3/order", self.get_order, weight=4),
            Endpoint("GET", "/api/v3/openOrders", self.get_open_orders, weight=6),
            Endpoint("GET", "/api/v3/allOrders", self.get_all_orders, weight=20),
            Endpoint("GET", "/api/v3/myTrades", self.get_trades, weight=20),
            Endpoint("GET", "/api/v3/account", self.get_account, weight=20),
        ]

    # Placing

    def post_order(self, call: Call) -> object:
        """POST /api/v3/order."""
        return self.place(call, call.values)

    def place(self, call: Call, values: read.Values) -> dict[str, Any]:
        """Read, check and carry out one order."""
        order = spot_order(values, self.next_id(), call.account.name, call.now_ms)
        check_filters(order, self.prices)
        wanted = response_type(values, order.type)
        self.submit(call.account, order, call.now_ms)
        call.order_ids.append(order.order_id)
        return shapes.placed(order, wanted, values)

    def post_test(self, call: Call) -> object:
        """POST /api/v3/order/test: everything is checked, nothing happens."""
        order = spot_order(call.values, self.next_id(), call.account.name, call.now_ms)
        check_filters(order, self.prices)
        response_type(call.values, order.type)
        if not read.boolean(call.values, "computeCommissionRates"):
            return {}
        rate = f"{self._fee_rate:.8f}"
        rates = {"maker": rate, "taker": rate}
        nothing = {"maker": "0.00000000", "taker": "0.00000000"}
        return {
            "standardCommissionForOrder": rates, "specialCommissionForOrder": nothing,
            "taxCommissionForOrder": nothing,
            "discount": {"enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB",
                         "discount": "0.00000000"},
        }

    def post_sor(self, call: Call) -> object:
        """POST /api/v3/sor/order: LIMIT and MARKET by quantity only."""
        if call.values.get("type") not in ("LIMIT", "MARKET"):
            raise Rejection(-1116, "Invalid orderType.")
        answer = self.place(call, call.values)
        for fill in answer.get("fills", ()):
            fill["matchType"] = "ONE_PARTY_TRADE_REPORT"
            fill["allocId"] = fill["tradeId"]
        return {**answer, "workingFloor": "SOR", "usedSor": True}

    def submit(self, account: SimAccount, order: SimOrder, now_ms: int, *, lock: bool = True) -> None:
        """Accept an order, or raise Rejection: duplicate, balance, post-only, trigger."""
        if account.has_open_client_id(BOOK, order.symbol.name, order.client_order_id):
            raise Rejection(-2010, "Duplicate order sent.")
        if self._open_orders_max is not None and self._open_count(account, order) >= self._open_orders_max:
            raise Rejection(-1013, "Filter failure: MAX_NUM_ORDERS")
        self.check_at_once(order)
        if lock:
            self.lock(account, order)
        account.add(BOOK, order)
        self.orders[order.order_id] = order
        self.match(account, order, now_ms, taking=True)

    def _open_count(self, account: SimAccount, order: SimOrder) -> int:
        return sum(1 for other in account.open_orders[BOOK].values() if other.symbol is order.symbol)

    def check_at_once(self, order: SimOrder) -> None:
        """Refuse what may not trade or trigger the moment it arrives."""
        quote = self.prices.quote(order.symbol)
        if order.type == "LIMIT_MAKER" and _crosses(order, quote.bid, quote.ask):
            raise Rejection(-2010, "Order would immediately match and take.")
        if order.is_conditional and order.stop_price and order.trailing_delta is None and self._is_due(order):
            raise Rejection(-2010, "Stop price would trigger immediately.")

    def lock_needed(self, order: SimOrder) -> tuple[str, Decimal]:
        """The asset and amount an order sets aside."""
        symbol = order.symbol
        if order.side == "SELL":
            return symbol.base, order.quantity or on_step(
                order.quote_quantity / self.prices.quote(symbol).bid, symbol.step)
        price = order.price or order.stop_price or self.prices.quote(symbol).ask
        return symbol.quote, order.quote_quantity or order.quantity * price

    def lock(self, account: SimAccount, order: SimOrder, amount: Decimal | None = None) -> None:
        """Set the order's funds aside. Raises Rejection if they are not there."""
        asset, needed = self.lock_needed(order)
        needed = needed if amount is None else amount
        balance = account.balance(asset)
        if balance.free < needed:
            raise Rejection(-2010, "Account has insufficient balance for requested action.")
        balance.free -= needed
        balance.locked += needed
        order.locked = needed

    def unlock(self, account: SimAccount, order: SimOrder) -> None:
        """Give back what is still set aside."""
        balance = account.balance(order.symbol.base if order.side == "SELL" else order.symbol.quote)
        balance.locked -= order.locked
        balance.free += order.locked
        order.locked = ZERO

    # Matching

    def match(self, account: SimAccount, order: SimOrder, now_ms: int, *, taking: bool) -> None:
        """Trigger, fill, rest or expire an order against the present book."""
        if order.status == "PENDING_NEW":
            return
        quote = self.prices.quote(order.symbol)
        if order.is_conditional:
            if not self._is_due(order):
                return
            order.triggered = True
            taking = True
            if order.list_id >= 0 and self.lists is not None:
                self.lists.takes_over(account, order, now_ms)
        if order.price == 0:
            self._fill_market(account, order, now_ms)
        elif _crosses(order, quote.bid, quote.ask):
            better = quote.ask if order.side == "BUY" else quote.bid
            self.fill(account, order, order.remaining, better if taking else order.price, now_ms, maker=not taking)
        elif order.time_in_force in ("IOC", "FOK"):
            self.end(account, order, "EXPIRED", now_ms)

    def _fill_market(self, account: SimAccount, order: SimOrder, now_ms: int) -> None:
        quote = self.prices.quote(order.symbol)
        price = quote.ask if order.side == "BUY" else quote.bid
        if order.quote_quantity:
            order.quantity = on_step(order.quote_quantity / price, order.symbol.step)
        if order.quantity == 0:
            self.end(account, order, "EXPIRED", now_ms)
            return
        self.fill(account, order, order.remaining, price, now_ms, maker=False)

    def _is_due(self, order: SimOrder) -> bool:
        mark = self.prices.mark(order.symbol.name)
        falling = (order.type.startswith("STOP_LOSS")) == (order.side == "SELL")
        if order.trailing_delta is not None:
            return self._is_trail_due(order, mark, falling=falling)
        return mark <= order.stop_price if falling else mark >= order.stop_price

    def _is_trail_due(self, order: SimOrder, mark: Decimal, *, falling: bool) -> bool:
        # A trailing order follows the best price since it became active and fires when the price
        # has come back by trailingDelta basis points.
        if order.extreme is None:
            if order.stop_price and (mark > order.stop_price if falling else mark < order.stop_price):
                return False
            order.extreme = mark
        delta = Decimal(order.trailing_delta or 0) / 10000
        if falling:
            order.extreme = max(order.extreme, mark)
            return mark <= order.extreme * (1 - delta)
        order.extreme = min(order.extreme, mark)
        return mark >= order.extreme * (1 + delta)

    def fill(self, account: SimAccount, order: SimOrder, quantity: Decimal, price: Decimal, now_ms: int, *,
             maker: bool) -> None:
        """Trade a quantity at a price; an order that can no longer pay expires."""
        symbol, cost = order.symbol, quantity * price
        if order.list_id >= 0 and self.lists is not None:
            self.lists.takes_over(account, order, now_ms)
        self._unlock_share(account, order, quantity)
        base, money = account.balance(symbol.base), account.balance(symbol.quote)
        if (money.free < cost) if order.side == "BUY" else (base.free < quantity):
            self.end(account, order, "EXPIRED", now_ms)
            return
        received = quantity if order.side == "BUY" else cost
        fee, fee_asset = received * self._fee_rate, symbol.base if order.side == "BUY" else symbol.quote
        in_bnb = (cost * self._fee_rate / self.prices.mark("BNBUSDT")).quantize(Decimal("1e-8"))
        if account.burns_bnb and account.balance("BNB").free >= in_bnb:
            account.balance("BNB").free -= in_bnb
            kept, fee, fee_asset = received, in_bnb, "BNB"
        else:
            kept = received - fee
        if order.side == "BUY":
            money.free -= cost
            base.free += kept
        else:
            base.free -= quantity
            money.free += kept
        trade = SimTrade(
            trade_id=self.next_id(), order_id=order.order_id, symbol=symbol.name, side=order.side, price=price,
            quantity=quantity, fee=fee, fee_asset=fee_asset,
            at_ms=now_ms, is_maker=maker,
        )
        order.trades.append(trade)
        account.trades[BOOK].append(trade)
        order.executed += quantity
        order.quote_executed += cost
        order.updated_ms = now_ms
        if order.remaining > 0:
            order.status = "PARTIALLY_FILLED"
            return
        self.end(account, order, "FILLED", now_ms)

    def _unlock_share(self, account: SimAccount, order: SimOrder, quantity: Decimal) -> None:
        remaining = order.remaining
        share = order.locked if quantity >= remaining else order.locked * quantity / remaining
        balance = account.balance(order.symbol.base if order.side == "SELL" else order.symbol.quote)
        balance.locked -= share
        balance.free += share
        order.locked -= share

    def end(self, account: SimAccount, order: SimOrder, status: str, now_ms: int) -> None:
        """Take an order off the book for good."""
        order.status = status
        order.updated_ms = now_ms
        self.unlock(account, order)
        account.open_orders[BOOK].pop(order.order_id, None)
        if order.list_id >= 0 and self.lists is not None:
            self.lists.ended(account, order, now_ms)

    # Cancelling and changing

    def find(self, call: Call, id_name: str = "orderId", client_name: str = "origClientOrderId") -> SimOrder | None:
        """The order a request names."""
        symbol = symbol_of(call.values)
        order_id = read.optional_integer(call.values, id_name)
        client = client_id(call.values, client_name)
        if order_id is None and client is None:
            raise Rejection(-1102, f"Param '{client_name}' or '{id_name}' must be sent, but both were empty/null!")
        found = call.account.find(BOOK, symbol.name, order_id, client)
        if found is not None and order_id is not None and client is not None and found.client_order_id != client:
            return None
        return found

    def delete_order(self, call: Call) -> object:
        """DELETE /api/v3/order."""
        order = self.find(call)
        if order is None or not order.is_open:
            raise unknown_order()
        return self._cancel(call, order)

    def _cancel(self, call: Call, order: SimOrder, new_id: str | None = None) -> object:
        restriction = call.values.get("cancelRestrictions")
        if restriction is not None and restriction not in ("ONLY_NEW", "ONLY_PARTIALLY_FILLED"):
            raise Rejection(-1145, "Invalid cancelRestrictions.")
        if restriction is not None and restriction != f"ONLY_{order.status}":
            raise Rejection(-2011, "Order was not canceled due to cancel restrictions.")
        call.order_ids.append(order.order_id)
        if order.list_id >= 0 and self.lists is not None:
            return self.lists.cancel_list(call.account, order, call.now_ms)
        self.end(call.account, order, "CANCELED", call.now_ms)
        cancel_id = new_id or client_id(call.values, "newClientOrderId") or f"cancel{order.order_id}"
        return shapes.cancelled(order, cancel_id)

    def delete_open_orders(self, call: Call) -> object:
        """DELETE /api/v3/openOrders."""
        symbol = symbol_of(call.values)
        found = [order for order in call.account.open_orders[BOOK].values() if order.symbol is symbol]
        if not found:
            raise unknown_order()
        return [self._cancel(call, order) for order in found if order.is_open]

    def cancel_replace(self, call: Call) -> object:
        """POST /api/v3/order/cancelReplace: the new order's filters are judged before the cancel."""
        values, now_ms = call.values, call.now_ms
        mode = values.get("cancelReplaceMode")
        if mode is None:
            raise missing("cancelReplaceMode")
        if mode not in ("STOP_ON_FAILURE", "ALLOW_FAILURE"):
            raise Rejection(-1130, "Data sent for parameter 'cancelReplaceMode' is not valid.")
        order = spot_order(values, self.next_id(), call.account.name, now_ms)
        check_filters(order, self.prices)
        wanted = response_type(values, order.type)
        cancelled: object
        try:
            old = self.find(call, "cancelOrderId", "cancelOrigClientOrderId")
            if old is None or not old.is_open:
                raise unknown_order()
            cancelled = self._cancel(call, old, client_id(values, "cancelNewClientOrderId"))
            cancel_result = "SUCCESS"
        except Rejection as refused:
            if refused.code == -1102:
                raise
            cancelled, cancel_result = refused.body(), "FAILURE"
        placed: object = None
        new_result = "NOT_ATTEMPTED"
        if cancel_result == "SUCCESS" or mode == "ALLOW_FAILURE":
            try:
                self.submit(call.account, order, now_ms)
                call.order_ids.append(order.order_id)
                placed, new_result = shapes.placed(order, wanted, values), "SUCCESS"
            except Rejection as refused:
                placed, new_result = refused.body(), "FAILURE"
        return _replaced(cancel_result, new_result, cancelled, placed)

    def amend(self, call: Call) -> object:
        """PUT /api/v3/order/amend/keepPriority: the quantity may only shrink."""
        order = self.find(call)
        if order is None or not order.is_open:
            raise no_such_order()
        quantity = read.decimal(call.values, "newQty")
        symbol = order.symbol
        if quantity < symbol.quantity_min or quantity > symbol.quantity_max or quantity % symbol.step:
            raise Rejection(-1013, "Filter failure: LOT_SIZE")
        if order.price and quantity * order.price < symbol.notional_min:
            raise Rejection(-1013, "Filter failure: NOTIONAL")
        if quantity >= order.quantity:
            raise Rejection(-2038, "Order amend (quantity increase) is not supported.")
        if quantity <= order.executed:
            raise Rejection(-2038, "Order amend (newQty at or below the executed quantity) is not supported.")
        previous, renamed = order.client_order_id, client_id(call.values, "newClientOrderId")
        excess = order.locked * (order.quantity - quantity) / order.remaining
        balance = call.account.balance(symbol.base if order.side == "SELL" else symbol.quote)
        balance.locked -= excess
        balance.free += excess
        order.locked -= excess
        order.quantity = quantity
        order.updated_ms = call.now_ms
        if renamed is not None:
            order.client_order_id = renamed
            call.account.client_ids[BOOK, symbol.name, renamed] = order.order_id
        call.order_ids.append(order.order_id)
        return shapes.amended(order, previous, self.next_id(), call.now_ms)

    # Reading

    def get_order(self, call: Call) -> object:
        """GET /api/v3/order."""
        order = self.find(call)
        if order is None:
            raise no_such_order()
        return shapes.shown(order)

    def get_open_orders(self, call: Call) -> object:
        """GET /api/v3/openOrders."""
        symbol = symbol_of(call.values) if "symbol" in call.values else None
        return [shapes.shown(order) for order in listing.open_orders(call, BOOK, symbol)]

    def get_all_orders(self, call: Call) -> object:
        """GET /api/v3/allOrders."""
        return [shapes.shown(order) for order in listing.all_orders(call, BOOK, symbol_of(call.values))]

    def get_trades(self, call: Call) -> object:
        """GET /api/v3/myTrades."""
        too_long = Rejection(-1127, "More than 24 hours between startTime and endTime.")
        found = listing.trades(call, BOOK, symbol_of(call.values), span_max_ms=86_400_000, too_long=too_long)
        return [shapes.trade(trade) for trade in found]

    def get_account(self, call: Call) -> object:
        """GET /api/v3/account."""
        return shapes.account(call.account, call.now_ms, self._fee_rate,
                              omit_zero=read.boolean(call.values, "omitZeroBalances"))


def _crosses(order: SimOrder, bid: Decimal, ask: Decimal) -> bool:
    return order.price >= ask if order.side == "BUY" else order.price <= bid


def _replaced(cancel_result: str, new_result: str, cancelled: object, placed: object) -> object:
    answer = {
        "cancelResult": cancel_result, "newOrderResult": new_result, "cancelResponse": cancelled,
        "newOrderResponse": placed,
    }
    results = {cancel_result, new_result}
    if results == {"SUCCESS"}:
        return answer
    if "SUCCESS" in results:
        raise Rejection(-2021, "Order cancel-replace partially failed.", 409, answer)
    raise Rejection(-2022, "Order cancel-replace failed.", 400, answer)
