"""T1: spellings of the order path that a venue or a server behind us might read as the order path."""

from tests.threats.corpus import JUDGED_BY_GATE, PASSED_ON, REFUSED, Case, form, http

_SPELLINGS = [
    "//api/v3/order", "/api//v3/order", "/api/v3//order", "/api/v3/order/", "/api/v3/order//", "/./api/v3/order",
    "/api/./v3/order", "/api/v3/./order", "/api/v3/order/.", "/x/../api/v3/order", "/api/v3/x/../order",
    "/api/v3/order/..", "/api/v3/order/../order", "/x/%2e%2e/api/v3/order", "/x/%2E%2E/api/v3/order",
    "/api/v3/x/%2e%2e/order", "/api%2Fv3%2Forder", "/api%2fv3/order", "/api/v3%2Forder", "/api/v3/%6Frder",
    "/api/v3/%6frder", "/api/v3/orde%72", "/%61pi/v3/order", "/api/v3/order%20", "/api/v3/order%00",
    "/api/v3/order%09", "/api/v3/order%0a", "/api/v3/order%23", "/api/v3/order%3F", "/api/v3/order%3Bx",
    "/api/v3/order;x=1", "/api/v3/order;", "/api;v=1/v3/order", "/api\\v3\\order", "/api/v3\\order",
    "/API/v3/order", "/Api/v3/order", "/api/V3/order", "/api/v3/Order", "/api/v3/ORDER", "/api/v3/order.json",
    "/api/v3/order.", "/api/v3/order,", "/api/v3/order~", "/api/v3/order#x", "/api/v3/order#", "/api/v3/order*",
    "/api/v1/order", "/api/v03/order", "/api/v3/orders", "/v3/order", "/order", "/", "/fapi/v2/order",
    "/fapi/v1/order/", "/fapi/v1/%6frder", "/fapi//v1/order", "/fapi/v1/Order", "/sapi/../api/v3/order",
    "/api/v3/order/test/", "/api/v3/order/test/../../order", "/api/v3/order/%2e", "/api/v3/order\xa0",
    "/api/v3/ord\u200ber",
]

CASES = (
    *(
        Case(f"{index:02} {path!a}", http("POST", path.encode("utf-8")), REFUSED, "only the exact raw path is it")
        for index, path in enumerate(_SPELLINGS)
    ),
    Case("exact path", http("POST", "/api/v3/order"), JUDGED_BY_GATE, "the one spelling"),
    Case("exact path, query", http("POST", b"/api/v3/order?" + form(), b""), JUDGED_BY_GATE, "the one spelling"),
    Case("bare question mark", http("POST", "/api/v3/order?", form()), JUDGED_BY_GATE, "an empty query is no query"),
    Case("cancel spelled oddly", http("DELETE", "/api/v3//order?symbol=BTCUSDT&orderId=1"), REFUSED, "not plain"),
    Case("cancel", http("DELETE", "/api/v3/order?symbol=BTCUSDT&orderId=1"), PASSED_ON, "cancels pass"),
    Case("read spelled oddly", http("GET", "/api/v3/../v3/order"), REFUSED, "nor are odd reads plain"),
    Case("read", http("GET", "/api/v3/order?symbol=BTCUSDT&orderId=1"), PASSED_ON, "reads pass"),
)
