"""The way out for the proxy's own requests: written, proven, judged, recorded, looked at once more, sent once.

A closing order goes the way every order goes. The gate judges it as under REDUCE_ONLY, it is reserved, it is on
record before a byte leaves, and its answer is settled and recorded. Only the last look is turned round: a bot's
order leaves only while nothing is halted, the proxy's own only while HALT is in force for the account. So the two
never work on one position at the same time, and a release stops the proxy's orders in the same step.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode

import structlog

from proxy.actions.proof import Admitted, admit
from proxy.actions.reading import Picture, Resting, position_of
from proxy.audit import Audit, decision_record
from proxy.clock import Clock
from proxy.errors import (
    AuditError,
    LastLookRefused,
    SigningError,
    UpstreamSilent,
    UpstreamUnreachable,
)
from proxy.ess import EssLatch
from proxy.exchanges.base import Answer, AnswerKind, Exchange
from proxy.feeds.reading import Malformed, document
from proxy.feeds.venue import Venue
from proxy.gather import Gather
from proxy.identity import Account
from proxy.pipeline import Lane
from proxy.reservations import ALGO, Reservations
from proxy.wire import WireRequest, WireResponse
from rules import (
    Bucket,
    Caller,
    Decision,
    EssLevel,
    Fact,
    FactMissing,
    Facts,
    Instruction,
    Limits,
    Market,
    Order,
    Side,
    Stop,
    SymbolFacts,
    Verdict,
    evaluate,
)

log = structlog.get_logger("riskgate.actions")

ACTOR: Final = "riskgate"
SOURCE: Final = "action"
RECV_WINDOW_MS: Final = 5000
FAMILY: Final = {Market.SPOT: "/api", Market.LINEAR: "/fapi"}
UNKNOWN_ORDER: Final = -2011
# As the gate sees the proxy's own orders: whatever else holds, they have to be proven reductions.
JUDGED_UNDER: Final = Stop(level=EssLevel.REDUCE_ONLY, reason="an order of the proxy's own", source=SOURCE)
NO_LIMITS: Final = Limits(policy_revision=0, profile=SOURCE, capital_profile=SOURCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """An order that is to shrink a position; without a price it takes what the market gives."""

    symbol: str
    bucket: Bucket
    side: Side
    quantity: Decimal
    price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one request: `outcome` is accepted, rejected, unknown, not_sent or refused."""

    outcome: str
    said: str = ""
    code: int | None = None
    decision_id: str = ""
    client_order_id: str = ""
    sent_s: float = 0.0
    answered_s: float = 0.0
    executed: Decimal | None = None


class OwnLane:
    """Carries one account's own requests."""

    def __init__(
        self,
        account: Account,
        *,
        exchange: Exchange,
        venues: Mapping[Market, Venue],
        gather: Gather,
        reservations: Reservations,
        audit: Audit,
        latch: EssLatch,
        upstream: Lane,
        clock: Clock,
    ) -> None:
        if account.credentials is None:
            raise SigningError(f"account {account.name!r} has no credentials: the proxy cannot act for it")
        self._account = account
        self._credentials = account.credentials
        self._exchange = exchange
        self._venues = venues
        self._gather = gather
        self._reservations = reservations
        self._audit = audit
        self._latch = latch
        self._upstream = upstream
        self._clock = clock
        self._caller = Caller(account=account.name, exchange=account.exchange, strategy=ACTOR, bot=ACTOR)
        self._process = os.urandom(4).hex()
        self._count = 0

    # -- cancels

    async def cancel(self, resting: Resting, *, job: str) -> Sent:
        """Cancel one working order, on record first. Raises AuditError if it could not be recorded."""
        symbol, order_id = resting.symbol, resting.order.order_id
        if resting.market is Market.SPOT:
            path, params = "/api/v3/order", {"symbol": symbol, "orderId": order_id}
        elif order_id.startswith(ALGO):
            path, params = "/fapi/v1/algoOrder", {"algoId": order_id.removeprefix(ALGO)}
        else:
            path, params = "/fapi/v1/order", {"symbol": symbol, "orderId": order_id}
        admitted = admit(self._exchange, self._request(resting.market, "DELETE", path, params), None)
        record: dict[str, object] = {
            "kind": "action.cancel", "source": SOURCE, "job": job, "account": self._account.name,
            "market": resting.market, "symbol": symbol, "order_id": order_id,
        }  # fmt: skip
        await self._audit.durable(self._audit.append(record))
        return await self._plain(resting.market, admitted)

    async def countdown(self, symbol: str, countdown_ms: int, *, again: bool = False) -> Sent:
        """Wind up the venue's own timer that cancels a symbol's orders; 0 stops it.

        On record before it is sent, and once more where it was not taken. One that is tried `again` and again is
        on record when it is taken at last.
        """
        params = {"symbol": symbol, "countdownTime": str(countdown_ms)}
        request = self._request(Market.LINEAR, "POST", "/fapi/v1/countdownCancelAll", params)
        admitted = admit(self._exchange, request, None)
        if not again:
            self._record_countdown(symbol, countdown_ms, "begun")
        sent = await self._plain(Market.LINEAR, admitted)
        if (sent.outcome == "accepted") is again:
            self._record_countdown(symbol, countdown_ms, sent.outcome, sent.said)
        return sent

    def _record_countdown(self, symbol: str, countdown_ms: int, result: str, said: str = "") -> None:
        record: dict[str, object] = {
            "kind": "action.countdown", "source": SOURCE, "account": self._account.name, "market": Market.LINEAR,
            "symbol": symbol, "countdown_ms": countdown_ms, "result": result, "said": said,
        }  # fmt: skip
        try:
            self._audit.append(record)
        except AuditError as error:  # it protects, as a cancel does: it is sent all the same, and the operator hears
            log.error("audit.unavailable", error=str(error), account=self._account.name, symbol=symbol)

    async def _plain(self, market: Market, admitted: Admitted) -> Sent:
        """Send what the stop never holds back."""
        sent_s = self._clock.monotonic()
        try:
            response = await self._upstream.send(FAMILY[market], admitted.request)
        except UpstreamUnreachable as error:
            return Sent(outcome="not_sent", said=str(error), sent_s=sent_s, answered_s=self._clock.monotonic())
        except UpstreamSilent as error:
            return Sent(outcome="unknown", said=str(error), sent_s=sent_s, answered_s=self._clock.monotonic())
        code, said = _said(response)
        outcome = "accepted" if response.status == 200 else "rejected" if response.status < 500 else "unknown"
        return Sent(outcome=outcome, said=said, code=code, sent_s=sent_s, answered_s=self._clock.monotonic())

    # -- closing orders

    async def close(self, closing: Closing, picture: Picture, *, job: str, spot_sales: bool = False) -> Sent:
        """Send one closing order, proven by `picture`. Raises NotAdmitted, AuditError; nothing was sent then."""
        decision_id = self._next_id()
        admitted = admit(
            self._exchange, self._order(closing, picture, decision_id), picture, spot_sales=spot_sales
        )
        parsed = admitted.parsed
        assert parsed is not None
        order = parsed.instructions[0]
        assert isinstance(order, Order)
        facts = self._facts(order, picture)
        decision = evaluate(parsed.instructions, facts, NO_LIMITS)
        if decision.verdict is not Verdict.ALLOW or not decision.reducing:
            self._record_decision(decision, decision_id, admitted, job, sent=False)
            return Sent(outcome="refused", said=decision.sentence, decision_id=decision_id)
        try:
            self._reservations.reserve(decision_id, self._caller, ACTOR, [order], decision.quantities, facts)
        except FactMissing as missing:
            return Sent(outcome="refused", said=str(missing), decision_id=decision_id)
        try:
            sequence = self._record_decision(decision, decision_id, admitted, job, sent=True)
            await self._audit.durable(sequence)
        except BaseException:
            self._reservations.release(decision_id)
            raise
        return await self._send_order(closing, admitted, decision_id, order.client_order_id or "")

    async def _send_order(self, closing: Closing, admitted: Admitted, decision_id: str, client_id: str) -> Sent:
        """Send, settle, record the outcome. Never sent again, whatever happens."""
        assert admitted.parsed is not None
        begun = Sent(
            outcome="unknown", decision_id=decision_id, client_order_id=client_id, sent_s=self._clock.monotonic()
        )
        try:
            # Among the cancels, not among the bots' orders: a crowd of those that a slow venue has not
            # answered may not stand before an exit.
            response = await self._upstream.send(
                admitted.recognised.family, admitted.request, last_look=self._only_while_halted
            )
        except (LastLookRefused, UpstreamUnreachable) as error:
            self._reservations.release(decision_id)
            self._record_outcome(decision_id, "not_sent", detail=str(error))
            return replace(begun, outcome="not_sent", said=str(error), answered_s=self._clock.monotonic())
        except BaseException as error:
            # Bytes may have left: the order may live, so its reservation stays and its fate is looked up.
            self._reservations.lost(decision_id)
            self._record_outcome(decision_id, "unknown", detail=str(error) or type(error).__name__)
            if not isinstance(error, UpstreamSilent):
                raise
            return replace(begun, said=str(error), answered_s=self._clock.monotonic())
        answer = self._read(admitted, response)
        self._reservations.settle(decision_id, answer, self._clock.now())
        self._record_outcome(decision_id, answer.kind.value, response=response, answer=answer)
        code, said = _said(response)
        executed = answer.orders[0].executed if answer.orders else None
        log.info(
            "action.sent", account=self._account.name, symbol=closing.symbol, side=closing.side.value,
            quantity=closing.quantity, outcome=answer.kind.value, code=code,
        )  # fmt: skip
        return replace(
            begun, outcome=answer.kind.value, said=said, code=code, executed=executed,
            answered_s=self._clock.monotonic(),
        )  # fmt: skip

    @property
    def _stop(self) -> Stop:
        return self._latch.governing(self._account.name, self._account.exchange)

    @property
    def may_close(self) -> bool:
        """Whether HALT holds every bot of this account."""
        return self._stop.level is EssLevel.HALT

    def _only_while_halted(self) -> None:
        """The last look, turned round: the proxy closes nothing that bots may trade."""
        stop = self._stop
        if stop.level is not EssLevel.HALT:
            raise LastLookRefused(
                f"HALT is not in force for {self._account.name} any more (found {stop.level.name}): "
                "closing is over, expected a person to have released it"
            )

    def _read(self, admitted: Admitted, response: WireResponse) -> Answer:
        assert admitted.parsed is not None
        try:
            return self._exchange.read_answer(admitted.parsed, response)
        except Exception as error:  # noqa: BLE001 - the order is out; what cannot be read of its fate is unknown
            log.error("answer.unreadable", account=self._account.name, error=type(error).__name__)
            return Answer(kind=AnswerKind.UNKNOWN)

    # -- what is known, written and recorded

    def _facts(self, order: Order, picture: Picture) -> Facts:
        """What the gate judges by: the reading at hand, and nothing older."""
        now = self._clock.now()
        instructions: tuple[Instruction, ...] = (order,)
        gathered = self._gather.facts(self._caller, instructions, now, NO_LIMITS)
        known = gathered.of(order.symbol)
        mine = SymbolFacts(
            price=known.price, filters=known.filters, leverage=known.leverage,
            position=Fact(position_of(picture, order.symbol), picture.as_of),
        )  # fmt: skip
        return replace(
            gathered, stop=JUDGED_UNDER, risk=None, symbols={order.symbol: mine},
            hedge_mode=Fact(picture.hedge_mode, picture.as_of),
        )  # fmt: skip

    def _order(self, closing: Closing, picture: Picture, decision_id: str) -> WireRequest:
        params = {"symbol": closing.symbol, "side": closing.side.value, "type": "MARKET"}
        if closing.price is not None:
            params |= {"type": "LIMIT", "timeInForce": "IOC", "price": format(closing.price, "f")}
        params["quantity"] = format(closing.quantity, "f")
        if picture.market is Market.LINEAR:
            # In hedge mode the leg keeps it from opening, and the venue refuses reduceOnly there.
            params |= {"positionSide": closing.bucket.value} if picture.hedge_mode else {"reduceOnly": "true"}
            params["newOrderRespType"] = "RESULT"
        params["newClientOrderId"] = decision_id
        path = "/api/v3/order" if picture.market is Market.SPOT else "/fapi/v1/order"
        return self._request(picture.market, "POST", path, params)

    def _request(self, market: Market, method: str, path: str, params: Mapping[str, str]) -> WireRequest:
        """A signed request, by the venue's clock."""
        stamp_ms = self._venues[market].server_time.stamp_ms(self._clock.now())
        window = {"recvWindow": str(RECV_WINDOW_MS), "timestamp": str(stamp_ms), "signature": "0"}
        target = f"{path}?{urlencode({**params, **window})}".encode("ascii")
        headers = ((b"Host", b"riskgate"), (b"X-MBX-APIKEY", b"-"))
        return self._exchange.sign(WireRequest(method, target, headers, b""), self._credentials)

    def _record_decision(
        self, decision: Decision, decision_id: str, admitted: Admitted, job: str, *, sent: bool
    ) -> int:
        assert admitted.parsed is not None
        reservation = self._reservations.get(decision_id)
        record = decision_record(
            decision,
            decision_id=decision_id,
            caller=self._caller,
            instructions=admitted.parsed.instructions,
            endpoint=admitted.recognised.endpoint,
            ess_epoch=self._latch.epoch,
            latency_us=0,
            sent_sha256=_digest(admitted.request) if sent else None,
            notionals=decision.notionals,
            reserved=reservation.recorded() if reservation is not None else (),
        )
        return self._audit.append({**record, "source": SOURCE, "job": job})

    def _record_outcome(
        self,
        decision_id: str,
        outcome: str,
        *,
        response: WireResponse | None = None,
        answer: Answer | None = None,
        detail: str = "",
    ) -> None:
        record: dict[str, object] = {
            "kind": "outcome",
            "decision_id": decision_id,
            "outcome": outcome,
            "source": SOURCE,
            "status": response.status if response is not None else None,
            "order_ids": [order.order_id for order in answer.orders] if answer is not None else [],
            "upstream_ms": None,
        }
        if detail:
            record["detail"] = detail
        try:
            self._audit.append_soon(record)
        except AuditError as error:  # the order is out; the operator must hear that its outcome is not on record
            log.error("audit.unavailable", error=str(error), decision_id=decision_id)

    def _next_id(self) -> str:
        """A decision's name, and the order's own at the venue: so a look-up finds one by the other."""
        self._count += 1
        return f"rg-{self._clock.now_ms():011x}-{self._process}-{self._count:x}"


def _digest(request: WireRequest) -> str:
    return hashlib.sha256(request.target + b"\n" + request.body).hexdigest()


def _said(response: WireResponse) -> tuple[int | None, str]:
    """The venue's own code and words, where it has any."""
    try:
        found = document(response.body)
    except Malformed:
        return None, f"status {response.status}"
    if not isinstance(found, dict) or response.status == 200:
        return None, f"status {response.status}"
    code = found.get("code")
    return (code if type(code) is int else None), f"status {response.status}: {str(found.get('msg', ''))[:200]}"
