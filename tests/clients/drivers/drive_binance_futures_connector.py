"""binance-futures-connector: USDⓈ-M."""

import importlib.metadata

from conversation import configured, converse

CLIENTS = {}


def connect(name, snippet, key, secret, market, flavour):
    """The snippet as printed."""
    CLIENTS[name] = configured(snippet, key, secret)["um"]
    return {"version": importlib.metadata.version("binance-futures-connector")}


def place(on, symbol, quantity, price, client_id, form="limit"):
    """Send an order of a form; an unknown form is a ValueError."""
    client = CLIENTS[on]
    one = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": quantity, "price": price}
    if form == "limit":
        answer = client.new_order(**one, newClientOrderId=client_id)
    elif form == "market":
        answer = client.new_order(symbol, "BUY", "MARKET", quantity=quantity, newClientOrderId=client_id)
    elif form == "reduce_only":
        answer = client.new_order(symbol=symbol, side="SELL", type="MARKET", quantity=quantity, reduceOnly="true")
    elif form == "test":
        answer = client.new_order_test(**one, newClientOrderId=client_id)
    elif form == "edit":
        answer = client.modify_order(
            symbol=symbol, side="BUY", quantity=float(quantity), price=float(price), origClientOrderId=client_id
        )
    elif form == "batch":
        answer = client.new_batch_order([{**one, "newClientOrderId": f"{client_id}-{part}"} for part in "ab"])
    elif form == "leverage":
        answer = client.change_leverage(symbol=symbol, leverage=int(quantity))
    else:
        raise ValueError(form)
    if not isinstance(answer, dict) or "clientOrderId" not in answer:
        return {"answer": answer}
    return {"quantity": answer["origQty"], "status": answer["status"], "id": answer["clientOrderId"]}


def cancel(on, symbol, client_id):
    """Cancel by client order id."""
    answer = CLIENTS[on].cancel_order(symbol=symbol, origClientOrderId=client_id)
    return {"status": answer["status"], "id": answer["clientOrderId"]}


def reads(on):
    """Listing, server time and balance."""
    client = CLIENTS[on]
    balances = {one["asset"]: one["balance"] for one in client.balance()}
    return {
        "symbols": len(client.exchange_info()["symbols"]),
        "time": client.time()["serverTime"],
        "usdt": balances["USDT"],
    }


converse({"connect": connect, "place": place, "cancel": cancel, "reads": reads})
