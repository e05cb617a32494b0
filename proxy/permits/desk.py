"""Where permits are asked for, granted and spent.

A bot's side never waits: an order that was blocked is looked up by its fingerprint, judged again under the limits
that a permit leaves, and the permit is taken in the same step of the event loop in which the order is reserved.
Before the order may leave, that it was taken is on record and on disk. A permit that was taken is never given back:
whoever wants to send the order again asks again.

Granting goes the other way round: on record, then on disk, and only then it counts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import structlog

from proxy import audit as records
from proxy.audit import Audit, admin_record, instruction_record
from proxy.clock import Clock
from proxy.errors import AuditError
from proxy.exchanges.base import Parsed
from proxy.permits import file
from proxy.permits.fingerprint import fingerprint_of
from proxy.permits.permit import (
    OPEN,
    Kind,
    Permit,
    PermitNotStored,
    PermitRefused,
    PermitUnknown,
    Signer,
    State,
)
from rules import (
    Caller,
    Decision,
    Facts,
    Limits,
    Order,
    Reason,
    Verdict,
    approved,
    evaluate,
    liftable,
    overridden,
)
from rules.ess import scoped

log: Final = structlog.get_logger("riskgate.permits")

ASKED_PER_BOT_MAX: Final = 8  # a bot that changes its mind loses its oldest question, and nobody else's
ASKED_MAX: Final = 128
GRANTED_MAX: Final = 32
BLOCKED_PER_ACCOUNT_MAX: Final = 128  # blocks that an override may still be asked for
ENDED_KEPT: Final = 100
CONFIRM_S: Final = 600.0  # how long an override waits for its second person
DAY: Final = timedelta(hours=24)
BACKWARDS_MAX: Final = timedelta(seconds=2)  # a clock that was put back further makes no permit last longer
LOOK_EVERY_S: Final = 1.0
WRITE_TIMEOUT_S: Final = 5.0
BLOCK: Final = Verdict.BLOCK
APPROVAL_REQUIRED: Final = Reason.APPROVAL_REQUIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitSettings:
    """What people may let through. Without a ceiling an account knows no override."""

    ceilings: Mapping[str, Decimal] = field(default_factory=dict)  # by account, in its currency
    approval_by_two: bool = False
    approval_wait_s: float = 900.0
    approval_valid_s: float = 300.0
    override_valid_s: float = 300.0
    overrides_per_day: int = 5  # granted, by account
    price_tolerance: Decimal = Decimal("0.01")


class Permits:
    """All permits of this process."""

    def __init__(
        self, path: Path | None, *, audit: Audit, clock: Clock, settings: PermitSettings | None = None
    ) -> None:
        self.settings = settings or PermitSettings()
        self.listeners: list[Callable[[Permit], None]] = []  # told after each step
        self.is_live: Callable[[Signer], bool] = lambda _: True  # whether a person's token still counts
        self._path = path  # None: in memory
        self._audit = audit
        self._clock = clock
        self._asked: dict[str, Permit] = {}  # by id, oldest first
        self._granted: dict[str, Permit] = {}  # by fingerprint
        self._ended: dict[str, Permit] = {}  # by id, oldest first
        self._blocked: dict[str, dict[str, Permit]] = {}  # by account and decision
        self._lifts: dict[str, tuple[Limits, Limits]] = {}  # by id, of what is granted
        self._acting = asyncio.Lock()  # what people do, one after the other
        self._writing = asyncio.Lock()
        # One after the other, also where whoever asked for a write is gone before it is done.
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="permits-write")

    def close(self) -> None:
        """Let the last write end."""
        self._disk.shutdown(wait=True)

    # -- an order's side: nothing here waits ----------------------------------------------------

    def judge(
        self, caller: Caller, parsed: Parsed, facts: Facts, limits: Limits, decision: Decision, decision_id: str
    ) -> tuple[Decision, Permit | None]:
        """Judge an order that was not simply allowed by what people said of it.

        With a permit that lets it pass comes the decision under it: `take` it before anything waits. A permit
        that still waits for people comes with the block, so that its id can be told.
        """
        if not self._granted and not self._concerns(caller, decision):
            return decision, None
        if not all(isinstance(one, Order) for one in parsed.instructions):
            return decision, None
        fingerprint = fingerprint_of(caller, parsed)
        permit = self._usable(fingerprint, facts)
        if permit is not None:
            found = evaluate(parsed.instructions, facts, self._lifted(permit, limits))
            if found.verdict is BLOCK:
                return found, None
            return found._replace(sentence=f"{found.sentence} Let through by {permit.note}."), permit
        if not self._concerns(caller, decision):
            return decision, None
        asked = self._of_block(caller, parsed, facts, decision, decision_id, fingerprint)
        if decision.reason is APPROVAL_REQUIRED:
            return self._approval_asked(asked, decision)
        blocked = self._blocked.setdefault(caller.account, {})
        blocked[decision_id] = asked
        if len(blocked) > BLOCKED_PER_ACCOUNT_MAX:
            del blocked[next(iter(blocked))]
        return decision, None

    def take(self, permit: Permit, decision_id: str) -> Permit:
        """Spend a permit in memory, in the step in which its order is reserved; `spent` does the rest."""
        if self._granted.get(permit.fingerprint) is not permit:
            raise PermitRefused(f"{permit.kind} {permit.id} is not granted any more")
        del self._granted[permit.fingerprint]
        used = replace(permit, state=State.USED, used_by=decision_id, ended_at=self._clock.now())
        self._end(used)
        return used

    async def spent(self, used: Permit) -> None:
        """Put on record and on disk that a permit was taken; only then may its order leave.

        Raises AuditError or PermitNotStored. The permit is spent either way.
        """
        self._append(used, "used", actor=f"bot {used.bot}", result=f"spent by decision {used.used_by}")
        await self._store()
        self._tell(used)

    def _concerns(self, caller: Caller, decision: Decision) -> bool:
        """Whether people could have a say in this block."""
        if decision.verdict is not BLOCK:
            return False
        if decision.reason is APPROVAL_REQUIRED:
            return True
        return caller.account in self.settings.ceilings and liftable(decision)

    def _usable(self, fingerprint: str, facts: Facts) -> Permit | None:
        """The permit for this very order, if it counts now; one that does not any more ends here."""
        permit = self._granted.get(fingerprint)
        if permit is None:
            return None
        if not self._is_in_time(permit):
            self._expire(permit, "its time is over")
        elif self._has_moved(permit, facts):
            self._expire(permit, "the price is not what people saw")
        else:
            return permit
        return None

    def _is_in_time(self, permit: Permit) -> bool:
        now = self._clock.now()
        began = permit.granted_at or permit.asked_at
        return began - BACKWARDS_MAX <= now < permit.until and self._clock.monotonic() < permit.until_s

    def _has_moved(self, permit: Permit, facts: Facts) -> bool:
        """A price that is not known counts as one that moved; a proven reduction needs none."""
        for symbol in permit.symbols:
            then, now = permit.prices.get(symbol), facts.of(symbol).price
            if then is None or now is None:
                if not permit.reducing:
                    return True
            elif abs(now.value.mark - then) > then * self.settings.price_tolerance:
                return True
        return False

    def _lifted(self, permit: Permit, limits: Limits) -> Limits:
        """The limits that a permit leaves; made once, since the gate prepares each set that it meets."""
        known = self._lifts.get(permit.id)
        if known is not None and known[0] is limits:
            return known[1]
        # Without a ceiling overrides are off: one that was granted before lifts nothing.
        ceiling = self.settings.ceilings.get(permit.account)
        found = limits
        if permit.kind is Kind.APPROVAL:
            found = approved(limits, permit.symbols, permit.note)
        elif ceiling is not None:
            found = overridden(limits, permit.symbols, permit.note, ceiling)
        self._lifts[permit.id] = limits, found
        return found

    def _of_block(
        self, caller: Caller, parsed: Parsed, facts: Facts, decision: Decision, decision_id: str, fingerprint: str
    ) -> Permit:
        """What could be asked for about a blocked order."""
        is_approval = decision.reason is APPROVAL_REQUIRED
        worth, now = decision.notionals, facts.now
        lasts_s = self.settings.approval_wait_s if is_approval else CONFIRM_S
        symbols = tuple(dict.fromkeys(one.symbol for one in parsed.instructions if one.symbol is not None))
        return Permit(
            id=f"{'ap' if is_approval else 'ov'}-{secrets.token_hex(6)}",
            kind=Kind.APPROVAL if is_approval else Kind.OVERRIDE,
            fingerprint=fingerprint,
            account=caller.account,
            exchange=caller.exchange,
            bot=caller.bot,
            strategy=caller.strategy,
            decision_id=decision_id,
            reason=decision.reason.value,
            sentence=decision.sentence,
            orders=tuple(
                instruction_record(one, worth[index] if index < len(worth) else None)
                for index, one in enumerate(parsed.instructions)
            ),
            symbols=symbols,
            notional=None if not worth or None in worth else sum((one for one in worth if one is not None), Decimal(0)),
            prices={one: price.value.mark for one in symbols if (price := facts.of(one).price) is not None},
            reducing=decision.reducing,
            asked_at=now,
            until=now + timedelta(seconds=lasts_s),
            until_s=self._clock.monotonic() + lasts_s,
        )

    def _approval_asked(self, wanted: Permit, decision: Decision) -> tuple[Decision, Permit | None]:
        """The question that waits for this order, or a new one; where too many wait, none."""
        known = next((one for one in self._asked.values() if one.fingerprint == wanted.fingerprint), None)
        if known is None or not self._is_in_time(known):
            known = self._opened(replace(wanted, asked_by=f"bot {wanted.bot}"))
        if known is None:
            return decision._replace(sentence=f"{decision.sentence} Too many orders wait for approval already."), None
        told = f"Its approval {known.id} waits for a person until {known.until:%H:%M:%S} UTC."
        return decision._replace(sentence=f"{decision.sentence} {told}"), known

    def _opened(self, permit: Permit) -> Permit | None:
        own = [
            one for one in self._asked.values()
            if one.kind is Kind.APPROVAL and (one.account, one.bot) == (permit.account, permit.bot)
        ]  # fmt: skip
        if len(own) >= ASKED_PER_BOT_MAX:
            self._expire(own[0], "the bot asked for others since")
        elif len(self._asked) >= ASKED_MAX:
            return None
        self._asked[permit.id] = permit
        self._record(permit, "asked", actor=permit.asked_by, result="waits for a person")
        self._tell(permit)
        return permit

    # -- people's side --------------------------------------------------------------------------

    async def approve(self, permit_id: str, signer: Signer, why: str, *, peer: str = "") -> Permit:
        """A person lets a large order through; where two are asked for, the first of them is noted."""
        async with self._acting:
            permit = self._waiting(permit_id, Kind.APPROVAL)
            if not self.settings.approval_by_two:
                return await self._grant(permit, (signer.actor,), self.settings.approval_valid_s, why, peer)
            if permit.first is None:
                _own(signer)
                return await self._note_first(replace(permit, first=signer), signer, why, peer)
            self._check_pair(permit.first, signer)
            both = (permit.first.actor, signer.actor)
            return await self._grant(permit, both, self.settings.approval_valid_s, why, peer)

    async def ask_override(self, decision_id: str, signer: Signer, why: str, *, peer: str = "") -> Permit:
        """A person wants an order that was blocked to pass once; a second one has to confirm."""
        async with self._acting:
            wanted = self._overridable(decision_id)
            _own(signer)
            lasts = timedelta(seconds=CONFIRM_S)
            asked = replace(
                wanted, first=signer, asked_by=signer.actor, why=why, asked_at=self._clock.now(),
                until=self._clock.now() + lasts, until_s=self._clock.monotonic() + CONFIRM_S,
            )  # fmt: skip
            if len(self._asked) >= ASKED_MAX:
                raise PermitRefused(f"found {len(self._asked)} permits that wait, expected fewer than {ASKED_MAX}")
            return await self._note_first(asked, signer, why, peer)

    async def confirm(self, permit_id: str, signer: Signer, why: str, *, peer: str = "") -> Permit:
        """The second person says yes to an override; from then on the order passes once."""
        async with self._acting:
            permit = self._waiting(permit_id, Kind.OVERRIDE)
            assert permit.first is not None  # an override begins with its first person
            self._check_pair(permit.first, signer)
            self._check_day(permit.account)
            both = (permit.first.actor, signer.actor)
            return await self._grant(permit, both, self.settings.override_valid_s, why, peer)

    async def refuse(self, permit_id: str, kind: Kind, signer: Signer, why: str, *, peer: str = "") -> Permit:
        """Anybody who may stop says no, also to what was granted and is not used yet: at once."""
        # Waits for nobody: whoever says yes at this moment finds that it does not wait any more.
        permit = self.get(permit_id, kind)
        if permit.state not in OPEN:
            raise PermitRefused(f"{kind} {permit_id} is {permit.state} already")
        refused = replace(permit, state=State.REFUSED, ended_at=self._clock.now())
        self._forget(permit)
        self._end(refused)
        self._record(refused, "refused", actor=signer.actor, result="refused", why=why, peer=peer)
        self._tell(refused)
        if permit.state is State.GRANTED:
            await self._store()
        return refused

    def get(self, permit_id: str, kind: Kind) -> Permit:
        """A permit by its id. Raises PermitUnknown."""
        for one in (*self._asked.values(), *self._granted.values(), *self._ended.values()):
            if one.id == permit_id and one.kind is kind:
                return one
        raise PermitUnknown(f"there is no {kind} {permit_id[:40]!r}; a restart forgets what only waited")

    def listed(self, kind: Kind) -> list[Permit]:
        """Every permit of a kind: what waits and what is granted, then what ended, newest first."""
        found = [*reversed(self._granted.values()), *reversed(self._asked.values()), *reversed(self._ended.values())]
        return [one for one in found if one.kind is kind]

    def report(self) -> dict[str, Any]:
        """What is open, for the status."""
        waiting, granted = list(self._asked.values()), list(self._granted.values())
        return {
            "asked": {kind.value: sum(one.kind is kind for one in waiting) for kind in Kind},
            "granted": {kind.value: sum(one.kind is kind for one in granted) for kind in Kind},
            "overrides_on": sorted(self.settings.ceilings),
        }

    def may_be_asked(self, decision_id: str) -> bool:
        """Whether an override of this block could be asked for, as far as it is remembered."""
        return any(decision_id in one for one in self._blocked.values())

    # -- granting -------------------------------------------------------------------------------

    def _overridable(self, decision_id: str) -> Permit:
        """The blocked order that somebody means, if an override could let it pass."""
        found = next((one[decision_id] for one in self._blocked.values() if decision_id in one), None)
        if found is None:
            on = ", ".join(sorted(self.settings.ceilings)) or "none"
            raise PermitUnknown(
                f"there is no block {decision_id[:40]!r} that an override could lift; expected a recent one of an "
                f"account with `override_notional_max` (now: {on}), for a limit of size"
            )
        ceiling = self.settings.ceilings[found.account]
        if not found.reducing and (found.notional is None or found.notional > ceiling):
            worth = "not known" if found.notional is None else f"{found.notional:f}"
            raise PermitRefused(f"found an order worth {worth}, expected at most the ceiling of {ceiling:f}")
        if any(one.fingerprint == found.fingerprint for one in (*self._asked.values(), *self._granted.values())):
            raise PermitRefused("the same order waits or is granted already")
        self._check_day(found.account)
        return found

    def _check_day(self, account: str) -> None:
        since = self._clock.now() - DAY
        everything = (*self._granted.values(), *self._ended.values())
        count = sum(
            one.kind is Kind.OVERRIDE and one.account == account and one.granted_at is not None
            and one.granted_at > since
            for one in everything
        )  # fmt: skip
        if count >= self.settings.overrides_per_day:
            raise PermitRefused(
                f"found {count} overrides of {account} granted within 24 hours, expected fewer than "
                f"{self.settings.overrides_per_day}; what is needed that often belongs into the policy"
            )

    def _waiting(self, permit_id: str, kind: Kind) -> Permit:
        permit = self.get(permit_id, kind)
        if permit.state is not State.ASKED:
            raise PermitRefused(f"{kind} {permit_id} is {permit.state} already")
        if not self._is_in_time(permit):
            self._expire(permit, "its time is over")
            raise PermitRefused(f"{kind} {permit_id} has expired; the order has to come again")
        return permit

    def _check_pair(self, first: Signer, second: Signer) -> None:
        """Two persons, each by a token of their own, and neither had a hand in the other's."""
        _own(first)
        _own(second)
        if first.folded == second.folded or first.credential == second.credential:
            raise PermitRefused(f"{first.person} said so already; expected a second person")
        if second.folded in first.makers or first.folded in second.makers:
            raise PermitRefused(
                f"one of {first.person} and {second.person} had a hand in the other's token; expected two persons "
                "whose tokens were made by somebody else, such as with the bootstrap token"
            )
        if not self.is_live(first):
            raise PermitRefused(f"the token of {first.person} has ended since; ask again")

    async def _note_first(self, permit: Permit, signer: Signer, why: str, peer: str) -> Permit:
        """On record before anybody can say the second word."""
        sequence = self._append(
            permit, "asked", actor=signer.actor, result="waits for a second person", why=why, peer=peer
        )
        await self._audit.durable(sequence)
        if permit.id in self._ended:  # the bot asked for too many others meanwhile
            raise PermitRefused(f"{permit.kind} {permit.id} does not wait any more")
        self._asked[permit.id] = permit
        self._blocked.get(permit.account, {}).pop(permit.decision_id, None)
        self._tell(permit)
        return permit

    async def _grant(self, permit: Permit, persons: tuple[str, ...], lasts_s: float, why: str, peer: str) -> Permit:
        """On record first, then on disk, and then it counts."""
        if len(self._granted) >= GRANTED_MAX:
            raise PermitRefused(f"found {len(self._granted)} permits in force, expected fewer than {GRANTED_MAX}")
        now = self._clock.now()
        granted = replace(
            permit, state=State.GRANTED, granted_by=persons, granted_at=now, why=why or permit.why,
            until=now + timedelta(seconds=lasts_s), until_s=self._clock.monotonic() + lasts_s,
        )  # fmt: skip
        who = " and ".join(persons)
        sequence = self._append(granted, "granted", actor=who, result="done", why=why, peer=peer)
        await self._audit.durable(sequence)
        try:
            await self._store(granted)
        except (PermitNotStored, PermitRefused) as error:
            self._record(permit, "granted", actor=who, result=f"failed: {error}", peer=peer)
            raise
        self._tell(granted)
        return granted

    async def _store(self, granted: Permit | None = None) -> None:
        """Write everything that was granted within a day; a new grant counts from here on, and not before.

        Each writes what holds when it is its turn, so that none brings back what another one spent.
        """
        async with self._writing:
            rows = [*self._kept(), *([] if granted is None else [granted])]
            await self._write(rows)
            if granted is None:
                return
            if self._asked.pop(granted.id, None) is not None:
                self._granted[granted.fingerprint] = granted
                return
            # It was given up while the disk was written: the file must not say otherwise.
            await self._write(self._kept())
        raise PermitRefused(f"{granted.kind} {granted.id} does not wait any more")

    async def _write(self, permits: list[Permit]) -> None:
        if self._path is None:
            return
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._disk, file.write, self._path, file.content(permits))
        except OSError as error:  # or a disk that hangs: an order's bot, or a person, waits for it
            why = error.strerror or f"not within {WRITE_TIMEOUT_S:g} s"
            log.error("permits.not_stored", error=why)
            raise PermitNotStored(f"{self._path.name} could not be written: {why}") from error

    def _kept(self) -> list[Permit]:
        since = self._clock.now() - DAY
        everything = (*self._granted.values(), *self._ended.values())
        return [one for one in everything if one.granted_at is not None and one.granted_at > since]

    # -- ends -----------------------------------------------------------------------------------

    def _expire(self, permit: Permit, why: str) -> None:
        expired = replace(permit, state=State.EXPIRED, ended_at=self._clock.now())
        self._forget(permit)
        self._end(expired)
        self._record(expired, "expired", actor="riskgate", result=why)
        self._tell(expired)

    def _forget(self, permit: Permit) -> None:
        self._asked.pop(permit.id, None)
        if self._granted.get(permit.fingerprint) is permit:
            del self._granted[permit.fingerprint]

    def _end(self, permit: Permit) -> None:
        """Keep what ended for people to see; overrides of a day also to be counted."""
        self._lifts.pop(permit.id, None)
        self._ended[permit.id] = permit
        since = self._clock.now() - DAY
        for one in list(self._ended.values())[:-ENDED_KEPT]:
            if one.kind is not Kind.OVERRIDE or one.granted_at is None or one.granted_at <= since:
                del self._ended[one.id]

    async def watch(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Run until cancelled: end what is over, and say so."""
        while True:
            self.look()
            await asyncio.sleep(every_s)

    def look(self) -> None:
        """End what is over."""
        for one in (*self._asked.values(), *self._granted.values()):
            if not self._is_in_time(one):
                self._expire(one, "its time is over")

    # -- after a restart ------------------------------------------------------------------------

    def restore(self, directory: Path) -> None:
        """Take over what an earlier process granted, where file and record both say so and neither that it is over."""
        if self._path is None:
            return
        try:
            known = file.read(self._path)
        except (OSError, file.Unreadable) as error:
            # Nothing granted before counts; the file is kept for whoever looks, until the next grant replaces it.
            log.error("permits.unreadable", path=str(self._path), error=str(error))
            return
        now = self._clock.now()
        live = [one for one in known if one.state is State.GRANTED]
        begun = [one.granted_at for one in live if one.granted_at is not None]
        recorded = records.since(directory, min(begun) - BACKWARDS_MAX) if begun else []
        for permit in known:
            if permit.state is not State.GRANTED:
                self._ended[permit.id] = permit
                continue
            left_s = (permit.until - now).total_seconds()
            taken = replace(permit, until_s=self._clock.monotonic() + left_s)
            if self._is_in_time(taken) and _stands(taken, recorded) and len(self._granted) < GRANTED_MAX:
                self._granted[taken.fingerprint] = taken
                log.warning("permits.restored", id=taken.id, kind=taken.kind.value, account=taken.account)
            else:
                self._expire(taken, "it did not outlast a restart")

    # -- telling --------------------------------------------------------------------------------

    def _append(
        self, permit: Permit, act: str, *, actor: str, result: str, why: str = "", peer: str = ""
    ) -> int:
        """Put a step on record. Raises AuditError."""
        return self._audit.append(
            admin_record(
                actor=actor, act=f"{permit.kind}.{act}", scope=scoped("account", permit.account),
                reason=why or permit.why, after=permit.document(), result=result, peer=peer,
            )
        )

    def _record(self, permit: Permit, act: str, **told: str) -> None:
        """The same for a step that lets nothing pass: it stands, on record or not."""
        try:
            self._append(permit, act, **told)
        except AuditError as error:
            log.error("audit.unavailable", error=str(error), act=f"{permit.kind}.{act}")

    def _tell(self, permit: Permit) -> None:
        log.warning(
            f"permit.{permit.state.value}", id=permit.id, kind=permit.kind.value, account=permit.account,
            bot=permit.bot, persons=list(permit.granted_by), decision_id=permit.used_by or permit.decision_id,
        )  # fmt: skip
        for listener in self.listeners:
            try:
                listener(permit)
            except Exception as error:  # noqa: BLE001 - the step stands whoever heard of it; the log says who did not
                log.error("permit.untold", error=repr(error))


def _own(signer: Signer) -> None:
    if not signer.is_own or not signer.credential:
        raise PermitRefused(
            "this needs two persons, each with a token of their own (`riskgate token create`); the bootstrap token is "
            "nobody's"
        )


def _stands(permit: Permit, recorded: list[dict[str, Any]]) -> bool:
    """Whether the record says that this permit was granted as it is, and nothing of its end."""
    kind, granted = permit.kind.value, False
    for record in recorded:
        after = record.get("after")
        if record["kind"] != "admin" or not isinstance(after, dict) or after.get("id") != permit.id:
            continue
        if record["act"] in (f"{kind}.used", f"{kind}.refused", f"{kind}.expired"):
            return False
        if record["act"] == f"{kind}.granted":
            if record["result"] != "done":
                return False
            granted = after.get("fingerprint") == permit.fingerprint and after.get("account") == permit.account
            granted = granted and datetime.fromisoformat(after["until"]) == permit.until
    return granted
