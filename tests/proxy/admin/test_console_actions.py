"""The console's forms for actions: what they need before anything is sent, and what their pages say."""

import asyncio
import re
from types import SimpleNamespace

import aiohttp
import pytest

from proxy.actions.results import RunState
from proxy.admin.console_actions import ActionPages, word_of
from tests.proxy.actions.conftest import a_desk

SCOPE = "account:desk"


class Browser:
    """A logged-in browser without a browser."""

    def __init__(self, wire, session):
        self.wire = wire
        self.session = session
        self.csrf = ""

    async def get(self, path):
        """A page's text."""
        return await self._ask("GET", path)

    async def post(self, path, **form):
        """What a form of this session answers."""
        return await self._ask("POST", path, form={"csrf": self.csrf, **form})

    async def _ask(self, method, path, form=None):
        async with self.wire.request(
            method, path, data=form, headers={"Cookie": self.session}, allow_redirects=False
        ) as answer:
            return SimpleNamespace(
                status=answer.status, text=await answer.text(), place=answer.headers.get("Location", "")
            )


@pytest.fixture
async def desk(tmp_path):
    """A deployment, and a browser that is logged in under the bootstrap token."""
    async with a_desk(tmp_path) as desk, aiohttp.ClientSession(desk.run.admin_url) as wire:
        desk.browser = await log_in(wire, desk.run.admin._token)
        yield desk


async def log_in(wire, token):
    """A session of whoever holds this token."""
    async with wire.post("/ui/login", data={"token": token}, allow_redirects=False) as answer:
        assert answer.status == 303
        browser = Browser(wire, answer.headers["Set-Cookie"].partition(";")[0])
    page = await browser.get(f"/ui/actions?scope={SCOPE}")
    browser.csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)[1]
    return browser


FILLED = {"scope": SCOPE, "name": "ann", "reason": "a try", "confirm": "desk"}


@pytest.mark.parametrize("kind", ["cancel-all", "flatten"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"confirm": ""}, "has to be given exactly"),
        ({"confirm": "direct"}, "has to be given exactly"),
        ({"confirm": "DESK"}, "has to be given exactly"),
        ({"reason": ""}, "needs a reason"),
        ({"name": ""}, "needs your name"),
        ({"scope": "account:other"}, "nothing to act on"),
        ({"scope": "strategy:grid", "confirm": "grid"}, "nothing to act on"),
        ({"scope": ""}, "nothing to act on"),
    ],
)
async def test_what_is_not_confirmed_is_not_begun(desk, kind, changes, said):
    """Each thing that is missing or names something else: 422, nothing engaged, nothing sent."""
    answer = await desk.browser.post(f"/ui/actions/{kind}", **(FILLED | changes))

    assert answer.status == 422
    assert said in answer.text
    assert "Nothing was sent" in answer.text
    assert desk.actions.jobs == ()
    assert len(desk.run.app.latch.stops()) == 1


async def test_a_forged_form_begins_nothing(desk):
    """The right cookie and everything filled in, without the page's own token."""
    answer = await desk.browser.post("/ui/actions/flatten", **(FILLED | {"csrf": "made-up"}))

    assert (answer.status, desk.actions.jobs) == (403, ())


async def test_flatten_is_followed_order_by_order(desk):
    """Begun under the person's name; the page says each order and position, and its piece for scripts the same."""
    await desk.hold("BTCUSDT", "0.4")
    await desk.rest()
    begun = await desk.browser.post("/ui/actions/flatten", **FILLED)
    assert (begun.status, begun.place.rpartition("/")[0]) == (303, "/ui/actions")
    (job,) = desk.actions.jobs
    await desk.ended(job)

    page, piece = await desk.browser.get(begun.place), await desk.browser.get(f"{begun.place}/live")

    assert (job.actor, job.reason, job.state, desk.held()) == ("bootstrap (ann)", "a try", RunState.DONE, 0)
    for text in (page.text, piece.text):
        assert "1 of 1 orders settled" in text
        assert "1 of 1 positions closed" in text
        assert 'id="state"' in text
    assert "data-running" not in page.text
    assert 'http-equiv="refresh"' not in page.text
    assert job.id in (await desk.browser.get("/ui/actions")).text


async def test_cancel_all_takes_its_own_confirmation(desk):
    """The check box carries the account's name."""
    await desk.rest()
    begun = await desk.browser.post("/ui/actions/cancel-all", **FILLED)
    (job,) = desk.actions.jobs
    await desk.ended(job)

    assert (begun.status, job.kind, desk.open_orders()) == (303, "cancel_all", [])


async def test_everything_needs_its_own_word(desk):
    """Of all accounts no single name is enough."""
    asked = FILLED | {"scope": "global"}
    assert (await desk.browser.post("/ui/actions/cancel-all", **asked)).status == 422
    begun = await desk.browser.post("/ui/actions/cancel-all", **(asked | {"confirm": "everything"}))

    assert begun.status == 303
    assert set(desk.actions.jobs[0].runs) == {"desk", "direct"}
    await desk.ended(desk.actions.jobs[0])


async def test_a_viewer_sees_actions_and_begins_none(desk):
    """The page has no form for them, and a form made up is refused by role."""
    made = await desk.run.admin.call("POST", "/admin/v1/tokens", person="vera", role="viewer")
    viewer = await log_in(desk.browser.wire, made.json["token"])
    page = await viewer.get(f"/ui/actions?scope={SCOPE}")

    assert "an operator may act" in page.text
    assert "/ui/actions/flatten" not in page.text
    assert (await viewer.post("/ui/actions/flatten", **FILLED)).status == 403
    assert desk.actions.jobs == ()


async def test_what_there_is_not_cannot_be_looked_at(desk):
    """An action or a scope of another process: 404, and a script's piece without a session 401."""
    assert (await desk.browser.get("/ui/actions/flatten-1")).status == 404
    assert (await desk.browser.get("/ui/actions?scope=account:other")).status == 404
    desk.browser.session = "riskgate_1=none"
    assert (await desk.browser.get("/ui/actions/flatten-1/live")).status == 401
    assert (await desk.browser.get("/ui/state")).status == 401


async def test_a_drill_is_begun_once_and_shown(desk):
    """Two presses are one drill; its page shows the stopwatch."""
    first = await desk.browser.post("/ui/actions/drill", name="ann")
    second = await desk.browser.post("/ui/actions/drill", name="ann")
    assert first.place == second.place

    page = await desk.browser.get(first.place)
    assert 'http-equiv="refresh"' in page.text, "without scripts the page asks again by itself"
    async with asyncio.timeout(90):
        while "data-running" in page.text:
            await asyncio.sleep(0.2)
            page = await desk.browser.get(first.place)
    assert "Flat at the exchange</dt><dd>yes" in page.text


def test_what_still_needs_somebody_is_shown_until_it_is_begun_again():
    """Of each kind and place the newest counts: one that needs a person goes when a later one is done."""

    def job(number, kind, state):
        return SimpleNamespace(
            id=str(number), kind=SimpleNamespace(value=kind), scope=SCOPE, state=RunState(state)
        )

    jobs = [job(1, "flatten", "needs_person"), job(2, "cancel_all", "done"), job(3, "drill", "running")]
    pages = ActionPages(SimpleNamespace(actions=SimpleNamespace(jobs=jobs)), None)
    assert [one["id"] for one in pages.unfinished()] == ["1", "3"]

    jobs.append(job(4, "flatten", "done"))
    assert [one["id"] for one in pages.unfinished()] == ["3"]


@pytest.mark.parametrize(
    ("scope", "word"), [("account:desk", "desk"), ("exchange:binance", "binance"), ("global", "everything")]
)
def test_the_word_is_the_name_of_what_is_meant(scope, word):
    """What has to be typed is what stands on the button."""
    assert word_of(scope) == word
