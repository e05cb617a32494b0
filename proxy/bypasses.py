"""What happens when an order is found that never came through the proxy: it is on record, and may reduce the account.

And the question before that: did an earlier process of ours send it? Its decisions are in the audit files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from proxy.audit import Audit, admin_record
from proxy.audit.chain import segments_of
from proxy.errors import AuditError
from proxy.ess import EssLatch
from proxy.feeds import Bypass
from proxy.reservations import ALGO
from proxy.tasks import Tasks
from rules import EssLevel

log = structlog.get_logger("riskgate.bypass")

ACTOR = "bypass watch"
EARLIER_MS = 60_000  # a decision is recorded before its order exists; clocks differ
Answer = Literal["alert", "reduce_only"]


class Bypasses:
    """Answers every bypass as its account's settings say."""

    def __init__(
        self,
        latch: EssLatch,
        audit: Audit,
        tasks: Tasks,
        answers: Mapping[str, Answer],
        *,
        by_settings: Callable[[], bool] = lambda: True,
    ) -> None:
        self._by_settings = by_settings  # not where the policy says itself what a bypass engages
        self._latch = latch
        self._audit = audit
        self._tasks = tasks
        self._answers = answers

    def found(self, account: str, bypass: Bypass) -> None:
        """Put it on record; where the account wants that, let it only reduce from now on."""
        what = (
            f"bypass_detected: {bypass.side} {bypass.quantity:f} {bypass.symbol} ({bypass.market.value}), order "
            f"{bypass.order_id}, client id {bypass.client_order_id}"
        )
        reduces = self._answers.get(account) == "reduce_only" and self._by_settings()
        if reduces:
            self._latch.trip(
                level=EssLevel.REDUCE_ONLY, scope=f"account:{account}", actor=ACTOR, reason=what, source="rule"
            )
            self._tasks.spawn(self._engage(account, what), name="bypass.engage")
        try:
            self._audit.append(
                admin_record(
                    actor=ACTOR, act="bypass_detected", scope=f"account:{account}", reason=what[:500],
                    result="reduce_only" if reduces else "alert",
                )
            )  # fmt: skip
        except AuditError as error:  # the alert is in the log and the stop holds; what cannot be recorded is told
            log.error("audit.unavailable", error=str(error))

    async def _engage(self, account: str, what: str) -> None:
        await self._latch.engage(
            level=EssLevel.REDUCE_ONLY, scope=f"account:{account}", actor=ACTOR, reason=what, source="rule"
        )

    async def recorded(self, bypasses: Sequence[Bypass]) -> frozenset[tuple[str, str]]:
        """Which of these orders (symbol, id) an earlier process decided to send."""
        return await asyncio.to_thread(recorded_in, self._audit.directory, tuple(bypasses))


def recorded_in(directory: Path, bypasses: Sequence[Bypass]) -> frozenset[tuple[str, str]]:
    """The same, read from the files as far back as the oldest of the orders."""
    wanted: dict[bytes, list[Bypass]] = {}
    for bypass in bypasses:
        for name in (_plain(bypass.order_id), bypass.client_order_id):
            if name:
                wanted.setdefault(orjson.dumps(name), []).append(bypass)
    oldest_s = (min((bypass.created_ms for bypass in bypasses), default=0) - EARLIER_MS) / 1000
    found: set[tuple[str, str]] = set()
    for _, path in reversed(segments_of(directory)):
        if path.stat().st_mtime < oldest_s:
            break
        with path.open("rb") as lines:
            for line in lines:
                for quoted in [quoted for quoted in wanted if quoted in line]:
                    record = _record(line)
                    found.update(
                        (bypass.symbol, bypass.order_id) for bypass in wanted[quoted] if _speaks_of(record, bypass)
                    )
    return frozenset(found)


def _record(line: bytes) -> Mapping[str, Any]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}  # the last line, while it is being written
    return record if isinstance(record, dict) else {}


def _speaks_of(record: Mapping[str, Any], bypass: Bypass) -> bool:
    if record.get("kind") == "outcome":
        return _plain(bypass.order_id) in record.get("order_ids", ())
    if record.get("kind") != "decision" or record.get("sent_sha256") is None:
        return False
    return bypass.client_order_id is not None and any(
        order.get("symbol") == bypass.symbol and order.get("client_order_id") == bypass.client_order_id
        for order in record.get("orders", ())
    ) and record.get("caller", {}).get("account") == bypass.account


def _plain(order_id: str) -> str:
    return order_id.removeprefix(ALGO)
