"""Approvals and overrides at the console, in a browser: with scripts off, live with them, and usable by anybody."""

from dataclasses import replace
from decimal import Decimal

import pytest
from playwright.async_api import expect

from proxy.permits import Kind
from tests.ui.conftest import opened
from tests.ui.test_console import AXE, DESK, look


@pytest.fixture
async def asking(house):
    """A house whose policy asks for approvals from 150 on, with a ceiling for overrides."""
    house.app.permits.settings = replace(house.app.permits.settings, ceilings={"desk": Decimal(5000)})
    headers = {"Authorization": f"Bearer {house.token}", "If-Match": '"1"'}
    changes = {"accounts": {"desk": {"size": {"approval_notional_min": "150"}, "scaling": "off"}}}
    body = {"changes": changes, "updated_by": "ann", "reason": "a test"}
    async with house.client.patch(f"{house.url}/api/v2/policy", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    return house


async def test_a_large_order_is_approved_with_scripts_off(asking, browser):
    """The block says what waits and what it is worth; a reason and one press, and the order passes once."""
    async with opened(browser, viewport=DESK, java_script_enabled=False) as page:
        assert (await asking.order("0.004", "large-1")).headers["x-risk-reason"] == "approval_required"
        await page.goto(await asking.link())
        article = page.get_by_role("article", name="approval ap-")
        await expect(article).to_contain_text("BUY 0.004 BTCUSDT")
        await article.get_by_text("Approve", exact=True).click()
        await article.get_by_label("Your name").first.fill("ann")
        await article.get_by_label("Reason").first.fill("the client called")
        await article.get_by_role("button", name="Let it through once").click()

        await expect(page.get_by_role("status").filter(has_text="may pass once")).to_be_visible()
        answers = [(await asking.order("0.004", f"large-{number}")).status for number in (2, 3)]
        assert answers == [200, 403]
        assert page.refused == page.wrong == []


async def test_the_block_is_live_and_axe_finds_nothing_in_it(asking, browser):
    """What waits appears while one looks, on both pages with forms, in both schemes and widths."""
    async with opened(browser, viewport=DESK) as page:
        await page.add_init_script(AXE)
        await page.goto(await asking.link())
        await page.wait_for_selector("#live[data-state=on]")
        await asking.order("0.004", "large-1")
        await expect(page.get_by_role("article", name="approval ap-")).to_be_visible(timeout=10_000)
        blocked = await asking.order("0.05", "over-1")
        decision_id = blocked.headers["x-risk-decision-id"]
        assert asking.app.permits.may_be_asked(decision_id), blocked
        await page.locator("#permits summary").first.click()

        wrong = {}
        await look(page, "overview", wrong)
        await page.goto(f"{asking.url}/ui/decisions/{decision_id}")
        await look(page, "decision", wrong)
        assert wrong == {}
        await expect(page.get_by_role("button", name="Ask for an override")).to_be_visible()
        assert asking.app.permits.listed(Kind.OVERRIDE) == []
        assert page.refused == page.wrong == []
