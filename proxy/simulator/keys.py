"""API keys and the check of a signed request.

The payload that is signed is the raw query string followed by the raw body, nothing between
them, without the `signature` pair. Spot demands since 2026-01-15 that the payload is percent-encoded
before it is signed, which a check over the raw bytes enforces by itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import unquote_to_bytes

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from proxy.simulator.rejection import Rejection, duplicated, illegal, missing

RECV_WINDOW_MS = Decimal(5000)
RECV_WINDOW_MAX_MS = Decimal(60000)
AHEAD_MAX_MS = 1000
# Anything later than the year 5138 in milliseconds is taken for microseconds.
MICROSECONDS_FROM = 10**14

_RECV_WINDOW = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,20}", re.ASCII)


@dataclass(slots=True)
class SimKey:
    """An API key of one account. `secret` is the HMAC secret or the PEM of a public key."""

    api_key: str
    account: str
    kind: str
    secret: bytes = field(repr=False)
    _prepared: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Do once what does not change from request to request."""
        if self.kind == "hmac":
            self._prepared = hmac.new(self.secret, digestmod=hashlib.sha256)
        elif self.kind in ("ed25519", "rsa"):
            self._prepared = load_pem_public_key(self.secret)
        else:
            raise ValueError(f"key kind must be hmac, ed25519 or rsa, found {self.kind!r}")

    def verifies(self, payload: bytes, signature: bytes) -> bool:
        """Whether `signature` (as sent, still percent-encoded) signs `payload`."""
        if self.kind == "hmac":
            mac = self._prepared.copy()
            mac.update(payload)
            return hmac.compare_digest(mac.hexdigest().encode(), signature.lower())
        try:
            raw = base64.b64decode(unquote_to_bytes(signature), validate=True)
            if isinstance(self._prepared, ed25519.Ed25519PublicKey):
                self._prepared.verify(raw, payload)
            elif isinstance(self._prepared, rsa.RSAPublicKey):
                self._prepared.verify(raw, payload, padding.PKCS1v15(), SHA256())
            else:
                return False
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def without_signature(part: bytes) -> tuple[bytes, bytes | None]:
    """A query or body without its signature pair, and the signature as sent."""
    if part.startswith(b"signature="):
        start, value_start = 0, 10
    else:
        start = part.find(b"&signature=")
        if start < 0:
            return part, None
        value_start = start + 11
    end = part.find(b"&", value_start)
    if end < 0:
        return part[:start], part[value_start:]
    rest = part[end:] if start else part[end + 1 :]
    if without_signature(rest)[1] is not None:
        raise duplicated()
    return part[:start] + rest, part[value_start:end]


def check_signature(key: SimKey, query: bytes, body: bytes) -> None:
    """Raise Rejection unless the request carries the key's signature."""
    query_payload, in_query = without_signature(query)
    body_payload, in_body = without_signature(body)
    signature = in_query if in_query is not None else in_body
    if not signature:
        raise missing("signature")
    if in_query is not None and in_body is not None:
        raise duplicated()
    if not key.verifies(query_payload + body_payload, signature):
        raise Rejection(-1022, "Signature for this request is not valid.")


def check_time(values: dict[str, str], now_ms: int) -> None:
    """Raise Rejection unless the timestamp is inside its window."""
    text = values.get("timestamp")
    if not text:
        raise missing("timestamp")
    if _TIMESTAMP.fullmatch(text) is None:
        raise illegal("timestamp", "^[0-9]{1,20}$")
    timestamp = int(text)
    if timestamp >= MICROSECONDS_FROM:
        timestamp //= 1000
    window = _window(values.get("recvWindow"))
    if timestamp >= now_ms + AHEAD_MAX_MS:
        raise Rejection(
            -1021, f"Timestamp for this request was {AHEAD_MAX_MS}ms ahead of the server's time."
        )
    if now_ms - timestamp > window:
        raise Rejection(-1021, "Timestamp for this request is outside of the recvWindow.")


def _window(text: str | None) -> Decimal:
    if text is None:
        return RECV_WINDOW_MS
    if _RECV_WINDOW.fullmatch(text) is None:
        raise illegal("recvWindow", r"^[0-9]{1,5}(\.[0-9]{1,3})?$")
    window = Decimal(text)
    if window > RECV_WINDOW_MAX_MS:
        raise Rejection(-1131, "recvWindow must be less than 60000.")
    return window
