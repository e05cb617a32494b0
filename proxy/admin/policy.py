"""Policy endpoints: the document and replacing it, which risk mode is active, and switching between modes."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from aiohttp import hdrs, web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import POLICY_BYTES_MAX, AliasBody, ModeBody, PolicyBody, read_body
from proxy.admin.parts import AdminParts
from proxy.audit import admin_record
from proxy.errors import AuditError, PolicyInvalid, ProfileNotFound, ProxyError, RevisionConflict
from proxy.stores.base import StoredPolicy, validated
from proxy.stores.changes import changes, document
from proxy.stores.policies import risk_config
from rules.profile import GlobalPolicy, warnings

RECORDED_CHANGES_MAX = 200  # places of a document; the store keeps every revision whole
_ETAG = re.compile(r'"?([0-9]{1,15})"?')


class PolicyRoutes:
    """Reads and switches the policy through the store."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/api/v2/policy", self.show),
            web.put("/api/v2/policy", self.replace),
            web.get("/api/v2/policy/risk-profile", self.profile),
            web.get("/api/v2/policy/risk-modes", self.modes),
            web.post("/api/v2/policy/risk-mode", self.switch),
            web.get("/api/v2/policy/value", self.value),
            web.get("/api/policy/risk_mode", self.alias_mode),
            web.post("/api/policy/risk_mode/{mode}", self.alias_switch),
        ]

    async def show(self, _: web.Request) -> web.Response:
        """The whole document with its revision, which is also the ETag."""
        return _shown(await self._parts.store.get())

    async def replace(self, request: web.Request) -> web.Response:
        """Put another document in place of the one that If-Match names; anything else than that one stays."""
        revision = _if_match(request)
        body = await read_body(request, PolicyBody, bytes_max=POLICY_BYTES_MAX)
        try:
            policy = validated(body.policy)
        except PolicyInvalid as error:
            raise Problem(422, str(error), more={"problems": list(error.problems)}) from None
        self._check_accounts(policy)
        store, audit = self._parts.store, self._parts.audit
        before = await store.get()
        changed = changes(before.policy, policy)[:RECORDED_CHANGES_MAX]
        told: dict[str, Any] = {
            "actor": body.updated_by,
            "act": "policy.replace",
            "reason": body.reason,
            "before": {"revision": before.revision, **{one.path: one.before for one in changed}},
            "peer": request.remote or "",
        }
        after = {one.path: one.after for one in changed}
        await audit.durable(audit.append(admin_record(**told, after=after, result="requested")))
        try:
            stored = await store.put(
                policy, expected_revision=revision, updated_by=body.updated_by, reason=body.reason
            )
        except RevisionConflict as error:
            self._record(told | {"result": f"refused: {error}"})
            raise Problem(412, str(error), more={"revision": (await store.get()).revision}) from None
        except ProxyError as error:
            self._record(told | {"result": f"refused: {error}"})
            raise
        self._record(told | {"after": {"revision": stored.revision, **after}, "result": f"revision {stored.revision}"})
        return _shown(stored)

    def _check_accounts(self, policy: GlobalPolicy) -> None:
        """A document without an account that is in use would block its every order, and the next start."""
        if missing := sorted(set(self._parts.accounts) - set(policy.accounts)):
            lines = [f"accounts.{name}: found nothing, expected the limits of this account" for name in missing]
            raise Problem(422, "; ".join(lines), more={"problems": lines})

    async def profile(self, _: web.Request) -> web.Response:
        """The active risk profile, as written and under the names that clients know."""
        stored = await self._parts.store.get()
        return answer(_active(stored))

    async def modes(self, _: web.Request) -> web.Response:
        """Every risk mode that can be switched to."""
        stored = await self._parts.store.get()
        return answer(
            {
                "active": stored.policy.active_mode,
                "revision": stored.revision,
                "modes": {name: profile.model_dump() for name, profile in stored.policy.risk_profiles.items()},
            }
        )

    async def value(self, request: web.Request) -> web.Response:
        """One value by its dotted path, `?path=risk.max_leverage`."""
        paths = request.query.getall("path", [])
        if len(paths) != 1 or not paths[0]:
            raise Problem(422, "state exactly one path, such as ?path=risk.max_leverage")
        try:
            return answer({"path": paths[0], "value": self._parts.values.get_value(paths[0])})
        except ProfileNotFound as error:
            raise Problem(404, str(error)) from None

    async def switch(self, request: web.Request) -> web.Response:
        """Make another risk mode the active one."""
        body = await read_body(request, ModeBody)
        stored = await self._switch(
            request, body.mode, body.updated_by, body.reason, expected_revision=body.expected_revision
        )
        return answer(_active(stored))

    async def alias_mode(self, _: web.Request) -> web.Response:
        """The active mode's name, as v1 told it."""
        stored = await self._parts.store.get()
        return answer({"risk_mode": stored.policy.active_mode})

    async def alias_switch(self, request: web.Request) -> web.Response:
        """Switch as v1 did: the mode in the path, who and why in the body."""
        body = await read_body(request, AliasBody)
        stored = await self._switch(request, request.match_info["mode"], body.updated_by, body.reason)
        return answer({"risk_mode": stored.policy.active_mode})

    async def _switch(
        self, request: web.Request, mode: str, by: str, reason: str, *, expected_revision: int | None = None
    ) -> StoredPolicy:
        """Record the intent, switch, record how it went."""
        store, audit = self._parts.store, self._parts.audit
        before = (await store.get()).policy.active_mode
        told: dict[str, Any] = {
            "actor": by,
            "act": "policy.switch_mode",
            "reason": reason,
            "before": before,
            "peer": request.remote or "",
        }
        await audit.durable(audit.append(admin_record(**told, after=mode[:64], result="requested")))
        try:
            stored = await store.switch_mode(
                mode, updated_by=by, reason=reason, expected_revision=expected_revision
            )
        except ProxyError as error:
            self._record(told | {"after": before, "result": f"refused: {error}"})
            if isinstance(error, ProfileNotFound):
                raise Problem(404, str(error)) from None
            raise
        self._record(told | {"after": stored.policy.active_mode, "result": f"revision {stored.revision}"})
        return stored

    def _record(self, told: dict[str, Any]) -> None:
        try:
            self._parts.audit.append(admin_record(**told))
        except AuditError:
            return  # the intent is on record; `audit_healthy` shows that nothing more can be


def _if_match(request: web.Request) -> int:
    """The revision the writer has seen. Without one, two writers would overwrite each other unseen."""
    given = request.headers.getall(hdrs.IF_MATCH, [])
    found = _ETAG.fullmatch(given[0].strip()) if len(given) == 1 else None
    if found is None:
        raise Problem(428, 'this needs the header If-Match: "REVISION", the revision that the change was made on')
    return int(found[1])


def _shown(stored: StoredPolicy) -> web.Response:
    return answer(
        {
            "revision": stored.revision,
            "updated_at": stored.updated_at,
            "updated_by": stored.updated_by,
            "reason": stored.reason,
            "policy": document(stored.policy),
            "warnings": warnings(stored.policy),
        },
        headers={hdrs.ETAG: f'"{stored.revision}"'},
    )


def _active(stored: StoredPolicy) -> dict[str, object]:
    return {
        "active": stored.policy.active_mode,
        "revision": stored.revision,
        "updated_at": stored.updated_at,
        "updated_by": stored.updated_by,
        "reason": stored.reason,
        "profile": stored.policy.risk_profile.model_dump(),
        "config": asdict(risk_config(stored.policy)),
    }
