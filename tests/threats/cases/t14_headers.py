"""T14: headers and methods by which a client would be believed, or another request made of this one."""

from tests.threats.corpus import JUDGED_BY_GATE, PASSED_ON, REFUSED, Case, form, http

_OVERRIDES = [
    (b"X-HTTP-Method-Override", b"DELETE"), (b"X-HTTP-Method", b"DELETE"), (b"X-Method-Override", b"DELETE"),
    (b"x-http-method-override", b"GET"), (b"X_HTTP_Method_Override", b"DELETE"), (b"X-Original-URL", b"/api/v3/order"),
    (b"X-Rewrite-URL", b"/api/v3/order"), (b"X_Original_URL", b"/api/v3/order"), (b"X-Original-URI", b"/"),
    (b"X-Forwarded-Uri", b"/api/v3/order"), (b"X-Forwarded-Prefix", b"/x"), (b"X-Forwarded-Method", b"PUT"),
    (b"X-Forwarded-Path", b"/api/v3/order"), (b"X-Override-URL", b"/"), (b"X-Original-Method", b"POST"),
]
_LOOK_ALIKES = [
    (b"X_MBX_APIKEY", b"other"), (b"X-MBX_APIKEY", b"other"), (b"x_mbx-apikey", b"other"), (b"Content_Length", b"0"),
    (b"X-MBX-APIKEY", b"other"), (b"x-mbx-apikey", b"other"), (b"Host", b"other"), (b"Connection", b"X-MBX-APIKEY"),
]
_IGNORED = [
    (b"X-Forwarded-For", b"127.0.0.1"), (b"X-Real-IP", b"127.0.0.1"), (b"Forwarded", b"for=127.0.0.1"),
    (b"X-Forwarded-Host", b"other"), (b"X-Forwarded-Proto", b"https"), (b"X-Risk-Decision", b"allow"),
    (b"X-Risk-Decision-Id", b"1"), (b"X-Risk-Reason", b"all_risk_checks_passed"), (b"X_Risk_Decision", b"allow"),
    (b"X-Internal", b"1"), (b"X-Admin", b"true"), (b"X-Reduce-Only", b"true"), (b"Via", b"1.1 x"),
    (b"Authorization", b"Bearer x"), (b"Cookie", b"a=b"),
]
HEADERS = (
    *(Case(f"{name.decode()}: {value.decode()}", http("POST", headers=((name, value),)), REFUSED,
           "asks for another request, or looks like what counts") for name, value in _OVERRIDES + _LOOK_ALIKES),
    *(Case(f"{name.decode()}: {value.decode()}", http("POST", headers=((name, value),)), JUDGED_BY_GATE,
           "said by the client, believed by nobody") for name, value in _IGNORED),
    *(Case(f"read with {name.decode()}", http("GET", "/api/v3/time", headers=((name, value),)), REFUSED,
           "a harmless path with a rewrite is an order somewhere else") for name, value in _OVERRIDES[:9]),
)
_ODD = [
    "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "MOVE", "COPY", "LOCK", "MKCOL", "PURGE", "LINK",
    "SEARCH", "QUERY", "BREW", "DEBUG", "post", "Post", "pOST", "put", "delete", "get",
]
METHODS = (
    *(Case(f"method {method}", http(method, "/api/v3/order", form()), REFUSED, "four methods are known")
      for method in _ODD),
    Case("order by GET", http("GET", b"/api/v3/order?" + form(), b""), PASSED_ON, "a GET of that path reads"),
    Case("order by PUT", http("PUT", "/api/v3/order", form()), REFUSED, "not an endpoint"),
    Case("order by DELETE", http("DELETE", "/api/v3/order", form()), PASSED_ON, "a DELETE of that path cancels"),
    Case("GET with a body", http("GET", "/api/v3/order", form()), REFUSED, "a GET has no body"),
    Case("_method in a form", http("POST", body=form() + b"&_method=PUT"), REFUSED, "an override"),
    Case("_METHOD in a form", http("POST", body=form() + b"&_METHOD=PUT"), REFUSED, "an override"),
)
CASES = HEADERS + METHODS
