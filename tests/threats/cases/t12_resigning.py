"""T12: somebody without the secret sends an order that a scale-down would sign for them. For a socket.

In custody, and before any new signature, key, signature and timestamp must be right. Each
case is refused by a proxy whose bot's secret is not `SECRET_OF_NOBODY`.
"""

import hashlib
import hmac

from tests.threats.corpus import REFUSED, SIGNATURE, Case, form, http

SECRET_OF_NOBODY = b"nobody-has-this-secret"
_UNSIGNED = form(drop=("signature",), quantity="1000")
_WHY = "never sign what the bot did not sign"


def _signed(payload: bytes, secret: bytes = SECRET_OF_NOBODY) -> bytes:
    return hmac.new(secret, payload, hashlib.sha256).hexdigest().encode("ascii")


def _with(signature: bytes, payload: bytes = _UNSIGNED) -> bytes:
    return http("POST", body=payload + b"&signature=" + signature)


_MADE = _signed(_UNSIGNED)
SIGNATURES = {
    "absent": None, "empty": b"", "zeros": b"0" * 64, "not hex": b"g" * 64, "short": _MADE[:63], "long": _MADE + b"0",
    "another secret": _MADE, "empty secret": _signed(_UNSIGNED, b"\0"), "of the empty payload": _signed(b""),
    "of another order": _signed(form(drop=("signature",), quantity="1")), "with a sign": b"+" + _MADE[1:],
    "with a prefix": b"0x" + _MADE[:62], "with a space": b"+" + _MADE, "percent-encoded": b"%61" * 64,
    "over ASCII": b"%C3%A9" * 32, "NUL": b"%00" * 32, "the key itself": b"k" * 64,
    "with the separator": _signed(_UNSIGNED + b"&"), "with the pair": _signed(_UNSIGNED + b"&signature="),
    "of the path too": _signed(b"/api/v3/order?" + _UNSIGNED),
}

CASES = (
    *(Case(f"signature {name}", http("POST", body=_UNSIGNED) if value is None else _with(value), REFUSED, _WHY)
      for name, value in SIGNATURES.items()),
    Case("signature twice", _with(_MADE + b"&signature=" + _MADE), REFUSED, _WHY),
    Case("signature in capitals beside it", _with(_MADE + b"&Signature=" + _MADE), REFUSED, _WHY),
    Case("signature in query and body", http("POST", b"/api/v3/order?signature=" + _MADE,
         _UNSIGNED + b"&signature=" + _MADE), REFUSED, _WHY),
    Case("signature as a header", http("POST", body=_UNSIGNED, headers=((b"signature", _MADE),)), REFUSED, _WHY),
    Case("key unknown", http("POST", key=b"somebody-else"), REFUSED, "no bot has this key"),
    Case("key absent", http("POST", key=None), REFUSED, "no bot has this key"),
    Case("key empty", http("POST", key=b""), REFUSED, "no bot has this key"),
    Case("key as a parameter", http("POST", body=form(apiKey="k"), key=None), REFUSED, "keys stand in the header"),
    Case("timestamp absent", http("POST", body=form(drop=("timestamp",), signature=SIGNATURE)), REFUSED, _WHY),
)
