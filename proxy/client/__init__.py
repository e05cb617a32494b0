"""Clients for programs: sizing agents, orchestrators, rankers, trainers, watchdogs, and bots themselves.

    async with PolicyClient("http://127.0.0.1:8099", token) as policy:
        risk = await policy.risk()
        await policy.write_rankings({"BTCUSDT": Decimal("0.9")}, updated_by="ranker", reason="hourly")

`OperatorClient` says that strategies live, and what people say of large orders and overrides; `BotClient` speaks
for one bot with its own key. Numbers are Decimal, shares are fractions. Nothing is cached and no default takes the
place of an answer: what cannot be read is raised, and it is the caller's to stop.
"""

from proxy.client.answers import Beat, Effective, Headroom, Lease, Limit, Permit, Policy, PolicyEvent, RiskLimits
from proxy.client.client import PolicyClient
from proxy.client.errors import ClientError, NotFound, Overtaken, Refused, Unavailable
from proxy.client.people import BotClient, OperatorClient

__all__ = [
    "Beat", "BotClient", "ClientError", "Effective", "Headroom", "Lease", "Limit", "NotFound", "OperatorClient",
    "Overtaken", "Permit", "Policy", "PolicyClient", "PolicyEvent", "Refused", "RiskLimits", "Unavailable",
]
