"""The path of a request, top to bottom.

    recognise -> identify -> parse -> gather -> judge -> reserve -> record -> last look -> send -> settle

Nothing here speaks HTTP or touches a socket: a request comes in as bytes and an answer goes out
as bytes. Between reading exposure and reserving it there is no `await`, so two orders cannot fit
into the same headroom. What cannot be read, judged, recorded or signed is not sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol

import structlog

from proxy.audit import Audit, decision_record
from proxy.clock import Clock
from proxy.errors import (
    AuditError,
    CallerError,
    LastLookRefused,
    NotAuthentic,
    OrderNotUnderstood,
    ProxyError,
    SigningError,
    StoreError,
    UpstreamSilent,
    UpstreamUnreachable,
)
from proxy.ess import EssLatch
from proxy.exchanges.base import (
    JUDGED,
    PASSED,
    Answer,
    AnswerKind,
    Exchange,
    Parsed,
    Recognised,
    Verb,
)
from proxy.gather import Gather, market_of
from proxy.identity import Bot, Identities, attributed
from proxy.logs import order_decided
from proxy.metrics import Metrics
from proxy.outcomes import Outcomes
from proxy.permits import Permit, Permits
from proxy.reservations import Reservations
from proxy.stores.policies import Policies
from proxy.strangers import Strangers
from proxy.upstream import StreamedResponse
from proxy.wire import WireRequest, WireResponse
from rules import (
    Caller,
    Decision,
    Directive,
    FactMissing,
    Facts,
    Instruction,
    LeverageChange,
    Limits,
    Market,
    Order,
    Reason,
    Verdict,
    evaluate,
)

log: Final = structlog.get_logger("riskgate.pipeline")

# Looked up once: on an enumeration class that costs more than what follows from it.
ALLOW: Final = Verdict.ALLOW
BLOCK: Final = Verdict.BLOCK
MARGIN: Final = Verb.MARGIN
COUNTDOWN: Final = "POST /fapi/v1/countdownCancelAll"
TEST: Final = Verb.TEST
OUTCOMES: Final = {kind: kind.value for kind in AnswerKind}
REJECTED: Final = AnswerKind.REJECTED
DOUBTED_S: Final = 600.0
# From so many requests on their way on, decisions are written together: one write for all of a round of the loop.
CROWD: Final = 8


class Undecided(CallerError):
    """Something failed on our side before anything was sent. 403 like any block: a 5xx would mean "maybe sent"."""

    reason = Reason.RULE_FAILED


class AccountWatcher(Protocol):
    """Somebody who likes to know at once that an account changed."""

    def poke(self, account: str, market: Market, *, config: bool = False) -> None:
        """Read the account again soon; with `config` its leverage and position mode too."""
        ...


class Attendance(Protocol):
    """Somebody who has to know which bots are alive."""

    def seen(self, bot: Bot) -> None:
        """A request proved to be this bot's."""
        ...

    def owns_countdown(self, account: str) -> bool:
        """Whether the venue's countdown that cancels an account's orders is the proxy's own to set."""
        ...


class Lane(Protocol):
    """The way to the venue: a request goes out once."""

    @property
    def in_flight(self) -> int:
        """Requests on their way or waiting for their answer."""
        ...

    async def send(
        self,
        family: str,
        request: WireRequest,
        *,
        last_look: Callable[[], None] | None = None,
        tracked: bool = False,
    ) -> WireResponse:
        """Send and return the answer; `last_look` raises to refuse in the step of the write, `tracked` marks orders."""
        ...

    async def stream(self, family: str, request: WireRequest) -> StreamedResponse:
        """Send a read; the head now, the body as it is taken."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a pipeline is made of."""

    exchange: Exchange
    identities: Identities
    gather: Gather
    policies: Policies
    reservations: Reservations
    audit: Audit
    latch: EssLatch
    upstream: Lane
    metrics: Metrics
    watcher: AccountWatcher
    clock: Clock
    outcomes: Outcomes = field(default_factory=Outcomes)
    attendance: Attendance | None = None
    permits: Permits | None = None  # what people may let through; without it nothing


class Judged:
    """One order request on its way: what was read, who asked, what was decided."""

    __slots__ = ("bot", "caller", "decision", "decision_id", "directive", "parsed", "permit", "profile", "started")

    def __init__(
        self,
        decision_id: str,
        bot: Bot,
        caller: Caller,
        parsed: Parsed,
        decision: Decision,
        started: float,
        profile: str,
        directive: Directive | None,
        permit: Permit | None = None,
    ) -> None:
        self.decision_id = decision_id
        self.bot = bot
        self.caller = caller
        self.parsed = parsed
        self.decision = decision
        self.started = started
        self.profile = profile  # name of the risk profile it was judged by
        self.directive = directive  # the safety governor's, where the account is governed
        self.permit = permit  # what lets it through, or waits for people so that it may


class Pipeline:
    """Takes a request, answers it, and lets through only what was judged and recorded."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._exchange = parts.exchange
        self._clock = parts.clock
        self._process = os.urandom(3).hex()
        self._count = 0
        self._backoff_until: dict[str, float] = {}  # family -> monotonic second
        self._strangers = Strangers()
        self._doubted: dict[str, float] = {}  # key -> monotonic second until which its signatures are checked here

    async def handle(self, request: WireRequest) -> WireResponse | StreamedResponse:
        """Answer one request. Every refusal is in the venue's own error shape and on record."""
        started = self._clock.monotonic()
        recognised: Recognised | None = None
        try:
            recognised = self._exchange.recognise(request)  # begins with wire.check_head
            if recognised.verb in JUDGED:
                return await self._judge(request, recognised, started)
            if recognised.verb in PASSED:
                return await self._pass(request, recognised)
            return await self._refuse_or_transfer(request, recognised)
        except CallerError as error:
            return self._refuse(request, recognised, error)
        except Exception as error:  # a request ends here: what could not be decided is refused, not sent
            log.exception("request.failed", error=type(error).__name__)
            return self._refuse(request, recognised, Undecided("riskgate could not reach a decision"))

    # -- what is not judged ---------------------------------------------------------------------

    async def _pass(self, request: WireRequest, recognised: Recognised) -> WireResponse | StreamedResponse:
        """Reads, cancels and keep-alives: forwarded as they came, with the key swapped in custody."""
        key = self._exchange.api_key(request)
        outgoing = request
        bot = None
        if key is not None or recognised.security != "none" or recognised.verb is not Verb.READ:
            bot = self._parts.identities.of(key)
            if bot.in_custody:
                outgoing = self._in_custody(bot, request, recognised)
            self._attend(bot, recognised)
        try:
            if recognised.verb is Verb.READ:
                read = await self._parts.upstream.stream(recognised.family, outgoing)
                if read.status == 418:  # the address is banned, for whatever it was: orders would prolong it
                    self._note_pause(recognised.family, _retry_after_s(read))
                return read
            answer = await self._parts.upstream.send(recognised.family, outgoing)
        except UpstreamUnreachable as error:
            return self._exchange.not_sent(str(error), self._next_id())
        except UpstreamSilent:
            return self._exchange.outcome_unknown(self._next_id())
        if answer.status in (418, 429):
            self._note_pause(recognised.family, _retry_after_s(answer))
        if bot is not None and recognised.verb is Verb.CANCEL:
            market = Market.SPOT if recognised.family == "/api" else Market.LINEAR
            self._parts.watcher.poke(bot.account.name, market)
        return answer

    def _attend(self, bot: Bot, recognised: Recognised) -> None:
        """Note that a bot is alive. Raises OrderNotUnderstood where it would disarm what watches over it."""
        attendance = self._parts.attendance
        if attendance is None:
            return
        if recognised.endpoint == COUNTDOWN and attendance.owns_countdown(bot.account.name):
            raise OrderNotUnderstood(
                "riskgate sets the exchange's countdown for this account; a bot that set it too could disarm it",
                Reason.COUNTDOWN_OWNED,
            )
        attendance.seen(bot)

    def _in_custody(self, bot: Bot, request: WireRequest, recognised: Recognised) -> WireRequest:
        """The request as the venue must see it: with the venue's key, and signed if the bot signed it."""
        assert bot.account.credentials is not None
        if recognised.security != "signed":
            return self._exchange.rekey(request, bot.account.credentials)
        params = self._exchange.read_params(request)
        self._parts.identities.check_custody(bot, self._exchange, request, params)
        return self._exchange.sign(request, bot.account.credentials)

    async def _refuse_or_transfer(self, request: WireRequest, recognised: Recognised) -> WireResponse:
        """Transfers pass where the account lists them; everything else here is refused by name."""
        if recognised.verb is Verb.TRANSFER:
            bot = self._parts.identities.of(self._exchange.api_key(request))
            if bot.account.transfers_allowed:
                return await self._transfer(request, recognised, bot)
        reason, sentence = _refusal_of(recognised)
        self._parts.metrics.unclassified(recognised.verb.value)
        raise OrderNotUnderstood(sentence, reason)

    async def _transfer(self, request: WireRequest, recognised: Recognised, bot: Bot) -> WireResponse:
        """A transfer that the account lists: once, on record, and not while halted: money leaving is no exit."""
        parts = self._parts
        outgoing = self._in_custody(bot, request, recognised) if bot.in_custody else request
        params = self._exchange.read_params(request)
        claim = (params.get("signature"), self._exchange.timestamp_window(params)[0])
        try:
            self._look_for_all(bot, reducing=False)
            parts.identities.claim(bot, *claim)
        except LastLookRefused as error:
            raise OrderNotUnderstood(str(error), error.reason) from error
        try:
            sequence = self._record_plain(self._next_id(), request, recognised, bot, "the account lists transfers")
            await parts.audit.durable(sequence)

            def last_look() -> None:
                self._look_for_all(bot, reducing=False)

            return await parts.upstream.send(recognised.family, outgoing, last_look=last_look, tracked=True)
        except AuditError as error:
            parts.identities.unclaim(bot, claim[0])
            raise OrderNotUnderstood("the audit cannot be written", Reason.AUDIT_UNAVAILABLE) from error
        except LastLookRefused as error:
            parts.identities.unclaim(bot, claim[0])
            raise OrderNotUnderstood(str(error), error.reason) from error
        except UpstreamUnreachable as error:
            parts.identities.unclaim(bot, claim[0])
            return self._exchange.not_sent(str(error), self._next_id())
        except UpstreamSilent:
            return self._exchange.outcome_unknown(self._next_id())

    def _refuse(self, request: WireRequest, recognised: Recognised | None, error: CallerError) -> WireResponse:
        decision_id = self._next_id()
        bot = self._bot_of(request)
        self._parts.metrics.refused(error.reason)
        # A wrong signature under a bot's key is not the bot's word either.
        is_stranger = bot is None or error.reason is Reason.SIGNATURE_INVALID
        if is_stranger and not self._strangers.may_record(self._clock.monotonic()):
            return self._exchange.refuse_plain(recognised, error.reason, str(error), decision_id, status=error.status)
        try:
            self._record_plain(decision_id, request, recognised, bot, str(error), reason=error.reason)
        except AuditError as unwritten:  # a refusal needs no record to be safe; the operator hears of it
            log.error("audit.unavailable", error=str(unwritten), decision_id=decision_id)
        log.info(
            "request.refused",
            decision_id=decision_id,
            reason=error.reason.value,
            sentence=str(error),
            method=request.method[:16],
            path=_shown_path(request),
            account=bot.account.name if bot else None,
            bot=bot.name if bot else None,
            peer=request.peer,
        )
        return self._exchange.refuse_plain(recognised, error.reason, str(error), decision_id, status=error.status)

    def _bot_of(self, request: WireRequest) -> Bot | None:
        """Whose request was refused, where its key says so."""
        try:
            return self._parts.identities.of(self._exchange.api_key(request))
        except CallerError:
            return None

    def _record_plain(
        self,
        decision_id: str,
        request: WireRequest,
        recognised: Recognised | None,
        bot: Bot | None,
        sentence: str,
        *,
        reason: Reason | None = None,
    ) -> int:
        record: dict[str, object] = {
            "kind": "refusal" if reason is not None else "transfer",
            "decision_id": decision_id,
            "endpoint": recognised.endpoint if recognised else None,
            "method": request.method[:16],
            "path": _shown_path(request),
            "reason": reason.value if reason is not None else None,
            "sentence": sentence,
            "account": bot.account.name if bot else None,
            "bot": bot.name if bot else None,
            "peer": request.peer,
            "sha256": hashlib.sha256(request.target + b"\n" + request.body).hexdigest(),
        }
        is_stranger = bot is None or reason is Reason.SIGNATURE_INVALID
        if is_stranger and (unrecorded := self._strangers.take_unrecorded()):
            record["unrecorded_before"] = unrecorded
        return self._parts.audit.append(record)

    def _check_doubted(self, bot: Bot, request: WireRequest, parsed: Parsed) -> None:
        """Check here what the venue checks of a bot's own signature, for a while after it found one wrong.

        Whoever knows a bot's key and not its secret would otherwise use up its rate, and the venue's patience.
        """
        until_s, own = self._doubted.get(bot.key), bot.account.credentials
        if until_s is None or own is None or own.api_key != bot.key:  # the secret of another key checks nothing
            return
        if self._clock.monotonic() >= until_s:
            del self._doubted[bot.key]
            return
        self._exchange.verify_own(request, parsed.params, own)

    # -- what is judged -------------------------------------------------------------------------

    async def _judge(self, request: WireRequest, recognised: Recognised, started: float) -> WireResponse:
        exchange, parts = self._exchange, self._parts
        bot = parts.identities.of(exchange.api_key(request))
        parsed = exchange.parse(request, recognised)
        if bot.in_custody:
            parts.identities.check_custody(bot, exchange, request, parsed.params)
        elif self._doubted:
            self._check_doubted(bot, request, parsed)
        if parts.attendance is not None:
            parts.attendance.seen(bot)
        caller, doubt = attributed(bot, request.headers, parsed.instructions)
        now = self._clock.now()

        decision, facts, profile, limits_lost = self._decide(caller, parsed.instructions, now)
        directive = None if facts.governor is None else facts.governor.value
        judged = Judged(self._next_id(), bot, caller, parsed, decision, started, profile, directive)
        if decision.verdict is not ALLOW and parts.permits is not None and limits_lost is None and not doubt:
            decision = self._heed_people(parts.permits, judged, facts)
        if decision.verdict is BLOCK:
            return self._block(judged)
        if not decision.reducing:
            if doubt:
                return self._refuse_judged(judged, Reason.STRATEGY_NOT_ALLOWED, doubt)
            if limits_lost:
                return self._refuse_judged(judged, Reason.POLICY_UNAVAILABLE, limits_lost)
            if wait := self._backoff(recognised.family):
                sentence = f"the exchange asked for a pause; {wait} s of it are left"
                return self._refuse_judged(judged, Reason.UPSTREAM_BACKOFF, sentence, status=429)
        elif doubt:
            try:
                self._look_for_all(bot, reducing=True, instructions=parsed.instructions)
            except LastLookRefused as error:
                return self._refuse_judged(judged, error.reason, str(error))
        signature = parsed.params.values.get("signature")
        parts.identities.claim(bot, signature, exchange.timestamp_window(parsed.params)[0])
        if recognised.verb is not MARGIN:
            orders, quantities = _orders_of(parsed.instructions, decision.quantities)
            test = recognised.verb is TEST
            try:
                parts.reservations.reserve(judged.decision_id, caller, bot.name, orders, quantities, facts, test=test)
            except FactMissing as missing:  # an order in quote currency, and no price to turn it into base units
                parts.identities.unclaim(bot, signature)
                return self._refuse_judged(judged, Reason.FACTS_MISSING, str(missing))
        if judged.permit is not None and parts.permits is not None:
            # In the step in which it was found to count: it cannot let a second order through.
            judged.permit = parts.permits.take(judged.permit, judged.decision_id)
        # From here on the headroom is taken; every way out settles it.
        return await self._carry_out(request, judged, signature, in_doubt=bool(doubt))

    def _look_for_all(
        self, bot: Bot, *, reducing: bool, instructions: Sequence[Instruction] | None = None
    ) -> None:
        """Raise LastLookRefused if a stop holds any of the bot's strategies: the request may be of each of them."""
        for caller in bot.callers.values():
            self._parts.latch.last_look(
                caller.account, reducing=reducing, caller=caller, instructions=instructions
            )

    def _heed_people(self, permits: Permits, judged: Judged, facts: Facts) -> Decision:
        """The decision again, where people may have a say in it: an order that was not simply allowed."""
        if judged.parsed.recognised.verb in _TRADING:
            caller = judged.caller
            limits = self._parts.policies.limits_for(caller.account, caller.strategy, facts.now)
            judged.decision, judged.permit = permits.judge(
                caller, judged.parsed, facts, limits, judged.decision, judged.decision_id
            )
        return judged.decision

    def _decide(
        self, caller: Caller, instructions: Sequence[Instruction], now: datetime
    ) -> tuple[Decision, Facts, str, str | None]:
        """Judge; when the policy is lost, by its last known limits, and only reductions will pass."""
        lost: str | None = None
        try:
            limits = self._parts.policies.limits_for(caller.account, caller.strategy, now)
        except StoreError as error:
            lost = str(error)
            limits = self._last_known_limits(caller, now)
        facts = self._parts.gather.facts(caller, instructions, now, limits)
        return evaluate(instructions, facts, limits), facts, limits.profile, lost

    def _last_known_limits(self, caller: Caller, now: datetime) -> Limits:
        try:
            known = self._parts.policies.exit_limits_for(caller.account, caller.strategy, now)
        except StoreError:
            known = None
        return known or Limits(policy_revision=0, profile="unknown", capital_profile="unknown")

    async def _carry_out(
        self, request: WireRequest, judged: Judged, signature: str | None, *, in_doubt: bool
    ) -> WireResponse:
        parts = self._parts
        try:
            outgoing = self._outgoing(request, judged)
            if judged.permit is not None and parts.permits is not None:
                await parts.permits.spent(judged.permit)
            await self._record(judged, outgoing)
        except SigningError as error:
            self._give_back(judged, signature)
            return self._refuse_judged(judged, Reason.RESIGN_UNAVAILABLE, str(error))
        except NotAuthentic as error:
            self._give_back(judged, signature)
            return self._refuse_judged(judged, error.reason, str(error))
        except AuditError as error:
            self._give_back(judged, signature)
            log.error("audit.unavailable", error=str(error), decision_id=judged.decision_id)
            return self._refuse_judged(judged, Reason.AUDIT_UNAVAILABLE, "the audit cannot be written")
        except BaseException:
            self._give_back(judged, signature)
            raise
        caller, reducing, instructions = judged.caller, judged.decision.reducing, judged.parsed.instructions

        def last_look() -> None:
            if in_doubt:
                self._look_for_all(judged.bot, reducing=reducing, instructions=instructions)
            else:
                parts.latch.last_look(caller.account, reducing=reducing, caller=caller, instructions=instructions)

        gate_done = self._clock.monotonic()
        try:
            response = await parts.upstream.send(
                judged.parsed.recognised.family, outgoing, last_look=last_look, tracked=True
            )
        except LastLookRefused as error:
            self._give_back(judged, signature)
            return self._refuse_judged(judged, error.reason, str(error))
        except UpstreamUnreachable as error:
            self._give_back(judged, signature)
            self._outcome(judged, "not_sent", detail=str(error))
            return self._exchange.not_sent(str(error), judged.decision_id)
        except (UpstreamSilent, asyncio.CancelledError) as error:
            # Bytes left and nothing usable came back: the order may live. Its reservation stays.
            self._settle(judged, Answer(kind=AnswerKind.UNKNOWN))
            self._outcome(judged, "unknown", detail=str(error) or type(error).__name__)
            if isinstance(error, asyncio.CancelledError):
                raise
            return self._exchange.outcome_unknown(judged.decision_id)
        except ProxyError as error:  # not one request when framed, or the last look failed: nothing was written
            self._give_back(judged, signature)
            self._outcome(judged, "not_sent", detail=str(error))
            raise
        except Exception as error:  # nobody knows whether bytes left: the order may live, its reservation stays
            log.exception("request.failed", error=type(error).__name__, decision_id=judged.decision_id)
            self._settle(judged, Answer(kind=AnswerKind.UNKNOWN))
            self._outcome(judged, "unknown", detail=type(error).__name__)
            return self._exchange.outcome_unknown(judged.decision_id)
        return self._answered(judged, response, gate_done)

    def _outgoing(self, request: WireRequest, judged: Judged) -> WireRequest:
        """The bytes to send. A scaled order is read back and compared before it may leave."""
        bot, parsed, decision = judged.bot, judged.parsed, judged.decision
        credentials = bot.account.credentials
        if decision.verdict is ALLOW:
            return self._exchange.sign(request, credentials) if bot.in_custody and credentials else request
        if credentials is None:
            raise SigningError(
                f"this order would be scaled down, but account {bot.account.name!r} has no secret to sign it again"
            )
        if not bot.in_custody:
            # The venue would have checked the bot's signature; once we replace it, we must.
            self._exchange.verify_own(request, parsed.params, credentials)
            window = self._exchange.timestamp_window(parsed.params)
            if not self._in_window(*window):
                raise NotAuthentic(Reason.TIMESTAMP_OUTSIDE_WINDOW, "the timestamp is outside its recvWindow")
        scaled = self._exchange.sign(self._exchange.rescale(request, parsed, decision.quantities), credentials)
        read_back = self._exchange.parse(scaled, parsed.recognised)
        if not _same_but_for_quantity(parsed.instructions, read_back.instructions, decision.quantities):
            raise SigningError("the scaled order did not read back as decided")
        return scaled

    def _in_window(self, timestamp_ms: int, window_ms: Decimal) -> bool:
        age_ms = self._clock.now_ms() - timestamp_ms
        return -1000 <= age_ms <= window_ms

    async def _record(self, judged: Judged, outgoing: WireRequest) -> None:
        """Have the decision on record before the order may leave: at once, or in a crowd with those of others."""
        audit, record = self._parts.audit, self._decision_record(judged, judged.decision, outgoing)
        if self._parts.upstream.in_flight < CROWD or not audit.healthy:
            sequence = audit.append(record)
        else:
            sequence = audit.append_soon(record)
            await asyncio.sleep(0)  # what was placed is written before whoever lets the loop come round goes on
            if not audit.is_written(sequence):
                # It keeps its place and will stand there once there is room, so what became of it has to follow.
                audit.append_soon(_outcome_record(judged.decision_id, "not_sent", "the audit could not be written"))
                raise AuditError(f"record {sequence} could not be written with those of others")
        await audit.durable(sequence)

    def _append_decision(self, judged: Judged, decision: Decision) -> int:
        return self._parts.audit.append(self._decision_record(judged, decision, None))

    def _decision_record(
        self, judged: Judged, decision: Decision, outgoing: WireRequest | None
    ) -> dict[str, object]:
        reservation = self._parts.reservations.get(judged.decision_id) if outgoing is not None else None
        return decision_record(
            decision,
            decision_id=judged.decision_id,
            caller=judged.caller,
            instructions=judged.parsed.instructions,
            endpoint=judged.parsed.recognised.endpoint,
            ess_epoch=self._parts.latch.epoch,
            latency_us=int((self._clock.monotonic() - judged.started) * 1_000_000),
            sent_sha256=_digest(outgoing) if outgoing is not None else None,
            notionals=judged.decision.notionals,
            reserved=reservation.recorded() if reservation is not None else (),
            profile=judged.profile,
            directive=judged.directive,
        )

    def _answered(self, judged: Judged, response: WireResponse, gate_done: float) -> WireResponse:
        try:
            answer = self._exchange.read_answer(judged.parsed, response)
        except Exception as error:  # the order is out; what cannot be read of its fate is unknown, never "rejected"
            log.exception("answer.unreadable", decision_id=judged.decision_id, error=type(error).__name__)
            answer = Answer(kind=AnswerKind.UNKNOWN)
        self._settle(judged, answer)
        if answer.kind is REJECTED and not judged.bot.in_custody and self._exchange.signature_refused(response):
            self._doubted[judged.bot.key] = self._clock.monotonic() + DOUBTED_S
        self._note_pause(judged.parsed.recognised.family, answer.retry_after_s)
        upstream_s = self._clock.monotonic() - gate_done
        self._outcome(judged, OUTCOMES[answer.kind], response=response, answer=answer, upstream_s=upstream_s)
        headers = _decision_headers(judged)
        return WireResponse(response.status, response.headers + headers, response.body, response.reason)

    # -- ways out -------------------------------------------------------------------------------

    def _block(self, judged: Judged) -> WireResponse:
        self._append_or_log(judged, judged.decision)
        self._told(judged, judged.decision, outcome="blocked")
        waiting = "" if judged.permit is None else judged.permit.id
        return self._exchange.refuse(
            judged.parsed.recognised, judged.decision, judged.decision_id, approval_id=waiting
        )

    def _refuse_judged(self, judged: Judged, reason: Reason, sentence: str, *, status: int = 403) -> WireResponse:
        """Block what the rulebook would have let through, for a reason that only the proxy can know."""
        decision = _overruled(judged.decision, reason, sentence, ess_active=reason in _ESS_REASONS)
        self._append_or_log(judged, decision)
        self._told(judged, decision, outcome="blocked")
        if status != 403:
            return self._exchange.refuse_plain(
                judged.parsed.recognised, reason, sentence, judged.decision_id, status=status
            )
        return self._exchange.refuse(judged.parsed.recognised, decision, judged.decision_id)

    def _append_or_log(self, judged: Judged, decision: Decision) -> None:
        try:
            self._append_decision(judged, decision)
        except AuditError as error:  # a block needs no record to be safe; the operator hears of it
            log.error("audit.unavailable", error=str(error), decision_id=judged.decision_id)

    def _give_back(self, judged: Judged, signature: str | None) -> None:
        """The order certainly was not sent: its headroom and its signature are free again."""
        self._parts.reservations.release(judged.decision_id)
        self._parts.identities.unclaim(judged.bot, signature)

    def _settle(self, judged: Judged, answer: Answer) -> None:
        try:
            at = self._clock.now()
            self._parts.reservations.settle(judged.decision_id, answer, at)
            for change in judged.parsed.instructions:
                if isinstance(change, LeverageChange):
                    self._parts.reservations.settle_leverage(judged.caller.account, change, answer.kind, at)
        except Exception as error:  # the order is out and its answer must go on; its headroom stays taken
            log.exception("reservation.unsettled", decision_id=judged.decision_id, error=type(error).__name__)
        market = market_of(judged.parsed.instructions)
        margin = judged.parsed.recognised.verb is MARGIN
        self._parts.watcher.poke(judged.caller.account, market, config=margin)

    def _outcome(
        self,
        judged: Judged,
        outcome: str,
        *,
        response: WireResponse | None = None,
        answer: Answer | None = None,
        upstream_s: float | None = None,
        detail: str | None = None,
    ) -> None:
        record = _outcome_record(judged.decision_id, outcome, detail)
        if response is not None:
            record["status"] = response.status
        if answer is not None:
            record["order_ids"] = [order.order_id for order in answer.orders]
        if upstream_s is not None:
            record["upstream_ms"] = round(upstream_s * 1000, 3)
        self._parts.outcomes.note(judged.caller, outcome)
        try:
            self._parts.audit.append_soon(record)
        except AuditError as error:  # the order is out; the operator must hear that its outcome is not on record
            log.error("audit.unavailable", error=str(error), decision_id=judged.decision_id)
        self._told(judged, judged.decision, outcome=outcome, upstream_s=upstream_s)

    def _told(self, judged: Judged, decision: Decision, *, outcome: str, upstream_s: float | None = None) -> None:
        """Exactly one `order.decided` line and one count per request."""
        took_s = self._clock.monotonic() - judged.started
        self._parts.metrics.decided(decision, judged.caller, took_s=took_s, upstream_s=upstream_s)
        order_decided(
            decision,
            judged.caller,
            decision_id=judged.decision_id,
            instructions=judged.parsed.instructions,
            endpoint=judged.parsed.recognised.endpoint,
            outcome=outcome,
            took_s=took_s,
            upstream_s=upstream_s,
            profile=judged.profile,
        )

    def _backoff(self, family: str) -> int:
        until = self._backoff_until.get(family)
        if until is None:
            return 0
        left = until - self._clock.monotonic()
        if left <= 0:
            del self._backoff_until[family]
            return 0
        return int(left) + 1

    def _note_pause(self, family: str, seconds: int | None) -> None:
        """Keep the longest pause that the venue has asked for: a shorter one later does not end a ban."""
        if seconds:
            until = self._clock.monotonic() + seconds
            self._backoff_until[family] = max(until, self._backoff_until.get(family, 0.0))

    def _next_id(self) -> str:
        self._count += 1
        return "%011x-%s-%x" % (self._clock.now_ms(), self._process, self._count)  # noqa: UP031 - a third of the time


_TRADING: Final = frozenset({Verb.PLACE, Verb.AMEND})  # an order test asks for nothing and spends nothing
_ESS_REASONS: Final = frozenset({Reason.ESS_TRADING_HALT_ACTIVE, Reason.ESS_REDUCE_ONLY_ACTIVE})


def _refusal_of(recognised: Recognised) -> tuple[Reason, str]:
    match recognised.verb:
        case Verb.TRANSFER:
            sentence = f"{recognised.endpoint} moves funds and this account does not list transfers"
            return Reason.TRANSFER_NOT_ALLOWED, sentence
        case Verb.UNSUPPORTED:
            sentence = f"{recognised.endpoint} trades on the {recognised.family} family, which is not judged yet"
            return Reason.FAMILY_NOT_SUPPORTED, f"{sentence} and so not sent"
        case _:
            return Reason.ENDPOINT_UNKNOWN, f"{recognised.endpoint} is not on the list of requests that may pass"


def _overruled(decision: Decision, reason: Reason, sentence: str, *, ess_active: bool) -> Decision:
    return decision._replace(
        verdict=Verdict.BLOCK,
        reason=reason,
        sentence=sentence,
        breach=None,
        scale_factor=Decimal(0),
        ess_active=ess_active or decision.ess_active,
    )


def _shown_path(request: WireRequest) -> str:
    """The path for people: what a key or an order was asked at, never its parameters."""
    return request.path[:200].decode("ascii", "backslashreplace")


def _digest(request: WireRequest) -> str:
    return hashlib.sha256(request.target + b"\n" + request.body).hexdigest()


def _retry_after_s(answer: WireResponse | StreamedResponse) -> int | None:
    """The pause an answer asks for, in whole seconds; a longer number than a day's is none."""
    for name, value in answer.headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) <= 6:
            return int(value)
    return None


def _same_but_for_quantity(
    asked: Sequence[Instruction], read_back: Sequence[Instruction], quantities: Sequence[Decimal | None]
) -> bool:
    """Is what was read back the decided order: the original with the decided, smaller quantities?"""
    if len(asked) != len(read_back) or len(asked) != len(quantities):
        return False
    for before, after, quantity in zip(asked, read_back, quantities, strict=True):
        if not isinstance(before, Order) or quantity is None:
            if before != after:
                return False
            continue
        if not isinstance(after, Order):
            return False
        if before.quote_quantity is not None:
            expected = replace(before, quote_quantity=quantity, iceberg_quantity=after.iceberg_quantity)
            smaller = quantity <= before.quote_quantity
        else:
            expected = replace(before, quantity=quantity, iceberg_quantity=after.iceberg_quantity)
            smaller = before.quantity is not None and quantity <= before.quantity
        if not smaller or after != expected or _iceberg_grew(before, after):
            return False
    return True


def _iceberg_grew(before: Order, after: Order) -> bool:
    if before.iceberg_quantity is None:
        return after.iceberg_quantity is not None
    return after.iceberg_quantity is None or after.iceberg_quantity > before.iceberg_quantity


def _outcome_record(decision_id: str, outcome: str, detail: str | None) -> dict[str, object]:
    record: dict[str, object] = {
        "kind": "outcome", "decision_id": decision_id, "outcome": outcome, "status": None, "order_ids": [],
        "upstream_ms": None,
    }  # fmt: skip
    if detail:
        record["detail"] = detail
    return record


_ALLOWED = (b"X-Risk-Decision", b"allow")


def _decision_headers(judged: Judged) -> tuple[tuple[bytes, bytes], ...]:
    """What a bot may read of the decision; its own book would be wrong without the scaled quantity."""
    decision = judged.decision
    identifier = (b"X-Risk-Decision-Id", judged.decision_id.encode())
    if decision.verdict is ALLOW:
        return _ALLOWED, identifier
    headers: list[tuple[bytes, bytes]] = [(b"X-Risk-Decision", decision.verdict.value.encode()), identifier]
    if decision.verdict is Verdict.SCALE_DOWN:
        asked = [_asked(instruction) for instruction in judged.parsed.instructions]
        headers += [
            (b"X-Risk-Original-Quantity", _joined(asked)),
            (b"X-Risk-Quantity", _joined(decision.quantities)),
            (b"X-Risk-Reason", decision.reason.value.encode()),
        ]
    return tuple(headers)


def _orders_of(
    instructions: Sequence[Instruction], quantities: Sequence[Decimal | None]
) -> tuple[list[Order], list[Decimal | None]]:
    """The orders among the instructions, with the quantities decided for them."""
    if len(instructions) == 1 and isinstance(only := instructions[0], Order):
        return [only], [quantities[0]]
    pairs = [
        (instruction, quantity)
        for instruction, quantity in zip(instructions, quantities, strict=True)
        if isinstance(instruction, Order)
    ]
    return [order for order, _ in pairs], [quantity for _, quantity in pairs]


def _asked(instruction: Instruction) -> Decimal | None:
    if isinstance(instruction, Order):
        return instruction.quantity if instruction.quantity is not None else instruction.quote_quantity
    return None


def _joined(quantities: Sequence[Decimal | None]) -> bytes:
    return ",".join(format(quantity, "f") for quantity in quantities if quantity is not None).encode()
