"""binance-connector: spot."""

import importlib.metadata

from conversation import configured, converse

CLIENTS = {}


def connect(name, snippet, key, secret, market, flavour):
    """The snippet as printed."""
    CLIENTS[name] = configured(snippet, key, secret)["client"]
    return {"version": importlib.metadata.version("binance-connector")}


def place(on, symbol, quantity, price, id, form="limit"):
    client = CLIENTS[on]
    one = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": quantity, "price": price}
    if form == "limit":
        answer = client.new_order(**one, newClientOrderId=id)
    elif form == "market":
        answer = client.new_order(symbol=symbol, side="BUY", type="MARKET", quantity=quantity, newClientOrderId=id)
    elif form == "market_by_cost":
        answer = client.new_order(symbol=symbol, side="BUY", type="MARKET", quoteOrderQty=quantity)
    elif form == "test":
        answer = client.new_order_test(**one, newClientOrderId=id)
    elif form == "stop_loss":
        answer = client.new_order(**{**one, "side": "SELL", "type": "STOP_LOSS_LIMIT"}, stopPrice=price)
    elif form == "edit":
        answer = client.cancel_and_replace(**one, cancelReplaceMode="STOP_ON_FAILURE", cancelOrigClientOrderId=id)
    elif form == "oco":
        answer = client.new_oco_order(
            symbol=symbol, side="SELL", quantity=quantity, listClientOrderId=id, aboveType="LIMIT_MAKER",
            abovePrice="66000", belowType="STOP_LOSS_LIMIT", belowStopPrice=price, belowPrice=price,
            belowTimeInForce="GTC",
        )  # fmt: skip
    else:
        raise ValueError(form)
    if "clientOrderId" not in answer:
        return {"answer": answer}
    return {"quantity": answer.get("origQty"), "status": answer.get("status"), "id": answer["clientOrderId"]}


def cancel(on, symbol, id):
    answer = CLIENTS[on].cancel_order(symbol, origClientOrderId=id)
    return {"status": answer["status"], "id": answer["origClientOrderId"]}


def reads(on):
    client = CLIENTS[on]
    balances = {one["asset"]: one["free"] for one in client.account()["balances"]}
    return {
        "symbols": len(client.exchange_info()["symbols"]),
        "time": client.time()["serverTime"],
        "usdt": balances["USDT"],
    }


converse({"connect": connect, "place": place, "cancel": cancel, "reads": reads})
