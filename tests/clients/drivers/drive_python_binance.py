"""python-binance: Client and AsyncClient, each for spot and futures."""

import asyncio
import inspect

import binance
from conversation import configured, converse, risk_headers

CLIENTS = {}
LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(LOOP)


def connect(name, snippet, key, secret, market, flavour):
    """The snippet as printed; for AsyncClient with the class replaced, as the snippet says."""
    if flavour == "async":
        snippet = snippet.replace("from binance.client import Client", "from binance import AsyncClient")
        snippet = snippet.replace("client = Client(", "client = AsyncClient(").replace(", ping=False", "")
    CLIENTS[name] = (configured(snippet, key, secret)["client"], market)
    return {"version": binance.__version__}


def done(work):
    """The answer, now or awaited."""
    return LOOP.run_until_complete(work) if inspect.isawaitable(work) else work


def place(on, symbol, quantity, price, client_id, form="limit"):
    """Send an order of a form; an unknown form is a ValueError."""
    client, market = CLIENTS[on]
    spot = market == "spot"
    one = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": quantity, "price": price}
    named = {**one, "newClientOrderId": client_id}
    order = client.create_order if spot else client.futures_create_order
    if form == "limit":
        work = order(**named)
    elif form == "market":
        work = order(symbol=symbol, side="BUY", type="MARKET", quantity=quantity, newClientOrderId=client_id)
    elif form == "market_by_cost" and spot:
        work = order(symbol=symbol, side="BUY", type="MARKET", quoteOrderQty=quantity, newClientOrderId=client_id)
    elif form == "test":
        work = (client.create_test_order if spot else client.futures_create_test_order)(**named)
    elif form == "stop_loss" and spot:
        work = order(**{**named, "side": "SELL", "type": "STOP_LOSS_LIMIT", "stopPrice": price})
    elif form == "stop_loss":
        work = order(symbol=symbol, side="SELL", type="STOP_MARKET", stopPrice=price, closePosition=True)
    elif form == "reduce_only" and not spot:
        work = order(symbol=symbol, side="SELL", type="MARKET", quantity=quantity, reduceOnly=True)
    elif form == "edit" and spot:
        replaces = {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrigClientOrderId": client_id}
        work = client.cancel_replace_order(**one, **replaces)
    elif form == "edit":
        work = client.futures_modify_order(
            symbol=symbol, side="BUY", quantity=quantity, price=price, origClientOrderId=client_id
        )
    elif form == "oco" and spot:
        work = client.create_oco_order(
            symbol=symbol, side="SELL", quantity=quantity, listClientOrderId=client_id, aboveType="LIMIT_MAKER",
            abovePrice="66000", belowType="STOP_LOSS_LIMIT", belowStopPrice=price, belowPrice=price,
            belowTimeInForce="GTC",
        )  # fmt: skip
    elif form == "batch" and not spot:
        work = client.futures_place_batch_order(
            batchOrders=[{**one, "newClientOrderId": f"{client_id}-{part}"} for part in "ab"]
        )
    elif form == "leverage" and not spot:
        work = client.futures_change_leverage(symbol=symbol, leverage=int(quantity))
    else:
        raise ValueError(form)
    answer = done(work)
    if not isinstance(answer, dict) or "clientOrderId" not in answer:
        return {"answer": answer}
    return {
        "quantity": answer.get("origQty"),
        "status": answer.get("status"),
        "id": answer["clientOrderId"],
        "headers": risk_headers(client.response.headers),
    }


def cancel(on, symbol, client_id):
    """Cancel by client order id."""
    client, market = CLIENTS[on]
    call = client.cancel_order if market == "spot" else client.futures_cancel_order
    answer = done(call(symbol=symbol, origClientOrderId=client_id))
    return {"status": answer["status"], "id": answer["origClientOrderId" if market == "spot" else "clientOrderId"]}


def reads(on):
    """Listing, server time and balance."""
    client, market = CLIENTS[on]
    if market == "spot":
        info, clock = done(client.get_exchange_info()), done(client.get_server_time())
        balances = {one["asset"]: one["free"] for one in done(client.get_account())["balances"]}
    else:
        info, clock = done(client.futures_exchange_info()), done(client.futures_time())
        balances = {one["asset"]: one["balance"] for one in done(client.futures_account_balance())}
    return {"symbols": len(info["symbols"]), "time": clock["serverTime"], "usdt": balances["USDT"]}


converse({"connect": connect, "place": place, "cancel": cancel, "reads": reads})
for client, _ in CLIENTS.values():
    if isinstance(client, binance.AsyncClient):
        LOOP.run_until_complete(client.close_connection())
