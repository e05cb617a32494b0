"""Takes a picture of every block and page of the console: `make screenshots`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.ui.conftest import CHROMIUM, browsing, opened, running

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
BLOCKS = {
    "state-bar": "header.top", "switch": "section.switch", "health": "section:has(#health)",
    "limits": "section:has(#accounts)", "flow": "section:has(#windows)", "decisions": "section:has(#rows)",
    "bots": "section:has(#bots)", "policy-short": "section:has(#policy-short)", "acts": "section:has(#acts)",
}  # fmt: skip
PAGES = {
    "decisions-page": "decisions", "policy": "policy", "policy-preview": "policy?mode=DEFENSIVE",
    "audit": "audit?verify=1", "account": "accounts/desk", "actions": "actions?scope=account:desk",
}  # fmt: skip
ORDERS = (("0.002", "BTCUSDT"), ("0.05", "BTCUSDT"), ("0.002", "DOGEUSDT"), ("0.004", "BTCUSDT"))


async def take(folder: Path) -> None:
    """Run everything, let a bot trade for a while, and look."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        async with running(Path(place)) as house, browsing() as browser, opened(browser, viewport=DESK) as page:
            await page.goto(f"{house.url}/ui/login")
            await page.screenshot(path=folder / "login.png")
            await page.goto(await house.link())
            await page.wait_for_selector("#live[data-state=on]")
            await page.screenshot(path=folder / "empty.png", full_page=True)
            await asked_for(page, house, folder)
            for number, (quantity, symbol) in enumerate(ORDERS * 3):
                await house.order(quantity, f"shot-{number}", symbol=symbol)
            await page.wait_for_timeout(11_000)  # the chart's next point
            await pictures(page, house, folder)


async def pictures(page, house, folder: Path) -> None:
    """The overview in both schemes and both widths, its blocks, the other pages, and the same while halted."""
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        for name, size in (("desk", DESK), ("phone", PHONE)):
            await page.set_viewport_size(size)
            await page.wait_for_timeout(400)
            await page.screenshot(path=folder / f"overview-{name}-{scheme}.png", full_page=True)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(DESK)
    await page.locator("#rows summary").nth(1).click()
    for name, selector in BLOCKS.items():
        await page.locator(selector).screenshot(path=folder / f"block-{name}.png")
    for name, path in PAGES.items():
        await page.goto(f"{house.url}/ui/{path}")
        await page.screenshot(path=folder / f"{name}.png", full_page=True)
    flattened = await house.flatten()
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        for name, size in (("desk", DESK), ("phone", PHONE)):
            await page.set_viewport_size(size)
            for shown, path in (("action", f"actions/{flattened}"), ("actions", "actions?scope=account:desk")):
                await page.goto(f"{house.url}/ui/{path}")
                await page.screenshot(path=folder / f"{shown}-{name}-{scheme}.png", full_page=True)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(DESK)
    await page.goto(f"{house.url}/ui")
    await page.get_by_role("button", name="Halt", exact=True).click()
    await page.locator(".stop summary").first.click()
    await page.screenshot(path=folder / "halted.png", full_page=True)


async def asked_for(page, house, folder: Path) -> None:
    """A large order that waits for a person, as the switch shows it; then it is refused, and none is asked about."""
    await ask_from(house, "150", revision=1)
    blocked = await house.order("0.003", "shot-large")
    assert blocked.headers["x-risk-reason"] == "approval_required", blocked
    article = page.get_by_role("article", name="approval ap-")
    await article.get_by_text("Approve", exact=True).click()
    await page.locator("section.switch").screenshot(path=folder / "block-approvals.png")
    path = f"/admin/v1/approvals/{blocked.body['risk']['approval_id']}/refuse"
    await said(house, "POST", path, {"actor": "ann", "reason": "a picture"})
    await article.wait_for(state="detached")
    await ask_from(house, None, revision=2)


async def ask_from(house, least: str | None, *, revision: int) -> None:
    """From which value on orders wait for a person."""
    changes = {"accounts": {"desk": {"size": {"approval_notional_min": least}}}}
    body = {"changes": changes, "updated_by": "ann", "reason": "a picture"}
    await said(house, "PATCH", "/api/v2/policy", body, {"If-Match": f'"{revision}"'})


async def said(house, method: str, path: str, body: object, more: dict[str, str] | None = None) -> None:
    """Ask the admin API; anything but yes ends it."""
    headers = {"Authorization": f"Bearer {house.token}"} | (more or {})
    async with house.client.request(method, house.url + path, json=body, headers=headers) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("no chromium in the PATH; on Debian: apt-get install --no-install-recommends chromium")
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/screenshots")
    asyncio.run(take(target))
    print(f"{len(list(target.glob('*.png')))} pictures in {target}")  # noqa: T201 - a program's own output
