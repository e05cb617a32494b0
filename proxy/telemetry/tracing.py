"""A pipeline that takes the time: when an order was read, gathered for, judged, recorded and forwarded.

It changes no step and decides nothing. The steps of `Pipeline` are wrapped here instead of asking in each of
them whether somebody wants to know, so that an order costs the same as before where nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from proxy.clock import Clock
from proxy.exchanges.base import Recognised
from proxy.gather import Gather
from proxy.identity import Bot
from proxy.pipeline import Judged, Parts, Pipeline
from proxy.upstream import StreamedResponse
from proxy.wire import WireRequest, WireResponse, header_values
from rules import Caller, Decision, Facts, Instruction, Limits, Reason

READ: Final = "read"
GATHER: Final = "gather"
JUDGE: Final = "judge"
RECORD: Final = "record"
FORWARD: Final = "forward"


@dataclass(slots=True)
class Trace:
    """What was seen of one request; seconds are monotonic, and `at` is the wall time of `began_s`."""

    at: datetime
    began_s: float
    parents: tuple[bytes, ...]  # traceparent as the bot sent it, once or never if it is to be read
    states: tuple[bytes, ...]  # tracestate, which goes with it
    ended_s: float = 0.0
    stages: list[tuple[str, float, float]] = field(default_factory=list)
    told: dict[str, str | int | bool] = field(default_factory=dict)  # empty for what is no order and was not refused
    forward_s: float | None = None  # when the last look began; None before


_CURRENT: Final[ContextVar[Trace | None]] = ContextVar("riskgate_trace", default=None)


class _StampedGather(Gather):
    """The gather of a pipeline, and when it began and ended."""

    def __init__(self, inner: Gather, clock: Clock) -> None:
        # Its own parts stay unset on purpose: everything is asked of the one it stands for.
        self._inner = inner
        self._stamps = clock

    def facts(
        self, caller: Caller, instructions: Sequence[Instruction], now: datetime, limits: Limits | None = None
    ) -> Facts:
        """The facts, as the one behind it gives them."""
        began_s = self._stamps.monotonic()
        found = self._inner.facts(caller, instructions, now, limits)
        trace = _CURRENT.get()
        if trace is not None:
            trace.stages.append((GATHER, began_s, self._stamps.monotonic()))
        return found


class TracedPipeline(Pipeline):
    """A pipeline whose orders and refusals are handed on once they are answered."""

    def __init__(self, parts: Parts, hand_on: Callable[[Trace], None]) -> None:
        super().__init__(replace(parts, gather=_StampedGather(parts.gather, parts.clock)))
        self._hand_on = hand_on

    async def handle(self, request: WireRequest) -> WireResponse | StreamedResponse:
        """Answer as the pipeline does."""
        trace = Trace(
            self._clock.now(),
            self._clock.monotonic(),
            header_values(request.headers, b"traceparent"),
            header_values(request.headers, b"tracestate"),
        )
        token = _CURRENT.set(trace)
        try:
            answer = await Pipeline.handle(self, request)
            trace.told["http.response.status_code"] = answer.status
            return answer
        finally:
            _CURRENT.reset(token)
            trace.ended_s = self._clock.monotonic()
            if "riskgate.verdict" in trace.told:
                self._hand_on(trace)

    def _decide(
        self, caller: Caller, instructions: Sequence[Instruction], now: datetime
    ) -> tuple[Decision, Facts, str, str | None]:
        trace, began_s = _CURRENT.get(), self._clock.monotonic()
        decided = Pipeline._decide(self, caller, instructions, now)
        if trace is not None:
            trace.stages.append((READ, trace.began_s, began_s))
            judging_s = max([began_s, *(end_s for name, _, end_s in trace.stages if name == GATHER)])
            trace.stages.append((JUDGE, judging_s, self._clock.monotonic()))
        return decided

    async def _record(self, judged: Judged, outgoing: WireRequest) -> None:
        trace, began_s = _CURRENT.get(), self._clock.monotonic()
        await Pipeline._record(self, judged, outgoing)
        if trace is not None:
            trace.forward_s = self._clock.monotonic()
            trace.stages.append((RECORD, began_s, trace.forward_s))

    def _answered(self, judged: Judged, response: WireResponse, gate_done: float) -> WireResponse:
        _forwarded(_CURRENT.get(), self._clock)
        return Pipeline._answered(self, judged, response, gate_done)

    def _told(self, judged: Judged, decision: Decision, *, outcome: str, upstream_s: float | None = None) -> None:
        trace = _CURRENT.get()
        if trace is not None:
            if outcome == "blocked":
                trace.forward_s = None  # the last look refused it: nothing left
            _forwarded(trace, self._clock)
            caller = judged.caller
            trace.told |= {
                "riskgate.decision_id": judged.decision_id, "riskgate.verdict": decision.verdict.value,
                "riskgate.reason": decision.reason.value, "riskgate.outcome": outcome,
                "riskgate.reducing": decision.reducing, "riskgate.policy_revision": decision.policy_revision,
                "riskgate.endpoint": judged.parsed.recognised.endpoint, "riskgate.account": caller.account,
                "riskgate.exchange": caller.exchange, "riskgate.strategy": caller.strategy, "riskgate.bot": caller.bot,
                "riskgate.symbols": ",".join(sorted({one.symbol or "" for one in judged.parsed.instructions} - {""})),
            }  # fmt: skip
        Pipeline._told(self, judged, decision, outcome=outcome, upstream_s=upstream_s)

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
        trace = _CURRENT.get()
        if trace is not None:
            trace.told |= {
                "riskgate.decision_id": decision_id, "riskgate.verdict": "allow" if reason is None else "block",
                "riskgate.reason": "" if reason is None else reason.value,
                "riskgate.endpoint": "" if recognised is None else recognised.endpoint,
            }  # fmt: skip
            if bot is not None:
                trace.told |= {"riskgate.account": bot.account.name, "riskgate.bot": bot.name}
        return Pipeline._record_plain(self, decision_id, request, recognised, bot, sentence, reason=reason)


def _forwarded(trace: Trace | None, clock: Clock) -> None:
    """What was on its way is not any more."""
    if trace is not None and trace.forward_s is not None:
        trace.stages.append((FORWARD, trace.forward_s, clock.monotonic()))
        trace.forward_s = None
