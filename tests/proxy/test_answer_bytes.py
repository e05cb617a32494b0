"""The bytes of an answer."""

import pytest

from proxy.answer_bytes import head_bytes, whole_bytes
from proxy.wire import WireResponse

ODD = ((b"Content-Type", b"application/json"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"X-Empty", b""))


def test_headers_come_as_they_came_and_the_length_is_that_of_the_body():
    """In order, in their own case, also twice; the reason is the venue's own where it said one."""
    answer = WireResponse(200, ODD, b'{"a":1}', b"Odd But Legal")
    assert whole_bytes(answer, close=False, head_only=False) == (
        b"HTTP/1.1 200 Odd But Legal\r\nContent-Type: application/json\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n"
        b'X-Empty: \r\nContent-Length: 7\r\n\r\n{"a":1}'
    )


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [(404, b"", b"HTTP/1.1 404 Not Found\r\n"), (404, b"No", b"HTTP/1.1 404 No\r\n"), (599, b"", b"HTTP/1.1 599 \r\n")],
)
def test_a_reason_that_nobody_stated_is_the_usual_one(status, reason, line):
    """Of a status that nobody knows it is empty."""
    assert head_bytes(status, reason, (), b"", close=False) == line + b"\r\n"


def test_a_connection_that_ends_says_so():
    """Behind the framing."""
    assert head_bytes(200, b"OK", (), b"Content-Length: 0\r\n", close=True) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_none(status):
    """Nor a length, whatever came along."""
    head, _, body = whole_bytes(WireResponse(status, (), b"x"), close=False, head_only=False).partition(b"\r\n")
    assert (head.split()[1], body) == (b"%d" % status, b"\r\n")


def test_an_answer_to_head_states_the_length_and_leaves_the_body_out():
    """As the venue would."""
    assert whole_bytes(WireResponse(200, (), b"four"), close=False, head_only=True) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
    )
