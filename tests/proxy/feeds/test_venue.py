"""Asking a venue: signed, bounded, never redirected, and quiet when told to be."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from aioresponses import aioresponses
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.clock import ManualClock
from proxy.exchanges.base import Credentials
from proxy.feeds.reading import Malformed
from proxy.feeds.venue import READ_IN_THREAD_BYTES, Allowance, FeedFailed, Venue
from tests.canary import KEY, SECRET
from tests.proxy.feeds.conftest import failing

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
HELD = Credentials(api_key=KEY, secret=SECRET)


@pytest.fixture
def clock():
    """A clock at noon."""
    return ManualClock(NOW)


async def test_a_signed_request_verifies(venue_server, session, clock):
    """Key header, timestamp, window and an HMAC over exactly the query that was sent."""
    venue_server.answers["/x"] = {"a": 1}
    reply = await Venue(session, venue_server.origin, clock, credentials=HELD).get("/x", {"s": "A B"}, signed=True)
    request = venue_server.asked[0]
    signed, _, signature = request.query_string.rpartition("&signature=")
    raw = request.raw_path.partition("?")[2].rpartition("&signature=")[0]
    assert hmac.new(SECRET, raw.encode(), hashlib.sha256).hexdigest() == signature
    assert parse_qs(signed)["timestamp"] == [str(int(NOW.timestamp() * 1000))]
    assert request.headers["X-MBX-APIKEY"] == KEY
    assert (reply.found, reply.as_of) == ({"a": 1}, NOW)


async def test_an_ed25519_key_signs_too(venue_server, session, clock):
    """The base64 signature arrives percent-encoded and verifies."""
    import base64

    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    venue_server.answers["/x"] = {}
    credentials = Credentials(api_key=KEY, secret=pem, kind="ed25519")
    await Venue(session, venue_server.origin, clock, credentials=credentials).get("/x", signed=True)
    request = venue_server.asked[0]
    raw = request.raw_path.partition("?")[2].rpartition("&signature=")[0]
    private.public_key().verify(base64.b64decode(request.query["signature"]), raw.encode())


async def test_a_value_is_as_old_as_its_request(venue_server, session, clock):
    """Time that the answer takes is part of its age."""

    def slow(request):
        clock.advance(to=NOW + timedelta(seconds=3))
        return web.json_response({})

    venue_server.answers["/x"] = slow
    reply = await Venue(session, venue_server.origin, clock).get("/x")
    assert (reply.as_of, reply.sent_s) == (NOW, 0.0)


async def test_a_redirect_is_a_failure(venue_server, session, clock):
    """A signed request is never carried to another address."""
    venue_server.answers["/x"] = failing(302, {"Location": "/y"})
    venue_server.answers["/y"] = {}
    with pytest.raises(FeedFailed, match="status 302"):
        await Venue(session, venue_server.origin, clock).get("/x")
    assert venue_server.paths() == ["/x"]


@pytest.mark.parametrize("status", [429, 418])
async def test_a_pause_is_kept(venue_server, session, clock, status):
    """After Retry-After nothing is asked until it is over."""
    venue_server.answers["/x"] = failing(status, {"Retry-After": "7"})
    venue = Venue(session, venue_server.origin, clock)
    with pytest.raises(FeedFailed, match=f"status {status}"):
        await venue.get("/x")
    assert venue.allowance.pause_s == 7
    with pytest.raises(FeedFailed, match="pause"):
        await venue.get("/x")
    assert len(venue_server.asked) == 1
    clock.advance(to=NOW + timedelta(seconds=7))
    venue_server.answers["/x"] = {}
    await venue.get("/x")


async def test_a_pause_holds_for_all_who_ask_from_the_same_address(venue_server, session, clock):
    """One account's 429 keeps the other from earning a ban."""
    allowance = Allowance(clock)
    one, other = (Venue(session, venue_server.origin, clock, allowance=allowance) for _ in range(2))
    venue_server.answers["/x"] = failing(429, {"Retry-After": "7"})
    with pytest.raises(FeedFailed):
        await one.get("/x")
    with pytest.raises(FeedFailed, match="pause"):
        await other.get("/x")
    assert len(venue_server.asked) == 1


@pytest.mark.parametrize("value", ["", "soon", "-5", "1e9", "٣"])
async def test_a_pause_without_a_usable_length_is_kept_too(session, clock, value):
    """A Retry-After that cannot be read is not a reason to go on."""
    venue = Venue(session, "http://venue.test", clock)
    with aioresponses() as mocked:
        mocked.get("http://venue.test/x", status=429, headers={"Retry-After": value})
        with pytest.raises(FeedFailed):
            await venue.get("/x")
    assert venue.allowance.pause_s == 10


async def test_used_weight_stretches_the_cadence(session, clock):
    """Three quarters of the minute's weight double the intervals, nine tenths make them fourfold."""
    venue = Venue(session, "http://venue.test", clock, allowance=Allowance(clock, weight_max=1000))
    for used, stretch in ((749, 1), (750, 2), (899, 2), (900, 4), (3, 1)):
        with aioresponses() as mocked:
            mocked.get("http://venue.test/x", payload={}, headers={"X-MBX-USED-WEIGHT-1M": str(used)})
            await venue.get("/x")
        assert venue.allowance.stretch == stretch


async def test_an_answer_that_does_not_end_is_cut_off(venue_server, session, clock):
    """A document longer than allowed is refused without being read to its end."""

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
        except (ConnectionError, asyncio.CancelledError):
            return response

    venue_server.answers["/x"] = endless
    with pytest.raises(Malformed, match="longer than 1000 bytes"):
        await Venue(session, venue_server.origin, clock).get("/x", bytes_max=1000)


async def test_a_compressed_answer_counts_by_its_real_length(venue_server, session, clock):
    """A megabyte of zeros in a kilobyte is a megabyte."""
    bomb = gzip.compress(b" " * 1_000_000)
    venue_server.answers["/x"] = lambda request: web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(Malformed, match="longer than"):
        await Venue(session, venue_server.origin, clock).get("/x", bytes_max=100_000)


async def test_a_slow_answer_is_given_up(venue_server, session, clock):
    """A request has a time of its own."""

    async def slow(request):
        await asyncio.sleep(5)

    venue_server.answers["/x"] = slow
    with pytest.raises(FeedFailed, match=r"no answer within 0\.05 s"):
        await Venue(session, venue_server.origin, clock, timeout_s=0.05).get("/x")


async def test_a_long_document_is_read_all_the_same(venue_server, session, clock):
    """What is parsed in a thread arrives as what is parsed at once."""
    venue_server.answers["/x"] = [{"n": "1.5"}] * (READ_IN_THREAD_BYTES // 8)
    reply = await Venue(session, venue_server.origin, clock).get("/x")
    assert len(reply.found) == READ_IN_THREAD_BYTES // 8


async def test_an_error_says_status_and_code_and_no_url(venue_server, session, clock):
    """The venue's own code is there for those who know it; key and signature are not."""
    venue_server.answers["/x"] = failing(400, text='{"code":-2013,"msg":"Order does not exist."}')
    with pytest.raises(FeedFailed) as failure:
        await Venue(session, venue_server.origin, clock, credentials=HELD).get("/x", signed=True)
    assert (failure.value.status, failure.value.code) == (400, -2013)
    assert str(failure.value) == "/x: status 400, code -2013"


async def test_nobody_listening_is_a_failure_without_the_url(session, clock):
    """A refused connection tells its class and the host, no more: the URL carries a signature."""
    with pytest.raises(FeedFailed) as failure:
        await Venue(session, "http://127.0.0.1:9", clock, credentials=HELD).get("/x", signed=True)
    assert str(failure.value) == "/x: ClientConnectorError at 127.0.0.1:9"


async def test_without_credentials_nothing_is_signed(venue_server, session, clock):
    """A signed request without a key is not sent."""
    with pytest.raises(FeedFailed, match="no credentials"):
        await Venue(session, venue_server.origin, clock).get("/x", signed=True)
    assert venue_server.asked == []


async def test_the_environments_proxy_is_not_used(venue_server, session, clock, monkeypatch):
    """HTTP_PROXY does not lead a key elsewhere."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    venue_server.answers["/x"] = {}
    await Venue(session, venue_server.origin, clock).get("/x")
    assert venue_server.paths() == ["/x"]
