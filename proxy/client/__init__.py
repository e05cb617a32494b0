"""A client for programs that read limits and write what they know: sizing agents, orchestrators, rankers, trainers.

    async with PolicyClient("http://127.0.0.1:8099", token) as policy:
        risk = await policy.risk()
        await policy.write_rankings({"BTCUSDT": Decimal("0.9")}, updated_by="ranker", reason="hourly")

Numbers are Decimal, shares are fractions. Nothing is cached and no default takes the place of an answer: what
cannot be read is raised, and it is the caller's to stop.
"""

from proxy.client.answers import Effective, Headroom, Limit, Policy, PolicyEvent, RiskLimits
from proxy.client.client import PolicyClient
from proxy.client.errors import ClientError, NotFound, Overtaken, Refused, Unavailable

__all__ = [
    "ClientError", "Effective", "Headroom", "Limit", "NotFound", "Overtaken", "Policy", "PolicyClient", "PolicyEvent",
    "Refused", "RiskLimits", "Unavailable",
]
