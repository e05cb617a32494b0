"""Heart-beats: a bot, or who watches over it, says that a strategy lives, so that its lease begins anew.

A beat renews a lease and nothing else: it releases no stop, and it is not on record, as there may be one a second.
What follows when beats end is on record.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.admin.answers import Problem, answer
from proxy.admin.bodies import EmptyBody, read_body
from proxy.admin.parts import AdminParts
from proxy.admin.stopping import Stopping
from proxy.identity import Bot

OWN = "/bot/v1/heartbeat"
OF_STRATEGY = "/api/v2/strategies/{name}/heartbeat"


class Heartbeats:
    """Takes them."""

    def __init__(self, parts: AdminParts, stopping: Stopping) -> None:
        self._parts = parts
        self._stopping = stopping

    def routes(self) -> list[web.RouteDef]:
        """The paths and what answers them."""
        return [web.post(OWN, self.own), web.post(OF_STRATEGY, self.of_strategy)]

    async def own(self, request: web.Request) -> web.Response:
        """A bot says with its own key that it lives, and with it its strategies; what it trades here says so too."""
        bot = self._stopping.bot_of(request, act="heartbeat")
        await _says_nothing(request)
        own, *_ = [self._beaten(strategy, [bot]) for strategy in bot.strategies]
        return answer(own)

    async def of_strategy(self, request: web.Request) -> web.Response:
        """Whoever watches over a strategy says that it lives, on every account that it trades."""
        await _says_nothing(request)
        name = request.match_info["name"]
        bots = () if self._parts.identities is None else self._parts.identities.bots
        own = [bot for bot in bots if name in bot.callers]
        if not own:
            known = ", ".join(sorted({name for bot in bots for name in bot.callers})) or "none"
            raise Problem(404, f"there is no strategy {name[:64]!r}; known: {known}")
        return answer(self._beaten(name, own))

    def _beaten(self, strategy: str, bots: list[Bot]) -> dict[str, Any]:
        accounts = {bot.account.name: bot.account for bot in bots}
        dead_man = self._parts.dead_man
        leases = {} if dead_man is None else dead_man.beat(strategy, accounts)
        return {
            "strategy": strategy,
            "accounts": {
                name: {
                    "lease_s": leases.get(name),
                    "level": self._parts.ess.governing(name, one.exchange, strategy).level.name.lower(),
                }
                for name, one in sorted(accounts.items())
            },
        }


async def _says_nothing(request: web.Request) -> None:
    """No body, or an empty object: what else was meant would not be done."""
    if request.can_read_body:
        await read_body(request, EmptyBody)
