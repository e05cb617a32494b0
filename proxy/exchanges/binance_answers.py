"""Binance's answers read, and ours written in its shape.

Three outcomes only: accepted, rejected by a code that certainly left nothing working, and
unknown. The list of rejecting codes is an allow-list: what is not on it keeps the
reservation, because an order counted that is not there costs less than one there uncounted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeAlias

import orjson

from proxy.errors import OrderNotUnderstood
from proxy.exchanges.base import Answer, AnswerKind, OrderState, Parsed, Recognised, Verb
from proxy.wire import WireResponse, loads, read_decimal
from rules import Decision, Instruction, Order, QuantityCut, Reason, described

_Json: TypeAlias = Mapping[str, Any]

ANSWER_CHARACTERS_MAX: Final = 1024 * 1024

# Codes with which the venue says that the request left no order behind. Not on it, on purpose:
# -1000 and -1001 (internal error), -1006 and -1007 (execution status unknown), -1016 (shutting down).
_REJECTING: Final = frozenset({
    -1002, -1003, -1008, -1013, -1014, -1015, -1020, -1021, -1022, -1023, -1034, -1099,
    -2010, -2011, -2013, -2014, -2015, -2016, -2017, -2018, -2019, -2020, -2021, -2022, -2023, -2024, -2025,
    -2026, -2027, -2028, -2035, -2038, -2039,
    -5021, -5022, -5024, -5025, -5026, -5027, -5028, -5029, -5037, -5038, -5039, -5040, -5041,
})
_BAD_PARAMETERS: Final = range(-1199, -1099)  # 11xx: issues with the request
_FILTERS: Final = range(-4499, -3999)  # 4xxx: filters, and settings that do not allow the request
# Order cancel-replace partly or wholly failed; the data says what became of the new order.
_CANCEL_REPLACE: Final = frozenset({-2021, -2022})
_OVERLOADED: Final = -1008
_SIGNATURE_WRONG: Final = -1022

_FINISHED: Final = frozenset({
    "FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH", "FINISHED", "ALL_DONE",
})
# Answers with these are not the report of one order alone.
_PLAIN_REPORT: Final = frozenset({"code", "amendedOrder", "newOrderResult", "newOrderResponse", "data"})
_ONE_ORDER: Final = frozenset({
    "POST /api/v3/order", "POST /api/v3/sor/order", "POST /fapi/v1/order", "PUT /fapi/v1/order",
    "POST /fapi/v1/algoOrder",
})
_RETRY_AFTER: Final = re.compile(rb"[0-9]{1,7}")

# Looked up once: on an enumeration class that costs more than what follows from it.
SAID_ACCEPTED: Final = AnswerKind.ACCEPTED
ZERO: Final = Decimal(0)
_ACCEPTED: Final = OrderState(kind=SAID_ACCEPTED)
_REJECTED: Final = OrderState(kind=AnswerKind.REJECTED, finished=True)
_UNKNOWN: Final = OrderState(kind=AnswerKind.UNKNOWN)


def read_answer(parsed: Parsed, response: WireResponse) -> Answer:
    """Say what the venue did with each instruction."""
    count = len(parsed.instructions)
    pause_s = _retry_after(response)
    if count == 1 and response.status == 200 and parsed.recognised.endpoint in _ONE_ORDER:
        state = _taken(parsed.instructions[0], response.body)
        if state is not None:
            return Answer(kind=SAID_ACCEPTED, orders=(state,), retry_after_s=pause_s)
    if response.status in (418, 429):
        return Answer(kind=AnswerKind.REJECTED, orders=(_REJECTED,) * count, retry_after_s=pause_s)
    try:
        body = loads(response.body, characters_max=ANSWER_CHARACTERS_MAX, depth_max=16)
        states = _states(parsed, response.status, body)
    except (OrderNotUnderstood, KeyError, TypeError, ValueError, ArithmeticError):
        # The venue said something that cannot be read: it may have done anything.
        states = (_UNKNOWN,) * count
    return Answer(kind=_overall(states), orders=states, retry_after_s=pause_s)


def signature_refused(response: WireResponse) -> bool:
    """Whether an answer is the error of a wrong signature."""
    if not 400 <= response.status < 500:
        return False
    try:
        body = loads(response.body, characters_max=ANSWER_CHARACTERS_MAX, depth_max=16)
    except OrderNotUnderstood:
        return False
    return isinstance(body, dict) and body.get("code") == _SIGNATURE_WRONG


def _taken(instruction: Instruction, body: bytes) -> OrderState | None:
    """What a plain report of one order says; None for every other answer, which is read at length.

    The quick reader takes a repeated key silently and large numbers inexactly. So it is only believed
    where every colon belongs to a key of its own, and only whole numbers and texts are looked at.
    """
    if len(body) > ANSWER_CHARACTERS_MAX or not body.startswith(b'{"'):
        return None
    try:
        report = orjson.loads(body)
    except ValueError:
        return None
    if body.count(b":") != _keys(report) or body.count(b"[") > 1 or not _PLAIN_REPORT.isdisjoint(report):
        return None
    try:
        state = _of_order(instruction, report)
    except OrderNotUnderstood:
        return None
    return state if state.kind is SAID_ACCEPTED else None


def _keys(report: _Json) -> int:
    """How many keys a report has, those of its fills included; deeper ones make it no plain report."""
    fills = report.get("fills")
    if fills.__class__ is list:
        return len(report) + sum([len(fill) for fill in fills if fill.__class__ is dict])
    return len(report)


def _overall(states: Sequence[OrderState]) -> AnswerKind:
    kinds = {state.kind for state in states}
    for kind in (AnswerKind.UNKNOWN, AnswerKind.ACCEPTED):
        if kind in kinds:
            return kind
    return AnswerKind.REJECTED


def _retry_after(response: WireResponse) -> int | None:
    for name, value in response.headers:
        if len(name) == 11 and name.lower() == b"retry-after" and _RETRY_AFTER.fullmatch(value) is not None:
            return int(value)
    return None


def _states(parsed: Parsed, status: int, body: object) -> tuple[OrderState, ...]:
    count = len(parsed.instructions)
    endpoint = parsed.recognised.endpoint
    if isinstance(body, dict) and endpoint == "POST /api/v3/order/cancelReplace":
        replaced = _of_cancel_replace(parsed.instructions[0], status, body)
        if replaced is not None:
            return (replaced,)
    if not 200 <= status < 300:
        return (_of_error(parsed.recognised, status, body),) * count
    if parsed.recognised.verb in (Verb.TEST, Verb.MARGIN):
        return (_of_error(parsed.recognised, status, body) if _is_error(body) else _ACCEPTED,) * count
    if isinstance(body, list):
        if len(body) != count:
            return (_UNKNOWN,) * count
        return tuple(
            _of_error(parsed.recognised, 400, item) if _is_error(item) else _of_order(instruction, item)
            for instruction, item in zip(parsed.instructions, body, strict=True)
        )
    if not isinstance(body, dict):
        return (_UNKNOWN,) * count
    if _is_error(body):
        return (_of_error(parsed.recognised, status, body),) * count
    if "orderListId" in body and count > 1:
        return _of_list(parsed.instructions, body)
    if count != 1 or "batchOrders" in endpoint:
        return (_UNKNOWN,) * count
    amended = body.get("amendedOrder")
    return (_of_order(parsed.instructions[0], amended if isinstance(amended, dict) else body),)


def _is_error(body: object) -> bool:
    return isinstance(body, dict) and type(body.get("code")) is int and body["code"] < 0


def _of_error(recognised: Recognised, status: int, body: object) -> OrderState:
    if not isinstance(body, dict) or type(body.get("code")) is not int:
        return _UNKNOWN
    code: int = body["code"]
    if status >= 500:
        # A 5xx is never a failure by itself; these two texts are documented as certain ones.
        overloaded = code == _OVERLOADED
        down = status == 503 and recognised.family == "/fapi" and body.get("msg") == "Service Unavailable."
        return _REJECTED if overloaded or down else _UNKNOWN
    if status == 408 or not (200 <= status < 300 or 400 <= status < 500):
        return _UNKNOWN
    return _REJECTED if code in _REJECTING or code in _BAD_PARAMETERS or code in _FILTERS else _UNKNOWN


def _of_cancel_replace(instruction: Instruction, status: int, body: _Json) -> OrderState | None:
    """The new order's fate; None where the answer is a plain error."""
    if 200 <= status < 300 and "newOrderResult" in body:
        data: Any = body
    elif body.get("code") in _CANCEL_REPLACE and 400 <= status < 500 and isinstance(body.get("data"), dict):
        data = body["data"]
    elif body.get("code") in _CANCEL_REPLACE:
        # On this endpoint these codes only have a meaning together with their data.
        return _UNKNOWN
    else:
        return None
    result, response = data.get("newOrderResult"), data.get("newOrderResponse")
    if result == "NOT_ATTEMPTED":
        return _REJECTED
    if result == "SUCCESS" and isinstance(response, dict):
        return _of_order(instruction, response)
    if result == "FAILURE" and isinstance(response, dict):
        code = response.get("code")
        certain = type(code) is int and (code in _REJECTING or code in _BAD_PARAMETERS or code in _FILTERS)
        return _REJECTED if certain else _UNKNOWN
    return _UNKNOWN


def _of_order(instruction: Instruction, body: object) -> OrderState:
    if not isinstance(body, dict):
        return _UNKNOWN
    order_id = body.get("orderId", body.get("algoId"))
    if type(order_id) is not int:
        return _UNKNOWN
    client_id = body.get("clientOrderId", body.get("clientAlgoId"))
    status = body.get("status", body.get("algoStatus"))
    finished = status in _FINISHED
    original = _amount(body, "origQty", "qty", "quantity")
    executed = _amount(body, "executedQty")
    return OrderState(
        kind=SAID_ACCEPTED, order_id=str(order_id),
        client_order_id=client_id if isinstance(client_id, str) else None,
        executed=executed, remaining=_remaining(instruction, original, executed, finished=finished),
        finished=finished,
    )


def _amount(body: _Json, *names: str) -> Decimal | None:
    for name in names:
        found = body.get(name)
        if isinstance(found, str):
            return read_decimal(found, name)
    return None


def _remaining(
    instruction: Instruction, original: Decimal | None, executed: Decimal | None, *, finished: bool
) -> Decimal | None:
    if finished:
        return ZERO
    if original is None or (isinstance(instruction, Order) and instruction.close_position):
        return None
    if executed is None:
        # An untriggered conditional order has executed nothing and does not say so.
        return original
    return max(original - executed, ZERO)


def _of_list(instructions: Sequence[Instruction], body: _Json) -> tuple[OrderState, ...]:
    """Lists name their orders in the venue's own order: matched by client id, then by type and side."""
    reports = body.get("orderReports") or body.get("orders")
    if not isinstance(reports, list) or len(reports) != len(instructions):
        return (_UNKNOWN,) * len(instructions)
    left = [report for report in reports if isinstance(report, dict)]
    states: dict[int, OrderState] = {}
    for matches in (_same_client_id, _same_form, _any):
        for index, instruction in enumerate(instructions):
            if index in states:
                continue
            found = next((report for report in left if matches(instruction, report)), None)
            if found is not None:
                left.remove(found)
                states[index] = _of_order(instruction, found)
    return tuple(states.get(index, _UNKNOWN) for index in range(len(instructions)))


def _same_client_id(instruction: Instruction, report: _Json) -> bool:
    return (
        isinstance(instruction, Order)
        and instruction.client_order_id is not None
        and report.get("clientOrderId") == instruction.client_order_id
    )


def _same_form(instruction: Instruction, report: _Json) -> bool:
    if not isinstance(instruction, Order) or report.get("side") != instruction.side.value:
        return False
    has_trigger = instruction.trigger_price is not None or instruction.callback_rate is not None
    venue_type = str(report.get("type", ""))
    return has_trigger == venue_type.startswith(("STOP", "TAKE_PROFIT"))


def _any(instruction: Instruction, report: _Json) -> bool:
    return isinstance(instruction, Order | QuantityCut) and bool(report)


# --- our own answers -----------------------------------------------------------------------------

# Substrings by which a client maps a message to another exception than the code's own; a
# sentence that quotes what the bot sent could carry one.
_TRAPS = (
    "Price * QTY is zero or less", "LOT_SIZE", "PRICE_FILTER", "MAX_POSITION", "This order type is not possible",
    "PERCENT_PRICE_BY_SIDE", "has no operation privilege",
)
_JSON = ((b"Content-Type", b"application/json"),)
_RATE_PAUSE_S: Final = 1

_CODE_ORDER: Final = -2010
_CODE_MARGIN: Final = -4028
_CODE_UNAUTHORISED: Final = -1002
_CODE_RATE: Final = -1015
# A refusal of who asks or of a whole endpoint. Never -2015: one client reads it as a flood ban.
_CODES: Final = {
    Reason.TRANSFER_NOT_ALLOWED: _CODE_UNAUTHORISED,
    Reason.ENDPOINT_UNKNOWN: _CODE_UNAUTHORISED,
    Reason.KEY_UNKNOWN: _CODE_UNAUTHORISED,
    Reason.COUNTDOWN_OWNED: _CODE_UNAUTHORISED,
    Reason.SIGNATURE_INVALID: -1022,
    Reason.TIMESTAMP_OUTSIDE_WINDOW: -1021,
    Reason.ORDER_RATE_EXCEEDS_LIMIT: _CODE_RATE,
    Reason.UPSTREAM_BACKOFF: _CODE_RATE,
}


def refuse(
    recognised: Recognised | None, decision: Decision, decision_id: str, approval_id: str = ""
) -> WireResponse:
    """A block in the venue's own error shape; with the id of the approval that it waits for, if it does."""
    breach = decision.breach
    risk = {
        "decision_id": decision_id,
        "decision": decision.verdict.value,
        "reason": decision.reason.value,
        "observed": None if breach is None else plain(breach.observed),
        "limit": None if breach is None else plain(breach.limit),
        "scale_factor": plain(decision.scale_factor),
        "risk_level": decision.risk_level,
        "ess_active": decision.ess_active,
        "policy_revision": decision.policy_revision,
        **({"approval_id": approval_id} if approval_id else {}),
    }
    return _refusal(recognised, decision.reason, decision.sentence, decision_id, risk, 403, None)


def refuse_plain(
    recognised: Recognised | None,
    reason: Reason,
    sentence: str,
    decision_id: str,
    *,
    status: int = 403,
    retry_after_s: int | None = None,
) -> WireResponse:
    """A refusal without a decision of the rulebook."""
    risk = {"decision_id": decision_id, "decision": "block", "reason": reason.value}
    return _refusal(recognised, reason, sentence, decision_id, risk, status, retry_after_s)


def _refusal(
    recognised: Recognised | None,
    reason: Reason,
    sentence: str,
    decision_id: str,
    risk: Mapping[str, object],
    status: int,
    retry_after_s: int | None,
) -> WireResponse:
    code = _CODES.get(reason, _CODE_ORDER)
    if code == _CODE_ORDER and recognised is not None and recognised.verb is Verb.MARGIN:
        code = _CODE_MARGIN
    headers: tuple[tuple[bytes, bytes], ...] = (
        *_JSON,
        (b"X-Risk-Decision", b"block"),
        (b"X-Risk-Decision-Id", decision_id.encode("ascii", "replace")),
        (b"X-Risk-Reason", reason.value.encode("ascii")),
    )
    if code == _CODE_RATE:
        status = 429
        headers += ((b"Retry-After", b"%d" % (retry_after_s or _RATE_PAUSE_S)),)
    message = f"risk gate: {_harmless(sentence)} (decision {decision_id})"
    return WireResponse(status=status, headers=headers, body=_json({"code": code, "msg": message, "risk": risk}))


def outcome_unknown(decision_id: str) -> WireResponse:
    """The venue's own words for a request whose fate is not known."""
    message = (
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
        f" (decision {decision_id})"
    )
    return _ours(504, -1007, message, decision_id)


def not_sent(sentence: str, decision_id: str) -> WireResponse:
    """Certainly not sent: the code by which the venue says that it took nothing in."""
    message = f"risk gate: nothing was sent: {_harmless(sentence)} (decision {decision_id})"
    return _ours(503, _OVERLOADED, message, decision_id)


def _ours(status: int, code: int, message: str, decision_id: str) -> WireResponse:
    headers = (*_JSON, (b"X-Risk-Decision-Id", decision_id.encode("ascii", "replace")))
    return WireResponse(status=status, headers=headers, body=_json({"code": code, "msg": message}))


def plain(value: object) -> object:
    """A value of a breach as JSON can carry it: counts as numbers, everything else in the gate's own words."""
    if value is None or (isinstance(value, bool | int) and not isinstance(value, Enum)):
        return value
    return described(value)


def _harmless(sentence: str) -> str:
    for trap in _TRAPS:
        if trap in sentence:
            sentence = sentence.replace(trap, trap.lower().replace("_", "-").replace(" ", "-"))
    return sentence


def _json(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode("ascii")
