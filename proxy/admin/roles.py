"""Which role each route of the admin listener asks for: one table, and a route that is not in it is refused.

A viewer reads. An operator stops anything, and releases what stops an account or a strategy. An admin changes
policies, settles orders, hands out tokens and releases everything else. What depends on what a request says,
such as the scope of a release, is checked again where that is read.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from proxy.admin.access import Access, Person, Role
from proxy.admin.answers import Problem

PERSON = web.RequestKey("person", Person)  # who the guard found to be asking
CREDENTIAL = web.RequestKey("credential", str)  # what two persons must not share; see Access.credential
OPEN: Final = None  # asks for no token of a person: a probe, or a route with a proof of its own

ROLES: Final[dict[str, Role | None]] = {
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /startupz": OPEN,
    "GET /version": OPEN,
    "GET /metrics": Role.VIEWER,  # or open, as the settings say
    "POST /bot/v1/ess/engage": OPEN,  # a bot's own key
    "POST /bot/v1/heartbeat": OPEN,  # a bot's own key
    "POST /api/v2/strategies/{name}/heartbeat": Role.OPERATOR,  # keeps a strategy trading that says nothing itself
    "GET /admin/v1/status": Role.VIEWER,
    "GET /admin/v1/openapi.json": Role.VIEWER,
    "POST /admin/v1/reload": Role.ADMIN,
    "GET /admin/v1/accounts": Role.VIEWER,
    "GET /admin/v1/accounts/{name}": Role.VIEWER,
    "POST /admin/v1/accounts/{name}/settle": Role.ADMIN,
    "GET /admin/v1/headroom": Role.VIEWER,
    "GET /admin/v1/decisions": Role.VIEWER,
    "GET /admin/v1/decisions/{decision_id}": Role.VIEWER,
    "GET /admin/v1/audit/verify": Role.VIEWER,
    "GET /admin/v1/ess": Role.VIEWER,
    "GET /admin/v1/ess/triggers": Role.VIEWER,
    "POST /admin/v1/ess/engage": Role.OPERATOR,
    "POST /admin/v1/ess/release": Role.OPERATOR,  # of most scopes an admin: `may_release`
    "GET /admin/v1/actions": Role.VIEWER,
    "GET /admin/v1/actions/{id}": Role.VIEWER,
    "POST /admin/v1/actions/cancel-all": Role.OPERATOR,
    "POST /admin/v1/actions/flatten": Role.OPERATOR,  # says with `confirm` that it is meant
    "POST /admin/v1/actions/drill": Role.OPERATOR,
    "GET /admin/v1/approvals": Role.VIEWER,
    "POST /admin/v1/approvals/{id}/approve": Role.OPERATOR,
    "POST /admin/v1/approvals/{id}/refuse": Role.OPERATOR,
    "GET /admin/v1/overrides": Role.VIEWER,
    "POST /admin/v1/overrides": Role.OPERATOR,
    "POST /admin/v1/overrides/{id}/confirm": Role.ADMIN,  # somebody else than who asked
    "POST /admin/v1/overrides/{id}/refuse": Role.OPERATOR,
    "GET /admin/v1/tokens": Role.ADMIN,
    "POST /admin/v1/tokens": Role.ADMIN,
    "DELETE /admin/v1/tokens/{id}": Role.ADMIN,
    "GET /admin/v1/events": Role.VIEWER,
    "POST /admin/v1/login-links": Role.VIEWER,  # for a session of the same person
    "GET /ui/static/{name}": OPEN,
    "GET /ui/login": OPEN,
    "POST /ui/login": OPEN,
    "POST /ui/logout": Role.VIEWER,
    "GET /ui": Role.VIEWER,
    "GET /ui/live": Role.VIEWER,
    "GET /ui/state": Role.VIEWER,
    "GET /ui/rows": Role.VIEWER,
    "GET /ui/flow": Role.VIEWER,
    "GET /ui/decisions": Role.VIEWER,
    "GET /ui/decisions/{decision_id}": Role.VIEWER,
    "GET /ui/accounts/{name}": Role.VIEWER,
    "GET /ui/policy": Role.VIEWER,
    "GET /ui/audit": Role.VIEWER,
    "GET /ui/actions": Role.VIEWER,
    "GET /ui/actions/{id}": Role.VIEWER,
    "GET /ui/actions/{id}/live": Role.VIEWER,
    "POST /ui/halt": Role.OPERATOR,
    "POST /ui/release": Role.OPERATOR,  # of most scopes an admin, as above
    "POST /ui/actions/cancel-all": Role.OPERATOR,
    "POST /ui/actions/flatten": Role.OPERATOR,
    "POST /ui/actions/drill": Role.OPERATOR,
    "POST /ui/permits/ask": Role.OPERATOR,
    "POST /ui/permits/grant": Role.OPERATOR,  # of an override an admin, as above
    "POST /ui/permits/refuse": Role.OPERATOR,
    "POST /ui/policy/mode": Role.ADMIN,
    "POST /ui/policy/rollback": Role.ADMIN,
    "GET /api/v2/policy": Role.VIEWER,
    "PUT /api/v2/policy": Role.ADMIN,
    "PATCH /api/v2/policy": Role.ADMIN,
    "POST /api/v2/policy/reset": Role.ADMIN,
    "POST /api/v2/policy/rollback": Role.ADMIN,
    "GET /api/v2/policy/history": Role.VIEWER,
    "GET /api/v2/policy/history/{revision}": Role.VIEWER,
    "GET /api/v2/policy/risk-profile": Role.VIEWER,
    "GET /api/v2/policy/risk-modes": Role.VIEWER,
    "POST /api/v2/policy/risk-mode": Role.ADMIN,
    "GET /api/v2/policy/value": Role.VIEWER,
    "GET /api/v2/policy/presets": Role.VIEWER,
    "POST /api/v2/policy/presets": Role.ADMIN,
    "GET /api/v2/policy/effective": Role.VIEWER,
    "GET /api/v2/policy/events": Role.VIEWER,
    "GET /api/v2/policy/ws": Role.VIEWER,
    "GET /api/v2/policy/drafts": Role.VIEWER,
    "POST /api/v2/policy/drafts": Role.ADMIN,
    "GET /api/v2/policy/drafts/{id}": Role.VIEWER,
    "DELETE /api/v2/policy/drafts/{id}": Role.ADMIN,
    "GET /api/v2/policy/drafts/{id}/diff": Role.VIEWER,
    "POST /api/v2/policy/drafts/{id}/publish": Role.ADMIN,
    "GET /api/policy": Role.VIEWER,
    "PATCH /api/policy": Role.ADMIN,
    "GET /api/policy/status": Role.VIEWER,
    "POST /api/policy/reset": Role.ADMIN,
    "GET /api/policy/risk_mode": Role.VIEWER,
    "POST /api/policy/risk_mode/{mode}": Role.ADMIN,
    "GET /api/policy/allowed_symbols": Role.VIEWER,
    "GET /api/policy/model_versions": Role.VIEWER,
    "GET /risk/health": Role.VIEWER,
    "GET /risk/status": Role.VIEWER,
    "GET /risk/schema": Role.VIEWER,
    "GET /risk/global": Role.VIEWER,
    "GET /risk/snapshot": Role.VIEWER,
    "GET /risk/exposure": Role.VIEWER,
    "GET /risk/var": Role.VIEWER,
    "GET /risk/systemic": Role.VIEWER,
    "POST /risk/evaluate": Role.OPERATOR,
}

# Kinds of scope that an operator may release; everything wider takes an admin.
OPERATOR_RELEASES: Final = frozenset({"account", "strategy"})


class RoleMissing(Problem):
    """Somebody known who may not do this."""

    def __init__(self, person: Person, role: Role) -> None:
        super().__init__(
            403, f"{person.name} is {person.role.word}; this needs {role.word}. Nothing was changed",
            more={"role": person.role.word, "needs": role.word},
        )  # fmt: skip
        self.person = person.name


def needs(request: web.Request, *, metrics_open: bool) -> Role | None:
    """The role a request needs; None where it needs none.

    Raises Problem for a route that states no role: nobody has thought about who may use it.
    """
    if request.match_info.http_exception is not None:
        return Role.VIEWER  # no such path or method; which paths there are is nothing for strangers
    resource = request.match_info.route.resource
    method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
    name = f"{method} {resource.canonical if resource is not None else ''}"
    if name not in ROLES:
        raise Problem(403, f"{name} states no role, so nobody may use it: it has to stand in proxy/admin/roles.py")
    if name == "GET /metrics" and metrics_open:
        return OPEN
    return ROLES[name]


def check(person: Person, role: Role) -> None:
    """Raise RoleMissing unless this person's role is at least `role`."""
    if person.role < role:
        raise RoleMissing(person, role)


def may_release(person: Person, scope: str) -> None:
    """Raise RoleMissing unless this person may release this scope: an account's or a strategy's, or as an admin any."""
    if scope.partition(":")[0] not in OPERATOR_RELEASES:
        check(person, Role.ADMIN)


def release_allowed(request: web.Request, scope: str) -> None:
    """The same for the person of a request."""
    may_release(request[PERSON], scope)


def identify(request: web.Request, access: Access, person: Person) -> None:
    """Say on the request who it is, for whatever acts on it."""
    request[PERSON] = person
    request[CREDENTIAL] = access.credential(person)
