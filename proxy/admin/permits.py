"""What people let through: large orders that wait for one, and overrides that take two."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from proxy.admin.access import Access, Person
from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import Stated, read_body
from proxy.admin.parts import AdminParts
from proxy.admin.roles import CREDENTIAL, PERSON
from proxy.permits import Kind, Permit, Permits, Signer

SHOWN = 100


class PermitBody(BaseModel):
    """Saying yes or no: who, and why."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    actor: Stated
    reason: Stated


class OverrideBody(PermitBody):
    """Asking to let a blocked order through once, by the id of its decision."""

    decision_id: Stated


class PermitRoutes:
    """Shows, grants and refuses; the desk itself puts every step on record."""

    def __init__(self, parts: AdminParts, access: Access) -> None:
        self._parts = parts
        self._access = access
        if parts.permits is not None:
            parts.permits.is_live = self._is_live

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/admin/v1/approvals", self.approvals),
            web.post("/admin/v1/approvals/{id}/approve", self.approve),
            web.post("/admin/v1/approvals/{id}/refuse", self.refuse_approval),
            web.get("/admin/v1/overrides", self.overrides),
            web.post("/admin/v1/overrides", self.ask),
            web.post("/admin/v1/overrides/{id}/confirm", self.confirm),
            web.post("/admin/v1/overrides/{id}/refuse", self.refuse_override),
        ]

    @property
    def desk(self) -> Permits:
        """Where permits are; a Problem where this proxy has none."""
        if self._parts.permits is None:
            raise Problem(409, "this proxy lets nothing through by people's word")
        return self._parts.permits

    def shown(self, kind: Kind) -> list[dict[str, object]]:
        """Every permit of a kind, what is open first."""
        desk = self._parts.permits
        return [] if desk is None else [one.document() for one in desk.listed(kind)[:SHOWN]]

    async def approvals(self, _: web.Request) -> web.Response:
        """Large orders that wait for a person, that may pass once, and what became of others."""
        return answer({"approvals": self.shown(Kind.APPROVAL)})

    async def overrides(self, _: web.Request) -> web.Response:
        """Overrides that wait for a second person, that may pass once, and what became of others."""
        desk = self._parts.permits
        on = {} if desk is None else {name: format(one, "f") for name, one in desk.settings.ceilings.items()}
        return answer({"overrides": self.shown(Kind.OVERRIDE), "ceilings": on})

    async def approve(self, request: web.Request) -> web.Response:
        """Let one large order through, once."""
        body = await read_body(request, PermitBody)
        return answer((await self.approve_for(request, request.match_info["id"], body.actor, body.reason)).document())

    async def approve_for(self, request: web.Request, permit_id: str, actor: str, reason: str) -> Permit:
        """The same for a person, by whatever way."""
        return await self.desk.approve(permit_id, self._signer(request, actor), reason, peer=request.remote or "")

    async def refuse_approval(self, request: web.Request) -> web.Response:
        """Say no to a large order, also after a yes."""
        return await self._refused(request, Kind.APPROVAL)

    async def refuse_override(self, request: web.Request) -> web.Response:
        """Say no to an override, also after two said yes."""
        return await self._refused(request, Kind.OVERRIDE)

    async def _refused(self, request: web.Request, kind: Kind) -> web.Response:
        body = await read_body(request, PermitBody)
        found = await self.refuse_for(request, request.match_info["id"], kind, body.actor, body.reason)
        return answer(found.document())

    async def refuse_for(
        self, request: web.Request, permit_id: str, kind: Kind, actor: str, reason: str
    ) -> Permit:
        """The same for a person, by whatever way."""
        signer = self._signer(request, actor)
        return await self.desk.refuse(permit_id, kind, signer, reason, peer=request.remote or "")

    async def ask(self, request: web.Request) -> web.Response:
        """Ask to let a blocked order through once; a second person has to confirm."""
        body = await read_body(request, OverrideBody)
        found = await self.ask_for(request, body.decision_id, body.actor, body.reason)
        return answer(found.document(), status=202)

    async def ask_for(self, request: web.Request, decision_id: str, actor: str, reason: str) -> Permit:
        """The same for a person, by whatever way."""
        signer = self._signer(request, actor)
        return await self.desk.ask_override(decision_id, signer, reason, peer=request.remote or "")

    async def confirm(self, request: web.Request) -> web.Response:
        """The second person's yes: the order passes once."""
        body = await read_body(request, PermitBody)
        return answer((await self.confirm_for(request, request.match_info["id"], body.actor, body.reason)).document())

    async def confirm_for(self, request: web.Request, permit_id: str, actor: str, reason: str) -> Permit:
        """The same for a person, by whatever way."""
        return await self.desk.confirm(permit_id, self._signer(request, actor), reason, peer=request.remote or "")

    def _signer(self, request: web.Request, actor: str) -> Signer:
        person: Person = request[PERSON]
        makers = self._access.makers(person)
        return Signer(actor, person.name, request.get(CREDENTIAL, ""), makers, person.token_id)

    def _is_live(self, signer: Signer) -> bool:
        """Whether somebody's token still counts; what a role allows is asked anew with every request."""
        return self._access.is_live_token(signer.token_id)
