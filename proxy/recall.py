"""What an earlier process let through without learning its fate: reserved again before anything listens.

A process that is killed takes its reservations along, but not its record: a decision to send
that has no outcome, or the outcome "unknown", may be an order that is still on its way. Until
it is looked up, its headroom is spent and its client order id is in use.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from proxy import audit
from proxy.clock import Clock
from proxy.reservations import Reservations

log = structlog.get_logger("riskgate.recall")

# An order older than this cannot be on its way any more (recvWindow, the venue's own 10 s, and as much
# again): the first reading of the account shows whether it works or has traded.
WINDOW_S = 150.0
_SETTLED = frozenset({"accepted", "rejected", "not_sent"})


def recall(directory: Path, reservations: Reservations, accounts: Container[str], clock: Clock) -> list[str]:
    """Reserve again what the record leaves open; the decisions concerned, oldest first."""
    now = clock.now()
    recalled: list[str] = []
    for record in unsettled(audit.since(directory, now - timedelta(seconds=WINDOW_S))):
        account, decision_id = record["caller"]["account"], record["decision_id"]
        if account not in accounts:
            log.warning("reservation.forgotten", decision_id=decision_id, account=account, why="account not configured")
            continue
        age = now - datetime.fromisoformat(record["at"])
        if reservations.restore(record, max(0.0, age.total_seconds())) is not None:
            recalled.append(decision_id)
    if recalled:
        log.warning("reservation.recalled", decisions=len(recalled))
    return recalled


def unsettled(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The decisions to send among the records that no later record settles."""
    open_: dict[str, dict[str, Any]] = {}
    for record in records:
        if record["kind"] == "decision":
            if record["sent_sha256"] is not None:
                open_[record["decision_id"]] = record
            else:  # refused after all: by the last look, or because it could not be signed or recorded
                open_.pop(record["decision_id"], None)
        elif record["kind"] == "outcome" and record["outcome"] in _SETTLED:
            open_.pop(record["decision_id"], None)
    return list(open_.values())
