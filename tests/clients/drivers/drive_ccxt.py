"""ccxt: sync and async, spot (`binance`) and USDⓈ-M (`binanceusdm`)."""

import asyncio
import socket
import types

import ccxt
import ccxt.async_support
from conversation import configured, converse, risk_headers

EXCHANGES = {}
VENUE_IDS = {}  # client order id -> the exchange's own, which ccxt needs to edit an order
LOOP = asyncio.new_event_loop()
CLASSES = {"spot": "binance", "futures": "binanceusdm"}
SYMBOLS = {
    ("spot", "BTCUSDT"): "BTC/USDT", ("spot", "DOGEUSDT"): "DOGE/USDT",
    ("futures", "BTCUSDT"): "BTC/USDT:USDT", ("futures", "DOGEUSDT"): "DOGE/USDT:USDT",
}  # fmt: skip


def resolve(domain, host):
    """Let names under a domain resolve to the proxy, as a line in the DNS of the user's own domain would."""
    original = socket.getaddrinfo

    def found(name, *rest, **named):
        text = name.decode() if isinstance(name, bytes) else name
        return original(host if text and text.endswith("." + domain) else name, *rest, **named)

    socket.getaddrinfo = found


def connect(name, snippet, key, secret, market, flavour, way=1, ca_file="", domain=""):
    """Run one of the two configurations that the snippet prints; `way` 2 is the own domain."""
    _, first, second = (part.partition("\n")[2] for part in snippet.replace("# 2. ", "# 1. ").split("# 1. "))
    module = ccxt if flavour == "sync" else ccxt.async_support
    extra = {}
    if way == 2:
        resolve(domain, "127.0.0.1")
        # What the snippet says of a private authority.
        extra = {"requests_trust_env": True} if flavour == "sync" else {"cafile": ca_file}
    chosen = getattr(module, CLASSES[market])
    stand_in = types.SimpleNamespace(binance=lambda settings: chosen({**settings, **extra}))
    exchange = configured(first if way == 1 else second, key, secret, ccxt=stand_in)["exchange"]
    EXCHANGES[name] = (exchange, market, flavour)
    return {"version": ccxt.__version__}


def done(flavour, work):
    """The answer, now or awaited."""
    return work if flavour == "sync" else LOOP.run_until_complete(work)


def place(on, symbol, quantity, price, client_id, form="limit"):
    """Send an order of a form; an unknown form is a ValueError."""
    exchange, market, flavour = EXCHANGES[on]
    symbol = SYMBOLS[market, symbol]
    params = {"newClientOrderId": client_id}
    amount, price = float(quantity), float(price)
    if form == "portfolio_margin":
        work = exchange.create_order(symbol, "limit", "buy", amount, price, {**params, "portfolioMargin": True})
    elif form == "limit":
        work = exchange.create_order(symbol, "limit", "buy", amount, price, params)
    elif form == "market":
        work = exchange.create_order(symbol, "market", "buy", amount, None, params)
    elif form == "test":
        work = exchange.create_order(symbol, "limit", "buy", amount, price, {**params, "test": True})
    elif form == "stop_loss":
        trigger = {**params, "stopLossPrice": price}
        work = exchange.create_order(symbol, "limit" if market == "spot" else "market", "sell", amount, price, trigger)
    elif form == "reduce_only" and market == "futures":
        work = exchange.create_order(symbol, "market", "sell", amount, None, {**params, "reduceOnly": True})
    elif form == "market_by_cost":
        work = exchange.create_market_buy_order_with_cost(symbol, amount, params)
    elif form == "edit":
        work = exchange.edit_order(VENUE_IDS[client_id], symbol, "limit", "buy", amount, price)
    elif form == "batch":
        one = {"symbol": symbol, "type": "limit", "side": "buy", "amount": amount, "price": price}
        work = exchange.create_orders([{**one, "params": {"newClientOrderId": f"{client_id}-{part}"}} for part in "ab"])
    elif form == "leverage":
        work = exchange.set_leverage(int(quantity), symbol)
    elif form == "margin_mode":
        work = exchange.set_margin_mode("cross", symbol)
    else:
        raise ValueError(form)
    order = done(flavour, work)
    if not isinstance(order, dict) or "clientOrderId" not in order:
        return {"answer": order}
    VENUE_IDS[client_id] = order["id"]
    return {
        "quantity": str(order["amount"]),
        "status": order["status"],
        "id": order["clientOrderId"],
        "headers": risk_headers(exchange.last_response_headers),
    }


def cancel(on, symbol, client_id):
    """Cancel by client order id."""
    exchange, market, flavour = EXCHANGES[on]
    order = done(flavour, exchange.cancel_order("", SYMBOLS[market, symbol], {"origClientOrderId": client_id}))
    # On spot the cancel itself has a client order id too, and ccxt shows that one.
    return {"status": order["status"], "id": order["info"].get("origClientOrderId", order["clientOrderId"])}


def reads(on):
    """Listing, server time and balance."""
    exchange, _, flavour = EXCHANGES[on]
    markets = done(flavour, exchange.load_markets(True))
    return {
        "symbols": len(markets),
        "time": done(flavour, exchange.fetch_time()),
        "usdt": str(done(flavour, exchange.fetch_balance())["USDT"]["total"]),
    }


converse({"connect": connect, "place": place, "cancel": cancel, "reads": reads})
for exchange, _, flavour in EXCHANGES.values():
    if flavour == "async":
        LOOP.run_until_complete(exchange.close())
