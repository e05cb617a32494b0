"""The order every subject is asked to carry: a signed-looking futures order, different each time.

A limit order, immediate or cancel, that finds nobody: its answer ends it. Orders that rest or fill would
pile up until the account is read again, thousands of them at a rate that no venue admits for one account
(Binance: 300 orders in 10 seconds, 200 open ones a symbol), and what is measured would be that pile.
"""

from __future__ import annotations

import time

KEY = "benchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbe64"
SECRET = "bench-secret"

ACCEPTED_BODY = (
    b'{"orderId":283194212,"symbol":"BTCUSDT","status":"EXPIRED","clientOrderId":"bench","price":"59990.00",'
    b'"avgPrice":"0.00","origQty":"0.001","executedQty":"0.000","cumQty":"0.000","cumQuote":"0.00",'
    b'"timeInForce":"IOC","type":"LIMIT","reduceOnly":false,"closePosition":false,"side":"BUY",'
    b'"positionSide":"BOTH","stopPrice":"0","workingType":"CONTRACT_PRICE","priceProtect":false,'
    b'"origType":"LIMIT","updateTime":1762000000000}'
)
ACCEPTED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-MBX-USED-WEIGHT-1M: 1\r\n"
    b"X-MBX-ORDER-COUNT-10S: 1\r\nContent-Length: %d\r\n\r\n%b" % (len(ACCEPTED_BODY), ACCEPTED_BODY)
)


def order_bytes(host: str, number: int) -> bytes:
    """One request; buys and sells alternate, so that the account stays where it is."""
    tick = number // 2 % 1000  # bots follow the market: a price that repeats is no order of theirs
    side, price = (b"SELL", b"60%03d.%d" % divmod(100 + tick, 10)) if number & 1 else (
        b"BUY", b"59%03d.%d" % divmod(9_990 - tick, 10)
    )
    body = (
        b"symbol=BTCUSDT&side=%b&type=LIMIT&timeInForce=IOC&quantity=0.001&price=%b&newClientOrderId=bench-%012d"
        b"&recvWindow=5000&timestamp=%d&signature=%016x%048x"
        % (side, price, number, int(time.time() * 1000), number, number)
    )
    return (
        b"POST /fapi/v1/order HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n"
        b"User-Agent: bench/1\r\nX-MBX-APIKEY: %b\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (host.encode(), KEY.encode(), len(body), body)
    )
