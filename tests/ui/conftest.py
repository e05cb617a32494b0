"""A browser before a whole riskgate: simulated exchange, proxy, console, and a bot that sends real orders."""

import asyncio
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from proxy.app import App
from proxy.cli import demo
from proxy.cli.demo import DemoBot, Key, Keys
from proxy.config import DeadMan, parse_bind
from proxy.simulator import SimExchange

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
LOOPBACK = re.compile(r"(https?|wss?)://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?/|(data|blob|about):")
ANY = "127.0.0.1:0"


class House:
    """Everything that runs, and how to use it."""

    def __init__(self, app, bot, token, client):
        self.app = app
        self.bot = bot
        self.token = token
        self.url = app.admin_url
        self.client = client

    async def order(self, quantity="0.002", name="b-1", symbol="BTCUSDT"):
        """An order of the bot, through the proxy."""
        return await self.bot.order(quantity, name, symbol=symbol)

    async def flatten(self):
        """Flatten the bot's account, to the end; the action's name."""
        job = await self.app.actions.flatten(
            scope="account:desk", accounts=["desk"], actor="bootstrap (ann)", reason="fills nobody explains"
        )
        await asyncio.wait_for(job.over.wait(), 30)
        return job.id

    async def link(self):
        """A link that logs a browser in."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.client.post(f"{self.url}/admin/v1/login-links", headers=headers) as answer:
            assert answer.status == 201
            return self.url + (await answer.json())["path"]


@asynccontextmanager
async def running(folder: Path):
    """A riskgate with its simulated exchange."""
    demo.prepare(folder)
    keys = Keys(Key.new(), Key.new(), Key.new())
    exchange = SimExchange()
    bind = parse_bind(ANY)
    try:
        url = await demo._open(exchange, bind, keys)
        settings = demo.settings_of(demo.Binds(bind, bind, bind), url, keys, folder)
        by_two = settings.admin.model_copy(update={"release_by": "two"})
        # A lease that no test outlasts, so that the pages have one to show.
        watched = {
            name: account.model_copy(update={"dead_man": DeadMan(lease="1h")})
            for name, account in settings.accounts.items()
        }
        app = App.from_settings(settings.model_copy(update={"admin": by_two, "accounts": watched}))
        try:
            await app.start()
            async with aiohttp.ClientSession(trust_env=False, auto_decompress=False) as client:
                token = app.settings.admin_token_path.read_text("utf-8").strip()
                await demo.Admin(client, app.admin_url, token).until_ready()
                yield House(app, DemoBot(client, app.proxy_url, keys.bot), token, client)
        finally:
            await app.stop()
    finally:
        await exchange.stop()


@asynccontextmanager
async def browsing():
    """Debian's chromium, driven by Playwright; nothing else is downloaded."""
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed: make install")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(browser, **options):
    """A page of a context of its own. What it asks for beyond this machine is refused and kept; so are its errors."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.refused, page.wrong = [], []

    async def route(one):
        if LOOPBACK.match(one.request.url):
            await one.continue_()
        else:
            page.refused.append(one.request.url)
            await one.abort()

    await context.route("**/*", route)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
    try:
        yield page
    finally:
        await context.close()


@pytest.fixture
async def house(tmp_path):
    """Everything, running."""
    if CHROMIUM is None:
        pytest.skip("no chromium in the PATH: `make chromium` says how to install it")
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def browser(house):
    """A browser."""
    async with browsing() as found:
        yield found


