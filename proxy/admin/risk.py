"""What the embedded risk engine measured, for dashboards, people, and other services that read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import EmptyBody, read_body
from proxy.feeds import FeedFailed

if TYPE_CHECKING:
    from pydantic import BaseModel

    from proxy.admin.parts import AdminParts
    from proxy.global_risk import GlobalRisk
    from proxy.global_risk.models import GlobalRiskSignal


class RiskRoutes:
    """Reads the last signal; only `evaluate` makes a new one."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [
            web.get("/risk/health", self.health),
            web.get("/risk/status", self.status),
            web.get("/risk/schema", self.schema),
            web.get("/risk/global", self._shows(lambda signal: _plain(signal))),
            web.get("/risk/snapshot", self._shows(lambda signal: _plain(signal.snapshot))),
            web.get("/risk/exposure", self._shows(lambda signal: _plain(signal.exposure_matrix))),
            web.get("/risk/var", self._shows(_var)),
            web.get("/risk/systemic", self._shows(_systemic)),
            web.post("/risk/evaluate", self.evaluate),
        ]

    async def health(self, _: web.Request) -> web.Response:
        """Whether the engine runs: 200 while its last evaluation is new, 503 otherwise."""
        health = self._risk.health()
        return answer(health, status=200 if health["ready"] else 503)

    async def status(self, _: web.Request) -> web.Response:
        """The level in short, how old it is, and what of the history is there."""
        return answer(self._risk.status())

    async def schema(self, _: web.Request) -> web.Response:
        """The JSON schema of `/risk/global`."""
        return answer(self._risk.schema())

    async def evaluate(self, request: web.Request) -> web.Response:
        """Evaluate now; the new signal."""
        await read_body(request, EmptyBody)
        risk = self._risk
        try:
            signal = await risk.engine.evaluate()
        except FeedFailed as error:
            raise Problem(503, f"could not be evaluated: {error}") from None
        return answer(_plain(signal))

    def _shows(self, part: Callable[[GlobalRiskSignal], object]) -> Callable[[web.Request], Any]:
        async def show(_: web.Request) -> web.Response:
            signal = self._risk.engine.signal
            if signal is None:
                raise Problem(404, "nothing has been evaluated yet; /risk/health says why")
            return answer(part(signal))

        return show

    @property
    def _risk(self) -> GlobalRisk:
        risk = self._parts.risk
        if risk is None:
            raise Problem(503, "there is no risk engine here: global_risk.source is not embedded")
        return risk


def _plain(published: BaseModel) -> dict[str, Any]:
    return published.model_dump(mode="json")


def _var(signal: GlobalRiskSignal) -> dict[str, Any]:
    """Both results; null with what is missing where they are not known."""
    return {
        "timestamp": signal.timestamp.isoformat(),
        "var_result": None if signal.var_result is None else _plain(signal.var_result),
        "es_result": None if signal.es_result is None else _plain(signal.es_result),
        "unknown": list(signal.unknown),
    }


def _systemic(signal: GlobalRiskSignal) -> dict[str, Any]:
    return {
        "timestamp": signal.timestamp.isoformat(),
        "systemic_signals": [_plain(one) for one in signal.systemic_signals],
        "unknown": list(signal.unknown),
    }
