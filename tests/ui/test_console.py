"""The console in a real browser: it stops trading without scripts, it is live with them, and anybody can use it."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.ui.conftest import opened

AXE = (Path(__file__).parent / "axe.min.js").read_text("utf-8")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1440, "height": 900}


@pytest.fixture
async def enter(house, browser):
    """Opens pages that are logged in: `page = await enter(**options)`."""
    async with AsyncExitStack() as stack:

        async def enter(**options):
            page = await stack.enter_async_context(opened(browser, viewport=DESK, **options))
            await page.goto(await house.link())
            assert page.url == f"{house.url}/ui"
            return page

        yield enter


async def halt(page):
    """Press the button."""
    await page.get_by_role("button", name="Halt", exact=True).click()
    await expect(page.locator("#state")).to_contain_text("Halted")


async def test_halt_works_with_scripts_off(house, enter):
    """A plain form: one press, the page says since when, and the bot's next order is refused."""
    page = await enter(java_script_enabled=False)
    assert (await house.order(name="before")).status == 200

    await halt(page)

    assert (await house.order(name="after")).headers["x-risk-reason"] == "ess_trading_halt_active"
    await expect(page.get_by_role("status").filter(has_text="HALT is in force for global")).to_be_visible()
    await page.reload()
    await expect(page.locator("#state")).to_contain_text("Halted")
    assert page.refused == page.wrong == []


async def test_reduce_only_and_a_part_can_be_stopped(house, enter):
    """Reduce only, for one account: the bar says that a part is stopped, and the account's orders are refused."""
    page = await enter(java_script_enabled=False)
    await page.get_by_text("Only in part, or with a reason").click()
    await page.get_by_label("What to stop").select_option("account:desk")
    await page.get_by_label("Reason").first.fill("too fast")
    await page.get_by_label("Your name").first.fill("ann")

    await page.get_by_role("button", name="Reduce only").click()

    await expect(page.locator("#state")).to_contain_text("stopped in part")
    await expect(page.get_by_role("article", name="Stop of account:desk")).to_contain_text("by bootstrap (ann)")
    assert (await house.order()).status == 403


async def release(page, name, reason):
    """Fill in the form of the only stop."""
    article = page.get_by_role("article", name="Stop of global")
    await article.locator("summary").click()
    await article.get_by_label("Your name").fill(name)
    await article.get_by_label("Reason").fill(reason)
    await article.get_by_role("button").click()


async def test_release_asks_a_reason_and_a_second_person(house, enter):
    """Without a reason nothing is sent; one person only asks; the same session cannot confirm; another one can."""
    first, second = await enter(java_script_enabled=False), await enter(java_script_enabled=False)
    await halt(first)

    await release(first, "ann", "")
    assert await first.locator("input[name=reason]:invalid").count() == 1
    assert (await house.order()).status == 403

    await first.reload()
    await release(first, "ann", "fills explained")
    await expect(first.get_by_role("status").filter(has_text="a second person has to confirm")).to_be_visible()
    assert (await house.order()).status == 403

    await release(first, "bob", "me again, by another name")
    await expect(first.locator(".notice[role=alert]")).to_contain_text("same token")
    assert (await house.order()).status == 403

    await second.reload()
    asked = second.get_by_role("article", name="Stop of global")
    await expect(asked).to_contain_text("bootstrap (ann) wants to release it")
    await release(second, "bob", "looked at it as well")
    await expect(second.locator("#state")).to_contain_text("Running")
    await passes(house)


async def passes(house):
    """After a HALT an account only reduces until it has been read anew; then its orders pass again."""
    async with asyncio.timeout(20):
        number = 0
        while (await house.order("0.002", f"again-{number}")).status != 200:
            number += 1
            await asyncio.sleep(0.25)


async def test_decisions_appear_while_one_looks(house, enter):
    """The empty page tells how to connect; then each order appears by itself, with every rule's verdict and margin."""
    page = await enter()
    await expect(page.locator("#empty")).to_contain_text(f'base_url="{house.app.proxy_url}"')
    await expect(page.locator("#live")).to_contain_text("live,")

    await house.order("0.002", "small")
    await house.order("0.05", "large")
    await house.order("0.002", "strange", symbol="DOGEUSDT")

    rows = page.locator("#rows > li")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(2)).to_contain_text("allowed")
    await expect(rows.nth(1)).to_contain_text("0.05 → 0.01 BTCUSDT")
    await expect(rows.nth(0)).to_contain_text("Symbol DOGEUSDT is not among those allowed here")
    await expect(page.locator("#empty")).to_be_hidden()
    await rows.nth(2).locator("summary").click()
    table = rows.nth(2).get_by_role("table")
    row = table.get_by_role("row", name="order notional within 118 600 80.33 % left", exact=True)
    await expect(row).to_be_visible()
    await expect(page.locator("#bots tr", has_text="demo desk")).to_contain_text("1")
    assert page.refused == page.wrong == []


async def test_a_paused_list_stands_still_and_catches_up(house, enter):
    """While paused nothing moves under the reader; afterwards nothing is missing."""
    page = await enter()
    await house.order(name="first")
    await expect(page.locator("#rows > li")).to_have_count(1)
    await page.get_by_role("button", name="Pause").click()

    for number in range(3):
        await house.order("0.001", f"later-{number}")
    await expect(page.get_by_role("button", name="Resume (3 new)")).to_be_visible()
    await expect(page.locator("#rows > li")).to_have_count(1)

    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#rows > li")).to_have_count(4)


async def test_a_stop_from_elsewhere_is_shown_and_said_at_once(house, enter):
    """Somebody halts by other means: the bar turns and an alert says so to screen readers, without a reload."""
    page = await enter()
    await expect(page.locator("#live")).to_contain_text("live,")

    await house.app.latch.engage(level=2, scope="global", actor="eve", reason="from the shell", source="cli")

    await expect(page.locator("#state.halt")).to_contain_text("by eve (cli): from the shell", timeout=1500)
    await expect(page.locator("#alarm")).to_contain_text("Halted")
    await expect(page).to_have_title("Halted · riskgate")


async def test_what_is_being_typed_survives_the_updates(house, enter):
    """A half-filled release form stays while the page renews everything around it."""
    page = await enter()
    await halt(page)
    article = page.get_by_role("article", name="Stop of global")
    await article.locator("summary").click()
    await article.get_by_label("Reason").fill("half a sen")

    await house.app.latch.engage(level=2, scope="account:desk", actor="eve", reason="", source="cli")
    await expect(page.locator("#acts")).to_contain_text("stopped")
    await asyncio.sleep(2.5)

    await expect(article.get_by_label("Reason")).to_have_value("half a sen")


async def test_a_silent_server_is_said(house, enter):
    """When nothing is heard any more, the page says that it is not live instead of looking calm."""
    page = await enter()
    # A browser that is set offline goes on with the stream it has: so it is the stream that falls silent.
    await page.add_init_script(
        "window.EventSource = class extends EventSource { constructor(...all) { super(...all); window.heard = this } }"
    )
    await page.reload()
    await expect(page.locator("#live")).to_contain_text("live,")

    await page.evaluate("window.heard.close()")
    await page.evaluate("performance.now = ((real) => () => real() + 60000)(performance.now.bind(performance))")

    await expect(page.locator("#live")).to_contain_text("not live", timeout=15_000)


async def test_halting_needs_no_mouse(house, enter):
    """From the top of the page: skip to the content, one more key to the switch, and Enter."""
    page = await enter()

    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Halt"
    await page.keyboard.press("Enter")

    await expect(page.locator("#state")).to_contain_text("Halted")


async def test_a_mode_is_previewed_before_it_is_switched(house, enter):
    """The difference first, then name and reason; the history shows who and why, and brings it back."""
    page = await enter(java_script_enabled=False)
    await page.get_by_role("link", name="Policy", exact=True).click()
    await page.get_by_role("link", name="Preview DEFENSIVE").click()
    preview = page.get_by_role("region", name="Switching to DEFENSIVE would change")
    await expect(preview.get_by_role("row", name="leverage_max 5 3")).to_be_visible()
    assert house.app.policies.current.policy.active_mode == "NORMAL"

    await preview.get_by_label("Your name").fill("ann")
    await preview.get_by_label("Reason").fill("stormy")
    await preview.get_by_role("button").click()

    await expect(page.locator(".notice[role=status]")).to_contain_text("DEFENSIVE is in force from revision 2 on.")
    await expect(page.get_by_role("row", name=re.compile("^2 .* bootstrap [(]ann[)] stormy$"))).to_be_visible()
    await page.get_by_role("table", name="Revisions").get_by_role("link", name="1", exact=True).click()
    back = page.get_by_role("region", name="Revision 1")
    await expect(back).to_contain_text("This admits more than now")
    await back.get_by_label("Reason").fill("calm again")
    await back.get_by_role("button").click()
    await expect(page.locator(".notice[role=status]")).to_contain_text("revision 1 is in force again, as revision 3")


async def test_the_record_is_verified_by_a_button(house, enter):
    """The button walks the chain; a changed byte is found and said."""
    page = await enter(java_script_enabled=False)
    await house.order()
    await page.get_by_role("link", name="Audit", exact=True).click()
    await page.get_by_role("button", name="Verify the whole record").click()
    await expect(page.locator(".notice[role=status]")).to_contain_text("The record is whole")

    segment = min(house.app.audit.directory.glob("audit-*.jsonl"))
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b'"quantity":"0.002"', b'"quantity":"0.003"', 1))
    await page.reload()
    await expect(page.locator(".notice[role=alert]")).to_contain_text("NOT whole")
    segment.write_bytes(content)


async def test_an_open_page_does_not_delay_the_end(house, enter):
    """The proxy ends within two seconds of its drain while a browser listens."""
    page = await enter()
    await expect(page.locator("#live")).to_contain_text("live,")
    loop = asyncio.get_running_loop()

    began = loop.time()
    await house.app.stop()

    assert loop.time() - began < house.app.settings.listen.drain_delay + 2


async def test_a_viewer_sees_everything_and_can_press_nothing(house, browser):
    """With a viewer's token the page is whole, says who may stop, and has no form but the log-out."""
    headers = {"Authorization": f"Bearer {house.token}"}
    body = {"person": "vera", "role": "viewer"}
    async with house.client.post(f"{house.url}/admin/v1/tokens", json=body, headers=headers) as answer:
        token = (await answer.json())["token"]

    async with opened(browser) as page:
        await page.goto(f"{house.url}/ui")
        await page.get_by_label("Admin token").fill(token)
        await page.get_by_role("button", name="Log in").click()

        await expect(page.get_by_text("You are vera, viewer: an operator may stop trading.")).to_be_visible()
        await expect(page.locator("form")).to_have_count(1)
        await expect(page.locator("#live")).to_contain_text("live,")
        await expect(page.get_by_role("button", name="Log out vera")).to_be_visible()


async def chosen(page):
    """From the first page to the forms for an account, as somebody in a hurry would go."""
    await page.get_by_role("link", name="Cancel or close on desk").click()
    await expect(page.get_by_role("heading", name="Flatten desk")).to_be_visible()


async def test_orders_are_cancelled_with_scripts_off(house, enter):
    """The form names the account and asks that it is meant; the page follows each order to its end by itself."""
    page = await enter(java_script_enabled=False)
    assert (await house.order("0.002", "rests-1")).status == (await house.order("0.002", "rests-2")).status == 200
    await page.goto(f"{house.url}/ui")
    await chosen(page)
    form = page.get_by_role("region", name="Cancel all orders of desk")
    await form.get_by_label("Your name").fill("ann")
    await form.get_by_label("Reason").fill("they fill too well")
    await form.get_by_role("button", name="Cancel all orders of desk").click()
    assert await form.locator("input[name=confirm]:invalid").count() == 1, "not without the box"

    await form.get_by_label("Yes, cancel the orders of desk").check()
    await form.get_by_role("button", name="Cancel all orders of desk").click()

    await expect(page.locator(".standing")).to_contain_text("Done", timeout=20_000)
    await expect(page.get_by_role("row", name=re.compile("rests-1 .* cancelled"))).to_be_visible()
    await expect(page.get_by_text("2 of 2 orders settled")).to_be_visible()
    assert (await house.order("0.002", "after")).headers["x-risk-reason"] == "ess_reduce_only_active"
    assert page.refused == page.wrong == []


async def test_flatten_takes_the_account_s_name(house, enter):
    """Another name is not sent; the right one halts, and scripts bring the page to the end without a reload."""
    page = await enter()
    await chosen(page)
    form = page.get_by_role("region", name="Flatten desk")
    await form.get_by_label("Type desk to confirm").fill("direct")
    await form.get_by_label("Your name").fill("ann")
    await form.get_by_label("Reason").fill("out")
    button = form.get_by_role("button", name="Flatten desk")
    await button.click()
    assert await form.locator("input[name=confirm]:invalid").count() == 1
    assert house.app.actions.jobs == ()

    await form.get_by_label("Type desk to confirm").fill("desk")
    await button.click()

    await expect(page.locator(".standing")).to_contain_text("Done", timeout=20_000)
    await expect(page.locator(".standing")).to_contain_text("by bootstrap (ann): out")
    await expect(page.locator("#state")).to_contain_text("stopped in part")
    await page.get_by_role("link", name="All actions").click()
    await expect(page.get_by_role("row", name=re.compile("Flatten.* account:desk .* done$"))).to_be_visible()


async def test_a_drill_is_one_press(house, enter):
    """It runs before an exchange of its own, and the page shows what the stopwatch said."""
    page = await enter()
    await page.get_by_role("link", name="Actions", exact=True).click()
    form = page.get_by_role("region", name="Drill")
    await form.get_by_label("Your name").fill("ann")
    await form.get_by_role("button", name="Run a drill").click()

    await expect(page.locator(".standing")).to_contain_text("Done", timeout=90_000)
    await expect(page.locator("#action dl")).to_contain_text("Flat at the exchangeyes")
    assert [stop.level.name for stop in house.app.latch.stops()] == ["CLEAR"], "no account here was touched"


async def test_the_state_bar_is_live_on_every_page(house, enter):
    """Whoever looks at the policy while somebody else halts sees and hears it."""
    page = await enter()
    await page.goto(f"{house.url}/ui/policy")
    await expect(page.locator("#live")).to_contain_text("live,")

    await house.app.latch.engage(level=2, scope="global", actor="eve", reason="from the shell", source="cli")

    await expect(page.locator("#state.halt")).to_contain_text("by eve (cli)", timeout=5000)
    await expect(page.locator("#alarm")).to_contain_text("Halted")


async def test_leases_of_strategies_are_shown(house, enter):
    """Once a strategy was heard of, its account says how long it may stay silent, and the switch has a tile."""
    page = await enter()
    desk = page.get_by_role("region", name=re.compile("^desk"))
    await expect(desk).to_contain_text("no strategy was heard of yet")
    await expect(page.locator("#health")).to_contain_text("Dead man's switch of desk watching")

    await house.order()

    await expect(desk).to_contain_text("demo has 59 min left", timeout=5000)


async def look(page, name, wrong):
    """Keep what axe finds in both schemes at both widths, and whether the page scrolls sideways."""
    for size in (DESK, PHONE):
        await page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = await page.evaluate("axe.run().then((result) => result.violations)")
            said = [(one["id"], [node["html"][:160] for node in one["nodes"]][:4]) for one in found]
            if not await page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                said.append(("scrolls sideways", []))
            if said:
                wrong[name, scheme, size["width"]] = said


async def test_axe_finds_nothing_in_both_schemes_at_both_widths(house, browser):
    """Every page, empty, running with a row open, and halted with a form open: no violation anywhere."""
    wrong = {}
    async with opened(browser) as page:
        await page.add_init_script(AXE)
        await page.goto(f"{house.url}/ui/login")
        await look(page, "login", wrong)
        await page.goto(await house.link())
        await look(page, "empty", wrong)
        for quantity, symbol in (("0.002", "BTCUSDT"), ("0.05", "BTCUSDT"), ("0.002", "DOGEUSDT")):
            await house.order(quantity, f"axe-{quantity}-{symbol}", symbol=symbol)
        await expect(page.locator("#rows > li")).to_have_count(3)
        await page.locator("#rows summary").nth(2).click()
        await look(page, "running", wrong)
        await page.get_by_text("Only in part, or with a reason").click()
        await page.get_by_label("Your name").first.fill("ann")
        await halt(page)
        await page.get_by_role("article", name="Stop of global").locator("summary").click()
        await look(page, "halted", wrong)
        flattened = await house.flatten()
        for path in ("decisions", "policy?mode=DEFENSIVE", "audit?verify=1", "accounts/desk", "decisions/none",
                     "actions?scope=account:desk", f"actions/{flattened}"):  # fmt: skip
            await page.goto(f"{house.url}/ui/{path}")
            await look(page, path.partition("/flatten")[0], wrong)

    assert wrong == {}
    assert page.refused == []


async def test_everything_works_while_the_world_outside_is_refused(house, enter):
    """Nothing beyond this machine is even asked for, on no page; charts are drawn all the same."""
    page = await enter()
    for path in ("decisions", "policy", "audit", "accounts/desk", "actions", ""):
        await page.goto(f"{house.url}/ui/{path}".rstrip("/"))
        await expect(page.locator("#live")).to_contain_text("live,")
    await expect(page.locator("#flow-chart canvas")).to_be_visible()
    await expect(page.locator("#latency-chart canvas")).to_be_visible()

    assert page.refused == page.wrong == []
