"""binance-connector: spot."""

import importlib.metadata

from conversation import configured, converse

CLIENTS = {}


def connect(name, snippet, key, secret, market, flavour):
    """The snippet as printed."""
    CLIENTS[name] = configured(snippet, key, secret)["client"]
    return {"version": importlib.metadata.version("binance-connector")}


def place(on, symbol, quantity, price, client_id, form="limit"):
    """Send an order of a form; an unknown form is a ValueError."""
    client = CLIENTS[on]
    one = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": quantity, "price": price}
    if form == "limit":
        answer = client.new_order(**one, newClientOrderId=client_id)
    elif form == "market":
        answer = client.new_order(symbol, "BUY", "MARKET", quantity=quantity, newClientOrderId=client_id)
    elif form == "market_by_cost":
        answer = client.new_order(symbol=symbol, side="BUY", type="MARKET", quoteOrderQty=quantity)
    elif form == "test":
        answer = client.new_order_test(**one, newClientOrderId=client_id)
    elif form == "stop_loss":
        answer = client.new_order(**{**one, "side": "SELL", "type": "STOP_LOSS_LIMIT"}, stopPrice=price)
    elif form == "edit":
        replaces = {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrigClientOrderId": client_id}
        answer = client.cancel_and_replace(**one, **replaces)
    elif form == "oco":
        answer = client.new_oco_order(
            symbol=symbol, side="SELL", quantity=quantity, listClientOrderId=client_id, aboveType="LIMIT_MAKER",
            abovePrice="66000", belowType="STOP_LOSS_LIMIT", belowStopPrice=price, belowPrice=price,
            belowTimeInForce="GTC",
        )  # fmt: skip
    else:
        raise ValueError(form)
    if "clientOrderId" not in answer:
        return {"answer": answer}
    return {"quantity": answer.get("origQty"), "status": answer.get("status"), "id": answer["clientOrderId"]}


def cancel(on, symbol, client_id):
    """Cancel by client order id."""
    answer = CLIENTS[on].cancel_order(symbol, origClientOrderId=client_id)
    return {"status": answer["status"], "id": answer["origClientOrderId"]}


def reads(on):
    """Listing, server time and balance."""
    client = CLIENTS[on]
    balances = {one["asset"]: one["free"] for one in client.account()["balances"]}
    return {
        "symbols": len(client.exchange_info()["symbols"]),
        "time": client.time()["serverTime"],
        "usdt": balances["USDT"],
    }


converse({"connect": connect, "place": place, "cancel": cancel, "reads": reads})
