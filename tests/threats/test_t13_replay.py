"""T13: time is read exactly or the request is refused, and a new signature never freshens it."""

from decimal import Decimal

import pytest

from proxy.errors import CallerError, NotAuthentic
from proxy.exchanges.base import Credentials
from proxy.wire import read_params
from rules import Reason
from tests.canary import KEY, SECRET
from tests.threats.cases.t13_replay import CASES, TIMESTAMPS_REFUSED, WINDOWS_REFUSED
from tests.threats.corpus import BINANCE, REFUSED, form, http, wire_of

BOT = Credentials(api_key=KEY, secret=SECRET)


def _window(body: bytes):
    return BINANCE.timestamp_window(read_params(wire_of(http("POST", body=body))))


@pytest.mark.parametrize("text", TIMESTAMPS_REFUSED)
def test_an_odd_timestamp_is_refused(text):
    """Only milliseconds or microseconds in ASCII digits are a time."""
    with pytest.raises(CallerError) as caught:
        _window(form(timestamp=text))
    assert caught.value.reason in (Reason.TIMESTAMP_OUTSIDE_WINDOW, Reason.ORDER_NOT_UNDERSTOOD)


@pytest.mark.parametrize("text", WINDOWS_REFUSED)
def test_an_odd_window_is_refused(text):
    """Only up to 60000 ms with at most three decimals is a window."""
    with pytest.raises(NotAuthentic):
        _window(form(recvWindow=text))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1700000000000, Decimal(5000))),
        ({"timestamp": "1700000000123456"}, (1700000000123, Decimal(5000))),
        ({"recvWindow": "60000"}, (1700000000000, Decimal(60000))),
        ({"recvWindow": "0.001"}, (1700000000000, Decimal("0.001"))),
        ({"timestamp": "1500000000000"}, (1500000000000, Decimal(5000))),
    ],
)
def test_time_is_read_as_written(changes, expected):
    """Whoever compares it with a clock gets what the bot wrote, stale or not."""
    assert _window(form(**changes)) == expected


def test_a_stale_timestamp_is_never_freshened():
    """A new signature covers the bot's own old time."""
    request = wire_of(http("POST", body=form(timestamp="1500000000000")))
    signed = BINANCE.sign(request, BOT)
    assert b"timestamp=1500000000000" in signed.body
    assert _window(signed.body)[0] == 1500000000000


def test_the_corpus_is_for_a_socket():
    """Each case is one different request that must not reach the venue."""
    assert len({case.raw for case in CASES}) == len(CASES) >= 20
    assert {case.expect for case in CASES} == {REFUSED}
