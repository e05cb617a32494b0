"""T2: endpoints that place, change or move something and are not the order endpoint everybody knows."""

from tests.threats.corpus import JUDGED_BY_GATE, PASSED_ON, REFUSED, Case, form, http

_MODIFY = form(drop=("type", "timeInForce"), orderId="1")
_CONDITIONAL = form(drop=("price", "timeInForce"), type="STOP_MARKET", algoType="CONDITIONAL", triggerPrice="70000")
_JUDGED = [
    ("PUT", "/fapi/v1/order", _MODIFY), ("POST", "/fapi/v1/order", form()), ("POST", "/fapi/v1/order/test", form()),
    ("POST", "/fapi/v1/algoOrder", _CONDITIONAL), ("POST", "/api/v3/order/test", form()),
    ("POST", "/api/v3/sor/order", form()), ("POST", "/api/v3/sor/order/test", form()),
    ("POST", "/api/v3/order/cancelReplace", form(cancelReplaceMode="ALLOW_FAILURE", cancelOrderId="1")),
    ("PUT", "/api/v3/order/amend/keepPriority", b"symbol=BTCUSDT&orderId=1&newQty=0.5&timestamp=1"),
    ("POST", "/fapi/v1/leverage", b"symbol=BTCUSDT&leverage=125"),
    ("POST", "/fapi/v1/marginType", b"symbol=BTCUSDT&marginType=CROSSED"),
    ("POST", "/fapi/v1/positionSide/dual", b"dualSidePosition=true"),
    ("POST", "/fapi/v1/multiAssetsMargin", b"multiAssetsMargin=true"),
    ("POST", "/fapi/v1/positionMargin", b"symbol=BTCUSDT&type=2&amount=5"),
]
_REFUSED = [
    ("POST", "/fapi/v1/convert/acceptQuote"), ("POST", "/sapi/v1/convert/acceptQuote"),
    ("POST", "/sapi/v1/margin/order"), ("POST", "/sapi/v1/margin/order/oco"), ("POST", "/dapi/v1/order"),
    ("POST", "/dapi/v1/batchOrders"), ("PUT", "/dapi/v1/order"), ("POST", "/papi/v1/um/order"),
    ("POST", "/papi/v1/um/algo/order"), ("POST", "/papi/v1/margin/order"), ("POST", "/eapi/v1/order"),
    ("POST", "/eapi/v1/batchOrders"), ("POST", "/eapi/v1/block/order/create"),
    ("POST", "/sapi/v1/algo/futures/newOrderTwap"), ("POST", "/sapi/v1/margin/manual-liquidation"),
    ("POST", "/sapi/v1/sub-account/futures/move-position"), ("POST", "/sapi/v1/equity/order/place"),
    ("POST", "/sapi/v1/margin/borrow-repay"), ("POST", "/dapi/v1/leverage"), ("POST", "/papi/v1/um/leverage"),
    ("POST", "/sapi/v1/capital/withdraw/apply"), ("POST", "/sapi/v1/asset/transfer"), ("POST", "/eapi/v1/transfer"),
    ("DELETE", "/sapi/v1/margin/isolated/account"), ("DELETE", "/sapi/v1/margin/apiKey"),
    ("POST", "/api/v3/cancelReplace"), ("POST", "/fapi/v1/batchOrder"), ("PUT", "/fapi/v1/batchOrder"),
    ("PUT", "/fapi/v1/order/amend/keepPriority"), ("POST", "/api/v4/order"), ("POST", "/fapi/v1/newOrderTomorrow"),
    ("PUT", "/api/v3/order"), ("DELETE", "/fapi/v1/leverage"), ("GET", "/sapi/v1/soft-staking/set"),
    ("GET", "/sapi/v1/simple-earn/locked/setRedeemOption"), ("POST", "/bapi/v1/order"), ("GET", "/bapi/v1/order"),
    ("POST", "/futures/data/openInterestHist"), ("GET", "/admin/v1/ess"), ("POST", "/admin/v1/ess/release"),
]
_PASSED = [
    ("DELETE", "/fapi/v1/allOpenOrders"), ("DELETE", "/fapi/v1/batchOrders"), ("DELETE", "/fapi/v1/algoOrder"),
    ("DELETE", "/fapi/v1/algoOpenOrders"), ("POST", "/fapi/v1/countdownCancelAll"), ("DELETE", "/api/v3/openOrders"),
    ("DELETE", "/api/v3/orderList"), ("DELETE", "/sapi/v1/margin/order"), ("DELETE", "/dapi/v1/allOpenOrders"),
    ("DELETE", "/papi/v1/um/order"), ("DELETE", "/eapi/v1/order"), ("POST", "/fapi/v1/listenKey"),
    ("POST", "/sapi/v3/asset/getUserAsset"), ("POST", "/sapi/v1/convert/limit/cancelOrder"),
    ("GET", "/fapi/v1/leverageBracket"), ("GET", "/futures/data/openInterestHist"),
]

CASES = (
    *(Case(f"{method} {path}", http(method, path, body), JUDGED_BY_GATE, "changes exposure on a judged family")
      for method, path, body in _JUDGED),
    *(Case(f"{method} {path}", http(method, path, b""), REFUSED, "not judged, so not let through")
      for method, path in _REFUSED),
    *(Case(f"{method} {path}", http(method, path, b""), PASSED_ON, "reads, cancels and listen keys pass")
      for method, path in _PASSED),
)
