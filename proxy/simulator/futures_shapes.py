"""USDⓈ-M answers, field by field as Binance writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from proxy.simulator.account import SimOrder, SimTrade


def plain(value: Decimal) -> str:
    """The number without needless zeros, never in exponent form."""
    if not value:
        return "0"
    return f"{value.normalize():f}"


def exact(value: Decimal) -> str:
    """Eight decimals, as balances and profits are written."""
    return f"{value:.8f}"


def order(found: SimOrder) -> dict[str, Any]:
    """The answer to a new, changed or cancelled order."""
    symbol = found.symbol
    digits = symbol.quantity_precision
    price = f"{found.price:.{symbol.price_precision}f}"
    executed = f"{found.executed:.{digits}f}"
    answer = {
        "orderId": found.order_id,
        "symbol": symbol.name,
        "status": found.status,
        "clientOrderId": found.client_order_id,
        "price": price,
        "avgPrice": f"{found.average_price:.2f}" if found.executed else "0.00",
        "origQty": f"{found.quantity:.{digits}f}",
        "executedQty": executed,
        "cumQty": executed,
        "cumQuote": exact(found.quote_executed),
        "timeInForce": found.time_in_force,
        "type": found.type,
        "reduceOnly": found.reduce_only,
        "closePosition": found.close_position,
        "side": found.side,
        "positionSide": found.position_side,
        "stopPrice": f"{found.stop_price:.{symbol.price_precision}f}",
        "workingType": found.working_type,
        "priceProtect": found.price_protect,
        "origType": found.type,
        "priceMatch": found.price_match,
        "selfTradePreventionMode": found.prevention_mode,
        "goodTillDate": found.good_till_ms,
        "updateTime": found.updated_ms,
    }
    if found.callback_rate:
        answer["activatePrice"] = plain(found.activate_price)
        answer["priceRate"] = plain(found.callback_rate)
    return answer


def shown(found: SimOrder) -> dict[str, Any]:
    """An order as a query shows it."""
    answer = order(found)
    del answer["cumQty"]
    answer["time"] = found.created_ms
    return answer


def algo(found: SimOrder, actual: SimOrder | None) -> dict[str, Any]:
    """A conditional order."""
    symbol = found.symbol
    return {
        "algoId": found.order_id,
        "clientAlgoId": found.client_order_id,
        "algoType": "CONDITIONAL",
        "orderType": found.type,
        "symbol": symbol.name,
        "side": found.side,
        "positionSide": found.position_side,
        "timeInForce": found.time_in_force,
        "quantity": f"{found.quantity:.{symbol.quantity_precision}f}",
        "algoStatus": found.status,
        "actualOrderId": str(found.actual_order_id or ""),
        "actualPrice": exact(actual.average_price if actual is not None else Decimal(0)),
        "triggerPrice": f"{found.stop_price:.{symbol.price_precision}f}",
        "price": f"{found.price:.{symbol.price_precision}f}",
        "icebergQuantity": None,
        "tpTriggerPrice": "0.000",
        "tpPrice": "0.000",
        "slTriggerPrice": "0.000",
        "slPrice": "0.000",
        "tpOrderType": "",
        "selfTradePreventionMode": found.prevention_mode,
        "workingType": found.working_type,
        "priceMatch": found.price_match,
        "closePosition": found.close_position,
        "priceProtect": found.price_protect,
        "reduceOnly": found.reduce_only,
        "activatePrice": plain(found.activate_price) if found.activate_price else "",
        "callbackRate": plain(found.callback_rate) if found.callback_rate else "",
        "createTime": found.created_ms,
        "updateTime": found.updated_ms,
        "triggerTime": found.updated_ms if found.triggered else 0,
        "goodTillDate": found.good_till_ms,
    }


def trade(fill: SimTrade) -> dict[str, Any]:
    """A fill as userTrades shows it."""
    return {
        "buyer": fill.side == "BUY",
        "commission": exact(fill.fee),
        "commissionAsset": fill.fee_asset,
        "id": fill.trade_id,
        "maker": fill.is_maker,
        "orderId": fill.order_id,
        "price": plain(fill.price),
        "qty": plain(fill.quantity),
        "quoteQty": exact(fill.price * fill.quantity),
        "realizedPnl": exact(fill.realised),
        "side": fill.side,
        "positionSide": fill.position_side,
        "symbol": fill.symbol,
        "time": fill.at_ms,
    }


def income(kind: str, amount: Decimal, asset: str, symbol: str, fill: SimTrade) -> dict[str, Any]:
    """One line of the income history."""
    return {
        "symbol": symbol,
        "incomeType": kind,
        "income": exact(amount),
        "asset": asset,
        "info": kind,
        "time": fill.at_ms,
        "tranId": fill.trade_id,
        "tradeId": str(fill.trade_id),
    }
