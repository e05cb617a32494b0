"""Requests drawn at random, as a bot might write them: what they ask, and one of the many ways to spell it.

`draw_order`, `draw_cancel` and `draw_read` say what is asked; `spell` writes it as bytes, signed as
Binance documents it, with parameters, headers and framing in one of the legal forms.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

Pairs = list[tuple[str, str]]
Headers = list[tuple[bytes, bytes]]

FORM = b"application/x-www-form-urlencoded"
_FORM_SPELLINGS = (
    FORM,
    FORM,
    FORM,
    FORM + b"; charset=utf-8",
    FORM + b";charset=UTF-8",
    b"Application/X-WWW-Form-Urlencoded",
)
_JSON_SPELLINGS = (b"application/json", b"application/json;charset=utf-8", FORM)
_ID_CHARACTERS = string.ascii_letters + string.digits + "-_"
_FUTURES_ID_CHARACTERS = _ID_CHARACTERS + ".:/"
_PLAIN = frozenset((string.ascii_letters + string.digits + "-_.").encode())
# What may stand in a parameter's value unencoded: visible ASCII less what separates or encodes.
_BARE_IN_BODY = frozenset(range(0x21, 0x7F)) - frozenset(b"%&+;=#")
_BARE_IN_QUERY = _BARE_IN_BODY - frozenset(b'"\\<>^`{|}')


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is asked: a method, a path, parameters in order, and whether they are signed."""

    method: str
    path: str
    pairs: Pairs
    signed: bool = True
    keyed: bool = True


@dataclass(frozen=True, slots=True)
class Spelled:
    """A request as bytes, and what of it must arrive: target, headers and body before framing."""

    raw: bytes
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    segments: tuple[bytes, ...] = field(repr=False, default=())


class Names:
    """Client order ids that nobody has used, and some that were."""

    def __init__(self, random: Random, prefix: str) -> None:
        self._random = random
        self._prefix = prefix
        self._count = 0
        self.used: list[str] = []

    def new(self, *, futures: bool) -> str:
        """One more, in characters the venue admits."""
        self._count += 1
        characters = _FUTURES_ID_CHARACTERS if futures else _ID_CHARACTERS
        tail = "".join(self._random.choices(characters, k=self._random.randrange(6)))
        name = f"{self._prefix}{self._count}_{tail}"[:36]
        self.used = [*self.used[-20:], name]
        return name

    def old(self) -> str:
        """One that was given before, or never."""
        return self._random.choice(self.used) if self.used else f"{self._prefix}none"


# --- what is asked -----------------------------------------------------------------------------


def _futures_order(random: Random, names: Names, *, resting: bool = False) -> Pairs:
    kind = "LIMIT" if resting else random.choice(("LIMIT", "LIMIT", "LIMIT", "MARKET"))
    side = random.choice(("BUY", "SELL"))
    pairs = [("symbol", "BTCUSDT"), ("side", side), ("type", kind), ("quantity", _number(random, "0.00", 2, 9))]
    if kind == "LIMIT":
        price = (
            random.choice(("59000", "59000.0", "58999.10")) if side == "BUY" else random.choice(("61000", "61000.50"))
        )
        pairs += [("price", price), ("timeInForce", random.choice(("IOC", "IOC", "IOC", "FOK", "GTC")))]
    optional = [
        ("positionSide", "BOTH"),
        ("reduceOnly", random.choice(("false", "False"))),
        ("newOrderRespType", random.choice(("ACK", "RESULT"))),
        ("workingType", random.choice(("MARK_PRICE", "CONTRACT_PRICE"))),
        ("selfTradePreventionMode", random.choice(("NONE", "EXPIRE_TAKER"))),
        ("newClientOrderId", names.new(futures=True)),
    ]
    return pairs + [pair for pair in optional if random.random() < 0.4]


def _number(random: Random, prefix: str, low: int, high: int) -> str:
    return prefix + str(random.randint(low, high)) + "0" * random.choice((0, 0, 0, 1, 3))


def _spot_order(random: Random, names: Names) -> Pairs:
    kind = random.choice(("LIMIT", "LIMIT", "LIMIT", "MARKET", "QUOTE", "LIMIT_MAKER", "STOP_LOSS_LIMIT"))
    side = random.choice(("BUY", "SELL"))
    pairs = [("symbol", "BTCUSDT"), ("side", side), ("type", "MARKET" if kind == "QUOTE" else kind)]
    price = "59000" if side == "BUY" else "61000.00"
    if kind == "QUOTE":
        pairs.append(("quoteOrderQty", random.choice(("100", "99.5", "1000.00"))))
    else:
        pairs.append(("quantity", _number(random, "0.0", 1, 9)))
    if kind in ("LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT"):
        pairs.append(("price", price))
    if kind in ("LIMIT", "STOP_LOSS_LIMIT"):
        pairs.append(("timeInForce", "IOC" if kind == "LIMIT" and random.random() < 0.8 else "GTC"))
    if kind == "STOP_LOSS_LIMIT":
        pairs.append(("stopPrice", "66000" if side == "BUY" else "55000"))
    optional = [
        ("newOrderRespType", random.choice(("ACK", "RESULT", "FULL"))),
        ("newClientOrderId", names.new(futures=False)),
        ("selfTradePreventionMode", "EXPIRE_MAKER"),
        ("strategyId", str(random.randint(1, 99))),
    ]
    return pairs + [pair for pair in optional if random.random() < 0.4]


def _batch(random: Random, names: Names) -> Drawn:
    legs = []
    for _ in range(random.randint(1, 5)):
        leg: dict[str, object] = dict(_futures_order(random, names))
        if random.random() < 0.2 and "reduceOnly" in leg:
            leg["reduceOnly"] = False
        legs.append(leg)
    return Drawn("POST", "/fapi/v1/batchOrders", [("batchOrders", _json(random, legs))])


def _json(random: Random, value: object) -> str:
    return json.dumps(value, separators=random.choice(((",", ":"), (", ", ": "), (" , ", " :"))))


def _modification(random: Random, names: Names) -> Pairs:
    named = ("origClientOrderId", names.old()) if random.random() < 0.7 else ("orderId", str(random.randint(1, 5000)))
    return [
        ("symbol", "BTCUSDT"),
        ("side", "BUY"),
        ("quantity", _number(random, "0.00", 2, 9)),
        ("price", "58900"),
        named,
    ]


def _modify(random: Random, names: Names) -> Drawn:
    if random.random() < 0.6:
        return Drawn("PUT", "/fapi/v1/order", _modification(random, names))
    legs, named = [], set()
    for _ in range(random.randint(1, 5)):
        leg = _modification(random, names)
        # Two changes of one order in one batch are one change too many.
        if leg[-1] not in named:
            legs.append(dict(leg))
        named.add(leg[-1])
    return Drawn("PUT", "/fapi/v1/batchOrders", [("batchOrders", _json(random, legs))])


def _algo(random: Random, names: Names) -> Drawn:
    side = random.choice(("BUY", "SELL"))
    trigger = "66000" if side == "BUY" else "55000"
    kind = random.choice(("STOP_MARKET", "STOP", "TRAILING_STOP_MARKET"))
    pairs = [("algoType", "CONDITIONAL"), ("symbol", "BTCUSDT"), ("side", side), ("type", kind), ("quantity", "0.003")]
    if kind == "TRAILING_STOP_MARKET":
        pairs.append(("callbackRate", random.choice(("1", "0.5"))))
    else:
        pairs.append(("triggerPrice", trigger))
    if kind == "STOP":
        pairs.append(("price", trigger))
    if random.random() < 0.5:
        pairs.append(("clientAlgoId", names.new(futures=True)))
    return Drawn("POST", "/fapi/v1/algoOrder", pairs)


def _replace(random: Random, names: Names) -> Drawn:
    named = ("cancelOrigClientOrderId", names.old()) if random.random() < 0.6 else ("cancelOrderId", "77")
    mode = ("cancelReplaceMode", random.choice(("STOP_ON_FAILURE", "ALLOW_FAILURE")))
    return Drawn("POST", "/api/v3/order/cancelReplace", [*_spot_order(random, names), mode, named])


def _list(random: Random, names: Names) -> Drawn:
    kind = random.choice(("old", "oco", "oto", "otoco", "opo"))
    amount = "0.0" + str(random.randint(1, 9))
    working = [
        ("workingType", "LIMIT"),
        ("workingSide", "BUY"),
        ("workingPrice", "58000"),
        ("workingQuantity", amount),
        ("workingTimeInForce", "GTC"),
    ]
    if kind == "old":
        pairs = [
            ("symbol", "BTCUSDT"),
            ("side", "SELL"),
            ("quantity", amount),
            ("price", "66000"),
            ("stopPrice", "55000"),
            ("stopLimitPrice", "54900"),
            ("stopLimitTimeInForce", "GTC"),
        ]
        return Drawn("POST", "/api/v3/order/oco", pairs)
    pairs = [("symbol", "BTCUSDT")]
    if random.random() < 0.5:
        pairs.append(("listClientOrderId", names.new(futures=False)))
    if kind == "oco":
        pairs += [
            ("side", "SELL"),
            ("quantity", amount),
            ("aboveType", "LIMIT_MAKER"),
            ("abovePrice", "66000"),
            ("belowType", "STOP_LOSS"),
            ("belowStopPrice", "55000"),
        ]
    else:
        pairs += working
        pairs.append(("pendingSide", "SELL"))
        if kind in ("oto", "otoco"):
            pairs.append(("pendingQuantity", amount))
        if kind == "otoco":
            pairs += [
                ("pendingAboveType", "LIMIT_MAKER"),
                ("pendingAbovePrice", "66000"),
                ("pendingBelowType", "STOP_LOSS"),
                ("pendingBelowStopPrice", "55000"),
            ]
        else:
            pairs += [("pendingType", "LIMIT_MAKER"), ("pendingPrice", "66000")]
    return Drawn("POST", f"/api/v3/orderList/{kind}", pairs)


def _amend(random: Random, names: Names) -> Drawn:
    pairs = [("symbol", "BTCUSDT"), ("origClientOrderId", names.old()), ("newQty", _number(random, "0.00", 1, 9))]
    return Drawn("PUT", "/api/v3/order/amend/keepPriority", pairs)


def _margin(random: Random, _names: Names) -> Drawn:
    if random.random() < 0.7:
        return Drawn("POST", "/fapi/v1/leverage", [("symbol", "ETHUSDT"), ("leverage", str(random.randint(1, 20)))])
    return Drawn("POST", "/fapi/v1/marginType", [("symbol", "ETHUSDT"), ("marginType", "CROSSED")])


def draw_order(random: Random, names: Names) -> Drawn:
    """A request that the gate judges, and allows under wide limits."""
    roll = random.random()
    if roll < 0.35:
        path = "/fapi/v1/order/test" if random.random() < 0.1 else "/fapi/v1/order"
        return Drawn("POST", path, _futures_order(random, names))
    if roll < 0.65:
        path = "/api/v3/order/test" if random.random() < 0.1 else "/api/v3/order"
        return Drawn("POST", path, _spot_order(random, names))
    if roll < 0.67:
        pairs = [("symbol", "BTCUSDT"), ("side", "BUY"), ("type", "MARKET"), ("quantity", "0.01")]
        return Drawn("POST", "/api/v3/sor/order", pairs)
    makers = ((0.79, _batch), (0.85, _modify), (0.88, _algo), (0.93, _replace), (0.97, _list), (0.985, _amend))
    for bound, maker in makers:
        if roll < bound:
            return maker(random, names)
    return _margin(random, names)


def draw_cancel(random: Random, names: Names) -> Drawn:
    """A request that only cancels; some clear the book."""
    symbol = ("symbol", "BTCUSDT")
    return random.choice(
        (
            Drawn("DELETE", "/fapi/v1/order", [symbol, ("origClientOrderId", names.old())]),
            Drawn("DELETE", "/api/v3/order", [symbol, ("origClientOrderId", names.old())]),
            Drawn("DELETE", "/fapi/v1/allOpenOrders", [symbol]),
            Drawn("DELETE", "/api/v3/openOrders", [symbol]),
            Drawn("DELETE", "/fapi/v1/algoOpenOrders", [symbol]),
            Drawn("DELETE", "/fapi/v1/batchOrders", [symbol, ("orderIdList", _json(random, [1, 2, 3]))]),
            Drawn("POST", "/fapi/v1/countdownCancelAll", [symbol, ("countdownTime", "0")]),
        )
    )


def draw_read(random: Random, names: Names) -> Drawn:
    """A request that changes nothing, listen keys included."""
    symbol = ("symbol", "BTCUSDT")
    listed = ("symbols", _json(random, ["BTCUSDT", "ETHUSDT"]))
    return random.choice(
        (
            Drawn("GET", "/fapi/v1/time", [], signed=False, keyed=False),
            Drawn("GET", "/api/v3/time", [("x", str(random.random()))], signed=False, keyed=False),
            Drawn("GET", "/api/v3/ticker/price", [listed], signed=False, keyed=False),
            Drawn("GET", "/api/v3/depth", [symbol, ("limit", "5"), ("limit", "5")], signed=False, keyed=False),
            Drawn("GET", "/api/v3/openOrders", [symbol]),
            Drawn("GET", "/fapi/v1/openOrder", [symbol, ("origClientOrderId", names.old())]),
            Drawn("GET", "/api/v3/account", [("omitZeroBalances", "true")]),
            Drawn("GET", "/fapi/v3/balance", []),
            Drawn("POST", "/fapi/v1/listenKey", [], signed=False),
            Drawn("PUT", "/fapi/v1/listenKey", [], signed=False),
        )
    )


# --- how it is spelled -------------------------------------------------------------------------


def encoded(random: Random, value: str, bare: frozenset[int], *, sloppy: float = 0.0) -> bytes:
    """A value percent-encoded where it must be, and with `sloppy` probability where it need not be."""
    form = random.choice(("%%%02X", "%%%02x"))
    out = bytearray()
    for byte in value.encode():
        if byte == 0x20 and random.random() < 0.5:
            out += b"+"
        elif random.random() < (1 - sloppy if byte in _PLAIN else 0.5 if byte in bare else 0):
            out.append(byte)
        else:
            out += (form % byte).encode()
    return bytes(out)


def joined(random: Random, pairs: Sequence[tuple[str, str]], *, in_query: bool, sloppy: float = 0.0) -> bytes:
    """Pairs as they stand in a query or a form."""
    bare = _BARE_IN_QUERY if in_query else _BARE_IN_BODY
    return b"&".join(name.encode() + b"=" + encoded(random, value, bare, sloppy=sloppy) for name, value in pairs)


def signature(secret: str, payload: bytes) -> bytes:
    """HMAC-SHA256 over the bytes as they stand."""
    return hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest().encode()


def now_ms() -> int:
    """The present time as venues count it."""
    return time.time_ns() // 1_000_000


def placed(random: Random, drawn: Drawn, secret: str) -> tuple[bytes, bytes]:
    """Query and body, signed."""
    pairs = list(drawn.pairs)
    if drawn.signed:
        stamp = now_ms() * (1000 if drawn.path.startswith("/api/") and random.random() < 0.2 else 1)
        pairs.append(("timestamp", str(stamp)))
        if random.random() < 0.3:
            pairs.append(("recvWindow", random.choice(("5000", "60000", "30000"))))
        if random.random() < 0.5:
            random.shuffle(pairs)
    where = "query" if drawn.method == "GET" else random.choice(("query", "body", "body", "mixed"))
    if drawn.method == "DELETE" and random.random() < 0.7:
        where = "query"
    cut = {"query": len(pairs), "body": 0, "mixed": random.randint(0, len(pairs))}[where]
    sloppy = random.choice((0.0, 0.0, 0.1))
    query = joined(random, pairs[:cut], in_query=True, sloppy=sloppy)
    body = joined(random, pairs[cut:], in_query=False, sloppy=sloppy)
    if not drawn.signed:
        return query, body
    made = b"signature=" + signature(secret, query + body)
    if where == "query" or (where == "mixed" and random.random() < 0.5):
        query = _with_signature(random, query, made)
    else:
        body = _with_signature(random, body, made)
    return query, body


def _with_signature(random: Random, part: bytes, made: bytes) -> bytes:
    """The signature last, as clients put it; now and then first."""
    if not part:
        return made
    return made + b"&" + part if random.random() < 0.1 else part + b"&" + made


def spell(random: Random, drawn: Drawn, key: str, secret: str, host: str) -> Spelled:
    """The request as bytes, in one of its legal spellings."""
    query, body = placed(random, drawn, secret)
    mark = b"?" if query or random.random() < 0.05 else b""
    target = drawn.path.encode() + mark + query
    headers = _headers(random, drawn, key, body)
    chunked = bool(body) and random.random() < 0.15
    lines, framed = _framed(random, drawn, body, chunked=chunked)
    everything = [*headers, *lines, (_cased(random, b"Host"), host.encode())]
    random.shuffle(everything)
    head = b"".join(
        name + b":" + random.choice((b" ", b" ", b"", b"\t", b"  ")) + value + b"\r\n" for name, value in everything
    )
    raw = drawn.method.encode() + b" " + target + b" HTTP/1.1\r\n" + head + b"\r\n" + framed
    kept = {id(pair) for pair in headers}
    arriving = tuple(pair for pair in everything if id(pair) in kept)
    return Spelled(raw, drawn.method, target, arriving, body, cut(random, raw) if random.random() < 0.2 else (raw,))


def _cased(random: Random, name: bytes) -> bytes:
    return random.choice((name, name, name.lower(), name.upper()))


def _headers(random: Random, drawn: Drawn, key: str, body: bytes) -> Headers:
    """What a client says beside the framing; the order is decided later."""
    headers: Headers = []
    if drawn.keyed:
        headers.append((_cased(random, b"X-MBX-APIKEY"), key.encode()))
    if body:
        headers.append((_cased(random, b"Content-Type"), random.choice(_FORM_SPELLINGS)))
    elif random.random() < 0.4:
        headers.append((_cased(random, b"Content-Type"), random.choice(_JSON_SPELLINGS)))
    optional = [
        (b"User-Agent", b"bot/1.0 (x; y) caf\xe9"),
        (b"Accept", b"*/*"),
        (b"Accept-Encoding", b"gzip, deflate, br"),
        (b"Cookie", b"a=b; c=d"),
        (b"X-Trace", b"1"),
        (b"X-Trace", b"2"),
        (b"x_internal", b"tab\there"),
        (b"Empty", b""),
    ]
    headers += [(_cased(random, name), value) for name, value in optional if random.random() < 0.3]
    return headers


def _framed(random: Random, drawn: Drawn, body: bytes, *, chunked: bool) -> tuple[Headers, bytes]:
    """The lines that frame a body or end with the hop, and the body as it goes over the wire."""
    lines: Headers = []
    if random.random() < 0.3:
        lines.append((_cased(random, b"Connection"), random.choice((b"keep-alive", b"Keep-Alive"))))
    if random.random() < 0.1:
        lines.append((b"X-Risk-Confidence", b"0.9"))
    if chunked:
        lines.append((_cased(random, b"Transfer-Encoding"), b"chunked"))
        pieces = cut(random, body)
        return lines, b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    if body or (drawn.method in ("POST", "PUT") and random.random() < 0.7):
        lines.append((_cased(random, b"Content-Length"), b"%d" % len(body)))
    return lines, body


def cut(random: Random, raw: bytes) -> tuple[bytes, ...]:
    """Bytes in two to five pieces."""
    places = sorted(random.randrange(1, len(raw)) for _ in range(random.randint(1, 4))) if len(raw) > 1 else []
    edges = [0, *places, len(raw)]
    return tuple(raw[start:end] for start, end in pairwise(edges) if start < end)
