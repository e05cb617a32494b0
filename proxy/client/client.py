"""What programs read and write of the policy; a stream of events that comes back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from proxy.client.answers import Effective, Headroom, Limit, Policy, PolicyEvent, RiskLimits
from proxy.client.asking import Asking, asked, bearer, raise_for
from proxy.client.errors import Overtaken, Unavailable

PATH = "/api/v2/policy"
ATTEMPTS_MAX = 20
RETRY_S = 0.5
SILENCE_MAX_S = 30.0  # the proxy says something every 10 s


class PolicyClient(Asking):
    """Talks to the admin listener of one proxy, with its token."""

    def __init__(
        self, url: str, token: str, *, timeout_s: float = 5.0, session: aiohttp.ClientSession | None = None
    ) -> None:
        super().__init__(url, bearer(token), timeout_s=timeout_s, session=session)

    # -- reading ----------------------------------------------------------------------------------

    async def policy(self) -> Policy:
        """The whole document in force."""
        return _policy(await self._call("GET", PATH))

    async def value(self, path: str) -> Any:  # noqa: ANN401 - as many types as the document has
        """One value by its path, such as `ai.enable_rl`; numbers of the document come as Decimal or int."""
        found = await self._call("GET", f"{PATH}/value?path={quote(path, safe='')}")
        return found["value"]

    async def number(self, path: str) -> Decimal:
        """One value that is a number, such as `risk.max_leverage`."""
        return Decimal(str(await self.value(path)))

    async def risk(self) -> RiskLimits:
        """The active risk mode's limits."""
        found = await self._call("GET", f"{PATH}/risk-profile")
        config = found["config"]
        return RiskLimits(
            revision=found["revision"],
            mode=found["active"],
            max_leverage=Decimal(config["max_leverage"]),
            max_risk_pct_per_trade=Decimal(config["max_risk_pct_per_trade"]),
            max_daily_drawdown=Decimal(config["max_daily_drawdown"]),
            max_positions=int(config["max_positions"]),
            global_min_confidence=Decimal(config["global_min_confidence"]),
            scaling_factor=Decimal(config["scaling_factor"]),
            position_size_cap=Decimal(config["position_size_cap"]),
        )

    async def effective(self, account: str, *, strategy: str = "", symbol: str = "") -> Effective:
        """Every limit in force for an account, a strategy and a symbol, and where each comes from."""
        found = await self._call("GET", asked(f"{PATH}/effective", account=account, strategy=strategy, symbol=symbol))
        limits = {one["limit"]: Limit(one["value"], one["source"]) for one in found["limits"]}
        return Effective(found["revision"], found["profile"], limits)

    async def headroom(
        self,
        account: str,
        symbol: str,
        side: str,
        *,
        strategy: str = "",
        market: str = "",
        price: Decimal | None = None,
    ) -> Headroom:
        """How large an order could be now, by every rule."""
        price_text = "" if price is None else format(price, "f")
        path = asked(
            "/admin/v1/headroom", account=account, symbol=symbol, side=side, strategy=strategy, market=market,
            price=price_text,
        )  # fmt: skip
        found = await self._call("GET", path)
        return Headroom(Decimal(found["quantity"]), found["sendable"], found["binding"], found.get("sentence"))

    # -- writing ----------------------------------------------------------------------------------

    async def write_rankings(
        self, rankings: Mapping[str, Decimal | None], *, updated_by: str, reason: str
    ) -> int:
        """Write ranks of symbols, on top of whatever is there; None takes one away. The revision it came to."""
        ranks = {symbol: None if rank is None else format(rank, "f") for symbol, rank in rankings.items()}
        return await self._on_top({"opp_rankings": ranks}, updated_by=updated_by, reason=reason)

    async def write_model_versions(
        self, versions: Mapping[str, str | None], *, updated_by: str, reason: str
    ) -> int:
        """Write which version of which model is in use; None takes one away. The revision it came to."""
        return await self._on_top({"model_versions": dict(versions)}, updated_by=updated_by, reason=reason)

    async def patch(
        self, changes: Mapping[str, Any], *, revision: int, updated_by: str, reason: str
    ) -> Policy:
        """Merge changes into the revision that was read; Overtaken if it is not in force any more."""
        body = {"changes": changes, "updated_by": updated_by, "reason": reason}
        return _policy(await self._call("PATCH", PATH, body, if_match=revision))

    async def switch_mode(self, mode: str, *, updated_by: str, reason: str) -> int:
        """Make another risk mode the active one; the revision it came to."""
        body = {"mode": mode, "updated_by": updated_by, "reason": reason}
        return int((await self._call("POST", f"{PATH}/risk-mode", body))["revision"])

    async def _on_top(self, changes: Mapping[str, Any], *, updated_by: str, reason: str) -> int:
        for _ in range(ATTEMPTS_MAX):
            revision = (await self.policy()).revision
            try:
                return (await self.patch(changes, revision=revision, updated_by=updated_by, reason=reason)).revision
            except Overtaken:
                continue
        raise Overtaken(f"others changed the policy {ATTEMPTS_MAX} times meanwhile; nothing was written", 412)

    # -- events -----------------------------------------------------------------------------------

    async def events(self, since: int | None = None) -> AsyncIterator[PolicyEvent]:
        """Every event after a revision, for ever: it comes back after an outage and has missed nothing.

        Without a revision `policy.current` comes first. What the proxy refuses ends it; an outage does not.
        """
        place = since
        while True:
            try:
                async for event in self._streamed(place):
                    yield event
                    if event.event != "policy.mode.changed":
                        place = event.revision
            except (aiohttp.ClientError, TimeoutError, Unavailable):
                pass  # the proxy is away, or restarts: the next attempt resumes where this one ended
            await asyncio.sleep(RETRY_S)

    async def _streamed(self, place: int | None) -> AsyncIterator[PolicyEvent]:
        headers = self._headers if place is None else self._headers | {"Last-Event-ID": str(place)}
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout_s, sock_read=SILENCE_MAX_S)
        async with self._open.get(self._at(f"{PATH}/events"), headers=headers, timeout=timeout) as response:
            if response.status != 200:
                raise_for(response.status, await response.read())
            async for line in response.content:
                if line.startswith(b"data: "):
                    yield _event(orjson.loads(line.removeprefix(b"data: ")))


def _policy(found: Mapping[str, Any]) -> Policy:
    return Policy(
        revision=found["revision"],
        updated_at=datetime.fromisoformat(found["updated_at"]),
        updated_by=found["updated_by"],
        reason=found["reason"],
        document=found["policy"],
        warnings=tuple(found["warnings"]),
    )


def _event(found: Mapping[str, Any]) -> PolicyEvent:
    return PolicyEvent(**{**found, "timestamp": datetime.fromisoformat(found["timestamp"])})
