"""The console without a browser: who gets in, what a form needs, and what a page may load."""

import re
from datetime import timedelta

import pytest

from proxy.admin.sessions import IDLE_S, LINK_S
from proxy.audit import newest

from .conftest import TOKEN


def later(clock, seconds):
    """Let time pass."""
    clock.advance(to=clock.now() + timedelta(seconds=seconds))


async def ask(admin, path, *, cookie=None, method="GET", form=None, headers=None):
    """A request of a browser: status, text, headers; redirects are not followed."""
    sent = dict(headers or {})
    if cookie:
        sent["Cookie"] = cookie
    async with admin.client.request(
        method, admin.base + path, data=form, headers=sent, allow_redirects=False
    ) as answer:
        return answer.status, await answer.text(), answer.headers


async def log_in(admin, name="ann"):
    """The cookie of a new session, and the token of its forms."""
    form = {"token": TOKEN, "name": name}
    status, _, headers = await ask(admin, "/ui/login", method="POST", form=form)
    assert (status, headers["Location"]) == (303, "/ui")
    cookie = headers["Set-Cookie"].partition(";")[0]
    _, page, _ = await ask(admin, "/ui", cookie=cookie)
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return cookie, found[1]


async def test_without_a_session_every_page_leads_to_the_log_in(admin):
    """Pages redirect, pieces for scripts answer 401, a form does nothing and says so."""
    for path in ("/ui", "/ui/policy", "/ui/audit", "/ui/decisions", "/ui/accounts/main"):
        status, text, headers = await ask(admin, path)
        assert (status, headers["Location"], text) == (303, "/ui/login", "")
    assert (await ask(admin, "/ui/live"))[0] == 401
    status, text, _ = await ask(admin, "/ui/halt", method="POST", form={"level": "halt"})

    assert status == 401
    assert "NOTHING was done" in text
    assert admin.latch.governing("").level == 0


async def test_the_cookie_is_out_of_reach(admin):
    """No script reads it, no other site sends it, and it is not the token."""
    _, _, headers = await ask(admin, "/ui/login", method="POST", form={"token": TOKEN})

    attributes = {part.strip() for part in headers["Set-Cookie"].split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= attributes
    assert TOKEN not in headers["Set-Cookie"]


async def test_a_wrong_token_is_refused_on_record_and_slowed(admin):
    """401 with the form again; after five within a minute 429; nobody is logged in."""
    for _ in range(5):
        status, text, headers = await ask(admin, "/ui/login", method="POST", form={"token": "x" * 40})
        assert status == 401
        assert "Set-Cookie" not in headers
        assert "x" * 40 not in text
    assert (await ask(admin, "/ui/login", method="POST", form={"token": "x" * 40}))[0] == 429
    assert (await ask(admin, "/ui/login", method="POST", form={"token": TOKEN}))[0] == 303
    assert sum(one.get("reason") == "wrong token" for one in newest(admin.audit.directory, limit=20)) == 5


async def test_a_link_logs_one_browser_in_once(admin):
    """It works once, not again, and not after ten minutes; making one needs the token."""
    assert (await admin.post("/admin/v1/login-links", token=None))[0] == 401
    status, found, _ = await admin.post("/admin/v1/login-links")
    assert status == 201

    status, _, headers = await ask(admin, found["path"])
    assert (status, headers["Location"]) == (303, "/ui")
    assert (await ask(admin, "/ui", cookie=headers["Set-Cookie"].partition(";")[0]))[0] == 200
    assert (await ask(admin, found["path"]))[0] == 401
    _, found, _ = await admin.post("/admin/v1/login-links")
    later(admin.clock, LINK_S + 1)
    assert (await ask(admin, found["path"]))[0] == 401


async def test_a_session_ends_when_it_is_idle_or_logged_out(admin):
    """Twelve hours without a look, or a press of the button; a made-up cookie is none."""
    cookie, csrf = await log_in(admin)
    later(admin.clock, IDLE_S - 1)
    assert (await ask(admin, "/ui", cookie=cookie))[0] == 200
    later(admin.clock, IDLE_S + 1)
    assert (await ask(admin, "/ui", cookie=cookie))[0] == 303
    cookie, csrf = await log_in(admin)
    assert (await ask(admin, "/ui/logout", cookie=cookie, method="POST", form={"csrf": csrf}))[0] == 303
    assert (await ask(admin, "/ui", cookie=cookie))[0] == 303
    name = cookie.partition("=")[0]
    assert (await ask(admin, "/ui", cookie=f"{name}=made-up"))[0] == 303


@pytest.mark.parametrize("csrf", ["", "wrong", "é"])
async def test_a_forged_form_does_nothing(admin, csrf):
    """With the cookie and without the page's own token nothing is stopped nor released."""
    cookie, _ = await log_in(admin)

    status, text, _ = await ask(admin, "/ui/halt", cookie=cookie, method="POST", form={"csrf": csrf})

    assert status == 403
    assert "not made for this session" in text
    assert admin.latch.governing("").level == 0


async def test_the_form_of_one_session_is_none_of_another(admin):
    """A token is bound to the cookie it was made for."""
    cookie, _ = await log_in(admin)
    _, csrf = await log_in(admin, "bob")

    assert (await ask(admin, "/ui/halt", cookie=cookie, method="POST", form={"csrf": csrf}))[0] == 403


async def test_other_sites_and_other_encodings_are_refused(admin):
    """A foreign Origin, a foreign Host and a JSON body do not reach a form, whatever cookie comes along."""
    cookie, csrf = await log_in(admin)
    form = {"csrf": csrf}
    wrong = ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"})

    for headers in wrong:
        assert (await ask(admin, "/ui/halt", cookie=cookie, method="POST", form=form, headers=headers))[0] == 403
    kind = {"Content-Type": "application/json"}
    assert (await ask(admin, "/ui/halt", cookie=cookie, method="POST", form="{}", headers=kind))[0] == 415
    assert admin.latch.governing("").level == 0


async def test_the_cookie_reads_the_api_and_changes_nothing(admin):
    """A session may look through the API, for scripts; what changes anything asks for the token itself."""
    cookie, _ = await log_in(admin)
    sent = {"Cookie": cookie}

    assert (await admin.get("/admin/v1/ess", token=None, headers=sent))[0] == 200
    assert (await admin.post("/admin/v1/ess/engage", token=None, headers=sent))[0] == 401
    assert (await admin.post("/admin/v1/login-links", token=None, headers=sent))[0] == 401


async def test_a_halt_is_on_record_with_who_and_how(admin):
    """The form engages, answers with a redirect, and the record names the person and the console."""
    cookie, csrf = await log_in(admin)
    form = {"csrf": csrf, "level": "halt", "reason": "unexplained fills"}

    status, _, headers = await ask(admin, "/ui/halt", cookie=cookie, method="POST", form=form)

    assert (status, headers["Location"]) == (303, "/ui")
    stop = admin.latch.stop_of("global")
    assert (stop.level.name, stop.actor, stop.source) == ("HALT", "bootstrap (ann)", "console")
    (record,) = newest(admin.audit.directory, limit=1)
    assert (record["act"], record["actor"], record["reason"]) == ("ess.engage", "bootstrap (ann)", "unexplained fills")
    _, page, _ = await ask(admin, "/ui", cookie=cookie)
    assert "HALT is in force for global" in page


async def test_nothing_is_halted_for_a_scope_that_is_not_there(admin):
    """A name nobody has is an error on a page, not a stop that stops nothing."""
    cookie, csrf = await log_in(admin)

    form = {"csrf": csrf, "scope": "account:nobody"}
    status, text, _ = await ask(admin, "/ui/halt", cookie=cookie, method="POST", form=form)

    assert status == 422
    assert "there is no account" in text.lower()


async def test_a_release_without_name_or_reason_is_none(admin):
    """The server asks for both, whatever the browser let through."""
    cookie, csrf = await log_in(admin, "")
    await ask(admin, "/ui/halt", cookie=cookie, method="POST", form={"csrf": csrf})
    epoch = str(admin.latch.epoch)

    for form in ({"name": "ann"}, {"reason": "because"}):
        sent = {"csrf": csrf, "scope": "global", "epoch": epoch} | form
        assert (await ask(admin, "/ui/release", cookie=cookie, method="POST", form=sent))[0] == 422
    assert admin.latch.stop_of("global").level.name == "HALT"


async def test_what_strangers_write_is_shown_as_text(admin):
    """A reason with markup is escaped on every page; the policy of the page would run no script anyway."""
    cookie, csrf = await log_in(admin)
    form = {"csrf": csrf, "reason": "<script>alert(1)</script>", "name": "<b>ann"}
    await ask(admin, "/ui/halt", cookie=cookie, method="POST", form=form)

    for path in ("/ui", "/ui/audit", "/ui/live"):
        _, page, headers = await ask(admin, path, cookie=cookie)
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("whose", "shown"), [({"account": "main", "bot": "grid1"}, "grid1<small> main</small>"), ({}, "unknown</span>")]
)
async def test_what_was_refused_before_it_was_judged_is_listed(admin, whose, shown):
    """Such a record has no caller: it names account and bot itself, or nobody where the key is not known."""
    cookie, _ = await log_in(admin)
    refused = {"decision_id": "d-9", "endpoint": "POST /dapi/v1/order", "reason": "family_not_supported"}
    admin.audit.append({"kind": "refusal", "sentence": "not judged yet", **refused, **whose})

    for path in ("/ui", "/ui/decisions", "/ui/decisions/d-9"):
        status, page, _ = await ask(admin, path, cookie=cookie)
        assert (status, "not judged yet" in page) == (200, True), path
    assert shown in (await ask(admin, "/ui/decisions", cookie=cookie))[1]
    found = (await ask(admin, "/ui/decisions?bot=grid1&account=main", cookie=cookie))[1]
    assert ("not judged yet" in found) is bool(whose)


async def test_only_listed_files_are_served(admin):
    """Style and scripts come without a session; nothing else of the disk does."""
    status, _, headers = await ask(admin, "/ui/static/console.css")
    assert (status, headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    for name in ("base.html", "pages.py", "nothing.css"):
        assert (await ask(admin, f"/ui/static/{name}"))[0] == 404
