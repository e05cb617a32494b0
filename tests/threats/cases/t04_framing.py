"""T4: two readers of one byte stream must not see two different requests. For a socket.

Framing (lengths), chunks, and the syntax of lines. Everything refused here must leave the venue
without a byte, and the connection closed.
"""

from tests.threats.corpus import JUDGED_BY_GATE, REFUSED, Case, form, http

BODY = form()
_LENGTH = len(BODY)
_START = b"POST /api/v3/order HTTP/1.1\r\n"
_HOST = b"Host: 127.0.0.1\r\n"
_REST = b"X-MBX-APIKEY: k\r\nContent-Type: application/x-www-form-urlencoded\r\n"
_HEAD = _START + _HOST + _REST
_SMUGGLED = http("POST", "/api/v3/order", form(quantity="1000"))


def _framed(name: str, *lines: bytes, body: bytes = BODY, why: str = "the length is stated in two ways") -> Case:
    return Case(name, _HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body, REFUSED, why)


_N = b"%d" % _LENGTH
_LENGTHS = [
    b"+" + _N, b"-" + _N, b"-1", b"0x" + b"%x" % _LENGTH, _N + b".0", _N + b"e0", b"1e2", _N + b" " + _N,
    _N + b", " + _N, _N + b"," + b"0", _N + b";", b"\"" + _N + b"\"", b"_" + _N, b"1_0", b"", b" ", b"abc", b"NaN",
    b"99999999999999999999", b"18446744073709551616", b"9223372036854775808", b"10737418240", b"\xd9\xa1",
    _N + b"\x0b", _N + b"\x00",
]
_ENCODINGS = [
    b"chunked, chunked", b"identity", b"gzip, chunked", b"chunked, identity", b"chunked, gzip", b"xchunked",
    b"chunked;x=1", b"\"chunked\"", b"chunke", b"chunked\x0b", b"\x0bchunked", b"chunked\x00", b"cow", b",chunked",
    b"chunked,", b"", b"identity, identity", b"deflate", b"x",
]
_CHUNKS = b"%x\r\n" % _LENGTH + BODY + b"\r\n0\r\n\r\n"

FRAMING = (
    *(_framed(f"content-length {value!a}", b"Content-Length: " + value, why="not a plain decimal length")
      for value in _LENGTHS),
    *(_framed(f"transfer-encoding {value!a}", b"Transfer-Encoding: " + value, body=_CHUNKS,
              why="the one transfer coding is chunked") for value in _ENCODINGS),
    _framed("two lengths", b"Content-Length: " + _N, b"Content-Length: 0"),
    _framed("two equal lengths", b"Content-Length: " + _N, b"Content-Length: " + _N),
    _framed("CL then TE", b"Content-Length: " + _N, b"Transfer-Encoding: chunked", body=_CHUNKS),
    _framed("TE then CL", b"Transfer-Encoding: chunked", b"Content-Length: " + _N, body=_CHUNKS),
    _framed("CL 0 and TE", b"Content-Length: 0", b"Transfer-Encoding: chunked", body=_CHUNKS),
    _framed("TE twice", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=_CHUNKS),
    _framed("TE twice, second odd", b"Transfer-Encoding: chunked", b"Transfer-Encoding: cow", body=_CHUNKS),
    _framed("TE with space before the colon", b"Transfer-Encoding : chunked", body=_CHUNKS),
    _framed("CL with space before the colon", b"Content-Length : " + _N),
    _framed("TE with tab before the colon", b"Transfer-Encoding\t: chunked", body=_CHUNKS),
    _framed("TE in underscore", b"Transfer_Encoding: chunked", body=_CHUNKS, why="an underscore look-alike"),
    _framed("CL in underscore", b"Content_Length: 0", b"Content-Length: " + _N, why="an underscore look-alike"),
    _framed("TE folded", b"Transfer-Encoding:\r\n chunked", body=_CHUNKS, why="line folding is obsolete"),
    _framed("CL folded", b"Content-Length:\r\n " + _N, why="line folding is obsolete"),
    _framed("length too short, smuggled order", b"Content-Length: 0", b"Transfer-Encoding: chunked",
            body=b"0\r\n\r\n" + _SMUGGLED),
    _framed("TE on HTTP/1.0 style close", b"Connection: close", b"Transfer-Encoding: chunked",
            b"Content-Length: 5", body=_CHUNKS),
)


def _chunked(name: str, body: bytes, expect: str = REFUSED, why: str = "a chunk is not well formed") -> Case:
    return Case(name, _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body, expect, why)


_SIZE = b"%x" % _LENGTH

CHUNKED = (
    _chunked("plain", _CHUNKS, JUDGED_BY_GATE, "a well formed chunked body"),
    _chunked("size with sign", b"+" + _SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size negative", b"-" + _SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size with prefix", b"0x" + _SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size with underscore", b"_" + _SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size with space before", b" " + _SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size not hex", b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size empty", b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size overflows", b"FFFFFFFFFFFFFFFFF\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size overflows to small", b"100000000000000" + _SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size too small", b"1\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("size too large by one", b"%x\r\n" % (_LENGTH + 1) + BODY + b"\r\n0\r\n\r\n"),
    _chunked("bare LF after size", _SIZE + b"\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("bare LF after data", _SIZE + b"\r\n" + BODY + b"\n0\r\n\r\n"),
    _chunked("bare CR after size", _SIZE + b"\r" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("no line end after data", _SIZE + b"\r\n" + BODY + b"0\r\n\r\n"),
    _chunked("two bytes for the line end", _SIZE + b"\r\n" + BODY + b"XX0\r\n\r\n"),
    _chunked("NUL in size", _SIZE + b"\0\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("bare LF in extension", _SIZE + b";a=\n\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("bare CR in extension", _SIZE + b";a=\r1\r\n" + BODY + b"\r\n0\r\n\r\n"),
    _chunked("extension", _SIZE + b";a=b\r\n" + BODY + b"\r\n0\r\n\r\n", JUDGED_BY_GATE, "extensions are ignored"),
    _chunked("trailer sets the key", _SIZE + b"\r\n" + BODY + b"\r\n0\r\nX-MBX-APIKEY\n: other\r\n\r\n"),
    _chunked("trailer with bad syntax", _SIZE + b"\r\n" + BODY + b"\r\n0\r\n bad\r\n\r\n"),
    _chunked("ten thousand one-byte chunks over the body limit", b"1\r\na\r\n" * 70000 + b"0\r\n\r\n",
             why="the body is over its limit"),
    _chunked("last chunk missing", _SIZE + b"\r\n" + BODY + b"\r\n", why="the body never ends"),
)


def _line(name: str, head: bytes, why: str = "the head is not plain HTTP/1.1") -> Case:
    return Case(name, head + _REST + b"Content-Length: " + _N + b"\r\n\r\n" + BODY, REFUSED, why)


_PATH = b"/api/v3/order"
LINES = (
    *(_line(f"version {version!a}", b"POST " + _PATH + b" " + version + b"\r\n" + _HOST)
      for version in (b"HTTP/2.0", b"HTTP/0.9", b"RTSP/1.0", b"HTTP/1.2", b"HTTP/3", b"HTTP/1", b"HTTP/1.1.1",
                      b"http/1.1", b"HTTP/11", b"HTTP/-1.1", b"HTTP/1.\xb9", b"ICE/1.0", b"", b"HTTP")),
    *(_line(f"method {method!a}", method + b" " + _PATH + b" HTTP/1.1\r\n" + _HOST)
      for method in (b"post", b"Post", b"POST\0", b"P\x0bOST", b"PO ST", b" POST", b"POST:", b"", b"P\xd6ST")),
    Case("two spaces", _line("", b"POST  " + _PATH + b" HTTP/1.1\r\n" + _HOST).raw, JUDGED_BY_GATE,
         "one reading only, and what goes out is framed anew"),
    _line("tab for space", b"POST\t" + _PATH + b"\tHTTP/1.1\r\n" + _HOST),
    _line("space in the target", b"POST /api/v3/ order HTTP/1.1\r\n" + _HOST),
    _line("NUL in the target", b"POST /api/v3/order\0 HTTP/1.1\r\n" + _HOST),
    _line("DEL in the target", b"POST /api/v3/order\x7f HTTP/1.1\r\n" + _HOST),
    _line("bytes over ASCII in the target", b"POST /api/v3/order\xff HTTP/1.1\r\n" + _HOST),
    _line("bare CR in the request line", b"POST " + _PATH + b"\r HTTP/1.1\r\n" + _HOST),
    _line("bare CR in a header", _START + _HOST + b"X-A: b\rX-MBX-APIKEY: other\r\n"),
    _line("bare LF between headers", _START + _HOST + b"X-A: b\nX-MBX-APIKEY: other\r\n"),
    _line("NUL in a header's value", _START + _HOST + b"X-A: b\0c\r\n"),
    _line("NUL in a header's name", _START + _HOST + b"X-\0A: b\r\n"),
    _line("space in a header's name", _START + _HOST + b"X A: b\r\n"),
    _line("space after a header's name", _START + _HOST + b"X-A : b\r\n"),
    _line("header without a name", _START + _HOST + b": b\r\n"),
    _line("header without a colon", _START + _HOST + b"X-A\r\n"),
    _line("folded header", _START + _HOST + b"X-A: b\r\n c\r\n"),
    _line("first header folded", _START + b" Host: a\r\n" + _HOST),
    _line("header name over ASCII", _START + _HOST + b"X-\xc4: b\r\n"),
    _line("header name in quotes", _START + _HOST + b"\"X-A\": b\r\n"),
    _line("header name with a slash", _START + _HOST + b"X/A: b\r\n"),
    _line("header name with a brace", _START + _HOST + b"X{A}: b\r\n"),
    _line("very long header", _START + _HOST + b"X-A: " + b"b" * 100_000 + b"\r\n"),
    _line("very many headers", _START + _HOST + b"".join(b"X-%d: a\r\n" % index for index in range(2000))),
    _line("very long target", b"POST /api/v3/order?" + b"a" * 100_000 + b" HTTP/1.1\r\n" + _HOST),
)

CASES = FRAMING + CHUNKED + LINES
