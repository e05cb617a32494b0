"""The order every subject is asked to carry: a signed-looking futures order, different each time."""

from __future__ import annotations

import time

KEY = "benchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbe64"
SECRET = "bench-secret"

ACCEPTED_BODY = (
    b'{"orderId":283194212,"symbol":"BTCUSDT","status":"FILLED","clientOrderId":"bench","price":"0.00",'
    b'"avgPrice":"64000.00","origQty":"0.001","executedQty":"0.001","cumQty":"0.001","cumQuote":"64.0",'
    b'"timeInForce":"GTC","type":"MARKET","reduceOnly":false,"closePosition":false,"side":"BUY",'
    b'"positionSide":"BOTH","stopPrice":"0","workingType":"CONTRACT_PRICE","priceProtect":false,'
    b'"origType":"MARKET","updateTime":1762000000000}'
)
ACCEPTED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-MBX-USED-WEIGHT-1M: 1\r\n"
    b"X-MBX-ORDER-COUNT-10S: 1\r\nContent-Length: %d\r\n\r\n%b" % (len(ACCEPTED_BODY), ACCEPTED_BODY)
)


def order_bytes(host: str, number: int) -> bytes:
    """One request; buys and sells alternate, so that the account stays where it is."""
    side = b"SELL" if number & 1 else b"BUY"
    body = (
        b"symbol=BTCUSDT&side=%b&type=MARKET&quantity=0.001&newClientOrderId=bench-%012d&recvWindow=5000"
        b"&timestamp=%d&signature=%016x%048x" % (side, number, int(time.time() * 1000), number, number)
    )
    return (
        b"POST /fapi/v1/order HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n"
        b"User-Agent: bench/1\r\nX-MBX-APIKEY: %b\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (host.encode(), KEY.encode(), len(body), body)
    )
