"""The operator console: pages, forms and the files that they name.

Every page is whole without scripts, and halting is a plain form. Scripts only keep a page as new
as the server: they fetch the same pieces again when an event says that something happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import orjson
from aiohttp import hdrs, web
from pydantic import ValidationError

from proxy import audit, ui
from proxy.admin.access import Person
from proxy.admin.actions import ActionRoutes
from proxy.admin.answers import SAFE_HEADERS, Problem, answer
from proxy.admin.bodies import ReleaseBody
from proxy.admin.console_actions import ActionPages
from proxy.admin.console_permits import PermitForms
from proxy.admin.console_views import (
    WINDOWS_S,
    Recent,
    accounts_of,
    bots_of,
    picked,
    policy_of,
    preview_of,
    revision_of,
    scopes_of,
    symbols_of,
    tiles_of,
)
from proxy.admin.events import Events
from proxy.admin.guard import Guard
from proxy.admin.parts import AdminParts
from proxy.admin.permits import PermitRoutes
from proxy.admin.policy import PolicyRoutes
from proxy.admin.policy_changes import PolicyChanges, Wanted
from proxy.admin.roles import CREDENTIAL, PERSON
from proxy.admin.sessions import LINK_S, Session, Sessions, is_form_of
from proxy.admin.stopping import Stopping, stop_document
from proxy.audit import admin_record
from proxy.errors import AuditError, ProxyError
from rules import EssLevel

ROWS_SHOWN = 40
ROWS_FILTERED = 200
TEXT_MAX = 500
FORM_BYTES_MAX = 16 * 1024
FILTERS = ("outcome", "account", "bot", "symbol", "reason")
HEADERS = SAFE_HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Without a referrer a browser says of its own form that it came from nowhere, and would be refused.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FILE_HEADERS = HEADERS | {"Cache-Control": "no-cache"}
FORM_SENT = web.RequestKey("form", dict[str, str])
Page = Callable[[web.Request, Session], Awaitable[web.StreamResponse]]
# What scripts fetch: it shows no notice, and must not eat one.
PIECES = frozenset({"live", "state_live", "action_live"})


class Console:
    """Serves `/ui`."""

    def __init__(
        self,
        parts: AdminParts,
        *,
        guard: Guard,
        sessions: Sessions,
        stopping: Stopping,
        policy: PolicyRoutes,
        changes: PolicyChanges,
        actions: ActionRoutes,
        permits: PermitRoutes,
        events: Events,
    ) -> None:
        self._parts = parts
        self._guard = guard
        self._sessions = sessions
        self._stopping = stopping
        self._policy = policy
        self._changes = changes
        self._actions = ActionPages(parts, actions)
        self._permits = PermitForms(parts, permits)
        self._events = events
        self._recent = Recent(parts)
        self._verifying = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        gets: dict[str, Page] = {
            "": self.overview, "/live": self.live, "/state": self.state, "/rows": self.rows, "/flow": self.flow,
            "/decisions": self.decisions, "/decisions/{decision_id}": self.decision, "/accounts/{name}": self.account,
            "/policy": self.policy, "/audit": self.audit, "/actions": self.actions, "/actions/{id}": self.action,
            "/actions/{id}/live": self.action_live,
        }  # fmt: skip
        forms: dict[str, Page] = {
            "/halt": self.halt, "/release": self.release, "/logout": self.log_out,
            "/policy/mode": self.switch_mode, "/policy/rollback": self.roll_back,
            "/actions/cancel-all": partial(self._begun, self._actions.cancel_all),
            "/actions/flatten": partial(self._begun, self._actions.flatten),
            "/actions/drill": partial(self._begun, self._actions.drill),
            "/permits/ask": partial(self._told, self._permits.ask),
            "/permits/grant": partial(self._told, self._permits.grant),
            "/permits/refuse": partial(self._told, self._permits.refuse),
        }  # fmt: skip
        return [
            web.get("/ui/static/{name}", self.file),
            web.get("/ui/login", self.ask_token),
            web.post("/ui/login", self.log_in),
            web.post("/admin/v1/login-links", self.new_link),
            *(web.get(f"/ui{path}", partial(self._shown, page)) for path, page in gets.items()),
            *(web.post(f"/ui{path}", partial(self._submitted, page)) for path, page in forms.items()),
        ]

    # -- coming in --------------------------------------------------------------------------------

    async def file(self, request: web.Request) -> web.Response:
        """A style sheet, script or picture; they hold nothing secret."""
        try:
            content, kind = ui.asset(request.match_info["name"])
        except KeyError:
            raise Problem(404, "there is no such file") from None
        charset = None if kind.startswith("image/") else "utf-8"
        return web.Response(body=content, content_type=kind, charset=charset, headers=FILE_HEADERS)

    async def new_link(self, request: web.Request) -> web.Response:
        """A link that logs one browser in, once: for a terminal to print."""
        person = request[PERSON]
        path = f"/ui/login?once={self._sessions.new_link(person)}"
        self._record(request, actor=person.name, act="console.link", result="done")
        return answer({"path": path, "expires_s": int(LINK_S)}, status=201)

    async def ask_token(self, request: web.Request) -> web.StreamResponse:
        """The log-in; with a link's code nothing has to be typed."""
        if self._sessions.of(request) is not None:
            return _see("/ui")
        code = request.query.get("once")
        if code is None:
            return self._log_in_page(200, "")
        person = self._sessions.redeem(code)
        if person is None or not self._guard.access.is_live(person):
            return self._log_in_page(401, "This link was used already, or is older than ten minutes. Use the token.")
        return self._begin(request, "", person)

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        """The token, typed; it stays in the page's form and in no address, cookie or log."""
        form = await _form(request)
        try:
            person = self._guard.check_typed(request, form.get("token", "").strip())
        except Problem as problem:
            return self._log_in_page(problem.status, f"{problem.detail[:1].upper()}{problem.detail[1:]}.")
        return self._begin(request, form.get("name", ""), person)

    def _begin(self, request: web.Request, name: str, person: Person) -> web.StreamResponse:
        response = _see("/ui")
        session = self._sessions.begin(name, response, request, person=person)
        self._record(request, actor=session.actor, act="console.login", result="done")
        return response

    def _log_in_page(self, status: int, problem: str) -> web.Response:
        text = ui.page("login", now=self._parts.clock.now(), problem=problem, version=self._parts.version)
        return _html(text, status)

    async def log_out(self, request: web.Request, session: Session) -> web.StreamResponse:
        """End this session."""
        response = _see("/ui/login")
        self._sessions.end(session, response, request)
        return response

    # -- every page and form ----------------------------------------------------------------------

    async def _shown(self, page: Page, request: web.Request) -> web.StreamResponse:
        session = self._sessions.of(request)
        if session is None:
            if request.path in ("/ui/live", "/ui/state", "/ui/rows", "/ui/flow") or request.path.endswith("/live"):
                raise Problem(401, "the session has ended; log in again")
            return _see("/ui/login")
        try:
            return await page(request, session)
        except Problem as problem:
            return self._problem_page(session, problem.status, problem.detail)
        except ProxyError as error:
            return self._problem_page(session, error.status, str(error))

    async def _submitted(self, page: Page, request: web.Request) -> web.StreamResponse:
        """A form of a session; it ends in a page to look at, so that reloading sends nothing twice."""
        session = self._sessions.of(request)
        if session is None:
            return self._log_in_page(401, "Your session has ended, so NOTHING was done. Log in and do it again.")
        form = await _form(request)
        if not is_form_of(session, form.get("csrf", "")):
            return self._problem_page(session, 403, "this form was not made for this session; open the page again")
        request[FORM_SENT] = form
        try:
            return await page(request, session)
        except Problem as problem:
            detail, status = problem.detail, problem.status
        except ProxyError as error:
            detail, status = str(error), error.status
        return self._problem_page(session, status, detail)

    def _problem_page(self, session: Session, status: int, detail: str) -> web.Response:
        sentence = f"{detail[:1].upper()}{detail[1:].rstrip('.')}."
        return self._page("problem", session, status=status, problem=sentence)

    def _page(
        self,
        name: str,
        session: Session,
        *,
        status: int = 200,
        **values: Any,  # noqa: ANN401 - what a template shows
    ) -> web.Response:
        found = self._parts.status()
        notice, is_problem = session.notice, session.is_problem
        if name not in PIECES:
            session.notice = ""
        text = ui.page(
            name,
            now=self._parts.clock.now(),
            session=session,
            status=found,
            stops=self._stops(),
            asked=self._stopping.release_asked,
            version=self._parts.version,
            notice=notice,
            is_problem=is_problem,
            **values,
        )
        return _html(text, status)

    def _stops(self) -> list[dict[str, object]]:
        return [stop_document(stop) for stop in self._parts.ess.stops()]

    # -- pages ------------------------------------------------------------------------------------

    async def overview(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Everything at a glance."""
        return self._page("overview", session, **await self._whole(request))

    async def live(self, request: web.Request, session: Session) -> web.StreamResponse:
        """The pieces of the overview that change; scripts put them in their places."""
        return self._page("live", session, **await self._whole(request))

    async def _whole(self, request: web.Request) -> dict[str, Any]:
        parts = self._parts
        newest = await self._recent.refresh()
        wanted = _wanted(request)
        accounts = accounts_of(parts)
        flow = self._events.flow
        return {
            "newest": newest,
            "wanted": wanted,
            "rows": picked(self._recent.decisions, wanted, at_most=ROWS_SHOWN),
            "decisions_known": len(self._recent.decisions),
            "tiles": tiles_of(parts, parts.status()),
            "accounts": accounts,
            "unfinished": self._actions.unfinished(),
            "actions": self._actions.listed(),
            "symbols": symbols_of(accounts),
            "scopes": scopes_of(parts),
            "bots": bots_of(parts, self._recent.decisions),
            "windows": [] if flow is None else [(seconds, flow.over(seconds)) for seconds in WINDOWS_S],
            "policy": await policy_of(parts),
            "acts": [one for one in self._recent.acts if one["kind"] in ("admin", "action")][:6],
            "proxy_url": parts.proxy_url(),
            "by_two": parts.release_by_two,
            "permits": self._permits.open(),
        }

    async def state(self, _: web.Request, session: Session) -> web.StreamResponse:
        """The state bar, for pages of which nothing else changes."""
        return self._page("state_live", session)

    async def rows(self, request: web.Request, _: Session) -> web.StreamResponse:
        """The decisions after a number, as table rows."""
        newest = await self._recent.refresh()
        after = _whole(request.query.get("after", "0"), "after")
        rows = picked(self._recent.decisions, _wanted(request), after=after, at_most=ROWS_SHOWN)
        text = ui.page("rows", now=self._parts.clock.now(), rows=rows)
        return _html(text, 200, {"X-Newest": str(newest)})

    async def flow(self, _: web.Request, __: Session) -> web.StreamResponse:
        """The last hour, for the charts."""
        flow = self._events.flow
        body = orjson.dumps({"points": [] if flow is None else flow.points})
        return web.Response(body=body, content_type="application/json", headers=HEADERS)

    async def decisions(self, request: web.Request, session: Session) -> web.StreamResponse:
        """The newest decisions, filtered."""
        newest, wanted = await self._recent.refresh(), _wanted(request)
        rows = picked(self._recent.decisions, wanted, at_most=ROWS_FILTERED)
        reasons = sorted({str(one.get("reason", "")) for one in self._recent.decisions} - {""})
        return self._page(
            "decisions", session, rows=rows, wanted=wanted, reasons=reasons, newest=newest,
            bots=bots_of(self._parts, ()), names=sorted(self._parts.accounts),
            decisions_known=len(self._recent.decisions),
        )  # fmt: skip

    async def decision(self, request: web.Request, session: Session) -> web.StreamResponse:
        """One decision and what became of it."""
        decision_id = request.match_info["decision_id"]
        found = await asyncio.to_thread(audit.find, self._parts.audit.directory, decision_id)
        if not found:
            raise Problem(404, f"there is no decision {decision_id[:80]!r}")
        may_ask = session.may_stop and self._permits.may_be_asked(decision_id)
        return self._page(
            "decision", session, decision_id=decision_id, record=found[0], later=found[1:], may_ask=may_ask
        )

    async def account(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Everything of one account."""
        views, name = self._parts.account_views, request.match_info["name"]
        if views is None or name not in views.names:
            raise Problem(404, f"there is no account {name[:64]!r}")
        return self._page("account", session, account=views.one(name))

    async def policy(self, request: web.Request, session: Session) -> web.StreamResponse:
        """The policy: what is in force, its history, and what a change would come to."""
        mode, revision = request.query.get("mode"), request.query.get("revision")
        return self._page(
            "policy",
            session,
            policy=await policy_of(self._parts),
            preview=None if not mode else await preview_of(self._parts, mode),
            revision=None if not revision else await revision_of(self._parts, _whole(revision, "revision")),
        )

    async def actions(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Everything that the proxy did itself, and the forms to begin more."""
        choice = self._actions.choice(request.query.get("scope", ""))
        return self._page("actions", session, choice=choice, actions=self._actions.listed())

    async def action(self, request: web.Request, session: Session) -> web.StreamResponse:
        """One action, order by order."""
        return self._page("action", session, action=self._actions.one(request.match_info["id"]))

    async def action_live(self, request: web.Request, session: Session) -> web.StreamResponse:
        """The pieces of it that change."""
        return self._page("action_live", session, action=self._actions.one(request.match_info["id"]))

    async def audit(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Who did what; and whether the record is whole, where that is asked."""
        await self._recent.refresh()
        verified = None
        if request.query.get("verify"):
            async with self._verifying:
                head = self._parts.audit.head
                verified = await asyncio.to_thread(audit.verify, self._parts.audit.directory, head=head)
        head = self._parts.audit.head
        return self._page("audit", session, acts=list(self._recent.acts), verified=verified, head=head)

    # -- forms ------------------------------------------------------------------------------------

    async def halt(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Stop. Nothing has to be filled in."""
        form = request[FORM_SENT]
        level = EssLevel.REDUCE_ONLY if form.get("level") == "reduce_only" else EssLevel.HALT
        symbol = form.get("symbol", "").upper()
        scope = f"symbol:{symbol}" if symbol else form.get("scope") or "global"
        self._named(session, form)
        done = await self._stopping.engage_for(
            request, level=level, scope=scope, actor=session.actor, reason=form.get("reason", ""), source="console"
        )
        said = "in force" if done["changed"] else "in force already"
        session.is_problem = not done["audited"]
        session.notice = (
            f"{str(done['level']).upper().replace('_', ' ')} is {said} for {scope}, stored on disk, "
            f"after {done['took_ms']:.0f} ms. Unanswered at that moment: {done['in_flight_unanswered']}; "
            f"of unknown fate: {done['unknown']}." + ("" if done["audited"] else " It could NOT be put on record.")
        )
        return _see("/ui")

    async def release(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Start again, deliberately."""
        form = request[FORM_SENT]
        try:
            body = ReleaseBody.model_validate({
                "scope": form.get("scope", ""), "reason": form.get("reason", ""),
                "actor": form.get("name") or session.own_name,
                "expected_epoch": _whole(form.get("epoch", ""), "epoch"),
            })  # fmt: skip
        except ValidationError:
            raise Problem(422, "releasing needs your name and a reason. Nothing was released") from None
        self._named(session, form)
        request[CREDENTIAL] = request[CREDENTIAL] or session.credential
        body = body.model_copy(update={"actor": session.actor})
        done = await self._stopping.release_for(request, body)
        session.is_problem = False
        if done["released"]:
            session.notice = f"{body.scope} is released."
        else:
            session.notice = "Asked for. Nothing is released yet: a second person has to confirm it."
        return _see("/ui")

    async def _begun(
        self, begin: Callable[[Mapping[str, str], Session], Awaitable[str]], request: web.Request, session: Session
    ) -> web.StreamResponse:
        """Begin an action, and look at it."""
        form: dict[str, str] = request[FORM_SENT]
        action_id = await begin(form, session)
        session.is_problem, session.notice = False, "Begun, and on record."
        return _see(f"/ui/actions/{action_id}")

    async def switch_mode(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Make another risk mode the active one, as it was previewed."""
        form = request[FORM_SENT]
        name, reason = self._who(session, form)
        stored = await self._policy.switched(
            request, form.get("mode", ""), name, reason, expected_revision=_whole(form.get("revision", ""), "revision")
        )
        session.is_problem = False
        session.notice = f"{stored.policy.active_mode} is in force from revision {stored.revision} on."
        return _see("/ui/policy")

    async def roll_back(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Bring a revision's policy back, as it was previewed."""
        form = request[FORM_SENT]
        name, reason = self._who(session, form)
        older = await self._parts.store.get_revision(_whole(form.get("to", ""), "to"))
        stored = await self._changes.change(
            Wanted.by(request, "policy.rollback", updated_by=name, reason=reason),
            lambda _: older.policy,
            expected_revision=_whole(form.get("revision", ""), "revision"),
        )
        session.is_problem = False
        session.notice = f"The policy of revision {older.revision} is in force again, as revision {stored.revision}."
        return _see("/ui/policy")

    async def _told(
        self,
        act: Callable[[web.Request, Session, Mapping[str, str]], Awaitable[str]],
        request: web.Request,
        session: Session,
    ) -> web.StreamResponse:
        """Do what a form asks, and tell on the overview what came of it."""
        form: dict[str, str] = request[FORM_SENT]
        notice = await act(request, session, form)
        session.notice, session.is_problem = notice, False
        return _see("/ui")

    def _who(self, session: Session, form: Mapping[str, str]) -> tuple[str, str]:
        name, reason = form.get("name") or session.own_name, form.get("reason", "")
        if not name or not reason:
            raise Problem(422, "this needs your name and a reason. Nothing was changed")
        self._named(session, form)
        return session.actor, reason

    def _named(self, session: Session, form: Mapping[str, str]) -> None:
        """Who typed a name once need not do it again."""
        session.name = form.get("name") or session.name

    def _record(self, request: web.Request, **told: Any) -> None:  # noqa: ANN401 - the fields of a record
        try:
            self._parts.audit.append(admin_record(peer=request.remote or "", **told))
        except AuditError:
            return  # looking must work when nothing else does; `Record` on the page shows that nothing is written


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form, trimmed; of a repeated one the first. A large one is not read: parsing it takes long."""
    if (request.content_length or 0) > FORM_BYTES_MAX or len(await request.read()) > FORM_BYTES_MAX:
        raise Problem(413, f"a form has at most {FORM_BYTES_MAX} bytes")
    given = await request.post()
    found: dict[str, str] = {}
    for name, value in given.items():
        if isinstance(value, str):
            found.setdefault(name, value.strip()[:TEXT_MAX])
    return found


def _wanted(request: web.Request) -> dict[str, str]:
    """What decisions are filtered for."""
    return {name: request.query.get(name, "").strip()[:64] for name in FILTERS}


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Problem(422, f"{name} is a whole number, found {text[:40]!r}")
    return int(text)


def _html(text: str, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        text=text, status=status, content_type="text/html", charset="utf-8", headers=HEADERS | dict(headers or {})
    )


def _see(place: str) -> web.Response:
    """Look there next, with a GET."""
    return web.Response(status=303, headers=HEADERS | {hdrs.LOCATION: place})
