"""What people, and programs that watch over strategies, do: heart-beats, approvals, overrides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import aiohttp

from proxy.client.answers import Beat, Lease, Permit
from proxy.client.asking import Asking, bearer

APPROVALS = "/admin/v1/approvals"
OVERRIDES = "/admin/v1/overrides"
NONE_OVERTAKE = frozenset[int]()  # nobody was faster: a conflict here is a no, and its sentence says why


class OperatorClient(Asking):
    """Acts with the token of an operator or admin. Who did it is the person of the token; `actor` only adds to it."""

    def __init__(
        self, url: str, token: str, *, timeout_s: float = 5.0, session: aiohttp.ClientSession | None = None
    ) -> None:
        super().__init__(url, bearer(token), timeout_s=timeout_s, session=session)

    async def heartbeat(self, strategy: str) -> Beat:
        """Say that a strategy lives, on every account that it trades; what holds it is in the answer."""
        return _beat(await self._call("POST", f"/api/v2/strategies/{quote(strategy, safe='')}/heartbeat", {}))

    async def approvals(self) -> tuple[Permit, ...]:
        """Large orders: those that may pass, those that wait, and what became of others."""
        return tuple(map(_permit, (await self._call("GET", APPROVALS))["approvals"]))

    async def approve(self, permit_id: str, *, actor: str, reason: str) -> Permit:
        """Let a large order pass once; where two persons are asked for, it is still `asked` after the first."""
        return await self._said(f"{APPROVALS}/{quote(permit_id, safe='')}/approve", actor, reason)

    async def refuse_approval(self, permit_id: str, *, actor: str, reason: str) -> Permit:
        """Say no, also after a yes that was not used yet."""
        return await self._said(f"{APPROVALS}/{quote(permit_id, safe='')}/refuse", actor, reason)

    async def overrides(self) -> tuple[Permit, ...]:
        """Overrides: those that may pass, those that wait, and what became of others."""
        return tuple(map(_permit, (await self._call("GET", OVERRIDES))["overrides"]))

    async def ask_override(self, decision_id: str, *, actor: str, reason: str) -> Permit:
        """Ask to let a blocked order pass once; another person has to confirm."""
        return await self._said(OVERRIDES, actor, reason, decision_id=decision_id)

    async def confirm_override(self, permit_id: str, *, actor: str, reason: str) -> Permit:
        """The second person's yes."""
        return await self._said(f"{OVERRIDES}/{quote(permit_id, safe='')}/confirm", actor, reason)

    async def refuse_override(self, permit_id: str, *, actor: str, reason: str) -> Permit:
        """Say no, also after two said yes."""
        return await self._said(f"{OVERRIDES}/{quote(permit_id, safe='')}/refuse", actor, reason)

    async def _said(self, path: str, actor: str, reason: str, **more: str) -> Permit:
        body = {"actor": actor, "reason": reason, **more}
        return _permit(await self._call("POST", path, body, overtaken=NONE_OVERTAKE))


class BotClient(Asking):
    """Speaks for one bot, with the key that it sends its orders with, and for nobody else."""

    def __init__(
        self, url: str, key: str, *, timeout_s: float = 5.0, session: aiohttp.ClientSession | None = None
    ) -> None:
        super().__init__(url, {"X-MBX-APIKEY": key}, timeout_s=timeout_s, session=session)

    async def heartbeat(self) -> Beat:
        """Say that the bot lives, while it has nothing to send; what holds it is in the answer."""
        return _beat(await self._call("POST", "/bot/v1/heartbeat", {}))

    async def stop(
        self, *, reason: str, scope: str = "strategy", strategy: str | None = None, level: str = "halt"
    ) -> int:
        """Stop one of the bot's strategies or all, or its `account`; the epoch of the stop. People release it."""
        body = {"reason": reason, "scope": scope, "level": level}
        if strategy is not None:
            body["strategy"] = strategy
        return int((await self._call("POST", "/bot/v1/ess/engage", body))["epoch"])


def _beat(found: Mapping[str, Any]) -> Beat:
    accounts = {name: Lease(one["lease_s"], one["level"]) for name, one in found["accounts"].items()}
    return Beat(found["strategy"], accounts)


def _permit(found: Mapping[str, Any]) -> Permit:
    return Permit(
        id=found["id"],
        kind=found["kind"],
        state=found["state"],
        account=found["account"],
        bot=found["bot"],
        strategy=found["strategy"],
        reason=found["reason"],
        sentence=found["sentence"],
        orders=tuple(found["orders"]),
        notional=None if found["notional"] is None else Decimal(found["notional"]),
        decision_id=found["decision_id"],
        until=datetime.fromisoformat(found["until"]),
        first=found["first"],
        granted_by=tuple(found["granted_by"]),
        used_by=found["used_by"],
    )
