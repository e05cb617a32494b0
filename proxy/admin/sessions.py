"""Browser sessions of the console: a cookie instead of a header, and a token against forged forms.

A browser cannot put an Authorization header on a link, a form or an event stream. So whoever
shows the admin token once gets a cookie that scripts cannot read and other sites cannot send.
Sessions live in memory: a restart ends them, and the token is asked for again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from aiohttp import web
from cachetools import LRUCache

from proxy.admin.access import Person, Role
from proxy.clock import Clock

IDLE_S = 12 * 3600.0
LINK_S = 600.0
SESSIONS_MAX = 64
LINKS_MAX = 16
COOKIE_CHARACTERS_MAX = 128


@dataclass(slots=True)
class Session:
    """One browser that showed the token. `name` is who it says it is; `notice` is told on its next page."""

    key: str
    csrf: str
    name: str
    ends_s: float
    notice: str = ""
    is_problem: bool = False
    person: Person = field(kw_only=True)  # whose token was shown

    @property
    def actor(self) -> str:
        """Who acts: the person of the token, and beside it who was typed."""
        return self.person.acts_as(self.name)

    @property
    def own_name(self) -> str:
        """The name that need not be typed; the bootstrap token is nobody's own."""
        return "" if self.person.is_bootstrap else self.person.name

    @property
    def may_stop(self) -> bool:
        """Whether this person may stop trading."""
        return self.person.role >= Role.OPERATOR

    @property
    def may_change(self) -> bool:
        """Whether this person may change the policy and release everything."""
        return self.person.role >= Role.ADMIN

    @property
    def credential(self) -> str:
        """Tells two sessions apart where two persons are needed; nothing of the cookie can be told from it."""
        return f"session {self.key[:16]}"


class Sessions:
    """Makes, finds and ends sessions. Only digests of cookies and links are kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_key: LRUCache[str, Session] = LRUCache(SESSIONS_MAX)
        self._links: LRUCache[str, tuple[float, Person]] = LRUCache(LINKS_MAX)

    def begin(
        self, name: str, response: web.StreamResponse, request: web.Request, *, person: Person
    ) -> Session:
        """A new session, with its cookie on the response."""
        secret = secrets.token_urlsafe(32)
        session = Session(
            _key(secret), secrets.token_urlsafe(24), name, self._clock.monotonic() + IDLE_S, person=person
        )
        self._by_key[session.key] = session
        response.set_cookie(
            _cookie(request), secret, httponly=True, samesite="Strict", secure=request.secure, path="/"
        )
        return session

    def of(self, request: web.Request) -> Session | None:
        """The session of a request; it lasts as long again from now on."""
        given = request.cookies.get(_cookie(request), "")
        if not given or len(given) > COOKIE_CHARACTERS_MAX:
            return None
        key = _key(given)
        session: Session | None = self._by_key.get(key)
        if session is None:
            return None
        now_s = self._clock.monotonic()
        if session.ends_s <= now_s:
            del self._by_key[key]
            return None
        session.ends_s = now_s + IDLE_S
        return session

    def end(self, session: Session, response: web.StreamResponse, request: web.Request) -> None:
        """Forget a session; its cookie is worth nothing from now on."""
        self._by_key.pop(session.key, None)
        response.del_cookie(_cookie(request), path="/")

    def forget(self, session: Session) -> None:
        """End a session from here: whose token has ended is asked for another."""
        self._by_key.pop(session.key, None)

    def new_link(self, person: Person) -> str:
        """A code that logs one browser of this person in, once, within ten minutes."""
        code = secrets.token_urlsafe(24)
        self._links[_key(code)] = self._clock.monotonic() + LINK_S, person
        return code

    def redeem(self, code: str) -> Person | None:
        """Whose code it is, if it is good; it is not any more afterwards."""
        if not code or len(code) > COOKIE_CHARACTERS_MAX:
            return None
        ends_s, person = self._links.pop(_key(code), (0.0, None))
        return person if self._clock.monotonic() < ends_s else None


def is_form_of(session: Session, csrf: str) -> bool:
    """Whether a form was made for this session."""
    return hmac.compare_digest(session.csrf.encode(), csrf.encode("utf-8", "surrogateescape"))


def _cookie(request: web.Request) -> str:
    """Cookies do not know ports: two proxies on one machine must not log each other out."""
    return f"riskgate_{request.url.port}"


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
