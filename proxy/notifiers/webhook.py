"""Alerts as JSON to a URL, signed, so that whoever receives them knows that they are ours and new."""

from __future__ import annotations

import hashlib
import hmac
from secrets import token_hex

import aiohttp
import orjson

from proxy.audit import Anchor, document_of
from proxy.clock import Clock
from proxy.errors import AuditError
from proxy.notifiers.alerts import Message, NotifyFailed

SIGNATURE = "X-Riskgate-Signature"
TIMESTAMP = "X-Riskgate-Timestamp"


class Webhook:
    """Posts each message once it is due; anything but a 2xx counts as not delivered."""

    name = "webhook"

    def __init__(self, session: aiohttp.ClientSession, url: str, *, secret: bytes | None, clock: Clock) -> None:
        self._session = session
        self._url = url
        self._secret = secret
        self._clock = clock

    async def send(self, message: Message) -> None:
        """Post one message."""
        await self._post(
            {
                "version": 1,
                "id": token_hex(8),
                "at": message.at,
                "severity": message.severity,
                "classes": list(message.classes),
                "title": message.title,
                "text": message.text,
            }
        )

    async def _post(self, document: dict[str, object]) -> None:
        """Post, signed; a redirect is not followed, as nobody signed for where it leads."""
        body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
        timestamp = str(self._clock.now_ms() // 1000)
        headers = {"Content-Type": "application/json", TIMESTAMP: timestamp}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, timestamp, body)
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    raise NotifyFailed(f"it answered {response.status}, expected 2xx")
        except (aiohttp.ClientError, OSError) as error:
            # The text of such an error names the address, which may hold a secret of its own.
            raise NotifyFailed(type(error).__name__) from None


class AnchorWebhook(Webhook):
    """Posts anchors of the audit, with the same signature: `{"version", "anchor": {"at", "seq", "hash"}}`."""

    async def leave(self, anchor: Anchor) -> None:
        """Post one anchor. Raises AuditError where it was not taken."""
        try:
            await self._post({"version": 1, "anchor": document_of(anchor, None)})
        except NotifyFailed as error:
            raise AuditError(str(error)) from None


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """`sha256=` and the hexadecimal HMAC-SHA-256 of timestamp, a dot, and the body."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
