"""The USDⓈ-M market: orders, positions, margin and fills."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from proxy.simulator import futures_shapes as shapes
from proxy.simulator import listing
from proxy.simulator import parameters as read
from proxy.simulator.account import SimAccount, SimOrder, SimPosition, SimTrade
from proxy.simulator.call import Call, Endpoint
from proxy.simulator.futures_reading import check_price, check_quantity, client_id, plain_order, symbol_of
from proxy.simulator.market import ZERO, Prices, Symbol
from proxy.simulator.rejection import Rejection, no_such_order, unknown_order

BOOK = "futures"
BATCH_PLACE_MAX = 5
BATCH_CANCEL_MAX = 10


class Futures:
    """The desk that takes futures orders."""

    def __init__(self, prices: Prices, next_id: Callable[[], int], orders: dict[int, SimOrder],
                 fee_rate: Decimal, open_orders_max: int | None) -> None:
        self.prices = prices
        self.next_id = next_id
        self.orders = orders
        self.fee_rate = fee_rate
        self._open_orders_max = open_orders_max
        self.taken_max: dict[str, Decimal] = {}  # by symbol: what the book has for one order that takes at once

    def endpoints(self) -> list[Endpoint]:
        """What it answers."""
        return [
            Endpoint("POST", "/fapi/v1/order", self.post_order, orders=1, weight=0),
            Endpoint("POST", "/fapi/v1/order/test", self.post_test, weight=0),
            Endpoint("POST", "/fapi/v1/batchOrders", self.post_batch, orders=5, weight=5),
            Endpoint("PUT", "/fapi/v1/order", self.put_order, orders=1),
            Endpoint("PUT", "/fapi/v1/batchOrders", self.put_batch, orders=5, weight=5),
            Endpoint("DELETE", "/fapi/v1/order", self.delete_order),
            Endpoint("DELETE", "/fapi/v1/batchOrders", self.delete_batch),
            Endpoint("DELETE", "/fapi/v1/allOpenOrders", self.delete_all),
            Endpoint("POST", "/fapi/v1/countdownCancelAll", self.post_countdown, weight=10),
            Endpoint("GET", "/fapi/v1/order", self.get_order),
            Endpoint("GET", "/fapi/v1/openOrder", self.get_open_order),
            Endpoint("GET", "/fapi/v1/openOrders", self.get_open_orders),
            Endpoint("GET", "/fapi/v1/allOrders", self.get_all_orders, weight=5),
            Endpoint("GET", "/fapi/v1/userTrades", self.get_trades, weight=5),
        ]

    # Margin

    def equity(self, account: SimAccount) -> Decimal:
        """Wallet plus unrealised profit."""
        return account.wallet + sum(
            (position.unrealised(self.prices.mark(symbol)) for (symbol, _), position in account.positions.items()
             if position.amount),
            ZERO,
        )

    def margin_of(self, account: SimAccount, symbol: str, extra: SimOrder | None = None) -> Decimal:
        """Initial margin of one symbol: what it could hold if every opening order on a side filled."""
        mark, total = self.prices.mark(symbol), ZERO
        sides = ("LONG", "SHORT") if account.hedge_mode else ("BOTH",)
        for side in sides:
            buys, sells = self._waiting(account, symbol, side, extra)
            amount = account.positions[symbol, side].amount if (symbol, side) in account.positions else ZERO
            total += max(abs(amount) * mark, abs(amount * mark + buys), abs(amount * mark - sells))
        return total / account.leverage(symbol)

    def _waiting(self, account: SimAccount, symbol: str, side: str, extra: SimOrder | None
                 ) -> tuple[Decimal, Decimal]:
        buys = sells = ZERO
        waiting = account.working.get((symbol, side))
        if waiting is not None:
            buys, sells = waiting
        if extra is not None and extra.position_side == side and _opens(extra):
            cost = extra.remaining * self.price_of(extra)
            if extra.side == "BUY":
                buys += cost
            else:
                sells += cost
        return buys, sells

    def price_of(self, order: SimOrder) -> Decimal:
        """The price an order is margined at."""
        if order.price:
            return order.price
        quote = self.prices.quote(order.symbol)
        return quote.ask if order.side == "BUY" else quote.bid

    def margin_used(self, account: SimAccount, *, without: str | None = None) -> Decimal:
        """Initial margin over all symbols, or over all but one."""
        symbols = {symbol for symbol, _ in account.positions} | {symbol for symbol, _ in account.working}
        return sum((self.margin_of(account, symbol) for symbol in symbols if symbol != without), ZERO)

    def available(self, account: SimAccount) -> Decimal:
        """What can still be used as margin."""
        return max(ZERO, self.equity(account) - self.margin_used(account))

    def _check_margin(self, account: SimAccount, order: SimOrder) -> None:
        if not _opens(order):
            return
        name = order.symbol.name
        before, after = self.margin_of(account, name), self.margin_of(account, name, order)
        if after > before and after > self.equity(account) - self.margin_used(account, without=name):
            raise Rejection(-2019, "Margin is insufficient.")

    # Placing

    def post_order(self, call: Call) -> object:
        """POST /fapi/v1/order."""
        return self.place(call, call.values)

    def place(self, call: Call, values: read.Values) -> dict[str, Any]:
        """Read, check and carry out one order."""
        order = plain_order(values, self.next_id(), call.account, self.prices, call.now_ms)
        wanted = _response_type(values)
        # ACK is the order as it was taken in, before anything traded.
        acknowledged = shapes.order(order) if wanted == "ACK" else None
        self.submit(call.account, order, call.now_ms)
        call.order_ids.append(order.order_id)
        return acknowledged or shapes.order(order)

    def post_test(self, call: Call) -> object:
        """POST /fapi/v1/order/test: everything is checked, nothing happens."""
        order = plain_order(call.values, self.next_id(), call.account, self.prices, call.now_ms,
                            allow_conditional=True)
        _response_type(call.values)
        return {**shapes.order(order), "orderId": 0}

    def submit(self, account: SimAccount, order: SimOrder, now_ms: int) -> None:
        """Accept an order, or raise Rejection: duplicate, reduce-only, post-only, fill-or-kill, margin."""
        if account.has_open_client_id(BOOK, order.symbol.name, order.client_order_id):
            raise Rejection(-4116, "ClientOrderId is duplicated.")
        if self._open_orders_max is not None and len(account.open_orders[BOOK]) >= self._open_orders_max:
            raise Rejection(-2025, "Reached max open order limit.")
        self._check_reduces(account, order)
        crosses = order.price == 0 or self._crosses(order)
        if order.time_in_force == "GTX" and crosses:
            raise _not_a_maker()
        if order.time_in_force == "FOK" and not crosses:
            raise Rejection(
                -5021, "Due to the order could not be filled immediately, the FOK order has been rejected. "
                       "The order will not be recorded in the order history")
        self._check_margin(account, order)
        account.add(BOOK, order)
        self.orders[order.order_id] = order
        if crosses:
            self.match(account, order, now_ms, taking=True)
        elif order.time_in_force == "IOC":
            self.end(account, order, "EXPIRED", now_ms)
        else:
            self._rest(account, order)

    def closable(self, account: SimAccount, order: SimOrder) -> Decimal:
        """How much of the position this order's side can close."""
        position = account.positions.get((order.symbol.name, order.position_side))
        amount = position.amount if position is not None else ZERO
        return max(ZERO, -amount if order.side == "BUY" else amount)

    def _check_reduces(self, account: SimAccount, order: SimOrder) -> None:
        if order.reduce_only and self.closable(account, order) == 0:
            raise Rejection(-2022, "ReduceOnly Order is rejected.")
        if _closes_leg(order) and self.closable(account, order) < order.quantity:
            raise Rejection(-2022, "ReduceOnly Order is rejected.")

    # Matching

    def _rest(self, account: SimAccount, order: SimOrder) -> None:
        if _opens(order):
            self._count_waiting(account, order, order.remaining * order.price)

    def _count_waiting(self, account: SimAccount, order: SimOrder, change: Decimal) -> None:
        key = (order.symbol.name, order.position_side)
        buys, sells = account.working.get(key, (ZERO, ZERO))
        account.working[key] = (buys + change, sells) if order.side == "BUY" else (buys, sells + change)

    def _crosses(self, order: SimOrder) -> bool:
        quote = self.prices.quote(order.symbol)
        return order.price >= quote.ask if order.side == "BUY" else order.price <= quote.bid

    def match(self, account: SimAccount, order: SimOrder, now_ms: int, *, taking: bool) -> None:
        """Fill an order that the present book lets trade."""
        if order.good_till_ms and now_ms >= order.good_till_ms:
            self.end(account, order, "EXPIRED", now_ms)
        elif order.price == 0 or self._crosses(order):
            quote = self.prices.quote(order.symbol)
            better = quote.ask if order.side == "BUY" else quote.bid
            price = better if taking else order.price
            if not taking:
                self._rest_no_longer(account, order, order.remaining)
            there_is = min(order.remaining, self.taken_max.get(order.symbol.name, order.remaining))
            if taking and there_is < order.remaining:
                self._take_what_there_is(account, order, there_is, price, now_ms)
                return
            self.fill(account, order, order.remaining, price, now_ms, maker=not taking, counted=False)

    def _take_what_there_is(
        self, account: SimAccount, order: SimOrder, quantity: Decimal, price: Decimal, now_ms: int
    ) -> None:
        """A thin book: what is not there expires, or rests where the order may rest."""
        if quantity:
            self.fill(account, order, quantity, price, now_ms, maker=False, counted=False)
        if not order.is_open:
            return
        if order.price == 0 or order.time_in_force in ("IOC", "FOK"):
            self.end(account, order, "EXPIRED", now_ms, counted=False)
        else:
            self._rest(account, order)

    def _rest_no_longer(self, account: SimAccount, order: SimOrder, quantity: Decimal) -> None:
        if _opens(order) and order.price:
            self._count_waiting(account, order, -quantity * order.price)

    def fill(self, account: SimAccount, order: SimOrder, quantity: Decimal, price: Decimal, now_ms: int, *,
             maker: bool, counted: bool) -> None:
        """Trade a quantity at a price; `counted` says that it still counts as waiting."""
        traded = quantity if _opens(order) else min(quantity, self.closable(account, order))
        if counted:
            self._rest_no_longer(account, order, quantity)
        if traded > 0:
            self._book(account, order, traded, price, now_ms, maker=maker)
        if order.remaining == 0:
            self.end(account, order, "FILLED", now_ms, counted=False)
        elif traded < quantity:
            # The position ran out under a closing order: the rest of it can never trade.
            self.end(account, order, "EXPIRED", now_ms, counted=counted)
        else:
            order.status = "PARTIALLY_FILLED"
        self._expire_reducers(account, order.symbol, order.position_side, now_ms)

    def _book(self, account: SimAccount, order: SimOrder, quantity: Decimal, price: Decimal, now_ms: int, *,
              maker: bool) -> None:
        symbol = order.symbol
        signed = quantity if order.side == "BUY" else -quantity
        position = account.position(symbol.name, order.position_side)
        realised = position.trade(signed, price, now_ms)
        fee = quantity * price * self.fee_rate
        fee_asset = symbol.quote
        in_bnb = (fee / self.prices.mark("BNBUSDT")).quantize(Decimal("1e-8"))
        if account.burns_bnb and account.futures_coins.get("BNB", ZERO) >= in_bnb:
            fee, fee_asset = in_bnb, "BNB"
            account.futures_coins["BNB"] -= in_bnb
        account.wallet += realised if fee_asset == "BNB" else realised - fee
        self._settle_isolated(account, symbol, position)
        trade = SimTrade(
            trade_id=self.next_id(), order_id=order.order_id, symbol=symbol.name, side=order.side, price=price,
            quantity=quantity, fee=fee, fee_asset=fee_asset, at_ms=now_ms, is_maker=maker,
            position_side=order.position_side, realised=realised,
        )
        order.trades.append(trade)
        account.trades[BOOK].append(trade)
        order.executed += quantity
        order.quote_executed += quantity * price
        order.updated_ms = now_ms
        for kind, amount, asset in (("REALIZED_PNL", realised, symbol.quote), ("COMMISSION", -fee, fee_asset)):
            if amount:
                account.income.append(shapes.income(kind, amount, asset, symbol.name, trade))

    def _settle_isolated(self, account: SimAccount, symbol: Symbol, position: SimPosition) -> None:
        if account.margin_type(symbol.name) == "ISOLATED":
            notional = abs(position.amount) * position.entry_price
            position.isolated_margin = notional / account.leverage(symbol.name)

    def _expire_reducers(self, account: SimAccount, symbol: Symbol, side: str, now_ms: int) -> None:
        position = account.positions.get((symbol.name, side))
        if position is not None and position.amount:
            return
        waiting = [
            order for order in account.open_orders[BOOK].values()
            if order.symbol is symbol and order.position_side == side and not _opens(order)
        ]
        for order in waiting:
            self.end(account, order, "EXPIRED", now_ms)

    def end(self, account: SimAccount, order: SimOrder, status: str, now_ms: int, *, counted: bool = True) -> None:
        """Take an order off the book for good."""
        if counted and order.order_id in account.open_orders[BOOK] and order.status in ("NEW", "PARTIALLY_FILLED"):
            self._forget(account, order)
        order.status = status
        order.updated_ms = now_ms
        account.open_orders[BOOK].pop(order.order_id, None)

    def _forget(self, account: SimAccount, order: SimOrder) -> None:
        if order.price and order.time_in_force != "IOC":
            self._rest_no_longer(account, order, order.remaining)

    # Batches

    def post_batch(self, call: Call) -> object:
        """POST /fapi/v1/batchOrders: every leg for itself."""
        return self._each(call, BATCH_PLACE_MAX, -4082, "Invalid number of batch place orders.", self.place)

    def put_batch(self, call: Call) -> object:
        """PUT /fapi/v1/batchOrders: every leg for itself."""
        return self._each(call, BATCH_PLACE_MAX, -4082, "Invalid number of batch place orders.", self.modify)

    def _each(self, call: Call, at_most: int, code: int, message: str,
              deed: Callable[[Call, read.Values], Any]) -> list[Any]:
        legs = read.json_list(call.values, "batchOrders")
        if not 0 < len(legs) <= at_most:
            raise Rejection(code, message)
        answers = []
        for leg in legs:
            values = read.leg_values(leg)
            try:
                answers.append(deed(call, values))
            except Rejection as refused:
                answers.append(refused.body())
        return answers

    # Changing and cancelling

    def find(self, account: SimAccount, values: read.Values) -> SimOrder | None:
        """The order a request names."""
        symbol = symbol_of(values)
        order_id = read.optional_integer(values, "orderId")
        client = client_id(values, "origClientOrderId")
        if order_id is None and client is None:
            raise Rejection(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        return account.find(BOOK, symbol.name, order_id, client)

    def put_order(self, call: Call) -> object:
        """PUT /fapi/v1/order."""
        return self.modify(call, call.values)

    def modify(self, call: Call, values: read.Values) -> object:
        """Change price and quantity of a resting LIMIT order; the quantity may grow."""
        order = self.find(call.account, values)
        if order is None or not order.is_open:
            raise no_such_order()
        side = read.text(values, "side")
        if side != order.side:
            raise Rejection(-1117, "Invalid side.")
        asked = dict(values)
        asked.update(type="LIMIT", timeInForce="GTC", positionSide=order.position_side)
        for name in ("newClientOrderId", "reduceOnly", "goodTillDate"):
            asked.pop(name, None)
        changed = plain_order(asked, order.order_id, call.account, self.prices, call.now_ms)
        check_quantity(changed, changed.quantity)
        if changed.price_match == "NONE":
            check_price(changed, self.prices)
        if (changed.price, changed.quantity) == (order.price, order.quantity):
            raise Rejection(-5027, "No need to modify the order.")
        if changed.quantity <= order.executed:
            self.end(call.account, order, "CANCELED", call.now_ms)
            return shapes.order(order)
        self._reprice(call, order, changed)
        return shapes.order(order)

    def _reprice(self, call: Call, order: SimOrder, changed: SimOrder) -> None:
        account = call.account
        before = (order.price, order.quantity)
        self._forget(account, order)
        order.price, order.quantity = changed.price, changed.quantity
        crosses = self._crosses(order)
        try:
            self._check_reprice(account, order, crosses=crosses)
        except Rejection:
            order.price, order.quantity = before
            self._rest(account, order)
            raise
        order.updated_ms = call.now_ms
        call.order_ids.append(order.order_id)
        if crosses:
            self.match(account, order, call.now_ms, taking=True)
        else:
            self._rest(account, order)

    def _check_reprice(self, account: SimAccount, order: SimOrder, *, crosses: bool) -> None:
        if crosses and order.time_in_force == "GTX":
            raise _not_a_maker()
        self._check_margin(account, order)

    def delete_order(self, call: Call) -> object:
        """DELETE /fapi/v1/order."""
        order = self.find(call.account, call.values)
        if order is None or not order.is_open:
            raise unknown_order()
        return self._cancel(call, order)

    def _cancel(self, call: Call, order: SimOrder) -> object:
        self.end(call.account, order, "CANCELED", call.now_ms)
        call.order_ids.append(order.order_id)
        return shapes.order(order)

    def delete_batch(self, call: Call) -> object:
        """DELETE /fapi/v1/batchOrders."""
        symbol = symbol_of(call.values)
        ids = "orderIdList" if call.values.get("orderIdList") else "origClientOrderIdList"
        wanted = read.json_list(call.values, ids)
        if not 0 < len(wanted) <= BATCH_CANCEL_MAX:
            raise Rejection(-4083, "Invalid number of batch cancel orders.")
        answers = []
        for one in wanted:
            by_id = int(one) if ids == "orderIdList" and str(one).isascii() and str(one).isdigit() else None
            order = call.account.find(BOOK, symbol.name, by_id, None if ids == "orderIdList" else str(one))
            answers.append(
                self._cancel(call, order) if order is not None and order.is_open else unknown_order().body()
            )
        return answers

    def delete_all(self, call: Call) -> object:
        """DELETE /fapi/v1/allOpenOrders."""
        symbol = symbol_of(call.values)
        self.cancel_all(call.account, symbol.name, call.now_ms)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def cancel_all(self, account: SimAccount, symbol: str, now_ms: int) -> None:
        """Cancel every open order of a symbol."""
        for order in [o for o in account.open_orders[BOOK].values() if o.symbol.name == symbol]:
            self.end(account, order, "CANCELED", now_ms)

    def post_countdown(self, call: Call) -> object:
        """POST /fapi/v1/countdownCancelAll: 0 stops the countdown."""
        symbol = symbol_of(call.values)
        countdown_ms = read.integer(call.values, "countdownTime")
        call.account.countdowns.pop(symbol.name, None)
        if countdown_ms:
            call.account.countdowns[symbol.name] = call.now_ms + countdown_ms
        return {"symbol": symbol.name, "countdownTime": str(countdown_ms)}

    def run_countdowns(self, account: SimAccount, now_ms: int) -> None:
        """Cancel what a countdown that has run out covers."""
        for symbol in [name for name, due_ms in account.countdowns.items() if now_ms >= due_ms]:
            del account.countdowns[symbol]
            self.cancel_all(account, symbol, now_ms)

    # Reading

    def get_order(self, call: Call) -> object:
        """GET /fapi/v1/order."""
        order = self.find(call.account, call.values)
        if order is None:
            raise no_such_order()
        return shapes.shown(order)

    def get_open_order(self, call: Call) -> object:
        """GET /fapi/v1/openOrder."""
        order = self.find(call.account, call.values)
        if order is None or not order.is_open:
            raise no_such_order()
        return shapes.shown(order)

    def get_open_orders(self, call: Call) -> object:
        """GET /fapi/v1/openOrders."""
        symbol = symbol_of(call.values) if call.values.get("symbol") else None
        return [shapes.shown(order) for order in listing.open_orders(call, BOOK, symbol)]

    def get_all_orders(self, call: Call) -> object:
        """GET /fapi/v1/allOrders."""
        return [shapes.shown(order) for order in listing.all_orders(call, BOOK, symbol_of(call.values))]

    def get_trades(self, call: Call) -> object:
        """GET /fapi/v1/userTrades."""
        too_long = Rejection(-4084, "The time between startTime and endTime is longer than 7 days.")
        found = listing.trades(call, BOOK, symbol_of(call.values), span_max_ms=7 * 86_400_000, too_long=too_long)
        return [shapes.trade(trade) for trade in found]


def _closes_leg(order: SimOrder) -> bool:
    return (order.position_side, order.side) in (("LONG", "SELL"), ("SHORT", "BUY"))


def _not_a_maker() -> Rejection:
    return Rejection(
        -5022, "Due to the order could not be executed as maker, the Post Only order will be rejected. "
               "The order will not be recorded in the order history")


def _opens(order: SimOrder) -> bool:
    return not order.reduce_only and not _closes_leg(order)


def _response_type(values: read.Values) -> str:
    value = values.get("newOrderRespType") or "ACK"
    if value not in ("ACK", "RESULT"):
        raise Rejection(-1154 if value != "FULL" else -1130, "Data sent for parameter 'newOrderRespType' is not valid.")
    return value
