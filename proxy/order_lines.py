"""The log lines of a decision: ours, and RiskGuard's beside it. Every order makes them, so nothing is done twice.

They hold amounts, names and the gate's own sentences: no key, no signature, no parameter as it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import orjson

from proxy.risk_guard import event_of
from rules import Caller, Decision, Instruction, Order, described, written

OURS: Final = "order.decided"
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE

Told: TypeAlias = dict[str, object]


def told_of(
    decision: Decision,
    caller: Caller,
    *,
    decision_id: str,
    instructions: Sequence[Instruction],
    endpoint: str,
    outcome: str,
    took_s: float,
    upstream_s: float | None,
    profile: str,
) -> Told:
    """The whole story of one decision."""
    return {
        "decision_id": decision_id,
        "decision": decision.verdict,
        "reason": decision.reason,
        "sentence": decision.sentence,
        "outcome": outcome,
        "account": caller.account,
        "exchange": caller.exchange,
        "strategy": caller.strategy,
        "bot": caller.bot,
        "endpoint": endpoint,
        "orders": [_brief(one) for one in instructions],
        "scale_factor": decision.scale_factor if decision.scale_factor != 1 else None,
        "risk_level": decision.risk_level,
        "ess_active": decision.ess_active,
        "policy_revision": decision.policy_revision,
        "profile_name": profile,
        "took_us": int(took_s * 1_000_000),
        "upstream_us": None if upstream_s is None else int(upstream_s * 1_000_000),
    }


def told_by_risk_guard(
    decision: Decision, caller: Caller, instructions: Sequence[Instruction], decision_id: str, profile: str
) -> tuple[str, Told] | None:
    """The decision under the names that dashboards of older installations look for; None where it had no event."""
    event = event_of(decision)
    if event is None:
        return None
    breach = decision.breach
    return event, {
        "trace_id": decision_id,
        "profile_name": profile,
        "account": caller.account,
        "symbol": instructions[0].symbol if instructions else None,
        "observed": None if breach is None else described(breach.observed),
        "limit": None if breach is None else described(breach.limit),
    }


def as_line(event: str, at: str, told: Told) -> bytes:
    """One line of JSON, with its end."""
    said = orjson.dumps(told, default=str, option=_OPTIONS)
    return b'{"event":"%b","level":"info","timestamp":"%b",%b' % (event.encode(), at.encode(), said[1:])


def _brief(instruction: Instruction) -> str:
    """An instruction in a few words: side, amount, symbol, price."""
    if not isinstance(instruction, Order):
        return f"{type(instruction).__name__} {getattr(instruction, 'symbol', None) or ''}".rstrip()
    if instruction.quantity is not None:
        amount = written(instruction.quantity)
    elif instruction.quote_quantity is not None:
        amount = f"{written(instruction.quote_quantity)} quote"
    else:
        amount = "all"
    price = f" at {written(instruction.price)}" if instruction.price is not None else ""
    return f"{instruction.side} {amount} {instruction.symbol} {instruction.type}{price}"
