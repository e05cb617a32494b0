"""Policy endpoints: the document, changing it, its modes and presets, and what is in force for whom."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import structlog
from aiohttp import web

from proxy.admin.acts import intend, note
from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import (
    POLICY_BYTES_MAX,
    ModeBody,
    PatchBody,
    PolicyBody,
    PresetBody,
    WhoBody,
    read_body,
)
from proxy.admin.parts import AdminParts
from proxy.admin.policy_changes import Make, PolicyChanges, Wanted, differences, if_match, shown, trace_of
from proxy.errors import PolicyInvalid, ProfileNotFound, ProxyError
from proxy.governor import told as shown_directive
from proxy.loosening import loosened
from proxy.stores.base import StoredPolicy, merged, validated
from proxy.stores.changes import document
from proxy.stores.policies import risk_config
from rules import (
    Directive,
    Governing,
    Limits,
    PolicyGap,
    effective_with_sources,
    governed,
    sources_governed,
)
from rules.limits import TIGHTER
from rules.profile import GlobalPolicy, warnings

NAME_MAX = 64


class PolicyRoutes:
    """Reads and changes the policy through the store."""

    def __init__(self, parts: AdminParts, changes: PolicyChanges) -> None:
        self._parts = parts
        self._changes = changes

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/api/v2/policy", self.show),
            web.put("/api/v2/policy", self.replace),
            web.patch("/api/v2/policy", self.patch),
            web.post("/api/v2/policy/reset", self.reset),
            web.get("/api/v2/policy/risk-profile", self.profile),
            web.get("/api/v2/policy/risk-modes", self.modes),
            web.post("/api/v2/policy/risk-mode", self.switch),
            web.get("/api/v2/policy/value", self.value),
            web.get("/api/v2/policy/presets", self.presets),
            web.post("/api/v2/policy/presets", self.apply_preset),
            web.get("/api/v2/policy/effective", self.effective),
        ]

    # -- the document -----------------------------------------------------------------------------

    async def show(self, _: web.Request) -> web.Response:
        """The whole document with its revision, which is also the ETag."""
        return await shown(await self._parts.store.get())

    async def replace(self, request: web.Request) -> web.Response:
        """Put another document in place of the one that If-Match names; anything else than that one stays."""
        revision = if_match(request)
        body = await read_body(request, PolicyBody, bytes_max=POLICY_BYTES_MAX)
        wanted = Wanted.by(request, "policy.replace", updated_by=body.updated_by, reason=body.reason)
        return await shown(
            await self._changes.change(wanted, lambda _: validated(body.policy), expected_revision=revision)
        )

    async def patch(self, request: web.Request) -> web.Response:
        """Merge changes into the document that If-Match names; with `?dry_run=true` only say what would change."""
        revision = if_match(request)
        dry_run = _flag(request, "dry_run")
        body = await read_body(request, PatchBody, bytes_max=POLICY_BYTES_MAX)
        wanted = Wanted.by(request, "policy.patch", updated_by=body.updated_by, reason=body.reason)

        def make(before: StoredPolicy) -> GlobalPolicy:
            return validated(merged(document(before.policy), body.changes))

        if dry_run:
            return await self._told(make, revision)
        return await shown(await self._changes.change(wanted, make, expected_revision=revision))

    async def _told(self, make: Make, revision: int) -> web.Response:
        """What a change would come to, changing nothing."""
        before = await self._parts.store.get()
        if before.revision != revision:
            raise Problem(
                412, f"found revision {before.revision}, expected {revision}", more={"revision": before.revision}
            )
        now = self._parts.clock.now()

        def told() -> dict[str, object]:
            policy = make(before)
            return {
                "revision": before.revision,
                "changes": differences(before.policy, policy),
                "looser": loosened(before.policy, policy, now),
                "warnings": warnings(policy),
            }

        try:
            return answer(await asyncio.to_thread(told))
        except PolicyInvalid as error:
            raise Problem(422, str(error), more={"problems": list(error.problems)}) from None

    async def reset(self, request: web.Request) -> web.Response:
        """Go back to the policy that the store was created with, as a new revision."""
        revision = if_match(request)
        body = await read_body(request, WhoBody)
        wanted = Wanted.by(request, "policy.reset", updated_by=body.updated_by, reason=body.reason)
        first = await self._parts.store.get_revision(1)
        return await shown(await self._changes.change(wanted, lambda _: first.policy, expected_revision=revision))

    # -- modes ------------------------------------------------------------------------------------

    async def profile(self, _: web.Request) -> web.Response:
        """The active risk profile, as written and under the names that clients know."""
        return answer(_active(await self._parts.store.get()))

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

    async def switch(self, request: web.Request) -> web.Response:
        """Make another risk mode the active one."""
        body = await read_body(request, ModeBody)
        stored = await self.switched(
            request, body.mode, body.updated_by, body.reason, expected_revision=body.expected_revision
        )
        return answer(_active(stored))

    async def switched(
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
        await intend(audit, **told, after=mode[:64])
        with structlog.contextvars.bound_contextvars(trace_id=trace_of(request)):
            try:
                stored = await store.switch_mode(
                    mode, updated_by=by, reason=reason, expected_revision=expected_revision
                )
            except ProxyError as error:
                note(audit, **told, after=before, result=f"refused: {error}")
                if isinstance(error, ProfileNotFound):
                    raise Problem(404, str(error)) from None
                raise
        note(audit, **told, after=stored.policy.active_mode, result=f"revision {stored.revision}")
        return stored

    # -- presets ----------------------------------------------------------------------------------

    async def presets(self, _: web.Request) -> web.Response:
        """Every preset that can be applied, and the one that is on."""
        stored = await self._parts.store.get()
        presets = stored.policy.presets
        return answer(
            {
                "active": stored.policy.active_preset,
                "revision": stored.revision,
                "presets": {
                    name: one.model_dump(mode="json", exclude_none=True) for name, one in presets.items()
                },
            }
        )

    async def apply_preset(self, request: web.Request) -> web.Response:
        """Take a preset's risk mode and put its limits on top; `null` takes the limits off and leaves the mode."""
        body = await read_body(request, PresetBody)
        wanted = Wanted.by(request, "policy.preset", updated_by=body.updated_by, reason=body.reason)
        stored = await self._changes.change(
            wanted, lambda before: with_preset(before.policy, body.preset), expected_revision=body.expected_revision
        )
        return answer(_active(stored) | {"active_preset": stored.policy.active_preset})

    # -- reading ----------------------------------------------------------------------------------

    async def value(self, request: web.Request) -> web.Response:
        """One value by its dotted path, `?path=risk.max_leverage`."""
        path = _stated(request, "path", needed=True, characters_max=400)
        try:
            return answer({"path": path, "value": self._parts.values.get_value(path)})
        except ProfileNotFound as error:
            raise Problem(404, str(error)) from None

    async def effective(self, request: web.Request) -> web.Response:
        """Every limit in force for an account, strategy and symbol, and the layer of the document that set it."""
        account = _stated(request, "account", needed=True)
        strategy, symbol = _stated(request, "strategy"), _stated(request, "symbol")
        stored, now = await self._parts.store.get(), self._parts.clock.now()
        try:
            limits, sources = effective_with_sources(
                stored.policy, revision=stored.revision, account=account, strategy=strategy, now=now, symbol=symbol
            )
        except PolicyGap as error:
            raise Problem(404, str(error)) from None
        directive = self._directive(account, strategy, limits)
        if directive is not None:
            sources = {**sources, **sources_governed(limits, directive, symbol)}
            limits = governed(limits, directive.multipliers)
        own = limits.of(symbol)
        found = []
        for name in TIGHTER:
            source = sources.get(f"by_symbol.{symbol}.{name}", sources.get(name))
            if source is not None and name not in ("never_scaled", "warn_at"):
                found.append(_limit(own, name, source))
        told: dict[str, object] = {
            "account": account, "strategy": strategy, "symbol": symbol, "revision": stored.revision
        }
        told |= {"profile": limits.profile, "capital_profile": limits.capital_profile, "limits_off": limits.limits_off}
        told["governor"] = None if directive is None else shown_directive(directive)
        return answer(told | {"at": now, "limits": found})

    def _directive(self, account: str, strategy: str, limits: Limits) -> Directive | None:
        """The safety governor's word, of an account that this proxy trades on and a policy that switches it on."""
        views = self._parts.account_views
        if views is None or limits.governor is None or account not in self._parts.accounts:
            return None
        return views.directive(account, strategy, limits)


def _limit(limits: Limits, name: str, source: str) -> dict[str, object]:
    """One limit: its value, where it comes from, and what is said of it beside the value."""
    value = getattr(limits, name)
    if isinstance(value, Governing):
        value = value._asdict()
    told: dict[str, object] = {"limit": name, "value": value, "source": source}
    if name in limits.warn_at:
        told["warn_at"] = limits.warn_at[name]
    if name in limits.never_scaled:
        told["action"] = "block"
    return told


def with_preset(policy: GlobalPolicy, name: str | None) -> GlobalPolicy:
    """The policy with a preset on, or with none; PolicyInvalid where there is no such preset or mode."""
    written = document(policy)
    if name is None:
        written.pop("active_preset", None)
        return validated(written)
    if name not in policy.presets:
        known = ", ".join(sorted(policy.presets)) or "none"
        raise PolicyInvalid(f"preset: found {name!r}, expected one of {known}")
    mode = policy.presets[name].active_mode
    return validated(written | {"active_preset": name} | ({} if mode is None else {"active_mode": mode}))


def _stated(request: web.Request, name: str, *, needed: bool = False, characters_max: int = NAME_MAX) -> str:
    given = request.query.getall(name, [])
    if not given and not needed:
        return ""
    if len(given) != 1 or not 0 < len(given[0]) <= characters_max:
        raise Problem(422, f"state exactly one {name}, of 1 to {characters_max} characters, such as ?{name}=...")
    return given[0]


def _flag(request: web.Request, name: str) -> bool:
    given = request.query.getall(name, ["false"])
    if len(given) != 1 or given[0] not in ("true", "false"):
        raise Problem(422, f"{name} is true or false, found {', '.join(given)[:40]!r}")
    return given[0] == "true"


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
