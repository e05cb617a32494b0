"""The admin API described for programs: OpenAPI 3.1, made of the routes themselves and the models of bodies.

A path cannot be missing, because the application's own routes are walked; what stands here beside them are
the bodies, parameters and answers that a route alone does not tell. The console's pages are for people and
are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from proxy.admin import bodies
from proxy.admin.actions import CancelAllBody, DrillBody, FlattenBody
from proxy.admin.answers import Problem, answer
from proxy.admin.parts import AdminParts
from proxy.admin.permits import OverrideBody, PermitBody
from proxy.admin.records import OUTCOMES
from proxy.admin.shapes import ANSWERS, BY_STATUS, SystemicRisk, TailRisk, shape_of
from proxy.global_risk.models import Published

PATH = "/admin/v1/openapi.json"
PEOPLE = "/ui"
V2 = "/api/v2/policy"
OPEN = frozenset({"/healthz", "/readyz", "/startupz", "/version"})

BODIES: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "POST /admin/v1/ess/engage": bodies.EngageBody,
        "POST /admin/v1/ess/release": bodies.ReleaseBody,
        "POST /admin/v1/actions/cancel-all": CancelAllBody,
        "POST /admin/v1/actions/flatten": FlattenBody,
        "POST /admin/v1/actions/drill": DrillBody,
        "POST /admin/v1/accounts/{name}/settle": bodies.SettleBody,
        "POST /admin/v1/approvals/{id}/approve": PermitBody,
        "POST /admin/v1/approvals/{id}/refuse": PermitBody,
        "POST /admin/v1/overrides": OverrideBody,
        "POST /admin/v1/overrides/{id}/confirm": PermitBody,
        "POST /admin/v1/overrides/{id}/refuse": PermitBody,
        "POST /risk/evaluate": bodies.EmptyBody,
        "POST /bot/v1/heartbeat": bodies.EmptyBody,
        "POST /api/v2/strategies/{name}/heartbeat": bodies.EmptyBody,
        f"PUT {V2}": bodies.PolicyBody,
        f"PATCH {V2}": bodies.PatchBody,
        f"POST {V2}/reset": bodies.WhoBody,
        f"POST {V2}/rollback": bodies.RollbackBody,
        f"POST {V2}/risk-mode": bodies.ModeBody,
        f"POST {V2}/presets": bodies.PresetBody,
        f"POST {V2}/drafts": bodies.DraftBody,
        f"POST {V2}/drafts/{{id}}/publish": bodies.PublishBody,
        "PATCH /api/policy": bodies.V1PatchBody,
        "POST /api/policy/reset": bodies.AliasBody,
        "POST /api/policy/risk_mode/{mode}": bodies.AliasBody,
    }
)
BODY_OPTIONAL = frozenset({
    "POST /api/policy/reset", "POST /api/policy/risk_mode/{mode}", "POST /bot/v1/heartbeat",
    "POST /api/v2/strategies/{name}/heartbeat",
})  # fmt: skip
WITHOUT_BODY = frozenset({"POST /admin/v1/login-links"})  # asking is all there is to it
IF_MATCH = frozenset({f"PUT {V2}", f"PATCH {V2}", f"POST {V2}/reset", f"POST {V2}/rollback"})
_BEGUN = dict.fromkeys((f"POST /admin/v1/actions/{kind}" for kind in ("cancel-all", "flatten", "drill")), 202)
ANSWERED: Mapping[str, int] = MappingProxyType(
    {
        "POST /admin/v1/overrides": 202, "POST /admin/v1/login-links": 201, f"POST {V2}/drafts": 201,
        f"GET {V2}/ws": 101, **_BEGUN,
    }
)
ALSO: Mapping[str, tuple[int, ...]] = MappingProxyType({f"POST {V2}/drafts/{{id}}/publish": (202,)})
# Models that handlers answer themselves, or that hold such: told as they are written, with money as text.
WRITTEN = (Published, TailRisk, SystemicRisk)
STREAMS = frozenset({f"GET {V2}/events", "GET /admin/v1/events"})

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 64}
_REVISION: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 10**15 - 1}

# By route: name, schema, and whether it is needed.
QUERY: Mapping[str, tuple[tuple[str, dict[str, Any], bool], ...]] = MappingProxyType(
    {
        f"PATCH {V2}": (("dry_run", {"type": "boolean"}, False),),
        f"GET {V2}/value": (("path", {"type": "string", "minLength": 1, "maxLength": 400}, True),),
        f"GET {V2}/effective": (("account", _TEXT, True), ("strategy", _TEXT, False), ("symbol", _TEXT, False)),
        f"GET {V2}/history": (
            ("limit", {"type": "integer", "minimum": 1, "maximum": 200}, False), ("before", _REVISION, False),
        ),
        f"GET {V2}/events": (("since", _REVISION, False),),
        f"GET {V2}/ws": (("since", _REVISION, False),),
        "GET /admin/v1/decisions": (
            ("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, False),
            ("outcome", {"type": "string", "enum": sorted(OUTCOMES)}, False),
        ),
        "GET /admin/v1/headroom": tuple(
            (name, _TEXT, name in ("account", "symbol", "side"))
            for name in ("account", "symbol", "side", "strategy", "market", "type", "price", "bucket", "bot",
                         "confidence")
        ),
    }
)  # fmt: skip

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "string"}},
        "revision": {"type": "integer", "description": "the revision in force, where another one was expected"},
    },
}
_FAILURES = {
    400: "no JSON, or a key twice", 401: "no token, or not the right one", 403: "a foreign Host or Origin",
    404: "no such thing", 405: "no such method here", 409: "not in this state", 412: "another revision is in force",
    413: "too large", 415: "not JSON", 422: "understood, and not right", 428: "If-Match is needed",
    429: "too many wrong tokens", 500: "it went wrong here", 503: "cannot be answered now",
    507: "cannot be kept on disk",
}  # fmt: skip


class OpenApiRoutes:
    """Serves the description."""

    def __init__(self, parts: AdminParts, app: web.Application) -> None:
        self._parts = parts
        self._app = app

    def routes(self) -> list[web.RouteDef]:
        """The path and what answers it."""
        return [web.get(PATH, self.show)]

    async def show(self, _: web.Request) -> web.Response:
        """The admin API as OpenAPI 3.1."""
        return answer(described(self._app, self._parts.version))


def check_query(request: web.Request) -> None:
    """A parameter that is not known, or stands twice: `?dryrun=true` would change what it was to leave alone."""
    resource = request.match_info.route.resource
    name = f"{request.method} {'' if resource is None else resource.canonical}"
    if name not in QUERY and not request.path.startswith("/api/"):
        return
    known = [parameter for parameter, _, _ in QUERY.get(name, ())]
    given = list(request.query)
    for parameter in given:
        if parameter not in known or given.count(parameter) > 1:
            expected = f"each once and of: {', '.join(known)}" if known else "none"
            raise Problem(422, f"found the parameter {parameter[:64]!r}, expected {expected}")


def described(app: web.Application, version: str) -> dict[str, Any]:
    """The description of an application's routes."""
    models = sorted({*BODIES.values(), *ANSWERS.values(), *BY_STATUS.values()}, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "serialization" if issubclass(model, WRITTEN) else "validation") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in app.router.routes():
        path = "" if route.resource is None else route.resource.canonical
        if route.method != "HEAD" and not path.startswith(PEOPLE):
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "riskgate admin API", "version": version},
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.get("$defs", {}) | {"Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: web.AbstractRoute, path: str) -> dict[str, Any]:
    name = f"{route.method} {path}"
    told = (route.handler.__doc__ or "").strip().splitlines() or [name]
    operation: dict[str, Any] = {
        "operationId": re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"),
        "summary": told[0],
        "responses": dict(_answers(name)),
    }
    if parameters := [*_path_parameters(path), *_parameters(name)]:
        operation["parameters"] = parameters
    if route.method in ("POST", "PUT", "PATCH") and name not in WITHOUT_BODY:
        model = BODIES.get(name)
        schema = {"type": "object"} if model is None else {"$ref": f"#/components/schemas/{model.__name__}"}
        operation["requestBody"] = {
            "required": name not in BODY_OPTIONAL, "content": {"application/json": {"schema": schema}}
        }
    if path in OPEN:
        operation["security"] = []
    if path == "/metrics":
        operation["security"] = [{}, {"token": []}]  # as the settings say
    return operation


def _answers(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    usual = ANSWERED.get(name, 200)
    for status in (usual, *ALSO.get(name, ())):
        yield str(status), {"description": "done"} | ({} if status == 101 else {"content": _content(name, status)})
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, why in _FAILURES.items():
        own = {} if shape_of(name, status) is None else _content(name, status)
        yield str(status), {"description": why, "content": own | problem}


def _content(name: str, status: int) -> dict[str, Any]:
    if name in STREAMS:
        return {"text/event-stream": {"schema": {"type": "string"}}}
    if name == "GET /metrics":
        return {"text/plain": {"schema": {"type": "string"}}, "application/openmetrics-text": {"schema": {}}}
    shape = shape_of(name, status)
    schema = {"type": "object"} if shape is None else {"$ref": f"#/components/schemas/{shape.__name__}"}
    return {"application/json": {"schema": schema}}


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{([a-z_]+)}", path):
        schema = _REVISION if name == "revision" else {"type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _parameters(name: str) -> Iterator[dict[str, Any]]:
    for parameter, schema, required in QUERY.get(name, ()):
        yield {"name": parameter, "in": "query", "required": required, "schema": schema}
    if name in IF_MATCH:
        yield {
            "name": "If-Match", "in": "header", "required": True,
            "description": "the revision that the change was made on",
            "schema": {"type": "string", "pattern": '^"[0-9]{1,15}"$'},
        }  # fmt: skip
