"""The webhook: signed JSON, and what does not count as delivered."""

import hashlib
import hmac
import json

import pytest

from proxy.notifiers import AlertClass, Message, NotifyFailed, Severity, Webhook
from tests.canary import WORD, marked
from tests.proxy.notifiers.conftest import NOW

SHARED = marked("shared").encode()
MESSAGE = Message(Severity.CRITICAL, "HALT", "by anna", NOW, (AlertClass.ESS,))


async def test_a_receiver_can_check_who_sent_it_and_when(server, session, clock):
    """HMAC-SHA-256 over timestamp, dot and body, as any language computes it."""
    await Webhook(session, f"{server.url}/hook", secret=SHARED, clock=clock).send(MESSAGE)
    [(path, headers, body)] = server.posted

    signed = headers["X-Riskgate-Timestamp"].encode() + b"." + body
    assert path == "/hook"
    assert headers["X-Riskgate-Timestamp"] == str(int(NOW.timestamp()))
    assert headers["X-Riskgate-Signature"] == "sha256=" + hmac.new(SHARED, signed, hashlib.sha256).hexdigest()
    document = json.loads(body)
    assert document.pop("id")
    assert document == {
        "version": 1, "at": "2026-03-01T12:00:00Z", "severity": "critical", "classes": ["ess"], "title": "HALT",
        "text": "by anna",
    }  # fmt: skip


async def test_without_a_secret_nothing_is_signed(server, session, clock):
    """No header that looks as if it meant something."""
    await Webhook(session, server.url, secret=None, clock=clock).send(MESSAGE)

    assert "X-Riskgate-Signature" not in server.posted[0][1]


@pytest.mark.parametrize("status", [302, 400, 500])
async def test_anything_but_2xx_is_not_delivered(server, session, clock, status):
    """A redirect is not followed either."""
    server.status = status
    with pytest.raises(NotifyFailed, match=str(status)):
        await Webhook(session, f"{server.url}/hook", secret=None, clock=clock).send(MESSAGE)
    assert [path for path, _, _ in server.posted] == ["/hook"]


async def test_an_address_that_does_not_answer_is_not_named(session, clock):
    """The URL may hold a secret of its own."""
    with pytest.raises(NotifyFailed) as failed:
        await Webhook(session, f"http://127.0.0.1:1/{WORD}", secret=None, clock=clock).send(MESSAGE)
    assert WORD not in str(failed.value)
    assert "127.0.0.1" not in str(failed.value)
