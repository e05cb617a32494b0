"""What is worth telling: looks at what changed, and says it once.

Stops and policy changes are heard as they happen; the rest is looked at once a second, off the orders' path.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import structlog

from proxy.clock import Clock
from proxy.loss_watch import Step, Used
from proxy.notifiers.alerts import AlertClass, Severity
from proxy.notifiers.telling import Telling
from proxy.permits import Kind, Permit, State
from proxy.stores.base import StoredPolicy
from rules import EssLevel, Stop

log = structlog.get_logger("riskgate.notifiers")

LOOK_EVERY_S = 1.0
SETTLE_S = 30.0  # what is not ready this long after the start is told as if it had been
RATE_WINDOW_S = 60.0
RATE_DECISIONS_MIN = 20
RATE_SHARE = 0.5
_SEVERITY = {EssLevel.CLEAR: Severity.INFO, EssLevel.REDUCE_ONLY: Severity.WARNING, EssLevel.HALT: Severity.CRITICAL}
_STEPS = {Step.WARNING: Severity.WARNING, Step.BREACH: Severity.CRITICAL, Step.EMERGENCY: Severity.CRITICAL}


class Watch:
    """Turns changes into alerts."""

    def __init__(
        self,
        telling: Telling,
        *,
        ready: Callable[[], tuple[bool, Mapping[str, Any]]],
        losses: Callable[[str], Iterable[Used]],
        bypasses: Callable[[str], int],
        decisions: Callable[[], tuple[int, int]],
        accounts: Iterable[str],
        clock: Clock,
    ) -> None:
        self._telling = telling
        self._ready = ready
        self._losses = losses
        self._bypasses = bypasses
        self._decisions = decisions  # how many there were, and how many of them were blocks
        self._accounts = tuple(accounts)
        self._clock = clock
        self._begun_s = clock.monotonic()
        self._wrong: dict[str, str] = {}
        self._was_right: set[str] = set()
        self._steps: dict[tuple[str, str], tuple[str, Step]] = {}
        self._found = dict.fromkeys(self._accounts, 0)
        self._counts: deque[tuple[float, int, int]] = deque()
        self._blocks_often = False
        self._revision: StoredPolicy | None = None

    def stopped(self, stop: Stop) -> None:
        """A stop was engaged or released."""
        title = f"{stop.level.name} {stop.scope}" if stop.level is not EssLevel.CLEAR else f"released: {stop.scope}"
        self._telling.tell(
            AlertClass.ESS, _SEVERITY[stop.level], title, f"by {stop.actor or '?'} ({stop.source}): {stop.reason}"
        )

    def policy_changed(self, stored: StoredPolicy) -> None:
        """A revision is in force."""
        before, self._revision = self._revision, stored
        mode = stored.policy.active_mode
        switched = before is not None and before.policy.active_mode != mode
        title = f"policy revision {stored.revision}" + (f", mode {mode}" if switched else "")
        self._telling.tell(
            AlertClass.POLICY, Severity.WARNING if switched else Severity.INFO, title,
            f"by {stored.updated_by}: {stored.reason}",
        )  # fmt: skip

    def permit_changed(self, permit: Permit) -> None:
        """Somebody asked to let an order through, or something became of that."""
        severity = Severity.CRITICAL if permit.kind is Kind.OVERRIDE else Severity.WARNING
        if permit.state in (State.REFUSED, State.EXPIRED):
            severity = Severity.INFO
        persons = ", ".join(permit.granted_by) or permit.asked_by
        detail = f"by {persons}: {permit.why or permit.sentence}"
        if permit.state is State.ASKED:
            said = "approvals approve" if permit.kind is Kind.APPROVAL else "override confirm"
            detail += f"\nuntil {permit.until:%H:%M:%S} UTC: riskgate {said} {permit.id} --reason ..."
        self._telling.tell(
            AlertClass.PERMIT, severity, f"{permit.kind} {permit.state}: {permit.headline}", detail
        )

    async def watch(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Run until cancelled."""
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - one failed look must not end the watch; the next one comes
                log.error("notifier.look_failed", error=repr(error))
            await asyncio.sleep(every_s)

    def look(self) -> None:
        """Look at everything once."""
        self._look_at_parts()
        self._look_at_accounts()
        self._look_at_blocks()

    def _look_at_parts(self) -> None:
        _, parts = self._ready()
        settled = self._clock.monotonic() - self._begun_s >= SETTLE_S
        for name, about, wrong in _parts(parts):
            if not wrong:
                if name in self._wrong:
                    self._telling.tell(about, Severity.INFO, f"{name} is well again", "")
                self._wrong.pop(name, None)
                self._was_right.add(name)
            elif name not in self._wrong and (settled or name in self._was_right):
                self._wrong[name] = wrong
                self._telling.tell(about, Severity.CRITICAL, f"{name} is failing", wrong)

    def _look_at_accounts(self) -> None:
        for account in self._accounts:
            found = self._bypasses(account)
            if found > self._found[account]:
                count = found - self._found[account]
                self._telling.tell(
                    AlertClass.BYPASS, Severity.CRITICAL, f"{count} order(s) of {account} did not come through here",
                    "bypass_detected: the record names each; somebody else uses the account, or a key leaked",
                )  # fmt: skip
            self._found[account] = found
            for used in self._losses(account):
                self._look_at_loss(account, used)

    def _look_at_loss(self, account: str, used: Used) -> None:
        key, before = self._steps.get((account, used.window), ("", Step.CALM))
        before = before if key == used.key else Step.CALM
        self._steps[account, used.window] = used.key, max(before, used.step)
        if used.step > before:
            shown = used.shown
            self._telling.tell(
                AlertClass.LOSS, _STEPS[used.step], f"{account}: {used.window} loss {used.step.name.lower()}",
                f"lost {shown['lost']} ({shown['lost_share']}), the limit is {shown['limit']}; "
                f"equity {shown['equity']}, floor {shown['floor']}",
            )  # fmt: skip

    def _look_at_blocks(self) -> None:
        now_s, (count, blocked) = self._clock.monotonic(), self._decisions()
        self._counts.append((now_s, count, blocked))
        while self._counts[0][0] < now_s - RATE_WINDOW_S:
            self._counts.popleft()
        _, count_before, blocked_before = self._counts[0]
        decided, refused = count - count_before, blocked - blocked_before
        often = decided >= RATE_DECISIONS_MIN and refused >= RATE_SHARE * decided
        if often and not self._blocks_often:
            self._telling.tell(
                AlertClass.BLOCK_RATE, Severity.WARNING, f"{refused} of {decided} requests blocked within a minute",
                "riskgate decisions tail says which rule; a bot may be running into a limit",
            )  # fmt: skip
        self._blocks_often = often


def _parts(parts: Mapping[str, Any]) -> Iterator[tuple[str, AlertClass, str]]:
    """Name, class and what is wrong ("" if nothing is) of everything that can fail."""
    unrecorded = "decisions cannot be recorded, so orders are blocked"
    yield "record", AlertClass.AUDIT, "" if parts["audit"]["ready"] else unrecorded
    for folder, wrong in parts["audit"].get("folders", {}).items():
        yield f"the record's {folder} folder", AlertClass.AUDIT, wrong
    for place, wrong in parts["audit"].get("anchors", {}).items():
        yield f"the record's anchor ({place})", AlertClass.AUDIT, wrong
    yield "policy store", AlertClass.STORE, str(parts["policy"].get("error", ""))
    for name, feed in parts["feeds"].items():
        since = "never read" if feed["age_s"] is None else f"last good {feed['age_s']} s ago"
        wrong = f"{since}: {feed['error'] or 'old'}"
        yield f"feed {name}", AlertClass.FEED, "" if feed["ready"] else wrong
