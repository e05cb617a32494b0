"""binance-sdk-derivatives-trading-usds-futures."""

import importlib.metadata

from conversation import configured, converse, risk_headers

CLIENTS = {}


def connect(name, snippet, key, secret, market, flavour):
    """The snippet as printed."""
    CLIENTS[name] = configured(snippet, key, secret)["client"].rest_api
    return {"version": importlib.metadata.version("binance-sdk-derivatives-trading-usds-futures")}


def place(on, symbol, quantity, price, client_id, form="limit"):
    """Send an order of a form; an unknown form is a ValueError."""
    client = CLIENTS[on]
    one = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"}
    numbers = {"quantity": float(quantity), "price": float(price)}
    if form == "limit":
        answer = client.new_order(**one, **numbers, new_client_order_id=client_id)
    elif form == "market":
        answer = client.new_order(symbol, "BUY", "MARKET", quantity=float(quantity), new_client_order_id=client_id)
    elif form == "reduce_only":
        answer = client.new_order(symbol, "SELL", "MARKET", quantity=float(quantity), reduce_only="true")
    elif form == "test":
        answer = client.test_order(**one, **numbers, new_client_order_id=client_id)
    elif form == "edit":
        answer = client.modify_order(symbol, "BUY", **numbers, orig_client_order_id=client_id)
    elif form == "stop_loss":
        answer = client.new_algo_order(
            algo_type="CONDITIONAL", symbol=symbol, side="SELL", type="STOP_MARKET", trigger_price=float(price),
            close_position="true", client_algo_id=client_id,
        )  # fmt: skip
    elif form == "batch":
        legs = [
            {
                "symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": quantity,
                "price": price, "newClientOrderId": f"{client_id}-{part}",
            }
            for part in "ab"
        ]  # fmt: skip
        answer = client.place_multiple_orders(legs)
    elif form == "leverage":
        answer = client.change_initial_leverage(symbol, int(quantity))
    else:
        raise ValueError(form)
    found = answer.data()
    if not hasattr(found, "client_order_id"):
        return {"answer": str(found)}
    return {
        "quantity": found.orig_qty,
        "status": found.status,
        "id": found.client_order_id,
        "headers": risk_headers(answer.headers),
    }


def cancel(on, symbol, client_id):
    """Cancel by client order id."""
    found = CLIENTS[on].cancel_order(symbol, orig_client_order_id=client_id).data()
    return {"status": found.status, "id": found.client_order_id}


def reads(on):
    """Listing, server time and balance."""
    client = CLIENTS[on]
    balances = {one.asset: one.balance for one in client.futures_account_balance_v3().data()}
    return {
        "symbols": len(client.exchange_information().data().symbols),
        "time": client.check_server_time().data().server_time,
        "usdt": balances["USDT"],
    }


converse({"connect": connect, "place": place, "cancel": cancel, "reads": reads})
