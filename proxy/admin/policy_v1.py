"""The older API of the policy (v1): the same store under the names and shapes that its clients know.

`max_risk_per_trade`, `max_positions` and `global_min_confidence` are what is in force: the tightest of the
active risk mode, of the preset that is on and of `defaults`; `stated` is what v1 wrote, which may be looser.
Numbers are numbers here, as v1 had them. v1 knows no revisions: a change goes on top of whatever is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from aiohttp import web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import AliasBody, V1PatchBody, read_body
from proxy.admin.parts import AdminParts
from proxy.admin.policy import PolicyRoutes
from proxy.admin.policy_changes import PolicyChanges, Wanted
from proxy.errors import StoreError
from proxy.stores.base import StoredPolicy, merged, validated
from proxy.stores.changes import document
from rules.limits import Layer, of_risk_profile, stated_by, tightest
from rules.profile import GlobalPolicy

UPDATED_BY = "api v1"

# What v1 calls it: the key of `defaults` that states it, and the limit it comes to.
LIMITS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "max_risk_per_trade": ("trade_risk_max", "trade_notional_fraction_max"),
        "max_positions": ("open_positions_max", "open_positions_max"),
        "global_min_confidence": ("confidence_min", "confidence_min"),
    }
)


class PolicyV1Routes:
    """Answers the clients of the older API."""

    def __init__(self, parts: AdminParts, changes: PolicyChanges, policy: PolicyRoutes) -> None:
        self._parts = parts
        self._changes = changes
        self._policy = policy

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/api/policy", self.show),
            web.patch("/api/policy", self.patch),
            web.get("/api/policy/status", self.status),
            web.post("/api/policy/reset", self.reset),
            web.get("/api/policy/risk_mode", self.mode),
            web.post("/api/policy/risk_mode/{mode}", self.switch),
            web.get("/api/policy/allowed_symbols", self.symbols),
            web.get("/api/policy/model_versions", self.versions),
        ]

    async def show(self, _: web.Request) -> web.Response:
        """The policy as v1 told it, with the instant of its last change."""
        return answer(_shown(await self._parts.store.get()))

    async def patch(self, request: web.Request) -> web.Response:
        """Change some of it, on top of whatever is there."""
        body = await read_body(request, V1PatchBody)
        changes = _changes_of(body)
        if not changes:
            raise Problem(422, "found no change, expected one of " + ", ".join(V1PatchBody.stated_names()))
        wanted = Wanted.by(request, "policy.patch", updated_by=body.updated_by, reason=body.reason)

        def make(before: StoredPolicy) -> GlobalPolicy:
            return validated(merged(document(before.policy), changes))

        return answer(_shown(await self._changes.change(wanted, make)))

    async def status(self, _: web.Request) -> web.Response:
        """Whether the policy can be read."""
        try:
            stored = await self._parts.store.get()
        except StoreError as error:
            return answer({"available": False, "status": "unavailable", "detail": str(error)}, status=503)
        return answer({
            "available": True, "status": "available", "risk_mode": stored.policy.active_mode,
            "revision": stored.revision, "last_updated": stored.updated_at,
        })  # fmt: skip

    async def reset(self, request: web.Request) -> web.Response:
        """Go back to the policy that the store was created with."""
        body = await read_body(request, AliasBody)
        wanted = Wanted.by(request, "policy.reset", updated_by=body.updated_by, reason=body.reason)
        first = await self._parts.store.get_revision(1)
        return answer(_shown(await self._changes.change(wanted, lambda _: first.policy)))

    async def mode(self, _: web.Request) -> web.Response:
        """The active mode's name."""
        return answer({"risk_mode": (await self._parts.store.get()).policy.active_mode})

    async def switch(self, request: web.Request) -> web.Response:
        """Switch as v1 did: the mode in the path."""
        body = await read_body(request, AliasBody)
        stored = await self._policy.switched(request, request.match_info["mode"], body.updated_by, body.reason)
        return answer({"risk_mode": stored.policy.active_mode})

    async def symbols(self, _: web.Request) -> web.Response:
        """The symbols that every account may trade: a list, or `any`."""
        return answer({"allowed_symbols": _listed((await self._parts.store.get()).policy.defaults.symbols)})

    async def versions(self, _: web.Request) -> web.Response:
        """Which version of which model is in use, as a trainer wrote them."""
        return answer({"model_versions": dict((await self._parts.store.get()).policy.model_versions)})


def _changes_of(body: V1PatchBody) -> dict[str, Any]:
    """The same in words of the document."""
    defaults: dict[str, object] = {}
    for name, key in (("allowed_strategies", "strategies"), ("allowed_symbols", "symbols")):
        if (listed := getattr(body, name)) is not None:
            defaults[key] = listed
    if body.max_risk_per_trade is not None:
        defaults["trade_risk_max_fraction"] = body.max_risk_per_trade
    if body.max_positions is not None:
        defaults["open_positions_max"] = body.max_positions
    if body.global_min_confidence is not None:
        defaults["confidence_min"] = body.global_min_confidence
    changes: dict[str, Any] = {"defaults": defaults} if defaults else {}
    for name in ("opp_rankings", "model_versions"):
        if (written := getattr(body, name)) is not None:
            changes[name] = written
    return changes if body.risk_mode is None else changes | {"active_mode": body.risk_mode}


def _shown(stored: StoredPolicy) -> dict[str, object]:
    policy = stored.policy
    layers = [Layer("mode", of_risk_profile(policy.risk_profile)), Layer("defaults", stated_by(policy.defaults))]
    if policy.active_preset is not None:
        layers.append(Layer("preset", stated_by(policy.presets[policy.active_preset].limits)))
    in_force, _ = tightest(layers)
    stated = {name: _number(getattr(policy.defaults, key)) for name, (key, _) in LIMITS.items()}
    return {
        "risk_mode": policy.active_mode,
        "allowed_strategies": _listed(policy.defaults.strategies),
        "allowed_symbols": _listed(policy.defaults.symbols),
        **{name: _number(in_force.get(limit)) for name, (_, limit) in LIMITS.items()},
        "opp_rankings": {symbol: _number(rank) for symbol, rank in policy.opp_rankings.items()},
        "model_versions": dict(policy.model_versions),
        "last_updated": stored.updated_at,
        "timestamp": stored.updated_at,
        "revision": stored.revision,
        "stated": stated,
    }


def _listed(names: frozenset[str] | str) -> list[str] | str:
    return names if isinstance(names, str) else sorted(names)


def _number(value: Decimal | int | None) -> float | int | None:
    return float(value) if isinstance(value, Decimal) else value
