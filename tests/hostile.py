"""Good requests made bad at random: parameters, numbers, spelling, headers, framing, bytes, and several in one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from random import Random

from tests.drawn import FORM, Drawn, Names, draw_cancel, draw_order, draw_read, encoded, now_ms, signature, spell
from tests.threats.cases import CASES_BY_THREAT
from tests.threats.cases.t07_numbers import BAD as BAD_NUMBERS
from tests.threats.corpus import KEY, SIGNATURE

_BARE = frozenset(range(0x21, 0x7F)) - frozenset(b"%&+;=#")
_CORPUS = tuple(case.raw for cases in CASES_BY_THREAT.values() for case in cases if len(case.raw) < 40_000)
_SIGNATURES = itertools.count(1)
_SIZES = (b"0.002", b"0.01", b"1", b"0.5", b"7", b"1000", b"99999999999999999999", b"0.00000001")
_SWITCHES = (
    b"reduceOnly=true",
    b"closePosition=true",
    b"positionSide=LONG",
    b"priceMatch=OPPONENT",
    b"quoteOrderQty=1000",
    b"icebergQty=0.001",
    b"stopPrice=1",
    b"recvWindow=60000",
    b"type=MARKET",
    b"side=SELL",
    b"symbol=ETHUSDT",
    b"quantity=1000",
    b"price=1",
    b"_method=PUT",
    b"Quantity=9",
    b"quantity%20=9",
    b"%71uantity=9",
    b"batchOrders=%5B%5D",
    b"newClientOrderId=same",
    b"timestamp=1",
    b"x=",
    b"=x",
    b"",
    b"quantity",
    b"trailingDelta=1",
    b"signature=aa",
)
_HEADERS = (
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:\tchunked",
    b"Content-Encoding: gzip",
    b"Content-Type: application/json",
    b"Expect: 100-continue",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Connection: close, X-MBX-APIKEY",
    b"Connection: close",
    b"X-HTTP-Method-Override: DELETE",
    b"X-Original-URL: /api/v3/time",
    b"X_MBX_APIKEY: other",
    b"Host: evil.example",
    b"X-MBX-APIKEY: other",
    b"Trailer: X",
    b"X-Risk-Decision: allow",
    b"X-Risk-Confidence: NaN",
    b"Content_Length: 0",
    b" folded: x",
    b"no colon",
    b"Bad Name: x",
    b": empty",
    b"X: " + b"a" * 9000,
    b"X-A: \x00",
    b"X-A: \xff\xfe",
    b"Keep-Alive: timeout=5",
    b"TE: trailers",
    b"Proxy-Authorization: x",
    b"Range: bytes=0-1",
)
_JSON_BITS = (
    b'"quantity":"9"',
    b'"quantity":1e3',
    b'"quantity":NaN',
    b'"\\u0071uantity":"9"',
    b"[[",
    b"{}",
    b"null",
    b"-0",
    b'"',
    b"\\",
    b",",
    b"]",
    b"}",
    b'{"symbol":"BTCUSDT"}',
    b"true",
    b"1E400",
    b"9" * 50,
    b"[" * 3000,
    b"\xc3\xa9",
    b"\xed\xa0\x80",
)


class Attacker:
    """Somebody who holds a bot's key and secret, and wants an order past the gate or the proxy on its knees."""

    def __init__(self, random: Random, number: int, key: str, secret: str, host: str) -> None:
        self._random = random
        self._names = Names(random, f"h{number}x")
        self._key, self._secret, self._host = key, secret, host
        self._kinds: tuple[tuple[str, int, Callable[[], bytes]], ...] = (
            ("honest", 8, self._honest),
            ("parameters", 30, self._parameters),
            ("bytes", 16, self._bytes),
            ("headers", 12, self._headers),
            ("framing", 8, self._framing),
            ("targets", 8, self._targets),
            ("corpus", 12, self._corpus),
            ("corpus bytes", 10, self._corpus_bytes),
            ("several", 6, self._several),
            ("same head", 8, self._same_head),
        )

    def next(self) -> tuple[str, bytes]:
        """The kind of the next variant, and its bytes."""
        kind, _, make = self._random.choices(self._kinds, [weight for _, weight, _ in self._kinds])[0]
        return kind, make()

    def _drawn(self) -> Drawn:
        roll = self._random.random()
        if roll < 0.9:
            return draw_order(self._random, self._names)
        return draw_cancel(self._random, self._names) if roll < 0.97 else draw_read(self._random, self._names)

    def _honest(self) -> bytes:
        return spell(self._random, self._drawn(), self._key, self._secret, self._host).raw

    # Bytes that anybody can send, and bytes that only the holder of the secret can

    def _parameters(self) -> bytes:
        """Parameters damaged before they are signed: the venue itself would find nothing wrong with the signature."""
        random, drawn = self._random, self._drawn()
        parts = [name.encode() + b"=" + encoded(random, value, _BARE) for name, value in drawn.pairs]
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            parts = self._damaged(parts)
        parts.append(b"timestamp=%d" % now_ms())
        cut = random.choice((0, 0, len(parts), random.randint(0, len(parts))))
        query, body = b"&".join(parts[:cut]), b"&".join(parts[cut:])
        if random.random() < 0.05:
            body = query = b"&".join(parts)
        made = b"signature=" + signature(self._secret, query + body)
        if random.random() < 0.1:
            made = made.upper().replace(b"SIGNATURE", b"signature")
        if cut == len(parts) or (cut and random.random() < 0.3):
            query += b"&" + made
        else:
            body += b"&" + made
        mark = b"?" if query else b""
        target = (
            drawn.path.encode()
            + mark
            + re.sub(rb"[\x00-\x20\x7f-\xff]", lambda found: b"%%%02x" % ord(found[0]), query)
        )
        return self._request(drawn.method.encode(), target, body)

    def _damaged(self, parts: list[bytes]) -> list[bytes]:
        random, parts = self._random, list(parts)
        at = random.randrange(len(parts)) if parts else 0
        name, _, value = parts[at].partition(b"=") if parts else (b"quantity", b"", b"1")
        number = random.choice(BAD_NUMBERS).encode()
        quoted = number if random.random() < 0.2 else b"".join(b"%%%02X" % byte for byte in number)
        other: list[Callable[[], list[bytes]]] = [
            lambda: [*parts, parts[at] if parts else b"a=1"],
            lambda: [*parts, name + b"=" + random.choice(_SIZES)],
            lambda: [*parts, random.choice(_SWITCHES)],
            lambda: [random.choice(_SWITCHES), *parts],
            lambda: [*parts[:at], *parts[at + 1 :]],
            lambda: [*parts[:at], name + b"=" + random.choice(_SIZES), *parts[at + 1 :]],
            lambda: [*parts[:at], name + b"=" + quoted, *parts[at + 1 :]],
            lambda: [*parts[:at], name.swapcase() + b"=" + value, *parts[at + 1 :]],
            lambda: [*parts[:at], b"%%%02x" % name[0] + name[1:] + b"=" + value if name else b"=", *parts[at + 1 :]],
            lambda: [*parts[:at], name + b"=" + self._noise(value), *parts[at + 1 :]],
            lambda: [b";".join(parts)],
            lambda: random.sample(parts, len(parts)),
        ]
        weights = [2] * len(other)
        if name == b"batchOrders":
            other.append(lambda: [*parts[:at], name + b"=" + self._json_noise(value), *parts[at + 1 :]])
            weights.append(30)
        return random.choices(other, weights)[0]()

    def _json_noise(self, value: bytes) -> bytes:
        bit = self._random.choice(_JSON_BITS)
        encoded_bit = b"".join(b"%%%02X" % byte for byte in bit)
        marks = [found.start() for found in re.finditer(rb"%22|%2C|%2c|,|%7B|%5B|\"", value)] or [0]
        at = self._random.choice(marks)
        return value[:at] + encoded_bit + value[at + (3 if self._random.random() < 0.3 else 0) :]

    def _noise(self, raw: bytes, times: int | None = None) -> bytes:
        """Bytes changed, added, removed, swapped or repeated."""
        random, out = self._random, bytearray(raw)
        for _ in range(times or random.choice((1, 1, 1, 2, 4))):
            if not out:
                out.append(random.randrange(256))
            at = random.randrange(len(out))
            deed = random.randrange(7)
            if deed == 0:
                out[at] = random.randrange(256)
            elif deed == 1:
                out[at] ^= 1 << random.randrange(8)
            elif deed == 2:
                out.insert(at, random.randrange(256))
            elif deed == 3:
                del out[at]
            elif deed == 4:
                out[at:at] = random.choice(
                    (b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"&", b"=", b"%", b"%00", b"+", b";", b"0")
                )
            elif deed == 5:
                end = min(len(out), at + random.randint(1, 12))
                out[at:at] = out[at:end]
            else:
                end = min(len(out), at + random.randint(1, 12))
                del out[at:end]
        return bytes(out)

    def _request(self, method: bytes, target: bytes, body: bytes, *lines: bytes, length: bytes | None = None) -> bytes:
        head = [
            method + b" " + target + b" HTTP/1.1",
            b"Host: " + self._host.encode(),
            b"X-MBX-APIKEY: " + self._key.encode(),
        ]
        if body:
            head.append(b"Content-Type: " + FORM)
        head += lines
        if body or length is not None:
            head.append(b"Content-Length: " + (length if length is not None else b"%d" % len(body)))
        return b"\r\n".join(head) + b"\r\n\r\n" + body

    def _bytes(self) -> bytes:
        return self._noise(self._honest())

    def _headers(self) -> bytes:
        raw = self._honest()
        lines = raw.split(b"\r\n")
        end = lines.index(b"") if b"" in lines else len(lines)
        for _ in range(self._random.choice((1, 1, 2, 3))):
            lines.insert(self._random.randint(1, max(1, end)), self._random.choice(_HEADERS))
        return b"\r\n".join(lines)

    def _framing(self) -> bytes:
        random, drawn = self._random, self._drawn()
        body = b"&".join(name.encode() + b"=" + encoded(random, value, _BARE) for name, value in drawn.pairs)
        body += b"&timestamp=%d" % now_ms()
        body += b"&signature=" + signature(self._secret, body)
        method, target = drawn.method.encode(), drawn.path.encode()
        second = self._honest()
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return random.choice(
            (
                lambda: (
                    self._request(method, target, body, length=b"%d" % max(0, len(body) + random.randint(-20, 20)))
                    + second
                ),
                lambda: self._request(method, target, chunks, b"Transfer-Encoding: chunked") + second,
                lambda: self._request(method, target, self._noise(chunks), b"Transfer-Encoding: chunked", length=b""),
                lambda: self._request(method, target, b"0\r\n\r\n" + second, b"Transfer-Encoding: chunked"),
                lambda: self._request(method, target, body, b"Content-Length: %d" % len(body)) + second,
                lambda: self._request(
                    method, target, body, length=random.choice((b"+1", b"0x10", b"1e2", b" 7", b"7 7", b"\xd9\xa1"))
                ),
                lambda: self._request(method, target, body, length=b"0") + second,
                lambda: self._request(method, target, body).replace(b"\r\n", b"\n", random.randint(1, 5)) + second,
                lambda: self._request(b"GET", target, second) + second,
                lambda: (
                    self._request(method, target, self._noise(chunks), b"Transfer-Encoding: chunked").replace(
                        b"Content-Length", b"X-Length"
                    )
                    + second
                ),
            )
        )()

    def _targets(self) -> bytes:
        random, raw = self._random, self._honest()
        method, _, rest = raw.partition(b" ")
        target, _, tail = rest.partition(b" ")
        path, mark, query = target.partition(b"?")
        at = random.randrange(len(path))
        path = random.choice(
            (
                path[:at] + b"/" + path[at:],
                path[:at] + b"/./" + path[at:],
                path[:at] + b"/../" + path[at:],
                path.upper(),
                path[:at] + b"%%%02x" % path[at] + path[at + 1 :],
                b"http://127.0.0.1" + path,
                b"//" + path,
                path + b"/",
                path + b";x=1",
                path + b"%00",
                path + b"#",
                path.replace(b"v1", b"v2"),
                path.replace(b"/", b"\\"),
                b"*",
                path + b"?" + query,
                path.swapcase(),
                path + b"/test",
                path.replace(b"/test", b""),
                b"/sapi/.." + path,
                path.replace(b"fapi", b"dapi"),
                path.replace(b"api", b"papi"),
                path + b"s",
                b"/x@evil" + path,
            )
        )
        method = random.choice(
            (method, method, method, b"GET", b"PUT", b"PATCH", b"HEAD", b"post", b"DELETE", b"POST", b"TRACE")
        )
        return method + b" " + path + mark + query + b" " + tail

    def _corpus(self) -> bytes:
        raw = self._random.choice(_CORPUS).replace(KEY, self._key.encode())
        raw = raw.replace(b"timestamp=1700000000000", b"timestamp=%d" % now_ms())
        return re.sub(SIGNATURE.encode(), lambda _: b"%040x" % next(_SIGNATURES) + b"b" * 24, raw)

    def _corpus_bytes(self) -> bytes:
        return self._noise(self._corpus())

    def _several(self) -> bytes:
        makers = (self._honest, self._honest, self._parameters, self._bytes, self._corpus)
        return b"".join(self._random.choice(makers)() for _ in range(self._random.randint(2, 4)))

    def _same_head(self) -> bytes:
        """An order, and others under the same header block: a reader that remembers heads may not be led astray."""
        random = self._random
        lines = random.sample(
            (b"User-Agent: bot/1", b"Accept: */*", b"X-Trace: 1", b"Connection: keep-alive"), random.randint(0, 4)
        )
        found = b""
        for index in range(random.randint(2, 5)):
            body = b"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&price=59000&quantity=" + random.choice(_SIZES)
            if random.random() < 0.3:
                body += b"&" + random.choice(_SWITCHES)
            body += b"&timestamp=%d&recvWindow=%d" % (now_ms(), random.randint(20000, 60000))
            body += b"&signature=" + signature(self._secret, body)
            request = self._request(b"POST", b"/fapi/v1/order", body, *lines)
            if index and random.random() < 0.6:
                request = self._astray(request, body)
            found += request
        return found

    def _astray(self, request: bytes, body: bytes) -> bytes:
        random = self._random
        line, _, rest = request.partition(b"\r\n")
        length = b"Content-Length: %d" % len(body)
        return random.choice(
            (
                lambda: self._noise(line, 1) + b"\r\n" + rest,
                lambda: request.replace(length, b"Content-Length: %d" % (len(body) + random.randint(-9, 9))),
                lambda: request.replace(length, b"Content-Length: 0%d" % len(body)),
                lambda: request.replace(length, length + b" "),
                lambda: request.replace(length, b"Content-Length:%d" % len(body)),
                lambda: request.replace(length, length + b"\r\n" + length),
                lambda: request.replace(length, length + b"\r\nTransfer-Encoding: chunked"),
                lambda: request.replace(length, b"Transfer-Encoding: chunked"),
                lambda: request.replace(length + b"\r\n", b""),
                lambda: request.replace(b"POST", random.choice((b"GET", b"PUT", b"DELETE", b"HEAD", b"post"))),
                lambda: request.replace(
                    b"/fapi/v1/order",
                    random.choice(
                        (
                            b"/fapi/v1//order",
                            b"/fapi/v1/order/test",
                            b"/fapi/v1/order?" + body,
                            b"/fapi/v1/order#",
                            b"/fapi/v1/%6frder",
                            b"/api/v3/order",
                        )
                    ),
                ),
                lambda: request.replace(b"HTTP/1.1", random.choice((b"HTTP/1.0", b"HTTP/1.1 ", b"HTTP/2.0"))),
                lambda: request.replace(
                    b"\r\n\r\n", random.choice((b"\r\nX: 1\r\n\r\n", b"\n\n", b"\r\n \r\n\r\n")), 1
                ),
                lambda: request[: random.randint(1, len(request) - 1)],
            )
        )()
