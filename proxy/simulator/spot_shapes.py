"""Spot answers, field by field as Binance writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from proxy.simulator.account import SimAccount, SimOrder, SimOrderList, SimTrade
from proxy.simulator.parameters import Values


def money(value: Decimal) -> str:
    """Eight decimals, as spot writes all of them."""
    return f"{value:.8f}"


def placed(order: SimOrder, wanted: str, values: Values) -> dict[str, Any]:
    """The answer to a new order: ACK, RESULT or FULL."""
    answer: dict[str, Any] = {
        "symbol": order.symbol.name,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_order_id,
        "transactTime": order.updated_ms,
    }
    if wanted == "ACK":
        return answer
    answer.update(_terms(order))
    answer["workingTime"] = order.created_ms
    _add_conditional(order, answer)
    for name in ("strategyId", "strategyType"):
        if values.get(name):
            answer[name] = int(values[name])
    if wanted == "FULL":
        answer["fills"] = [
            {
                "price": money(fill.price),
                "qty": money(fill.quantity),
                "commission": money(fill.fee),
                "commissionAsset": fill.fee_asset,
                "tradeId": fill.trade_id,
            }
            for fill in order.trades
        ]
    return answer


def _terms(order: SimOrder) -> dict[str, Any]:
    return {
        "price": money(order.price),
        "origQty": money(order.quantity),
        "executedQty": money(order.executed),
        "origQuoteOrderQty": money(order.quote_quantity),
        "cummulativeQuoteQty": money(order.quote_executed),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
        "selfTradePreventionMode": order.prevention_mode,
    }


def _add_conditional(order: SimOrder, answer: dict[str, Any]) -> None:
    if order.stop_price:
        answer["stopPrice"] = money(order.stop_price)
    if order.iceberg_quantity:
        answer["icebergQty"] = money(order.iceberg_quantity)
    if order.trailing_delta is not None:
        answer["trailingDelta"] = order.trailing_delta
        answer["trailingTime"] = order.created_ms


def cancelled(order: SimOrder, cancel_id: str) -> dict[str, Any]:
    """The answer to a cancel."""
    answer = {
        "symbol": order.symbol.name,
        "origClientOrderId": order.client_order_id,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": cancel_id,
        "transactTime": order.updated_ms,
        **_terms(order),
    }
    _add_conditional(order, answer)
    return answer


def shown(order: SimOrder) -> dict[str, Any]:
    """An order as a query shows it."""
    return {
        "symbol": order.symbol.name,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_order_id,
        **_terms(order),
        "stopPrice": money(order.stop_price),
        "icebergQty": money(order.iceberg_quantity),
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": not order.is_conditional and order.status != "PENDING_NEW",
        "workingTime": order.created_ms,
    }


def amended(order: SimOrder, previous: str, execution_id: int, now_ms: int) -> dict[str, Any]:
    """The answer to amend/keepPriority."""
    return {
        "transactTime": now_ms,
        "executionId": execution_id,
        "amendedOrder": {
            "symbol": order.symbol.name,
            "orderId": order.order_id,
            "orderListId": order.list_id,
            "origClientOrderId": previous,
            "clientOrderId": order.client_order_id,
            "price": money(order.price),
            "qty": money(order.quantity),
            "executedQty": money(order.executed),
            "preventedQty": money(Decimal(0)),
            "quoteOrderQty": money(order.quote_quantity),
            "cumulativeQuoteQty": money(order.quote_executed),
            "status": order.status,
            "timeInForce": order.time_in_force,
            "type": order.type,
            "side": order.side,
            "workingTime": order.created_ms,
            "selfTradePreventionMode": order.prevention_mode,
        },
    }


def trade(fill: SimTrade) -> dict[str, Any]:
    """A fill as myTrades shows it."""
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": -1,
        "price": money(fill.price),
        "qty": money(fill.quantity),
        "quoteQty": money(fill.price * fill.quantity),
        "commission": money(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.at_ms,
        "isBuyer": fill.side == "BUY",
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def order_list(group: SimOrderList, orders: list[SimOrder]) -> dict[str, Any]:
    """A list as a query shows it."""
    return {
        "orderListId": group.list_id,
        "contingencyType": group.kind,
        "listStatusType": "ALL_DONE" if group.is_done else "EXEC_STARTED",
        "listOrderStatus": "ALL_DONE" if group.is_done else "EXECUTING",
        "listClientOrderId": group.client_id,
        "transactionTime": group.at_ms,
        "symbol": group.symbol,
        "orders": [
            {"symbol": order.symbol.name, "orderId": order.order_id, "clientOrderId": order.client_order_id}
            for order in orders
        ],
    }


def account(found: SimAccount, now_ms: int, fee_rate: Decimal, *, omit_zero: bool) -> dict[str, Any]:
    """GET /api/v3/account."""
    rate = money(fee_rate)
    basis_points = int(fee_rate * 10000)
    return {
        "makerCommission": basis_points,
        "takerCommission": basis_points,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {"maker": rate, "taker": rate, "buyer": "0.00000000", "seller": "0.00000000"},
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": now_ms,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": money(balance.free), "locked": money(balance.locked)}
            for asset, balance in sorted(found.balances.items())
            if not omit_zero or balance.free or balance.locked
        ],
        "permissions": ["SPOT"],
        "uid": 354937868,
    }
