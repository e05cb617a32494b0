"""What is going on, in one answer: for people, for `/readyz` and for the command line.

Ready means that an order for new exposure could be judged and recorded now. It agrees with the
fail mode: whatever would block such an order, other than its own limits, makes the proxy not ready.
An engaged emergency stop does not: cancels and reads still need the proxy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from proxy import loops
from proxy.audit import Audit
from proxy.book import Book
from proxy.clock import Clock
from proxy.errors import StoreError
from proxy.ess import EssLatch
from proxy.feeds import Feeds, Health
from proxy.identity import Account
from proxy.reservations import Reservations
from proxy.stores.policies import Policies
from proxy.upstream import Upstream


class Status:
    """Reads every part and changes none."""

    def __init__(
        self,
        *,
        audit: Audit,
        latch: EssLatch,
        policies: Policies,
        feeds: Feeds,
        book: Book,
        reservations: Reservations,
        upstream: Upstream,
        accounts: Mapping[str, Account],
        clock: Clock,
        version: str,
        losses: Callable[[str], Mapping[str, object] | None] | None = None,
        governor: Callable[[str], Mapping[str, object] | None] | None = None,
        permits: Callable[[], Mapping[str, Any]] | None = None,
        anchors: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
        dead_man: Callable[[str], Mapping[str, object] | None] | None = None,
    ) -> None:
        self._audit = audit
        self._latch = latch
        self._policies = policies
        self._feeds = feeds
        self._book = book
        self._reservations = reservations
        self._upstream = upstream
        self._accounts = accounts
        self._clock = clock
        self._version = version
        self._losses = losses
        self._governor = governor
        self._anchors = anchors
        self._permits = permits
        self._dead_man = dead_man
        self._started_at = clock.now()
        self.draining = False

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether an order for new exposure could be judged now, and by part, why not."""
        healths = self._feeds.health()
        feeds = {health.name: self._feed(health) for health in healths}
        policy = self._policy()
        facts = {name: self._facts(name) for name in self._accounts}
        parts: dict[str, Any] = {
            "draining": self.draining,
            "audit": self._record(),
            "policy": policy,
            "emergency_stop": {
                "state": self._latch.governing("").level.name.lower(),
                "durable": self._latch.durable,
            },
            "feeds": feeds,
            "facts": facts,
        }
        ready = (
            not self.draining
            and self._audit.healthy
            and "error" not in policy
            and all(feeds[health.name]["ready"] for health in healths if health.is_needed)
            and all(not missing for missing in facts.values())
        )
        return ready, parts

    def status(self) -> dict[str, Any]:
        """One answer that shows everything an operator asks first; the stop comes first."""
        ready, parts = self.ready()
        now = self._clock.now()
        return {
            "state": self._latch.governing("").level.name.lower(),
            "stops": [_stop(stop) for stop in self._latch.stops()],
            "ess_epoch": self._latch.epoch,
            "ready": ready,
            "version": self._version,
            "event_loop": loops.running(),
            "since": self._started_at.isoformat(),
            "uptime_s": int((now - self._started_at).total_seconds()),
            "parts": parts,
            "reservations": {state.value: count for state, count in self._reservations.counts().items()},
            "in_flight": self._upstream.in_flight,
            "audit": {"sequence": self._audit.last_sequence, "head": self._audit.head_hash},
            "permits": None if self._permits is None else self._permits(),
            "accounts": {name: self._account(name, account) for name, account in self._accounts.items()},
        }

    def _record(self) -> dict[str, Any]:
        """Whether decisions can be recorded, and what is wrong ("" if nothing is) with what that rests on."""
        folders = self._audit.folders
        told: dict[str, Any] = {"ready": self._audit.healthy}
        if len(folders) > 1:  # of a single one "ready" says it all
            told["folders"] = folders
        return told | {"anchors": {name: found["error"] for name, found in self._anchors().items()}}

    def _feed(self, health: Health) -> dict[str, Any]:
        """How a feed does; prices are ready only as long as an order could still be priced by them."""
        ready = health.ready
        if health.name.endswith(".prices") and health.age_s is not None:
            with contextlib.suppress(StoreError):
                ready = ready and health.age_s <= self._policies.current.policy.ages.price_s
        return {"ready": ready, "age_s": _rounded(health.age_s), "error": health.last_error}

    def _policy(self) -> dict[str, Any]:
        try:
            stored = self._policies.current
        except StoreError as error:
            return {"error": str(error)}
        return {
            "mode": stored.policy.active_mode,
            "revision": stored.revision,
            "age_s": round(self._policies.age_s, 1),
        }

    def missing(self, account: str) -> list[str]:
        """What an order for new exposure on this account would miss now, in words; empty if nothing."""
        return self._facts(account)

    def _facts(self, account: str) -> list[str]:
        """What an order for new exposure on this account would miss now, by the ages its policy allows."""
        now = self._clock.now()
        try:
            age_max = self._policies.current.policy.ages.account_s
        except StoreError:
            return []  # the policy part says so already
        wrong = []
        for name, fact in (
            ("equity", self._book.equity(account, now)),
            ("exposure", self._book.exposure(account, "", now)),
        ):
            if fact is None:
                wrong.append(f"{name} is not known")
                continue
            age_s = Decimal(str((now - fact.as_of).total_seconds()))
            if age_s > age_max:
                wrong.append(f"{name} is {age_s:.1f} s old, at most {age_max:f} s is allowed")
        return wrong

    def _account(self, name: str, account: Account) -> dict[str, Any]:
        now = self._clock.now()
        equity = self._book.equity(name, now)
        exposure = self._book.exposure(name, "", now)
        return {
            "exchange": account.exchange,
            "mode": account.mode,
            "state": self._latch.governing(name, account.exchange).level.name.lower(),
            "equity": None if equity is None else format(equity.value, "f"),
            "equity_as_of": None if equity is None else equity.as_of.isoformat(),
            "exposure": None if exposure is None else format(exposure.value.account, "f"),
            "exposure_as_of": None if exposure is None else exposure.as_of.isoformat(),
            "losses": None if self._losses is None else self._losses(name),
            "governor": None if self._governor is None else self._governor(name),
            "dead_man": None if self._dead_man is None else self._dead_man(name),
        }


def _stop(stop: Any) -> dict[str, Any]:  # noqa: ANN401 - a rules.Stop, shown field by field
    return {
        "scope": stop.scope,
        "level": stop.level.name.lower(),
        "reason": stop.reason,
        "actor": stop.actor,
        "source": stop.source,
        "since": stop.since.isoformat() if stop.since else None,
        "epoch": stop.epoch,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
