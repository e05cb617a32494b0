"""Actions after a trip: begun by a person, run in the background, shown by id.

An action stops first and acts then: cancelling needs REDUCE_ONLY at least, closing needs HALT, and where that is
not in force yet the action engages it, in the person's name. It is on record before it begins and when it ends.
What it could not bring to an end it hands to a person and says so; a process that ends in the middle of one
finds it in the record at its next start.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

from proxy import audit as records
from proxy.actions.cancel_orders import Canceller
from proxy.actions.desk import Desk
from proxy.actions.flatten import Flattener
from proxy.actions.pace import Pace
from proxy.actions.results import OrderState, Run, RunState
from proxy.audit import Audit
from proxy.clock import Clock
from proxy.errors import AuditError, ProxyError
from proxy.ess import EssLatch
from proxy.feeds.reading import Malformed
from proxy.feeds.venue import FeedFailed
from proxy.tasks import Tasks
from rules import EssLevel, Market
from rules.ess import GLOBAL, parts_of

log = structlog.get_logger("riskgate.actions")

JOBS_KEPT = 100
RECALLED_FOR = timedelta(hours=24)
CANCEL_SHARE = 0.25  # of the time there is, before positions are closed although orders still work
UNFINISHED = "the process ended before it was finished: look at the exchange, then ask again"


class Kind(StrEnum):
    """What an action does."""

    CANCEL_ALL = "cancel_all"
    FLATTEN = "flatten"


NEEDS = {Kind.CANCEL_ALL: EssLevel.REDUCE_ONLY, Kind.FLATTEN: EssLevel.HALT}


class ActionRefused(ProxyError):
    """An action that cannot be begun as asked; nothing was sent."""

    status = 422


@dataclass(slots=True, kw_only=True)
class Job:
    """One action over one or several accounts."""

    id: str
    kind: Kind
    scope: str
    actor: str
    reason: str
    spot: bool
    begun_at: datetime
    begun_s: float
    runs: dict[str, Run]
    ended_at: datetime | None = None
    took_ms: float | None = None
    recorded: bool = True
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> RunState:
        """The least finished of its accounts."""
        states = {run.state for run in self.runs.values()}
        for state in (RunState.RUNNING, RunState.NEEDS_PERSON):
            if state in states:
                return state
        return RunState.DONE

    def summary(self) -> dict[str, Any]:
        """As the API lists it."""
        return {
            "id": self.id, "kind": self.kind.value, "scope": self.scope, "state": self.state.value,
            "actor": self.actor, "reason": self.reason, "spot": self.spot, "begun_at": self.begun_at,
            "ended_at": self.ended_at, "took_ms": self.took_ms, "recorded": self.recorded,
        }  # fmt: skip

    def document(self) -> dict[str, Any]:
        """As the API shows it, order by order."""
        return {**self.summary(), "accounts": [run.document() for run in self.runs.values()]}


class Actions:
    """Begins actions, keeps them, and tells how they stand."""

    def __init__(
        self,
        desks: Mapping[str, Desk],
        *,
        latch: EssLatch,
        audit: Audit,
        clock: Clock,
        tasks: Tasks,
        accounts: Collection[str] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._desks = desks
        self._accounts = frozenset(desks if accounts is None else accounts)
        self._latch = latch
        self._audit = audit
        self._clock = clock
        self._tasks = tasks
        self._pace = Pace() if pace is None else pace
        self._jobs: dict[str, Job] = {}

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every action that is remembered, oldest first."""
        return tuple(self._jobs.values())

    def get(self, job_id: str) -> Job | None:
        """One action."""
        return self._jobs.get(job_id)

    def can_act_for(self, account: str) -> bool:
        """Whether the proxy holds what it needs to cancel and close there."""
        return account in self._desks

    def counts(self) -> dict[tuple[str, str], int]:
        """How many accounts' actions there are, by kind and state."""
        found = {(kind.value, state.value): 0 for kind in Kind for state in RunState}
        for job in self._jobs.values():
            for run in job.runs.values():
                found[job.kind.value, run.state.value] += 1
        return found

    # -- beginning

    async def cancel_all(self, *, scope: str, accounts: Sequence[str], actor: str, reason: str) -> Job:
        """Cancel every working order but protective ones."""
        return await self._begin(Kind.CANCEL_ALL, scope, accounts, actor, reason, spot=False)

    async def flatten(
        self, *, scope: str, accounts: Sequence[str], actor: str, reason: str, spot: bool = False
    ) -> Job:
        """Cancel, then close every position of contracts; with `spot` sell coins for dollars as well."""
        return await self._begin(Kind.FLATTEN, scope, accounts, actor, reason, spot=spot)

    async def _begin(
        self, kind: Kind, scope: str, accounts: Sequence[str], actor: str, reason: str, *, spot: bool
    ) -> Job:
        """Check, stop, record, start. Raises ActionRefused, and AuditError where it cannot be recorded."""
        self._check(kind, scope, accounts, spot=spot)
        running = self._running(kind, accounts, spot=spot)
        if running is not None:
            return running
        begun_s = self._clock.monotonic()
        job = Job(
            id=f"{kind.value}-{self._clock.now_ms():x}-{os.urandom(3).hex()}", kind=kind, scope=scope, actor=actor,
            reason=reason, spot=spot, begun_at=self._clock.now(), begun_s=begun_s,
            runs={name: Run(account=name) for name in accounts},
        )  # fmt: skip
        # Stopping needs no record, so it comes first: a disk that is full keeps nobody from that much.
        await self._stop(job)
        await self._audit.durable(self._audit.append(self._record(job, "begun")))
        self._keep(job)
        for name, run in job.runs.items():
            run.stopwatch_ms["blocked"] = self._since_ms(job)
            self._tasks.spawn(self._run(job, self._desks[name], run), name=f"action.{kind.value} {name}")
        log.warning("action.begun", job=job.id, act=kind.value, scope=scope, actor=actor, reason=reason)
        return job

    def _check(self, kind: Kind, scope: str, accounts: Sequence[str], *, spot: bool) -> None:
        if not accounts:
            raise ActionRefused(f"no account falls under {scope!r}; nothing was sent")
        if parts_of(scope)[0] not in (GLOBAL, "exchange", "account"):
            raise ActionRefused(f"an action is for whole accounts, found scope {scope!r}; nothing was sent")
        for name in accounts:
            if name not in self._accounts:
                raise ActionRefused(f"there is no account {name[:64]!r}; nothing was sent")
            desk = self._desks.get(name)
            if desk is None:
                raise ActionRefused(
                    f"account {name!r} has no credentials here, so the proxy cannot act for it: "
                    "cancel and close at the exchange itself; nothing was sent"
                )
            if kind is Kind.FLATTEN and not spot and Market.LINEAR not in desk.venues:
                raise ActionRefused(
                    f"account {name!r} holds coins only, which may be meant: ask for spot to sell them; "
                    "nothing was sent"
                )

    def _running(self, kind: Kind, accounts: Sequence[str], *, spot: bool) -> Job | None:
        """Asked for twice, an action runs once."""
        for job in self._jobs.values():
            same = job.kind is kind and job.spot is spot and set(job.runs) >= set(accounts)
            if same and job.state is RunState.RUNNING:
                return job
        for job in self._jobs.values():
            if job.state is RunState.RUNNING and job.kind is Kind.FLATTEN is kind and set(job.runs) & set(accounts):
                raise ActionRefused(f"{job.id} is closing positions of the same account; nothing was sent")
        return None

    async def _stop(self, job: Job) -> None:
        """Engage what the action needs, unless it holds already."""
        needed = NEEDS[job.kind]
        stops = [self._latch.governing(name, self._desks[name].account.exchange) for name in job.runs]
        if min(stop.level for stop in stops) < needed:
            engaged = await self._latch.engage(
                level=needed, scope=job.scope, actor=job.actor, reason=f"{job.kind.value}: {job.reason}",
                source="action",
            )  # fmt: skip
            if engaged.problem:
                log.error("action.stop_incomplete", job=job.id, problem=engaged.problem)

    def _keep(self, job: Job) -> None:
        self._jobs[job.id] = job
        for old in list(self._jobs.values()):
            if len(self._jobs) <= JOBS_KEPT:
                return
            if old.state is not RunState.RUNNING:
                del self._jobs[old.id]

    # -- running

    async def _run(self, job: Job, desk: Desk, run: Run) -> None:
        ends_s = job.begun_s + self._pace.deadline_s
        canceller = Canceller(desk, run, self._pace, job=job.id, ends_s=ends_s)
        try:
            if job.kind is Kind.CANCEL_ALL:
                await self._cancel_all(job, desk, run, canceller)
            else:
                await self._flatten(job, desk, run, canceller, ends_s)
        except Exception as error:  # an account's action ends here: a person takes over what it left
            log.exception("action.failed", job=job.id, account=run.account, error=type(error).__name__)
            run.needs(f"it failed with {type(error).__name__}: see the log")
        except BaseException:
            run.needs("the proxy was stopped in the middle of it")
            raise
        finally:
            self._ended(job, run)

    async def _cancel_all(self, job: Job, desk: Desk, run: Run, canceller: Canceller) -> None:
        if await canceller.until_gone(desk.markets):
            self._mark(job, run, "no_working_orders")
            run.no_working_orders = True
            run.verified_at = self._clock.now()
            run.state = RunState.DONE
        else:
            run.needs(f"orders still work after {self._pace.deadline_s:g} s: {canceller.problem}")

    async def _flatten(self, job: Job, desk: Desk, run: Run, canceller: Canceller, ends_s: float) -> None:
        """Cancel, close, cancel what protected, look again; from the start if anything is left."""
        closed = [one for one in desk.markets if one is Market.LINEAR or job.spot]
        flattener = Flattener(desk, run, canceller, self._pace, job=job.id, ends_s=ends_s, spot=job.spot)
        while True:
            # Orders that will not be cancelled keep nobody from closing what is held, only from calling it flat.
            run.no_working_orders = await canceller.until_gone(desk.markets, share=CANCEL_SHARE)
            if run.no_working_orders:
                self._mark(job, run, "no_working_orders")
            if (
                await flattener.until_flat(closed)
                and await canceller.until_gone(closed, protective=True, share=CANCEL_SHARE)
                and await self._is_over(desk, run, flattener, closed, canceller)
            ):
                self._mark(job, run, "flat")
                run.no_working_orders = run.flat = True
                run.verified_at, run.state, run.problem = self._clock.now(), RunState.DONE, ""
                return
            if self._clock.monotonic() + self._pace.between_s >= ends_s or not desk.lane.may_close:
                said = flattener.problem or canceller.problem or "readings do not show it flat"
                run.needs(f"not flat after {(self._clock.monotonic() - job.begun_s):.0f} s: {said}")
                return

    async def _is_over(
        self, desk: Desk, run: Run, flattener: Flattener, markets: Sequence[Market], canceller: Canceller
    ) -> bool:
        """One more reading of everything, asked for after the last answer: nothing works, nothing is held."""
        before = desk.of_bots()  # what arrives while the reading is made may be on no list of it
        try:
            pictures = [await desk.read(market) for market in desk.markets]
        except (FeedFailed, Malformed) as error:
            flattener.problem = f"the last reading failed: {error}"
            return False
        for picture in pictures:
            canceller.take(picture)
        held = [one for picture in pictures if picture.market in markets for one in flattener.take(picture)]
        works = [
            one for (market, _, _), one in run.orders.items()
            if one.state is OrderState.WORKING or (one.state is OrderState.KEPT and market in markets)
        ]  # fmt: skip
        return not held and not works and not before and not desk.of_bots()

    def _mark(self, job: Job, run: Run, name: str) -> None:
        run.stopwatch_ms.setdefault(name, self._since_ms(job))

    def _since_ms(self, job: Job) -> float:
        return round((self._clock.monotonic() - job.begun_s) * 1000, 1)

    # -- ending

    def _ended(self, job: Job, run: Run) -> None:
        if run.state is RunState.NEEDS_PERSON:
            log.error("action.needs_person", job=job.id, account=run.account, act=job.kind.value, problem=run.problem)
        else:
            log.warning("action.done", job=job.id, account=run.account, act=job.kind.value, **run.stopwatch_ms)
        if job.state is RunState.RUNNING:
            return
        job.ended_at, job.took_ms = self._clock.now(), self._since_ms(job)
        job.over.set()
        try:
            reached = {"accounts": [one.document() for one in job.runs.values()]}
            self._audit.append(self._record(job, job.state.value) | reached)
        except AuditError as error:  # what it sent is on record; the operator hears that its end is not
            job.recorded = False
            log.error("audit.unavailable", error=str(error), job=job.id)

    def _record(self, job: Job, result: str) -> dict[str, object]:
        return {
            "kind": "action", "job": job.id, "act": job.kind.value, "scope": job.scope, "actor": job.actor,
            "reason": job.reason, "spot": job.spot, "of_accounts": sorted(job.runs), "result": result,
        }  # fmt: skip

    def recall(self, directory: Path) -> list[str]:
        """Actions that an earlier process began and did not end: a person has to look at what they left."""
        found: dict[str, dict[str, Any]] = {}
        for record in records.since(directory, self._clock.now() - RECALLED_FOR):
            if record["kind"] == "action":
                if record["result"] == "begun":
                    found[record["job"]] = record
                else:
                    found.pop(record["job"], None)
        for record in found.values():
            job = Job(
                id=record["job"], kind=Kind(record["act"]), scope=record["scope"], actor=record["actor"],
                reason=record["reason"], spot=record["spot"], begun_at=datetime.fromisoformat(record["at"]),
                begun_s=self._clock.monotonic(), runs={name: Run(account=name) for name in record["of_accounts"]},
                ended_at=self._clock.now(),
            )  # fmt: skip
            for run in job.runs.values():
                run.needs(UNFINISHED)
            self._keep(job)
            self._audit.append(self._record(job, job.state.value) | {"accounts": []})
            log.error("action.needs_person", job=job.id, act=job.kind.value, problem=UNFINISHED)
        return list(found)
