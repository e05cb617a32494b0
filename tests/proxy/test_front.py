"""Requests read past the parser: the same as the parser reads them, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.front import form_of
from proxy.wire import WireRequest, WireResponse
from tests.proxy.test_handler import OK, listening, one_answer, status, until

pytestmark = pytest.mark.both_loops

KEYED = b"Host: h\r\nX-MBX-APIKEY: k\r\nContent-Type: application/x-www-form-urlencoded\r\n"


def post(body: bytes = b"symbol=BTCUSDT", target: bytes = b"/fapi/v1/order", head: bytes = KEYED) -> bytes:
    """An order with its length last among the headers."""
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (target, head, len(body), body)


async def alone(raw: bytes) -> list[WireRequest]:
    """What the pipeline gets of bytes that are the first on their connection: the parser's reading."""
    async with listening() as one:
        reader, writer = await one.connect()
        writer.write(raw)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 3)
        return one.pipeline.requests


async def after_a_first(raw: bytes, first: bytes) -> tuple[list[WireRequest], int]:
    """What the pipeline gets of the same bytes after another request, and how often the parser was passed."""
    async with listening() as one:
        passed = []
        reader, writer = await one.connect()
        writer.write(first)
        await one_answer(reader)
        ask = one.server._server.answer_read
        one.server._server.answer_read = lambda wire, door: (passed.append(wire), ask(wire, door))
        writer.write(raw)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 3)
        return one.pipeline.requests[1:], len(passed)


@pytest.mark.parametrize(
    ("raw", "is_passed"),
    [
        (post(), True),
        (post(b"symbol=ETHUSDT&quantity=1"), True),
        (post(b""), True),
        (post(bytes(range(256))), True),
        (post(target=b"/fapi/v1/order?a=1&b=%2C"), True),
        (post(b"\r\n\r\nPOST / HTTP/1.1\r\n\r\n"), True),
        (post() + post(), False),
        (post() + b"\r\n", False),
        (b"\r\n" + post(), False),
        (post()[:-1], False),
        (post(target=b"/a#b"), False),
        (post(target=b"/a b"), False),
        (post(target=b"http://h/a"), False),
        (post(target=b"/a\xff"), False),
        (post(head=KEYED.replace(b"k\r\n", b"l\r\n")), False),
        (post(head=KEYED + b"X-A: b\r\n"), False),
        (post().replace(b"Content-Length: 14", b"Content-Length: 014"), False),
        (post().replace(b"Content-Length: 14", b"Content-Length: +14"), False),
        (post().replace(b"Content-Length: 14", b"Content-Length: 1_4"), False),
        (post().replace(b"Content-Length: 14", b"Content-Length: 14 "), False),
        (post().replace(b"Content-Length: 14", b"Content-Length:14"), False),
        (post().replace(b"Content-Length: 14", b"Content-Length: 14\r\nContent-Length: 14"), False),
        (post().replace(b"Content-Length: 14", b"Content-Length: 14\r\nTransfer-Encoding: chunked"), False),
        (post().replace(b"Content-Length: 14", b"Content-Length: 14\nX: y"), False),
        (post().replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (post().replace(b"POST", b"PUT"), False),
        (post().replace(b"POST ", b"POST  "), False),
        (post(b"x" * 70_000), False),
        (b"GET /api/v3/time HTTP/1.1\r\nHost: h\r\n\r\n", False),
    ],
)
async def test_the_pipeline_sees_what_the_parser_would_have_read(raw, is_passed):
    """Same requests in the same order, whether the parser read the bytes or the form of the first request did."""
    found, passed = await after_a_first(raw, post(b"first=1"))

    assert found == await alone(raw)
    assert bool(passed) is is_passed


@pytest.mark.parametrize("length_first", [True, False])
@pytest.mark.parametrize("name", [b"Content-Length", b"content-length", b"CONTENT-LENGTH"])
async def test_the_length_may_stand_anywhere_and_be_spelt_in_any_case(name, length_first):
    """What matters is where the parser listed it; a value that looks like the length is left alone."""
    length = name + b": %d\r\n"
    head = b"X-A: Content-Length: 7\r\n" + (length + KEYED if length_first else KEYED + length)
    first, second = (b"POST /a HTTP/1.1\r\n" + head % len(one) + b"\r\n" + one for one in (b"first=1", b"x" * 1234))
    found, passed = await after_a_first(second, first)

    assert found == await alone(second)
    assert passed == 1


async def test_a_request_without_body_has_a_form_too():
    """A cancel repeats its head as an order does; one that brings a body does not fit."""
    first = b"DELETE /fapi/v1/order?orderId=1 HTTP/1.1\r\n" + KEYED + b"\r\n"
    found, passed = await after_a_first(first.replace(b"=1", b"=22"), first)

    assert ([one.target for one in found], passed) == ([b"/fapi/v1/order?orderId=22"], 1)
    assert (await after_a_first(first + b"x", first))[1] == 0


@pytest.mark.parametrize(
    "first",
    [
        post(head=KEYED + b"Connection: close\r\n"),
        b"POST /a HTTP/1.1\r\n" + KEYED + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        post(head=KEYED + b"Expect: 100-continue\r\n"),
        post() + b"POST /a",
    ],
)
async def test_no_form_is_kept_of_what_needs_the_parser(first):
    """A connection that ends, chunks, an expectation, and bytes that are more than the one request."""
    async with listening() as one:
        reader, writer = await one.connect()
        writer.write(first)
        await asyncio.wait_for(reader.readuntil(b"{}"), 3)
        assert all(not door._forms for door in one.server._server.doors)


async def test_answers_keep_the_order_of_requests():
    """What comes while an order is under way waits, also where the parser would answer at once."""
    release = asyncio.Event()

    async def slow(wire):
        if wire.body == b"slow=1":
            await release.wait()
        return replace(OK, body=wire.body or wire.target)

    async with listening(slow) as one:
        reader, writer = await one.connect()
        writer.write(post(b"first=1"))
        await one_answer(reader)
        writer.write(post(b"slow=1"))
        await until(lambda: one.server.in_flight == 1)
        writer.write(b"GET /get HTTP/1.1\r\nHost: h\r\n\r\n" + post(b"last=1"))
        await asyncio.sleep(0.05)
        assert len(one.pipeline.requests) == 2
        release.set()
        bodies = [(await one_answer(reader)).partition(b"\r\n\r\n")[2] for _ in range(3)]

    assert bodies == [b"slow=1", b"/get", b"last=1"]


async def test_a_bot_that_sends_far_ahead_is_not_read_any_more():
    """What waits is bounded, and none of it is lost."""
    release = asyncio.Event()

    async def slow(wire):
        await release.wait()
        return OK

    async with listening(slow) as one:
        release.set()
        reader, writer = await one.connect()
        writer.write(post(b"first=1"))
        await one_answer(reader)
        release.clear()
        writer.write(post(b"slow=1"))
        await until(lambda: one.server.in_flight == 1)
        for _ in range(40):
            writer.write(post(b"x" * 60_000))
        await asyncio.sleep(0.2)
        (door,) = one.server._server.doors
        assert len(door._held) < 1_000_000
        release.set()
        for _ in range(41):
            assert status(await one_answer(reader)) == 200


async def test_a_hung_up_bot_does_not_stop_its_order():
    """The order goes on to its end; nobody is there to read the answer."""
    release = asyncio.Event()

    async def slow(wire):
        if wire.body == b"slow=1":
            await release.wait()
        return OK

    async with listening(slow) as one:
        reader, writer = await one.connect()
        writer.write(post(b"first=1"))
        await one_answer(reader)
        writer.write(post(b"slow=1"))
        await until(lambda: one.server.in_flight == 1)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        assert one.server.in_flight == 1
        release.set()
        await until(lambda: one.pipeline.finished == 2 and one.server.in_flight == 0)


async def test_the_drain_waits_for_requests_past_the_parser():
    """Under way when the listener stops, answered before it has stopped, and told that the connection ends."""

    async def slow(wire):
        await asyncio.sleep(0.2 if wire.body == b"slow=1" else 0)
        return OK

    async with listening(slow) as one:
        reader, writer = await one.connect()
        writer.write(post(b"first=1"))
        await one_answer(reader)
        writer.write(post(b"slow=1"))
        await until(lambda: one.server.in_flight == 1)
        assert await one.server.stop(2) == 0
        answer = await asyncio.wait_for(reader.read(), 2)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" in answer


def answering() -> list[asyncio.Task]:
    """The tasks that answer what was read past the parser."""
    return [task for task in asyncio.all_tasks() if task.get_name() == "requests"]


async def test_one_task_answers_a_connection_and_ends_with_it():
    """However many requests it reads past the parser; nothing is left of it once the bot has hung up."""
    async with listening() as one:
        reader, writer = await one.connect()
        for number in range(6):
            writer.write(post(b"number=%d" % number))
            assert status(await one_answer(reader)) == 200
            assert len(answering()) == (number > 0)
        assert [wire.body for wire in one.pipeline.requests] == [b"number=%d" % number for number in range(6)]

        writer.close()
        await until(lambda: not answering())


async def test_requests_that_came_early_leave_others_their_turn():
    """Answers that need no waiting are still given one in each step of the loop, in order."""
    steps: list[int] = []
    loop_step = 0

    async def count_steps() -> None:
        nonlocal loop_step
        while True:
            loop_step += 1
            await asyncio.sleep(0)

    async def at_once(wire: WireRequest) -> WireResponse:
        steps.append(loop_step)
        if wire.body == b"number=1":  # comes while number 1 is under way, and is the whole of what is held
            for door in one.server._server.doors:
                door.data_received(post(b"number=2"))
        return OK

    async with listening(at_once) as one:
        reader, writer = await one.connect()
        counter = asyncio.create_task(count_steps())
        for number in (0, 1):
            writer.write(post(b"number=%d" % number))
            await one_answer(reader)
        await one_answer(reader)
        counter.cancel()

        assert [wire.body for wire in one.pipeline.requests] == [b"number=0", b"number=1", b"number=2"]
        assert steps[1] < steps[2]


@given(target=st.binary(max_size=12), length=st.binary(max_size=4), body=st.binary(max_size=12), at=st.integers(0, 90),
       noise=st.binary(max_size=2))
def test_a_form_never_reads_what_is_not_its_form(target, length, body, at, noise):
    """Whatever is read is, byte for byte, the form with another target, length and body."""
    example = WireRequest(
        "POST", b"/a", ((b"Host", b"h"), (b"Content-Length", b"3"), (b"X-A", b"b")), b"abc", "p", b"h"
    )
    form = form_of(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc", example)
    made = b"POST /%b HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\nX-A: b\r\n\r\n%b" % (target, length, body)
    made = made[:at] + noise + made[at:]
    found = form.read(made, 64)
    if found is not None:
        digits = dict(found.headers)[b"Content-Length"]
        assert digits == b"%d" % len(found.body)
        assert made == b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\nX-A: b\r\n\r\n%b" % (
            found.target, digits, found.body,
        )
        assert not set(found.target) & set(b" #\r\n\0\xff")
