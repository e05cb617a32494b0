"""Signatures against the venue's documented vectors, and the doors a comparison must not leave open."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from proxy.errors import SigningError
from proxy.exchanges import signing

# The venue's own documented example secret; it opens nothing.
SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
VECTORS = [
    (
        b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
        b"&timestamp=1499827319559",
        b"c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
    ),
    (
        b"symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY&type=LIMIT&timeInForce=GTC"
        b"&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
        b"e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
    ),
    (
        b"apiKey=vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A&price=52000.00"
        b"&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT&timeInForce=GTC"
        b"&timestamp=1645423376532&type=LIMIT",
        b"aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
    ),
]


@pytest.mark.parametrize(("payload", "signature"), VECTORS)
def test_hmac_meets_the_documented_vectors(payload, signature):
    """Each documented payload gives its documented signature."""
    assert signing.hmac_sha256_hex(SECRET, payload) == signature
    assert signing.hmac_matches(SECRET, payload, signature.decode())
    assert signing.hmac_matches(SECRET, payload, signature.decode().upper())


@pytest.mark.parametrize(
    ("secret", "given"),
    [(b"", ""), (b"", "00"), (SECRET, ""), (SECRET, "é" * 64), (SECRET, "0" * 64), (SECRET, "c8" * 31)],
)
def test_a_wrong_signature_never_matches_and_never_raises(secret, given):
    """Empty, foreign, short and wrong signatures are simply wrong."""
    assert not signing.hmac_matches(secret, VECTORS[0][0], given)


def test_an_empty_secret_signs_nothing():
    """A secret that was not configured is an error, not a key everybody has."""
    with pytest.raises(SigningError):
        signing.hmac_sha256_hex(b"", b"x")


def _pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_ed25519_signs_what_its_public_key_verifies():
    """The base64 signature verifies with the public half."""
    key = ed25519.Ed25519PrivateKey.generate()
    made = signing.ed25519_base64(_pem(key), b"payload")
    key.public_key().verify(base64.b64decode(made), b"payload")


def test_rsa_signs_what_its_public_key_verifies():
    """The base64 signature verifies with the public half under PKCS#1 v1.5 and SHA-256."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    made = signing.rsa_sha256_base64(_pem(key), b"payload")
    key.public_key().verify(base64.b64decode(made), b"payload", padding.PKCS1v15(), hashes.SHA256())


def test_an_unreadable_key_is_refused_without_quoting_it():
    """The message of a bad key never carries the key."""
    with pytest.raises(SigningError) as caught:
        signing.ed25519_base64(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----", b"x")
    assert "c2VjcmV0" not in str(caught.value)


def test_a_key_of_the_wrong_kind_is_refused():
    """An Ed25519 key does not sign as RSA, nor the other way round."""
    pem = _pem(ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(SigningError):
        signing.rsa_sha256_base64(pem, b"x")
