"""T15: targets and hosts that would send the request, or its key, somewhere else."""

from tests.threats.corpus import JUDGED_BY_GATE, REFUSED, Case, form, http

_TARGETS = [
    "http://evil.example/api/v3/order", "https://evil.example/api/v3/order", "HTTP://evil.example/api/v3/order",
    "http://127.0.0.1/api/v3/order", "http://api.binance.com/api/v3/order", "//evil.example/api/v3/order",
    "///evil.example/api/v3/order", "/\\evil.example/api/v3/order", "\\\\evil.example\\api", "evil.example:443",
    "evil.example/api/v3/order", "@evil.example/api/v3/order", "/@evil.example/api/v3/order", ":80/api/v3/order",
    "/api/v3/order@evil.example", "*", "", "?", "?/api/v3/order", "#/api/v3/order", "api/v3/order", ".", "..",
    "/http://evil.example/api/v3/order", "/api:80/v3/order", "ftp://evil.example/x", "file:///etc/passwd",
    "javascript:x", "http:/api/v3/order", "http:api/v3/order", "/%2f%2fevil.example/api", "/api/v3/order?a=b#c",
    "/api/v3/order?a=\\b", "/[::1]/api/v3/order", "http://[::1]/api/v3/order",
]
_HOSTS = [b"evil.example", b"evil.example@127.0.0.1", b"127.0.0.1:99999", b"[::1]", b"fapi.binance.com", b""]

CASES = (
    *(Case(f"target {target!a}", http("POST", target, form()), REFUSED, "origin form only")
      for target in _TARGETS),
    *(Case(f"host {host!a}", http("POST", host=host), JUDGED_BY_GATE, "the host chooses nothing")
      for host in _HOSTS),
    Case("two hosts", http("POST", headers=((b"Host", b"evil.example"),)), REFUSED, "two hosts"),
    Case("host beside host_", http("POST", headers=((b"Host_", b"evil.example"),)), JUDGED_BY_GATE,
         "another header altogether"),
)
