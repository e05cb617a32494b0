"""The admin listener's outside: who gets in, by which path, in which form (threat T16)."""

import asyncio
import hashlib
import hmac
import http.client
import re

import pytest

from proxy.audit import read
from rules import EssLevel
from tests.proxy.admin.conftest import TOKEN

ENGAGE = "/admin/v1/ess/engage"
HALT = {"level": "halt", "scope": "global", "reason": "test", "actor": "ann"}
PROTECTED = [
    ("GET", "/admin/v1/ess"),
    ("POST", ENGAGE),
    ("POST", "/admin/v1/ess/release"),
    ("GET", "/admin/v1/status"),
    ("GET", "/admin/v1/decisions"),
    ("GET", "/admin/v1/decisions/x"),
    ("GET", "/admin/v1/audit/verify"),
    ("GET", "/api/v2/policy"),
    ("PUT", "/api/v2/policy"),
    ("GET", "/api/v2/policy/risk-profile"),
    ("GET", "/api/v2/policy/risk-modes"),
    ("POST", "/api/v2/policy/risk-mode"),
    ("GET", "/api/v2/policy/value"),
    ("GET", "/api/policy/risk_mode"),
    ("POST", "/api/policy/risk_mode/DEFENSIVE"),
    ("GET", "/no/such/path"),
    ("DELETE", "/admin/v1/ess"),
]


async def raw(admin, request):
    """Send bytes as they are; returns the status and the body."""
    host, port = admin.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace(b"{token}", TOKEN.encode()))
    await writer.drain()
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = re.search(rb"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length.group(1))) if length else b""
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def is_clear(admin):
    """Nothing was engaged."""
    return admin.latch.governing("spot-1").level is EssLevel.CLEAR


# -- who gets in


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_without_a_token_nothing_but_probes_answers(admin, method, path):
    """Every path, existing or not, asks for the token first."""
    status, document, headers = await admin.call(method, path, token=None, json=HALT)

    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Bearer")
    assert headers["Content-Type"] == "application/problem+json"
    assert set(document) == {"type", "title", "status", "detail"}
    assert await is_clear(admin)


@pytest.mark.parametrize(
    "authorization",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer wrong",
        b"Bearer {token}x",
        b"Bearer  x{token}",
        b"Bearer {token} {token}",
        b"Bearer {token},Bearer {token}",
        b"Basic {token}",
        b"Token {token}",
        b"{token}",
        b"Bearer \xe9\xe8\xff",
        b"Bearer \xf0\x9f\x98\x80",
        b"bearer=" + b"{token}",
        b"Bearer " + TOKEN.upper().encode(),
        b"Bearer " + b"x" * 6000,
        b'Bearer "{token}"',
        b"Bearer %74" + TOKEN[1:].encode(),
    ],
)
async def test_whatever_is_not_exactly_the_token_is_refused(admin, authorization):
    """Near misses, other schemes and bytes that are no text are 401, never 500 and never in."""
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" % ENGAGE.encode()
    status, _ = await raw(
        admin, head + b"Authorization: " + authorization + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    )

    assert status in (400, 401)
    assert await is_clear(admin)


async def test_two_authorization_headers_are_refused(admin):
    """A right and a wrong one: two readers might take either."""
    head = b"GET /admin/v1/ess HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for first, second in ((b"{token}", b"wrong"), (b"wrong", b"{token}"), (b"{token}", b"{token}")):
        status, _ = await raw(
            admin, head + b"Authorization: Bearer " + first + b"\r\nAuthorization: Bearer " + second + b"\r\n\r\n"
        )
        assert status == 401


async def test_the_token_counts_nowhere_but_in_its_header(admin):
    """Not in the query, a cookie, a body or another header."""
    token = TOKEN
    for options in (
        {"path": f"/admin/v1/ess?token={token}&access_token={token}"},
        {"path": "/admin/v1/ess", "headers": {"Cookie": f"token={token}"}},
        {"path": "/admin/v1/ess", "headers": {"X-Admin-Token": token}},
    ):
        status, _, _ = await admin.get(token=None, **options)
        assert status == 401


async def test_probes_need_no_token_and_tell_no_secret(admin):
    """Health, readiness, version and metrics answer anybody who reaches the port."""
    assert (await admin.get("/healthz", token=None))[:2] == (200, {"status": "ok"})
    assert (await admin.get("/version", token=None))[:2] == (200, {"version": "1.2.3"})
    assert (await admin.get("/readyz", token=None))[0] == 200
    admin.ready = False
    assert (await admin.get("/readyz", token=None))[0] == 503
    status, text, headers = await admin.get("/metrics", token=None)
    assert status == 200
    assert "risk_gate_allows_total 0.0" in text
    assert headers["Content-Type"].startswith("text/plain")


async def test_a_start_is_complete_once_and_for_good(admin):
    """Not before bots are let in and an order could be judged; a feed that is lost later is no new start."""
    admin.ready, admin.proxy_url = False, ""
    assert (await admin.get("/startupz", token=None))[:2] == (503, {"started": False, "parts": {"policy": "ok"}})
    admin.ready = True
    assert (await admin.get("/startupz", token=None))[0] == 503, "nobody listens to bots yet"
    admin.proxy_url = "http://127.0.0.1:8080"
    assert (await admin.get("/startupz", token=None))[:2] == (200, {"started": True, "parts": {"policy": "ok"}})

    admin.ready = False
    assert (await admin.get("/readyz", token=None))[0] == 503
    assert (await admin.get("/startupz", token=None))[0] == 200


# -- guessing


async def test_five_wrong_tokens_then_the_source_waits(admin):
    """The sixth attempt is 429 with Retry-After; the right token works all the same: nobody locks the operator out."""
    for _ in range(5):
        assert (await admin.get("/admin/v1/ess", token="wrong"))[0] == 401
    status, _, headers = await admin.get("/admin/v1/ess", token="wrong")
    assert status == 429
    assert 1 <= int(headers["Retry-After"]) <= 61
    assert (await admin.get("/admin/v1/ess"))[0] == 200
    assert (await admin.get("/admin/v1/ess", token="wrong"))[0] == 429

    admin.clock.advance(to=admin.clock.now().replace(minute=1, second=1))
    assert (await admin.get("/admin/v1/ess", token="wrong"))[0] == 401


async def test_right_tokens_do_not_count(admin):
    """Using the API much is not guessing."""
    for _ in range(20):
        assert (await admin.get("/admin/v1/ess"))[0] == 200


async def test_halting_works_while_the_source_has_to_wait(admin):
    """Nobody can lock the stop by guessing from the same machine; a wrong token still waits."""
    for _ in range(6):
        await admin.get("/admin/v1/ess", token="wrong")
    assert (await admin.post(ENGAGE, HALT, token="wrong"))[0] == 429
    assert await is_clear(admin)
    assert (await admin.post(ENGAGE, HALT))[0] == 200
    assert not await is_clear(admin)


async def test_failed_attempts_are_on_record_without_what_was_tried(admin):
    """Where from and at what, never the guessed token."""
    for _ in range(7):
        await admin.get("/admin/v1/ess", token="guess-1234567890")

    records = list(read(admin.audit.directory, kinds={"admin"}))
    assert len(records) == 5
    assert records[0]["peer"] == "127.0.0.1"
    assert records[0]["act"] == "GET /admin/v1/ess"
    assert "has to wait" in records[4]["result"]
    assert b"guess" not in (admin.audit.directory / "audit-000001.jsonl").read_bytes()


# -- paths


@pytest.mark.parametrize(
    "path",
    [
        "//admin/v1/ess",
        "/admin//v1/ess",
        "/admin/v1/ess/",
        "/admin/v1/ess//",
        "/admin/v1/%65ss",
        "/admin/v1%2fess",
        "/admin%2Fv1%2Fess",
        "/healthz/../admin/v1/ess",
        "/healthz/%2e%2e/admin/v1/ess",
        "/admin/v1/./ess",
        "/admin/v1/ess;x=1",
        "/admin/v1/ess%00",
        "/admin/v1/ess%20",
        "/admin\\v1\\ess",
        "/admin/v1/ess\t",
        "/Admin/v1/ess",
        "/admin/v1/ESS",
        "http://localhost/admin/v1/ess",
        "http://evil.example/admin/v1/ess",
        "*",
        "admin/v1/ess",
        "/admin/v1/ess#x",
        "/\xc3\xa4dmin/v1/ess",
        "/api/v3/order",
        "/fapi/v1/order",
        "/metrics/",
        "/healthz%2f..%2fadmin",
    ],
)
async def test_only_the_plain_spelling_of_a_path_is_served(admin, path):
    """Anything that could be read as another path is not found (or no request at all), with the right token too."""
    for method in (b"GET", b"POST"):
        status, body = await raw(
            admin,
            method + b" " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n{}",
        )
        assert status in (400, 404), (path, body)
    assert await is_clear(admin)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
async def test_only_post_engages(admin, method):
    """Other methods are 405 and name what is allowed; no header turns one into another."""
    status, _, headers = await admin.call(
        method, ENGAGE, headers={"X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST"}
    )
    assert (status, headers["Allow"]) == (405, "POST")
    assert await is_clear(admin)


# -- browsers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "localhost:x",
        "[::1",
        "a@localhost",
        "localhost, evil.example",
    ],
)
async def test_a_foreign_host_name_is_refused(admin, host):
    """A name made to point here (DNS rebinding) is not ours, whatever token comes with it."""
    status, _ = await raw(
        admin,
        b"GET /admin/v1/ess HTTP/1.1\r\nHost: " + host.encode() + b"\r\nAuthorization: Bearer {token}\r\n"
        b"Connection: close\r\n\r\n",
    )
    assert status in (400, 403)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8099",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8099",
        "10.1.2.3:8099",
        "gate.example",
        "Gate.Example.:8099",
    ],
)
async def test_our_own_names_and_addresses_are_served(admin, host):
    """Loopback names, any IP address, and the names that were configured."""
    assert (await admin.get("/admin/v1/ess", headers={"Host": host}))[0] == 200


async def test_a_request_without_or_with_two_hosts_is_refused(admin):
    """Which listener was meant has to be said exactly once."""
    for hosts in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
        status, _ = await raw(
            admin,
            b"GET /admin/v1/ess HTTP/1.1\r\n" + hosts + b"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n",
        )
        assert status in (400, 403)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost",
        "http://127.0.0.1:1",
        "file://",
        "http://127.0.0.1.evil.example",
        "",
    ],
)
async def test_other_sites_pages_are_refused(admin, origin):
    """A page in somebody's browser says where it comes from; only our own may ask."""
    status, _, headers = await admin.post(ENGAGE, HALT, headers={"Origin": origin})
    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers
    assert await is_clear(admin)


async def test_our_own_page_may_ask(admin):
    """The same origin is what a dashboard on this listener sends."""
    headers = {"Origin": admin.base, "Sec-Fetch-Site": "same-origin"}
    assert (await admin.post(ENGAGE, HALT, headers=headers))[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_cross_site_fetch_is_refused_by_its_own_word(admin, site):
    """Sec-Fetch-Site says it even where Origin is left out."""
    assert (await admin.get("/admin/v1/ess", headers={"Sec-Fetch-Site": site}))[0] == 403


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/json, text/plain",
        "application/jsonx",
        "text/json",
    ],
)
async def test_only_json_bodies_are_read(admin, kind):
    """What a foreign page can send without asking is refused before it is read."""
    status, _, _ = await admin.call(
        "POST", ENGAGE, data=b'{"level":"halt"}', headers={"Content-Type": kind}, skip_auto_headers=["Content-Type"]
    )
    assert status == 415
    assert await is_clear(admin)


async def test_answers_carry_the_headers_that_keep_browsers_out(admin):
    """Not cached, not framed, not sniffed, no cookies."""
    for token in (None, TOKEN):
        _, _, headers = await admin.get("/admin/v1/ess", token=token)
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Set-Cookie" not in headers


# -- bodies


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 422),
        (b'"halt"', 422),
        (b"null", 422),
        (b"{", 400),
        (b'{"level":"halt"', 400),
        (b'{"level":"halt","level":"reduce_only"}', 400),
        (b'{"level":"HALT"}', 422),
        (b'{"level":"clear"}', 422),
        (b'{"level":2}', 422),
        (b'{"level":null}', 422),
        (b'{"levle":"halt"}', 422),
        (b'{"level":"halt","until":"30m"}', 422),
        (b'{"scope":"account:nobody"}', 422),
        (b'{"scope":"account:spot-1 "}', 422),
        (b'{"scope":"account:"}', 422),
        (b'{"scope":["global"]}', 422),
        (b'{"scope":"GLOBAL"}', 422),
        (b'{"reason":"' + b"x" * 501 + b'"}', 422),
        (b'{"reason":NaN}', 400),
        (b'{"reason":"\xff"}', 400),
        (b'{"reason":"\\ud800"}', 400),
        (b'{"reason":"' + b"x" * 20000 + b'"}', 413),
        (b"{}" + b" " * 20000, 413),
        (b"[" * 500 + b"]" * 500, 400),
    ],
)
async def test_a_body_that_is_not_exactly_right_engages_nothing(admin, body, status):
    """Unknown keys, wrong types, repeated keys, unknown scopes: told precisely, and nothing is changed."""
    found, document, _ = await admin.call("POST", ENGAGE, data=body, headers={"Content-Type": "application/json"})
    assert found == status, document
    assert document["detail"]
    assert await is_clear(admin)


async def test_compressed_bodies_are_refused(admin):
    """A small body that becomes a large one is not opened."""
    status, _, _ = await admin.call(
        "POST", ENGAGE, data=b"{}", headers={"Content-Type": "application/json", "Content-Encoding": "br"}
    )
    assert status in (400, 415)
    assert await is_clear(admin)


# -- timing


@pytest.mark.parametrize("token", ["", "t", "t0ken-", TOKEN, "y" * 43, "x" * 4000])
async def test_how_much_of_a_token_is_right_never_reaches_a_comparison(admin, monkeypatch, token):
    """Whatever is sent, two digests of 32 bytes are compared in constant time: no prefix and no length shows."""
    compared = []
    real = hmac.compare_digest

    def watching(given, expected):
        compared.append((given, expected))
        return real(given, expected)

    monkeypatch.setattr(hmac, "compare_digest", watching)
    await admin.get("/admin/v1/ess", token=token)

    ((given, expected),) = compared
    assert (len(given), len(expected)) == (32, 32)
    assert given == hashlib.sha256(token.encode()).digest()


async def test_the_listener_speaks_to_a_plain_client(admin):
    """The standard library's client gets the same answers: nothing depends on one HTTP library."""
    host, port = admin.base.removeprefix("http://").split(":")

    def ask():
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().read()
        except OSError:
            return b""
        finally:
            connection.close()

    assert await asyncio.to_thread(ask) == b'{"status":"ok"}'
