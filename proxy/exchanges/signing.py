"""Signatures: made and checked over the exact bytes that are sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.errors import SigningError


def hmac_sha256_hex(secret: bytes, payload: bytes) -> bytes:
    """HMAC-SHA256 in lower-case hex."""
    if not secret:
        raise SigningError("the signing secret is empty")
    return hmac.new(secret, payload, hashlib.sha256).hexdigest().encode("ascii")


def ed25519_base64(private_key_pem: bytes, payload: bytes) -> bytes:
    """Ed25519 in base64."""
    key = _private_key(private_key_pem)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SigningError("the private key is not an Ed25519 key")
    return base64.b64encode(key.sign(payload))


def rsa_sha256_base64(private_key_pem: bytes, payload: bytes) -> bytes:
    """RSA PKCS#1 v1.5 over SHA-256 in base64."""
    key = _private_key(private_key_pem)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SigningError("the private key is not an RSA key")
    return base64.b64encode(key.sign(payload, padding.PKCS1v15(), hashes.SHA256()))


def hmac_matches(secret: bytes, payload: bytes, given: str) -> bool:
    """Whether `given` is the payload's HMAC-SHA256 in hex of either case; compared as bytes in constant time."""
    # An empty secret would make everybody's signature right, and a text that is not ASCII
    # makes compare_digest raise.
    if not secret or not given.isascii():
        return False
    return hmac.compare_digest(hmac_sha256_hex(secret, payload), given.lower().encode("ascii"))


def key_matches(private_key_pem: bytes, payload: bytes, given: str) -> bool:
    """Whether `given` is the base64 signature of the payload that this Ed25519 or RSA key makes."""
    key = _private_key(private_key_pem)
    try:
        signature = base64.b64decode(given, validate=True)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            key.public_key().verify(signature, payload)
        elif isinstance(key, rsa.RSAPrivateKey):
            key.public_key().verify(signature, payload, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise SigningError("the private key is neither an Ed25519 nor an RSA key")
    except (ValueError, InvalidSignature):
        return False
    return True


@lru_cache(maxsize=64)
def _private_key(pem: bytes) -> object:
    """Parsed once: reading a PEM costs more than a signature."""
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's own message may quote the key.
        raise SigningError("the private key is not a readable, unencrypted PEM") from None
