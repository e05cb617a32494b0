"""What the venue's answers mean, and what ours look like."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchanges import binance_answers
from proxy.exchanges.base import AnswerKind, OrderState
from proxy.wire import WireResponse
from rules import Breach, Decision, EssLevel, Reason, Verdict
from tests.proxy.exchanges.orders import BINANCE, LIMIT, parse

ACCEPTED, REJECTED, UNKNOWN = AnswerKind.ACCEPTED, AnswerKind.REJECTED, AnswerKind.UNKNOWN
SPOT, LINEAR = parse("POST /api/v3/order", newClientOrderId="a"), parse("POST /fapi/v1/order")


def answer(parsed, status, body, *headers):
    """The venue's answer, read."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return BINANCE.read_answer(parsed, WireResponse(status=status, headers=headers, body=raw))


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"orderId": 28, "clientOrderId": "a", "transactTime": 1}, (None, None, False)),
        ({"orderId": 28, "clientOrderId": "a", "origQty": "2.0", "executedQty": "0.5", "status": "PARTIALLY_FILLED"},
         ("0.5", "1.5", False)),
        ({"orderId": 28, "clientOrderId": "a", "origQty": "2", "executedQty": "2", "status": "FILLED"},
         ("2", "0", True)),
        ({"orderId": 28, "clientOrderId": "a", "origQty": "2", "executedQty": "0.7", "status": "EXPIRED"},
         ("0.7", "0", True)),
    ],
)
def test_an_order_that_was_taken_tells_what_is_left(body, state):
    """Acknowledged, partly filled, filled, and expired with a rest that will not trade."""
    executed, remaining, finished = state
    assert answer(SPOT, 200, body).orders == (
        OrderState(
            kind=ACCEPTED, order_id="28", client_order_id="a", finished=finished,
            executed=executed and Decimal(executed), remaining=remaining and Decimal(remaining),
        ),
    )


def test_an_algo_order_waits_with_all_of_it():
    """It has an algo id, and nothing of it has traded."""
    parsed = parse(
        "POST /fapi/v1/algoOrder", drop="price timeInForce", type="STOP_MARKET", triggerPrice="5",
        algoType="CONDITIONAL",
    )
    body = {"algoId": 7, "clientAlgoId": "x", "algoStatus": "NEW", "quantity": "2"}
    (state,) = answer(parsed, 200, body).orders
    assert (state.order_id, state.client_order_id, state.remaining, state.finished) == ("7", "x", 2, False)


def test_a_closing_order_states_no_rest():
    """Its quantity of 0 does not mean that nothing is left to trade."""
    parsed = parse(
        "POST /fapi/v1/order", drop="price timeInForce quantity", type="STOP_MARKET", stopPrice="5",
        closePosition="true",
    )
    body = {"orderId": 1, "origQty": "0", "executedQty": "0", "status": "NEW"}
    assert answer(parsed, 200, body).orders[0].remaining is None


@pytest.mark.parametrize(
    ("parsed", "status", "body", "kind"),
    [
        (SPOT, 400, {"code": -2010, "msg": "Account has insufficient balance for requested action."}, REJECTED),
        (SPOT, 400, {"code": -1013, "msg": "Filter failure: NOTIONAL"}, REJECTED),
        (SPOT, 400, {"code": -1111, "msg": "Precision is over the maximum."}, REJECTED),
        (SPOT, 401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, REJECTED),
        (LINEAR, 400, {"code": -2019, "msg": "Margin is insufficient."}, REJECTED),
        (LINEAR, 400, {"code": -2022, "msg": "ReduceOnly Order is rejected."}, REJECTED),
        (LINEAR, 400, {"code": -2021, "msg": "Order would immediately trigger."}, REJECTED),
        (LINEAR, 400, {"code": -4164, "msg": "Order's notional must be no smaller than 100"}, REJECTED),
        (LINEAR, 400, {"code": -5022, "msg": "Post Only order will be rejected."}, REJECTED),
        (LINEAR, 503, {"code": -1008, "msg": "Request throttled by system-level protection."}, REJECTED),
        (LINEAR, 503, {"code": 0, "msg": "Service Unavailable."}, REJECTED),
        (LINEAR, 200, {"code": -2019, "msg": "Margin is insufficient."}, REJECTED),
        (SPOT, 503, {"code": 0, "msg": "Service Unavailable."}, UNKNOWN),
        (LINEAR, 503, {"code": 0, "msg": "Unknown error, please check your request or try again later."}, UNKNOWN),
        (LINEAR, 500, {"code": 0, "msg": "Service Unavailable."}, UNKNOWN),
        (LINEAR, 503, {"code": -2019, "msg": "Margin is insufficient."}, UNKNOWN),
        (SPOT, 400, {"code": -1000, "msg": "An unknown error occurred."}, UNKNOWN),
        (SPOT, 400, {"code": -1001, "msg": "Internal error."}, UNKNOWN),
        (SPOT, 400, {"code": -1006, "msg": "Execution status unknown."}, UNKNOWN),
        (SPOT, 400, {"code": -1007, "msg": "Timeout waiting for response."}, UNKNOWN),
        (SPOT, 408, {"code": -2010, "msg": "x"}, UNKNOWN),
        (SPOT, 504, {"code": -1007, "msg": "x"}, UNKNOWN),
        (SPOT, 400, {"code": -99999, "msg": "x"}, UNKNOWN),
        (SPOT, 400, {"code": "-2010", "msg": "x"}, UNKNOWN),
        (SPOT, 400, {"msg": "x"}, UNKNOWN),
        (SPOT, 403, b"<html>403</html>", UNKNOWN),
        (SPOT, 307, b"", UNKNOWN),
        (SPOT, 302, {"code": -2010, "msg": "x"}, UNKNOWN),
        (SPOT, 200, b"", UNKNOWN),
        (SPOT, 200, {}, UNKNOWN),
        (SPOT, 200, [], UNKNOWN),
        (SPOT, 200, [{"orderId": 1}], ACCEPTED),
        (SPOT, 200, {"orderId": "28"}, UNKNOWN),
        (SPOT, 200, {"orderId": True}, UNKNOWN),
        (SPOT, 200, b'{"orderId":1,"orderId":2}', UNKNOWN),
        (SPOT, 200, {"orderId": 1, "origQty": "abc"}, UNKNOWN),
        (SPOT, 200, b"null", UNKNOWN),
    ],
)
def test_only_listed_codes_are_rejections(parsed, status, body, kind):
    """Everything that is not certainly rejected, nor certainly taken, may be working."""
    assert answer(parsed, status, body).kind is kind


@pytest.mark.parametrize("status", [418, 429])
def test_a_pause_that_the_venue_asks_for_is_read(status):
    """Too many requests were not taken in, and the venue says how long to wait."""
    read = answer(SPOT, status, b"anything", (b"Retry-After", b"37"))
    assert (read.kind, read.retry_after_s) == (REJECTED, 37)
    assert answer(SPOT, status, b"", (b"retry-after", b"soon")).retry_after_s is None


def test_a_test_order_is_answered_with_nothing():
    """An empty object is a success where nothing is placed."""
    assert answer(parse("POST /api/v3/order/test"), 200, {}).kind is ACCEPTED
    leverage = parse("POST /fapi/v1/leverage", {"symbol": "A1", "leverage": "5"})
    assert answer(leverage, 200, {"leverage": 5}).kind is ACCEPTED
    margin = parse("POST /fapi/v1/marginType", {"symbol": "A1", "marginType": "CROSSED"})
    assert answer(margin, 200, {"code": 200, "msg": "success"}).kind is ACCEPTED
    assert answer(margin, 400, {"code": -4046, "msg": "No need to change margin type."}).kind is REJECTED


BATCH = parse("POST /fapi/v1/batchOrders", {"batchOrders": json.dumps([LIMIT, LIMIT])})


@pytest.mark.parametrize(
    ("body", "kinds", "overall"),
    [
        ([{"orderId": 1}, {"orderId": 2}], [ACCEPTED, ACCEPTED], ACCEPTED),
        ([{"orderId": 1}, {"code": -2022, "msg": "x"}], [ACCEPTED, REJECTED], ACCEPTED),
        ([{"code": -2019, "msg": "x"}, {"code": -2022, "msg": "x"}], [REJECTED, REJECTED], REJECTED),
        ([{"orderId": 1}, {"code": -1007, "msg": "x"}], [ACCEPTED, UNKNOWN], UNKNOWN),
        ([{"orderId": 1}], [UNKNOWN, UNKNOWN], UNKNOWN),
        ([{"orderId": 1}, None], [ACCEPTED, UNKNOWN], UNKNOWN),
        ({"orderId": 1}, [UNKNOWN, UNKNOWN], UNKNOWN),
    ],
)
def test_each_order_of_a_batch_has_its_own_answer(body, kinds, overall):
    """By position; one that is not known makes the whole not known."""
    read = answer(BATCH, 200, body)
    assert ([state.kind for state in read.orders], read.kind) == (kinds, overall)


REPLACE = parse("POST /api/v3/order/cancelReplace", cancelReplaceMode="ALLOW_FAILURE", cancelOrderId="1")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS", "newOrderResponse": {"orderId": 5}}, ACCEPTED),
        (409, {"code": -2021, "data": {"cancelResult": "FAILURE", "newOrderResult": "SUCCESS",
                                       "newOrderResponse": {"orderId": 5}}}, ACCEPTED),
        (409, {"code": -2021, "data": {"cancelResult": "SUCCESS", "newOrderResult": "FAILURE",
                                       "newOrderResponse": {"code": -2010, "msg": "x"}}}, REJECTED),
        (400, {"code": -2022, "data": {"cancelResult": "FAILURE", "newOrderResult": "NOT_ATTEMPTED",
                                       "newOrderResponse": None}}, REJECTED),
        (400, {"code": -2022, "data": {"cancelResult": "FAILURE", "newOrderResult": "FAILURE",
                                       "newOrderResponse": {"code": -1007, "msg": "x"}}}, UNKNOWN),
        (400, {"code": -2022, "msg": "x"}, UNKNOWN),
        (400, {"code": -1102, "msg": "x"}, REJECTED),
        (200, {"cancelResult": "SUCCESS"}, UNKNOWN),
    ],
)
def test_a_cancel_replace_tells_what_became_of_the_new_order(status, body, kind):
    """Partly done answers carry the new order's fate in their data."""
    assert answer(REPLACE, status, body).kind is kind


def test_a_list_is_matched_leg_by_leg_whatever_its_order():
    """By client id, then by what the leg is; the venue may list the stop first."""
    oco = parse("POST /api/v3/orderList/oco", {
        "symbol": "BTCUSDT", "side": "SELL", "quantity": "3", "aboveType": "LIMIT_MAKER", "abovePrice": "70000",
        "belowType": "STOP_LOSS", "belowStopPrice": "50000",
    })
    stop = {"orderId": 1, "side": "SELL", "type": "STOP_LOSS", "origQty": "3", "executedQty": "0", "status": "NEW"}
    maker = {"orderId": 2, "side": "SELL", "type": "LIMIT_MAKER", "origQty": "3", "executedQty": "0", "status": "NEW"}
    read = answer(oco, 200, {"orderListId": 9, "orderReports": [stop, maker]})
    assert [state.order_id for state in read.orders] == ["2", "1"]
    assert answer(oco, 200, {"orderListId": 9, "orderReports": [stop]}).kind is UNKNOWN
    bare = answer(oco, 200, {"orderListId": 9, "orders": [{"orderId": 1}, {"orderId": 2}]})
    assert [state.order_id for state in bare.orders] == ["1", "2"]


def test_an_amendment_is_answered_inside_its_envelope():
    """The amended order stands in a field of its own."""
    cut = parse("PUT /api/v3/order/amend/keepPriority", {"symbol": "A1", "newQty": "5", "orderId": "1"})
    body = {"transactTime": 1, "amendedOrder": {"orderId": 1, "clientOrderId": "b", "qty": "5", "executedQty": "1"}}
    (state,) = answer(cut, 200, body).orders
    assert (state.kind, state.remaining) == (ACCEPTED, 4)


@given(st.integers(100, 599), st.one_of(st.binary(max_size=80), st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
        st.sampled_from(["code", "msg", "orderId", "status", "orderListId", "orderReports", "data", "amendedOrder",
                         "origQty", "newOrderResult", "newOrderResponse"]), inner, max_size=4)), max_leaves=8,
).map(lambda value: json.dumps(value).encode())))
def test_no_answer_raises_and_none_is_accepted_without_an_order_id(status, body):
    """Whatever the venue says, there is one state per instruction."""
    for parsed in (SPOT, LINEAR, BATCH, REPLACE):
        read = answer(parsed, status, body)
        assert len(read.orders) == len(parsed.instructions)
        assert all(state.order_id for state in read.orders if state.kind is ACCEPTED)


# --- our own answers ---------------------------------------------------------------------------


def decision(**changes):
    """A block as the rulebook makes it."""
    breach = Breach(Reason.POSITION_EXCEEDS_LIMIT, Decimal("1E+3"), Decimal("0.00000010"))
    return Decision(**{
        "verdict": Verdict.BLOCK, "reason": breach.reason, "sentence": "Too large.", "breach": breach,
        "quantities": (None,), "scale_factor": Decimal(0), "risk_level": "INFO", "ess_active": False,
        "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "policy_revision": 7, "rules_run": (), "reducing": False,
        **changes,
    })


def test_a_block_has_the_venues_shape():
    """Code and msg at the top, the decision beside them, and the three headers."""
    made = BINANCE.refuse(SPOT.recognised, decision(), "d-1")
    assert json.loads(made.body) == {
        "code": -2010, "msg": "risk gate: Too large. (decision d-1)",
        "risk": {
            "decision_id": "d-1", "decision": "block", "reason": "position_exceeds_limit", "observed": "1000",
            "limit": "0.0000001", "scale_factor": "0", "risk_level": "INFO", "ess_active": False, "policy_revision": 7,
        },
    }
    assert made.status == 403
    assert made.headers == (
        (b"Content-Type", b"application/json"), (b"X-Risk-Decision", b"block"), (b"X-Risk-Decision-Id", b"d-1"),
        (b"X-Risk-Reason", b"position_exceeds_limit"),
    )


def test_what_a_bot_reads_of_a_breach_is_in_words():
    """Lists in order, levels by name, long numbers at readable length: nothing of how Python writes them."""
    breach = Breach(Reason.SYMBOL_NOT_ALLOWED, EssLevel.HALT, frozenset({"ETHUSDT", "BTCUSDT"}))
    risk = json.loads(BINANCE.refuse(SPOT.recognised, decision(breach=breach), "d").body)["risk"]
    assert (risk["observed"], risk["limit"]) == ("HALT", "BTCUSDT, ETHUSDT")
    breach = Breach(Reason.POSITION_EXCEEDS_LIMIT, Decimal(100) / 3, 5)
    risk = json.loads(BINANCE.refuse(SPOT.recognised, decision(breach=breach), "d").body)["risk"]
    assert len(risk["observed"]) < 20
    assert risk["limit"] == 5


def test_a_margin_change_is_refused_with_its_own_code():
    """Leverage refused is -4028, not an order refused."""
    leverage = parse("POST /fapi/v1/leverage", {"symbol": "A1", "leverage": "125"})
    assert json.loads(BINANCE.refuse(leverage.recognised, decision(), "d").body)["code"] == -4028


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [
        (Reason.ORDER_NOT_UNDERSTOOD, -2010, 403), (Reason.TRANSFER_NOT_ALLOWED, -1002, 403),
        (Reason.ENDPOINT_UNKNOWN, -1002, 403), (Reason.KEY_UNKNOWN, -1002, 403), (Reason.SIGNATURE_INVALID, -1022, 403),
        (Reason.TIMESTAMP_OUTSIDE_WINDOW, -1021, 403), (Reason.FAMILY_NOT_SUPPORTED, -2010, 403),
        (Reason.REQUEST_REPLAYED, -2010, 403), (Reason.UPSTREAM_BACKOFF, -1015, 429),
        (Reason.AUDIT_UNAVAILABLE, -2010, 403),
    ],
)
def test_a_plain_refusal_says_who_must_act(reason, code, status):
    """Orders, callers, signatures and pauses have different codes; none is -2015, and none is a 5xx."""
    made = BINANCE.refuse_plain(None, reason, "No.", "d")
    assert (json.loads(made.body)["code"], made.status) == (code, status)
    assert (b"Retry-After" in dict(made.headers)) is (status == 429)


def test_a_stated_status_and_pause_are_kept():
    """413 for what is too large; the pause that is left for what must wait."""
    assert BINANCE.refuse_plain(None, Reason.ORDER_NOT_UNDERSTOOD, "No.", "d", status=413).status == 413
    paused = BINANCE.refuse_plain(None, Reason.UPSTREAM_BACKOFF, "Wait.", "d", retry_after_s=42)
    assert dict(paused.headers)[b"Retry-After"] == b"42"


TRAPS = [
    "Price * QTY is zero or less", "LOT_SIZE", "PRICE_FILTER", "MAX_POSITION", "This order type is not possible",
    "PERCENT_PRICE_BY_SIDE", "has no operation privilege",
]


@pytest.mark.parametrize("trap", TRAPS)
def test_no_sentence_carries_words_that_clients_map(trap):
    """A bot that sends such a word as its symbol does not get it back."""
    for made in (
        BINANCE.refuse_plain(None, Reason.ORDER_NOT_UNDERSTOOD, f"symbol is {trap}", "d"),
        BINANCE.not_sent(f"symbol is {trap}", "d"),
    ):
        assert trap not in json.loads(made.body)["msg"]


def test_silence_is_told_in_the_venues_own_words():
    """-1007 with the documented text, so that clients query instead of placing again."""
    made = BINANCE.outcome_unknown("d-9")
    body = json.loads(made.body)
    assert (made.status, body["code"]) == (504, -1007)
    assert body["msg"].startswith(
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    )
    assert "d-9" in body["msg"]


def test_what_was_not_sent_says_so():
    """503 with the code by which the venue says that it took nothing in."""
    made = BINANCE.not_sent("no connection", "d")
    assert (made.status, json.loads(made.body)["code"]) == (503, -1008)


@given(st.text(), st.text())
def test_every_refusal_is_a_json_object_with_code_and_msg(sentence, decision_id):
    """Two connectors crash on anything else."""
    for made in (
        BINANCE.refuse(None, decision(sentence=sentence), decision_id), BINANCE.outcome_unknown(decision_id),
        BINANCE.refuse_plain(None, Reason.KEY_UNKNOWN, sentence, decision_id), BINANCE.not_sent(sentence, decision_id),
    ):
        body = json.loads(made.body)
        assert type(body["code"]) is int
        assert type(body["msg"]) is str
        assert dict(made.headers)[b"Content-Type"].startswith(b"application/json")


FUTURES_REPORT = {
    "orderId": 283194212, "symbol": "BTCUSDT", "status": "FILLED", "clientOrderId": "x-1", "price": "0.00",
    "origQty": "0.001", "executedQty": "0.001", "reduceOnly": False, "updateTime": 1762000000000,
}
SPOT_REPORT = FUTURES_REPORT | {
    "orderListId": -1, "fills": [{"price": "1", "qty": "2"}, {"price": "3", "qty": "4"}], "status": "NEW",
    "executedQty": "0",
}


def at_length(monkeypatch, parsed, status, raw):
    """The same answer read without the quick way for plain reports."""
    with monkeypatch.context() as patch:
        patch.setattr(binance_answers, "_taken", lambda *_: None)
        return answer(parsed, status, raw)


@pytest.mark.parametrize(("parsed", "report"), [(SPOT, SPOT_REPORT), (LINEAR, FUTURES_REPORT)])
def test_a_plain_report_is_read_quickly_and_the_same(parsed, report, monkeypatch):
    """The quick way is taken, and says what the long one says."""
    raw = json.dumps(report).encode()
    assert binance_answers._taken(parsed.instructions[0], raw) is not None
    assert answer(parsed, 200, raw) == at_length(monkeypatch, parsed, 200, raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"orderId":1,"status":"NEW","status":"FILLED"}',
        b'{"orderId":1,"status":"NEW","status" :"FILLED"}',
        b'{"orderId":1,"fills":[{"a":1,"a" :2}]}',
        b'{"orderId":1,"x":{"a":1}}',
        b'{"orderId":1,"x":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}',
        b'{"orderId":1.0}',
        b'{"orderId":18446744073709551616123}',
        b'{"orderId":1,"clientOrderId":"a:b"}',
        b'{"orderId":1,"clientOrderId":"\\ud800"}',
        b'{"orderId":1,"code":-2010}',
        b'{"orderId":1,"amendedOrder":{"orderId":2}}',
        b'{"orderId":1,"origQty":"1e3"}',
        b'{"orderId":NaN}',
        b'{"\xff":1}',
        b'[{"orderId":1}]',
        b'{"orderId":true}',
    ],
)
@pytest.mark.parametrize("parsed", [SPOT, LINEAR])
def test_what_is_not_a_plain_report_is_read_at_length(parsed, raw, monkeypatch):
    """Repeated keys, numbers that lose digits, and anything nested are left to the strict reader."""
    assert binance_answers._taken(parsed.instructions[0], raw) is None
    assert answer(parsed, 200, raw) == at_length(monkeypatch, parsed, 200, raw)
