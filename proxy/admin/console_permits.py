"""The console's forms for what people let through once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from proxy.admin.access import Role
from proxy.admin.answers import Problem
from proxy.admin.parts import AdminParts
from proxy.admin.permits import PermitRoutes
from proxy.admin.roles import CREDENTIAL, PERSON, check
from proxy.admin.sessions import Session
from proxy.permits import Kind, PermitRefused
from proxy.permits.permit import OPEN


class PermitForms:
    """What a person at the console says yes or no to."""

    def __init__(self, parts: AdminParts, routes: PermitRoutes) -> None:
        self._parts = parts
        self._routes = routes

    def open(self) -> list[dict[str, Any]]:
        """Everything that waits or may pass once, overrides first."""
        desk = self._parts.permits
        found = [] if desk is None else [*desk.listed(Kind.OVERRIDE), *desk.listed(Kind.APPROVAL)]
        return [one.document() for one in found if one.state in OPEN]

    def may_be_asked(self, decision_id: str) -> bool:
        """Whether an override of this block could be asked for."""
        desk = self._parts.permits
        return desk is not None and desk.may_be_asked(decision_id)

    async def ask(self, request: web.Request, session: Session, form: Mapping[str, str]) -> str:
        """Ask for an override of a blocked order; what to tell."""
        actor, reason = _said(request, session, form)
        await self._routes.ask_for(request, form.get("decision_id", ""), actor, reason)
        return "Asked for. Nothing passes yet: a second person, an admin, has to confirm it within ten minutes."

    async def grant(self, request: web.Request, session: Session, form: Mapping[str, str]) -> str:
        """Approve, or confirm an override; what to tell."""
        actor, reason = _said(request, session, form)
        permit_id = form.get("id", "")
        if _kind(form) is Kind.OVERRIDE:
            check(request[PERSON], Role.ADMIN)
            permit = await self._routes.confirm_for(request, permit_id, actor, reason)
        else:
            permit = await self._routes.approve_for(request, permit_id, actor, reason)
        if not permit.granted_by:
            return "Noted. Nothing passes yet: a second person has to say yes as well."
        return f"{permit.headline} may pass once, until {permit.until:%H:%M:%S} UTC. The bot has to send it again."

    async def refuse(self, request: web.Request, session: Session, form: Mapping[str, str]) -> str:
        """Say no; what to tell."""
        actor, reason = _said(request, session, form)
        permit = await self._routes.refuse_for(request, form.get("id", ""), _kind(form), actor, reason)
        return f"Refused: {permit.headline}."


def _kind(form: Mapping[str, str]) -> Kind:
    try:
        return Kind(form.get("kind", ""))
    except ValueError:
        raise PermitRefused("a permit is an approval or an override") from None


def _said(request: web.Request, session: Session, form: Mapping[str, str]) -> tuple[str, str]:
    """Who says so, and why; the console takes nothing without both."""
    if not (form.get("name") or session.own_name) or not form.get("reason"):
        raise Problem(422, "this needs your name and a reason. Nothing was changed")
    session.name = form.get("name") or session.name
    request[CREDENTIAL] = request[CREDENTIAL] or session.credential
    return session.actor, form["reason"]
