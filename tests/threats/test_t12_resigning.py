"""T12: nobody gets an order signed who could not sign it, and a missing signature is never added."""

import pytest

from proxy.errors import CallerError, SigningError
from proxy.exchanges.base import Credentials
from tests.canary import marked
from tests.threats.cases.t12_resigning import CASES
from tests.threats.corpus import BINANCE, KEY, Case, form, http, wire_of

SECRET = marked("the-bot's-own-secret").encode()
VENUE = Credentials(api_key=marked("venue-key"), secret=marked("venue-secret").encode())


def authenticated(raw: bytes) -> bool:
    """Whether a request would come as far as being signed anew."""
    request = wire_of(raw)
    try:
        recognised = BINANCE.recognise(request)
        if BINANCE.api_key(request) != KEY.decode():
            return False
        parsed = BINANCE.parse(request, recognised)
        BINANCE.timestamp_window(parsed.params)
        BINANCE.verify(request, parsed.params, SECRET)
    except CallerError:
        return False
    return True


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_resigning(case: Case):
    """A request without the bot's key, signature and time never comes to be signed."""
    assert not authenticated(case.raw), case.why


def test_the_bot_itself_is_authenticated():
    """The control: the same order with the bot's own signature passes every one of these steps."""
    signed = BINANCE.sign(wire_of(http("POST")), Credentials(api_key=KEY.decode(), secret=SECRET))
    parsed = BINANCE.parse(signed, BINANCE.recognise(signed))
    BINANCE.verify(signed, parsed.params, SECRET)
    assert authenticated(http("POST", body=signed.body))


@pytest.mark.parametrize("drop", ["signature"])
def test_a_missing_signature_is_never_added(drop):
    """Signing an unsigned request is an error, whatever key is at hand."""
    with pytest.raises(SigningError):
        BINANCE.sign(wire_of(http("POST", body=form(drop=(drop,)))), VENUE)


def test_a_missing_key_header_is_never_added():
    """A request without a key header is not given one."""
    with pytest.raises(SigningError):
        BINANCE.sign(wire_of(http("POST", key=None)), VENUE)


def test_the_corpus_is_as_large_as_the_threat_asks():
    """At least the number of different requests the threat was found to need."""
    assert len({case.raw for case in CASES}) >= 23
    assert len({case.name for case in CASES}) == len(CASES)
