"""Histories asked for part by part."""

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from proxy.clock import SystemClock
from proxy.exchanges.base import Credentials
from proxy.feeds.history import PAGE, happened, spans
from proxy.feeds.server_time import ServerTime
from proxy.feeds.venue import FeedFailed, Venue
from tests.canary import KEY, SECRET

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MS = timedelta(milliseconds=1)
PATH = "/fapi/v1/income"


def ms(instant: datetime) -> int:
    """Milliseconds since 1970."""
    return round(instant.timestamp() * 1000)


@pytest.fixture
def history(session, venue_server):
    """Asks a venue that has these rows, oldest first and no more than a page of them at once."""

    async def ask(rows, until, *, length=DAY):
        def answer(request):
            begins, ends = int(request.query["startTime"]), int(request.query["endTime"])
            return web.json_response([row for row in rows if begins <= row["time"] <= ends][:PAGE])

        venue_server.answers[PATH] = answer
        clock = SystemClock()
        venue = Venue(
            session, venue_server.origin, clock, credentials=Credentials(api_key=KEY, secret=SECRET),
            server_time=ServerTime(clock),
        )  # fmt: skip
        return await happened(venue, PATH, BEGIN, until, key=lambda row: str(row["id"]), length=length)

    return ask


def test_parts_touch_and_never_overlap():
    """Both ends are part of a question, so the next begins a millisecond later, and the last ends where asked."""
    assert list(spans(BEGIN, BEGIN + 2 * DAY, DAY)) == [
        (BEGIN, BEGIN + DAY - MS),
        (BEGIN + DAY, BEGIN + 2 * DAY - MS),
        (BEGIN + 2 * DAY, BEGIN + 2 * DAY),
    ]


async def test_every_row_comes_once_whatever_the_pages(history):
    """More rows than a page, several of one millisecond at its edge, over two parts: each is there once."""
    rows = [{"id": number, "time": ms(BEGIN) + number // 3 * 60_000} for number in range(2 * PAGE + 7)]

    found = await history(rows, BEGIN + 2 * DAY)

    assert found == rows


async def test_nothing_beyond_the_end_is_taken(history):
    """A row a millisecond after the end is left out, one at the end is not."""
    rows = [{"id": 1, "time": ms(BEGIN + DAY)}, {"id": 2, "time": ms(BEGIN + DAY) + 1}]

    assert await history(rows, BEGIN + DAY) == rows[:1]


async def test_more_of_one_millisecond_than_a_page_is_said(history):
    """What cannot be asked for further is no history: it fails rather than leaving rows out."""
    rows = [{"id": number, "time": ms(BEGIN)} for number in range(PAGE + 1)]

    with pytest.raises(FeedFailed, match="one millisecond"):
        await history(rows, BEGIN + DAY)
