"""Binance's streams asked for: keys, subscriptions, and what is none of the account's business."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.book import AccountPlace, Book
from proxy.clock import SystemClock
from proxy.exchanges.base import Credentials
from proxy.feeds import Live, ServerTime, Venue
from proxy.feeds.reading import Malformed
from proxy.feeds.stream import Gone
from proxy.feeds.stream_binance import FuturesStream, SpotStream
from proxy.feeds.venue import FeedFailed
from proxy.reservations import Reservations
from rules import Market
from tests.canary import KEY, SECRET
from tests.proxy.feeds.conftest import FakeVenue, failing, session, venue_server

__all__ = ["session", "venue_server"]

LISTEN_KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


class Streams:
    """Both streams of one account, before anything is connected."""

    def __init__(self, session, server: FakeVenue, *, known_time: bool = True) -> None:
        self.clock = SystemClock()
        self.session = session
        self.server = server
        self.book = Book([AccountPlace(name="main", exchange="binance", markets=frozenset(Market))])
        self.time = ServerTime(self.clock)
        if known_time:
            now_s = self.clock.monotonic()
            self.time.note(int(self.clock.now().timestamp() * 1000), now_s, now_s)
        credentials = Credentials(api_key=KEY, secret=SECRET)
        venue = Venue(session, server.origin, self.clock, credentials=credentials, server_time=self.time)
        reservations = Reservations(self.book, self.clock)
        self.lives = {
            market: Live("main", market, self.book, reservations, self.clock, self.time) for market in Market
        }
        origin = server.origin.replace("http", "ws")
        shared = venue, self.time, origin, session, self.clock
        place = {"book": self.book, "exchange": "binance"}
        self.futures = FuturesStream("f", self.lives[Market.LINEAR], *shared, **place)
        self.spot = SpotStream("s", self.lives[Market.SPOT], *shared, **place)


@pytest.fixture
async def streams(session, venue_server) -> Streams:
    """Streams of an account whose venue's time is known."""
    return Streams(session, venue_server)


async def test_a_listen_key_is_asked_for_with_the_key_alone(streams):
    """No signature, no timestamp; and the stream is where Binance has it since its split."""
    streams.server.answers["/fapi/v1/listenKey"] = {"listenKey": LISTEN_KEY}
    address = await streams.futures.address()
    assert address == f"{streams.server.origin.replace('http', 'ws')}/private/ws/{LISTEN_KEY}"
    (asked,) = streams.server.asked
    assert (asked.method, asked.query_string, asked.headers["X-MBX-APIKEY"]) == ("POST", "", KEY)


@pytest.mark.parametrize("answer", [{}, {"listenKey": ""}, {"listenKey": "../../x"}, {"listenKey": 7}, []])
async def test_a_listen_key_that_is_none_is_refused(streams, answer):
    """It becomes part of an address."""
    streams.server.answers["/fapi/v1/listenKey"] = answer
    with pytest.raises(Malformed):
        await streams.futures.address()


async def test_nothing_is_connected_before_the_venues_time_is_known(session, venue_server):
    """Events could not be put in order with readings."""
    streams = Streams(session, venue_server, known_time=False)
    for stream in (streams.futures, streams.spot):
        with pytest.raises(FeedFailed, match="time"):
            await stream.address()
    assert not venue_server.asked


async def test_keeping_alive_fails_loudly_unless_the_key_is_gone(streams):
    """A venue that does not answer is a failure; one that says there is no such key makes a new connection."""
    streams.server.answers["/fapi/v1/listenKey"] = failing(503)
    with pytest.raises(FeedFailed):
        await streams.futures.keep_alive()
    assert not streams.futures.stream._is_renewed
    streams.server.answers["/fapi/v1/listenKey"] = failing(400, text='{"code":-1125,"msg":"x"}')
    await streams.futures.keep_alive()
    assert streams.futures.stream._is_renewed
    assert {asked.method for asked in streams.server.asked} == {"PUT"}


async def greeted(streams: Streams, *answers: Any) -> Any:
    """What the venue was sent when it answers like this."""
    sent: list[Any] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sent.append(json.loads(await socket.receive_str()))
        await socket.ping(b"x")
        for answer in answers:
            await socket.send_str(answer if isinstance(answer, str) else json.dumps(answer))
        await socket.close()
        return socket

    streams.server.answers["/ws-api/v3"] = serve
    async with streams.session.ws_connect(await streams.spot.address(), autoping=False) as socket:
        await streams.spot.greet(socket)
    return sent[0]


async def test_a_subscription_is_signed_and_its_answer_awaited(streams):
    """What else is said meanwhile is passed over."""
    asked = await greeted(streams, {"id": "other", "status": 400}, {"id": "1", "status": 200, "result": {}})
    assert asked["method"] == "userDataStream.subscribe.signature"
    assert asked["params"].keys() == {"apiKey", "recvWindow", "timestamp", "signature"}
    assert len(asked["params"]["signature"]) == 64


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"id": "1", "status": 401, "error": {"code": -2015, "msg": f"{KEY} is unknown"}}], "-2015"),
        ([{"id": "1", "status": 400}], "refused"),
        ([], "no answer"),
        ([{"id": str(number), "status": 200} for number in range(2, 60)], "no answer"),
    ],
)
async def test_a_subscription_that_was_not_confirmed_is_none(streams, answers, said):
    """An open socket is no subscription; what the venue says of the key is not repeated."""
    with pytest.raises(FeedFailed, match=said) as caught:
        await greeted(streams, *answers)
    assert KEY not in str(caught.value)


async def test_nonsense_instead_of_an_answer_is_malformed(streams):
    """Not mistaken for a confirmation."""
    with pytest.raises(Malformed):
        await greeted(streams, "[1]")


@pytest.mark.parametrize("kind", ["TRADE_LITE", "STRATEGY_UPDATE", "GRID_UPDATE", "SOMETHING_NEW"])
async def test_events_that_say_nothing_of_the_account_are_passed_over(streams, kind):
    """A new kind of event must not end the stream; readings find what it would have meant."""
    streams.futures.take({"e": kind, "E": 1})
    streams.spot.take({"subscriptionId": 0, "event": {"e": kind, "E": 1}})
    assert streams.lives[Market.LINEAR].events == 0


@pytest.mark.parametrize("found", [[], 1, {}, {"e": 1}, {"e": ""}, {"stream": "x"}])
async def test_what_is_no_event_is_malformed(streams, found):
    """Nothing is guessed."""
    with pytest.raises(Malformed):
        streams.futures.take(found)
    with pytest.raises(Malformed):
        streams.spot.take({"subscriptionId": 0, "event": found} if isinstance(found, dict) else found)


async def test_what_ends_a_stream_ends_it(streams):
    """Expired, terminated, shut down."""
    with pytest.raises(Gone):
        streams.futures.take({"e": "listenKeyExpired", "E": 1, "listenKey": LISTEN_KEY})
    for kind in ("eventStreamTerminated", "serverShutdown"):
        with pytest.raises(Gone):
            streams.spot.take({"subscriptionId": 0, "event": {"e": kind, "E": 1}})


async def test_a_change_of_margin_type_has_the_settings_read(streams):
    """Leverage and position mode are asked for; every change of an account has its equity read."""
    asked = []
    streams.futures.wants_equity = lambda: asked.append("equity")
    streams.futures.wants_config = lambda: asked.append("config")
    now_ms = streams.time.now_ms()
    for reason in ("FUNDING_FEE", "MARGIN_TYPE_CHANGE"):
        streams.futures.take({"e": "ACCOUNT_UPDATE", "E": now_ms, "T": now_ms, "a": {"m": reason, "B": [], "P": []}})
    assert asked == ["equity", "equity", "config"]


async def test_a_margin_call_is_an_error_in_the_log(streams):
    """With the symbols that it is about."""
    with capture_logs() as lines:
        streams.futures.take({"e": "MARGIN_CALL", "E": 1, "p": [{"s": "BTCUSDT"}]})
    (line,) = [line for line in lines if line["event"] == "account.margin_call"]
    assert (line["account"], line["symbols"], line["log_level"]) == ("main", ["BTCUSDT"], "error")
