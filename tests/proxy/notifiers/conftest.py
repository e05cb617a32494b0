"""What the tests of the notifiers share: a clock, notifiers that remember, and a server that plays Telegram."""

import asyncio
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from proxy.clock import ManualClock
from proxy.notifiers import NotifyFailed

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Remembers:
    """A notifier that keeps what it was given; it can fail or hang."""

    def __init__(self, name="test"):
        self.name = name
        self.messages = []
        self.fails = 0
        self.hangs = False

    async def send(self, message):
        """Keep it."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            self.fails -= 1
            raise NotifyFailed("not now")
        self.messages.append(message)

    @property
    def titles(self):
        """The titles without the instance."""
        return [message.title.partition("] ")[2] for message in self.messages]


async def until(true, *, within_s=30.0):
    """Wait until something is true."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture
def clock():
    """Noon."""
    return ManualClock(NOW)


class Server:
    """Remembers what was posted, and answers what a test put there."""

    def __init__(self):
        self.posted = []
        self.updates = []
        self.status = 200
        self.url = ""

    async def take(self, request):
        """Any path: keep it; the Bot API's methods are answered as Telegram does."""
        body = await request.read()
        self.posted.append((request.path, dict(request.headers), body))
        if self.status != 200:
            return web.Response(status=self.status, headers={"Location": f"{self.url}/elsewhere"})
        method = request.path.rpartition("/")[2]
        found = []
        if method == "getUpdates":
            offset = (await request.json())["offset"]
            found = [one for one in self.updates if one["update_id"] >= offset]
        return web.json_response({"ok": True, "result": found})

    def sent(self, method):
        """The bodies of the calls of a method."""
        return [body for path, _, body in self.posted if path.endswith(f"/{method}")]


@pytest.fixture
async def server():
    """The server, on a free port."""
    server, app = Server(), web.Application()
    app.router.add_post("/{path:.*}", server.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def session():
    """A client session."""
    async with aiohttp.ClientSession() as session:
        yield session
