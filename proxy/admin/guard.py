"""What every request to the admin listener passes before anything looks at what it wants.

The order matters: a path that two readers could read differently, a foreign Host (a name
that was made to point here) and a foreign Origin (a web page in somebody's browser) are
refused before the token is even looked at, and none of it depends on cookies. Then the token
says who it is, and the table of roles whether this person may.
"""

from __future__ import annotations

import ipaddress
import re
from collections import deque
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import hdrs, web
from cachetools import LRUCache

from proxy.admin.access import Access, Person, Refused
from proxy.admin.acts import note
from proxy.admin.answers import Problem
from proxy.admin.parts import AdminParts
from proxy.admin.roles import RoleMissing, check, identify, needs
from proxy.admin.sessions import Sessions
from proxy.clock import Clock
from proxy.errors import ProxyError

log = structlog.get_logger("riskgate.admin")

FAILURES_MAX = 5
FAILURE_WINDOW_S = 60.0
SOURCES_MAX = 1024
AUDITED_FAILURES_MAX = 60  # a minute, over all sources: guessing must not fill the disk
_PATH = re.compile(r"/(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?")
_WRITES = frozenset({hdrs.METH_PUT, hdrs.METH_PATCH})
CONSOLE = "/ui"
FORM = "application/x-www-form-urlencoded"
BOT_ENGAGE = "/bot/v1/ess/engage"  # asks for a bot's key instead, which a bot has and an operator need not hand out
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Failures:
    """Failed attempts per source within the last minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_source: LRUCache[str, deque[float]] = LRUCache(SOURCES_MAX)

    def wait_s(self, source: str) -> float:
        """How long this source has to wait before its next attempt is looked at; 0 if it need not."""
        failed = self._recent(source)
        if len(failed) < FAILURES_MAX:
            return 0.0
        return failed[0] + FAILURE_WINDOW_S - self._clock.monotonic()

    def add(self, source: str) -> int:
        """Count a failed attempt; returns how many there were in the last minute."""
        failed = self._recent(source)
        failed.append(self._clock.monotonic())
        self._by_source[source] = failed
        return len(failed)

    def _recent(self, source: str) -> deque[float]:
        failed: deque[float] = self._by_source.get(source) or deque(maxlen=AUDITED_FAILURES_MAX + 1)
        oldest = self._clock.monotonic() - FAILURE_WINDOW_S
        while failed and failed[0] <= oldest:
            failed.popleft()
        return failed


class Guard:
    """The middleware that lets a request through or refuses it."""

    def __init__(self, parts: AdminParts, token: bytes, sessions: Sessions | None = None) -> None:
        if not token:
            raise ValueError("the admin listener needs a token")
        self._parts = parts
        self._sessions = sessions
        self.access = parts.access or Access(None, clock=parts.clock, bootstrap=token)
        self._failures = Failures(parts.clock)
        self._audited = Failures(parts.clock)
        self._hosts = {"localhost", *(name.lower().rstrip(".") for name in parts.hosts)}

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check, then hand on; every failure becomes a problem document without inner details."""
        try:
            self._check(request)
            return await handler(request)
        except RoleMissing as refused:
            self._record_role_missing(request, refused)
            return refused.response()
        except Problem as problem:
            return problem.response()
        except web.HTTPException as error:
            headers = {"Allow": error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else None
            return Problem(error.status, error.reason, headers=headers).response()
        except ProxyError as error:
            return Problem(error.status, str(error), more={"error": type(error).__name__}).response()
        except Exception as error:  # the request ends here, as a 500 that tells nothing of the inside
            log.exception("admin.failed", path=request.path[:200], error=type(error).__name__)
            return Problem(500, "the request failed; the log says why").response()

    def _check(self, request: web.Request) -> None:
        path = request.raw_path.partition("?")[0]
        if not _PATH.fullmatch(path):
            raise Problem(404, "there is no such path; paths are written plainly, without escapes or dots")
        self._check_host(request)
        self._check_origin(request)
        is_console = path == CONSOLE or path.startswith(f"{CONSOLE}/")
        if is_console:
            # It asks for its session itself, since a person is to be led to the log-in; and it takes forms only.
            _check_form(request)
            self._check_session(request)
            return
        if (role := needs(request, metrics_open=self._parts.metrics_open)) is not None:
            person = self._caller(request)
            identify(request, self.access, person)
            check(person, role)
        # What no route takes is answered 405, whatever it brings.
        writes = request.method in _WRITES and request.match_info.http_exception is None
        if (writes or request.method == hdrs.METH_POST) and _has_body(request):
            _check_content_type(request)

    def _check_host(self, request: web.Request) -> None:
        """A name that resolves here but is not ours belongs to a page that wants in (DNS rebinding)."""
        given = request.headers.getall(hdrs.HOST, [])
        if len(given) != 1 or not self._is_ours(_host_name(given[0])):
            raise Problem(403, "the Host header does not name this listener: use its IP address or localhost")

    def _is_ours(self, name: str) -> bool:
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _check_origin(self, request: web.Request) -> None:
        """Browsers say which page is asking; only a page of this listener may."""
        own = f"{request.scheme}://{request.headers[hdrs.HOST]}".lower()
        for origin in request.headers.getall(hdrs.ORIGIN, []):
            if origin.lower() != own:
                raise Problem(403, "requests from other sites' pages are refused")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not _is_link(request):
            raise Problem(403, "requests from other sites' pages are refused")

    def _caller(self, request: web.Request) -> Person:
        """Whose token it is; for what only looks, a browser's session does as well: nothing changes by it."""
        looks = request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
        if looks and hdrs.AUTHORIZATION not in request.headers and self._sessions is not None:
            session = self._sessions.of(request)
            if session is not None and self.access.is_live(session.person):
                return session.person
        return self._person(request)

    def _check_session(self, request: web.Request) -> None:
        """Who sits at the browser, and whether that person may; a session goes with the token it began with."""
        role = needs(request, metrics_open=False)
        session = None if self._sessions is None or role is None else self._sessions.of(request)
        if session is None or role is None or self._sessions is None:
            return
        if not self.access.is_live(session.person):
            self._sessions.forget(session)
            return
        identify(request, self.access, session.person)
        check(session.person, role)

    def check_typed(self, request: web.Request, token: str) -> Person:
        """Whose token it is that was typed; a Problem where it is wrong, on record like any other."""
        found = self.access.person(token.strip().encode("utf-8", "surrogateescape"))
        if isinstance(found, Person):
            return found
        raise self._refused(request, "this is not a token that counts here", found)

    def _person(self, request: web.Request) -> Person:
        # The right token always works: otherwise whoever guesses from the operator's address locks the
        # operator out. A token has 256 bits; the wait bounds noise and records, not a search.
        found = self._shown_by(request)
        if isinstance(found, Person):
            return found
        raise self._refused(request, "this needs the header Authorization: Bearer <admin token>", found)

    def _refused(self, request: web.Request, detail: str, found: Refused | None) -> Problem:
        source = request.remote or "unknown"
        wait_s = self._failures.wait_s(source)
        if wait_s > 0:
            return _too_many(wait_s)
        count = self._failures.add(source)
        reason = "wrong token" if found is None else f"the token of {found.person} is {found.why}"
        self._record_failure(source, request, count, reason)
        return Problem(
            401,
            detail if found is None else f"{detail}; this one of {found.person} is {found.why}",
            headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="riskgate"'},
        )

    def _shown_by(self, request: web.Request) -> Person | Refused | None:
        given = request.headers.getall(hdrs.AUTHORIZATION, [])
        if len(given) != 1:
            return None
        scheme, _, token = given[0].partition(" ")
        # Header values arrive with bytes that are no UTF-8 as surrogates; as bytes any of them can be compared.
        found = self.access.person(token.strip(" ").encode("utf-8", "surrogateescape"))
        return found if scheme.lower() == "bearer" else None

    def _record_role_missing(self, request: web.Request, refused: RoleMissing) -> None:
        """Who tried what is not theirs is on record, under the same bound as guesses."""
        source = request.remote or "unknown"
        log.warning("admin.role_missing", peer=source, path=request.path[:200], person=refused.person)
        self._record(source, request, actor=refused.person, result="refused", reason=refused.detail)

    def _record_failure(self, source: str, request: web.Request, count: int, reason: str) -> None:
        log.warning("admin.refused", peer=source, path=request.path[:200], failures=count)
        result = "refused" if count < FAILURES_MAX else "refused, and the source has to wait"
        self._record(source, request, actor="unknown", result=result, reason=reason)

    def _record(self, source: str, request: web.Request, *, actor: str, result: str, reason: str) -> None:
        if self._audited.add("all") > AUDITED_FAILURES_MAX:
            return
        act = f"{request.method[:16]} {request.path[:200]}"
        note(self._parts.audit, actor=actor, act=act, result=result, reason=reason, peer=source)


def _is_link(request: web.Request) -> bool:
    """A link to the console from elsewhere: a page for a person, which changes nothing and comes without the cookie."""
    return (
        request.method == hdrs.METH_GET
        and request.path.startswith(CONSOLE)
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
    )


def _check_form(request: web.Request) -> None:
    if request.method == hdrs.METH_POST and request.content_type != FORM:
        raise Problem(415, f"the console takes forms, with Content-Type: {FORM}")


def _too_many(wait_s: float) -> Problem:
    seconds = int(wait_s) + 1
    return Problem(
        429,
        f"too many wrong tokens from this address; try again in {seconds} s",
        headers={hdrs.RETRY_AFTER: str(seconds)},
    )


def _has_body(request: web.Request) -> bool:
    """Clients of the v1 policy send none, and say so with a length of 0 or with nothing at all."""
    return request.body_exists and request.headers.get(hdrs.CONTENT_LENGTH) != "0"


def _check_content_type(request: web.Request) -> None:
    """Forms and plain text are what a foreign page can send without asking; JSON is not."""
    given = request.headers.getall(hdrs.CONTENT_TYPE, [])
    kind = given[0].partition(";")[0].strip().lower() if len(given) == 1 else ""
    if kind != "application/json":
        raise Problem(415, "the body has to be JSON, with Content-Type: application/json")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise Problem(415, "the body has to come uncompressed")


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        bracketed = re.fullmatch(r"\[([0-9a-f:.]+)\](?::[0-9]{1,5})?", host)
        return bracketed.group(1) if bracketed else ""
    name, colon, port = host.partition(":")
    if colon and not re.fullmatch(r"[0-9]{1,5}", port):
        return ""
    return name.rstrip(".")
