"""What a record says: the builders of decision and admin records."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rules import (
    Caller,
    Decision,
    Directive,
    Instruction,
    LeverageChange,
    MarginChange,
    Order,
    QuantityCut,
    rows_of,
    written,
)


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else written(value)


def instruction_record(instruction: Instruction, notional: Decimal | None = None) -> dict[str, object]:
    """One instruction as judged: every field that was stated, amounts as exact text."""
    if isinstance(instruction, Order):
        return _order_record(instruction, notional)
    match instruction:
        case QuantityCut():
            return {
                "instruction": "quantity_cut",
                "symbol": instruction.symbol,
                "market": instruction.market,
                "quantity": _amount(instruction.quantity),
                "replaces": _replaced(instruction),
            }
        case LeverageChange():
            return {
                "instruction": "leverage",
                "symbol": instruction.symbol,
                "leverage": _amount(instruction.leverage),
            }
        case MarginChange():
            return {
                "instruction": "margin",
                "symbol": instruction.symbol,
                "change": instruction.kind,
                "value": instruction.value,
            }


def _order_record(order: Order, notional: Decimal | None) -> dict[str, object]:
    record: dict[str, object] = {
        "instruction": "order",
        "symbol": order.symbol,
        "market": order.market,
        "side": order.side,
        "type": order.type,
        "quantity": _amount(order.quantity),
        "price": _amount(order.price),
        "notional": _amount(notional),
        "bucket": order.bucket,
        "reduce_only": order.reduce_only,
        "client_order_id": order.client_order_id,
    }
    # Rare fields stand in the record only when the order stated them.
    if order.quote_quantity is not None:
        record["quote_quantity"] = format(order.quote_quantity, "f")
    if order.trigger_price is not None:
        record["trigger_price"] = format(order.trigger_price, "f")
    if order.activation_price is not None:
        record["activation_price"] = format(order.activation_price, "f")
    if order.callback_rate is not None:
        record["callback_rate"] = format(order.callback_rate, "f")
    if order.iceberg_quantity is not None:
        record["iceberg_quantity"] = format(order.iceberg_quantity, "f")
    if order.close_position:
        record["close_position"] = True
    if order.price_follows_book:
        record["price_follows_book"] = True
    if order.time_in_force is not None:
        record["time_in_force"] = order.time_in_force
    if order.group is not None:
        record["group"] = order.group
    if order.pending_on is not None:
        record["pending_on"] = order.pending_on
    if order.replaces is not None:
        record["replaces"] = _replaced(order)
    return record


def _replaced(instruction: Order | QuantityCut) -> dict[str, object] | None:
    replaced = instruction.replaces
    if replaced is None:
        return None
    return {
        "mode": replaced.mode,
        "order_id": replaced.order_id,
        "client_order_id": replaced.client_order_id,
    }


def decision_record(
    decision: Decision,
    *,
    decision_id: str,
    caller: Caller,
    instructions: Sequence[Instruction],
    endpoint: str,
    ess_epoch: int,
    latency_us: int,
    sent_sha256: str | None,
    notionals: Sequence[Decimal | None] = (),
    reserved: Sequence[Sequence[object]] = (),
    profile: str = "",
    directive: Directive | None = None,
) -> dict[str, object]:
    """A judged request: the orders, the answer in RiskGateResult's keys, and every rule that ran.

    `sent_sha256` is of target and body as they will be forwarded, None for a block; the bytes
    themselves, keys and signatures are never in a record. `rules_run` rows are rule,
    instruction, outcome, observed, limit. `reserved` is what a restart has to reserve again if it
    finds no outcome (`Reservation.recorded`). `governor` is there where the account is governed.
    """
    orders = [
        instruction_record(one, notionals[index] if index < len(notionals) else None)
        for index, one in enumerate(instructions)
    ]
    # Rare facts stand in the record only where there is something to say.
    rare: dict[str, object] = {"limits_off": list(decision.limits_off)} if decision.limits_off else {}
    if decision.tried is not None:
        tried = decision.tried
        rare["tried"] = {"decision": tried.verdict, "reason": tried.reason, "sentence": tried.sentence}
    governed = {} if directive is None else {"governor": _directive(directive)}
    return {
        "kind": "decision",
        "decision_id": decision_id,
        "caller": {
            "account": caller.account,
            "exchange": caller.exchange,
            "strategy": caller.strategy,
            "bot": caller.bot,
            "confidence": _amount(caller.confidence),
        },
        "endpoint": endpoint,
        "orders": orders,
        "decision": decision.verdict,
        "reason": decision.reason,
        "scale_factor": written(decision.scale_factor),
        "risk_level": decision.risk_level,
        "ess_active": decision.ess_active,
        "timestamp": decision.timestamp,
        "sentence": decision.sentence,
        "quantities": [_amount(quantity) for quantity in decision.quantities],
        "reducing": decision.reducing,
        "rules_run": rows_of(decision.rules_run),
        "policy_revision": decision.policy_revision,
        "profile_name": profile,
        **governed,
        "ess_epoch": ess_epoch,
        "latency_us": latency_us,
        "sent_sha256": sent_sha256,
        "reserved": reserved,
        **rare,
    }


def _directive(directive: Directive) -> dict[str, object]:
    """The safety governor's word, and the trace id under which the log says how it came to it."""
    return {
        "directive": directive.act,
        "level": directive.level,
        "cause": directive.cause,
        "trace_id": directive.trace_id,
    }


def admin_record(
    *,
    actor: str,
    act: str,
    result: str,
    scope: str | None = None,
    reason: str = "",
    before: object = None,
    after: object = None,
    peer: str = "",
) -> dict[str, object]:
    """What a person (or a tool in a person's name) did to the proxy."""
    return {
        "kind": "admin",
        "actor": actor,
        "act": act,
        "scope": scope,
        "reason": reason,
        "before": before,
        "after": after,
        "result": result,
        "peer": peer,
    }
